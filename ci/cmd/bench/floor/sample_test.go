package floor

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

func agentNamed(name, namespace, uid, image string) *v1alpha1.Agent {
	agent := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, UID: "uid-" + "0000"}}
	agent.UID, agent.Generation = "uid-0001", 2
	if uid != "" {
		agent.UID = "uid-specimen"
	}
	agent.Spec.Runtime.Spec.Container.Image = image
	return agent
}

// made is what the API server has of a child that was applied: more than that, and who owns which part of it.
func made(t *testing.T, text string, into any) {
	t.Helper()
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), into))
}

func sampleOf(t *testing.T) *Sample {
	t.Helper()
	deployment, service := &appsv1.Deployment{}, &corev1.Service{}
	made(t, `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: agent-zzzzz
  namespace: bench-00000
  uid: of-the-deployment
  labels: {flokoa.ai/agent: agent-zzzzz}
  annotations: {deployment.kubernetes.io/revision: "1"}
  ownerReferences: [{apiVersion: agent.flokoa.ai/v1alpha1, kind: Agent, name: agent-zzzzz, uid: uid-specimen, controller: true}]
  managedFields:
  - manager: flokoa-operator
    operation: Apply
    apiVersion: apps/v1
    fieldsType: FieldsV1
    fieldsV1: {"f:metadata":{"f:labels":{"f:flokoa.ai/agent":{}},"f:ownerReferences":{"k:{\"uid\":\"uid-specimen\"}":{}}},"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"agent\"}":{".":{},"f:name":{},"f:image":{}}}}}}}
spec:
  replicas: 1
  paused: true
  selector: {}
  strategy: {}
  template: {spec: {containers: [{name: agent, image: "registry.example/agent:v1", imagePullPolicy: Always}]}}
`, deployment)
	made(t, `
apiVersion: v1
kind: Service
metadata:
  name: agent-zzzzz
  namespace: bench-00000
  managedFields:
  - manager: flokoa-operator
    operation: Apply
    apiVersion: v1
    fieldsType: FieldsV1
    fieldsV1: {"f:spec":{"f:selector":{}}}
spec: {selector: {flokoa.ai/agent: agent-zzzzz}, clusterIP: 10.96.0.1}
`, service)
	s := &Sample{agent: agentNamed("agent-zzzzz", "bench-00000", "specimen", "registry.example/agent:v1")}
	s.status = v1alpha1.AgentStatus{
		ObservedGeneration: 1, AvailableReplicas: 1, Image: "registry.example/agent:v1", URL: "http://agent-zzzzz.bench-00000.svc",
		Conditions: []metav1.Condition{{Type: "Ready", Status: "True", ObservedGeneration: 1}},
	}
	require.NoError(t, s.extract(deployment, service, nil))
	return s
}

func TestChildrenAreTheSamplesWithAnotherName(t *testing.T) {
	children, err := sampleOf(t).Children(agentNamed("agent-00007", "bench-00003", "", "registry.example/agent:v2"))
	require.NoError(t, err)
	require.Len(t, children, 2)
	require.YAMLEq(t, `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: agent-00007
  namespace: bench-00003
  labels: {flokoa.ai/agent: agent-00007}
  ownerReferences: [{apiVersion: agent.flokoa.ai/v1alpha1, kind: Agent, name: agent-00007, uid: uid-0001, controller: true}]
spec:
  replicas: 1
  template: {spec: {containers: [{name: agent, image: "registry.example/agent:v2"}]}}
`, asText(t, children[0]), "what the API server and others added is left out")
	require.YAMLEq(t, `
apiVersion: v1
kind: Service
metadata: {name: agent-00007, namespace: bench-00003}
spec: {selector: {flokoa.ai/agent: agent-00007}}
`, asText(t, children[1]))
}

func asText(t *testing.T, object any) string {
	t.Helper()
	text, err := json.Marshal(object)
	require.NoError(t, err)
	return string(text)
}

func TestTheStatusIsTheSamplesAtTheAgentsGeneration(t *testing.T) {
	sample := sampleOf(t)
	agent := agentNamed("agent-00007", "bench-00003", "", "registry.example/agent:v2")
	agent.ResourceVersion = "5"
	written, err := sample.Status(agent)
	require.NoError(t, err)
	require.Equal(t, "bench-00003/agent-00007 at 5", written.Namespace+"/"+written.Name+" at "+written.ResourceVersion)
	require.Equal(t, int64(2), written.Status.ObservedGeneration)
	require.Equal(t, int64(2), written.Status.Conditions[0].ObservedGeneration)
	require.Equal(t, "registry.example/agent:v2", written.Status.Image)
	require.Equal(t, "http://agent-00007.bench-00003.svc", written.Status.URL)
	require.Equal(t, int64(1), sample.status.ObservedGeneration, "the sample is not changed")
}

func TestARolloutIsDoneWhenNoOldPodIsLeft(t *testing.T) {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Image: "i"}}
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1}
	require.True(t, RolledOut(d, "i"))
	require.False(t, RolledOut(d, "another"))
	d.Status.Replicas = 2
	require.False(t, RolledOut(d, "i"), "a pod of the old image is left")
	d.Status.Replicas, d.Status.ObservedGeneration = 1, 1
	require.False(t, RolledOut(d, "i"), "the change is not observed yet")
}
