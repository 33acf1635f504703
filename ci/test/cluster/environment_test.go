package cluster_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// environment is a fixture in the namespace of dev, staging or production, with all its guardrails.
type environment struct {
	*fixture
	kind string
}

// minReplicas is the minimum number of replicas per Agent in each environment.
var minReplicas = map[string]int32{"dev": 1, "staging": 2, "production": 3}

// TestEveryEnvironmentMeetsItsGuarantees runs the same checks for each environment, however it was installed. The checks of one
// environment are sequential, because they share its quota; the environments run in parallel, as on a shared cluster.
func TestEveryEnvironmentMeetsItsGuarantees(t *testing.T) {
	t.Parallel()
	// Two at a time: rolling a full quota loads the machine, and other tests measure time.
	room := make(chan struct{}, 2)
	for _, kind := range []string{"dev", "staging", "production"} {
		for way, install := range map[string]func(*testing.T, string) *environment{"Helm": installWithHelm, "kustomize": installWithKustomize} {
			t.Run(kind+" by "+way, func(t *testing.T) {
				t.Parallel()
				room <- struct{}{}
				defer func() { <-room }()
				e := install(t, kind)
				e.waitQuotas()
				e.requirePersonaAccess()
				e.requireGuardrails()
				e.requireSecretsProtected()
				e.requireRolloutInFullQuota()
			})
		}
	}
}

// The controller-manager checks the types of every expression against the schemas that it knows, the Agent's among them.
func TestEveryExpressionOfThePoliciesIsWellTyped(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.eventually("every policy has been checked", waitTimeout, func() error {
		policies := &admissionregistrationv1.ValidatingAdmissionPolicyList{}
		require.NoError(t, api.List(t.Context(), policies, client.MatchingLabels{"app.kubernetes.io/name": "flokoa-policies"}))
		for _, policy := range policies.Items {
			if policy.Status.ObservedGeneration != policy.Generation || policy.Status.TypeChecking == nil {
				return fmt.Errorf("%s has not", policy.Name)
			}
			require.Empty(t, policy.Status.TypeChecking.ExpressionWarnings, policy.Name)
		}
		return checkEqual("policies", 20, len(policies.Items))
	})
}

// installWithHelm installs an environment of a kind under a name of its own.
func installWithHelm(t *testing.T, kind string) *environment {
	t.Helper()
	e := &environment{kind: kind, fixture: newFixture(t)}
	awaitAgentsCounted(t, api, e.namespace)
	// The chart brings the Namespace: the one of newFixture goes.
	require.NoError(t, api.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: e.namespace}}))
	e.eventually("the name is free", waitTimeout, func() error {
		return absentFromCluster(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: e.namespace}})
	})
	e.helm("install", e.namespace, "charts/flokoa-environment", "--values", "charts/flokoa-environment/values-"+kind+".yaml",
		"--set", "namespace.name="+e.namespace)
	t.Cleanup(func() { _, _ = e.helmCommand(context.Background(), "uninstall", e.namespace).CombinedOutput() })
	e.kubectl("label", "namespace", e.namespace, "made-by=e2e")
	return e
}

// installWithKustomize installs the overlay of an environment. Its namespace has one name, so nothing else may install it meanwhile.
func installWithKustomize(t *testing.T, kind string) *environment {
	t.Helper()
	awaitAgentsCounted(t, api, "default")
	e := &environment{kind: kind, fixture: fixtureIn(t, "flokoa-"+kind)}
	e.kubectl("apply", "--server-side", "--kustomize", "overlays/"+kind)
	e.kubectl("label", "namespace", e.namespace, "made-by=e2e")
	return e
}

// helm runs it against the releases of the platform's namespace; it must succeed.
func (s *fixture) helm(args ...string) string {
	s.Helper()
	out, err := s.helmCommand(s.Context(), args...).CombinedOutput()
	require.NoError(s, err, "helm %s\n%s", strings.Join(args, " "), out)
	return string(out)
}

func (s *fixture) helmCommand(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, cluster.Helm, append([]string{"--namespace", system}, args...)...)
	command.Dir = root
	command.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig, "HELM_CACHE_HOME="+workDir, "HELM_CONFIG_HOME="+workDir, "HELM_DATA_HOME="+workDir)
	return command
}

// awaitAgentsCounted waits until the controller-manager has found out about Agents, which it looks for twice a minute. A quota that
// is made earlier is looked at again only after five minutes, and until then the API server refuses what it should count.
func awaitAgentsCounted(t *testing.T, api client.Client, namespace string) {
	t.Helper()
	limit := corev1.ResourceList{countAgents: resource.MustParse("1")}
	err := wait.PollUntilContextTimeout(t.Context(), time.Second, 2*waitTimeout, true, func(ctx context.Context) (bool, error) {
		probe := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "probe-"}, Spec: corev1.ResourceQuotaSpec{Hard: limit}}
		if err := api.Create(ctx, probe); err != nil {
			return false, err
		}
		counted := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 2*time.Second, true, func(ctx context.Context) (bool, error) {
			err := api.Get(ctx, client.ObjectKeyFromObject(probe), probe)
			return len(probe.Status.Used) > 0, err
		})
		return counted == nil, api.Delete(ctx, probe)
	})
	require.NoError(t, err, "the controller-manager counts Agents")
}

// waitQuotas waits until the quotas count.
func (e *environment) waitQuotas() {
	e.Helper()
	e.eventually("every quota counts", waitTimeout, func() error {
		quotas := e.list(&corev1.ResourceQuotaList{})
		if len(quotas) == 0 {
			return fmt.Errorf("there is none")
		}
		for _, object := range quotas {
			quota := object.(*corev1.ResourceQuota)
			if len(quota.Status.Used) != len(quota.Spec.Hard) {
				return fmt.Errorf("%s: %d of %d", quota.Name, len(quota.Status.Used), len(quota.Spec.Hard))
			}
		}
		return nil
	})
}

// --- what an Agent must not be ------------------------------------------------------------------------------------------

// guardrailCase is a change to the guide's Agent and its outcome.
type guardrailCase struct {
	name string
	make change
	// message is what an author reads: what to write instead.
	message string
	// verdicts are by environment; the default is accepts.
	verdicts map[string]verdict
}

type verdict int

const (
	accepts verdict = iota
	warns
	denies
)

func guardrailCases(kind string) []guardrailCase {
	strict := map[string]verdict{"dev": warns, "staging": denies, "production": denies}
	return []guardrailCase{
		{"an image that floats", withImage("ghcr.io/example/my-agent:latest"), "use a version tag", strict},
		{"an image without a tag", withImage("ghcr.io:443/example/my-agent"), "use a version tag", strict},
		{"no limits", onContainer(func(c *corev1.Container) { c.Resources.Limits = nil }), "resources.limits.cpu", strict},
		{"no requests", onContainer(func(c *corev1.Container) {
			c.Resources.Requests = corev1.ResourceList{}
			c.Resources.Limits = nil
		}), "resources.requests.memory", strict},
		{"no probes", func(a *v1alpha1.Agent) {
			a.Spec.Availability = &v1alpha1.Availability{Probes: "None"}
			onContainer(func(c *corev1.Container) { c.LivenessProbe, c.ReadinessProbe = nil, nil })(a)
		}, "availability.probes", map[string]verdict{"dev": warns, "staging": warns, "production": denies}},
		{"a replica too few", replicas(minReplicas[kind] - 1), "replicas", map[string]verdict{"staging": denies, "production": denies}},
		{"a credential in plain text", withEnv("OPENAI_API_KEY", "sk-0123456789abcdefghijklmn"), "secretKeyRef", strict},
		{"what is no credential", withEnv("MAX_TOKENS", "4096"), "", nil},
	}
}

func withImage(image string) change {
	return onContainer(func(c *corev1.Container) { c.Image = image })
}

func withEnv(name, value string) change {
	return onContainer(func(c *corev1.Container) { c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: value}) })
}

// requireGuardrails runs the guide's Agent in an environment, then applies each guardrail case.
func (e *environment) requireGuardrails() {
	e.Helper()
	agent := applyGuide(e.fixture)
	require.EqualValues(e, 3, agent.Status.AvailableReplicas)
	require.Equal(e, metav1.ConditionTrue, condition(agent, v1alpha1.ConditionHighlyAvailable).Status)

	denied, warned := 0, 0
	for _, m := range guardrailCases(e.kind) {
		out, err := e.kubectlApplyAgent(e.guideAgentWith(m.make))
		switch m.verdicts[e.kind] {
		case denies:
			denied++
			require.Error(e, err, "%s: it must be refused", m.name)
			require.Contains(e, out, m.message, m.name)
		case warns:
			warned++
			require.NoError(e, err, "%s\n%s", m.name, out)
			require.Contains(e, out, "Warning: ", m.name)
			require.Contains(e, out, m.message, m.name)
		default:
			require.NoError(e, err, "%s\n%s", m.name, out)
			require.NotContains(e, out, "Warning: ", m.name)
		}
		// kubectl repeats its own patch; the policy's message must not.
		_, policyMessage, _ := strings.Cut(out, "ValidatingAdmissionPolicy")
		require.NotContains(e, policyMessage, "sk-0123456789", "a message never repeats a value")
	}
	if least := minReplicas[e.kind]; least > 1 {
		out, err := e.command(e.Context(), "scale", "agent", guideAgent, fmt.Sprintf("--replicas=%d", least-1)).CombinedOutput()
		require.Error(e, err)
		require.Contains(e, string(out), "replicas")
		denied++
	}
	e.note("%d changes denied, %d warned about", denied, warned)
	e.kubectl("delete", "agent", guideAgent, "--cascade=foreground")
}

// guideAgentWith is the guide's Agent, changed.
func (e *environment) guideAgentWith(changes ...change) *v1alpha1.Agent {
	e.Helper()
	text, err := os.ReadFile(fromRoot(guideManifest))
	require.NoError(e, err)
	agent := &v1alpha1.Agent{}
	require.NoError(e, yaml.UnmarshalStrict(text, agent))
	agent.Namespace = e.namespace
	for _, change := range changes {
		change(agent)
	}
	return agent
}

// kubectlApplyAgent applies an Agent with kubectl, and returns its output.
func (s *fixture) kubectlApplyAgent(agent *v1alpha1.Agent, args ...string) (string, error) {
	s.Helper()
	object := map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.AgentKind,
		"metadata": map[string]any{"name": agent.Name}, "spec": agent.Spec,
	}
	text, err := yaml.Marshal(object)
	require.NoError(s, err)
	command := s.command(s.Context(), append([]string{"apply", "-f", "-"}, args...)...)
	command.Stdin = strings.NewReader(string(text))
	out, err := command.CombinedOutput()
	return string(out), err
}

// --- the quota ----------------------------------------------------------------------------------------------------------

// countAgents is what a quota calls the number of Agents.
const countAgents = "count/agents.agent.flokoa.ai"

// terminationDelay is how long a pod of the quota's test takes to stop. It counts against the quota all the while.
const terminationDelay = "10s"

// requireRolloutInFullQuota fills an environment with as many Agents as it may hold, the smallest that it accepts, each as large as
// the LimitRange defaults make it. All of them roll at once, and none gets stuck.
func (e *environment) requireRolloutInFullQuota() {
	e.Helper()
	most, each := e.maxAgents(), e.defaultResources()
	least := minReplicas[e.kind]
	fill := func(name string) *v1alpha1.Agent {
		return e.newAgent(name, replicas(least), simulate("delete-after", terminationDelay), onContainer(func(c *corev1.Container) { c.Resources = each }))
	}
	for i := range most {
		require.NoError(e, api.Create(e.Context(), fill(fmt.Sprintf("a%d", i))))
	}
	e.requireAllReady(most)
	e.eventually("the quota has counted them", waitTimeout, func() error {
		used := read(e.fixture, "flokoa", &corev1.ResourceQuota{}).Status.Used[countAgents]
		return checkEqual("Agents", int64(most), used.Value())
	})
	err := api.Create(e.Context(), fill("one-too-many"))
	require.ErrorContains(e, err, "exceeded quota")
	require.ErrorContains(e, err, countAgents)

	began := time.Now()
	w, done := watchRollout(e.fixture, int(least))
	for i := range most {
		e.setImage(fmt.Sprintf("a%d", i), "registry.example/agent:v2")
	}
	e.requireAllReady(most)
	done()
	e.note("%d Agents of %d replicas rolled at once in %.0f s", most, least, time.Since(began).Seconds())
	require.Empty(e, w.violations)
	w.requireNoFlapping(e.fixture)
	e.requireQuotaReported()
}

// maxAgents is the quota's limit for Agents.
func (e *environment) maxAgents() int {
	e.Helper()
	for _, object := range e.list(&corev1.ResourceQuotaList{}) {
		if most, counted := object.(*corev1.ResourceQuota).Spec.Hard[countAgents]; counted {
			return int(most.Value())
		}
	}
	require.Fail(e, "no quota counts Agents")
	return 0
}

// defaultResources are the LimitRange defaults for a container without resources.
func (e *environment) defaultResources() corev1.ResourceRequirements {
	e.Helper()
	for _, object := range e.list(&corev1.LimitRangeList{}) {
		for _, limit := range object.(*corev1.LimitRange).Spec.Limits {
			if limit.Type == corev1.LimitTypeContainer {
				return corev1.ResourceRequirements{Requests: limit.DefaultRequest, Limits: limit.Default}
			}
		}
	}
	require.Fail(e, "no LimitRange for containers")
	return corev1.ResourceRequirements{}
}

// rolloutTimeout bounds the time in which a whole quota rolls.
const rolloutTimeout = 5 * time.Minute

func (e *environment) requireAllReady(most int) {
	e.Helper()
	e.eventually("every Agent is ready", rolloutTimeout, func() error {
		agents := e.list(&v1alpha1.AgentList{})
		for _, object := range agents {
			if agent := object.(*v1alpha1.Agent); !isReady(agent) {
				return fmt.Errorf("%s: %+v", agent.Name, condition(agent, v1alpha1.ConditionReady))
			}
		}
		return checkEqual("the number of Agents", most, len(agents))
	})
}

// requireNoFlapping is for many Agents that roll at once: Ready of each goes to rolling and to complete. An
// exceeded quota may be reported once in between.
func (w *rolloutWatch) requireNoFlapping(s *fixture) {
	s.Helper()
	w.mutex.Lock()
	defer w.mutex.Unlock()
	require.NotEmpty(s, w.readiness)
	for name, steps := range w.readiness {
		require.LessOrEqual(s, len(steps), 5, "%s: %v", name, steps)
		require.Equal(s, stepComplete, steps[len(steps)-1], "%s: %v", name, steps)
		for _, step := range steps {
			require.Contains(s, []string{stepComplete, stepRolling, "False " + v1alpha1.ReasonQuotaExceeded}, step, "%s: %v", name, steps)
		}
	}
}

// requireQuotaReported scales one Agent beyond the quota: the Agent reports it, and its existing pods keep serving.
func (e *environment) requireQuotaReported() {
	e.Helper()
	e.kubectl("scale", "agent", "a0", "--replicas=200")
	stormy := e.waitForAgent("a0", "the quota is reported", waitTimeout, func(a *v1alpha1.Agent) bool {
		return condition(a, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonQuotaExceeded
	})
	require.Regexp(e, `exceeded quota: flokoa|on resourcequotas "flokoa"`, condition(stormy, v1alpha1.ConditionReady).Message)
	require.GreaterOrEqual(e, stormy.Status.AvailableReplicas, minReplicas[e.kind])
}

// absentFromCluster reports that an object that lives in no namespace exists, nil when it does not.
func absentFromCluster(t *testing.T, object client.Object) error {
	t.Helper()
	err := api.Get(t.Context(), client.ObjectKeyFromObject(object), object)
	if err == nil {
		return fmt.Errorf("%T %s exists", object, object.GetName())
	}
	return client.IgnoreNotFound(err)
}
