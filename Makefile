# `make demo` and `make test` are all a newcomer needs; each installs first what is missing.
# While working: `make test-fast`, `make format`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# A test a core at a time; a worker that has none left takes some from another. More than eight workers would mostly import.
PYTEST := $(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist worksteal --durations 15

.PHONY: demo test test-fast format up lint audit bench

demo: $(INSTALLED)
	$(BIN)/voltpipe demo

test: lint
	$(PYTEST)

test-fast: $(INSTALLED)
	$(PYTEST) -m 'not slow'

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

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
