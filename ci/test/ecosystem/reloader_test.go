package ecosystem_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/flokoa/flokoa/ci/testkit/harness"
)

// Reloader cannot be had as a Go module, so these tests write what it writes: it changes the pod template of a Deployment whose
// annotations, or those of its pod template, name a ConfigMap that changed.

const (
	reloadedFrom   = "reloader.stakater.com/last-reloaded-from"
	reloadVariable = "STAKATER_ORDER_AGENT_CONFIGMAP"
	// settled is longer than a changed ConfigMap waits for further changes before the operator rolls the pods.
	settled = 15 * time.Second
)

// whoRolls are the ways to have one of the two roll the Agent, or both.
var whoRolls = map[string]struct {
	flags         []string
	configRollout string
}{
	"the Agent opts out":         {nil, "OnNextRollout"},
	"config rollouts are off":    {[]string{"--config-rollouts=0"}, "Automatic"},
	"the operator rolls it, too": {nil, "Automatic"},
}

// forEachWay runs the Agent of examples/reloader in each way. before has the names of its pods.
func forEachWay(t *testing.T, test func(s *fixture, automatic bool, before map[string]bool)) {
	t.Helper()
	for name, way := range whoRolls {
		t.Run(name, func(t *testing.T) {
			s := &fixture{t, "flokoa-dev"}
			s.runOperator(way.flags...)
			test(s, way.flags == nil && way.configRollout == "Automatic", deployReloaded(s, way.configRollout))
		})
	}
}

// runOperator replaces the operator by one with other flags, until the test ends.
func (s *fixture) runOperator(flags ...string) {
	s.Helper()
	if len(flags) == 0 {
		return
	}
	require.NoError(s, restartOperator(s.Context(), flags))
	s.Cleanup(func() { require.NoError(s, restartOperator(context.Background(), nil)) })
}

func restartOperator(ctx context.Context, flags []string) error {
	if err := operator.Stop(); err != nil {
		return err
	}
	operator.Flags = flags
	next, err := operator.Restart()
	if err != nil {
		return err
	}
	operator = next
	return operator.WaitFor(ctx, "it leads", harness.StartTimeout, operator.IsLeader)
}

// deployReloaded runs the Agent of examples/reloader, and returns the names of its pods.
func deployReloaded(s *fixture, configRollout string) map[string]bool {
	s.Helper()
	s.apply("examples/reloader/configmap.yaml")
	s.apply("examples/reloader/agent.yaml", "configRollout: OnNextRollout", "configRollout: "+configRollout)
	s.Cleanup(func() {
		s.cleanUp("delete", "agent/order-agent", "configmap/order-agent", "--cascade=foreground", "--wait")
		s.cleanUp("delete", "events", "--all") // the next test has an Agent of the same name
	})
	s.waitForReplicas("order-agent", 3, metav1.ConditionTrue, "RolloutComplete")
	require.Equal(s, "order-agent", s.deployment("order-agent").Spec.Template.Annotations["configmap.reloader.stakater.com/reload"],
		"Reloader finds the annotation")
	return s.podNames()
}

func (s *fixture) podNames() map[string]bool {
	s.Helper()
	names := map[string]bool{}
	for _, pod := range s.pods("order-agent") {
		names[pod.Name] = true
	}
	return names
}

// requirePodsStay requires that exactly these pods run until a change has settled.
func (s *fixture) requirePodsStay(names map[string]bool, why string) {
	s.Helper()
	err := wait.PollUntilContextTimeout(s.Context(), time.Second, settled, true, func(context.Context) (bool, error) {
		require.Equal(s, names, s.podNames(), why)
		return false, nil
	})
	require.True(s, wait.Interrupted(err), "%v", err)
}

// changeConfig changes the ConfigMap, and then the pod template, as Reloader does when it sees the change.
func (s *fixture) changeConfig(template string) {
	s.Helper()
	s.kubectl("", "patch", "configmap/order-agent", "--patch", `{"data":{"LOG_LEVEL":"debug"}}`)
	s.kubectl("", "patch", "deployment/order-agent", "--field-manager=Reloader", "--patch", `{"spec":{"template":`+template+`}}`)
}

// waitForNewPods waits until only pods of the current template run.
func (s *fixture) waitForNewPods(before map[string]bool) {
	s.Helper()
	s.eventually("all pods are new", func() error {
		if status := s.deployment("order-agent").Status; status.UpdatedReplicas != 3 || status.AvailableReplicas != 3 || status.Replicas != 3 {
			return fmt.Errorf("%d updated, %d available", status.UpdatedReplicas, status.AvailableReplicas)
		}
		for name := range s.podNames() {
			if before[name] {
				return fmt.Errorf("%s is of before", name)
			}
		}
		return nil
	})
	s.waitForReplicas("order-agent", 3, metav1.ConditionTrue, "RolloutComplete")
}

func TestReloaderByAnnotationRestartsTheAgentOnce(t *testing.T) {
	forEachWay(t, func(s *fixture, _ bool, before map[string]bool) {
		s.changeConfig(`{"metadata":{"annotations":{"` + reloadedFrom + `":"{\"name\":\"order-agent\"}"}}}`)
		s.waitForNewPods(before)
		s.requirePodsStay(s.podNames(), "the operator takes the change as done")
		require.Contains(s, s.deployment("order-agent").Spec.Template.Annotations, reloadedFrom)
		require.Empty(s, s.events("order-agent", "ConfigChanged"))
		for _, condition := range s.agent("order-agent").Status.Conditions {
			require.NotEqual(s, "ConfigOutdated", condition.Type, condition.Message)
		}
		s.requireNoFight("order-agent")
	})
}

func TestReloaderByVariableIsReverted(t *testing.T) {
	forEachWay(t, func(s *fixture, automatic bool, before map[string]bool) {
		s.changeConfig(`{"spec":{"containers":[{"name":"agent","env":[{"name":"` + reloadVariable + `","value":"4bf9d0a1"}]}]}}`)
		s.eventually("the operator removes the variable", func() error { return checkReverted(s.deployment("order-agent")) })
		s.eventually("an event names Reloader", func() error {
			if notes := s.events("order-agent", "PodTemplateChanged"); len(notes) != 1 {
				return fmt.Errorf("%q", notes)
			}
			return nil
		})
		require.Contains(s, s.events("order-agent", "PodTemplateChanged")[0], `Reloader changed the pod template of Deployment "order-agent"`)
		if automatic {
			s.waitForNewPods(before) // the operator rolls them itself
			require.Len(s, s.events("order-agent", "ConfigChanged"), 1)
			return
		}
		s.waitForReplicas("order-agent", 3, metav1.ConditionTrue, "RolloutComplete")
		s.requirePodsStay(before, "no pod was replaced for good")
	})
}

func checkReverted(deployment *appsv1.Deployment) error {
	for _, variable := range deployment.Spec.Template.Spec.Containers[0].Env {
		if variable.Name == reloadVariable {
			return errors.New("it is there")
		}
	}
	return nil
}
