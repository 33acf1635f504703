package gitops_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/gitserver"
)

// tool is Flux or Argo CD with its settings, on a world.
type tool interface {
	// start starts the controllers with the settings of the tool.
	start(w *world)
	// install applies the examples as their README says, from a checkout.
	install(w *world, checkout string)
	// impersonates reports whether each stage has an account of its own.
	impersonates() bool
	// holdsBack reports whether a new object that is refused holds back the rest of its stage.
	holdsBack() bool
	// adapt is a file of the examples as it is with the tool's settings.
	adapt(content []byte) []byte
	// pins are the files that name the tag of the platform, and merged has the tool read them after a change, from Git or from a checkout.
	pins() []string
	merged(w *world, checkout string)
	// stage is the Kustomization or the Application that applies something.
	stage(what, environment string) stage
	// refresh has the tool read Git again and reconcile the stage, as a person does who does not want to wait for the interval.
	refresh(w *world, s stage) error
	// refreshInterval is how often a test asks while it waits, instead of the intervals of the examples, which are minutes and hours.
	refreshInterval() time.Duration
	// state is what the tool says about the stage.
	state(w *world, s stage) (state, error)
	// installTeams applies examples/teams as their README says.
	installTeams(g *gitops)
	// teamFiles is the folder of the teams' files in examples/teams, and readTeams has the tool read it again.
	teamFiles() string
	readTeams(w *world)
	// teamStage is that of the Agents in the namespace of a team.
	teamStage(namespace string) stage
	// remove deletes a stage with what it applied, as a person does.
	remove(g *gitops, s stage)
	// applyMany applies a repository into the namespace of the thousand Agents, and returns the stage.
	applyMany(g *gitops, url string) stage
	// awaitSync has the tool reconcile a stage, and waits until it has.
	awaitSync(w *world, s stage)
	// beyond is a manifest that the account of the Agents may not apply in an environment, and what the tool then says.
	beyond(environment string) (manifest string, words []string)
	// requireHealth checks what the tool says about an Agent that is in a state.
	requireHealth(e *inEnvironment, h agentState)
	// own are the kinds in which the tool keeps its own state.
	own() []string
}

// What a tool applies in an environment.
const (
	platform   = "platform"   // CRDs, policies, operator
	guardrails = "guardrails" // the environment: namespace, quota, network policies, RBAC
	agents     = "agents"     // the repository of the team
)

// stage is an object of the tool.
type stage struct {
	client.ObjectKey
	kind schema.GroupVersionKind
}

// state is what a tool says about a stage.
type state struct {
	// ready is that of `flux get kustomizations`, or Synced and Healthy of Argo CD.
	ready bool
	// revision was applied last.
	revision string
	// text is everything it says, for people.
	text string
}

func (w *world) get(s stage) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(s.kind)
	return object, w.api.Get(w.Context(), s.ObjectKey, object)
}

// annotate sets an annotation that asks a controller for something.
func (w *world) annotate(s stage, key, value string) error {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(s.kind)
	object.SetNamespace(s.Namespace)
	object.SetName(s.Name)
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, key, value)
	return w.api.Patch(w.Context(), object, client.RawPatch("application/merge-patch+json", []byte(patch)))
}

// awaitState waits until what a tool says about a stage is as wanted. It asks the tool to look again while it waits.
func (w *world) awaitState(t tool, s stage, what string, wanted func(state) bool) state {
	w.Helper()
	var last state
	asked := time.Time{}
	w.eventually(fmt.Sprintf("%s %s", s.Name, what), func() (err error) {
		if last, err = t.state(w, s); err != nil {
			return err
		}
		if wanted(last) {
			return nil
		}
		if time.Since(asked) > t.refreshInterval() {
			asked = time.Now()
			if err := t.refresh(w, s); err != nil {
				return err
			}
		}
		return fmt.Errorf("%s: %s", s, last.text)
	})
	return last
}

// commitID finds the commit in what the tools call a revision.
var commitID = regexp.MustCompile(`[0-9a-f]{40}`)

// awaitReady waits until a stage has applied a commit, or a later one, and all that is in it is ready. An empty commit is any.
func (w *world) awaitReady(t tool, s stage, repository, commit string) {
	w.Helper()
	w.awaitState(t, s, "is ready", func(s state) bool {
		applied := commitID.FindString(s.revision)
		return s.ready && (commit == "" || w.git.Contains(w.Context(), repository, applied, commit))
	})
}

// awaitRefused waits until a tool says of a stage, that is not ready, everything that is wanted.
func (w *world) awaitRefused(t tool, s stage, words ...string) {
	w.Helper()
	w.awaitState(t, s, "says "+words[0], func(s state) bool {
		if s.ready {
			return false
		}
		for _, word := range words {
			if !strings.Contains(s.text, word) {
				return false
			}
		}
		return true
	})
}

// teamRepository is the repository of the team.
const teamRepository = "team/agents"

// pushAgents changes the folder of an environment in the repository of the team, and returns the commit. Beside the guide's Agent, the
// folder holds one file, or none if that has no content any more.
func (w *world) pushAgents(environment string, files map[string][]byte) string {
	w.Helper()
	change := gitserver.Change{Files: map[string][]byte{}, Message: "change " + environment}
	resources := []string{"guide.yaml"}
	for file, content := range files {
		change.Files[environment+"/"+file] = content
		if content != nil {
			resources = append(resources, file)
		}
	}
	change.Files[environment+"/kustomization.yaml"] = w.kustomization(environment, resources...)
	return w.push(teamRepository, change)
}

// asked is a new value for an annotation that asks for something.
func asked() string { return time.Now().Format(time.RFC3339Nano) }

// exists reports whether an object is there and not being deleted.
func (w *world) exists(object client.Object) bool {
	w.Helper()
	err := w.api.Get(context.WithoutCancel(w.Context()), client.ObjectKeyFromObject(object), object)
	require.NoError(w, client.IgnoreNotFound(err))
	return err == nil && object.GetDeletionTimestamp() == nil
}
