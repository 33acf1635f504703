package scope

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// holds tells whether a claim that was renewed at some time holds still, by the clock.
func holds(claim *coordinationv1.Lease, at time.Time) bool {
	return claim.Spec.RenewTime != nil && at.Before(claim.Spec.RenewTime.Add(duration(claim)))
}

func duration(claim *coordinationv1.Lease) time.Duration {
	return time.Duration(ptr.Deref(claim.Spec.LeaseDurationSeconds, 0)) * time.Second
}

// isOthers tells whether a claim is another installation's, and holds.
func (s *Scope) isOthers(claim *coordinationv1.Lease) bool {
	holder := ptr.Deref(claim.Spec.HolderIdentity, "")
	return holder != "" && holder != s.holder && holds(claim, time.Now())
}

// continues tells whether this installation works by every claim it needs, refused by nobody.
func (s *Scope) continues(found map[string]*coordinationv1.Lease) bool {
	for _, namespace := range s.claims {
		claim := found[namespace]
		if claim == nil || ptr.Deref(claim.Spec.HolderIdentity, "") != s.holder || !holds(claim, time.Now()) ||
			claim.Spec.AcquireTime == nil || claim.Annotations[AnnotationRefusedBy] != "" {
			return false
		}
	}
	return true
}

// doubt is how long to look at claims of others that are over by the clock. If one is renewed meanwhile, writing it will fail.
func (s *Scope) doubt(found map[string]*coordinationv1.Lease) time.Duration {
	longest := time.Duration(0)
	for _, claim := range found {
		if holder := ptr.Deref(claim.Spec.HolderIdentity, ""); holder != "" && holder != s.holder {
			longest = max(longest, min(duration(claim), look))
		}
	}
	return longest
}

// A conflict is another operator in a namespace of this one.
type conflict struct{ text string }

// Error says where, who, and what to do.
func (c *conflict) Error() string { return c.text }

const remedy = "uninstall one of the two, or give each namespaces of its own (watchNamespaces of the chart, --namespaces)"

// worksThere is the error for a claim that another operator holds.
func worksThere(claim *coordinationv1.Lease) error {
	return &conflict{fmt.Sprintf("namespace %q: the operator %s works there already, as the Lease %s says: %s; if it is gone, its claim ends within %s",
		claim.Namespace, ptr.Deref(claim.Spec.HolderIdentity, ""), LeaseName, remedy, lasts)}
}

// refused is the error for a claim that an operator of all namespaces refuses.
func refused(claim *coordinationv1.Lease) error {
	return &conflict{fmt.Sprintf("namespace %q: the operator %s works in all namespaces: %s",
		claim.Namespace, claim.Annotations[AnnotationRefusedBy], remedy)}
}

// explain says what to do about a request that failed. An empty namespace is all of them.
func (s *Scope) explain(namespace string, err error) error {
	switch {
	case !apierrors.IsForbidden(err):
		return err
	case s.everywhere:
		return fmt.Errorf("bind this account to the ClusterRole and the Role of the chart flokoa-operator: %w", err)
	default:
		return fmt.Errorf("namespace %q: bind this account to the Role of the chart flokoa-operator there: %w", namespace, err)
	}
}

// sleep waits, and not longer than the context.
func sleep(ctx context.Context, long time.Duration) error {
	if long == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(long):
		return nil
	}
}

func now() *metav1.MicroTime { return ptr.To(metav1.NowMicro()) }

func seconds(d time.Duration) *int32 { return ptr.To(int32(d / time.Second)) }
