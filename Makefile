# Two commands are enough on a fresh machine: `make demo` and `make test`.

T := $(or $(CARGO_TARGET_DIR),target)
export PATH := $(abspath $T)/venv/bin:$(abspath $T)/tools/usr/bin:$(PATH)
MIRI = cargo +nightly miri
MIRI_SEEDS = 4
ARM64 = aarch64-unknown-linux-gnu
MUSL = x86_64-unknown-linux-musl
# Debian's cross compiler and emulator.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER = aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER = qemu-aarch64 -L /usr/aarch64-linux-gnu
have = rustup target list --installed | grep -qx $(1) $(foreach tool,$(2),&& command -v $(tool) >/dev/null)
have_arm64 = $(call have,$(ARM64),aarch64-linux-gnu-gcc qemu-aarch64)
have_nightly = { rustup component add --toolchain nightly miri rust-src; $(MIRI) --version && \
	[ -d "$$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library" ]; } >/dev/null 2>&1
# Tests with a sanitizer, which the standard library must be built with, too: in a directory of its own.
sanitized = CARGO_TARGET_DIR=$(abspath $T)/$(1) RUSTFLAGS=-Zsanitizer=$(1) \
	cargo +nightly test -Zbuild-std --target x86_64-unknown-linux-gnu --lib --tests
have_prometheus_cpp = pkg-config --exists prometheus-cpp-core
bench_cpp = c++ -std=c++17 -O2 -Wall -Wextra -Wpedantic -Wshadow -Werror -Icpp/include benches/cpp/*.cpp
comma := ,
skip = { echo "$(if $(CI),missing with CI set,SKIPPED): $(1): see make setup" >&2; [ -z "$(CI)" ]; }

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo setup lint docs test cross arm64 loom miri tsan asan fuzz server soak test-deep bench cpp cpp-sanitize cpp-library python python-built python-tests python-deep wheel install install-built clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## build and run the demo; DEMO_ARGS="--seconds 20 --workers 4"
	cargo build --release -p dyn-metrics-cli -p dyn-metrics-exporter
	$T/release/dyn-metrics demo $(DEMO_ARGS)

test: setup lint docs ## everything that a change must pass; installs what it needs
	$(MAKE) python-built
	cargo build --workspace --bins
	cargo nextest run --workspace
	cargo test --workspace --doc
	$(MAKE) cpp
	$(MAKE) cpp-sanitize
	python/test-wheel $T
	$(MAKE) python-tests PYTEST_ARGS="$(OUTSIDE_WHEEL)"
	$(MAKE) cross
	$(MAKE) loom

test-deep: export DYN_METRICS_DELAYS_SECONDS = 60
test-deep: setup ## what takes longer: models with a larger bound, Miri, sanitizers, longer delays, all of arm64
	cargo build --workspace --bins
	cargo nextest run -p dyn-metrics-tests --test delays
	DYN_SYSTEM_BLOCKED_SECONDS=30 cargo nextest run -P deep -p dyn-metrics-tests --test system_worker
	cargo nextest run -p dyn-metrics-c -E 'test(/^sequences::delayed/)'
	$(MAKE) server
	DYN_METRICS_DEATHS=all cargo nextest run -P deep -p dyn-metrics-tests --test deaths --test update_deaths --run-ignored all --success-output final
	cargo build --release -p dyn-metrics-tests --bins
	cargo nextest run --release -P deep -p dyn-metrics-tests --test update_deaths --success-output final
	cargo nextest run --release -P deep -p dyn-metrics-tests --test system_worker --run-ignored only --success-output final
	$(MAKE) arm64
	$(MAKE) loom DYN_LOOM_PREEMPTIONS=4
	$(MAKE) miri
	$(MAKE) tsan
	$(MAKE) asan
	$(MAKE) cpp-sanitize CPP_ARGS=-DEVERY_PROGRAM=ON DYN_METRICS_TEST_SCALE=20
	$(MAKE) fuzz FUZZ_SECONDS=10
	$(MAKE) python-deep

setup: ## install what the tests need
	$(if $(CI),cargo fetch --locked)
	.ci/setup $T

lint: ## format, clippy, and what the dependencies may be
	cargo fmt --all --check
	@if command -v cargo-deny >/dev/null; then set -x; cargo deny --locked check licenses bans sources; \
	else $(call skip,cargo-deny); fi
	cargo clippy --workspace --all-targets --features dyn-metrics-benches/peers -- -D warnings
	@if $(have_prometheus_cpp); then set -x; $(bench_cpp) -fsyntax-only; else $(call skip,the C++ bench); fi

docs: ## the crates' documentation; any warning is an error
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --lib --no-deps

cross: ## unit tests of what writes, for arm64 (emulated) and musl
	@if $(have_arm64); then set -x; \
	cargo nextest run --target $(ARM64) -p dyn-metrics-layout -p dyn-metrics -p dyn-metrics-tests --lib; \
	else $(call skip,arm64); fi
	@if $(call have,$(MUSL)); then set -x; cargo nextest run --target $(MUSL) -p dyn-metrics --lib; else $(call skip,musl); fi

arm64: ## every test that starts no other program, emulated: the emulator can't start one
	@if $(have_arm64); then set -x; \
	cargo nextest run --target $(ARM64) --workspace $(foreach crate,loom-tests benches python,--exclude dyn-metrics-$(crate)) --lib --bins && \
	cargo test --target $(ARM64) -p dyn-metrics -p dyn-metrics-reader --doc; \
	else $(call skip,arm64); fi

loom: export RUSTFLAGS = --cfg loom
loom: export CARGO_TARGET_DIR := $(abspath $T)/loom
loom: ## the protocol models; DYN_LOOM_PREEMPTIONS=4 or =all for larger bounds
	cargo nextest run --release -p dyn-metrics-loom-tests $(LOOM_ARGS)

miri: export PROPTEST_CASES = 8
# Of two threads that reach a series or an extent first, one leaks what it made: no leak that grows.
miri: export MIRIFLAGS = -Zmiri-disable-isolation -Zmiri-strict-provenance -Zmiri-ignore-leaks
miri: ## format and writer under Miri, the latter's threads with MIRI_SEEDS schedules (nightly)
	@if $(have_nightly); then set -ex; $(MIRI) test -p dyn-metrics-layout; $(MIRI) test -p dyn-metrics --lib --test threads; \
	MIRIFLAGS="$$MIRIFLAGS -Zmiri-many-seeds=1..$(MIRI_SEEDS)" $(MIRI) test -p dyn-metrics --test threads -- --skip a_full_segment; \
	else $(call skip,$@ (rustup component add --toolchain nightly miri rust-src)); fi

# Children of threaded programs start threads in the tests.
tsan: export TSAN_OPTIONS = die_after_fork=0
tsan: ## format and writer under ThreadSanitizer, with per-CPU and with shared cells (nightly)
	@if $(have_nightly); then set -ex; $(call sanitized,thread) -p dyn-metrics-layout -p dyn-metrics; \
	DYN_METRICS_RSEQ=off $(call sanitized,thread) -p dyn-metrics; \
	else $(call skip,$@ (rustup component add --toolchain nightly miri rust-src)); fi

# What handles point to is never freed, which is no leak.
asan: export ASAN_OPTIONS = detect_leaks=0
asan: ## format, writer and reader under AddressSanitizer (nightly)
	@if $(have_nightly); then set -ex; $(call sanitized,address) -p dyn-metrics-layout -p dyn-metrics -p dyn-metrics-reader; \
	else $(call skip,$@ (rustup component add --toolchain nightly miri rust-src)); fi

server: export DYN_METRICS_SLOW_SECONDS = 60
server: export DYN_METRICS_REQUESTS = 2000000
server: ## the exporter under bad clients, for about eight minutes; DYN_METRICS_SEED=2 for other requests
	cargo build --workspace --bins
	cargo nextest run -P deep -p dyn-metrics-tests --success-output final -E 'binary(/^server_/)'

soak: ## chaos for minutes: 10^9 increments, 1 000 kills; SOAK_ARGS="seconds=600 kills=10000 seed=7"
	cargo build --release -p dyn-metrics-exporter -p dyn-metrics-cli
	cargo build --release -p dyn-metrics-tests --bin chaotic
	$T/release/chaotic drive $(SOAK_ARGS)

fuzz: FUZZ_SECONDS = 600
fuzz: ## hostile segments under AddressSanitizer (nightly); FUZZ_SECONDS=60 FUZZ="render check"
	fuzz/run $T $(FUZZ_SECONDS) $(FUZZ)

bench_composite = $(if $(findstring --only,$(BENCH_ARGS)),$(findstring composite,$(BENCH_ARGS)),all)
bench_python = $(if $(findstring --only,$(BENCH_ARGS)),$(findstring python,$(BENCH_ARGS)),all)
bench: ## measure beside the peers; BENCH_ARGS="--only counter_inc" or "--quick"
	cargo build --release -p dyn-metrics-exporter -p dyn-metrics-c
	cargo build --release -p dyn-metrics-benches --features peers
	cpp/link.sh $(ARCHIVE) $(SHARED) -Wl,--strip-debug
	@$(have_prometheus_cpp) || echo "prometheus-cpp won't be measured: see make setup" >&2
	$(bench_cpp) -o $T/release/dyn-metrics-bench-cpp -L$(SHARED) -ldyn_metrics -Wl,-rpath,$(abspath $(SHARED)) \
		$$($(have_prometheus_cpp) && pkg-config --libs prometheus-cpp-core) -pthread
	c++ -std=c++17 -O2 -shared -fPIC -Icpp/include cpp/examples/plugin/sample_plugin.cpp -o $T/release/sample_plugin.so
	$T/release/dyn-metrics-bench $(BENCH_ARGS)
	$(if $(bench_composite),cargo run -q --release -p dyn-metrics --example composite_cost)
	$(if $(findstring --only,$(BENCH_ARGS)),,cargo run --release -q -p dyn-metrics --example watch_delay -- $(findstring --quick,$(BENCH_ARGS)))
	$(if $(bench_python),@if command -v maturin >/dev/null; then set -ex; $(MAKE) python-built; \
	python3 python/bench/report.py --out $T/bench $(BENCH_ARGS); else echo "Python won't be measured: see make setup" >&2; fi)

python: setup ## the Python package: build its wheel, install it into the tests' venv, test it; PYTEST_ARGS="-k labels"
	$(MAKE) python-built python-tests

# What python/test-wheel leaves out, for it wants more than pytest.
OUTSIDE_WHEEL = tests/test_typing.py tests/test_examples.py tests/test_system_alike.py tests/prometheus/test_prometheus_suite.py

# Without a heading in the list: the wheel into the tests' venv, the tests there, and what takes longer.
python-tests:
	cd python && pytest $(PYTEST_ARGS)

python-built: wheel
	$T/venv/bin/python3 -m pip install -q --disable-pip-version-check --no-index --no-deps --force-reinstall $T/wheels/*.whl

# With each interpreter, from the source distribution, and the drop-in under well-known programs as PyPI has them.
python-deep: python-built
	python/test-wheel $T 3.10 3.11 3.12 3.13
	python/test-sdist $T
	$T/venv/bin/python3 -m pip install -q --disable-pip-version-check fastapi==0.165.0 prometheus-fastapi-instrumentator==8.1.0
	cd python && pytest tests/deep

wheel: ## the Python package for CPython 3.10 and newer, in target/wheels; make setup installs what that takes
	rm -rf $T/wheels
	cd python && CARGO_TARGET_DIR=$(abspath $T) maturin build -q --locked -o $(abspath $T)/wheels

PREFIX ?= /usr/local
ARCHIVE ?= $T/release/libdyn_metrics_c.a
SHARED ?= $T/release/c-library
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
lib = $(DESTDIR)$(PREFIX)/lib

install: ## the C library, headers, pkg-config file and CMake package; DESTDIR= PREFIX=/usr/local
	cargo build --release -p dyn-metrics-c
	cpp/link.sh $(ARCHIVE) $(SHARED) -Wl,--strip-debug
	$(MAKE) install-built

# Without a heading in the list: what install does with a library that is there.
install-built:
	install -d $(lib)/pkgconfig $(lib)/cmake/dyn_metrics
	install -C -m 755 $(SHARED)/libdyn_metrics.so.$(VERSION) $(lib)
	ln -sf libdyn_metrics.so.$(VERSION) $(lib)/libdyn_metrics.so.0
	ln -sf libdyn_metrics.so.0 $(lib)/libdyn_metrics.so
	install -C -m 644 $(ARCHIVE) $(lib)/libdyn_metrics.a
	cd cpp/include && find . -name '*.h' -o -name '*.hpp' | while read -r header; do \
		install -C -D -m 644 "$$header" "$(abspath $(DESTDIR)$(PREFIX))/include/$$header" || exit 1; done
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' cpp/dyn_metrics.pc.in | \
		install -m 644 /dev/stdin $(lib)/pkgconfig/dyn_metrics.pc
	install -m 644 cpp/cmake/dyn_metrics-config.cmake $(lib)/cmake/dyn_metrics
	sed 's|@VERSION@|$(VERSION)|; s|@SONAME@|0|' cpp/cmake/dyn_metrics-config-version.cmake.in | \
		install -m 644 /dev/stdin $(lib)/cmake/dyn_metrics/dyn_metrics-config-version.cmake

# The tests in C++ with a compiler, in a directory of this name, with these arguments of cmake.
cpp_tests = cmake -S cpp/tests/cpp -B $T/cpp/$(2) -DCMAKE_CXX_COMPILER=$(1) -DCMAKE_PREFIX_PATH=$(abspath $T)/cpp/root/opt \
	-DDYN_METRICS_RUST_HALF=$(abspath $T)/debug/examples/librust_half.so $(3) \
	>$T/cpp/$(2).log || { cat $T/cpp/$(2).log; exit 1; }; \
	MAKEFLAGS= cmake --build $T/cpp/$(2) --parallel 2; ctest --test-dir $T/cpp/$(2) -j 2 --output-on-failure --no-tests=error
have_cpp = { command -v cmake && command -v clang++ && echo '\#include <gtest/gtest.h>' | c++ -x c++ -fsyntax-only -; } >/dev/null 2>&1

cpp: cpp-library ## the tests in C++, with g++ and with clang, with restartable sequences and without
	@if $(have_cpp); then set -ex; $(call cpp_tests,g++,g++); $(call cpp_tests,clang++,clang); \
	DYN_METRICS_RSEQ=off ctest --test-dir $T/cpp/g++ -j 2 --output-on-failure; \
	else $(call skip,cmake or clang or GoogleTest); fi

# ThreadSanitizer can't see restartable sequences: there the header has none. Nor does it see what orders the accesses in
# the library, which `make tsan` is for. Forked children have no threads but one.
cpp-sanitize: export LSAN_OPTIONS = print_suppressions=0:suppressions=$(abspath cpp/tests/cpp/lsan.supp)
cpp-sanitize: export TSAN_OPTIONS = die_after_fork=0:ignore_noninstrumented_modules=1
cpp-sanitize: cpp-library ## the tests in C++ under AddressSanitizer, UBSan and ThreadSanitizer
	@if $(have_cpp); then set -ex; $(call cpp_tests,g++,address,-DSANITIZE=address$(comma)undefined $(CPP_ARGS)); \
	DYN_METRICS_RSEQ=off ctest --test-dir $T/cpp/address -j 2 --output-on-failure; \
	$(call cpp_tests,g++,thread,-DSANITIZE=thread $(CPP_ARGS)); \
	else $(call skip,cmake or clang or GoogleTest); fi

# What find_package finds, from the library without optimisation for a release.
cpp-library:
	cargo build -p dyn-metrics-c --lib --example rust_half
	cpp/link.sh $T/debug/libdyn_metrics_c.a $T/cpp/library
	$(MAKE) -s install-built DESTDIR=$(abspath $T)/cpp/root PREFIX=/opt ARCHIVE=$T/debug/libdyn_metrics_c.a SHARED=$T/cpp/library

clean: ## remove everything that was built or set up
	cargo clean
