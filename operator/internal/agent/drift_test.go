package agent

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/render"
)

const fullAgent = "../render/testdata/full/agent.yaml"

// stored returns the object that the API server would store for an apply configuration.
func stored[T any](t testing.TB, configuration any) *T {
	t.Helper()
	raw, err := json.Marshal(configuration)
	require.NoError(t, err)
	object := new(T)
	require.NoError(t, json.Unmarshal(raw, object))
	return object
}

func rendered(t *testing.T, agent *v1alpha1.Agent) render.Children {
	t.Helper()
	all, err := render.Agent(agent, render.Live{})
	require.NoError(t, err)
	return all
}

func TestAppliedConfigurationIsUpToDate(t *testing.T) {
	for name, agent := range map[string]*v1alpha1.Agent{
		"a small Agent":       agenttest.New("a"),
		"no replicas":         agenttest.New("a", agenttest.Replicas(0)),
		"every field":         agenttest.Read(t, fullAgent),
		"the guide's Agent":   agenttest.Read(t, "../../../examples/agents/production-agent.yaml"),
		"every field at zero": agenttest.New("a", agenttest.Runtime(zeros)),
	} {
		t.Run(name, func(t *testing.T) {
			want := rendered(t, agent)
			requireUpToDate(t, true, stored[appsv1.Deployment](t, want.Deployment), want.Deployment)
			requireUpToDate(t, true, stored[corev1.Service](t, want.Service), want.Service)
		})
	}
}

// zeros sets every field that accepts the zero value of its type.
func zeros(s *v1alpha1.RuntimeSpec) {
	s.Replicas, s.MinReadySeconds, s.RevisionHistoryLimit = ptr.To[int32](0), ptr.To[int32](0), ptr.To[int32](0)
	s.ProgressDeadlineSeconds, s.AutomountServiceAccountToken = ptr.To[int32](1), ptr.To(false)
	s.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](0), RunAsNonRoot: ptr.To(false)}
	s.Container.SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{}}}
	s.Container.Env = []corev1.EnvVar{{Name: "EMPTY"}}
	s.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](0)}}
	s.Volumes = []v1alpha1.Volume{{Name: "v", EmptyDir: &corev1.EmptyDirVolumeSource{}}, {Name: "c", ConfigMap: &corev1.ConfigMapVolumeSource{DefaultMode: ptr.To[int32](0)}}}
	s.Affinity = &corev1.Affinity{}
	s.DNSConfig = &corev1.PodDNSConfig{}
}

// deploymentEdit is an edit of a Deployment by another field manager.
type deploymentEdit struct {
	name   string
	change func(*appsv1.Deployment, *corev1.PodSpec)
}

// ignoredEdits change fields that the operator does not own.
var ignoredEdits = []deploymentEdit{
	{"nothing", func(*appsv1.Deployment, *corev1.PodSpec) {}},
	{"status", func(d *appsv1.Deployment, _ *corev1.PodSpec) { d.Status.Replicas = 9 }},
	{"an annotation of its own", func(d *appsv1.Deployment, _ *corev1.PodSpec) {
		d.Annotations["deployment.kubernetes.io/revision"] = "2"
	}},
	{"a label of its own", func(d *appsv1.Deployment, _ *corev1.PodSpec) { d.Labels["team"] = "x" }},
	{"kubectl rollout restart", func(d *appsv1.Deployment, _ *corev1.PodSpec) {
		d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] = "now"
	}},
	{"a default of the API server", func(_ *appsv1.Deployment, p *corev1.PodSpec) {
		p.Containers[0].ImagePullPolicy, p.Containers[0].LivenessProbe.SuccessThreshold = corev1.PullIfNotPresent, 1
	}},
	{"paused, which the operator does not own", func(d *appsv1.Deployment, _ *corev1.PodSpec) { d.Spec.Paused = true }},
}

// driftEdits change fields that the operator owns.
var driftEdits = []deploymentEdit{
	{"another image", func(_ *appsv1.Deployment, p *corev1.PodSpec) { p.Containers[0].Image = "other" }},
	{"another number of replicas", func(d *appsv1.Deployment, _ *corev1.PodSpec) { d.Spec.Replicas = ptr.To[int32](9) }},
	{"another value of a variable", func(_ *appsv1.Deployment, p *corev1.PodSpec) { p.Containers[0].Env[0].Value = "other" }},
	{"a variable removed", func(_ *appsv1.Deployment, p *corev1.PodSpec) { p.Containers[0].Env = p.Containers[0].Env[1:] }},
	{"a volume removed", func(_ *appsv1.Deployment, p *corev1.PodSpec) { p.Volumes = p.Volumes[1:] }},
	{"another argument", func(_ *appsv1.Deployment, p *corev1.PodSpec) { p.Containers[0].Args = []string{"other"} }},
	{"an argument added: a list without keys is one value", func(_ *appsv1.Deployment, p *corev1.PodSpec) {
		p.Containers[0].Args = append(p.Containers[0].Args, "more")
	}},
	{"reordered arguments", func(_ *appsv1.Deployment, p *corev1.PodSpec) {
		p.Containers[0].Args = []string{p.Containers[0].Args[1], p.Containers[0].Args[0]}
	}},
	{"a toleration added: a list without keys is one value", func(_ *appsv1.Deployment, p *corev1.PodSpec) {
		p.Tolerations = append(p.Tolerations, corev1.Toleration{Key: "k"})
	}},
	{"a field added inside a toleration", func(_ *appsv1.Deployment, p *corev1.PodSpec) { p.Tolerations[1].Effect = corev1.TaintEffectNoSchedule }},
	{"a node label added: the selector is one value", func(_ *appsv1.Deployment, p *corev1.PodSpec) { p.NodeSelector["other"] = "x" }},
	{"an injected environment variable", func(_ *appsv1.Deployment, p *corev1.PodSpec) {
		p.Containers[0].Env = append([]corev1.EnvVar{{Name: "INJECTED"}}, p.Containers[0].Env...)
	}},
	{"an injected volume", func(_ *appsv1.Deployment, p *corev1.PodSpec) {
		p.Volumes = append([]corev1.Volume{{Name: "injected"}}, p.Volumes...)
	}},
	{"an injected container", func(_ *appsv1.Deployment, p *corev1.PodSpec) {
		p.Containers = append([]corev1.Container{{Name: "injected"}}, p.Containers...)
	}},
	{"a reordered keyed list: $(NAME) and init containers depend on the order", func(_ *appsv1.Deployment, p *corev1.PodSpec) {
		p.Volumes[0], p.Volumes[1] = p.Volumes[1], p.Volumes[0]
	}},
	{"a pod label added", func(d *appsv1.Deployment, _ *corev1.PodSpec) { d.Spec.Template.Labels["track"] = "canary" }},
	{"a field added", func(_ *appsv1.Deployment, p *corev1.PodSpec) { p.HostNetwork = true }},
	{"a field added, whose value is false", func(_ *appsv1.Deployment, p *corev1.PodSpec) { p.HostUsers = ptr.To(false) }},
	{"a field added inside a container", func(_ *appsv1.Deployment, p *corev1.PodSpec) { p.Containers[0].TTY = true }},
	{"environment from a Secret", func(_ *appsv1.Deployment, p *corev1.PodSpec) {
		p.Containers[0].EnvFrom = append(p.Containers[0].EnvFrom, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{}})
	}},
	{"a field added inside an item of a list without keys", func(_ *appsv1.Deployment, p *corev1.PodSpec) {
		p.Volumes[1].Projected.Sources[0].ConfigMap.Optional = ptr.To(true)
	}},
	{"the deprecated name of the service account", func(_ *appsv1.Deployment, p *corev1.PodSpec) { p.DeprecatedServiceAccount = "admin" }},
	{"an owned label changed", func(d *appsv1.Deployment, _ *corev1.PodSpec) { d.Labels[v1alpha1.LabelAgent] = "b" }},
	{"an owned label removed from the pods", func(d *appsv1.Deployment, _ *corev1.PodSpec) {
		delete(d.Spec.Template.Labels, "app.kubernetes.io/name")
	}},
	{"the owner removed", func(d *appsv1.Deployment, _ *corev1.PodSpec) { d.OwnerReferences = nil }},
	{"the digest removed", func(d *appsv1.Deployment, _ *corev1.PodSpec) { delete(d.Annotations, v1alpha1.AnnotationDigest) }},
	{"all annotations removed", func(d *appsv1.Deployment, _ *corev1.PodSpec) { d.Annotations = nil }},
	{"an owned security setting removed", func(_ *appsv1.Deployment, p *corev1.PodSpec) {
		p.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil
	}},
	{"minReadySeconds", func(d *appsv1.Deployment, _ *corev1.PodSpec) { d.Spec.MinReadySeconds = 9 }},
	{"a whole section removed", func(_ *appsv1.Deployment, p *corev1.PodSpec) { p.SecurityContext = nil }},
	{"the strategy replaced", func(d *appsv1.Deployment, _ *corev1.PodSpec) {
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	}},
}

func TestForeignEditsOfADeploymentAreDriftOnlyIfOwned(t *testing.T) {
	try := func(edit deploymentEdit, same bool) {
		t.Run(edit.name, func(t *testing.T) {
			want := rendered(t, agenttest.Read(t, fullAgent)).Deployment
			live := stored[appsv1.Deployment](t, want)
			edit.change(live, &live.Spec.Template.Spec)
			requireUpToDate(t, same, live, want)
		})
	}
	for _, edit := range ignoredEdits {
		try(edit, true)
	}
	for _, edit := range driftEdits {
		try(edit, false)
	}
}

func TestForeignEditsOfAServiceAreDriftOnlyIfOwned(t *testing.T) {
	for _, r := range []struct {
		name   string
		change func(*corev1.Service)
		same   bool
	}{
		{"addresses of the API server", func(s *corev1.Service) { s.Spec.ClusterIPs, s.Spec.SessionAffinity = []string{"None"}, "None" }, true},
		{"a port added", func(s *corev1.Service) {
			s.Spec.Ports = append([]corev1.ServicePort{{Port: 1, Protocol: "TCP"}}, s.Spec.Ports...)
		}, true},
		{"another target", func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromInt32(1) }, false},
		{"a port removed", func(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[1:] }, false},
		{"another type", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }, false},
		{"another selector", func(s *corev1.Service) { s.Spec.Selector[v1alpha1.LabelAgent] = "b" }, false},
		{"a narrower selector: it is one value, and traffic would stop", func(s *corev1.Service) { s.Spec.Selector["version"] = "v2" }, false},
	} {
		t.Run(r.name, func(t *testing.T) {
			want := rendered(t, agenttest.Read(t, fullAgent)).Service
			live := stored[corev1.Service](t, want)
			r.change(live)
			requireUpToDate(t, r.same, live, want)
		})
	}
}

func requireUpToDate(t *testing.T, same bool, live client.Object, want runtime.ApplyConfiguration) {
	t.Helper()
	found, err := findDrift(live, want)
	require.NoError(t, err)
	require.Equal(t, same, len(found) == 0, "%v", found)
}

// Only the digest shows that a live field is no longer desired.
func TestFieldThatIsNoLongerDesiredIsDrift(t *testing.T) {
	agent := agenttest.New("a", agenttest.Container(func(c *corev1.Container) { c.Env = []corev1.EnvVar{{Name: "OLD", Value: "x"}} }))
	live := stored[appsv1.Deployment](t, rendered(t, agent).Deployment)
	requireUpToDate(t, false, live, rendered(t, agenttest.New("a")).Deployment)
}

func TestDriftFollowsServerSideApplyMergeRules(t *testing.T) {
	for _, r := range []struct {
		name, field, live, want string
		subset                  bool
	}{
		{"equal", "", `1`, `1`, true},
		{"another value", "", `1`, `2`, false},
		{"another type", "", `"1"`, `1`, false},
		{"absent", "", ``, `1`, false},
		{"a false that was removed: for Kubernetes, absent may be true", "allowPrivilegeEscalation", ``, `false`, false},
		{"more fields than desired", "", `{a: 1, b: 2}`, `{a: 1}`, true},
		{"a field missing", "", `{b: 2}`, `{a: 1}`, false},
		{"nested", "", `{a: {b: {c: 1, d: 2}}}`, `{a: {b: {c: 1}}}`, true},
		{"nested, another value", "", `{a: {b: {c: 2}}}`, `{a: {b: {c: 1}}}`, false},
		{"not an object", "", `1`, `{a: 1}`, false},
		{"an empty object that is there", "emptyDir", `{}`, `{}`, true},
		{"an empty object that is not", "emptyDir", ``, `{}`, false},
		{"not a list", "args", `1`, `[1]`, false},
		{"a list in order", "args", `[1, 2]`, `[1, 2]`, true},
		{"a list out of order", "args", `[2, 1]`, `[1, 2]`, false},
		{"a list with more", "args", `[1, 2]`, `[1]`, false},
		{"a list with less", "args", `[1]`, `[1, 2]`, false},
		{"more fields inside a list in order", "sources", `[{a: 1, b: 2}]`, `[{a: 1}]`, true},
		{"keyed by name", "env", `[{name: b, value: 2}, {name: a, value: 1}]`, `[{name: a, value: 1}]`, true},
		{"keyed by name, another value", "env", `[{name: a, value: 2}]`, `[{name: a, value: 1}]`, false},
		{"keyed by name, missing", "env", `[{name: b}]`, `[{name: a}]`, false},
		{"keyed, and not a list", "env", ``, `[{name: a}]`, false},
		{"container ports keyed by number and protocol", "ports", `[{containerPort: 53, protocol: UDP, name: u}, {containerPort: 53, protocol: TCP, name: t}]`, `[{containerPort: 53, protocol: TCP, name: t}]`, true},
		{"Service ports keyed by number and protocol", "ports", `[{port: 53, protocol: UDP, name: u}, {port: 53, protocol: TCP, name: t}]`, `[{port: 53, protocol: TCP, name: u}]`, false},
		{"mounts keyed by path", "volumeMounts", `[{mountPath: /b, name: v}, {mountPath: /a, name: v}]`, `[{mountPath: /a, name: v}]`, true},
		{"constraints keyed by topology and action", "topologySpreadConstraints", `[{topologyKey: h, whenUnsatisfiable: S, maxSkew: 9}, {topologyKey: h, whenUnsatisfiable: D, maxSkew: 1}]`, `[{topologyKey: h, whenUnsatisfiable: D, maxSkew: 1}]`, true},
		{"aliases keyed by address", "hostAliases", `[{ip: "2"}, {ip: "1", hostnames: [a]}]`, `[{ip: "1", hostnames: [a]}]`, true},
		{"owners keyed by uid", "ownerReferences", `[{uid: other}, {uid: u, name: a}]`, `[{uid: u, name: a}]`, true},
		{"a selector is one value", "selector", `{a: 1, b: 2}`, `{a: 1}`, false},
		{"a node selector is one value", "nodeSelector", `{a: 1, b: 2}`, `{a: 1}`, false},
		{"a label selector is one value", "labelSelector", `{matchLabels: {a: 1}, matchExpressions: [{key: k}]}`, `{matchLabels: {a: 1}}`, false},
	} {
		t.Run(r.name, func(t *testing.T) {
			var c comparison
			c.value(fieldpath.MakePathOrDie("data", r.field), yamlValue(t, r.want), yamlValue(t, r.live))
			require.Equal(t, r.subset, len(c.found) == 0, "%v", c.found)
		})
	}
}

// yamlValue decodes YAML as the unstructured converter does: whole numbers are int64.
func yamlValue(t *testing.T, text string) any {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	require.NoError(t, err)
	var v any
	require.NoError(t, utiljson.Unmarshal(raw, &v))
	return v
}
