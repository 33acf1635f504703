package check

import (
	"cmp"
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
	"github.com/flokoa/flokoa/operator/internal/model"
)

// manifest is a decoded Agent and where it was read.
type manifest struct {
	location Location
	position int
	agent    *v1alpha1.Agent
}

// manifests are the valid Agents of the input, and its Models by namespace/name: nil for an invalid one, which is an error of its own.
type manifests struct {
	agents []manifest
	models map[string]*v1alpha1.Model
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

// decode adds the valid Agents and the Models of a document to the input, and reports the errors of the others.
func decode(d document, options options, input *manifests, report *Report) {
	if d.err != nil {
		report.error(Error{Location: d.location, Message: d.err.Error()})
		return
	}
	var ours []object
	for _, o := range expand(d.location, d.value) {
		switch kind, problem := recognize(o); {
		case problem != nil:
			report.error(*problem)
		case kind != "":
			ours = append(ours, o)
		default:
			report.Summary.Skipped++
		}
	}
	if len(ours) == 0 {
		return
	}
	duplicates := d.duplicates()
	for _, sentence := range duplicates {
		problem := Error{Location: d.location, Message: sentence}
		if len(ours) == 1 {
			problem = ours[0].wrong("", sentence)
		}
		report.error(problem)
	}
	for _, o := range ours {
		report.position++
		if o.text("kind") == v1alpha1.ModelKind {
			input.addModel(o, len(duplicates) == 0, options, report)
			continue
		}
		agent, problems := decodeObject(o, func() *v1alpha1.Agent { return &v1alpha1.Agent{} })
		for _, problem := range problems {
			report.error(problem)
		}
		if len(problems)+len(duplicates) == 0 {
			input.agents = append(input.agents, manifest{o.location, report.position, agent})
		}
	}
}

// addModel adds a Model, and reports its errors.
func (m *manifests) addModel(o object, valid bool, options options, report *Report) {
	of, problems := decodeObject(o, func() *v1alpha1.Model { return &v1alpha1.Model{} })
	if len(problems) == 0 {
		if field, problem := model.Validate(&of.Spec); problem != "" {
			problems = append(problems, o.wrong(field, problem))
		}
	}
	for _, problem := range problems {
		report.error(problem)
	}
	key := modelKey(cmp.Or(o.text("metadata", "namespace"), options.namespace), o.text("metadata", "name"))
	if m.models[key] = nil; valid && len(problems) == 0 {
		m.models[key] = of
		report.Summary.Models++
	}
}

// modelKey identifies a Model. A manifest without a namespace is for the default one.
func modelKey(namespace, name string) string {
	return cmp.Or(namespace, defaultNamespace) + "/" + name
}

// wrong is an error about an object.
func (o object) wrong(field, message string) Error {
	if o.text("kind") == v1alpha1.ModelKind {
		return Error{Location: o.location, Model: o.name(), Field: field, Message: message}
	}
	return Error{Location: o.location, Agent: o.name(), Field: field, Message: message}
}

// kinds are those that check reads, each with how messages call one.
var kinds = map[string]string{v1alpha1.AgentKind: "an Agent's", v1alpha1.ModelKind: "a Model's"}

// expand returns the objects of a document: the items of a list, or the document itself.
func expand(location Location, value any) []object {
	fields, _ := value.(map[string]any)
	o := object{location, fields}
	items, listed := fields["items"].([]any)
	kind, typed := strings.CutSuffix(o.text("kind"), "List")
	typed = typed && kinds[kind] != "" && o.text("apiVersion") == v1alpha1.GroupVersion.String()
	if !listed || !typed && o.text("kind") != "List" {
		return []object{o}
	}
	var all []object
	for _, item := range items {
		if fields, ok := item.(map[string]any); ok && typed && fields["apiVersion"] == nil && fields["kind"] == nil {
			// The items of a typed list need not repeat their apiVersion and kind.
			fields["apiVersion"], fields["kind"] = v1alpha1.GroupVersion.String(), kind
		}
		for _, o := range expand(location, item) {
			o.location.Item = len(all) + 1
			all = append(all, o)
		}
	}
	return all
}

// recognize returns the kind of an Agent or Model of the supported version, empty for another object. An object that is nearly one is an
// error: it must not count as skipped.
func recognize(o object) (kind string, problem *Error) {
	supported, kind := v1alpha1.GroupVersion, o.text("kind")
	apiVersion := o.text("apiVersion")
	group, _, _ := strings.Cut(apiVersion, "/")
	wrong := func(field, text string, args ...any) (string, *Error) {
		problem := o.wrong(field, fmt.Sprintf(text, args...))
		return "", &problem
	}
	whose := kinds[kind]
	switch {
	case whose != "" && apiVersion == supported.String():
		return kind, nil
	case kind == v1alpha1.AgentKind && apiVersion == "": // other groups have a kind Model, too
		return wrong("apiVersion", "apiVersion is missing: %s is %s", whose, supported)
	case whose != "" && (group == supported.Group || strings.Contains(group, "flokoa")):
		return wrong("apiVersion", "apiVersion %s is not supported: the supported one is %s", apiVersion, supported)
	case apiVersion == supported.String() && kind == "":
		return wrong("kind", "kind is missing: an Agent's is %s, and a Model's is %s", v1alpha1.AgentKind, v1alpha1.ModelKind)
	case group == supported.Group:
		for name := range kinds {
			if strings.EqualFold(kind, name) {
				return wrong("kind", "kind %s does not exist: write %s", kind, name)
			}
		}
	}
	return "", nil
}

// decodeObject decodes an object as strictly as the API server does, and finds every error.
func decodeObject[T any](o object, empty func() T) (T, []Error) {
	var problems []Error
	wrong := func(field, message string) { problems = append(problems, o.wrong(field, message)) }
	decodeError := func(data any) error {
		_, err := decodeStrict(data, empty())
		return err
	}
	v := validator{decodeError, wrong}
	v.validate(o.fields, "", func(value any) any { return value })
	decoded := empty()
	unknown, err := decodeStrict(o.fields, decoded)
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
	return decoded, problems
}

func decodeStrict(fields, into any) (unknown []error, err error) {
	raw, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	return kjson.UnmarshalStrict(raw, into)
}

// validator finds the values of an object that do not decode.
type validator struct {
	// decodeError returns the first error of decoding data into an object, and wrong reports one.
	decodeError func(data any) error
	wrong       func(field, message string)
}

// validate reports every value that its field cannot take, and returns the data without these values, so that the rest decodes. The
// decoder stops at the first one and seldom says where it is. So each value is decoded by itself: whole puts it into an otherwise
// empty object.
func (v validator) validate(value any, path string, whole func(any) any) any {
	if v.decodeError(whole(value)) == nil {
		return value
	}
	switch parts := value.(type) {
	case map[string]any:
		if v.decodeError(whole(map[string]any{})) != nil {
			break // not even an empty mapping decodes, so the parts are not the cause
		}
		for _, name := range slices.Sorted(maps.Keys(parts)) {
			parts[name] = v.validate(parts[name], strings.TrimPrefix(path+"."+name, "."), func(part any) any { return whole(map[string]any{name: part}) })
		}
		return parts
	case []any:
		if v.decodeError(whole([]any{})) != nil {
			break
		}
		for i := range parts {
			parts[i] = v.validate(parts[i], fmt.Sprintf("%s[%d]", path, i), func(part any) any { return whole([]any{part}) })
		}
		return parts
	}
	v.wrong(path, fieldError(path, value, v.decodeError(whole(value))))
	return nil
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
