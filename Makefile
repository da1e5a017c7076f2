# Every verb works on a fresh machine with Python >= 3.11: without root, without any service.
.DEFAULT_GOAL := help
SHELL := /bin/sh
.DELETE_ON_ERROR:

PYTHON ?= python3
DEMO := .venv/demo
DEV := .venv/dev
PY := $(DEV)/bin/python
PYTEST := $(PY) -m pytest
COVERAGE_AT_LEAST ?= 80
# Most tests wait for processes: more at once than there are cores. A file's share its servers.
AT_ONCE ?= 3
PARALLEL := -n $(AT_ONCE) --dist loadfile
COVERED := $(addprefix tests/,analysis cli client history instrument metrics publish queues retry server settings store)
MEASURED := $(COVERED) -m "not soak and not clock" --deselect tests/store/test_mutations.py --cov --cov-report=
BENCHMARKS := $(patsubst benchmarks/%/__main__.py,%,$(wildcard benchmarks/*/__main__.py)) \
	$(filter-out __init__ page,$(patsubst benchmarks/%.py,%,$(wildcard benchmarks/*.py)))
RQS := $(patsubst requirements/rq-%.txt,%,$(wildcard requirements/rq-*.txt))

.PHONY: help demo venv test lint format types layers cov bench oldest rqs soak docs lock check clean

help: ## show the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(DEMO)/.ready ## run the whole product on this machine; ONCE=1: each command once
	@$(DEMO)/bin/jobmon demo $(if $(filter-out 0,$(ONCE)),--once)

venv: $(DEMO)/.ready ## set up what demo needs, and stop
	@echo "ready: $(DEMO)/bin/jobmon"

test: $(DEV)/.ready ## run what this machine allows, say what was skipped; ARGS="-k name"
	@$(PYTEST) $(PARALLEL) $(ARGS) || { [ $$? -eq 1 ] || exit 2; \
		echo "== once more, alone: what failed beside others"; \
		$(PYTEST) --last-failed --last-failed-no-failures none $(ARGS); }

lint: $(DEV)/.ready ## check style
	@$(DEV)/bin/ruff check . && $(DEV)/bin/ruff format --check .

format: $(DEV)/.ready ## put into style what can be
	@$(DEV)/bin/ruff check --fix-only . && $(DEV)/bin/ruff format .

types: $(DEV)/.ready ## check types, strictly
	@$(DEV)/bin/pyright

layers: $(DEV)/.ready ## check that imports point downward
	@$(DEV)/bin/lint-imports

cov: $(DEV)/.ready ## measure branch coverage by the tests of the parts; COVERAGE_AT_LEAST=80
	@rm -f .coverage .coverage.*
	@$(PYTEST) $(PARALLEL) $(MEASURED) $(ARGS) || { [ $$? -eq 1 ] || exit 2; \
		echo "== once more, alone: what failed beside others"; \
		$(PYTEST) --last-failed --last-failed-no-failures none $(MEASURED) --cov-append $(ARGS); }
	@$(PY) -m coverage report --fail-under=$(COVERAGE_AT_LEAST)

bench: $(DEV)/.ready ## measure what jobmon costs; ONLY=store, ARGS="--rounds 2"
	@for one in $(or $(ONLY),$(BENCHMARKS)); do \
		echo "== $$one"; $(PY) -m "benchmarks.$$one" $(ARGS) || exit 1; done

oldest: .venv/oldest/.ready ## test with the oldest versions that pyproject.toml allows
	@.venv/oldest/bin/python -m pytest $(ARGS)

rqs: $(patsubst %,.venv/rq-%/.ready,$(or $(ONLY),$(RQS))) ## test with older versions of RQ; ONLY="1.16 2.6"
	@for one in $(or $(ONLY),$(RQS)); do \
		echo "== RQ $$one"; \
		.venv/rq-$$one/bin/python -m pytest $(wildcard tests/live/test_rq_*.py tests/retry/test_rq_*.py) $(ARGS) || exit 1; done

soak: $(DEV)/.ready ## run the long tests with their full counts, then the benchmarks
	@JOBMON_SOAK=1 $(PYTEST) -m soak --timeout=7200 $(ARGS)
	@$(MAKE) bench ARGS=

docs: $(DEV)/.ready ## write the pages and dashboards that are made from code
	@$(PY) -m docs.build && $(PY) -m grafana.build

lock: ## choose newer versions of everything we install (needs uv)
	@sh scripts/lock.sh

check: lint types layers test cov ## all of CI but for the demo and older versions of RQ

clean: ## remove all environments and what tools left
	@rm -rf $(DEMO) $(DEV) .venv/oldest .venv/rq-* .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov dist

$(DEMO)/.ready: requirements/demo.txt pyproject.toml scripts/venv.sh
	@sh scripts/venv.sh "$(PYTHON)" $(DEMO) requirements/demo.txt

$(DEV)/.ready: requirements/dev.txt pyproject.toml scripts/venv.sh
	@sh scripts/venv.sh "$(PYTHON)" $(DEV) requirements/dev.txt

.venv/oldest/.ready: requirements/oldest.txt pyproject.toml scripts/venv.sh
	@sh scripts/venv.sh "$(PYTHON)" .venv/oldest requirements/oldest.txt

.venv/rq-%/.ready: requirements/rq-%.txt scripts/rq.sh | $(DEV)/.ready
	@sh scripts/rq.sh $(DEV) .venv/rq-$* $<
