#!/usr/bin/env bash
# Measures Synapse, and Node's socket.io on the same work in the same run: the server on one CPU, the load on another, all on loopback.
# Prints what tools/loadtest prints. Figures of one run compare with each other, not with other machines.
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/setup.sh
cargo build --release --locked -p synapse-server -p synapse-loadtest
cargo build --release --locked -p synapse-loadtest --example relay_server
cargo build --release --locked -p synapse-budgets --example heap_server

bin=target/release
pids=()
work=$(mktemp -d)
cleanup() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; rm -rf "$work"; }
trap cleanup EXIT
server_cpu="taskset -c 0"
load_cpu="taskset -c 1"

# start NAME PORT COMMAND...: runs a server in the background, waits for its port, leaves its process id in $started.
start() {
    local name=$1 port=$2
    shift 2
    PORT=$port "$@" >"$work/$name.log" 2>&1 &
    started=$!
    pids+=("$started")
    for _ in $(seq 1 200); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return; fi
        kill -0 "$started" 2>/dev/null || break
        read -r -t 0.05 <> <(:) || true
    done
    echo "$name did not start:" >&2
    cat "$work/$name.log" >&2
    exit 1
}
stop() { kill "$started" && wait "$started" 2>/dev/null || true; }
title() { printf '\n== %s\n' "$*"; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null || echo $((20000 + RANDOM % 10000)); }

synapse=(env HOST=127.0.0.1 LOG_LEVEL=warn $server_cpu "$bin/synapse")
node=($server_cpu node tools/loadtest/peers/node.mjs)
load() { $load_cpu "$bin/synapse-loadtest" "$@"; }

title "machine"
grep -m1 'model name' /proc/cpuinfo || true
uname -r
echo "load average before: $(cut -d' ' -f1-3 /proc/loadavg)"

title "heap per idle WebSocket connection, 10,000 connections (a server with a counting allocator)"
port=$(free_port)
start heap "$port" $server_cpu "$bin/examples/heap_server"
load idle --target "127.0.0.1:$port" --connections 500 --hold 1s >/dev/null
kill -USR1 "$started"
load idle --target "127.0.0.1:$port" --connections 10000 --hold 4s >"$work/heap-idle" &
idle=$!
for _ in $(seq 1 100); do
    # The clients are open and at rest when the load test holds them; half-way through that it is the server's turn to tell.
    read -r -t 0.1 <> <(:) || true
    open=$(ls "/proc/$started/fd" | wc -l)
    if [ "$open" -gt 10000 ]; then break; fi
done
read -r -t 1.5 <> <(:) || true
kill -USR1 "$started"
wait "$idle"
awk 'NR == 1 { before = $1 } { after = $1 } END { printf "%d B on the heap for each connection\n", (after - before) / 10000 }' "$work/heap.log"
stop

for peer in synapse node; do
    declare -n command=$peer
    title "$peer: memory, 10,000 idle connections"
    port=$(free_port)
    start "$peer" "$port" "${command[@]}"
    load idle --target "127.0.0.1:$port" --connections 10000 --hold 3s --server-pid "$started"
    stop

    for outstanding in 1 4; do
        title "$peer: broadcast to 1,000, 64 B, $outstanding outstanding"
        port=$(free_port)
        start "$peer" "$port" "${command[@]}"
        load fanout --targets "127.0.0.1:$port" --connections 1000 --outstanding "$outstanding" --messages 1000 --server-pid "$started"
        stop
    done

    title "$peer: connect, join and close"
    port=$(free_port)
    start "$peer" "$port" "${command[@]}"
    load churn --target "127.0.0.1:$port" --server-pid "$started"
    stop
done

title "synapse (library): ack echo, 100 connections x 10 in flight"
port=$(free_port)
start relay "$port" $server_cpu "$bin/examples/relay_server" "127.0.0.1:$port"
load echo --target "127.0.0.1:$port" --connections 100 --in-flight 10 --event echo --server-pid "$started"
stop
title "node: ack echo, 100 connections x 10 in flight"
port=$(free_port)
start node "$port" "${node[@]}"
load echo --target "127.0.0.1:$port" --connections 100 --in-flight 10 --event echo --server-pid "$started"
stop

redis_port=$(free_port)
start redis "$redis_port" redis-server --port "$redis_port" --bind 127.0.0.1 --save "" --appendonly no --dir "$work"
redis=$started
export REDIS_URL=redis://127.0.0.1:$redis_port
for peer in synapse node; do
    declare -n command=$peer
    title "$peer: the hop through Redis, 20 listeners"
    first=$(free_port)
    start "$peer" "$first" "${command[@]}"
    one=$started
    second=$(free_port)
    start "$peer-2" "$second" "${command[@]}"
    two=$started
    load fanout --targets "127.0.0.1:$first,127.0.0.1:$second" --connections 20 --messages 5000 --hop
    title "$peer: broadcast to 1,000 listeners across Redis, 4 outstanding (CPU of both servers and Redis)"
    load fanout --targets "127.0.0.1:$first,127.0.0.1:$second" --connections 1000 --outstanding 4 --messages 1000 \
        --server-pid "$one" --server-pid "$two" --server-pid "$redis"
    kill "$one" "$two"
    wait "$one" "$two" 2>/dev/null || true
done
echo
echo "load average after: $(cut -d' ' -f1-3 /proc/loadavg)"
