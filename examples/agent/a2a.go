package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"time"
)

// Error codes of JSON-RPC 2.0, section 5.1, and, from -32001 on, of A2A 0.3, section 8.
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeNoSuchMethod   = -32601
	codeInvalidParams  = -32602
	codeInternal       = -32603
	codeNoSuchTask     = -32001
	codeNoPush         = -32003
	codeContentType    = -32005
)

// rpcRequest is a request of JSON-RPC 2.0.
type rpcRequest struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
}

// rpcResponse is its answer: a result or an error. Without an ID it has null for one.
type rpcResponse struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  any             `json:"result,omitempty"`
	Error   *rpcError       `json:"error,omitempty"`
}

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) Error() string { return e.Message }

// message is one turn of a conversation.
type message struct {
	Kind      string `json:"kind"`
	Role      string `json:"role"`
	Parts     []part `json:"parts"`
	MessageID string `json:"messageId"`
	ContextID string `json:"contextId,omitempty"`
	TaskID    string `json:"taskId,omitempty"`
}

type part struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}

// statusUpdate tells how a task is doing: of a stream it is each event.
type statusUpdate struct {
	Kind      string `json:"kind"`
	TaskID    string `json:"taskId"`
	ContextID string `json:"contextId"`
	Status    status `json:"status"`
	Final     bool   `json:"final"`
}

type status struct {
	State     string   `json:"state"`
	Message   *message `json:"message,omitempty"`
	Timestamp string   `json:"timestamp"`
}

// An agent answers messages. It keeps nothing between two of them, so that any replica can take the next one.
type agent struct {
	card  card
	model model
	log   *slog.Logger
}

// parse reads a request. What it returns has an ID, if there is one, even when it is wrong otherwise.
func parse(body []byte) (rpcRequest, error) {
	var request rpcRequest
	if !json.Valid(body) {
		return request, &rpcError{codeParse, "the body is not JSON"}
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return rpcRequest{}, &rpcError{codeInvalidRequest, "the body is no JSON-RPC request; batches are not supported"}
	}
	if len(request.ID) == 0 || strings.ContainsAny(string(request.ID[:1]), "{[tf") {
		return rpcRequest{}, &rpcError{codeInvalidRequest, "id must be a string or a number: every A2A request is answered"}
	}
	if request.JSONRPC != "2.0" || request.Method == "" {
		return request, &rpcError{codeInvalidRequest, `jsonrpc must be "2.0", and method must be given`}
	}
	return request, nil
}

// send answers message/send with a message.
func (a *agent) send(ctx context.Context, params json.RawMessage) (*message, error) {
	asked, text, err := userMessage(params)
	if err != nil {
		return nil, err
	}
	answer, err := a.model.answer(ctx, text, nil)
	if err != nil {
		return nil, err
	}
	return reply(asked.ContextID, "", answer), nil
}

// stream answers message/stream with updates of a task: that it is worked on, each piece of the answer, and, as the final one,
// the whole answer. A failure comes instead of the final one.
func (a *agent) stream(ctx context.Context, params json.RawMessage, event func(any) error) error {
	asked, text, err := userMessage(params)
	if err != nil {
		return err
	}
	task := newID()
	update := func(state string, said *message) error {
		now := time.Now().UTC().Format(time.RFC3339Nano)
		return event(statusUpdate{"status-update", task, asked.ContextID, status{state, said, now}, state == "completed"})
	}
	if err := update("working", nil); err != nil {
		return err
	}
	answer, err := a.model.answer(ctx, text, func(piece string) error {
		return update("working", reply(asked.ContextID, task, piece))
	})
	if err != nil {
		return err
	}
	return update("completed", reply(asked.ContextID, task, answer))
}

// userMessage is the message in the params, which begins a conversation when it names none, and its text.
func userMessage(params json.RawMessage) (message, string, error) {
	var given struct {
		Message message `json:"message"`
	}
	if err := json.Unmarshal(params, &given); err != nil {
		return message{}, "", &rpcError{codeInvalidParams, "params must be an object with a message"}
	}
	asked := given.Message
	if asked.Role != "user" || asked.MessageID == "" || len(asked.Parts) == 0 {
		return message{}, "", &rpcError{codeInvalidParams, `params.message must have role "user", a messageId and parts`}
	}
	if asked.TaskID != "" {
		return message{}, "", errNoSuchTask
	}
	var text strings.Builder
	for _, p := range asked.Parts {
		if p.Kind != "text" {
			return message{}, "", &rpcError{codeContentType, "params.message.parts: this agent reads parts of kind text only"}
		}
		text.WriteString(p.Text)
	}
	if asked.ContextID == "" {
		asked.ContextID = newID()
	}
	return asked, text.String(), nil
}

// errNoSuchTask is for whoever asks after a task: each has ended with the stream that told of it.
var errNoSuchTask = &rpcError{codeNoSuchTask, "no such task: this agent keeps none, so begin with a new message without taskId"}

// unsupported is the answer to a method that is neither message/send nor message/stream.
func unsupported(method string) error {
	switch {
	case method == "tasks/get", method == "tasks/cancel", method == "tasks/resubscribe":
		return errNoSuchTask
	case strings.HasPrefix(method, "tasks/pushNotificationConfig/"):
		return &rpcError{codeNoPush, "this agent sends no push notifications"}
	}
	return &rpcError{codeNoSuchMethod, "no such method: this agent has message/send and message/stream of A2A " + protocolVersion}
}

// asRPCError is an error as the caller sees it. Of one that nobody foresaw it sees only that there is one.
func asRPCError(err error) *rpcError {
	if known := new(rpcError); errors.As(err, &known) {
		return known
	}
	if failed := new(modelError); errors.As(err, &failed) {
		return &rpcError{codeInternal, failed.Error()}
	}
	return &rpcError{codeInternal, "internal error"}
}

func reply(contextID, taskID, text string) *message {
	return &message{"message", "agent", []part{{"text", text}}, newID(), contextID, taskID}
}

// newID is 26 random letters and digits.
func newID() string { return rand.Text() }
