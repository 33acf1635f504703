package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	kjson "sigs.k8s.io/json"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// manifest is a decoded Agent and where it was read.
type manifest struct {
	location Location
	agent    *v1alpha1.Agent
}

// object is an object of a document, by itself or in a list.
type object struct {
	location Location
	fields   map[string]any
}

// text returns a string field, empty if the field is of another type.
func (o object) text(path ...string) string {
	value := any(o.fields)
	for _, name := range path {
		fields, _ := value.(map[string]any)
		value = fields[name]
	}
	text, _ := value.(string)
	return text
}

// name returns the [namespace/]name of an object of any kind.
func (o object) name() string {
	name := o.text("metadata", "name")
	if prefix := o.text("metadata", "generateName"); name == "" && prefix != "" {
		name = generatedName(prefix)
	}
	return qualified(o.text("metadata", "namespace"), name)
}

// generatedName is a name as the API server makes it: a prefix, shortened for a Service's name, and five characters.
func generatedName(prefix string) string {
	return prefix[:min(len(prefix), validation.DNS1035LabelMaxLength-5)] + "xxxxx"
}

func qualified(namespace, name string) string { return strings.TrimPrefix(namespace+"/"+name, "/") }

// decode returns the valid Agents of a document, and reports the errors of the others.
func decode(d document, report *Report) []manifest {
	if d.err != nil {
		report.error(Error{Location: d.location, Message: d.err.Error()})
		return nil
	}
	var agents []object
	for _, o := range expand(d.location, d.value) {
		switch isAgent, problem := recognize(o); {
		case problem != nil:
			report.error(*problem)
		case isAgent:
			agents = append(agents, o)
		default:
			report.Summary.Skipped++
		}
	}
	if len(agents) == 0 {
		return nil
	}
	duplicates := d.duplicates()
	for _, sentence := range duplicates {
		problem := Error{Location: d.location, Message: sentence}
		if len(agents) == 1 {
			problem.Agent = agents[0].name()
		}
		report.error(problem)
	}
	var manifests []manifest
	for _, o := range agents {
		agent, problems := decodeAgent(o)
		for _, problem := range problems {
			report.error(problem)
		}
		if len(problems)+len(duplicates) == 0 {
			manifests = append(manifests, manifest{o.location, agent})
		}
	}
	return manifests
}

// expand returns the objects of a document: the items of a list, or the document itself.
func expand(location Location, value any) []object {
	fields, _ := value.(map[string]any)
	o := object{location, fields}
	items, listed := fields["items"].([]any)
	agents := o.text("kind") == v1alpha1.AgentKind+"List" && o.text("apiVersion") == v1alpha1.GroupVersion.String()
	if !listed || !agents && o.text("kind") != "List" {
		return []object{o}
	}
	var all []object
	for _, item := range items {
		if fields, ok := item.(map[string]any); ok && agents && fields["apiVersion"] == nil && fields["kind"] == nil {
			// The items of a typed list need not repeat their apiVersion and kind.
			fields["apiVersion"], fields["kind"] = v1alpha1.GroupVersion.String(), v1alpha1.AgentKind
		}
		for _, o := range expand(location, item) {
			o.location.Item = len(all) + 1
			all = append(all, o)
		}
	}
	return all
}

// recognize reports whether an object is an Agent of the supported version. An object that is nearly one is an error: it must not
// count as skipped.
func recognize(o object) (isAgent bool, problem *Error) {
	supported, kind := v1alpha1.GroupVersion, o.text("kind")
	apiVersion := o.text("apiVersion")
	group, _, _ := strings.Cut(apiVersion, "/")
	wrong := func(field, text string, args ...any) (bool, *Error) {
		return false, &Error{Location: o.location, Agent: o.name(), Field: field, Message: fmt.Sprintf(text, args...)}
	}
	switch {
	case kind == v1alpha1.AgentKind && apiVersion == supported.String():
		return true, nil
	case kind == v1alpha1.AgentKind && apiVersion == "":
		return wrong("apiVersion", "apiVersion is missing: an Agent's is %s", supported)
	case kind == v1alpha1.AgentKind && (group == supported.Group || strings.Contains(group, "flokoa")):
		return wrong("apiVersion", "apiVersion %s is not supported: the supported one is %s", apiVersion, supported)
	case apiVersion == supported.String() && kind == "":
		return wrong("kind", "kind is missing: an Agent's is %s", v1alpha1.AgentKind)
	case group == supported.Group && strings.EqualFold(kind, v1alpha1.AgentKind) && kind != v1alpha1.AgentKind:
		return wrong("kind", "kind %s does not exist: write %s", kind, v1alpha1.AgentKind)
	default:
		return false, nil
	}
}

// decodeAgent decodes an Agent as strictly as the API server does, and finds every error.
func decodeAgent(o object) (*v1alpha1.Agent, []Error) {
	var problems []Error
	name := o.name()
	wrong := func(field, message string) {
		problems = append(problems, Error{Location: o.location, Agent: name, Field: field, Message: message})
	}
	validate(o.fields, "", func(value any) any { return value }, wrong)
	agent := &v1alpha1.Agent{}
	unknown, err := decodeStrict(o.fields, agent)
	if err != nil { // unexpected, because validate removed what does not decode
		wrong("", err.Error())
	}
	for _, err := range unknown {
		field, message := "", err.Error()
		if at := kjson.FieldError(nil); errors.As(err, &at) {
			field = at.FieldPath()
		}
		wrong(field, message)
	}
	return agent, problems
}

func decodeStrict(fields any, agent *v1alpha1.Agent) (unknown []error, err error) {
	raw, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	return kjson.UnmarshalStrict(raw, agent)
}

// validate reports every value that its field cannot take, and returns the data without these values, so that the rest decodes. The
// decoder stops at the first one and seldom says where it is. So each value is decoded by itself: whole puts it into an otherwise
// empty Agent.
func validate(value any, path string, whole func(any) any, wrong func(field, message string)) any {
	if decodeError(whole(value)) == nil {
		return value
	}
	switch parts := value.(type) {
	case map[string]any:
		if decodeError(whole(map[string]any{})) != nil {
			break // not even an empty mapping decodes, so the parts are not the cause
		}
		for _, name := range slices.Sorted(maps.Keys(parts)) {
			parts[name] = validate(parts[name], strings.TrimPrefix(path+"."+name, "."), func(part any) any { return whole(map[string]any{name: part}) }, wrong)
		}
		return parts
	case []any:
		if decodeError(whole([]any{})) != nil {
			break
		}
		for i := range parts {
			parts[i] = validate(parts[i], fmt.Sprintf("%s[%d]", path, i), func(part any) any { return whole([]any{part}) }, wrong)
		}
		return parts
	}
	wrong(path, fieldError(path, value, decodeError(whole(value))))
	return nil
}

// decodeError returns the first error of decoding data into an Agent.
func decodeError(data any) error {
	_, err := decodeStrict(data, &v1alpha1.Agent{})
	return err
}

// fieldError returns what a field takes. It does not repeat the value, which may be a misplaced credential.
func fieldError(path string, value any, err error) string {
	if errors.Is(err, resource.ErrFormatWrong) || errors.Is(err, resource.ErrSuffix) || errors.Is(err, resource.ErrNumeric) {
		return path + " takes a quantity, such as 500m or 2Gi"
	}
	var mismatch *json.UnmarshalTypeError
	if !errors.As(err, &mismatch) {
		return fmt.Sprintf("%s: %s", path, err)
	}
	takes, is := typeName(mismatch.Type), valueType(value)
	if takes == "a string" && (is == "this number" || is == "true or false") {
		is += ": quote it"
	}
	return fmt.Sprintf("%s takes %s, not %s", path, takes, is)
}

// typeName describes a Go type in terms of YAML.
func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Slice, reflect.Array:
		return "a list"
	default:
		return "a mapping"
	}
}

func valueType(value any) string {
	switch value.(type) {
	case string:
		return "a string"
	case bool:
		return "true or false"
	case json.Number:
		return "this number"
	case []any:
		return "a list"
	default:
		return "a mapping"
	}
}
