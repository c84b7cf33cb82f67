# Everything a fresh machine with Python 3.11 and git needs: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2

# Tests start many processes; without bytecode each of them compiles everything again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-full chaos lint bench parts clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "envsync needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/python -m tests.demo

test: $(VENV)/installed lint parts
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'not full'

test-full: $(VENV)/installed lint parts
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# An apply is killed in a loop while others work and the registry fails; CHAOS_SECONDS=60.
chaos: $(VENV)/installed parts
	$(BIN)/python -m tests.chaos

lint: $(VENV)/installed
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# The programs that the tests use for real: a registry, a Docker engine, skopeo, umoci, debootstrap,
# a browser.
parts: $(VENV)/installed
	$(BIN)/python -m tests.parts.install

bench: $(VENV)/installed parts
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
