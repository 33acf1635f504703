#!/usr/bin/env bash
# Tier 4: brings up kind and what runs on it, then starts the tests in this folder.
#
#   ci/test/kind/run.sh [GO TEST FLAG...]      -run 'TestNetwork.*' for one of them
#
# On another cluster: KUBECONFIG names it, and FLOKOA_IMAGES is the registry of the images that ci/test/kind/images.sh built. Both
# must be set: the tests stop nodes' pods, drain nodes and delete namespaces, which nobody wants by a variable that happens to be set.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$here/../../tools
# shellcheck source=ci/tools/progress.sh
source "$tools/progress.sh"

on_kind() {
  if [[ -n ${KUBECONFIG:-} ]]; then
    say "KUBECONFIG is set, FLOKOA_IMAGES is not: the tests run on kind (see ci/test/kind/README.md for your own cluster)"
  fi
  export FLOKOA_IMAGES=ghcr.io/example # where the guide's Agent has its image
  local images assignments
  "$here/../../clusters/kind/kind.sh" up
  images=$("$here/images.sh" "$FLOKOA_IMAGES")
  # shellcheck disable=SC2086 # one word an image
  "$here/../../clusters/kind/kind.sh" load flokoa $images
  assignments=$("$here/../../clusters/kind/kind.sh" env)
  eval "export ${assignments//$'\n'/ }"
}

on_theirs() {
  KUBECTL=$("$tools/build.sh" kubernetes)/kubectl
  HELM=$("$tools/build.sh" helm)/helm
  export KUBECTL HELM
}

if [[ -n ${KUBECONFIG:-} && -n ${FLOKOA_IMAGES:-} ]]; then on_theirs; else on_kind; fi
cd "$here"
exec go test -count=1 -v -timeout 50m "$@" .
