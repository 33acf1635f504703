package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// answerLimit bounds a whole answer in bytes, and lineLimit one event of a stream.
	answerLimit = 8 << 20
	lineLimit   = 1 << 20
)

// A model generates an answer to a text. If piece is set, answer calls it with each part of the answer as it arrives, and stops if
// piece fails.
type model interface {
	answer(ctx context.Context, text string, piece func(string) error) (string, error)
}

// newModel returns the configured provider, or an echo.
func newModel(settings modelConfig, who card, log *slog.Logger) model {
	if settings.baseURL == "" {
		log.Warn("no model: OPENAI_BASE_URL is not set, so the agent repeats each question")
		return echo{}
	}
	return &provider{
		modelConfig:  settings,
		instructions: "You are " + who.name + ". " + who.description,
		// Following a redirect would send the key to a host that is not configured.
		client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// echo repeats the question, word by word, so that the agent runs without a provider.
type echo struct{}

func (echo) answer(_ context.Context, text string, piece func(string) error) (string, error) {
	whole := "echo: " + text
	if piece != nil {
		for _, word := range strings.SplitAfter(whole, " ") {
			if err := piece(word); err != nil {
				return "", err
			}
		}
	}
	return whole, nil
}

// A modelError is the reason why there is no answer. It may be logged. The detail quotes the provider, which may repeat the question,
// so only the caller gets it.
type modelError struct{ reason, detail string }

// Error never contains the key.
func (e *modelError) Error() string {
	if e.detail == "" {
		return e.reason
	}
	return e.reason + ": " + e.detail
}

// provider calls an endpoint that is compatible with the OpenAI chat completions API.
type provider struct {
	modelConfig
	instructions string
	client       *http.Client
}

// errSlow cancels a call that received nothing within the timeout.
var errSlow = errors.New("timeout")

// answer waits at most the timeout: for the whole answer or, in a stream, for each piece.
func (p *provider) answer(ctx context.Context, text string, piece func(string) error) (string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(p.timeout, func() { cancel(errSlow) })
	defer timer.Stop()
	whole, err := p.complete(ctx, text, piece, func() { timer.Reset(p.timeout) })
	if err != nil && errors.Is(context.Cause(ctx), errSlow) {
		return "", &modelError{reason: fmt.Sprintf("the model provider sent nothing for %s: try again, or raise MODEL_TIMEOUT", p.timeout)}
	}
	return whole, err
}

func (p *provider) complete(ctx context.Context, text string, piece func(string) error, alive func()) (string, error) {
	reply, err := p.post(ctx, text, piece != nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = reply.Body.Close() }()
	if reply.StatusCode != http.StatusOK {
		return "", p.statusError(reply)
	}
	if piece != nil {
		return p.readStream(reply.Body, piece, alive)
	}
	var completion completion
	if err := json.NewDecoder(io.LimitReader(reply.Body, answerLimit)).Decode(&completion); err != nil || len(completion.Choices) == 0 {
		return "", &modelError{reason: "cannot read the answer of the model provider: check OPENAI_BASE_URL"}
	}
	return completion.Choices[0].Message.Content, nil
}

func (p *provider) post(ctx context.Context, text string, stream bool) (*http.Response, error) {
	body, err := json.Marshal(map[string]any{"model": p.name, "stream": stream, "messages": []map[string]string{
		{"role": "system", "content": p.instructions},
		{"role": "user", "content": text},
	}})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.baseURL+"/chat/completions", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if p.key != "" {
		request.Header.Set("Authorization", "Bearer "+p.key)
	}
	reply, err := p.client.Do(request)
	if inner := new(url.Error); errors.As(err, &inner) { // its text contains the URL
		return nil, &modelError{"cannot reach the model provider", inner.Err.Error()}
	}
	return reply, err
}

// completion is the part of a chat completion, of a chunk, or of an error that the agent reads.
type completion struct {
	Choices []struct {
		Message, Delta struct {
			Content string `json:"content"`
		}
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// readStream reads Server-Sent Events until the event that ends the answer.
func (p *provider) readStream(body io.Reader, piece func(string) error, alive func()) (string, error) {
	var whole strings.Builder
	finished := false
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, lineLimit)
	for lines.Scan() {
		alive()
		data, found := strings.CutPrefix(lines.Text(), "data:")
		if !found {
			continue
		}
		if data = strings.TrimSpace(data); data == "[DONE]" {
			return whole.String(), nil
		}
		var event completion
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			return "", &modelError{reason: "cannot read the stream of the model provider: check OPENAI_BASE_URL"}
		}
		if event.Error != nil {
			return "", &modelError{"the model provider failed during its answer", p.redact(event.Error.Message)}
		}
		if len(event.Choices) == 0 {
			continue // for example, usage
		}
		finished = finished || event.Choices[0].FinishReason != ""
		if text := event.Choices[0].Delta.Content; text != "" {
			whole.WriteString(text)
			if err := piece(text); err != nil {
				return "", err
			}
		}
	}
	if !finished {
		return "", &modelError{reason: "the answer of the model provider ended early: try again"}
	}
	return whole.String(), nil
}

// statusError describes an HTTP status that is not 200. It omits the body of a response that rejects the key, because that body
// often contains a part of the key.
func (p *provider) statusError(reply *http.Response) error {
	reason := fmt.Sprintf("the model provider answered %d", reply.StatusCode)
	switch reply.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return &modelError{reason: reason + ": the provider rejects the key; check OPENAI_API_KEY"}
	case http.StatusTooManyRequests:
		reason += ": rate limit reached"
	}
	var body completion
	if json.NewDecoder(io.LimitReader(reply.Body, lineLimit)).Decode(&body) != nil || body.Error == nil {
		return &modelError{reason: reason}
	}
	return &modelError{reason, p.redact(body.Error.Message)}
}

// redact removes the key from a text of the provider.
func (p *provider) redact(text string) string {
	if p.key != "" {
		text = strings.ReplaceAll(text, p.key, "[OPENAI_API_KEY]")
	}
	return text
}
