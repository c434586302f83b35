# Each target makes the environment that it needs; `make help` lists the targets.

VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip -qq --disable-pip-version-check --no-input
PYTEST := $(PYTHON) -m pytest -n $(or $(JOBS),auto) --dist worksteal
INSTALLING := Installing afterlaunch into $(VENV) (about a minute the first time) …

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all check bench studies clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS='	' read -r target text; do printf '  make %-9s %s\n' "$$target" "$$text"; done

demo: $(VENV)/core ## the life of one model, on real data, as one report
	@$(VENV)/bin/afterlaunch demo $(ARGS)

test: $(VENV)/dev ## all tests that need Python packages only
	@status=0; $(PYTEST) -m 'not (spark or browser or postgres)' $(ARGS) || status=$$?; \
	echo 'Left out: the tests that need Spark, a browser or PostgreSQL; `make test-all` runs them too.'; exit $$status

test-all: $(VENV)/dev ## all tests; one that cannot run fails
	@! grep -rqw 'mark\.spark' tests || java -version >/dev/null 2>&1 || \
	  { echo 'The Spark tests need Java 17: apt install openjdk-17-jre-headless' >&2; exit 2; }
	@! grep -rqw 'mark\.browser' tests || command -v chromium >/dev/null || \
	  { echo 'The browser tests need Chromium: apt install chromium chromium-driver' >&2; exit 2; }
	@! grep -rqw 'mark\.postgres' tests || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || \
	  { echo 'The PostgreSQL tests need its programs: apt install postgresql' >&2; exit 2; }
	@$(PYTEST) -p tests.project.nothing_skipped $(ARGS)

check: $(VENV)/dev ## style, types and the rules of the project
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@$(PYTHON) -m pytest -q tests/project

bench: $(VENV)/dev ## speed and memory, beside the peers
	@$(PYTHON) benchmarks/run.py $(ARGS)

studies: $(VENV)/dev ## simulations behind the promised error rates; ARGS=--quick for a short run
	@for study in studies/[!_]*.py; do echo "$$study"; $(PYTHON) "$$study" $(ARGS) || exit 1; done

clean: ## remove all that these targets made
	@rm -rf $(VENV) benchmarks/.cache build dist htmlcov .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/core: pyproject.toml $(VENV)/made-in
	@echo '$(INSTALLING)'
	@$(PIP) install --editable .
	@touch $@

$(VENV)/dev: pyproject.toml $(VENV)/made-in
	@echo '$(INSTALLING)'
	@$(PIP) install --editable '.[dev]'
	@touch $(VENV)/core $@

# An environment that was copied along with the folder, or whose Python is gone, is made anew.
ifneq ($(shell test -x $(PYTHON) && cat $(VENV)/made-in 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)/made-in
endif

$(VENV)/made-in:
	@some=; \
	for python in python3.13 python3.12 python3.11 python3; do \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; some=$$python; \
	  $$python -c 'import ensurepip, venv' 2>/dev/null || continue; \
	  $$python -m venv --clear $(VENV) && pwd -P > $@; exit $$?; \
	done; \
	if [ -n "$$some" ]; then echo "$$some cannot make a virtual environment: apt install python3-venv" >&2; \
	else echo 'afterlaunch needs Python 3.11 or newer: apt install python3 python3-venv' >&2; fi; exit 2
