package modelstub_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/ci/testkit/modelstub"
)

const hello = `{"model":"stub","messages":[{"role":"system","content":"be kind"},{"role":"user","content":"first"},{"role":"user","content":"hello"},{"role":"assistant","content":"x"}]}`

// call sends a request to the stub without a network.
func call(ctx context.Context, key, method, path, body string) *httptest.ResponseRecorder {
	request := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	answer := httptest.NewRecorder()
	modelstub.New("secret").ServeHTTP(answer, request)
	return answer
}

// content is the answer's text, of a whole completion or of the pieces of a stream.
func content(t *testing.T, body string) (text string, pieces int) {
	t.Helper()
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(strings.TrimPrefix(line, "data: "))
		if line == "" || line == "[DONE]" {
			continue
		}
		var completion struct {
			Choices []struct{ Message, Delta struct{ Content string } }
		}
		require.NoError(t, json.Unmarshal([]byte(line), &completion))
		if piece := completion.Choices[0].Message.Content + completion.Choices[0].Delta.Content; piece != "" {
			text += piece
			pieces++
		}
	}
	return text, pieces
}

func TestTheLastMessageOfTheUserIsAnswered(t *testing.T) {
	for name, body := range map[string]string{
		"a string":    hello,
		"parts":       `{"model":"stub","messages":[{"role":"user","content":[{"type":"text","text":"hel"},{"type":"text","text":"lo"}]}]}`,
		"as a stream": strings.Replace(hello, `{`, `{"stream":true,`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			answer := call(t.Context(), "secret", "POST", "/v1/chat/completions", body)
			require.Equal(t, http.StatusOK, answer.Code)
			text, _ := content(t, answer.Body.String())
			require.Equal(t, "You said: hello", text)
		})
	}
}

func TestAStreamEndsAsOpenAIsDoes(t *testing.T) {
	answer := call(t.Context(), "secret", "POST", "/v1/chat/completions", strings.Replace(hello, `{`, `{"stream":true,`, 1))
	require.Equal(t, "text/event-stream", answer.Header().Get("Content-Type"))
	require.Contains(t, answer.Body.String(), `"finish_reason":"stop"`)
	require.True(t, strings.HasSuffix(answer.Body.String(), "\n\ndata: [DONE]\n\n"))
	_, pieces := content(t, answer.Body.String())
	require.Equal(t, 8, pieces)
}

func TestASlowModelTakesTheTimeInItsName(t *testing.T) {
	for name, row := range map[string]struct {
		body   string
		pieces int
	}{
		"at once":       {strings.Replace(hello, "stub", "stub-3s", 1), 1},
		"as a stream":   {strings.Replace(hello, `"stub"`, `"stub-3s","stream":true`, 1), 12},
		"a short text":  {`{"stream":true,"model":"stub-3s","messages":[{"role":"user","content":""}]}`, 10},
		"a text beyond": {`{"stream":true,"model":"stub-3s","messages":[{"role":"user","content":"` + strings.Repeat("long ", 99) + `"}]}`, 12},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				answer := call(t.Context(), "secret", "POST", "/v1/chat/completions", row.body)
				require.Equal(t, 3*time.Second, time.Since(start))
				text, pieces := content(t, answer.Body.String())
				require.Equal(t, row.pieces, pieces)
				require.Contains(t, text, "You said: ")
			})
		})
	}
}

func TestPiecesArriveAsTheyAreMade(t *testing.T) {
	server := httptest.NewServer(modelstub.New(""))
	defer server.Close()
	ctx, leave := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/v1/chat/completions", strings.NewReader(strings.Replace(hello, `"stub"`, `"stub-1h","stream":true`, 1)))
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = answer.Body.Close() }()
	first, err := bufio.NewReader(answer.Body).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, first, `"role":"assistant"`)
	leave() // the server can only close when the handler has noticed
}

func TestACanceledRequestEndsItsResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		start := time.Now()
		for _, body := range []string{`{"stream":true,"model":"stub-1h",`, `{"model":"stub-1h",`} {
			call(ctx, "secret", "POST", "/v1/chat/completions", body+`"messages":[{"role":"user","content":"hello"}]}`)
		}
		require.Equal(t, time.Second, time.Since(start))
	})
}

func TestErrorsHaveOpenAIsForm(t *testing.T) {
	for name, row := range map[string]struct {
		key, method, path, body string
		status                  int
		code                    any
		message                 string
	}{
		"no key":                 {"", "POST", "/v1/chat/completions", hello, 401, "invalid_api_key", "Incorrect API key"},
		"a wrong key":            {"wrong", "GET", "/v1/models", "", 401, "invalid_api_key", "wrong"},
		"no JSON":                {"secret", "POST", "/v1/chat/completions", "{", 400, nil, "could not parse"},
		"too long":               {"secret", "POST", "/v1/chat/completions", `"` + strings.Repeat("a", 5<<20), 400, nil, "too large"},
		"no message":             {"secret", "POST", "/v1/chat/completions", `{"model":"stub"}`, 400, nil, "no message of the user"},
		"another model":          {"secret", "POST", "/v1/chat/completions", `{"model":"gpt-4o"}`, 404, "model_not_found", "gpt-4o"},
		"no duration":            {"secret", "POST", "/v1/chat/completions", `{"model":"stub-soon"}`, 404, "model_not_found", "stub-soon"},
		"a duration in the past": {"secret", "POST", "/v1/chat/completions", `{"model":"stub--1s"}`, 404, "model_not_found", "stub--1s"},
		"a very long duration":   {"secret", "POST", "/v1/chat/completions", `{"model":"stub-2h"}`, 404, "model_not_found", "stub-2h"},
		"another method":         {"secret", "GET", "/v1/chat/completions", "", 404, "unknown_url", "GET /v1/chat/completions"},
		"another path":           {"secret", "POST", "/chat/completions", hello, 404, "unknown_url", "POST /chat/completions"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := call(t.Context(), row.key, row.method, row.path, row.body)
			require.Equal(t, row.status, answer.Code)
			var body struct {
				Error struct {
					Message, Type string
					Code          any
				}
			}
			require.NoError(t, json.NewDecoder(answer.Body).Decode(&body))
			require.Equal(t, row.code, body.Error.Code)
			require.Equal(t, "invalid_request_error", body.Error.Type)
			require.Contains(t, body.Error.Message, row.message)
		})
	}
}

func TestTheInstantModelIsListed(t *testing.T) {
	answer := call(t.Context(), "secret", "GET", "/v1/models", "")
	require.Equal(t, http.StatusOK, answer.Code)
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Contains(t, string(body), `"id":"stub"`)
}

func TestCallsAreCountedByKey(t *testing.T) {
	stub := modelstub.New("secret")
	send := func(authorization, method, path string) *httptest.ResponseRecorder {
		request := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(hello))
		request.Header.Set("Authorization", authorization)
		answer := httptest.NewRecorder()
		stub.ServeHTTP(answer, request)
		return answer
	}
	require.Empty(t, stub.Calls())
	for _, row := range []struct {
		authorization, method, path string
		status                      int
	}{
		{"Bearer secret", "POST", "/v1/chat/completions", 200},
		{"Bearer secret", "GET", "/v1/models", 200},
		{"Bearer secret", "GET", "/v1/nowhere", 404},
		{"Bearer other", "POST", "/v1/chat/completions", 401},
		{"", "POST", "/v1/chat/completions", 401},
		{"secret", "POST", "/v1/chat/completions", 401}, // no bearer token
	} {
		require.Equal(t, row.status, send(row.authorization, row.method, row.path).Code, row)
	}
	want := map[string]int{"secret": 3, "other": 1, "": 2}
	require.Equal(t, want, stub.Calls())
	for range 2 { // reading the counts does not count
		var got map[string]int
		require.NoError(t, json.NewDecoder(send("", "GET", "/calls").Body).Decode(&got))
		require.Equal(t, want, got)
	}
}

func TestParallelCallsAreAllCounted(t *testing.T) {
	stub := modelstub.New("")
	server := httptest.NewServer(stub)
	defer server.Close()
	const callers, each = 8, 25
	failed := make(chan error, callers)
	for range callers {
		go func() {
			for range each {
				answer, err := http.Get(server.URL + "/v1/models")
				if err != nil {
					failed <- err
					return
				}
				_ = answer.Body.Close()
			}
			failed <- nil
		}()
	}
	for range callers {
		require.NoError(t, <-failed)
	}
	require.Equal(t, map[string]int{"": callers * each}, stub.Calls())
}
