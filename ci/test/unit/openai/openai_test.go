// Package openai_test runs OpenAI's own SDK, unmodified, against the stub of a model provider that the tests of tier 4 use. Its address
// and its key come from the environment alone, under the names that an Agent gets from a Model whose provider is OpenAI.
package openai_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/stretchr/testify/require"
)

// traffic is the program that is the stub on kind, built once. This module does not import the stub: it would then have to change with
// every dependency of the operator.
var traffic string

func TestMain(m *testing.M) {
	code, err := testAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func testAll(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "flokoa-openai-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	traffic = filepath.Join(dir, "traffic")
	build := exec.Command("go", "build", "-o", traffic, "./ci/cmd/traffic")
	build.Dir = "../../../.."
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("building the stub: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// provider is a running stub.
type provider struct{ url string }

// startProvider starts a stub that wants a key.
func startProvider(t *testing.T, key string) provider {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	require.NoError(t, listener.Close())
	stub := exec.Command(traffic, "provider", "--port", port)
	stub.Env = []string{"PROVIDER_KEY=" + key}
	stub.Stderr = os.Stderr
	require.NoError(t, stub.Start())
	t.Cleanup(func() {
		_ = stub.Process.Kill()
		_ = stub.Wait() // killed
	})
	p := provider{"http://127.0.0.1:" + port}
	require.Eventually(t, func() bool {
		_, err := p.readCalls()
		return err == nil
	}, 20*time.Second, 20*time.Millisecond)
	return p
}

// calls is how many requests the stub received, by key.
func (p provider) calls(t *testing.T) map[string]int {
	t.Helper()
	calls, err := p.readCalls()
	require.NoError(t, err)
	return calls
}

func (p provider) readCalls() (map[string]int, error) {
	response, err := http.Get(p.url + "/calls")
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	var calls map[string]int
	return calls, json.NewDecoder(response.Body).Decode(&calls)
}

// inject sets what the operator injects for a Model of this provider.
func (p provider) inject(t *testing.T, key, model string) {
	t.Helper()
	t.Setenv("OPENAI_BASE_URL", p.url+"/v1")
	t.Setenv("OPENAI_API_KEY", key)
	t.Setenv("FLOKOA_MODEL", model)
}

// hello is the request of an agent. The code of an agent is the same in every environment.
func hello() openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:    os.Getenv("FLOKOA_MODEL"),
		Messages: []openai.ChatCompletionMessageParamUnion{openai.SystemMessage("be kind"), openai.UserMessage("hello")},
	}
}

// ask gets an answer as an agent does that configures nothing in code.
func ask(t *testing.T) (string, error) {
	t.Helper()
	client := openai.NewClient()
	answer, err := client.Chat.Completions.New(t.Context(), hello())
	if err != nil {
		return "", err
	}
	require.Len(t, answer.Choices, 1)
	require.Equal(t, "stop", answer.Choices[0].FinishReason)
	require.EqualValues(t, "assistant", answer.Choices[0].Message.Role)
	require.Equal(t, os.Getenv("FLOKOA_MODEL"), answer.Model)
	return answer.Choices[0].Message.Content, nil
}

func TestTheSDKNeedsOnlyTheEnvironment(t *testing.T) {
	p := startProvider(t, "right")
	p.inject(t, "right", "stub")
	answer, err := ask(t)
	require.NoError(t, err)
	require.Equal(t, "You said: hello", answer)
	require.Equal(t, map[string]int{"right": 1}, p.calls(t))
}

func TestTheSDKReadsAStream(t *testing.T) {
	p := startProvider(t, "right")
	p.inject(t, "right", "stub")
	client := openai.NewClient()
	stream := client.Chat.Completions.NewStreaming(t.Context(), hello())
	defer func() { _ = stream.Close() }()
	var whole openai.ChatCompletionAccumulator
	pieces, finished := 0, false
	for stream.Next() {
		require.True(t, whole.AddChunk(stream.Current()), "the chunks belong together")
		if stream.Current().Choices[0].Delta.Content != "" {
			pieces++
		}
		if text, done := whole.JustFinishedContent(); done {
			finished = true
			require.Equal(t, "You said: hello", text)
		}
	}
	require.NoError(t, stream.Err())
	require.Equal(t, 8, pieces)
	require.True(t, finished)
	require.Equal(t, "stop", whole.Choices[0].FinishReason)
	require.Equal(t, map[string]int{"right": 1}, p.calls(t))
}

func TestTheSDKListsTheModels(t *testing.T) {
	p := startProvider(t, "right")
	p.inject(t, "right", "stub")
	client := openai.NewClient()
	models, err := client.Models.List(t.Context())
	require.NoError(t, err)
	require.Len(t, models.Data, 1)
	require.Equal(t, "stub", models.Data[0].ID)
}

func TestTheSDKUnderstandsErrors(t *testing.T) {
	for name, row := range map[string]struct {
		key, model string
		status     int
		code       string
	}{
		"a wrong key":   {"wrong", "stub", http.StatusUnauthorized, "invalid_api_key"},
		"no key":        {"", "stub", http.StatusUnauthorized, "invalid_api_key"},
		"another model": {"right", "gpt-4o", http.StatusNotFound, "model_not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startProvider(t, "right")
			p.inject(t, row.key, row.model)
			_, err := ask(t)
			var failure *openai.Error
			require.ErrorAs(t, err, &failure)
			require.Equal(t, row.status, failure.StatusCode)
			require.Equal(t, row.code, failure.Code)
			require.Equal(t, "invalid_request_error", failure.Type)
			require.NotEmpty(t, failure.Message)
			require.Equal(t, map[string]int{row.key: 1}, p.calls(t), "the SDK does not retry, and the call counts")
		})
	}
}

// One program in two environments: what it talks to is decided by what is injected, and each provider says who called.
func TestTheEnvironmentDecidesWhichProviderIsCalled(t *testing.T) {
	dev, production := startProvider(t, "key-of-dev"), startProvider(t, "key-of-production")
	for range 2 {
		dev.inject(t, "key-of-dev", "stub")
		_, err := ask(t)
		require.NoError(t, err)
	}
	require.Equal(t, map[string]int{"key-of-dev": 2}, dev.calls(t))
	require.Empty(t, production.calls(t))

	production.inject(t, "key-of-dev", "stub") // misdirected
	_, err := ask(t)
	require.Error(t, err)
	production.inject(t, "key-of-production", "stub")
	_, err = ask(t)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"key-of-dev": 1, "key-of-production": 1}, production.calls(t))
	require.Equal(t, map[string]int{"key-of-dev": 2}, dev.calls(t))
}
