package render

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// Frozen for v1alpha1: where the agent finds its card.
const (
	cardFile   = "agent-card.json"
	cardPath   = "/etc/flokoa/" + cardFile
	cardVolume = "flokoa-agent-card"
)

// defaultCardModes are the media types of a card that names none.
var defaultCardModes = []string{"text/plain"}

// CardName is the name of the ConfigMap that holds an Agent's card.
func CardName(agent *v1alpha1.Agent) string { return agent.Name + "-card" }

// card is nil for an Agent without one.
func card(agent *v1alpha1.Agent) (*corev1ac.ConfigMapApplyConfiguration, error) {
	if agent.Spec.Card == nil {
		return nil, nil
	}
	text, err := cardText(agent)
	if err != nil {
		return nil, err
	}
	return corev1ac.ConfigMap(CardName(agent), agent.Namespace).
		WithLabels(labels(agent)).
		WithOwnerReferences(owner(agent)).
		WithData(map[string]string{cardFile: text}), nil
}

// cardText is the A2A agent card as JSON: what the Agent says, and a value for every member that the protocol requires and the
// Agent left out. Address and protocol version are left to the server in the image, which knows what it speaks. Its
// digest is part of the pod template, so its form is frozen for v1alpha1.
func cardText(agent *v1alpha1.Agent) (string, error) {
	said := agent.Spec.Card.DeepCopy()
	if said.Name == "" {
		said.Name = agent.Name
	}
	if len(said.DefaultInputModes) == 0 {
		said.DefaultInputModes = defaultCardModes
	}
	if len(said.DefaultOutputModes) == 0 {
		said.DefaultOutputModes = defaultCardModes
	}
	if said.Capabilities == nil {
		said.Capabilities = &v1alpha1.CardCapabilities{}
	}
	skills := make([]skill, 0, len(said.Skills))
	for _, s := range said.Skills {
		skills = append(skills, skill{CardSkill: s, Tags: append([]string{}, s.Tags...)})
	}
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // a file, not a web page
	encoder.SetIndent("", "  ")
	err := encoder.Encode(struct {
		*v1alpha1.Card
		Skills []skill `json:"skills"`
	}{said, skills})
	if err != nil {
		return "", fmt.Errorf("spec.card: %w", err)
	}
	return text.String(), nil
}

// skill is one whose tags are written when there are none, because the protocol requires them.
type skill struct {
	v1alpha1.CardSkill
	Tags []string `json:"tags"`
}

// mountCard makes the card a file of the agent's container. It is mounted by itself, beside whatever the image has in that
// folder; a file mounted so never changes under a running pod, and so the digest on the template rolls the pods instead.
func mountCard(agent *v1alpha1.Agent, template *corev1ac.PodTemplateSpecApplyConfiguration) error {
	if agent.Spec.Card == nil {
		return nil
	}
	text, err := cardText(agent)
	if err != nil {
		return err
	}
	template.WithAnnotations(map[string]string{v1alpha1.AnnotationCardDigest: sum([]byte(text))})
	template.Spec.WithVolumes(corev1ac.Volume().WithName(cardVolume).
		WithConfigMap(corev1ac.ConfigMapVolumeSource().WithName(CardName(agent))))
	template.Spec.Containers[0].WithVolumeMounts(corev1ac.VolumeMount().
		WithName(cardVolume).
		WithMountPath(cardPath).
		WithSubPath(cardFile).
		WithReadOnly(true))
	return nil
}
