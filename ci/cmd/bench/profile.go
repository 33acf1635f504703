package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"

	"github.com/flokoa/flokoa/ci/cmd/bench/report"
	"github.com/flokoa/flokoa/ci/testkit/harness"
)

// slice is how long one CPU profile is, in seconds. How long a phase is, is not known before, so it is profiled as a sequence of short
// ones, which `go tool pprof` adds up.
const slice = 4

// profiler collects CPU profiles of the processes of one measurement.
type profiler struct {
	// folder is where they go: one folder for each phase and process.
	folder string
	// sources are where a process serves its profiles, by its name.
	sources map[string]source
}

type source struct {
	client *http.Client
	url    string
}

// newProfiler profiles the API server of a stage; operators are added.
func newProfiler(s *stage, folder string) (*profiler, error) {
	client, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		return nil, err
	}
	return &profiler{folder: folder, sources: map[string]source{"kube-apiserver": {client, s.Config.Host}}}, nil
}

// operator adds the operator that starts next, and returns the flag that it needs. Without a profiler, it needs none.
func (p *profiler) operator() ([]string, error) {
	if p == nil {
		return nil, nil
	}
	address, err := harness.FreeAddress()
	p.sources[report.Operator] = source{http.DefaultClient, "http://" + address}
	return []string{"--pprof-bind-address=" + address}, err
}

// start profiles until the phase ends, and returns what ends it. That waits for the last profiles: a process can make one at a time.
func (p *profiler) start(ctx context.Context, phase string) (stop func() error) {
	if p == nil {
		return func() error { return nil }
	}
	ended, results := make(chan struct{}), make(chan error, len(p.sources))
	for name, from := range p.sources {
		go func() { results <- from.collect(ctx, ended, filepath.Join(p.folder, phase, name)) }()
	}
	return func() error {
		close(ended)
		var failed []error
		for range p.sources {
			failed = append(failed, <-results)
		}
		return errors.Join(failed...)
	}
}

// heap profiles what the operator has allocated. It ends with a garbage collection, so it comes after the memory was measured.
func (p *profiler) heap(ctx context.Context, name string) error {
	if p == nil {
		return nil
	}
	if err := os.MkdirAll(p.folder, 0o750); err != nil {
		return err
	}
	return p.sources[report.Operator].write(ctx, "heap?gc=1", filepath.Join(p.folder, name+".heap.pb.gz"))
}

// collect writes one profile after another into a folder until the phase has ended.
func (s source) collect(ctx context.Context, ended <-chan struct{}, folder string) error {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	for i := 0; ; i++ {
		if err := s.write(ctx, fmt.Sprintf("profile?seconds=%d", slice), filepath.Join(folder, fmt.Sprintf("%04d.pb.gz", i))); err != nil {
			return fmt.Errorf("profiling: %w", err)
		}
		select {
		case <-ended:
			return nil
		default:
		}
	}
}

// write writes one profile of a kind, such as heap.
func (s source) write(ctx context.Context, kind, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/debug/pprof/"+kind, nil)
	if err != nil {
		return err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	profile, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", request.URL.Path, response.Status, profile)
	}
	return os.WriteFile(path, profile, 0o600)
}
