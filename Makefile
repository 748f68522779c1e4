# What a person types here. `make help` lists it.
SHELL := /bin/bash
TOOLS := $(shell deploy/tools.sh --path)
export PATH := $(TOOLS):$(PATH):/usr/sbin
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help demo test lint unit conformance examples check-examples build release bench bench-wadm chaos soak tools

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: release ## see it run: three hosts, an application, a host killed (KEEP=1 leaves it running)
	@deploy/tools.sh nats-server docker-registry
	@examples/demo.sh $(TARGET)/release/wash

test: tools check-examples lint unit conformance ## everything that must hold before a change lands

tools:
	@deploy/tools.sh nats-server docker-registry redis-server

check-examples:
	@test "$$(examples/sources.sh)" = "$$(cat examples/sources.sha256)" || \
	  { echo "examples: a source is newer than its .wasm: run 'make examples' and commit the result" >&2; exit 1; }

lint: ## formatting, clippy and rustdoc, warnings as errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --workspace --no-deps --document-private-items --locked

unit: build ## unit and whole-system tests
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  $(CARGO) nextest run --workspace --locked --config-file tests/nextest.toml; \
	else \
	  $(CARGO) test --workspace --locked; \
	fi

conformance: build ## our programs driven by client crates that others published
	@if $(CARGO) nextest --version >/dev/null 2>&1; then run="nextest run --config-file tests/conformance/nextest.toml"; else run=test; fi; \
	LATTICE_BIN_DIR=$(abspath $(TARGET))/debug $(CARGO) $$run --manifest-path tests/conformance/Cargo.toml --locked

build: ## the three programs, unoptimised
	$(CARGO) build --workspace --bins --locked

release: ## the three programs, optimised
	$(CARGO) build --release -p lattice-wash --bins --locked

examples: ## compile the example components again
	@examples/build.sh

bench: release ## figures beside wasmtime's own server, as ratios of one run
	@deploy/tools.sh nats-server docker-registry
	@tests/bench/run.sh $(TARGET)/release/wash

bench-wadm: ## the controller against a thousand light hosts over a real NATS server
	@deploy/tools.sh nats-server
	$(CARGO) build --release -p lattice-wash -p lattice-wadm -p lattice-tests --bins --locked
	@RUST_BACKTRACE=0 $(TARGET)/release/bench-wadm

chaos: build ## real processes under fire for CHAOS_SECONDS (600)
	@deploy/tools.sh nats-server
	CHAOS_SECONDS=$(or $(CHAOS_SECONDS),600) $(CARGO) test --workspace --locked --test chaos -- --nocapture

soak: ## the simulated lattice under faults, SEEDS (100000) seeds
	$(CARGO) build --release -p lattice-wash -p lattice-wadm --bins --locked
	@$(TARGET)/release/wadm simulate --seeds $(or $(SEEDS),100000) --seed $(or $(SEED),1)
