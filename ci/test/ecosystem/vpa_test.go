package ecosystem_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/ci/testkit/upstream"
)

const (
	usedCPU    = "700m"
	usedMemory = "600Mi"
)

// serveMetrics serves metrics.k8s.io: simulated nodes have no kubelet that metrics-server could scrape. Each Agent's pod uses the same.
func serveMetrics(s *fixture) {
	s.Helper()
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, object any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(object)
	}
	mux.HandleFunc("/apis/metrics.k8s.io/v1beta1", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, metav1.APIResourceList{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"}, GroupVersion: "metrics.k8s.io/v1beta1",
			APIResources: []metav1.APIResource{{Name: "pods", Namespaced: true, Kind: "PodMetrics", Verbs: []string{"get", "list"}}},
		})
	})
	mux.HandleFunc("/apis/metrics.k8s.io/v1beta1/pods", func(w http.ResponseWriter, r *http.Request) {
		pods := &corev1.PodList{}
		if err := api.List(r.Context(), pods, client.InNamespace(s.namespace), client.HasLabels{"flokoa.ai/agent"}); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		items := []any{}
		for i := range pods.Items {
			items = append(items, map[string]any{
				"metadata":  map[string]any{"name": pods.Items[i].Name, "namespace": s.namespace},
				"timestamp": time.Now().UTC().Format(time.RFC3339), "window": "15s",
				"containers": []any{map[string]any{"name": "agent", "usage": map[string]any{"cpu": usedCPU, "memory": usedMemory}}},
			})
		}
		answer(w, map[string]any{"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetricsList", "metadata": map[string]any{}, "items": items})
	})
	server := httptest.NewTLSServer(mux)
	s.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(s, err)
	s.aggregate("v1beta1", "metrics.k8s.io", "kube-system", "metrics-server", port)
}

// startVPA runs the recommender, the updater, and the admission controller with the permissions that VPA itself ships.
func startVPA(s *fixture) {
	s.Helper()
	programs, err := upstream.VPA.Build(s.Context(), os.Stderr, "./pkg/recommender", "./pkg/updater", "./pkg/admission-controller")
	require.NoError(s, err)
	s.install(upstream.VPA, "verticalpodautoscalers.autoscaling.k8s.io", "deploy/vpa-v1-crd-gen.yaml", "deploy/vpa-rbac.yaml")
	serveMetrics(s)
	certs := certificates(s.T)
	webhook, err := harness.FreeAddress()
	require.NoError(s, err)
	_, port, err := net.SplitHostPort(webhook)
	require.NoError(s, err)
	s.Cleanup(func() {
		s.cleanUp("delete", "mutatingwebhookconfiguration", "vpa-webhook-config", "--ignore-not-found")
	})
	for program, flags := range map[string][]string{
		"recommender": {"--recommender-interval=5s"},
		"updater":     {"--updater-interval=10s"},
		"admission-controller": {
			"--port", port, "--register-by-url", "--webhook-address=https://127.0.0.1", "--webhook-port", port,
			"--client-ca-file", certs + "/ca.crt", "--tls-cert-file", certs + "/tls.crt", "--tls-private-key", certs + "/tls.key",
		},
	} {
		metrics, err := harness.FreeAddress()
		require.NoError(s, err)
		flags = append(flags, "--kubeconfig", s.kubeconfig("kube-system", "vpa-"+program), "--address", metrics)
		s.start(filepath.Join(programs, program), []string{"NAMESPACE=kube-system"}, flags...)
	}
}

// vpaStatus is the part of a VerticalPodAutoscaler's status that tests read.
type vpaStatus struct {
	Conditions     []metav1.Condition
	Recommendation struct {
		ContainerRecommendations []struct{ Target corev1.ResourceList }
	}
}

func (s *fixture) vpaStatus() vpaStatus {
	s.Helper()
	var vpa struct{ Status vpaStatus }
	require.NoError(s, json.Unmarshal([]byte(s.kubectl("", "get", "vpa/order-agent", "-o", "json")), &vpa))
	return vpa.Status
}

func TestVPASizesTheAgentAndNotItsDeployment(t *testing.T) {
	s := &fixture{t, "flokoa-dev"}
	startVPA(s)
	s.apply("examples/vpa/agent.yaml")
	t.Cleanup(func() { s.cleanUp("delete", "vpa/order-agent", "agent/order-agent") })
	s.waitForReplicas("order-agent", 3, metav1.ConditionTrue, "RolloutComplete")
	generation := s.deployment("order-agent").Generation

	s.apply("examples/vpa/verticalpodautoscaler.yaml", "apiVersion: agent.flokoa.ai/v1alpha1", "apiVersion: apps/v1", "kind: Agent", "kind: Deployment")
	s.eventually("VPA rejects the Deployment, which an Agent controls", func() error {
		for _, condition := range s.vpaStatus().Conditions {
			if condition.Type == "ConfigUnsupported" && condition.Status == metav1.ConditionTrue {
				require.Contains(t, condition.Message, "should point to a topmost well-known or scalable controller")
				return nil
			}
		}
		return fmt.Errorf("%v", s.vpaStatus().Conditions)
	})
	s.kubectl("", "delete", "vpa/order-agent")

	s.apply("examples/vpa/verticalpodautoscaler.yaml")
	s.eventually("VPA recommends what the pods use", func() error {
		status := s.vpaStatus()
		for _, container := range status.Recommendation.ContainerRecommendations {
			if container.Target.Cpu().Cmp(resource.MustParse(usedCPU)) >= 0 && container.Target.Memory().Cmp(resource.MustParse(usedMemory)) >= 0 {
				return nil
			}
		}
		return fmt.Errorf("%+v", status)
	})
	// Less than recommended: VPA assumes that limits grow with requests, and the LimitRange of dev allows twice the limit of the Agent.
	s.eventually("all pods request what the LimitRange admits", func() error {
		pods := s.pods("order-agent")
		for i := range pods {
			if requests := pods[i].Spec.Containers[0].Resources.Requests; requests.Cpu().String() != "200m" || requests.Memory().String() != "512Mi" {
				return fmt.Errorf("%s requests %s", pods[i].Name, requests.Cpu())
			}
		}
		if len(pods) != 3 {
			return fmt.Errorf("%d pods", len(pods))
		}
		return nil
	})
	s.waitForReplicas("order-agent", 3, metav1.ConditionTrue, "RolloutComplete")
	deployment := s.deployment("order-agent")
	require.Equal(t, "100m", deployment.Spec.Template.Spec.Containers[0].Resources.Requests.Cpu().String(), "the template is the Agent's")
	require.Equal(t, generation, deployment.Generation, "nobody wrote the Deployment")
	s.requireNoFight("order-agent")
}
