package agent

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

var gaugeEnvironment = prometheus.NewDesc("flokoa_namespace_environment", "1 for each namespace with the label "+v1alpha1.LabelEnvironment+".",
	[]string{"namespace", "environment"}, nil)

// scrapeTimeout bounds the read of the Namespaces from the cache.
const scrapeTimeout = 5 * time.Second

// environments exports the environment of each namespace that has one. Alerts join it with the gauges of Agents, so a new namespace of
// production needs no change of the alerts.
type environments struct{ cached client.Reader }

// Describe lists the gauge.
func (environments) Describe(out chan<- *prometheus.Desc) { out <- gaugeEnvironment }

// Collect reads the label of every Namespace in the cache.
func (e environments) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	namespaces := &corev1.NamespaceList{}
	if err := e.cached.List(ctx, namespaces, client.UnsafeDisableDeepCopy); err != nil {
		log.Log.Error(err, "listing Namespaces for their metric")
		return
	}
	for _, namespace := range namespaces.Items {
		out <- prometheus.MustNewConstMetric(gaugeEnvironment, prometheus.GaugeValue, 1, namespace.Name, namespace.Labels[v1alpha1.LabelEnvironment])
	}
}
