package manifests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Environments are those that Flokoa is packaged for.
var Environments = []string{"dev", "staging", "production"}

// Platform is the namespace of the releases, and of the operator.
const Platform = "flokoa-system"

// A Half is what one identity applies: the platform's once per cluster, or an environment's.
type Half struct {
	// Name is cluster or namespace.
	Name string
	// Source names the charts or overlay that it is rendered from.
	Source  string
	Objects []unstructured.Unstructured
}

// Environment renders what a cluster and a namespace for an environment are made of, in the order in which they are applied. with is
// helm or kustomize, root the folder of the repository.
func Environment(root, environment, with string) ([]Half, error) {
	if !slices.Contains(Environments, environment) {
		return nil, fmt.Errorf("there is no environment %q: it is one of %s", environment, strings.Join(Environments, ", "))
	}
	switch with {
	case "helm":
		return byHelm(root, environment)
	case "kustomize":
		return byKustomize(root, environment)
	default:
		return nil, fmt.Errorf("%q renders nothing: it is helm or kustomize", with)
	}
}

// Release is a chart that is installed for an environment.
type Release struct {
	// Name is the release's; Chart is the folder under charts.
	Name, Chart string
}

// ClusterReleases are installed once per cluster, in this order.
var ClusterReleases = []Release{{"flokoa-crds", "flokoa-crds"}, {"flokoa-policies", "flokoa-policies"}, {"flokoa-operator", "flokoa-operator"}}

func byHelm(root, environment string) ([]Half, error) {
	cluster := Half{Name: "cluster", Source: "helm: flokoa-crds, flokoa-policies, flokoa-operator"}
	for _, release := range ClusterReleases {
		objects, err := renderRelease(root, release, environment)
		if err != nil {
			return nil, err
		}
		cluster.Objects = append(cluster.Objects, objects...)
	}
	objects, err := renderRelease(root, Release{"flokoa-" + environment, "flokoa-environment"}, environment)
	if err != nil {
		return nil, err
	}
	return []Half{cluster, {"namespace", "helm: flokoa-environment", objects}}, nil
}

// renderRelease renders a chart with its values file for the environment, if it has one.
func renderRelease(root string, release Release, environment string) ([]unstructured.Unstructured, error) {
	dir := filepath.Join(root, "charts", release.Chart)
	file := filepath.Join(dir, "values-"+environment+".yaml")
	if _, err := os.Stat(file); os.IsNotExist(err) {
		return Chart(dir, nil, release.Name, Platform)
	}
	values, err := Values(file)
	if err != nil {
		return nil, err
	}
	return Chart(dir, values, release.Name, Platform)
}

// clusterOverlays are the platform's half by environment: a cluster that several share is production's.
var clusterOverlays = map[string]string{"dev": "cluster-dev", "staging": "cluster-staging", "production": "cluster"}

func byKustomize(root, environment string) ([]Half, error) {
	halves := []Half{{Name: "cluster", Source: "overlays/" + clusterOverlays[environment]}, {Name: "namespace", Source: "overlays/" + environment}}
	for i := range halves {
		objects, err := Overlay(filepath.Join(root, halves[i].Source))
		if err != nil {
			return nil, err
		}
		halves[i].Objects = objects
	}
	return halves, nil
}
