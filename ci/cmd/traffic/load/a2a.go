package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/flokoa/flokoa/ci/cmd/traffic/report"
)

// rpcAnswer is a JSON-RPC 2.0 answer, as far as it is checked.
type rpcAnswer struct {
	ID     string          `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code int `json:"code"`
	} `json:"error"`
}

// rpcRequest is the body of an A2A request (A2A 0.3, sections 7.1 and 7.2): a user's message of one text.
func rpcRequest(method, id, text string) []byte {
	const body = `{"jsonrpc":"2.0","id":%q,"method":%q,"params":{"message":{"kind":"message","role":"user","messageId":%q,"parts":[{"kind":"text","text":%q}]}}}`
	return fmt.Appendf(nil, body, id, method, id, text)
}

// checkAnswer returns nil if the body is a JSON-RPC answer to the request of that id and holds a result.
func checkAnswer(body []byte, id string) (json.RawMessage, error) {
	var answer rpcAnswer
	err := json.Unmarshal(body, &answer)
	switch {
	case err != nil || answer.ID != id:
		return nil, outcome(report.BadAnswer)
	case answer.Error != nil:
		return nil, rpcOutcome(answer.Error.Code)
	case len(answer.Result) == 0 || bytes.Equal(answer.Result, []byte("null")):
		return nil, outcome(report.BadAnswer)
	}
	return answer.Result, nil
}

// readStream reads the server-sent events of a message/stream until its final one, and calls onEvent after each. An end before
// that is an error: io.ErrUnexpectedEOF, or the connection's.
func readStream(body io.Reader, id string, onEvent func()) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxAnswer)
	var data []string
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "data:"); ok {
			data = append(data, text)
			continue
		}
		if lines.Text() != "" || len(data) == 0 { // comments and other fields; an event ends with an empty line
			continue
		}
		onEvent()
		final, err := checkEvent([]byte(strings.Join(data, "\n")), id)
		if final || err != nil {
			return err
		}
		data = nil
	}
	if lines.Err() != nil {
		return lines.Err()
	}
	return io.ErrUnexpectedEOF
}

// checkEvent reports whether an event is the final one of its stream: a final status, or a message, which is the whole
// answer (A2A 0.3, section 7.2).
func checkEvent(data []byte, id string) (bool, error) {
	result, err := checkAnswer(data, id)
	if err != nil {
		return false, err
	}
	var event struct {
		Kind  string `json:"kind"`
		Final bool   `json:"final"`
	}
	if err := json.Unmarshal(result, &event); err != nil {
		return false, outcome(report.BadAnswer)
	}
	return event.Final || event.Kind == "message", nil
}
