package charts_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// clusterScoped is whether each kind that a chart renders is cluster-scoped. A kind that is not listed fails.
var clusterScoped = map[string]bool{
	"Agent":                            false,
	"ClusterRole":                      true,
	"ClusterRoleBinding":               true,
	"ConfigMap":                        false,
	"CustomResourceDefinition":         true,
	"Deployment":                       false,
	"Namespace":                        true,
	"PodDisruptionBudget":              false,
	"ResourceQuota":                    false,
	"NetworkPolicy":                    false,
	"LimitRange":                       false,
	"Model":                            false,
	"PrometheusRule":                   false,
	"Role":                             false,
	"RoleBinding":                      false,
	"Service":                          false,
	"ServiceAccount":                   false,
	"ValidatingAdmissionPolicy":        true,
	"ValidatingAdmissionPolicyBinding": true,
	"ServiceMonitor":                   false,
	"PodMonitor":                       false,
}

func TestEveryObjectIsWhereItBelongs(t *testing.T) {
	for name, objects := range renderings(t) {
		t.Run(name, func(t *testing.T) {
			for _, object := range objects {
				cluster, known := clusterScoped[object.GetKind()]
				require.True(t, known, "add %s to clusterScoped", object.GetKind())
				want := home(objects)
				switch {
				case cluster:
					want = ""
				case strings.HasSuffix(name, "/namespaceOverride"), strings.HasSuffix(name, "Monitor.namespace") && strings.HasSuffix(object.GetKind(), "Monitor"):
					want = "elsewhere" // these samples move what they name, and nothing else
				case strings.HasSuffix(name, "/configRollouts.secrets") && strings.HasSuffix(object.GetName(), "-operator-config"):
					want = "team-a" // with the Secrets
				}
				require.Equal(t, want, object.GetNamespace(), "namespace of %s %s", object.GetKind(), object.GetName())
			}
		})
	}
}

// Deleting a CRD or a Namespace deletes every Agent in it, and deleting a policy disarms production: neither Helm, Flux nor Argo CD
// does so because a release, a stage or an Application is gone.
func TestCRDsNamespacesAndPoliciesAreKeptOnUninstall(t *testing.T) {
	kept := map[string]bool{}
	for name, objects := range renderings(t) {
		if strings.HasPrefix(name, filepath.Base(agentChart)) {
			continue // a team's own release: the Agent goes with it
		}
		for _, object := range objects {
			switch object.GetKind() {
			case "Agent", "CustomResourceDefinition", "Namespace", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding":
				kept[object.GetKind()] = true
				annotations := object.GetAnnotations()
				require.Equal(t, "keep", annotations["helm.sh/resource-policy"], "%s %s in %s", object.GetKind(), object.GetName(), name)
				require.Equal(t, "disabled", annotations["kustomize.toolkit.fluxcd.io/prune"], "%s %s in %s", object.GetKind(), object.GetName(), name)
				require.Contains(t, annotations["argocd.argoproj.io/sync-options"], "Prune=false,Delete=false", "%s %s in %s", object.GetKind(), object.GetName(), name)
			}
		}
	}
	require.Len(t, kept, 5)
}

// home is the namespace in which what is rendered lives: the one that is rendered with it, the one that an environment in a namespace
// of somebody else names, or the release's.
func home(objects []unstructured.Unstructured) string {
	found := namespace
	for _, object := range objects {
		switch object.GetKind() {
		case "Namespace":
			return object.GetName()
		case "LimitRange":
			found = object.GetNamespace()
		}
	}
	return found
}

func TestNoChartRendersASecret(t *testing.T) {
	for name, objects := range renderings(t) {
		t.Run(name, func(t *testing.T) {
			for _, object := range objects {
				require.NotEqual(t, "Secret", object.GetKind(), object.GetName())
			}
		})
	}
}

func TestNoObjectIsRenderedTwice(t *testing.T) {
	for name, objects := range renderings(t) {
		t.Run(name, func(t *testing.T) {
			seen := map[string]bool{}
			for _, object := range objects {
				id := strings.Join([]string{object.GetAPIVersion(), object.GetKind(), object.GetNamespace(), object.GetName()}, " ")
				require.False(t, seen[id], id)
				seen[id] = true
			}
		})
	}
}

// A field that is misspelt, or in the wrong place, fails here as it would with strict field validation on an API server. Kinds are
// Kubernetes' own and the Prometheus Operator's.
func TestEveryObjectHasOnlyFieldsThatItsKindHas(t *testing.T) {
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, apiextensionsv1.AddToScheme(scheme))
	require.NoError(t, monitoringv1.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	strict := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	for name, objects := range renderings(t) {
		t.Run(name, func(t *testing.T) {
			for _, object := range objects {
				text, err := yaml.Marshal(object.Object)
				require.NoError(t, err)
				_, _, err = strict.Decode(text, nil, nil)
				require.NoError(t, err, "%s %s", object.GetKind(), object.GetName())
			}
		})
	}
}

func TestEveryPodSatisfiesPodSecurityRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	require.NoError(t, err)
	restricted := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
	for name, pod := range pods(t) {
		t.Run(name, func(t *testing.T) {
			verdict := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec))
			require.True(t, verdict.Allowed, "%s: %s", verdict.ForbiddenReason(), verdict.ForbiddenDetail())
		})
	}
}

func TestEveryImageIsPinned(t *testing.T) {
	for name, pod := range pods(t) {
		t.Run(name, func(t *testing.T) {
			for _, container := range containers(pod) {
				require.True(t, pinned(container.Image), "image %q of container %s", container.Image, container.Name)
			}
		})
	}
	for image, want := range map[string]bool{
		"ghcr.io/a/b:v1":                true,
		"reg:5000/a/b:v1":               true,
		"a/b@sha256:0123456789abcdef":   true,
		"a/b:latest@sha256:01234567890": true,
		"a/b":                           false,
		"a/b:":                          false,
		"a/b:latest":                    false,
		"reg:5000/a/b":                  false,
	} {
		require.Equal(t, want, pinned(image), image)
	}
}

func TestEveryContainerIsReadOnlyAndBounded(t *testing.T) {
	for name, pod := range pods(t) {
		t.Run(name, func(t *testing.T) {
			for _, container := range containers(pod) {
				require.NotNil(t, container.SecurityContext)
				require.Equal(t, new(true), container.SecurityContext.ReadOnlyRootFilesystem)
				require.False(t, container.Resources.Requests.Cpu().IsZero(), "requests.cpu")
				require.False(t, container.Resources.Requests.Memory().IsZero(), "requests.memory")
				require.False(t, container.Resources.Limits.Memory().IsZero(), "limits.memory")
			}
		})
	}
}

// Every verb that the operator has, and where. A permission that is added or lost is a change of this table.
func TestOperatorPermissions(t *testing.T) {
	require.Equal(t, []string{
		"Role coordination.k8s.io/leases create",
		"Role coordination.k8s.io/leases/a-release-flokoa-operator get update",
		"Role core/events create",
		"ClusterRole agent.flokoa.ai/agents list watch",
		"ClusterRole agent.flokoa.ai/agents/finalizers update",
		"ClusterRole agent.flokoa.ai/agents/status update",
		"ClusterRole agent.flokoa.ai/models list watch",
		"ClusterRole apps/deployments create get list patch watch",
		"ClusterRole autoscaling/horizontalpodautoscalers create delete get list patch watch",
		"ClusterRole coordination.k8s.io/leases/scope.flokoa.ai list watch",
		"ClusterRole core/configmaps create delete get list patch watch",
		"ClusterRole core/events list",
		"ClusterRole core/namespaces list watch",
		"ClusterRole core/nodes list watch",
		"ClusterRole core/pods list watch",
		"ClusterRole core/services create delete get list patch watch",
		"ClusterRole events.k8s.io/events create",
		"ClusterRole policy/poddisruptionbudgets create delete get list patch watch",
	}, permissions(t, render(t, operatorChart, nil)))
}

// With permissions Environments, what is not bound here is bound by the chart flokoa-environment in its namespace.
func TestOperatorReadsOnlyWithoutEnvironments(t *testing.T) {
	require.Equal(t, []string{
		"Role coordination.k8s.io/leases create",
		"Role coordination.k8s.io/leases/a-release-flokoa-operator get update",
		"Role core/events create",
		"ClusterRole agent.flokoa.ai/agents list watch",
		"ClusterRole agent.flokoa.ai/agents/status update",
		"ClusterRole agent.flokoa.ai/models list watch",
		"ClusterRole apps/deployments get list watch",
		"ClusterRole autoscaling/horizontalpodautoscalers get list watch",
		"ClusterRole coordination.k8s.io/leases/scope.flokoa.ai list watch",
		"ClusterRole core/configmaps get list watch",
		"ClusterRole core/events list",
		"ClusterRole core/namespaces list watch",
		"ClusterRole core/nodes list watch",
		"ClusterRole core/pods list watch",
		"ClusterRole core/services get list watch",
		"ClusterRole events.k8s.io/events create",
		"ClusterRole policy/poddisruptionbudgets get list watch",
	}, permissions(t, render(t, operatorChart, map[string]any{"permissions": "Environments"})))
}

// The permissions of an operator in an environment add up to those of an operator that writes in every namespace.
func TestOperatorHasTheSamePermissionsInAnEnvironment(t *testing.T) {
	operator, err := manifests.Chart(operatorChart, map[string]any{"permissions": "Environments"}, "flokoa-operator", manifests.Platform)
	require.NoError(t, err)
	everywhere, err := manifests.Chart(operatorChart, nil, "flokoa-operator", manifests.Platform)
	require.NoError(t, err)
	environment := render(t, environmentChart, nil)
	bindings := slices.DeleteFunc(environment, func(o unstructured.Unstructured) bool { return o.GetName() != "flokoa-operator-writer" })
	require.Len(t, bindings, 1)
	require.Equal(t, permissions(t, everywhere), permissions(t, append(operator, bindings...)))
}

// Helm refuses an object of another release.
func TestOperatorOfAnEnvironmentSharesNoObjectWithIt(t *testing.T) {
	environment := render(t, environmentChart, nil)
	operator, err := manifests.Chart(operatorChart, map[string]any{"watchNamespaces": []string{home(environment)}}, "flokoa-operator", manifests.Platform)
	require.NoError(t, err)
	owned := map[string]bool{}
	for _, object := range operator {
		owned[manifests.Identity(object)] = true
	}
	for _, object := range environment {
		require.False(t, owned[manifests.Identity(object)], manifests.Identity(object))
	}
}

// The account of the operator is named in three charts. If one differs, the policy does not confine the operator, or it may not write.
func TestChartsAgreeOnTheOperatorsAccount(t *testing.T) {
	operator, err := manifests.Chart(operatorChart, map[string]any{"permissions": "Environments"}, "flokoa-operator", manifests.Platform)
	require.NoError(t, err)
	named := map[string]bool{}
	roles := map[string]bool{}
	for _, object := range operator {
		named[object.GetKind()+" "+object.GetNamespace()+"/"+object.GetName()] = true
		roles[object.GetName()] = object.GetKind() == "ClusterRole"
	}
	var confined []struct{ Namespace, Name string }
	remarshal(t, defaults(t, policiesChart)["operators"], &confined)
	require.Len(t, confined, 1)
	require.True(t, named["ServiceAccount "+confined[0].Namespace+"/"+confined[0].Name], "values of flokoa-policies: operators")
	var bound struct{ Namespace, ServiceAccount, Role string }
	remarshal(t, defaults(t, environmentChart)["operator"], &bound)
	require.True(t, named["ServiceAccount "+bound.Namespace+"/"+bound.ServiceAccount], "values of flokoa-environment: operator")
	require.True(t, roles[bound.Role], "values of flokoa-environment: operator.role")
}

// remarshal reads values into a type.
func remarshal(t *testing.T, values, into any) {
	t.Helper()
	text, err := yaml.Marshal(values)
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(text, into))
}

// With watchNamespaces all of it is in Roles, and nodes and namespaces are left out.
func TestOperatorPermissionsInItsNamespacesAlone(t *testing.T) {
	objects := render(t, operatorChart, map[string]any{"watchNamespaces": []string{"team-a"}})
	for _, object := range objects {
		require.False(t, clusterScoped[object.GetKind()], "%s %s", object.GetKind(), object.GetName())
	}
	require.Equal(t, []string{
		"Role agent.flokoa.ai/agents list watch",
		"Role agent.flokoa.ai/agents/finalizers update",
		"Role agent.flokoa.ai/agents/status update",
		"Role agent.flokoa.ai/models list watch",
		"Role apps/deployments create get list patch watch",
		"Role autoscaling/horizontalpodautoscalers create delete get list patch watch",
		"Role coordination.k8s.io/leases create",
		"Role coordination.k8s.io/leases/a-release-flokoa-operator get update",
		"Role coordination.k8s.io/leases/scope.flokoa.ai get update",
		"Role core/configmaps create delete get list patch watch",
		"Role core/events create list",
		"Role core/pods list watch",
		"Role core/services create delete get list patch watch",
		"Role events.k8s.io/events create",
		"Role policy/poddisruptionbudgets create delete get list patch watch",
	}, permissions(t, objects))
}

// permissions is one line for each kind of role, resource and name of the roles that are bound, first those of Roles; it is an
// error to name a URL.
func permissions(t *testing.T, objects []unstructured.Unstructured) []string {
	t.Helper()
	verbs := map[string][]string{}
	for _, object := range manifests.Bound(objects) {
		role := as[rbacv1.ClusterRole](t, object) // a Role has the same rules
		require.Nil(t, role.AggregationRule)
		for _, rule := range role.Rules {
			require.Empty(t, rule.NonResourceURLs)
			for _, group := range rule.APIGroups {
				if group == "" {
					group = "core"
				}
				for _, resource := range rule.Resources {
					line := object.GetKind() + " " + group + "/" + resource
					for _, name := range rule.ResourceNames {
						line += "/" + name
					}
					verbs[line] = append(verbs[line], rule.Verbs...)
				}
			}
		}
	}
	var lines []string
	for line, verbs := range verbs {
		slices.Sort(verbs)
		lines = append(lines, line+" "+strings.Join(slices.Compact(verbs), " "))
	}
	slices.SortFunc(lines, func(a, b string) int {
		if byScope := strings.Compare(b[:1], a[:1]); byScope != 0 {
			return byScope
		}
		return strings.Compare(a, b)
	})
	return lines
}

// pods are the pod templates of the charts as they are meant to be installed, by chart or values file, kind and name.
func pods(t *testing.T) map[string]corev1.PodTemplateSpec {
	t.Helper()
	all := map[string]corev1.PodTemplateSpec{}
	for _, dir := range charts(t) {
		for name, values := range installable(t, dir) {
			hooks, err := manifests.Hooks(dir, values, release, namespace)
			require.NoError(t, err)
			for _, object := range append(render(t, dir, values), hooks...) {
				if pod, has := podTemplate(t, object); has {
					require.NotEmpty(t, pod.Spec.Containers, "%s %s", name, object.GetName())
					all[name+"/"+object.GetKind()+"/"+object.GetName()] = pod
				}
			}
		}
	}
	require.NotEmpty(t, all)
	return all
}

func podTemplate(t *testing.T, object unstructured.Unstructured) (corev1.PodTemplateSpec, bool) {
	t.Helper()
	switch object.GetKind() {
	case "Pod":
		pod := as[corev1.Pod](t, object)
		return corev1.PodTemplateSpec{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec}, true
	case "Deployment":
		return as[appsv1.Deployment](t, object).Spec.Template, true
	case "StatefulSet":
		return as[appsv1.StatefulSet](t, object).Spec.Template, true
	case "DaemonSet":
		return as[appsv1.DaemonSet](t, object).Spec.Template, true
	case "Job":
		return as[batchv1.Job](t, object).Spec.Template, true
	case "CronJob":
		return as[batchv1.CronJob](t, object).Spec.JobTemplate.Spec.Template, true
	default:
		return corev1.PodTemplateSpec{}, false
	}
}

func as[T any](t *testing.T, object unstructured.Unstructured) T {
	t.Helper()
	var typed T
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &typed))
	return typed
}

func containers(pod corev1.PodTemplateSpec) []corev1.Container {
	return slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
}

// pinned is true for an image with a digest, or with a tag that is not latest. The colon of a registry's port is no tag.
func pinned(image string) bool {
	if strings.Contains(image, "@sha256:") {
		return true
	}
	_, tag, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	return tag != "" && tag != "latest"
}
