package api_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

type podChange func(*corev1.Pod)

// podCase is a change to the pod of the guide's Agent, and what the API server says of it.
type podCase struct {
	name   string
	change podChange
	// message is part of the denial; empty if the pod is admitted.
	message string
}

// Every guard of an environment against its neighbors, on the pods themselves: the quotas and the LimitRange need no operator and no
// policy.
func TestEnvironmentDeniesPodsThatHarmNeighbors(t *testing.T) {
	for _, kind := range environments {
		t.Run(kind, func(t *testing.T) {
			namespace := limitedNamespace(t, kind, map[string]any{"priorityClasses": []any{"allowed"}})
			priorityClass(t, "allowed", false)
			priorityClass(t, "other", false)
			for _, c := range podCases() {
				t.Run(c.name, func(t *testing.T) { requireVerdict(t, newPod(namespace, c.change), c.message) })
			}
		})
	}
}

func podCases() []podCase {
	exceeded := func(quota string) string {
		return "exceeded quota: " + quota + ", requested: pods=1, used: pods=0, limited: pods=0"
	}
	crossNamespace, system, class := exceeded("flokoa-cross-namespace-affinity"), exceeded("flokoa-system-priority"), exceeded("flokoa-priority-classes")
	elsewhere := affinityTerm(func(t *corev1.PodAffinityTerm) { t.Namespaces = []string{"production"} })
	everywhere := affinityTerm(func(t *corev1.PodAffinityTerm) { t.NamespaceSelector = &metav1.LabelSelector{} })
	weighted := func(t corev1.PodAffinityTerm) []corev1.WeightedPodAffinityTerm {
		return []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: t}}
	}
	required := func(t corev1.PodAffinityTerm) podChange {
		return func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{t}}}
		}
	}
	return []podCase{
		{"anti-affinity to a named namespace", required(elsewhere), crossNamespace},
		{"anti-affinity to every namespace", required(everywhere), crossNamespace},
		{"preferred anti-affinity to another namespace", func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: weighted(elsewhere)}}
		}, crossNamespace},
		{"affinity to another namespace", func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{elsewhere}}}
		}, crossNamespace},

		{"another priority class", withPriorityClass("other"), class},
		{"system-node-critical", withPriorityClass("system-node-critical"), system},
		{"system-cluster-critical", withPriorityClass("system-cluster-critical"), system},

		{"a whole disk", withResource("ephemeral-storage", "99Gi", "99Gi"), "maximum ephemeral-storage usage per Container"},
		{"the largest containers, many times", func(p *corev1.Pod) {
			for _, name := range strings.Fields("a b c d e f g h i j k l m n o p q r s t u") {
				extra := emptyContainer(name)
				setResource(&extra, "ephemeral-storage", "2Gi", "2Gi")
				p.Spec.Containers = append(p.Spec.Containers, extra)
			}
		}, "requests.ephemeral-storage=43"},
		{"a GPU", withResource("nvidia.com/gpu", "1", "1"), "exceeded quota: flokoa, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=0, limited: requests.nvidia.com/gpu=0"},
		{"a GPU for an init container", func(p *corev1.Pod) {
			extra := emptyContainer("init")
			setResource(&extra, "amd.com/gpu", "1", "1")
			p.Spec.InitContainers = []corev1.Container{extra}
		}, "requests.amd.com/gpu=1"},
		{"huge pages", withResource("hugepages-2Mi", "4Mi", "4Mi"), "requests.hugepages-2Mi=4Mi"},

		{"no memory limit, written as 0", withResource("memory", "0", "0"), "minimum memory usage per Container"},
		{"no CPU limit, written as 0", withResource("cpu", "0", "0"), "minimum cpu usage per Container"},
		{"no storage limit, written as 0", withResource("ephemeral-storage", "0", "0"), "minimum ephemeral-storage usage per Container"},

		// Last: by now the API server has seen every quota.
		{"the guide's pod", func(*corev1.Pod) {}, ""},
		{"anti-affinity to its own namespace", required(affinityTerm()), ""},
		{"an allowed priority class", withPriorityClass("allowed"), ""},
	}
}

// A quota on ephemeral storage counts a container that sets none as 0. The LimitRange sets it on every container, so none is free.
func TestLimitRangeSetsStorageOnEveryContainer(t *testing.T) {
	for _, kind := range environments {
		namespace := limitedNamespace(t, kind, nil)
		pod := newPod(namespace, func(p *corev1.Pod) {
			native := emptyContainer("native-sidecar")
			native.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
			p.Spec.InitContainers = []corev1.Container{emptyContainer("init"), native}
			p.Spec.Containers = append(p.Spec.Containers, emptyContainer("sidecar"))
		})
		requireVerdict(t, pod, "")
		all := append(pod.Spec.InitContainers, pod.Spec.Containers...)
		require.Len(t, all, 4)
		for _, c := range all {
			require.Positive(t, c.Resources.Requests.StorageEphemeral().Sign(), "%s %s", kind, c.Name)
			require.Positive(t, c.Resources.Limits.StorageEphemeral().Sign(), "%s %s", kind, c.Name)
		}
	}
}

// What the repository offers to copy runs in production as it is.
func TestExamplesFitTheLimitsOfProduction(t *testing.T) {
	namespace := limitedNamespace(t, "production", nil)
	files, err := filepath.Glob(root + "/examples/agents/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			agent := &v1alpha1.Agent{}
			require.NoError(t, yaml.UnmarshalStrict(text, agent))
			requireVerdict(t, newPod(namespace, withResource("nvidia.com/gpu", "1", "1")), "exceeded quota") // it sees the quota
			requireVerdict(t, podOf(namespace, agent), "")
		})
	}
}

// Kubernetes sets the global default on a pod that names no class, before it evaluates quotas.
func TestGlobalDefaultPriorityClassMustBeListed(t *testing.T) {
	closed := limitedNamespace(t, "production", nil)
	open := limitedNamespace(t, "production", map[string]any{"priorityClasses": []any{"cluster-default"}})
	requireVerdict(t, newPod(closed), "")
	priorityClass(t, "cluster-default", true)
	requireVerdict(t, newPod(closed), "exceeded quota: flokoa-priority-classes")
	requireVerdict(t, newPod(open), "")
}

// limitedNamespace is a namespace with the quotas and the LimitRange of an environment. No controller-manager runs here, so the test
// writes the status of the quotas: nothing is used.
func limitedNamespace(t *testing.T, kind string, more map[string]any) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "limited-"}}
	require.NoError(t, admin.Create(t.Context(), namespace))
	values, err := manifests.Values(root + "/charts/flokoa-environment/values-" + kind + ".yaml")
	require.NoError(t, err)
	maps.Copy(values, more)
	values["namespace"] = map[string]any{"name": namespace.Name}
	objects, err := manifests.Chart(root+"/charts/flokoa-environment", values, namespace.Name, manifests.Platform)
	require.NoError(t, err)
	for i := range objects {
		switch objects[i].GetKind() {
		case "LimitRange":
			require.NoError(t, admin.Create(t.Context(), &objects[i]))
		case "ResourceQuota":
			quota := &corev1.ResourceQuota{}
			require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(objects[i].Object, quota))
			require.NoError(t, admin.Create(t.Context(), quota))
			quota.Status.Hard, quota.Status.Used = quota.Spec.Hard, corev1.ResourceList{}
			for name := range quota.Spec.Hard {
				quota.Status.Used[name] = resource.MustParse("0")
			}
			require.NoError(t, admin.Status().Update(t.Context(), quota))
		}
	}
	return namespace.Name
}

func priorityClass(t *testing.T, name string, globalDefault bool) {
	t.Helper()
	class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: 1000, GlobalDefault: globalDefault}
	require.NoError(t, admin.Create(t.Context(), class))
	t.Cleanup(func() { _ = admin.Delete(context.Background(), class) })
}

// requireVerdict creates a pod in a dry run, again and again while the API server has yet to see the quotas and the classes.
func requireVerdict(t *testing.T, pod *corev1.Pod, message string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		created := pod.DeepCopy()
		err := admin.Create(t.Context(), created, client.DryRunAll)
		if message == "" {
			require.NoError(c, err)
		} else {
			require.ErrorContains(c, err, message)
		}
		*pod = *created
	}, taking, 100*time.Millisecond)
}

// newPod is a pod of the guide's Agent.
func newPod(namespace string, changes ...podChange) *corev1.Pod {
	pod := podOf(namespace, guides())
	for _, change := range changes {
		change(pod)
	}
	return pod
}

// podOf is a pod of an Agent, as far as quotas and limits look at it.
func podOf(namespace string, agent *v1alpha1.Agent) *corev1.Pod {
	spec := agent.Spec.Runtime.Spec
	spec.Container.Name = "agent"
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pod"},
		Spec: corev1.PodSpec{
			InitContainers: spec.InitContainers, Containers: append([]corev1.Container{spec.Container}, spec.Sidecars...),
			Affinity: spec.Affinity, PriorityClassName: spec.PriorityClassName,
		},
	}
}

func emptyContainer(name string) corev1.Container {
	return corev1.Container{Name: name, Image: "registry.example/other:v1"}
}

func withPriorityClass(class string) podChange {
	return func(p *corev1.Pod) { p.Spec.PriorityClassName = class }
}

func withResource(name corev1.ResourceName, request, limit string) podChange {
	return func(p *corev1.Pod) { setResource(&p.Spec.Containers[0], name, request, limit) }
}

func setResource(c *corev1.Container, name corev1.ResourceName, request, limit string) {
	if c.Resources.Requests == nil {
		c.Resources = corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
	}
	c.Resources.Requests[name], c.Resources.Limits[name] = resource.MustParse(request), resource.MustParse(limit)
}

// term selects pods on the same node.
func affinityTerm(changes ...func(*corev1.PodAffinityTerm)) corev1.PodAffinityTerm {
	t := corev1.PodAffinityTerm{TopologyKey: "kubernetes.io/os", LabelSelector: &metav1.LabelSelector{}}
	for _, change := range changes {
		change(&t)
	}
	return t
}
