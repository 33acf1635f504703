package cluster_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

func TestDeletingAnAgentDeletesItsChildren(t *testing.T) {
	t.Parallel()
	for _, cascade := range []string{"background", "foreground"} {
		t.Run(cascade, func(t *testing.T) {
			t.Parallel()
			s := newFixture(t)
			s.create("a", replicas(2))
			s.create("bystander")
			s.waitReady("bystander")
			s.waitReady("a")
			s.setImage("a", "registry.example/agent:v2") // so that there is an old ReplicaSet too
			s.waitReady("a")
			kinds := []client.ObjectList{&appsv1.DeploymentList{}, &appsv1.ReplicaSetList{}, &corev1.PodList{}, &corev1.ServiceList{}}
			ofAgent := client.MatchingLabels{v1alpha1.LabelAgent: "a"}
			for _, kind := range kinds {
				require.NotEmpty(t, s.list(kind, ofAgent), "%T", kind)
			}
			s.kubectl("delete", "agent", "a", "--cascade="+cascade, "--timeout=90s")
			for _, kind := range kinds {
				s.eventually(fmt.Sprintf("%T of the Agent is empty", kind), waitTimeout, func() error {
					return checkEqual("objects", 0, len(s.list(kind, ofAgent)))
				})
			}
			require.True(t, isReady(read(s, "bystander", &v1alpha1.Agent{})))
		})
	}
}

// A finalizer of somebody else keeps a deleted Agent.
func TestTheStatusOfAHeldAgentFollowsItsPods(t *testing.T) {
	t.Parallel()
	for cascade, want := range map[string]int32{"background": 2, "foreground": 0} {
		t.Run(cascade, func(t *testing.T) {
			t.Parallel()
			s := newFixture(t)
			s.create("a", replicas(2))
			s.waitReady("a")
			s.patch("a", `[{"op":"add","path":"/metadata/finalizers","value":["e2e.flokoa.ai/wait"]}]`)
			s.kubectl("delete", "agent", "a", "--cascade="+cascade, "--wait=false")
			holds := func(a *v1alpha1.Agent) bool {
				return a.DeletionTimestamp != nil && a.Status.ObservedGeneration == a.Generation && a.Status.AvailableReplicas == want
			}
			s.waitForAgent("a", fmt.Sprintf("%d replicas are reported", want), waitTimeout, holds)
			s.consistently("the Agent stays as it is", func() error {
				return checkEqual("available", want, read(s, "a", &v1alpha1.Agent{}).Status.AvailableReplicas)
			})
			s.kubectl("patch", "agent", "a", "--type=merge", "--patch", `{"metadata":{"finalizers":null}}`)
			s.eventually("the Agent is gone", waitTimeout, func() error { return s.checkDeleted("a", &v1alpha1.Agent{}) })
		})
	}
}

func TestARecreatedAgentWaitsForItsOldChildren(t *testing.T) {
	t.Parallel()
	slow := simulate("delete-after", "5s")
	for name, remove := range map[string]func(*fixture){
		"children removed in the background": func(s *fixture) { s.kubectl("delete", "agent", "a", "--wait=false") },
		"children removed first": func(s *fixture) {
			s.kubectl("delete", "agent", "a", "--cascade=foreground", "--wait=false")
		},
		"a Deployment already on its way out": func(s *fixture) {
			s.kubectl("delete", "deployment", "a", "--cascade=foreground", "--wait=false")
			s.kubectl("delete", "agent", "a", "--wait=false")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFixture(t)
			old := s.create("a", replicas(2), slow)
			s.waitReady("a")
			reasons := followReasons(s)
			remove(s)
			var again *v1alpha1.Agent
			s.eventually("it can be made again", waitTimeout, func() error {
				again = s.newAgent("a", replicas(2), slow)
				err := api.Create(t.Context(), again)
				if !apierrors.IsAlreadyExists(err) {
					require.NoError(t, err)
				}
				return err
			})
			require.NotEqual(t, old.UID, again.UID)
			s.waitReady("a")
			for _, child := range []client.Object{&appsv1.Deployment{}, &corev1.Service{}} {
				require.True(t, metav1.IsControlledBy(read(s, "a", child), again), "%T", child)
			}
			s.eventually("the old pods are gone", waitTimeout, func() error {
				if have := len(uids(s, &corev1.PodList{})); have != 2 {
					return fmt.Errorf("%d pods", have)
				}
				return nil
			})
			require.NotContains(t, reasons(), v1alpha1.ReasonNameConflict)
			require.NotContains(t, reasons(), v1alpha1.ReasonApplyFailed)
			s.note("%v", reasons())
		})
	}
}

// followReasons returns the reasons that Ready had from now on, in order.
func followReasons(s *fixture) func() []string {
	s.Helper()
	var mutex sync.Mutex
	var reasons []string
	s.watchObjects(s.Context(), &v1alpha1.AgentList{}, func(_ watch.EventType, object client.Object) {
		mutex.Lock()
		defer mutex.Unlock()
		reason := condition(object.(*v1alpha1.Agent), v1alpha1.ConditionReady).Reason
		if len(reasons) == 0 || reasons[len(reasons)-1] != reason {
			reasons = append(reasons, reason)
		}
	})
	return func() []string {
		mutex.Lock()
		defer mutex.Unlock()
		return append([]string{}, reasons...)
	}
}

func TestADeletedDeploymentIsRecreated(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.create("a")
	s.waitReady("a")
	before := read(s, "a", &appsv1.Deployment{}).UID
	for _, kind := range []string{"deployment", "service"} {
		s.kubectl("delete", kind, "a")
	}
	s.waitForAgent("a", "both are there again", waitTimeout, func(agent *v1alpha1.Agent) bool {
		deployment, service := &appsv1.Deployment{}, &corev1.Service{}
		key := client.ObjectKey{Namespace: s.namespace, Name: "a"}
		return api.Get(context.Background(), key, deployment) == nil && deployment.UID != before &&
			api.Get(context.Background(), key, service) == nil && isReady(agent)
	})
}
