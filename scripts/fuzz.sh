#!/usr/bin/env bash
# Fuzzes one target, or each in turn: `fuzz.sh [target|all] [seconds]`. What is found is minimised into its corpus, which `make test` replays.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-all}
seconds=${2:-60}

command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
# libFuzzer's instrumentation is a nightly option of the compiler; this lets the stable one take it.
export RUSTC_BOOTSTRAP=1
cargo fuzz build --fuzz-dir fuzz

if [ "$target" = all ]; then
    targets=$(cargo fuzz list --fuzz-dir fuzz)
else
    targets=$target
fi
grown=$(mktemp -d)
trap 'rm -rf "$grown"' EXIT
for target in $targets; do
    corpus=fuzz/corpus/$target
    mkdir -p "$grown/$target"
    # New inputs go into the first folder; the corpus is read as well.
    cargo fuzz run --fuzz-dir fuzz "$target" "$grown/$target" "$corpus" -- -max_total_time="$seconds" -rss_limit_mb=2048 -print_final_stats=1
    # The smallest set that reaches what all of them do joins the corpus.
    cargo fuzz run --fuzz-dir fuzz "$target" "$corpus" "$grown/$target" -- -merge=1 -max_len=512
done
