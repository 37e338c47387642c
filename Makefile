# Everything a checkout needs; `make help` lists it. Needs Python 3.11 or newer, and for `make kafka` Java 17 and Maven.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
CODE := $(wildcard schemas sink streams tests bench docs)
SPEC := pyproject.toml constraints.txt
.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: install
install: .venv/.run ## make .venv with sellerpulse in it

.PHONY: demo
demo: install ## everything on this machine, over a simulated marketplace year
	$(BIN)/sellerpulse demo

.PHONY: test
test: lint checks ## lint, types, layers and all tests

.PHONY: checks
checks: .venv/.dev
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder  # they wait for others most of the time, and what is short is last

.PHONY: lint
lint: .venv/.dev ## format, lint, types, layers
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports --no-logo

.PHONY: kafka
kafka: ## a real one-node Kafka on 127.0.0.1:9092, in the foreground
	@deploy/kafka/run.sh

.PHONY: bench
bench: .venv/.dev ## side by side against peers
	$(BIN)/python -m bench

.PHONY: chaos
chaos: .venv/.dev ## kills and other faults under load, three quarters of an hour: what was lost, as a table
	$(BIN)/python -m tests.chaos

.PHONY: score
score: .venv/.dev ## how well comments are read: precision and recall
	$(BIN)/python -m tests.comments

.PHONY: docs
docs: .venv/.dev ## the documentation, in site/: open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

.PHONY: vendor
vendor: install ## fetch anew what lies here of npm's registry: the page's charts, the tests' accessibility checker
	$(BIN)/python -m tests.vendored

.PHONY: screenshots
screenshots: .venv/.dev ## the README's pictures of the page, of a demo
	$(BIN)/python -m tests.screenshots

.PHONY: constraints
constraints: install ## resolve the pins anew, for every Python we support
	$(PIP) uv
	UV_CUSTOM_COMPILE_COMMAND='make constraints' $(BIN)/uv pip compile --quiet --upgrade --universal \
	  --python-version 3.11 --all-extras --group build --no-emit-index-url --no-annotate pyproject.toml -o constraints.txt

.PHONY: release-schema
release-schema: install ## a changed schema, FILE=..., becomes its topic's newest version; the one before is kept
	$(BIN)/python -m schemas.release $(FILE)

.PHONY: clean
clean: ## remove what make made, the broker's data included
	rm -rf .venv .kafka build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# Stamps: a second run installs nothing. setuptools is installed first, by its pin, because a build in isolation
# would take whatever version is newest.
.venv/.run: $(SPEC)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "sellerpulse needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) setuptools
	$(PIP) --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.run
	$(PIP) --no-build-isolation --editable '.[test,bench,docs]'
	@touch $@
