// Package configwatch observes the ConfigMaps, Secrets, and Models that Agents reference. Of ConfigMaps and Secrets it watches metadata only,
// and it keeps nothing of an object that no Agent references. When the version of a referenced object changes, it waits until the object is
// quiet, and reads it once.
package configwatch

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	// denied is what the operator may not do with the listed Secrets.
	denied map[access]bool
}

// access is what an object is asked for: its content, or, if watch is true, its versions.
type access struct {
	Key
	watch bool
}

// object is a referenced object.
type object struct {
	followers map[types.NamespacedName]bool
	// awaited is true if the object need not be quiet when it appears, because new Agents wait for it.
	awaited bool
	// reading is held while the object is read, so that Agents that share it cost one read.
	reading sync.Mutex
	content configrollout.Content
	known   bool
	// moved is true while the watch has reported another version than that of the content: first at firstMove, and last at lastMove.
	moved               bool
	firstMove, lastMove time.Time
	// early is what the object held at earlyMove, before it had settled, and ahead are the Agents whose pods took it.
	early     configrollout.Content
	earlyMove time.Time
	ahead     map[types.NamespacedName]bool
	// fetching is true while the object is read. reported is the version that the watch reports meanwhile, nil if none: it may be later than
	// the one that is read.
	fetching bool
	reported *string
	// failed is when the object last could not be read, zero if it could.
	failed time.Time
}

// NewStore returns a store without objects. It may read the listed Secrets, every ConfigMap, and every Model.
func NewStore(settle Settle, read Read, secrets []Key, wake func(agents []types.NamespacedName, after time.Duration)) *Store {
	s := &Store{
		settle: settle, read: read, wake: wake, now: time.Now,
		objects: map[Key]*object{}, agents: map[types.NamespacedName][]configrollout.Object{}, secrets: map[Key]bool{}, denied: map[access]bool{},
	}
	for _, secret := range secrets {
		s.secrets[secret] = true
	}
	return s
}

// Observes reports whether changes of an object are observed.
func (s *Store) Observes(key Key) bool { return key.Kind != configrollout.Secret || s.secrets[key] }

// Denied reports whether the operator has no permission to get, list, or watch a Secret that is listed. The Agents that reference it wake
// when that changes.
func (s *Store) Denied(secret Key) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.denied[access{secret, false}] || s.denied[access{secret, true}]
}

// Moving reports whether an object has changed, and may change again: the change has not settled.
func (s *Store) Moving(key Key) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	o := s.objects[key]
	return o != nil && s.untilSettled(o) > 0
}

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
			delete(o.ahead, agent)
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
			s.objects[key] = &object{followers: map[types.NamespacedName]bool{}, awaited: of.Kind == configrollout.Model}
		}
		s.objects[key].followers[agent] = true
	}
	if s.agents[agent] = objects; len(objects) == 0 {
		delete(s.agents, agent)
	}
}

// FollowAlso adds an object to those that an Agent references.
func (s *Store) FollowAlso(agent types.NamespacedName, object configrollout.Object) {
	s.mutex.Lock()
	objects := s.agents[agent]
	s.mutex.Unlock()
	if !slices.Contains(objects, object) {
		s.Follow(agent, append(slices.Clone(objects), object))
	}
}

// Contents returns the content of the objects that an Agent follows, as far as it is known, and when to ask again, 0 for when the store
// wakes the Agent. A change is not in it before it has settled. The last error of a read is returned with the other contents.
func (s *Store) Contents(ctx context.Context, agent types.NamespacedName) (configrollout.Contents, time.Duration, error) {
	return s.contents(ctx, agent, s.contentOf)
}

// Current is like Contents, but a change is in it at once: pods that start now do not wait until it has settled. It has not settled for
// other Agents, and is unknown to this one until it has: otherwise its pods would roll with each further change.
func (s *Store) Current(ctx context.Context, agent types.NamespacedName) (configrollout.Contents, error) {
	contents, _, err := s.contents(ctx, agent, s.currentOf)
	return contents, err
}

// contents returns what a function returns for each of the objects that an Agent follows. The function may hold back one at a time.
func (s *Store) contents(ctx context.Context, agent types.NamespacedName, get func(context.Context, request) (answer, error)) (configrollout.Contents, time.Duration, error) {
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
		o.reading.Lock()
		got, err := get(ctx, request{agent, key, o})
		o.reading.Unlock()
		if got.known {
			contents[of] = got.content
		}
		if got.wait > 0 && (next == 0 || got.wait < next) {
			next = got.wait
		}
		if err != nil {
			failure = err
		}
	}
	return contents, next, failure
}

// request is about an object that an Agent follows.
type request struct {
	agent  types.NamespacedName
	key    Key
	object *object
}

// answer has the content of an object, if it is known, and when to ask again.
type answer struct {
	content configrollout.Content
	known   bool
	wait    time.Duration
}

// contentOf returns the content of an object, and reads it if that is due.
func (s *Store) contentOf(ctx context.Context, of request) (answer, error) {
	s.mutex.Lock()
	o := of.object
	known := answer{o.content, o.known && (!o.moved || !o.ahead[of.agent]), s.untilRead(o)}
	due := known.wait == 0 && (!o.known || o.moved || s.denied[access{of.key, false}])
	s.mutex.Unlock()
	if !due {
		return known, nil
	}
	err := s.fetch(ctx, of, func(read configrollout.Content, movedAgain bool) {
		o.content, o.known, o.early, o.ahead = read, true, configrollout.Content{}, nil
		if o.moved = movedAgain; movedAgain {
			o.firstMove = o.lastMove
		}
		known = answer{read, true, s.untilRead(o)}
		if movedAgain {
			known.wait = max(known.wait, time.Millisecond) // an object that appears need not settle
		}
	})
	if err != nil {
		known.wait = retryRead
	}
	return known, err
}

// currentOf is like contentOf, except that the Agent gets a change that has not settled.
func (s *Store) currentOf(ctx context.Context, of request) (answer, error) {
	s.mutex.Lock()
	o := of.object
	unsettled := s.untilRead(o) > 0 && s.untilRetry(o) == 0
	due := len(o.ahead) == 0 || !o.earlyMove.Equal(o.lastMove)
	earlyMove := o.lastMove
	s.mutex.Unlock()
	if !unsettled {
		return s.contentOf(ctx, of)
	}
	if due {
		err := s.fetch(ctx, of, func(read configrollout.Content, _ bool) { o.early, o.earlyMove = read, earlyMove })
		if err != nil {
			return answer{}, err
		}
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if o.ahead == nil {
		o.ahead = map[types.NamespacedName]bool{}
	}
	o.ahead[of.agent] = true
	return answer{content: o.early, known: true}, nil
}

// fetch reads an object from the API server, and keeps its content. movedAgain is true if the watch reported another version meanwhile: it may
// be a later one. What the watch reports after that finds the content that was kept.
func (s *Store) fetch(ctx context.Context, of request, keep func(content configrollout.Content, movedAgain bool)) error {
	o := of.object
	s.mutex.Lock()
	o.fetching, o.reported = true, nil
	before := o.content
	if len(o.ahead) > 0 {
		before = o.early
	}
	s.mutex.Unlock()
	content, err := s.read(ctx, of.key, before)
	s.notePermission(access{of.key, false}, err)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	o.fetching, o.failed = false, time.Time{}
	if err != nil {
		o.failed = s.now()
		return err
	}
	keep(content, o.reported != nil && *o.reported != content.Version)
	return nil
}

// notePermission notes whether the operator may access a listed Secret, and wakes the Agents that reference it if that changed. Another
// error than Forbidden does not tell.
func (s *Store) notePermission(to access, err error) {
	if !s.secrets[to.Key] || err != nil && !apierrors.IsForbidden(err) {
		return
	}
	s.mutex.Lock()
	changed := s.denied[to] != (err != nil)
	s.denied[to] = err != nil
	var followers []types.NamespacedName
	if o := s.objects[to.Key]; o != nil && changed {
		followers = slices.Collect(maps.Keys(o.followers))
	}
	s.mutex.Unlock()
	if len(followers) > 0 {
		s.wake(followers, 0)
	}
}

// appears reports whether an object that new Agents wait for did not exist when it was last read.
func (o *object) appears() bool { return o.awaited && !o.content.Exists }

// untilRead is how long an object must not be read yet, 0 if it may be, or need not be.
func (s *Store) untilRead(o *object) time.Duration {
	return max(s.untilSettled(o), s.untilRetry(o))
}

// untilSettled is how long a change of an object waits for further ones, 0 if there is none that waits.
func (s *Store) untilSettled(o *object) time.Duration {
	if !o.moved || !o.known || o.appears() {
		return 0
	}
	due := o.lastMove.Add(s.settle.Quiet)
	if limit := o.firstMove.Add(s.settle.AtMost); limit.Before(due) {
		due = limit
	}
	return max(due.Sub(s.now()), 0)
}

// untilRetry is how long an object that could not be read is not read again, 0 if it could.
func (s *Store) untilRetry(o *object) time.Duration {
	if o.failed.IsZero() {
		return 0
	}
	return max(o.failed.Add(retryRead).Sub(s.now()), 0)
}

// Observe notes the version of an object that a watch reports, empty if it was deleted.
func (s *Store) Observe(key Key, version string) {
	s.mutex.Lock()
	o := s.objects[key]
	if o == nil || !o.known && !o.fetching {
		s.mutex.Unlock()
		return
	}
	if o.fetching {
		o.reported = &version
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
		followers = slices.Collect(maps.Keys(o.followers))
	}
	after := s.settle.Quiet
	if o.appears() {
		after = 0
	}
	s.mutex.Unlock()
	if starts {
		s.wake(followers, after)
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
