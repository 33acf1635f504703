package main_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/ci/testkit/modelstub"
)

// mounted is a card as Flokoa mounts it.
const mounted = `{"name": "Desk", "description": "Plans trips", "version": "2.0.0", "capabilities": {"streaming": true},
  "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"], "skills": [{"id": "plan", "name": "Plan", "description": "Plans", "tags": []}]}`

func cardFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent-card.json")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestTheMountedCardIsServedWithURLAndProtocol(t *testing.T) {
	p := start(t, map[string]string{"AGENT_CARD_FILE": cardFile(t, mounted), "FLOKOA_AGENT_URL": "http://desk.team.svc:8080", "FLOKOA_AGENT_NAME": "desk"})
	got := p.do(t, "GET", "/.well-known/agent-card.json", "")
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	var want map[string]any
	require.NoError(t, json.Unmarshal([]byte(mounted), &want))
	want["url"], want["protocolVersion"], want["preferredTransport"] = "http://desk.team.svc:8080", "0.3.0", "JSONRPC"
	text, err := json.Marshal(want)
	require.NoError(t, err)
	require.JSONEq(t, string(text), got.body)
}

func TestADefaultCardIsServedIfNoneIsMounted(t *testing.T) {
	p := start(t, map[string]string{"FLOKOA_AGENT_URL": "http://desk.team.svc:8080", "FLOKOA_AGENT_NAME": "desk"})
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(p.do(t, "GET", "/.well-known/agent-card.json", "").body), &got))
	require.Equal(t, "desk", got["name"])
	require.Equal(t, "http://desk.team.svc:8080", got["url"])
	require.Equal(t, "v1.2.3", got["version"])
	for _, required := range []string{"description", "protocolVersion", "capabilities", "defaultInputModes", "defaultOutputModes", "skills"} {
		require.NotEmpty(t, got[required], required)
	}
}

func TestTheAgentIsAliveBeforeItIsReady(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "agent-card.json")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	p := startProcess(t, map[string]string{"AGENT_CARD_FILE": pipe})
	require.Equal(t, http.StatusOK, p.do(t, "GET", "/health", "").status)
	require.Equal(t, http.StatusServiceUnavailable, p.do(t, "GET", "/ready", "").status)
	require.Equal(t, http.StatusServiceUnavailable, p.do(t, "GET", "/.well-known/agent-card.json", "").status)
	require.Equal(t, http.StatusServiceUnavailable, p.do(t, "POST", "/", rpcText("message/send", "hello")).status)

	require.NoError(t, os.WriteFile(pipe, []byte(mounted), 0o600))
	p.await(t, "ready")
	require.Equal(t, http.StatusOK, p.do(t, "GET", "/ready", "").status)
	require.Nil(t, p.rpc(t, rpcText("message/send", "hello")).Error)
}

func TestEachResponseNamesPodAndVersion(t *testing.T) {
	host, err := os.Hostname()
	require.NoError(t, err)
	for want, env := range map[string]map[string]string{"v1.2.3": nil, "blue": {"AGENT_VERSION": "blue"}} {
		p := start(t, env)
		for _, got := range []reply{
			p.do(t, "GET", "/health", ""), p.do(t, "GET", "/ready", ""), p.do(t, "GET", "/none", ""), p.do(t, "POST", "/", "{"),
			p.do(t, "POST", "/", rpcText("message/send", "hello")), p.do(t, "POST", "/", rpcText("message/stream", "hello")),
		} {
			require.Equal(t, host, got.header.Get("X-Agent-Pod"))
			require.Equal(t, want, got.header.Get("X-Agent-Version"))
		}
		require.Contains(t, p.do(t, "GET", "/", "").body, "An A2A agent")
	}
}

func TestTheLogHasNothingBelowItsLevel(t *testing.T) {
	p := launch(t, map[string]string{"LOG_LEVEL": "warn"})
	p.await(t, "no model: OPENAI_BASE_URL is not set, so the agent repeats each question")
	require.NoError(t, p.command.Process.Signal(syscall.SIGTERM))
	require.Zero(t, p.ended(t))
	require.NotContains(t, p.log.String(), `"level":"INFO"`)
}

func TestProbesNeverCallTheProvider(t *testing.T) {
	stub := modelstub.New(key)
	p := start(t, withProvider(t, "stub", stub))
	for range 3 {
		require.Equal(t, http.StatusOK, p.do(t, "GET", "/ready", "").status)
		require.Equal(t, http.StatusOK, p.do(t, "GET", "/health", "").status)
	}
	require.Empty(t, stub.Calls())
	require.Nil(t, p.rpc(t, rpcText("message/send", "hello")).Error)
	require.Equal(t, map[string]int{key: 1}, stub.Calls())
}

func TestInvalidSettingsFailAtStartup(t *testing.T) {
	with := func(name, value string) map[string]string {
		return map[string]string{"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "FLOKOA_MODEL": "stub", "OPENAI_API_KEY": key, name: value}
	}
	only := func(name, value string) map[string]string { return map[string]string{name: value} }
	for name, row := range map[string]struct {
		env  map[string]string
		want string
	}{
		"a drain in words":           {with("DRAIN_SECONDS", "ten"), `DRAIN_SECONDS: "ten" is not a whole number of seconds`},
		"a negative end":             {with("SHUTDOWN_SECONDS", "-1"), `SHUTDOWN_SECONDS: "-1" is not a whole number of seconds`},
		"a timeout without a unit":   {with("MODEL_TIMEOUT", "60"), `MODEL_TIMEOUT: "60" is not a positive duration: use a value like 60s`},
		"a provider without a model": {with("FLOKOA_MODEL", ""), "FLOKOA_MODEL is missing, but OPENAI_BASE_URL is set: set the provider's name of the model"},
		"only a provider":            {only("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"), "FLOKOA_MODEL is missing"},
		"a model without a provider": {with("OPENAI_BASE_URL", ""), "OPENAI_BASE_URL is missing, but FLOKOA_MODEL or OPENAI_API_KEY is set"},
		"another provider's model":   {map[string]string{"FLOKOA_MODEL": "claude-opus-4", "FLOKOA_MODEL_PROVIDER": "Anthropic"}, "reference a Model whose provider is OpenAI"},
		"only a key":                 {only("OPENAI_API_KEY", key), "OPENAI_BASE_URL is missing"},
		"no address":                 {with("OPENAI_BASE_URL", "api.openai.com"), "OPENAI_BASE_URL: use a URL like"},
		"a path as the address":      {with("OPENAI_BASE_URL", "https:///v1"), "OPENAI_BASE_URL: use a URL like"},
		"another scheme":             {with("OPENAI_BASE_URL", "ftp://api.openai.com/v1"), "OPENAI_BASE_URL: use a URL like"},
		"a key in the address":       {with("OPENAI_BASE_URL", "https://"+key+"@api.openai.com/v1"), "OPENAI_BASE_URL: use a URL like"},
		"a key in the query":         {with("OPENAI_BASE_URL", "https://api.openai.com/v1?key="+key), "OPENAI_BASE_URL: use a URL like"},
		"a fragment":                 {with("OPENAI_BASE_URL", "https://api.openai.com/v1#"), "OPENAI_BASE_URL: use a URL like"},
		"an unknown variable":        {with("OPENAI_BASE_URL", "https://$(HOST)/v1"), "OPENAI_BASE_URL: use a URL like"},
		"an address and a space":     {with("OPENAI_BASE_URL", "https://api.openai.com/v1 "), "OPENAI_BASE_URL: use a URL like"},
		"a model of two lines":       {with("FLOKOA_MODEL", "gpt-4o\n"), `FLOKOA_MODEL: "gpt-4o\n" is not the name of a model: use a name like gpt-4o-mini`},
		"no such variable":           {with("FLOKOA_MODEL", "$(MODEL)"), `FLOKOA_MODEL: "$(MODEL)" is not the name of a model`},
		"an empty key":               {with("OPENAI_API_KEY", "\n"), "OPENAI_API_KEY is empty: check the Secret"},
		"only an empty key":          {only("OPENAI_API_KEY", ""), "OPENAI_BASE_URL is missing"},
		"a key of two lines":         {with("OPENAI_API_KEY", key+"\n"+key), "OPENAI_API_KEY contains a character that is not allowed in an HTTP header"},
		"an unknown log level":       {with("LOG_LEVEL", "verbose"), `LOG_LEVEL: "verbose" is not a log level: use debug, info, warn, or error`},
		"no port":                    {with("PORT", "http-8080"), "PORT: listen tcp"},
		"a card that is no JSON":     {with("AGENT_CARD_FILE", cardFile(t, "{")), "is not a JSON object"},
		"a card without a version":   {with("AGENT_CARD_FILE", cardFile(t, `{"name":"a","description":"b"}`)), "version is missing; A2A requires it"},
		"a card that is nothing":     {with("AGENT_CARD_FILE", cardFile(t, `null`)), "name is missing"},
		"a card that is a folder":    {with("AGENT_CARD_FILE", t.TempDir()), "is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			p := launch(t, row.env)
			require.Equal(t, 1, p.ended(t))
			require.Contains(t, p.logged(t, "the agent failed")["error"], row.want)
			require.Nil(t, p.logged(t, "ready"), "it never serves /ready with 2xx")
		})
	}
}
