package agent

import (
	"hash/maphash"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// lastSynced is the fingerprint of an Agent and its children when every child was found up to date, and what the spec lacked for high
// availability. While the fingerprint stays the same, a pass renders and compares nothing.
type lastSynced struct {
	fingerprint uint64
	// keepsPorts is true if the Service changes when the rollout is complete.
	keepsPorts bool
	missing    []status.Requirement
	rewritten  []string
}

// holds reports whether every child is still up to date: the fingerprint is the same, and no completed rollout changes the Service.
func (l lastSynced) holds(fingerprint uint64, deployment *appsv1.Deployment) bool {
	return l.fingerprint == fingerprint && (!l.keepsPorts || !status.RolledOut(deployment))
}

// revisionAnnotation is where the Deployment controller numbers rollouts. It changes with every rollout and says nothing about drift.
const revisionAnnotation = "deployment.kubernetes.io/revision"

// seed differs in every process, so nobody can craft two objects with the same fingerprint.
var seed = maphash.MakeSeed()

// fingerprint is a hash of everything that decides whether the children are up to date: the Agent's spec, and the identity, spec, and
// metadata of every object that has a child's name. It ignores every status.
func fingerprint(agent *v1alpha1.Agent, live *children) uint64 {
	sum := fingerprintOf("Agent", agent)
	for _, child := range live.all() {
		if child.exists {
			sum += fingerprintOf(child.kind, child.object)
		}
	}
	return sum
}

// fingerprintOf hashes one object. The generation stands for the spec. Kinds without a generation, such as Service, ConfigMap, and
// HorizontalPodAutoscaler, are hashed by their resourceVersion, which stands for all of the object.
func fingerprintOf(kind string, object client.Object) uint64 {
	id := identity{kind: kind, uid: object.GetUID(), generation: object.GetGeneration(), terminating: !object.GetDeletionTimestamp().IsZero()}
	if id.generation == 0 {
		id.version = object.GetResourceVersion()
	}
	sum := maphash.Comparable(seed, id)
	for key, value := range object.GetLabels() {
		sum += maphash.Comparable(seed, pair{kind, "label", key, value})
	}
	for key, value := range object.GetAnnotations() {
		if key != revisionAnnotation {
			sum += maphash.Comparable(seed, pair{kind, "annotation", key, value})
		}
	}
	for _, reference := range object.GetOwnerReferences() {
		isController, blocks := ptr.Deref(reference.Controller, false), ptr.Deref(reference.BlockOwnerDeletion, false)
		reference.Controller, reference.BlockOwnerDeletion = nil, nil // pointers compare by address
		sum += maphash.Comparable(seed, owner{kind, reference, isController, blocks})
	}
	return sum
}

// The parts of an object that are hashed.
type (
	identity struct {
		kind        string
		uid         types.UID
		generation  int64
		version     string
		terminating bool
	}
	pair  struct{ kind, of, key, value string }
	owner struct {
		kind                 string
		reference            metav1.OwnerReference
		isController, blocks bool
	}
)
