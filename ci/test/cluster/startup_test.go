package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// startFailTimeout bounds the time an operator takes to see that it cannot start; it gives a new CRD ten seconds to be served.
const startFailTimeout = 40 * time.Second

// The exit codes of an operator that cannot start.
const (
	cannotRun = 1
	usage     = 2
)

// requireStartFails runs an operator that cannot start. It must end by itself, with this exit code and one line that has these phrases.
func requireStartFails(s *fixture, code int, args []string, phrases ...string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), startFailTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, binary, args...)
	command.Env = append(os.Environ(), "KUBECONFIG=") // whatever the tests themselves run with
	command.Stdout, command.Stderr, command.WaitDelay = &stdout, &stderr, time.Second
	err := command.Run()
	require.NoError(s, ctx.Err(), "it did not end; it wrote:\n%s", stderr.String())
	require.Error(s, err, "it must not start")
	require.Equal(s, code, command.ProcessState.ExitCode())
	require.Empty(s, stdout.String())
	require.Len(s, strings.Split(strings.TrimSpace(stderr.String()), "\n"), 1, "one line, not:\n%s", stderr.String())
	require.True(s, strings.HasPrefix(stderr.String(), "flokoa-operator: "), stderr.String())
	for _, phrase := range phrases {
		require.Contains(s, stderr.String(), phrase)
	}
	require.NotContains(s, stderr.String(), "goroutine")
	s.note("%s", strings.TrimSpace(stderr.String()))
}

// minimalFlags are the arguments of an operator that is the only one and serves nothing.
func minimalFlags(kubeconfig string) []string {
	return []string{
		"--kubeconfig", kubeconfig, "--leader-election-namespace", "default",
		"--metrics-bind-address", "0", "--health-probe-bind-address", "0",
	}
}

func TestAnOperatorThatCannotStartSaysWhyInOneLine(t *testing.T) {
	t.Parallel()
	file := func(t *testing.T, content string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "kubeconfig")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	unreachable, err := harness.FreeAddress()
	require.NoError(t, err)
	stale := rest.AnonymousClientConfig(cluster.Config)
	stale.BearerToken = "stale"
	for name, row := range map[string]struct {
		code    int
		args    func(*testing.T) []string
		phrases []string
	}{
		"no such kubeconfig": {
			usage,
			func(*testing.T) []string { return minimalFlags("/nowhere/kubeconfig") },
			[]string{"--kubeconfig", "/nowhere/kubeconfig", "no such file"},
		},
		"a file that is no kubeconfig": {
			usage,
			func(t *testing.T) []string { t.Helper(); return minimalFlags(file(t, "no: [yaml")) },
			[]string{"--kubeconfig", "yaml"},
		},
		"no kubeconfig and no pod": {
			cannotRun,
			func(*testing.T) []string { return nil },
			[]string{"--kubeconfig", "in a pod"},
		},
		"a server that does not answer": {
			cannotRun,
			func(t *testing.T) []string {
				t.Helper()
				path := filepath.Join(t.TempDir(), "kubeconfig")
				require.NoError(t, harness.WriteKubeconfig(path, &rest.Config{Host: "https://" + unreachable}))
				return minimalFlags(path)
			},
			[]string{"cannot reach the API server", unreachable, "connection refused"},
		},
		"a token that is not good": {
			cannotRun,
			func(t *testing.T) []string {
				t.Helper()
				path := filepath.Join(t.TempDir(), "kubeconfig")
				require.NoError(t, harness.WriteKubeconfig(path, stale))
				return minimalFlags(path)
			},
			[]string{"cannot reach the API server", "provide credentials"},
		},
		"an unknown flag":       {usage, func(*testing.T) []string { return []string{"--kubeconfg=x"} }, []string{"-kubeconfg", "--help"}},
		"a value that is none":  {usage, func(*testing.T) []string { return []string{"--concurrency=many"} }, []string{"concurrency", "many"}},
		"a value out of bounds": {usage, func(*testing.T) []string { return []string{"--concurrency=0"} }, []string{"--concurrency", "1 or more"}},
		"a word too many":       {usage, func(*testing.T) []string { return []string{"run"} }, []string{`"run"`, "--help"}},
		"an address in use": {
			cannotRun,
			func(t *testing.T) []string {
				t.Helper()
				path := filepath.Join(t.TempDir(), "kubeconfig")
				config := rest.AnonymousClientConfig(cluster.Config)
				config.BearerToken, err = newToken(t.Context())
				require.NoError(t, err)
				require.NoError(t, harness.WriteKubeconfig(path, config))
				return []string{ // a replica of the operator that has it: another one would be refused first
					"--kubeconfig", path, "--leader-election-namespace", system, "--metrics-bind-address", "0", "--health-probe-bind-address", operator.Health,
				}
			},
			[]string{operator.Health, "address already in use"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireStartFails(newFixture(t), row.code, row.args(t), row.phrases...)
		})
	}
}

// apiServer is an API server of the test's own, without Flokoa's CRD.
type apiServer struct {
	*envtest.Environment
	admin client.Client
}

func newAPIServer(t *testing.T) apiServer {
	t.Helper()
	server := apiServer{Environment: &envtest.Environment{BinaryAssetsDirectory: cluster.Assets}}
	config, err := server.Start()
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	server.admin, err = harness.NewClient(config)
	require.NoError(t, err)
	return server
}

// user creates a user with these rules, and returns the path of its kubeconfig.
func (a apiServer) user(t *testing.T, name string, rules ...rbacv1.PolicyRule) string {
	t.Helper()
	user, err := a.AddUser(envtest.User{Name: name}, nil)
	require.NoError(t, err)
	kubeconfig, err := user.KubeConfig()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, kubeconfig, 0o600))
	if len(rules) == 0 {
		return path
	}
	require.NoError(t, a.admin.Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}))
	require.NoError(t, a.admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}},
	}))
	return path
}

var readAgents = rbacv1.PolicyRule{APIGroups: []string{"agent.flokoa.ai"}, Resources: []string{"agents", "models"}, Verbs: []string{"get", "list", "watch"}}

// crds are those of Agents and of Models that the chart installs.
func crds(t *testing.T) (agents, models *unstructured.Unstructured) {
	t.Helper()
	objects, err := manifests.Chart(fromRoot("charts/flokoa-crds"), nil, "flokoa-crds", system)
	require.NoError(t, err)
	require.Len(t, objects, 2)
	require.Equal(t, "agents.agent.flokoa.ai", objects[0].GetName())
	return &objects[0], &objects[1]
}

// withoutField removes a field below spec.runtime.spec from a CRD.
func withoutField(t *testing.T, of *unstructured.Unstructured, field string) *unstructured.Unstructured {
	t.Helper()
	older := of.DeepCopy()
	versions, _, err := unstructured.NestedSlice(older.Object, "spec", "versions")
	require.NoError(t, err)
	version := versions[0].(map[string]any)
	path := strings.Split("schema.openAPIV3Schema.properties.spec.properties.runtime.properties.spec.properties", ".")
	_, found, err := unstructured.NestedMap(version, append(path, field)...)
	require.True(t, found && err == nil, field)
	unstructured.RemoveNestedField(version, append(path, field)...)
	require.NoError(t, unstructured.SetNestedSlice(older.Object, versions, "spec", "versions"))
	return older
}

func TestAnOperatorDoesNotStartOnAnUnpreparedCluster(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	server := newAPIServer(t)
	reader := server.user(t, "reader", readAgents)
	requireStartFails(s, cannotRun, minimalFlags(reader), "does not serve agents.agent.flokoa.ai", "install the chart flokoa-crds")

	current, models := crds(t)
	require.NoError(t, server.admin.Create(t.Context(), withoutField(t, current, "hostAliases")))
	requireStartFails(s, cannotRun, minimalFlags(reader), "lacks spec.runtime.spec.hostAliases", "upgrade the chart flokoa-crds")

	live := current.DeepCopy()
	require.NoError(t, server.admin.Get(t.Context(), client.ObjectKeyFromObject(current), live))
	current.SetResourceVersion(live.GetResourceVersion())
	require.NoError(t, server.admin.Update(t.Context(), current))
	requireStartFails(s, cannotRun, minimalFlags(reader), "does not serve models.agent.flokoa.ai", "upgrade the chart flokoa-crds before the operator")
	require.NoError(t, server.admin.Create(t.Context(), models))
	const bind = "bind this account to the ClusterRole of the chart flokoa-operator"
	requireStartFails(s, cannotRun, minimalFlags(server.user(t, "nobody")), bind, `cannot list resource "agents"`)
	requireStartFails(s, cannotRun, minimalFlags(reader), bind, `cannot list resource "deployments"`)
}

// overloaded is an API server that answers everything but what fills the cache of pods. It returns a kubeconfig for it.
func overloaded(t *testing.T) string {
	t.Helper()
	config := rest.AnonymousClientConfig(cluster.Config)
	var err error
	config.BearerToken, err = newToken(t.Context())
	require.NoError(t, err)
	transport, err := rest.TransportFor(config)
	require.NoError(t, err)
	target, err := url.Parse(config.Host)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = transport
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/pods") && r.URL.Query().Get("limit") != "1" {
			http.Error(w, "too many requests", http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, harness.WriteKubeconfig(path, &rest.Config{Host: server.URL}))
	return path
}

func TestAnOperatorWithEmptyCachesIsNotReadyAndStopsOnSIGTERM(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	address, err := harness.FreeAddress()
	require.NoError(t, err)
	p := &process{Program: binary, Kubeconfig: overloaded(t), Log: filepath.Join(t.TempDir(), "log"), Health: address, Metrics: "0"}
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Kill() })
	require.NoError(t, p.WaitFor(t.Context(), "it is alive", harness.StartTimeout, p.Alive))
	s.consistently("it is not ready", func() error {
		if p.Ready(t.Context()) {
			return errors.New("it reports ready")
		}
		return nil
	})
	began := time.Now()
	require.NoError(t, p.Stop())
	s.note("SIGTERM: ended after %.1fs", time.Since(began).Seconds())
}
