// Package api_test checks on a real API server, by impersonation, what the policies of the chart flokoa-policies admit and deny: every
// rule, every field that references a Secret, every kind of change.
package api_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

const (
	root        = "../../.."
	environment = "flokoa.ai/environment"
	// taking bounds the time until the API server enforces a policy, or heeds a Role, on a machine that does other things too.
	taking = 30 * time.Second
)

// environments have a namespace each, of the same name.
var environments = []string{"dev", "staging", "production"}

var (
	config *rest.Config
	scheme = runtime.NewScheme()
	// admin is the cluster's administrator, who holds every verb.
	admin client.Client
)

func TestMain(m *testing.M) {
	code, err := onAPIServer(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "policy:", err)
		code = 1
	}
	os.Exit(code)
}

func onAPIServer(m *testing.M) (int, error) {
	klog.SetLogger(logr.Discard()) // the remarks of libraries are no part of a test's output
	log.SetLogger(logr.Discard())
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return 0, err
		}
	}
	command := exec.Command("ci/tools/envtest.sh") // builds what is absent, with progress on standard error
	command.Dir, command.Stderr = root, os.Stderr
	assets, err := command.Output()
	if err != nil {
		return 0, fmt.Errorf("ci/tools/envtest.sh: %w", err)
	}
	crds, err := definitions()
	if err != nil {
		return 0, err
	}
	plane := &envtest.Environment{BinaryAssetsDirectory: strings.TrimSpace(string(assets)), CRDs: crds}
	if config, err = plane.Start(); err != nil {
		return 0, fmt.Errorf("starting the API server: %w", err)
	}
	defer func() { _ = plane.Stop() }()
	config.QPS = -1
	if admin, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := guard(context.Background()); err != nil {
		return 0, err
	}
	fmt.Fprintf(os.Stderr, "policy: in force after %.1fs\n", time.Since(began).Seconds())
	return m.Run(), nil
}

func definitions() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	objects, err := manifests.Chart(root+"/charts/flokoa-crds", nil, "flokoa-crds", manifests.Platform)
	if err != nil {
		return nil, err
	}
	var crds []*apiextensionsv1.CustomResourceDefinition
	for _, object := range objects {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, crd); err != nil {
			return nil, err
		}
		crds = append(crds, crd)
	}
	return crds, nil
}

// guard installs the policies and makes the environments, and waits until each policy has refused what it must.
func guard(ctx context.Context) error {
	objects, err := manifests.Chart(root+"/charts/flokoa-policies", nil, "flokoa-policies", manifests.Platform)
	if err != nil {
		return err
	}
	for i := range objects {
		if err := admin.Create(ctx, &objects[i]); err != nil {
			return err
		}
	}
	for _, name := range environments {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{environment: name}}}
		if err := admin.Create(ctx, namespace); err != nil {
			return err
		}
	}
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, taking, true, func(ctx context.Context) (bool, error) {
		canary := newAgent("production", "canary", replicas(1))
		return apierrors.IsForbidden(admin.Create(ctx, canary, client.DryRunAll)), nil
	})
}

// --- who ----------------------------------------------------------------------------------------------------------------

// person is a client that impersonates a user, and collects the warnings of the API server.
type person struct {
	client.Client
	mutex    sync.Mutex
	warnings []string
}

// as impersonates a user. Without groups, the user is only in system:authenticated.
func as(t *testing.T, user string, groups ...string) *person {
	t.Helper()
	p := &person{}
	theirs := rest.CopyConfig(config)
	if user != "" {
		theirs.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	}
	theirs.WarningHandler = p
	var err error
	p.Client, err = client.New(theirs, client.Options{Scheme: scheme})
	require.NoError(t, err)
	return p
}

// HandleWarningHeader keeps a warning.
func (p *person) HandleWarningHeader(_ int, _, text string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.warnings = append(p.warnings, text)
}

// warned returns the warnings since its last call.
func (p *person) warned() string {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	warnings := strings.Join(p.warnings, "\n")
	p.warnings = nil
	return warnings
}

// let grants a user verbs in a namespace, and waits until the API server applies them.
func let(t *testing.T, namespace, user string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	name := strings.ReplaceAll(user, ":", "-")
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: name + "-"}, Rules: rules}
	require.NoError(t, admin.Create(t.Context(), role))
	require.NoError(t, admin.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
	}))
}

// writesAgents are the verbs of an agent-editor.
func writesAgents() rbacv1.PolicyRule {
	return rbacv1.PolicyRule{
		APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"agents", "agents/scale", "agents/status"},
		Verbs: []string{"get", "list", "create", "update", "patch", "delete"},
	}
}

// uses is the verb use on something.
func uses(group, resource string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, ResourceNames: names, Verbs: []string{"use"}}
}

// --- what ---------------------------------------------------------------------------------------------------------------

type change func(*v1alpha1.Agent)

// newAgent is the guide's Agent without what only the platform may give it, its Secret and its Model.
func newAgent(namespace, name string, changes ...change) *v1alpha1.Agent {
	agent := guides()
	agent.Namespace, agent.Name, agent.Spec.Model = namespace, name, nil
	agent.Spec.Runtime.Spec.Container.Env = agent.Spec.Runtime.Spec.Container.Env[:1]
	for _, change := range changes {
		change(agent)
	}
	return agent
}

// guides is the guide's Agent, to the letter.
func guides() *v1alpha1.Agent {
	text, err := os.ReadFile(root + "/examples/agents/production-agent.yaml")
	if err != nil {
		panic(err)
	}
	agent := &v1alpha1.Agent{}
	if err := yaml.UnmarshalStrict(text, agent); err != nil {
		panic(err)
	}
	return agent
}

func replicas(n int32) change { return func(a *v1alpha1.Agent) { a.Spec.Runtime.Spec.Replicas = &n } }

func container(change func(*corev1.Container)) change {
	return func(a *v1alpha1.Agent) { change(&a.Spec.Runtime.Spec.Container) }
}

func runtimeSpec(change func(*v1alpha1.RuntimeSpec)) change {
	return func(a *v1alpha1.Agent) { change(&a.Spec.Runtime.Spec) }
}

func env(name, value string) change {
	return container(func(c *corev1.Container) { c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: value}) })
}

func image(reference string) change {
	return container(func(c *corev1.Container) { c.Image = reference })
}
