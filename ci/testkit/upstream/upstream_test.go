package upstream_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/ci/testkit/upstream"
)

func TestAModuleWithAnotherChecksumIsRefused(t *testing.T) {
	module := upstream.GatewayAPI
	folder, err := module.Folder(t.Context())
	require.NoError(t, err)
	require.DirExists(t, folder+"/config/crd/standard")

	module.Sum = "h1:other="
	_, err = module.Folder(t.Context())
	require.ErrorContains(t, err, "sigs.k8s.io/gateway-api@v1.6.3 has the checksum")
}

func TestAModuleThatCannotBeDownloadedIsNamed(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOMODCACHE", t.TempDir())
	_, err := upstream.GatewayAPI.Folder(t.Context())
	require.ErrorContains(t, err, "downloading sigs.k8s.io/gateway-api@v1.6.3: ")
	require.ErrorContains(t, err, "GOPROXY=off")
}
