package app

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOnlyTheResponseToAnApplyIsMetadataAlone(t *testing.T) {
	const all = "application/json"
	for _, r := range []struct{ name, method, contentType, query, want string }{
		{"apply", http.MethodPatch, "application/apply-patch+yaml", "?fieldManager=m&force=true", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"},
		{"dry run of an apply", http.MethodPatch, "application/apply-patch+yaml", "?dryRun=All", all},
		{"another patch", http.MethodPatch, "application/merge-patch+json", "", all},
		{"update", http.MethodPut, "application/json", "", all},
		{"read", http.MethodGet, "", "", all},
	} {
		t.Run(r.name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), r.method, "https://example.com/apis/apps/v1/namespaces/team/deployments/a"+r.query, nil)
			require.NoError(t, err)
			request.Header.Set("Accept", all)
			request.Header.Set("Content-Type", r.contentType)
			sent := &recordingTransport{}
			_, err = metadataOnly{sent}.RoundTrip(request) //nolint:bodyclose // it has none
			require.NoError(t, err)
			require.Equal(t, r.want, sent.accept)
			require.Equal(t, all, request.Header.Get("Accept"), "a transport must not change a request")
		})
	}
}

// recordingTransport records what a request accepts.
type recordingTransport struct{ accept string }

func (r *recordingTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	r.accept = request.Header.Get("Accept")
	return &http.Response{}, nil
}
