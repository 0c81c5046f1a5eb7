# `make demo`, `make demo-edge`, `make test`, `make core`, `make docs` and `make bench`. Each sets up what it needs in
# .venv, .venv-core-*, .venv-docs or .venv-bench, and nowhere else.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# What the tests need of npm, where Node is present.
NODE_PACKAGES := $(if $(shell command -v npm),tests/js/node_modules/.installed)

.PHONY: demo demo-edge test core docs bench lint types tests coverage javascript browser screenshots exhaustive consistency differential edges edge-consistency format clean

demo: .venv/.demo
	$(BIN)/python -m examples.tracker

# Needs Varnish and varnish-modules as well. OPTIONS='--port 8080' chooses another port.
demo-edge: .venv/.demo-edge
	$(BIN)/python -m examples.tracker.edge $(OPTIONS)

test: lint types coverage javascript browser

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/.dev
	$(BIN)/mypy

tests: .venv/.dev $(NODE_PACKAGES)
	$(BIN)/pytest -n 2

# What enumerates every order of events adds no line to what is covered, and would take its time under measurement.
ENUMERATIONS := tests/cache/test_promise.py tests/cache/test_interleavings.py

coverage: .venv/.dev $(NODE_PACKAGES)
	$(BIN)/pytest -n 2 $(ENUMERATIONS)
	$(BIN)/pytest -n 2 $(addprefix --ignore=,$(ENUMERATIONS) tests/browser) --cov --cov-report=
	$(BIN)/coverage report --include='src/mizan_core/*' --fail-under=100
	$(BIN)/coverage report --include='src/mizan_asgi/*' --fail-under=95

# With a real server, and Node as it comes.
javascript: .venv/.dev $(NODE_PACKAGES)
ifneq ($(NODE_PACKAGES),)
	PYTHON=$(CURDIR)/$(BIN)/python node --test --test-timeout=120000 tests/js/*.test.mjs
else
	@echo "There is no Node here: the tests of what runs in browsers are left out." >&2; test "$(CI)" != true
endif

# What a person sees, in a Chromium of the system's.
browser: .venv/.dev $(NODE_PACKAGES)
	$(BIN)/pytest -n 2 tests/browser

# Pictures of the tracker for the documents.
screenshots: .venv/.dev
	$(BIN)/python -m tests.browser.screenshots

# Real edges in front of random applications: 1,000 rounds for each, and the programs of 200 graphs.
edges: .venv/.dev
	$(BIN)/python -m tests.edge.differential varnish
	$(BIN)/python -m tests.edge.differential nginx
	$(BIN)/python -m tests.edge.test_programs

# Two nodes of each before three origins, of which some are killed, on ways that delay answers: ten minutes in which no
# read may be stale, then a minute without generations in the keys, in which some are.
edge-consistency: .venv/.dev
	for edge in varnish nginx; do \
		$(BIN)/python -m tests.edge.told.consistency $$edge --seconds 600 || exit 1; done
	for without in generation generation-purged-once; do for edge in varnish nginx; do \
		if $(BIN)/python -m tests.edge.told.consistency $$edge --seconds 60 --without $$without; then \
			echo "No read of $$edge was stale in this minute."; fi; done; done

# Ten minutes of trouble in which no read may be stale, then a minute without each safeguard, in which one should be.
# These minutes depend on chance and are no test: an order of events that shows each safeguard is made in
# tests/cache/test_safeguards.py.
SAFEGUARDS = $(shell $(BIN)/python -c 'from mizan_core.testing.safeguards import SAFEGUARDS; print(*SAFEGUARDS)')

consistency: .venv/.dev
	$(BIN)/python -m mizan_core.testing.consistency --seconds 600
	$(BIN)/python -m mizan_core.testing.consistency --seconds 120 --on-cache-failure allow
	for one in $(SAFEGUARDS); do \
		if $(BIN)/python -m mizan_core.testing.consistency --seconds 60 --without $$one; then \
			echo "No read was stale in this minute without $$one."; fi; \
	done

# Random writes by routes, functions, sqladmin, jobs and a script, on two workers, Redis and PostgreSQL; 5,000 reads, of
# which none may be stale. `make test` has 300 of them.
differential: .venv/.dev
	$(BIN)/python -m tests.conduit.differential --reads 5000

# Every order of readers, mutations and purges, where the cache forgets any key as often as it likes: 15 million states.
# Three quarters of an hour beside other work, and 6.4 GB. `make test` enumerates the orders in which it forgets nothing.
exhaustive: .venv/.dev
	$(BIN)/python -m tests.cache.test_interleavings

# Needs wrk and redis-server as well. OPTIONS=--quick takes a first look; NAMES="hit miss" measures these alone, and
# leaves what is written as it is.
bench: .venv-bench/.bench
	.venv-bench/bin/python -m benchmarks $(if $(NAMES),,--write) $(OPTIONS) $(NAMES)

.venv-bench/.bench: benchmarks/requirements.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[redis]' --requirement benchmarks/requirements.txt
	touch $@

# The core's tests alone, without Node and browser, on another Python: make core PYTHON=python3.13.
CORE_TESTS := $(addprefix tests/,protocol graph cache engine test_errors.py test_memo.py test_tasks.py)
CORE_VENV := .venv-core-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

core: $(CORE_VENV)/.dev
	$(CORE_VENV)/bin/pytest -n 2 $(CORE_TESTS)

$(CORE_VENV)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(CORE_VENV)
	$(CORE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[dev]'
	touch $@

# The documents as a site, into site/. A broken link or an unknown name fails; with --quiet it would not.
docs: .venv-docs/.docs
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

.venv-docs/.docs: docs/requirements.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --requirement docs/requirements.txt
	touch $@

format: .venv/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv .venv-core-* .venv-docs .venv-bench site tests/js/node_modules .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Mizan needs Python 3.11 or later; say which with: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[demo]'
	touch $@

.venv/.demo-edge: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[demo,edge]'
	touch $@

.venv/.dev: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	touch $@

tests/js/node_modules/.installed: tests/js/package.json tests/js/package-lock.json
	npm ci --prefix tests/js --silent
	touch $@
