#!/usr/bin/env bash
# Prints a folder with kube-apiserver, etcd and kubectl in it, as envtest wants them (BinaryAssetsDirectory, or the
# environment variable KUBEBUILDER_ASSETS); gets them first when they are absent. KUBERNETES_VERSION=1.35 asks for that
# minor version; unset, it is the one that everything else is tested on.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=ci/tools/progress.sh
source "$here/progress.sh"

# pins: for each pinned Kubernetes one line, its minor version and its folder beside this script.
pins() {
  local file
  for file in "$here"/kubernetes*/go.mod; do
    sed -n -E "s#^(require|[[:space:]])[[:space:]]*k8s.io/kubernetes v([0-9]+\.[0-9]+)\..*#\2 $(basename "${file%/go.mod}")#p" "$file"
  done
}

# tool_of VERSION: the folder that pins it.
tool_of() {
  local version folder there=''
  while read -r version folder; do
    if [[ $version == "$1" ]]; then
      printf '%s' "$folder"
      return
    fi
    there+=" $version"
  done < <(pins)
  fail "KUBERNETES_VERSION=$1 is not pinned here" "There are:$there"
}

tool=kubernetes
if [[ -n ${KUBERNETES_VERSION:-} ]]; then tool=$(tool_of "$KUBERNETES_VERSION"); fi
kubernetes=$("$here/build.sh" "$tool")
etcd=$("$here/build.sh" etcd)
folder=$(flokoa_cache)/tools/envtest-${kubernetes##*/}-${etcd##*/}
mkdir -p "$folder"
ln -sf "$kubernetes/kube-apiserver" "$kubernetes/kubectl" "$etcd/etcd" "$folder/"
printf '%s\n' "$folder"
