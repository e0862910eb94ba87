# Listwire's own make: `make` alone explains itself. Needs python3 (3.11 to 3.13) with venv, and the network once.

.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
FUZZ_STAMP := $(VENV)/.installed-fuzz
MUTATE_STAMP := $(VENV)/.installed-mutate
PYTHON ?= python3 python3.13 python3.12 python3.11
PACKAGES := listwire ingress stream vendors console sandbox
COMPILE = $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate $(if $(UPGRADE),--upgrade)
UV ?= $(shell command -v uv || echo $(BIN)/uv)
# Where it is set, each of a thousand processes that the tests start would compile all it imports, at a second of a processor each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  \033[1mmake %-12s\033[0m %s\n", $$1, $$2 }'

.PHONY: install
install: $(STAMP) ## .venv with the locked dependencies and the command .venv/bin/listwire

.PHONY: demo
demo: $(STAMP) ## both flows against stand-ins, with a real Kafka; ONCE=1 runs one round and ends
	@$(BIN)/listwire demo $(if $(ONCE),--once)

.PHONY: test
test: $(STAMP) browser-ready ## the whole suite, an embedded Kafka included; ARGS="-k lane" narrows it
	@$(BIN)/pytest -n 4 --dist loadgroup $(ARGS)

.PHONY: chaos
chaos: $(STAMP) ## kills, freezes and joins processes under load, then checks every promise; MINUTES=5 SEED=1, see docs/chaos.md
	@$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED))

.PHONY: check
check: lint types imports ## lint + types + imports

.PHONY: lint
lint: $(STAMP) ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: types
types: $(STAMP) ## mypy --strict
	@$(BIN)/mypy

.PHONY: imports
imports: $(STAMP) ## which folder may import which (import-linter)
	@$(BIN)/lint-imports --no-logo

.PHONY: audit
audit: $(STAMP) ## known vulnerabilities in what the locks pin; without a network a warning
	@$(BIN)/python .ci/audit.py

.PHONY: docs
docs: $(STAMP) ## writes the generated pages again: settings, metrics, commands, reasons
	@$(BIN)/python docs/generate.py

.PHONY: screenshots
screenshots: $(STAMP) browser-ready ## takes docs/screenshots/ again, with headless Chromium
	@$(BIN)/python -m tests.browser.screenshots

.PHONY: bench
bench: $(BENCH_STAMP) ## Listwire and its peers, measured on this machine; see bench/README.md
	@$(BIN)/python -m bench $(ARGS)

.PHONY: fuzz
fuzz: $(FUZZ_STAMP) ## the codecs and the ingress with inputs that nobody thought of; MINUTES=1 ONLY=webhook-form, see docs/fuzzing.md
	@$(BIN)/python -m tests.fuzz $(if $(PLANTED),--planted,--minutes $(or $(MINUTES),1)) $(if $(ONLY),--only $(ONLY))

.PHONY: mutate
mutate: $(MUTATE_STAMP) ## small changes to the delivery core and the codecs, each of which a unit test must notice; ONLY=stream/lanes.py, see docs/mutation.md
	@$(BIN)/python -m tests.mutation $(if $(ONLY),--only $(ONLY))

.PHONY: lock
lock: ## resolves requirements/*.lock anew from pyproject.toml (needs uv); UPGRADE=1 takes newer versions
	@command -v $(UV) >/dev/null || { echo 'make lock needs uv: $(BIN)/pip install uv' >&2; exit 1; }
	sed -n 's/^requires = \["\(.*\)"\]/\1/p' pyproject.toml | $(COMPILE) --output-file requirements/build.lock -
	$(COMPILE) --output-file requirements/listwire.lock pyproject.toml
	$(COMPILE) --extra=dev --output-file requirements/dev.lock pyproject.toml
	$(COMPILE) --extra=dev --extra=fuzz --output-file requirements/fuzz.lock pyproject.toml
	$(COMPILE) --extra=dev --extra=mutate --output-file requirements/mutate.lock pyproject.toml
	$(COMPILE) --extra=dev --extra=bench --output-file requirements/bench.lock pyproject.toml
	echo 'pip-audit>=2.10,<3' | $(COMPILE) --output-file requirements/audit.lock -

.PHONY: clean
clean: ## removes .venv, caches and what was built
	@rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The rest is for the targets above.

# The first Python on the list that is in range and can make a venv; else words on what is missing.
$(STAMP): requirements/dev.lock pyproject.toml
	@fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; \
	if ! $(BIN)/python -c "$$fits" 2>/dev/null || ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
	  found=; old=; \
	  for python in $(PYTHON); do \
	    $$python -c '' 2>/dev/null || continue; \
	    $$python -c "$$fits" || { old="$$old $$python ($$($$python -c 'import platform; print(platform.python_version())'))"; continue; }; \
	    $$python -c 'import venv, ensurepip' 2>/dev/null || { old="$$old $$python (without its venv module; on Debian: apt-get install python3-venv)"; continue; }; \
	    found=$$python; break; \
	  done; \
	  [ -n "$$found" ] || { echo "Listwire needs Python 3.11, 3.12 or 3.13 with venv; found:$${old:- none}. Name one: make install PYTHON=/path/to/python3.13" >&2; exit 1; }; \
	  echo "Making $(VENV) with $$found …"; $$found -m venv --clear $(VENV); \
	fi
	@echo 'Installing the locked dependencies …'
	@$(BIN)/python -m pip install --quiet --no-input --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --no-input --no-deps --no-build-isolation --editable .
	@touch $@

$(BENCH_STAMP): $(STAMP) requirements/bench.lock
	@$(BIN)/python -m pip install --quiet --no-input --require-hashes -r requirements/bench.lock
	@touch $@

$(FUZZ_STAMP): $(STAMP) requirements/fuzz.lock
	@$(BIN)/python -m pip install --quiet --no-input --require-hashes -r requirements/fuzz.lock
	@touch $@

$(MUTATE_STAMP): $(STAMP) requirements/mutate.lock
	@$(BIN)/python -m pip install --quiet --no-input --require-hashes -r requirements/mutate.lock
	@touch $@

# Only once there are browser tests; they are never skipped, so what they need is said at once.
.PHONY: browser-ready
browser-ready:
	@if ls tests/browser/test_*.py >/dev/null 2>&1; then \
	  for program in chromium chromedriver; do \
	    command -v $$program >/dev/null || { echo "The browser tests need $$program; on Debian: apt-get install chromium chromium-driver" >&2; exit 1; }; \
	  done; \
	fi
