package harness

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
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// Call is a request on its way from an operator to the API server.
type Call struct {
	// Verb is the API's: get, list, watch, create, update, patch or delete.
	Verb string
	// Resource has its subresource, such as agents/status; it is empty for what is about no resource, such as discovery.
	Resource, Namespace, Name string
	At                        time.Time
	// FaultName is the name of the fault that the call met, empty when it got through.
	FaultName string
}

// String is a call as messages show it.
func (c Call) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s/%s %s", c.Verb, c.Resource, c.Namespace, c.Name, c.FaultName))
}

// IsWrite reports whether a call writes an object that Flokoa manages, as Request.IsWrite does.
func (c Call) IsWrite() bool {
	return slices.Contains([]string{"create", "update", "patch", "delete"}, c.Verb) && c.Resource != "leases" && c.Resource != "events"
}

// callOf reads what a request is about from its URL: /api/v1/... or /apis/GROUP/VERSION/..., then
// [namespaces/NAMESPACE/]RESOURCE[/NAME[/SUBRESOURCE]].
func callOf(r *http.Request) Call {
	c := Call{At: time.Now(), Verb: map[string]string{
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
		c.Namespace, parts = parts[1], parts[2:]
	}
	c.Resource = parts[0]
	if len(parts) > 1 {
		c.Name = parts[1]
	}
	if len(parts) > 2 {
		c.Resource += "/" + parts[2]
	}
	switch {
	case c.Verb == "get" && r.URL.Query().Get("watch") != "":
		c.Verb = "watch"
	case c.Verb == "get" && c.Name == "":
		c.Verb = "list"
	}
	return c
}

// Fault is what happens to a call instead of being answered by the API server.
type Fault struct {
	// Name is how records call it.
	Name string
	// Serve may hand the call on, to take its answer away.
	Serve func(w http.ResponseWriter, r *http.Request, onward http.HandlerFunc)
}

// Faults in which the API server rejects a call or does not respond.
var (
	InternalError = apiError("500", http.StatusInternalServerError, metav1.StatusReasonInternalError, 0)
	Conflict      = apiError("409", http.StatusConflict, metav1.StatusReasonConflict, 0)
	TooMany       = apiError("429", http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, 1)
	// Timeout is the response of the API server when a webhook or its storage takes too long.
	Timeout = Fault{"504", func(w http.ResponseWriter, r *http.Request, onward http.HandlerFunc) {
		select {
		case <-r.Context().Done():
		case <-time.After(2 * time.Second):
			apiError("504", http.StatusGatewayTimeout, metav1.StatusReasonTimeout, 0).Serve(w, r, onward)
		}
	}}
	// Dropped never arrives: the connection is closed.
	Dropped = Fault{"dropped", func(http.ResponseWriter, *http.Request, http.HandlerFunc) { panic(http.ErrAbortHandler) }}
	// ResponseLost executes the call and drops the response.
	ResponseLost = Fault{"unheard", func(_ http.ResponseWriter, r *http.Request, onward http.HandlerFunc) {
		onward(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}}
)

// Unanswered never responds; when the client gives up, it reports how long that took.
func Unanswered(gaveUp chan<- time.Duration) Fault {
	return Fault{"unanswered", func(_ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		began := time.Now()
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the client has left
		<-r.Context().Done()
		gaveUp <- time.Since(began)
		panic(http.ErrAbortHandler)
	}}
}

// apiError answers as the API server does.
func apiError(name string, code int, reason metav1.StatusReason, retryAfter int32) Fault {
	return Fault{name, func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		w.Header().Set("Content-Type", "application/json")
		if retryAfter > 0 {
			w.Header().Set("Retry-After", fmt.Sprint(retryAfter))
		}
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(code),
			Reason: reason, Message: "made up by a proxy: " + string(reason), Details: &metav1.StatusDetails{RetryAfterSeconds: retryAfter},
		})
	}}
}

// Slow hands every call on after a while.
func Slow(by time.Duration) Fault { return Delayed(by, Fault{"slow", forward}) }

func forward(w http.ResponseWriter, r *http.Request, onward http.HandlerFunc) { onward(w, r) }

// Delayed has a call meet a fault after a while.
func Delayed(by time.Duration, fault Fault) Fault {
	return Fault{fault.Name, func(w http.ResponseWriter, r *http.Request, onward http.HandlerFunc) {
		select {
		case <-r.Context().Done():
		case <-time.After(by):
			fault.Serve(w, r, onward)
		}
	}}
}

// Schedule decides what a call meets, nil for the API server. Its calls follow one another.
type Schedule func(Call) *Fault

// RandomFaults has a share of all calls meet one fault or another, leases apart: what becomes of the lease is a matter of its own.
func RandomFaults(seed uint64, share float64) Schedule {
	dice := rand.New(rand.NewPCG(seed, seed))
	reads, writes := []Fault{InternalError, TooMany, Timeout, Dropped}, []Fault{InternalError, Conflict, TooMany, Timeout, Dropped, ResponseLost}
	return func(c Call) *Fault {
		if c.Resource == "leases" || dice.Float64() >= share {
			return nil
		}
		if c.Verb == "get" || c.Verb == "list" || c.Verb == "watch" {
			return &reads[dice.IntN(len(reads))]
		}
		return &writes[dice.IntN(len(writes))]
	}
}

// Proxy stands between an operator and the API server. It hands on everything, the operator's credential included, but for what a
// schedule says, and keeps a record of all that passes.
type Proxy struct {
	*httptest.Server
	onward http.Handler

	mutex sync.Mutex
	now   Schedule
	// byNamespace is what calls about a namespace meet instead.
	byNamespace map[string]Schedule
	calls       []Call
	watches     map[int]context.CancelFunc
	next        int
}

// NewProxy is a proxy that listens, before the API server of a configuration, until it is closed.
func NewProxy(config *rest.Config) (*Proxy, error) {
	target, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	transport, err := rest.TransportFor(rest.AnonymousClientConfig(config))
	if err != nil {
		return nil, err
	}
	p := &Proxy{byNamespace: map[string]Schedule{}, watches: map[int]context.CancelFunc{}, onward: &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1, // watch events are sent at once
		ErrorLog:      log.New(io.Discard, "", 0),
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}}
	// TLS, because a kubeconfig gives no credential to a server without. HTTP/1.1, so that a connection that is closed is that
	// of one call.
	p.Server = httptest.NewUnstartedServer(p)
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.StartTLS()
	return p, nil
}

// End closes the proxy, and with it every connection.
func (p *Proxy) End() {
	p.CloseClientConnections()
	p.Close()
}

// RESTConfig is how the API server is reached through the proxy.
func (p *Proxy) RESTConfig() *rest.Config {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
	return &rest.Config{Host: p.URL, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}
}

// ServeHTTP applies the fault that the schedule has for a call.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := callOf(r)
	if fault := p.faultFor(c); fault != nil {
		fault.Serve(w, r, p.onward.ServeHTTP)
		return
	}
	if c.Verb == "watch" {
		ctx, cancel := context.WithCancel(r.Context())
		defer p.trackWatch(cancel)()
		r = r.WithContext(ctx)
	}
	p.onward.ServeHTTP(w, r)
}

func (p *Proxy) faultFor(c Call) (fault *Fault) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	decide, apart := p.byNamespace[c.Namespace]
	if !apart {
		decide = p.now
	}
	if decide != nil {
		fault = decide(c)
	}
	if fault != nil {
		c.FaultName = fault.Name
	}
	p.calls = append(p.calls, c)
	return fault
}

// trackWatch remembers a watch until the returned function is called.
func (p *Proxy) trackWatch(cancel context.CancelFunc) (forget func()) {
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

// CutWatches interrupts all watches, and returns their number.
func (p *Proxy) CutWatches() int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, cancel := range p.watches {
		cancel()
	}
	return len(p.watches)
}

// SetSchedule sets the schedule of faults, and starts a new record of calls.
func (p *Proxy) SetSchedule(schedule Schedule) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.now, p.calls = schedule, nil
}

// SetNamespaceSchedule sets the schedule of faults for calls in one namespace.
func (p *Proxy) SetNamespaceSchedule(namespace string, schedule Schedule) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.byNamespace[namespace] = schedule
}

// ClearSchedule ends all faults; those under way go on.
func (p *Proxy) ClearSchedule() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.now = nil
}

// Calls is all that passed since the present schedule began.
func (p *Proxy) Calls() []Call {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return slices.Clone(p.calls)
}
