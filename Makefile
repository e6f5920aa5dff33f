# Two commands matter: `make up` runs Chat4All on this machine, `make test` proves it. README.md tells the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help up down status test check proto lock bench chaos format clean

help:
	@echo "make up      start everything on this machine      make down   stop it     make status  what runs"
	@echo "make test    prove it on a private copy            make check  lint, types, contracts"
	@echo "make bench   measure it (minutes)                  make chaos  the long fault runs"
	@echo "make proto   regenerate the contracts' code        make lock   repin the dependencies"

up: $(VENV)/.run-installed
	@$(BIN)/chat4all up

down:
	@if [ -x $(BIN)/chat4all ]; then $(BIN)/chat4all down; else echo "nothing was ever started here"; fi

status: $(VENV)/.run-installed
	@$(BIN)/chat4all status

test: $(VENV)/.dev-installed check
	$(BIN)/python -m pytest tests

check: $(VENV)/.dev-installed
	$(BIN)/python scripts/check.py

proto: $(VENV)/.dev-installed
	$(BIN)/python scripts/gen_proto.py

format: $(VENV)/.dev-installed
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: $(VENV)/.dev-installed
	$(BIN)/python -m bench

chaos: $(VENV)/.dev-installed
	CHAT4ALL_TRAFFIC_SECONDS=60 $(BIN)/python -m pytest tests/e2e/test_nothing_lost.py

# Exact versions with hashes and without any registry address, so that any mirror serves them.
lock: $(VENV)/.dev-installed
	$(PYTHON) scripts/lock.py

clean:
	rm -rf $(VENV) .state build dist

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Chat4All needs Python 3.11 or newer as '$(PYTHON)'. Debian/Ubuntu: apt-get install python3. Or: make up PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python cannot make virtual environments here. Debian/Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# uv is not needed: plain pip installs from the locks and refuses anything whose hash differs.
$(VENV)/.run-installed: requirements/engines.txt pyproject.toml | $(BIN)/python
	@echo "installing packages (about 1 GB, engines included)"
	@began=$$(date +%s) && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/engines.txt && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . && \
	  echo "packages installed in $$(($$(date +%s) - began)) s"
	@touch $@

$(VENV)/.dev-installed: requirements/dev.txt pyproject.toml | $(BIN)/python
	@echo "installing packages and development tools"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.run-installed
