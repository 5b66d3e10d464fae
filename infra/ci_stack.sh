#!/bin/bash
# Install into .venv, and connect a CI job to a stack: the one named $STACK of the ZenML server at $SERVER_URL, else a
# local one. What later steps of the job need goes to $GITHUB_ENV; an empty variable would be taken for an address.
set -euo pipefail
cd "$(dirname "$0")/.."
make venv
if [ -z "${SERVER_URL:-}" ]; then
  make stack
  exit
fi
.venv/bin/python -m pip install --quiet -c constraints.txt -e '.[k8s]'  # clients of Kubernetes and of the S3 store
export ZENML_STORE_URL="$SERVER_URL" ZENML_STORE_API_KEY="${SERVER_KEY:?the secret ZENML_STORE_API_KEY is not set}"
export MLFLOW_TRACKING_URI="${TRACKING_URI:?the variable MLFLOW_TRACKING_URI is not set}"
export ZENML_ANALYTICS_OPT_IN=false
names="ZENML_STORE_URL ZENML_STORE_API_KEY MLFLOW_TRACKING_URI ZENML_ANALYTICS_OPT_IN"
if [ -n "${TRACKING_TOKEN:-}" ]; then
  export MLFLOW_TRACKING_TOKEN="$TRACKING_TOKEN"
  names="$names MLFLOW_TRACKING_TOKEN"
fi
if [ -n "${KUBE_CONFIG:-}" ]; then  # not needed where the orchestrator has a service connector
  export KUBECONFIG="${RUNNER_TEMP:?}/kubeconfig"
  (umask 077; printf '%s\n' "$KUBE_CONFIG" > "$KUBECONFIG")
  names="$names KUBECONFIG"
fi
.venv/bin/zenml stack set "${STACK:?the variable ZENML_STACK is not set}"
for name in $names; do echo "$name=${!name}" >> "${GITHUB_ENV:-/dev/null}"; done
