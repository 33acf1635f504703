package harness

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
	// System is the namespace in which the charts are installed.
	System = "flokoa-system"
	// Account is who the operator is to the API server.
	Account = "system:serviceaccount:" + System + ":flokoa-operator"
	// StartTimeout bounds the time until an operator is ready, and until it leads when no other does.
	StartTimeout = 30 * time.Second
	// stopTimeout bounds the time an operator takes to end once it receives SIGTERM; its own limit is 30 s for the work under way.
	stopTimeout = 40 * time.Second
)

// Build builds the operator as `make build` does, into a folder, and returns the path of the program; root is the folder of the
// repository.
func Build(ctx context.Context, root, folder, version string) (program string, err error) {
	program = filepath.Join(folder, "flokoa-operator")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+version, "-o", program, "./operator/cmd/flokoa-operator")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the operator: %w\n%s", err, out)
	}
	return program, nil
}

// memoryLimit is GOMEMLIMIT as the chart flokoa-operator sets it: the memory limit of the container.
const memoryLimit = "256MiB"

// Operator is an operator as a process of this machine.
type Operator struct {
	// Program, Kubeconfig and Log are paths.
	Program, Kubeconfig, Log string
	// Health and Metrics are the host:port of its endpoints.
	Health, Metrics string
	// Flags are those it gets beside the ones that every operator here gets.
	Flags []string
	// Credential is the ID of its token. It distinguishes its requests from those of another operator with the same account.
	Credential string

	command *exec.Cmd
	done    chan struct{} // closed when it has ended
}

// New is an operator that is not started yet. It reaches the API server as a configuration says, with a token instead of what
// the configuration has for a credential, and keeps what belongs to it in a new folder beside its program.
func New(program, token string, via *rest.Config, flags ...string) (*Operator, error) {
	folder, err := os.MkdirTemp(filepath.Dir(program), "process-")
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(via)
	config.BearerToken = token
	o := &Operator{Program: program, Kubeconfig: filepath.Join(folder, "kubeconfig"), Log: filepath.Join(folder, "log"), Flags: flags}
	if err := WriteKubeconfig(o.Kubeconfig, config); err != nil {
		return nil, err
	}
	if o.Credential, err = credentialID(token); err != nil {
		return nil, err
	}
	o.Health, o.Metrics, err = FreeAddresses()
	return o, err
}

// Restart starts an operator that has ended once more, as the kubelet does with its container.
func (o *Operator) Restart() (*Operator, error) {
	next := *o
	next.Log, next.command, next.done = o.Log+"-again", nil, nil
	return &next, next.Start()
}

// Ended reports whether an operator has exited.
func (o *Operator) Ended() bool {
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}

// Done is closed when an operator that was started has ended.
func (o *Operator) Done() <-chan struct{} { return o.done }

// Started reports whether it was started.
func (o *Operator) Started() bool { return o.command != nil }

// PID is the number of the process of an operator that was started.
func (o *Operator) PID() int { return o.command.Process.Pid }

// State is the exit status of an operator; nil before it exits.
func (o *Operator) State() *os.ProcessState { return o.command.ProcessState }

// Start starts it, and waits for nothing.
func (o *Operator) Start() error {
	log, err := os.Create(o.Log)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	arguments := append([]string{"--kubeconfig", o.Kubeconfig, "--leader-election-namespace", System,
		"--health-probe-bind-address", o.Health, "--metrics-bind-address", o.Metrics}, o.Flags...)
	o.command, o.done = exec.Command(o.Program, arguments...), make(chan struct{})
	o.command.Env = append(os.Environ(), "GOMEMLIMIT="+memoryLimit)
	o.command.Stderr, o.command.Stdout = log, log // files, so that nothing waits for it to close them
	if err := o.command.Start(); err != nil {
		return err
	}
	go func() {
		_ = o.command.Wait()
		close(o.done)
	}()
	return nil
}

// Token requests a token of a ServiceAccount in System, as the kubelet does for a pod.
func Token(ctx context.Context, api client.Client, name string) (string, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](2 * 60 * 60)}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: System, Name: name}}
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

// WriteKubeconfig writes a client configuration to a file, with its credentials.
func WriteKubeconfig(path string, config *rest.Config) error {
	return clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{"cluster": {Server: config.Host, CertificateAuthorityData: config.CAData, CertificateAuthority: config.CAFile}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{"cluster": {
			Token: config.BearerToken, ClientCertificateData: config.CertData, ClientKeyData: config.KeyData,
		}},
		Contexts:       map[string]*clientcmdapi.Context{"cluster": {Cluster: "cluster", AuthInfo: "cluster"}},
		CurrentContext: "cluster",
	}, path)
}

// FreeAddress is a loopback address that nothing listens on.
func FreeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// FreeAddresses are two addresses. They differ: the second is chosen while the first is in use.
func FreeAddresses() (first, second string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	second, err = FreeAddress()
	return listener.Addr().String(), second, errors.Join(err, listener.Close())
}

// WaitFor polls an operator's endpoints until a condition holds, and not longer than the process lives.
func (o *Operator) WaitFor(ctx context.Context, what string, limit time.Duration, holds func(context.Context) bool) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
		if o.Ended() {
			return false, fmt.Errorf("it ended with %s", o.command.ProcessState)
		}
		return holds(ctx), nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the operator until %s: %w; the end of its log:\n%s", what, err, o.Tail(""))
	}
	return nil
}

// Ready reports whether an operator is ready.
func (o *Operator) Ready(ctx context.Context) bool {
	_, err := get(ctx, "http://"+o.Health+"/readyz")
	return err == nil
}

// IsLeader reports whether an operator is the leader by its metrics.
func (o *Operator) IsLeader(ctx context.Context) bool {
	return o.Metric(ctx, "leader_election_master_status") >= 1 // one more for each namespace whose Lease it holds
}

// Scrape is everything that an operator exports, as Prometheus reads it.
func (o *Operator) Scrape(ctx context.Context) (string, error) {
	return get(ctx, "http://"+o.Metrics+"/metrics")
}

// Metric is the sum of all series of a metric that have every one of these labels, such as `controller="agent"`.
func (o *Operator) Metric(ctx context.Context, name string, labels ...string) float64 {
	body, err := o.Scrape(ctx)
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

// Alive reports whether an operator passes its liveness probe.
func (o *Operator) Alive(ctx context.Context) bool {
	_, err := get(ctx, "http://"+o.Health+"/healthz")
	return err == nil
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
func (o *Operator) end(signal os.Signal) error {
	if err := o.command.Process.Signal(signal); err != nil {
		return err
	}
	select {
	case <-o.done:
		return nil
	case <-time.After(stopTimeout):
		_ = o.command.Process.Kill()
		return fmt.Errorf("it did not end within %s; the end of its log:\n%s", stopTimeout, o.Tail(""))
	}
}

// Kill ends an operator as a machine does that loses power.
func (o *Operator) Kill() error { return o.end(syscall.SIGKILL) }

// Stop ends an operator as the kubelet does. It must end well.
func (o *Operator) Stop() error {
	if err := o.end(syscall.SIGTERM); err != nil {
		return err
	}
	if code := o.command.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("exit code %d; the end of its log:\n%s", code, o.Tail(""))
	}
	return nil
}

// LeaseHolder is the holder of the lease of the chart's operator, or empty.
func LeaseHolder(ctx context.Context, api client.Client) (string, error) {
	lease := &coordinationv1.Lease{}
	err := api.Get(ctx, client.ObjectKey{Namespace: System, Name: "flokoa-operator"}, lease)
	return ptr.Deref(lease.Spec.HolderIdentity, ""), err
}

// RSSKiB is the memory an operator holds, in KiB; 0 without /proc.
func (o *Operator) RSSKiB() int {
	memory, _ := MemoryOf(o.PID())
	return memory.RSS
}

// Tail are the last lines of an operator's log that have a phrase.
func (o *Operator) Tail(phrase string) string {
	lines := o.Lines(phrase)
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// Lines are all lines of an operator's log that have a phrase.
func (o *Operator) Lines(phrase string) []string {
	log, _ := os.ReadFile(o.Log)
	return slices.DeleteFunc(strings.Split(strings.TrimSpace(string(log)), "\n"), func(line string) bool { return !strings.Contains(line, phrase) })
}
