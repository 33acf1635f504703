package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/events"

	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

func TestATemplateChangeIsReportedOnceAMinutePerManager(t *testing.T) {
	recorder := events.NewFakeRecorder(9)
	now := time.Unix(0, 0)
	c := &Controller{events: recorder, now: func() time.Time { return now }}
	agent, state := agenttest.New("a"), &state{}
	for _, r := range []struct {
		by   []string
		at   time.Duration
		want string
	}{
		{nil, 0, ""},
		{[]string{"kubectl-set"}, 0, `Warning PodTemplateChanged kubectl-set changed the pod template of Deployment "a"`},
		{[]string{"kubectl-set"}, 59 * time.Second, ""},
		{[]string{"kubectl-edit", "kubectl-set"}, 59 * time.Second, "kubectl-edit, kubectl-set changed"},
		{[]string{"kubectl-edit", "kubectl-set"}, 2 * time.Minute, "change the Agent, for example with kubectl edit agent a"},
	} {
		now = time.Unix(0, 0).Add(r.at)
		c.warnTemplateChange(agent, r.by, state)
		if r.want == "" {
			require.Empty(t, recorder.Events, "%v", r)
			continue
		}
		require.Len(t, recorder.Events, 1, "%v", r)
		require.Contains(t, <-recorder.Events, r.want)
	}
}
