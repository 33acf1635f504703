package kind_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Agents go on without the operator, and without the API server: neither stands between them and their callers.
func TestAgentsServeWithoutTheControlPlane(t *testing.T) {
	s := newFixture(t, "production")
	s.create("steady", 3)
	l := s.startLoad("steady")
	same := s.noRestart("steady", 3)
	l.measure("the operator's leader is killed and another leads", 3, same, func() {
		was := s.leader()
		s.kubectl("--namespace", system, "delete", "pod", podOf(was), "--grace-period=0", "--force")
		s.eventually("another leads", waitTimeout, func() error {
			if now := s.leader(); now == was || now == "" {
				return fmt.Errorf("%s does", now)
			}
			return nil
		})
		require.NoError(s, waitOperatorReady(s.Context()))
	})
	l.measure("the operator's chart is upgraded", 3, same, func() {
		out, err := helm(s.Context(), "upgrade", "flokoa-operator", "charts/flokoa-operator", "--reuse-values", "--set", "log.level=debug", "--wait", "--timeout", "3m").CombinedOutput()
		require.NoError(s, err, "%s", out)
		require.NoError(s, waitOperatorReady(s.Context()))
	})
	t.Run("API server", func(t *testing.T) {
		needsKind(t, "stopping the API server")
		l := l.forSubtest(t)
		l.measure("the API server is down for 60 s", 3, same, func() { l.withoutAPIServer(time.Minute) })
	})
	// Whoever leads now works: a change is carried out. Kubernetes' own controllers take a while to come back, too.
	s.setImage("steady", newImage())
	s.waitReadyWithin(2*waitTimeout, "steady")
}

// noRestart: not one failed request, and the pods are those of now, with no container started again.
func (s *fixture) noRestart(agent string, replicas int32) criterion {
	s.Helper()
	before := s.containerRestarts(agent)
	return criterion{"0 failed, no pod restarted", func(o outcome) (string, error) {
		if after := s.containerRestarts(agent); fmt.Sprint(after) != fmt.Sprint(before) {
			return "", fmt.Errorf("the pods were %v and are %v", before, after)
		}
		return neverBelow(replicas).holds(o)
	}}
}

// leader is who holds the operator's lease: a pod's name and an id.
func (s *fixture) leader() string {
	s.Helper()
	lease := &coordinationv1.Lease{}
	require.NoError(s, api.Get(s.Context(), client.ObjectKey{Namespace: system, Name: "flokoa-operator"}, lease))
	return ptr.Deref(lease.Spec.HolderIdentity, "")
}

func podOf(holder string) string {
	name, _, _ := strings.Cut(holder, "_")
	return name
}

// withoutAPIServer takes the API server away for a while: the kubelet runs it as long as its manifest is there.
func (s *fixture) withoutAPIServer(span time.Duration) {
	s.Helper()
	const manifest, aside = "/etc/kubernetes/manifests/kube-apiserver.yaml", "/root/kube-apiserver.yaml"
	_, err := onNode(s.Context(), cluster.callerNode, "mv", manifest, aside)
	require.NoError(s, err)
	restore := func() error {
		_, err := onNode(context.Background(), cluster.callerNode, "sh", "-c", "test ! -e "+aside+" || mv "+aside+" "+manifest)
		return err
	}
	s.Cleanup(func() { _ = restore() })
	answers := func(ctx context.Context) error {
		return api.Get(ctx, client.ObjectKey{Name: "default"}, &corev1.Namespace{})
	}
	s.eventually("the API server is away", waitTimeout, func() error {
		if answers(s.Context()) == nil {
			return fmt.Errorf("it answers")
		}
		return nil
	})
	timer := time.NewTimer(span)
	defer timer.Stop()
	<-timer.C
	require.NoError(s, restore())
	require.NoError(s, waitFor(s.Context(), "the API server answers", waitTimeout, answers))
	s.waitReady("steady")
}
