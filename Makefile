# One entry point for people and CI. Needs Python 3.11 or newer with pip; the rest lands in .tools, .venv and .cache.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory --no-builtin-rules

PYTHON ?= python3
UV     := .tools/bin/uv
BIN    := .venv/bin
NEWEST := .cache/newest-venv
PROMETHEUS := .cache/prometheus
PGBOUNCER := .cache/pgbouncer
PYTEST := pytest -q --numprocesses logical
header := @printf '\n== %s\n'
venv = test -x $(1)/bin/python || $(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(1)

unexport VIRTUAL_ENV PYTHONPATH
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS     ?= true
export UV_HTTP_TIMEOUT     ?= 300
export PIP_DEFAULT_TIMEOUT ?= 300
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export NO_MKDOCS_2_WARNING := 1

.PHONY: help test format lint prose types layers tests examples docs wheel newest demo dashboard conformance bench coverage fix lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

test: format lint prose types layers tests examples docs wheel ## Run the next nine, stop at the first that fails

format: .venv/ready ## Check the formatting
	$(header) 'format'
	@$(BIN)/ruff format --check --quiet
lint: .venv/ready ## Lint
	$(header) 'lint'
	@$(BIN)/ruff check --quiet
prose: .venv/ready ## Check the spelling, and in the documents also the choice of words
	$(header) 'spelling and words'
	@$(BIN)/codespell src examples notebooks
	@$(BIN)/codespell -D - -D tests/docs/words.txt *.md docs notebooks
types: .venv/ready ## Check the types, by mypy and by pyright
	$(header) 'types: mypy'
	@$(BIN)/mypy
	$(header) 'types: pyright'
	@$(BIN)/pyright
layers: .venv/ready ## Check which way imports point
	$(header) 'import layers'
	@$(BIN)/lint-imports --no-logo
tests: .venv/ready $(PROMETHEUS)/ready $(PGBOUNCER)/ready ## Run the tests
	$(header) 'tests'
	@$(BIN)/$(PYTEST) --ignore tests/docs --ignore tests/test_notebooks.py
examples: .venv/ready ## Run the code of README, docs and notebooks
	$(header) 'code of README, docs and notebooks'
	@$(BIN)/$(PYTEST) tests/docs tests/test_notebooks.py
docs: .venv/ready ## Build the documentation into site/, fit to be read from disk
	$(header) 'documentation'
	@$(BIN)/mkdocs build --strict
	@! grep -rnoE '<(script|link|img)[^>]+(src|href)="?(https?:)?//[^">]*' site --include '*.html'
wheel: .venv/ready ## Build the wheel, and check that it holds what the source does
	$(header) 'wheel'
	@rm -rf dist && $(UV) build --quiet --wheel --no-build-isolation --python $(BIN)/python
	@$(BIN)/python -m tests.programs.wheel dist/*.whl

newest: $(UV) $(PROMETHEUS)/ready ## Run all tests on the newest dependencies that the ranges allow, without the lock
	$(header) 'tests on the newest dependencies; other than in the lock:'
	@$(call venv,$(NEWEST))
	@$(UV) pip install --quiet --python $(NEWEST) --upgrade --editable '.[all]' --group dev
	@$(UV) pip freeze --quiet --python $(NEWEST) --exclude-editable | grep -vxFf <(grep -oE '^[^ ]+==[^ ]+' requirements.lock) || true
	@$(NEWEST)/bin/$(PYTEST)

demo: .venv/ready ## Run the support desk [DSN=postgresql://...] [CONVERSATIONS=file.jsonl]
	@$(BIN)/python examples/support_desk/demo.py $(if $(DSN),--dsn '$(DSN)') \
		$(if $(CONVERSATIONS),--conversations '$(CONVERSATIONS)')
dashboard: .venv/ready $(PROMETHEUS)/ready ## Draw the dashboard of the support desk under load into docs/assets [MINUTES=10]
	@$(BIN)/python examples/observability/load.py docs/assets $(MINUTES)
conformance: .venv/ready ## Run LangGraph's own tests on hardened graphs
	@$(BIN)/python tests/conformance/run.py
bench: .venv/ready ## Run the benchmarks
	@for bench in benchmarks/bench_*.py; do printf '\n== %s\n' $$bench; $(BIN)/python $$bench; done
coverage: .venv/ready $(PROMETHEUS)/ready $(PGBOUNCER)/ready ## Show the lines that no test runs
	@$(BIN)/$(PYTEST) --cov
fix: .venv/ready ## Format, and mend what the linter can mend
	@$(BIN)/ruff check --fix --exit-zero --quiet; $(BIN)/ruff format --quiet
lock: $(UV) ## Resolve the dependencies anew into requirements.lock
	@$(UV) pip compile --quiet --upgrade pyproject.toml --universal --extra all --group dev \
		--generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements.lock
clean: ## Remove everything that make has made
	@rm -rf .tools .venv .cache site dist .{pytest,mypy,ruff,import_linter}_cache .hypothesis .coverage*

$(UV):
	$(header) 'uv'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target .tools uv
$(PROMETHEUS)/ready:
	$(header) 'prometheus and promtool, by which alerts are tested'
	@rm -rf $(@D) && mkdir -p $(@D)/usr/bin $(@D)/lists/partial $(@D)/archives/partial
	@cd $(@D) && if command -v prometheus promtool > /dev/null; then \
		ln -s "$$(command -v prometheus)" "$$(command -v promtool)" usr/bin; \
	else \
		apt="apt-get -qq -o Dir::State::lists=$$PWD/lists -o Dir::Cache=$$PWD -o APT::Sandbox::User="; \
		$$apt update && $$apt download prometheus && dpkg-deb -x prometheus_*.deb . && rm -rf lists *.deb; \
	fi || { echo 'There is no prometheus and no promtool on the PATH, and apt-get cannot bring them.' >&2; exit 1; }
	@touch $@
$(PGBOUNCER)/ready:
	$(header) 'pgbouncer, behind which checkpoints and stores are tested'
	@rm -rf $(@D) && bash tests/programs/get_pgbouncer.sh $(@D) || \
		{ echo 'There is no pgbouncer 1.21 or newer on the PATH, and apt-get cannot bring one.' >&2; exit 1; }
	@touch $@
.venv/locked: %/locked: requirements.lock | $(UV)
	$(header) 'dependencies into $* (some minutes the first time)'
	@$(call venv,$*)
	@$(UV) pip install --quiet --python $* --no-deps --require-hashes -r requirements.lock || \
		$(PYTHON) -m pip --python $*/bin/python install --quiet --no-deps --require-hashes -r requirements.lock # knows its mirror
	@touch $@
.venv/ready: .venv/locked pyproject.toml
	@$(UV) pip install --quiet --python .venv --no-deps --no-build-isolation -e .
	@touch $@
