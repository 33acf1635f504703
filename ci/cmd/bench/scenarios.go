package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/cmd/bench/report"
	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// others are the scenarios without a floor, each made once.
var others = []planned{
	{scenario: report.Replicas, workload: workload{agents: 100, replicas: 3, namespaces: 10}, do: operated(phasesOnly)},
	{scenario: report.Unrelated, workload: workload{agents: 0, replicas: 1, namespaces: 10}, do: operated(unrelated)},
	{scenario: report.Delete, workload: workload{agents: 1000, replicas: 1, namespaces: 10}, do: operated(deleted)},
	{scenario: report.Crowd, workload: workload{agents: 1000, replicas: 1, namespaces: 1}, do: operated(phasesOnly)},
	{scenario: report.Spread, workload: workload{agents: 1000, replicas: 1, namespaces: 1000}, do: operated(phasesOnly)},
	{scenario: report.Slow, workload: workload{agents: 100, replicas: 1, namespaces: 10}, do: slow},
	{scenario: report.Size, workload: workload{agents: 10000, replicas: 3, namespaces: 100}, do: operated(large)},
}

// phasesOnly creates and rolls.
func phasesOnly(ctx context.Context, m *measuring, o *operating) error {
	if err := m.create(ctx, "create", o, 0, m.Agents); err != nil {
		return err
	}
	m.memory("created", o.PID())
	if err := m.roll(ctx, "roll", o, secondImage, m.Agents); err != nil {
		return err
	}
	m.memory("rolled", o.PID())
	return nil
}

// large creates as many Agents as one operator is meant for, rests, starts again and hands over.
func large(ctx context.Context, m *measuring, o *operating) error {
	if err := o.settle(ctx); err != nil {
		return err
	}
	m.memory("idle", o.PID())
	if err := m.create(ctx, "create", o, 0, m.Agents); err != nil {
		return err
	}
	m.memory("created", o.PID())
	return m.leftAlone(ctx, o)
}

const (
	unrelatedObjects = 2000 // Secrets, and as many ConfigMaps
	unrelatedSize    = 10 << 10
)

// unrelated fills the cluster with Secrets and ConfigMaps that belong to no Agent.
func unrelated(ctx context.Context, m *measuring, o *operating) error {
	if err := o.settle(ctx); err != nil {
		return err
	}
	if err := m.rest(ctx, o); err != nil {
		return err
	}
	m.memory("idle", o.PID())
	mark, err := m.Audit.End()
	if err != nil {
		return err
	}
	if err := forEach(ctx, 0, unrelatedObjects, m.createUnrelated); err != nil {
		return err
	}
	if err := m.rest(ctx, o); err != nil {
		return err
	}
	m.memory("after", o.PID())
	m.logf("%d Secrets and ConfigMaps: the operator's RSS went from %.1f to %.1f MiB", unrelatedObjects, m.Values["idle.rss"], m.Values["after.rss"])
	if err := m.count("unrelated", mark); err != nil {
		return err
	}
	again, err := m.restart(ctx, o)
	if err != nil {
		return err
	}
	defer again.end()
	if err := m.rest(ctx, again); err != nil {
		return err
	}
	m.memory("restart", again.PID())
	return nil
}

func (m *measuring) createUnrelated(ctx context.Context, i int) error {
	meta := metav1.ObjectMeta{Namespace: m.workload.namespace(i), Name: fmt.Sprintf("unrelated-%05d", i)}
	content := bytes.Repeat([]byte("flokoa, "), unrelatedSize/8)
	if err := m.api.Create(ctx, &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"content": content}}); err != nil {
		return err
	}
	return m.api.Create(ctx, &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"content": string(content)}})
}

// deleted deletes all Agents at once.
func deleted(ctx context.Context, m *measuring, o *operating) error {
	if err := m.create(ctx, "create", o, 0, m.Agents); err != nil {
		return err
	}
	m.memory("created", o.PID())
	mark, err := m.Audit.End()
	if err != nil {
		return err
	}
	used, began := m.clocks(o), time.Now()
	if err := forEach(ctx, 0, m.Agents, func(ctx context.Context, i int) error { return m.api.Delete(ctx, m.workload.agent(i)) }); err != nil {
		return err
	}
	if err := m.nothingLeft(ctx); err != nil {
		return err
	}
	m.Values["delete.seconds"] = time.Since(began).Seconds()
	m.logf("delete: nothing is left after %.1fs", m.Values["delete.seconds"])
	m.spent("delete.cpu.controlplane", used.cluster, m.CPU)
	if err := o.settle(ctx); err != nil {
		return err
	}
	m.spent("delete.cpu.operator", used.side, o.cpu)
	m.memory("deleted", o.PID())
	return m.count("delete", mark)
}

// childKinds are what is made for every Agent, by the operator and by what Kubernetes makes of that.
var childKinds = []schema.GroupVersionKind{
	appsv1.SchemeGroupVersion.WithKind("Deployment"), appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
	corev1.SchemeGroupVersion.WithKind("Pod"), corev1.SchemeGroupVersion.WithKind("Service"),
}

// nothingLeft waits until the garbage collector has removed everything that Agents had. It lists one object of a kind at a
// time, which costs the API server next to nothing.
func (m *measuring) nothingLeft(ctx context.Context) error {
	return await(ctx, 10*time.Minute, "nothing is left of the Agents", func(ctx context.Context) (bool, error) {
		for _, kind := range childKinds {
			list := &metav1.PartialObjectMetadataList{}
			list.SetGroupVersionKind(kind)
			err := m.api.List(ctx, list, client.Limit(1), client.HasLabels{v1alpha1.LabelAgent})
			if err != nil || len(list.Items) > 0 {
				return false, err
			}
		}
		return true, nil
	})
}

const (
	latency    = 200 * time.Millisecond
	refusedOff = 0.3 // the share of requests that are refused
)

// sluggish has every call answered late and a share of them refused, but for the lease: what becomes of that is another matter.
func sluggish() harness.Schedule {
	dice := rand.New(rand.NewPCG(1, 2)) // the same in every run
	late, refused := harness.Slow(latency), harness.Delayed(latency, harness.TooMany)
	return func(c harness.Call) *harness.Fault {
		if c.Resource != "leases" && dice.Float64() < refusedOff {
			return &refused
		}
		return &late
	}
}

// slow creates Agents through a proxy that does nothing, and as many others through the same when it is slow.
func slow(ctx context.Context, m *measuring) error {
	p, err := harness.NewProxy(m.Config)
	if err != nil {
		return err
	}
	defer p.End()
	o, err := m.operateThrough(ctx, p.RESTConfig())
	if err != nil {
		return err
	}
	defer o.end()
	if err := o.settle(ctx); err != nil {
		return err
	}
	for i, phase := range []struct {
		name     string
		schedule harness.Schedule
	}{{"quiet", nil}, {"slow", sluggish()}} {
		p.SetSchedule(phase.schedule)
		if err := m.create(ctx, phase.name, o, i*m.Agents, (i+1)*m.Agents); err != nil {
			return err
		}
		m.countCalls(phase.name, p.Calls())
	}
	p.ClearSchedule()
	return nil
}

// countCalls keeps how many calls passed the proxy and how fast; refused ones never reach the API server's audit log.
func (m *measuring) countCalls(name string, calls []harness.Call) {
	load := loadOf(calls)
	for what, n := range map[string]float64{
		"requests": float64(load.calls), "refused": float64(load.refused), "busiest": float64(load.busiest), "span": load.span.Seconds(),
	} {
		m.Values[name+"."+what] = n
	}
}
