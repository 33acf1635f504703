package ecosystem_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/ci/testkit/upstream"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// fixture is a test in the namespace of an environment.
type fixture struct {
	*testing.T
	namespace string
}

// kubectl runs as the cluster's administrator in the test's namespace, and must succeed.
func (s *fixture) kubectl(stdin string, args ...string) string {
	s.Helper()
	return s.run(stdin, append([]string{"--namespace", s.namespace}, args...)...)
}

// run runs kubectl in the namespaces that the objects name.
func (s *fixture) run(stdin string, args ...string) string {
	s.Helper()
	command := exec.CommandContext(s.Context(), cluster.Kubectl, args...)
	command.Dir, command.Stdin = root, strings.NewReader(stdin)
	command.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig, "KUBERC=off", "KUBECACHEDIR="+filepath.Join(workDir, "kubectl-cache"))
	var out, warnings bytes.Buffer
	command.Stdout, command.Stderr = &out, &warnings
	require.NoError(s, command.Run(), "kubectl %s\n%s", strings.Join(args, " "), warnings.String())
	return out.String()
}

// cleanUp runs kubectl after the test, when its context has ended, and ignores errors.
func (s *fixture) cleanUp(args ...string) {
	command := exec.CommandContext(context.Background(), cluster.Kubectl, append([]string{"--namespace", s.namespace, "--kubeconfig", cluster.Kubeconfig}, args...)...)
	_ = command.Run()
}

// apply applies an example after replacements: pairs of what the file has, which must be there, and what the test needs.
func (s *fixture) apply(path string, replacements ...string) {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(s, err)
	for i := 0; i < len(replacements); i += 2 {
		require.Contains(s, string(text), replacements[i], path)
		text = bytes.ReplaceAll(text, []byte(replacements[i]), []byte(replacements[i+1]))
	}
	s.kubectl(string(text), "apply", "--server-side", "-f", "-")
}

// eventually polls until something holds; otherwise it fails with the last error.
func (s *fixture) eventually(what string, missing func() error) {
	s.Helper()
	began := time.Now()
	var last error
	err := wait.PollUntilContextTimeout(s.Context(), 200*time.Millisecond, waitTimeout, true, func(context.Context) (bool, error) {
		last = missing()
		return last == nil, nil
	})
	require.NoError(s, err, "waited %s until %s: %v", waitTimeout, what, last)
	logf("%6.1fs  %s", time.Since(began).Seconds(), what)
}

// install applies files and folders of another project as they are, and waits until the API server serves one of its kinds.
func (s *fixture) install(module upstream.Module, crd string, paths ...string) {
	s.Helper()
	source, err := module.Folder(s.Context())
	require.NoError(s, err)
	for _, path := range paths {
		s.run("", "apply", "--server-side", "-f", filepath.Join(source, path))
	}
	s.eventually("the API server serves "+crd, func() error {
		definition := &apiextensionsv1.CustomResourceDefinition{}
		if err := api.Get(s.Context(), client.ObjectKey{Name: crd}, definition); err != nil {
			return err
		}
		for _, condition := range definition.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return nil
			}
		}
		return errors.New("it is not established")
	})
}

// agent is the Agent with that name as it is now.
func (s *fixture) agent(name string) *v1alpha1.Agent {
	s.Helper()
	agent := &v1alpha1.Agent{}
	require.NoError(s, api.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, agent))
	return agent
}

// waitForReplicas waits until an Agent has so many available replicas, and Ready has a status and a reason.
func (s *fixture) waitForReplicas(name string, replicas int32, status metav1.ConditionStatus, reason string) {
	s.Helper()
	s.eventually(fmt.Sprintf("%s has %d replicas, Ready=%s %s", name, replicas, status, reason), func() error {
		agent := s.agent(name)
		ready := ptr.Deref(meta.FindStatusCondition(agent.Status.Conditions, v1alpha1.ConditionReady), metav1.Condition{})
		wanted := ptr.Deref(agent.Spec.Runtime.Spec.Replicas, -1)
		if wanted != replicas || agent.Status.Replicas != replicas || agent.Status.AvailableReplicas != replicas ||
			ready.Status != status || ready.Reason != reason {
			return fmt.Errorf("%d wanted, %d replicas, %d available, Ready %s %s: %s",
				wanted, agent.Status.Replicas, agent.Status.AvailableReplicas, ready.Status, ready.Reason, ready.Message)
		}
		return nil
	})
}

// deployment is the Agent's Deployment.
func (s *fixture) deployment(name string) *appsv1.Deployment {
	s.Helper()
	deployment := &appsv1.Deployment{}
	require.NoError(s, api.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, deployment))
	return deployment
}

// pods are the Agent's pods that do not terminate.
func (s *fixture) pods(name string) []corev1.Pod {
	s.Helper()
	pods := &corev1.PodList{}
	require.NoError(s, api.List(s.Context(), pods, client.InNamespace(s.namespace), client.MatchingLabels{"flokoa.ai/agent": name}))
	var live []corev1.Pod
	for i := range pods.Items {
		if pods.Items[i].DeletionTimestamp == nil {
			live = append(live, pods.Items[i])
		}
	}
	return live
}

// events are the notes of the operator's events with a reason about an Agent.
func (s *fixture) events(agent, reason string) []string {
	s.Helper()
	events := &eventsv1.EventList{}
	require.NoError(s, api.List(s.Context(), events, client.InNamespace(s.namespace)))
	var notes []string
	for i := range events.Items {
		if event := &events.Items[i]; event.Regarding.Kind == v1alpha1.AgentKind && event.Regarding.Name == agent && event.Reason == reason {
			notes = append(notes, event.Note)
		}
	}
	return notes
}

// requireNoFight fails if the operator reverted what another controller wrote.
func (s *fixture) requireNoFight(agent string) {
	s.Helper()
	for _, reason := range []string{"DeploymentScaled", "PodTemplateChanged"} {
		require.Empty(s, s.events(agent, reason), reason)
	}
}

// kubeconfig writes a kubeconfig for a ServiceAccount of the cluster, and returns its path.
func (s *fixture) kubeconfig(namespace, account string) string {
	s.Helper()
	config := *cluster.Config
	config.CertData, config.KeyData, config.CertFile, config.KeyFile = nil, nil, "", ""
	config.BearerToken = strings.TrimSpace(s.kubectl("", "create", "token", account, "--namespace", namespace, "--duration", "2h"))
	path := filepath.Join(s.TempDir(), "kubeconfig")
	require.NoError(s, harness.WriteKubeconfig(path, &config))
	return path
}

// start runs another project's program until the test ends. Its log is shown if the test fails.
func (s *fixture) start(program string, environment []string, args ...string) {
	s.Helper()
	logFile := filepath.Join(s.TempDir(), "log")
	log, err := os.Create(logFile)
	require.NoError(s, err)
	command := exec.Command(program, args...)
	command.Env = append(os.Environ(), environment...)
	command.Stdout, command.Stderr = log, log
	require.NoError(s, command.Start())
	s.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		_ = log.Close()
		if s.Failed() {
			text, _ := os.ReadFile(logFile)
			lines := strings.Split(string(text), "\n")
			s.Logf("the end of the log of %s:\n%s", filepath.Base(program), strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	})
}
