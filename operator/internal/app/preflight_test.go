package app

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/crds"
)

func TestOlderCRDIsRejectedWithItsMissingFields(t *testing.T) {
	const hint = ": upgrade the chart flokoa-crds before the operator"
	for _, r := range []struct {
		name   string
		remove []string
		want   string
	}{
		{"nothing", nil, ""},
		{"a section of the spec", []string{"spec.availability"}, "lacks spec.availability" + hint},
		{"a setting of the runtime", []string{"spec.runtime.spec.strategy"}, "lacks spec.runtime.spec.strategy" + hint},
		{"a field of an object in a list", []string{"spec.runtime.spec.volumes.image"}, "lacks spec.runtime.spec.volumes.image" + hint},
		{"a field of the container", []string{"spec.runtime.spec.container.env.valueFrom"}, "lacks spec.runtime.spec.container.env.valueFrom" + hint},
		{"a field of the status", []string{"status.placement"}, "lacks status.placement" + hint},
		{"the spec", []string{"spec"}, "lacks spec.autoscaling, spec.availability, spec.card, spec.configRollout, spec.framework, ..." + hint},
		{"several, in order", []string{"status.url", "spec.framework"}, "lacks spec.framework, status.url" + hint},
		{
			"more than one line should list",
			[]string{"status.url", "status.image", "status.placement", "status.selector", "status.replicas", "spec.framework"},
			"lacks spec.framework, status.image, status.placement, status.replicas, status.selector, ..." + hint,
		},
	} {
		t.Run(r.name, func(t *testing.T) {
			served := embeddedSchema(t, crds.Agents)
			for _, path := range r.remove {
				remove(served, strings.Split(path, "."))
			}
			err := requireKinds(servedAs(served, embeddedSchema(t, crds.Models)))
			if r.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, "the served CRD agents.agent.flokoa.ai "+r.want)
		})
	}
}

func TestNewerCRDIsAccepted(t *testing.T) {
	served := embeddedSchema(t, crds.Agents)
	spec := served.Properties["spec"]
	spec.Properties["configRollout"] = apiextensionsv1.JSONSchemaProps{Type: "string"}
	require.NoError(t, requireKinds(servedAs(served, embeddedSchema(t, crds.Models))))
}

func TestMissingCRDNamesTheChart(t *testing.T) {
	require.EqualError(t, requireKinds(nil), "the API server does not serve agents.agent.flokoa.ai: install the chart flokoa-crds first")
	require.EqualError(t, requireKinds(servedAs(embeddedSchema(t, crds.Agents), nil)),
		"the API server does not serve models.agent.flokoa.ai: upgrade the chart flokoa-crds before the operator")
	models := embeddedSchema(t, crds.Models)
	remove(models, []string{"spec", "baseURL"})
	require.EqualError(t, requireKinds(servedAs(embeddedSchema(t, crds.Agents), models)),
		"the served CRD models.agent.flokoa.ai lacks spec.baseURL: upgrade the chart flokoa-crds before the operator")
}

// servedAs returns what an API server publishes; no Model if it is nil.
func servedAs(agents, models *apiextensionsv1.JSONSchemaProps) map[string]*apiextensionsv1.JSONSchemaProps {
	served := map[string]*apiextensionsv1.JSONSchemaProps{"ai.flokoa.agent.v1alpha1.Agent": agents, "ai.flokoa.agent.v1alpha1.AgentList": {}}
	if models != nil {
		served["ai.flokoa.agent.v1alpha1.Model"] = models
	}
	return served
}

func TestPreflightWaitsForTheAPIServer(t *testing.T) {
	for _, r := range []struct {
		name     string
		codes    []int // the last one repeats
		requests int
	}{
		{"ready", []int{http.StatusOK}, 1},
		{"starting", []int{http.StatusInternalServerError, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusOK}, 4},
		{"forbidden", []int{http.StatusForbidden}, 1},
		{"unauthorized", []int{http.StatusUnauthorized}, 1},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			requests := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				requests++
				w.WriteHeader(r.codes[min(requests, len(r.codes))-1])
			}))
			defer server.Close()
			schemas, err := discovery.NewDiscoveryClientForConfig(&rest.Config{Host: server.URL})
			require.NoError(t, err)
			require.NoError(t, awaitServer(t.Context(), schemas.RESTClient()))
			require.Equal(t, r.requests, requests)
		})
	}
}

func embeddedSchema(t *testing.T, embedded []byte) *apiextensionsv1.JSONSchemaProps {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	require.NoError(t, yaml.UnmarshalStrict(embedded, crd))
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

// remove removes a field from a schema. In a list, it removes the field from the items.
func remove(schema *apiextensionsv1.JSONSchemaProps, path []string) {
	if schema.Items != nil {
		remove(schema.Items.Schema, path)
		return
	}
	if len(path) == 1 {
		delete(schema.Properties, path[0])
		return
	}
	below := schema.Properties[path[0]]
	remove(&below, path[1:])
	schema.Properties[path[0]] = below
}
