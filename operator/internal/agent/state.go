package agent

import (
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// state is what the controller remembers of an Agent between passes. It saves requests and debounces; no pass needs it to be
// correct, so a restart may lose it. Only the pass of its Agent uses it, except for what is atomic.
type state struct {
	uid types.UID
	// synced is the last pass that found every child up to date.
	synced lastSynced
	// hold debounces pod creation failures.
	hold status.FailureHold
	// templates are the pod templates since the last complete rollout.
	templates templateHistory
	// config is what is known of the configuration.
	config configState
	// query is the last query for Events about a pod.
	query eventQuery
	// pendingSince is when the status first differed from the one that is written; zero while it does not.
	pendingSince time.Time
	// lastStatus is the hash of the status that this process last wrote or found to be correct, 0 if it is unknown. A handler of
	// events reads it. replaced is the hash of the status before that write, which a cache may still return.
	lastStatus atomic.Uint64
	replaced   uint64
	// restored is when a status that somebody else wrote was last put back.
	restored time.Time
	// conflictReported is when an Event last reported a scale conflict.
	conflictReported time.Time
	// templateReported is when an Event last reported who changed the pod template.
	templateReported templateReport
	// missing are the ids of the requirements that the written status reports as missing, nil before the first pass. Metrics read it.
	missing atomic.Pointer[[]string]
}

// states holds the state of every Agent.
type states struct {
	agents sync.Map
	// pending is how many Agents have a status that waits to be written.
	pending atomic.Int64
}

// For returns the state of an Agent, a new one if there is none. A re-created Agent, with another UID, gets a new one.
func (s *states) For(agent *v1alpha1.Agent) *state {
	key := client.ObjectKeyFromObject(agent)
	if known := s.Load(key); known != nil && known.uid == agent.UID {
		return known
	}
	s.Delete(key)
	fresh := &state{uid: agent.UID}
	s.agents.Store(key, fresh)
	return fresh
}

// Load returns the state of an Agent, nil if there is none.
func (s *states) Load(agent types.NamespacedName) *state {
	known, _ := s.agents.Load(agent)
	state, _ := known.(*state)
	return state
}

// overwritten reports whether somebody else wrote the status with this hash.
func (s *state) overwritten(sum uint64) bool {
	last := s.lastStatus.Load()
	return last != 0 && sum != last && sum != s.replaced
}

// wroteStatus reports whether an Agent has the status that this process last wrote.
func (s *states) wroteStatus(agent *v1alpha1.Agent) bool {
	state := s.Load(client.ObjectKeyFromObject(agent))
	return state != nil && state.uid == agent.UID && state.lastStatus.Load() == statusSum(&agent.Status)
}

// SetPending notes since when the status of an Agent waits to be written; the zero time is for one that does not wait.
func (s *states) SetPending(state *state, since time.Time) {
	switch {
	case state.pendingSince.IsZero() && !since.IsZero():
		s.pending.Add(1)
	case !state.pendingSince.IsZero() && since.IsZero():
		s.pending.Add(-1)
	}
	state.pendingSince = since
}

// Delete drops the state of an Agent that is gone.
func (s *states) Delete(agent types.NamespacedName) {
	if dropped := s.Load(agent); dropped != nil {
		s.SetPending(dropped, time.Time{})
		s.agents.Delete(agent)
	}
}
