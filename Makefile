# Two commands do all of their own set-up:
#   make demo    zero-shot evaluation of the shipped backbone on the shipped scenes
#   make test    every check that CI runs
PYTHON ?= python3
VENV ?= .venv
READY := $(VENV)/.installed
CHECKS := $(VENV)/.installed-checks
OUT ?= out/zero_shot/mini_scenes

.PHONY: demo test checks lint types bench clean

demo: $(READY)
	$(VENV)/bin/python eval.py --config-file configs/zero_shot/mini_scenes.yaml --out $(OUT)

test: lint types
	$(VENV)/bin/python -m pytest

checks: $(CHECKS)

lint: $(CHECKS)
	$(VENV)/bin/ruff check .

types: $(CHECKS)
	$(VENV)/bin/mypy

bench: $(READY)
	$(VENV)/bin/python benchmarks/overhead.py
	$(VENV)/bin/python benchmarks/probe.py

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet -e .
	touch $(READY)

$(CHECKS): $(READY)
	$(VENV)/bin/python -m pip install --quiet -e '.[dev]'
	touch $(CHECKS)

clean:
	rm -rf $(VENV) out
