package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
)

// packageCharts writes each chart, and an SBOM of what it installs, into a directory. With a digest, the chart of the operator runs
// that image whatever its tag points to later. The working tree keeps no digest: nobody knows it before the image is built.
func packageCharts(root, dir string, digest *string, out io.Writer) error {
	charts, err := current(root)
	if err != nil {
		return err
	}
	if digest != nil { // an empty one is an error: a release must not lose its digest silently
		if err := pinImages(charts, *digest); err != nil {
			return err
		}
	}
	for _, now := range charts {
		file, err := chartutil.Save(now, dir)
		if err != nil {
			return fmt.Errorf("package %s: %w", now.Name(), err)
		}
		list, err := billOfMaterials(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(strings.TrimSuffix(file, ".tgz")+".cdx.json", list, 0o600); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, "packaged:", file); err != nil {
			return err
		}
	}
	return nil
}

var imageDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func errDigest(text string) error {
	return fmt.Errorf("%q is not a digest: use sha256: and 64 hexadecimal digits", text)
}

// pinImages pins each chart that has the value image.digest.
func pinImages(charts []*chart.Chart, digest string) error {
	if !imageDigest.MatchString(digest) {
		return errDigest(digest)
	}
	pinned := 0
	for _, now := range charts {
		if _, err := chartutil.Values(now.Values).PathValue("image.digest"); err != nil {
			continue
		}
		if err := pinImage(now, digest); err != nil {
			return err
		}
		pinned++
	}
	if pinned == 0 {
		return fmt.Errorf("no chart has the value image.digest")
	}
	return nil
}

// pinImage edits values.yaml as text: its comments are the documentation that `helm show values` prints.
func pinImage(of *chart.Chart, digest string) error {
	for _, file := range of.Raw {
		if file.Name != chartutil.ValuesfileName {
			continue
		}
		file.Data = bytes.Replace(file.Data, []byte("\n  digest: \"\"\n"), []byte("\n  digest: "+digest+"\n"), 1)
		values, err := chartutil.ReadValues(file.Data)
		if err != nil {
			return fmt.Errorf("read values.yaml of %s: %w", of.Name(), err)
		}
		if got, _ := values.PathValue("image.digest"); got != digest {
			return fmt.Errorf("%s: values.yaml has no line `  digest: \"\"` in image, so the digest cannot be set", filepath.Join("charts", of.Name()))
		}
		of.Values = values
	}
	const images = "artifacthub.io/images"
	if list, ok := of.Metadata.Annotations[images]; ok {
		of.Metadata.Annotations[images] = strings.ReplaceAll(list, ":"+of.Metadata.AppVersion+"\n", "@"+digest+"\n")
	}
	return nil
}
