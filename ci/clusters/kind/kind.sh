#!/usr/bin/env bash
# A cluster of real nodes on this machine: kind with one control plane and three workers in three zones.
#
#   ci/clusters/kind/kind.sh up [NAME]             creates it unless it exists; waits until every node is ready
#   ci/clusters/kind/kind.sh load NAME IMAGE...    gives images of this machine to its nodes
#   ci/clusters/kind/kind.sh kubeconfig [NAME]     prints the path of its kubeconfig
#   ci/clusters/kind/kind.sh env [NAME]            prints what tests and people need, as shell assignments
#   ci/clusters/kind/kind.sh down [NAME]           removes it
#
# NAME is flokoa unless given. FLOKOA_NODE_IMAGE names the node image; unset, it is kind's own where that is here or can be pulled,
# else one that is built (image.sh). The user's own kubeconfig is never read or written.
set -euo pipefail
umask 077 # the folder holds the key of a cluster's admin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=${here%/*/*}/tools
# shellcheck source=ci/tools/progress.sh
source "$tools/progress.sh"

main() {
  local command=${1:-}
  name=${2:-flokoa}
  [[ $name =~ ^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$ ]] || fail "\"$name\" cannot name a cluster: use a-z, 0-9 and -"
  folder=$(flokoa_cache)/kind/$name
  trap stop EXIT
  trap 'exit 130' INT TERM
  case $command in
    up) up ;;
    load) shift 2 && load "$@" ;;
    kubeconfig) kubeconfig ;;
    env) assignments ;;
    down) down ;;
    *) fail "unknown command \"$command\"" "usage: ci/clusters/kind/kind.sh up|load|kubeconfig|env|down [NAME]" ;;
  esac
}

stop() {
  if [[ -n $watched ]]; then kill "$watched" 2>/dev/null || true; fi
  release
}

# --- up -----------------------------------------------------------------------------------------------------------------

up() {
  check_engine
  local kind image
  kind=$("$tools/build.sh" kind)
  kubectl=$("$tools/build.sh" kubernetes)/kubectl
  hold "$(flokoa_cache)/kind.lock" "it creates or removes a kind cluster"
  if ! exists; then
    image=$(node_image)
    mkdir -p "$folder"
    sed "s#@REPOSITORY@#$(repository_of "$image")#" "$here/cluster.yaml" >"$folder/cluster.yaml"
    watch_over "kind $name: creating four nodes (about a minute)" \
      kind create cluster --image "$image" --config "$folder/cluster.yaml" --kubeconfig "$folder/kubeconfig" --wait 180s
  elif [[ ! -s $folder/kubeconfig ]]; then
    kind export kubeconfig --kubeconfig "$folder/kubeconfig" >&2 ||
      fail "the cluster $name is incomplete" "Remove it and try again: make kind-down kind-up"
  fi
  watch_over "kind $name: waiting until all nodes are ready" wait_ready
  summary
}

# wait_ready: after a restart of the engine, the API server takes a while to serve and to bootstrap RBAC. Until then, kubectl wait
# fails at once.
wait_ready() {
  local deadline=$((SECONDS + 120))
  until kubectl get nodes --request-timeout=5s >/dev/null 2>&1 || ((SECONDS >= deadline)); do sleep 1; done
  kubectl wait --for=condition=Ready nodes --all --timeout=180s
}

check_engine() {
  command -v docker >/dev/null || fail "the command docker is missing: kind's nodes are containers" \
    "Install an engine: apt-get install docker.io (Debian, Ubuntu), or https://docs.docker.com/engine/install"
  local output
  output=$(docker info --format '{{.ServerVersion}}' 2>&1) || fail "cannot reach the Docker engine: ${output##*$'\n'}" \
    "Start it: systemctl start docker, or where there is no systemd: dockerd &" \
    "If it runs already, you may lack the right to use it: add yourself to the group docker, or use sudo."
}

exists() { [[ " $(docker ps --all --filter "label=io.x-k8s.kind.cluster=$name" --quiet | tr '\n' ' ')" != " " ]]; }

node_image() {
  local stock
  if [[ -n ${FLOKOA_NODE_IMAGE:-} ]]; then
    printf '%s' "$FLOKOA_NODE_IMAGE"
    return
  fi
  stock=$(stock_image)
  if docker image inspect "$stock" >/dev/null 2>&1 || pull "$stock"; then
    printf '%s' "$stock"
  else
    "$here/image.sh"
  fi
}

# stock_image: the one that this version of kind is made for.
stock_image() {
  sed -n 's/^const Image = "\(.*\)"/\1/p' "$(module_of kind)/pkg/apis/config/defaults/image.go"
}
module_of() { (cd "$tools/kind" && GOWORK=off GOFLAGS=-mod=readonly go list -m -f '{{.Dir}}' "sigs.k8s.io/$1"); }

pull() {
  local output
  say "kind $name: pulling the node image ${1%@*}, some 350 MB"
  output=$(timeout 600 docker pull --quiet "$1" 2>&1) || {
    say "kind $name: cannot pull the node image: ${output##*$'\n'}"
    return 1
  }
}

# repository_of IMAGE: where the nodes made of it have the images of their control plane.
repository_of() { if [[ $1 == flokoa.local/* ]]; then echo node.local; else echo registry.k8s.io; fi; }

# kind with a docker command that works here. What it creates nodes of, or its own nodes, show whether containers may have all
# privileges.
kind() {
  local image=${image:-} path=$PATH
  [[ -n $image ]] || image=$(docker inspect --format '{{.Config.Image}}' "$name-control-plane")
  if ! docker run --rm --privileged --network none --entrypoint /bin/true "$image" >/dev/null 2>&1; then
    path=$here/unprivileged:$PATH
  fi
  PATH=$path FLOKOA_DOCKER=$(command -v docker) KIND_EXPERIMENTAL_PROVIDER=docker "$kind/kind" "$@" --name "$name"
}

summary() {
  say "kind $name is up"
  kubectl get nodes --label-columns topology.kubernetes.io/zone >&2
  say "  kubeconfig  $folder/kubeconfig"
  say "  kubectl     $kubectl"
  say "  tear down   make kind-down"
}

kubectl() { KUBERC=off KUBECACHEDIR=$folder/kubectl-cache "$kubectl" --kubeconfig "$folder/kubeconfig" "$@"; }

# --- load, kubeconfig, env, down ----------------------------------------------------------------------------------------

load() {
  local kind
  exists || fail "no kind cluster is named $name" "make kind-up creates one."
  kind=$("$tools/build.sh" kind)
  watch_over "kind $name: loading $# images into the nodes" kind load docker-image "$@"
}

kubeconfig() {
  [[ -s $folder/kubeconfig ]] && exists || fail "no kind cluster is named $name" "make kind-up creates one."
  printf '%s\n' "$folder/kubeconfig"
}

assignments() {
  kubeconfig >/dev/null
  local kubernetes helm
  kubernetes=$("$tools/build.sh" kubernetes)
  helm=$("$tools/build.sh" helm)
  printf '%s=%q\n' \
    KUBECONFIG "$folder/kubeconfig" \
    KUBECTL "$kubernetes/kubectl" \
    HELM "$helm/helm" \
    FLOKOA_KIND "$name"
}

down() {
  local kind
  hold "$(flokoa_cache)/kind.lock" "it creates or removes a kind cluster"
  if exists; then
    kind=$("$tools/build.sh" kind)
    watch_over "kind $name: removing" kind delete cluster --kubeconfig "$folder/kubeconfig"
  else
    say "kind $name: no such cluster"
  fi
  rm -rf "$folder"
}

main "$@"
