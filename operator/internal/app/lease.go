package app

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"
)

// Times of the leader election.
//
// A standby reads the Lease every 1 to 2.2 retryPeriods (client-go's jitter). It sees a release within 2.4 s. It sees the last renewal of an
// operator that was killed within 2.4 s, waits for leaseDuration, and leads within 2.4 s more: 16.8 s in all.
//
// A leader stops when it could not renew for renewDeadline. Its last write is then up to renewInterval + retryPeriod + renewDeadline old, and
// its reconciles may go on for 3 s (agent's shutdownGrace): all of these together are less than leaseDuration.
const (
	leaseDuration = 12 * time.Second
	renewDeadline = 6 * time.Second
	retryPeriod   = 1100 * time.Millisecond
	// renewInterval is how old the leader's last write is, at least, when it writes again: every second attempt.
	renewInterval = 1600 * time.Millisecond
)

// newLease returns the Lease that elects a leader among the replicas of an installation.
func newLease(ctx context.Context, options Options, config *rest.Config, scheme *runtime.Scheme) (resourcelock.Interface, error) {
	namespace, err := leaseNamespace(options)
	if err != nil {
		return nil, err
	}
	config = rest.AddUserAgent(rest.CopyConfig(config), "leader-election")
	config.Timeout = renewDeadline / 2 // one request without an answer does not end the leadership
	leases, err := coordinationv1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the API server: %w", err)
	}
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the API server: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("cannot read the name of the pod: %w", err)
	}
	identity := host + "_" + string(uuid.NewUUID())
	events := record.NewBroadcaster(record.WithContext(ctx))
	events.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: core.Events("")})
	return &sparingLease{Interface: &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: namespace, Name: options.LeaseName}, Client: leases,
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity, EventRecorder: events.NewRecorder(scheme, corev1.EventSource{Component: identity})},
	}}, nil
}

// leaseNamespace returns the namespace of the leader election Lease.
func leaseNamespace(options Options) (string, error) {
	if options.LeaderElectionNamespace != "" {
		return options.LeaderElectionNamespace, nil
	}
	own, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		return "", fmt.Errorf("cannot read the pod's namespace (set --leader-election-namespace): %w", err)
	}
	return strings.TrimSpace(string(own)), nil
}

// sparingLease is a Lease that its holder renews at most once in a renewInterval. client-go has one period for two things: how often a
// candidate looks, which is how long a hand-over takes, and how often the leader writes.
type sparingLease struct {
	resourcelock.Interface
	renewed time.Time // when this process last wrote the Lease as its holder, zero if it is not known to hold it
}

// Get reads the Lease. Someone else may hold it now, and the next update is then more than a renewal.
func (l *sparingLease) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	l.renewed = time.Time{}
	return l.Interface.Get(ctx)
}

// Update writes the Lease, unless it only renews what was written less than renewInterval ago.
func (l *sparingLease) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	now, renews := time.Now(), record.HolderIdentity == l.Identity()
	if renews && now.Sub(l.renewed) < renewInterval {
		return nil
	}
	err := l.Interface.Update(ctx, record)
	if l.renewed = now; err != nil || !renews {
		l.renewed = time.Time{}
	}
	return err
}
