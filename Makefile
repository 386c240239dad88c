# The daily verbs. Each sets up what is missing first; a second run finds it and is quick.
#
# Variables: PYTHON (which interpreter the environment is made from), JOBS (test processes; many tests wait, so three keep
# two cores busy; 0 runs all in one),
# TESTS (what to test), ARGS (passed on to pytest, the demo or the bench).

PYTHON ?= python3
JOBS ?= 3
TESTS ?= tests
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCES := src tests $(wildcard bench)

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test sweep lint format bench bench-full lock schemas clean

help: ## Show the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Install everything: Python packages into .venv, the control plane, kustomize and helm into the user's cache
	@$(BIN)/python -m trimtab.toolchain

demo: setup ## See it work: a local cluster, an example repository, and what to try; ends with Ctrl-C
	@$(BIN)/trimtab demo $(ARGS)

test: setup ## Run the tests against a real control plane (TESTS=tests/kube, ARGS='-k name', JOBS=0)
	$(BIN)/pytest $(if $(filter-out 0,$(JOBS)),-n $(JOBS) --dist loadfile) $(ARGS) $(TESTS)

sweep: setup ## Harm every request and the processes, write tests/faults/REPORT.md (requests only: ARGS='c2 --minutes 5')
	$(BIN)/python -m tests.faults.run $(ARGS)
	$(if $(ARGS),,TRIMTAB_KILLS=50 TRIMTAB_STOPPED_S=60 TRIMTAB_SEQUENCES=40 TRIMTAB_AUTOMATION_FAULTS=all $(BIN)/pytest \
		tests/faults/test_process.py tests/faults/test_property.py tests/faults/test_automation.py)

lint: $(INSTALLED) ## Check formatting, code, types, layers and the size of modules
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	@find src -name '*.py' -exec wc -l {} + | awk '$$2 != "total" && $$1 > 600 \
		{print $$2 ": " $$1 " lines; a module ends at 600, split it by what it is about"; long = 1} END {exit long}'

format: $(INSTALLED) ## Format the code and fix what can be fixed by itself
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

bench: setup ## Measure: from push to live, for 100 apps, in a few minutes (ARGS='--n 100,300')
	$(BIN)/python -m bench.run $(ARGS)

bench-full: setup ## Measure everything, in an hour and a half (ARGS='--parts steady', ARGS=--resume)
	$(BIN)/python -m bench.full $(ARGS)

lock: $(INSTALLED) ## Choose the newest admitted versions of all Python packages and write requirements.lock
	$(BIN)/python -m pip install --quiet uv
	@echo '# Made by `make lock` from pyproject.toml, for every Python from 3.11 on. Do not edit.' > requirements.lock.new
	printf 'hatchling>=1.27\neditables\n' | $(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-strip-extras --upgrade --group dev pyproject.toml - >> requirements.lock.new
	@mv requirements.lock.new requirements.lock

schemas: setup ## Make the schemas that `trimtab validate` carries along again, from the releases of Kubernetes
	@$(BIN)/python -m trimtab.cluster.schemas

clean: ## Remove the Python environment and what tools left; the user's cache of binaries stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) --version 2>&1); name another: make PYTHON=python3.12 setup" >&2; \
		exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
		echo "$(PYTHON) cannot make environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "setup: installing the locked Python packages into $(VENV)"
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
