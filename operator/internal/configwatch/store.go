// Package configwatch observes the ConfigMaps and Secrets that Agents reference. It watches metadata only, and keeps nothing of an object
// that no Agent references. When the version of a referenced object changes, it waits until the object is quiet, and reads it once.
package configwatch

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flokoa/flokoa/operator/internal/configrollout"
)

// Settle is how long a change waits for further changes of the same object: a person or a tool often writes several in a row, and applies
// an Agent together with its configuration.
type Settle struct {
	// Quiet is for how long the object must not change, and AtMost is when its content is read although it still does.
	Quiet, AtMost time.Duration
}

// retryRead is when an object that could not be read is read again.
const retryRead = 10 * time.Second

// Read reads an object from the API server. before is its content when it was last read.
type Read func(ctx context.Context, key Key, before configrollout.Content) (configrollout.Content, error)

// Key identifies an object.
type Key struct {
	Namespace string
	configrollout.Object
}

// Store holds the content of the objects that Agents reference.
type Store struct {
	settle Settle
	read   Read
	// wake has Agents ask for their contents again after a delay.
	wake func(agents []types.NamespacedName, after time.Duration)
	now  func() time.Time

	mutex   sync.Mutex
	objects map[Key]*object
	agents  map[types.NamespacedName][]configrollout.Object
	secrets map[Key]bool
}

// object is a referenced object.
type object struct {
	followers map[types.NamespacedName]bool
	// reading is held while the object is read, so that Agents that share it cost one read.
	reading sync.Mutex
	content configrollout.Content
	known   bool
	// moved is true while the watch has reported another version than that of the content: first at firstMove, and last at lastMove.
	moved               bool
	firstMove, lastMove time.Time
	// fetching is true while the object is read. What the watch reports meanwhile may be about a later version than the one read.
	fetching bool
	// failed is when the object last could not be read, zero if it could.
	failed time.Time
}

// NewStore returns a store without objects. It may read the listed Secrets, and every ConfigMap.
func NewStore(settle Settle, read Read, secrets []Key, wake func(agents []types.NamespacedName, after time.Duration)) *Store {
	s := &Store{
		settle: settle, read: read, wake: wake, now: time.Now,
		objects: map[Key]*object{}, agents: map[types.NamespacedName][]configrollout.Object{}, secrets: map[Key]bool{},
	}
	for _, secret := range secrets {
		s.secrets[secret] = true
	}
	return s
}

// Observes reports whether changes of an object are observed.
func (s *Store) Observes(key Key) bool { return key.Kind == configrollout.ConfigMap || s.secrets[key] }

// Follow sets which objects an Agent references; none if it is gone. The store forgets an object that no Agent references.
func (s *Store) Follow(agent types.NamespacedName, objects []configrollout.Object) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	before := s.agents[agent]
	if slices.Equal(before, objects) {
		return
	}
	for _, of := range before {
		key := Key{agent.Namespace, of}
		if o := s.objects[key]; o != nil && !slices.Contains(objects, of) {
			if delete(o.followers, agent); len(o.followers) == 0 {
				delete(s.objects, key)
			}
		}
	}
	for _, of := range objects {
		key := Key{agent.Namespace, of}
		if !s.Observes(key) {
			continue
		}
		if s.objects[key] == nil {
			s.objects[key] = &object{followers: map[types.NamespacedName]bool{}}
		}
		s.objects[key].followers[agent] = true
	}
	if s.agents[agent] = objects; len(objects) == 0 {
		delete(s.agents, agent)
	}
}

// Contents returns the content of the objects that an Agent follows, as far as it is known, and when to ask again, 0 for when the store
// wakes the Agent. A change is not in it before it has settled. The last error of a read is returned with the other contents.
func (s *Store) Contents(ctx context.Context, agent types.NamespacedName) (configrollout.Contents, time.Duration, error) {
	return s.contents(ctx, agent, s.untilRead)
}

// Current is like Contents, but a change is in it at once: pods that start now do not wait until it has settled.
func (s *Store) Current(ctx context.Context, agent types.NamespacedName) (configrollout.Contents, error) {
	contents, _, err := s.contents(ctx, agent, s.untilRetry)
	return contents, err
}

// contents returns the content of the objects that an Agent follows. until is how long an object must not be read yet.
func (s *Store) contents(ctx context.Context, agent types.NamespacedName, until func(*object) time.Duration) (configrollout.Contents, time.Duration, error) {
	s.mutex.Lock()
	objects := s.agents[agent]
	s.mutex.Unlock()
	contents := configrollout.Contents{}
	var next time.Duration
	var failure error
	for _, of := range objects {
		key := Key{agent.Namespace, of}
		s.mutex.Lock()
		o := s.objects[key]
		s.mutex.Unlock()
		if o == nil {
			continue
		}
		content, known, wait, err := s.contentOf(ctx, key, o, until)
		if known {
			contents[of] = content
		}
		if wait > 0 && (next == 0 || wait < next) {
			next = wait
		}
		if err != nil {
			failure = err
		}
	}
	return contents, next, failure
}

// contentOf returns the content of an object, and reads it if that is due.
func (s *Store) contentOf(ctx context.Context, key Key, o *object, until func(*object) time.Duration) (content configrollout.Content, known bool, wait time.Duration, err error) {
	o.reading.Lock()
	defer o.reading.Unlock()
	s.mutex.Lock()
	wait = until(o)
	content, known = o.content, o.known
	due := wait == 0 && (!known || o.moved)
	o.fetching = due
	lastMove := o.lastMove
	s.mutex.Unlock()
	if !due {
		return content, known, wait, nil
	}
	read, err := s.read(ctx, key, content)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	o.fetching = false
	if err != nil {
		o.failed = s.now()
		return content, known, retryRead, err
	}
	o.content, o.known, o.failed = read, true, time.Time{}
	if o.moved = o.moved && !o.lastMove.Equal(lastMove); o.moved { // reported during the read: it may be about a later version
		o.firstMove = o.lastMove
	}
	return read, true, s.untilRead(o), nil
}

// untilRead is how long an object must not be read yet, 0 if it may be, or need not be.
func (s *Store) untilRead(o *object) time.Duration {
	var due time.Time
	if o.moved && o.known {
		due = o.lastMove.Add(s.settle.Quiet)
		if limit := o.firstMove.Add(s.settle.AtMost); limit.Before(due) {
			due = limit
		}
	}
	return max(due.Sub(s.now()), s.untilRetry(o))
}

// untilRetry is how long an object that could not be read is not read again, 0 if it could.
func (s *Store) untilRetry(o *object) time.Duration {
	if o.failed.IsZero() {
		return 0
	}
	return max(o.failed.Add(retryRead).Sub(s.now()), 0)
}

// observe notes the version of an object that the watch reports, empty if it was deleted.
func (s *Store) observe(key Key, version string) {
	s.mutex.Lock()
	o := s.objects[key]
	if o == nil || !o.known && !o.fetching {
		s.mutex.Unlock()
		return
	}
	was, now := o.moved, s.now()
	o.moved = o.fetching || version != o.content.Version
	switch {
	case o.moved && was:
		o.lastMove = now
	case o.moved:
		o.firstMove, o.lastMove = now, now
	}
	starts := o.moved && !was
	var followers []types.NamespacedName
	if starts {
		for agent := range o.followers {
			followers = append(followers, agent)
		}
	}
	s.mutex.Unlock()
	if starts {
		s.wake(followers, s.settle.Quiet)
	}
}

// follows reports whether any Agent references an object.
func (s *Store) follows(key Key) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.objects[key] != nil
}

// followed returns the referenced objects that a filter selects.
func (s *Store) followed(selected func(Key) bool) []Key {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var keys []Key
	for key := range s.objects {
		if selected(key) {
			keys = append(keys, key)
		}
	}
	return keys
}
