package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart/loader"
)

// goneValues are the topmost paths of values that a chart no longer has.
func goneValues(before, after map[string]any, at string) []string {
	var gone []string
	for key, was := range before {
		is, kept := after[key]
		if !kept {
			gone = append(gone, at+key)
			continue
		}
		below, wasMap := was.(map[string]any)
		now, isMap := is.(map[string]any)
		if wasMap && isMap {
			gone = append(gone, goneValues(below, now, at+key+".")...)
		}
	}
	slices.Sort(gone)
	return gone
}

// Closed schemas refuse a value that has another name now, so whoever upgrades must find the new one.
func TestUpgradingNamesEveryValueThatIsGone(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "UPGRADING.md"))
	require.NoError(t, err)
	for _, file := range packages(t) {
		frozen, err := loader.LoadFile(file)
		require.NoError(t, err)
		now, err := loader.LoadDir(filepath.Join(root, "charts", frozen.Name()))
		require.NoError(t, err)
		for _, value := range goneValues(frozen.Values, now.Values, "") {
			row := "| `" + frozen.Name() + "` | `" + value
			require.Contains(t, string(text), row, "UPGRADING.md lacks the new name of a value")
		}
	}
}

func TestGoneValuesAreFound(t *testing.T) {
	before := map[string]any{"a": 1, "b": map[string]any{"c": 1, "d": map[string]any{"e": 1}}, "f": map[string]any{}}
	require.Equal(t, []string{"b.d", "f"}, goneValues(before, map[string]any{"a": 2, "b": map[string]any{"c": nil}}, ""))
	require.Empty(t, goneValues(before, before, ""))
}
