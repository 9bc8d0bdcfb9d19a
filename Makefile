# make demo    install into .venv, then the main job on synthetic nuclei (runs/demo)
# make test    install into .venv, then ruff, import-linter, mypy --strict, pytest
# make clean   remove builds and caches; .venv and runs/ stay

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed
CHECKED := build/typecheck

.DEFAULT_GOAL := test
.PHONY: install demo test lint types checked unit clean

install: $(STAMP)

# setuptools is installed beside the package so that the wheel below is built without a network.
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet 'setuptools>=77' -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/nasseg run --config docs/demo.yaml --out runs/demo

# Tests come last: the summary of pytest is the last line.
test: $(STAMP)
	$(MAKE) --no-print-directory lint types
	@$(MAKE) --no-print-directory unit

lint: $(STAMP) checked
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(CHECKED) && $(abspath $(BIN))/lint-imports --no-logo --cache-dir $(CURDIR)/.ruff_cache/imports \
		$(CURDIR)/pyproject.toml

types: $(STAMP) checked
	cd $(CHECKED) && $(abspath $(BIN))/mypy --strict --config-file $(CURDIR)/pyproject.toml \
		--cache-dir $(CURDIR)/.mypy_cache -p nasseg

# mypy and import-linter do not see search_spaces/ and evaluators/ as parts of nasseg in an editable
# install, so they read what the wheel would install.
checked: $(STAMP)
	rm -rf build
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheel .
	$(PIP) install --quiet --no-deps --target $(CHECKED) build/wheel/*.whl

# A file of tests to a process, each with one thread: there are as many as cores, up to four.
unit: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
