// Package architecture holds the rules about who may import whom, as tests. The arrows run one way:
// cmd -> app -> agent -> {render, status} -> api.
package architecture

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/flokoa/flokoa/"

// mayImport lists, for each package of the product, the packages of this module that it may depend on.
var mayImport = map[string][]string{
	"operator/api/v1alpha1":        {},
	"operator/api/crds":            {},
	"operator/internal/render":     {"operator/api/v1alpha1"},
	"operator/internal/status":     {"operator/api/v1alpha1", "operator/internal/render"},
	"operator/internal/agent":      {"operator/api/v1alpha1", "operator/internal/render", "operator/internal/status"},
	"operator/internal/app":        {"operator/api/v1alpha1", "operator/api/crds", "operator/internal/agent", "operator/internal/render", "operator/internal/status"},
	"operator/internal/check":      {"operator/api/v1alpha1", "operator/internal/render", "operator/internal/status"},
	"operator/internal/health":     {},
	"operator/internal/agenttest":  {"operator/api/v1alpha1"},
	"operator/test/api":            {},
	"operator/cmd/flokoa-operator": {"operator/api/v1alpha1", "operator/api/crds", "operator/internal/agent", "operator/internal/app", "operator/internal/check", "operator/internal/health", "operator/internal/render", "operator/internal/status"},
	"examples/agent":               {}, // an example to copy stands alone
}

// mayNot lists imports that would give a package a power it must not have, by the reason.
var mayNot = []struct {
	reason   string
	packages []string
	imports  []string
}{
	{"render and status are pure: no client, no context, no logger, no clock, no globals",
		[]string{"operator/internal/render", "operator/internal/status"},
		[]string{"context", "log", "log/slog", "net/http", "os", "k8s.io/client-go/kubernetes", "k8s.io/client-go/rest", "github.com/go-logr/logr"}},
	{"check needs no cluster and ends in its caller: no client, no network, no logger, no clock",
		[]string{"operator/internal/check"},
		[]string{"context", "log", "log/slog", "net", "net/http", "os/exec", "time", "k8s.io/client-go/kubernetes", "k8s.io/client-go/rest", "k8s.io/client-go/tools", "github.com/go-logr/logr"}},
	{"only app and agent know controller-runtime",
		[]string{"operator/api/v1alpha1", "operator/api/crds", "operator/internal/render", "operator/internal/status", "operator/internal/check", "operator/internal/health", "operator/cmd/flokoa-operator"},
		[]string{"sigs.k8s.io/controller-runtime"}},
	{"the product needs neither Helm nor a test library",
		[]string{"operator/api/v1alpha1", "operator/internal/render", "operator/internal/status", "operator/internal/agent", "operator/internal/app", "operator/internal/check", "operator/internal/health", "operator/cmd/flokoa-operator"},
		[]string{"helm.sh/helm", "github.com/stretchr/testify", "sigs.k8s.io/kustomize"}},
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
