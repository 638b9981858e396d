# Everything runs in .venv, made here from constraints.txt (pins with hashes) with nothing but python3 and pip.
PYTHON ?= python3
export PYTHONDONTWRITEBYTECODE :=
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test test-stack bench bench-peers faults lint lock clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## From files to gold on the agro project, no server needed
	@$(BIN)/datalab demo

test: $(READY) ## Run the tests (a few minutes)
	@stack/system-packages.sh redis-server=redis-server strace=strace
	@$(BIN)/python -m pytest --numprocesses 2

test-stack: $(READY) ## Run the tests that need real servers: Kafka, a schema registry
	@stack/system-packages.sh java=openjdk-17-jre-headless mvn=maven
	@$(BIN)/python -m pytest -m "stack and not full" tests/stack

bench: $(READY) ## Measure against the same SQL in plain DuckDB
	@$(BIN)/python -m benchmarks

bench-peers: $(READY) ## Install Spark for the benchmarks to compare with (550 MB)
	@$(BIN)/python -m benchmarks.peers

faults: $(READY) ## Run the fault suites in their long form
	@stack/system-packages.sh java=openjdk-17-jre-headless mvn=maven
	@$(BIN)/python -m pytest --numprocesses 2 --timeout 7200 -m "not stack" tests/faults tests/security
	@$(BIN)/python -m pytest --timeout 7200 -m "stack and full" tests/stack

lint: $(READY) ## Check style, types and import directions
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

lock: ## Renew the pins in constraints.txt (needs the package index)
	@$(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	@build/lock/bin/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --quiet --upgrade --output-file constraints.txt

clean: ## Remove .venv and everything that was built
	@rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(READY): pyproject.toml constraints.txt hatch_build.py $(wildcard src/datalab/ingest/native/*.c)
	@$(PYTHON) -c 'import sys; sys.exit("DataLab needs Python 3.11 or later" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@echo "installing into .venv (once; again when the pins change)"
	@$(PIP) --require-hashes --requirement constraints.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
