package main_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/ci/testkit/modelstub"
)

// withProvider is the environment of an agent that calls a stub provider.
func withProvider(t *testing.T, model string, handler http.Handler) map[string]string {
	t.Helper()
	stub := httptest.NewServer(handler)
	t.Cleanup(stub.Close)
	return map[string]string{"OPENAI_BASE_URL": stub.URL + "/v1/", "FLOKOA_MODEL": model, "OPENAI_API_KEY": key + "\n"}
}

func TestAMessageIsAnswered(t *testing.T) {
	for name, row := range map[string]struct {
		env  map[string]string
		want string
	}{
		"by an echo without a provider": {nil, "echo: hello there"},
		"by the provider's model":       {withProvider(t, "stub", modelstub.New(key)), "You said: hello there"},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, row.env)
			got := p.rpc(t, rpcText("message/send", "hello there"))
			require.Nil(t, got.Error)
			require.EqualValues(t, 7, got.ID)
			require.Equal(t, "message", got.Result.Kind)
			require.Equal(t, "agent", got.Result.Role)
			require.Equal(t, "c1", got.Result.ContextID)
			require.NotEmpty(t, got.Result.MessageID)
			require.Len(t, got.Result.Parts, 1)
			require.Equal(t, row.want, got.Result.Parts[0].Text)
			require.NotContains(t, p.log.String(), "hello")
			require.Equal(t, row.env == nil, strings.Contains(p.log.String(), "no model: OPENAI_BASE_URL is not set"))
		})
	}
}

func TestAProviderWithoutAKeyGetsNone(t *testing.T) {
	stub := modelstub.New("")
	env := withProvider(t, "stub", stub)
	delete(env, "OPENAI_API_KEY")
	require.Nil(t, start(t, env).rpc(t, rpcText("message/send", "hello")).Error)
	require.Equal(t, map[string]int{"": 1}, stub.Calls())
}

func TestAMessageWithoutAContextStartsAConversation(t *testing.T) {
	p := start(t, nil)
	got := p.rpc(t, strings.Replace(rpcText("message/send", "hello"), `"contextId":"c1",`, "", 1))
	require.NotEmpty(t, got.Result.ContextID)
}

func TestAStreamSendsEachPieceThenTheWholeAnswer(t *testing.T) {
	for name, row := range map[string]struct {
		env    map[string]string
		want   string
		events int
	}{
		"by an echo without a provider": {nil, "echo: hello there", 1 + 3 + 1},
		"by the provider's model":       {withProvider(t, "stub", modelstub.New(key)), "You said: hello there", 1 + 8 + 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := start(t, row.env).do(t, "POST", "/", rpcText("message/stream", "hello there"))
			require.Equal(t, http.StatusOK, got.status)
			require.Equal(t, "text/event-stream", got.header.Get("Content-Type"))
			all := events(t, strings.NewReader(got.body))
			require.Len(t, all, row.events)
			pieces := ""
			for i, event := range all {
				last := i == len(all)-1
				require.EqualValues(t, 7, event.ID)
				require.Equal(t, "status-update", event.Result.Kind)
				require.Equal(t, "c1", event.Result.ContextID)
				require.NotEmpty(t, event.Result.TaskID)
				require.Equal(t, all[0].Result.TaskID, event.Result.TaskID)
				require.Equal(t, last, event.Result.Final)
				require.Equal(t, map[bool]string{false: "working", true: "completed"}[last], event.Result.Status.State)
				if i > 0 && !last {
					pieces += event.Result.Status.Message.Parts[0].Text
				}
			}
			require.Equal(t, row.want, pieces)
			require.Equal(t, row.want, all[len(all)-1].Result.Status.Message.Parts[0].Text)
		})
	}
}

func TestEachInvalidRequestHasItsErrorCode(t *testing.T) {
	p := start(t, nil)
	good := rpcText("message/send", "hello")
	change := func(old, text string) string {
		require.Contains(t, good, old)
		return strings.Replace(good, old, text, 1)
	}
	for name, row := range map[string]struct {
		body string
		code int
		id   any
	}{
		"no JSON":              {`{"jsonrpc"`, -32700, nil},
		"nothing":              {``, -32700, nil},
		"a batch":              {`[` + good + `]`, -32600, nil},
		"no request":           {`"hello"`, -32600, nil},
		"another version":      {change(`"2.0"`, `"1.0"`), -32600, 7.0},
		"no method":            {change(`"message/send"`, `""`), -32600, 7.0},
		"no id":                {change(`"id":7,`, ``), -32600, nil},
		"an object as id":      {change(`"id":7`, `"id":{"a":7}`), -32600, nil},
		"another method":       {change(`message/send`, `message/dance`), -32601, 7.0},
		"a method of A2A 1.0":  {change(`message/send`, `SendMessage`), -32601, 7.0},
		"no params":            {`{"jsonrpc":"2.0","id":"a","method":"message/send"}`, -32602, "a"},
		"params as a list":     {`{"jsonrpc":"2.0","id":"a","method":"message/send","params":[]}`, -32602, "a"},
		"no message":           {`{"jsonrpc":"2.0","id":"a","method":"message/send","params":{}}`, -32602, "a"},
		"the agent's own role": {change(`"user"`, `"agent"`), -32602, 7.0},
		"no messageId":         {change(`"m1"`, `""`), -32602, 7.0},
		"no parts":             {change(`[{"kind":"text","text":"hello"}]`, `[]`), -32602, 7.0},
		"a file":               {change(`"kind":"text"`, `"kind":"file"`), -32005, 7.0},
		"a task":               {change(`"messageId"`, `"taskId":"t1","messageId"`), -32001, 7.0},
		"the state of a task":  {`{"jsonrpc":"2.0","id":7,"method":"tasks/get","params":{"id":"t1"}}`, -32001, 7.0},
		"push notifications":   {`{"jsonrpc":"2.0","id":7,"method":"tasks/pushNotificationConfig/set","params":{}}`, -32003, 7.0},
		"the extended card":    {`{"jsonrpc":"2.0","id":7,"method":"agent/getAuthenticatedExtendedCard"}`, -32601, 7.0},
		"a secret as a method": {change(`message/send`, key), -32601, 7.0}, // not logged either
	} {
		t.Run(name, func(t *testing.T) {
			got := p.rpc(t, row.body)
			require.NotNil(t, got.Error)
			require.Equal(t, row.code, got.Error.Code, got.Error.Message)
			require.Equal(t, row.id, got.ID)
		})
	}
	t.Run("in a stream", func(t *testing.T) {
		got := p.do(t, "POST", "/", strings.Replace(change(`message/send`, `message/stream`), `"m1"`, `""`, 1))
		all := events(t, strings.NewReader(got.body))
		require.Len(t, all, 1)
		require.Equal(t, -32602, all[0].Error.Code)
	})
	t.Run("too large", func(t *testing.T) {
		got := p.do(t, "POST", "/", rpcText("message/send", strings.Repeat("a", 1<<20)))
		require.Equal(t, http.StatusRequestEntityTooLarge, got.status)
		require.Equal(t, -32600, decode(t, got.body).Error.Code)
	})
	t.Run("another HTTP method", func(t *testing.T) {
		require.Equal(t, http.StatusMethodNotAllowed, p.do(t, "PUT", "/", good).status)
		require.Equal(t, http.StatusNotFound, p.do(t, "POST", "/a2a", good).status)
	})
}

// answering is a provider that answers every call with the same response.
func answering(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
}

func TestProviderErrorsNeverContainTheKey(t *testing.T) {
	down := withProvider(t, "stub", nil)
	down["OPENAI_BASE_URL"] = "http://127.0.0.1:1/v1"
	slow := withProvider(t, "stub-1h", modelstub.New(""))
	slow["MODEL_TIMEOUT"] = "200ms"
	for name, row := range map[string]struct {
		env  map[string]string
		want string
	}{
		"down":          {down, "cannot reach the model provider: dial tcp 127.0.0.1:1: connect: connection refused"},
		"slow":          {slow, "the model provider sent nothing for 200ms: try again, or raise MODEL_TIMEOUT"},
		"a refused key": {withProvider(t, "stub", modelstub.New("another")), "the model provider answered 401: the provider rejects the key; check OPENAI_API_KEY"},
		"no such model": {withProvider(t, "gpt-9", modelstub.New("")), `the model provider answered 404: The model "gpt-9" does not exist: ask for stub, or for stub-30s`},
		"too many":      {withProvider(t, "stub", answering(429, "slow down")), "the model provider answered 429: rate limit reached"},
		"a redirect":    {withProvider(t, "stub", http.RedirectHandler("http://127.0.0.1:1/", http.StatusTemporaryRedirect)), "the model provider answered 307"},
		"a chatty one":  {withProvider(t, "stub", answering(500, `{"error":{"message":"with `+key+` I fail"}}`)), "the model provider answered 500: with [OPENAI_API_KEY] I fail"},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, row.env)
			got := p.rpc(t, rpcText("message/send", "hello"))
			require.NotNil(t, got.Error)
			require.Equal(t, -32603, got.Error.Code)
			require.Equal(t, row.want, got.Error.Message)
			all := events(t, strings.NewReader(p.do(t, "POST", "/", rpcText("message/stream", "hello")).body))
			require.Len(t, all, 2)
			require.Equal(t, "working", all[0].Result.Status.State)
			require.Equal(t, -32603, all[1].Error.Code)
			require.Equal(t, row.want, all[1].Error.Message)
			require.Equal(t, http.StatusOK, p.do(t, "GET", "/ready", "").status, "a failure of the provider does not make the pod unready")
		})
	}
}

func TestAnUnreadableAnswerIsAnError(t *testing.T) {
	for name, row := range map[string]struct{ method, body, want string }{
		"no JSON":             {"message/send", "<html>", "cannot read the answer of the model provider: check OPENAI_BASE_URL"},
		"no choice":           {"message/send", "{}", "cannot read the answer of the model provider: check OPENAI_BASE_URL"},
		"no JSON in a stream": {"message/stream", "data: <html>\n\n", "cannot read the stream of the model provider: check OPENAI_BASE_URL"},
		"a stream's error":    {"message/stream", `data: {"error":{"message":"` + key + `"}}` + "\n\n", "the model provider failed during its answer: [OPENAI_API_KEY]"},
		"a stream's early end": {"message/stream", `data: {"choices":[{"delta":{"content":"hel"}}]}` + "\n\n",
			"the answer of the model provider ended early: try again"},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, withProvider(t, "stub", answering(200, row.body)))
			got := p.do(t, "POST", "/", rpcText(row.method, "hello")).body
			require.Contains(t, got, `"code":-32603,"message":"`+row.want+`"`)
			require.NotContains(t, got, `"final":true`)
		})
	}
}

func TestTheTimeoutAppliesToEachPieceOfAStream(t *testing.T) {
	env := withProvider(t, "stub-3s", modelstub.New(key))
	env["MODEL_TIMEOUT"] = "2s"
	p := start(t, env)
	begun := time.Now()
	all := events(t, strings.NewReader(p.do(t, "POST", "/", rpcText("message/stream", "hello")).body))
	require.GreaterOrEqual(t, time.Since(begun), 3*time.Second)
	require.True(t, all[len(all)-1].Result.Final)
}
