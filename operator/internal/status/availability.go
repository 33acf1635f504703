package status

import (
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
)

// minAvailable is how many replicas the guide requires (section "Multiple replicas": three or more). minDomains is how many nodes
// and zones the available ones must be on, where the cluster has as many.
const (
	minAvailable = 3
	minDomains   = 2
)

// highlyAvailable returns the result for the missing requirements. notEvaluated is a note on what could not be evaluated.
func highlyAvailable(observed Observed, missing []Requirement, notEvaluated string) conditionResult {
	if len(missing) > 0 {
		return conditionFalse(v1alpha1.ReasonMissingRequirements, "%s", joinRequirements(missing, maxMessage-len(notEvaluated))+notEvaluated)
	}
	nodes, zones := countDomains(availablePods(observed.Pods), observed.Nodes)
	return conditionTrue(v1alpha1.ReasonRequirementsMet, "%s available on %s in %s%s",
		plural(int(availableReplicas(observed)), "replica"), plural(nodes, "node"), plural(zones, "zone"), notEvaluated)
}

// missingRequirements returns what the spec and what runs lack for high availability, and a note on what could not be evaluated.
func missingRequirements(agent *v1alpha1.Agent, observed Observed, err error) (missing []Requirement, notEvaluated string) {
	missing = withForeignBudgets(slices.Clone(observed.Missing), agent, observed.ForeignBudgets)
	missing = append(missing, unreadBudgets(observed.UnreadBudgets)...)
	if errors.Is(err, ErrInvalidSpec) {
		missing = append(missing, missingf(requirementSpec, "it cannot be rendered"))
	}
	desired := render.Replicas(agent, observed.Live())
	if desired == 0 {
		return missing, ""
	}
	missing = append(missing, unavailable(desired, observed)...)
	misplaced, notEvaluated := misplaced(desired, observed)
	missing = append(missing, misplaced...)
	return append(missing, deadlocked(agent, desired, observed)...), notEvaluated
}

func availableReplicas(observed Observed) int32 {
	if observed.Deployment == nil {
		return 0
	}
	return observed.Deployment.Status.AvailableReplicas
}

// unavailable requires three available replicas, or all if fewer are desired; "replicas" reports that there are too few.
func unavailable(desired int32, observed Observed) []Requirement {
	required, current := min(desired, minAvailable), availableReplicas(observed)
	if current >= required {
		return nil
	}
	return []Requirement{missingf(requirementAvailability, "%d of %d replicas available", current, desired)}
}

// misplaced requires available pods on two nodes and in two zones, if two of each can take them. Without permission to read nodes,
// it returns a note instead.
func misplaced(desired int32, observed Observed) (missing []Requirement, notEvaluated string) {
	pods := availablePods(observed.Pods)
	if len(pods) < minDomains || desired < minDomains {
		return nil, "" // the replica count reports it
	}
	nodes, zones := countDomains(pods, observed.Nodes)
	if nodes >= minDomains && zones >= minDomains {
		return nil, ""
	}
	if !observed.Nodes.Known {
		return nil, fmt.Sprintf("; not evaluated: whether the replicas, on %s in %s, could be on more: the operator may not read nodes", plural(nodes, "node"), plural(zones, "zone"))
	}
	schedulable := observed.Nodes.schedulable(&observed.Deployment.Spec.Template.Spec)
	if possible := len(schedulable); nodes < min(minDomains, possible) {
		missing = append(missing, missingf(requirementPlacement, "all available replicas are on %s, and %d nodes fit: delete a pod to have it placed anew",
			plural(nodes, "node"), possible))
	}
	if possible := topologyDomains(schedulable, corev1.LabelTopologyZone); zones < min(minDomains, possible) {
		missing = append(missing, missingf(requirementPlacement, "all available replicas are in %s, and %d zones fit: delete a pod to have it placed anew",
			plural(zones, "zone"), possible))
	}
	return missing, ""
}

// deadlocked forecasts a rollout that cannot complete. With required anti-affinity of the pods against each other, each pod needs a
// topology domain of its own; with a host port, a node; with minDomains, a share of a domain. A rollout that keeps every old pod until
// a new one is available needs one more than there are replicas.
func deadlocked(agent *v1alpha1.Agent, desired int32, observed Observed) []Requirement {
	if observed.Deployment == nil || !observed.Nodes.Known {
		return nil
	}
	schedulable := observed.Nodes.schedulable(&observed.Deployment.Spec.Template.Spec)
	surging := surges(agent, desired)
	var missing []Requirement
	for _, term := range render.RequiredAntiAffinity(agent) {
		required, reason := requiredPlaces(desired, surging && !slices.Contains(term.MatchLabelKeys, appsv1.DefaultDeploymentUniqueLabelKey))
		if possible := topologyDomains(schedulable, term.TopologyKey); possible < required {
			missing = append(missing, missingf(antiAffinity,
				"required pod anti-affinity over %s wants %d places for %s, and %d fit: a pod would wait forever. Use the preferred form, or fewer replicas, or strategy maxSurge 0 with maxUnavailable 1",
				term.TopologyKey, required, reason, possible))
		}
	}
	for _, c := range render.MinDomains(agent) {
		missing = append(missing, overfull(c, topologyDomains(schedulable, c.TopologyKey), desired, surging)...)
	}
	required, reason := requiredPlaces(desired, surging)
	if ports := render.HostPorts(agent); len(ports) > 0 && len(schedulable) < required {
		missing = append(missing, missingf(hostPort,
			"hostPort %s wants %d nodes for %s, and %d fit: a pod would wait forever. Leave hostPort out, or use fewer replicas, or strategy maxSurge 0 with maxUnavailable 1",
			firstFew(ports), required, reason, len(schedulable)))
	}
	return missing
}

// overfull forecasts that a hard constraint has no room for a pod. With fewer domains than minDomains, each takes maxSkew pods.
func overfull(c corev1.TopologySpreadConstraint, domains int, desired int32, surging bool) []Requirement {
	required, reason := requiredPlaces(desired, surging && !slices.Contains(c.MatchLabelKeys, appsv1.DefaultDeploymentUniqueLabelKey))
	if domains >= int(*c.MinDomains) || domains*int(c.MaxSkew) >= required {
		return nil
	}
	return []Requirement{missingf(requirementSpread,
		"topologySpreadConstraint over %s with minDomains %d and maxSkew %d wants room for %s, and the %d that fit take %d: a pod would wait forever. Leave minDomains out",
		c.TopologyKey, *c.MinDomains, c.MaxSkew, reason, domains, domains*int(c.MaxSkew))}
}

// requiredPlaces is how many nodes or other topology domains pods need that cannot share one.
func requiredPlaces(desired int32, surging bool) (places int, reason string) {
	if surging {
		return int(desired) + 1, fmt.Sprintf("%d replicas and the one more of a rollout", desired)
	}
	return int(desired), fmt.Sprintf("%d replicas", desired)
}

// canDeadlock reports whether the number of nodes decides if a rollout can complete.
func canDeadlock(agent *v1alpha1.Agent) bool {
	return len(render.RequiredAntiAffinity(agent)) > 0 || len(render.HostPorts(agent)) > 0 || len(render.MinDomains(agent)) > 0
}

// surges reports whether a rollout keeps every old pod until a new one is available.
func surges(agent *v1alpha1.Agent, desired int32) bool {
	return maxUnavailable(agent.Spec.Runtime.Spec.Strategy, desired) == 0
}

// maxUnavailable is how many of the desired pods may be unavailable during a rollout. Percentages round down, as in the Deployment
// controller.
func maxUnavailable(strategy *v1alpha1.RolloutStrategy, desired int32) int {
	if strategy == nil || strategy.MaxUnavailable == nil {
		return 0
	}
	return scaled(strategy.MaxUnavailable, desired, false)
}

// availablePods returns the ready pods that are not terminating, in order.
func availablePods(pods []corev1.Pod) []*corev1.Pod {
	return filterPods(pods, func(pod *corev1.Pod) bool { return pod.DeletionTimestamp == nil && podReady(pod) })
}

// filterPods returns pointers to the matching pods, in order, because a pod is too large to copy for every count.
func filterPods(pods []corev1.Pod, matches func(*corev1.Pod) bool) []*corev1.Pod {
	var all []*corev1.Pod
	for i := range pods {
		if matches(&pods[i]) {
			all = append(all, &pods[i])
		}
	}
	return all
}

func podReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// countDomains counts the distinct nodes and zones of pods. The zone is the label that the API server copies to a pod when it is
// bound to a node, else the node's own label, if nodes are known.
func countDomains(pods []*corev1.Pod, known Nodes) (nodes, zones int) {
	nodeNames, zoneNames := map[string]bool{}, map[string]bool{}
	for _, pod := range pods {
		nodeNames[pod.Spec.NodeName] = true
		zone := pod.Labels[corev1.LabelTopologyZone]
		if zone == "" {
			zone = known.zone(pod.Spec.NodeName)
		}
		if zone != "" {
			zoneNames[zone] = true
		}
	}
	return len(nodeNames), len(zoneNames)
}

// NeedsNodes reports whether HighlyAvailable depends on the cluster's nodes. It does not when the available pods are on two nodes in
// two zones and nothing keeps the pods from sharing one. That spares most passes a list of every node of a large cluster.
func NeedsNodes(agent *v1alpha1.Agent, observed Observed) bool {
	if observed.Deployment == nil || render.Replicas(agent, observed.Live()) == 0 {
		return false
	}
	if canDeadlock(agent) {
		return true
	}
	pods := availablePods(observed.Pods)
	nodes, zones := countDomains(pods, Nodes{})
	return len(pods) >= minDomains && (nodes < minDomains || zones < minDomains)
}

// DependsOnNodes reports whether a change of the cluster's nodes can change the Agent's status.
func DependsOnNodes(agent *v1alpha1.Agent) bool {
	placement := ptr.Deref(agent.Status.Placement, v1alpha1.Placement{})
	return placement.Zones < minDomains || // which includes pods on fewer than two nodes
		canDeadlock(agent)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
