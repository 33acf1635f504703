package manifests

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A Cache has what was rendered before. Most tests of a package look at the same renderings, and rendering is what takes time. It is for
// folders that do not change, and not for several goroutines.
type Cache map[string][]unstructured.Unstructured

// Get returns copies of the objects of a key, which JSON can represent, and has them rendered the first time. An error is not kept.
func (c Cache) Get(key any, render func() ([]unstructured.Unstructured, error)) ([]unstructured.Unstructured, error) {
	text, err := json.Marshal(key)
	if err != nil {
		return nil, fmt.Errorf("key of a rendering: %w", err)
	}
	known, found := c[string(text)]
	if !found {
		if known, err = render(); err != nil {
			return nil, err
		}
		c[string(text)] = known
	}
	objects := make([]unstructured.Unstructured, 0, len(known))
	for _, object := range known {
		objects = append(objects, *object.DeepCopy())
	}
	return objects, nil
}
