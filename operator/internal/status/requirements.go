package status

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
)

// The ids of requirements that depend on more than the spec; the others are in the table of requirements.
const (
	requirementAvailability = "availability"
	requirementPlacement    = "placement"
	requirementSpec         = "spec"
	// These two are in the table, too.
	requirementBudget = "disruption-budget"
	requirementSpread = "spread"
	// Each of these forecasts a rollout that cannot complete.
	antiAffinity = "anti-affinity"
	hostPort     = "host-port"
)

// ForecastsDeadlock reports whether one of the missing requirements, given by id, forecasts a rollout that cannot complete.
func ForecastsDeadlock(missing []string) bool {
	return slices.Contains(missing, antiAffinity) || slices.Contains(missing, hostPort)
}

// Requirement is a requirement of high availability that is not met.
type Requirement struct {
	// ID names it for machines: a label value of metrics.
	ID string `json:"id"`
	// Text states what is there and what the guide requires.
	Text string `json:"text"`
}

func missingf(id, text string, args ...any) Requirement {
	return Requirement{id, fmt.Sprintf(text, args...)}
}

// requirementIDs returns the ids of requirements in order, each once.
func requirementIDs(requirements []Requirement) []string {
	var ids []string
	for _, requirement := range requirements {
		if !slices.Contains(ids, requirement.ID) {
			ids = append(ids, requirement.ID)
		}
	}
	return ids
}

// minText is how far the text of a requirement is cut before a message drops repeated ids.
const minText = 40

// joinRequirements writes requirements as one message of at most limit bytes, if their ids fit. A message that would be longer cuts
// the longest texts first. It never drops an id.
func joinRequirements(missing []Requirement, limit int) string {
	for length := limit; length >= minText; length -= 8 {
		if message := joinTruncated(missing, length); len(message) <= limit {
			return message
		}
	}
	var unique []Requirement
	for _, requirement := range missing {
		if !slices.ContainsFunc(unique, func(r Requirement) bool { return r.ID == requirement.ID }) {
			unique = append(unique, requirement)
		}
	}
	return joinTruncated(unique, minText)
}

// joinTruncated joins requirements whose texts are cut to length bytes each.
func joinTruncated(missing []Requirement, length int) string {
	texts := make([]string, len(missing))
	for i, requirement := range missing {
		texts[i] = requirement.ID + ": " + truncate(requirement.Text, length)
	}
	return strings.Join(texts, "; ")
}

// requirements are those of the guide for a spec, in its order. Each is evaluated on what the spec renders to.
var requirements = []struct {
	id       string
	evaluate func(*v1alpha1.Agent, render.Children) []string
}{
	{"replicas", missingReplicas},
	{"image", unpinnedImages},
	{"resources", missingResources},
	{"probes", missingProbes},
	{requirementSpread, missingSpread},
	{"rollout", unsafeRollout},
	{requirementBudget, missingBudget},
}

// Requirements returns the requirements of the guide that a spec does not meet. children are what the Agent renders to, before
// they are applied.
func Requirements(agent *v1alpha1.Agent, children render.Children) []Requirement {
	var missing []Requirement
	for _, requirement := range requirements {
		for _, text := range requirement.evaluate(agent, children) {
			missing = append(missing, Requirement{requirement.id, text})
		}
	}
	return missing
}

func missingReplicas(agent *v1alpha1.Agent, _ render.Children) []string {
	least, scaling := render.LeastReplicas(agent), agent.Spec.Autoscaling
	switch {
	case agent.Spec.Suspend:
		return []string{"suspended, no replica runs"}
	case least >= minAvailable:
		return nil
	case scaling != nil:
		return []string{fmt.Sprintf("autoscaling.minReplicas is %d, high availability needs three or more", least)}
	default:
		return []string{fmt.Sprintf("%d, high availability needs three or more", least)}
	}
}

// containers returns all containers of the pod template, in the order in which they start.
func containers(children render.Children) []corev1ac.ContainerApplyConfiguration {
	pod := children.Deployment.Spec.Template.Spec
	return slices.Concat(pod.InitContainers, pod.Containers)
}

func unpinnedImages(_ *v1alpha1.Agent, children render.Children) []string {
	var unpinned []string
	for _, container := range containers(children) {
		if image := ptr.Deref(container.Image, ""); !pinned(image) {
			unpinned = append(unpinned, fmt.Sprintf("%s (container %s)", image, *container.Name))
		}
	}
	if len(unpinned) == 0 {
		return nil
	}
	return []string{firstFew(unpinned) + ": pin every image to a version tag (one with a digit, such as v1.2.3) or a digest"}
}

// pinned reports whether an image has a digest, or a tag that looks like a version: latest, main, and stable move, and have no digit.
// The policy flokoa-pinned-images has the same rule. A colon before the last slash is a port.
func pinned(image string) bool {
	if strings.Contains(image, "@") {
		return true
	}
	_, tag, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	return strings.ContainsAny(tag, "0123456789")
}

func missingResources(_ *v1alpha1.Agent, children render.Children) []string {
	var incomplete []string
	for _, container := range containers(children) {
		var lacks []string
		resources := ptr.Deref(container.Resources, corev1ac.ResourceRequirementsApplyConfiguration{})
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limited := has(resources.Limits, name)
			// The API server defaults a missing request to the limit.
			if !limited && !has(resources.Requests, name) {
				lacks = append(lacks, fmt.Sprintf("%s request", name))
			}
			if !limited {
				lacks = append(lacks, fmt.Sprintf("%s limit", name))
			}
		}
		if len(lacks) > 0 {
			incomplete = append(incomplete, fmt.Sprintf("container %s has no %s", *container.Name, strings.Join(lacks, ", no ")))
		}
	}
	if len(incomplete) == 0 {
		return nil
	}
	return []string{firstFew(incomplete) + ": set requests and limits for CPU and memory"}
}

func has(resources *corev1.ResourceList, name corev1.ResourceName) bool {
	quantity, ok := ptr.Deref(resources, nil)[name]
	return ok && !quantity.IsZero()
}

func missingProbes(_ *v1alpha1.Agent, children render.Children) []string {
	container := children.Deployment.Spec.Template.Spec.Containers[0]
	var lacks []string
	if container.ReadinessProbe == nil {
		lacks = append(lacks, "no readiness probe, which keeps traffic from a pod that cannot serve yet")
	}
	if container.LivenessProbe == nil {
		lacks = append(lacks, "no liveness probe, which restarts a pod that is stuck")
	}
	if len(lacks) == 0 {
		return nil
	}
	return []string{strings.Join(lacks, ", and ") + ": set them, or a TCP port for the default ones"}
}

// missingSpread requires a rule that selects the Agent's pods, and that keeps some of them from one host or zone.
func missingSpread(agent *v1alpha1.Agent, _ render.Children) []string {
	const nothing = "nothing spreads the pods over %s: "
	var none, others, skewed []string
	for _, topology := range []struct{ key, name string }{{corev1.LabelHostname, "hosts"}, {corev1.LabelTopologyZone, "zones"}} {
		maxSkew, otherPods := render.Spread(agent, topology.key)
		switch {
		case maxSkew >= max(render.LeastReplicas(agent), minDomains):
			skewed = append(skewed, topology.name)
		case maxSkew > 0:
		case otherPods:
			others = append(others, topology.name)
		default:
			none = append(none, topology.name)
		}
	}
	var lacks []string
	report := func(names []string, format string) {
		if len(names) > 0 {
			lacks = append(lacks, fmt.Sprintf(format, strings.Join(names, " and ")))
		}
	}
	report(none, nothing+"leave availability.spread out, or add pod anti-affinity")
	report(others, nothing+"the topologySpreadConstraints over them select other pods: add a labelSelector that selects "+v1alpha1.LabelAgent+": "+agent.Name)
	report(skewed, "the topologySpreadConstraints over %s allow every replica in one place: lower maxSkew to 1")
	return lacks
}

func unsafeRollout(agent *v1alpha1.Agent, _ render.Children) []string {
	least := max(render.LeastReplicas(agent), 1)
	if missed := maxUnavailable(agent.Spec.Runtime.Spec.Strategy, least); missed > 0 {
		return []string{fmt.Sprintf("strategy.maxUnavailable lets a rollout take away %d of %d replicas before new ones are ready: leave it out, or 0", missed, least)}
	}
	return nil
}

// missingBudget requires a PodDisruptionBudget that protects the pods and still lets a node drain complete.
func missingBudget(agent *v1alpha1.Agent, children render.Children) []string {
	least := render.LeastReplicas(agent)
	if children.Disruption == nil {
		if least < 2 { // a single pod needs no budget, and "replicas" reports that there are too few
			return nil
		}
		return []string{"none protects the pods while nodes are drained: leave availability.podDisruptionBudget.mode out"}
	}
	if blocked := blocksDrain(children.Disruption.Spec.MinAvailable, children.Disruption.Spec.MaxUnavailable, least); blocked != "" {
		return []string{blocked}
	}
	return nil
}

// blocksDrain states why the limit of a PodDisruptionBudget never lets a node drain complete, empty if it does.
func blocksDrain(minAvailable, maxUnavailable *intstr.IntOrString, least int32) string {
	switch {
	case maxUnavailable != nil && scaled(maxUnavailable, least, true) == 0:
		return fmt.Sprintf("maxUnavailable %s never lets a node be drained: make it 1 or more", maxUnavailable)
	case minAvailable != nil && scaled(minAvailable, least, true) >= int(least):
		return fmt.Sprintf("minAvailable %s of %d replicas never lets a node be drained: make it less", minAvailable, least)
	default:
		return ""
	}
}

// withForeignBudgets adds to the missing requirements what PodDisruptionBudgets of others do to a node drain. The eviction API fails for
// a pod that two budgets select. An Agent without a budget of its own may have one of another: it is judged as if it selected only
// the Agent's pods.
func withForeignBudgets(missing []Requirement, agent *v1alpha1.Agent, foreign []policyv1.PodDisruptionBudget) []Requirement {
	if len(foreign) == 0 {
		return missing
	}
	var names []string
	for _, budget := range foreign {
		names = append(names, strconv.Quote(budget.Name))
	}
	const tooMany = "more than one PodDisruptionBudget selects the pods, so every eviction fails and no node can be drained: delete "
	if render.HasDisruptionBudget(agent) {
		return append(missing, missingf(requirementBudget, tooMany+"%s", firstFew(names)))
	}
	missing = slices.DeleteFunc(missing, func(r Requirement) bool { return r.ID == requirementBudget }) // that there is none
	if len(foreign) > 1 {
		return append(missing, missingf(requirementBudget, tooMany+"all but one of %s", firstFew(names)))
	}
	if blocked := blocksDrain(foreign[0].Spec.MinAvailable, foreign[0].Spec.MaxUnavailable, render.LeastReplicas(agent)); blocked != "" {
		return append(missing, missingf(requirementBudget, "PodDisruptionBudget %s: %s", names[0], blocked))
	}
	return missing
}

// unreadBudgets reports the PodDisruptionBudgets that may select the pods, too.
func unreadBudgets(names []string) []Requirement {
	if len(names) == 0 {
		return nil
	}
	var quoted []string
	for _, name := range names {
		quoted = append(quoted, strconv.Quote(name))
	}
	return []Requirement{missingf(requirementBudget,
		"the operator does not evaluate a selector of more than 1 KiB, which may select the pods and make every eviction fail: give PodDisruptionBudget %s a smaller one",
		firstFew(quoted))}
}

// scaled is a count, or a percentage of the replicas; the disruption controller rounds up, the Deployment controller down.
func scaled(value *intstr.IntOrString, replicas int32, roundUp bool) int {
	n, err := intstr.GetScaledValueFromIntOrPercent(value, int(replicas), roundUp)
	if err != nil {
		return 0
	}
	return n
}

// firstFew lists the first few texts and counts the others.
func firstFew(all []string) string {
	const most = 3
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}
