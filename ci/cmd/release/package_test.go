package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// operatorImage renders a packaged chart of the operator and returns the image of its Deployment.
func operatorImage(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, chartutil.ExpandFile(dir, file))
	objects, err := manifests.Chart(filepath.Join(dir, "flokoa-operator"), nil, "flokoa-operator", manifests.Platform)
	require.NoError(t, err)
	return deploymentImage(t, objects)
}

func deploymentImage(t *testing.T, objects []unstructured.Unstructured) string {
	t.Helper()
	for _, object := range objects {
		if object.GetKind() == "Deployment" {
			containers, _, err := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
			require.NoError(t, err)
			return containers[0].(map[string]any)["image"].(string)
		}
	}
	require.Fail(t, "the chart renders no Deployment")
	return ""
}

// packaged packages the charts of the repository and returns the file of each by its chart.
func packaged(t *testing.T, args ...string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, run(root, append([]string{"package", dir}, args...), &bytes.Buffer{}))
	charts, err := current(root)
	require.NoError(t, err)
	files := map[string]string{}
	for _, now := range charts {
		files[now.Name()] = packageOf(dir, now)
		require.FileExists(t, files[now.Name()])
	}
	return files
}

func TestAReleasedChartRunsTheImageOfItsDigest(t *testing.T) {
	values, err := os.ReadFile(filepath.Join(root, "charts/flokoa-operator/values.yaml"))
	require.NoError(t, err)

	file := packaged(t, digest)["flokoa-operator"]
	require.Equal(t, "ghcr.io/flokoa/flokoa-operator@"+digest, operatorImage(t, file))
	pinned, err := loader.LoadFile(file)
	require.NoError(t, err)
	for _, of := range pinned.Raw {
		if of.Name == chartutil.ValuesfileName {
			require.Equal(t, strings.Replace(string(values), `digest: ""`, "digest: "+digest, 1), string(of.Data))
		}
	}
	require.Contains(t, pinned.Metadata.Annotations["artifacthub.io/images"], "image: ghcr.io/flokoa/flokoa-operator@"+digest+"\n")

	after, err := os.ReadFile(filepath.Join(root, "charts/flokoa-operator/values.yaml"))
	require.NoError(t, err)
	require.Equal(t, string(values), string(after), "the working tree has no digest")
}

func TestWithoutADigestChartsArePackagedAsTheyAre(t *testing.T) {
	charts, err := current(root)
	require.NoError(t, err)
	files := packaged(t)
	for _, now := range charts {
		loaded, err := loader.LoadFile(files[now.Name()])
		require.NoError(t, err)
		require.Empty(t, changes(now, loaded), now.Name())
	}
	require.Equal(t, "ghcr.io/flokoa/flokoa-operator:"+charts[0].Metadata.Version, operatorImage(t, files["flokoa-operator"]))
}

func TestADigestThatCannotBePinnedIsAnError(t *testing.T) {
	for _, bad := range []string{"", "sha256:0123", "0.1.0", digest + "\n", strings.ToUpper(digest)} {
		require.ErrorContains(t, run(root, []string{"package", t.TempDir(), bad}, &bytes.Buffer{}), "is not a digest")
	}
	for values, wrong := range map[string]string{
		"replicas: 1\n":                                  "no chart has the value image.digest",
		"image: {digest: \"\"}\n":                        "charts/try: values.yaml has no line",
		"other:\n  digest: \"\"\nimage:\n  digest: ''\n": "charts/try: values.yaml has no line",
	} {
		dir := t.TempDir()
		write(t, dir, map[string]string{"charts/try/Chart.yaml": "{apiVersion: v2, name: try, version: 0.1.0}", "charts/try/values.yaml": values})
		require.ErrorContains(t, run(dir, []string{"package", t.TempDir(), digest}, &bytes.Buffer{}), wrong, values)
	}
	require.ErrorContains(t, run(root, []string{"package"}, &bytes.Buffer{}), "usage:")
}

func TestMakePassesAnEmptyDigest(t *testing.T) {
	for arg, suffix := range map[string]string{"OTHER=": "package dist", "DIGEST=" + digest: `package dist "` + digest + `"`, "DIGEST=": `package dist ""`} {
		out, err := dryRun(t, nil, "charts", arg)
		require.NoError(t, err)
		require.Regexp(t, regexp.QuoteMeta(suffix)+`\s*$`, out)
	}
}

func readBill(t *testing.T, file string) bom {
	t.Helper()
	text, err := os.ReadFile(strings.TrimSuffix(file, ".tgz") + ".cdx.json")
	require.NoError(t, err)
	var list bom
	require.NoError(t, json.Unmarshal(text, &list))
	return list
}

// The keys, the required ones among them, and the values of enumerations are those of the JSON schema of CycloneDX 1.6. The test
// reads no type of this package: a misspelled tag would be misspelled in both directions.
func TestEachChartHasAValidBillOfMaterials(t *testing.T) {
	for name, file := range packaged(t, digest) {
		text, err := os.ReadFile(strings.TrimSuffix(file, ".tgz") + ".cdx.json")
		require.NoError(t, err)
		var list map[string]any
		require.NoError(t, json.Unmarshal(text, &list))
		about := list["metadata"].(map[string]any)["component"].(map[string]any)
		components := list["components"].([]any)
		require.Equal(t, name, about["name"])
		require.Equal(t, "application", about["type"])
		require.Equal(t, map[string]any{
			"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1.0,
			"metadata": map[string]any{"component": about}, "components": components,
		}, list)
		refs := map[any]bool{about["bom-ref"]: true}
		for _, c := range components {
			checkComponent(t, c.(map[string]any))
			ref := c.(map[string]any)["bom-ref"]
			require.False(t, refs[ref], "%s: bom-ref %s is not unique", name, ref)
			refs[ref] = true
		}
	}
}

func checkComponent(t *testing.T, c map[string]any) {
	t.Helper()
	require.Subset(t, []string{"type", "bom-ref", "name", "version", "purl", "hashes"}, slices.Collect(maps.Keys(c)))
	require.Contains(t, []any{"container", "file"}, c["type"])
	require.NotEmpty(t, c["name"])
	for _, h := range c["hashes"].([]any) {
		require.Len(t, h, 2)
		require.Equal(t, "SHA-256", h.(map[string]any)["alg"])
		require.Regexp(t, "^[0-9a-f]{64}$", h.(map[string]any)["content"])
	}
}

func TestABillOfMaterialsNamesEveryFileAndImage(t *testing.T) {
	for name, file := range packaged(t, digest) {
		listed := map[string]component{}
		images := 0
		for _, c := range readBill(t, file).Components {
			listed[c.Ref] = c
			if c.Type == "container" {
				images++
			}
		}
		loaded, err := loader.LoadFile(file)
		require.NoError(t, err)
		require.NotEmpty(t, loaded.Raw)
		for _, of := range loaded.Raw {
			sum := sha256.Sum256(of.Data)
			require.Equal(t, []hash{{"SHA-256", hex.EncodeToString(sum[:])}}, listed["file:"+of.Name].Hashes, "%s of %s", of.Name, name)
		}
		if name != "flokoa-operator" {
			require.Zero(t, images, name)
			continue
		}
		require.Equal(t, 1, images)
		image := listed["image:"+operatorImage(t, file)]
		require.Equal(t, "ghcr.io/flokoa/flokoa-operator", image.Name)
		require.Equal(t, digest, image.Version)
	}
}

func TestImagesOfEveryPodAreListed(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"charts/try/Chart.yaml": "{apiVersion: v2, name: try, version: 0.1.0}",
		"charts/try/templates/a.yaml": "{apiVersion: batch/v1, kind: CronJob, metadata: {name: a}, spec: {jobTemplate: {spec: {template: {spec: " +
			"{initContainers: [{image: 'localhost:5000/one'}], containers: [{image: 'two:v1'}]}}}}}}",
		"charts/try/templates/b.yaml": "{apiVersion: v1, kind: Pod, metadata: {name: b, annotations: {helm.sh/hook: test}}, spec: " +
			"{containers: [{image: 'a.example/three:v1@" + digest + "'}]}}",
	})
	require.NoError(t, run(dir, []string{"package", dir}, &bytes.Buffer{}))
	var images []component
	for _, c := range readBill(t, filepath.Join(dir, "try-0.1.0.tgz")).Components {
		if c.Type == "container" {
			images = append(images, component{Name: c.Name, Version: c.Version, PackageURL: c.PackageURL})
		}
	}
	require.Equal(t, []component{
		{Name: "a.example/three", Version: digest, PackageURL: "pkg:oci/three@" + strings.Replace(digest, ":", "%3A", 1) + "?repository_url=a.example%2Fthree"},
		{Name: "localhost:5000/one", PackageURL: "pkg:oci/one?repository_url=localhost%3A5000%2Fone"},
		{Name: "two", Version: "v1", PackageURL: "pkg:oci/two?repository_url=two&tag=v1"},
	}, images)
}
