# Two commands matter: `make playground` runs a cluster, `make test` checks everything. Each sets up what it
# needs on Debian; without root it prints the line to run and stops.

PACKAGES := build-essential ca-certificates ccache clang curl libclang-dev pkg-config
TEST_PACKAGES := strace e2fsprogs util-linux shellcheck prometheus
BENCH_PACKAGES := etcd-server redis-server
# What builds the guide; the version that its pages were read with.
MDBOOK_VERSION := 0.5.4

# What `make bench` measures; after `make optimised`: `make bench PROGRAM=target/optimised/yadkv`.
PROGRAM := target/release/yadkv

# Where rustup puts Rust.
export PATH := $(HOME)/.cargo/bin:$(PATH)
# One compiler cache for RocksDB in every profile and checkout.
export CC := ccache gcc
export CXX := ccache g++

.PHONY: playground test lint setup setup-test setup-bench bench figures rolling-restart soak planted-bugs demo-data guide optimised clean

playground: setup
	cargo build --release --package yadkv
	./target/release/yadkv playground

# Programs and tests in one build: apart, they would be given different features of tokio and others, which then are
# compiled, and kept, twice.
test: setup-test
	cargo build --workspace --lib --bins --tests
	cargo test --workspace --no-fail-fast
	cargo xtask tidy

lint:
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

setup:
	@scripts/install-packages $(PACKAGES) $(TEST_PACKAGES)

setup-test: setup
	@scripts/package-lists

setup-bench: setup
	@scripts/install-packages $(BENCH_PACKAGES)

bench: setup-bench
	$(if $(filter target/release/yadkv,$(PROGRAM)),cargo build --release --package yadkv)
	./$(PROGRAM) bench --suite benches --seconds 6 --records 50000

figures: setup-bench
	cargo build --release --package yadkv --package yadkv-simulation --package yadkv-tests
	./target/release/figures

rolling-restart: setup
	cargo build --release --package yadkv --package yadkv-tests
	./target/release/figures rolling-restart

soak: setup
	cargo build --release --package yadkv --package yadkv-tests --package yadkv-test-clock
	./target/release/soak

planted-bugs: setup
	cargo test --package yadkv-simulation --features planted-bugs --test planted_bugs

demo-data: setup-test
	cargo build --package yadkv
	cargo test --package yadkv-tests --test demo_data -- --nocapture

optimised: setup
	scripts/optimise

# No RocksDB is built here: the plain compiler will do.
guide: CC := cc
guide:
	@scripts/install-packages build-essential ca-certificates curl
	@command -v mdbook >/dev/null || { \
		echo "mdBook $(MDBOOK_VERSION) is missing: building it takes about three minutes on an idle core, once"; \
		cargo install mdbook --locked --version $(MDBOOK_VERSION) --no-default-features --features search; }
	mdbook build guide
	@echo "ready: open target/guide/index.html in a browser"

clean:
	cargo clean
