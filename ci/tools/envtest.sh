#!/usr/bin/env bash
# Prints a folder with kube-apiserver, etcd and kubectl in it, as envtest wants them (BinaryAssetsDirectory, or the
# environment variable KUBEBUILDER_ASSETS); builds them first when they are absent.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=ci/tools/progress.sh
source "$here/progress.sh"

kubernetes=$("$here/build.sh" kubernetes)
etcd=$("$here/build.sh" etcd)
folder=$(flokoa_cache)/tools/envtest-${kubernetes##*-}-${etcd##*-}
mkdir -p "$folder"
ln -sf "$kubernetes/kube-apiserver" "$kubernetes/kubectl" "$etcd/etcd" "$folder/"
printf '%s\n' "$folder"
