package configrollout

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

var gpt = Object{Model, "gpt"}

// modelOf is the content of a Model with a base URL.
func modelOf(version, url string) Content {
	return ModelContent(version, map[string]string{"provider": "OpenAI", "baseURL": url}, []corev1.EnvVar{{Name: "OPENAI_BASE_URL", Value: url}})
}

func modelReferences() References {
	references := References{}
	references.AddModel(gpt.Name, nil)
	return references
}

// Each row says what pods took, and what the Model is now.
func TestWhatFollowsFromAChangeOfAModel(t *testing.T) {
	const a, b = "https://a", "https://b"
	references := modelReferences()
	taken := func(content Content) Baseline { return Baseline{}.Take("template", references, Contents{gpt: content}) }
	changed := func(keys ...string) Difference {
		return Difference{Changes: []Change{{gpt, references[gpt].revision(Model, modelOf("", b)), keys}}}
	}
	for name, row := range map[string]struct {
		pods Baseline
		now  Content
		want Difference
	}{
		"nothing":                              {taken(modelOf("1", b)), modelOf("1", b), Difference{}},
		"a field changes":                      {taken(modelOf("1", a)), modelOf("2", b), changed("baseURL")},
		"it is created again as it was":        {taken(modelOf("1", b)), modelOf("2", b), Difference{}},
		"it is deleted":                        {taken(modelOf("1", b)), Content{}, Difference{}},
		"it appears":                           {taken(Content{}), modelOf("1", b), changed()},
		"it does not appear":                   {taken(Content{}), Content{}, Difference{}},
		"it exists, and nobody knows the pods": {Baseline{Template: "template"}, modelOf("1", b), changed()},
		"nobody knows the pods":                {Baseline{Template: "template"}, Content{}, Difference{Moved: true}},
	} {
		decoded, ok := Decode(row.pods.Encode())
		require.True(t, ok, name)
		require.Equal(t, row.want, decoded.Compare(references, Contents{gpt: row.now}), name)
	}
	require.Empty(t, taken(modelOf("1", a)).Compare(references, Contents{}), "a Model that could not be read counts as unchanged")
}

// The environment changes only together with what the pods take.
func TestPodsKeepTheEnvironmentThatTheyTook(t *testing.T) {
	references := modelReferences()
	first, second := modelOf("1", "https://a"), modelOf("2", "https://b")
	pods := Baseline{}.Take("template", references, Contents{gpt: first})
	require.Equal(t, first.Environment, pods.Environment)

	changed := Contents{gpt: second}
	require.Equal(t, first.Environment, pods.Move(references, changed).Environment, "a change waits for its turn")
	require.Equal(t, second.Environment, pods.Take("template", references, changed).Environment)

	deleted := pods.Take("another template", references, Contents{gpt: Content{}})
	require.Equal(t, first.Environment, deleted.Environment, "the Agent's own change does not take the Model away")
	require.Empty(t, deleted.Compare(references, Contents{gpt: modelOf("3", "https://a")}), "the same Model comes back")
	require.Equal(t, first.Environment, pods.Take("another template", references, Contents{}).Environment, "nor does a Model that could not be read")

	other := References{}
	other.AddModel("other", nil)
	renamed := pods.Take("another template", other, Contents{{Model, "other"}: Content{}})
	require.Empty(t, renamed.Environment, "whoever may use the other Model may not use the key of this one")
	require.Len(t, renamed.Compare(other, Contents{{Model, "other"}: second}).Changes, 1, "and rolls when it does")
	require.Empty(t, pods.Take("template", References{}, Contents{}).Environment, "the Agent names no Model any more")
}

func TestTheKeyOfAModelIsAReferenceToASecret(t *testing.T) {
	references := References{}
	references.AddModel(gpt.Name, []corev1.EnvVar{{Name: "FLOKOA_MODEL", Value: "m"}, {Name: "OPENAI_API_KEY", ValueFrom: &corev1.EnvVarSource{
		SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}, Key: "api-key"}}}})
	require.Equal(t, []Object{gpt, {Secret, "keys"}}, references.Objects())
	require.Equal(t, Use{Required: true, Keys: map[string]bool{"api-key": true}}, references[Object{Secret, "keys"}])
	of, any := references.Model()
	require.True(t, any)
	require.Equal(t, gpt, of)
	_, any = References{config: {}, secret: {}}.Model()
	require.False(t, any)
}
