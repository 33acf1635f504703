package kind_test

import (
	"context"
	"fmt"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

const (
	// configEnvironment is where a configuration changes: not production, where Agents of other tests use the Secret of the same name.
	configEnvironment = "staging"
	// configReader is another Agent that reads the ConfigMap of the guide's Agent.
	configReader = "reader"
)

// The ConfigMap and the Secret of the guide's Agent change. The version in each response is LEVEL.KEY, the values
// that its pod has.
func guideConfigurationChanged(s *fixture) {
	s.createConfiguration()
	s.applyGuide()
	s.update(guideAgent, withLogLevel, withEnv("AGENT_VERSION", "$(LOG_LEVEL).$(API_KEY)"), func(a *v1alpha1.Agent) {
		a.Spec.Runtime.Spec.ProgressDeadlineSeconds = ptr.To[int32](40) // a rollout to a bad value ends within the test
	})
	s.waitReady(guideAgent)
	l := s.startLoad(guideAgent)
	l.valueChanged("its ConfigMap", func() { s.setLogLevel("warn") }, "info.first", "warn.first")
	l.valueChanged("its Secret", func() {
		s.kubectl("patch", "secret", "agent-secrets", "--patch", `{"stringData":{"api-key":"second"}}`)
	}, "warn.first", "warn.second")
	l.badValue("warn", "warn.second")
}

// createConfiguration creates the objects that the guide's Agent reads.
func (s *fixture) createConfiguration() {
	s.Helper()
	s.kubectl("create", "configmap", "agent-config", "--from-literal=log-level=info")
	s.kubectl("create", "secret", "generic", "agent-secrets", "--from-literal=api-key=first")
	s.Cleanup(func() {
		meta := metav1.ObjectMeta{Namespace: s.namespace, Name: "agent-config"}
		_ = api.Delete(context.Background(), &corev1.ConfigMap{ObjectMeta: meta})
		meta.Name = "agent-secrets"
		_ = api.Delete(context.Background(), &corev1.Secret{ObjectMeta: meta})
	})
}

func (s *fixture) setLogLevel(level string) {
	s.Helper()
	s.kubectl("patch", "configmap", "agent-config", "--patch", fmt.Sprintf(`{"data":{"log-level":%q}}`, level))
}

// valueChanged changes a value that the pods have from the start, and is over when every pod has the new one.
func (l *load) valueChanged(of string, change func(), before, after string) {
	l.Helper()
	o := l.measure("a value of "+of+" is changed, 3 replicas (the guide's Agent)", 3, neverBelow(3), func() {
		change()
		l.waitVersion(after)
	})
	requireVersions(l.T, o, before, after)
}

// waitVersion waits until every response is of a version, and the Agent is ready.
func (l *load) waitVersion(version string) {
	l.Helper()
	l.eventually("every response is of "+version, waitTimeout, func() error {
		now := l.clock()
		if versions := l.summary(now-1000, now).Versions; len(versions) != 1 || versions[version] == 0 {
			return fmt.Errorf("responses by version: %v", versions)
		}
		return nil
	})
	l.waitReady(l.agent)
}

// badValue writes a log level with which no pod starts, and takes it back. The guide's Agent rolls and fails, while its old pods keep serving.
// The other Agent keeps its pods. Either of the two might roll first, so the other one rolls by itself only after the guide's has failed.
func (l *load) badValue(good, version string) {
	l.Helper()
	s := l.fixture
	s.create(configReader, 2, withLogLevel, withConfigRollout(v1alpha1.ConfigRolloutOnNextRollout))
	reader := s.startLoad(configReader)
	const what = "a value with which no pod starts is written to the ConfigMap, then taken back"
	stuck := criterion{neverBelow(3).text + "; Ready reports " + v1alpha1.ReasonCrashLooping, neverBelow(3).holds}
	halted := s.noRestart(configReader, 2)
	halted.text += "; ConfigOutdated reports " + v1alpha1.ReasonConfigRolloutHalted
	o := l.measure(what+" (the guide's Agent)", 3, stuck, func() {
		reader.measure(what+" (another Agent)", 2, halted, func() {
			s.setLogLevel("verbose")
			s.waitNotReady(guideAgent, v1alpha1.ReasonCrashLooping, "exited with code 1")
			s.update(configReader, withConfigRollout(v1alpha1.ConfigRolloutAutomatic))
			s.waitHalted(configReader, guideAgent)
			s.setLogLevel(good)
			s.waitUpToDate(configReader)
			s.waitUpToDate(guideAgent)
			s.waitReady(guideAgent)
		})
	})
	requireVersions(l.T, o, version)
}

func withConfigRollout(policy v1alpha1.ConfigRolloutPolicy) change {
	return func(a *v1alpha1.Agent) { a.Spec.ConfigRollout = policy }
}

// withLogLevel gives the container the variable that the guide has an Agent read from a ConfigMap.
func withLogLevel(a *v1alpha1.Agent) {
	container := &a.Spec.Runtime.Spec.Container
	container.Env = append(container.Env, corev1.EnvVar{Name: "LOG_LEVEL", ValueFrom: &corev1.EnvVarSource{
		ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "agent-config"}, Key: "log-level"}}})
}

// waitHalted waits until an Agent says that a changed configuration failed on another one.
func (s *fixture) waitHalted(name, failed string) {
	s.Helper()
	s.eventually(name+" does not take what failed on "+failed, waitTimeout, func() error {
		outdated := condition(s.agent(name), v1alpha1.ConditionConfigOutdated)
		if outdated.Reason != v1alpha1.ReasonConfigRolloutHalted {
			return fmt.Errorf("ConfigOutdated is %s: %s: %s", outdated.Status, outdated.Reason, outdated.Message)
		}
		require.Contains(s, outdated.Message, fmt.Sprintf("Agent %q", failed))
		return nil
	})
}

// waitUpToDate waits until an Agent has the configuration of its objects.
func (s *fixture) waitUpToDate(name string) {
	s.Helper()
	s.eventually(name+" is up to date", waitTimeout, func() error {
		if outdated := condition(s.agent(name), v1alpha1.ConditionConfigOutdated); outdated.Status != "" {
			return fmt.Errorf("ConfigOutdated is %s: %s: %s", outdated.Status, outdated.Reason, outdated.Message)
		}
		return nil
	})
}
