#!/usr/bin/env bash
# Prints the folder that holds a pinned tool's programs. If they are absent, it downloads the project's official ones, or builds them.
#
#   ci/tools/build.sh NAME        NAME is a folder beside this script; its go.mod pins the tool
#   "$(ci/tools/build.sh helm)/helm" version
#
#   ci/tools/build.sh --built NAME...   prints the folders, or nothing if one of the tools is absent; gets nothing
#
#   FLOKOA_DOWNLOADS=off          builds instead of downloading
#   FLOKOA_DOWNLOADS=URL          downloads from a mirror; download/sources.go has its layout, and the official addresses
#
# What was built stays in the user's cache folder, under a name made of everything that it depends on, so that a new pin
# or a new Go is a new folder and two checkouts can share one cache. What was downloaded has a name of its own. Either serves: a tool
# that is there in one form is not fetched in the other.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=ci/tools/progress.sh
source "$here/progress.sh"

main() {
  if [[ ${1:-} == --built ]]; then
    shift
    built "$@"
    return
  fi
  find_tool "${1:-}"
  if ! ready; then get; fi
  printf '%s\n' "$folder"
}

built() {
  local folders=() each
  for each in "$@"; do
    find_tool "$each"
    if ! ready; then return; fi
    folders+=("$folder")
  done
  printf '%s\n' "${folders[@]}"
}

# find_tool NAME: what is known of the tool without getting it.
find_tool() {
  name=$1
  [[ -n $name && $name != */* && -f $here/$name/go.mod ]] || fail "no tool named \"$name\"" "There are: $(tool_names)"
  cd "$here/$name"
  settle_go
  version=$(pinned "$(first_tool)")
  flags=(-trimpath -buildvcs=false -ldflags "-s -w$(stamps)")
  folder=$(flokoa_cache)/tools/$name-$version-$(fingerprint)
  official=$(flokoa_cache)/tools/$name-$version-official.$(official_fingerprint)
}

# ready: the tool is there; $folder is where.
ready() {
  if [[ ! -d $folder && -d $official ]]; then folder=$official; fi
  [[ -d $folder ]]
}

get() {
  hold "${folder%/*}/$name.lock" "it downloads or builds $name"
  if ready; then return; fi # the other process has just got it
  trap stop_getting EXIT
  trap 'exit 130' INT TERM
  if download; then folder=$official; else build; fi
}

# download says why it leaves nothing.
download() {
  if [[ ${FLOKOA_DOWNLOADS:-} != off ]] && grep -q "\"$name\":" "$here/download/sources.go"; then
    downloader
    "$downloader" "$name" "$version" "$official" 9>&- || true
  fi
  [[ -d $official ]]
}

# downloader compiles the program that downloads. On a new machine that includes Go's standard library, which must not be silent.
downloader() {
  downloader=${folder%/*}/download-$(cat "$here"/download/*.go | git hash-object --stdin | cut -c1-8)-$GOOS-$GOARCH
  if [[ -x $downloader ]]; then return; fi
  cd "$here/../.."
  watch_over "compiling what downloads tools" go build -trimpath -o "$downloader.$$" ./ci/tools/download
  cd "$here/$name"
  mv "$downloader.$$" "$downloader"
}

# Ctrl-C does not reach a background job of a script.
stop_getting() {
  if [[ -n $watched ]]; then kill "$watched" 2>/dev/null || true; fi
  release
}

tool_names() {
  local file
  for file in "$here"/*/go.mod; do
    file=${file%/go.mod}
    printf '%s ' "${file##*/}"
  done
}

# The caller's settings must not change what is built. An empty variable would fall back to what `go env -w` stored, so
# each gets a value.
settle_go() {
  local want minor
  want=$(sed -n 's/^go //p' go.mod)
  command -v go >/dev/null ||
    fail "Go is not installed" "Install Go ${want%.*} or newer (https://go.dev/dl), then run this again."
  export GOFLAGS=-mod=readonly GOWORK=off GO111MODULE=on CGO_ENABLED=0
  { read -r GOOS && read -r GOARCH && read -r go_version; } < <(go env GOHOSTOS GOHOSTARCH GOVERSION 2>/dev/null) ||
    go_version=$(go version) # Go before 1.21 stumbles over a newer go.mod
  export GOOS GOARCH
  minor=${go_version#*go1.}
  minor=${minor%%[!0-9]*}
  [[ -z $minor || $minor -ge $(cut -d. -f2 <<<"$want") ]] ||
    fail "Go ${want%.*} or newer is needed, this is $go_version" "Install it (https://go.dev/dl), then run this again."
}

first_tool() {
  # Two programs are our own, around the packages that the version is of.
  case $name in
    golangci-lint) echo github.com/golangci/golangci-lint/v2/pkg/commands && return ;;
    argocd) echo github.com/argoproj/argo-cd/v3/common && return ;;
  esac
  sed -n -E -e 's/^tool ([^ (]+).*/\1/p' -e '/^tool \(/{n;s/^[[:space:]]*//p;}' go.mod | head -n 1
}

# pinned PACKAGE: the version that go.mod requires of the module that holds the package.
pinned() {
  local module version rest
  while read -r module version rest; do
    if [[ $module == require ]]; then read -r module version rest <<<"$version $rest"; fi
    if [[ $1/ == "$module"/* && $version == v* ]]; then
      printf '%s' "$version"
      return
    fi
  done <go.mod
  fail "$name/go.mod requires no module for $1"
}

# Programs built out of their own module do not know their version; linker flags set it.
stamps() {
  local number=${version#v} minor
  minor=$(cut -d. -f2 <<<"$number")
  case $name in
    kubernetes | kubernetes-* | kubelet) # without it clients cannot parse the server's version
      stamp "gitVersion=$version gitMajor=${number%%.*} gitMinor=$minor gitTreeState=clean" \
        k8s.io/component-base/version k8s.io/client-go/pkg/version
      ;;
    containerd) stamp "Version=$version" github.com/containerd/containerd/v2/version ;;
    controller-gen) stamp "version=$version" sigs.k8s.io/controller-tools/pkg/version ;; # written into every CRD
    golangci-lint) stamp "version=$number date=pinned" main ;; # it believes the version only next to a date
    helm) # charts are templated and linted for a Kubernetes version, 1.20 by default
      stamp "version=$version" helm.sh/helm/v3/internal/version
      stamp "k8sVersionMajor=1 k8sVersionMinor=$(pinned k8s.io/client-go | cut -d. -f2)" \
        helm.sh/helm/v3/pkg/chartutil helm.sh/helm/v3/pkg/lint/rules
      ;;
  esac
}

# stamp "VARIABLE=VALUE..." PACKAGE...
stamp() {
  local pairs=$1 package pair
  shift
  for package in "$@"; do
    for pair in $pairs; do printf ' -X %s.%s' "$package" "$pair"; done
  done
}

fingerprint() {
  { cat go.mod go.sum $(compgen -G '*.go') && printf '%s\n' "$go_version" "$GOOS/$GOARCH" "${flags[@]}"; } | git hash-object --stdin | cut -c1-8
}

official_fingerprint() {
  { cat "$here/download/sources.go" && printf '%s\n' "$GOOS/$GOARCH"; } | git hash-object --stdin | cut -c1-8
}

build() {
  work=$folder.building log=$folder.log started=$SECONDS
  trap stop_building EXIT
  rm -rf "$work"
  mkdir -p "$work"
  : >"$log"
  say "$name $version: built from source, once per version and machine; on 2 cores this takes $(expected_time)"

  follow count_modules go list -deps tool >"$work.packages"
  packages=$(wc -l <"$work.packages")
  follow count_packages go build -v "${flags[@]}" -o "$work/" tool
  # The program is named after its package, and etcd's is "server".
  if [[ $name == etcd ]]; then mv "$work/server" "$work/etcd"; fi

  mv "$work" "$folder"
  rm -f "$log"
  say "$name $version: built in $(clock $((SECONDS - started)))"
}

expected_time() {
  case $name in
    kubernetes) echo "8 to 12 minutes" ;;
    kubernetes-*) echo "5 to 8 minutes" ;; # no controllers, no scheduler
    golangci-lint) echo "3 to 5 minutes" ;;
    argocd) echo "5 to 8 minutes" ;;
    source-controller | kustomize-controller) echo "3 to 8 minutes" ;;
    kubelet) echo "3 to 6 minutes" ;;
    kwok | helm | containerd | metrics-server) echo "about 2 minutes" ;;
    *) echo "about a minute" ;;
  esac
}

# follow COUNT COMMAND...: runs the command, and prints the progress from COUNT every ten seconds.
follow() {
  local count=$1 next=$((SECONDS + 10))
  shift
  "$@" 2>>"$log" &
  job=$!
  while kill -0 "$job" 2>/dev/null; do
    sleep 0.2
    if ((SECONDS >= next)); then
      say "$name $version: $("$count"), $(clock $((SECONDS - started)))"
      next=$((SECONDS + 10))
    fi
  done
  wait "$job" || explain_failure
  job=''
}

count_modules() { printf '%d modules downloaded' "$(grep -c '^go: downloading ' "$log")"; }
# "At most", because what Go's build cache still holds is not compiled again.
count_packages() {
  printf 'compiled %d of at most %d packages' "$(grep -c -v '^go: ' "$log")" "$packages"
  local linked=("$work"/*)
  if [[ -e ${linked[0]} ]]; then printf ', programs linked: %d' "${#linked[@]}"; fi
}

explain_failure() {
  tail -n 20 "$log" >&2
  fail "building $name $version failed after $(clock $((SECONDS - started))); the lines above are the end of $log" \
    "Modules come from $(go env GOPROXY) (go env GOPROXY): check the network, and the disk with: df -h \"${folder%/*}\"" \
    "Then run this again; what was compiled so far is kept in Go's build cache."
}

# Also runs when the build is interrupted.
job=''
stop_building() {
  if [[ -n $job ]]; then kill "$job" 2>/dev/null || true; fi
  rm -rf "$work" "$work.packages"
  release
}

main "$@"
