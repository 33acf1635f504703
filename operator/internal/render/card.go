package render

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// Where the agent finds its card. Frozen for v1alpha1.
const (
	cardFile   = "agent-card.json"
	cardPath   = "/etc/flokoa/" + cardFile
	cardVolume = "flokoa-agent-card"
)

// defaultCardModes are the default input and output media types of a card.
var defaultCardModes = []string{"text/plain"}

// CardName is the name of the ConfigMap that holds an Agent's card.
func CardName(agent *v1alpha1.Agent) string { return agent.Name + "-card" }

// card is the ConfigMap of an Agent's card, nil without one.
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

// cardText is the A2A agent card as JSON, with a default for every omitted member that the protocol requires. The address and
// the protocol version are the business of the server in the image. The card's digest is part of the pod template, so its
// format is frozen for v1alpha1.
func cardText(agent *v1alpha1.Agent) (string, error) {
	content := agent.Spec.Card.DeepCopy()
	if content.Name == "" {
		content.Name = agent.Name
	}
	if len(content.DefaultInputModes) == 0 {
		content.DefaultInputModes = defaultCardModes
	}
	if len(content.DefaultOutputModes) == 0 {
		content.DefaultOutputModes = defaultCardModes
	}
	if content.Capabilities == nil {
		content.Capabilities = &v1alpha1.CardCapabilities{}
	}
	skills := make([]skill, 0, len(content.Skills))
	for _, s := range content.Skills {
		skills = append(skills, skill{CardSkill: s, Tags: append([]string{}, s.Tags...)})
	}
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // this is not HTML
	encoder.SetIndent("", "  ")
	err := encoder.Encode(struct {
		*v1alpha1.Card
		Skills []skill `json:"skills"`
	}{content, skills})
	if err != nil {
		return "", fmt.Errorf("spec.card: %w", err)
	}
	return text.String(), nil
}

// skill always has tags in its JSON, because the protocol requires them.
type skill struct {
	v1alpha1.CardSkill
	Tags []string `json:"tags"`
}

// mountCard mounts the card as a file of the agent's container. It is a subPath mount, which keeps the image's other files in
// that directory. The kubelet never updates a subPath mount, so the digest on the template rolls the pods instead.
func mountCard(agent *v1alpha1.Agent, template *corev1ac.PodTemplateSpecApplyConfiguration) error {
	if agent.Spec.Card == nil {
		return nil
	}
	text, err := cardText(agent)
	if err != nil {
		return err
	}
	template.WithAnnotations(map[string]string{v1alpha1.AnnotationCardDigest: shortDigest([]byte(text))})
	template.Spec.WithVolumes(corev1ac.Volume().WithName(cardVolume).
		WithConfigMap(corev1ac.ConfigMapVolumeSource().WithName(CardName(agent))))
	template.Spec.Containers[0].WithVolumeMounts(corev1ac.VolumeMount().
		WithName(cardVolume).
		WithMountPath(cardPath).
		WithSubPath(cardFile).
		WithReadOnly(true))
	return nil
}
