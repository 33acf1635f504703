// Package floor is the least that it takes to bring Agents up: a bare client that applies the very children that the operator
// would, and writes one status each when the pods are available. What the operator needs beyond that is its own cost.
package floor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// owner is the field manager of everything the operator applies.
const owner = "flokoa-operator"

// Sample is what the operator made of one Agent: what it applied, and the status in the end. Texts are JSON.
type Sample struct {
	agent *v1alpha1.Agent
	// children are what was applied, the Deployment first.
	deployment, service []byte
	disruption          []byte // nil where the Agent has no budget
	status              v1alpha1.AgentStatus
}

// TakeSample reads an Agent and what the operator applied for it from the cluster. The Agent's name must be a word that occurs in
// nothing else, because it is found by its text.
func TakeSample(ctx context.Context, api client.Reader, key client.ObjectKey) (*Sample, error) {
	agent := &v1alpha1.Agent{}
	if err := api.Get(ctx, key, agent); err != nil {
		return nil, err
	}
	s := &Sample{agent: agent, status: agent.Status}
	deployment, service, disruption := &appsv1.Deployment{}, &corev1.Service{}, &policyv1.PodDisruptionBudget{}
	for _, child := range []client.Object{deployment, service, disruption} {
		err := api.Get(ctx, key, child)
		if child == disruption && client.IgnoreNotFound(err) == nil && err != nil {
			disruption = nil
		} else if err != nil {
			return nil, err
		}
	}
	return s, s.extract(deployment, service, disruption)
}

// extract takes from the children what the operator applied, which the API server remembers.
func (s *Sample) extract(deployment *appsv1.Deployment, service *corev1.Service, disruption *policyv1.PodDisruptionBudget) (err error) {
	if s.deployment, err = text(appsv1ac.ExtractDeployment(deployment, owner)); err != nil {
		return fmt.Errorf("the Deployment of the sample: %w", err)
	}
	if s.service, err = text(corev1ac.ExtractService(service, owner)); err != nil {
		return fmt.Errorf("the Service of the sample: %w", err)
	}
	if disruption == nil {
		return nil
	}
	if s.disruption, err = text(policyv1ac.ExtractPodDisruptionBudget(disruption, owner)); err != nil {
		return fmt.Errorf("the PodDisruptionBudget of the sample: %w", err)
	}
	return nil
}

func text(configuration any, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return json.Marshal(configuration)
}

// Deployment is what the operator would apply for an Agent like the sample but for its name, namespace and image.
func (s *Sample) Deployment(agent *v1alpha1.Agent) (runtime.ApplyConfiguration, error) {
	return stamp(s, s.deployment, agent, &appsv1ac.DeploymentApplyConfiguration{})
}

// Children are all that it would apply, in the operator's order.
func (s *Sample) Children(agent *v1alpha1.Agent) ([]runtime.ApplyConfiguration, error) {
	deployment, err := s.Deployment(agent)
	if err != nil {
		return nil, err
	}
	service, err := stamp(s, s.service, agent, &corev1ac.ServiceApplyConfiguration{})
	if err != nil {
		return nil, err
	}
	children := []runtime.ApplyConfiguration{deployment, service}
	if s.disruption == nil {
		return children, nil
	}
	disruption, err := stamp(s, s.disruption, agent, &policyv1ac.PodDisruptionBudgetApplyConfiguration{})
	return append(children, disruption), err
}

// stamp puts an Agent's name, namespace, uid and image in the place of the sample's.
func stamp[T runtime.ApplyConfiguration](s *Sample, text []byte, agent *v1alpha1.Agent, into T) (runtime.ApplyConfiguration, error) {
	return into, json.Unmarshal(s.replace(text, agent), into)
}

func (s *Sample) replace(text []byte, agent *v1alpha1.Agent) []byte {
	for _, pair := range [][2]string{
		{string(s.agent.UID), string(agent.UID)},
		{s.agent.Namespace, agent.Namespace},
		{s.agent.Name, agent.Name},
		{image(s.agent), image(agent)},
	} {
		text = bytes.ReplaceAll(text, []byte(pair[0]), []byte(pair[1]))
	}
	return text
}

func image(agent *v1alpha1.Agent) string { return agent.Spec.Runtime.Spec.Container.Image }

// Status is what the operator would update an Agent's status with: the sample's status, and of the rest only what identifies the Agent.
func (s *Sample) Status(agent *v1alpha1.Agent) (*v1alpha1.Agent, error) {
	status := *s.status.DeepCopy()
	status.ObservedGeneration = agent.Generation
	for i := range status.Conditions {
		status.Conditions[i].ObservedGeneration = agent.Generation
	}
	raw, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	update := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{
		Namespace: agent.Namespace, Name: agent.Name, UID: agent.UID, ResourceVersion: agent.ResourceVersion,
	}}
	return update, json.Unmarshal(s.replace(raw, agent), &update.Status)
}
