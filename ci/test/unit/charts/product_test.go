package charts_test

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/operator/api/crds"
)

const (
	agentChart       = "../../../../charts/flokoa-agent"
	crdsChart        = "../../../../charts/flokoa-crds"
	environmentChart = "../../../../charts/flokoa-environment"
	operatorChart    = "../../../../charts/flokoa-operator"
	policiesChart    = "../../../../charts/flokoa-policies"
)

// The chart carries the very CustomResourceDefinitions that the operator was built with.
func TestCRDChartCarriesTheOperatorsCRDs(t *testing.T) {
	embedded := [][]byte{crds.Agents, crds.Models}
	objects := render(t, crdsChart, nil)
	require.Len(t, objects, len(embedded))
	for _, raw := range embedded {
		var want unstructured.Unstructured
		require.NoError(t, yaml.Unmarshal(raw, &want.Object))
		i := slices.IndexFunc(objects, func(o unstructured.Unstructured) bool { return o.GetName() == want.GetName() })
		require.GreaterOrEqual(t, i, 0, want.GetName())
		require.Equal(t, want.Object["spec"], objects[i].Object["spec"])
	}
}

// No cluster of simulated nodes ever starts the operator's container, so a flag that the operator does not have would be
// found only by real pods: here the operator is started with the chart's arguments and --version.
func TestOperatorTakesTheChartsArguments(t *testing.T) {
	operator := filepath.Join(t.TempDir(), "flokoa-operator")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", operator, "./operator/cmd/flokoa-operator")
	build.Dir = "../../../.."
	output, err := build.CombinedOutput()
	require.NoError(t, err, "%s", output)

	renderings := []map[string]any{nil}
	for _, sample := range samples(t, operatorChart) {
		renderings = append(renderings, sample.values())
	}
	var tried [][]string // most samples leave the arguments alone
	for _, values := range renderings {
		args := operatorArgs(t, render(t, operatorChart, values))
		if slices.ContainsFunc(tried, func(same []string) bool { return slices.Equal(same, args) }) {
			continue
		}
		tried = append(tried, args)
		output, err := exec.CommandContext(t.Context(), operator, append(args, "--version")...).CombinedOutput()
		require.NoError(t, err, "flokoa-operator %v: %s", args, output)
	}

	output, err = exec.CommandContext(t.Context(), operator, "--no-such-flag", "--version").CombinedOutput()
	require.Error(t, err, "%s", output)

	hooks, err := manifests.Hooks(operatorChart, nil, release, namespace)
	require.NoError(t, err)
	require.Len(t, hooks, 1)
	service := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(service.Close)
	testArgs := as[corev1.Pod](t, hooks[0]).Spec.Containers[0].Args
	require.Equal(t, "http://a-release-flokoa-operator-metrics.a-namespace:8080/metrics", testArgs[len(testArgs)-1])
	testCommand := exec.CommandContext(t.Context(), operator, append(testArgs[:len(testArgs)-1], "--timeout=1s", service.URL)...)
	output, err = testCommand.CombinedOutput()
	require.Equal(t, 1, testCommand.ProcessState.ExitCode(), "2 is a usage error: %v, %s", err, output)
	require.Contains(t, string(output), "404 Not Found")
}

// Artifact Hub scans the images that the chart's metadata name.
func TestOperatorChartNamesTheImageThatItRuns(t *testing.T) {
	var named []struct{ Image string }
	require.NoError(t, yaml.Unmarshal([]byte(load(t, operatorChart).Metadata.Annotations["artifacthub.io/images"]), &named))
	require.Len(t, named, 1)
	pods := 0
	for _, object := range render(t, operatorChart, nil) {
		if pod, has := podTemplate(t, object); has {
			pods++
			require.Equal(t, pod.Spec.Containers[0].Image, named[0].Image)
		}
	}
	require.Equal(t, 1, pods)
}

func operatorArgs(t *testing.T, objects []unstructured.Unstructured) []string {
	t.Helper()
	for _, object := range objects {
		if object.GetKind() == "Deployment" {
			return as[appsv1.Deployment](t, object).Spec.Template.Spec.Containers[0].Args
		}
	}
	require.Fail(t, "the operator chart renders no Deployment")
	return nil
}
