# `make` lists what there is. Every target sets up what it needs on a fresh machine.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup tools demo compare test test-all test-torch test-cluster faults bench docs wheel check format clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## Make the environment in .venv

# Installed once, and again whenever the dependencies change.
$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	# Weights of a network of sound; what the package wants installed is of 2019.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps musicnn==0.1.0
	@touch $@

demo: $(READY) ## Run the main job on data/sample: features, two heads, their judgement
	$(BIN)/bottleneck run pipelines/quickstart.toml

compare: $(READY) ## Compare three backbones on data/sample: runs/compare/report.html
	$(BIN)/bottleneck run pipelines/compare_backbones.toml

# Programs that some tests need: one looks at feature files, one at the page of a comparison.
# Where they cannot be had, those tests skip and say so.
tools:
	@command -v h5dump >/dev/null || test "$$(id -u)" != 0 || \
	{ apt-get update -q && apt-get install -yq hdf5-tools; } >/dev/null 2>&1 || true
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || test "$$(id -u)" != 0 || \
	{ apt-get update -q && apt-get install -yq --no-install-recommends chromium; } \
	  >/dev/null 2>&1 || true

test: check tools ## Lint, types and tests
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'not heavy and not cluster'

test-all: check tools ## The same with the heavy tests
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'not cluster'

# Where pip would bring CUDA with PyTorch, the set-up says so, and nothing is run.
test-torch: $(READY) ## Tests with PyTorch: its runtime, and networks of timm, transformers, torchvision, OpenCLIP
	@$(BIN)/python tests/torch_setup.py; found=$$?; \
	if test $$found -eq 3; then exit 0; elif test $$found -ne 0; then exit $$found; fi; \
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'not heavy' -k torch tests/runtimes tests/backbones tests/store tests/decode

# Its wheel is 79 MB, so that it is installed only here.
test-cluster: $(READY) ## Tests with Ray: nodes of a cluster on this machine are killed and joined
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[ray]'
	$(BIN)/python -m pytest -m 'cluster and not heavy' tests/cluster

faults: $(READY) tools ## The fault campaign in full: kills, losses of power, full and broken disks (long)
	PYTHONPATH=tests $(BIN)/python -m faults.campaign --long

bench: $(READY) ## The feature file beside NumPy, and at 100 million rows
	$(BIN)/python benchmarks/store.py

docs: $(READY) ## Build the documentation into site/; a broken link or reference is an error
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group docs
	$(BIN)/python docs/make_pages.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --site-dir site

# What a user installs is not this folder: the wheel is installed alone, and used elsewhere.
wheel: ## Build the wheel into dist/ and try it in an environment of its own, away from here
	rm -rf dist
	$(PYTHON) -m venv --clear build/builder
	build/builder/bin/python -m pip install --quiet --disable-pip-version-check build
	build/builder/bin/python -m build --quiet --outdir dist .
	$(PYTHON) tests/wheel_trial.py dist/*.whl

check: $(READY) ## Lint and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## Put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the environment and everything made here
	rm -rf $(VENV) runs build dist site .mypy_cache .pytest_cache .ruff_cache
