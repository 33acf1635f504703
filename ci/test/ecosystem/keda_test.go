package ecosystem_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/ci/testkit/upstream"
)

// queue is what the trigger of examples/keda reads: how many orders wait.
type queue struct {
	waiting atomic.Int64
	address string
}

func newQueue(t *testing.T) *queue {
	t.Helper()
	q := &queue{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"waiting": %d}`, q.waiting.Load())
	}))
	t.Cleanup(server.Close)
	q.address = server.URL
	return q
}

// startKEDA runs KEDA's operator and metrics server with the permissions that KEDA itself ships.
func startKEDA(s *fixture) {
	s.Helper()
	programs, err := upstream.KEDA.Build(s.Context(), os.Stderr, "./cmd/operator", "./cmd/adapter")
	require.NoError(s, err)
	s.run("{apiVersion: v1, kind: Namespace, metadata: {name: keda}}", "apply", "-f", "-")
	s.run("{apiVersion: v1, kind: ServiceAccount, metadata: {name: keda-operator, namespace: keda}}", "apply", "-f", "-")
	s.install(upstream.KEDA, "scaledobjects.keda.sh", "config/crd/bases", "config/rbac/role.yaml", "config/rbac/role_binding.yaml",
		"config/metrics-server/role.yaml", "config/metrics-server/role_binding.yaml")

	certs, kubeconfig := certificates(s.T), s.kubeconfig("keda", "keda-operator")
	environment := []string{"KUBECONFIG=" + kubeconfig, "KEDA_CLUSTER_OBJECT_NAMESPACE=keda", "POD_NAMESPACE=keda", "WATCH_NAMESPACE="}
	metrics, probes, err := harness.FreeAddresses()
	require.NoError(s, err)
	service, secure, err := harness.FreeAddresses()
	require.NoError(s, err)
	s.start(filepath.Join(programs, "operator"), environment, "--metrics-bind-address", metrics, "--health-probe-bind-address", probes,
		"--metrics-service-bind-address", service, "--cert-dir", certs, "--ca-dir", certs)
	_, port, err := net.SplitHostPort(secure)
	require.NoError(s, err)
	s.start(filepath.Join(programs, "adapter"), environment, "--secure-port", port, "--bind-address", "127.0.0.1", "--port", "0",
		"--lister-kubeconfig", kubeconfig, "--authentication-kubeconfig", kubeconfig, "--authorization-kubeconfig", kubeconfig,
		"--client-ca-file", filepath.Join(cluster.Folder, "pki", "ca.crt"), "--tls-cert-file", certs+"/tls.crt",
		"--tls-private-key-file", certs+"/tls.key", "--cert-dir", certs, "--metrics-service-address", service)
	s.aggregate("v1beta1", "external.metrics.k8s.io", "keda", "keda-metrics-apiserver", port)
}

func TestKEDAScalesAnAgent(t *testing.T) {
	s := &fixture{t, "flokoa-dev"}
	startKEDA(s)
	orders := newQueue(t)
	s.apply("examples/keda/agent.yaml")
	s.waitForReplicas("order-agent", 1, metav1.ConditionTrue, "RolloutComplete")

	s.apply("examples/keda/scaledobject.yaml", "http://order-queue.flokoa-dev.svc:8080", orders.address,
		"cooldownPeriod: 120", "cooldownPeriod: 5", "pollingInterval: 15", "pollingInterval: 2")
	s.waitForReplicas("order-agent", 0, metav1.ConditionTrue, "ScaledToZero")

	orders.waiting.Store(22)
	s.waitForReplicas("order-agent", 5, metav1.ConditionTrue, "RolloutComplete")

	s.kubectl("", "annotate", "scaledobject/order-agent", "autoscaling.keda.sh/paused-replicas=2")
	s.waitForReplicas("order-agent", 2, metav1.ConditionTrue, "RolloutComplete")
	s.kubectl("", "annotate", "scaledobject/order-agent", "autoscaling.keda.sh/paused-replicas-")
	s.waitForReplicas("order-agent", 5, metav1.ConditionTrue, "RolloutComplete")

	orders.waiting.Store(0)
	s.waitForReplicas("order-agent", 0, metav1.ConditionTrue, "ScaledToZero")
	s.requireNoFight("order-agent")

	s.kubectl("", "delete", "scaledobject/order-agent")
	s.apply("examples/keda/agent.yaml")
	s.waitForReplicas("order-agent", 0, metav1.ConditionTrue, "ScaledToZero")
	s.kubectl("", "scale", "agent/order-agent", "--replicas=1")
	s.waitForReplicas("order-agent", 1, metav1.ConditionTrue, "RolloutComplete")
}
