package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/flokoa/flokoa/ci/generate/jsonschema"
	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/operator/api/crds"
)

const repository = "https://github.com/flokoa/flokoa"

const installHeader = `# Flokoa %s in one file: the namespace flokoa-system, the CRD, the admission policies, and the operator.
#
#   kubectl apply --server-side -f install.yaml
#
# It has no environments. To manage values, or several environments, install the charts: %s
`

// writeInstall writes install.yaml, made of overlays/install, into a directory. With a digest, the operator runs the image of it.
func writeInstall(root, dir string, digest *string, out io.Writer) error {
	version, err := chartVersion(root)
	if err != nil {
		return err
	}
	objects, err := manifests.Overlay(filepath.Join(root, overlaysName, "install"))
	if err != nil {
		return err
	}
	documents, err := manifests.Text(objects)
	if err != nil {
		return err
	}
	text := append(fmt.Appendf(nil, installHeader, version, repository), documents...)
	if digest != nil {
		pinned := 0
		if text, err = pinText(text, version, *digest, &pinned); err != nil {
			return err
		}
		if pinned != 1 {
			return fmt.Errorf("install.yaml runs %s:%s %d times, but must once", runImage, version, pinned)
		}
	}
	return writeAsset(filepath.Join(dir, "install.yaml"), text, out)
}

// writeSchemas writes a JSON Schema of each kind to DIR/schemas/GROUP/KIND_VERSION.json, the layout that kubeconform and editors expect.
func writeSchemas(dir string, out io.Writer) error {
	var all []jsonschema.Schema
	for _, crd := range [][]byte{crds.Agents, crds.Models} {
		schemas, err := jsonschema.FromCRD(crd)
		if err != nil {
			return err
		}
		all = append(all, schemas...)
	}
	for _, schema := range all {
		text, err := json.MarshalIndent(schema.Content, "", " ")
		if err != nil {
			return err
		}
		name := strings.ToLower(schema.Kind) + "_" + schema.Version + ".json"
		if err := writeAsset(filepath.Join(dir, "schemas", schema.Group, name), append(text, '\n'), out); err != nil {
			return err
		}
	}
	return nil
}

func writeAsset(file string, text []byte, out io.Writer) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, "wrote:", file)
	return err
}

// relativeLink is one in Markdown to a file of the repository.
var relativeLink = regexp.MustCompile(`\]\(([^):#]+)(#[^)]*)?\)`)

// notes prints what the changelog says of the version of a tag. Links to files become links to the tag: notes are read elsewhere.
func notes(root, tag string, out io.Writer) error {
	text, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	section, err := sectionOf(string(text), strings.TrimPrefix(tag, "v"))
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, relativeLink.ReplaceAllString(section, "]("+repository+"/blob/"+tag+"/$1$2)"))
	return err
}

func sectionOf(changelog, version string) (string, error) {
	for _, at := range heading.FindAllStringSubmatchIndex(changelog, -1) {
		if changelog[at[2]:at[3]] != version {
			continue
		}
		section := changelog[at[1]:]
		if next := heading.FindStringIndex(section); next != nil {
			section = section[:next[0]]
		}
		if strings.TrimSpace(section) == "" {
			return "", fmt.Errorf("CHANGELOG.md says nothing of %s: describe what users notice", version)
		}
		return strings.TrimSpace(section) + "\n", nil
	}
	return "", fmt.Errorf("CHANGELOG.md has no version %s: add a heading `## %s (date)`", version, version)
}

// provenance prints the predicate of SLSA v1 for what a workflow of GitHub built; cosign signs it together with the digest. get reads the
// variables that GitHub sets for each step.
func provenance(get func(string) string, out io.Writer) error {
	var missing []string
	value := func(name string) string {
		if get(name) == "" {
			missing = append(missing, name)
		}
		return get(name)
	}
	source := value("GITHUB_SERVER_URL") + "/" + value("GITHUB_REPOSITORY")
	ref, run := value("GITHUB_REF"), value("GITHUB_RUN_ID")+"/attempts/"+value("GITHUB_RUN_ATTEMPT")
	workflow := value("GITHUB_WORKFLOW_REF")
	path, _, _ := strings.Cut(strings.TrimPrefix(workflow, value("GITHUB_REPOSITORY")+"/"), "@")
	predicate := map[string]any{
		"buildDefinition": map[string]any{
			"buildType":          "https://actions.github.io/buildtypes/workflow/v1",
			"externalParameters": map[string]any{"workflow": map[string]any{"ref": ref, "repository": source, "path": path}},
			"resolvedDependencies": []any{
				map[string]any{"uri": "git+" + source + "@" + ref, "digest": map[string]any{"gitCommit": value("GITHUB_SHA")}},
			},
		},
		"runDetails": map[string]any{
			"builder":  map[string]any{"id": value("GITHUB_SERVER_URL") + "/" + workflow},
			"metadata": map[string]any{"invocationId": source + "/actions/runs/" + run},
		},
	}
	if len(missing) > 0 {
		return errors.New("provenance is of a workflow of GitHub, but these variables are not set: " + strings.Join(missing, ", "))
	}
	text, err := json.MarshalIndent(predicate, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n", text)
	return err
}
