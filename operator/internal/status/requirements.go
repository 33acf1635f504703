package status

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
)

// Requirement is something that high availability asks for and that is missing.
type Requirement struct {
	// ID names it for machines: a label value of metrics.
	ID string `json:"id"`
	// Text says what is there and what the guide asks for.
	Text string `json:"text"`
}

func missingf(id, text string, args ...any) Requirement {
	// A separator in what the user wrote, such as the name of an image, must not look like the next requirement.
	return Requirement{id, strings.ReplaceAll(fmt.Sprintf(text, args...), separator, ", ")}
}

// requirements are what the guide asks of a spec, in its order, each judged on what the spec renders to.
var requirements = []struct {
	id    string
	judge func(*v1alpha1.Agent, render.Children) []string
}{
	{"replicas", judgeReplicas},
	{"image", judgeImages},
	{"resources", judgeResources},
	{"probes", judgeProbes},
	{"spread", judgeSpread},
	{"rollout", judgeRollout},
	{"disruption-budget", judgeDisruptionBudget},
}

// requirementIDs are all ids a message can have.
var requirementIDs = func() []string {
	ids := []string{requirementAvailability, requirementPlacement, requirementAntiAffinity, requirementSpec}
	for _, r := range requirements {
		ids = append(ids, r.id)
	}
	return ids
}()

// Requirements are what a spec lacks for high availability, in the guide's words. children are what the Agent renders to; they
// must not have been applied yet.
func Requirements(agent *v1alpha1.Agent, children render.Children) []Requirement {
	var missing []Requirement
	for _, requirement := range requirements {
		for _, text := range requirement.judge(agent, children) {
			missing = append(missing, missingf(requirement.id, "%s", text))
		}
	}
	return missing
}

func judgeReplicas(agent *v1alpha1.Agent, _ render.Children) []string {
	least, scaling := render.LeastReplicas(agent), agent.Spec.Autoscaling
	switch {
	case agent.Spec.Suspend:
		return []string{"suspended, no replica runs"}
	case least >= fullyAvailable:
		return nil
	case scaling != nil:
		return []string{fmt.Sprintf("autoscaling.minReplicas is %d, the guide asks for three or more", least)}
	default:
		return []string{fmt.Sprintf("%d, the guide asks for three or more", least)}
	}
}

// containers are all of a template's, in the order in which they start.
func containers(children render.Children) []corev1ac.ContainerApplyConfiguration {
	pod := children.Deployment.Spec.Template.Spec
	return slices.Concat(pod.InitContainers, pod.Containers)
}

func judgeImages(_ *v1alpha1.Agent, children render.Children) []string {
	var floating []string
	for _, container := range containers(children) {
		if image := ptr.Deref(container.Image, ""); !pinned(image) {
			floating = append(floating, fmt.Sprintf("%s (container %s)", image, *container.Name))
		}
	}
	if len(floating) == 0 {
		return nil
	}
	return []string{some(floating) + ": pin every image to a version tag or a digest, never latest"}
}

// pinned tells whether an image has a digest, or a tag that is not latest. A colon before the last slash is a port.
func pinned(image string) bool {
	if strings.Contains(image, "@") {
		return true
	}
	_, tag, tagged := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	return tagged && tag != "" && tag != "latest"
}

func judgeResources(_ *v1alpha1.Agent, children render.Children) []string {
	var short []string
	for _, container := range containers(children) {
		var lacks []string
		resources := ptr.Deref(container.Resources, corev1ac.ResourceRequirementsApplyConfiguration{})
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limited := has(resources.Limits, name)
			// A limit without a request is a request of the same size: the API server fills it in.
			if !limited && !has(resources.Requests, name) {
				lacks = append(lacks, fmt.Sprintf("%s request", name))
			}
			if !limited {
				lacks = append(lacks, fmt.Sprintf("%s limit", name))
			}
		}
		if len(lacks) > 0 {
			short = append(short, fmt.Sprintf("container %s has no %s", *container.Name, strings.Join(lacks, ", no ")))
		}
	}
	if len(short) == 0 {
		return nil
	}
	return []string{some(short) + ": set requests and limits for CPU and memory"}
}

func has(resources *corev1.ResourceList, name corev1.ResourceName) bool {
	quantity, ok := ptr.Deref(resources, nil)[name]
	return ok && !quantity.IsZero()
}

func judgeProbes(_ *v1alpha1.Agent, children render.Children) []string {
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

func judgeSpread(agent *v1alpha1.Agent, _ render.Children) []string {
	var lacks []string
	for _, topology := range []struct{ key, name string }{{corev1.LabelHostname, "hosts"}, {corev1.LabelTopologyZone, "zones"}} {
		if !render.Spreads(agent, topology.key) {
			lacks = append(lacks, topology.name)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	return []string{"nothing spreads the pods over " + strings.Join(lacks, " and ") + ": leave availability.spread out, or add pod anti-affinity"}
}

func judgeRollout(agent *v1alpha1.Agent, _ render.Children) []string {
	least := max(render.LeastReplicas(agent), 1)
	if missed := mayMiss(agent.Spec.Runtime.Spec.Strategy, least); missed > 0 {
		return []string{fmt.Sprintf("strategy.maxUnavailable lets a rollout take away %d of %d replicas before new ones are ready: leave it out, or 0", missed, least)}
	}
	return nil
}

// judgeDisruptionBudget asks for a budget that protects the pods and still lets the drain of a node go on.
func judgeDisruptionBudget(agent *v1alpha1.Agent, children render.Children) []string {
	least := render.LeastReplicas(agent)
	if children.Disruption == nil {
		if least < 2 { // with a single pod there is nothing to budget, and the number of replicas is said to be missing
			return nil
		}
		return []string{"none protects the pods while nodes are drained: leave availability.podDisruptionBudget.mode out"}
	}
	spec := children.Disruption.Spec
	if most := spec.MaxUnavailable; most != nil && scaled(most, least) == 0 {
		return []string{fmt.Sprintf("maxUnavailable %s never lets a node be drained: make it 1 or more", most)}
	}
	if fewest := spec.MinAvailable; fewest != nil && scaled(fewest, least) >= int(least) {
		return []string{fmt.Sprintf("minAvailable %s of %d replicas never lets a node be drained: make it less", fewest, least)}
	}
	return nil
}

// scaled is a count, or a percentage of the replicas rounded up, as the disruption controller does.
func scaled(value *intstr.IntOrString, replicas int32) int {
	n, err := intstr.GetScaledValueFromIntOrPercent(value, int(replicas), true)
	if err != nil {
		return 0
	}
	return n
}

// some is a list of which the first few are named.
func some(all []string) string {
	const most = 3
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}
