package kind_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/cmd/traffic/report"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

const (
	// guideModel is the Model that the guide's Agent names.
	guideModel = "gpt-4o-model"
	// outage is how long the provider is down: longer than it takes the guide's readiness probe to fail three times.
	outage = 25 * time.Second
)

// The guide's manifest is production's. In dev, unchanged, it talks to the provider of dev: the namespace decides what its Model is.
func TestTheNamespaceDecidesWhichProviderIsCalled(t *testing.T) {
	s := newFixture(t, "dev")
	s.createModel()
	s.applyGuide()
	s.waitReady(guideAgent)
	require.Equal(t, v1alpha1.ReasonResolved, condition(s.agent(guideAgent), v1alpha1.ConditionModelResolved).Reason)
	production, dev := s.calls("live-provider"), s.calls(devProvider)
	l := s.startLoad(guideAgent)
	l.measure("an Agent of dev has the manifest of production (the guide's Agent)", 3, neverBelow(3), func() { l.wait(calm) })
	require.Greater(t, s.calls(devProvider)[devProviderKey], dev[devProviderKey], "dev's provider answers, with dev's key")
	require.Equal(t, production, s.calls("live-provider"), "production's provider receives nothing")

	l.providerDown()
	l.pointedAtProduction(production)
}

// createModel creates the Model of dev, and the Secret that it and the guide's Agent read.
func (s *fixture) createModel() {
	s.Helper()
	s.kubectl("create", "secret", "generic", "agent-secrets", "--from-literal=api-key="+devProviderKey)
	of := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: guideModel}, Spec: v1alpha1.ModelSpec{
		Provider: v1alpha1.ProviderOpenAI, Model: "stub", BaseURL: providerURL(devProvider), APIKey: &v1alpha1.ModelAPIKey{Name: "agent-secrets", Key: "api-key"}}}
	require.NoError(s, api.Create(s.Context(), of))
	s.Cleanup(func() {
		_ = api.Delete(context.Background(), of)
		_ = api.Delete(context.Background(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "agent-secrets"}})
	})
}

// providerURL is the base URL of the provider in a namespace. The stub has no certificate, so only a Service may be called by plain HTTP.
func providerURL(namespace string) string {
	return fmt.Sprintf("http://provider.%s.svc:%d/v1", namespace, providerPort)
}

// calls returns how many requests the provider in a namespace received, by key.
func (s *fixture) calls(namespace string) map[string]int {
	s.Helper()
	out, err := traffic(s.Context(), namespace, "provider", "", "calls", "--port", fmt.Sprint(providerPort))
	require.NoError(s, err)
	calls := map[string]int{}
	require.NoError(s, json.Unmarshal([]byte(out), &calls))
	return calls
}

// stillReady: the provider fails, so posts fail, and nothing else: every pod stays ready, and none is restarted.
func (l *load) stillReady() criterion {
	l.Helper()
	same := l.noRestart(l.agent, 3)
	return criterion{"/ready stays 2xx, no pod restarted; only calls of the model fail", func(o outcome) (string, error) {
		if o.minAvailable < 3 {
			return "", fmt.Errorf("%d of 3 available", o.minAvailable)
		}
		for _, r := range o.failedRequests {
			if r.Kind != report.Post {
				return "", fmt.Errorf("a %s failed: %s", r.Kind, r.Outcome)
			}
		}
		if o.Failures == 0 {
			return "", fmt.Errorf("nothing failed: the provider was not down")
		}
		o.Failures = 0 // those of the model are counted above
		_, err := same.holds(o)
		return fmt.Sprintf("%d calls of the model failed", len(o.failedRequests)), err
	}}
}

// providerDown deletes the provider for longer than a probe forgives. An outage there must not take every replica away.
func (l *load) providerDown() {
	l.Helper()
	l.measure("the model provider is down for "+outage.String()+" (the guide's Agent)", 3, l.stillReady(), func() {
		provider := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: devProvider, Name: "provider"}}
		require.NoError(l, api.Delete(l.Context(), provider, client.GracePeriodSeconds(0)))
		l.eventually("the provider is gone", waitTimeout, func() error {
			if err := api.Get(l.Context(), client.ObjectKeyFromObject(provider), &corev1.Pod{}); err == nil {
				return fmt.Errorf("its pod is there")
			}
			return nil
		})
		l.wait(outage)
		restored := providerPod(devProvider, devProviderKey)
		require.NoError(l, startPods(l.Context(), restored))
		devProviderAddress = restored.Status.PodIP // for later tests
		l.waitAnswered()
	})
}

// pointedAtProduction has the Model of dev name the provider of production, as a person may by mistake. The Agent rolls, and its packets are
// dropped: production's provider counts nothing.
func (l *load) pointedAtProduction(before map[string]int) {
	l.Helper()
	point := func(namespace string) {
		of := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: guideModel}}
		patch := fmt.Sprintf(`{"spec":{"baseURL":%q}}`, providerURL(namespace))
		require.NoError(l, api.Patch(l.Context(), of, client.RawPatch(types.MergePatchType, []byte(patch))))
		l.waitURL(providerURL(namespace))
		l.waitReady(l.agent)
	}
	dropped := criterion{"production's provider receives no request; Ready stays True", func(o outcome) (string, error) {
		if o.minAvailable < 3 {
			return "", fmt.Errorf("%d of 3 available", o.minAvailable)
		}
		for _, r := range o.failedRequests {
			if r.Kind != report.Post {
				return "", fmt.Errorf("a %s failed: %s", r.Kind, r.Outcome)
			}
		}
		if now := l.calls("live-provider"); fmt.Sprint(now) != fmt.Sprint(before) {
			return "", fmt.Errorf("production's provider received %v, before %v", now, before)
		}
		if o.Failures == 0 {
			return "", fmt.Errorf("every call was answered: whose provider was that?")
		}
		return fmt.Sprintf("%d calls of the model failed", o.Failures), nil
	}}
	l.measure("the Model of dev is pointed at production's provider, then taken back (the guide's Agent)", 3, dropped, func() {
		point("live-provider")
		l.wait(calm)
		point(devProvider)
		l.waitAnswered()
	})
}

// waitURL waits until the pods of the guide's Agent get a URL: a change of a Model settles first.
func (l *load) waitURL(url string) {
	l.Helper()
	l.eventually("the pods get "+url, waitTimeout, func() error {
		out := l.kubectl("get", "deployment", l.agent, "--output", `jsonpath={.spec.template.spec.containers[0].env[?(@.name=="OPENAI_BASE_URL")].value}`)
		if out != url {
			return fmt.Errorf("they get %s", out)
		}
		return nil
	})
}

// waitAnswered waits until every call is answered again.
func (l *load) waitAnswered() {
	l.Helper()
	l.eventually("every call is answered", waitTimeout, func() error {
		l.wait(time.Second)
		now := l.clock()
		if sum := l.summary(now-1000, now); sum.Requests == 0 || sum.Failures > 0 {
			return fmt.Errorf("%s", sum)
		}
		return nil
	})
}
