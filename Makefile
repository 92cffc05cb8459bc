# Every target installs what it needs, once. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules

PYTHON := .venv/bin/python
PYTHON_READY := .venv/.installed
NODE_READY := node_modules/.installed
PYTEST_ARGS ?=
# Each worker has stacks of its own; two keep two cores busy. Tests that share a stack stay together (tests/conftest.py).
WORKERS ?= 2
# What runs the orchestrations of `make demo` and `make start`: in-memory, or extension (local/durable_host/README.md).
ENGINE ?= in-memory
# What azure_cdc asks of Fabric's role in `make start`: membership in the owners of tables, or ownership (local/topology.py).
AZURE_CDC ?= membership

##@ Try it
.PHONY: demo
demo: $(PYTHON_READY) $(NODE_READY) ## Watch two tagged servers become Fabric mirrors, on this machine
	@$(PYTHON) -m local demo --engine $(ENGINE)

.PHONY: start
start: $(PYTHON_READY) $(NODE_READY) ## Run the whole stack in the foreground until Ctrl-C
	@$(PYTHON) -m local start --engine $(ENGINE) --azure-cdc $(AZURE_CDC)

.PHONY: stop
stop: $(PYTHON_READY) ## Stop a stack that `make start` runs elsewhere
	@$(PYTHON) -m local stop

##@ Check it
.PHONY: test
test: $(PYTHON_READY) $(NODE_READY) ## Run the tests (PYTEST_ARGS="-k …" chooses)
	@$(PYTHON) -m local.chromium
	@$(PYTHON) -m pytest -n $(WORKERS) $(PYTEST_ARGS)

.PHONY: test-unit
test-unit: $(PYTHON_READY) ## Run the pure tests only: no processes, seconds
	@$(PYTHON) -m pytest tests/unit $(PYTEST_ARGS)

.PHONY: test-all
test-all: $(PYTHON_READY) $(NODE_READY) ## Run the tests in full: every PostgreSQL version, 14 to 18, and both engines
	@$(PYTHON) -m local.chromium
	@$(PYTHON) -m pytest -n $(WORKERS) -m "" $(PYTEST_ARGS)
	@if $(PYTHON) -c 'import sys; from local import engine; sys.exit(engine.program() is None)'; then \
		$(PYTHON) -m pytest -n $(WORKERS) -m "" --engine extension tests/e2e --ignore tests/e2e/engine $(PYTEST_ARGS); \
	else \
		echo "The Durable extension is not here: tests/e2e ran on the in-memory engine alone."; \
	fi

.PHONY: lint
lint: $(PYTHON_READY) $(NODE_READY) ## Check style, format, types, which module may import which, templates and queries
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy --strict functions shared function_app.py
	@$(PYTHON) -m mypy local infra bench
	@.venv/bin/lint-imports --no-logo
	@node infra/check_queries.cjs infra/queries/*.kql
	@$(PYTHON) -m infra.templates check

.PHONY: snapshots
snapshots: $(PYTHON_READY) ## Record what the Bicep templates deploy, in tests/snapshots, with the real compiler
	@$(PYTHON) -m infra.templates snapshots

.PHONY: bench
bench: $(PYTHON_READY) $(NODE_READY) ## Run the benchmarks
	@if [ -f bench/__main__.py ]; then $(PYTHON) -m bench; else echo "There are no benchmarks yet: bench/ is empty."; fi

.PHONY: histories
histories: $(PYTHON_READY) $(NODE_READY) ## Record the histories of orchestrations that tests replay (needs durable-host)
	@$(PYTHON) -m local.histories

.PHONY: screenshot
screenshot: $(PYTHON_READY) $(NODE_READY) ## Take the pictures of the page for the documents again
	@$(PYTHON) -m local.chromium
	@$(PYTHON) -m local.screenshot

##@ Ship it
.PHONY: package
package: $(PYTHON_READY) ## Build the deployment zip in dist/
	@$(PYTHON) -m infra.package

.PHONY: check-rights
check-rights: $(PYTHON_READY) ## Say what the deployed app still lacks in Azure and Fabric
	@$(PYTHON) -m infra.check_rights

.PHONY: release-all
release-all: $(PYTHON_READY) ## Release every server that the deployed app mirrors, before azd down
	@$(PYTHON) -m infra.release_all

##@ Tidy up
.PHONY: clean
clean: ## Stop a running stack; remove its data, caches and builds
	@if [ -f .local/stack.json ] && [ -x $(PYTHON) ]; then $(PYTHON) -m local stop; fi
	@rm -rf .local dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	@find . \( -name node_modules -o -name .venv -o -name .git \) -prune -o -name __pycache__ -type d -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## Also remove what was installed: .venv and node_modules
	@rm -rf .venv node_modules

.PHONY: setup
setup: $(PYTHON_READY) $(NODE_READY) ## Install everything, and do nothing else

.PHONY: lock
lock: ## After a change of dependencies: pin what they bring, in constraints.txt, requirements.txt and package-lock.json
	@: > constraints.txt
	@$(MAKE) --no-print-directory $(PYTHON_READY)
	@$(PYTHON) -m pip freeze > constraints.txt
	@.venv/bin/uv pip compile --quiet --native-tls --universal --python-version 3.13 --generate-hashes --no-annotate --no-header \
		--constraint constraints.txt --output-file requirements.txt requirements.in
	@touch $(PYTHON_READY)
	@npm install --package-lock-only --no-progress --loglevel=error

.PHONY: doctor
doctor: $(PYTHON_READY) ## Check what this machine has and lacks for the local stack
	@$(PYTHON) -m local.doctor

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## "; print "make TARGET" } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

# A command counts only if it runs: a version manager's shim may stand in PATH for a version that is not there.
$(PYTHON_READY): requirements.in requirements-dev.txt constraints.txt
	@while IFS= read -r python; do \
		if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, 13))' < /dev/null 2> /dev/null; then found=$$python; break; fi; \
	done < <(type -ap python3.13 python3 || true); \
	if [ -z "$${found:-}" ]; then \
		echo "Python 3.13 is needed: install python3.13 with its venv module (Debian: python3.13-venv; pyenv: pyenv install 3.13)." >&2; exit 1; \
	fi; \
	echo "Installing the Python packages into .venv …"; \
	"$$found" -m venv --clear .venv; \
	$(PYTHON) -m pip install -qq --disable-pip-version-check --no-input --requirement requirements-dev.txt --constraint constraints.txt
	@touch $@

$(NODE_READY): package.json package-lock.json .npmrc
	@if ! node -e 'process.exit(Number(parseInt(process.versions.node) < 20))' 2> /dev/null || ! npm --version > /dev/null 2>&1; then \
		echo "Node.js 20 or later with npm is needed (Debian: nodejs and npm; nvm: nvm install 20)." >&2; exit 1; \
	fi; \
	echo "Installing Azurite and the PostgreSQL binaries into node_modules …"; \
	npm ci --no-progress --loglevel=error
	@touch $@
