package cluster_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

var (
	// forbidden is what the operator has no business with, as group/resource/subresource.
	forbidden = []string{
		"/secrets", "/namespaces/status", "/namespaces/finalize", "/pods/exec", "/pods/attach", "/pods/portforward", "/serviceaccounts/token", "/nodes/proxy", "/nodes/status",
		"rbac.authorization.k8s.io/roles", "rbac.authorization.k8s.io/rolebindings",
		"rbac.authorization.k8s.io/clusterroles", "rbac.authorization.k8s.io/clusterrolebindings",
		"apiextensions.k8s.io/customresourcedefinitions",
	}
	everyVerb = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "use", "bind", "escalate", "impersonate", "*"}
)

// asOperator is a client with a token of the chart's ServiceAccount.
func asOperator(t *testing.T) client.Client {
	t.Helper()
	token, err := newToken(t.Context())
	require.NoError(t, err)
	config := rest.AnonymousClientConfig(cluster.Config)
	config.BearerToken, config.UserAgent, config.QPS = token, "e2e", -1
	theirs, err := harness.NewClient(config)
	require.NoError(t, err)
	return theirs
}

// may runs a SelfSubjectAccessReview as the operator.
func may(t *testing.T, who client.Client, namespace, verb, resource string) bool {
	t.Helper()
	parts := append(strings.Split(resource, "/"), "")
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Verb: verb, Group: parts[0], Resource: parts[1], Subresource: parts[2],
		},
	}}
	require.NoError(t, who.Create(t.Context(), review))
	return review.Status.Allowed
}

func TestTheOperatorsAccountMayNotTouchSecretsShellsOrRoles(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	who := asOperator(t)
	require.True(t, may(t, who, s.namespace, "patch", "apps/deployments"), "the client is the operator's account")
	reviews := 0
	for _, resource := range forbidden {
		for _, verb := range everyVerb { // where it has a Role beside its ClusterRole
			require.False(t, may(t, who, system, verb, resource), "%s %s", verb, resource)
			reviews++
		}
	}
	s.note("%d access reviews, all denied", reviews)
	for _, verb := range everyVerb {
		require.Equal(t, verb == "list" || verb == "watch", may(t, who, "", verb, "/namespaces"), verb)
	}

	s.kubectl("create", "secret", "generic", "s", "--from-literal=k=v")
	err := who.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "s"}, &corev1.Secret{})
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	require.True(t, apierrors.IsForbidden(who.List(t.Context(), &corev1.SecretList{})))
	for _, resource := range []string{"secrets", "pods/exec", "roles"} {
		for _, verb := range []string{"get", "create"} {
			out, err := s.command(t.Context(), "auth", "can-i", verb, resource, "--as="+harness.Account).CombinedOutput()
			require.Error(t, err)
			require.Equal(t, "no", strings.TrimSpace(string(out)))
		}
	}
}

// written are the kinds that the operator writes.
var written = []schema.GroupVersionKind{
	{Version: "v1", Kind: "ConfigMap"}, {Version: "v1", Kind: "Service"}, {Group: "apps", Version: "v1", Kind: "Deployment"},
	{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"}, {Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscaler"},
}

// requireWritesInEnvironmentsOnly has the operator's account, by impersonation, try to write outside of environments and in one. The
// charts were installed with permissions: Environments. An Agent outside reports what is missing, and runs once that exists.
func (s *installFixture) requireWritesInEnvironmentsOnly(running *process, environment string) {
	s.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	require.NoError(s, err)
	config.QPS = -1
	config.Impersonate = rest.ImpersonationConfig{
		UserName: harness.Account, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + system, "system:authenticated"},
	}
	who, err := harness.NewClient(config)
	require.NoError(s, err)
	deniedByRBAC := func(err error) bool { return apierrors.IsForbidden(err) && strings.Contains(err.Error(), `" cannot `) }
	for _, kind := range written {
		for _, namespace := range []string{"kube-system", "default", system, environment} {
			object := &unstructured.Unstructured{}
			object.SetGroupVersionKind(kind)
			object.SetNamespace(namespace)
			object.SetName("nothing")
			outside := namespace != environment
			what := kind.Kind + " in " + namespace
			require.Equal(s, outside, deniedByRBAC(who.Create(s.Context(), object.DeepCopy(), client.DryRunAll)), "create %s", what)
			patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`))
			require.Equal(s, outside, deniedByRBAC(who.Patch(s.Context(), object.DeepCopy(), patch, client.DryRunAll)), "patch %s", what)
			if kind.Kind != "Deployment" { // garbage collection deletes them
				require.Equal(s, outside, deniedByRBAC(who.Delete(s.Context(), object.DeepCopy(), client.DryRunAll)), "delete %s", what)
			}
		}
	}
	require.Empty(s, running.Lines("not confined"))
	s.requireHealsWithBinding()
}

// requireHealsWithBinding has an Agent in the namespace default wait for the operator's permission there.
func (s *installFixture) requireHealsWithBinding() {
	s.Helper()
	agent := (&fixture{T: s.T, namespace: "default"}).newAgent("outside")
	require.NoError(s, s.api.Create(s.Context(), agent))
	s.kubectl("wait", "--for=jsonpath={.status.conditions[?(@.type=='Ready')].reason}=ApplyFailed", "agent/outside", "--timeout=90s")
	require.Contains(s, s.kubectl("describe", "agent", "outside"), "the operator may not write in this namespace, which has no RoleBinding flokoa-operator-writer")
	s.kubectl("create", "rolebinding", "flokoa-operator", "--clusterrole=flokoa-operator-writer", "--serviceaccount="+system+":flokoa-operator")
	s.kubectl("wait", "--for=condition=Ready", "agent/outside", "--timeout=60s")
	s.kubectl("delete", "agent", "outside", "--cascade=foreground")
	s.kubectl("delete", "rolebinding", "flokoa-operator")
}

// Kubernetes' controller adds the chart's rules to its own role a moment after both are there.
func TestTheViewRoleReadsAgentsOnly(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.kubectl("create", "rolebinding", "viewers", "--clusterrole=view", "--user=viewer")
	can := func(verb, resource string) string {
		out, _ := s.command(t.Context(), "auth", "can-i", verb, resource, "--as=viewer").Output() // no is an exit code too
		return strings.TrimSpace(string(out))
	}
	s.eventually("the role has the chart's rules", waitTimeout, func() error {
		if answer := can("list", "agents.agent.flokoa.ai"); answer != "yes" {
			return errors.New(answer)
		}
		return nil
	})
	for question, want := range map[string]string{
		"get agents.agent.flokoa.ai": "yes", "watch agents.agent.flokoa.ai": "yes", "get agents.agent.flokoa.ai/status": "yes",
		"create agents.agent.flokoa.ai": "no", "patch agents.agent.flokoa.ai": "no", "delete agents.agent.flokoa.ai": "no",
		"patch agents.agent.flokoa.ai/scale": "no", "patch agents.agent.flokoa.ai/status": "no",
	} {
		verb, resource, _ := strings.Cut(question, " ")
		require.Equal(t, want, can(verb, resource), question)
	}
}

// notUsed are permissions that this suite never exercises, with the reason why they are granted.
var notUsed = map[string]string{
	"update agent.flokoa.ai/agents/finalizers": "required by the admission plugin OwnerReferencesPermissionEnforcement, which is off here",
}

// grant is one verb on one resource that the chart gives the operator; an empty namespace is all of them.
type grant struct {
	namespace, group, resource, verb string
	names                            []string
}

// String is a grant as notUsed and messages name it.
func (g grant) String() string { return g.verb + " " + g.group + "/" + g.resource }

// covers reports whether a request is allowed by a grant. RBAC knows no name in a create.
func (g grant) covers(r request) bool {
	return g.verb == r.Verb && g.group == r.ObjectRef.APIGroup && g.resource == r.Resource() &&
		(g.namespace == "" || g.namespace == r.ObjectRef.Namespace) &&
		(len(g.names) == 0 || slices.Contains(g.names, r.ObjectRef.Name))
}

// grants are all that the chart gives the operator.
func grants() ([]grant, error) {
	objects, err := manifests.Chart(fromRoot("charts/flokoa-operator"), nil, "flokoa-operator", system)
	if err != nil {
		return nil, err
	}
	var all []grant
	for _, object := range manifests.Bound(objects) {
		role := rbacv1.ClusterRole{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role); err != nil {
			return nil, err
		}
		for _, rule := range role.Rules {
			for _, verb := range rule.Verbs {
				for _, resource := range rule.Resources {
					all = append(all, grant{object.GetNamespace(), rule.APIGroups[0], resource, verb, rule.ResourceNames})
				}
			}
		}
	}
	return all, nil
}

// impliedRequests are a request and the ones it implies: server-side apply of a new object is a patch that also requires create.
func impliedRequests(r request) []request {
	if r.Verb != "patch" || r.ResponseStatus.Code != http.StatusCreated {
		return []request{r}
	}
	create := r
	create.Verb = "create"
	return []request{r, create}
}

// leastPrivilege compares the requests of this run's operators with the permissions that the chart grants. It returns the
// grants that were not used, with their reasons.
func leastPrivilege() (string, error) {
	all, err := grants()
	if err != nil {
		return "", err
	}
	requests, err := requestsSince(startMark)
	if err != nil {
		return "", err
	}
	used := map[string]bool{}
	var wrong []string
	for _, r := range requests {
		discovery := r.ObjectRef.Resource == "" && r.Verb == "get"
		if !strings.HasPrefix(r.UserAgent, "flokoa-operator/") || discovery || duringRestart(r) {
			continue
		}
		for _, need := range impliedRequests(r) {
			granted := false
			for _, g := range all {
				if g.covers(need) {
					granted, used[g.String()] = true, true
				}
			}
			if !granted || r.Annotations["authorization.k8s.io/decision"] != "allow" {
				wrong = append(wrong, "requested but not granted: "+need.String())
			}
		}
	}
	var reasons []string
	for _, g := range all {
		switch reason := notUsed[g.String()]; {
		case used[g.String()] && reason != "":
			wrong = append(wrong, "used, but listed in notUsed: "+g.String())
		case !used[g.String()] && reason == "":
			wrong = append(wrong, "granted but never used: "+g.String())
		case !used[g.String()]:
			reasons = append(reasons, fmt.Sprintf("%s (%s)", g, reason))
		}
	}
	if len(wrong) > 0 {
		sort.Strings(wrong)
		return "", errors.New(strings.Join(slices.Compact(wrong), "\n  "))
	}
	return strings.Join(reasons, ", "), nil
}
