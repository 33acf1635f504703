package cluster_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// requiredMetrics are the metrics that the chart's alerts and dashboard query; ci/test/unit/alerts checks that the list is complete.
func requiredMetrics(t *testing.T) []string {
	t.Helper()
	list, err := os.ReadFile(fromRoot("ci/test/unit/alerts/metrics.txt"))
	require.NoError(t, err)
	names := strings.Fields(string(list))
	require.NotEmpty(t, names)
	return names
}

// missingMetric names the first metric that an operator does not export, nil when it exports all.
func missingMetric(scraped string, names []string) error {
	for _, name := range names {
		if !regexp.MustCompile(`(?m)^` + name + `[{ ]`).MatchString(scraped) {
			return errors.New(name)
		}
	}
	return nil
}

func TestTheOperatorExportsAllMetricsOfAlertsAndDashboard(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	// So that there is a reason, something that high availability misses, and a configuration that the pods do not have.
	s.create("a", simulate("never-ready", "true"), func(a *v1alpha1.Agent) {
		a.Spec.Runtime.Spec.Container.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "absent"}}}}
	})
	s.kubectl("label", "namespace", s.namespace, "flokoa.ai/environment=dev")
	names := requiredMetrics(t)
	s.eventually("every metric is exported", waitTimeout, func() error {
		scraped, err := operator.Scrape(t.Context())
		if err != nil {
			return err
		}
		return missingMetric(scraped, names)
	})
	s.note("%d metrics", len(names))
}

func TestTheEnvironmentOfANamespaceIsExported(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	for _, step := range []struct{ label, want string }{
		{"flokoa.ai/environment=dev", `environment="dev",namespace="` + s.namespace + `"} 1`},
		{"flokoa.ai/environment=production", `environment="production",namespace="` + s.namespace + `"} 1`},
		{"flokoa.ai/environment-", ""},
	} {
		s.kubectl("label", "--overwrite", "namespace", s.namespace, step.label)
		s.eventually("the gauge follows "+step.label, waitTimeout, func() error {
			scraped, err := operator.Scrape(t.Context())
			if err != nil {
				return err
			}
			var series []string
			for _, match := range regexp.MustCompile(`(?m)^flokoa_namespace_environment{(.*`+s.namespace+`.*)$`).FindAllStringSubmatch(scraped, -1) {
				series = append(series, match[1])
			}
			if got := strings.Join(series, "\n"); got != step.want {
				return fmt.Errorf("%q", got)
			}
			return nil
		})
	}
}

func TestTheGaugesOfAnAgentFollowItUntilItIsGone(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.create("a", replicas(2))
	s.waitReady("a")
	exports := func(want string) {
		s.Helper()
		s.eventually("the gauges are "+want, waitTimeout, func() error {
			if got := s.gauges("a"); got != want {
				return fmt.Errorf("they are %s", got)
			}
			return nil
		})
	}
	exports("replicas_desired 2, replicas_ready 2, replicas_available 2, ready 1, stalled 0, highly_available 0")
	s.kubectl("scale", "agent", "a", "--replicas=3")
	exports("replicas_desired 3, replicas_ready 3, replicas_available 3, ready 1, stalled 0, highly_available 0")
	s.kubectl("delete", "agent", "a")
	s.eventually("nothing is left of it", waitTimeout, func() error {
		scraped, err := operator.Scrape(t.Context())
		if err == nil && strings.Contains(scraped, `namespace="`+s.namespace+`"`) {
			err = errors.New("there are series of its namespace")
		}
		return err
	})
}

// gauges are the values of an Agent's gauges, but for those that are exported only while something is wrong.
func (s *fixture) gauges(agent string) string {
	var values []string
	for _, name := range []string{"replicas_desired", "replicas_ready", "replicas_available", "ready", "stalled", "highly_available"} {
		value := operator.Metric(s.Context(), "flokoa_agent_"+name, `namespace="`+s.namespace+`"`, `agent="`+agent+`"`)
		values = append(values, fmt.Sprintf("%s %.0f", name, value))
	}
	return strings.Join(values, ", ")
}

// A standby exports the gauges as well, so this needs no leader.
func TestAgentGaugesCanBeDisabled(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.create("a")
	s.waitReady("a")
	for flag, exports := range map[string]bool{"--agent-metrics=true": true, "--agent-metrics=false": false} {
		standby, err := startStandby(t.Context(), flag)
		require.NoError(t, err)
		scraped, err := standby.Scrape(t.Context())
		require.NoError(t, standby.Stop())
		require.NoError(t, err)
		require.Contains(t, scraped, "leader_election_master_status", flag)
		require.Equal(t, exports, strings.Contains(scraped, "flokoa_agent_"), flag)
	}
}
