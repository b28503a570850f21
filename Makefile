# Each target does all of its own set-up on a fresh machine and says what it installs.
# One profile for everything: wasmtime takes minutes to build, so it is built once.

HOLDPOINT := target/release/holdpoint
CARGO ?= cargo

.PHONY: help build nodes clients demo demo-server test scenarios crash lint bench clean

help: ## What there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-9s %s\n", $$1, $$2 }'

build: ## The program, target/release/holdpoint (about 8 minutes the first time, most of it wasmtime)
	@test -x $(HOLDPOINT) || echo "building Holdpoint; the first build takes about 8 minutes on two cores, most of it wasmtime"
	$(CARGO) build --release -p holdpoint

nodes: build ## The example nodes, target/nodes/NAME.wasm
	$(HOLDPOINT) node build example-nodes --out target/nodes

demo: build nodes ## The refund story with real processes
	$(HOLDPOINT) demo

demo-server: build nodes ## The refund graph behind a server on 127.0.0.1:2024, or a free port, with what to try; Ctrl-C ends it
	$(HOLDPOINT) demo --serve

# The scenarios print a line each, among the other tests' results.
# LangGraph's clients and a browser, as their registries give them. Made anew when what is wanted changes.
clients: target/clients/ready ## What the server's tests need: LangGraph's clients for Python and JavaScript, curl, and a headless browser

target/clients/ready: tests/clients/requirements.txt tests/clients/package.json tests/clients/package-lock.json
	@echo "installing LangGraph's clients and a headless browser for the server's tests"
	@mkdir -p target/clients
	cp tests/clients/package.json tests/clients/package-lock.json target/clients/
	python3 -m venv target/clients/venv
	target/clients/venv/bin/pip install --quiet --disable-pip-version-check -r tests/clients/requirements.txt
	npm ci --prefix target/clients --no-audit --no-fund --loglevel=error
	@command -v curl >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq curl; }
	@command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium-headless-shell; }
	@touch $@

test: build nodes clients ## Every test: unit, conformance, end-to-end with real processes and nodes, documentation examples
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
