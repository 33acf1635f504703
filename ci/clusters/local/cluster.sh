#!/usr/bin/env bash
# A real control plane with simulated nodes on this machine, for people and for tests (README.md lists what is real).
#
#   ci/clusters/local/cluster.sh up [NAME]           starts it, or repairs what is broken; quick when nothing is
#   ci/clusters/local/cluster.sh kubeconfig [NAME]   prints the path of its kubeconfig
#   ci/clusters/local/cluster.sh env [NAME]          prints what tests and people need, as shell assignments
#   ci/clusters/local/cluster.sh down [NAME]         removes its processes and files
#
# FLOKOA_NODE_MONITOR_GRACE_PERIOD is how long a node may be silent before it is NotReady; unset, kwokctl.yaml says so.
#
# NAME is flokoa unless given. Everything is kept under the user's cache folder; the user's own kubeconfig is never read
# or written.
set -euo pipefail
umask 077 # the folder holds the keys of a cluster's admin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=${here%/*/*}/tools
# shellcheck source=ci/tools/progress.sh
source "$tools/progress.sh"

node_grace=${FLOKOA_NODE_MONITOR_GRACE_PERIOD:-}
components=(etcd kube-apiserver kube-controller-manager kube-scheduler kwok-controller)

main() {
  command=${1:-} name=${2:-flokoa}
  [[ $name =~ ^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$ ]] || fail "\"$name\" cannot name a cluster: use a-z, 0-9 and -"
  home=$(flokoa_cache)
  folder=$home/clusters/$name
  case $command in
    up) up ;;
    down) down ;;
    kubeconfig) kubeconfig ;;
    env) assignments ;;
    *) fail "unknown command \"$command\"" "usage: ci/clusters/local/cluster.sh up|down|kubeconfig|env [NAME]" ;;
  esac
}

# --- up -----------------------------------------------------------------------------------------------------------------

up() {
  # First the slow part, without the lock: another cluster can come up meanwhile.
  kubernetes=$("$tools/build.sh" kubernetes)
  etcd=$("$tools/build.sh" etcd)
  kwok=$("$tools/build.sh" kwok)
  # One lock for all clusters, or two that start together pick the same ports.
  trap abandon EXIT
  trap 'exit 130' INT TERM
  hold "$home/clusters.lock" "it starts or stops a cluster"
  started=$SECONDS
  made_of=$(recipe)

  if [[ ! -d $folder ]]; then
    create
  elif [[ $(cat "$folder/made-of" 2>/dev/null) != "$made_of" ]]; then
    step "was made by other versions, with other settings or not to the end: starting afresh"
    remove
    create
  elif ! healthy; then
    # In a subshell, where a failure is not the end.
    (trap abandon EXIT && repair) || {
      step "could not be repaired: starting afresh"
      remove
      create
    }
  fi
  summary
}

# What a cluster is made of; when it differs from what `up` would make now, the cluster is made again.
recipe() {
  printf '%s\n' "${kubernetes##*/}" "${etcd##*/}" "${kwok##*/}" "$node_grace"
  cat "$here"/*.yaml | git hash-object --stdin
}

healthy() {
  local component
  for component in "${components[@]}"; do alive "$component" || return 1; done
  { api_serves && nodes_are_ready; } >/dev/null 2>&1
}

# A cluster that is half started, because something failed or someone pressed Ctrl-C, is stopped; its logs stay.
unfinished='' job=''
abandon() {
  if [[ -n $job ]]; then kill "$job" 2>/dev/null || true; fi
  if [[ -n $unfinished ]]; then stop_processes; fi
  release
}

create() {
  unfinished=1
  step "starting ${components[*]}"
  kwokctl create cluster --kubeconfig "" \
    --config "$here/kwokctl.yaml" --config "$here/stages.yaml" \
    --kube-audit-policy "$here/audit-policy.yaml" \
    --etcd-binary "$etcd/etcd" \
    --kube-apiserver-binary "$kubernetes/kube-apiserver" \
    --kube-controller-manager-binary "$kubernetes/kube-controller-manager" \
    --kube-scheduler-binary "$kubernetes/kube-scheduler" \
    --kwok-controller-binary "$kwok/kwok" \
    ${node_grace:+--extra-args "kube-controller-manager=node-monitor-grace-period=$node_grace"}
  settle
  printf '%s\n' "$made_of" >"$folder/made-of"
  unfinished=''
}

repair() {
  local component dead=()
  unfinished=1
  for component in "${components[@]}"; do
    if ! alive "$component"; then
      dead+=("$component")
      # kwokctl believes the number in this file, which may belong to another program by now.
      rm -f "$folder/pids/$component.pid"
      stop_processes "$component"
    fi
  done
  if ((${#dead[@]})); then
    step "restarting ${dead[*]}"
    kwokctl start cluster
  else
    step "is not healthy: repairing"
  fi
  settle
  unfinished=''
}

# kwokctl sees nothing of the caller's settings: no kubeconfig, no KWOK_* variable, no proxy.
kwokctl() {
  local output=$home/$name.kwokctl.log
  mkdir -p "$home/clusters"
  env -i PATH="$PATH" HOME="$home" KWOK_WORKDIR="$home" KWOK_KUBECTL_BINARY="$kubernetes/kubectl" \
    "$kwok/kwokctl" --name "$name" "$@" >"$output" 2>&1 9>&- &
  job=$!
  while kill -0 "$job" 2>/dev/null; do
    check_components
    sleep 0.1
  done
  wait "$job" || {
    cat "$output" >&2
    rm -f "$output"
    fail "kwokctl could not start the cluster; the lines above are what it said"
  }
  job=''
  rm -f "$output"
}

# From running processes to a cluster that can be used.
settle() {
  write_kubeconfig
  await 60 "the API server is ready" api_serves
  await 30 "namespace default has its ServiceAccount" kubectl get serviceaccount default --namespace default
  # A node that was lost or deleted in an earlier experiment is back.
  kubectl apply --filename "$here/nodes.yaml" >/dev/null
  kubectl label --filename "$here/nodes.yaml" simulation/lost- >/dev/null
  await 60 "all nodes are ready" nodes_are_ready
}

# One file that works wherever it is copied to; kwokctl's points to key files.
write_kubeconfig() {
  "$kubernetes/kubectl" --kubeconfig "$folder/kubeconfig.yaml" config view --raw --flatten |
    sed "s/kwok-$name/$name/" >"$folder/kubeconfig"
}

api_serves() { kubectl get --raw /readyz; }
# Not by `kubectl wait`, which takes a second for six nodes that are ready.
nodes_are_ready() {
  local ready
  ready=$(kubectl get --filename "$here/nodes.yaml" \
    --output jsonpath='{.items[*].status.conditions[?(@.type=="Ready")].status}')
  echo "Ready: $ready"
  [[ $ready =~ ^(True ?)+$ ]]
}

# The cluster's own cache and none of the user's preferences (kuberc).
kubectl() {
  KUBERC=off KUBECACHEDIR=$folder/kubectl-cache \
    "$kubernetes/kubectl" --kubeconfig "$folder/kubeconfig" --request-timeout=5s "$@"
}

# await SECONDS WHAT COMMAND...: until the command succeeds; not longer than SECONDS, nor than all components live.
await() {
  local limit=$((SECONDS + $1)) what=$2 output
  shift 2
  until output=$("$@" 2>&1); do
    check_components
    ((SECONDS < limit)) ||
      fail "waited too long until $what: $output" "The logs are in $folder/logs; the same command starts afresh."
    sleep 0.1
  done
  step "$what"
}

# A component that was started and is gone will not come back by waiting.
check_components() {
  local component
  for component in "${components[@]}"; do
    if [[ -e $folder/pids/$component.pid ]] && ended "$component"; then
      tail -n 15 "$folder/logs/$component.log" >&2
      fail "$component ended; the lines above are the end of $folder/logs/$component.log" "The same command starts afresh."
    fi
  done
}

step() { say "cluster $name: $1 ($(clock $((SECONDS - started))))"; }

summary() {
  local zone='' next node version=${kubernetes##*/kubernetes-}
  say "cluster $name is up: Kubernetes ${version%-*}, nodes and their pods simulated"
  while read -r next node; do
    if [[ $next != "$zone" ]]; then
      [[ -z $zone ]] || say ""
      zone=$next
      printf '  %-12s' "$zone" >&2
    fi
    printf '%s ' "$node" >&2
  done < <(kubectl get nodes --no-headers --sort-by .metadata.name \
    --output custom-columns='ZONE:.metadata.labels.topology\.kubernetes\.io/zone,NAME:.metadata.name' | sort)
  say ""
  say "  kubeconfig  $folder/kubeconfig"
  say "  kubectl     $kubernetes/kubectl"
  say "  logs        $folder/logs"
  say "  tear down   ci/clusters/local/cluster.sh down $name"
}

# --- down, kubeconfig, env ----------------------------------------------------------------------------------------------

down() {
  trap release EXIT
  hold "$home/clusters.lock" "it starts or stops a cluster"
  if [[ ! -d $folder && -z $(processes) ]]; then
    say "cluster $name: there is none"
    return
  fi
  remove
  say "cluster $name: removed"
}

kubeconfig() {
  [[ -s $folder/made-of ]] || fail "there is no cluster named $name" "ci/clusters/local/cluster.sh up $name starts one."
  printf '%s\n' "$folder/kubeconfig"
}

assignments() {
  kubeconfig >/dev/null
  local assets helm
  assets=$("$tools/envtest.sh")
  helm=$("$tools/build.sh" helm)
  printf '%s=%q\n' \
    KUBECONFIG "$folder/kubeconfig" \
    KUBECTL "$assets/kubectl" \
    HELM "$helm/helm" \
    KUBEBUILDER_ASSETS "$assets" \
    FLOKOA_CLUSTER "$folder" \
    FLOKOA_AUDIT_LOG "$folder/logs/audit.log"
}

# --- processes ----------------------------------------------------------------------------------------------------------

# alive COMPONENT: the process that was recorded for it runs, and is not another program with the number of a dead one.
alive() {
  local pid=''
  { read -r pid || [[ -n $pid ]]; } 2>/dev/null <"$folder/pids/$1.pid" && [[ $(program "$pid") == "$folder/bin/$1" ]]
}

# ended COMPONENT: it is not alive, and not just starting either. A process has an empty command line from the start of its program until
# the program is loaded, which takes a while if it has to come from disk; nor is its record written in one step.
ended() {
  local attempt
  for ((attempt = 0; attempt < 20; attempt++)); do
    if alive "$1"; then return 1; fi
    sleep 0.1
  done
}

# processes [COMPONENT]: every process started from the cluster's folder, also when the record of it is lost: all have
# their program there.
processes() {
  local pid
  for pid in $(process_numbers); do
    if [[ $(program "$pid") == "$folder/bin/${1:-}"* ]]; then echo "$pid"; fi
  done
}

process_numbers() {
  if [[ -e /proc/self/cmdline ]]; then
    grep -l -a -F "$folder/bin/" /proc/[0-9]*/cmdline 2>/dev/null | tr -dc '0-9\n' || true
  else
    ps -axo pid=
  fi
}

# stop_processes [COMPONENT]: at once and without asking, for what follows is a fresh start or the end.
stop_processes() {
  local pids limit=$((SECONDS + 10))
  while pids=$(processes "$@") && [[ -n $pids ]]; do
    ((SECONDS < limit)) || fail "these processes of cluster $name do not end: ${pids//$'\n'/ }"
    # shellcheck disable=SC2086 # one word per process
    kill -9 $pids 2>/dev/null || true
    sleep 0.1
  done
}

remove() {
  stop_processes
  rm -rf "$folder"
}

main "$@"
