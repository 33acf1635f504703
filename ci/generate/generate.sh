#!/usr/bin/env bash
# Regenerates what is made from something else: from the Go types of the API the deep copies, the embedded CRD and the chart's
# CRD, and from that the values schema of the chart flokoa-agent; from each chart's values.yaml and README.md.gotmpl its README.md; from
# the charts the bases of the overlays.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

controller_gen=$(ci/tools/build.sh controller-gen)/controller-gen
raw=$(mktemp -d)
trap 'rm -rf "$raw"' EXIT

"$controller_gen" object paths=./operator/api/v1alpha1
"$controller_gen" crd paths=./operator/api/v1alpha1 output:crd:dir="$raw"
for kind in agents models; do
  go run ./ci/generate/crds "$raw/agent.flokoa.ai_$kind.yaml" \
    "operator/api/crds/agent.flokoa.ai_$kind.yaml" "charts/flokoa-crds/templates/$kind.yaml"
done
go run ./ci/generate/agentchart

"$(ci/tools/build.sh helm-docs)/helm-docs" --chart-search-root charts --sort-values-order file --log-level error
go run ./ci/generate/overlays
