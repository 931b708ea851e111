# The table of contents of the work. `make help` lists it.
.DEFAULT_GOAL := help
.PHONY: help demo build test test-rust test-interop check fmt lint doc deny setup setup-rust bench fuzz

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{ printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2 }'

demo: ## Two servers with a page each, on ports 3000 and 3001
	cargo run --release -- demo

build: ## The release binary, target/release/synapse
	cargo build --release

test: ## Set up what is missing and run every test
	./scripts/test.sh

test-rust: ## Only the tests in Rust (needs redis-server)
	cargo test --workspace

test-interop: ## Only the tests with real clients, Node servers and a browser
	./scripts/test.sh interop

check: fmt lint doc deny ## Formatting, lints, documentation, dependencies

fmt:
	cargo fmt --all --check

lint:
	cargo clippy --workspace --all-targets --locked -- -D warnings

doc: ## The library's documentation, without a warning
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked -p synapse -p synapse-socket -p synapse-engine -p synapse-adapter -p synapse-redis -p synapse-protocol

deny: setup-rust
	cargo deny --locked check licenses bans sources

setup: ## Install what the tests need: redis-server, chromium, python-socketio, Node and its packages
	./scripts/setup.sh

setup-rust:
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny --version 0.20.2

bench: ## Memory per connection, CPU per delivery and per echo, latency of the hop through Redis
	./scripts/bench.sh

TARGET ?= all
SECONDS ?= 60
fuzz: ## Fuzz a decoder: make fuzz TARGET=websocket SECONDS=3600 (all of them without TARGET)
	./scripts/fuzz.sh $(TARGET) $(SECONDS)
