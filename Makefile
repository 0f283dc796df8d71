# swinkit's commands. Everything runs in .venv, which the first command makes.
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
STAMP := .venv/.installed
# Tests use the processor's cores as processes, and the quickstart's model is too small to share among threads.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install quickstart test lint format types bench clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(STAMP) ## make .venv with swinkit and everything its development needs

$(STAMP): pyproject.toml
	@echo 'Installing into .venv: some minutes, about 6 GB (PyTorch with its CUDA libraries).'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[dev]'
	@touch $@

quickstart: install ## train on handwritten digits, evaluate, predict, draw: a few minutes on two cores
	$(BIN)/swinkit quickstart

test: install lint types ## everything that has to be green: format, lint, types, tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: install ## check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: install ## rewrite the files in the common format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: install ## check the types
	$(BIN)/pyright

bench: install ## run the quick benchmarks; the long ones are listed with their commands
	$(BIN)/python benchmarks/parameters_and_flops.py
	@echo; echo "Other benchmarks (each explains itself with --help):"
	@for file in benchmarks/*.py; do case $$file in */common.py|*/ahead_of_time.py|*/__init__.py|*/parameters_and_flops.py) ;; *) echo "  $(BIN)/python $$file";; esac; done

clean: ## remove caches and build output; .venv and runs stay
	rm -rf build dist .pytest_cache .ruff_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
