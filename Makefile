# Every task of this project. `make` alone lists them.
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory
# Imports are cached as they happen; without the cache every process would compile its libraries anew.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
RUNTIME := .venv/.installed-runtime
DEV := .venv/.installed-dev
# One more than two processors: a quarter of the tests' time is waiting, for processes and for time.
WORKERS ?= 3
# An event loop may swallow the exception that ends a test past its time: then the process ends, and says where it stood.
HUNG := -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true
PYTEST = $(BIN)/pytest -n $(WORKERS) --dist worksteal $(HUNG)
BUF = BUF_CACHE_DIR=.venv/.cache/buf $(BIN)/buf
RELEASED := proto/released.binpb

define CALL_IT
Call it from another terminal:

  grpcurl -plaintext -d '{"model": "echo-1", "messages": [{"role": "ROLE_USER", "parts": [{"text": "hello"}]}]}' \
    127.0.0.1:50051 llmservice.v1.CompletionService/StreamComplete

  $(BIN)/buf curl --protocol grpc --http2-prior-knowledge \
    -d '{"model": "echo-1", "messages": [{"role": "ROLE_USER", "parts": [{"text": "hello"}]}]}' \
    http://127.0.0.1:50051/llmservice.v1.CompletionService/StreamComplete

endef
export CALL_IT

##@ Use it

.PHONY: demo
demo: $(RUNTIME) ## Stream a completion through a fresh service, with its price and usage row
	$(BIN)/python tools/demo.py

.PHONY: run
run: $(RUNTIME) ## Serve on 127.0.0.1:50051 with an embedded database in .data/run
	@printf '%s\n' "$$CALL_IT"
	LLM_LISTEN=127.0.0.1:50051 LLM_DATA_DIR=.data/run $(BIN)/python -m llm_service serve

.PHONY: test
test: $(DEV) ## Every test: unit, contract, rpc, integration on SQLite and PostgreSQL, end to end
	$(PYTEST)

.PHONY: help
help: ## Say what each target does
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

##@ Set up

.PHONY: install
install: $(DEV) ## Make .venv and install everything, tools included, from the hashed lock files

$(RUNTIME): requirements.lock pyproject.toml tools/setup.sh tools/link.py
	@tools/setup.sh requirements.lock
	@touch $@

$(DEV): requirements-dev.lock requirements.lock pyproject.toml tools/setup.sh tools/link.py
	@tools/setup.sh requirements-dev.lock
	@touch $(RUNTIME) $@

##@ Test

.PHONY: test-unit test-contract test-rpc test-integration test-e2e
test-unit: $(DEV) ## Modules alone, with hand-written fakes
	$(BIN)/pytest tests/unit

test-contract: $(DEV) ## Provider kinds against recorded and scripted vendors
	$(BIN)/pytest tests/contract

test-rpc: $(DEV) ## Servicers and interceptors over a real socket
	$(BIN)/pytest tests/rpc

test-integration: $(DEV) ## Storage and migrations on SQLite and PostgreSQL
	$(BIN)/pytest tests/integration

test-e2e: $(DEV) ## The service as a process
	$(BIN)/pytest tests/e2e

.PHONY: conformance
conformance: $(DEV) ## Every recording in WIRE, read as its vendor's own SDK reads it
	@WIRE="$(WIRE)" $(BIN)/python tools/conformance.py

.PHONY: fuzz
fuzz: $(DEV) ## Search for bytes that break a decoder, for SECONDS (60); KIND limits it to one
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-fuzz.lock
	CORPUS=.data/fuzz PYTHONPATH=tests/contract $(BIN)/python tests/contract/fuzz.py

.PHONY: rotation
rotation: $(DEV) ## Rotate keys under load on both databases, the rewrap killed KILLS (20) times
	KILLS=$(or $(KILLS),20) SECRETS=400 $(BIN)/pytest tests/e2e/test_rotation.py -s

.PHONY: migrations
migrations: $(DEV) ## Migrations up, down, up and compared with the tables, on both databases
	$(BIN)/pytest tests/integration -k migration

.PHONY: faults
faults: $(DEV) ## Sixteen faults of providers, met in every dialect, with a table at the end
	FAULTS=1 $(BIN)/pytest -q -s tests/e2e/test_faults.py

.PHONY: outages
outages: $(DEV) ## Five outages of the database, SECONDS (60) each, under load: what calls, latency and records suffer
	OUTAGE_SECONDS=$(or $(SECONDS),60) $(BIN)/pytest -q -s tests/e2e/test_outages.py

.PHONY: rolling
rolling: $(DEV) ## Replace replicas one after another under load, RESTARTS (20) times: no call fails, no record is lost
	RESTARTS=$(or $(RESTARTS),20) $(BIN)/pytest -q -s tests/e2e/test_rolling.py

.PHONY: chaos
chaos: $(DEV) ## Kill processes under load, CYCLES (200) times, and hold records against the vendor's invoice
	CYCLES=$(or $(CYCLES),200) $(BIN)/pytest -q -s tests/e2e/test_chaos.py

.PHONY: storm
storm: $(DEV) ## Open and reset STREAMS (10000) streams: no upstream call left, no memory, every call charged
	STREAMS=$(or $(STREAMS),10000) $(BIN)/pytest -q tests/e2e/test_storm.py

.PHONY: budgets
budgets: $(DEV) ## CALLS (500) at once on PROCESSES (3) against a budget: never more than there is room for
	CALLS=$(or $(CALLS),500) PROCESSES=$(or $(PROCESSES),3) $(BIN)/pytest -q -s tests/e2e/test_budget_processes.py

.PHONY: replicas
replicas: $(DEV) ## Two replicas on one PostgreSQL see each other's changes within 2 s, TRIALS (100) times
	TRIALS=$(or $(TRIALS),100) $(BIN)/pytest -q -s tests/e2e/test_replicas.py

.PHONY: coverage
coverage: $(DEV) ## Every test, with branch coverage of hand-written code; fails under 95 %
	$(PYTEST) --cov --cov-branch --cov-report=term:skip-covered --cov-fail-under=95

.PHONY: bench
bench: $(DEV) ## CPU per chunk and per call beside a bare echo server and an SDK relay
	$(BIN)/python bench/run.py

.PHONY: scale
scale: $(DEV) ## Lists, resolves and memory with 100,000 providers in 1,000 tenants
	$(BIN)/python bench/scale.py

.PHONY: reports
reports: $(DEV) ## Reports over ROWS (10000000) usage records on PostgreSQL, and what sums cost an insert
	$(BIN)/python bench/reports.py --rows $(or $(ROWS),10000000)

##@ Check

.PHONY: check
check: lint types layers breaking drift coverage ## All of CI: what must be green before a merge

.PHONY: lint
lint: $(DEV) ## ruff, buf, hadolint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BUF) lint
	$(BUF) format proto --diff --exit-code
	$(BIN)/hadolint Dockerfile

.PHONY: types
types: $(DEV) ## mypy strict
	$(BIN)/mypy
	$(BIN)/mypy --scripts-are-modules tools/*.py

.PHONY: layers
layers: $(DEV) ## Imports point down
	$(BIN)/lint-imports

.PHONY: breaking
breaking: $(DEV) ## The contract against the released one: it only ever grows
	$(BUF) breaking --against $(RELEASED)

.PHONY: drift
drift: $(DEV) ## Generated stubs and docs against what they are made from
	$(BIN)/python tools/check_drift.py

##@ Change

.PHONY: proto
proto: $(DEV) ## Regenerate stubs, descriptor set, docs/api.md and docs/providers.md
	$(BIN)/python tools/gen_proto.py
	$(BIN)/python tools/gen_api_docs.py
	$(BIN)/python tools/gen_provider_docs.py

.PHONY: release-proto
release-proto: $(DEV) ## Record the contract as released: later ones are held against it
	$(BUF) build --exclude-source-info --output $(RELEASED)

.PHONY: format
format: $(DEV) ## Rewrite Python and proto files in the one format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BUF) format proto --write

.PHONY: lock
lock: $(DEV) ## Compile the lock files anew from pyproject.toml
	$(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --no-header \
	  --no-annotate --all-extras pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --no-header \
	  --no-annotate --all-extras --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --no-header \
	  --no-annotate --group fuzz -o requirements-fuzz.lock

.PHONY: clean
clean: ## Remove caches and demo data; keeps .venv and .data/run
	rm -rf .data/demo .coverage .coverage.* htmlcov .mypy_cache .ruff_cache .pytest_cache \
	  .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
