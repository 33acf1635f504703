package manifests

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func object(t *testing.T, text string) []unstructured.Unstructured {
	t.Helper()
	o := unstructured.Unstructured{Object: map[string]any{}}
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), &o.Object))
	o.SetKind("Thing")
	o.SetName("t")
	return []unstructured.Unstructured{o}
}

func TestOnlyDifferingFieldsAreReported(t *testing.T) {
	for name, r := range map[string]struct {
		from, to string
		want     []string
	}{
		"nothing":                    {"{a: {b: 1}}", "{a: {b: 1}}", nil},
		"a value":                    {"{a: {b: 1, c: 2}}", "{a: {b: 3, c: 2}}", []string{"~ Thing t: a.b: 1 -> 3"}},
		"a field that comes":         {"{a: {}}", "{a: {b: x}}", []string{"~ Thing t: a.b: (none) -> x"}},
		"a field that goes":          {"{a: {b: x}}", "{a: {}}", []string{"~ Thing t: a.b: x -> (none)"}},
		"a map for a value":          {"{a: x}", "{a: {b: 1}}", []string{"~ Thing t: a: x -> {b: 1}"}},
		"an entry by its name":       {"{a: [{name: x, v: 1}, {name: k}]}", "{a: [{name: k}, {name: x, v: 2}]}", []string{"~ Thing t: a[x].v: 1 -> 2"}},
		"an entry that comes":        {"{a: [{name: x}]}", "{a: [{name: x}, {name: k}]}", []string{"~ Thing t: a[k]: (none) -> {name: k}"}},
		"an entry by its place":      {"{a: [{v: 1}, {v: 2}]}", "{a: [{v: 1}, {v: 3}]}", []string{"~ Thing t: a[1].v: 2 -> 3"}},
		"words":                      {"{a: [x, k]}", "{a: [x, z]}", []string{"~ Thing t: a: [k] -> [z]"}},
		"a word that comes":          {"{a: [x]}", "{a: [x, z]}", []string{"~ Thing t: a: [] -> [z]"}},
		"the order of words":         {"{a: [x, k]}", "{a: [k, x]}", []string{"~ Thing t: a: [x, k] -> [k, x]"}},
		"the order of named entries": {"{a: [{name: x}, {name: k}]}", "{a: [{name: k}, {name: x}]}", []string{"~ Thing t: a: [{name: x}, {name: k}] -> [{name: k}, {name: x}]"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, difference := range Compare(object(t, r.from), object(t, r.to)) {
				got = append(got, difference.String())
			}
			require.Equal(t, r.want, got)
		})
	}
}

func TestAddedAndRemovedObjectsAreReported(t *testing.T) {
	one := object(t, "{}")
	require.Equal(t, "+ Thing t", Compare(nil, one)[0].String())
	require.Equal(t, "- Thing t", Compare(one, nil)[0].String())
}
