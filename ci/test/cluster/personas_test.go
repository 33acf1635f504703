package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// persona is a user of an environment.
type persona struct {
	name, user string
	groups     []string
	// can lists everything the persona may do there, as "verb group/resource/subresource". Everything else is denied.
	can []string
}

// apiPaths are where the API server serves what personas try, by group.
var apiPaths = map[string]string{
	"": "/api/v1", "agent.flokoa.ai": "/apis/agent.flokoa.ai/v1alpha1", "apps": "/apis/apps/v1", "events.k8s.io": "/apis/events.k8s.io/v1",
	"rbac.authorization.k8s.io": "/apis/rbac.authorization.k8s.io/v1", "networking.k8s.io": "/apis/networking.k8s.io/v1",
	"policy": "/apis/policy/v1", "autoscaling": "/apis/autoscaling/v2", "batch": "/apis/batch/v1", "coordination.k8s.io": "/apis/coordination.k8s.io/v1",
}

// probedResources are the resources of a namespace for which access is checked.
var probedResources = []string{
	"agent.flokoa.ai/agents", "agent.flokoa.ai/agents/scale", "agent.flokoa.ai/agents/status", "agent.flokoa.ai/agents/finalizers", "agent.flokoa.ai/models",
	"apps/deployments", "apps/deployments/scale", "apps/replicasets", "apps/statefulsets", "apps/daemonsets", "batch/jobs", "batch/cronjobs",
	"/pods", "/pods/log", "/pods/exec", "/pods/attach", "/pods/portforward", "/pods/proxy", "/pods/ephemeralcontainers", "/pods/eviction",
	"/services", "/services/proxy", "/configmaps", "/secrets", "/serviceaccounts", "/serviceaccounts/token", "/resourcequotas", "/limitranges",
	"/events", "/persistentvolumeclaims", "/endpoints", "networking.k8s.io/networkpolicies", "policy/poddisruptionbudgets",
	"autoscaling/horizontalpodautoscalers", "rbac.authorization.k8s.io/roles", "rbac.authorization.k8s.io/rolebindings", "coordination.k8s.io/leases",
}

var (
	readVerbs  = []string{"get", "list", "watch"}
	writeVerbs = []string{"create", "update", "patch", "delete", "deletecollection"}
	// specialVerbs are verbs that no request has; they are reviewed, not tried.
	specialVerbs = []string{"use", "bind", "escalate", "impersonate", "assign"}
)

func combine(verbs []string, resources ...string) []string {
	var lines []string
	for _, resource := range resources {
		for _, verb := range verbs {
			lines = append(lines, verb+" "+resource)
		}
	}
	return lines
}

// viewable is what every persona with read access may read.
func viewable() []string {
	return slices.Concat(
		combine(readVerbs, "agent.flokoa.ai/agents", "agent.flokoa.ai/models", "apps/deployments", "apps/replicasets", "/pods", "/services", "/events", "/resourcequotas", "/limitranges",
			"networking.k8s.io/networkpolicies", "policy/poddisruptionbudgets", "autoscaling/horizontalpodautoscalers"),
		combine([]string{"get"}, "/pods/log", "agent.flokoa.ai/agents/scale"),
	)
}

// group is the default group of a role: another namespace of the same kind has groups of its own.
func (e *environment) group(role string) string {
	if e.namespace == "flokoa-"+e.kind {
		return "flokoa:" + e.kind + ":" + role
	}
	return "flokoa:" + e.namespace + ":" + role
}

// personas are those of an environment, with everything they may do.
func (e *environment) personas() []persona {
	group := func(name string) []string { return []string{e.group(name), "system:authenticated"} }
	account := []string{"system:serviceaccounts", "system:serviceaccounts:" + e.namespace, "system:authenticated"}
	agents := slices.Concat(combine([]string{"create", "update", "patch", "delete"}, "agent.flokoa.ai/agents"), combine([]string{"update", "patch"}, "agent.flokoa.ai/agents/scale"))
	return []persona{
		{"viewer", "vera", group("viewers"), viewable()},
		{"editor", "eddie", group("editors"), slices.Concat(viewable(), agents)},
		{"secret-manager", "sam", group("secret-managers"), combine([]string{"get", "list", "watch", "create", "update", "patch", "delete"}, "/secrets")},
		{"secret-user", "sue", group("secret-users"), nil},
		{"model-manager", "mona", group("model-managers"), combine([]string{"get", "list", "watch", "create", "update", "patch", "delete"}, "agent.flokoa.ai/models")},
		{"deployer", "system:serviceaccount:" + e.namespace + ":agent-deployer", account, slices.Concat(agents,
			combine(readVerbs, "agent.flokoa.ai/agents", "/configmaps"), combine([]string{"get"}, "agent.flokoa.ai/agents/scale"),
			combine([]string{"create", "update", "patch", "delete"}, "/configmaps"))},
	}
}

// requirePersonaAccess reviews and tries every verb on every resource as each persona.
func (e *environment) requirePersonaAccess() {
	e.Helper()
	questions := 0
	for _, p := range e.personas() {
		may, err := e.probeAccess(p.user, p.groups)
		require.NoError(e, err)
		slices.Sort(p.can)
		require.Equal(e, p.can, may.allowed, "what the %s may do", p.name)
		questions += may.reviews
	}
	for _, other := range []string{"dev", "staging", "production"} {
		if e.namespace == "flokoa-"+other {
			continue
		}
		var groups []string
		for _, role := range []string{"viewers", "editors", "secret-managers", "secret-users", "model-managers"} {
			groups = append(groups, "flokoa:"+other+":"+role)
		}
		may, err := e.probeAccess("outsider", append(groups, "system:authenticated", "system:serviceaccounts:flokoa-"+other))
		require.NoError(e, err)
		require.Empty(e, may.allowed, "all groups of %s together in %s", other, e.kind)
		questions += may.reviews
	}
	e.note("%d permissions reviewed and tried", questions)
}

type answers struct {
	reviews int
	allowed []string
}

// probeAccess tries every request in the namespace as a user, in dry run, and returns what was allowed, sorted.
// The access review and the outcome of the request must agree.
func (s *fixture) probeAccess(user string, groups []string) (answers, error) {
	config := rest.CopyConfig(cluster.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	config.GroupVersion, config.NegotiatedSerializer = &corev1.SchemeGroupVersion, clientgoscheme.Codecs.WithoutConversion()
	theirs, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return answers{}, err
	}
	reviewer, err := harness.NewClient(config)
	if err != nil {
		return answers{}, err
	}
	a := answers{}
	for _, resource := range probedResources {
		for _, verb := range slices.Concat(readVerbs, writeVerbs, specialVerbs) {
			may, err := s.accessReview(reviewer, verb, resource)
			if err != nil {
				return a, err
			}
			a.reviews++
			if did := s.sendProbe(theirs, verb, resource); !slices.Contains(specialVerbs, verb) && isRequest(verb, resource) && did != may {
				return a, fmt.Errorf("%s %s as %s: the review returned %t, the request %t", verb, resource, user, may, did)
			}
			if may {
				a.allowed = append(a.allowed, verb+" "+resource)
			}
		}
	}
	slices.Sort(a.allowed)
	return a, nil
}

// isRequest leaves out what is no request at all: subresources are neither listed nor made in numbers.
func isRequest(verb, resource string) bool {
	return strings.Count(resource, "/") == 1 || slices.Contains([]string{"get", "create", "update", "patch"}, verb)
}

func (s *fixture) accessReview(reviewer client.Client, verb, resource string) (bool, error) {
	parts := append(strings.Split(resource, "/"), "")
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: s.namespace, Verb: verb, Group: parts[0], Resource: parts[1], Subresource: parts[2], Name: probeName(verb)},
	}}
	err := reviewer.Create(s.Context(), review)
	return review.Status.Allowed, err
}

// probeName is a name that no object has.
func probeName(verb string) string {
	if slices.Contains([]string{"get", "update", "patch", "delete", "create"}, verb) {
		return "nothing-of-that-name"
	}
	return ""
}

// sendProbe sends the request, as a trial where it would change something, and reports whether it was let through to what comes after
// authorization: that nothing is found, or the body is not good.
func (s *fixture) sendProbe(theirs rest.Interface, verb, resource string) bool {
	parts := append(strings.Split(resource, "/"), "")
	methods := map[string]string{"get": "GET", "list": "GET", "watch": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE", "deletecollection": "DELETE"}
	method, known := methods[verb]
	if !known {
		return false
	}
	path := []string{apiPaths[parts[0]], "namespaces", s.namespace, parts[1]}
	if name := probeName(verb); name != "" && (verb != "create" || parts[2] != "") {
		path = append(path, name)
	}
	if parts[2] != "" {
		path = append(path, parts[2])
	}
	request := theirs.Verb(method).AbsPath(path...)
	switch verb {
	case "watch":
		request = request.Param("watch", "1").Param("timeoutSeconds", "1").Param("resourceVersion", "0")
	case "create", "update":
		request = request.Param("dryRun", "All").SetHeader("Content-Type", "application/json").Body([]byte("{}"))
	case "patch":
		request = request.Param("dryRun", "All").SetHeader("Content-Type", "application/merge-patch+json").Body([]byte("{}"))
	case "delete", "deletecollection":
		request = request.Param("dryRun", "All")
	}
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	stream, err := request.Stream(ctx)
	if err == nil {
		_ = stream.Close()
	}
	status := apierrors.APIStatus(nil)
	return !errors.As(err, &status) || !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "cannot "+verb+" resource")
}

// --- Secrets ------------------------------------------------------------------------------------------------------------

// requireSecretsProtected has those who may write Agents try to get at a Secret by one, and the others at what they need not.
func (e *environment) requireSecretsProtected() {
	e.Helper()
	e.kubectl("create", "secret", "generic", "model-key", "--from-literal=api-key=x")
	editor := as("eddie", e.group("editors"))
	reader := e.newSecretReader("reader", "model-key")
	refusal := `you may not reference secrets "model-key" in an Agent without the verb use on it`

	out, err := e.kubectlApplyAgent(reader, editor...)
	require.Error(e, err, "an editor gives an Agent a Secret")
	require.Contains(e, out, refusal)

	// An author of Agents who holds the verb use on the Secret may reference it.
	require.NoError(e, api.Create(e.Context(), &rbacv1.Role{ // kubectl create role knows no such verb
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "uses-model-key"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"model-key"}, Verbs: []string{"use"}}},
	}))
	e.kubectl("create", "rolebinding", "uses-model-key", "--role=uses-model-key", "--user=sue")
	e.eventually("the Role is in force", waitTimeout, func() error {
		_, err := e.command(e.Context(), append([]string{"auth", "can-i", "use", "secrets/model-key"}, as("sue")...)...).Output()
		return err
	})
	out, err = e.kubectlApplyAgent(reader, as("sue", e.group("editors"))...)
	require.NoError(e, err, out)
	e.waitReady("reader")

	// What holds a Secret cannot be turned against it.
	for name, patch := range map[string]string{
		"another image":   `[{"op":"replace","path":"/spec/runtime/spec/container/image","value":"ghcr.io/example/thief:v1"}]`,
		"another command": `[{"op":"add","path":"/spec/runtime/spec/container/command","value":["sh","-c","env"]}]`,
		"a sidecar": `[{"op":"add","path":"/spec/runtime/spec/sidecars","value":[{"name":"s","image":"ghcr.io/example/thief:v1",
			"resources":{"requests":{"cpu":"10m","memory":"16Mi"},"limits":{"cpu":"10m","memory":"16Mi"}}}]}]`,
		"another environment": `[{"op":"add","path":"/spec/runtime/spec/container/env/-","value":{"name":"HTTPS_PROXY","value":"http://thief"}}]`,
	} {
		out, err := e.command(e.Context(), append([]string{"patch", "agent", "reader", "--type=json", "-p", patch}, editor...)...).CombinedOutput()
		require.Error(e, err, "%s: %s", name, out)
		require.Contains(e, string(out), refusal, name)
	}
	// What does no harm goes on.
	e.kubectl(append([]string{"scale", "agent", "reader", "--replicas=4"}, editor...)...)
	e.kubectl(append([]string{"patch", "agent", "reader", "--type=merge", "-p", `{"spec":{"suspend":true}}`}, editor...)...)
	e.kubectl(append([]string{"delete", "agent", "reader", "--cascade=foreground"}, editor...)...)

	e.requireNoTokenSecrets()
	e.requireOperatorConfined()
	e.kubectl("delete", "secret", "model-key")
}

// as are the arguments by which kubectl is another user.
func as(user string, groups ...string) []string {
	args := []string{"--as=" + user}
	for _, group := range append(groups, "system:authenticated") {
		args = append(args, "--as-group="+group)
	}
	return args
}

// newSecretReader is an Agent that is good in every environment and holds a Secret.
func (e *environment) newSecretReader(name, secret string) *v1alpha1.Agent {
	agent := e.guideAgentWith(replicas(3), onContainer(func(c *corev1.Container) { c.Env[1].ValueFrom.SecretKeyRef.Name = secret }))
	agent.Name, agent.Spec.Model = name, nil
	return agent
}

// requireNoTokenSecrets has the manager of Secrets try to make one that holds a ServiceAccount's token.
func (e *environment) requireNoTokenSecrets() {
	e.Helper()
	manager := as("sam", e.group("secret-managers"))
	command := e.command(e.Context(), append([]string{"create", "-f", "-"}, manager...)...)
	command.Stdin = strings.NewReader(`{"apiVersion":"v1","kind":"Secret","type":"kubernetes.io/service-account-token",
		"metadata":{"name":"token","annotations":{"kubernetes.io/service-account.name":"agent-deployer"}}}`)
	out, err := command.CombinedOutput()
	require.Error(e, err, "%s", out)
	require.Contains(e, string(out), "serviceaccounts/token")
	e.kubectl(append([]string{"create", "secret", "generic", "own-secret", "--from-literal=k=v"}, manager...)...)
	e.kubectl(append([]string{"delete", "secret", "own-secret"}, manager...)...)
}

// requireOperatorConfined has the operator's account try what the operator never does.
func (e *environment) requireOperatorConfined() {
	e.Helper()
	who := asOperator(e.T)
	err := who.Get(e.Context(), client.ObjectKey{Namespace: e.namespace, Name: "model-key"}, &corev1.Secret{})
	require.True(e, apierrors.IsForbidden(err), "%v", err)
	thief := foreignObjects()["Deployment"]
	thief.SetNamespace(e.namespace)
	thief.SetName("thief")
	err = who.Create(e.Context(), thief)
	require.True(e, apierrors.IsForbidden(err), "%v", err)
	require.ErrorContains(e, err, "flokoa-operator-confined")
	require.True(e, apierrors.IsNotFound(who.Delete(e.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "nothing"}})))
}
