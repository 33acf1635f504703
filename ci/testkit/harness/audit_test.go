package harness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const lines = `{"stage":"ResponseComplete","verb":"patch","user":{"username":"us","extra":{"authentication.kubernetes.io/credential-id":["JTI=1"]}},"objectRef":{"resource":"deployments","namespace":"n","name":"a"},"responseStatus":{"code":201},"requestReceivedTimestamp":"2026-01-02T03:04:05.000006Z"}
{"stage":"ResponseComplete","verb":"patch","user":{"username":"us"},"objectRef":{"resource":"agents","subresource":"status","namespace":"n","name":"a"},"responseStatus":{"code":200}}
{"stage":"ResponseComplete","verb":"update","user":{"username":"us"},"objectRef":{"resource":"leases"},"responseStatus":{"code":200}}
{"stage":"ResponseComplete","verb":"create","user":{"username":"us"},"objectRef":{"resource":"events"},"responseStatus":{"code":201}}
{"stage":"ResponseStarted","verb":"watch","user":{"username":"us"},"objectRef":{"resource":"pods"},"responseStatus":{"code":200}}
{"stage":"ResponseComplete","verb":"create","requestURI":"/apis/apps/v1/namespaces/n/deployments?dryRun=All","user":{"username":"us"},"objectRef":{"resource":"deployments"},"responseStatus":{"code":403}}
{"stage":"ResponseComplete","verb":"patch","user":{"username":"them"},"objectRef":{"resource":"deployments"},"responseStatus":{"code":200}}
`

func TestRequestsOfAnAccountAreReadFromAMark(t *testing.T) {
	log := AuditLog(filepath.Join(t.TempDir(), "audit.log"))
	require.NoError(t, os.WriteFile(string(log), []byte("before\n"), 0o600))
	mark, err := log.End()
	require.NoError(t, err)
	unfinished := `{"user":{"username":"us"},"verb":"pat`
	require.NoError(t, os.WriteFile(string(log), []byte("before\n"+lines+unfinished), 0o600))

	requests, err := log.Requests("us", mark)
	require.NoError(t, err)
	require.Len(t, requests, 6, "but not the other account's, nor the line that is still being written")
	require.Equal(t, "patch deployments n/a: 201", requests[0].String())
	require.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), requests[0].RequestReceivedTimestamp)
	require.True(t, requests[0].SentBy("JTI=1"))
	require.False(t, requests[1].SentBy("JTI=1"))
	require.Equal(t, map[string]int{"patch deployments": 1, "patch agents/status": 1}, Counts(requests), "neither leases nor events, nor what reads or only tries")

	require.NoError(t, os.Truncate(string(log), 0))
	_, err = log.Requests("us", mark)
	require.ErrorContains(t, err, "begun anew")
}

func TestALineThatIsNotJSONIsAnError(t *testing.T) {
	_, err := requestsIn(strings.NewReader(`{"username":"us"`+"\n"), "us")
	require.Error(t, err)
}

func TestCPUTimeIsReadBehindWhateverTheProgramIsCalled(t *testing.T) {
	used, err := cpuIn("42 (a) b (c)) S 1 42 42 0 -1 4194560 3500 0 0 0 150 50 0 0 20 0 12 0 900 0 0")
	require.NoError(t, err)
	require.Equal(t, 2*time.Second, used)
	_, err = cpuIn("42 (a) S 1")
	require.Error(t, err)
}
