// Package upstream gets the code of other projects from Go's module proxy: their CustomResourceDefinitions, and their programs, built
// from source. Each module is pinned by version and checksum here instead of in go.mod, because none of it is linked into Flokoa, and
// because a program is built with the go.mod of its own project.
package upstream

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// Module is a version of a Go module. Sum is its checksum, as in go.sum.
type Module struct{ Path, Version, Sum string }

// The modules that tests use. Renovate does not know this list: update it by hand, with the Sum that `go mod download -json` prints.
var (
	KEDA = Module{"github.com/kedacore/keda/v2", "v2.21.0", "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps="}
	VPA  = Module{"k8s.io/autoscaler/vertical-pod-autoscaler", "v1.8.1", "h1:Pe8bV1wozN4gOKO1rleiIY5alIyAXN+DnXDbXQcL4fI="}
	// GatewayAPI is not v1.7.0, which needs Go 1.27.
	GatewayAPI = Module{"sigs.k8s.io/gateway-api", "v1.6.3", "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc="}
	// Newer versions of Flux and Argo CD need Go 1.27. ci/tools builds their programs of the same versions.
	KustomizeController = Module{"github.com/fluxcd/kustomize-controller", "v1.9.6", "h1:XB+G3A0mky0j5uVHZWv4oSlS2RvZBoNIUhstIvY0JKE="}
	SourceController    = Module{"github.com/fluxcd/source-controller", "v1.9.6", "h1:nG534/bI6nVpyHra7ONAk6xDB3xPsVT+EOLHZHXPrrc="}
	ArgoCD              = Module{"github.com/argoproj/argo-cd/v3", "v3.5.7", "h1:Xm1BF+I5OgDKUG3SDK49vn2/Y5AMyaNVko+/JT08gj0="}
	Cilium              = Module{"github.com/cilium/cilium", "v1.20.2", "h1:dqiEGIcXc+gqCLYG/l7VCFJ8GHyb4HUrwbZOpkX5dL8="}
)

func (m Module) String() string { return m.Path + "@" + m.Version }

// Folder downloads the module, unless Go's module cache has it, and returns its folder, which is read-only.
func (m Module) Folder(ctx context.Context) (string, error) {
	download := exec.CommandContext(ctx, "go", "mod", "download", "-json", m.String())
	download.Dir = os.TempDir() // outside of this module, whose go.sum it could change
	out, err := download.Output()
	var got struct{ Dir, Sum, Error string }
	if json.Unmarshal(out, &got) == nil && got.Error != "" {
		err = errors.New(got.Error)
	}
	if err != nil {
		return "", fmt.Errorf("downloading %s: %w", m, err)
	}
	if got.Sum != m.Sum {
		return "", fmt.Errorf("%s has the checksum %s instead of %s: ci/testkit/upstream pins it", m, got.Sum, m.Sum)
	}
	return got.Dir, nil
}

// Build builds programs of the module from their packages, such as ./cmd/operator, and returns the folder that has them, in the cache
// folder that ci/tools/build.sh uses too. It writes its progress to log every ten seconds.
func (m Module) Build(ctx context.Context, log io.Writer, packages ...string) (string, error) {
	source, err := m.Folder(ctx)
	if err != nil {
		return "", err
	}
	folder, err := m.cache()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(folder, "built")); err == nil {
		return folder, nil
	}
	arguments := append([]string{"build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", folder + "/"}, packages...)
	build := exec.CommandContext(ctx, "go", arguments...)
	build.Dir = source
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	if err := follow(build, log, m.String()); err != nil {
		return "", err
	}
	return folder, os.WriteFile(filepath.Join(folder, "built"), nil, 0o600)
}

// cache is the folder for the programs of this version, made by this Go.
func (m Module) cache() (string, error) {
	home := os.Getenv("XDG_CACHE_HOME")
	if home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		home = filepath.Join(user, ".cache")
	}
	name := path.Base(strings.TrimSuffix(m.Path, "/v2"))
	folder := filepath.Join(home, "flokoa", "tools", name+"-"+m.Version+"-"+runtime.Version())
	return folder, os.MkdirAll(folder, 0o750)
}

// follow runs a build, counts the packages that it names, and keeps the last lines for the error.
func follow(build *exec.Cmd, log io.Writer, what string) error {
	output, err := build.StderrPipe()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := build.Start(); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(log, "%s: built from source, once per version and machine\n", what)
	var lines atomic.Int64
	done := make(chan struct{})
	go func() {
		ticker := time.NewTicker(10 * time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				_, _ = fmt.Fprintf(log, "%s: %d modules and packages, %s\n", what, lines.Load(), time.Since(began).Round(time.Second))
			}
		}
	}()
	var last []string
	for scanner := bufio.NewScanner(output); scanner.Scan(); lines.Add(1) {
		last = append(last[max(0, len(last)-9):], scanner.Text())
	}
	close(done)
	if err := build.Wait(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", what, err, strings.Join(last, "\n"))
	}
	return nil
}
