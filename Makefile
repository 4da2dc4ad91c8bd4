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
.PHONY: help demo setup lint docs test cross arm64 loom miri test-deep bench install install-built clean

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

bench: ## measure beside the peers; BENCH_ARGS="--only counter_inc" or "--quick"
	cargo build --release -p dyn-metrics-exporter
	cargo build --release -p dyn-metrics-benches --features peers
	$T/release/dyn-metrics-bench $(BENCH_ARGS)

PREFIX ?= /usr/local
ARCHIVE ?= $T/release/libdyn_metrics_c.a
SHARED ?= $T/release/c-library
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
lib = $(DESTDIR)$(PREFIX)/lib

install: ## the C library, headers and pkg-config file; DESTDIR= PREFIX=/usr/local
	cargo build --release -p dyn-metrics-c
	cpp/link.sh $(ARCHIVE) $(SHARED) -Wl,--strip-debug
	$(MAKE) install-built

# Without a heading in the list: what install does with a library that is there.
install-built:
	install -d $(lib)/pkgconfig $(DESTDIR)$(PREFIX)/include/dyn_metrics
	install -m 755 $(SHARED)/libdyn_metrics.so.$(VERSION) $(lib)
	ln -sf libdyn_metrics.so.$(VERSION) $(lib)/libdyn_metrics.so.0
	ln -sf libdyn_metrics.so.0 $(lib)/libdyn_metrics.so
	install -m 644 $(ARCHIVE) $(lib)/libdyn_metrics.a
	install -m 644 cpp/include/dyn_metrics.h $(DESTDIR)$(PREFIX)/include
	install -m 644 cpp/include/dyn_metrics/*.h $(DESTDIR)$(PREFIX)/include/dyn_metrics
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' cpp/dyn_metrics.pc.in >$(lib)/pkgconfig/dyn_metrics.pc

clean: ## remove everything that was built or set up
	cargo clean
