#!/usr/bin/env bash
# Builds the images that the tests in this folder run, named after a registry and a folder of it:
#
#   ci/test/kind/images.sh PREFIX          prints their names, one a line
#
# For a cluster that is not on this machine, PREFIX is where you push them to and it pulls them from.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/../../..
tools=$root/ci/tools
# shellcheck source=ci/tools/progress.sh
source "$tools/progress.sh"

prefix=${1:-}
[[ -n $prefix ]] || fail "the registry and folder of the images are missing" "usage: ci/test/kind/images.sh registry.example/folder"
arch=$(go env GOARCH)
work=$(mktemp -d)
trap 'if [[ -n $watched ]]; then kill "$watched" 2>/dev/null || true; fi; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# compile PACKAGE VERSION: the program, into the context of its image.
compile() {
  (cd "$root" && GOOS=linux CGO_ENABLED=0 go build -ldflags "-s -w -X main.version=$2" -o "$work/$arch/" "$1")
}

# image NAME:TAG DOCKERFILE [ARGUMENT...]
image() {
  local name=$prefix/$1 file=$2
  shift 2
  docker build --network none --build-arg "TARGETARCH=$arch" "$@" --file "$file" --tag "$name" "$work" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    fail "building the image $name failed; the output of docker is above"
  }
  printf '%s\n' "$name"
}

# as_root NAME: the example agent, with root as its user.
as_root() {
  printf 'FROM %s\nUSER 0:0\n' "$prefix/my-agent:v2.0.0" >"$work/Dockerfile"
  image my-agent:v2.0.0-root "$work/Dockerfile"
}

programs() {
  compile ./operator/cmd/flokoa-operator test
  compile ./ci/cmd/traffic test
  install -D --target-directory "$work/$arch" "$metrics/metrics-server"
}

metrics=$("$tools/build.sh" metrics-server)
watch_over "images: compiling what goes into them" programs
image flokoa-operator:test "$root"/operator/Dockerfile
image traffic:v1 "$root"/ci/cmd/traffic/Dockerfile
image metrics-server:test "$root"/ci/test/kind/metrics-server.Dockerfile
# The same agent twice, and once as nobody should run it.
for version in v2.0.0 v2.1.0; do
  compile ./examples/agent "$version"
  image "my-agent:$version" "$root"/examples/agent/Dockerfile
done
as_root
