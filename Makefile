# Everything a newcomer types. Each target sets up what it needs in .venv and nothing elsewhere.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help quickstart test lint lock audit fuzz clean

# `make test` and CI install what the lock file says, on the Python that it was made for; other
# Pythons take the ranges of pyproject.toml.
LOCKED_FOR := 3.11
LOCK = $$($(PY) -c 'import sys; print("-c requirements.lock" * (f"{sys.version_info[0]}.{sys.version_info[1]}" == "$(LOCKED_FOR)"))')

help:
	@echo "make quickstart   install, read a page, train phases 1-2-3 at size tiny, evaluate"
	@echo "make test         install with the test extras and run the tests"
	@echo "make lint         ruff, the contract of imports, types (part of make test)"
	@echo "make lock         rewrite requirements.lock from what is installed in .venv"
	@echo "make audit        licences of all dependencies, and their known vulnerabilities"
	@echo "make fuzz         ten minutes of inputs that are nearly right (python -m tests.fuzz)"
	@echo "make clean        remove runs/ and data/ (not .venv)"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"nota_jax needs Python 3.11 or newer; {sys.executable} is {v[0]}.{v[1]}. Try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip

# Stamps, so that a second call installs nothing and a changed pyproject.toml installs again.
$(VENV)/.core: pyproject.toml | $(VENV)/bin/python
	@echo "installing nota_jax and what it needs (once, a few minutes)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml requirements.lock | $(VENV)/bin/python
	@echo "installing nota_jax with its test extras (once, a few minutes)"
	@$(PIP) $(LOCK) -e '.[dev]'
	@touch $@ $(VENV)/.core

# Large pages of memory: without them a quarter of training's processor time on Linux goes into page
# faults (docs/benchmarks.md).
quickstart: $(VENV)/.core
	@GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(PY) -m nota_jax.quickstart

# A file's tests stay in one process, which makes its fixtures once; each process takes up to 4 GiB.
test: lint
	@$(PY) -m pytest -n logical --maxprocesses 4 --dist loadfile

lint: $(VENV)/.dev
	@$(PY) -m ruff check .
	@$(VENV)/bin/lint-imports --no-cache
	@$(PY) -m mypy

lock: $(VENV)/.dev
	@$(PY) -m nota_jax.tools.supply lock

audit: $(VENV)/.dev
	@$(PIP) $(LOCK) -e '.[audit]'
	@$(PY) -m nota_jax.tools.supply audit

fuzz: $(VENV)/.dev
	@$(PY) -m tests.fuzz --minutes 10

clean:
	rm -rf runs data
