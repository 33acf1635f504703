package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/configrollout"
)

// failureWorld is the configuration of an Agent that reads one key.
type failureWorld struct{ references configrollout.References }

func (f failureWorld) contents(value string) configrollout.Contents {
	return configrollout.Contents{waveConfig: configrollout.ConfigMapContent("v", map[string]string{"k": value}, nil)}
}

// at is what a pass knows: the value that the pods took, the value now, and the value that last rolled them, empty for none.
func (f failureWorld) at(taken, now, rolled string) *config {
	baseline := configrollout.Baseline{}
	if taken != "" {
		baseline = baseline.Take("template", f.references, f.contents(taken))
	}
	if rolled != "" {
		before := baseline.Take("template", f.references, f.contents("before"))
		baseline = baseline.StartRollout(before.Compare(f.references, f.contents(rolled)).Changes, false)
	}
	return &config{
		references: f.references, contents: f.contents(now), baseline: baseline, difference: baseline.Compare(f.references, f.contents(now)),
	}
}

func TestAFailureIsRememberedUntilItIsFixed(t *testing.T) {
	f := failureWorld{configrollout.References{waveConfig: {Keys: map[string]bool{"k": true}}}}
	deployment := func(replicas int32, reason string) *appsv1.Deployment {
		return &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: ptr.To(replicas)}, Status: appsv1.DeploymentStatus{
			AvailableReplicas: replicas, Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: reason}}}}
	}
	const exceeded, complete, rolling = "ProgressDeadlineExceeded", "NewReplicaSetAvailable", "ReplicaSetUpdated"
	const automatic, manual = v1alpha1.ConfigRolloutAutomatic, v1alpha1.ConfigRolloutOnNextRollout
	for name, row := range map[string]struct {
		of         *config
		deployment *appsv1.Deployment
		mode       v1alpha1.ConfigRolloutPolicy
		want       configrollout.Phase
	}{
		"it still fails":                {f.at("bad", "bad", "bad"), deployment(2, exceeded), automatic, configrollout.Failed},
		"suspended":                     {f.at("bad", "bad", "bad"), deployment(0, complete), automatic, configrollout.Failed},
		"its Deployment is deleted":     {f.at("", "bad", ""), nil, automatic, configrollout.Failed},
		"its Deployment rolls back":     {f.at("good", "bad", "good"), deployment(2, rolling), automatic, configrollout.Rolling},
		"its Deployment rolled back":    {f.at("good", "bad", "good"), deployment(2, complete), automatic, configrollout.Failed},
		"rolled back to no rollout":     {f.at("good", "bad", ""), deployment(2, complete), automatic, configrollout.Failed},
		"rolled back, and reverted":     {f.at("good", "good", "good"), deployment(2, complete), automatic, configrollout.Complete},
		"suspended, and took a fix":     {f.at("fixed", "fixed", "fixed"), deployment(0, complete), automatic, configrollout.None},
		"suspended, and is about to":    {f.at("bad", "fixed", "bad"), deployment(0, complete), automatic, configrollout.None},
		"deleted, and fixed":            {f.at("", "fixed", ""), nil, automatic, configrollout.None},
		"it may take the fix":           {f.at("bad", "fixed", "bad"), deployment(2, exceeded), automatic, configrollout.Failed},
		"it does not take the fix":      {f.at("bad", "fixed", "bad"), deployment(2, exceeded), manual, configrollout.None},
		"it recovered":                  {f.at("bad", "bad", "bad"), deployment(2, complete), automatic, configrollout.Complete},
		"it reads the object no more":   {failureWorld{}.at("", "bad", ""), deployment(2, complete), automatic, configrollout.None},
		"its next rollout is under way": {f.at("bad", "bad", "bad"), deployment(2, rolling), automatic, configrollout.Rolling},
	} {
		agent, state := agenttest.New("a"), &configState{}
		agent.Spec.ConfigRollout = row.mode
		require.Equal(t, configrollout.Failed, f.at("bad", "bad", "bad").asMember(agent, deployment(2, exceeded), state, moment{Time: time.Now()}).Phase, name)
		member := row.of.asMember(agent, row.deployment, state, moment{Time: time.Now()})
		require.Equal(t, row.want, member.Phase, name)
		if row.want == configrollout.Failed {
			require.Equal(t, f.at("bad", "bad", "bad").baseline.Rollout, member.Rollout, name)
		}
		if row.want == configrollout.None || row.want == configrollout.Complete {
			require.Nil(t, state.failed, name)
		}
	}
}

// Whoever sees pods crash does not wait for the progress deadline.
func TestAFailureIsRememberedBeforeItsDeadline(t *testing.T) {
	f := failureWorld{configrollout.References{waveConfig: {Keys: map[string]bool{"k": true}}}}
	for reason, want := range map[string]configrollout.Phase{
		v1alpha1.ReasonCrashLooping:      configrollout.Failed,
		v1alpha1.ReasonRolloutInProgress: configrollout.None,
	} {
		agent, state := agenttest.New("a"), &configState{}
		agent.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason}}
		now := moment{Time: time.Now()}
		require.Equal(t, configrollout.Rolling, f.at("bad", "bad", "bad").asMember(agent, availableDeployment("ReplicaSetUpdated"), state, now).Phase)
		require.Equal(t, want, f.at("good", "bad", "").asMember(agent, availableDeployment("NewReplicaSetAvailable"), state, now).Phase, "rolled back: %s", reason)
		require.Equal(t, want, f.at("", "bad", "").asMember(agent, nil, state, now).Phase, "deleted: %s", reason)
	}
}
