package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"helm.sh/helm/v3/pkg/cli"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/retry"
)

// Flux unpacks the layer of a manifest with this configuration; other clients of OCI artifacts can, too.
const (
	fluxConfig  = "application/vnd.cncf.flux.config.v1+json"
	fluxContent = "application/vnd.cncf.flux.content.v1.tar+gzip"
)

// pushOverlays pushes the packed overlays of a directory to REGISTRY/overlays, under the version of the charts, and lists them in
// overlays.json.
func pushOverlays(root, dir, address string, out io.Writer) error {
	host, parent, err := parseRegistry(address)
	if err != nil {
		return err
	}
	version, err := chartVersion(root)
	if err != nil {
		return err
	}
	file := overlaysFile(dir, version)
	archive, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the packed overlays: %w; pack them first", err)
	}
	about, err := provenanceOf(root, version)
	if err != nil {
		return err
	}
	reference := parent + "/" + overlaysName + ":" + version
	to, err := newRepository(host, reference)
	if err != nil {
		return err
	}
	digest, err := pushFlux(context.Background(), to, archive, version, about)
	if err != nil {
		return fmt.Errorf("push the overlays to %s: %w", reference, err)
	}
	list := []pushed{{Reference: reference, Digest: digest, File: filepath.Base(file)}}
	return writePushed(filepath.Join(dir, "overlays.json"), list, out)
}

// provenanceOf are the annotations that `flux get sources oci` shows. The time is that of the commit, so that the digest of a commit
// does not depend on when it was pushed.
func provenanceOf(root, version string) (map[string]string, error) {
	out, err := exec.Command("git", "-C", root, "log", "-1", "--format=%H %cI").Output()
	if err != nil {
		return nil, fmt.Errorf("read the commit that the overlays are of: git log: %w", err)
	}
	commit, created, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	return map[string]string{
		ocispec.AnnotationCreated:  created,
		ocispec.AnnotationSource:   repository,
		ocispec.AnnotationRevision: "v" + version + "@sha1:" + commit,
	}, nil
}

func newRepository(host, reference string) (*remote.Repository, error) {
	to, err := remote.NewRepository(reference)
	if err != nil {
		return nil, err
	}
	helm, err := credentials.NewStore(cli.New().RegistryConfig, credentials.StoreOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the credentials of helm registry login: %w", err)
	}
	docker, err := credentials.NewStoreFromDocker(credentials.StoreOptions{DetectDefaultNativeStore: true})
	if err != nil {
		return nil, fmt.Errorf("read the credentials of docker login: %w", err)
	}
	store := credentials.NewStoreWithFallbacks(helm, docker)
	to.PlainHTTP = loopback(host)
	to.Client = &auth.Client{Client: retry.DefaultClient, Cache: auth.NewCache(), Credential: credentials.Credential(store)}
	return to, nil
}

// pushFlux returns the digest of the manifest that it pushes and tags.
func pushFlux(ctx context.Context, to oras.Target, archive []byte, tag string, annotations map[string]string) (string, error) {
	store := memory.New()
	layer, err := oras.PushBytes(ctx, store, fluxContent, archive)
	if err != nil {
		return "", err
	}
	config, err := oras.PushBytes(ctx, store, fluxConfig, []byte("{}"))
	if err != nil {
		return "", err
	}
	manifest, err := oras.PackManifest(ctx, store, oras.PackManifestVersion1_1, "", oras.PackManifestOptions{
		Layers: []ocispec.Descriptor{layer}, ConfigDescriptor: &config, ManifestAnnotations: annotations,
	})
	if err != nil {
		return "", err
	}
	if err := store.Tag(ctx, manifest, tag); err != nil {
		return "", err
	}
	copied, err := oras.Copy(ctx, store, tag, to, tag, oras.DefaultCopyOptions)
	return copied.Digest.String(), err
}
