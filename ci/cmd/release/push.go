package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"helm.sh/helm/v3/pkg/cli"
	"helm.sh/helm/v3/pkg/registry"
)

// pushed is one artifact in a registry, as dist/charts.json and dist/overlays.json list it: what to sign, and how to verify it.
type pushed struct {
	// Reference is a repository and its tag.
	Reference string `json:"reference"`
	// Digest names the same artifact whatever the tag points to later.
	Digest string `json:"digest"`
	// File is the pushed file, and SBOM lists its contents; both are beside the list.
	File string `json:"file"`
	SBOM string `json:"sbom,omitempty"`
}

// pushCharts pushes the packages of a directory as `helm push` does, and lists them in charts.json. It pushes the charts of the
// repository in their present version, and no package of another version that is left in the directory.
func pushCharts(root, dir, address string, out io.Writer) error {
	host, parent, err := parseRegistry(address)
	if err != nil {
		return err
	}
	client, err := newRegistryClient(host)
	if err != nil {
		return err
	}
	charts, err := current(root)
	if err != nil {
		return err
	}
	var list []pushed
	for _, now := range charts {
		file := packageOf(dir, now)
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read the package of %s: %w; package the charts first", now.Name(), err)
		}
		reference := parent + "/" + now.Name() + ":" + now.Metadata.Version
		result, err := client.Push(data, reference)
		if err != nil {
			return fmt.Errorf("push %s to %s: %w", filepath.Base(file), reference, err)
		}
		name := filepath.Base(file)
		list = append(list, pushed{result.Ref, result.Manifest.Digest, name, strings.TrimSuffix(name, ".tgz") + ".cdx.json"})
	}
	return writePushed(filepath.Join(dir, "charts.json"), list, out)
}

func newRegistryClient(host string) (*registry.Client, error) {
	// The credentials are those of `helm registry login`, or of `docker login`.
	options := []registry.ClientOption{registry.ClientOptCredentialsFile(cli.New().RegistryConfig)}
	if loopback(host) {
		options = append(options, registry.ClientOptPlainHTTP())
	}
	return registry.NewClient(options...)
}

func writePushed(file string, list []pushed, out io.Writer) error {
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o600); err != nil {
		return err
	}
	for _, each := range list {
		if _, err := fmt.Fprintf(out, "pushed: %s@%s\n", each.Reference, each.Digest); err != nil {
			return err
		}
	}
	return nil
}

var errRegistry = errors.New("set REGISTRY to the parent of what is pushed, for example REGISTRY=oci://ghcr.io/flokoa/charts")

// parseRegistry splits oci://host/path into its host and the same without the scheme.
func parseRegistry(address string) (host, parent string, err error) {
	parsed, err := url.Parse(address)
	if err == nil && parsed.User != nil {
		return "", "", fmt.Errorf("REGISTRY has credentials: remove them, and log in with helm registry login %s", parsed.Host)
	}
	if err != nil || parsed.Scheme != "oci" || parsed.Host == "" || parsed.RawQuery != "" || parsed.Fragment != "" {
		if end := strings.LastIndex(address, "@"); end >= 0 { // what is before it can be a password
			address = "..." + address[end:]
		}
		return "", "", fmt.Errorf("%q is not a registry: %w", address, errRegistry)
	}
	path := strings.Trim(parsed.Path, "/")
	if path == "" || strings.ContainsAny(path, ":@") {
		return "", "", fmt.Errorf("%q has no path, or a tag: %w", address, errRegistry)
	}
	return parsed.Hostname(), parsed.Host + "/" + path, nil
}

// loopback reports whether a host is this machine: only there is plain HTTP safe, because no one else can read or change it.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
