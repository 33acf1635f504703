#!/usr/bin/env bash
# Regenerates what is made from the Go types of the API: deep copies, the embedded CRD, the chart's CRD.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

controller_gen=$(ci/tools/build.sh controller-gen)/controller-gen
raw=$(mktemp -d)
trap 'rm -rf "$raw"' EXIT

"$controller_gen" object paths=./operator/api/v1alpha1
"$controller_gen" crd paths=./operator/api/v1alpha1 output:crd:dir="$raw"
go run ./ci/crdgen "$raw/agent.flokoa.ai_agents.yaml" \
  operator/api/crds/agent.flokoa.ai_agents.yaml charts/flokoa-crds/templates/agents.yaml
