package agent

import (
	"fmt"
	"hash/maphash"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/render"
)

var stuck = &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](1)}, Status: appsv1.DeploymentStatus{Replicas: 1}}

func sumOf(template string) uint64 { return maphash.Bytes(seed, []byte(template)) }

func TestTemplatesOfAStuckRolloutBackOff(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, row := range []struct {
		name  string
		count int // templates applied at the start, one after the other
		next  string
		after time.Duration
		due   time.Duration // 0 for at once
	}{
		{"the first template", 0, "0", 0, 0},
		{"the first change", 1, "1", 0, 0},
		{"the last free change", freeTemplates, "x", 0, 0},
		{"the change after it", freeTemplates + 1, "x", 0, 10 * time.Second},
		{"a change that was due", freeTemplates + 1, "x", 10 * time.Second, 0},
		{"a change in the second backoff", freeTemplates + 2, "x", 10 * time.Second, 20 * time.Second},
		{"the longest backoff", freeTemplates + 6, "x", 0, 5 * time.Minute},
		{"the longest backoff after many changes", 500, "x", 0, 5 * time.Minute},
		{"the template that is applied", freeTemplates + 1, fmt.Sprint(freeTemplates), 0, 0},
		{"the template of the last complete rollout", freeTemplates + 1, "complete", 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			history := templateHistory{complete: sumOf("complete")}
			for i := range row.count {
				history.apply([]byte(fmt.Sprint(i)), start)
			}
			due := history.dueAt(sumOf(row.next), start.Add(row.after))
			if row.due == 0 {
				require.Zero(t, due)
				return
			}
			require.Equal(t, start.Add(row.due), due)
		})
	}
}

func TestACompleteRolloutForgetsItsTemplates(t *testing.T) {
	history := templateHistory{}
	for i := range 2 * freeTemplates {
		history.apply([]byte(fmt.Sprint(i)), time.Unix(1000, 0))
		history.observe(stuck, time.Unix(1000, 0))
	}
	require.NotZero(t, history.dueAt(sumOf("next"), time.Unix(1000, 0)))
	complete := stuck.DeepCopy()
	complete.Status.UpdatedReplicas, complete.Status.AvailableReplicas = 1, 1
	history.observe(complete, time.Unix(1000, 0))
	last := sumOf(fmt.Sprint(2*freeTemplates - 1))
	require.Equal(t, templateHistory{applied: last, complete: last}, history)
}

// The first template after a restart may be the one that is applied already; the next one waits.
func TestARestartFreesNoTemplatesOfAStuckRollout(t *testing.T) {
	start := time.Unix(1000, 0)
	history := templateHistory{}
	history.observe(stuck, start)
	require.Zero(t, history.dueAt(sumOf("applied"), start))
	history.apply([]byte("applied"), start)
	history.observe(stuck, start)
	require.Equal(t, start.Add(firstTemplateBackoff), history.dueAt(sumOf("next"), start))
}

// An editor who changes an Agent every two seconds must not fill etcd with ReplicaSets.
func TestEightyTemplatesOfAStuckRolloutMakeFewReplicaSets(t *testing.T) {
	now := time.Unix(1000, 0)
	c, known := &Controller{now: func() time.Time { return now }}, &state{}
	agent := agenttest.New("a")
	applied := map[string]bool{}
	var live *appsv1.Deployment
	pass := func(i int) time.Time {
		agent.Spec.Runtime.Spec.Container.Image = fmt.Sprint("registry.example/agent:v", i)
		agent.Spec.Runtime.Spec.Replicas = ptr.To(int32(i))
		desired, err := render.Agent(agent, render.Live{})
		require.NoError(t, err)
		rendered := desired.Deployment.Annotations["flokoa.ai/digest"]
		due, err := c.delayTemplate(desired, live, known)
		require.NoError(t, err)
		require.EqualValues(t, i, *desired.Deployment.Spec.Replicas, "a scale is never delayed")
		require.Equal(t, due.IsZero(), rendered == desired.Deployment.Annotations["flokoa.ai/digest"], "the digest is that of what is applied")
		applied[*desired.Deployment.Spec.Template.Spec.Containers[0].Image] = true
		return due
	}
	for i := range 80 {
		pass(i)
		live = stuck
		now = now.Add(150 * time.Second / 80)
	}
	require.LessOrEqual(t, len(applied), 1+freeTemplates+5)
	require.Greater(t, len(applied), freeTemplates)

	now = pass(80)
	require.Zero(t, pass(80), "the latest spec is applied when it is due")
	require.True(t, applied["registry.example/agent:v80"])
}
