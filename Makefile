# Three commands: `make demo` (see it work), `make test` (the whole default suite), `make check` (what CI runs).
# Each makes .venv when it is missing and installs again only when pyproject.toml has changed.

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
# Two threads, always said: timings compare and runs on shared machines stay polite. `make demo OMP_NUM_THREADS=8` for more.
export OMP_NUM_THREADS ?= 2
# Processes of the tests, one thread each: more threads than cores wait for one another
WORKERS ?= 2
BIN := $(VENV)/bin

.PHONY: demo test check format lint types clean

demo: $(VENV)/.installed-demo
	$(BIN)/python runs/demo.py

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

check: lint types test

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(VENV)/.installed-dev
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.installed-dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	@echo "Installing mzsr[$*] into $(VENV) (PyTorch is the large part of the first download) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) --editable ".[$*]"
	@touch $@

clean:
	rm -rf $(VENV) demo dist .pytest_cache .ruff_cache .hypothesis
	find src tests runs -name __pycache__ -type d -prune -exec rm -rf {} +
