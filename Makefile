# The tool chain behind one word each. `make` alone lists the words.
#
# Needs Python >= 3.11 with pip, and make. uv is taken from PATH, or installed into .bootstrap/.
# Everything else goes into .venv/. Removing both folders undoes all of it.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
TEST_WORKERS ?= 2
PYTEST_ARGS ?=
PROCESSORS ?= plain avx2 two-threads
GATE_PROFILE ?= m1m4
GATE_ARGS ?=
DIST ?= dist
PACKAGES := vox_tensor vox_populi vox_cli

# An activated environment of another project must not be synced, nor imported from.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME
# Some images set it; then every process compiles torch's sources again, two seconds each.
unexport PYTHONDONTWRITEBYTECODE
export UV_PROJECT_ENVIRONMENT := $(CURDIR)/.venv

# D4: where pip was told to look for wheels, uv looks too. pip separates by spaces, uv by commas.
empty :=
comma := ,
ifndef UV_FIND_LINKS
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS := $(subst $(empty) $(empty),$(comma),$(strip $(PIP_FIND_LINKS)))
endif
endif

VENV := .venv/bin
# LOCKED=1: exactly what requirements.lock names, by hash. Otherwise what pyproject.toml resolves to.
LOCKED ?=
SYNCED := .venv/.$(if $(filter 1,$(LOCKED)),locked,synced)
UV_ON_PATH := $(shell command -v uv 2>/dev/null)
UV := $(or $(UV_ON_PATH),.bootstrap/bin/uv)
# Only a uv of ours is a prerequisite: one on PATH is the operator's to keep.
UV_FILE := $(if $(UV_ON_PATH),,.bootstrap/bin/uv)

.PHONY: help setup lock demo demo-real scorecard test processors check gate bench docs dist
.PHONY: check-lint check-format check-types check-imports check-lock

help: ## List the words
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(SYNCED) ## Install everything into .venv (LOCKED=1: from requirements.lock, by hash)

lock: | $(UV_FILE) ## Resolve anew up to exclude-newer: requirements.lock and the pins
	@$(PYTHON) .ci/version_lock.py $(UV) write

demo: $(SYNCED) ## Corpus, training, losses and generations before and after, for real
	@$(VENV)/python demo/run_demo.py

demo-real: $(SYNCED) | $(UV_FILE) ## A published 135M model, tuned to answer in JSON: before, after, GGUF
	@$(VENV)/python demo/run_real_demo.py --uv "$(UV)"

scorecard: $(SYNCED) ## Two cycles of both backends on the embedded base, and the verdict
	@$(VENV)/python demo/run_scorecard_demo.py

test: $(SYNCED) ## Run every test
	@# One thread per worker: two workers with two threads each fight over two cores.
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(VENV)/python -m pytest \
	  -n $(TEST_WORKERS) --dist worksteal $(PYTEST_ARGS)

# What another processor computes, on this one: the loops of torch, the products of MKL and of
# oneDNN. Never a name above what the machine has: torch would run instructions that are not there.
AS_plain := ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=SSE41
AS_avx2 := ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=AVX2 ONEDNN_MAX_CPU_ISA=AVX2
AS_two-threads := OMP_NUM_THREADS=2 MKL_NUM_THREADS=2

processors: $(PROCESSORS:%=as-%) ## Run every test as other processors compute

as-%: $(SYNCED)
	@echo "as $*: $(AS_$*)"
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 env $(or $(AS_$*),$(error PROCESSORS knows no $*)) \
	  $(VENV)/python -m pytest -n $(TEST_WORKERS) --dist worksteal $(PYTEST_ARGS)

check: check-lint check-format check-types check-imports check-lock ## Lint, format, types, imports

gate: $(SYNCED) ## Run the acceptance rows of GATE_PROFILE (m1m4)
	@OMP_NUM_THREADS=1 $(VENV)/vox ci mens-gate --profile $(GATE_PROFILE) $(GATE_ARGS)

bench: $(SYNCED) ## Measure the training step beside its peers
	@$(VENV)/python bench/run_bench.py

docs: $(SYNCED) ## Generate the reference pages and build the site into site/
	@$(VENV)/python docs/generate_reference.py
	@NO_MKDOCS_2_WARNING=1 $(VENV)/mkdocs build --strict --quiet

dist: | $(UV_FILE) ## Build a wheel of each package into dist/
	@rm -f $(DIST)/vox_*.whl
	@$(UV) build --quiet --all-packages --wheel --out-dir $(DIST)

check-lint: $(SYNCED)
	@$(VENV)/ruff check

check-format: $(SYNCED)
	@$(VENV)/ruff format --check

check-types: $(SYNCED)
	@$(VENV)/mypy --strict

check-imports: $(SYNCED)
	@$(VENV)/lint-imports

# D3: the pins are those of the lock, and the lock is what pyproject.toml resolves to.
check-lock: $(SYNCED)
	@$(VENV)/python .ci/version_lock.py $(UV) check

# A gigabyte of other programs' compilers each, for two formats of export-mobile; and kernels that need a GPU.
NOT_INSTALLED := --no-extra executorch --no-extra litert --no-extra fla
METADATA := pyproject.toml $(PACKAGES:%=packages/%/pyproject.toml)

.venv/.synced: $(METADATA) | $(UV_FILE)
	@$(UV) sync --all-packages --all-extras $(NOT_INSTALLED) --group dev >&2
	@rm -f .venv/.locked
	@touch $@

# Another build of torch than the index's has other hashes: where there is a source of wheels, its part
# of the lock is left out and its pin is installed from there.
.venv/.locked: requirements.lock $(METADATA) | $(UV_FILE)
	@$(UV) venv --quiet --allow-existing .venv >&2
	@sed $(if $(UV_FIND_LINKS),'/^# torch:/$(comma)$$d') requirements.lock \
	  | $(UV) pip sync --python $(VENV)/python --require-hashes - >&2
	$(if $(UV_FIND_LINKS),@$(UV) pip install --python $(VENV)/python torch >&2)
	@$(UV) pip install --python $(VENV)/python --no-deps $(PACKAGES:%=-e packages/%) >&2
	@rm -f .venv/.synced
	@touch $@

# pip reads the operator's configuration, so uv comes from where everything else comes from.
# `--without-pip` first: Debian's Python has pip but no ensurepip.
.bootstrap/bin/uv:
	@echo "uv is not on PATH: installing it into .bootstrap/" >&2
	@rm -rf .bootstrap
	@$(PYTHON) -m venv --without-pip .bootstrap >&2
	@$(PYTHON) -m pip --quiet --python .bootstrap/bin/python install uv >&2
