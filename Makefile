# make demo    install into .venv, then the main job on synthetic nuclei (runs/demo)
# make test    install into .venv, then ruff, mypy --strict, pytest
# make clean   remove builds and caches; .venv and runs/ stay

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed
CHECKED := build/typecheck

.DEFAULT_GOAL := test
.PHONY: install demo test lint types unit clean

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
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory unit

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy does not see search_spaces/ and evaluators/ as parts of nasseg in an editable install, so it
# reads what the wheel would install.
types: $(STAMP)
	rm -rf build
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheel .
	$(PIP) install --quiet --no-deps --target $(CHECKED) build/wheel/*.whl
	cd $(CHECKED) && $(abspath $(BIN))/mypy --strict --config-file $(CURDIR)/pyproject.toml \
		--cache-dir $(CURDIR)/.mypy_cache -p nasseg

# A file of tests to a process, each with one thread: there are as many as cores, up to four.
unit: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
