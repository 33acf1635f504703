package agent

import (
	"encoding/binary"
	"hash/maphash"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// statusSum is a hash of a status as the API server stores it: without fractions of a second, and without what is empty. Every pass and
// every event of a status needs it, so it does not encode the status as JSON.
func statusSum(status *v1alpha1.AgentStatus) uint64 {
	sum := statusHash{}
	sum.SetSeed(seed)
	sum.number(status.ObservedGeneration)
	for _, count := range []int32{status.Replicas, status.UpdatedReplicas, status.ReadyReplicas, status.AvailableReplicas} {
		sum.number(int64(count))
	}
	for _, text := range []string{status.Selector, status.URL, status.Image} {
		sum.text(text)
	}
	if placement := status.Placement; placement != nil {
		sum.text("placement")
		sum.number(int64(placement.Nodes))
		sum.number(int64(placement.Zones))
	}
	for i := range status.Conditions {
		sum.condition(&status.Conditions[i])
	}
	return sum.Sum64()
}

type statusHash struct{ maphash.Hash }

func (h *statusHash) number(n int64) {
	var bytes [8]byte
	binary.LittleEndian.PutUint64(bytes[:], uint64(n))
	_, _ = h.Write(bytes[:])
}

// text adds the length, too: otherwise, two texts would count as one.
func (h *statusHash) text(s string) {
	h.number(int64(len(s)))
	_, _ = h.WriteString(s)
}

func (h *statusHash) condition(c *metav1.Condition) {
	for _, text := range []string{c.Type, string(c.Status), c.Reason, c.Message} {
		h.text(text)
	}
	h.number(c.ObservedGeneration)
	h.number(c.LastTransitionTime.Unix())
}
