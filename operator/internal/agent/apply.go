package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// apply puts every child in place. A child that cannot be does not keep the others from it.
func (c *Controller) apply(ctx context.Context, agent *v1alpha1.Agent, children render.Children) error {
	return errors.Join(
		placeOrRemove(ctx, c, agent, child{"ConfigMap", render.CardName(agent), &corev1.ConfigMap{}}, children.Card), // before the pods that mount it
		placeOrRemove(ctx, c, agent, child{"Deployment", agent.Name, &appsv1.Deployment{}}, children.Deployment),
		c.placeService(ctx, agent, children.Service),
		placeOrRemove(ctx, c, agent, child{"PodDisruptionBudget", agent.Name, &policyv1.PodDisruptionBudget{}}, children.Disruption),
		placeOrRemove(ctx, c, agent, child{"HorizontalPodAutoscaler", agent.Name, &autoscalingv2.HorizontalPodAutoscaler{}}, children.Autoscaler),
	)
}

// placeService also removes a Service that no apply can turn into the wanted one.
func (c *Controller) placeService(ctx context.Context, agent *v1alpha1.Agent, want *corev1ac.ServiceApplyConfiguration) error {
	service := &corev1.Service{}
	live := child{"Service", agent.Name, service}
	if want != nil {
		exists, err := c.own(ctx, agent, live)
		if err != nil {
			return err
		}
		if exists && mustBeReplaced(service, want) {
			if err := c.remove(ctx, agent, live); err != nil {
				return err
			}
		}
	}
	return placeOrRemove(ctx, c, agent, child{"Service", agent.Name, &corev1.Service{}}, want)
}

// mustBeReplaced is for what a Service cannot change: it cannot give up or take on an address; and a port that was
// renumbered by hand, while the Agent asked for nothing new, belongs to that hand, so that applying ours would make two of
// the same name, which is refused.
func mustBeReplaced(live *corev1.Service, want *corev1ac.ServiceApplyConfiguration) bool {
	if isHeadless(live.Spec.ClusterIP) != isHeadless(ptr.Deref(want.Spec.ClusterIP, "")) {
		return true
	}
	if live.Annotations[v1alpha1.AnnotationDigest] != want.Annotations[v1alpha1.AnnotationDigest] {
		return false
	}
	for _, theirs := range live.Spec.Ports {
		taken := slices.ContainsFunc(want.Spec.Ports, func(p corev1ac.ServicePortApplyConfiguration) bool { return *p.Name == theirs.Name })
		ours := slices.ContainsFunc(want.Spec.Ports, func(p corev1ac.ServicePortApplyConfiguration) bool {
			return *p.Port == theirs.Port && *p.Protocol == theirs.Protocol
		})
		if taken && !ours {
			return true
		}
	}
	return false
}

func isHeadless(clusterIP string) bool { return clusterIP == corev1.ClusterIPNone }

// child is the kind and name of a child, and a live object to read it into.
type child struct {
	kind, name string
	object     client.Object
}

// configuration is a typed apply configuration of a child.
type configuration[T any] interface {
	comparable
	runtime.ApplyConfiguration
	WithUID(types.UID) T
}

// placeOrRemove applies the wanted child, or, where none is wanted, removes the one that this Agent has.
func placeOrRemove[T configuration[T]](ctx context.Context, c *Controller, agent *v1alpha1.Agent, live child, want T) error {
	var none T
	if want != none {
		return placeChild(ctx, c, agent, live, want)
	}
	exists, err := c.own(ctx, agent, live)
	if err != nil || !exists {
		return err
	}
	return c.remove(ctx, agent, live)
}

// remove deletes the very object that was read.
func (c *Controller) remove(ctx context.Context, agent *v1alpha1.Agent, live child) error {
	c.verified.forget(client.ObjectKeyFromObject(agent))
	uid := live.object.GetUID()
	return failed(live, client.IgnoreNotFound(c.client.Delete(ctx, live.object, client.Preconditions{UID: &uid})))
}

// placeChild applies a child where it is absent or differs, and leaves an object that is not this Agent's alone. The
// configuration is consumed: the response overwrites it.
//
// Server-Side Apply with force would adopt a stranger's object of the same name without a word, so who controls it is
// read first, and the uid that was read is part of what is applied: an object put in its place meanwhile makes a conflict.
// What remains is an object created between the read that found none and the first apply; it would be adopted.
func placeChild[T configuration[T]](ctx context.Context, c *Controller, agent *v1alpha1.Agent, live child, want T) error {
	err := c.find(ctx, agent.Namespace, live)
	switch {
	case apierrors.IsNotFound(err):
		return write(ctx, c, agent, live, want)
	case err != nil:
		return failed(live, err)
	}
	switch judge(agent, live.object) {
	case strangers:
		return conflict(agent, live)
	case departing:
		return waitFor(live)
	}
	same, err := inPlace(live.object, want)
	if err != nil {
		return failed(live, err)
	}
	if same {
		return nil
	}
	want.WithUID(live.object.GetUID())
	return write(ctx, c, agent, live, want)
}

// write applies a child as it stands.
func write[T configuration[T]](ctx context.Context, c *Controller, agent *v1alpha1.Agent, live child, want T) error {
	c.verified.forget(client.ObjectKeyFromObject(agent))
	return failed(live, c.client.Apply(ctx, want, FieldOwner, client.ForceOwnership))
}

// find reads the object that has a child's name, whoever owns it: from the cache, which has the operator's own, else from
// the API server.
func (c *Controller) find(ctx context.Context, namespace string, wanted child) error {
	key := client.ObjectKey{Namespace: namespace, Name: wanted.name}
	err := c.cached(ctx, key, wanted.object)
	if apierrors.IsNotFound(err) {
		return c.live.Get(ctx, key, wanted.object)
	}
	return err
}

// failed says what the API server made of a child, nil when nothing went wrong. In a namespace that is being removed nothing
// can be made, and nothing has to be.
func failed(live child, err error) error {
	if err == nil || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return status.Refused(live.kind, err)
}

func conflict(agent *v1alpha1.Agent, live child) error {
	return &status.Failure{Reason: v1alpha1.ReasonNameConflict, Message: fmt.Sprintf(
		"a %s named %q exists that this Agent does not control: rename the Agent, remove the %s, or, to take it over, annotate it with %s=%s",
		live.kind, live.name, live.kind, v1alpha1.AnnotationAdopt, agent.Name)}
}

func waitFor(live child) error {
	return &status.Failure{Reason: v1alpha1.ReasonRolloutInProgress, Message: fmt.Sprintf(
		"waiting for the %s %q to be removed before it is made anew", live.kind, live.name)}
}
