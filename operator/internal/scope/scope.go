// Package scope keeps two operators from working in the same namespace. An operator that leads holds a claim in each of its
// namespaces: a Lease whose holder is the installation, so that its replicas share it. Who works in all namespaces holds one claim
// in its own, and refuses the claims that others make later. operator/decisions/0005 has the protocol and what it does not promise.
package scope

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

const (
	// LeaseName is the name of every claim. It has dots, which no lease that operators elect their leader by has.
	LeaseName = "scope.flokoa.ai"
	// AnnotationRefusedBy is what an operator that works in all namespaces puts on the claim of another: its own name.
	AnnotationRefusedBy = "flokoa.ai/refused-by"
)

// A claim holds for lasts after it was renewed: longer than a leader that lost its lease goes on with passes it has begun, and
// than it takes a standby to become leader. One that was given up holds for handover, time enough for a standby.
// A claim that is over by the clock is looked at for a while before it is taken: clocks differ.
const (
	renewal  = 10 * time.Second
	lasts    = 40 * time.Second
	handover = 5 * time.Second
	look     = 15 * time.Second
	// settling is how long a new claim waits to be refused before work begins. Refusing takes a watch event and a request.
	settling = 3 * time.Second
)

// Scope is where one operator works.
type Scope struct {
	client coordinationv1client.CoordinationV1Interface
	logger logr.Logger
	// holder names the installation.
	holder string
	// everywhere is true for all namespaces; claims are the namespaces that hold a claim of it.
	everywhere bool
	claims     []string
	// held are the claims as they were last written, by namespace.
	held map[string]*coordinationv1.Lease
	open chan struct{}
	// works is true when it is let in and nobody refuses it: a standby may go on with its claims then.
	works bool
}

// New is the scope of an installation, named by namespace and name of the lease that its replicas elect a leader by. No
// namespaces means all.
func New(config *rest.Config, leaseNamespace, leaseName string, namespaces []string, logger logr.Logger) (*Scope, error) {
	client, err := coordinationv1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("no way to the API server: %w", err)
	}
	s := &Scope{
		client: client, logger: logger, holder: leaseNamespace + "/" + leaseName,
		everywhere: len(namespaces) == 0, claims: namespaces,
		held: map[string]*coordinationv1.Lease{}, open: make(chan struct{}),
	}
	if s.everywhere {
		s.claims = []string{leaseNamespace}
	}
	return s, nil
}

// Open is closed when work may begin.
func (s *Scope) Open() <-chan struct{} { return s.open }

// NeedLeaderElection says that a standby claims nothing.
func (s *Scope) NeedLeaderElection() bool { return true }

// Check says, without a write, whether another operator works where this one is to.
func (s *Scope) Check(ctx context.Context) error {
	found, err := s.read(ctx)
	if err != nil || !s.everywhere || s.continues(found) {
		return err
	}
	return s.seeOthers(ctx)
}

// Start claims the namespaces, opens, and renews the claims until the context ends. It returns an error when another operator
// works there.
func (s *Scope) Start(ctx context.Context) error {
	err := s.start(ctx)
	if refused := (*conflict)(nil); errors.As(err, &refused) {
		s.works = false
	}
	select {
	case <-ctx.Done():
		return nil // it was asked to stop, and whatever went wrong did so for that
	default:
		return err
	}
}

func (s *Scope) start(ctx context.Context) error {
	continues, err := s.claim(ctx)
	if err == nil && !continues {
		err = s.enter(ctx)
	}
	if s.works = err == nil; !s.works {
		return err
	}
	if s.everywhere {
		go s.refuseOthers(ctx)
	}
	close(s.open)
	for err == nil {
		if err = sleep(ctx, renewal); err == nil {
			err = s.renew(ctx)
		}
	}
	return err
}

// enter finds out whether another operator works where nobody of this installation did until now. Who works everywhere sees all
// who claimed before it lists them, and refuses all who claim later; who does not waits to be refused. Only then do the claims
// say since when it works: one that ends before, and starts again, has to find out anew.
func (s *Scope) enter(ctx context.Context) (err error) {
	if s.everywhere {
		err = s.seeOthers(ctx)
	} else {
		err = sleep(ctx, settling)
	}
	if err != nil {
		return err
	}
	s.works = true
	for _, namespace := range s.claims {
		if err := s.renewOne(ctx, namespace); err != nil {
			return err
		}
	}
	return nil
}

// GiveUp ends the claims after Start has returned. Those of an operator that worked hold for a moment still, in which a standby
// of the same installation may go on with them.
func (s *Scope) GiveUp(ctx context.Context) {
	for namespace, held := range s.held {
		live, err := s.client.Leases(namespace).Get(ctx, LeaseName, metav1.GetOptions{})
		if err == nil && live.Spec.RenewTime.Equal(held.Spec.RenewTime) { // else a standby goes on with it already
			live.Spec.RenewTime, live.Spec.LeaseDurationSeconds = now(), seconds(handover)
			if !s.works {
				live.Spec.HolderIdentity = nil
			}
			_, err = s.client.Leases(namespace).Update(ctx, live, metav1.UpdateOptions{})
		}
		if err != nil {
			s.logger.Info("the claim was not given up: it ends by itself", "namespace", namespace, "err", err)
		}
	}
}

// claim takes all namespaces. continues is true when this installation held all of them until now, so that nobody can have
// taken one in between.
func (s *Scope) claim(ctx context.Context) (continues bool, err error) {
	for continues = true; ; {
		found, err := s.read(ctx)
		if err != nil {
			return false, err
		}
		continues = continues && s.continues(found)
		if err := sleep(ctx, s.doubt(found)); err != nil {
			return false, err
		}
		err = s.writeAll(ctx, found)
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			return continues, err
		}
		// Someone has written a claim since it was read, and reading it again shows who.
	}
}

func (s *Scope) writeAll(ctx context.Context, found map[string]*coordinationv1.Lease) error {
	for _, namespace := range s.claims {
		if err := s.write(ctx, namespace, found[namespace]); err != nil {
			return err
		}
	}
	return nil
}

// read are the claims there are in the namespaces of this operator. It is an error when one of them is another's.
func (s *Scope) read(ctx context.Context) (map[string]*coordinationv1.Lease, error) {
	found := map[string]*coordinationv1.Lease{}
	for _, namespace := range s.claims {
		lease, err := s.client.Leases(namespace).Get(ctx, LeaseName, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, s.explain(namespace, err)
		case s.isOthers(lease):
			return nil, worksThere(lease)
		default:
			found[namespace] = lease
		}
	}
	return found, nil
}

// seeOthers is an error when another operator has a claim anywhere.
func (s *Scope) seeOthers(ctx context.Context) error {
	all, err := s.client.Leases(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + LeaseName})
	if err != nil {
		return s.explain("", err)
	}
	for i := range all.Items {
		if s.isOthers(&all.Items[i]) {
			return worksThere(&all.Items[i])
		}
	}
	return nil
}

// write makes or renews a claim that was read, nil when there was none, unless it has changed since.
func (s *Scope) write(ctx context.Context, namespace string, found *coordinationv1.Lease) (err error) {
	claim := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: LeaseName}}
	if found != nil {
		claim = found.DeepCopy()
	}
	if ptr.Deref(claim.Spec.HolderIdentity, "") != s.holder {
		claim.Spec = coordinationv1.LeaseSpec{HolderIdentity: &s.holder}
	}
	claim.Spec.RenewTime, claim.Spec.LeaseDurationSeconds = now(), seconds(lasts)
	if s.works && claim.Spec.AcquireTime == nil {
		claim.Spec.AcquireTime = claim.Spec.RenewTime
	}
	delete(claim.Annotations, AnnotationRefusedBy)
	if found == nil {
		claim, err = s.client.Leases(namespace).Create(ctx, claim, metav1.CreateOptions{})
	} else {
		claim, err = s.client.Leases(namespace).Update(ctx, claim, metav1.UpdateOptions{})
	}
	if err != nil {
		return s.explain(namespace, err)
	}
	s.held[namespace] = claim
	return nil
}

// renew renews all claims. It is an error when another operator has taken one, or refuses it, or when one could not be renewed
// for so long that another operator may take it.
func (s *Scope) renew(ctx context.Context) error {
	for _, namespace := range s.claims {
		err := s.renewOne(ctx, namespace)
		switch lost := (*conflict)(nil); {
		case err == nil:
		case errors.As(err, &lost):
			return err
		case !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) && time.Since(s.held[namespace].Spec.RenewTime.Time) > lasts:
			return fmt.Errorf("the claim on namespace %q has run out, and another operator may take it: %w", namespace, err)
		case ctx.Err() == nil:
			// A namespace that was removed takes the permission with it, and nothing is to be done there; the others go on.
			s.logger.Error(err, "renewing the claim on a namespace", "namespace", namespace)
		}
	}
	return nil
}

func (s *Scope) renewOne(ctx context.Context, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, renewal)
	defer cancel()
	err := s.write(ctx, namespace, s.held[namespace])
	if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return err
	}
	live, err := s.client.Leases(namespace).Get(ctx, LeaseName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return s.write(ctx, namespace, nil)
	case err != nil:
		return err
	case ptr.Deref(live.Spec.HolderIdentity, "") != s.holder:
		return worksThere(live)
	case live.Annotations[AnnotationRefusedBy] != "":
		return refused(live)
	default:
		return s.write(ctx, namespace, live)
	}
}
