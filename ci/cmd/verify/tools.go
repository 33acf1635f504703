package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// conform validates each object strictly against the schema of its kind.
func conform(kubeconform, folder string, renderings []rendering, swagger *swagger, accepted *exceptions) error {
	schemas := filepath.Join(folder, "schemas")
	if err := os.Mkdir(schemas, 0o700); err != nil {
		return err
	}
	missing, err := writeSchemas(schemas, renderings, swagger, accepted)
	if err != nil {
		return err
	}
	var report struct {
		Resources []struct{ Filename, Kind, Name, Status, Msg string }
	}
	arguments := []string{"-strict", "-ignore-missing-schemas", "-output", "json", "-schema-location", schemas + "/" + schemaFile("{{.Group}}", "{{.ResourceAPIVersion}}", "{{.ResourceKind}}")}
	for _, r := range renderings {
		arguments = append(arguments, filepath.Join(folder, r.file()))
	}
	if err := run(&report, kubeconform, arguments...); err != nil {
		return err
	}
	found := missing
	for _, resource := range report.Resources {
		found = append(found, fmt.Sprintf("%s: %s/%s: %s", sourceOf(renderings, resource.Filename), resource.Kind, resource.Name, resource.Msg))
	}
	return problems("kubeconform", found)
}

// schemaFile names the file of a kind's schema as kubeconform looks for it. The group of core kinds is their version there.
func schemaFile(group, version, kind string) string {
	if group == "" {
		group = version
	}
	return group + "-" + version + "-" + kind + ".json"
}

// writeSchemas writes the schemas of the kinds that are rendered, and returns those that have none and are not excepted.
func writeSchemas(folder string, renderings []rendering, swagger *swagger, accepted *exceptions) ([]string, error) {
	custom := map[schema.GroupVersionKind]map[string]any{}
	first := map[schema.GroupVersionKind]string{} // where the kind is rendered
	for _, r := range renderings {
		maps.Copy(custom, customSchemas(r.objects))
		for _, object := range r.objects {
			if kind := object.GroupVersionKind(); first[kind] == "" {
				first[kind] = r.source
			}
		}
	}
	var missing []string
	for kind, source := range first {
		found := custom[kind]
		if found == nil {
			found = swagger.schemaOf(kind)
		}
		if name := kind.GroupVersion().String() + "/" + kind.Kind; found == nil && !accepted.acceptKind(name) {
			missing = append(missing, fmt.Sprintf("%s: there is no schema for %s", source, name))
		}
		if found == nil {
			continue
		}
		text, err := json.Marshal(found)
		if err != nil {
			return nil, err
		}
		file := schemaFile(kind.Group, kind.Version, strings.ToLower(kind.Kind))
		if err := os.WriteFile(filepath.Join(folder, file), text, 0o600); err != nil {
			return nil, err
		}
	}
	slices.Sort(missing)
	return missing, nil
}

// warning is the grade of kube-score up to which a check counts as failed.
const warning = 5

// A scored object is one of kube-score's report.
type scored struct {
	TypeMeta struct{ Kind string } `json:"type_meta"`
	// ObjectMeta has the name as rendered.
	ObjectMeta struct{ Name string } `json:"object_meta"`
	Checks     []struct {
		Check    struct{ ID string }
		Grade    int
		Skipped  bool
		Comments []comment
	}
}

type comment struct{ Path, Summary string }

// score runs kube-score for each rendering on its own: whether a pod has a network policy depends on what is applied with it.
func score(kubeScore, folder string, renderings []rendering, accepted *exceptions) error {
	var found []string
	for _, r := range renderings {
		if strings.HasPrefix(r.source, goldens) {
			continue
		}
		var report []scored
		if err := run(&report, kubeScore, "score", "--output-format", "json", filepath.Join(folder, r.file())); err != nil {
			return fmt.Errorf("%s: %w", r.source, err)
		}
		for _, object := range report {
			found = append(found, object.findings(r.source, accepted)...)
		}
	}
	slices.Sort(found)
	return problems("kube-score (fix it, or add it to ci/cmd/verify/exceptions.yaml with the reason)", found)
}

func (s scored) findings(source string, accepted *exceptions) []string {
	var found []string
	name := s.TypeMeta.Kind + "/" + s.ObjectMeta.Name
	for _, check := range s.Checks {
		if check.Skipped || check.Grade > warning {
			continue
		}
		if len(check.Comments) == 0 {
			check.Comments = make([]comment, 1)
		}
		for _, comment := range check.Comments {
			if !accepted.acceptCheck(check.Check.ID, comment.Summary, name) {
				found = append(found, fmt.Sprintf("%s: %s: %s: %s", source, name, check.Check.ID, strings.TrimSpace(comment.Path+" "+comment.Summary)))
			}
		}
	}
	return found
}

// run decodes the report that a tool prints. Tools exit with an error if they find something, which the report says better.
func run(report any, tool string, arguments ...string) error {
	command := exec.Command(tool, arguments...)
	var text strings.Builder
	command.Stderr = &text
	out, err := command.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	if err := json.Unmarshal(out, report); err != nil {
		return fmt.Errorf("%s: cannot read its report: %w: %s", filepath.Base(tool), err, text.String())
	}
	return nil
}

func sourceOf(renderings []rendering, file string) string {
	for _, r := range renderings {
		if r.file() == filepath.Base(file) {
			return r.source
		}
	}
	return file
}
