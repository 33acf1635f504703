package cluster_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

const (
	guideManifest = "examples/agents/production-agent.yaml"
	// guideDigest is that of the manifest as the guide prints it.
	guideDigest = "c3d044367ea36b138c45e71ebaf889418b5f7328ef1f03628891e7b717eb0cec"
	guideAgent  = "production-agent"
)

// applyGuide follows the guide: it creates the Secret, applies the unchanged manifest, and waits.
func applyGuide(s *fixture) *v1alpha1.Agent {
	s.Helper()
	manifest, err := os.ReadFile(fromRoot(guideManifest))
	require.NoError(s, err)
	require.Equal(s, guideDigest, fmt.Sprintf("%x", sha256.Sum256(manifest)), "%s is not the guide's", guideManifest)
	s.kubectl("create", "secret", "generic", "agent-secrets", "--from-literal=api-key=x")
	s.kubectl("apply", "-f", guideManifest)
	s.kubectl("wait", "--for=condition=Ready", "agent/"+guideAgent, "--timeout=90s")
	return s.waitReady(guideAgent)
}

// kubectlTable is what kubectl prints: the header, and the cells of the one row.
func kubectlTable(s *fixture, args ...string) (string, []string) {
	s.Helper()
	lines := strings.Split(strings.TrimSpace(s.kubectl(args...)), "\n")
	require.Len(s, lines, 2, "%v", lines)
	return strings.Join(regexp.MustCompile(`\s{2,}`).Split(strings.TrimSpace(lines[0]), -1), " | "), strings.Fields(lines[1])
}

func TestTheGuidesManifestByteForByteReachesThreeAvailable(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	agent := applyGuide(s)
	require.EqualValues(t, 3, agent.Status.AvailableReplicas)
	require.Equal(t, "http://production-agent."+s.namespace+".svc:8080", agent.Status.URL)
	require.Equal(t, "flokoa.ai/agent=production-agent", agent.Status.Selector)
	require.Equal(t, "ghcr.io/example/my-agent:v2.0.0", agent.Status.Image)
	require.Equal(t, metav1.ConditionTrue, condition(agent, v1alpha1.ConditionAvailable).Status)
	model := condition(agent, v1alpha1.ConditionModelResolved)
	require.Equal(t, metav1.ConditionFalse, model.Status, "nobody made the Model that the guide names, and the Agent runs")
	require.Equal(t, v1alpha1.ReasonModelNotFound, model.Reason)

	header, row := kubectlTable(s, "get", "agents")
	require.Equal(t, "NAME | FRAMEWORK | MODEL | REPLICAS | AVAILABLE REPLICAS | READY | REASON | AGE", header)
	require.Equal(t, []string{guideAgent, "pydantic-ai", "gpt-4o-model", "3", "3", "True", "RolloutComplete"}, row[:7])
	header, row = kubectlTable(s, "get", "agents", "-o", "wide")
	require.Equal(t, "NAME | FRAMEWORK | MODEL | REPLICAS | AVAILABLE REPLICAS | READY | REASON | AGE | HA | CURRENT | UPDATED | IMAGE | URL", header)
	require.Equal(t, []string{"True", "3", "3", agent.Status.Image, agent.Status.URL}, row[8:])
	for _, other := range []string{"fa", "flokoa"} {
		_, row = kubectlTable(s, "get", other)
		require.Contains(t, row[0], guideAgent, "kubectl get %s", other)
	}
}

func TestTheGuidesAgentIsSpreadOverThreeNodesAndThreeZones(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	agent := applyGuide(s)
	nodes, zones := map[string]bool{}, map[string]bool{}
	for _, pod := range s.list(&corev1.PodList{}) {
		nodes[pod.(*corev1.Pod).Spec.NodeName] = true
		node := &corev1.Node{}
		require.NoError(t, api.Get(t.Context(), client.ObjectKey{Name: pod.(*corev1.Pod).Spec.NodeName}, node))
		zones[node.Labels[corev1.LabelTopologyZone]] = true
	}
	require.Len(t, nodes, 3)
	require.Len(t, zones, 3)
	require.Equal(t, &v1alpha1.Placement{Nodes: 3, Zones: 3}, agent.Status.Placement)
	s.note("placement %d nodes, %d zones", agent.Status.Placement.Nodes, agent.Status.Placement.Zones)
}

func TestTheGuidesCommandsWork(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	applyGuide(s)
	s.kubectl("scale", "agent", guideAgent, "--replicas=5")
	require.EqualValues(t, 5, s.waitReady(guideAgent).Status.AvailableReplicas)

	image := "ghcr.io/example/my-agent:v2.1.0"
	s.kubectl("patch", "agent", guideAgent, "--type=json",
		`-p=[{"op": "replace", "path": "/spec/runtime/spec/container/image", "value": "`+image+`"}]`)
	require.Equal(t, image, s.waitReady(guideAgent).Status.Image)
	require.Equal(t, image, read(s, guideAgent, &appsv1.Deployment{}).Spec.Template.Spec.Containers[0].Image)
	running := 0
	for _, pod := range s.list(&corev1.PodList{}, client.MatchingLabels{v1alpha1.LabelAgent: guideAgent}) {
		if pod.GetDeletionTimestamp() == nil {
			running++
			require.Equal(t, image, pod.(*corev1.Pod).Spec.Containers[0].Image)
		}
	}
	require.Equal(t, 5, running)

	// Applied again, the manifest is the truth again.
	s.kubectl("apply", "-f", guideManifest)
	agent := s.waitReady(guideAgent)
	require.Equal(t, "ghcr.io/example/my-agent:v2.0.0", agent.Status.Image)
	require.EqualValues(t, 3, agent.Status.AvailableReplicas)
	require.Contains(t, s.kubectl("describe", "agent", guideAgent), "RolloutComplete")
}

func TestKubectlExplainsTheFieldsOfAnAgent(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	for path, want := range map[string][]string{
		"agent":                   {"a highly available AI agent", "DNS-1035"},
		"agent.spec.runtime.spec": {"the desired number of pods", "minReadySeconds", "one extra pod"},
		"agent.spec.availability": {"drainSeconds", "preStop sleep", "Preferred"},
		"agent.status":            {"availableReplicas", "URL inside the cluster"},
		"agent.spec.runtime.spec.container.image": {"image <string>"},
	} {
		text := strings.Join(strings.Fields(s.kubectl("explain", path)), " ") // kubectl wraps lines
		for _, phrase := range want {
			require.Contains(t, text, phrase, "kubectl explain %s", path)
		}
		require.NotContains(t, text, "<no description>", "kubectl explain %s", path)
	}
}
