# Each target does all of its own set-up on a fresh machine and says what it installs.
# One profile for everything: wasmtime takes minutes to build, so it is built once.

HOLDPOINT := target/release/holdpoint
CARGO ?= cargo

.PHONY: help build nodes demo test scenarios crash lint bench clean

help: ## What there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-9s %s\n", $$1, $$2 }'

build: ## The program, target/release/holdpoint (about 8 minutes the first time, most of it wasmtime)
	@test -x $(HOLDPOINT) || echo "building Holdpoint; the first build takes about 8 minutes on two cores, most of it wasmtime"
	$(CARGO) build --release -p holdpoint

nodes: build ## The example nodes, target/nodes/NAME.wasm
	$(HOLDPOINT) node build example-nodes --out target/nodes

demo: build nodes ## The refund story with real processes
	$(HOLDPOINT) demo

# The scenarios print a line each, among the other tests' results.
test: build nodes ## Every test: unit, conformance, end-to-end with real processes and nodes, documentation examples
	$(CARGO) test --release --workspace --no-fail-fast
	$(CARGO) test --manifest-path example-nodes/Cargo.toml --target-dir target/example-nodes --no-fail-fast

scenarios: build nodes ## LangGraph's scenarios, a line each: the same, or ours and why; FILTER=G1 runs one
	$(CARGO) test --release -p holdpoint-tests --test scenarios -- $(FILTER)

crash: build nodes ## Kills a worker at every point, in 10,000 runs; prints what came of it (about 10 minutes)
	HOLDPOINT_CRASH_RUNS=10000 $(CARGO) test --release -p holdpoint-tests --test all -- crash_points --nocapture

lint: ## Format and lints, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path example-nodes/Cargo.toml --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	$(CARGO) clippy --manifest-path example-nodes/Cargo.toml --target-dir target/example-nodes --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps

bench: build nodes ## Figures, each beside a raw baseline from the same run
	$(HOLDPOINT) bench

clean: ## Remove everything that was built
	$(CARGO) clean
