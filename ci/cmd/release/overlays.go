package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// runImage is what charts and overlays run by default, with a tag.
	runImage     = "ghcr.io/flokoa/flokoa-operator"
	overlaysName = "overlays"
)

// packOverlays writes the overlays into a directory, as the archive that Flux unpacks. Paths are those of the repository, so that a
// Kustomization of Flux keeps its path when its source becomes a registry. With a digest, the overlays run the operator's image by it.
func packOverlays(root, dir string, digest *string, out io.Writer) error {
	version, err := chartVersion(root)
	if err != nil {
		return err
	}
	data, err := archiveOverlays(root, version, digest)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	file := overlaysFile(dir, version)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "packaged:", file)
	return err
}

func overlaysFile(dir, version string) string {
	return filepath.Join(dir, "flokoa-overlays-"+version+".tar.gz")
}

// chartVersion is the one version of all charts.
func chartVersion(root string) (string, error) {
	charts, err := current(root)
	if err != nil {
		return "", err
	}
	if len(charts) == 0 {
		return "", fmt.Errorf("%s has no charts", filepath.Join(root, "charts"))
	}
	return charts[0].Metadata.Version, nil
}

// archiveOverlays has neither times nor owners: the same overlays give the same bytes, and the same digest.
func archiveOverlays(root, version string, digest *string) ([]byte, error) {
	var data bytes.Buffer
	zipped := gzip.NewWriter(&data)
	archive := tar.NewWriter(zipped)
	pinned := 0
	add := func(name string) error {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		if digest != nil {
			if text, err = pinText(text, version, *digest, &pinned); err != nil {
				return err
			}
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: filepath.ToSlash(name), Mode: 0o644, Size: int64(len(text)), ModTime: time.Unix(0, 0)}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err = archive.Write(text)
		return err
	}
	files, err := overlayFiles(root)
	if err != nil {
		return nil, err
	}
	for _, file := range append(files, "LICENSE") {
		if err := add(file); err != nil {
			return nil, fmt.Errorf("add %s to the overlays: %w", file, err)
		}
	}
	if digest != nil && pinned == 0 {
		return nil, fmt.Errorf("no overlay runs %s:%s, so the digest cannot be set", runImage, version)
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := zipped.Close(); err != nil {
		return nil, err
	}
	return data.Bytes(), nil
}

// overlayFiles are the files below overlays, relative to root, without what editors and systems drop there.
func overlayFiles(root string) ([]string, error) {
	var files []string
	err := fs.WalkDir(os.DirFS(root), overlaysName, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && !strings.HasPrefix(entry.Name(), ".") && !strings.HasSuffix(entry.Name(), "~") {
			files = append(files, filepath.FromSlash(path))
		}
		return err
	})
	slices.Sort(files)
	return files, err
}

// pinText replaces the tag of the operator's image by a digest, and counts what it replaced.
func pinText(text []byte, version, digest string, pinned *int) ([]byte, error) {
	if !imageDigest.MatchString(digest) {
		return nil, errDigest(digest)
	}
	tagged := []byte("image: " + runImage + ":" + version + "\n")
	*pinned += bytes.Count(text, tagged)
	return bytes.ReplaceAll(text, tagged, []byte("image: "+runImage+"@"+digest+"\n")), nil
}
