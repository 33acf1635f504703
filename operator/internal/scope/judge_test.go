package scope

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
)

// claimed is a claim of a holder that was renewed some time ago; an empty holder is none.
func claimed(holder string, ago, long time.Duration) *coordinationv1.Lease {
	claim := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "team"}}
	claim.Spec.RenewTime, claim.Spec.LeaseDurationSeconds = ptr.To(metav1.NewMicroTime(time.Now().Add(-ago))), seconds(long)
	claim.Spec.AcquireTime = claim.Spec.RenewTime
	if holder != "" {
		claim.Spec.HolderIdentity = &holder
	}
	return claim
}

func TestAClaimIsJudgedByHolderAndClock(t *testing.T) {
	s := &Scope{holder: "ns/me", claims: []string{"team"}}
	refusedClaim := claimed("ns/me", time.Second, lasts)
	refusedClaim.Annotations = map[string]string{AnnotationRefusedBy: "ns/all"}
	newClaim := claimed("ns/me", time.Second, lasts)
	newClaim.Spec.AcquireTime = nil
	for name, r := range map[string]struct {
		claim               *coordinationv1.Lease
		isOthers, continues bool
		doubt               time.Duration
	}{
		"none":                          {nil, false, false, 0},
		"my own":                        {claimed("ns/me", time.Second, lasts), false, true, 0},
		"my own, given up just now":     {claimed("ns/me", time.Second, handover), false, true, 0},
		"my own, given up before":       {claimed("ns/me", 2*handover, handover), false, false, 0},
		"my own, over":                  {claimed("ns/me", 2*lasts, lasts), false, false, 0},
		"my own, refused":               {refusedClaim, false, false, 0},
		"my own, not let in yet":        {newClaim, false, false, 0},
		"another's":                     {claimed("ns/you", time.Second, lasts), true, false, look},
		"another's, given up just now":  {claimed("ns/you", time.Second, handover), true, false, handover},
		"another's, given up before":    {claimed("ns/you", 2*handover, handover), false, false, handover},
		"another's, over":               {claimed("ns/you", 2*lasts, lasts), false, false, look},
		"nobody's":                      {claimed("", time.Second, lasts), false, false, 0},
		"another's that was never held": {&coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: ptr.To("ns/you")}}, false, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			found := map[string]*coordinationv1.Lease{}
			if r.claim != nil {
				found["team"] = r.claim
				require.Equal(t, r.isOthers, s.isOthers(r.claim))
			}
			require.Equal(t, r.continues, s.continues(found))
			require.Equal(t, r.doubt, s.doubt(found))
		})
	}
}

func TestClaimsContinueOnlyTogether(t *testing.T) {
	s := &Scope{holder: "ns/me", claims: []string{"a", "b"}}
	mine := claimed("ns/me", time.Second, lasts)
	require.True(t, s.continues(map[string]*coordinationv1.Lease{"a": mine, "b": mine}))
	require.False(t, s.continues(map[string]*coordinationv1.Lease{"a": mine}))
}

func TestAPermissionThatIsMissingIsExplained(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}, LeaseName, errors.New("no"))
	some, all := &Scope{}, &Scope{everywhere: true}
	require.ErrorContains(t, some.explain("team", forbidden), `namespace "team": bind this account to the Role of the chart flokoa-operator there: leases`)
	require.ErrorContains(t, all.explain("", forbidden), "bind this account to the ClusterRole and the Role of the chart flokoa-operator: leases")
	conflict := apierrors.NewConflict(schema.GroupResource{}, LeaseName, errors.New("changed"))
	require.Equal(t, error(conflict), some.explain("team", conflict), "others are told apart by what they are")
}
