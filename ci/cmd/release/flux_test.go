package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// unpack writes the files of an archive into a new directory. Flux refuses anything but files and directories below it.
func unpack(t *testing.T, archive []byte) string {
	t.Helper()
	dir := t.TempDir()
	zipped, err := gzip.NewReader(bytes.NewReader(archive))
	require.NoError(t, err)
	reader := tar.NewReader(zipped)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		require.NoError(t, err)
		require.Equal(t, byte(tar.TypeReg), header.Typeflag, header.Name)
		require.True(t, filepath.IsLocal(header.Name), header.Name)
		text, err := io.ReadAll(reader)
		require.NoError(t, err)
		write(t, dir, map[string]string{header.Name: string(text)})
	}
}

// pullOverlays returns what a registry has, as Flux reads it: one layer, by its media type.
func pullOverlays(t *testing.T, reference string) (ocispec.Manifest, []byte) {
	t.Helper()
	repository, err := newRepository("127.0.0.1", reference)
	require.NoError(t, err)
	store := memory.New()
	found, err := oras.Copy(t.Context(), repository, repository.Reference.Reference, store, "", oras.DefaultCopyOptions)
	require.NoError(t, err)
	read := func(of ocispec.Descriptor) []byte {
		body, err := store.Fetch(t.Context(), of)
		require.NoError(t, err)
		text, err := io.ReadAll(body)
		require.NoError(t, err)
		return text
	}
	var manifest ocispec.Manifest
	require.NoError(t, json.Unmarshal(read(found), &manifest))
	require.Len(t, manifest.Layers, 1)
	return manifest, read(manifest.Layers[0])
}

func TestPulledOverlaysBuildWhatTheRepositoryBuilds(t *testing.T) {
	address, dir := startRegistry(t), t.TempDir()
	require.NoError(t, run(root, []string{"overlays", dir}, &bytes.Buffer{}))
	require.NoError(t, run(root, []string{"push-overlays", dir, "oci://" + address + "/flokoa"}, &bytes.Buffer{}))
	list := readPushed(t, filepath.Join(dir, "overlays.json"))
	require.Len(t, list, 1)
	version, err := chartVersion(root)
	require.NoError(t, err)
	require.Equal(t, address+"/flokoa/overlays:"+version, list[0].Reference)

	manifest, archive := pullOverlays(t, list[0].Reference+"@"+list[0].Digest)
	require.Equal(t, "application/vnd.oci.image.manifest.v1+json", manifest.MediaType)
	require.Equal(t, "application/vnd.cncf.flux.config.v1+json", manifest.Config.MediaType)
	require.Equal(t, "application/vnd.cncf.flux.content.v1.tar+gzip", manifest.Layers[0].MediaType)
	require.Regexp(t, "^v"+version+"@sha1:[0-9a-f]{40}$", manifest.Annotations[ocispec.AnnotationRevision])
	require.Equal(t, "https://github.com/flokoa/flokoa", manifest.Annotations[ocispec.AnnotationSource])
	require.NotEmpty(t, manifest.Annotations[ocispec.AnnotationCreated])

	pulled := unpack(t, archive)
	for _, overlay := range []string{"cluster", "cluster-dev", "cluster-staging", "dev", "staging", "production", "production/agents"} {
		want, err := manifests.Overlay(filepath.Join(root, "overlays", overlay))
		require.NoError(t, err)
		got, err := manifests.Overlay(filepath.Join(pulled, "overlays", overlay))
		require.NoError(t, err, overlay)
		require.Equal(t, want, got, overlay)
	}
}

func TestReleasedOverlaysRunTheImageOfItsDigest(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, run(root, []string{"overlays", dir, digest}, &bytes.Buffer{}))
	version, err := chartVersion(root)
	require.NoError(t, err)
	archive, err := os.ReadFile(overlaysFile(dir, version))
	require.NoError(t, err)
	objects, err := manifests.Overlay(filepath.Join(unpack(t, archive), "overlays/cluster"))
	require.NoError(t, err)
	require.Equal(t, runImage+"@"+digest, deploymentImage(t, objects))

	require.ErrorContains(t, run(root, []string{"overlays", dir, ""}, &bytes.Buffer{}), "is not a digest")
	again, err := archiveOverlays(root, version, new(digest))
	require.NoError(t, err)
	require.Equal(t, archive, again, "the same overlays give the same bytes")
	_, err = archiveOverlays(root, "9.9.9", new(digest))
	require.ErrorContains(t, err, "no overlay runs ghcr.io/flokoa/flokoa-operator:9.9.9")
}

// The charts are pushed with either login too.
func TestOverlaysUseTheLoginOfHelmOrDocker(t *testing.T) {
	dir := t.TempDir()
	login := func(host, user string) string {
		pair := base64.StdEncoding.EncodeToString([]byte(user + ":s3cret"))
		return `{"auths": {"` + host + `": {"auth": "` + pair + `"}}}`
	}
	write(t, dir, map[string]string{"helm.json": login("helm.example", "h"), "config.json": login("docker.example", "d")})
	t.Setenv("HELM_REGISTRY_CONFIG", filepath.Join(dir, "helm.json"))
	t.Setenv("DOCKER_CONFIG", dir)
	for host, user := range map[string]string{"helm.example": "h", "docker.example": "d", "other.example": ""} {
		repository, err := newRepository(host, host+"/overlays:0.1.0")
		require.NoError(t, err)
		found, err := repository.Client.(*auth.Client).Credential(t.Context(), host)
		require.NoError(t, err)
		require.Equal(t, user, found.Username)
	}
}
