# Two commands are enough on a fresh machine: `make demo` and `make test`.

T := $(or $(CARGO_TARGET_DIR),target)
export PATH := $(abspath $T)/venv/bin:$(abspath $T)/tools/usr/bin:$(PATH)
MIRI = cargo +nightly miri
ARM64 = aarch64-unknown-linux-gnu
MUSL = x86_64-unknown-linux-musl
# Debian's cross compiler and emulator.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER = aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER = qemu-aarch64 -L /usr/aarch64-linux-gnu
have = rustup target list --installed | grep -qx $(1) $(foreach tool,$(2),&& command -v $(tool) >/dev/null)
have_arm64 = $(call have,$(ARM64),aarch64-linux-gnu-gcc qemu-aarch64)
skip = { [ -z "$(CI)" ] && echo "SKIPPED: $(1): see make setup" >&2; }

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo setup lint docs test cross arm64 loom miri test-deep fuzz bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## build and run the demo; DEMO_ARGS="--seconds 20 --workers 4"
	cargo build --release -p dyn-metrics-cli -p dyn-metrics-exporter
	$T/release/dyn-metrics demo $(DEMO_ARGS)

test: setup lint docs ## everything that a change must pass; installs what it needs
	cargo build --workspace --bins
	cargo nextest run --workspace
	cargo test --workspace --doc
	$(MAKE) cross
	$(MAKE) loom

test-deep: export DYN_METRICS_DELAYS_SECONDS = 60
test-deep: setup ## what takes longer: models with a larger bound, Miri, longer delays, all of arm64
	cargo build --workspace --bins
	cargo nextest run -p dyn-metrics-tests --test delays
	$(MAKE) arm64
	$(MAKE) loom DYN_LOOM_PREEMPTIONS=4
	$(MAKE) miri
	$(MAKE) fuzz FUZZ_SECONDS=10

setup: ## install what the tests need
	$(if $(CI),cargo fetch --locked)
	.ci/setup $T

lint: ## format and clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features dyn-metrics-benches/peers -- -D warnings

docs: ## the crates' documentation; any warning is an error
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --lib --no-deps

cross: ## unit tests of what writes, for arm64 (emulated) and musl
	@if $(have_arm64); then set -x; \
	cargo nextest run --target $(ARM64) -p dyn-metrics-layout -p dyn-metrics -p dyn-metrics-tests --lib; \
	else $(call skip,arm64); fi
	@if $(call have,$(MUSL)); then set -x; cargo nextest run --target $(MUSL) -p dyn-metrics --lib; else $(call skip,musl); fi

arm64: ## every test that starts no other program, emulated: the emulator can't start one
	@if $(have_arm64); then set -x; \
	cargo nextest run --target $(ARM64) --workspace --exclude dyn-metrics-loom-tests --exclude dyn-metrics-benches --lib --bins && \
	cargo test --target $(ARM64) -p dyn-metrics -p dyn-metrics-reader --doc; \
	else $(call skip,arm64); fi

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

fuzz: FUZZ_SECONDS = 600
fuzz: ## hostile segments under AddressSanitizer (nightly); FUZZ_SECONDS=60 FUZZ="render check"
	fuzz/run $T $(FUZZ_SECONDS) $(FUZZ)

bench: ## measure beside the peers; BENCH_ARGS="--only counter_inc" or "--quick"
	cargo build --release -p dyn-metrics-exporter
	cargo build --release -p dyn-metrics-benches --features peers
	$T/release/dyn-metrics-bench $(BENCH_ARGS)

clean: ## remove everything that was built or set up
	cargo clean
