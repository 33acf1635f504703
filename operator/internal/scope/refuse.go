package scope

import (
	"context"
	"encoding/json"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

// refuseOthers marks every claim of another operator, those there are and those to come, until the context ends.
func (s *Scope) refuseOthers(ctx context.Context) {
	every := cache.NewListWatchFromClient(s.client.RESTClient(), "leases", metav1.NamespaceAll, fields.OneTermEqualSelector("metadata.name", LeaseName))
	_, watching := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: every,
		ObjectType:    &coordinationv1.Lease{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(added any) { s.refuse(ctx, added) },
			UpdateFunc: func(_, updated any) { s.refuse(ctx, updated) },
		},
	})
	watching.RunWithContext(ctx)
}

// refuse marks a claim if it is another's. What fails is tried again when the claim is renewed.
func (s *Scope) refuse(ctx context.Context, object any) {
	claim, ok := object.(*coordinationv1.Lease)
	if !ok || !s.isOthers(claim) || claim.Annotations[AnnotationRefusedBy] == s.holder {
		return
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": claim.ResourceVersion, // what is refused is this claim, not whatever it has become
		"annotations":     map[string]string{AnnotationRefusedBy: s.holder},
	}})
	if err == nil {
		_, err = s.client.Leases(claim.Namespace).Patch(ctx, LeaseName, types.MergePatchType, patch, metav1.PatchOptions{})
	}
	logger := s.logger.WithValues("namespace", claim.Namespace, "operator", ptr.Deref(claim.Spec.HolderIdentity, ""))
	switch {
	case err == nil:
		logger.Info("refused another operator")
	case !apierrors.IsConflict(err) && ctx.Err() == nil:
		logger.Error(err, "refusing another operator")
	}
}
