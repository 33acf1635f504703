package status

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
)

// What observation alone can show to be missing; the others are in requirements.go.
const (
	requirementAvailability = "availability"
	requirementPlacement    = "placement"
	requirementAntiAffinity = "anti-affinity"
	requirementSpec         = "spec"
)

// fullyAvailable is how many replicas the guide asks for ("Multiple replicas": three or more), and how many nodes and zones
// the available ones should be on, where there are that many.
const (
	fullyAvailable = 3
	enoughDomains  = 2
)

// highlyAvailable judges what the spec lacks and where the available pods are.
func highlyAvailable(agent *v1alpha1.Agent, seen Seen, err error) verdict {
	missing := slices.Clone(seen.Missing)
	if failure := worst(err); failure != nil && failure.Reason == v1alpha1.ReasonInvalidSpec {
		missing = append(missing, missingf(requirementSpec, "it cannot be rendered"))
	}
	notJudged := ""
	if wanted := render.Replicas(agent, seen.Live()); wanted > 0 {
		missing = append(missing, unavailable(wanted, seen)...)
		var placed []Requirement
		placed, notJudged = misplaced(wanted, seen)
		missing = append(missing, placed...)
		missing = append(missing, deadlocked(agent, wanted, seen)...)
	}
	if len(missing) > 0 {
		return no(v1alpha1.ReasonMissingRequirements, "%s", join(missing)+notJudged)
	}
	nodes, zones := spots(availablePods(seen.Pods), seen.Nodes)
	return yes(v1alpha1.ReasonRequirementsMet, "%s available on %s in %s%s", plural(int(availableReplicas(seen)), "replica"), plural(nodes, "node"), plural(zones, "zone"), notJudged)
}

func availableReplicas(seen Seen) int32 {
	if seen.Deployment == nil {
		return 0
	}
	return seen.Deployment.Status.AvailableReplicas
}

// unavailable asks for three available replicas, or for all where fewer are wanted, which is said elsewhere.
func unavailable(wanted int32, seen Seen) []Requirement {
	need, have := min(wanted, fullyAvailable), availableReplicas(seen)
	if have >= need {
		return nil
	}
	return []Requirement{missingf(requirementAvailability, "%d of %d replicas available", have, wanted)}
}

// misplaced asks for available pods on two nodes and in two zones, where the cluster has two that the pods can go to. What
// cannot be judged, because nodes cannot be read, it says.
func misplaced(wanted int32, seen Seen) (missing []Requirement, notJudged string) {
	pods := availablePods(seen.Pods)
	if len(pods) < enoughDomains || wanted < enoughDomains {
		return nil, "" // said by the number of replicas
	}
	nodes, zones := spots(pods, seen.Nodes)
	if nodes >= enoughDomains && zones >= enoughDomains {
		return nil, ""
	}
	if !seen.Nodes.Known {
		return nil, fmt.Sprintf("; not judged: whether the replicas, on %s in %s, could be on more: the operator may not read nodes", plural(nodes, "node"), plural(zones, "zone"))
	}
	fit := seen.Nodes.fitting(&seen.Deployment.Spec.Template.Spec)
	if possible := len(fit); nodes < min(enoughDomains, possible) {
		missing = append(missing, missingf(requirementPlacement, "all available replicas are on %s, and %d nodes fit: delete a pod to have it placed anew",
			plural(nodes, "node"), possible))
	}
	if possible := domains(fit, corev1.LabelTopologyZone); zones < min(enoughDomains, possible) {
		missing = append(missing, missingf(requirementPlacement, "all available replicas are in %s, and %d zones fit: delete a pod to have it placed anew",
			plural(zones, "zone"), possible))
	}
	return missing, ""
}

// deadlocked foresees a rollout that can never end: with a required anti-affinity of the pods against each other, old and new
// ones need a node (or zone) each, and a rollout that keeps every old pod until a new one is available needs one more than
// there are replicas.
func deadlocked(agent *v1alpha1.Agent, wanted int32, seen Seen) []Requirement {
	if seen.Deployment == nil || !seen.Nodes.Known {
		return nil
	}
	fit := seen.Nodes.fitting(&seen.Deployment.Spec.Template.Spec)
	var missing []Requirement
	for _, term := range render.RequiredAntiAffinity(agent) {
		need, why := wanted, fmt.Sprintf("%d replicas", wanted)
		if surges(agent, wanted) && !slices.Contains(term.MatchLabelKeys, "pod-template-hash") {
			need, why = wanted+1, fmt.Sprintf("%d replicas and the one more of a rollout", wanted)
		}
		if have := domains(fit, term.TopologyKey); int32(have) < need {
			missing = append(missing, missingf(requirementAntiAffinity,
				"required pod anti-affinity over %s wants %d places for %s, and %d fit: a pod would wait for ever. Use the preferred form, or fewer replicas, or strategy maxSurge 0 with maxUnavailable 1",
				term.TopologyKey, need, why, have))
		}
	}
	return missing
}

// surges tells whether a rollout keeps every old pod until a new one is available.
func surges(agent *v1alpha1.Agent, wanted int32) bool {
	return mayMiss(agent.Spec.Runtime.Spec.Strategy, wanted) == 0
}

// mayMiss is how many of the wanted pods a rollout may be short of; percentages are rounded down, as the Deployment controller
// does.
func mayMiss(strategy *v1alpha1.RolloutStrategy, wanted int32) int {
	if strategy == nil || strategy.MaxUnavailable == nil {
		return 0
	}
	value, err := intstr.GetScaledValueFromIntOrPercent(strategy.MaxUnavailable, int(wanted), false)
	if err != nil {
		return 0
	}
	return value
}

// availablePods are those that answer. Order is kept.
func availablePods(pods []corev1.Pod) []*corev1.Pod {
	return having(pods, func(pod *corev1.Pod) bool { return pod.DeletionTimestamp == nil && podReady(pod) })
}

// having are the pods of which something holds, in order; a pod is a kilobyte, so they are not copied.
func having(pods []corev1.Pod, holds func(*corev1.Pod) bool) []*corev1.Pod {
	var all []*corev1.Pod
	for i := range pods {
		if holds(&pods[i]) {
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

// spots counts the distinct nodes and zones of pods. The zone is the label that the API server puts on a pod when it is bound
// to a node, else that of the node, where nodes are known.
func spots(pods []*corev1.Pod, known Nodes) (nodes, zones int) {
	onNodes, inZones := map[string]bool{}, map[string]bool{}
	for _, pod := range pods {
		onNodes[pod.Spec.NodeName] = true
		zone := pod.Labels[corev1.LabelTopologyZone]
		if zone == "" {
			zone = known.zone(pod.Spec.NodeName)
		}
		if zone != "" {
			inZones[zone] = true
		}
	}
	return len(onNodes), len(inZones)
}

// NeedsNodes tells whether HighlyAvailable depends on which nodes there are: where the available pods are on two nodes and in
// two zones, and no rule of the Agent's keeps its pods apart for good, it does not. It spares a look at every node of a
// large cluster.
func NeedsNodes(agent *v1alpha1.Agent, seen Seen) bool {
	if seen.Deployment == nil || render.Replicas(agent, seen.Live()) == 0 {
		return false
	}
	if len(render.RequiredAntiAffinity(agent)) > 0 {
		return true
	}
	pods := availablePods(seen.Pods)
	nodes, zones := spots(pods, Nodes{})
	return len(pods) >= enoughDomains && (nodes < enoughDomains || zones < enoughDomains)
}

// DependsOnNodes tells whether another set of nodes could change what an Agent's status says: whether the Agent is to be
// looked at again when nodes come, go or change.
func DependsOnNodes(agent *v1alpha1.Agent) bool {
	placement := ptr.Deref(agent.Status.Placement, v1alpha1.Placement{})
	return placement.Zones < enoughDomains || // and so where there are fewer than two nodes
		len(render.RequiredAntiAffinity(agent)) > 0
}

// DeadlockForeseen tells whether a HighlyAvailable condition says that a rollout could never end.
func DeadlockForeseen(condition *metav1.Condition) bool {
	return condition != nil && slices.Contains(MissingRequirements(condition), requirementAntiAffinity)
}

// separator stands between requirements in a message; no requirement's text has it.
const separator = "; "

func join(missing []Requirement) string {
	texts := make([]string, len(missing))
	for i, requirement := range missing {
		texts[i] = requirement.ID + ": " + requirement.Text
	}
	return strings.Join(texts, separator)
}

// MissingRequirements are the ids of what a HighlyAvailable condition says is missing, each once, in its order.
func MissingRequirements(condition *metav1.Condition) []string {
	if condition == nil || condition.Reason != v1alpha1.ReasonMissingRequirements {
		return nil
	}
	var ids []string
	for _, part := range strings.Split(condition.Message, separator) {
		id, _, ok := strings.Cut(part, ": ")
		if ok && slices.Contains(requirementIDs, id) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
