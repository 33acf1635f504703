package ecosystem_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reloader cannot be had as a Go module, so these tests write what it writes: it changes the pod template of a Deployment whose
// annotations, or those of its pod template, name a ConfigMap that changed.

// deployReloaded runs the Agent of examples/reloader, and returns the names of its pods.
func deployReloaded(s *fixture) map[string]bool {
	s.Helper()
	s.apply("examples/reloader/configmap.yaml")
	s.apply("examples/reloader/agent.yaml")
	s.Cleanup(func() { s.cleanUp("delete", "agent/order-agent", "configmap/order-agent") })
	s.waitForReplicas("order-agent", 3, metav1.ConditionTrue, "RolloutComplete")
	require.Equal(s, "order-agent", s.deployment("order-agent").Spec.Template.Annotations["configmap.reloader.stakater.com/reload"],
		"Reloader finds the annotation")
	names := map[string]bool{}
	for _, pod := range s.pods("order-agent") {
		names[pod.Name] = true
	}
	return names
}

// reload changes the pod template as Reloader does.
func (s *fixture) reload(template string) {
	s.Helper()
	s.kubectl("", "patch", "deployment/order-agent", "--field-manager=Reloader", "--patch", `{"spec":{"template":`+template+`}}`)
}

func TestReloaderByAnnotationRestartsTheAgent(t *testing.T) {
	s := &fixture{t, "flokoa-dev"}
	before := deployReloaded(s)
	s.reload(`{"metadata":{"annotations":{"reloader.stakater.com/last-reloaded-from":"{\"name\":\"order-agent\"}"}}}`)
	s.eventually("all pods are new", func() error {
		if status := s.deployment("order-agent").Status; status.UpdatedReplicas != 3 || status.AvailableReplicas != 3 || status.Replicas != 3 {
			return fmt.Errorf("%d updated, %d available", status.UpdatedReplicas, status.AvailableReplicas)
		}
		for _, pod := range s.pods("order-agent") {
			if before[pod.Name] {
				return fmt.Errorf("%s is of before", pod.Name)
			}
		}
		return nil
	})
	s.waitForReplicas("order-agent", 3, metav1.ConditionTrue, "RolloutComplete")
	require.Contains(t, s.deployment("order-agent").Spec.Template.Annotations, "reloader.stakater.com/last-reloaded-from")
	s.requireNoFight("order-agent")
}

func TestReloaderByVariableIsReverted(t *testing.T) {
	s := &fixture{t, "flokoa-dev"}
	before := deployReloaded(s)
	s.reload(`{"spec":{"containers":[{"name":"agent","env":[{"name":"STAKATER_ORDER_AGENT_CONFIGMAP","value":"4bf9d0a1"}]}]}}`)
	s.eventually("the operator removes the variable", func() error {
		for _, variable := range s.deployment("order-agent").Spec.Template.Spec.Containers[0].Env {
			if variable.Name == "STAKATER_ORDER_AGENT_CONFIGMAP" {
				return fmt.Errorf("it is there")
			}
		}
		return nil
	})
	s.waitForReplicas("order-agent", 3, metav1.ConditionTrue, "RolloutComplete")
	s.eventually("an event names Reloader", func() error {
		if notes := s.events("order-agent", "PodTemplateChanged"); len(notes) != 1 {
			return fmt.Errorf("%q", notes)
		}
		return nil
	})
	require.Contains(t, s.events("order-agent", "PodTemplateChanged")[0], `Reloader changed the pod template of Deployment "order-agent"`)
	for _, pod := range s.pods("order-agent") {
		require.True(t, before[pod.Name], "%s: no pod was replaced for good", pod.Name)
	}
}
