package agent

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

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

// scrapeTimeout bounds the read of the Agents from the cache.
const scrapeTimeout = 5 * time.Second

// collector exports the gauges of every Agent. It reads the cache on every scrape, so no series outlives its Agent. A standby exports
// them too, except for missing requirements, which only a pass knows. So queries take the maximum by Agent. It leaves out the Agents
// that another operator reconciles and exports: what it remembers of them is out of date.
type collector struct {
	cached     client.Reader
	states     *states
	precedence Precedence // nil if this operator yields to nobody
}

// Describe lists the gauges.
func (collector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{gaugeDesired, gaugeReady, gaugeAvail, gaugeIsReady, gaugeStalled, gaugeHA, gaugeMissing, gaugeReason, gaugeConfig} {
		out <- desc
	}
}

// Collect reads every Agent's status.
func (c collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	agents := &v1alpha1.AgentList{}
	if err := c.cached.List(ctx, agents, client.UnsafeDisableDeepCopy); err != nil {
		log.Log.Error(err, "listing Agents for their metrics")
		return
	}
	for i := range agents.Items {
		if c.yields(agents.Items[i].Namespace) {
			continue
		}
		measure(&agents.Items[i], c.missing(&agents.Items[i]), func(desc *prometheus.Desc, value float64, labels ...string) {
			labels = append([]string{agents.Items[i].Namespace, agents.Items[i].Name}, labels...)
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
		})
	}
}

// yields reports whether another operator reconciles a namespace.
func (c collector) yields(namespace string) bool {
	if c.precedence == nil {
		return false
	}
	_, yields := c.precedence.YieldsTo(namespace)
	return yields
}

// missing returns the ids of the requirements that the Agent's status reports as missing, nil before the first pass.
func (c collector) missing(agent *v1alpha1.Agent) []string {
	state := c.states.Load(client.ObjectKeyFromObject(agent))
	if state == nil {
		return nil
	}
	return ptr.Deref(state.missing.Load(), nil)
}

// measure emits the gauges of one Agent.
func measure(agent *v1alpha1.Agent, missing []string, emit func(desc *prometheus.Desc, value float64, labels ...string)) {
	status := agent.Status
	emit(gaugeDesired, float64(render.Replicas(agent, render.Live{})))
	emit(gaugeReady, float64(status.ReadyReplicas))
	emit(gaugeAvail, float64(status.AvailableReplicas))
	emit(gaugeIsReady, isTrue(status.Conditions, v1alpha1.ConditionReady))
	emit(gaugeStalled, isTrue(status.Conditions, v1alpha1.ConditionStalled))
	emit(gaugeHA, isTrue(status.Conditions, v1alpha1.ConditionHighlyAvailable))
	for _, id := range missing {
		emit(gaugeMissing, 1, id)
	}
	if ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); ready != nil && ready.Status != metav1.ConditionTrue {
		emit(gaugeReason, 1, ready.Reason)
	}
	if outdated := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionConfigOutdated); outdated != nil && outdated.Status == metav1.ConditionTrue {
		emit(gaugeConfig, 1, outdated.Reason)
	}
}

func isTrue(conditions []metav1.Condition, kind string) float64 {
	if meta.IsStatusConditionTrue(conditions, kind) {
		return 1
	}
	return 0
}
