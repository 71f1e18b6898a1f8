# One target per job. Everything is installed into .venv; PYTHON names the interpreter that makes it (3.11 or newer).
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: help demo test check site serve bench lint clean

help:
	@echo "make demo    install, run four models on real inputs, write results and pictures into demo/"
	@echo "make test    install what tests need and run all of them"
	@echo "make check   check the catalog, the schemas and the generated blocks"
	@echo "make site    build the site into site/build"
	@echo "make serve   build the site and serve it at localhost:8000"
	@echo "make bench   print the ratios that the documentation quotes"
	@echo "make lint    ruff, mypy strict, import-linter"
	@echo "make clean   remove what can be made again"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24.1"

# One stamp an extra: it is installed anew when pyproject.toml changes.
$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	@touch $@

demo: $(VENV)/.installed-demo
	$(BIN)/medfm demo --output demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest --doctest-modules zoo/medfm --ignore=zoo/medfm/__main__.py -q

check: $(VENV)/.installed-test
	$(BIN)/medfm check
	$(BIN)/medfm schema --check
	$(BIN)/python scripts/blocks.py --check

site: $(VENV)/.installed-site
	$(BIN)/medfm pages --output site/pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file site/mkdocs.yml
	@echo "open site/build/index.html"

serve: site
	$(BIN)/python -m http.server --directory site/build --bind 127.0.0.1 8000

bench: $(VENV)/.installed-all
	$(BIN)/python scripts/bench_lookups.py
	$(BIN)/python scripts/bench_check.py
	$(BIN)/python scripts/bench_loading.py
	$(BIN)/python scripts/bench_preprocessing.py
	$(BIN)/python scripts/bench_embedding.py
	$(BIN)/python scripts/bench_sliding.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf demo dist site/pages site/build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
