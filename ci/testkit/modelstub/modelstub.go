// Package modelstub is a stand-in for a model provider: the part of OpenAI's API that agents call, answered without a model,
// the same each time, as fast or as slowly as a test requests.
package modelstub

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// instant is the model that answers at once; with a duration after a hyphen it takes that long.
	instant = "stub"
	// longest is the longest duration in a model's name.
	longest = time.Hour
	// pace is the least time between two pieces of a slow answer.
	pace = 250 * time.Millisecond
	// burst is how many pieces the answer of the instant model has.
	burst = 8
	// bodyLimit is how many bytes of a request are read.
	bodyLimit = 4 << 20
)

// A Stub is an http.Handler for POST /v1/chat/completions, streamed and not, and GET /v1/models, as the public reference of OpenAI's
// API has them. GET /calls returns Calls as a JSON object, without a key and uncounted: a test may run in another pod.
//
// The answer is "You said: " and the last message of the user. The model "stub" gives it at once. "stub-30s", with any positive
// duration that time.ParseDuration reads, up to an hour, takes that long: a streamed answer comes in pieces spread evenly over the
// time, 250 ms or more apart, the last one at its end. Any other model does not exist (404). A caller that goes away ends its answer.
//
// Errors have OpenAI's form. The one for a wrong key repeats that key, as real providers do with part of it, so that a test
// sees whether an agent passes it on.
type Stub struct {
	api   http.Handler
	mutex sync.Mutex
	calls map[string]int
}

// New returns a stub. With a key, each request must carry it as a bearer token. With an empty key, no token is required.
func New(key string) *Stub {
	s := &Stub{calls: map[string]int{}}
	api := http.NewServeMux()
	api.HandleFunc("POST /v1/chat/completions", complete)
	api.HandleFunc("GET /v1/models", models)
	api.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, failure{http.StatusNotFound, "invalid_request_error", "unknown_url", "Unknown request URL: " + r.Method + " " + r.URL.Path})
	})
	all := http.NewServeMux()
	all.HandleFunc("GET /calls", func(w http.ResponseWriter, _ *http.Request) { write(w, http.StatusOK, s.Calls()) })
	all.Handle("/", s.counted(key, api))
	s.api = all
	return s
}

func (s *Stub) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.api.ServeHTTP(w, r) }

// Calls returns the number of requests by the key that they carried, rejected ones included: a test asks who talked to this provider,
// and a caller with a wrong key did. A request without a bearer token counts under the empty key.
func (s *Stub) Calls() map[string]int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return maps.Clone(s.calls)
}

// counted counts each request, before its answer, and passes it on if its key is right.
func (s *Stub) counted(key string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !isBearer {
			given = ""
		}
		s.mutex.Lock()
		s.calls[given]++
		s.mutex.Unlock()
		if key != "" && given != key {
			fail(w, failure{http.StatusUnauthorized, "invalid_request_error", "invalid_api_key", "Incorrect API key provided: " + given})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// A request is what is read of a chat completion request.
type request struct {
	Model    string    `json:"model"`
	Stream   bool      `json:"stream"`
	Messages []message `json:"messages"`
}

type message struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"` // a string, or a list of parts
}

func complete(w http.ResponseWriter, r *http.Request) {
	var body request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyLimit)).Decode(&body); err != nil {
		fail(w, failure{http.StatusBadRequest, "invalid_request_error", "", "We could not parse the JSON body of your request: " + err.Error()})
		return
	}
	span, known := duration(body.Model)
	if !known {
		fail(w, failure{http.StatusNotFound, "invalid_request_error", "model_not_found", fmt.Sprintf("The model %q does not exist: ask for stub, or for stub-30s", body.Model)})
		return
	}
	prompt, found := lastOfUser(body.Messages)
	if !found {
		fail(w, failure{http.StatusBadRequest, "invalid_request_error", "", "messages holds no message of the user"})
		return
	}
	answer := "You said: " + prompt
	if body.Stream {
		stream(w, r, body.Model, answer, span)
		return
	}
	if wait(r.Context(), span) {
		write(w, http.StatusOK, completion(body.Model, "chat.completion", map[string]any{
			"index": 0, "finish_reason": "stop", "message": map[string]any{"role": "assistant", "content": answer},
		}))
	}
}

// stream writes the answer as Server-Sent Events, each a piece of it, and [DONE] as the last.
func stream(w http.ResponseWriter, r *http.Request, model, answer string, span time.Duration) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	out := http.NewResponseController(w)
	send := func(delta map[string]any, finish any) {
		text, _ := json.Marshal(completion(model, "chat.completion.chunk", map[string]any{"index": 0, "delta": delta, "finish_reason": finish}))
		_, _ = fmt.Fprintf(w, "data: %s\n\n", text)
		_ = out.Flush()
	}
	send(map[string]any{"role": "assistant", "content": ""}, nil)
	parts := pieces(answer, span)
	for _, part := range parts {
		if !wait(r.Context(), span/time.Duration(len(parts))) {
			return
		}
		send(map[string]any{"content": part}, nil)
	}
	send(map[string]any{}, "stop")
	_, _ = fmt.Fprint(w, "data: [DONE]\n\n")
}

// completion is the frame around a choice. Its id and its time are always the same.
func completion(model, object string, choice map[string]any) map[string]any {
	return map[string]any{"id": "chatcmpl-stub", "object": object, "created": 0, "model": model, "choices": []any{choice}}
}

func models(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, map[string]any{"object": "list", "data": []any{
		map[string]any{"id": instant, "object": "model", "created": 0, "owned_by": "flokoa"},
	}})
}

// duration is how long a model takes to answer, and whether there is such a model.
func duration(model string) (time.Duration, bool) {
	if model == instant {
		return 0, true
	}
	text, found := strings.CutPrefix(model, instant+"-")
	span, err := time.ParseDuration(text)
	return span, found && err == nil && span > 0 && span <= longest
}

// lastOfUser is the text of the last message whose role is user, and whether there is one.
func lastOfUser(messages []message) (string, bool) {
	for i := len(messages) - 1; i >= 0; i-- {
		if messages[i].Role == "user" {
			return messages[i].text(), true
		}
	}
	return "", false
}

// text is the content of a message: itself when it is a string, else its text parts, joined.
func (m message) text() string {
	var whole string
	if json.Unmarshal(m.Content, &whole) == nil {
		return whole
	}
	var parts []struct {
		Text string `json:"text"`
	}
	_ = json.Unmarshal(m.Content, &parts) // other content has no text
	for _, part := range parts {
		whole += part.Text
	}
	return whole
}

// pieces cuts a text, which is not empty, into as many pieces as the span has room for, each at least one character.
func pieces(text string, span time.Duration) []string {
	runes := []rune(text)
	count := burst
	if span > 0 {
		count = max(1, int(span/pace))
	}
	count = min(count, len(runes))
	parts := make([]string, count)
	for i := range parts {
		parts[i] = string(runes[i*len(runes)/count : (i+1)*len(runes)/count])
	}
	return parts
}

// wait is true after the span, and false as soon as the caller has gone.
func wait(ctx context.Context, span time.Duration) bool {
	if span == 0 {
		return true
	}
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// A failure is an error of the API: its HTTP status and its body.
type failure struct {
	status              int
	kind, code, message string
}

func fail(w http.ResponseWriter, f failure) {
	var code any // null when there is none
	if f.code != "" {
		code = f.code
	}
	write(w, f.status, map[string]any{"error": map[string]any{"message": f.message, "type": f.kind, "param": nil, "code": code}})
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a caller that has gone needs no answer
}
