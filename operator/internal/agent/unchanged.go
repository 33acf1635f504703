package agent

import (
	"context"
	"fmt"
	"hash/maphash"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// verified is what an Agent and its children looked like when every child was found in place, and what the spec lacks for high
// availability. While they look the same, nothing has to be rendered or compared: most passes are about pods and counts.
type verified struct {
	fingerprint uint64
	missing     []status.Requirement
}

// revision is the annotation in which the Deployment controller numbers rollouts: it follows every one of them.
const revision = "deployment.kubernetes.io/revision"

// seed makes fingerprints of this process: nobody outside can make two objects that have the same.
var seed = maphash.MakeSeed()

// fingerprint is a sum over everything that decides whether the children are in place: the Agent's spec, and of each object that
// has a child's name what identifies it, its spec and its metadata. The status of either is not in it.
func (c *Controller) fingerprint(ctx context.Context, agent *v1alpha1.Agent) (uint64, error) {
	sum := fingerprintOf("Agent", agent)
	for _, child := range []child{
		{"Deployment", agent.Name, &appsv1.Deployment{}},
		{"Service", agent.Name, &corev1.Service{}},
		{"ConfigMap", render.CardName(agent), &corev1.ConfigMap{}},
		{"PodDisruptionBudget", agent.Name, &policyv1.PodDisruptionBudget{}},
		{"HorizontalPodAutoscaler", agent.Name, &autoscalingv2.HorizontalPodAutoscaler{}},
	} {
		err := c.client.Get(ctx, client.ObjectKey{Namespace: agent.Namespace, Name: child.name}, child.object)
		switch {
		case err == nil:
			sum += fingerprintOf(child.kind, child.object)
		case client.IgnoreNotFound(err) != nil:
			return 0, fmt.Errorf("reading %s %q: %w", child.kind, child.name, err)
		}
	}
	return sum, nil
}

// fingerprintOf sums up an object. Its generation stands for its spec, and where a kind has none, as Services, ConfigMaps and
// autoscalers, its version, which stands for all of it.
func fingerprintOf(kind string, object client.Object) uint64 {
	is := identity{kind: kind, uid: object.GetUID(), generation: object.GetGeneration(), going: !object.GetDeletionTimestamp().IsZero()}
	if is.generation == 0 {
		is.version = object.GetResourceVersion()
	}
	sum := maphash.Comparable(seed, is)
	for key, value := range object.GetLabels() {
		sum += maphash.Comparable(seed, pair{kind, "label", key, value})
	}
	for key, value := range object.GetAnnotations() {
		if key == revision {
			continue
		}
		sum += maphash.Comparable(seed, pair{kind, "annotation", key, value})
	}
	for _, reference := range object.GetOwnerReferences() {
		isController, blocks := ptr.Deref(reference.Controller, false), ptr.Deref(reference.BlockOwnerDeletion, false)
		reference.Controller, reference.BlockOwnerDeletion = nil, nil // pointers are compared by where they point
		sum += maphash.Comparable(seed, owner{kind, reference, isController, blocks})
	}
	return sum
}

// What is summed up of an object.
type (
	identity struct {
		kind       string
		uid        types.UID
		generation int64
		version    string
		going      bool
	}
	pair  struct{ kind, of, key, value string }
	owner struct {
		kind                 string
		reference            metav1.OwnerReference
		isController, blocks bool
	}
)
