package api_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// policyCase is an Agent and the expected outcome of one policy.
type policyCase struct {
	name string
	make change
	// message is the whole message of the policy that finds it wrong; empty when nothing is.
	message string
}

// The Agent that the notes of flokoa-operator print, with an image in place of the placeholder.
func TestSampleAgentOfTheNotesPassesInEveryEnvironment(t *testing.T) {
	notes, err := os.ReadFile(root + "/charts/flokoa-operator/templates/NOTES.txt")
	require.NoError(t, err)
	_, sample, _ := strings.Cut(string(notes), "<<EOF\n")
	sample, _, found := strings.Cut(sample, "  EOF\n")
	require.True(t, found)
	for _, environment := range environments {
		agent := &v1alpha1.Agent{}
		require.NoError(t, yaml.UnmarshalStrict([]byte(strings.ReplaceAll(sample, "<registry>/<image>:<tag>", "registry.example/agent:v1")), agent))
		agent.SetNamespace(environment)
		p := as(t, "")
		require.NoError(t, p.Create(t.Context(), agent, client.DryRunAll), environment)
		require.Empty(t, p.warned(), environment)
	}
}

const key = "sk-0123456789abcdefghijklmn" // no key: the shape of one

func sidecar(c corev1.Container) change {
	return runtimeSpec(func(s *v1alpha1.RuntimeSpec) { s.Sidecars = append(s.Sidecars, c) })
}

func initContainer(c corev1.Container) change {
	return runtimeSpec(func(s *v1alpha1.RuntimeSpec) { s.InitContainers = append(s.InitContainers, c) })
}

// other is a container that is as it should be.
func other(changes ...func(*corev1.Container)) corev1.Container {
	most := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	c := corev1.Container{Name: "other", Image: "registry.example/other:v1", Resources: corev1.ResourceRequirements{Requests: most, Limits: most}}
	for _, change := range changes {
		change(&c)
	}
	return c
}

func images() []policyCase {
	floats := func(image string) string {
		return `spec.runtime.spec: image "` + image + `" is not pinned: use a version tag with a digit (repository:v1.2.3, not latest or main) or a digest (repository@sha256:...)`
	}
	digest := "@sha256:" + strings.Repeat("0a", 32)
	rows := []policyCase{
		{"another container's", sidecar(other(func(c *corev1.Container) { c.Image = "a/b:latest" })), floats("a/b:latest")},
		{"an init container's", initContainer(other(func(c *corev1.Container) { c.Image = "a/b" })), floats("a/b")},
		{"a volume's", runtimeSpec(func(s *v1alpha1.RuntimeSpec) {
			s.Volumes = []v1alpha1.Volume{{Name: "v", Image: &corev1.ImageVolumeSource{Reference: "a/model"}}}
		}), floats("a/model")},
		{"a volume's that is pinned", runtimeSpec(func(s *v1alpha1.RuntimeSpec) {
			s.Volumes = []v1alpha1.Volume{{Name: "v", Image: &corev1.ImageVolumeSource{Reference: "a/model:v3"}}}
		}), ""},
	}
	for image, pinned := range map[string]bool{
		"a": false, "a/b": false, "a/b:latest": false, "reg:5000/a/b": false, "reg:5000/a/b:latest": false,
		"a:v1": true, "reg:5000/a/b:v1": true, "a/b:latest-2024": true, "a/b:v1.2.3-rc.1": true,
		"a/b" + digest: true, "a/b:latest" + digest: true, "a/b@sha256:short": false,
		"a/b:main": false, "a/b:stable": false, "a/b:Latest": false, "reg:5000/a1/b2:v": false, "a/b:2024-01-31": true, "a/b:release-7": true, "a/b:0a1b2c3": true,
	} {
		message := ""
		if !pinned {
			message = floats(image)
		}
		rows = append(rows, policyCase{image, imageOf(image), message})
	}
	return rows
}

func imageOf(reference string) change { return image(reference) }

func resources() []policyCase {
	set := "every container in spec.runtime.spec needs requests and limits for CPU and memory: set "
	without := func(kind, what string) change {
		return container(func(c *corev1.Container) {
			lists := map[string]corev1.ResourceList{"requests": c.Resources.Requests, "limits": c.Resources.Limits}
			delete(lists[kind], corev1.ResourceName(what))
		})
	}
	return []policyCase{
		{"no request for CPU", without("requests", "cpu"), set + "agent: resources.requests.cpu"},
		{"no request for memory", without("requests", "memory"), set + "agent: resources.requests.memory"},
		{"no limit for CPU", without("limits", "cpu"), set + "agent: resources.limits.cpu"},
		{"no limit for memory", without("limits", "memory"), set + "agent: resources.limits.memory"},
		{"a request that is zero", container(func(c *corev1.Container) { c.Resources.Requests["cpu"] = resource.MustParse("0") }), set + "agent: resources.requests.cpu"},
		{"none at all", container(func(c *corev1.Container) { c.Resources = corev1.ResourceRequirements{} }), set +
			"agent: resources.requests.cpu, agent: resources.requests.memory, agent: resources.limits.cpu, agent: resources.limits.memory"},
		{"a sidecar without limits", sidecar(other(func(c *corev1.Container) { c.Resources.Limits = nil })), set + "other: resources.limits.cpu, other: resources.limits.memory"},
		{"an init container without requests", initContainer(other(func(c *corev1.Container) { c.Resources.Requests = nil })), set + "other: resources.requests.cpu, other: resources.requests.memory"},
		{"a sidecar that has them", sidecar(other()), ""},
	}
}

func probes() []policyCase {
	own := func(readiness, liveness bool) change {
		return container(func(c *corev1.Container) {
			if !readiness {
				c.ReadinessProbe = nil
			}
			if !liveness {
				c.LivenessProbe = nil
			}
		})
	}
	none := func(a *v1alpha1.Agent) { a.Spec.Availability = &v1alpha1.Availability{Probes: v1alpha1.ProbesNone} }
	noPorts := container(func(c *corev1.Container) { c.Ports = nil })
	udp := container(func(c *corev1.Container) { c.Ports[0].Protocol = corev1.ProtocolUDP })
	off := "readiness and liveness probes are required, but spec.availability.probes is None: remove it, or set both readinessProbe and livenessProbe in spec.runtime.spec.container"
	port := "readiness and liveness probes are required, but spec.runtime.spec.container has no TCP port to probe: add one to its ports, or set both its readinessProbe and livenessProbe"
	return []policyCase{
		{"the operator adds both", own(false, false), ""},
		{"it adds the one that is left out", own(true, false), ""},
		{"switched off, and none of one's own", inTurn(own(false, false), none), off},
		{"switched off, and one of one's own", inTurn(own(true, false), none), off},
		{"switched off, and both of one's own", none, ""},
		{"no port to probe", inTurn(own(false, false), noPorts), port},
		{"no port that speaks TCP", inTurn(own(false, true), udp), port},
		{"no port, and both of one's own", noPorts, ""},
	}
}

func inTurn(changes ...change) change {
	return func(a *v1alpha1.Agent) {
		for _, change := range changes {
			change(a)
		}
	}
}

func credentials() []policyCase {
	found := func(where string) string {
		return "spec.runtime.spec holds what looks like a credential in plain text (" + where + "): put it in a Secret and reference it with valueFrom.secretKeyRef"
	}
	var rows []policyCase
	for _, name := range []string{
		"OPENAI_API_KEY", "openai_api_key", "API_KEY", "APIKEY", "ANTHROPIC_KEY", "DB_PASSWORD", "PASSWD", "SECRET", "CLIENT_SECRET", "AWS_SECRET_ACCESS_KEY",
		"TOKEN", "GITHUB_TOKEN", "SLACK_BOT_TOKEN", "JWT", "PRIVATE_KEY", "CREDENTIALS", "SSH_PASSPHRASE", "my.api-key",
	} {
		rows = append(rows, policyCase{"by the name " + name, env(name, "opensesame"), found("agent: env " + name)})
	}
	for _, name := range []string{"MAX_TOKENS", "EOS_TOKEN", "TOKEN_URL", "API_KEY_FILE", "PUBLIC_KEY", "SECRET_NAME", "PASSWORD_POLICY", "TOKENIZER", "KEYBOARD", "ENVIRONMENT2"} {
		rows = append(rows, policyCase{"not by the name " + name, env(name, "opensesame"), ""})
	}
	for _, value := range []string{
		"$(OTHER)", "${OTHER}", "none", "EMPTY", "dummy", "not-needed", "4096", "true", "vault:secret/data/openai#key", "op://team/openai/key",
		"arn:aws:secretsmanager:eu-west-1:123456789012:secret:openai", "projects/agents/secrets/openai/versions/latest",
	} {
		rows = append(rows, policyCase{"not with the value " + value, env("API_KEY", value), ""})
	}
	rows = append(rows, files(found)...)
	rows = append(rows, urls(found)...)
	rows = append(rows, flags(found)...)
	rows = append(rows, elsewhere(found)...)
	for what, value := range map[string]string{
		"OpenAI": key, "AWS": "AKIA0123456789ABCDEF", "GitHub": "ghp_" + strings.Repeat("a", 36), "GitLab": "glpat-" + strings.Repeat("a", 20),
		"Hugging Face": "hf_" + strings.Repeat("a", 30), "Slack": "xoxb-0123456789", "Google": "AIza" + strings.Repeat("a", 35),
		"a JWT": "eyJ" + strings.Repeat("a", 10) + ".eyJ" + strings.Repeat("a", 10) + "." + strings.Repeat("a", 10),
		"a key": "-----BEGIN RSA PRIVATE KEY-----", "a URL": "postgres://me:opensesame@db/agents", "a long one": strings.Repeat("a", 3000) + "-----BEGIN PRIVATE KEY-----",
	} {
		rows = append(rows, policyCase{"by the shape of " + what, env("SETTING", value), found("agent: env SETTING")})
	}
	return append(rows,
		policyCase{"no key, only the prefix of one", env("SETTING", "risk-assessment-for-the-whole-company"), ""},
		policyCase{"not an empty value", env("API_KEY", ""), ""},
		policyCase{"not a reference to a Secret's neighbour", container(func(c *corev1.Container) {
			c.Env = append(c.Env, corev1.EnvVar{Name: "API_KEY", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "c"}, Key: "k"}}})
		}), ""},
		policyCase{"in an argument", container(func(c *corev1.Container) { c.Args = []string{"--key=" + key} }), found("agent: an argument")},
		policyCase{"in the command", container(func(c *corev1.Container) { c.Command = []string{"sh", "-c", "curl https://me:pw1@db"} }), found("agent: an argument")},
		policyCase{"in a sidecar", sidecar(other(func(c *corev1.Container) { c.Env = []corev1.EnvVar{{Name: "TOKEN", Value: "x1y2"}} })), found("other: env TOKEN")},
		policyCase{"in an init container", initContainer(other(func(c *corev1.Container) { c.Args = []string{key} })), found("other: an argument")},
	)
}

// files are values that name a file: the credential is inside the file.
func files(found func(where string) string) []policyCase {
	rows := []policyCase{
		{"the path of a key", env("GOOGLE_APPLICATION_CREDENTIALS", "/var/run/secrets/google/key.json"), ""},
		{"the path of a password", env("DB_PASSWORD", "/run/secrets/pw"), ""},
		{"a file by a name", env("DB_PASSWORD_FILE", "/run/secrets/pw"), ""},
		{"the path of an account's token", env("AUTH_TOKEN", "/var/run/secrets/kubernetes.io/serviceaccount/token"), ""},
		{"a path of more than 64 characters", env("TOKEN", "/var/run/secrets/"+strings.Repeat("a/", 60)+"token"), ""},
	}
	for _, value := range []string{
		"file:///run/secrets/pw", "file:/run/secrets/pw", "/run/secrets/..data/pw", "/key.json", "key.pem", "secrets/key.json", "./secrets/pw", "../run/pw",
		"~/.config/gcloud/credentials.json", "$(CONFIG)/secrets/pw", "${CONFIG}/secrets/pw", "$HOME/.secrets/pw",
	} {
		rows = append(rows, policyCase{"the file " + value, env("DB_PASSWORD", value), ""})
	}
	for _, value := range []string{"/opensesame", "open/sesame", "p/w", "/open/se+same==", "json", "/open/sesame !", "file:opensesame"} {
		rows = append(rows, policyCase{"no file: " + value, env("DB_PASSWORD", value), found("agent: env DB_PASSWORD")})
	}
	return rows
}

// flags are arguments that have the name of a credential.
func flags(found func(where string) string) []policyCase {
	args := func(args ...string) change { return container(func(c *corev1.Container) { c.Args = args }) }
	var rows []policyCase
	for _, flag := range []string{"--password", "--db-password", "-token", "--api-key", "--client_secret", "--openai.api-key"} {
		rows = append(rows, policyCase{"in the flag " + flag, args("serve", flag+"=opensesame"), found("agent: argument " + flag)})
	}
	for _, flag := range []string{
		"--password=$(DB_PASSWORD)", "--password=/run/secrets/pw", "--password-file=opensesame", "--max-tokens=4096", "--token-url=x", "--password=", "--tokenizer=cl100k", "password=opensesame",
	} {
		rows = append(rows, policyCase{"not in the flag " + flag, args(flag), ""})
	}
	return rows
}

// elsewhere are the other fields of an Agent that people can read.
func elsewhere(found func(where string) string) []policyCase {
	const message = "an httpHeaders entry of a probe or hook in spec.runtime.spec holds what looks like a credential (agent: %s): use a path that needs none"
	header := func(name, value string) change {
		return container(func(c *corev1.Container) {
			c.ReadinessProbe.HTTPGet.HTTPHeaders = []corev1.HTTPHeader{{Name: name, Value: value}}
		})
	}
	get := &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(8080), HTTPHeaders: []corev1.HTTPHeader{{Name: "Authorization", Value: "x"}}}
	secret := []string{"sh", "-c", "curl https://me:pw1@db"}
	annotated := "spec.runtime.spec has an annotation that holds what looks like a credential (%s: example.com/a): put it in a Secret"
	annotations := map[string]string{"example.com/a": key, "example.com/b": "opensesame"}
	carded := "spec.card, which every caller can read, holds what looks like a credential: remove it"
	card := func(change func(*v1alpha1.Card)) change {
		return func(a *v1alpha1.Agent) {
			a.Spec.Card = &v1alpha1.Card{Description: "d", Version: "1", Skills: []v1alpha1.CardSkill{{ID: "s", Name: "n", Description: "d"}}}
			change(a.Spec.Card)
		}
	}
	return []policyCase{
		{"in the header Authorization", header("Authorization", "Basic b3Blbg=="), fmt.Sprintf(message, "Authorization")},
		{"in the header Cookie", header("cookie", "a=b"), fmt.Sprintf(message, "cookie")},
		{"in a header by its name", header("X-Api-Key", "opensesame"), fmt.Sprintf(message, "X-Api-Key")},
		{"in a header by its shape", header("X-Other", key), fmt.Sprintf(message, "X-Other")},
		{"in no other header", header("Accept", "application/json"), ""},
		{"in a header of a hook", container(func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{HTTPGet: get}}
		}), fmt.Sprintf(message, "Authorization")},
		{"in a header of a startup probe", container(func(c *corev1.Container) {
			c.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: get}}
		}), fmt.Sprintf(message, "Authorization")},
		{"in the command of a hook", container(func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: secret}}}
		}), found("agent: a command of a probe or hook")},
		{"in the command of a probe", container(func(c *corev1.Container) {
			c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: secret}}}
		}), found("agent: a command of a probe or hook")},
		{"in an annotation of the pods", runtimeSpec(func(s *v1alpha1.RuntimeSpec) { s.PodMetadata = &v1alpha1.PodMetadata{Annotations: annotations} }), fmt.Sprintf(annotated, "podMetadata.annotations")},
		{"in an annotation of the Service", runtimeSpec(func(s *v1alpha1.RuntimeSpec) { s.Service = &v1alpha1.ServiceSpec{Annotations: annotations} }), fmt.Sprintf(annotated, "service.annotations")},
		{"in the description of the card", card(func(c *v1alpha1.Card) { c.Description = "call me with " + key }), carded},
		{"in a skill of the card", card(func(c *v1alpha1.Card) { c.Skills[0].Description = "see https://me:pw1@host" }), carded},
		{"not in a card", card(func(*v1alpha1.Card) {}), ""},
	}
}

// urls are values with a URL, with and without a password.
func urls(found func(where string) string) []policyCase {
	var rows []policyCase
	for _, value := range []string{
		"redis://:pw@host", "redis://:p:w@host", "postgres://u:p$ss@h/db", "postgres://u:$ecret@h/db", "postgres://u:pw$@h/db", "postgres://u:$@h/db", "postgres://u:p?#&w@h/db",
		"postgres://u:$(PASSWORD@h/db", "postgres://u:${PASSWORD@h/db", "postgres://u:$$(PASSWORD)@h/db", "postgres://u:p$(PASSWORD)@h/db", "postgres://u:$(PASSWORD)w@h/db",
		"postgres://u:$(A)-$(B)@h/db", "postgres://u:${PASSWORD}w@h/db", "postgres://u:$PASSWORD-w@h/db", "amqp://$(USER):pw@mq", "postgres://u:$(PW)@h/db,postgres://u:pw@h2/db",
		"url=mongodb+srv://u:pw@h", "jdbc:postgresql://u:pw@h:5432/db", `{"url": "https://u:pw@h"}`,
	} {
		rows = append(rows,
			policyCase{"a password in " + value, env("SETTING", value), found("agent: env SETTING")},
			policyCase{"a password in the argument " + value, container(func(c *corev1.Container) { c.Args = []string{"--db=" + value} }), found("agent: an argument")})
	}
	for _, value := range []string{
		"https://api.example.com/v1", "postgres://u:$(PASSWORD)@h/db", "postgres://$(USER):$(PASSWORD)@$(HOST):5432/db", "redis://:$(PASSWORD)@host", "postgres://u:$(A)$(B)@h/db",
		"postgres://u:${PASSWORD}@h/db", "postgres://u:$PASSWORD@h/db", "https://u:$(cat /run/secrets/pw)@h", "postgres://u@h:5432/db", "postgres://u:@h/db", "ssh://git@host:2222/a", "http://[::1]:8080/me@x",
		"http://host:8080 me@example.com", `[{"url":"http://tools:8080","owner":"team@example.com"}]`, "https://host:8443/@scope/package", "me@example.com",
	} {
		rows = append(rows,
			policyCase{"no password in " + value, env("SETTING", value), ""},
			policyCase{"no password in the argument " + value, container(func(c *corev1.Container) { c.Args = []string{"--db=" + value} }), ""})
	}
	return rows
}

func counts() []policyCase {
	few := func(n int) string {
		return fmt.Sprintf("replicas is %d, but must be at least 3 in production: raise spec.runtime.spec.replicas, or stop the Agent with spec.suspend: true", n)
	}
	autoscaled := func(least *int32, most int32) change {
		return func(a *v1alpha1.Agent) {
			a.Spec.Autoscaling = &v1alpha1.Autoscaling{MinReplicas: least, MaxReplicas: most}
		}
	}
	none := runtimeSpec(func(s *v1alpha1.RuntimeSpec) { s.Replicas = nil })
	return []policyCase{
		{"three", replicas(3), ""},
		{"two", replicas(2), few(2)},
		{"none", replicas(0), few(0)},
		{"one, by default", none, few(1)},
		{"two, suspended", inTurn(replicas(2), func(a *v1alpha1.Agent) { a.Spec.Suspend = true }), few(2)},
		{"an autoscaler's three", inTurn(none, autoscaled(ptr.To[int32](3), 10)), ""},
		{"an autoscaler's two", inTurn(none, autoscaled(ptr.To[int32](2), 10)), few(2)},
		{"an autoscaler's default", inTurn(none, autoscaled(nil, 10)), few(1)},
		{"three now, and an autoscaler that may go to two", inTurn(replicas(3), autoscaled(ptr.To[int32](2), 10)),
			"spec.autoscaling.minReplicas is 2 (the default is 1), but must be at least 3 in production: raise it"},
	}
}

// Each policy, and its action in each environment.
var policies = []struct {
	name                     string
	rows                     []policyCase
	dev, staging, production string
}{
	{"flokoa-pinned-images", images(), "Warn", "Deny", "Deny"},
	{"flokoa-resources", resources(), "Warn", "Deny", "Deny"},
	{"flokoa-probes", probes(), "Warn", "Warn", "Deny"},
	{"flokoa-inline-credentials", credentials(), "Warn", "Deny", "Deny"},
	{"flokoa-replicas", counts(), "Audit", "Deny", "Deny"},
	{"flokoa-placement", placements(), "Deny", "Deny", "Deny"},
	{"flokoa-keyless-tolerations", tolerations(), "Deny", "Deny", "Warn"},
	{"flokoa-disruption", disruptions(), "Deny", "Deny", "Deny"},
	{"flokoa-metadata", metadata("production"), "Deny", "Deny", "Deny"},
}

func TestEachPolicyActsAsItsEnvironmentConfigures(t *testing.T) {
	user := as(t, "")
	for _, policy := range policies {
		t.Run(policy.name, func(t *testing.T) {
			denied, strict := 0, "production"
			if policy.production != "Deny" {
				strict = "staging"
			}
			for _, row := range policy.rows {
				t.Run(row.name, func(t *testing.T) {
					err := user.Create(t.Context(), newAgent(strict, "a", row.make), client.DryRunAll)
					if row.message == "" {
						require.NoError(t, err)
						return
					}
					denied++
					require.True(t, apierrors.IsForbidden(err), "%v", err)
					require.EqualError(t, err, `agents.agent.flokoa.ai "a" is forbidden: ValidatingAdmissionPolicy '`+policy.name+`' with binding '`+policy.name+
						`-`+strict+`' denied request: `+row.message)
				})
			}
			require.Positive(t, denied)
			requireActions(t, policy.name, policy.rows, map[string]string{"dev": policy.dev, "staging": policy.staging, "production": policy.production})
		})
	}
}

// requireActions has the first Agent that a policy denies in production be made in other environments. Where fewer replicas are
// enough, none are.
func requireActions(t *testing.T, policy string, rows []policyCase, actions map[string]string) {
	t.Helper()
	for _, row := range rows {
		if row.message == "" {
			continue
		}
		for namespace, action := range actions {
			user := as(t, "")
			wrong := newAgent(namespace, "a", row.make)
			if policy == "flokoa-replicas" {
				wrong = newAgent(namespace, "a", replicas(0))
			}
			err := user.Create(t.Context(), wrong, client.DryRunAll)
			warnings := user.warned()
			switch action {
			case "Deny":
				require.ErrorContains(t, err, policy+"-"+namespace)
			case "Warn":
				require.NoError(t, err)
				require.Contains(t, warnings, "'"+policy+"-"+namespace+"'")
				require.Contains(t, warnings, strings.ReplaceAll(row.message, "in production,", "in "+namespace+","))
			default:
				require.NoError(t, err)
				require.Empty(t, warnings)
			}
		}
		return
	}
}

// Policies apply only to namespaces with the environment label.
func TestPoliciesIgnoreNamespacesWithoutTheLabel(t *testing.T) {
	user := as(t, "")
	require.NoError(t, user.Create(t.Context(), newAgent("default", "a", image("a:latest"), replicas(1), env("TOKEN", "x1y2")), client.DryRunAll))
	require.Empty(t, user.warned())
}

func TestEveryEnvironmentAdmitsTheGuidesAgent(t *testing.T) {
	user := as(t, "")
	for _, namespace := range environments {
		agent := guides()
		agent.Namespace = namespace
		require.NoError(t, user.Create(t.Context(), agent, client.DryRunAll), namespace)
		require.Empty(t, user.warned(), namespace)
	}
}
