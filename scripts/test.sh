#!/usr/bin/env bash
# Runs every test and ends with one line of counts. `test.sh interop` runs only those with real clients, Node servers and a browser.
set -uo pipefail
cd "$(dirname "$0")/.."
part=${1:-all}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

./scripts/setup.sh || exit 1
status=0

if [ "$part" = all ]; then
    cargo test --workspace --locked --no-fail-fast 2>&1 | tee -a "$log" || status=1
fi
cargo build --locked -p synapse-server -p synapse-test-app --features synapse-test-app/webtransport || exit 1
(cd tests/interop && npm test) 2>&1 | tee -a "$log" || status=1

# What the runners say at their ends: cargo's `test result: ok. 3 passed; 0 failed`, Node's `# pass 3` or `ℹ pass 3`.
sum() { grep -E "$1" "$log" | grep -oE "$2" | grep -oE '[0-9]+' | awk '{ total += $1 } END { print total + 0 }'; }
rust_passed=$(sum '^test result:' '[0-9]+ passed')
rust_failed=$(sum '^test result:' '[0-9]+ failed')
rust_ignored=$(sum '^test result:' '[0-9]+ ignored')
node_passed=$(sum '^(#|ℹ) pass ' 'pass [0-9]+')
node_failed=$(sum '^(#|ℹ) (fail|cancelled) ' '(fail|cancelled) [0-9]+')
node_skipped=$(sum '^(#|ℹ) (skipped|todo) ' '(skipped|todo) [0-9]+')
echo
echo "$((rust_passed + node_passed)) passed, $((rust_failed + node_failed)) failed, $((rust_ignored + node_skipped)) skipped"
exit $status
