# What a fresh Debian machine with a Rust toolchain needs to run, test and measure the proxy.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help build run test test-all fuzz fuzz-api bench bench-quick bench-parts bench-ready bench-today bench-cores overload guard guard-accept check

CARGO ?= cargo
# The folder that cargo builds into.
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Where schemathesis is, which checks the control API from outside; `make test` installs it.
SCHEMATHESIS := $(abspath $(TARGET))/schemathesis
# Where the gRPC client and server of the tests have their packages; `make test` installs them.
GRPCIO := $(abspath $(TARGET))/grpcio
# Where `make bench` keeps what it needs and what it finds.
BENCH := $(abspath $(TARGET))/bench
# More arguments for the bench; `make bench ARGS=--list` names scenarios and peers.
ARGS ?=
PEERS = PATH="$$PATH:/usr/sbin" $(CARGO) bench --locked --bench peers -- --npm $(BENCH)/npm \
	--trixie $(BENCH)/trixie --pypi $(BENCH)/pypi --out $(BENCH) \
	--proxy $(BENCH)/dynamic-reverse-proxy
# How long `make fuzz-api` takes, and each target of `make fuzz`.
SECONDS ?= 600
# The configuration of `make run`; empty for the defaults.
CONF ?=

help: ## Say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14
	@echo 'make run takes CONF=FILE for a configuration, and PORT from the environment.'

build: ## Build the proxy as it is deployed (some minutes: link-time optimisation)
	@scripts/prerequisites build
	$(CARGO) build --release --locked
	@scripts/split-debug $(TARGET)/release/dynamic-reverse-proxy

run: build ## Build the proxy and run it, on port 3000 unless told otherwise
	@exec scripts/run $(TARGET)/release/dynamic-reverse-proxy $(if $(CONF),--conf $(CONF))

test: ## Run every test, those of the data path under both engines
	@scripts/prerequisites build test
	@scripts/python-packages tests/schemathesis/requirements.txt $(SCHEMATHESIS)
	@scripts/python-packages tests/it/grpc/requirements.txt $(GRPCIO)
	SCHEMATHESIS=$(SCHEMATHESIS) GRPCIO=$(GRPCIO) $(CARGO) test --locked
	@echo 'The tests of the data path, with engine: pingora:'
	ENGINE=pingora SCHEMATHESIS=$(SCHEMATHESIS) GRPCIO=$(GRPCIO) \
		$(CARGO) test --locked --test it -- $$(scripts/engine-tests)

test-all: test ## Run also the tests that take a while: crowds of clients
	$(CARGO) test --locked --test it -- --ignored scale:: --test-threads=1 --nocapture

# RUSTC_BOOTSTRAP: only with it does a stable compiler count what libFuzzer goes by.
fuzz: ## Run every fuzz target, each for SECONDS=600
	@scripts/prerequisites build
	@command -v cargo-fuzz >/dev/null || $(CARGO) install cargo-fuzz --locked
	@for target in $$($(CARGO) fuzz list); do \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --sanitizer none $$target -- \
			-max_total_time=$(SECONDS) -timeout=10 -dict=fuzz/http.dict || exit; \
	done

fuzz-api: ## Check the control API against its description with new requests, for SECONDS=600
	@scripts/prerequisites build test
	@scripts/python-packages tests/schemathesis/requirements.txt $(SCHEMATHESIS)
	SCHEMATHESIS=$(SCHEMATHESIS) SCHEMATHESIS_ARGS="--max-time $(SECONDS) --seed $$RANDOM" \
		$(CARGO) test --locked --test it schemathesis -- --nocapture

bench: bench-ready bench-today ## Measure the proxy beside nginx and others (ARGS='--scenario tls,h2 --rounds 3')
	@$(PEERS) $(if $(ARGS),,--charts benches/results) $(ARGS)

bench-quick: bench-ready ## The same in three minutes: few scenarios and peers, short rounds
	@$(PEERS) --scenario small-get,tls,handshake,h2,idle --peer nginx,haproxy,bare,ours \
		--rounds 3 --seconds 1 --rate-rounds 1 $(ARGS)

# The binary is put aside: the bench's own build makes one with the features of the tests' crates.
bench-ready:
	@scripts/prerequisites build bench
	@scripts/peers $(BENCH)/npm
	$(CARGO) build --release --locked
	@install -D $(TARGET)/release/dynamic-reverse-proxy $(BENCH)/dynamic-reverse-proxy

# What cannot be had is left out.
bench-today:
	@scripts/prerequisites today || true
	@scripts/peers-today $(BENCH)

bench-parts: ## Measure the route table, what cores share, an idle connection, changes beside traffic
	@scripts/prerequisites build
	$(CARGO) bench --locked --bench route_table
	$(CARGO) bench --locked --bench contention
	$(CARGO) bench --locked --bench idle_connections
	$(CARGO) bench --locked --bench changes

bench-cores: ## Measure what a second core brings, beside nginx
	@scripts/prerequisites build bench
	$(CARGO) build --release --locked
	@PATH="$$PATH:/usr/sbin" scripts/two-cores $(TARGET)/release/dynamic-reverse-proxy

overload: ## Offer four times what a quarter of a core sustains (ARGS='--mode kept --seconds 20')
	@scripts/prerequisites build
	$(CARGO) build --release --locked
	@install -D $(TARGET)/release/dynamic-reverse-proxy $(BENCH)/dynamic-reverse-proxy
	$(CARGO) bench --locked --bench overload -- --proxy $(BENCH)/dynamic-reverse-proxy $(ARGS)

guard: GUARD := --check
guard: ## Count the instructions of requests, and fail where they differ from benches/guard/figures.yaml
guard-accept: GUARD := --accept
guard-accept: ## Count them, and store them there

guard guard-accept:
	@scripts/prerequisites build guard
	$(CARGO) build --locked --profile guard --bin dynamic-reverse-proxy
	$(CARGO) bench --locked --profile dev --bench guard -- $(GUARD) --binary $(abspath $(TARGET))/guard/dynamic-reverse-proxy

check: ## Run every check that CI runs, the tests among them
	@.ci/run
