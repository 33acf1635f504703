package architecture

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// published are the Dockerfiles of images that users run.
var published = []string{"operator/Dockerfile", "examples/agent/Dockerfile"}

// repositoryFiles returns the files whose path matches, ignored ones left out.
func repositoryFiles(t *testing.T, pattern string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard").Output()
	require.NoError(t, err)
	matching := regexp.MustCompile(pattern)
	var files []string
	for _, file := range strings.Fields(string(out)) {
		if matching.MatchString(file) {
			files = append(files, file)
		}
	}
	return files
}

func readFile(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	require.NoError(t, err)
	return string(text)
}

func TestImagesSayWhereTheyComeFrom(t *testing.T) {
	for _, file := range published {
		text := readFile(t, file)
		for label, value := range map[string]string{
			"title": `[a-z-]+`, "description": `[^"]{20,}`, "licenses": `Apache-2\.0`, "source": `https://github\.com/flokoa/flokoa`,
			"version": `\$\{VERSION\}`, "revision": `\$\{REVISION\}`,
		} {
			require.Regexp(t, `(?m)^(LABEL|     ) org\.opencontainers\.image\.`+label+`="`+value+`"( \\)?$`, text, file)
		}
		// An argument is empty above its declaration, so the order counts.
		require.Regexp(t, `(?s)\nFROM .*\nARG VERSION=.*image\.version=`, text, file)
		require.Regexp(t, `(?s)\nFROM .*\nARG REVISION=.*image\.revision=`, text, file)
	}
}

func TestMakeLabelsEveryImageThatItBuilds(t *testing.T) {
	for _, target := range []string{"image", "push"} {
		command := exec.CommandContext(t.Context(), "make", "--no-print-directory", "--dry-run", target, "VERSION=v1.2.3")
		command.Dir = root
		command.Env = append(os.Environ(), "MAKEFLAGS=")
		out, err := command.Output()
		require.NoError(t, err)
		builds := 0
		for line := range strings.Lines(strings.ReplaceAll(string(out), "\\\n", "")) {
			if regexp.MustCompile(`docker (buildx )?build `).MatchString(line) {
				builds++
				require.Regexp(t, `--build-arg VERSION=1\.2\.3 --build-arg REVISION=[0-9a-f]{40} `, line)
			}
		}
		require.Positive(t, builds, target)
	}
}

var (
	fromLine = regexp.MustCompile(`(?mi)^FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?`)
	// Images that make or a workflow runs, but does not build.
	builderImage = regexp.MustCompile(`(?m)^\w+\s*:?=\s*([\w.-]+/[\w./-]+:\S+)$`)
)

func TestBaseImagesArePinned(t *testing.T) {
	files := repositoryFiles(t, `(^|/)([\w-]+\.)?(Dockerfile|Containerfile)(\.[\w-]+)?$`)
	require.Subset(t, files, published)
	for _, file := range files {
		require.Empty(t, floatingBases(readFile(t, file)), file)
	}
	images := builderImage.FindAllStringSubmatch(readFile(t, "Makefile"), -1)
	require.Len(t, images, 2)
	for _, image := range images {
		require.Regexp(t, pinnedImage, image[1])
	}
}

// floatingBases returns the base images that are not pinned: neither a digest, nor an earlier stage, nor scratch, nor an argument, by
// which the caller names an image that it has just built.
func floatingBases(dockerfile string) []string {
	stages, floating := map[string]bool{"scratch": true}, []string(nil)
	for _, from := range fromLine.FindAllStringSubmatch(dockerfile, -1) {
		if image := from[1]; !stages[image] && !pinnedImage.MatchString(image) && !regexp.MustCompile(`^\$\{\w+\}$`).MatchString(image) {
			floating = append(floating, image)
		}
		stages[from[2]] = true
	}
	return floating
}

func TestFloatingBaseImagesAreFound(t *testing.T) {
	require.Equal(t, []string{"golang:1.26", "alpine", "${BASE}:3"},
		floatingBases("FROM --platform=linux/amd64 golang:1.26 AS build\nfrom alpine\nFROM build\nFROM scratch\nFROM ${BASE}:3\nFROM ${ROOT}\n"))
	require.Empty(t, floatingBases("FROM a/b:1@sha256:"+strings.Repeat("0", 64)+"\n"))
}

// renovate is the part of Renovate's configuration that is checked.
type renovate struct {
	IgnorePaths    *[]string `json:"ignorePaths"`
	Enabled        []string  `json:"enabledManagers"`
	CustomManagers []struct {
		Files   []string `json:"managerFilePatterns"`
		Matches []string `json:"matchStrings"`
	} `json:"customManagers"`
}

// Renovate finds each go.mod, workflow, and Dockerfile by itself. What can leave one out is its preset, which ignores directories of
// tests and examples, or a manager that is not enabled.
func TestUpdatesCoverEveryPin(t *testing.T) {
	var config renovate
	require.NoError(t, json.Unmarshal([]byte(readFile(t, ".github/renovate.json")), &config))
	require.NotNil(t, config.IgnorePaths, "without ignorePaths, the preset ignores go.mod files below test/")
	for _, manager := range []string{"gomod", "github-actions", "dockerfile", "custom.regex"} {
		require.Contains(t, config.Enabled, manager)
	}
	pins := repositoryFiles(t, `(^|/)(go\.mod|Dockerfile|[\w-]+\.Dockerfile)$|^\.github/workflows/`)
	require.Contains(t, pins, "go.mod")
	require.Contains(t, pins, "ci/test/unit/alerts/go.mod")
	for _, file := range pins {
		for _, ignored := range *config.IgnorePaths {
			require.NotContains(t, file, strings.Trim(ignored, "*"), "%s is ignored by %s", file, ignored)
		}
	}
}

// Versions outside of go.mod files are found by regular expressions.
func TestUpdatesFindEveryVersionOutsideOfModules(t *testing.T) {
	var config renovate
	require.NoError(t, json.Unmarshal([]byte(readFile(t, ".github/renovate.json")), &config))
	found := map[string]int{}
	for _, manager := range config.CustomManagers {
		for _, pattern := range manager.Files {
			files := repositoryFiles(t, strings.Trim(pattern, "/"))
			require.NotEmpty(t, files, pattern)
			for _, file := range files {
				for _, match := range manager.Matches {
					found[file] += len(regexp.MustCompile(match).FindAllString(readFile(t, file), -1))
				}
				require.Positive(t, found[file], file)
			}
		}
	}
	require.Equal(t, strings.Count(readFile(t, "Makefile"), "@sha256:"), found["Makefile"])
	for _, file := range repositoryFiles(t, `\.go$`) {
		versions := regexp.MustCompile(`(KubeVersion = |ParseKubeVersion\()"v[0-9.]+"`).FindAllString(readFile(t, file), -1)
		require.GreaterOrEqual(t, found[file], len(versions), "%s names a Kubernetes version that no update finds", file)
	}
}
