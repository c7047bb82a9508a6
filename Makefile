# Branch Gateway. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

BIN := .venv/bin
# As seen from where each is built: paths are relative, as make takes none that has a space in it.
BUILD := ../../../build
PYTEST_WORKERS ?= 2

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup setup-test
setup: ## install what `make run` needs (system packages, virtual environment, media engine)
	@scripts/setup run
	@$(MAKE) --no-print-directory engine

setup-test: ## install what `make test` needs as well
	@scripts/setup test
	@$(MAKE) --no-print-directory engine peers

.PHONY: engine peers
engine: ## build the media engine
	@$(MAKE) -s -C gateway/media/engine BUILD=$(BUILD)/engine

peers: ## build the test peers that are ours (libpri)
	@$(MAKE) -s -C tests/interop/peers BUILD=$(BUILD)/peers

.PHONY: run
run: setup ## exchange, gateway and a SIP phone on loopback: a call each way, a verdict, then a live view (ONCE=1: stop after the verdict)
	@$(BIN)/python -m tests.demo $(if $(ONCE),--once)

.PHONY: test lint format types c-test unit
test: setup-test lint types c-test unit peers-test ## all checks: format, lint, types, C warnings and sanitizers, unit, property, simulation tests, packaged peers

lint:
	@echo "== format and lint"
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

format: ## format the Python code and mend what lint can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

types:
	@echo "== types"
	@$(BIN)/mypy

c-test: ## C: warnings as errors, clang-tidy, unit tests under ASAN and UBSAN
	@echo "== C: warnings, clang-tidy, sanitizers"
	@$(MAKE) -s -j2 -C gateway/media/engine BUILD=$(BUILD)/engine-test test
	@$(MAKE) -s -C gateway/media/engine BUILD=$(BUILD)/engine-test tidy

unit: ## Python unit, property and simulation tests
	@echo "== unit, property and simulation tests"
	@$(BIN)/pytest -m realtime tests/unit/media
	@$(BIN)/pytest -n $(PYTEST_WORKERS) -m "not realtime" tests/unit tests/simulation

.PHONY: peers-test
peers-test: ## tests against real peers: libpri, sipp, baresip, Kamailio, tshark
	@echo "== peers"
	@$(BIN)/pytest -n $(PYTEST_WORKERS) -m "not alone" tests/interop
	@$(BIN)/pytest -m alone tests/interop

.PHONY: interop
IAX_MANGLED ?= 200000
interop: ## more of the world: Asterisk in a root of its own, NAT between network namespaces (root, or user namespaces), IAX_MANGLED frames
	@scripts/setup interop
	@$(MAKE) --no-print-directory engine peers
	@echo "== the world outside"
	@$(BIN)/pytest tests/outside
	@echo "== $(IAX_MANGLED) mangled frames of IAX2 at the real socket"
	@IAX_MANGLED=$(IAX_MANGLED) $(BIN)/pytest -s tests/interop/test_iax_mangled.py

.PHONY: image-test
image-test: ## the boot loader's rules by a real GRUB, the rescue stage by a real MicroPython
	@scripts/setup image
	@$(BIN)/pytest tests/image

.PHONY: simulate
SEEDS ?= 2000
CALLS ?= 500
IAX_SEEDS ?= 400
IAX_CALLS ?= 100
IAX_EACH ?= 2000
simulate: setup ## a branch in virtual time: SEEDS runs of CALLS calls with faults (1,000,000 calls as set), and IAX_SEEDS with IAX2 trunks and IAX_EACH mangled frames (1,000,000)
	@$(BIN)/python -m tests.simulation.run --seeds $(SEEDS) --calls $(CALLS)
	@$(BIN)/python -m tests.simulation.run --iax --mangled $(IAX_EACH) --seeds $(IAX_SEEDS) --calls $(IAX_CALLS)

.PHONY: bench
bench: setup-test ## measure CPU per call and per standing call, beside others, set-up delay and memory; writes docs/bench.md (QUICK=1: a look)
	@scripts/setup bench || echo "bench: whoever cannot be installed is not measured"
	@$(MAKE) -s -C gateway/media/engine BUILD=$(BUILD)/engine bench
	@$(BIN)/python -m tests.bench.run $(if $(QUICK),--quick)

.PHONY: fuzz
FUZZ_SECONDS ?= 60
FUZZ_LIBRARY := build/fuzz/lib
fuzz: setup ## octets that nobody should send into every parser and state machine, by atheris (TARGETS=…, FUZZ_SECONDS each)
	@[ $(FUZZ_LIBRARY)/.installed -nt tests/fuzz/requirements.lock ] || \
	  { rm -rf $(FUZZ_LIBRARY) && $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes \
	    --only-binary :all: --target $(FUZZ_LIBRARY) -r tests/fuzz/requirements.lock && touch $(FUZZ_LIBRARY)/.installed; } || \
	  { echo "fuzz: there is no wheel of atheris for this Python and machine (Linux x86-64, Python 3.11 to 3.14)" >&2; exit 1; }
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(TARGETS)

.PHONY: c-fuzz
c-fuzz: ## octets that nobody should send to the media engine, by libFuzzer of clang (FUZZ_SECONDS each)
	@command -v clang >/dev/null || { echo "fuzz: clang is missing (apt-get install clang)" >&2; exit 1; }
	@$(MAKE) -s -C gateway/media/engine BUILD=$(BUILD)/engine-fuzz FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz

fuzz: c-fuzz

.PHONY: generate
generate: ## write anew what is made of the code: D-Bus introspection and policy, gatewayctl(1)
	@$(BIN)/python -m gateway.provision.bus.introspect
	@$(BIN)/python -m gateway.provision.bus.policy > overlay/usr/share/dbus-1/system.d/org.branchgateway.Gateway1.conf
	@$(BIN)/python -m gateway.cli.gatewayctl.manpage > docs/man/gatewayctl.1

.PHONY: image image-check
image: ## build the firmware image with Buildroot (BUILDROOT_DIR=, BR2_DL_DIR=: a tree and downloads at hand); takes hours
	@buildroot/scripts/image

image-check: ## hold the image's configuration and packages against a real Buildroot (BUILDROOT_DIR= or a download)
	@buildroot/scripts/image-check

.PHONY: clean
clean: ## remove what was built and run-time state; the virtual environment stays
	rm -rf build .run .mypy_cache .pytest_cache .ruff_cache .hypothesis
