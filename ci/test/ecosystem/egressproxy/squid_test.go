// Package egressproxy_test runs Squid with the configuration of examples/egress-proxy, by the command of its Deployment, and tries what
// it lets through. It needs the program squid; the Debian package has that name.
package egressproxy_test

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"
)

const (
	example = "../../../../examples/egress-proxy/"
	// proxyUser is the account that the Deployment runs as, in Debian too.
	proxyUser = 13
)

// squid runs until the test ends, and returns its address. It finds host names in a file, where each allowed one has an address.
func squid(t *testing.T, hosts, providerPort string) string {
	t.Helper()
	program, err := exec.LookPath("squid")
	require.NoError(t, err, "install Squid, for example by: apt-get install squid")
	folder := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(folder), 0o755)) // for proxyUser
	address := freeAddress(t)
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644))
	}
	write("hosts", hosts)
	write("allowed-hosts.txt", read(t, "allowed-hosts.txt"))
	config := replace(t, read(t, "squid.conf"),
		"http_port 3128", "http_port "+address, // and only on loopback
		"/etc/squid/", folder+"/",
		"acl https port 443", "acl https port "+providerPort,
		" 127.0.0.0/8", "", // where the provider of the test is
	)
	write("squid.conf", config+"hosts_file "+folder+"/hosts\ndns_nameservers 127.0.0.1\n")

	deployment := &appsv1.Deployment{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(read(t, "deployment.yaml")), deployment))
	container := deployment.Spec.Template.Spec.Containers[0]
	require.Equal(t, "/usr/sbin/squid", container.Command[0])
	arguments := strings.ReplaceAll(strings.Join(container.Command[1:], " "), "/etc/squid/", folder+"/")
	command := exec.Command(program, strings.Fields(arguments)...)
	output, err := os.Create(filepath.Join(folder, "log"))
	require.NoError(t, err)
	command.Stdout, command.Stderr = output, output
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Squid starts another process, which must end with it
	if os.Geteuid() == 0 {
		command.SysProcAttr.Credential = &syscall.Credential{Uid: proxyUser, Gid: proxyUser}
	}
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		_ = command.Wait()
		if text, _ := os.ReadFile(output.Name()); t.Failed() {
			t.Logf("the log of Squid:\n%s", text)
		}
		_ = output.Close()
	})
	require.Eventually(t, func() bool {
		connection, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = connection.Close()
		}
		return err == nil
	}, 30*time.Second, 100*time.Millisecond, "Squid listens")
	return address
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(example + file)
	require.NoError(t, err)
	return string(text)
}

// replace replaces pairs of texts, of which the first must be there.
func replace(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		require.Contains(t, text, pairs[i])
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// ask sends the head of a request to the proxy, and returns the status code of the answer.
func ask(t *testing.T, proxy, head string) int {
	t.Helper()
	connection, err := net.Dial("tcp", proxy)
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	require.NoError(t, connection.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = io.WriteString(connection, head+"\r\n\r\n")
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(connection), &http.Request{Method: http.MethodConnect})
	require.NoError(t, err)
	_ = response.Body.Close()
	return response.StatusCode
}

func TestTheProxyReachesAllowedHostsOnly(t *testing.T) {
	provider := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s of %s", r.URL.Path, r.Host)
	}))
	provider.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections without a handshake
	provider.StartTLS()
	defer provider.Close()
	_, port, err := net.SplitHostPort(provider.Listener.Addr().String())
	require.NoError(t, err)
	proxy := squid(t, `
127.0.0.1 api.openai.com
10.0.0.1 api.anthropic.com
127.0.0.2 other.example
127.0.0.3 other.api.openai.com
`, port)

	for _, row := range []struct {
		why, request string
		want         int
	}{
		{"an allowed host", "CONNECT api.openai.com:" + port + " HTTP/1.1", http.StatusOK},
		{"another host", "CONNECT other.example:" + port + " HTTP/1.1", http.StatusForbidden},
		{"a host below an allowed one", "CONNECT other.api.openai.com:" + port + " HTTP/1.1", http.StatusForbidden},
		{"the address of an allowed host", "CONNECT 127.0.0.1:" + port + " HTTP/1.1", http.StatusForbidden},
		{"an allowed host with an internal address", "CONNECT api.anthropic.com:" + port + " HTTP/1.1", http.StatusForbidden},
		{"another port", "CONNECT api.openai.com:22 HTTP/1.1", http.StatusForbidden},
		{"plain HTTP", "GET http://api.openai.com:" + port + "/ HTTP/1.1\r\nHost: api.openai.com", http.StatusForbidden},
		{"the cache manager", "GET http://" + proxy + "/squid-internal-mgr/menu HTTP/1.1\r\nHost: " + proxy, http.StatusForbidden},
	} {
		require.Equal(t, row.want, ask(t, proxy, row.request), row.why)
	}

	client := provider.Client() // trusts the provider's certificate, which is for example.com
	transport := client.Transport.(*http.Transport)
	transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: proxy})
	transport.TLSClientConfig.ServerName = "example.com"
	response, err := client.Get("https://api.openai.com:" + port + "/v1/models")
	require.NoError(t, err, "as an Agent with HTTPS_PROXY")
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, "/v1/models of api.openai.com:"+port, string(body))
}
