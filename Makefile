# Each of these does all of its own set-up, in .venv:
#   make demo        zero-shot evaluation of the shipped backbone on the shipped scenes
#   make test        every check that CI runs: format, lint, types, tests
#   make test-fast   the tests without those marked slow
#   make docs        the documentation site, in site/
PYTHON ?= python3
VENV ?= .venv
READY := $(VENV)/.installed
CHECKS := $(VENV)/.installed-checks
OUT ?= out/zero_shot/mini_scenes

.PHONY: demo test test-fast checks lint types docs wheel bench clean

demo: $(READY)
	$(VENV)/bin/python eval.py --config-file configs/zero_shot/mini_scenes.yaml --out $(OUT)

test: lint types
	$(VENV)/bin/python -m pytest

test-fast: $(CHECKS)
	$(VENV)/bin/python -m pytest -m "not slow"

checks: $(CHECKS)

lint: $(CHECKS)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(CHECKS)
	$(VENV)/bin/mypy

docs: $(CHECKS)
	$(VENV)/bin/python -m mkdocs build --strict

wheel: $(CHECKS)
	$(VENV)/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

bench: $(READY)
	$(VENV)/bin/python benchmarks/overhead.py
	$(VENV)/bin/python benchmarks/probe.py

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet -e '.[eval,train]'
	touch $(READY)

$(CHECKS): $(READY)
	$(VENV)/bin/python -m pip install --quiet -e '.[dev]'
	touch $(CHECKS)

clean:
	rm -rf $(VENV) out site dist
