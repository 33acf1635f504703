package app

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// CacheOptions keep memory to what is owned and read: children and pods by label, without managed fields; of a pod only
// where it runs.
func CacheOptions() cache.Options {
	children := labels.NewSelector().Add(*agentLabel())
	return cache.Options{
		DefaultTransform:            cache.TransformStripManagedFields(),
		ReaderFailOnMissingInformer: true, // a read of a kind nobody decided to cache is a mistake, not a new watch
		ByObject: map[client.Object]cache.ByObject{
			&appsv1.Deployment{}: {Label: children},
			&corev1.Service{}:    {Label: children},
			&corev1.Pod{}:        {Label: children, Transform: stripPod, UnsafeDisableDeepCopy: ptr.To(true)}, // pods are only read
		},
	}
}

func agentLabel() *labels.Requirement {
	requirement, err := labels.NewRequirement(v1alpha1.LabelAgent, selection.Exists, nil)
	if err != nil {
		panic(err) // the label is a constant
	}
	return requirement
}

// stripPod keeps of a pod what placement is judged by.
func stripPod(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:         pod.Namespace,
			Name:              pod.Name,
			UID:               pod.UID,
			ResourceVersion:   pod.ResourceVersion,
			Labels:            pod.Labels,
			OwnerReferences:   pod.OwnerReferences,
			DeletionTimestamp: pod.DeletionTimestamp,
		},
		Spec:   corev1.PodSpec{NodeName: pod.Spec.NodeName},
		Status: corev1.PodStatus{Phase: pod.Status.Phase},
	}, nil
}
