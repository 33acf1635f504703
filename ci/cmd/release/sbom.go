package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// bom is the part of CycloneDX 1.6 that a chart needs. It has neither time nor serial number: the same chart gives the same bytes.
type bom struct {
	Format      string      `json:"bomFormat"`
	SpecVersion string      `json:"specVersion"`
	Version     int         `json:"version"`
	Metadata    metadata    `json:"metadata"`
	Components  []component `json:"components"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type       string `json:"type"`
	Ref        string `json:"bom-ref"`
	Name       string `json:"name"`
	Version    string `json:"version,omitempty"`
	PackageURL string `json:"purl,omitempty"`
	Hashes     []hash `json:"hashes,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

// billOfMaterials lists the files of a packaged chart with their digests, and the images that it runs by default.
func billOfMaterials(file string) ([]byte, error) {
	packaged, err := loader.LoadFile(file)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", file, err)
	}
	images, err := imagesOf(file, packaged.Name())
	if err != nil {
		return nil, err
	}
	list := bom{Format: "CycloneDX", SpecVersion: "1.6", Version: 1}
	list.Metadata.Component = component{
		Type: "application", Ref: packaged.Name(), Name: packaged.Name(), Version: packaged.Metadata.Version,
	}
	for _, image := range images {
		list.Components = append(list.Components, imageComponent(image))
	}
	for _, of := range packaged.Raw {
		list.Components = append(list.Components, fileComponent(of))
	}
	return json.MarshalIndent(list, "", "  ")
}

func fileComponent(of *chart.File) component {
	sum := sha256.Sum256(of.Data)
	return component{Type: "file", Ref: "file:" + of.Name, Name: of.Name, Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}}}
}

func imageComponent(image string) component {
	name, digest, pinned := strings.Cut(image, "@")
	repository, tag := name, ""
	if at := strings.LastIndex(name, ":"); at > strings.LastIndex(name, "/") {
		repository, tag = name[:at], name[at+1:]
	}
	listed := component{Type: "container", Ref: "image:" + image, Name: repository, Version: tag, PackageURL: "pkg:oci/" + path.Base(repository)}
	query := url.Values{"repository_url": {repository}}
	if pinned {
		listed.Version = digest
		listed.PackageURL += "@" + url.QueryEscape(digest)
		listed.Hashes = []hash{{"SHA-256", strings.TrimPrefix(digest, "sha256:")}}
	} else if tag != "" {
		query.Set("tag", tag)
	}
	listed.PackageURL += "?" + query.Encode()
	return listed
}

// imagesOf renders a packaged chart by its defaults and returns the images of its pods, those of `helm test` included.
func imagesOf(file, name string) ([]string, error) {
	if name == "flokoa-agent" {
		return nil, nil // its image is the user's, and without one it does not render
	}
	dir, err := os.MkdirTemp("", "chart")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := chartutil.ExpandFile(dir, file); err != nil {
		return nil, fmt.Errorf("expand %s: %w", file, err)
	}
	objects, err := manifests.Chart(filepath.Join(dir, name), nil, name, manifests.Platform)
	if err != nil {
		return nil, err
	}
	hooks, err := manifests.Hooks(filepath.Join(dir, name), nil, name, manifests.Platform)
	if err != nil {
		return nil, err
	}
	images := map[string]bool{}
	for _, object := range append(objects, hooks...) {
		addImages(images, object.Object)
	}
	return slices.Sorted(maps.Keys(images)), nil
}

// addImages adds every string called image, at any depth: a new kind of workload must not hide one.
func addImages(images map[string]bool, value any) {
	switch value := value.(type) {
	case map[string]any:
		for key, below := range value {
			if image, ok := below.(string); ok && key == "image" {
				images[image] = true
			}
			addImages(images, below)
		}
	case []any:
		for _, below := range value {
			addImages(images, below)
		}
	}
}
