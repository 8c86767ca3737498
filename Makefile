# `make demo` and `make test` are all a newcomer needs; each installs first what is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test up lint audit bench

demo: $(INSTALLED)
	$(BIN)/voltpipe demo

test: lint
	$(BIN)/pytest

up: $(INSTALLED)
	$(BIN)/voltpipe up

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Needs a network: known weaknesses are looked up by name and version.
audit:
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(VENV)/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

bench: $(INSTALLED)
	for benchmark in benchmarks/*.py; do $(BIN)/python $$benchmark || exit 1; done

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,cluster]'
	touch $@
