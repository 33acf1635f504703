package manifests_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

func TestACacheRendersOnceAndReturnsCopies(t *testing.T) {
	cache, rendered := manifests.Cache{}, 0
	get := func(key any, err error) ([]unstructured.Unstructured, error) {
		return cache.Get(key, func() ([]unstructured.Unstructured, error) {
			rendered++
			return []unstructured.Unstructured{{Object: map[string]any{"kind": "ConfigMap"}}}, err
		})
	}
	first, err := get([]any{"a", map[string]any{"b": 1}}, nil)
	require.NoError(t, err)
	first[0].SetKind("changed")
	second, err := get([]any{"a", map[string]any{"b": 1}}, nil)
	require.NoError(t, err)
	require.Equal(t, "ConfigMap", second[0].GetKind())
	require.Equal(t, 1, rendered)

	failure := errors.New("no such chart")
	_, err = get([]any{"a", map[string]any{"b": 2}}, failure)
	require.ErrorIs(t, err, failure)
	_, err = get([]any{"a", map[string]any{"b": 2}}, nil)
	require.NoError(t, err)
	require.Equal(t, 3, rendered)
}
