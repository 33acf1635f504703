package kind_test

import (
	"fmt"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// The quota of dev is full to the last pod when all its Agents roll at once: fifteen replicas, and a new pod for each while the old
// one takes its time to stop. One of them is called meanwhile.
func rolloutInFullQuota(s *fixture) {
	const agents, replicas = 10, 15
	var names []string
	for i := range agents {
		name := fmt.Sprintf("agent-%d", i)
		names = append(names, name)
		s.apply(name, int32(1+i%2), func(a *v1alpha1.Agent) {
			a.Spec.Availability = &v1alpha1.Availability{DrainSeconds: ptr.To[int32](20)}
			a.Spec.Runtime.Spec.TerminationGracePeriodSeconds = ptr.To[int64](60)
		})
	}
	for _, name := range names {
		s.waitReady(name)
	}
	quota := &corev1.ResourceQuota{}
	require.NoError(s, api.Get(s.Context(), keyIn(s, "flokoa"), quota))
	require.EqualValues(s, 2*replicas, quota.Spec.Hard.Pods().Value(), "twice the pods are all that the quota has")
	l := s.startLoad("agent-1")
	completes := criterion{"0 failed, completes, nothing stalls", func(o outcome) (string, error) {
		measured, err := neverBelow(2).holds(o)
		return fmt.Sprintf("%d replicas rolled in %.0f s%s", replicas, o.took.Seconds(), measured), err
	}}
	l.measure("all Agents of a full quota roll at once, 20 s slow to stop", 2, completes, func() {
		for _, name := range names {
			s.setImage(name, newImage())
		}
		for _, name := range names {
			s.waitReady(name)
		}
	})
}
