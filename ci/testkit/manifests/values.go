package manifests

import (
	"fmt"
	"os"
	"path/filepath"

	"helm.sh/helm/v3/pkg/chartutil"
)

// Values reads a values file, as `helm --values` does.
func Values(file string) (map[string]any, error) {
	values, err := chartutil.ReadValuesFile(file)
	if err != nil {
		return nil, fmt.Errorf("read values %s: %w", file, err)
	}
	return values, nil
}

// Minimal are the values that the chart in dir has no default for, and does not render without: those of its ci/minimal-values.yaml, a
// file of which chart-testing knows too. Most charts have none.
func Minimal(dir string) (map[string]any, error) {
	file := filepath.Join(dir, "ci", "minimal-values.yaml")
	if _, err := os.Stat(file); os.IsNotExist(err) {
		return map[string]any{}, nil
	}
	return Values(file)
}
