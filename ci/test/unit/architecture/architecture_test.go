// Package architecture holds the rules about who may import whom, as tests. The arrows run one way:
// cmd -> app -> agent -> {render, status, configrollout, model} -> api.
package architecture

import (
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/flokoa/flokoa/"

// mayImport lists, for each package of the product, the packages of this module that it may depend on.
var mayImport = map[string][]string{
	"operator/api/v1alpha1":           {},
	"operator/api/crds":               {},
	"operator/internal/render":        {"operator/api/v1alpha1"},
	"operator/internal/status":        {"operator/api/v1alpha1", "operator/internal/configrollout", "operator/internal/render"},
	"operator/internal/configrollout": {"operator/api/v1alpha1"},
	"operator/internal/model":         {"operator/api/v1alpha1"},
	"operator/internal/configwatch":   {"operator/api/v1alpha1", "operator/internal/configrollout"},
	"operator/internal/agent":         {"operator/api/v1alpha1", "operator/internal/configrollout", "operator/internal/configwatch", "operator/internal/model", "operator/internal/render", "operator/internal/status"},
	"operator/internal/app":           {"operator/api/v1alpha1", "operator/api/crds", "operator/internal/agent", "operator/internal/cli", "operator/internal/configrollout", "operator/internal/configwatch", "operator/internal/model", "operator/internal/render", "operator/internal/status"},
	"operator/internal/check":         {"operator/api/v1alpha1", "operator/internal/cli", "operator/internal/configrollout", "operator/internal/model", "operator/internal/render", "operator/internal/status"},
	"operator/internal/health":        {"operator/internal/cli"},
	"operator/internal/cli":           {},
	"operator/internal/agenttest":     {"operator/api/v1alpha1"},
	"operator/test/api":               {},
	"operator/cmd/flokoa-operator":    {"operator/api/v1alpha1", "operator/api/crds", "operator/internal/agent", "operator/internal/app", "operator/internal/check", "operator/internal/cli", "operator/internal/configrollout", "operator/internal/configwatch", "operator/internal/health", "operator/internal/model", "operator/internal/render", "operator/internal/status"},
	"examples/agent":                  {}, // an example to copy stands alone
}

// mayNot lists imports that would give a package a power it must not have, by the reason.
var mayNot = []struct {
	reason   string
	packages []string
	imports  []string
}{
	{"check needs no cluster and ends in its caller: no client, no network, no logger, no clock",
		[]string{"operator/internal/check"},
		[]string{"context", "log", "log/slog", "net", "net/http", "os/exec", "time", "k8s.io/client-go/kubernetes", "k8s.io/client-go/rest", "k8s.io/client-go/tools", "github.com/go-logr/logr"}},
	{"only app and agent know controller-runtime", allBut("operator/internal/app", "operator/internal/agent", "operator/test/api"),
		[]string{"sigs.k8s.io/controller-runtime"}},
	{"the product needs neither Helm nor a test library",
		[]string{"operator/api/v1alpha1", "operator/internal/configrollout", "operator/internal/configwatch", "operator/internal/model", "operator/internal/render", "operator/internal/status", "operator/internal/agent", "operator/internal/app", "operator/internal/check", "operator/internal/cli", "operator/internal/health", "operator/cmd/flokoa-operator"},
		[]string{"helm.sh/helm", "github.com/stretchr/testify", "sigs.k8s.io/kustomize"}},
}

// pureImports are all that the pure packages may import: no client, no context, no logger, no clock. klog is there for a parameter
// of a function of component-helpers, and time for durations and for the time that is handed in.
var pureImports = []string{
	"bytes", "cmp", "crypto/sha256", "encoding/hex", "encoding/json", "errors", "fmt", "maps", "reflect", "regexp", "slices", "strconv", "strings",
	"time", "unicode", "unicode/utf8",
	"github.com/flokoa/flokoa/operator/api/v1alpha1", "github.com/flokoa/flokoa/operator/internal/configrollout",
	"github.com/flokoa/flokoa/operator/internal/render",
	"k8s.io/api", "k8s.io/apimachinery/pkg/api", "k8s.io/apimachinery/pkg/apis/meta/v1", "k8s.io/apimachinery/pkg/labels",
	"k8s.io/apimachinery/pkg/types", "k8s.io/apimachinery/pkg/util/intstr", "k8s.io/apimachinery/pkg/util/validation",
	"k8s.io/client-go/applyconfigurations", "k8s.io/component-helpers/scheduling/corev1", "k8s.io/klog/v2", "k8s.io/utils/ptr",
}

// impureCalls read a clock or write a log, by means of packages that are allowed.
var impureCalls = regexp.MustCompile(`\b(time\.(Now|Since|Until|After|Tick|NewTimer|NewTicker|Sleep)|metav1\.Now|klog\.[A-Z]\w*\()`)

func TestPackagesThatDecideArePure(t *testing.T) {
	for _, pkg := range []string{"operator/internal/render", "operator/internal/status", "operator/internal/configrollout", "operator/internal/model"} {
		for _, imported := range list(t, "-f", `{{join .Imports "\n"}}`, module+pkg) {
			require.True(t, slices.ContainsFunc(pureImports, func(allowed string) bool {
				return imported == allowed || strings.HasPrefix(imported, allowed+"/")
			}), "%s imports %s", pkg, imported)
		}
		files := list(t, "-f", `{{range .GoFiles}}{{$.Dir}}/{{.}}{{"\n"}}{{end}}`, module+pkg)
		require.NotEmpty(t, files)
		for _, file := range files {
			source, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NotRegexp(t, impureCalls, string(source), file)
		}
	}
}

// allBut returns the packages of mayImport without some.
func allBut(without ...string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(mayImport)), func(pkg string) bool { return slices.Contains(without, pkg) })
}

func TestEveryPackageOfTheProductHasItsArrowsListed(t *testing.T) {
	packages := list(t, "-f", "{{.ImportPath}}", "../../../../operator/...")
	require.NotEmpty(t, packages)
	for _, pkg := range packages {
		require.Contains(t, mayImport, strings.TrimPrefix(pkg, module), "add the new package and its allowed imports to mayImport")
	}
}

func TestArrowsRunOneWay(t *testing.T) {
	for pkg, allowed := range mayImport {
		for _, dependency := range list(t, "-deps", "-f", "{{.ImportPath}}", module+pkg) {
			inside, ours := strings.CutPrefix(dependency, module)
			if ours && inside != pkg {
				require.Contains(t, allowed, inside, "%s depends on %s", pkg, inside)
			}
		}
	}
}

func TestNoPackageImportsWhatItMustNot(t *testing.T) {
	for _, rule := range mayNot {
		for _, pkg := range rule.packages {
			for _, imported := range list(t, "-f", `{{join .Imports "\n"}}`, module+pkg) {
				for _, forbidden := range rule.imports {
					require.False(t, imported == forbidden || strings.HasPrefix(imported, forbidden+"/"),
						"%s imports %s: %s", pkg, imported, rule.reason)
				}
			}
		}
	}
}

// list runs go list and returns its lines.
func list(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...).Output()
	require.NoError(t, err)
	return strings.Fields(string(out))
}
