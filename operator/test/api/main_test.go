// Package apitest_test checks on a real API server the CRD's rules and bounds, and reconciliation of stored objects.
// It runs kube-apiserver and etcd only, so no controller of Kubernetes' own acts.
package apitest_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/crds"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// The control plane that all tests of the package share; each test has a namespace of its own.
var (
	config *rest.Config
	scheme = runtime.NewScheme()
	// api is a client of the cluster administrator, without a cache.
	api client.Client
)

// parallel is how many tests run at a time: they wait for changes to settle more than they compute.
const parallel = "6"

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", parallel); err != nil { // the command line wins
		panic(err)
	}
	code, err := runOnControlPlane(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "apitest:", err)
		code = 1
	}
	os.Exit(code)
}

// runOnControlPlane brings a control plane up, runs the tests on it, takes it down and logs how long each took.
func runOnControlPlane(m *testing.M) (int, error) {
	began := time.Now()
	assets, err := binaries()
	if err != nil {
		return 0, err
	}
	agents, err := readCRD(crds.Agents)
	if err != nil {
		return 0, err
	}
	models, err := readCRD(crds.Models)
	if err != nil {
		return 0, err
	}
	klog.SetLogger(logr.Discard()) // the remarks of libraries are no part of a test's output
	log.SetLogger(logr.Discard())
	plane := &envtest.Environment{BinaryAssetsDirectory: assets, CRDs: []*apiextensionsv1.CustomResourceDefinition{agents, models}}
	if config, err = plane.Start(); err != nil {
		return 0, fmt.Errorf("starting the control plane: %w", err)
	}
	defer func() { _ = plane.Stop() }()
	config.QPS = -1
	if api, err = newClient(); err != nil {
		return 0, err
	}
	version, err := discovery.NewDiscoveryClientForConfigOrDie(config).ServerVersion()
	if err != nil {
		return 0, fmt.Errorf("asking the API server for its version: %w", err)
	}
	up := time.Now()
	code := m.Run()
	fmt.Fprintf(os.Stderr, "apitest: kube-apiserver %s and etcd up in %.1fs, tests in %.1fs\n", version.GitVersion, up.Sub(began).Seconds(), time.Since(up).Seconds())
	return code, nil
}

// binaries is the folder of kube-apiserver and etcd; they are built when absent, with progress on standard error.
func binaries() (string, error) {
	command := exec.Command("ci/tools/envtest.sh")
	command.Dir = "../../.."
	command.Stderr = os.Stderr
	folder, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("ci/tools/envtest.sh: %w", err)
	}
	return strings.TrimSpace(string(folder)), nil
}

// readCRD is a CRD as the operator embeds it.
func readCRD(embedded []byte) (*apiextensionsv1.CustomResourceDefinition, error) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(embedded, crd); err != nil {
		return nil, fmt.Errorf("the embedded CRD: %w", err)
	}
	return crd, nil
}

func newClient() (client.Client, error) {
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return client.New(config, client.Options{Scheme: scheme})
}

// newNamespace makes a namespace for one test. It is left behind: the control plane ends with the package.
func newNamespace(t *testing.T) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	require.NoError(t, api.Create(t.Context(), namespace))
	return namespace.Name
}
