package apitest_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

// update sends a changed Deployment as a field manager, as kubectl set, edit, replace, and rollout undo do.
func update(t *testing.T, of *v1alpha1.Agent, manager client.FieldOwner, change func(*appsv1.Deployment)) {
	t.Helper()
	deployment := child(t, of, &appsv1.Deployment{})
	change(deployment)
	require.NoError(t, api.Update(t.Context(), deployment, manager))
}

// templateOf returns the pod template without annotations, as YAML.
func templateOf(t *testing.T, of *v1alpha1.Agent) string {
	t.Helper()
	template := child(t, of, &appsv1.Deployment{}).Spec.Template
	template.Annotations = nil
	return asYAML(t, template)
}

// change sends a changed Agent.
func (b bench) change(t *testing.T, of *v1alpha1.Agent, change func(*v1alpha1.Agent)) {
	t.Helper()
	live := &v1alpha1.Agent{}
	require.NoError(t, api.Get(t.Context(), client.ObjectKeyFromObject(of), live))
	change(live)
	require.NoError(t, api.Update(t.Context(), live))
	b.place(t, live)
}

func TestForeignChangesOfThePodTemplateAreReverted(t *testing.T) {
	secret := corev1.EnvVar{Name: "TOKEN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: "other"}, Key: "token"}}}
	for name, edit := range map[string]func(d *appsv1.Deployment, pod *corev1.PodSpec){
		"kubectl set env": func(_ *appsv1.Deployment, pod *corev1.PodSpec) {
			pod.Containers[0].Env = append(pod.Containers[0].Env, secret)
		},
		"environment in another order": func(_ *appsv1.Deployment, pod *corev1.PodSpec) {
			env := pod.Containers[0].Env
			env[0], env[len(env)-1] = env[len(env)-1], env[0]
		},
		"init containers in another order": func(_ *appsv1.Deployment, pod *corev1.PodSpec) {
			pod.InitContainers[0], pod.InitContainers[1] = pod.InitContainers[1], pod.InitContainers[0]
		},
		"volumes in another order": func(_ *appsv1.Deployment, pod *corev1.PodSpec) {
			pod.Volumes[0], pod.Volumes[1] = pod.Volumes[1], pod.Volumes[0]
		},
		"a sidecar": func(_ *appsv1.Deployment, pod *corev1.PodSpec) {
			pod.Containers = append(pod.Containers, corev1.Container{Name: "old", Image: "old", Env: []corev1.EnvVar{secret}})
		},
		"another container name and image": func(_ *appsv1.Deployment, pod *corev1.PodSpec) {
			pod.Containers[0].Name, pod.Containers[0].Image = "old", "old"
		},
		"another port of the same name": func(_ *appsv1.Deployment, pod *corev1.PodSpec) { pod.Containers[0].Ports[0].ContainerPort = 9999 },
		"a volume with a Secret": func(_ *appsv1.Deployment, pod *corev1.PodSpec) {
			pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "more", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "other"}}})
			pod.Containers[0].VolumeMounts = append(pod.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "more", MountPath: "/more"})
		},
		"pull secrets and host network": func(_ *appsv1.Deployment, pod *corev1.PodSpec) {
			pod.ImagePullSecrets = append(pod.ImagePullSecrets, corev1.LocalObjectReference{Name: "other"})
			pod.HostNetwork = true
		},
		"environment from a Secret": func(_ *appsv1.Deployment, pod *corev1.PodSpec) {
			pod.Containers[0].EnvFrom = append(pod.Containers[0].EnvFrom, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "other"}}})
		},
		"an init container that never has to finish": func(_ *appsv1.Deployment, pod *corev1.PodSpec) {
			last := &pod.InitContainers[len(pod.InitContainers)-1]
			always := corev1.ContainerRestartPolicyAlways
			last.RestartPolicy = &always
		},
		"another pull policy": func(_ *appsv1.Deployment, pod *corev1.PodSpec) { pod.Containers[0].ImagePullPolicy = corev1.PullAlways },
		"an empty struct that overrides the pod's": func(_ *appsv1.Deployment, pod *corev1.PodSpec) {
			pod.Containers[0].SecurityContext.SELinuxOptions = &corev1.SELinuxOptions{}
		},
		"a label of the pods":      func(d *appsv1.Deployment, _ *corev1.PodSpec) { d.Spec.Template.Labels["track"] = "canary" },
		"a field that was removed": func(_ *appsv1.Deployment, pod *corev1.PodSpec) { pod.AutomountServiceAccountToken = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			stored := agenttest.Read(t, "../../internal/render/testdata/full/agent.yaml")
			stored.UID, stored.Generation, stored.Namespace = "", 0, b.namespace
			stored.Spec.Runtime.Spec.InitContainers = append(stored.Spec.Runtime.Spec.InitContainers, corev1.Container{Name: "second", Image: "i:v1"})
			require.NoError(t, api.Create(t.Context(), stored))
			b.makeModel(t, stored)
			b.place(t, stored)
			want := templateOf(t, stored)
			update(t, stored, "kubectl-set", func(d *appsv1.Deployment) {
				d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] = "now"
				edit(d, &d.Spec.Template.Spec)
			})
			require.NotEqual(t, want, templateOf(t, stored))
			b.settle(t, stored, func(*v1alpha1.Agent) bool { return templateOf(t, stored) == want })
			require.Equal(t, "now", child(t, stored, &appsv1.Deployment{}).Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"], "annotations are anybody's")
			b.requireAtRest(t, stored)
		})
	}
}

// requireAtRest requires that further passes write nothing.
func (b bench) requireAtRest(t *testing.T, of *v1alpha1.Agent) {
	t.Helper()
	b.place(t, of) // its status may tell of the pass before
	b.writes.Store(0)
	before := versions(t.Context(), t, b.namespace)
	for range 3 {
		b.place(t, of)
	}
	require.Zero(t, b.writes.Load(), "a settled Agent costs no request that writes")
	require.Equal(t, before, versions(t.Context(), t, b.namespace))
}

func TestARolledBackPodTemplateIsRestored(t *testing.T) {
	b := newBench(t)
	stored := b.create(t, agenttest.Container(func(c *corev1.Container) {
		c.Name, c.Env = "old", []corev1.EnvVar{{Name: "ONLY_V1", Value: "x"}}
	}), agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) {
		s.Sidecars = []corev1.Container{{Name: "sidecar-v1", Image: "s:v1"}}
		s.PodMetadata = &v1alpha1.PodMetadata{Labels: map[string]string{"v": "1"}}
	}))
	b.place(t, stored)
	first := child(t, stored, &appsv1.Deployment{})
	b.change(t, stored, func(a *v1alpha1.Agent) {
		s := &a.Spec.Runtime.Spec
		s.Container.Name, s.Container.Image, s.Container.Env = "new", "x:v2", nil
		s.Container.Ports[0].ContainerPort = 9090
		s.Sidecars, s.PodMetadata = nil, nil
	})
	want := templateOf(t, stored)

	// What kubectl rollout undo sends: the whole template, and the annotations, of the earlier revision.
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/spec/template", "value": first.Spec.Template},
		{"op": "replace", "path": "/metadata/annotations", "value": first.Annotations},
	})
	require.NoError(t, err)
	require.NoError(t, api.Patch(t.Context(), child(t, stored, &appsv1.Deployment{}), client.RawPatch(types.JSONPatchType, patch), client.FieldOwner("kubectl-rollout")))
	require.NotEqual(t, want, templateOf(t, stored))
	for range len(b.events.Events) {
		<-b.events.Events
	}
	b.settle(t, stored, func(*v1alpha1.Agent) bool { return templateOf(t, stored) == want })
	require.Contains(t, <-b.events.Events, `Warning PodTemplateChanged kubectl-rollout changed the pod template of Deployment "a"`)
	b.requireAtRest(t, stored)

	b.change(t, stored, func(a *v1alpha1.Agent) { a.Spec.Runtime.Spec.Container.Image = "x:v3" })
	pod := child(t, stored, &appsv1.Deployment{}).Spec.Template.Spec
	require.Len(t, pod.Containers, 1)
	require.Equal(t, "x:v3", pod.Containers[0].Image)
	require.Empty(t, pod.InitContainers)
}

// Whoever writes managed fields can hide a change: no manager owns it, or the operator seems to.
func TestAHiddenChangeOfThePodTemplateIsReverted(t *testing.T) {
	for name, hide := range map[string]func(t *testing.T, d *appsv1.Deployment){
		"all managed fields removed": func(t *testing.T, d *appsv1.Deployment) {
			t.Helper()
			require.NoError(t, api.Patch(t.Context(), d, client.RawPatch(types.JSONPatchType, []byte(`[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]`))))
		},
		"only one's own removed": func(t *testing.T, d *appsv1.Deployment) {
			t.Helper()
			var kept []metav1.ManagedFieldsEntry
			for _, entry := range d.ManagedFields {
				if entry.Manager == "flokoa-operator" {
					kept = append(kept, entry)
				}
			}
			raw, err := json.Marshal([]map[string]any{{"op": "replace", "path": "/metadata/managedFields", "value": kept}})
			require.NoError(t, err)
			require.NoError(t, api.Patch(t.Context(), d, client.RawPatch(types.JSONPatchType, raw)))
		},
		"in the name of a subresource": func(t *testing.T, d *appsv1.Deployment) {
			t.Helper()
			entries := d.ManagedFields
			for i := range entries {
				if entries[i].Manager != "flokoa-operator" {
					entries[i].Subresource = "scale"
				}
			}
			raw, err := json.Marshal([]map[string]any{{"op": "replace", "path": "/metadata/managedFields", "value": entries}})
			require.NoError(t, err)
			require.NoError(t, api.Patch(t.Context(), d, client.RawPatch(types.JSONPatchType, raw)))
		},
		"in the operator's name": func(t *testing.T, d *appsv1.Deployment) {
			t.Helper()
			entries := d.ManagedFields
			require.NotEmpty(t, entries)
			own, all := -1, fieldpath.NewSet()
			for i, entry := range entries {
				set := &fieldpath.Set{}
				require.NoError(t, set.FromJSON(entry.FieldsV1.GetRawReader()))
				all = all.Union(set)
				if entry.Manager == "flokoa-operator" {
					own = i
				}
			}
			raw, err := all.ToJSON()
			require.NoError(t, err)
			entries[own].FieldsV1 = metav1.NewFieldsV1(string(raw))
			patch, err := json.Marshal([]map[string]any{{"op": "replace", "path": "/metadata/managedFields", "value": []metav1.ManagedFieldsEntry{entries[own]}}})
			require.NoError(t, err)
			require.NoError(t, api.Patch(t.Context(), d, client.RawPatch(types.JSONPatchType, patch)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			stored := b.create(t)
			b.place(t, stored)
			want := templateOf(t, stored)
			update(t, stored, "kubectl-set", func(d *appsv1.Deployment) {
				d.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "other"}}}}
				d.Spec.Template.Spec.Containers[0].Env = append(d.Spec.Template.Spec.Containers[0].Env, corev1.EnvVar{Name: "MORE", Value: "x"})
				d.Spec.Template.Spec.HostNetwork = true
			})
			hide(t, child(t, stored, &appsv1.Deployment{}))
			require.NotEqual(t, want, templateOf(t, stored))
			b.settle(t, stored, func(*v1alpha1.Agent) bool { return templateOf(t, stored) == want })
			b.requireAtRest(t, stored)
		})
	}
}

func TestAnAdoptedDeploymentHasOnlyTheAgentsSpec(t *testing.T) {
	b := newBench(t)
	fresh := b.create(t)
	b.place(t, fresh)
	want := templateOf(t, fresh)
	backup := child(t, fresh, &appsv1.Deployment{})
	require.NoError(t, api.Delete(t.Context(), fresh))
	require.NoError(t, api.Delete(t.Context(), child(t, fresh, &corev1.Service{})))
	require.NoError(t, api.Delete(t.Context(), backup.DeepCopy()))

	restored := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{
		Name: "a", Namespace: b.namespace, Labels: backup.Labels,
		Annotations: map[string]string{v1alpha1.AnnotationAdopt: "a", v1alpha1.AnnotationDigest: backup.Annotations[v1alpha1.AnnotationDigest], "mine": "kept"},
	}, Spec: backup.Spec}
	restored.Spec.Template.Spec.Containers = append(restored.Spec.Template.Spec.Containers, corev1.Container{Name: "old", Image: "old"})
	restored.Spec.Template.Spec.Containers[0].Env = append(restored.Spec.Template.Spec.Containers[0].Env, corev1.EnvVar{Name: "MORE", Value: "x"})
	restored.Spec.Paused = true
	require.NoError(t, api.Create(t.Context(), restored, client.FieldOwner("velero-server")))
	stored := b.create(t)
	b.settle(t, stored, func(*v1alpha1.Agent) bool { return templateOf(t, stored) == want })
	adopted := child(t, stored, &appsv1.Deployment{})
	require.Equal(t, restored.UID, adopted.UID)
	require.True(t, metav1.IsControlledBy(adopted, stored))
	require.NotContains(t, adopted.Annotations, v1alpha1.AnnotationAdopt)
	require.Equal(t, "kept", adopted.Annotations["mine"])
	require.False(t, adopted.Spec.Paused, "what the object was before is gone")
	b.requireAtRest(t, stored)
}

func TestADeploymentWithAnotherSelectorIsNotAdopted(t *testing.T) {
	b := newBench(t)
	theirs := b.probeDeployment()
	theirs.Name, theirs.Annotations = "a", map[string]string{v1alpha1.AnnotationAdopt: "a"}
	require.NoError(t, api.Create(t.Context(), theirs))
	stored := b.create(t)
	live, _, err := b.pass(t, stored)
	require.Error(t, err)
	require.Equal(t, v1alpha1.ReasonNameConflict, ready(live).Reason)
	require.Contains(t, ready(live).Message, `Deployment "a" cannot be adopted: spec.selector is immutable and must be matchLabels flokoa.ai/agent=a`)
	left := child(t, stored, &appsv1.Deployment{})
	require.Equal(t, theirs.ResourceVersion, left.ResourceVersion, "it is not touched, so it survives the Agent")
}

func TestWhatCannotBeAdoptedIsNotTouched(t *testing.T) {
	for name, object := range map[string]client.Object{
		"a headless Service": &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Port: 80}}}},
		"a budget that the Agent does not want": &policyv1.PodDisruptionBudget{Spec: policyv1.PodDisruptionBudgetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}}},
	} {
		for _, labeled := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, labeled %t", name, labeled), func(t *testing.T) {
				b := newBench(t)
				theirs := object.DeepCopyObject().(client.Object)
				theirs.SetNamespace(b.namespace)
				theirs.SetName("a")
				theirs.SetAnnotations(map[string]string{v1alpha1.AnnotationAdopt: "a"})
				if labeled {
					theirs.SetLabels(map[string]string{v1alpha1.LabelAgent: "a"})
				}
				require.NoError(t, api.Create(t.Context(), theirs))
				stored := b.create(t)
				for range 3 {
					_, _, _ = b.pass(t, stored)
				}
				version := theirs.GetResourceVersion()
				require.NoError(t, api.Get(t.Context(), client.ObjectKeyFromObject(theirs), theirs))
				require.Equal(t, version, theirs.GetResourceVersion())
			})
		}
	}
}
