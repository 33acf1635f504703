package agent

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// memory keeps something about Agents between passes, for as long as they exist and this process lives. What it holds is never
// needed to be right, only to be quiet.
type memory[T any] struct {
	mutex sync.Mutex
	about map[types.NamespacedName]T
}

func (m *memory[T]) recall(agent types.NamespacedName) (T, bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	known, ok := m.about[agent]
	return known, ok
}

func (m *memory[T]) keep(agent types.NamespacedName, known T) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.about == nil {
		m.about = map[types.NamespacedName]T{}
	}
	m.about[agent] = known
}

func (m *memory[T]) forget(agent types.NamespacedName) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	delete(m.about, agent)
}
