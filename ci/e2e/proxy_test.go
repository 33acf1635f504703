package e2e

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// call is a request on its way from an operator to the API server.
type call struct {
	// verb is the API's: get, list, watch, create, update, patch or delete.
	verb string
	// resource has its subresource, such as agents/status; it is empty for what is about no resource, such as discovery.
	resource, namespace, name string
	at                        time.Time
	// met is the name of the fault that the call met, empty when it got through.
	met string
}

// String is a call as messages show it.
func (c call) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s/%s %s", c.verb, c.resource, c.namespace, c.name, c.met))
}

// writes tells whether a call asks to change something that is Flokoa's business, as request.changes does.
func (c call) writes() bool {
	return slices.Contains([]string{"create", "update", "patch", "delete"}, c.verb) && c.resource != "leases" && c.resource != "events"
}

// callOf reads what a request is about from its URL: /api/v1/... or /apis/GROUP/VERSION/..., then
// [namespaces/NAMESPACE/]RESOURCE[/NAME[/SUBRESOURCE]].
func callOf(r *http.Request) call {
	c := call{at: time.Now(), verb: map[string]string{
		http.MethodGet: "get", http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete",
	}[r.Method]}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case parts[0] == "api" && len(parts) > 2:
		parts = parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		parts = parts[3:]
	default:
		return c
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		c.namespace, parts = parts[1], parts[2:]
	}
	c.resource = parts[0]
	if len(parts) > 1 {
		c.name = parts[1]
	}
	if len(parts) > 2 {
		c.resource += "/" + parts[2]
	}
	switch {
	case c.verb == "get" && r.URL.Query().Get("watch") != "":
		c.verb = "watch"
	case c.verb == "get" && c.name == "":
		c.verb = "list"
	}
	return c
}

// fault is what happens to a call instead of being answered by the API server.
type fault struct {
	name string
	// serve may hand the call on, to take its answer away.
	serve func(w http.ResponseWriter, r *http.Request, onward http.HandlerFunc)
}

var (
	internalError = refusal("500", http.StatusInternalServerError, metav1.StatusReasonInternalError, 0)
	conflict      = refusal("409", http.StatusConflict, metav1.StatusReasonConflict, 0)
	tooMany       = refusal("429", http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, 1)
	// timeout is what the API server says when a webhook or its storage took too long.
	timeout = fault{"504", func(w http.ResponseWriter, r *http.Request, onward http.HandlerFunc) {
		select {
		case <-r.Context().Done():
		case <-time.After(2 * time.Second):
			refusal("504", http.StatusGatewayTimeout, metav1.StatusReasonTimeout, 0).serve(w, r, onward)
		}
	}}
	// dropped never arrives: the connection is closed.
	dropped = fault{"dropped", func(http.ResponseWriter, *http.Request, http.HandlerFunc) { panic(http.ErrAbortHandler) }}
	// unheard is done, and nobody learns of it.
	unheard = fault{"unheard", func(_ http.ResponseWriter, r *http.Request, onward http.HandlerFunc) {
		onward(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}}
)

// unanswered waits for ever, which is until the client gives up; it then tells how long that took.
func unanswered(gaveUp chan<- time.Duration) fault {
	return fault{"unanswered", func(_ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		began := time.Now()
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the client has left
		<-r.Context().Done()
		gaveUp <- time.Since(began)
		panic(http.ErrAbortHandler)
	}}
}

// refusal answers as the API server does.
func refusal(name string, code int, reason metav1.StatusReason, retryAfter int32) fault {
	return fault{name, func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		w.Header().Set("Content-Type", "application/json")
		if retryAfter > 0 {
			w.Header().Set("Retry-After", fmt.Sprint(retryAfter))
		}
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(code),
			Reason: reason, Message: "made up by a test: " + string(reason), Details: &metav1.StatusDetails{RetryAfterSeconds: retryAfter},
		})
	}}
}

// schedule decides what a call meets, nil for the API server. Its calls follow one another.
type schedule func(call) *fault

// storm has a share of all calls meet one fault or another, leases apart: what becomes of the lease is a matter of its own.
func storm(seed uint64, share float64) schedule {
	dice := rand.New(rand.NewPCG(seed, seed))
	reads, writes := []fault{internalError, tooMany, timeout, dropped}, []fault{internalError, conflict, tooMany, timeout, dropped, unheard}
	return func(c call) *fault {
		if c.resource == "leases" || dice.Float64() >= share {
			return nil
		}
		if c.verb == "get" || c.verb == "list" || c.verb == "watch" {
			return &reads[dice.IntN(len(reads))]
		}
		return &writes[dice.IntN(len(writes))]
	}
}

// proxy stands between an operator and the API server. It hands on everything, the operator's credential included, but for what a
// schedule says, and keeps a record of all that passes.
type proxy struct {
	*httptest.Server
	onward http.Handler

	mutex sync.Mutex
	now   schedule
	// aside is what calls about a namespace meet instead.
	aside   map[string]schedule
	calls   []call
	watches map[int]context.CancelFunc
	next    int
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	target, err := url.Parse(cluster.config.Host)
	require.NoError(t, err)
	transport, err := rest.TransportFor(rest.AnonymousClientConfig(cluster.config))
	require.NoError(t, err)
	p := &proxy{aside: map[string]schedule{}, watches: map[int]context.CancelFunc{}, onward: &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1, // a watch is told at once
		ErrorLog:      log.New(io.Discard, "", 0),
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}}
	// TLS, because a kubeconfig gives no credential to a server without. HTTP/1.1, so that a connection that is closed is that
	// of one call.
	p.Server = httptest.NewUnstartedServer(p)
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.StartTLS()
	t.Cleanup(func() {
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

// way is how the API server is reached through the proxy.
func (p *proxy) way() *rest.Config {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
	return &rest.Config{Host: p.URL, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}
}

// ServeHTTP has a call meet what the schedule says.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := callOf(r)
	if met := p.meet(c); met != nil {
		met.serve(w, r, p.onward.ServeHTTP)
		return
	}
	if c.verb == "watch" {
		ctx, cancel := context.WithCancel(r.Context())
		defer p.keep(cancel)()
		r = r.WithContext(ctx)
	}
	p.onward.ServeHTTP(w, r)
}

func (p *proxy) meet(c call) (met *fault) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	decide, apart := p.aside[c.namespace]
	if !apart {
		decide = p.now
	}
	if decide != nil {
		met = decide(c)
	}
	if met != nil {
		c.met = met.name
	}
	p.calls = append(p.calls, c)
	return met
}

// keep remembers a watch until the returned function is called.
func (p *proxy) keep(cancel context.CancelFunc) (forget func()) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.next++
	number := p.next
	p.watches[number] = cancel
	return func() {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		delete(p.watches, number)
		cancel()
	}
}

// cut ends all watches in the middle, and says how many there were.
func (p *proxy) cut() int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, cancel := range p.watches {
		cancel()
	}
	return len(p.watches)
}

// follow begins to have calls meet what a schedule says, and a new record.
func (p *proxy) follow(schedule schedule) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.now, p.calls = schedule, nil
}

// setAside has calls about a namespace meet what a schedule of their own says.
func (p *proxy) setAside(namespace string, schedule schedule) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.aside[namespace] = schedule
}

// calm ends all faults; those under way go on.
func (p *proxy) calm() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.now = nil
}

// record is all that passed since the present schedule began.
func (p *proxy) record() []call {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return slices.Clone(p.calls)
}
