# make demo [ACTOR=demo]   all seven assets of one actor, then a table and where the portrait lies
# make test [WORKERS=3]    every test, in so many processes of one thread and up to 3 GB each
# make test-fast           the unit lane alone, in a minute or so: no server, no chain; tests/README.md
# make ui                  the Dagster UI (with its daemon) on the same instance, http://127.0.0.1:3000
# make serve               the HTTP service with its worker on the same instance, http://127.0.0.1:8000
# make lint                ruff, import-linter and mypy
# Nothing but Python >= 3.11, make and git is needed. PIP_FLAGS goes to pip, e.g. to name an index with CPU builds of torch.

ACTOR ?= demo
WORKERS ?= 3
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
PIP_FLAGS ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests and lint need more: Ray, a PostgreSQL and an S3 server, linters.
DEV_STAMP := $(VENV)/.installed-dev
# A file's tests run in one process; the files that cost most come first (tests/conftest.py).
SPREAD := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-fast ui serve lint format install clean
.DEFAULT_GOAL := demo

install: $(STAMP)

# Installed once; again only when what is to be installed changes.
$(STAMP): pyproject.toml requirements/constraints.txt requirements/no-deps.txt
	@test -n "$(PYTHON)" || { echo "No python3.11 or python3 on the PATH: install Python 3.11 or newer."; exit 1; }
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, $(PYTHON) is {sys.version}")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) --constraint requirements/constraints.txt --editable '.[insightface]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) --no-deps --requirement requirements/no-deps.txt
	touch $@

$(DEV_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) --constraint requirements/constraints.txt --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/avatar-pipeline register
	$(BIN)/avatar-pipeline run $(ACTOR)

# The tests start hundreds of processes; compiled here, the package need not be compiled in each
# where PYTHONDONTWRITEBYTECODE is set.
test: $(DEV_STAMP)
	$(BIN)/python -m compileall -q avatar_pipeline
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SPREAD) --durations 30 --junitxml build/tests.xml

test-fast: $(DEV_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SPREAD) tests/unit

ui: PORT ?= 3000
ui: $(STAMP)
	$(BIN)/avatar-pipeline register
	$(BIN)/avatar-pipeline ui --port $(PORT)

serve: PORT ?= 8000
serve: $(STAMP)
	$(BIN)/avatar-pipeline serve --port $(PORT)

lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(DEV_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache
