package manifests

import (
	"fmt"

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
