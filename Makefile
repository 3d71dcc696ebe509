# One word for everything. `make` alone lists the words.
SHELL := /bin/sh
.DEFAULT_GOAL := help
HOST ?= 127.0.0.1
PORT ?= 8000
WORKERS ?= 1
# The newest Python from 3.11 on that can make a virtual environment.
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
CLI := $(BIN)/health-services
UV := $(BIN)/uv

.PHONY: help install run test check bench security demo migrate lock clean
help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.uv: requirements/uv.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with the venv module is needed (Debian: apt install python3-venv)." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

.venv/.app: .venv/.uv requirements/app.txt pyproject.toml
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/app.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --no-index -e .
	$(BIN)/python -m compileall -q src
	@touch $@

.venv/.dev: .venv/.app requirements/dev.txt requirements/client.txt tests/javascript/package-lock.json
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(UV) venv --quiet --allow-existing --python $(BIN)/python .venv/client
	$(UV) pip install --quiet --python .venv/client/bin/python --require-hashes -r requirements/client.txt
	$(BIN)/npm ci --quiet --ignore-scripts --prefix tests/javascript >/dev/null
	@{ command -v redis-server && command -v chromium && PATH="$$PATH:/usr/sbin" command -v pgbouncer; } >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && apt-get update && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y --no-install-recommends redis-server chromium pgbouncer; } >/dev/null 2>&1 || \
		echo "redis-server, chromium or pgbouncer is missing: tests that need them are skipped." >&2
	@touch $@

.venv/.security: .venv/.dev requirements/security.txt
	$(UV) venv --quiet --allow-existing --python $(BIN)/python .venv/security
	$(UV) pip install --quiet --python .venv/security/bin/python --require-hashes -r requirements/security.txt
	@touch $@

.venv/.bench: .venv/.dev requirements/bench.txt
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/bench.txt
	@touch $@

install: .venv/.app ## install everything that the service needs into .venv

run: .venv/.app ## migrate and serve on http://127.0.0.1:8000 (HOST=, PORT=, WORKERS=)
	@exec $(CLI) serve --host $(HOST) --port $(PORT) --workers $(WORKERS)

demo: .venv/.app ## fill the database with a believable region and print four logins
	@exec $(CLI) demo

migrate: .venv/.app ## bring the database's schema to the newest version
	@exec $(CLI) migrate

check: .venv/.dev ## format, lint, types, architecture; no tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## every check and every test
	$(BIN)/pytest

security: .venv/.security ## let scanners at a running service, compare times of answers (half an hour)
	$(BIN)/python security/run.py

bench: .venv/.bench ## how fast it is, beside what the framework and PostgreSQL can do (twelve minutes)
	$(BIN)/python benchmarks/speed/run.py

lock: .venv/.uv ## resolve requirements/*.in into exact versions with hashes
	@for name in app dev bench client security uv; do \
		$(UV) pip compile requirements/$$name.in --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-header --no-annotate --quiet -o requirements/$$name.txt || exit 1; done

clean: ## remove what install and the checks made (never the data in var/)
	rm -rf .venv tests/javascript/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
