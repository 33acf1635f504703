// Package kustomize_test builds every kustomization of the repository with the kustomize versions that users have: those before the
// one of the main module, which is the newest.
package kustomize_test

import (
	"bytes"
	"debug/buildinfo"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

const root = "../../../.."

// oldVersions have a folder ci/tools/kustomize-<version> each. kubectl 1.35 contains 5.7.
var oldVersions = []string{"5.5", "5.6", "5.7"}

// kustomizations are the folders that can be built.
func kustomizations(t *testing.T) []string {
	t.Helper()
	var folders []string
	for _, top := range []string{"overlays", "examples"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, top), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.Name() != "kustomization.yaml" {
				return err
			}
			text, err := os.ReadFile(path)
			if bytes.Contains(text, []byte("\nkind: Kustomization\n")) {
				folders = append(folders, filepath.Dir(path))
			}
			return err
		}))
	}
	require.Greater(t, len(folders), 10)
	return folders
}

// program is the path of a kustomize of a version.
func program(t *testing.T, version string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(root, "ci/tools/build.sh"), "kustomize-"+version)
	command.Stderr = os.Stderr
	folder, err := command.Output()
	require.NoError(t, err)
	return filepath.Join(strings.TrimSpace(string(folder)), "kustomize")
}

func build(t *testing.T, program, folder string) []unstructured.Unstructured {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, "build", folder)
	stderr := &bytes.Buffer{}
	command.Stderr = stderr
	out, err := command.Output()
	require.NoError(t, err, "kustomize build %s: %.500s", folder, stderr)
	require.Empty(t, stderr.String(), "kustomize build %s warns", folder)
	return decode(t, out)
}

func decode(t *testing.T, text []byte) []unstructured.Unstructured {
	t.Helper()
	var objects []unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		object := unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		require.NoError(t, err)
		objects = append(objects, object)
	}
}

func TestOldKustomizeBuildsWhatTheNewestBuilds(t *testing.T) {
	newest := map[string][]unstructured.Unstructured{}
	for _, folder := range kustomizations(t) {
		objects, err := manifests.Overlay(folder)
		require.NoError(t, err)
		require.NotEmpty(t, objects, folder)
		newest[folder] = objects
	}
	for _, version := range oldVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			kustomize := program(t, version)
			for folder, objects := range newest {
				require.Empty(t, manifests.Compare(objects, build(t, kustomize, folder)), folder)
			}
		})
	}
}

// A pin that someone raises would leave its version untested without a failure.
func TestEveryOldKustomizeHasItsVersion(t *testing.T) {
	for _, version := range oldVersions {
		info, err := buildinfo.ReadFile(program(t, version))
		require.NoError(t, err)
		require.Equal(t, "sigs.k8s.io/kustomize/kustomize/v5", info.Main.Path)
		require.True(t, strings.HasPrefix(info.Main.Version, "v"+version+"."), "ci/tools/kustomize-%s pins %s", version, info.Main.Version)
	}
}
