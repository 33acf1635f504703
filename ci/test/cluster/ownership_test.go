package cluster_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// recoveryTimeout is how soon an Agent must be well again once the object in its way is gone.
const recoveryTimeout = time.Minute

func TestDriftIsReverted(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.create("a", replicas(2))
	s.waitReady("a")
	deployment, service := read(s, "a", &appsv1.Deployment{}), read(s, "a", &corev1.Service{})
	for _, edit := range []struct{ resource, patch string }{
		{"deployment", `[{"op":"replace","path":"/spec/replicas","value":3}]`},
		{"deployment", `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"registry.example/other:v9"}]`},
		{"deployment", `[{"op":"replace","path":"/metadata/labels/app.kubernetes.io~1part-of","value":"else"}]`},
		{"deployment", `[{"op":"remove","path":"/metadata/labels/flokoa.ai~1agent"}]`},
		{"deployment", `[{"op":"replace","path":"/spec/template/spec/containers/0/env/3/value","value":"debug"}]`},
		{"deployment", `[{"op":"remove","path":"/spec/template/spec/containers/0/env/0"}]`},
		{"deployment", `[{"op":"replace","path":"/spec/strategy/rollingUpdate/maxUnavailable","value":1}]`},
		{"deployment", `[{"op":"remove","path":"/metadata/ownerReferences"},{"op":"add","path":"/metadata/annotations/flokoa.ai~1adopt","value":"a"}]`},
		{"service", `[{"op":"replace","path":"/spec/ports/0/targetPort","value":9090}]`},
		{"service", `[{"op":"replace","path":"/spec/selector/flokoa.ai~1agent","value":"else"}]`},
		{"service", `[{"op":"replace","path":"/spec/ports/0/port","value":9090}]`},
	} {
		s.kubectl("patch", edit.resource, "a", "--type=json", "-p", edit.patch)
		s.eventually(edit.resource+" is put back after "+edit.patch, waitTimeout, func() error {
			live, served := read(s, "a", &appsv1.Deployment{}), &corev1.Service{}
			return firstError(
				api.Get(t.Context(), client.ObjectKeyFromObject(service), served),
				checkEqual("Service's UID", service.UID, served.UID),
				checkEqual("labels", deployment.Labels, live.Labels),
				checkEqual("owners", deployment.OwnerReferences, live.OwnerReferences),
				checkEqual("Deployment", deployment.Spec, live.Spec),
				checkEqual("Service's ports", service.Spec.Ports, served.Spec.Ports),
				checkEqual("Service's selector", service.Spec.Selector, served.Spec.Selector),
			)
		})
	}
	require.Equal(t, "registry.example/agent:v1", s.waitReady("a").Status.Image)
	require.Equal(t, deployment.UID, read(s, "a", &appsv1.Deployment{}).UID)
}

// kubectl rollout undo writes the whole template of an earlier revision; an apply alone would leave a mixture of both.
func TestKubectlChangesOfThePodTemplateAreReverted(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.create("a", replicas(2), func(a *v1alpha1.Agent) { a.Spec.Runtime.Spec.Container.Name = "old" })
	s.waitReady("a")
	s.patch("a", `[{"op":"replace","path":"/spec/runtime/spec/container","value":
		{"name":"new","image":"registry.example/agent:v2","ports":[{"name":"http","containerPort":9090}]}}]`)
	s.waitReady("a")
	want := read(s, "a", &appsv1.Deployment{}).Spec.Template.Spec
	for _, r := range []struct {
		manager string
		args    []string
	}{
		{"kubectl", []string{"rollout", "undo", "deployment/a"}},
		{"kubectl-set", []string{"set", "env", "deployment/a", "--from=secret/other"}},
		{"kubectl-set", []string{"set", "image", "deployment/a", "new=registry.example/other:v1"}},
		{"kubectl-patch", []string{"patch", "deployment/a", "--type=json", "-p",
			`[{"op":"replace","path":"/spec/template/spec/containers/0/ports/0/containerPort","value":7070}]`}},
	} {
		if r.args[1] == "env" {
			s.kubectl("create", "secret", "generic", "other", "--from-literal=token=t")
		}
		before := read(s, "a", &appsv1.Deployment{}).Generation
		s.kubectl(r.args...)
		s.eventually("the template is restored after "+strings.Join(r.args, " "), waitTimeout, func() error {
			live := read(s, "a", &appsv1.Deployment{})
			if live.Generation < before+2 {
				return fmt.Errorf("generation %d", live.Generation)
			}
			return checkEqual("pod", want, live.Spec.Template.Spec)
		})
		s.eventually("an Event names "+r.manager, waitTimeout, func() error {
			events := s.kubectl("events", "--for", "agent/a")
			if !strings.Contains(events, " "+r.manager+" changed the pod template") {
				return errors.New(events)
			}
			return nil
		})
		s.waitReady("a")
	}
	pods := s.list(&corev1.PodList{}, client.MatchingLabels{v1alpha1.LabelAgent: "a"})
	require.NotEmpty(t, pods)
	for _, pod := range pods {
		require.Len(t, pod.(*corev1.Pod).Spec.Containers, 1)
	}
}

// checkEqual reports how two values differ, nil when they do not.
func checkEqual(what string, want, have any) error {
	w, err := json.Marshal(want)
	if err != nil {
		return err
	}
	h, err := json.Marshal(have)
	if err == nil && string(w) != string(h) {
		err = fmt.Errorf("%s: want %s, have %s", what, w, h)
	}
	return err
}

func firstError(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestFieldsOfOtherManagersSurviveARollout(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.create("a")
	s.waitReady("a")
	s.kubectl("annotate", "deployment/a", "service/a", "example.com/note=mine")
	s.kubectl("label", "deployment/a", "service/a", "example.com/team=search")
	injected := appsv1ac.Deployment("a", s.namespace).WithSpec(appsv1ac.DeploymentSpec().WithTemplate(corev1ac.PodTemplateSpec().
		WithAnnotations(map[string]string{"example.com/inject": "yes"})))
	require.NoError(t, api.Apply(t.Context(), injected, client.FieldOwner("injector")))

	left := func() error {
		deployment, service := read(s, "a", &appsv1.Deployment{}), read(s, "a", &corev1.Service{})
		for _, object := range []client.Object{deployment, service} {
			if object.GetAnnotations()["example.com/note"] != "mine" || object.GetLabels()["example.com/team"] != "search" {
				return fmt.Errorf("%T: %v %v", object, object.GetAnnotations(), object.GetLabels())
			}
		}
		if deployment.Spec.Template.Annotations["example.com/inject"] != "yes" {
			return fmt.Errorf("%v", deployment.Spec.Template.Annotations)
		}
		return nil
	}
	s.waitReady("a")
	s.consistently("they are left", left)
	s.patch("a", `[{"op":"replace","path":"/spec/runtime/spec/container/image","value":"registry.example/agent:v2"},
		{"op":"remove","path":"/spec/runtime/spec/container/env"}]`)
	s.waitReady("a")
	s.consistently("they are left by a roll", left)
	container := read(s, "a", &appsv1.Deployment{}).Spec.Template.Spec.Containers[0]
	require.Equal(t, "registry.example/agent:v2", container.Image)
	require.NotContains(t, envOf(container), "LEVEL", "a field that the user removes is removed")
}

func envOf(container corev1.Container) map[string]string {
	env := map[string]string{}
	for _, entry := range container.Env {
		env[entry.Name] = entry.Value
	}
	return env
}

// foreignObjects are objects that another user made under the name that an Agent will have.
func foreignObjects() map[string]client.Object {
	return map[string]client.Object{
		"Deployment": &appsv1.Deployment{Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](0),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "theirs"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "theirs"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example/theirs:v1"}}},
			},
		}},
		"Service": &corev1.Service{Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "theirs"},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(80)}},
		}},
	}
}

func TestAForeignObjectIsLeftAloneUntilItIsDeleted(t *testing.T) {
	t.Parallel()
	for kind, foreign := range foreignObjects() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newFixture(t)
			foreign.SetNamespace(s.namespace)
			foreign.SetName("a")
			require.NoError(t, api.Create(t.Context(), foreign))
			s.eventually("Kubernetes controllers have observed the foreign object", waitTimeout, func() error { return observed(s, foreign) })
			s.create("a")
			conflicted := s.waitForAgent("a", "the conflict is reported", waitTimeout, func(a *v1alpha1.Agent) bool {
				return condition(a, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonNameConflict
			})
			require.Contains(t, condition(conflicted, v1alpha1.ConditionReady).Message, fmt.Sprintf("a %s named %q exists", kind, "a"))
			require.Equal(t, metav1.ConditionFalse, condition(conflicted, v1alpha1.ConditionReady).Status)
			require.Equal(t, metav1.ConditionTrue, condition(conflicted, v1alpha1.ConditionStalled).Status)
			require.Empty(t, condition(conflicted, v1alpha1.ConditionReconciling))
			s.eventually("the rest of the Agent is made", waitTimeout, func() error { return checkOtherChild(s, kind) })
			s.eventually("it is warned of", waitTimeout, func() error { return checkWarning(s, "a", v1alpha1.ReasonNameConflict) })
			s.consistently("the foreign object is not changed", func() error {
				return checkEqual("resourceVersion", foreign.GetResourceVersion(), read(s, "a", foreign.DeepCopyObject().(client.Object)).GetResourceVersion())
			})

			began := time.Now()
			require.NoError(t, api.Delete(t.Context(), foreign))
			healed := s.waitForAgent("a", "the Agent heals", recoveryTimeout, isReady)
			s.note("healed in %.1fs", time.Since(began).Seconds())
			require.Empty(t, condition(healed, v1alpha1.ConditionStalled))
		})
	}
}

// observed reports that controllers of Kubernetes have still to write to an object; afterwards, a new resourceVersion is the
// operator's doing.
func observed(s *fixture, object client.Object) error {
	read(s, object.GetName(), object)
	if deployment, ok := object.(*appsv1.Deployment); ok && (deployment.Status.ObservedGeneration != deployment.Generation || len(deployment.Status.Conditions) < 2) {
		return fmt.Errorf("%+v", deployment.Status)
	}
	return nil
}

// checkOtherChild reports whether the child without a name conflict is missing.
func checkOtherChild(s *fixture, kind string) error {
	var child client.Object = &corev1.Service{}
	if kind == "Service" {
		child = &appsv1.Deployment{}
	}
	if err := api.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: "a"}, child); err != nil {
		return err
	}
	if !metav1.IsControlledBy(child, read(s, "a", &v1alpha1.Agent{})) {
		return fmt.Errorf("%T is not the Agent's", child)
	}
	return nil
}

// checkWarning reports that a Warning with a reason is missing about an Agent.
func checkWarning(s *fixture, name, reason string) error {
	for _, object := range s.list(&eventsv1.EventList{}) {
		event := object.(*eventsv1.Event)
		if event.Regarding.Name == name && event.Type == corev1.EventTypeWarning && event.Reason == reason {
			return nil
		}
	}
	return fmt.Errorf("no Warning %s", reason)
}

func TestOrphansAreAdoptedByAnnotationWithoutPodRestarts(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.create("a", replicas(2))
	s.waitReady("a")
	pods := uids(s, &corev1.PodList{})
	s.kubectl("delete", "agent", "a", "--cascade=orphan")
	s.eventually("the children are orphans", waitTimeout, func() error {
		for _, child := range []client.Object{&appsv1.Deployment{}, &corev1.Service{}, &policyv1.PodDisruptionBudget{}} {
			if owners := read(s, "a", child).GetOwnerReferences(); len(owners) > 0 {
				return fmt.Errorf("%T: %v", child, owners)
			}
		}
		return nil
	})
	service := read(s, "a", &corev1.Service{}).UID
	agent := s.create("a", replicas(2))
	s.waitForAgent("a", "the conflict is reported", waitTimeout, func(a *v1alpha1.Agent) bool {
		return condition(a, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonNameConflict
	})
	for _, kind := range []string{"Deployment", "Service", "PodDisruptionBudget"} {
		require.Contains(t, condition(read(s, "a", &v1alpha1.Agent{}), v1alpha1.ConditionReady).Message, "a "+kind+` named "a" exists`, "all conflicts are reported together")
	}
	s.kubectl("annotate", "deployment/a", "service/a", "pdb/a", v1alpha1.AnnotationAdopt+"=a")
	s.waitForAgent("a", "it takes them over", recoveryTimeout, isReady)
	require.True(t, metav1.IsControlledBy(read(s, "a", &appsv1.Deployment{}), agent))
	require.True(t, metav1.IsControlledBy(read(s, "a", &corev1.Service{}), agent))
	require.Equal(t, service, read(s, "a", &corev1.Service{}).UID)
	require.Equal(t, pods, uids(s, &corev1.PodList{}))
}
