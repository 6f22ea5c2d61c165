# `make` lists what there is. Every target sets up what it needs on a fresh machine.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup browser demo compare test test-all check format clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## Make the environment in .venv

# Installed once, and again whenever the dependencies change.
$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

# The page of `bottleneck compare` is tested in a real browser. Without one those tests are
# skipped and say so, so a machine that cannot have it loses nothing else.
browser: ## Get Chromium for the tests of the page, where apt-get and root are at hand
	@command -v chromium chromium-browser google-chrome >/dev/null 2>&1 || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null 2>&1 \
	  && apt-get update -qq >/dev/null 2>&1 \
	  && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium \
	    >/dev/null 2>&1; } \
	|| echo "no Chromium and no way to get it here: the tests of the page in a browser are skipped"

demo: $(READY) ## Run the main job on data/sample: features, two heads, their judgement
	$(BIN)/bottleneck run pipelines/quickstart.toml

compare: $(READY) ## Compare three backbones on data/sample: runs/compare/report.html
	$(BIN)/bottleneck run pipelines/compare_backbones.toml

test: check browser ## Lint, types and tests
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'not heavy'

test-all: check browser ## The same with the heavy tests
	$(BIN)/python -m pytest -n auto --dist loadfile

check: $(READY) ## Lint and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## Put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the environment and everything made here
	rm -rf $(VENV) runs build dist .mypy_cache .pytest_cache .ruff_cache
