package kind_test

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// providerPort is where the provider of models listens; the stub has no certificate, so it is not 443.
	providerPort = 8443
	providerKey  = "stub-key"
	// devProvider is the namespace of dev's own provider, which dev's network policies name, and devProviderKey its key.
	devProvider    = "live-provider-dev"
	devProviderKey = "dev-key"
)

// providerAddress is the provider's address, which production's and staging's network policies name, as they would a real one's, and
// devProviderAddress that of dev's.
var providerAddress, devProviderAddress string

// podOption changes a traffic pod.
type podOption func(*corev1.Pod)

// trafficPod is a pod that runs a command of ci/cmd/traffic, that satisfies the restricted Pod Security level.
func trafficPod(namespace, name, app string, command []string, options ...podOption) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken:  ptr.To(false),
			TerminationGracePeriodSeconds: ptr.To[int64](1),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](65532), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{
				Name: "traffic", Image: image("traffic", "v1"), Args: command,
				// Where the machine is short of CPU, callers come before those that they call, or they would measure themselves.
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m"), corev1.ResourceMemory: resource.MustParse("16Mi")}},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
			}},
		},
	}
	for _, podOption := range options {
		podOption(pod)
	}
	return pod
}

// onCallerNode runs a pod on the node that is left in peace.
func onCallerNode(pod *corev1.Pod) { onNamedNode(cluster.callerNode)(pod) }

// onNamedNode runs a pod on a node, whatever its taints.
func onNamedNode(node string) podOption {
	return func(pod *corev1.Pod) {
		pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
		pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
}

// providerPod is a provider of models, which wants a key.
func providerPod(namespace, key string) *corev1.Pod {
	return trafficPod(namespace, "provider", "provider", []string{"provider", "--port", fmt.Sprint(providerPort)}, onCallerNode,
		func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PROVIDER_KEY", Value: key}}
		})
}

// serviceOf is a Service for a traffic pod, with its name.
func serviceOf(namespace, app string, port int32) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: app}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{{Port: port}}}}
}

// startCallers creates the namespaces of all pods that are not Agents, and the model providers: that of staging and production, and dev's.
func startCallers(ctx context.Context) error {
	if err := makeNamespaces(ctx, callerNamespaces...); err != nil {
		return err
	}
	provider, dev := providerPod("live-provider", providerKey), providerPod(devProvider, devProviderKey)
	if err := startPods(ctx, provider, dev); err != nil {
		return err
	}
	providerAddress, devProviderAddress = provider.Status.PodIP, dev.Status.PodIP
	for _, namespace := range []string{"live-provider", devProvider} {
		if err := api.Create(ctx, serviceOf(namespace, "provider", providerPort)); err != nil {
			return err
		}
	}
	return nil
}

// startPods creates pods and waits until they run.
func startPods(ctx context.Context, pods ...*corev1.Pod) error {
	for _, pod := range pods {
		if err := api.Create(ctx, pod); err != nil {
			return err
		}
	}
	for _, pod := range pods {
		err := waitFor(ctx, "pod "+pod.Name+" is ready", waitTimeout, func(ctx context.Context) error {
			if err := api.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
				return err
			}
			if !isReady(pod) {
				return fmt.Errorf("it is %s: %v", pod.Status.Phase, pod.Status.ContainerStatuses)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func isReady(pod *corev1.Pod) bool {
	return pod.Status.PodIP != "" && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// traffic runs a command of ci/cmd/traffic inside of a pod of it, with something to read, and returns what it printed.
func traffic(ctx context.Context, namespace, pod, input string, command ...string) (string, error) {
	args := append([]string{"--namespace", namespace, "exec", "--stdin", pod, "--", "/traffic"}, command...)
	run := kubectl(ctx, args...)
	run.Stdin = strings.NewReader(input)
	var failure strings.Builder
	run.Stderr = &failure
	out, err := run.Output()
	if err != nil {
		return string(out), fmt.Errorf("traffic %s in %s: %w: %s", strings.Join(command, " "), pod, err, failure.String())
	}
	return string(out), nil
}
