package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// account is who the operator is to the API server.
	account = "system:serviceaccount:" + system + ":flokoa-operator"
	// starting bounds the time until an operator is ready, and until it leads when no other does.
	starting = 30 * time.Second
	// stopping bounds the time an operator takes to end once it is asked to; its own limit is 30 s for the work under way.
	stopping = 40 * time.Second
)

// workshop is the folder of the operator's binary, kubeconfigs and logs.
var workshop string

// buildOperator builds it as `make build` does.
func buildOperator(ctx context.Context) (err error) {
	if workshop, err = os.MkdirTemp("", "flokoa-e2e-"); err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=e2e", "-o", binary(), "./operator/cmd/flokoa-operator")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func binary() string { return filepath.Join(workshop, "flokoa-operator") }

// process is an operator that runs.
type process struct {
	command *exec.Cmd
	// health and metrics are the host:port of its endpoints; kubeconfig and log are paths.
	health, metrics, kubeconfig, log string
	// flags are those it gets beside the ones that every operator of these tests gets.
	flags []string
	// credential is what tells its requests from those of another operator with the same account: the id of its token.
	credential string
	done       chan struct{} // closed when it has ended
}

// startOperator starts one and waits until it leads.
func startOperator(ctx context.Context) (*process, error) {
	p, err := startStandby(ctx)
	if err != nil {
		return nil, err
	}
	return p, p.await(ctx, "it leads", starting, p.leads)
}

// startStandby starts an operator, with more flags than every one of these tests gives, and waits until it is ready, whether or
// not it leads.
func startStandby(ctx context.Context, flags ...string) (*process, error) {
	return startThrough(ctx, cluster.config, flags...)
}

// startThrough starts an operator that reaches the API server as a configuration says, and waits until it is ready.
func startThrough(ctx context.Context, way *rest.Config, flags ...string) (*process, error) {
	p, err := newProcess(ctx, way, "flokoa-operator", flags...)
	if err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		return nil, err
	}
	return p, p.await(ctx, "it is ready", starting, p.ready)
}

// newProcess is an operator that is not started yet, with a token of a ServiceAccount.
func newProcess(ctx context.Context, way *rest.Config, name string, flags ...string) (*process, error) {
	token, err := tokenOf(ctx, api, name)
	if err != nil {
		return nil, err
	}
	return processWith(token, way, flags...)
}

// startOn starts an operator on another cluster than the one that the tests share, and waits until it leads there.
func startOn(ctx context.Context, kubeconfig string) (*process, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	theirs, err := newClient(config)
	if err != nil {
		return nil, err
	}
	token, err := tokenOf(ctx, theirs, "flokoa-operator")
	if err != nil {
		return nil, err
	}
	p, err := processWith(token, config)
	if err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		return nil, err
	}
	return p, p.await(ctx, "it leads", starting, p.leads)
}

// processWith is an operator that is not started yet, with a token.
func processWith(token string, way *rest.Config, flags ...string) (*process, error) {
	folder, err := os.MkdirTemp(workshop, "process-")
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(way)
	config.BearerToken = token
	p := &process{kubeconfig: filepath.Join(folder, "kubeconfig"), log: filepath.Join(folder, "log"), flags: flags}
	if err := writeKubeconfig(p.kubeconfig, config); err != nil {
		return nil, err
	}
	if p.credential, err = credentialID(token); err != nil {
		return nil, err
	}
	if p.health, err = freeAddress(); err != nil {
		return nil, err
	}
	p.metrics, err = freeAddress()
	return p, err
}

// again starts an operator that has ended once more, as the kubelet does with its container.
func (p *process) again() (*process, error) {
	next := &process{kubeconfig: p.kubeconfig, flags: p.flags, log: p.log + "-again", health: p.health, metrics: p.metrics, credential: p.credential}
	return next, next.start()
}

// ended tells whether an operator has.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) start() error {
	log, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	arguments := append([]string{"--kubeconfig", p.kubeconfig, "--leader-election-namespace", system,
		"--health-probe-bind-address", p.health, "--metrics-bind-address", p.metrics}, p.flags...)
	p.command, p.done = exec.Command(binary(), arguments...), make(chan struct{})
	p.command.Stderr, p.command.Stdout = log, log // files, so that nothing waits for it to close them
	if err := p.command.Start(); err != nil {
		return err
	}
	go func() {
		_ = p.command.Wait()
		close(p.done)
	}()
	return nil
}

// newToken asks for a token of the chart's ServiceAccount, as the kubelet does for a pod.
func newToken(ctx context.Context) (string, error) { return tokenOf(ctx, api, "flokoa-operator") }

// tokenOf asks a cluster for a token of any ServiceAccount beside it.
func tokenOf(ctx context.Context, api client.Client, name string) (string, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](2 * 60 * 60)}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: name}}
	err := api.SubResource("token").Create(ctx, account, request)
	return request.Status.Token, err
}

// credentialID is the name that the audit log has for a token.
func credentialID(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("the token is no JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	claims := struct {
		ID string `json:"jti"`
	}{}
	return "JTI=" + claims.ID, json.Unmarshal(payload, &claims)
}

// writeKubeconfig writes a file that has everything a client needs to be who the configuration says.
func writeKubeconfig(path string, config *rest.Config) error {
	return clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{"e2e": {Server: config.Host, CertificateAuthorityData: config.CAData, CertificateAuthority: config.CAFile}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{"e2e": {
			Token: config.BearerToken, ClientCertificateData: config.CertData, ClientKeyData: config.KeyData,
		}},
		Contexts:       map[string]*clientcmdapi.Context{"e2e": {Cluster: "e2e", AuthInfo: "e2e"}},
		CurrentContext: "e2e",
	}, path)
}

// freeAddress is a loopback address that nothing listens on.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// await polls an operator's endpoints until a condition holds, and not longer than the process lives.
func (p *process) await(ctx context.Context, what string, limit time.Duration, holds func(context.Context) bool) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
		if p.ended() {
			return false, fmt.Errorf("it ended with %s", p.command.ProcessState)
		}
		return holds(ctx), nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the operator until %s: %w; the end of its log:\n%s", what, err, p.tail(""))
	}
	return nil
}

func (p *process) ready(ctx context.Context) bool {
	_, err := get(ctx, "http://"+p.health+"/readyz")
	return err == nil
}

func (p *process) leads(ctx context.Context) bool {
	return p.metric(ctx, "leader_election_master_status") == 1
}

// scrape is everything that an operator exports, as Prometheus reads it.
func (p *process) scrape(ctx context.Context) (string, error) {
	return get(ctx, "http://"+p.metrics+"/metrics")
}

// metric is the sum of all series of a metric that have every one of these labels, such as `controller="agent"`.
func (p *process) metric(ctx context.Context, name string, labels ...string) float64 {
	body, err := p.scrape(ctx)
	if err != nil {
		return -1
	}
	sum := 0.0
	for _, match := range regexp.MustCompile(`(?m)^`+name+`(\{.*\})? (\S+)$`).FindAllStringSubmatch(body, -1) {
		has := true
		for _, label := range labels {
			has = has && strings.Contains(match[1], label)
		}
		if value, err := strconv.ParseFloat(match[2], 64); err == nil && has {
			sum += value
		}
	}
	return sum
}

func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return string(body), err
}

// end sends a signal and waits until the process has ended.
func (p *process) end(signal os.Signal) error {
	if err := p.command.Process.Signal(signal); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopping):
		_ = p.command.Process.Kill()
		return fmt.Errorf("it did not end within %s; the end of its log:\n%s", stopping, p.tail(""))
	}
}

// kill ends an operator as a machine does that loses power.
func (p *process) kill() error { return p.end(syscall.SIGKILL) }

// stop ends an operator as the kubelet does. It must end well.
func (p *process) stop() error {
	if err := p.end(syscall.SIGTERM); err != nil {
		return err
	}
	if code := p.command.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("exit code %d; the end of its log:\n%s", code, p.tail(""))
	}
	return nil
}

// stopGracefully stops the only operator, which must leave a lease that nobody holds.
func stopGracefully(ctx context.Context, p *process) error {
	if err := p.stop(); err != nil {
		return err
	}
	holder, err := leaseHolder(ctx)
	if err == nil && holder != "" {
		err = fmt.Errorf("the lease is still held by %q", holder)
	}
	return err
}

func leaseHolder(ctx context.Context) (string, error) {
	lease := &coordinationv1.Lease{}
	err := api.Get(ctx, client.ObjectKey{Namespace: system, Name: "flokoa-operator"}, lease)
	return ptr.Deref(lease.Spec.HolderIdentity, ""), err
}

// rssKiB is the memory an operator holds, in KiB; 0 where /proc does not tell.
func (p *process) rssKiB() int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0
	}
	match := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if match == nil {
		return 0
	}
	kib, _ := strconv.Atoi(string(match[1]))
	return kib
}

// tail are the last lines of an operator's log that have a phrase.
func (p *process) tail(phrase string) string {
	lines := p.lines(phrase)
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// lines are all lines of an operator's log that have a phrase.
func (p *process) lines(phrase string) []string {
	log, _ := os.ReadFile(p.log)
	return slices.DeleteFunc(strings.Split(strings.TrimSpace(string(log)), "\n"), func(line string) bool { return !strings.Contains(line, phrase) })
}
