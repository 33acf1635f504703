package render

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// Defaults of the Deployment outside the pod template.
const (
	defaultReplicas                = 1
	defaultProgressDeadlineSeconds = 600
	defaultRevisionHistoryLimit    = 3
)

func deployment(agent *v1alpha1.Agent, live Live, template *corev1ac.PodTemplateSpecApplyConfiguration) *appsv1ac.DeploymentApplyConfiguration {
	spec := agent.Spec.Runtime.Spec
	rendered := appsv1ac.Deployment(agent.Name, agent.Namespace).
		WithLabels(labels(agent)).
		WithOwnerReferences(owner(agent)).
		WithSpec(appsv1ac.DeploymentSpec().
			WithReplicas(Replicas(agent, live)).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(Selector(agent))).
			WithStrategy(strategy(spec.Strategy)).
			WithProgressDeadlineSeconds(ptr.Deref(spec.ProgressDeadlineSeconds, defaultProgressDeadlineSeconds)).
			WithRevisionHistoryLimit(ptr.Deref(spec.RevisionHistoryLimit, defaultRevisionHistoryLimit)).
			WithTemplate(template))
	// The API server omits zero. A claimed field that is missing from the live object would count as drift on every pass.
	if seconds := ptr.Deref(spec.MinReadySeconds, 0); seconds > 0 {
		rendered.Spec.WithMinReadySeconds(seconds)
	}
	return rendered
}

// strategy never goes below the desired count unless the user allows it. The Kubernetes default of 25% does at four or more
// replicas.
func strategy(user *v1alpha1.RolloutStrategy) *appsv1ac.DeploymentStrategyApplyConfiguration {
	surge, unavailable := intstr.FromInt32(1), intstr.FromInt32(0)
	if user != nil {
		surge = ptr.Deref(user.MaxSurge, surge)
		unavailable = ptr.Deref(user.MaxUnavailable, unavailable)
	}
	return appsv1ac.DeploymentStrategy().
		WithType(appsv1.RollingUpdateDeploymentStrategyType).
		WithRollingUpdate(appsv1ac.RollingUpdateDeployment().WithMaxSurge(surge).WithMaxUnavailable(unavailable))
}
