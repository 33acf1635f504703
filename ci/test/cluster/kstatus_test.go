package cluster_test

import (
	"fmt"
	"testing"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// kstatusOf is what tools that wait for an object, such as Flux, make of an Agent as the API server returned it.
func kstatusOf(s *fixture, agent *v1alpha1.Agent) kstatus.Status {
	s.Helper()
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(agent)
	require.NoError(s, err)
	result, err := kstatus.Compute(&unstructured.Unstructured{Object: object})
	require.NoError(s, err)
	return result.Status
}

// waitKstatus waits until kstatus computes something, which it then goes on to do. Nothing else may be computed on the way but that
// the Agent is in progress.
func (s *fixture) waitKstatus(want kstatus.Status) {
	s.Helper()
	s.eventually(fmt.Sprintf("kstatus computes %s", want), waitTimeout, func() error {
		have := kstatusOf(s, read(s, "a", &v1alpha1.Agent{}))
		require.Contains(s, []kstatus.Status{kstatus.InProgressStatus, want}, have)
		return checkEqual("kstatus", want, have)
	})
	s.consistently(fmt.Sprintf("it stays %s", want), func() error { return checkEqual("kstatus", want, kstatusOf(s, read(s, "a", &v1alpha1.Agent{}))) })
}

func TestKstatusFollowsAnAgentThroughItsLife(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	// changed is an Agent as the API server stored it: whatever it was before, there is something to wait for.
	changed := func(agent *v1alpha1.Agent) { require.Equal(t, kstatus.InProgressStatus, kstatusOf(s, agent)) }
	const unready = "/spec/runtime/spec/podMetadata/annotations/simulation~1never-ready"

	// A busy machine takes a few seconds for a pod, so the deadline is longer than shortDeadline.
	deadline := func(a *v1alpha1.Agent) { a.Spec.Runtime.Spec.ProgressDeadlineSeconds = ptr.To[int32](12) }
	changed(s.create("a", replicas(2), deadline, simulate("ready-after", "1s")))
	s.waitKstatus(kstatus.CurrentStatus)
	changed(s.patch("a", `[{"op":"replace","path":"/spec/runtime/spec/replicas","value":3}]`))
	s.waitKstatus(kstatus.CurrentStatus)
	changed(s.patch("a", `[{"op":"add","path":"/spec/suspend","value":true}]`))
	s.waitKstatus(kstatus.CurrentStatus)
	changed(s.patch("a", `[{"op":"remove","path":"/spec/suspend"}]`))
	s.waitKstatus(kstatus.CurrentStatus)

	changed(s.patch("a", `[{"op":"add","path":"`+unready+`","value":"true"}]`))
	s.waitKstatus(kstatus.FailedStatus)
	changed(s.patch("a", `[{"op":"remove","path":"`+unready+`"}]`))
	s.waitKstatus(kstatus.CurrentStatus)

	s.patch("a", `[{"op":"add","path":"/metadata/finalizers","value":["e2e.flokoa.ai/wait"]}]`)
	s.kubectl("delete", "agent", "a", "--wait=false")
	s.waitKstatus(kstatus.TerminatingStatus)
	s.patch("a", `[{"op":"remove","path":"/metadata/finalizers"}]`)
}
