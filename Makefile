# `make` lists what there is.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Two test processes share two cores: more threads in each would only get in each other's way.
# In their own order the last files are quick: files of one slow test, put last, would keep one process alone.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast lint format bench clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.lwc ## compile MobileNetV1 for arm64 and for this machine, and verify both
	$(BIN)/python examples/demo.py

test: $(VENV)/.test ## run all tests
	$(PYTEST)

test-fast: $(VENV)/.test ## run the tests that compile nothing
	$(PYTEST) -m "not slow"

lint: $(VENV)/.dev ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# The packages as they install: passes/ and targets/ inside lwc.
	@mkdir -p build/types/lwc && ln -sfn $(CURDIR)/lwc/* $(CURDIR)/passes $(CURDIR)/targets build/types/lwc/
	MYPYPATH=build/types $(BIN)/mypy -p lwc
	MYPYPATH=build/types:benchmarks $(BIN)/mypy tests benchmarks examples

format: $(VENV)/.dev ## format the Python code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench ## measure beside other engines, and write benchmarks/README.md
	@mkdir -p build
	$(BIN)/lwc bench mobilenet_v1 mobilenet_v2 levit_128s mobilevit_small --weights random --rounds 12 \
		--json build/figures.json
	$(BIN)/python benchmarks/table.py build/figures.json > build/README.md
	@mv build/README.md benchmarks/README.md

clean: ## remove the environment and the demo's packages
	rm -rf $(VENV) build *.egg-info mobilenet_v1-arm64 mobilenet_v1-native

$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.lwc: $(VENV)/.venv pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.test $(VENV)/.dev $(VENV)/.bench: $(VENV)/.%: $(VENV)/.venv pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[$*]'
	touch $@
