package agent

import (
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
)

// The gauges of an Agent. The alerts and the dashboard of the chart flokoa-operator use these names.
var (
	gaugeDesired = gauge("replicas_desired", "Replicas that the Agent asks for, within the bounds of its autoscaling; 0 while suspended.")
	gaugeReady   = gauge("replicas_ready", "Replicas whose readiness probe passes.")
	gaugeAvail   = gauge("replicas_available", "Replicas that have been ready for minReadySeconds.")
	gaugeIsReady = gauge("ready", "1 while the running pods match the spec (condition Ready), else 0.")
	gaugeStalled = gauge("stalled", "1 while only a change from outside can make progress (condition Stalled), else 0.")
	gaugeHA      = gauge("highly_available", "1 while the Agent meets every requirement of high availability (condition HighlyAvailable), else 0.")
	gaugeMissing = gauge("missing_requirement", "1 for each requirement of high availability that the Agent does not meet.", "requirement")
	gaugeConfig  = gauge("config_outdated", "1 for the reason for which the pods run with another configuration than the current one (condition ConfigOutdated).", "reason")
	gaugeReason  = gauge("not_ready_reason", "1 for the reason for which the Agent is not Ready.", "reason")
)

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("flokoa_agent_"+name, help, append([]string{"namespace", "agent"}, labels...), nil)
}

// collector exports the gauges of every Agent in the cache, so no series outlives its Agent. A standby exports them too, except for
// missing requirements, which only a pass knows. So queries take the maximum by Agent. It leaves out the Agents that another operator
// reconciles and exports: what it remembers of them is out of date.
type collector struct {
	// agents are those in the cache by their key, each as the cache has it: to list them would copy all of them for every scrape.
	agents sync.Map
	// complete reports whether the cache has given it every Agent. Until then it exports nothing: a part would look like deleted Agents.
	complete   func() bool
	states     *states
	precedence Precedence // nil if this operator yields to nobody
}

// collect returns a collector that follows a cache.
func collect(ctx context.Context, agents ctrlcache.Cache, states *states, precedence Precedence) (*collector, error) {
	c := &collector{states: states, precedence: precedence}
	informer, err := agents.GetInformer(ctx, &v1alpha1.Agent{}, ctrlcache.BlockUntilSynced(false))
	if err != nil {
		return nil, err
	}
	registration, err := informer.AddEventHandler(c)
	if err != nil {
		return nil, err
	}
	c.complete = registration.HasSynced
	return c, nil
}

// OnAdd keeps an Agent.
func (c *collector) OnAdd(object any, _ bool) {
	if agent, isAgent := object.(*v1alpha1.Agent); isAgent {
		c.agents.Store(client.ObjectKeyFromObject(agent).String(), agent)
	}
}

// OnUpdate keeps an Agent as it is now.
func (c *collector) OnUpdate(_, object any) { c.OnAdd(object, false) }

// OnDelete drops an Agent.
func (c *collector) OnDelete(object any) {
	if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
		c.agents.Delete(key)
	}
}

// Describe lists the gauges.
func (*collector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{gaugeDesired, gaugeReady, gaugeAvail, gaugeIsReady, gaugeStalled, gaugeHA, gaugeMissing, gaugeReason, gaugeConfig} {
		out <- desc
	}
}

// Collect exports the status of every Agent.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	if !c.complete() {
		return
	}
	values := map[float64]*dto.Gauge{}
	for _, object := range c.agents.Range {
		agent := object.(*v1alpha1.Agent)
		if c.yields(agent.Namespace) {
			continue
		}
		labels := []*dto.LabelPair{label("agent", agent.Name), label("namespace", agent.Namespace)}
		measure(agent, c.missing(agent), func(desc *prometheus.Desc, value float64, more ...*dto.LabelPair) {
			if values[value] == nil {
				values[value] = &dto.Gauge{Value: ptr.To(value)}
			}
			out <- sample{desc, append(labels, more...), values[value]}
		})
	}
}

// sample is a series of a scrape. The registry holds all of them at a time, so they share what is equal: the labels of an Agent, and the
// values. With client_golang's constant metrics, a scrape takes more than twice the memory.
type sample struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair // sorted by name
	value  *dto.Gauge
}

// Desc is the gauge.
func (s sample) Desc() *prometheus.Desc { return s.desc }

// Write fills in the labels and the value.
func (s sample) Write(out *dto.Metric) error {
	out.Label, out.Gauge = s.labels, s.value
	return nil
}

func label(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }

// yields reports whether another operator reconciles a namespace.
func (c *collector) yields(namespace string) bool {
	if c.precedence == nil {
		return false
	}
	_, yields := c.precedence.YieldsTo(namespace)
	return yields
}

// missing returns the ids of the requirements that the Agent's status reports as missing, nil before the first pass.
func (c *collector) missing(agent *v1alpha1.Agent) []string {
	state := c.states.Load(client.ObjectKeyFromObject(agent))
	if state == nil {
		return nil
	}
	return ptr.Deref(state.missing.Load(), nil)
}

// measure emits the gauges of one Agent, with the labels that a gauge has besides namespace and agent.
func measure(agent *v1alpha1.Agent, missing []string, emit func(desc *prometheus.Desc, value float64, more ...*dto.LabelPair)) {
	status := agent.Status
	emit(gaugeDesired, float64(render.Replicas(agent, render.Live{})))
	emit(gaugeReady, float64(status.ReadyReplicas))
	emit(gaugeAvail, float64(status.AvailableReplicas))
	emit(gaugeIsReady, isTrue(status.Conditions, v1alpha1.ConditionReady))
	emit(gaugeStalled, isTrue(status.Conditions, v1alpha1.ConditionStalled))
	emit(gaugeHA, isTrue(status.Conditions, v1alpha1.ConditionHighlyAvailable))
	for _, id := range missing {
		emit(gaugeMissing, 1, label("requirement", id))
	}
	if ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); ready != nil && ready.Status != metav1.ConditionTrue {
		emit(gaugeReason, 1, label("reason", ready.Reason))
	}
	if outdated := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionConfigOutdated); outdated != nil && outdated.Status == metav1.ConditionTrue {
		emit(gaugeConfig, 1, label("reason", outdated.Reason))
	}
}

func isTrue(conditions []metav1.Condition, kind string) float64 {
	if meta.IsStatusConditionTrue(conditions, kind) {
		return 1
	}
	return 0
}
