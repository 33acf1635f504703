package apitest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/internal/app"
)

func TestTheCacheHoldsNamespacesWhileTheyHaveAnEnvironment(t *testing.T) {
	options := app.CacheOptions(nil)
	options.Scheme = scheme
	caches, err := cache.New(config, options)
	require.NoError(t, err)
	_, err = caches.GetInformer(t.Context(), &corev1.Namespace{}, cache.BlockUntilSynced(false))
	require.NoError(t, err)
	go func() { _ = caches.Start(t.Context()) }()
	require.True(t, caches.WaitForCacheSync(t.Context()))

	namespace := newNamespace(t)
	for _, environment := range []string{"dev", "production", ""} {
		label := "null"
		if environment != "" {
			label = fmt.Sprintf("%q", environment)
		}
		patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"flokoa.ai/environment":`+label+`}}}`))
		live := &corev1.Namespace{}
		live.Name = namespace
		require.NoError(t, api.Patch(t.Context(), live, patch))
		require.Eventually(t, func() bool {
			cached := &corev1.NamespaceList{}
			require.NoError(t, caches.List(t.Context(), cached))
			found := ""
			for _, item := range cached.Items {
				require.NotEqual(t, "default", item.Name, "it has no environment")
				if item.Name == namespace {
					found = item.Labels["flokoa.ai/environment"]
				}
			}
			return found == environment
		}, 10*time.Second, 20*time.Millisecond, environment)
	}
}
