package gitops_test

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/ci/testkit/upstream"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

var (
	fluxKustomization = schema.GroupVersionKind{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Kind: "Kustomization"}
	fluxGitRepository = schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: "GitRepository"}
)

// flux is source-controller and kustomize-controller.
type flux struct {
	// lockdown has the flags that examples/gitops/flux recommends.
	lockdown bool
}

func (f flux) String() string {
	if f.lockdown {
		return "Flux"
	}
	return "Flux, default settings"
}

func (flux) own() []string { return []string{fluxKustomization.Kind, fluxGitRepository.Kind} }

func (f flux) start(w *world) {
	w.Helper()
	w.kubectl("create", "namespace", "flux-system")
	for _, module := range []upstream.Module{upstream.KustomizeController, upstream.SourceController} {
		folder, err := module.Folder(w.Context())
		require.NoError(w, err)
		w.kubectl("apply", "--server-side", "--filename", filepath.Join(folder, "config/crd/bases"))
	}
	w.awaitServed("kustomizations.kustomize.toolkit.fluxcd.io", "gitrepositories.source.toolkit.fluxcd.io")
	storage, health := w.freeAddress(), w.freeAddress()
	environment := []string{"RUNTIME_NAMESPACE=flux-system", "KUBECONFIG=" + w.cluster.Kubeconfig}
	common := []string{"--events-addr=", "--enable-leader-election=false", "--metrics-addr=0"}
	w.start("source-controller", programs["source-controller"], environment, append(common,
		"--storage-path="+w.folder("artifacts"), "--storage-addr="+storage, "--storage-adv-addr="+storage, "--health-addr="+health)...)
	if f.lockdown {
		common = append(common, "--default-service-account=default", "--no-cross-namespace-refs=true",
			"--feature-gates=CancelHealthCheckOnNewRevision=true")
	}
	w.start("kustomize-controller", programs["kustomize-controller"], environment,
		append(common, "--health-addr="+w.freeAddress(), "--requeue-dependency=5s")...)
}

func (flux) install(w *world, checkout string) {
	w.Helper()
	w.kubectl("apply", "--kustomize", filepath.Join(checkout, "examples/gitops/flux/cluster"))
}

func (flux) pins() []string { return []string{"examples/gitops/flux/cluster/kustomization.yaml"} }

func (f flux) merged(w *world, checkout string) {
	w.Helper()
	f.install(w, checkout)
}

func (flux) impersonates() bool { return true }

// Flux sends a stage to the API server as a dry run before it applies an object.
func (flux) holdsBack() bool { return true }

func (flux) adapt(content []byte) []byte { return content }

func (flux) stage(what, environment string) stage {
	s := stage{kind: fluxKustomization, ObjectKey: client.ObjectKey{Namespace: "flux-system", Name: "flokoa-" + environment}}
	switch what {
	case platform:
		s.Name = "flokoa-platform"
	case agents:
		s.ObjectKey = client.ObjectKey{Namespace: "flokoa-" + environment, Name: "agents"}
	}
	return s
}

func (flux) installTeams(g *gitops) {
	g.Helper()
	g.kubectl("apply", "--filename", filepath.Join(g.dir, "checkout/examples/teams/flux/teams.yaml"))
}

func (flux) applyMany(g *gitops, url string) stage {
	g.Helper()
	g.apply(fmt.Sprintf(`
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: many, namespace: flux-system}
spec: {interval: 10m, url: %q, ref: {branch: main}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: many, namespace: flux-system}
spec: {interval: 10m, path: ./agents, prune: true, wait: true, targetNamespace: %s, serviceAccountName: flokoa-platform, sourceRef: {kind: GitRepository, name: many}}
`, url, manyNamespace))
	return stage{kind: fluxKustomization, ObjectKey: client.ObjectKey{Namespace: "flux-system", Name: "many"}}
}

func (flux) awaitSync(w *world, s stage) {
	w.Helper()
	at := asked()
	require.NoError(w, w.annotate(s, "reconcile.fluxcd.io/requestedAt", at))
	w.eventually(s.Name+" is reconciled", func() error {
		kustomization, err := w.get(s)
		if err != nil {
			return err
		}
		handled, _, _ := unstructured.NestedString(kustomization.Object, "status", "lastHandledReconcileAt")
		if handled != at {
			return fmt.Errorf("handled %s", handled)
		}
		return nil
	})
}

// remove: kustomize-controller prunes what a deleted Kustomization applied.
func (flux) remove(g *gitops, s stage) {
	g.Helper()
	g.kubectl("delete", "kustomizations.kustomize.toolkit.fluxcd.io", s.Name, "--namespace", s.Namespace)
}

func (flux) teamFiles() string { return "flux/teams" }

func (f flux) readTeams(w *world) {
	w.Helper()
	teams := stage{kind: fluxKustomization, ObjectKey: client.ObjectKey{Namespace: "flux-system", Name: "flokoa-teams"}}
	require.NoError(w, f.refresh(w, teams))
}

func (flux) teamStage(namespace string) stage {
	return stage{kind: fluxKustomization, ObjectKey: client.ObjectKey{Namespace: namespace, Name: "agents"}}
}

// refresh is `flux reconcile kustomization --with-source`.
func (flux) refresh(w *world, s stage) error {
	kustomization, err := w.get(s)
	if err != nil {
		return err
	}
	source, _, err := unstructured.NestedString(kustomization.Object, "spec", "sourceRef", "name")
	if err != nil {
		return err
	}
	const annotation = "reconcile.fluxcd.io/requestedAt"
	if err := w.annotate(stage{kind: fluxGitRepository, ObjectKey: client.ObjectKey{Namespace: s.Namespace, Name: source}}, annotation, asked()); err != nil {
		return err
	}
	return w.annotate(s, annotation, asked())
}

// refreshInterval: Flux needs more than five seconds from a request to the result. Asked again meanwhile, it starts again.
func (flux) refreshInterval() time.Duration { return 15 * time.Second }

func (flux) state(w *world, s stage) (state, error) {
	kustomization, err := w.get(s)
	if err != nil {
		return state{}, err
	}
	revision, _, _ := unstructured.NestedString(kustomization.Object, "status", "lastAppliedRevision")
	observed, _, _ := unstructured.NestedInt64(kustomization.Object, "status", "observedGeneration")
	conditions, _, _ := unstructured.NestedSlice(kustomization.Object, "status", "conditions")
	is := state{revision: revision}
	for _, each := range conditions {
		condition := each.(map[string]any)
		if condition["type"] == "Ready" {
			is.ready = condition["status"] == "True" && observed == kustomization.GetGeneration()
			is.text = fmt.Sprintf("Ready=%v %v: %v", condition["status"], condition["reason"], condition["message"])
		}
	}
	return is, nil
}

// beyond: RBAC of its own would be a way to more permissions.
func (flux) beyond(environment string) (manifest string, words []string) {
	return `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: beyond},
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}}`,
		[]string{"beyond", "forbidden", "system:serviceaccount:flokoa-" + environment + ":agent-deployer", "rolebindings"}
}

// requireHealth: Flux has kstatus's view of an Agent, and shows only that of the stage.
func (flux) requireHealth(e *inEnvironment, h agentState) {
	e.Helper()
	agent := &unstructured.Unstructured{}
	agent.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.AgentKind))
	require.NoError(e, e.api.Get(e.Context(), client.ObjectKey{Namespace: e.namespace, Name: h.name}, agent))
	result, err := kstatus.Compute(agent)
	require.NoError(e, err)
	require.Equal(e, h.ready, result.Status == kstatus.CurrentStatus, "kstatus: %s", result.Status)
}

func (w *world) freeAddress() string {
	w.Helper()
	address, err := harness.FreeAddress()
	require.NoError(w, err)
	return address
}

// folder is a new folder of the test.
func (w *world) folder(name string) string {
	w.Helper()
	path := filepath.Join(w.dir, name)
	require.NoError(w, os.MkdirAll(path, 0o750))
	return path
}
