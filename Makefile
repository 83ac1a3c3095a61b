# Each of these does all of its own set-up, in .venv:
#   make demo        zero-shot evaluation of shipped backbones on the shipped scenes and photographs
#   make test        every check that CI runs: format, lint, types, tests
#   make test-fast   the tests without those marked slow
#                    (WORKERS=4 runs them in four processes; the default is two)
#   make docs        the documentation site, in site/
#   make figures     the figures of README and docs from the shipped weights: hours; MSRC=DIR COCO=DIR name the datasets
PYTHON ?= python3
VENV ?= .venv
READY := $(VENV)/.installed
CHECKS := $(VENV)/.installed-checks
OUT ?= out/zero_shot
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder  # 2 GiB per worker; files with one long test not at the end

.PHONY: demo test test-fast checks lint types docs wheel bench figures clean

demo: $(READY)
	$(VENV)/bin/python eval.py --config-file configs/zero_shot/mini_scenes.yaml --out $(OUT)/mini_scenes
	$(VENV)/bin/python eval.py --config-file configs/zero_shot/photo_photographs.yaml --out $(OUT)/photo_photographs

test: lint types
	$(PYTEST)

test-fast: $(CHECKS)
	$(PYTEST) -m "not slow"

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

figures: $(CHECKS)
	@test -d "$(MSRC)" && test -d "$(COCO)" || { echo "make figures needs MSRC=DIR and COCO=DIR, the folders of the datasets" >&2; exit 2; }
	$(MAKE) -f recipes/mini/Makefile PYTHON=$(VENV)/bin/python
	$(MAKE) -f recipes/photo_jobs/Makefile PYTHON=$(VENV)/bin/python
	$(VENV)/bin/python -m recipes.photo.gallery
	$(VENV)/bin/ca-seg zoo page --out MODEL_ZOO.md

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
