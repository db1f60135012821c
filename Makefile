# One command per wish; each sets up what it needs by itself.
PYTHON ?= python3
BIN := .venv/bin
CLIENTS := $(CURDIR)/.clients
PYTEST = PATH="$(CLIENTS)/bin:$$PATH" $(BIN)/pytest -n auto

.PHONY: help setup run test quick journeys faults faults-long soak check format clients bench bench-quick

help:
	@echo "make run      a registry on localhost:5000 (data in ./data)"
	@echo "make test     set up and run the tests"
	@echo "make quick    the tests that drive no client program and are not slow"
	@echo "make journeys the tests that drive real clients"
	@echo "make faults   full disks, failing system calls, servers that vanish (wants root)"
	@echo "make faults-long  the same, with ten times the kills and power cuts"
	@echo "make soak     random requests and a random history, 25 times as many as make test: CPU hours"
	@echo "make check    format, lint, types, contracts"
	@echo "make clients  install the real clients and servers that the journeys drive (needs root, apt-get and go)"
	@echo "make bench    speed and memory beside other registries and nginx; ARGS=--help says more"
	@echo "make bench-quick  the same, roughly, in about two minutes"
	@echo "make format   put the code into shape"

setup: .venv/ready

.venv/ready: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Moorage needs Python 3.11 or newer; name one with make PYTHON=…"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "Python's venv is missing: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

run: setup
	exec $(BIN)/moorage serve --config run.yml --data data

test: setup
	$(PYTEST) -m "not fault"

quick: setup
	$(PYTEST) -m "not client and not slow and not fault"

journeys: setup
	$(PYTEST) tests/journeys

faults: setup
	$(PYTEST) -m fault tests/faults

faults-long: setup
	MOORAGE_FAULTS=long $(PYTEST) -m fault tests/faults

soak: setup
	MOORAGE_SOAK=1 $(PYTEST) -m slow tests/fuzz tests/model

check: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clients:
	tools/clients $(CLIENTS)

bench: setup
	@PATH="$(CLIENTS)/bin:$$PATH" $(BIN)/python -m bench $(ARGS)

bench-quick: setup
	@PATH="$(CLIENTS)/bin:$$PATH" $(BIN)/python -m bench --quick $(ARGS)
