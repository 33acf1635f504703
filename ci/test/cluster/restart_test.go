package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// apiServerRestarts are the times in which the API server was down or coming up. While it comes up and has not read the roles yet, it
// refuses what they allow.
var apiServerRestarts []restart

type restart struct{ killed, back time.Time }

// duringRestart reports whether a request was received while the API server came up.
func duringRestart(r request) bool {
	return slices.ContainsFunc(apiServerRestarts, func(down restart) bool {
		return r.RequestReceivedTimestamp.After(down.killed) && r.RequestReceivedTimestamp.Before(down.back)
	})
}

func TestRolloutsOutliveTheAPIServer(t *testing.T) {
	const agents, image = 40, "registry.example/agent:v2"
	gone := []string{"gone-0", "gone-1", "gone-2"}
	s := newFixture(t)
	server := apiServerPID(t)
	createMany(s, agents)
	for _, name := range gone {
		s.create(name)
	}
	s.eventually("all Agents are ready", waitTimeout, func() error { return checkReady(s, agents+len(gone)) })
	before := generations(s)
	mark, err := auditLogEnd()
	require.NoError(t, err)
	s.since = mark

	finish := setAllImages(s, agents, image)
	for _, name := range gone {
		require.NoError(t, api.Delete(t.Context(), s.newAgent(name)))
	}
	killed := time.Now()
	require.NoError(t, syscall.Kill(server, syscall.SIGKILL))
	waitPortClosed(s)
	restartAPIServer(t)
	back := time.Now()
	apiServerRestarts = append(apiServerRestarts, restart{killed, back})
	require.NoError(t, finish())
	s.waitRecovered("all Agents are ready with the new image", func() error { return checkRolledOut(s, agents, image) })
	healed := time.Since(back)
	require.NoError(t, operator.WaitFor(t.Context(), "it leads", harness.StartTimeout, operator.IsLeader))
	s.eventually("nothing is left of the Agents that were deleted", waitTimeout, func() error {
		if have := len(s.list(&appsv1.DeploymentList{})); have != agents {
			return fmt.Errorf("%d Deployments", have)
		}
		return nil
	})
	after := generations(s)
	for name, generation := range after {
		require.Equal(t, before[name]+1, generation, "Deployment %s was changed once", name)
	}
	early, late := countWritesAround(s, killed, slices.Collect(maps.Keys(after)))
	s.note("the API server was away for %.1fs; Deployments written %d + %d; all rolled %.1fs later", back.Sub(killed).Seconds(), early, late, healed.Seconds())
}

// countWritesAround is how many of these Deployments were written before and after a time: each once, and once more if the response was
// lost. A write that was refused counts as none: an API server that has just started does not know its roles yet. The Deployment of an
// Agent that is deleted meanwhile is none of these: until the operator hears of it, it restores what the garbage collector deletes.
func countWritesAround(s *fixture, killed time.Time, deployments []string) (early, late int) {
	s.Helper()
	wrote := map[string]int{}
	for _, r := range s.requests() {
		if r.Verb != "patch" || r.Resource() != "deployments" || r.ResponseStatus.Code >= 400 || !slices.Contains(deployments, r.ObjectRef.Name) {
			continue
		}
		wrote[r.ObjectRef.Name]++
		if r.RequestReceivedTimestamp.Before(killed) {
			early++
		} else {
			late++
		}
	}
	require.LessOrEqual(s, most(wrote), 2)
	require.NotZero(s, early, "it was killed before anything was rolled, or the audit log has forgotten")
	require.NotZero(s, late, "it was killed when everything was rolled, or the audit log does not go on")
	return early, late
}

// restartIfEnded starts an operator that has ended once more, as the kubelet does: one that cannot renew its lease in time, because
// the API server is away or slow, must end.
func restartIfEnded(s *fixture) error {
	if !operator.Ended() {
		return nil
	}
	lines := operator.Lines("")
	s.note("the operator ended: %s", lines[len(lines)-1])
	next, err := operator.Restart()
	if err == nil {
		operator = next
	}
	return err
}

// apiServerPID is the process of the cluster's API server, which the cluster's script can bring back.
func apiServerPID(t *testing.T) int {
	t.Helper()
	script := exec.CommandContext(t.Context(), "ci/clusters/local/cluster.sh", "kubeconfig", filepath.Base(cluster.Folder))
	script.Dir = root
	known, err := script.Output()
	require.NoError(t, err)
	require.Equal(t, cluster.Kubeconfig, strings.TrimSpace(string(known)), "the script would bring back another cluster")
	text, err := os.ReadFile(filepath.Join(cluster.Folder, "pids", "kube-apiserver.pid"))
	require.NoError(t, err)
	process, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	if program, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", process)); err == nil {
		require.Contains(t, string(program), filepath.Join(cluster.Folder, "bin", "kube-apiserver"), "the number belongs to another program")
	}
	return process
}

// waitPortClosed waits until nothing listens where the API server did: a big process takes a while to die, and until then another
// cannot listen there.
func waitPortClosed(s *fixture) {
	s.Helper()
	address, err := url.Parse(cluster.Config.Host)
	require.NoError(s, err)
	s.eventually("nothing listens at "+address.Host, waitTimeout, func() error {
		connection, err := net.DialTimeout("tcp", address.Host, time.Second)
		if err != nil {
			return nil //nolint:nilerr // that it fails is what is waited for
		}
		_ = connection.Close()
		return errors.New("something does")
	})
}

// restartAPIServer starts what is missing of the cluster, and waits until its API server answers.
func restartAPIServer(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*waitTimeout)
	defer cancel()
	output, err := harness.Up(ctx, root, filepath.Base(cluster.Folder), os.Stderr)
	require.NoError(t, err, output)
	require.Contains(t, output, "restarting kube-apiserver")
	require.NotContains(t, output, "afresh", "everything that was on the cluster is lost")
	require.NoError(t, api.List(ctx, &v1alpha1.AgentList{}))
}
