package check

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/model"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// evaluate reports what an Agent lacks, or why it cannot be rendered.
func evaluate(m manifest, models map[string]*v1alpha1.Model, options options, report *Report) {
	agent := m.agent
	if agent.Namespace == "" {
		agent.Namespace = options.namespace
	}
	generated := agent.Name == "" && agent.GenerateName != ""
	if generated {
		agent.Name = generatedName(agent.GenerateName)
	}
	result := Agent{Location: m.location, Namespace: agent.Namespace, Name: agent.Name, Missing: []status.Requirement{}, Warnings: warnings(agent)}
	wrong := func(field, message string) {
		report.error(Error{Location: m.location, Agent: qualified(result.Namespace, result.Name), Field: field, Message: message})
	}
	if field := templatedField(agent); field != "" {
		wrong(field, field+" has {{ in it: "+unrenderedTemplate)
		return
	}
	if agent.Namespace == "" {
		agent.Namespace = defaultNamespace
	}
	children, err := render.Agent(agent, render.Live{})
	if err != nil {
		text := err.Error()
		if generated {
			text = strings.Replace(text, "metadata.name", "metadata.generateName", 1)
		}
		wrong(leadingField.FindString(text), text)
		return
	}
	if err := resolve(agent, models, &children, &result); err != nil {
		wrong("spec.model", err.Error())
		return
	}
	result.Missing = append(result.Missing, status.Requirements(agent, children)...)
	result.HighlyAvailable = len(result.Missing) == 0
	if options.render {
		if result.Children, err = objects(children); err != nil {
			wrong("", err.Error())
			return
		}
	}
	report.evaluated(result)
}

// resolve gives the rendered container the variables of the Model that the Agent names. A Model that is not in the input may be in the cluster.
func resolve(agent *v1alpha1.Agent, models map[string]*v1alpha1.Model, children *render.Children, result *Agent) error {
	if agent.Spec.Model == nil {
		return nil
	}
	of, declared := models[modelKey(agent.Namespace, agent.Spec.Model.Name)]
	if !declared {
		result.Warnings = append(result.Warnings, fmt.Sprintf(
			"spec.model: Model %q is not among these manifests for namespace %q: unless it exists there, the agent runs without its environment", agent.Spec.Model.Name, agent.Namespace))
	}
	if of == nil {
		return nil
	}
	var err error
	*children, err = children.WithModel(agent, render.Live{}, model.Environment(&of.Spec))
	return err
}

// leadingField matches the field at the start of a rendering error.
var leadingField = regexp.MustCompile(`^(metadata|spec)(\.[A-Za-z]+)+`)

// templatedField returns a field with Helm's braces among those that cannot have any, empty if there is none. Other fields can,
// such as a prompt in an environment variable.
func templatedField(agent *v1alpha1.Agent) string {
	if strings.Contains(agent.GenerateName, "{{") {
		return "metadata.generateName"
	}
	if strings.Contains(agent.Name, "{{") {
		return "metadata.name"
	}
	if strings.Contains(agent.Namespace, "{{") {
		return "metadata.namespace"
	}
	runtime := agent.Spec.Runtime.Spec
	if strings.Contains(runtime.Container.Image, "{{") {
		return "spec.runtime.spec.container.image"
	}
	for _, more := range []struct {
		field      string
		containers []corev1.Container
	}{{"initContainers", runtime.InitContainers}, {"sidecars", runtime.Sidecars}} {
		for i, container := range more.containers {
			if strings.Contains(container.Image, "{{") {
				return fmt.Sprintf("spec.runtime.spec.%s[%d].image", more.field, i)
			}
		}
	}
	return ""
}

func warnings(agent *v1alpha1.Agent) []string {
	all := []string{}
	if agent.Spec.Autoscaling != nil && agent.Spec.Runtime.Spec.Replicas != nil {
		all = append(all, "spec.runtime.spec.replicas is set together with spec.autoscaling: omit replicas, because the autoscaler writes it and every apply of this manifest would reset it")
	}
	return all
}

// objects returns the children as a user sees them, without the owner reference and the digest. Both depend on the Agent's uid,
// which does not exist yet, and a wrong one would be worse than none.
func objects(children render.Children) ([]map[string]any, error) {
	var all []map[string]any
	for _, child := range []any{children.Deployment, children.Service, children.Disruption, children.Autoscaler, children.Card} {
		raw, err := json.Marshal(child)
		if err != nil {
			return nil, err
		}
		value, err := jsonData(raw)
		if err != nil {
			return nil, err
		}
		object, ok := value.(map[string]any)
		if !ok {
			continue // a nil pointer: the Agent has no such child
		}
		metadata, _ := object["metadata"].(map[string]any)
		delete(metadata, "ownerReferences")
		annotations, _ := metadata["annotations"].(map[string]any)
		delete(annotations, v1alpha1.AnnotationDigest)
		if len(annotations) == 0 {
			delete(metadata, "annotations")
		}
		all = append(all, object)
	}
	return all, nil
}
