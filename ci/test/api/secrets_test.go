package api_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

func ref(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }

func volume(v v1alpha1.Volume) change {
	v.Name = "v"
	return runtimeSpec(func(s *v1alpha1.RuntimeSpec) { s.Volumes = append(s.Volumes, v) })
}

func projected(source corev1.VolumeProjection) change {
	return volume(v1alpha1.Volume{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{source}}})
}

func fromSecret(name string) func(*corev1.Container) {
	return func(c *corev1.Container) {
		c.Env = append(c.Env, corev1.EnvVar{Name: "K", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref(name), Key: "k"}}})
	}
}

func allOf(name string) func(*corev1.Container) {
	return func(c *corev1.Container) {
		c.EnvFrom = append(c.EnvFrom, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: ref(name)}})
	}
}

// A door is a way in which an Agent is given something by name.
type door struct {
	// resource is what the author must hold the verb use on, as kubectl names it.
	resource string
	give     func(name string) change
}

// doors are all that the Agent API has.
var doors = map[string]door{
	"env":                          {"secrets", func(n string) change { return container(fromSecret(n)) }},
	"envFrom":                      {"secrets", func(n string) change { return container(allOf(n)) }},
	"env of a sidecar":             {"secrets", func(n string) change { return sidecar(other(fromSecret(n))) }},
	"envFrom of a sidecar":         {"secrets", func(n string) change { return sidecar(other(allOf(n))) }},
	"env of an init container":     {"secrets", func(n string) change { return initContainer(other(fromSecret(n))) }},
	"envFrom of an init container": {"secrets", func(n string) change { return initContainer(other(allOf(n))) }},
	"a volume": {"secrets", func(n string) change {
		return volume(v1alpha1.Volume{Secret: &corev1.SecretVolumeSource{SecretName: n}})
	}},
	"a projected volume": {"secrets", func(n string) change {
		return projected(corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: ref(n)}})
	}},
	"credentials of a registry": {"secrets", func(n string) change {
		return runtimeSpec(func(s *v1alpha1.RuntimeSpec) { s.ImagePullSecrets = []v1alpha1.LocalReference{{Name: n}} })
	}},
	"a ServiceAccount": {"serviceaccounts", func(n string) change { return runtimeSpec(func(s *v1alpha1.RuntimeSpec) { s.ServiceAccountName = n }) }},
	"a CSI driver":     {"csidrivers", func(n string) change { return volume(v1alpha1.Volume{CSI: &v1alpha1.CSIVolumeSource{Driver: n}}) }},
	"a Model": {"models", func(n string) change {
		return func(a *v1alpha1.Agent) { a.Spec.Model = &v1alpha1.ModelReference{Name: n} }
	}},
}

// defaults are doors to the account that every pod has, when its token is really given.
var defaults = map[string]struct {
	give  change
	opens bool
}{
	"no token":                {func(*v1alpha1.Agent) {}, false},
	"a token that is mounted": {runtimeSpec(func(s *v1alpha1.RuntimeSpec) { s.AutomountServiceAccountToken = ptr.To(true) }), true},
	"a token that is not":     {runtimeSpec(func(s *v1alpha1.RuntimeSpec) { s.AutomountServiceAccountToken = ptr.To(false) }), false},
	"a projected token": {inTurn(runtimeSpec(func(s *v1alpha1.RuntimeSpec) { s.AutomountServiceAccountToken = ptr.To(false) }),
		projected(corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "t"}})), true},
	"a projected certificate": {projected(corev1.VolumeProjection{PodCertificate: &corev1.PodCertificateProjection{SignerName: "example.com/s", KeyType: "ED25519", CredentialBundlePath: "c"}}), true},
	"a projected ConfigMap":   {projected(corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: ref("c")}}), false},
}

const held, others = "held", "others"

// author may write Agents in every environment, and give them what is called held.
func author(t *testing.T, name string) *person {
	t.Helper()
	for _, namespace := range environments {
		let(t, namespace, name, writesAgents(), uses("", "secrets", held), uses("", "serviceaccounts", held),
			uses("storage.k8s.io", "csidrivers", held), uses("agent.flokoa.ai", "models", held))
	}
	p := as(t, name)
	for _, namespace := range environments {
		require.Eventually(t, func() bool {
			return p.Create(t.Context(), newAgent(namespace, "heeded", container(fromSecret(held))), client.DryRunAll) == nil
		}, taking, taking/300, "the Role is heeded")
	}
	return p
}

func refusal(resource, name, namespace string) string {
	group := map[string]string{"csidrivers": ".storage.k8s.io", "models": ".agent.flokoa.ai"}[resource]
	value := map[string]string{"secrets": "secrets", "serviceaccounts": "serviceAccounts", "csidrivers": "csiDrivers", "models": "models"}[resource]
	return `you may not reference ` + resource + ` "` + name + `" in an Agent without the verb use on it: ask the platform team to list it in secretUse.` + value + ` of the chart flokoa-environment, and to add you to the secret-users (check with kubectl auth can-i use ` +
		resource + group + `/` + name + ` --namespace ` + namespace + `)`
}

func requireRefused(t *testing.T, err error, message string) {
	t.Helper()
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	require.ErrorContains(t, err, "'flokoa-secret-use'")
	require.ErrorContains(t, err, message)
}

func TestEveryReferenceNeedsPermissionInEveryEnvironment(t *testing.T) {
	p := author(t, "dora")
	for name, door := range doors {
		for _, namespace := range environments {
			t.Run(name+" in "+namespace, func(t *testing.T) {
				require.NoError(t, p.Create(t.Context(), newAgent(namespace, "a", door.give(held)), client.DryRunAll))
				err := p.Create(t.Context(), newAgent(namespace, "a", door.give(others)), client.DryRunAll)
				requireRefused(t, err, refusal(door.resource, others, namespace))
				require.NoError(t, admin.Create(t.Context(), newAgent(namespace, "a", door.give(others)), client.DryRunAll), "a cluster admin holds every verb")
			})
		}
	}
}

func TestTheDefaultServiceAccountIsCheckedIfItsTokenIsMounted(t *testing.T) {
	p := author(t, "dan")
	for name, row := range defaults {
		t.Run(name, func(t *testing.T) {
			err := p.Create(t.Context(), newAgent("production", "a", row.give), client.DryRunAll)
			if row.opens {
				requireRefused(t, err, refusal("serviceaccounts", "default", "production"))
			} else {
				require.NoError(t, err)
			}
			withOne := inTurn(row.give, doors["a ServiceAccount"].give(held))
			require.NoError(t, p.Create(t.Context(), newAgent("production", "a", withOne), client.DryRunAll), "it is another account's then")
		})
	}
}

// Whoever may write an Agent that holds a Secret could have it do anything with it.
func TestEveryChangeButHarmlessOnesChecksAllSecrets(t *testing.T) {
	let(t, "production", "eve", writesAgents())
	eve := as(t, "eve")
	agent := newAgent("production", "holds-a-secret", container(fromSecret(others)), sidecar(other()))
	require.NoError(t, admin.Create(t.Context(), agent))
	t.Cleanup(func() { _ = admin.Delete(t.Context(), agent) })
	require.Eventually(t, func() bool { return eve.Get(t.Context(), client.ObjectKeyFromObject(agent), &v1alpha1.Agent{}) == nil }, taking, taking/300)
	for name, patch := range map[string]string{
		"suspend":            `{"spec":{"suspend":true}}`,
		"replicas":           `{"spec":{"runtime":{"spec":{"replicas":5}}}}`,
		"autoscaling":        `{"spec":{"autoscaling":{"minReplicas":3,"maxReplicas":5}}}`,
		"availability":       `{"spec":{"availability":{"spread":"Required","drainSeconds":9}}}`,
		"framework":          `{"spec":{"framework":"langgraph"}}`,
		"strategy":           `{"spec":{"runtime":{"spec":{"strategy":{"maxSurge":2}}}}}`,
		"deadlines":          `{"spec":{"runtime":{"spec":{"minReadySeconds":5,"progressDeadlineSeconds":900,"revisionHistoryLimit":1}}}}`,
		"grace":              `{"spec":{"runtime":{"spec":{"terminationGracePeriodSeconds":90}}}}`,
		"affinity":           `{"spec":{"runtime":{"spec":{"affinity":null}}}}`,
		"spread constraints": `{"spec":{"runtime":{"spec":{"topologySpreadConstraints":[{"topologyKey":"a","maxSkew":1,"whenUnsatisfiable":"DoNotSchedule"}]}}}}`,
		"metadata":           `{"metadata":{"labels":{"a":"b"},"annotations":{"c":"d"},"finalizers":["example.com/f"]}}`,
	} {
		require.NoError(t, merge(t, eve, agent, patch), name)
	}
	require.NoError(t, scale(t, eve, agent, 6))
	const at = `"/spec/runtime/spec/`
	for name, patch := range map[string]string{
		"image":                 `[{"op":"replace","path":` + at + `container/image","value":"a/thief:v1"}]`,
		"command":               `[{"op":"add","path":` + at + `container/command","value":["sh"]}]`,
		"env":                   `[{"op":"add","path":` + at + `container/env/-","value":{"name":"PROXY","value":"thief"}}]`,
		"a probe that runs":     `[{"op":"replace","path":` + at + `container/readinessProbe","value":{"exec":{"command":["sh"]}}}]`,
		"a lifecycle hook":      `[{"op":"add","path":` + at + `container/lifecycle","value":{"preStop":{"exec":{"command":["sh"]}}}}]`,
		"a sidecar's image":     `[{"op":"replace","path":` + at + `sidecars/0/image","value":"a/thief:v1"}]`,
		"no sidecar":            `[{"op":"remove","path":` + at + `sidecars"}]`,
		"where names resolve":   `[{"op":"add","path":` + at + `hostAliases","value":[{"ip":"192.0.2.1","hostnames":["api.example.com"]}]}]`,
		"who resolves names":    `[{"op":"add","path":` + at + `dnsConfig","value":{"nameservers":["192.0.2.1"]}}]`,
		"what is added to pods": `[{"op":"add","path":` + at + `podMetadata","value":{"annotations":{"inject":"me"}}}]`,
		"a node of one's own":   `[{"op":"add","path":` + at + `nodeSelector","value":{"thief":"yes"}}]`,
		"taints of such a node": `[{"op":"add","path":` + at + `tolerations","value":[{"operator":"Exists"}]}]`,
		"another runtime":       `[{"op":"add","path":` + at + `runtimeClassName","value":"thief"}]`,
		"rights of the pod":     `[{"op":"add","path":` + at + `securityContext","value":{"runAsUser":0}}]`,
		"a ConfigMap":           `[{"op":"add","path":` + at + `volumes","value":[{"name":"c","configMap":{"name":"c"}}]}]`,
		"a card":                `[{"op":"add","path":"/spec/card","value":{"description":"d","version":"v"}}]`,
		"harmless and not":      `[{"op":"add","path":"/spec/suspend","value":true},{"op":"replace","path":` + at + `container/image","value":"a/thief:v1"}]`,
	} {
		err := eve.Patch(t.Context(), agent.DeepCopy(), client.RawPatch(types.JSONPatchType, []byte(patch)), client.DryRunAll)
		require.Error(t, err, name)
		requireRefused(t, err, refusal("secrets", others, "production"))
	}
	require.NoError(t, eve.Delete(t.Context(), agent.DeepCopy(), client.DryRunAll), "deletion always works")
	without := agent.DeepCopy()
	without.Spec.Runtime.Spec.Container.Env = without.Spec.Runtime.Spec.Container.Env[:1]
	require.NoError(t, eve.Update(t.Context(), without, client.DryRunAll), "who takes the Secret away needs nothing")
}

// A finalizer keeps an Agent that is being deleted for as long as its author likes.
func TestPoliciesApplyToTerminatingAgents(t *testing.T) {
	p := author(t, "fin")
	agent := newAgent("production", "dying", func(a *v1alpha1.Agent) { a.Finalizers = []string{"example.com/f"} })
	require.NoError(t, p.Create(t.Context(), agent))
	require.NoError(t, p.Delete(t.Context(), agent))
	require.NoError(t, p.Get(t.Context(), client.ObjectKeyFromObject(agent), agent))
	require.NotNil(t, agent.DeletionTimestamp)
	changed := agent.DeepCopy()
	container(fromSecret(others))(changed)
	requireRefused(t, p.Update(t.Context(), changed), refusal("secrets", others, "production"))
	agent.Finalizers = nil
	require.NoError(t, p.Update(t.Context(), agent), "it can always go")
}

func TestSixteenReferencesAreCheckedAndSeventeenRejected(t *testing.T) {
	names := make([]string, 17)
	for i := range names {
		names[i] = fmt.Sprintf("s%02d", i)
	}
	let(t, "production", "max", writesAgents(), uses("", "secrets", names...))
	let(t, "production", "min", writesAgents(), uses("", "secrets", names[:15]...))
	maximal, lacking := as(t, "max"), as(t, "min")
	with := func(n int) *v1alpha1.Agent {
		return newAgent("production", "many", container(func(c *corev1.Container) {
			for _, name := range names[:n] {
				allOf(name)(c)
				fromSecret(name)(c) // twice is once
				c.Env[len(c.Env)-1].Name = "K" + name
			}
		}))
	}
	require.Eventually(t, func() bool { return maximal.Create(t.Context(), with(16), client.DryRunAll) == nil }, taking, taking/300)
	require.Eventually(t, func() bool { return lacking.Create(t.Context(), with(15), client.DryRunAll) == nil }, taking, taking/300)
	requireRefused(t, lacking.Create(t.Context(), with(16), client.DryRunAll), refusal("secrets", "s15", "production"))
	tooMany := "spec references 17 different Secrets, ServiceAccounts, CSI drivers and Models, but 16 is the maximum: put related keys in one Secret"
	requireRefused(t, maximal.Create(t.Context(), with(17), client.DryRunAll), tooMany)
	require.ErrorContains(t, admin.Create(t.Context(), with(17), client.DryRunAll), tooMany, "not even for an admin, whose Agent others change")
}

// The largest Agent that the CustomResourceDefinition lets in must not cost more than the API server grants a policy: it would be
// denied, with a message that does not help the user.
func TestTheLargestAgentIsNotTooMuchForThePolicies(t *testing.T) {
	large := newAgent("production", "large", container(func(c *corev1.Container) { c.Env = nil }))
	fill := func(c *corev1.Container, at int) {
		for i := range 30 {
			fromSecret(fmt.Sprintf("s%02d", i%16))(c)
			c.Env[len(c.Env)-1].Name = fmt.Sprintf("S%d_%d", at, i)
		}
		c.Args = nil
		for i := range 200 {
			c.Args = append(c.Args, fmt.Sprintf("--setting-%d=%d", i, i))
			value := []string{"https://example.com/some/path/that/is/long/enough/to/be/real", "postgres://agents:$(PASSWORD)@database.example.com:5432/agents"}[i%2]
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d_%d", at, i), Value: value})
		}
	}
	fill(&large.Spec.Runtime.Spec.Container, 0)
	for i := range 10 {
		s, n := other(), other()
		s.Name, n.Name = fmt.Sprintf("s%d", i), fmt.Sprintf("i%d", i)
		fill(&s, 1+i)
		fill(&n, 11+i)
		sidecar(s)(large)
		initContainer(n)(large)
	}
	require.NoError(t, admin.Create(t.Context(), large, client.DryRunAll))
	large.Spec.Runtime.Spec.Sidecars[9].Image = "a:latest"
	require.ErrorContains(t, admin.Create(t.Context(), large, client.DryRunAll), `image "a:latest" is not pinned`)
}

// Comparing all names with each other costs their number squared.
func TestTooManyReferencesAreRejectedWithAClearMessage(t *testing.T) {
	wide := newAgent("production", "wide")
	for at := range 10 {
		c := other()
		c.Name = fmt.Sprintf("s%d", at)
		for i := range 41 {
			allOf(fmt.Sprintf("s%d-%d", at, i))(&c)
		}
		sidecar(c)(wide)
	}
	require.ErrorContains(t, admin.Create(t.Context(), wide, client.DryRunAll), "spec.runtime.spec references Secrets more than 400 times: put related keys in one Secret and reference it with envFrom")
}

// --- tokens -------------------------------------------------------------------------------------------------------------

func TestATokenSecretNeedsPermissionToCreateTheToken(t *testing.T) {
	secrets := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"}}
	tokens := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, ResourceNames: []string{"own"}, Verbs: []string{"create"}}
	let(t, "production", "sam", secrets)
	let(t, "production", "tom", secrets, tokens)
	let(t, "default", "sam", secrets)
	secret := func(namespace, account string, kind corev1.SecretType) *corev1.Secret {
		return &corev1.Secret{Type: kind, ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "t", Annotations: map[string]string{corev1.ServiceAccountNameKey: account}}}
	}
	sam, tom := as(t, "sam"), as(t, "tom")
	for _, namespace := range []string{"production", "default"} {
		require.Eventually(t, func() bool {
			return sam.Create(t.Context(), secret(namespace, "own", corev1.SecretTypeOpaque), client.DryRunAll) == nil
		}, taking, taking/300)
	}
	require.Eventually(t, func() bool {
		return tom.Create(t.Context(), secret("production", "own", corev1.SecretTypeServiceAccountToken), client.DryRunAll) == nil
	}, taking, taking/300)
	message := "a Secret of type kubernetes.io/service-account-token needs the verb create on serviceaccounts/token of its ServiceAccount: use kubectl create token, which issues a token that expires"
	require.EqualError(t, sam.Create(t.Context(), secret("production", "own", corev1.SecretTypeServiceAccountToken), client.DryRunAll),
		`secrets "t" is forbidden: ValidatingAdmissionPolicy 'flokoa-token-secrets' with binding 'flokoa-token-secrets-production' denied request: `+message)
	require.ErrorContains(t, tom.Create(t.Context(), secret("production", "another", corev1.SecretTypeServiceAccountToken), client.DryRunAll), message)
	require.NoError(t, sam.Create(t.Context(), secret("default", "own", corev1.SecretTypeServiceAccountToken), client.DryRunAll), "not an environment")
}
