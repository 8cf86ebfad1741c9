# One entry per need. Each target does its own set-up; nothing is installed outside the checkout and the user's cache.
PY := .venv/bin/python
PYTEST := $(PY) -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup servers demo test check unit contracts integration simulation helm crash bench docs lock clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: ## .venv with the locked dependencies (again only when they change)
	@tests/tools/setup.sh

servers: setup ## the test servers and tools, cached outside the checkout (INSTALL=1: may install system packages)
	@INSTALL=$(INSTALL) tests/tools/toolchain.sh
	@$(PY) -m tests.servers

demo: setup ## rotate, break, roll back: everything on this machine, under a minute
	@.venv/bin/rotatord demo

# Without a server its tests are skipped, each with the remedy; on CI that is a failure. The simulation needs a processor and
# no server, the rest waits for servers most of the time: they run side by side.
test: setup check ## everything that CI runs, real servers included
	@$(MAKE) --no-print-directory servers || [ "$(CI)" != true ]
	@log=$$(mktemp); nice -n 5 $(PYTEST) tests/simulation tests/incidents >$$log 2>&1 & simulated=$$!; \
	$(PYTEST) --ignore=tests/simulation --ignore=tests/incidents; rest=$$?; \
	wait $$simulated; simulation=$$?; cat $$log; rm -f $$log; [ $$rest = 0 ] && [ $$simulation = 0 ]

check: setup ## format, lint, types, layers
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/ruff check --quiet .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo

unit: setup ## unit tests, memory contracts, short simulation: no network, no servers, under a minute
	@ROTATORD_SEEDS=5 $(PYTEST) -m "not vault and not kubernetes and not slow" tests/unit tests/contracts/test_fakes.py tests/contracts/test_journal.py \
		tests/simulation/test_gate.py tests/simulation/test_seeds.py

contracts: servers ## every port's contract, over memory and over the real servers
	@$(PYTEST) tests/contracts

integration: servers ## with real servers and real processes
	@$(PYTEST) tests/integration

simulation: setup ## the engine under faults at every point
	@$(PYTEST) tests/simulation tests/incidents

helm: servers ## the chart: lint, goldens (GOLDENS=1 draws them anew), rights, and a release in a real cluster
	@ROTATORD_DRAW_GOLDENS=$(GOLDENS) $(PYTEST) tests/helm tests/unit/test_chart_readme.py tests/unit/test_containerfile.py

crash: servers ## the model in every state, long random faults, process kills; not part of make test (SEEDS=20000 KILLS=1000)
	@ROTATORD_SEEDS=$(or $(SEEDS),20000) ROTATORD_KILLS=$(or $(KILLS),1000) ROTATORD_EVERY_CALL=1 \
		ROTATORD_REPLICA_ROUNDS=50 ROTATORD_MODEL=1 ROTATORD_TRACES=3000 \
		$(PYTEST) --timeout=3600 tests/model tests/simulation tests/crash tests/integration/test_replicas.py tests/integration/test_every_call_*.py \
		tests/integration/test_rotation_function.py

bench: setup ## the budgets, each beside a bare loop of the same calls (ONLY=journal)
	@$(PY) -m benchmarks $(ONLY)

docs: setup ## draws the generated parts of README and docs; builds the site where mkdocs is installed
	@$(PY) docs/generate.py
	@if command -v mkdocs >/dev/null; then mkdocs build --strict --quiet; else echo "docs: mkdocs is not on PATH; the pages in docs/ read as they are"; fi

lock: setup ## resolves pyproject.toml into requirements.lock (UPGRADE=1: newer versions, a week old at least)
	@$(PY) tests/tools/lock.py $(if $(filter 1,$(UPGRADE)),--upgrade)

clean: ## what the targets above left in the checkout
	@rm -rf .venv build site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache benchmarks/results tests/crash/results tests/model/results
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
