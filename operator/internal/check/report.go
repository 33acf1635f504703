package check

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/internal/status"
)

// Report is the result of a run, in the order of the input. Its JSON is a public contract, which the command's help describes.
type Report struct {
	Agents  []Agent `json:"agents"`
	Errors  []Error `json:"errors"`
	Summary Summary `json:"summary"`
	// position grows with the input. Agents are evaluated after everything was read, and errors are in the order of the input.
	position int
}

// Agent is the result for an Agent that was evaluated.
type Agent struct {
	Location
	// Namespace is empty when neither the manifest nor the command line names one.
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// HighlyAvailable is true if nothing is Missing.
	HighlyAvailable bool                 `json:"highlyAvailable"`
	Missing         []status.Requirement `json:"missing"`
	Warnings        []string             `json:"warnings"`
	// Children are the rendered objects, only with --render.
	Children []map[string]any `json:"children,omitempty"`
}

// Error is something that could not be read, decoded, or rendered.
type Error struct {
	Location
	// Agent or Model is the [namespace/]name, and Field the path, where they are known.
	Agent string `json:"agent,omitempty"`
	Model string `json:"model,omitempty"`
	Field string `json:"field,omitempty"`
	// Message is a whole sentence, field included.
	Message  string `json:"message"`
	position int
}

// Summary counts what was read.
type Summary struct {
	// Agents are those that were evaluated.
	Agents          int `json:"agents"`
	HighlyAvailable int `json:"highlyAvailable"`
	// Models are the valid ones.
	Models int `json:"models"`
	Errors int `json:"errors"`
	// Skipped are objects of other kinds.
	Skipped int `json:"skipped"`
}

// Location is a place in the input. Every number counts from 1; 0 is unknown, or does not apply.
type Location struct {
	// File is the path on the command line, or - for standard input.
	File string `json:"file,omitempty"`
	// Document is the number of a document in the file, Line its first line, and Item the number of an item in its list.
	Document int `json:"document,omitempty"`
	Line     int `json:"line,omitempty"`
	Item     int `json:"item,omitempty"`
}

// String formats a location for people. Editors and terminals recognize file:line.
func (p Location) String() string {
	text := quoteName(p.File)
	if p.File == stdinFile {
		text = "standard input"
	}
	if p.Line > 0 {
		text += fmt.Sprintf(":%d", p.Line)
	}
	if p.Document > 0 {
		text += fmt.Sprintf(", document %d", p.Document)
	}
	if p.Item > 0 {
		text += fmt.Sprintf(", item %d", p.Item)
	}
	return text
}

func (r *Report) evaluated(agent Agent) {
	r.Agents = append(r.Agents, agent)
	r.Summary.Agents++
	if agent.HighlyAvailable {
		r.Summary.HighlyAvailable++
	}
}

func (r *Report) error(err Error) {
	err.position = r.position
	r.Errors = append(r.Errors, err)
	r.Summary.Errors++
}

// finish reports an error if there was nothing to evaluate: a check that passes because it read the wrong files is worse than none.
func (r *Report) finish() {
	slices.SortStableFunc(r.Errors, func(a, b Error) int { return a.position - b.position })
	switch {
	case len(r.Agents)+len(r.Errors)+r.Summary.Models > 0:
	case r.Summary.Skipped == 0:
		r.error(Error{Message: "no Agent found: the input is empty"})
	default:
		r.error(Error{Message: "no Agent found, only other objects. check renders no chart and no kustomization: pipe in the output of helm template or kubectl kustomize with -f -"})
	}
}

func (r *Report) exitCode() int {
	switch {
	case r.Summary.Errors > 0:
		return ExitError
	case r.Summary.HighlyAvailable < r.Summary.Agents:
		return ExitMissing
	default:
		return ExitHighlyAvailable
	}
}

// print writes the report. Rendered objects have standard output to themselves, so that it can be piped.
func (r *Report) print(options options, stdout, stderr io.Writer) error {
	if options.output == "json" {
		encoder := json.NewEncoder(stdout)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	if !options.render {
		return write(stdout, r.text())
	}
	rendered, err := r.rendered()
	if err != nil {
		return err
	}
	if err := write(stdout, rendered); err != nil {
		return err
	}
	return write(stderr, r.text())
}

// text returns a block for each Agent, then the errors, then a line of counts.
func (r *Report) text() string {
	var b strings.Builder
	for _, agent := range r.Agents {
		result := "highly available"
		if !agent.HighlyAvailable {
			result = "not highly available"
		}
		fmt.Fprintf(&b, "%s (%s): %s\n", quoteName(qualified(agent.Namespace, agent.Name)), agent.Location, result)
		for _, requirement := range agent.Missing {
			fmt.Fprintf(&b, "  %s: %s\n", requirement.ID, escape(requirement.Text))
		}
		for _, warning := range agent.Warnings {
			fmt.Fprintf(&b, "  warning: %s\n", escape(warning))
		}
		b.WriteString("\n")
	}
	for _, err := range r.Errors {
		b.WriteString("error: ")
		if err.File != "" {
			fmt.Fprintf(&b, "%s: ", err.Location)
		}
		if err.Agent != "" {
			fmt.Fprintf(&b, "%s: ", quoteName(err.Agent))
		}
		if err.Model != "" {
			fmt.Fprintf(&b, "Model %s: ", quoteName(err.Model))
		}
		fmt.Fprintf(&b, "%s\n", escape(err.Message))
	}
	if len(r.Errors) > 0 {
		b.WriteString("\n")
	}
	b.WriteString(r.Summary.String() + "\n")
	return b.String()
}

// String formats the counts on one line.
func (s Summary) String() string {
	parts := []string{"no Agent checked"}
	if s.Agents > 0 {
		parts[0] = fmt.Sprintf("%s checked: %d highly available, %d not", count(s.Agents, "Agent"), s.HighlyAvailable, s.Agents-s.HighlyAvailable)
	}
	if s.Models > 0 {
		parts = append(parts, count(s.Models, "Model")+" read")
	}
	if s.Errors > 0 {
		parts = append(parts, count(s.Errors, "error"))
	}
	if s.Skipped > 0 {
		parts = append(parts, count(s.Skipped, "other object")+" skipped")
	}
	return strings.Join(parts, "; ")
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// rendered returns the children of every Agent as YAML documents.
func (r *Report) rendered() (string, error) {
	var b strings.Builder
	for _, agent := range r.Agents {
		about := fmt.Sprintf("# %s (%s)\n", quoteName(qualified(agent.Namespace, agent.Name)), agent.Location)
		if agent.Namespace == "" {
			about += fmt.Sprintf("# Rendered for namespace %s: the manifest names none, and -n was not given.\n", defaultNamespace)
		}
		for _, child := range agent.Children {
			document, err := yaml.Marshal(child)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "---\n%s%s", about, document)
			about = ""
		}
	}
	return b.String(), nil
}
