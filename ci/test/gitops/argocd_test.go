package gitops_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/upstream"
)

var argoApplication = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Application"}

// argoCD is the application controller, the ApplicationSet controller, and the repo server.
type argoCD struct {
	// settings are those of examples/gitops/argocd: impersonation, tracking by annotation, the health of Agents. Without them, Argo CD
	// has its defaults, and the Applications have neither ServerSideDiff nor ServerSideApply.
	settings bool
}

func (a argoCD) String() string {
	if a.settings {
		return "Argo CD"
	}
	return "Argo CD, default settings"
}

func (argoCD) own() []string { return []string{"Application", "ApplicationSet", "AppProject"} }

func (a argoCD) start(w *world) {
	w.Helper()
	folder, err := upstream.ArgoCD.Folder(w.Context())
	require.NoError(w, err)
	w.kubectl("create", "namespace", "argocd")
	w.kubectl("apply", "--server-side", "--kustomize", filepath.Join(folder, "manifests/crds"))
	w.kubectl("apply", "--server-side", "--namespace", "argocd", "--kustomize", filepath.Join(folder, "manifests/base/config"))
	w.awaitServed("applications.argoproj.io", "applicationsets.argoproj.io", "appprojects.argoproj.io")
	if a.settings {
		w.kubectl("patch", "configmap", "argocd-cm", "--namespace", "argocd", "--patch-file", filepath.Join(root, "examples/gitops/argocd/argocd-cm.yaml"))
	}

	redis, repo := w.freeAddress(), w.freeAddress()
	host, port, err := net.SplitHostPort(redis)
	require.NoError(w, err)
	w.start("redis", programs["redis-server"], nil, "--bind", host, "--port", port, "--save", "", "--appendonly", "no")
	environment := a.environment(w)
	common := []string{"--namespace", "argocd", "--logformat", "text", "--loglevel", "info"}
	repoHost, repoPort, err := net.SplitHostPort(repo)
	require.NoError(w, err)
	_, metricsPort, err := net.SplitHostPort(w.freeAddress())
	require.NoError(w, err)
	w.start("argocd-repo-server", a.program(w, "argocd-repo-server"), environment, "--logformat", "text", "--loglevel", "info",
		"--redis", redis, "--disable-tls", "--client-ca-path", "", "--address", repoHost, "--port", repoPort,
		"--metrics-address", host, "--metrics-port", metricsPort)
	_, metricsPort, err = net.SplitHostPort(w.freeAddress())
	require.NoError(w, err)
	w.start("argocd-application-controller", a.program(w, "argocd-application-controller"), environment, append(common,
		"--redis", redis, "--repo-server", repo, "--repo-server-plaintext", "--metrics-port", metricsPort, "--persist-resource-health")...)
	w.start("argocd-applicationset-controller", a.program(w, "argocd-applicationset-controller"), environment, append(common,
		"--argocd-repo-server", repo, "--repo-server-plaintext", "--metrics-addr", w.freeAddress(), "--probe-addr", w.freeAddress(),
		"--webhook-addr", w.freeAddress())...)
}

// program is the path of one of Argo CD's programs: they are one, which looks at the name that it is started by.
func (argoCD) program(w *world, name string) string {
	w.Helper()
	path := filepath.Join(w.folder("bin"), name)
	if _, err := os.Lstat(path); err != nil {
		require.NoError(w, os.Symlink(programs["argocd"], path))
	}
	return path
}

// scripts is a folder with the script that the image of Argo CD has beside its program: the repo server asks it whether a commit is
// signed, even if signatures do not matter.
func (argoCD) scripts(w *world) string {
	w.Helper()
	module, err := upstream.ArgoCD.Folder(w.Context())
	require.NoError(w, err)
	const name = "git-verify-wrapper.sh"
	content, err := os.ReadFile(filepath.Join(module, "hack", name))
	require.NoError(w, err)
	folder := w.folder("scripts")
	require.NoError(w, os.WriteFile(filepath.Join(folder, name), content, 0o700)) // the module's file is not executable
	return folder
}

// environment is what the image of Argo CD has: kustomize, Helm, and folders of its own.
func (a argoCD) environment(w *world) []string {
	w.Helper()
	path := []string{a.scripts(w), filepath.Dir(programs["kustomize"]), filepath.Dir(programs["helm"]), os.Getenv("PATH")}
	return []string{
		"ARGOCD_FAKE_IN_CLUSTER=true", "KUBECONFIG=" + w.cluster.Kubeconfig, "PATH=" + strings.Join(path, string(os.PathListSeparator)),
		"TMPDIR=" + w.folder("tmp"), "HOME=" + w.folder("home"), "ARGOCD_GPG_ENABLED=false",
		"ARGOCD_TLS_DATA_PATH=" + w.folder("tls"), "ARGOCD_SSH_DATA_PATH=" + w.folder("ssh"), "ARGOCD_PLUGINSOCKFILEPATH=" + w.folder("plugins"),
	}
}

// install applies the Application of Applications. Without the health of Applications its waves do not wait, so a user of the default
// settings applies the platform first, as README says of the quota.
func (a argoCD) install(w *world, checkout string) {
	w.Helper()
	examples := filepath.Join(checkout, "examples/gitops/argocd")
	if a.settings {
		w.kubectl("apply", "--kustomize", filepath.Join(examples, "root"))
		return
	}
	w.kubectl("apply", "--kustomize", filepath.Join(examples, "common"))
	w.kubectl("apply", "--filename", filepath.Join(examples, "platform.yaml"))
	w.awaitReady(a, a.stage(platform, ""), platformRepository, "")
	w.kubectl("apply", "--kustomize", examples)
}

func (argoCD) pins() []string {
	return []string{"examples/gitops/argocd/platform.yaml", "examples/gitops/argocd/environments.yaml"}
}

// merged: root reads the branch main.
func (a argoCD) merged(w *world, checkout string) {
	w.Helper()
	if a.settings {
		require.NoError(w, a.refresh(w, application("flokoa")))
		return
	}
	w.kubectl("apply", "--kustomize", filepath.Join(checkout, "examples/gitops/argocd"))
}

func (a argoCD) impersonates() bool { return a.settings }

func (argoCD) holdsBack() bool { return false }

// adapt takes away what a user may leave out of the Applications: how they are compared, and how they are applied.
func (a argoCD) adapt(content []byte) []byte {
	if a.settings {
		return content
	}
	for _, optional := range []string{"argocd.argoproj.io/compare-options: ServerSideDiff=true", ", ServerSideApply=true", "syncOptions: [ServerSideApply=true]"} {
		content = bytes.ReplaceAll(content, []byte(optional), nil)
	}
	return content
}

func (argoCD) stage(what, environment string) stage {
	name := map[string]string{platform: "flokoa-platform", guardrails: "flokoa-" + environment, agents: "agents-" + environment}[what]
	return stage{kind: argoApplication, ObjectKey: client.ObjectKey{Namespace: "argocd", Name: name}}
}

// installTeams: the environments of teams are installed from charts.
func (argoCD) installTeams(g *gitops) {
	g.Helper()
	g.pushCharts()
	g.allowPlainHTTP()
	g.kubectl("apply", "--kustomize", filepath.Join(g.dir, "checkout/examples/teams/argocd"))
}

// allowPlainHTTP tells Argo CD that the registry has no TLS.
func (w *world) allowPlainHTTP() {
	w.Helper()
	secret := &corev1.Secret{StringData: map[string]string{
		"type": "helm", "name": "charts", "url": w.registry + "/charts", "enableOCI": "true", "insecureOCIForceHttp": "true",
	}}
	secret.Namespace, secret.Name = "argocd", "charts"
	secret.Labels = map[string]string{"argocd.argoproj.io/secret-type": "repository"}
	require.NoError(w, ignoreExisting(w.api.Create(w.Context(), secret)))
}

func (argoCD) applyMany(g *gitops, url string) stage {
	g.Helper()
	g.apply(fmt.Sprintf(`
apiVersion: argoproj.io/v1alpha1
kind: AppProject
metadata: {name: many, namespace: argocd}
spec:
  sourceRepos: [%[1]q]
  destinations: [{server: https://kubernetes.default.svc, namespace: %[2]s}]
  destinationServiceAccounts: [{server: https://kubernetes.default.svc, namespace: %[2]s, defaultServiceAccount: "argocd:flokoa-platform"}]
---
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: many, namespace: argocd, annotations: {argocd.argoproj.io/compare-options: ServerSideDiff=true}}
spec:
  project: many
  source: {repoURL: %[1]q, targetRevision: main, path: agents}
  destination: {server: https://kubernetes.default.svc, namespace: %[2]s}
  syncPolicy: {automated: {prune: true, selfHeal: true}, syncOptions: [ServerSideApply=true]}
`, url, manyNamespace))
	return stage{kind: argoApplication, ObjectKey: client.ObjectKey{Namespace: "argocd", Name: "many"}}
}

// awaitSync: the controller removes the annotation when it has compared everything again. A sync would follow if something differed.
func (argoCD) awaitSync(w *world, s stage) {
	w.Helper()
	const annotation = "argocd.argoproj.io/refresh"
	require.NoError(w, w.annotate(s, annotation, "hard"))
	w.eventually(s.Name+" is compared", func() error {
		application, err := w.get(s)
		if err != nil {
			return err
		}
		if _, asked := application.GetAnnotations()[annotation]; asked {
			return errors.New("not compared yet")
		}
		return nil
	})
}

// remove is `argocd app delete --cascade`; an ApplicationSet would create its Application again, so it goes first.
func (argoCD) remove(g *gitops, s stage) {
	g.Helper()
	g.kubectl("delete", "applicationset", "flokoa-environments", "--namespace", s.Namespace, "--ignore-not-found", "--cascade=orphan")
	g.kubectl("patch", "application", s.Name, "--namespace", s.Namespace, "--type=merge", "--patch",
		`{"metadata":{"finalizers":["resources-finalizer.argocd.argoproj.io"]}}`)
	g.kubectl("delete", "application", s.Name, "--namespace", s.Namespace)
}

func (argoCD) teamFiles() string { return "argocd/teams" }

func (argoCD) readTeams(w *world) {
	w.Helper()
	for _, set := range []string{"flokoa-team-environments", "flokoa-team-agents"} {
		require.NoError(w, w.refreshSet(set))
	}
}

// refreshSet has an ApplicationSet read Git again; it would after three minutes.
func (w *world) refreshSet(name string) error {
	kind := schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "ApplicationSet"}
	set := stage{kind: kind, ObjectKey: client.ObjectKey{Namespace: "argocd", Name: name}}
	return w.annotate(set, "argocd.argoproj.io/application-set-refresh", "true")
}

func (argoCD) teamStage(namespace string) stage {
	return stage{kind: argoApplication, ObjectKey: client.ObjectKey{Namespace: "argocd", Name: "agents-" + namespace}}
}

// refresh is `argocd app get --refresh`, and `argocd app sync --prune` if nothing but a person syncs the Application.
func (a argoCD) refresh(w *world, s stage) error {
	if err := w.annotate(s, "argocd.argoproj.io/refresh", "normal"); err != nil {
		return err
	}
	application, err := w.get(s)
	if err != nil {
		return err
	}
	_, running, _ := unstructured.NestedMap(application.Object, "operation")
	_, automated, _ := unstructured.NestedMap(application.Object, "spec", "syncPolicy", "automated")
	synced, _, _ := unstructured.NestedString(application.Object, "status", "sync", "status")
	if automated || running || synced != "OutOfSync" {
		return nil
	}
	options, _, _ := unstructured.NestedSlice(application.Object, "spec", "syncPolicy", "syncOptions")
	sync := map[string]any{"prune": true, "syncOptions": options}
	before := application.DeepCopy()
	application.Object["operation"] = map[string]any{"initiatedBy": map[string]any{"username": "a person"}, "sync": sync}
	return w.api.Patch(w.Context(), application, client.MergeFrom(before))
}

func (argoCD) refreshInterval() time.Duration { return 5 * time.Second }

// beyond: the project allows every environment of the team, and the account only its own.
func (argoCD) beyond(environment string) (manifest string, words []string) {
	other := map[string]string{"dev": "production", "staging": "production", "production": "dev"}[environment]
	return "{apiVersion: v1, kind: ConfigMap, metadata: {name: beyond, namespace: flokoa-" + other + "}}",
		[]string{"beyond", "forbidden", "system:serviceaccount:flokoa-" + environment + ":agent-deployer", "configmaps"}
}

// requireHealth: Argo CD has a script for Agents, which quotes the reason.
func (a argoCD) requireHealth(e *inEnvironment, h agentState) {
	e.Helper()
	if !a.settings || h.ready {
		return
	}
	e.awaitState(a, e.agents(), "says Degraded "+h.name, func(s state) bool {
		return strings.Contains(s.text, e.namespace+"/"+h.name+": Synced Degraded "+e.ready(h.name).Reason+": ")
	})
}

func (argoCD) state(w *world, s stage) (state, error) {
	application, err := w.get(s)
	if err != nil {
		return state{}, err
	}
	text := func(path ...string) string {
		value, _, _ := unstructured.NestedString(application.Object, append([]string{"status"}, path...)...)
		return value
	}
	synced, health := text("sync", "status"), text("health", "status")
	is := state{ready: synced == "Synced" && health == "Healthy", revision: text("sync", "revision")}
	is.text = fmt.Sprintf("%s, %s; %s: %s", synced, health, text("operationState", "phase"), text("operationState", "message"))
	conditions, _, _ := unstructured.NestedSlice(application.Object, "status", "conditions")
	for _, each := range conditions {
		condition := each.(map[string]any)
		is.text += fmt.Sprintf("; %v: %v", condition["type"], condition["message"])
	}
	for _, each := range outOfSync(application) {
		is.text += "; " + each
	}
	results, _, _ := unstructured.NestedSlice(application.Object, "status", "operationState", "syncResult", "resources")
	for _, each := range results {
		if result := each.(map[string]any); result["status"] == "SyncFailed" {
			is.text += fmt.Sprintf("; %v %v: %v", result["kind"], result["name"], result["message"])
		}
	}
	return is, nil
}

// outOfSync are the resources of an Application that differ, or are not healthy.
func outOfSync(application *unstructured.Unstructured) []string {
	var all []string
	resources, _, _ := unstructured.NestedSlice(application.Object, "status", "resources")
	for _, each := range resources {
		resource := each.(map[string]any)
		health, _, _ := unstructured.NestedString(resource, "health", "status")
		message, _, _ := unstructured.NestedString(resource, "health", "message")
		if resource["status"] != "Synced" || (health != "" && health != "Healthy") {
			all = append(all, fmt.Sprintf("%v %v/%v: %v %v %v", resource["kind"], resource["namespace"], resource["name"], resource["status"], health, message))
		}
	}
	return all
}
