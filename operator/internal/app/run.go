package app

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agent"
	"github.com/flokoa/flokoa/operator/internal/scope"
)

// A standby looks at the lease every 1 to 2.2 retryPeriods (client-go's jitter): 1.3 s at most. That is how long it takes to
// take over a lease that was given up; one that is no longer renewed is taken over that much after leaseDuration. The price
// is a request every retryPeriod from each operator.
const (
	leaseDuration = 13 * time.Second
	renewDeadline = 9 * time.Second
	retryPeriod   = 600 * time.Millisecond
)

// Run runs the operator until the context ends; it then finishes the passes under way, gives up the lease and returns nil.
// version stands in the user agent of every request.
func Run(ctx context.Context, options Options, version string, logs io.Writer) error {
	spareMemory()
	logger := logr.FromSlogHandler(logHandler(options, logs))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger.WithName("client-go"))
	config, err := restConfig(options, version)
	if err != nil {
		return err
	}
	readsNodes, err := preflight(ctx, config, options.Namespaces)
	if err != nil {
		return err
	}
	where, err := newScope(ctx, options, config, logger)
	if err != nil {
		return err
	}
	if !readsNodes {
		logger.Info("nodes may not be read: HighlyAvailable says what it could not judge")
	}
	debug.FreeOSMemory() // both schemas that preflight compared: a fifth of what an idle operator would hold
	manager, err := newManager(options, config, logger)
	if err != nil {
		return fmt.Errorf("setting up: %w", err)
	}
	if err := addProbes(ctx, manager, watched(readsNodes)); err != nil {
		return fmt.Errorf("setting up probes: %w", err)
	}
	settings := agent.Settings{Workers: options.Concurrency, ReadsNodes: readsNodes, Metrics: options.AgentMetrics}
	if where != nil {
		settings.Open = where.Open()
		if err := manager.Add(where); err != nil {
			return fmt.Errorf("setting up the claim on namespaces: %w", err)
		}
	}
	if err := agent.Register(ctx, manager, settings); err != nil {
		return fmt.Errorf("setting up the controller: %w", err)
	}
	if err := manager.Add(returning{}); err != nil {
		return fmt.Errorf("setting up the return of memory: %w", err)
	}
	err = start(ctx, manager)
	if where != nil {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), givingUp)
		defer cancel()
		where.GiveUp(ending) // now that nothing is being worked on
	}
	return err
}

// newScope is where this operator works, nil without leader election: then nothing tells it from another one. It is an error
// when another operator works there.
func newScope(ctx context.Context, options Options, config *rest.Config, logger logr.Logger) (*scope.Scope, error) {
	if !options.LeaderElect {
		return nil, nil
	}
	namespace := options.LeaderElectionNamespace
	if namespace == "" {
		own, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
		if err != nil {
			return nil, fmt.Errorf("the pod's namespace is not known (give --leader-election-namespace): %w", err)
		}
		namespace = strings.TrimSpace(string(own))
	}
	where, err := scope.New(config, namespace, options.LeaseName, options.Namespaces, logger.WithName("scope"))
	if err != nil {
		return nil, err
	}
	return where, where.Check(ctx)
}

// How long stopping may take: a leader finishes the passes under way and gives up its lease, in a little more than the
// manager's own 30 s and less than the chart's grace period; a standby has nothing to finish.
const (
	stoppingLeader  = 35 * time.Second
	stoppingStandby = 2 * time.Second
	givingUp        = 3 * time.Second
)

// start runs the manager until the context ends, and then for a bounded time: a manager whose caches never filled does
// not return at all.
func start(ctx context.Context, manager ctrl.Manager) error {
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	patience, late := stoppingStandby, error(nil)
	select {
	case <-manager.Elected():
		patience, late = stoppingLeader, fmt.Errorf("did not stop within %s", stoppingLeader)
	default:
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(patience):
		return late
	}
}

// restConfig is how the API server is reached.
func restConfig(options Options, version string) (*rest.Config, error) {
	config, err := rest.InClusterConfig()
	if options.Kubeconfig != "" {
		config, err = clientcmd.BuildConfigFromFlags("", options.Kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("no way to the API server (give --kubeconfig, or run in a pod with a ServiceAccount): %w", err)
	}
	config.QPS, config.Burst = float32(options.KubeAPIQPS), options.KubeAPIBurst
	config.UserAgent = "flokoa-operator/" + version
	return config, nil
}

// newScheme knows the kinds the operator deals in and no others: all of Kubernetes' would cost megabytes.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, autoscalingv2.AddToScheme, corev1.AddToScheme, policyv1.AddToScheme, v1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return scheme, nil
}

func newManager(options Options, config *rest.Config, logger logr.Logger) (ctrl.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	return ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme,
		Logger: logger,
		Cache:  CacheOptions(options.Namespaces),
		Client: client.Options{Cache: &client.CacheOptions{
			// A pass that follows a write sees it: an unchanged child is never applied twice, and no status is computed from
			// what was before the write.
			EnableReadYourWritesConsistency: ptr.To(true),
		}},
		Metrics:                       metricsserver.Options{BindAddress: options.MetricsBindAddress},
		HealthProbeBindAddress:        options.HealthProbeBindAddress,
		LeaderElection:                options.LeaderElect,
		LeaderElectionID:              options.LeaseName,
		LeaderElectionNamespace:       options.LeaderElectionNamespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 ptr.To(leaseDuration),
		RenewDeadline:                 ptr.To(renewDeadline),
		RetryPeriod:                   ptr.To(retryPeriod),
	})
}

// watched are the kinds the operator keeps in its caches.
func watched(nodes bool) []client.Object {
	kinds := []client.Object{
		&v1alpha1.Agent{}, &appsv1.Deployment{}, &corev1.Service{}, &corev1.ConfigMap{}, &policyv1.PodDisruptionBudget{},
		&autoscalingv2.HorizontalPodAutoscaler{}, &corev1.Pod{},
	}
	if nodes {
		kinds = append(kinds, &corev1.Node{})
	}
	return kinds
}

// addProbes serves /healthz while the process answers, and /readyz once every cache has its objects: leader or standby.
func addProbes(ctx context.Context, manager ctrl.Manager, kinds []client.Object) error {
	if err := manager.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	var informers []cache.Informer
	for _, object := range kinds {
		informer, err := manager.GetCache().GetInformer(ctx, object, cache.BlockUntilSynced(false))
		if err != nil {
			return err
		}
		informers = append(informers, informer)
	}
	return manager.AddReadyzCheck("caches", func(*http.Request) error {
		for i, informer := range informers {
			if !informer.HasSynced() {
				return fmt.Errorf("the cache of %T has not synced", kinds[i])
			}
		}
		return nil
	})
}
