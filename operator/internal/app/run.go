package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agent"
	"github.com/flokoa/flokoa/operator/internal/configrollout"
	"github.com/flokoa/flokoa/operator/internal/configwatch"
)

// Run runs the operator until the context ends; it then finishes the reconciles under way, releases the Lease and returns nil.
// version is part of the user agent of every request.
func Run(ctx context.Context, options Options, version string, logs io.Writer) error {
	limitMemory()
	limitThreads()
	logger := logr.FromSlogHandler(logHandler(options, logs))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger.WithName("client-go"))
	config, err := restConfig(options, version)
	if err != nil {
		return err
	}
	may, err := preflight(ctx, config, options.Namespaces)
	if err != nil {
		return err
	}
	precedence, err := newPrecedence(options, config, logger.WithName("precedence"))
	if err != nil {
		return err
	}
	if !may.nodes {
		logger.Info("cannot read nodes: HighlyAvailable does not cover how replicas are spread over them")
	}
	if !may.namespaces && len(options.Namespaces) == 0 {
		logger.Info("cannot read namespaces: alerts do not know which are production: bind this account to the ClusterRole of the chart flokoa-operator")
	}
	may.namespaces = may.namespaces && options.AgentMetrics      // nothing else needs them
	if len(options.Namespaces) == 0 && Unconfined(ctx, config) { // for named namespaces, the chart creates Roles only
		slog.New(logHandler(options, logs)).Warn(unconfined)
	}
	debug.FreeOSMemory() // the two schemas that preflight compared: a fifth of the memory of an idle operator
	manager, err := newManager(ctx, options, config, logger)
	if err != nil {
		return fmt.Errorf("setting up: %w", err)
	}
	if err := addProbes(ctx, manager, watched(may, len(options.Namespaces) == 0)); err != nil {
		return fmt.Errorf("setting up probes: %w", err)
	}
	settings := agent.Settings{
		Workers: options.Concurrency, ReadsNodes: may.nodes, ReadsNamespaces: may.namespaces, Metrics: options.AgentMetrics,
		Namespaces: options.Namespaces, ConfigRollouts: configRollouts(options),
	}
	if precedence != nil {
		settings.Precedence = precedence
		if err := manager.Add(precedence); err != nil {
			return fmt.Errorf("setting up the Leases of namespaces: %w", err)
		}
	}
	if err := agent.Register(ctx, manager, settings); err != nil {
		return fmt.Errorf("setting up the controller: %w", err)
	}
	if err := manager.Add(memoryReleaser{}); err != nil {
		return fmt.Errorf("setting up the release of memory: %w", err)
	}
	return start(ctx, manager)
}

// A change of a ConfigMap, Secret, or Model is read when it was quiet for configQuiet, or is configAtMost old: a person or a tool often writes
// several in a row, and applies an Agent together with its configuration.
const (
	configQuiet  = 10 * time.Second
	configAtMost = time.Minute
)

// configRollouts returns what a changed ConfigMap, Secret, or Model does.
func configRollouts(options Options) agent.ConfigRollouts {
	settings := agent.ConfigRollouts{
		Limits: configrollout.Limits{PerNamespace: options.ConfigRolloutsPerNamespace, Total: options.ConfigRollouts},
		Settle: configwatch.Settle{Quiet: configQuiet, AtMost: configAtMost},
	}
	for _, secret := range options.ConfigRolloutSecrets {
		settings.Secrets = append(settings.Secrets, configwatch.Key{
			Namespace: secret.Namespace, Object: configrollout.Object{Kind: configrollout.Secret, Name: secret.Name},
		})
	}
	return settings
}

// newPrecedence returns how this operator shares namespaces with others. It is nil for named namespaces without leader election:
// the operator then has no identity to hold their Leases with, and reconciles there whoever holds them.
func newPrecedence(options Options, config *rest.Config, logger logr.Logger) (*Precedence, error) {
	if len(options.Namespaces) > 0 && !options.LeaderElect {
		return nil, nil
	}
	namespace := options.LeaderElectionNamespace
	if options.LeaderElect {
		var err error
		if namespace, err = leaseNamespace(options); err != nil {
			return nil, err
		}
	}
	leases, err := coordinationv1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the API server: %w", err)
	}
	return NewPrecedence(namespace+"/"+options.LeaseName, options.Namespaces, leases, logger), nil
}

// How long a shutdown may take. A leader finishes the reconciles under way and releases its Lease: in a little more than the
// manager's own 30 s, and in less than the chart's grace period. A standby has nothing to finish.
const (
	stoppingLeader  = 35 * time.Second
	stoppingStandby = 2 * time.Second
)

// start runs the manager until the context ends, and then for a bounded time: a manager whose caches never synced does not
// return at all.
func start(ctx context.Context, manager ctrl.Manager) error {
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	limit, late := stoppingStandby, error(nil)
	select {
	case <-manager.Elected():
		limit, late = stoppingLeader, fmt.Errorf("did not stop within %s", stoppingLeader)
	default:
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(limit):
		return late
	}
}

// restConfig returns the client configuration of the kubeconfig files or, without any, of the ServiceAccount of this pod.
func restConfig(options Options, version string) (*rest.Config, error) {
	config := options.Kubeconfig
	if config == nil {
		var err error
		if config, err = rest.InClusterConfig(); err != nil {
			return nil, fmt.Errorf("cannot reach the API server (set --kubeconfig or KUBECONFIG, or run in a pod with a ServiceAccount): %w", err)
		}
	}
	config.QPS, config.Burst = float32(options.KubeAPIQPS), options.KubeAPIBurst
	config.UserAgent = "flokoa-operator/" + version
	config.DisableCompression = true // it costs both sides more CPU than the network of a cluster is worth
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return metadataOnly{next} })
	return config, nil
}

// newScheme has only the kinds that the operator uses: all kinds of Kubernetes would cost megabytes.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, autoscalingv2.AddToScheme, coordinationv1.AddToScheme, corev1.AddToScheme, policyv1.AddToScheme, v1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return scheme, nil
}

func newManager(ctx context.Context, options Options, config *rest.Config, logger logr.Logger) (ctrl.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	var lease resourcelock.Interface
	if options.LeaderElect {
		if lease, err = newLease(ctx, options, config, scheme); err != nil {
			return nil, err
		}
	}
	return ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme,
		Logger: logger,
		Cache:  CacheOptions(options.Namespaces),
		Client: client.Options{Cache: &client.CacheOptions{
			// A reconcile after a write sees that write: it never applies an unchanged child twice, and never computes a status
			// from the state before the write.
			EnableReadYourWritesConsistency: ptr.To(true),
		}},
		Metrics:                             metricsserver.Options{BindAddress: options.MetricsBindAddress},
		HealthProbeBindAddress:              options.HealthProbeBindAddress,
		PprofBindAddress:                    options.PprofBindAddress,
		LeaderElection:                      options.LeaderElect,
		LeaderElectionResourceLockInterface: lease,
		LeaderElectionReleaseOnCancel:       true,
		LeaseDuration:                       ptr.To(leaseDuration),
		RenewDeadline:                       ptr.To(renewDeadline),
		RetryPeriod:                         ptr.To(retryPeriod),
	})
}

// watched returns the kinds in the operator's caches.
func watched(may readable, leases bool) []client.Object {
	kinds := []client.Object{
		&v1alpha1.Agent{}, &v1alpha1.Model{}, &appsv1.Deployment{}, &corev1.Service{}, &corev1.ConfigMap{}, &policyv1.PodDisruptionBudget{},
		&autoscalingv2.HorizontalPodAutoscaler{}, &corev1.Pod{},
	}
	if may.nodes {
		kinds = append(kinds, &corev1.Node{})
	}
	if may.namespaces {
		kinds = append(kinds, &corev1.Namespace{})
	}
	if leases {
		kinds = append(kinds, &coordinationv1.Lease{})
	}
	return kinds
}

// addProbes serves /healthz while the process answers, and /readyz once every cache has synced, on the leader and on a standby.
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
