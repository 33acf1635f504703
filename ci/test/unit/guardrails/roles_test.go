package guardrails_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// inUse names what Agents may reference, so that the Role secret-user has rules.
var inUse = map[string]any{"secretUse": map[string]any{
	"secrets":         []any{"agent-secrets", "tool-keys"},
	"serviceAccounts": []any{"reader"},
	"csiDrivers":      []any{"secrets-store.csi.k8s.io"},
	"models":          []any{"gpt-4o-model"},
}, "access": map[string]any{"modelManagers": map[string]any{"secrets": []any{"openai-key"}}}}

// Every permission of every Role. One that is added or lost is a change of this table.
func TestRoles(t *testing.T) {
	viewer := []string{
		"agent.flokoa.ai/agents get list watch",
		"agent.flokoa.ai/agents/scale get",
		"agent.flokoa.ai/models get list watch",
		"apps/deployments get list watch",
		"apps/replicasets get list watch",
		"autoscaling/horizontalpodautoscalers get list watch",
		"core/events get list watch",
		"core/limitranges get list watch",
		"core/pods get list watch",
		"core/pods/log get",
		"core/resourcequotas get list watch",
		"core/services get list watch",
		"discovery.k8s.io/endpointslices get list watch",
		"events.k8s.io/events get list watch",
		"networking.k8s.io/networkpolicies get list watch",
		"policy/poddisruptionbudgets get list watch",
	}
	want := map[string][]string{
		"agent-viewer": viewer,
		"agent-editor": append([]string{
			"agent.flokoa.ai/agents create delete get list patch update watch",
			"agent.flokoa.ai/agents/scale get patch update",
		}, viewer[2:]...),
		"agent-deployer": {
			"agent.flokoa.ai/agents create delete get list patch update watch",
			"agent.flokoa.ai/agents/scale get patch update",
			"core/configmaps create delete get list patch update watch",
		},
		"secret-manager": {
			"core/secrets create delete get list patch update watch",
		},
		"model-manager": {
			"agent.flokoa.ai/models create delete get list patch update watch",
			"core/secrets[openai-key] use",
		},
		"secret-user": {
			"agent.flokoa.ai/models[gpt-4o-model] use",
			"core/secrets[agent-secrets tool-keys] use",
			"core/serviceaccounts[reader] use",
			"storage.k8s.io/csidrivers[secrets-store.csi.k8s.io] use",
		},
	}
	for _, environment := range manifests.Environments {
		t.Run(environment, func(t *testing.T) {
			have := map[string][]string{}
			for _, role := range all[rbacv1.Role](t, render(t, environment, inUse), "Role") {
				have[role.Name] = permissions(role)
			}
			require.Equal(t, want, have)
		})
	}
}

// What no Role may ever have, in words of the API: a new permission must pass here, too, before it gets into the table.
func TestNoRoleAllowsEscalation(t *testing.T) {
	forbiddenVerbs := []string{"*", "impersonate", "bind", "escalate", "approve", "sign", "assign", "deletecollection", "proxy"}
	forbiddenResources := []string{
		"*", "pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "pods/ephemeralcontainers", "pods/eviction", "services/proxy",
		"serviceaccounts/token", "agents/status", "agents/finalizers", "nodes", "namespaces", "secrets/*",
	}
	readOnly := []string{
		"pods", "services", "events", "resourcequotas", "limitranges", "deployments", "replicasets", "endpointslices",
		"poddisruptionbudgets", "horizontalpodautoscalers", "networkpolicies", "pods/log",
	}
	rules := 0
	for _, environment := range manifests.Environments {
		for _, role := range all[rbacv1.Role](t, render(t, environment, inUse), "Role") {
			for _, rule := range role.Rules {
				rules++
				require.NotContains(t, rule.APIGroups, "*", role.Name)
				require.NotContains(t, rule.APIGroups, rbacv1.GroupName, role.Name)
				require.Empty(t, rule.NonResourceURLs, role.Name)
				for _, verb := range forbiddenVerbs {
					require.NotContains(t, rule.Verbs, verb, role.Name)
				}
				for _, resource := range forbiddenResources {
					require.NotContains(t, rule.Resources, resource, role.Name)
				}
				for _, resource := range readOnly {
					if slices.Contains(rule.Resources, resource) {
						require.Subset(t, []string{"get", "list", "watch"}, rule.Verbs, "%s: %s", role.Name, resource)
					}
				}
				if slices.Contains(rule.Verbs, "use") {
					require.NotEmpty(t, rule.ResourceNames, "%s: no name would be every name", role.Name)
					require.Equal(t, []string{"use"}, rule.Verbs, role.Name)
				}
				if slices.Contains(rule.Resources, "models") && !slices.Equal(rule.Verbs, []string{"use"}) && role.Name != "model-manager" {
					require.Subset(t, []string{"get", "list", "watch"}, rule.Verbs, "%s: whoever writes a Model decides which host receives its key", role.Name)
				}
				if slices.Contains(rule.Resources, "secrets") {
					require.Equal(t, []string{"secrets"}, rule.Resources, role.Name)
					require.Contains(t, []string{"secret-manager", "secret-user", "model-manager"}, role.Name)
				}
			}
		}
	}
	require.Positive(t, rules)
}

// Without a name to use there is no rule at all, in particular none without names.
func TestSecretUserHasNoRulesWithoutNames(t *testing.T) {
	roles := 0
	for _, environment := range manifests.Environments {
		for _, role := range all[rbacv1.Role](t, render(t, environment, nil), "Role") {
			if role.Name == "secret-user" {
				roles++
				require.Empty(t, role.Rules, environment)
			}
		}
	}
	require.Equal(t, len(manifests.Environments), roles)
}

// agent-deployer gets the rules of the values as they are, and none of the other Roles does.
func TestExtraRulesAreThoseOfTheDeployerAlone(t *testing.T) {
	values := map[string]any{"access": map[string]any{"deployers": map[string]any{"extraRules": []any{
		map[string]any{"apiGroups": []any{"keda.sh"}, "resources": []any{"scaledobjects"}, "verbs": []any{"get", "create"}},
	}}}}
	with := map[string][]string{}
	for _, role := range all[rbacv1.Role](t, render(t, "production", values), "Role") {
		with[role.Name] = permissions(role)
	}
	for _, role := range all[rbacv1.Role](t, render(t, "production", nil), "Role") {
		want := permissions(role)
		if role.Name == "agent-deployer" {
			want = append(want, "keda.sh/scaledobjects create get")
		}
		require.Equal(t, want, with[role.Name], role.Name)
	}
}

// operatorBinding lets the operator write in an environment.
const operatorBinding = "flokoa-operator-writer"

// Whom the Roles are given to. A group of one environment has nothing in another.
func TestRoleBindings(t *testing.T) {
	for _, environment := range manifests.Environments {
		t.Run(environment, func(t *testing.T) {
			have := map[string][]string{}
			for _, binding := range all[rbacv1.RoleBinding](t, render(t, environment, nil), "RoleBinding") {
				role := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: binding.Name}
				if binding.Name == operatorBinding {
					role.Kind = "ClusterRole"
				}
				require.Equal(t, role, binding.RoleRef)
				for _, subject := range binding.Subjects {
					have[binding.Name] = append(have[binding.Name], strings.TrimSpace(subject.Kind+" "+subject.Name+" "+subject.Namespace))
				}
			}
			group := "Group flokoa:" + environment + ":"
			require.Equal(t, map[string][]string{
				"agent-viewer":   {group + "viewers"},
				"agent-editor":   {group + "editors"},
				"agent-deployer": {"ServiceAccount agent-deployer flokoa-" + environment},
				"secret-manager": {group + "secret-managers"},
				"secret-user":    {group + "secret-users"},
				"model-manager":  {group + "model-managers"},
				operatorBinding:  {"ServiceAccount flokoa-operator flokoa-system"},
			}, have)
		})
	}
}

// Kubernetes' own edit and admin read Secrets, open shells and act as ServiceAccounts: nothing here binds a ClusterRole but the
// operator's, whatever the values. And no binding names the ServiceAccount default, which pods use by default.
func TestNothingBindsMoreThanTheRolesHere(t *testing.T) {
	subjects := map[string]any{
		"groups": []any{"team"}, "users": []any{"jane"}, "serviceAccounts": []any{map[string]any{"namespace": "tools", "name": "robot"}},
	}
	values := map[string]any{"access": map[string]any{
		"viewers": subjects, "editors": subjects, "secretManagers": subjects,
		"secretUsers":   overlaid(subjects, map[string]any{"deployer": true}),
		"modelManagers": overlaid(subjects, map[string]any{"deployer": true}),
		"deployers":     map[string]any{"serviceAccounts": []any{map[string]any{"namespace": "ci", "name": "runner"}}},
	}}
	for _, environment := range manifests.Environments {
		objects := render(t, environment, values)
		roles := map[string]bool{}
		for _, role := range all[rbacv1.Role](t, objects, "Role") {
			roles[role.Name] = true
		}
		for _, object := range objects {
			require.NotContains(t, []string{"ClusterRole", "ClusterRoleBinding"}, object.GetKind())
		}
		for _, binding := range all[rbacv1.RoleBinding](t, objects, "RoleBinding") {
			if binding.Name != operatorBinding { // TestRoleBindings has its ClusterRole
				require.Equal(t, "Role", binding.RoleRef.Kind)
				require.True(t, roles[binding.RoleRef.Name], "%s is not made here", binding.RoleRef.Name)
			}
			require.NotEmpty(t, binding.Subjects, binding.Name)
			for _, subject := range binding.Subjects {
				require.NotEqual(t, "default", subject.Name)
				if subject.Kind == rbacv1.ServiceAccountKind {
					require.NotEmpty(t, subject.Namespace, "kustomize would put its own in")
				}
			}
		}
	}
}

// permissions is one sorted line for each resource that a Role names, with all verbs on it.
func permissions(role rbacv1.Role) []string {
	verbs := map[string][]string{}
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				if group == "" {
					group = "core"
				}
				line := group + "/" + resource
				if len(rule.ResourceNames) > 0 {
					line += fmt.Sprint(rule.ResourceNames)
				}
				verbs[line] = append(verbs[line], rule.Verbs...)
			}
		}
	}
	var lines []string
	for line, verbs := range verbs {
		slices.Sort(verbs)
		lines = append(lines, line+" "+strings.Join(slices.Compact(verbs), " "))
	}
	slices.Sort(lines)
	return lines
}
