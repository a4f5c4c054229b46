# Everything a developer types. Works with GNU make 3.81 (macOS) and newer.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
# Written last: without it an environment is half made, and is made again.
STAMP := $(VENV)/.complete
# Runs the official checks where only a package index can be reached; lies beside the checkout, if anywhere.
SANITY := ../shared/bin/ansible-test-sanity
POSTGRES_VERSIONS := 15,16,17,18
# Each worker has servers of its own. What one file shares between its tests stays with one worker.
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadfile

# Ansible's programs call each other by name.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Molecule brings an ansible.cfg of its own; with this it tests the working tree.
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/collections
export MOLECULE_GLOB := molecule/*/molecule.yml

.DEFAULT_GOAL := help
.PHONY: help setup lint docs test test-full bench demo demo-stop lock build clean

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## the locked tools in .venv (PYTHON=... chooses the interpreter)

# An interpreter counts when it really runs: a version manager's shim may answer to a name without being one.
# The old environment goes first, else it would be found as python3 where it is activated.
$(STAMP): requirements.txt
	@rm -rf $(VENV)
	@for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
	  "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && break; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "No Python 3.11 or newer with venv and ensurepip was found ($(or $(PYTHON),python3.13 ... python3))." \
	    "Install one (Debian: python3-venv), or name it: make setup PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$python" --version); this takes a minute or two, once."; \
	"$$python" -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

lint: setup ## ruff, mypy, yamllint, ansible-lint, changelog fragments, stale READMEs
	$(BIN)/ruff check .
	$(BIN)/mypy plugins tests benchmarks tools
	$(BIN)/yamllint --strict .
	$(BIN)/ansible-lint
	$(BIN)/antsibull-changelog lint
	$(BIN)/python tools/role_readmes.py --check
	$(BIN)/python tools/error_codes.py --check

docs: setup ## the tables in the roles' READMEs and the runbook, from argument specs and error codes
	$(BIN)/python tools/role_readmes.py
	$(BIN)/python tools/error_codes.py

test: setup ## everything quick, on one Postgres: pytest, then the Molecule scenarios
	$(PYTEST)
	$(BIN)/molecule test --all

test-full: setup ## everything, on every Postgres that is found, and ansible-test sanity
	$(PYTEST) -m "full or not full" --postgres-versions $(POSTGRES_VERSIONS)
	$(BIN)/molecule test --all
	@if [ -x $(SANITY) ]; then $(SANITY) .; else echo "SKIPPED: ansible-test sanity ($(SANITY) is not there)"; fi

bench: setup ## how fast it is, beside the alternatives
	$(BIN)/python benchmarks/run.py

# Nobody took a baseline before the demo's migration.
demo: NO_BASELINE := -e teardown_allow_unknown_provenance=true
demo: setup ## a disposable Postgres, its sequences repaired and its coaching tables torn down and back, before your eyes
	$(BIN)/ansible-playbook demo/up.yml
	$(BIN)/ansible-playbook rollback.yml --tags sequence
	$(BIN)/ansible-playbook demo/prove.yml
	$(BIN)/ansible-playbook rollback.yml --tags plan $(NO_BASELINE)
	$(BIN)/ansible-playbook rollback.yml --tags teardown $(NO_BASELINE) \
	  -e rollback_confirm=$$($(BIN)/python -c 'import json, sys; print(json.load(sys.stdin)["token"])' \
	  <artifacts/demo/latest/plan.json)
	$(BIN)/ansible-playbook playbooks/undo.yml
	@echo 'The database still runs. To type the command yourself:'
	@echo '  source $(BIN)/activate && ansible-playbook rollback.yml --tags sequence'
	@echo 'To end and remove it: make demo-stop'

demo-stop: setup ## end the demo's database and remove it
	$(BIN)/ansible-playbook demo/down.yml

# With uv from a directory that does not outlive the command. Versions stay as they are where they still fit:
# remove requirements.txt first to get the newest.
lock: ## requirements.in to requirements.txt, with hashes
	@work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && \
	python3 -m venv "$$work" && "$$work/bin/python" -m pip install --quiet --disable-pip-version-check uv && \
	"$$work/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --output-file requirements.txt requirements.in

build: setup ## the collection's archive, in dist/
	$(BIN)/ansible-galaxy collection build --force --output-path dist

clean: ## remove what make made; artifacts/ stays, it may hold the only copy of a bundle
	rm -rf $(VENV) dist .ansible .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
