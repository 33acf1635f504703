package agent

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// child is the object that has the kind and name of an Agent's child, whoever owns it.
type child struct {
	kind, name string
	// object is read from the cache. It is empty unless exists is true.
	object client.Object
	exists bool
	// sought is true after this pass has looked for the object past the cache.
	sought bool
	// written is true after this pass has tried to apply or delete the object, and applied if the API server accepted what was applied.
	written, applied bool
	// changedBy are the field managers whose changes of the pod template this pass takes back.
	changedBy []string
	// rewritten are the fields that admission gives another value at every write.
	rewritten []string
}

// children are all children that an Agent can have.
type children struct {
	card, deployment, service, budget, autoscaler *child
}

// all lists the children in the order in which they are applied: the ConfigMap before the pods that mount it.
func (c *children) all() []*child {
	return []*child{c.card, c.deployment, c.service, c.budget, c.autoscaler}
}

// ownedBy reports whether the Agent controls the child.
func (c *child) ownedBy(agent *v1alpha1.Agent) bool {
	return c.exists && ownershipOf(c.object, agent) == owned
}

// clear drops the object that was read. The object may share memory with the cache, so nothing may be decoded into it.
func (c *child) clear() {
	c.object, c.exists = emptyLike(c.object), false
}

// emptyLike returns an empty object of the same type.
func emptyLike(object client.Object) client.Object {
	return reflect.New(reflect.TypeOf(object).Elem()).Interface().(client.Object)
}

// written reports whether this pass applied or deleted any child.
func (c *children) written() bool {
	return slices.ContainsFunc(c.all(), func(child *child) bool { return child.written })
}

// rewritten returns the fields of all children that admission gives another value at every write.
func (c *children) rewritten() []string {
	var all []string
	for _, child := range c.all() {
		for _, path := range child.rewritten {
			all = append(all, child.kind+" "+path)
		}
	}
	return all
}

// readChildren reads every child from the cache, or from the API server if the cache holds only a part of it.
func (c *Controller) readChildren(ctx context.Context, agent *v1alpha1.Agent) (*children, error) {
	all := &children{
		card:       &child{kind: "ConfigMap", name: render.CardName(agent), object: &corev1.ConfigMap{}},
		deployment: &child{kind: "Deployment", name: agent.Name, object: &appsv1.Deployment{}},
		service:    &child{kind: "Service", name: agent.Name, object: &corev1.Service{}},
		budget:     &child{kind: "PodDisruptionBudget", name: agent.Name, object: &policyv1.PodDisruptionBudget{}},
		autoscaler: &child{kind: "HorizontalPodAutoscaler", name: agent.Name, object: &autoscalingv2.HorizontalPodAutoscaler{}},
	}
	for _, child := range all.all() {
		if err := c.readChild(ctx, agent, child); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// readWritten reads the children again that this pass wrote and the status is about.
func (c *Controller) readWritten(ctx context.Context, agent *v1alpha1.Agent, all *children, state *state) error {
	before, existed := *all.deployment.object.(*appsv1.Deployment), all.deployment.exists
	for _, child := range []*child{all.deployment, all.autoscaler} {
		if child.written {
			if err := c.readChild(ctx, agent, child); err != nil {
				return err
			}
		}
	}
	if all.deployment.written && existed {
		state.config.noteAnnotated(&before, all.deployment.object.(*appsv1.Deployment))
	}
	state.config.excuseAnnotated(all.deployment)
	return nil
}

func (c *Controller) readChild(ctx context.Context, agent *v1alpha1.Agent, child *child) error {
	err := c.client.Get(ctx, client.ObjectKey{Namespace: agent.Namespace, Name: child.name}, child.object)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading %s %q: %w", child.kind, child.name, err)
	}
	child.exists = err == nil
	if _, labeled := child.object.GetLabels()[v1alpha1.LabelAgent]; child.exists && !labeled {
		child.clear() // the cache holds only a part of a PodDisruptionBudget without the label
		return nil
	}
	if !child.exists || !isPartial(child.object) || !child.ownedBy(agent) && !metav1.IsControlledBy(child.object, agent) {
		return nil
	}
	child.clear()
	if err := c.readUncached(ctx, agent, child); err != nil {
		return fmt.Errorf("reading %s %q: %w", child.kind, child.name, err)
	}
	return nil
}

// observed returns the part of an observation that comes from the children. After the deletion of an Agent, the pods of its Deployment
// run until the Deployment is gone, too.
func (c *children) observed(agent *v1alpha1.Agent) status.Observed {
	var observed status.Observed
	deleted := !agent.DeletionTimestamp.IsZero() && c.deployment.exists && metav1.IsControlledBy(c.deployment.object, agent)
	if c.deployment.ownedBy(agent) || deleted {
		observed.Deployment = c.deployment.object.(*appsv1.Deployment)
	}
	if c.autoscaler.ownedBy(agent) {
		observed.Autoscaler = c.autoscaler.object.(*autoscalingv2.HorizontalPodAutoscaler)
	}
	return observed
}

// forRendering returns the live state that rendering depends on.
func (c *children) forRendering(agent *v1alpha1.Agent, observed status.Observed) render.Live {
	live := observed.Live()
	if c.service.ownedBy(agent) {
		live.Ports = ownPorts(c.service.object.(*corev1.Service))
	}
	if status.RolledOut(observed.Deployment) {
		live.RolledOut = observed.Deployment.Annotations[v1alpha1.AnnotationDigest]
	}
	return live
}
