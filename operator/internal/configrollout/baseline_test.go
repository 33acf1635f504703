package configrollout

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var config, secret = Object{ConfigMap, "c"}, Object{Secret, "s"}

// keyed is a hash as the operator uses it for Secrets, with a fixed key.
func keyed(value []byte) string {
	sum := sha256.Sum256(append([]byte("key of this process"), value...))
	return string(sum[:])
}

func configMap(version string, pairs ...string) Content {
	data := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		data[pairs[i]] = pairs[i+1]
	}
	return ConfigMapContent(version, data, nil)
}

func secretOf(version string, before Content, pairs ...string) Content {
	data := map[string][]byte{}
	for i := 0; i < len(pairs); i += 2 {
		data[pairs[i]] = []byte(pairs[i+1])
	}
	return SecretContent(version, data, keyed, before)
}

// Each row is a row of the table "what happens, what follows", as far as one object tells.
func TestWhatFollowsFromAChangeOfAnObject(t *testing.T) {
	key := func(required bool) Use { return Use{Required: required, Keys: map[string]bool{"k": required}} }
	all := func(required bool) Use { return Use{All: true, Required: required} }
	one := secretOf("1", Content{}, "k", "v", "other", "v")
	many := func(value string) Content {
		pairs := []string{"k", value}
		for i := range maxKeys {
			pairs = append(pairs, fmt.Sprint("key-", i), "v")
		}
		return configMap("1", pairs...)
	}
	changed := func(keys ...string) Difference { return Difference{Changes: []Change{{Keys: keys}}} }
	unchanged, moved, missing := Difference{}, Difference{Moved: true}, func(text string) Difference { return Difference{Missing: []string{text}} }
	for name, row := range map[string]struct {
		object        Object
		use           Use
		before, after Content
		want          Difference
	}{
		"a referenced key changes":                     {config, key(true), configMap("1", "k", "v"), configMap("2", "k", "w"), changed("k")},
		"a key changes, and all are read":              {config, all(true), configMap("1", "k", "v", "l", "v"), configMap("2", "k", "w", "l", "v"), changed("k")},
		"a key is added, and all are read":             {config, all(true), configMap("1", "k", "v"), configMap("2", "k", "v", "l", "v"), changed("l")},
		"a key is removed, and all are read":           {config, all(true), configMap("1", "k", "v", "l", "v"), configMap("2", "k", "v"), changed("l")},
		"an optional key appears":                      {config, key(false), configMap("1", "l", "v"), configMap("2", "l", "v", "k", "v"), changed("k")},
		"text becomes binary":                          {config, key(true), configMap("1", "k", "v"), ConfigMapContent("2", nil, map[string][]byte{"k": []byte("v")}), changed("k")},
		"one of many keys changes":                     {config, all(true), many("v"), many("w"), changed()},
		"many keys stay":                               {config, all(true), many("v"), many("v"), unchanged},
		"labels or annotations change":                 {config, all(true), configMap("1", "k", "v"), configMap("2", "k", "v"), unchanged},
		"a key that no pod reads changes":              {config, key(true), configMap("1", "k", "v", "l", "v"), configMap("2", "k", "v", "l", "w"), unchanged},
		"deleted":                                      {config, key(true), configMap("1", "k", "v"), Content{}, missing("ConfigMap c")},
		"an optional one is deleted":                   {config, key(false), configMap("1", "k", "v"), Content{}, unchanged},
		"a required key is removed":                    {config, key(true), configMap("1", "k", "v"), configMap("2", "l", "v"), missing("key k of ConfigMap c")},
		"a required one appears":                       {config, key(true), Content{}, configMap("1", "k", "v"), moved},
		"a required key appears":                       {config, key(true), configMap("1", "l", "v"), configMap("2", "k", "v"), moved},
		"an optional one appears":                      {config, key(false), Content{}, configMap("1", "k", "v"), changed("k")},
		"an optional one appears without its key":      {config, key(false), Content{}, configMap("1", "l", "v"), unchanged},
		"a Secret's key changes":                       {secret, key(true), one, secretOf("2", one, "k", "w", "other", "v"), changed("k")},
		"a Secret's labels change":                     {secret, all(true), one, secretOf("2", one, "k", "v", "other", "v"), moved},
		"a Secret's key that no pod reads changes":     {secret, key(true), one, secretOf("2", one, "k", "v", "other", "w"), moved},
		"a Secret is deleted":                          {secret, key(true), one, AbsentContent(one), missing("Secret s")},
		"a Secret comes back as it was":                {secret, key(true), one, secretOf("2", AbsentContent(one), "k", "v"), moved},
		"a Secret comes back with another value":       {secret, key(true), one, secretOf("2", AbsentContent(one), "k", "w"), changed("k")},
		"a required Secret appears":                    {secret, key(true), Content{}, one, moved},
		"an optional Secret appears":                   {secret, key(false), Content{}, one, changed()},
		"a Secret changed while nobody watched":        {secret, key(true), one, secretOf("2", Content{}, "k", "v"), changed()},
		"a Secret is as it was when nobody watched it": {secret, key(true), one, secretOf("1", Content{}, "k", "v", "other", "v"), unchanged},
	} {
		references := References{row.object: row.use}
		baseline := Baseline{}.Take("template", references, Contents{row.object: row.before})
		decoded, ok := Decode(baseline.Encode())
		require.True(t, ok, name)
		got := decoded.Compare(references, Contents{row.object: row.after})
		for i := range row.want.Changes {
			row.want.Changes[i].Object, row.want.Changes[i].Revision = row.object, row.use.revision(row.object.Kind, row.after)
		}
		require.Equal(t, row.want, got, name)
		require.Empty(t, baseline.Compare(references, Contents{}), "%s: unknown content counts as unchanged", name)
		again := decoded.Take("template", references, Contents{row.object: row.after}).Compare(references, Contents{row.object: row.after})
		require.Empty(t, again.Changes, "%s: content that was taken is no change", name)
		require.False(t, again.Moved, name)
	}
}

func TestOnlyPodsThatReadTheSameHaveTheSameRevision(t *testing.T) {
	keys := func(names ...string) Use {
		use := Use{Keys: map[string]bool{}}
		for _, name := range names {
			use.Keys[name] = true
		}
		return use
	}
	one := secretOf("1", Content{}, "k", "v", "l", "v")
	for name, row := range map[string]struct {
		object        Object
		use, other    Use
		content, then Content
		same          bool
	}{
		"the same":                             {config, keys("k"), keys("k"), configMap("1", "k", "v"), configMap("1", "k", "v"), true},
		"written again":                        {config, keys("k"), keys("k"), configMap("1", "k", "v"), configMap("2", "k", "v", "l", "v"), true},
		"another value":                        {config, keys("k"), keys("k"), configMap("1", "k", "v"), configMap("2", "k", "w"), false},
		"another key":                          {config, keys("k"), keys("l"), configMap("1", "k", "v", "l", "v"), configMap("1", "k", "v", "l", "v"), false},
		"one more key":                         {config, keys("k"), Use{All: true}, configMap("1", "k", "v", "l", "v"), configMap("1", "k", "v", "l", "v"), false},
		"the same keys of a Secret":            {secret, keys("k", "l"), keys("l", "k"), one, one, true},
		"another key of a Secret":              {secret, keys("k"), keys("l"), one, one, false},
		"all keys of a Secret":                 {secret, keys("k", "l"), Use{All: true, Keys: map[string]bool{"k": true, "l": true}}, one, one, false},
		"a Secret that has been written again": {secret, keys("k"), keys("k"), one, secretOf("2", one, "k", "v", "l", "v"), false},
	} {
		revision, other := row.use.revision(row.object.Kind, row.content), row.other.revision(row.object.Kind, row.then)
		require.Equal(t, row.same, revision == other, name)
	}
}

func TestMoveTakesWhatRunningPodsHaveAnyway(t *testing.T) {
	late, gone := Object{ConfigMap, "late"}, Object{ConfigMap, "gone"}
	use := Use{All: true, Required: true}
	references := References{config: use, secret: use, late: use, gone: use}
	one := secretOf("1", Content{}, "k", "v")
	before := Contents{config: configMap("1", "k", "v"), secret: one, late: {}, gone: configMap("1", "k", "v")}
	baseline := Baseline{}.Take("template", references, before).StartRollout([]Change{{Object: config, Revision: "r"}}, true)
	after := Contents{config: configMap("2", "k", "w"), secret: secretOf("2", one, "k", "v"), late: configMap("1", "k", "v"), gone: {}}
	require.True(t, baseline.Compare(references, after).Moved)

	moved := baseline.Move(references, after)
	require.Equal(t, Difference{
		Changes: []Change{{config, use.revision(ConfigMap, after[config]), []string{"k"}}}, Missing: []string{"ConfigMap gone"},
	}, moved.Compare(references, after), "what changed still needs a rollout")
	require.Equal(t, "2", moved.Secrets["s"])
	require.NotNil(t, moved.ConfigMaps["late"])
	require.Equal(t, baseline.ConfigMaps["gone"], moved.ConfigMaps["gone"], "its pods still run")
	require.Equal(t, baseline.Rollout, moved.Rollout)
	require.Equal(t, "template", moved.Template)
}

func TestARestartTakesTheCurrentContentAlong(t *testing.T) {
	use := Use{All: true}
	references := References{config: use, secret: use}
	dropped, now := Object{ConfigMap, "dropped"}, configMap("2", "k", "w")
	failed := &Rollout{Objects: map[Object]string{config: "1", secret: "1", dropped: "1"}, Unready: true}
	require.Equal(t, &Rollout{Objects: map[Object]string{config: use.revision(ConfigMap, now), secret: "1"}, Unready: true},
		failed.Retake(references, Contents{config: now, dropped: now}), "the Secret is not known")
	require.Nil(t, failed.Retake(References{}, Contents{config: now}))
}

func TestTakeKeepsWhatIsNotKnownAndDropsWhatIsNotReferenced(t *testing.T) {
	references := References{config: {All: true}, secret: {All: true}}
	baseline := Baseline{}.Take("a", references, Contents{config: configMap("1", "k", "v"), secret: secretOf("1", Content{}, "k", "v")})
	require.Equal(t, baseline.ConfigMaps, baseline.Take("b", references, Contents{}).ConfigMaps)
	require.Equal(t, baseline.Secrets, baseline.Take("b", references, Contents{}).Secrets)
	require.Equal(t, Baseline{Template: "b"}.Encode(), baseline.Take("b", References{}, Contents{}).Encode())
}

func TestABaselineRevealsNoValueOfASecret(t *testing.T) {
	references := References{secret: {All: true, Required: true}}
	annotation := func(value string) string {
		contents := Contents{secret: secretOf("uid/7", secretOf("uid/6", Content{}, "k", "before"), "k", value)}
		baseline := Baseline{}.Take("template", references, contents)
		changes := Baseline{}.Take("template", references, Contents{secret: secretOf("uid/6", Content{}, "k", "before")}).Compare(references, contents).Changes
		return baseline.StartRollout(changes, false).Encode() + Revision(references, contents) + Describe(changes)
	}
	require.Equal(t, annotation("one"), annotation("another"), "all that is written is the same for every value")
	require.NotContains(t, annotation("one"), keyed([]byte("one")))
}

func TestBaselineAnnotations(t *testing.T) {
	for _, annotation := range []string{"", "{", "[]", "null", "{}", `{"configMaps":7}`} {
		baseline, ok := Decode(annotation)
		require.False(t, ok, annotation)
		require.Empty(t, baseline)
	}
	rollout := Baseline{Template: "t"}.StartRollout([]Change{{Object: config, Revision: "1"}, {Object: secret, Revision: "2"}}, false)
	decoded, ok := Decode(rollout.Encode())
	require.True(t, ok)
	require.Equal(t, map[Object]string{config: "1", secret: "2"}, decoded.Rollout.Objects)
	require.JSONEq(t, `{"template":"t","rollout":{"objects":{"ConfigMap/c":"1","Secret/s":"2"}}}`, rollout.Encode())
}

func TestALargeConfigMapHasASmallBaseline(t *testing.T) {
	data := map[string]string{}
	for i := range 4000 {
		data[strings.Repeat("k", 240)+fmt.Sprint(i)] = "v"
	}
	references := References{config: {All: true}}
	require.Less(t, len(Baseline{}.Take("template", references, Contents{config: ConfigMapContent("1", data, nil)}).Encode()), 200)
}

func TestManyConfigMapsHaveASmallBaseline(t *testing.T) {
	references, contents := References{}, Contents{}
	data := func(value string) map[string]string {
		data := map[string]string{}
		for i := range maxKeys {
			data[strings.Repeat("k", 240)+fmt.Sprint(i)] = value
		}
		return data
	}
	for i := range 45 {
		object := Object{ConfigMap, fmt.Sprint("c-", i)}
		references[object], contents[object] = Use{All: true}, ConfigMapContent("1", data("v"), nil)
	}
	optional := Object{ConfigMap, "optional"}
	references[optional], contents[optional] = Use{All: true}, Content{}
	baseline := Baseline{}.Take("template", references, contents)
	require.Less(t, len(baseline.Encode()), 10<<10)
	require.Empty(t, baseline.Compare(references, contents))
	contents[Object{ConfigMap, "c-7"}] = ConfigMapContent("2", data("w"), nil)
	contents[Object{ConfigMap, "c-8"}] = ConfigMapContent("2", nil, nil)
	contents[optional] = configMap("1", "k", "v")
	require.Equal(t, "ConfigMap c-7 changed; ConfigMap c-8 changed; ConfigMap optional changed: k", Describe(baseline.Compare(references, contents).Changes))
	delete(references, Object{ConfigMap, "c-0"})
	require.Empty(t, baseline.Take("template", references, contents).Compare(references, contents), "it stays compact or not")
}

func TestChangesAreDescribedByObjectAndKeys(t *testing.T) {
	require.Equal(t, "ConfigMap agent-config changed: log-level; Secret agent-secrets changed",
		Describe([]Change{{Object: Object{ConfigMap, "agent-config"}, Keys: []string{"log-level"}}, {Object: Object{Secret, "agent-secrets"}}}))
	require.Equal(t, "ConfigMap c changed: a, b, c, d, e, and 2 more", Change{Object: config, Keys: []string{"a", "b", "c", "d", "e", "f", "g"}}.String())
}

func TestOnlyAForeignAnnotationIsARestart(t *testing.T) {
	restart := map[string]string{"kubectl.kubernetes.io/restartedAt": "now"}
	require.False(t, Baseline{Template: Template("t", restart, "")}.Restarted(Template("u", restart, "")))
	require.True(t, Baseline{Template: Template("t", nil, "")}.Restarted(Template("t", restart, "")))
	require.False(t, Baseline{Template: Template("t", restart, "m")}.Restarted(Template("t", restart, "n")))
	require.False(t, Baseline{}.Restarted(Template("t", restart, "")), "the first look at an Agent")
}

func TestTheRevisionChangesWithEveryVersion(t *testing.T) {
	references := References{config: {All: true}, secret: {All: true}}
	revision := func(config2, secret2 string) string {
		return Revision(references, Contents{config: configMap(config2, "k", "v"), secret: secretOf(secret2, Content{}, "k", "v")})
	}
	require.NotEqual(t, revision("1", "1"), revision("2", "1"))
	require.NotEqual(t, revision("1", "1"), revision("1", "2"))
	require.NotEqual(t, Template("t", nil, ""), Template("t", map[string]string{"kubectl.kubernetes.io/restartedAt": "now"}, ""))
	require.NotEqual(t, Template("t", nil, ""), Template("u", nil, ""))
	require.NotEqual(t, Template("t", nil, "m"), Template("t", nil, "n"))
	require.NotEqual(t, Template("t", nil, "m"), Template("t", nil, ""))
}
