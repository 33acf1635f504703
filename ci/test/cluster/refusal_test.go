package cluster_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// The ways in which the API server refuses an Agent's children, or their pods.

// noneStarted is where the work stands when no pod could be made.
const noneStarted = "; 0 of 1 replicas updated, 0 available"

func nameConflict() failureCase {
	var foreign client.Object
	return failureCase{
		name: "with a foreign Service", stalls: true,
		setup: func(s *fixture) {
			foreign = foreignObjects()["Service"]
			foreign.SetNamespace(s.namespace)
			foreign.SetName("a")
			require.NoError(s, api.Create(s.Context(), foreign))
		},
		agent:     []change{replicas(1)},
		message:   `a Service named "a" exists that this Agent does not control: rename the Agent, delete the Service, or annotate it with flokoa.ai/adopt=a to let the Agent adopt it`,
		fix:       func(s *fixture) { require.NoError(s, api.Delete(s.Context(), foreign)) },
		available: true,
	}
}

func invalidDeployment() failureCase {
	return failureCase{
		name: "for what the CRD cannot know to be wrong", stalls: true,
		agent: []change{onContainer(func(c *corev1.Container) {
			c.VolumeMounts = []corev1.VolumeMount{{Name: "nowhere", MountPath: "/data"}}
		})},
		message: `Deployment: Deployment.apps "a" is invalid: spec.template.spec.containers[0].volumeMounts[0].name: Not found: "nowhere"`,
		fix:     func(s *fixture) { s.patch("a", `[{"op":"remove","path":"/spec/runtime/spec/container/volumeMounts"}]`) },
	}
}

func exceededQuotas() []failureCase {
	return []failureCase{
		{
			name:       "by one pod of three",
			agent:      []change{replicas(3)},
			setup:      quota("pods", "2"),
			message:    `cannot create pods: pods "a-*" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2; 2 of 3 replicas updated, 2 available`,
			fix:        raiseQuota("pods", "3"),
			fixTimeout: replicaSetRetryTimeout,
			available:  true,
		},
		{
			name:    "by the Deployment itself",
			setup:   quota("count/deployments.apps", "0"),
			message: `Deployment: deployments.apps "a" is forbidden: exceeded quota: q, requested: count/deployments.apps=1, used: count/deployments.apps=0, limited: count/deployments.apps=0`,
			fix:     raiseQuota("count/deployments.apps", "1"),
		},
		{
			name:    "by pods without resource requests",
			setup:   quota("requests.cpu", "1"),
			message: `cannot create pods: pods "a-*" is forbidden: failed quota: q: must specify requests.cpu for: agent` + noneStarted,
			fix: func(s *fixture) {
				s.patch("a", `[{"op":"add","path":"/spec/runtime/spec/container/resources","value":{"requests":{"cpu":"100m"}}}]`)
			},
		},
	}
}

// quota limits something in the namespace, in force once its use has been counted.
func quota(what, most string) func(*fixture) {
	return func(s *fixture) {
		s.Helper()
		limit := corev1.ResourceList{corev1.ResourceName(what): resource.MustParse(most)}
		require.NoError(s, api.Create(s.Context(), &corev1.ResourceQuota{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: limit},
		}))
		s.eventually("the quota is in force", waitTimeout, func() error {
			if used := read(s, "q", &corev1.ResourceQuota{}).Status.Used; len(used) == 0 {
				return fmt.Errorf("%v", used)
			}
			return nil
		})
	}
}

func raiseQuota(what, most string) func(*fixture) {
	return func(s *fixture) {
		s.Helper()
		s.kubectl("patch", "resourcequota", "q", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"hard":{%q:%q}}}`, what, most))
	}
}

func policyViolations() []failureCase {
	const catalogue = "images come from the company's registry"
	unbind := func(s *fixture) {
		require.NoError(s, api.Delete(s.Context(), &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}))
	}
	return []failureCase{
		{
			name: "Pod Security",
			agent: []change{onContainer(func(c *corev1.Container) {
				c.SecurityContext = &corev1.SecurityContext{AllowPrivilegeEscalation: ptr.To(true)}
			})},
			setup: func(s *fixture) {
				s.kubectl("label", "namespace", s.namespace, "pod-security.kubernetes.io/enforce=restricted")
			},
			message: `cannot create pods: pods "a-*" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false ` +
				`(container "agent" must set securityContext.allowPrivilegeEscalation=false)` + noneStarted,
			fix: func(s *fixture) {
				s.patch("a", `[{"op":"remove","path":"/spec/runtime/spec/container/securityContext"}]`)
			},
		},
		{
			name: "a LimitRange",
			agent: []change{onContainer(func(c *corev1.Container) {
				c.Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}
			})},
			setup: func(s *fixture) {
				most := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
				require.NoError(s, api.Create(s.Context(), &corev1.LimitRange{
					ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "l"},
					Spec:       corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Max: most}}},
				}))
			},
			message: `cannot create pods: pods "a-*" is forbidden: maximum cpu usage per Container is 1, but limit is 2` + noneStarted,
			fix:     func(s *fixture) { s.kubectl("delete", "limitrange", "l") }, fixTimeout: replicaSetRetryTimeout,
		},
		{
			name:    "an admission policy on pods",
			setup:   policy("", "pods", "object.spec.containers.all(c, c.image.startsWith('company.example/'))", catalogue),
			message: `cannot create pods: pods "a-*" is forbidden: ValidatingAdmissionPolicy '*' with binding '*' denied request: ` + catalogue + noneStarted,
			fix:     unbind,
		},
		{
			name:    "an admission policy on Deployments",
			setup:   policy("apps", "deployments", "object.spec.template.spec.containers.all(c, c.image.startsWith('company.example/'))", catalogue),
			message: `Deployment: deployments.apps "a" is forbidden: ValidatingAdmissionPolicy '*' with binding '*' denied request: ` + catalogue,
			fix:     unbind,
		},
		{
			name:    "an admission webhook that gives no code",
			setup:   webhook(catalogue),
			message: `Deployment: admission webhook "e2e.flokoa.ai" denied the request: ` + catalogue,
			fix: func(s *fixture) {
				require.NoError(s, api.Delete(s.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}))
			},
		},
	}
}

func (s *fixture) thisNamespace() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.namespace}}
}

// policy refuses what an expression does not hold for, in this namespace.
func policy(group, resource, expression, message string) func(*fixture) {
	return func(s *fixture) {
		s.Helper()
		rule := admissionregistrationv1.NamedRuleWithOperations{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource}},
		}}
		s.deny(group,
			&admissionregistrationv1.ValidatingAdmissionPolicy{
				ObjectMeta: metav1.ObjectMeta{Name: s.namespace},
				Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
					MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{rule}},
					Validations:      []admissionregistrationv1.Validation{{Expression: expression, Message: message, Reason: ptr.To(metav1.StatusReasonForbidden)}},
				},
			},
			&admissionregistrationv1.ValidatingAdmissionPolicyBinding{
				ObjectMeta: metav1.ObjectMeta{Name: s.namespace},
				Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
					PolicyName:        s.namespace,
					ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
					MatchResources:    &admissionregistrationv1.MatchResources{NamespaceSelector: s.thisNamespace()},
				},
			})
	}
}

// webhook refuses every Deployment in this namespace the way Kyverno does: without a code, for which the API server puts 400.
func webhook(message string) func(*fixture) {
	return func(s *fixture) {
		s.Helper()
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			review := &admissionv1.AdmissionReview{}
			if err := json.NewDecoder(r.Body).Decode(review); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Result: &metav1.Status{Message: message}}
			review.Request = nil
			_ = json.NewEncoder(w).Encode(review)
		}))
		s.Cleanup(server.Close)
		s.deny("apps", &admissionregistrationv1.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: s.namespace},
			Webhooks: []admissionregistrationv1.ValidatingWebhook{{
				Name:                    "e2e.flokoa.ai",
				AdmissionReviewVersions: []string{"v1"},
				ClientConfig: admissionregistrationv1.WebhookClientConfig{
					URL:      &server.URL,
					CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
				},
				FailurePolicy:     ptr.To(admissionregistrationv1.Ignore), // of a run that was killed, nothing must be left in the way
				SideEffects:       ptr.To(admissionregistrationv1.SideEffectClassNone),
				NamespaceSelector: s.thisNamespace(),
				Rules: []admissionregistrationv1.RuleWithOperations{{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"}},
				}},
			}},
		})
	}
}

// deny makes objects that have the API server refuse others, and waits until it does: that takes it some seconds.
func (s *fixture) deny(group string, objects ...client.Object) {
	s.Helper()
	for _, object := range objects {
		require.NoError(s, api.Create(s.Context(), object))
		s.Cleanup(func() { _ = api.Delete(context.Background(), object) })
	}
	trial := foreignObjects()["Deployment"]
	if group == "" {
		trial = &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example/theirs:v1"}}}}
	}
	trial.SetNamespace(s.namespace)
	trial.SetName("trial")
	s.eventually("it is in force", waitTimeout, func() error {
		err := api.Create(s.Context(), trial.DeepCopyObject().(client.Object), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "denied") {
			return fmt.Errorf("not denied: %w", err)
		}
		return nil
	})
}

// --- a spec that the CRD refuses ----------------------------------------------------------------------------------------

// shortGracePeriod is a grace period shorter than the drain, which a rule of the CRD refuses.
func shortGracePeriod(a *v1alpha1.Agent) {
	a.Spec.Runtime.Spec.TerminationGracePeriodSeconds = ptr.To[int64](3)
}

// Such a spec can exist only if it was stored before the rule was added. The test runs alone, because it changes the CRD.
func TestAnInvalidStoredSpecIsReportedUntilItIsFixed(t *testing.T) {
	s := newFixture(t)
	refused := func() error { return api.Create(t.Context(), s.newAgent("trial", shortGracePeriod), client.DryRunAll) }
	require.ErrorContains(t, refused(), "must be greater than availability.drainSeconds")

	restore := dropCRDRule(s, "terminationGracePeriodSeconds")
	s.eventually("it can be stored", waitTimeout, func() error { return api.Create(t.Context(), s.newAgent("a", shortGracePeriod)) })
	restore()
	s.eventually("the rule holds again", waitTimeout, func() error {
		if !apierrors.IsInvalid(refused()) {
			return fmt.Errorf("it could still be stored")
		}
		return nil
	})
	w := failureCase{stalls: true, message: "spec.runtime.spec.terminationGracePeriodSeconds is 3: it must be greater than spec.availability.drainSeconds, which is 5"}
	reasons := followReasons(s)
	failing := s.waitForAgent("a", "the failure is reported", waitTimeout, func(a *v1alpha1.Agent) bool { return w.matchesReport(a, v1alpha1.ReasonInvalidSpec) })
	w.requireProgressConditions(s, failing)
	require.Contains(t, condition(failing, v1alpha1.ConditionHighlyAvailable).Message, "spec: it cannot be rendered")
	s.consistently("the operator does not retry", func() error {
		return checkEqual("resourceVersion", failing.ResourceVersion, read(s, "a", &v1alpha1.Agent{}).ResourceVersion)
	})
	s.patch("a", `[{"op":"replace","path":"/spec/runtime/spec/terminationGracePeriodSeconds","value":30}]`)
	healed := s.waitForAgent("a", "the Agent recovers", recoveryTimeout, isReady)
	require.Empty(t, condition(healed, v1alpha1.ConditionStalled))
	w.requireReportedOnce(s, v1alpha1.ReasonInvalidSpec, reasons)
}

// dropCRDRule takes the rule about a field out of the CRD, and returns what puts it back.
func dropCRDRule(s *fixture, field string) (restore func()) {
	s.Helper()
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	require.NoError(s, api.Get(s.Context(), client.ObjectKey{Name: "agents.agent.flokoa.ai"}, live))
	versions, _, err := unstructured.NestedSlice(live.Object, "spec", "versions")
	require.NoError(s, err)
	path := strings.Split("schema.openAPIV3Schema.properties.spec.x-kubernetes-validations", ".")
	rules, _, err := unstructured.NestedSlice(versions[0].(map[string]any), path...)
	require.NoError(s, err)
	var others []any
	for _, rule := range rules {
		if !strings.Contains(rule.(map[string]any)["rule"].(string), field) {
			others = append(others, rule)
		}
	}
	require.Len(s, others, len(rules)-1)
	put := func(rules []any) {
		require.NoError(s, unstructured.SetNestedSlice(versions[0].(map[string]any), rules, path...))
		patch, err := json.Marshal(map[string]any{"spec": map[string]any{"versions": versions}})
		require.NoError(s, err)
		require.NoError(s, api.Patch(context.Background(), live.DeepCopy(), client.RawPatch("application/merge-patch+json", patch)))
	}
	put(others)
	s.Cleanup(func() { put(rules) })
	return func() { put(rules) }
}
