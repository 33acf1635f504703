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
	// answerLimit is how many bytes of a whole answer are read, and lineLimit of one event of a stream.
	answerLimit = 8 << 20
	lineLimit   = 1 << 20
)

// A model thinks of an answer to a text. With a piece function it calls it with each part of the answer as it comes, and gives
// up when that fails.
type model interface {
	answer(ctx context.Context, text string, piece func(string) error) (string, error)
}

// newModel is the provider that is configured, or else an echo.
func newModel(settings modelConfig, who card, log *slog.Logger) model {
	if settings.baseURL == "" {
		log.Warn("no model: OPENAI_BASE_URL is not set, so answers repeat the question")
		return echo{}
	}
	return &provider{
		modelConfig:  settings,
		instructions: "You are " + who.name + ". " + who.description,
		// A redirect would take the key to an address that nobody configured.
		client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// echo repeats what it is told, word by word. With it the agent runs without a provider.
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

// A modelError says why there is no answer. The reason is this agent's and may be logged; the detail is the provider's own
// text, which may repeat what it was asked, and so goes to the caller alone.
type modelError struct{ reason, detail string }

// Error never holds the key.
func (e *modelError) Error() string {
	if e.detail == "" {
		return e.reason
	}
	return e.reason + ": " + e.detail
}

// provider asks an endpoint of the form of OpenAI's chat completions.
type provider struct {
	modelConfig
	instructions string
	client       *http.Client
}

// errSlow ends a call on which nothing came for too long.
var errSlow = errors.New("slow")

// answer waits for the timeout at most: for the whole answer, or, of a stream, for each piece of it.
func (p *provider) answer(ctx context.Context, text string, piece func(string) error) (string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := time.AfterFunc(p.timeout, func() { cancel(errSlow) })
	defer patience.Stop()
	whole, err := p.ask(ctx, text, piece, func() { patience.Reset(p.timeout) })
	if err != nil && errors.Is(context.Cause(ctx), errSlow) {
		return "", &modelError{reason: fmt.Sprintf("the model provider sent nothing for %s: try again, or raise MODEL_TIMEOUT", p.timeout)}
	}
	return whole, err
}

func (p *provider) ask(ctx context.Context, text string, piece func(string) error, alive func()) (string, error) {
	reply, err := p.post(ctx, text, piece != nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = reply.Body.Close() }()
	if reply.StatusCode != http.StatusOK {
		return "", p.refused(reply)
	}
	if piece != nil {
		return p.readStream(reply.Body, piece, alive)
	}
	var completion completion
	if err := json.NewDecoder(io.LimitReader(reply.Body, answerLimit)).Decode(&completion); err != nil || len(completion.Choices) == 0 {
		return "", &modelError{reason: "the model provider's answer cannot be read: is OPENAI_BASE_URL right?"}
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
	if inner := new(url.Error); errors.As(err, &inner) { // whose own text holds the address
		return nil, &modelError{"the model provider cannot be reached", inner.Err.Error()}
	}
	return reply, err
}

// completion is what is read of a chat completion, of a piece of one, and of an error.
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

// readStream reads Server-Sent Events until the one that says that the answer is whole.
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
			return "", &modelError{reason: "the model provider's stream cannot be read: is OPENAI_BASE_URL right?"}
		}
		if event.Error != nil {
			return "", &modelError{"the model provider failed in the middle of its answer", p.redact(event.Error.Message)}
		}
		if len(event.Choices) == 0 {
			continue // usage, for example
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
		return "", &modelError{reason: "the model provider's answer broke off: try again"}
	}
	return whole.String(), nil
}

// refused is the error behind a status. What comes with a refused key is not passed on: it often holds a part of the key.
func (p *provider) refused(reply *http.Response) error {
	said := fmt.Sprintf("the model provider answered %d", reply.StatusCode)
	switch reply.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return &modelError{reason: said + ": it refuses the key; check API_KEY"}
	case http.StatusTooManyRequests:
		said += ": its rate limit is reached"
	}
	var body completion
	if json.NewDecoder(io.LimitReader(reply.Body, lineLimit)).Decode(&body) != nil || body.Error == nil {
		return &modelError{reason: said}
	}
	return &modelError{said, p.redact(body.Error.Message)}
}

// redact takes the key out of a text of the provider's.
func (p *provider) redact(text string) string {
	if p.key != "" {
		text = strings.ReplaceAll(text, p.key, "[API_KEY]")
	}
	return text
}
