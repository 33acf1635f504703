package app

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
)

func TestOnlyTheResponseToAnApplyIsMetadataAlone(t *testing.T) {
	var accepted string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { accepted = r.Header.Get("Accept") }))
	defer server.Close()
	config, err := restConfig(Options{Kubeconfig: &rest.Config{Host: server.URL}}, "v1")
	require.NoError(t, err)
	client, err := rest.HTTPClientFor(config)
	require.NoError(t, err)
	const all = "application/json"
	for _, r := range []struct{ name, method, contentType, query, want string }{
		{"apply", http.MethodPatch, "application/apply-patch+yaml", "?fieldManager=m&force=true", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"},
		{"dry run of an apply", http.MethodPatch, "application/apply-patch+yaml", "?dryRun=All", all},
		{"another patch", http.MethodPatch, "application/merge-patch+json", "", all},
		{"update", http.MethodPut, "application/json", "", all},
		{"read", http.MethodGet, "", "", all},
	} {
		t.Run(r.name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), r.method, server.URL+"/apis/apps/v1/namespaces/team/deployments/a"+r.query, nil)
			require.NoError(t, err)
			request.Header.Set("Accept", all)
			request.Header.Set("Content-Type", r.contentType)
			response, err := client.Do(request)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, r.want, accepted)
			require.Equal(t, all, request.Header.Get("Accept"), "a transport must not change a request")
		})
	}
}
