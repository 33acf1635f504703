#!/usr/bin/env bash
# The demo: a real control plane on this machine, Flokoa installed from its charts, and an Agent of three replicas with its Model, watched
# until all are available. Then one of its machines dies, and another stands in. Meanwhile, a ConfigMap changes that three other Agents read.
#
#   ci/clusters/demo/demo.sh up      what `make demo` does; run again, it changes nothing that is in order
#   ci/clusters/demo/demo.sh down    what `make demo-down` does
#
# Simulated nodes run no containers, so the chart is installed with 0 replicas and the operator runs here as a process,
# with the permissions of the chart's ServiceAccount and no others.
set -euo pipefail
umask 077 # the operator's kubeconfig holds a token

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
# shellcheck source=ci/tools/progress.sh
source "$root/ci/tools/progress.sh"

folder=$(flokoa_cache)/demo
system=flokoa-system
team=flokoa-demo
agent=production-agent
replicas=3
patience=120 # seconds for the replicas to become available
losing=300   # seconds for a lost node to be noticed and made good

main() {
  case ${1:-} in
    up | down) "$1" ;;
    *) fail "unknown command \"${1:-}\"" "usage: ci/clusters/demo/demo.sh up|down" ;;
  esac
}

up() {
  cd "$root"
  mkdir -p "$folder"
  trap stop_building EXIT
  trap 'exit 130' INT TERM
  # First, because on a new machine it compiles what downloads everything else.
  "$root/ci/tools/build.sh" helm >/dev/null
  start_building # while programs are downloaded and the cluster starts, which is mostly waiting
  "$root/ci/clusters/local/cluster.sh" up
  # Sets KUBECONFIG, KUBECTL and HELM for this process only.
  eval "$("$root/ci/clusters/local/cluster.sh" env)"
  export KUBECONFIG KUBERC=off KUBECACHEDIR=$folder/kubectl-cache
  finish_building
  title "Installing Flokoa from its charts"
  run helm upgrade --install flokoa-crds charts/flokoa-crds --namespace $system --create-namespace
  # Not by `helm --wait`, which looks every two seconds and takes several for what is there at once.
  run kubectl wait --for condition=Established --timeout 60s crd/agents.agent.flokoa.ai crd/models.agent.flokoa.ai
  run helm upgrade --install flokoa-operator charts/flokoa-operator --namespace $system --set replicas=0
  start_operator
  title "Deploying examples/agents/production-agent.yaml, unchanged"
  run kubectl create namespace $team
  run kubectl --namespace $team create secret generic agent-secrets --from-literal=api-key=not-a-real-key
  run kubectl --namespace $team apply --filename examples/agents/production-agent.yaml
  run kubectl --namespace $team apply --filename ci/clusters/demo/model.yaml # the Model that the Agent names; it waits for it
  watch_agent
  show_model
  where_pods_run
  show_availability
  lose_node
  summary
}

# --- showing what is done -----------------------------------------------------------------------------------------------

title() { printf '\n== %s\n' "$1"; }

# run TOOL ARGUMENT...: shows a command as a person would type it, and runs it. What a second demo finds in place is fine.
run() {
  local tool=$1 output
  shift
  printf '$ %s%s\n' "$tool" "$(quote "$@")"
  if ! output=$(tool "$tool" "$@" 2>&1); then
    if [[ $output != *"already exists"* ]]; then
      printf '%s\n' "$output" >&2
      fail "this $tool command failed; its output is above"
    fi
    output="there already"
  fi
  sed -e '/^NOTES:/,$d' -e 's/^/  /' <<<"$output"
}

# quote ARGUMENT...: the arguments as a person types them, each after a space.
quote() {
  local argument
  for argument in "$@"; do
    case $argument in
      *'{'*) printf " '%s'" "$argument" ;;
      *) printf ' %s' "$argument" ;;
    esac
  done
}

tool() {
  local name=$1
  shift
  case $name in
    kubectl) "$KUBECTL" "$@" ;;
    helm)
      HELM_CACHE_HOME=$folder/helm HELM_CONFIG_HOME=$folder/helm HELM_DATA_HOME=$folder/helm "$HELM" "$@"
      ;;
  esac
}

# --- the operator -------------------------------------------------------------------------------------------------------

start_building() {
  CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=demo" -o "$folder/flokoa-operator.new" ./operator/cmd/flokoa-operator \
    >"$folder/build.log" 2>&1 &
  building=$!
}

finish_building() {
  local next=$((SECONDS + 5))
  title "Building the operator"
  while kill -0 "$building" 2>/dev/null; do
    sleep 0.1
    if ((SECONDS >= next)); then
      printf '  %s since the start\n' "$(clock $SECONDS)"
      next=$((SECONDS + 5))
    fi
  done
  wait "$building" || {
    cat "$folder/build.log" >&2
    fail "the operator does not build; what the compiler said is above"
  }
  building=''
  printf '  %s\n' "$(go version)"
}

# Ctrl-C does not reach a background job of a script.
building=''
stop_building() { if [[ -n $building ]]; then kill "$building" 2>/dev/null || true; fi; }

# start_operator runs it with a token of the chart's ServiceAccount. One of an earlier demo is stopped first: it may be of
# another build, or belong to a cluster that is gone.
start_operator() {
  title "Starting the operator as system:serviceaccount:$system:flokoa-operator"
  stop_operator
  mv "$folder/flokoa-operator.new" "$folder/flokoa-operator"
  operator_kubeconfig
  # In a session of its own, so that ending this script does not end it.
  nohup "$folder/flokoa-operator" --kubeconfig "$folder/operator.kubeconfig" --leader-election-namespace $system --config-rollouts-per-namespace 1 \
    --metrics-bind-address 0 --health-probe-bind-address 0 >"$folder/operator.log" 2>&1 </dev/null &
  echo $! >"$folder/operator.pid"
  printf '  process %s, log %s\n' "$(cat "$folder/operator.pid")" "$folder/operator.log"
}

operator_kubeconfig() {
  local token
  token=$(tool kubectl --namespace $system create token flokoa-operator --duration 8760h)
  tool kubectl config view --raw --minify --flatten >"$folder/operator.kubeconfig.new"
  local config=(tool kubectl config --kubeconfig "$folder/operator.kubeconfig.new")
  {
    "${config[@]}" set-credentials flokoa-operator --token "$token"
    "${config[@]}" set-context --current --user flokoa-operator
    "${config[@]}" get-users | tail -n +2 | grep -vx flokoa-operator | while read -r user; do "${config[@]}" delete-user "$user"; done
  } >/dev/null
  mv "$folder/operator.kubeconfig.new" "$folder/operator.kubeconfig"
}

# operator_lives: the recorded process runs, and is not another program with the number of a dead one.
operator_lives() {
  local pid
  pid=$(cat "$folder/operator.pid" 2>/dev/null) && [[ $(program "$pid") == "$folder/flokoa-operator" ]]
}

stop_operator() {
  if operator_lives; then
    kill "$(cat "$folder/operator.pid")" # it gives up its lease and ends
    while operator_lives; do sleep 0.1; done
  fi
  rm -f "$folder/operator.pid"
}

# --- the Agent ----------------------------------------------------------------------------------------------------------

# watch_agent shows `kubectl get agents -w` until all replicas are available.
watch_agent() {
  title "Watching until AVAILABLE REPLICAS is $replicas"
  if ! follow_agents all_available; then
    tool kubectl --namespace $team describe agent $agent >&2
    fail "not all replicas are available after $patience s; the state of the Agent is above, the operator's log is $folder/operator.log"
  fi
  printf '  %s of %s available after %s s\n' $replicas $replicas $SECONDS # of the whole demo
}

# all_available LINE: the Agent in a line of kubectl has all its replicas.
all_available() {
  local available
  read -r _ _ _ _ available _ <<<"$1"
  [[ $available == "$replicas" ]]
}

# follow_agents ENOUGH [ARGUMENT...] shows the lines of `kubectl get agents -w`, with more arguments of kubectl, until ENOUGH LINE succeeds.
# It fails after $patience seconds.
follow_agents() {
  local enough=$1 fifo=$folder/watch line limit=$((SECONDS + patience)) watcher waiting=1
  shift
  printf '$ kubectl --namespace %s get agents%s -w\n' $team "${*:+ $*}"
  rm -f "$fifo" && mkfifo "$fifo"
  "$KUBECTL" --namespace $team get agents "$@" -w >"$fifo" & # not through a function: the process to end later must be kubectl itself
  watcher=$!
  exec 8<"$fifo"
  while ((SECONDS < limit && waiting)); do
    operator_lives || { tail -n 5 "$folder/operator.log" >&2 && fail "the operator ended; the lines above are the end of $folder/operator.log"; }
    if IFS= read -r -t 2 line <&8; then
      printf '  %s\n' "$line"
      if "$enough" "$line"; then waiting=0; fi
    fi
  done
  exec 8<&-
  kill "$watcher" 2>/dev/null || true
  wait "$watcher" 2>/dev/null || true
  rm -f "$fifo"
  return $waiting
}

# show_model shows what the namespace makes of the Model's name, and the variables that the agent container gets.
show_model() {
  title "The Agent names model gpt-4o-model, and the namespace decides what that is"
  run kubectl --namespace $team get models --output wide
  run kubectl --namespace $team wait --for condition=ModelResolved --timeout 60s agent/$agent
  run kubectl --namespace $team get agent $agent --output 'jsonpath={.status.conditions[?(@.type=="ModelResolved")].message}'
  run kubectl --namespace $team set env deployment/$agent --list
}

where_pods_run() {
  title "Where the pods run"
  tool kubectl --namespace $team get pods --selector flokoa.ai/agent=$agent \
    --output custom-columns='POD:.metadata.name,NODE:.spec.nodeName,ZONE:.metadata.labels.topology\.kubernetes\.io/zone,PHASE:.status.phase,TERMINATING SINCE:.metadata.deletionTimestamp'
}

# show_availability: checks high availability, of the manifest before it is applied and of the Agent as it runs.
show_availability() {
  title "Is it highly available?"
  printf '$ flokoa-operator check -f examples/agents/production-agent.yaml\n'
  "$folder/flokoa-operator" check -f examples/agents/production-agent.yaml
  echo 'and as it runs, by the conditions of the Agent:'
  await_ha True 60 $SECONDS
}

# lose_node takes away the machine of one replica, as a power cut does, and shows what becomes of the Agent.
lose_node() {
  local node before
  node=$(tool kubectl --namespace $team get pods --selector flokoa.ai/agent=$agent --field-selector status.phase=Running \
    --output jsonpath='{.items[0].spec.nodeName}')
  before=$SECONDS
  title "Losing $node: its heartbeat stops (about two minutes)"
  echo "  Kubernetes takes a machine for dead after 50 s; its pods are given up 60 s later (300 s without Flokoa's default)"
  run kubectl label node "$node" simulation/lost= --overwrite
  await_ha False $losing $before
  printf '  noticed after %s s: the Service sends no more requests there, two replicas answer\n' $((SECONDS - before))
  roll_configuration # nothing else happens for a minute
  title "$agent again: its third replica"
  await_ha True $losing $before
  printf '  made good after %s s: a third replica runs elsewhere\n' $((SECONDS - before))
  where_pods_run
  title "$node comes back"
  run kubectl label node "$node" simulation/lost-
}

# roll_configuration changes a ConfigMap that three Agents read, and shows the order in which they roll.
roll_configuration() {
  local level=debug
  title "Meanwhile: changing a ConfigMap that three Agents read"
  run kubectl --namespace $team create configmap agent-config --from-literal=log-level=info
  run kubectl --namespace $team apply --filename ci/clusters/demo/agents.yaml
  run kubectl --namespace $team wait --for condition=Ready --timeout ${patience}s agent/planner agent/researcher agent/writer
  # A second demo finds the level of the first one.
  if [[ $(tool kubectl --namespace $team get configmap agent-config --output jsonpath='{.data.log-level}') == debug ]]; then level=info; fi
  run kubectl --namespace $team patch configmap agent-config --patch "{\"data\":{\"log-level\":\"$level\"}}"
  echo "  The operator first waits until the ConfigMap has been unchanged for 10 s. Then one Agent rolls. When it has been available for 10 s, the"
  echo "  others follow: here one after another, by default five at a time."
  if ! follow_agents all_rolled --selector app.kubernetes.io/part-of=research; then
    tool kubectl --namespace $team describe agents --selector app.kubernetes.io/part-of=research >&2
    fail "not all Agents rolled within $patience s; their state is above, the operator's log is $folder/operator.log"
  fi
  sleep 1 # the last Event follows the status
  echo "$ kubectl --namespace $team get events --field-selector involvedObject.kind=Agent --sort-by .eventTime | tail -n 6"
  tool kubectl --namespace $team get events --field-selector involvedObject.kind=Agent --sort-by .eventTime | tail -n 6 | sed 's/^/  /'
}

# all_rolled LINE: with this line of kubectl, three Agents have started to roll and are complete.
rolling='' rolled=''
all_rolled() {
  local name=${1%% *}
  case $1 in
    *RolloutInProgress*) rolling+=" $name " ;;
    *RolloutComplete*) if [[ $rolling == *" $name "* && $rolled != *" $name "* ]]; then rolled+=" $name "; fi ;;
  esac
  [[ $(wc -w <<<"$rolled") -eq 3 ]]
}

# await_ha VALUE SECONDS BEGAN waits until the condition HighlyAvailable has a value, and prints the Agent whenever it changes,
# with the seconds since it began.
shown=''
await_ha() {
  local want=$1 limit=$((SECONDS + $2)) began=$3 line='' ha
  local condition='{.status.conditions[?(@.type=="%s")].%s}'
  # shellcheck disable=SC2059 # the format is the line above
  local template="{.status.availableReplicas} available, Ready $(printf "$condition" Ready status) ($(printf "$condition" Ready reason)), HighlyAvailable $(printf "$condition" HighlyAvailable status): $(printf "$condition" HighlyAvailable message)"
  while ((SECONDS < limit)); do
    line=$(tool kubectl --namespace $team get agent $agent --output jsonpath="$template")
    if [[ $line != "$shown" ]]; then printf '  %3s s  %s\n' $((SECONDS - began)) "$line"; fi
    shown=$line
    ha=${line##*HighlyAvailable }
    if [[ ${ha%%:*} == "$want" ]]; then return; fi
    sleep 1
  done
  tool kubectl --namespace $team describe agent $agent >&2
  fail "HighlyAvailable did not become $want within $2 s; the state of the Agent is above, the operator's log is $folder/operator.log"
}

summary() {
  title "What the operator made of it"
  tool kubectl --namespace $team get agents,deployments,services,endpointslices,poddisruptionbudgets
  cat <<TEXT

== The cluster stays up. Try next
  export KUBECONFIG=$KUBECONFIG
  alias kubectl=$KUBECTL
  kubectl config set-context --current --namespace $team
  kubectl get agents -w                                           # in a second terminal, to watch
  kubectl patch agent $agent --type=json -p='[{"op":"replace","path":"/spec/runtime/spec/container/image","value":"ghcr.io/example/my-agent:v2.1.0"}]'
  kubectl scale agent $agent --replicas=5
  kubectl delete pod -l flokoa.ai/agent=$agent --wait=false       # the pods come back
  kubectl drain node-a1 --ignore-daemonsets                      # they move; then: kubectl uncordon node-a1
  kubectl patch configmap agent-config --patch '{"data":{"log-level":"warning"}}' # 10 s later, the Agents that read it roll, one first
  kubectl patch model gpt-4o-model --type=merge --patch '{"spec":{"model":"gpt-4o-mini"}}' # 10 s later, the Agent that names it rolls
  kubectl describe agent $agent
  kubectl explain agent.spec.runtime.spec

  API server, etcd, scheduler and controllers are real; nodes and what runs on them are simulated. That is why the
  chart is installed with 0 replicas and the operator runs as process $(cat "$folder/operator.pid"), under the chart's own RBAC.

  kubeconfig   make -s kubeconfig
  operator log $folder/operator.log
  tear down    make demo-down
TEXT
}

down() {
  stop_operator
  "$root/ci/clusters/local/cluster.sh" down
  rm -rf "$folder"
}

main "$@"
