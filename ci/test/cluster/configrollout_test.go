package cluster_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// rolloutsPerNamespace is how many Agents of a namespace roll at a time because of their configuration, the default of the chart.
const rolloutsPerNamespace = 5

// readsConfig has the container read the key log-level of a ConfigMap that all Agents of the namespace share.
func readsConfig(a *v1alpha1.Agent) {
	a.Spec.Runtime.Spec.Container.Env = []corev1.EnvVar{{Name: "LOG_LEVEL", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: "agent-config"}, Key: "log-level"}}}}
}

// setConfig writes the shared ConfigMap.
func (s *fixture) setConfig(level string) {
	s.Helper()
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "agent-config"}}
	require.NoError(s, client.IgnoreAlreadyExists(api.Create(s.Context(), configMap.DeepCopy())))
	require.NoError(s, api.Patch(s.Context(), configMap, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"data":{"log-level":%q}}`, level))))
}

// configWave is what the API server stored of the config rollouts of a namespace, in its order.
type configWave struct {
	mutex sync.Mutex
	// revisions are those of each Agent's pod template, in order, and rolling are the Agents whose rollout is not complete.
	revisions map[string][]string
	rolling   map[string]bool
	most      int
}

// followConfigWave watches the Deployments of a namespace.
func followConfigWave(s *fixture) *configWave {
	w := &configWave{revisions: map[string][]string{}, rolling: map[string]bool{}}
	s.watchObjects(s.Context(), &appsv1.DeploymentList{}, func(_ watch.EventType, object client.Object) { w.see(object.(*appsv1.Deployment)) })
	return w
}

func (w *configWave) see(d *appsv1.Deployment) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	revision := d.Spec.Template.Annotations[v1alpha1.AnnotationConfigRevision]
	if revision == "" {
		return
	}
	if all := w.revisions[d.Name]; len(all) == 0 || all[len(all)-1] != revision {
		w.revisions[d.Name] = append(all, revision)
		w.rolling[d.Name] = true
	} else if d.Status.ObservedGeneration >= d.Generation && progressReason(d) == "NewReplicaSetAvailable" {
		delete(w.rolling, d.Name)
	}
	w.most = max(w.most, len(w.rolling))
}

func progressReason(d *appsv1.Deployment) string {
	for _, condition := range d.Status.Conditions {
		if condition.Type == appsv1.DeploymentProgressing {
			return condition.Reason
		}
	}
	return ""
}

// rolled returns how many Agents rolled, and how often the one that rolled most.
func (w *configWave) rolled() (agents, most int) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for _, revisions := range w.revisions {
		most = max(most, len(revisions))
	}
	return len(w.revisions), most
}

// complete reports how many of a number of Agents did not roll, or are not complete.
func (w *configWave) complete(agents int) error {
	rolled, _ := w.rolled()
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if rolled != agents || len(w.rolling) > 0 {
		return fmt.Errorf("%d of %d rolled, %d are rolling", rolled, agents, len(w.rolling))
	}
	return nil
}

func TestASharedConfigMapRollsAFleetInWaves(t *testing.T) {
	const agents = 40
	s := newFixture(t)
	s.setConfig("info")
	createMany(s, agents, readsConfig, simulate("ready-after", "1s"))
	s.eventually("all Agents are ready", waitTimeout, func() error { return checkReady(s, agents) })
	wave := followConfigWave(s)
	standby, err := startStandby(t.Context())
	require.NoError(t, err)

	second := time.NewTicker(time.Second)
	defer second.Stop()
	for i := range 10 { // ten changes in ten seconds
		s.setConfig(fmt.Sprint("debug-", i))
		<-second.C
	}
	s.eventually("a part of the Agents has rolled", waitTimeout, func() error {
		if rolled, _ := wave.rolled(); rolled < agents/4 {
			return fmt.Errorf("%d have", rolled)
		}
		return nil
	})
	interrupted, _ := wave.rolled()
	require.NoError(t, operator.Kill())
	operator = standby
	require.NoError(t, standby.WaitFor(t.Context(), "it leads", afterKill+takeoverSlack, standby.IsLeader))
	s.eventually("all Agents have rolled", 5*time.Minute, func() error { return wave.complete(agents) })
	s.eventually("all Agents are ready", waitTimeout, func() error { return checkReady(s, agents) })
	replaceOperator(t)
	s.consistently("nobody rolls again", func() error { return wave.complete(agents) })

	_, most := wave.rolled()
	s.note("%d Agents rolled, the operator was killed after %d, at most %d at once, each at most %d times", agents, interrupted, wave.most, most)
	require.Less(t, interrupted, agents, "the operator was killed in mid-wave")
	require.LessOrEqual(t, most, 2, "ten changes roll an Agent at most twice")
	require.LessOrEqual(t, wave.most, rolloutsPerNamespace)
	require.Greater(t, wave.most, 1, "after the first one, several roll at a time")
	for _, object := range s.list(&v1alpha1.AgentList{}) {
		require.Empty(t, condition(object.(*v1alpha1.Agent), v1alpha1.ConditionConfigOutdated), object.GetName())
	}
}
