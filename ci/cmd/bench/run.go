package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/discovery"

	"github.com/flokoa/flokoa/ci/cmd/bench/floor"
	"github.com/flokoa/flokoa/ci/cmd/bench/report"
	"github.com/flokoa/flokoa/ci/testkit/harness"
)

// root is the folder of the repository, in which the benchmark is started.
const root = "."

// bench is a run of the benchmark.
type bench struct {
	options
	began    time.Time
	progress io.Writer
	// program is the operator's.
	program string
	// samples are what the floor applies, by replicas and image.
	samples map[int]map[string]*floor.Sample
	results report.Results
}

// run measures everything and reports it. What was measured is reported also when something could not be.
func run(ctx context.Context, o options, table, progress io.Writer) error {
	b := &bench{options: o, began: time.Now(), progress: progress, samples: map[int]map[string]*floor.Sample{}}
	lock, err := b.lock()
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	workshop, err := os.MkdirTemp("", "flokoa-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(workshop) }()
	if b.program, err = harness.Build(ctx, root, workshop, "bench"); err != nil {
		return err
	}
	b.logf("the operator is built")
	b.results.Machine, b.results.Flags = machine(ctx), b.flags
	failed := b.measureAll(ctx)
	b.results.Seconds = time.Since(b.began).Seconds()
	if len(b.results.Measurements) == 0 {
		return failed
	}
	return errors.Join(failed, b.report(table))
}

// lock keeps a second run away from this run's control plane.
func (b *bench) lock() (*os.File, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(cache, "flokoa", "clusters")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	return harness.Lock(filepath.Join(folder, clusterName+".bench"), func() { b.logf("waiting for another run of the benchmark") })
}

func (b *bench) measureAll(ctx context.Context) error {
	var failed []error
	all := b.plan()
	for i, one := range all {
		b.logf("%d of %d: %s", i+1, len(all), one)
		if err := b.measure(ctx, one); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", one, err))
			b.logf("FAILED: %s: %v", one, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted: %w", errors.Join(failed...))
		}
	}
	return errors.Join(failed...)
}

// measure makes one measurement on a control plane of its own.
func (b *bench) measure(ctx context.Context, one planned) error {
	if one.side == report.Floor && b.samples[one.workload.replicas] == nil {
		if err := b.sample(ctx, one.workload.replicas); err != nil {
			return fmt.Errorf("taking a sample for the floor: %w", err)
		}
	}
	m := report.New(one.scenario, one.side, one.workload.agents, one.workload.replicas, one.round)
	if err := b.on(ctx, one.workload, m, one.do); err != nil {
		return err
	}
	b.results.Measurements = append(b.results.Measurements, m)
	return nil
}

// on does something on a fresh control plane, and takes it down.
func (b *bench) on(ctx context.Context, w workload, into *report.Measurement, do func(context.Context, *measuring) error) error {
	defer func() {
		if err := harness.Down(context.WithoutCancel(ctx), root, clusterName); err != nil {
			b.logf("%v", err)
		}
	}()
	ctx, cancel := context.WithCancel(ctx) // whatever watches ends with it
	defer cancel()
	began := time.Now()
	s, err := setUp(ctx, root, w)
	if err != nil {
		return err
	}
	b.logf("control plane up in %.0fs", time.Since(began).Seconds())
	if b.results.Machine.Kubernetes == "" {
		b.results.Machine.Kubernetes = kubernetesVersion(s)
	}
	if used, err := s.CPU(); err == nil {
		into.Values["start.cpu.controlplane"] = used.Seconds()
	}
	m := &measuring{stage: s, Measurement: into, program: b.program, flags: b.flags, samples: b.samples[w.replicas], logf: b.logf}
	if b.profile {
		folder := fmt.Sprintf("%s-%d-%s-%d", into.Scenario, into.Agents, into.Side, into.Round)
		if m.profiler, err = newProfiler(s, filepath.Join(b.out, "pprof", folder)); err != nil {
			return err
		}
	}
	return do(ctx, m)
}

func (b *bench) sample(ctx context.Context, replicas int) error {
	w := workload{agents: 1, replicas: replicas, namespaces: 1}
	none := report.New("", report.Operator, 1, replicas, 1)
	return b.on(ctx, w, none, func(ctx context.Context, m *measuring) (err error) {
		b.samples[replicas], err = m.takeSamples(ctx)
		return err
	})
}

// logf prints a line of progress, with the time since the beginning.
func (b *bench) logf(format string, args ...any) {
	elapsed := time.Since(b.began).Round(time.Second)
	_, _ = fmt.Fprintf(b.progress, "bench %7s  %s\n", elapsed, fmt.Sprintf(format, args...))
}

// report prints the table and writes the files.
func (b *bench) report(table io.Writer) error {
	if err := os.MkdirAll(b.out, 0o750); err != nil {
		return err
	}
	if err := b.results.WriteTable(table); err != nil {
		return err
	}
	for _, file := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{"results.json", b.results.WriteJSON}, {"table.txt", b.results.WriteTable}, {"cost.svg", b.results.WritePlot},
	} {
		path := filepath.Join(b.out, file.name)
		if err := writeFile(path, file.write); err != nil {
			return err
		}
		b.logf("wrote %s", path)
	}
	return nil
}

func writeFile(path string, write func(io.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(file)
	return errors.Join(write(buffered), buffered.Flush(), file.Close())
}

// machine reports where it is measured.
func machine(ctx context.Context) report.Machine {
	m := report.Machine{
		Time: time.Now().UTC().Format(time.RFC3339), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(),
	}
	if out, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output(); err == nil {
		m.Version = strings.TrimSpace(string(out))
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if found := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(text); found != nil {
			m.Processor = string(found[1])
		}
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if found := regexp.MustCompile(`MemTotal:\s+(\d+) kB`).FindSubmatch(text); found != nil {
			kib, _ := strconv.Atoi(string(found[1]))
			m.MemoryMiB = kib / 1024
		}
	}
	return m
}

func kubernetesVersion(s *stage) string {
	client, err := discovery.NewDiscoveryClientForConfig(s.Config)
	if err != nil {
		return ""
	}
	version, err := client.ServerVersion()
	if err != nil {
		return ""
	}
	return version.GitVersion
}
