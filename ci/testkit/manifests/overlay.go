package manifests

import (
	"fmt"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Overlay builds the kustomization in dir as `kubectl kustomize` and kustomize's defaults would: no plugins, no Helm, nothing
// from outside the folders that it names. It needs no cluster.
func Overlay(dir string) ([]unstructured.Unstructured, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, fmt.Errorf("build overlay %s: %w", dir, err)
	}
	text, err := built.AsYaml()
	if err != nil {
		return nil, fmt.Errorf("write what overlay %s builds: %w", dir, err)
	}
	objects, err := Decode(string(text))
	if err != nil {
		return nil, fmt.Errorf("read what overlay %s builds: %w", dir, err)
	}
	return objects, nil
}
