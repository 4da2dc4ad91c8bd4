# Two commands are enough on a fresh machine: `make demo` and `make test`.

T := $(or $(CARGO_TARGET_DIR),target)
export PATH := $(abspath $T)/venv/bin:$(abspath $T)/tools/usr/bin:$(PATH)
MIRI = cargo +nightly miri

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo setup lint docs test loom miri test-deep bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## build and run the demo; DEMO_ARGS="--seconds 20 --workers 4"
	cargo build --release -p dyn-metrics-cli -p dyn-metrics-exporter
	$T/release/dyn-metrics demo $(DEMO_ARGS)

test: setup lint docs ## everything that a change must pass; installs what it needs
	cargo build --workspace --bins
	cargo nextest run --workspace
	cargo test --workspace --doc
	$(MAKE) loom

test-deep: setup ## what takes longer: models with a larger bound, Miri
	$(MAKE) loom DYN_LOOM_PREEMPTIONS=4
	$(MAKE) miri

setup: ## install what the tests need
	$(if $(CI),cargo fetch --locked)
	.ci/setup $T

lint: ## format and clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features dyn-metrics-benches/peers -- -D warnings

docs: ## the crates' documentation; any warning is an error
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --lib --no-deps

loom: export RUSTFLAGS = --cfg loom
loom: export CARGO_TARGET_DIR := $(abspath $T)/loom
loom: ## the protocol models; DYN_LOOM_PREEMPTIONS=4 or =all for larger bounds
	cargo nextest run --release -p dyn-metrics-loom-tests

miri: export MIRIFLAGS = -Zmiri-disable-isolation
miri: export PROPTEST_CASES = 8
miri: ## the format crate under Miri (nightly)
	@$(MIRI) --version >/dev/null 2>&1 || rustup component add miri rust-src --toolchain nightly || true
	@if $(MIRI) --version >/dev/null 2>&1; then set -x; $(MIRI) test -p dyn-metrics-layout; \
	else echo "SKIPPED: miri: no such component for the nightly toolchain here" >&2; fi

bench: ## measure beside the peers; BENCH_ARGS="--only counter_inc" or "--quick"
	cargo build --release -p dyn-metrics-exporter
	cargo build --release -p dyn-metrics-benches --features peers
	$T/release/dyn-metrics-bench $(BENCH_ARGS)

clean: ## remove everything that was built or set up
	cargo clean
