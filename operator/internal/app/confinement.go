package app

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsv1client "k8s.io/client-go/kubernetes/typed/apps/v1"
	"k8s.io/client-go/rest"
)

// unconfined is what the operator logs if Unconfined.
const unconfined = "this account is not confined: it can create a Deployment without an Agent in kube-system; install the chart " +
	"flokoa-policies with this ServiceAccount in its value operators, or set permissions: Environments in the chart flokoa-operator"

// Unconfined reports whether this account can create a workload that no Agent owns in kube-system. Either RBAC denies it, or the policy
// flokoa-operator-confined of the chart flokoa-policies. The account may not read policies, so it tries, as a dry run. An answer that is
// neither, such as a timeout, proves nothing, and counts as confined.
func Unconfined(ctx context.Context, config *rest.Config) bool {
	api, err := appsv1client.NewForConfig(config)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	labels := map[string]string{"app": "flokoa-confinement-check"}
	_, err = api.Deployments(metav1.NamespaceSystem).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: labels["app"]},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "none", Image: "none"}}},
			},
		},
	}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err == nil
}
