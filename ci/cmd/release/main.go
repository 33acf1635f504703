// Command release packages charts: for users, and for the tests of upgrades from each release.
//
//	go run ./ci/cmd/release          packages the charts into ci/cmd/release/testdata/v<version>
//	go run ./ci/cmd/release v0.1.0   reports whether the repository is ready for that tag
//	go run ./ci/cmd/release package dist [sha256:...]
//	                                 packages the charts into dist, each with an SBOM, and pins the operator's image
//	go run ./ci/cmd/release push dist oci://ghcr.io/flokoa/charts
//	                                 pushes the packages in dist to a registry, and lists their digests in dist/charts.json
//	go run ./ci/cmd/release overlays dist [sha256:...]
//	go run ./ci/cmd/release push-overlays dist oci://ghcr.io/flokoa
//	                                 the same for the overlays, as one artifact in the format of Flux
//
//	go run ./ci/cmd/release install-yaml dist [sha256:...]
//	                                 writes install.yaml: everything that is installed once per cluster
//	go run ./ci/cmd/release schemas dist
//	                                 writes the JSON Schemas of the CRD, for editors
//	go run ./ci/cmd/release notes v0.1.0
//	                                 prints what the changelog says of that version
//	go run ./ci/cmd/release provenance
//	                                 prints the SLSA predicate of what the present workflow of GitHub builds
//
// It reads the charts and the changelog of the repository in the working directory. A version that the changelog calls released
// is never packaged again: what users have does not change.
package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
)

func main() {
	if err := run(".", os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(root string, args []string, out io.Writer) error {
	if len(args) == 0 {
		return freeze(root, out)
	}
	command, isCommand := commands[args[0]]
	if !isCommand && len(args) == 1 {
		return ready(root, args[0])
	}
	if count := len(args) - 1; !isCommand || count < command.least || count > command.most {
		return errors.New("usage: release [TAG], or release with one of " + usage())
	}
	return command.do(root, args[1:], out)
}

// command is a subcommand; least and most are how many arguments it takes.
type command struct {
	arguments   string
	least, most int
	do          func(root string, args []string, out io.Writer) error
}

var commands = map[string]command{
	"package": {"DIRECTORY [DIGEST]", 1, 2, func(root string, args []string, out io.Writer) error {
		return packageCharts(root, args[0], optional(args, 1), out)
	}},
	"overlays": {"DIRECTORY [DIGEST]", 1, 2, func(root string, args []string, out io.Writer) error {
		return packOverlays(root, args[0], optional(args, 1), out)
	}},
	"push-overlays": {"DIRECTORY oci://HOST/PATH", 2, 2, func(root string, args []string, out io.Writer) error {
		return pushOverlays(root, args[0], args[1], out)
	}},
	"install-yaml": {"DIRECTORY [DIGEST]", 1, 2, func(root string, args []string, out io.Writer) error {
		return writeInstall(root, args[0], optional(args, 1), out)
	}},
	"schemas": {"DIRECTORY", 1, 1, func(_ string, args []string, out io.Writer) error {
		return writeSchemas(args[0], out)
	}},
	"notes": {"TAG", 1, 1, func(root string, args []string, out io.Writer) error {
		return notes(root, args[0], out)
	}},
	"provenance": {"", 0, 0, func(_ string, _ []string, out io.Writer) error {
		return provenance(os.Getenv, out)
	}},
	"push": {"DIRECTORY oci://HOST/PATH", 2, 2, func(root string, args []string, out io.Writer) error {
		return pushCharts(root, args[0], args[1], out)
	}},
}

func usage() string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		lines = append(lines, name+" "+commands[name].arguments)
	}
	return strings.Join(lines, "; ")
}

// optional is an argument that may be absent, which is not the same as empty.
func optional(args []string, at int) *string {
	if len(args) <= at {
		return nil
	}
	return &args[at]
}

// ready reports what a tag would release that is not ready for it: charts of another version, a changelog that still says unreleased.
func ready(root, tag string) error {
	version, isVersion := strings.CutPrefix(tag, "v")
	if !isVersion {
		return fmt.Errorf("TAG is %q, but must be v and a version: set it, for example TAG=v0.1.0", tag)
	}
	charts, err := current(root)
	if err != nil {
		return err
	}
	for _, now := range charts {
		if now.Metadata.Version != version || now.Metadata.AppVersion != version {
			return fmt.Errorf("the tag is %s, but charts/%s/Chart.yaml has version %s and appVersion %s", tag, now.Name(), now.Metadata.Version, now.Metadata.AppVersion)
		}
	}
	done, err := released(root)
	if err != nil {
		return err
	}
	if !slices.Contains(done, version) {
		return fmt.Errorf("CHANGELOG.md has no released version %s: replace (unreleased) with the release date", version)
	}
	return nil
}

// archive is the folder of what was frozen.
func archive(root string) string { return filepath.Join(root, "ci", "cmd", "release", "testdata") }

// freeze packages every chart, unless what it has is frozen already.
func freeze(root string, out io.Writer) error {
	charts, err := current(root)
	if err != nil {
		return err
	}
	done, err := released(root)
	if err != nil {
		return err
	}
	for _, now := range charts {
		version := now.Metadata.Version
		folder := filepath.Join(archive(root), "v"+version)
		frozen, err := loader.LoadFile(packageOf(folder, now))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("read what is frozen of %s: %w", now.Name(), err)
		}
		if err == nil && len(changes(frozen, now)) == 0 {
			continue
		}
		if slices.Contains(done, version) {
			return fmt.Errorf("%s %s is released and does not change any more: raise the version in its Chart.yaml", now.Name(), version)
		}
		file, err := chartutil.Save(now, folder)
		if err != nil {
			return fmt.Errorf("package %s: %w", now.Name(), err)
		}
		if _, err := fmt.Fprintln(out, "frozen:", file); err != nil {
			return err
		}
	}
	return nil
}

func packageOf(folder string, of *chart.Chart) string {
	return filepath.Join(folder, of.Name()+"-"+of.Metadata.Version+".tgz")
}

// current are the charts as they are now, by the names of their folders.
func current(root string) ([]*chart.Chart, error) {
	files, err := filepath.Glob(filepath.Join(root, "charts", "*", "Chart.yaml"))
	if err != nil {
		return nil, err
	}
	var charts []*chart.Chart
	for _, file := range files {
		loaded, err := loader.LoadDir(filepath.Dir(file))
		if err != nil {
			return nil, fmt.Errorf("load %s: %w", filepath.Dir(file), err)
		}
		charts = append(charts, loaded)
	}
	return charts, nil
}

var heading = regexp.MustCompile(`(?m)^## (\d+\.\d+\.\d+\S*)(.*)$`)

// released are the versions that the changelog does not call unreleased, the newest first.
func released(root string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil {
		return nil, err
	}
	return releasedIn(string(text)), nil
}

func releasedIn(changelog string) []string {
	var versions []string
	for _, found := range heading.FindAllStringSubmatch(changelog, -1) {
		if !strings.Contains(found[2], "unreleased") {
			versions = append(versions, found[1])
		}
	}
	return versions
}

// changes are the files in which two packages of a chart differ, but for what no cluster and no values file meets: words.
func changes(before, after *chart.Chart) []string {
	was, is := content(before), content(after)
	var files []string
	for name, text := range was {
		if other, kept := is[name]; !kept || other != text {
			files = append(files, name)
		}
	}
	for name := range is {
		if _, had := was[name]; !had {
			files = append(files, name)
		}
	}
	if !reflect.DeepEqual(before.Metadata, after.Metadata) {
		files = append(files, chartutil.ChartfileName)
	}
	slices.Sort(files)
	return files
}

func content(of *chart.Chart) map[string]string {
	files := map[string]string{}
	for _, file := range of.Raw {
		if !strings.HasPrefix(file.Name, "README.md") {
			files[file.Name] = string(file.Data)
		}
	}
	delete(files, chartutil.ChartfileName) // a package has it in words of its own
	return files
}
