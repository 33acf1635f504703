package app

import (
	"net/http"

	"k8s.io/apimachinery/pkg/types"
)

// metadataOnly asks for no more than the metadata of an applied object in the response: the operator reads what it applied from its cache, and
// needs to know only when the cache has it. The API server encodes the rest of a Deployment for nothing, and the operator decodes it. A dry
// run is read, so it gets all.
type metadataOnly struct{ next http.RoundTripper }

// RoundTrip sends a request.
func (m metadataOnly) RoundTrip(request *http.Request) (*http.Response, error) {
	if isApply(request) && request.URL.Query().Get("dryRun") == "" {
		request = request.Clone(request.Context())
		request.Header.Set("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
	}
	return m.next.RoundTrip(request)
}

func isApply(request *http.Request) bool {
	return request.Method == http.MethodPatch && request.Header.Get("Content-Type") == string(types.ApplyYAMLPatchType)
}
