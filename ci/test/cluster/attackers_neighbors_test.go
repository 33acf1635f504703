package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

const (
	devEditor        = "dev editor"
	productionEditor = "production editor"
)

// variant is one way to carry out an attack.
type variant struct {
	name string
	make change
}

// neighborAttacks are those of somebody who may write Agents in one environment.
func neighborAttacks() []attack {
	return []attack{
		{"anti-affinity to namespaces [production]", devEditor, "production unschedulable on 6 of 6 nodes", func(a *arena) (string, error) {
			return a.occupy(antiAffinity(func(term *corev1.PodAffinityTerm) { term.Namespaces = []string{a.production.namespace} }))
		}},
		{"anti-affinity to namespaceSelector {}", devEditor, "production unschedulable on 6 of 6 nodes", func(a *arena) (string, error) {
			return a.occupy(antiAffinity(func(term *corev1.PodAffinityTerm) { term.NamespaceSelector = &metav1.LabelSelector{} }))
		}},
		{"ephemeral-storage 99Gi on each node", devEditor, "production unschedulable on 6 of 6 nodes", exhaustEphemeralStorage},
		{"GPUs", devEditor, "pods created", refuseEach(
			variant{"nvidia.com/gpu", requests("nvidia.com/gpu", "8")}, variant{"amd.com/gpu", requests("amd.com/gpu", "8")})},
		{"a PriorityClass of the platform", devEditor, "pods with priority 1000000", useForeignPriority},
		{"a toleration of every taint", devEditor, "pods created", refuseEach(
			variant{"any effect", tolerates(corev1.Toleration{Operator: corev1.TolerationOpExists})},
			variant{"NoSchedule", tolerates(corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})},
			variant{"control planes", tolerates(corev1.Toleration{Key: "node-role.kubernetes.io/control-plane", Operator: corev1.TolerationOpExists})})},
		{"a toleration of the platform's taints", devEditor, "pods created", refuseEach(
			variant{"cordoned nodes", tolerates(corev1.Toleration{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists})},
			variant{"nodes of production", tolerates(corev1.Toleration{Key: "dedicated", Value: "production"})},
			variant{"system nodes", tolerates(corev1.Toleration{Key: "CriticalAddonsOnly", Operator: corev1.TolerationOpExists})})},
		{"podDisruptionBudget.maxUnavailable 0", devEditor, "eviction refused: no node drains", blockDrains(
			variant{"0", budget(nil, 0)}, variant{"0%", budget(nil, "0%")})},
		{"podDisruptionBudget.minAvailable = replicas", devEditor, "eviction refused: no node drains", blockDrains(
			variant{"2 of 2", budget(2, nil)}, variant{"100%", budget("100%", nil)}, variant{"51% of 2", budget("51%", nil)})},
		{"replicas scaled down to minAvailable", devEditor, "eviction refused: no node drains", scaleDown},
		{"grace period of ten years", devEditor, "pods created", refuseEach(
			variant{"10 years", grace(10 * 365 * 24 * time.Hour)}, variant{"1 day", grace(24 * time.Hour)})},
		{"80 rollouts that never complete", devEditor, "79 ReplicaSets", neverComplete},
		{"an Agent of 1.2 MB", devEditor, "pods created", refuseEach(variant{"1.2 MB", sized(1_200_000)}, variant{"200 kB", sized(200_000)})},
		{"12 x delete --cascade=orphan", devEditor, "12 orphans fill the quota", leaveOrphans(func(a *arena, agent *v1alpha1.Agent) error {
			return a.editor(a.dev).Delete(a.Context(), agent, client.PropagationPolicy(metav1.DeletePropagationOrphan))
		})},
		{"12 x delete with orphanDependents", devEditor, "12 orphans fill the quota", leaveOrphans(func(a *arena, agent *v1alpha1.Agent) error {
			return a.editor(a.dev).Delete(a.Context(), agent, &client.DeleteOptions{Raw: &metav1.DeleteOptions{OrphanDependents: ptr.To(true)}}) //nolint:staticcheck // deprecated, and still obeyed
		})},
		{"12 x finalizer orphan", devEditor, "12 orphans fill the quota", leaveOrphans(func(a *arena, agent *v1alpha1.Agent) error {
			patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":["orphan"]}}`))
			if err := a.editor(a.dev).Patch(a.Context(), agent, patch); err != nil {
				return err
			}
			return a.editor(a.dev).Delete(a.Context(), agent)
		})},
		{"podMetadata k8s.v1.cni.cncf.io/networks", productionEditor, "admitted", annotatePods("k8s.v1.cni.cncf.io/networks")},
		{"podMetadata iam.amazonaws.com/role", productionEditor, "admitted", annotatePods("iam.amazonaws.com/role")},
		{"podMetadata label aadpodidbinding", productionEditor, "admitted", refuseInProduction(onRuntime(func(spec *v1alpha1.RuntimeSpec) {
			spec.PodMetadata = &v1alpha1.PodMetadata{Labels: map[string]string{"aadpodidbinding": "admin"}}
		}))},
		{"Service external-dns.alpha.kubernetes.io/hostname", productionEditor, "admitted", refuseInProduction(onRuntime(func(spec *v1alpha1.RuntimeSpec) {
			spec.Service = &v1alpha1.ServiceSpec{Annotations: map[string]string{"external-dns.alpha.kubernetes.io/hostname": "www.example.com"}}
		}))},
	}
}

// tryEach carries out an attack in every way, and reports those that succeed together.
func tryEach(try func(*arena, change) (string, error), variants ...variant) func(*arena) (string, error) {
	return func(a *arena) (string, error) {
		var guards []string
		var failures []error
		for _, v := range variants {
			guard, err := try(a, v.make)
			if err != nil {
				failures = append(failures, fmt.Errorf("%s: %w", v.name, err))
			}
			guards = append(guards, guard)
			a.clear(a.dev)
		}
		if len(failures) > 0 {
			return "", joined(failures)
		}
		return summary(guards), nil
	}
}

// joined is several errors in one line of the table.
func joined(failures []error) error {
	text := make([]string, 0, len(failures))
	for _, err := range failures {
		text = append(text, err.Error())
	}
	return errors.New(strings.Join(text, "; "))
}

// refuseEach is for Agents none of which may get a pod in dev.
func refuseEach(variants ...variant) func(*arena) (string, error) {
	return tryEach(func(a *arena, change change) (string, error) {
		if guard := a.deploy(a.dev, change); guard != "" {
			return guard, nil
		}
		return "", errors.New("pods run with it")
	}, variants...)
}

// blockDrains is for Agents of which a drain must be able to evict a pod.
func blockDrains(variants ...variant) func(*arena) (string, error) {
	return tryEach(func(a *arena, change change) (string, error) {
		if guard := a.deploy(a.dev, change); guard != "" {
			return guard, nil
		}
		a.dev.waitReady(attackAgent)
		return a.evict()
	}, variants...)
}

// refuseInProduction is for an Agent that may get no pod in production.
func refuseInProduction(changes ...change) func(*arena) (string, error) {
	return func(a *arena) (string, error) {
		if guard := a.deploy(a.production, changes...); guard != "" {
			return guard, nil
		}
		return "", errors.New("admitted in production")
	}
}

func annotatePods(key string) func(*arena) (string, error) {
	return refuseInProduction(onRuntime(func(spec *v1alpha1.RuntimeSpec) {
		spec.PodMetadata = &v1alpha1.PodMetadata{Annotations: map[string]string{key: "admin"}}
	}))
}

// occupy creates an Agent in dev that takes every node from production.
func (a *arena) occupy(changes ...change) (string, error) {
	a.Helper()
	guard := a.deploy(a.dev, changes...)
	if err := a.suffers(); err != nil {
		return "", err
	}
	if guard == "" {
		return "", errors.New("pods run with it")
	}
	return guard, nil
}

func antiAffinity(scope func(*corev1.PodAffinityTerm)) change {
	term := corev1.PodAffinityTerm{TopologyKey: corev1.LabelOSStable, LabelSelector: &metav1.LabelSelector{}}
	scope(&term)
	return onRuntime(func(spec *v1alpha1.RuntimeSpec) {
		spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term}}}
	})
}

func requests(name corev1.ResourceName, quantity string) change {
	return onContainer(func(c *corev1.Container) {
		c.Resources = *c.Resources.DeepCopy()
		c.Resources.Requests[name], c.Resources.Limits[name] = resource.MustParse(quantity), resource.MustParse(quantity)
	})
}

func tolerates(toleration corev1.Toleration) change {
	return onRuntime(func(spec *v1alpha1.RuntimeSpec) { spec.Tolerations = []corev1.Toleration{toleration} })
}

func grace(period time.Duration) change {
	return onRuntime(func(spec *v1alpha1.RuntimeSpec) { spec.TerminationGracePeriodSeconds = ptr.To(int64(period.Seconds())) })
}

// sized fills an Agent with variables of that many bytes.
func sized(bytes int) change {
	return onContainer(func(c *corev1.Container) {
		for i := range bytes / 20_000 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("V%d", i), Value: strings.Repeat("x", 20_000)})
		}
	})
}

// exhaustEphemeralStorage requests 99 of the 100 Gi of each node.
func exhaustEphemeralStorage(a *arena) (string, error) {
	one := onRuntime(func(spec *v1alpha1.RuntimeSpec) {
		spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			TopologyKey: corev1.LabelHostname, MaxSkew: 1, WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelAgent: attackAgent}},
		}}
	})
	guard := a.deploy(a.dev, replicas(6), one, requests(corev1.ResourceEphemeralStorage, "99Gi"))
	if guard == "" {
		a.dev.waitReady(attackAgent)
	}
	if err := a.suffers(requests(corev1.ResourceEphemeralStorage, "1536Mi")); err != nil {
		return "", err
	}
	return guard, nil
}

// useForeignPriority uses a PriorityClass that the platform made for others.
func useForeignPriority(a *arena) (string, error) {
	class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}, Value: 1_000_000}
	require.NoError(a, api.Create(a.Context(), class))
	defer func() { _ = api.Delete(a.Context(), class) }()
	if guard := a.deploy(a.dev, onRuntime(func(spec *v1alpha1.RuntimeSpec) { spec.PriorityClassName = class.Name })); guard != "" {
		return guard, nil
	}
	pod := a.dev.list(&corev1.PodList{})[0].(*corev1.Pod)
	return "", fmt.Errorf("pods run with priority %d", *pod.Spec.Priority)
}

// budget is a PodDisruptionBudget of an Agent of two replicas.
func budget(minAvailable, maxUnavailable any) change {
	parse := func(value any) *intstr.IntOrString {
		if value == nil {
			return nil
		}
		return ptr.To(intstr.Parse(fmt.Sprint(value)))
	}
	return func(agent *v1alpha1.Agent) {
		replicas(2)(agent)
		agent.Spec.Availability = &v1alpha1.Availability{PodDisruptionBudget: &v1alpha1.DisruptionBudget{MinAvailable: parse(minAvailable), MaxUnavailable: parse(maxUnavailable)}}
	}
}

// evict evicts a pod of the ready attacker, once the budget has counted both.
func (a *arena) evict() (string, error) {
	a.Helper()
	a.dev.eventually("the budget has counted the pods", waitTimeout, func() error {
		live := &policyv1.PodDisruptionBudget{}
		err := client.IgnoreNotFound(api.Get(a.Context(), client.ObjectKey{Namespace: a.dev.namespace, Name: attackAgent}, live))
		return firstError(err, checkEqual("healthy pods", 2, live.Status.CurrentHealthy))
	})
	pod := a.dev.list(&corev1.PodList{})[0]
	err := api.SubResource("eviction").Create(a.Context(), pod, &policyv1.Eviction{})
	if apierrors.IsTooManyRequests(err) {
		return "", errors.New("no drain evicts its pods")
	}
	require.NoError(a, err)
	return "a drain evicts its pods", nil
}

// scaleDown makes a budget block drains by a change that does not show it.
func scaleDown(a *arena) (string, error) {
	if guard := a.deploy(a.dev, budget(2, nil), replicas(3)); guard != "" {
		return guard, nil
	}
	a.dev.waitReady(attackAgent)
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":2}}`))
	if guard := a.request(func() error {
		return a.editor(a.dev).SubResource("scale").Patch(a.Context(), a.dev.newAgent(attackAgent), patch)
	}); guard != "" {
		return guard, nil
	}
	a.dev.eventually("it has two pods", waitTimeout, func() error {
		return checkEqual("pods", 2, len(a.dev.list(&corev1.PodList{})))
	})
	if guard, err := a.evict(); err == nil {
		return guard, nil
	}
	return "OPEN: SECURITY.md", nil
}

// maxStuckReplicaSets bounds the ReplicaSets of an Agent whose rollout does not complete.
const maxStuckReplicaSets = 20

// neverComplete patches an Agent that never becomes ready, and waits for each patch to reach the Deployment for a moment.
func neverComplete(a *arena) (string, error) {
	stuck := onRuntime(func(spec *v1alpha1.RuntimeSpec) { spec.RevisionHistoryLimit = ptr.To[int32](0) })
	require.Empty(a, a.deploy(a.dev, stuck, neverReady))
	editor := a.editor(a.dev)
	for i := range 80 {
		image := fmt.Sprintf("registry.example/agent:v%d", i+2)
		patch := client.RawPatch(types.JSONPatchType, []byte(`[{"op":"replace","path":"/spec/runtime/spec/container/image","value":"`+image+`"}]`))
		require.NoError(a, editor.Patch(a.Context(), a.dev.newAgent(attackAgent), patch))
		_ = wait.PollUntilContextTimeout(a.Context(), 50*time.Millisecond, 500*time.Millisecond, true, func(context.Context) (bool, error) {
			return read(a.dev.fixture, attackAgent, &appsv1.Deployment{}).Spec.Template.Spec.Containers[0].Image == image, nil
		})
	}
	if sets := len(a.dev.list(&appsv1.ReplicaSetList{})); sets > maxStuckReplicaSets {
		return "", fmt.Errorf("%d ReplicaSets", sets)
	}
	return fmt.Sprintf("at most %d ReplicaSets", maxStuckReplicaSets), nil
}

// leaveOrphans creates Agents and deletes them in a way that leaves their children.
func leaveOrphans(remove func(*arena, *v1alpha1.Agent) error) func(*arena) (string, error) {
	return func(a *arena) (string, error) {
		for i := range 12 {
			agent := a.ordinary(a.dev)
			agent.Name = fmt.Sprintf("orphan-%d", i)
			require.Empty(a, a.request(func() error { return a.editor(a.dev).Create(a.Context(), agent.DeepCopy()) }))
			a.dev.eventually("it has its children", waitTimeout, func() error {
				key := client.ObjectKeyFromObject(agent)
				return firstError(api.Get(a.Context(), key, &appsv1.Deployment{}), api.Get(a.Context(), key, &corev1.Service{}))
			})
			if guard := a.request(func() error { return remove(a, agent) }); guard != "" {
				return guard, nil
			}
			a.dev.eventually("the Agent is gone", waitTimeout, func() error { return a.dev.checkDeleted(agent.Name, &v1alpha1.Agent{}) })
		}
		a.dev.eventually("no child awaits garbage collection", waitTimeout, func() error {
			for _, object := range a.dev.list(&appsv1.DeploymentList{}) {
				if len(object.GetOwnerReferences()) > 0 {
					return fmt.Errorf("%s", object.GetName())
				}
			}
			return nil
		})
		if left := len(a.dev.list(&appsv1.DeploymentList{})); left > 0 {
			return "", fmt.Errorf("%d Deployments and Services without an owner", left)
		}
		return "garbage collection", nil
	}
}
