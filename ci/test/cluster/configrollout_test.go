package cluster_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
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

// setConfigs writes the shared ConfigMap of several namespaces.
func setConfigs(fixtures []*fixture, level string) {
	for _, s := range fixtures {
		s.setConfig(level)
	}
}

// configWave is what the API server stored of config rollouts, in its order.
type configWave struct {
	mutex sync.Mutex
	// revisions are those of each Agent's pod template, in order, and rolling are the Agents whose rollout is not complete.
	revisions map[types.NamespacedName][]string
	rolling   map[types.NamespacedName]bool
	// most is how many rolled at once, and mostIn in one namespace.
	most, mostIn int
}

// followConfigWave watches the Deployments of some namespaces. It is one watch, because the order of events between two is not known.
func followConfigWave(fixtures ...*fixture) *configWave {
	s, namespaces := fixtures[0], map[string]bool{}
	for _, other := range fixtures {
		namespaces[other.namespace] = true
	}
	w := &configWave{revisions: map[types.NamespacedName][]string{}, rolling: map[types.NamespacedName]bool{}}
	list := &appsv1.DeploymentList{}
	require.NoError(s, api.List(s.Context(), list))
	watcher, err := api.Watch(s.Context(), list, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})
	require.NoError(s, err)
	go func() {
		defer watcher.Stop()
		for event := range watcher.ResultChan() {
			if d, ok := event.Object.(*appsv1.Deployment); ok && namespaces[d.Namespace] {
				w.see(d)
			}
		}
	}()
	return w
}

func (w *configWave) see(d *appsv1.Deployment) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	revision, name := d.Spec.Template.Annotations[v1alpha1.AnnotationConfigRevision], client.ObjectKeyFromObject(d)
	if revision == "" {
		return
	}
	if all := w.revisions[name]; len(all) == 0 || all[len(all)-1] != revision {
		w.revisions[name] = append(all, revision)
		w.rolling[name] = true
	} else if d.Status.ObservedGeneration >= d.Generation && progressReason(d) == "NewReplicaSetAvailable" {
		delete(w.rolling, name)
	}
	w.most = max(w.most, len(w.rolling))
	here := 0
	for other := range w.rolling {
		if other.Namespace == name.Namespace {
			here++
		}
	}
	w.mostIn = max(w.mostIn, here)
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

// complete reports how many of a number of Agents did not roll to the same revision, or are not complete.
func (w *configWave) complete(agents int) error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	last := map[string]int{} // the revision of each namespace's object is another
	for name, revisions := range w.revisions {
		last[name.Namespace+" "+revisions[len(revisions)-1]]++
	}
	if len(w.revisions) != agents || len(w.rolling) > 0 {
		return fmt.Errorf("%d of %d rolled, %d are rolling; revisions: %v", len(w.revisions), agents, len(w.rolling), last)
	}
	namespaces := map[string]bool{}
	for name := range w.revisions {
		namespaces[name.Namespace] = true
	}
	if len(last) != len(namespaces) {
		return fmt.Errorf("the revisions differ: %v", last)
	}
	return nil
}

// waitRolled waits until a part of the Agents has rolled, and returns how many.
func (s *fixture) waitRolled(wave *configWave, part int) (rolled int) {
	s.Helper()
	s.eventually(fmt.Sprint(part, " Agents have rolled"), 2*waitTimeout, func() error {
		if rolled, _ = wave.rolled(); rolled < part {
			return fmt.Errorf("%d have", rolled)
		}
		return nil
	})
	return rolled
}

// The upgrade comes first: with --config-rollouts=0, the operator writes the same Deployment as before it had config rollouts (compared field
// by field, annotations included). Then the wave: ten changes in ten seconds, a leader that is killed, and three restarts.
func TestASharedConfigMapRollsAFleetInWaves(t *testing.T) {
	const agents, slots = 200, 10
	flag := fmt.Sprint("--config-rollouts-per-namespace=", slots)
	s := newFixture(t)
	useFlags(t, "--config-rollouts=0")
	s.setConfig("info")
	createMany(s, agents, readsConfig, simulate("ready-after", "500ms"))
	s.eventually("all Agents are ready", 2*waitTimeout, func() error { return checkReady(s, agents) })
	requireUpgradeChangesNothing(s, agents, flag)

	wave := followConfigWave(s)
	standby, err := startStandby(t.Context(), flag)
	require.NoError(t, err)
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for i := range 10 {
		s.setConfig(fmt.Sprint("debug-", i))
		<-second.C
	}
	interrupted := []int{s.waitRolled(wave, agents/5)}
	require.NoError(t, operator.Kill())
	operator = standby
	require.NoError(t, standby.WaitFor(t.Context(), "it leads", afterKill+takeoverSlack, standby.IsLeader))
	for part := 2; part <= 3; part++ {
		interrupted = append(interrupted, s.waitRolled(wave, agents*part/5))
		replaceOperator(t, flag)
	}
	s.eventually("all Agents have rolled", 5*time.Minute, func() error { return wave.complete(agents) })
	s.eventually("all Agents are ready", waitTimeout, func() error { return checkReady(s, agents) })
	s.requireSilentRestart(agents)
	require.NoError(t, wave.complete(agents), "nobody rolls again")

	_, most := wave.rolled()
	s.note("%d Agents rolled, interrupted after %v, at most %d at once, each at most %d times", agents, interrupted, wave.most, most)
	require.Less(t, interrupted[2], agents, "all interruptions are in mid-wave")
	require.LessOrEqual(t, most, 2, "ten changes roll an Agent at most twice")
	require.LessOrEqual(t, wave.most, slots)
	require.Greater(t, wave.most, 1, "after the first one, several roll at a time")
	for _, object := range s.list(&v1alpha1.AgentList{}) {
		require.Empty(t, condition(object.(*v1alpha1.Agent), v1alpha1.ConditionConfigOutdated), object.GetName())
	}
}

// requireUpgradeChangesNothing replaces an operator without config rollouts by one with them: no pod restarts, nothing is written, and all
// Agents that share a ConfigMap cost one read of it, and one watch.
func requireUpgradeChangesNothing(s *fixture, agents int, flag string) {
	s.Helper()
	for _, object := range s.list(&appsv1.DeploymentList{}) {
		require.NotContains(s, object.GetAnnotations(), v1alpha1.AnnotationConfigBaseline)
	}
	s.settledCounts()
	old, pods, before := operator, uids(s, &corev1.PodList{}), versions(s)
	s.requireSilentRestart(float64(agents), flag)
	require.Equal(s, pods, uids(s, &corev1.PodList{}), "pods")
	require.Equal(s, before, versions(s), "resourceVersions")

	requests, err := requestsSince(s.since)
	require.NoError(s, err)
	reads := map[string]int{}
	for _, r := range requests {
		require.NotEqual(s, "secrets", r.ObjectRef.Resource, "%s", r)
		if r.Verb == "get" && r.ObjectRef.Resource == "configmaps" && r.ObjectRef.Namespace == s.namespace {
			require.True(s, r.SentBy(operator.Credential), "%s", r)
			reads[r.ObjectRef.Name]++
		}
	}
	require.Equal(s, map[string]int{"agent-config": 1}, reads)
	watches := watchesOf(requests, operator)
	require.Contains(s, watches, "/api/v1/configmaps")
	watches = slices.DeleteFunc(watches, func(watch string) bool { return watch == "/api/v1/configmaps" })
	require.Equal(s, watchesOf(requests, old), watches, "all other watches are those of before")
}

// watchesOf are the different watches that an operator began: path and selectors, in order.
func watchesOf(requests []request, p *process) []string {
	var watches []string
	for _, r := range requests {
		uri, err := url.Parse(r.RequestURI)
		if err != nil || r.Verb != "watch" || !r.SentBy(p.Credential) {
			continue
		}
		watches = append(watches, strings.TrimSuffix(uri.Path+"?"+uri.Query().Get("labelSelector")+uri.Query().Get("fieldSelector"), "?"))
	}
	slices.Sort(watches)
	return slices.Compact(watches)
}

func TestNamespacesShareTheLimitOfConfigRollouts(t *testing.T) {
	const agents, total = 12, 8
	useFlags(t, fmt.Sprint("--config-rollouts=", total))
	fixtures := []*fixture{newFixture(t), newFixture(t), newFixture(t)}
	setConfigs(fixtures, "info")
	for _, s := range fixtures {
		createMany(s, agents, readsConfig, simulate("ready-after", "2s"))
	}
	for _, s := range fixtures {
		s.eventually("all Agents are ready", waitTimeout, func() error { return checkReady(s, agents) })
	}
	wave := followConfigWave(fixtures...)
	setConfigs(fixtures, "debug")
	s := fixtures[0]
	s.eventually("all Agents have rolled", 2*waitTimeout, func() error { return wave.complete(agents * len(fixtures)) })
	_, most := wave.rolled()
	s.note("%d Agents rolled, at most %d at once, at most %d in a namespace", agents*len(fixtures), wave.most, wave.mostIn)
	require.Equal(t, 1, most, "each Agent rolls once")
	require.LessOrEqual(t, wave.most, total)
	require.LessOrEqual(t, wave.mostIn, rolloutsPerNamespace)
	require.Greater(t, wave.most, rolloutsPerNamespace, "namespaces roll side by side")
}

// maxGrowthKiB is how much memory an operator may keep after a burst that is fragmented: it varies by a few MiB. The metadata alone is
// more than 20 MiB, because kubectl apply repeats the data in an annotation.
const maxGrowthKiB = 6 * 1024

func TestUnrelatedConfigMapsAndSecretsCostNoMemory(t *testing.T) {
	s := newFixture(t)
	s.setConfig("info")
	s.create("a", readsConfig) // so that ConfigMaps are followed
	replaceOperator(t)
	s.waitReady("a")
	before := settledMemory(s)
	createUnrelated(s, 2000)
	after := settledMemory(s)
	replaceOperator(t)
	s.waitReady("a")
	restarted := settledMemory(s)
	s.note("%.1f MiB before, %.1f MiB with 2,000 ConfigMaps and 2,000 Secrets, %.1f MiB after a restart with them",
		float64(before)/1024, float64(after)/1024, float64(restarted)/1024)
	require.LessOrEqual(t, after, before+maxGrowthKiB, "KiB, while it runs")
	require.LessOrEqual(t, restarted, before+maxGrowthKiB, "KiB, when it starts")
	requests, err := requestsSince(s.since)
	require.NoError(t, err)
	for _, r := range requests {
		require.NotEqual(t, "secrets", r.ObjectRef.Resource, "%s", r)
		require.False(t, r.ObjectRef.Resource == "configmaps" && strings.HasPrefix(r.ObjectRef.Name, "unrelated"), "%s", r)
	}
}

// settledMemory waits until what the operator has allocated no longer falls, and returns it in KiB.
func settledMemory(s *fixture) int {
	s.Helper()
	const noise = 256
	least, falling, since := 1<<30, 1<<30, time.Now()
	s.eventually("its memory no longer falls", waitTimeout, func() error {
		memory, err := harness.MemoryOf(operator.PID())
		if err != nil {
			s.Skip(err)
		}
		least = min(least, memory.Anonymous)
		if least+noise < falling {
			falling, since = least, time.Now()
		}
		if time.Since(since) < quietPeriod { // three times the operator checks for memory to release
			return fmt.Errorf("it is %d KiB", memory.Anonymous)
		}
		return nil
	})
	return least
}

// createUnrelated creates ConfigMaps and Secrets of 10 KiB that no Agent references, as kubectl apply does.
func createUnrelated(s *fixture, count int) {
	s.Helper()
	data := map[string]string{"large": strings.Repeat("x", 10*1024)}
	applied := map[string]string{corev1.LastAppliedConfigAnnotation: data["large"]}
	require.NoError(s, forEach(agentNames(count), 16, func(name string) error {
		meta := metav1.ObjectMeta{Namespace: s.namespace, Name: "unrelated-" + name, Annotations: applied}
		if err := api.Create(s.Context(), &corev1.ConfigMap{ObjectMeta: meta, Data: data}); err != nil {
			return err
		}
		return api.Create(s.Context(), &corev1.Secret{ObjectMeta: meta, StringData: data})
	}))
}
