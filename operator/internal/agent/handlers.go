package agent

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// followUp is how long an event waits that needs no pass of its own: about a child that this operator just applied, a step of a rollout, or
// a pod without a failure. More such events follow, up to ten in a rollout of one pod, and one pass handles all of them. An event that is
// urgent, such as the end of the rollout, does not wait for it.
const followUp = time.Second

// enqueue enqueues an Agent at once, or after followUp.
func enqueue(q queue, agent reconcile.Request, urgent bool) {
	if urgent {
		q.Add(agent)
	} else {
		q.AddAfter(agent, followUp)
	}
}

// childHandler enqueues the Agent that controls a child: at once if the child is in the initial list, or deleted, or if an update is urgent, and
// else after followUp. A child that appears later was created by this operator.
func childHandler(isUrgent func(before, after client.Object) bool) handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			enqueueOwners(q, e.IsInInitialList, e.Object)
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			enqueueOwners(q, isUrgent(e.ObjectOld, e.ObjectNew), e.ObjectOld, e.ObjectNew)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { enqueueOwners(q, true, e.Object) },
	}
}

// enqueueOwners enqueues the Agents that control the objects, each once.
func enqueueOwners(q queue, urgent bool, objects ...client.Object) {
	var last reconcile.Request
	for _, object := range objects {
		name := controllingAgent(object)
		if name == "" {
			continue
		}
		owner := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: name}}
		if owner != last {
			enqueue(q, owner, urgent)
		}
		last = owner
	}
}

func alwaysUrgent(client.Object, client.Object) bool { return true }

// deploymentIsUrgent reports whether an update of a Deployment is urgent: somebody else changed its spec, a rollout ended, or something
// happened to a Deployment that was rolled out. Of a partly cached one, nobody knows.
func deploymentIsUrgent(old, updated client.Object) bool {
	before, ok := old.(*packedDeployment)
	after, whole := updated.(*packedDeployment)
	if !ok || !whole {
		return true
	}
	if before.digest != after.digest {
		return false // this operator applied it
	}
	return before.Generation != after.Generation || before.rolledOut || after.rolledOut
}

// podHandler enqueues the Agent of a pod: at once if the pod has a failure or is in the initial list, and else after followUp, because the
// Deployment controller counts the pod, too.
func podHandler() handler.EventHandler {
	isUrgent := func(pod client.Object) bool {
		compressed, ok := pod.(*compressedPod)
		return !ok || compressed.fails()
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			enqueue(q, agentOf(e.Object), e.IsInInitialList || isUrgent(e.Object))
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			enqueue(q, agentOf(e.ObjectNew), isUrgent(e.ObjectNew))
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			enqueue(q, agentOf(e.Object), isUrgent(e.Object))
		},
	}
}

// agentOf returns the Agent that a pod's label names. Its controller is a ReplicaSet, which does not name the Agent.
func agentOf(pod client.Object) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{
		Namespace: pod.GetNamespace(), Name: pod.GetLabels()[v1alpha1.LabelAgent],
	}}
}
