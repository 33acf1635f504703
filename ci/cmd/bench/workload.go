package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// workers is how many requests the clients of the benchmark have under way at a time: as many as the operator works on Agents,
// the default of its --concurrency.
const workers = 8

// The images that Agents are given one after the other. They are of one length, as their names are: each costs the same.
const (
	firstImage  = "registry.example/agent:v1"
	secondImage = "registry.example/agent:v2"
	thirdImage  = "registry.example/agent:v3"
)

// workload is what is brought onto a control plane.
type workload struct{ agents, replicas, namespaces int }

func (w workload) namespace(i int) string { return fmt.Sprintf("bench-%05d", i%w.namespaces) }

// agent is the i-th: one port, one variable, and every default.
func (w workload) agent(i int) *v1alpha1.Agent {
	return w.named(fmt.Sprintf("agent-%05d", i), w.namespace(i))
}

func (w workload) named(name, namespace string) *v1alpha1.Agent {
	agent := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	agent.Spec.Runtime.Spec = v1alpha1.RuntimeSpec{Replicas: ptr.To(int32(w.replicas)), Container: corev1.Container{
		Name:  "agent",
		Image: firstImage,
		Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
		Env:   []corev1.EnvVar{{Name: "LEVEL", Value: "info"}},
	}}
	return agent
}

// create makes the i-th Agent.
func (w workload) create(ctx context.Context, api client.Client, i int) (*v1alpha1.Agent, error) {
	agent := w.agent(i)
	return agent, api.Create(ctx, agent)
}

// reimage gives the i-th Agent another image.
func (w workload) reimage(ctx context.Context, api client.Client, i int, image string) (*v1alpha1.Agent, error) {
	agent := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace(i), Name: w.agent(i).Name}}
	patch := `[{"op":"replace","path":"/spec/runtime/spec/container/image","value":"` + image + `"}]`
	return agent, api.Patch(ctx, agent, client.RawPatch(types.JSONPatchType, []byte(patch)))
}

// forEach does something for all numbers from one up to another, a few at a time, and returns what went wrong first.
func forEach(ctx context.Context, from, to int, do func(context.Context, int) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var next atomic.Int64
	next.Store(int64(from))
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < to && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(ctx, i); err != nil {
					fail(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}
