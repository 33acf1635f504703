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

// Error codes of JSON-RPC 2.0, section 5.1. The codes from -32001 are those of A2A 0.3, section 8.
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

// rpcRequest is a JSON-RPC 2.0 request.
type rpcRequest struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
}

// rpcResponse is a JSON-RPC 2.0 response: a result or an error. The ID is null if the request had none.
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

// statusUpdate is the status of a task: each event of a stream.
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

// An agent answers messages. It keeps no state between messages, so that any replica can answer the next one.
type agent struct {
	card  card
	model model
	log   *slog.Logger
}

// parse reads a request. An invalid request keeps its ID, if it has one, for the error response.
func parse(body []byte) (rpcRequest, error) {
	var request rpcRequest
	if !json.Valid(body) {
		return request, &rpcError{codeParse, "the body is not JSON"}
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return rpcRequest{}, &rpcError{codeInvalidRequest, "the body is not a JSON-RPC request; batches are not supported"}
	}
	if len(request.ID) == 0 || strings.ContainsAny(string(request.ID[:1]), "{[tf") {
		return rpcRequest{}, &rpcError{codeInvalidRequest, "id must be a string or a number; A2A has no notifications"}
	}
	if request.JSONRPC != "2.0" || request.Method == "" {
		return request, &rpcError{codeInvalidRequest, `jsonrpc must be "2.0", and method must be set`}
	}
	return request, nil
}

// send answers message/send with a message.
func (a *agent) send(ctx context.Context, params json.RawMessage) (*message, error) {
	received, text, err := userMessage(params)
	if err != nil {
		return nil, err
	}
	answer, err := a.model.answer(ctx, text, nil)
	if err != nil {
		return nil, err
	}
	return reply(received.ContextID, "", answer), nil
}

// stream answers message/stream with updates of a task: first that the agent works on it, then each piece of the answer, and last the
// whole answer. An error replaces the last update.
func (a *agent) stream(ctx context.Context, params json.RawMessage, event func(any) error) error {
	received, text, err := userMessage(params)
	if err != nil {
		return err
	}
	task := newID()
	update := func(state string, sent *message) error {
		now := time.Now().UTC().Format(time.RFC3339Nano)
		return event(statusUpdate{"status-update", task, received.ContextID, status{state, sent, now}, state == "completed"})
	}
	if err := update("working", nil); err != nil {
		return err
	}
	answer, err := a.model.answer(ctx, text, func(piece string) error {
		return update("working", reply(received.ContextID, task, piece))
	})
	if err != nil {
		return err
	}
	return update("completed", reply(received.ContextID, task, answer))
}

// userMessage returns the message in the params, and its text. A message without a contextId starts a conversation.
func userMessage(params json.RawMessage) (message, string, error) {
	var given struct {
		Message message `json:"message"`
	}
	if err := json.Unmarshal(params, &given); err != nil {
		return message{}, "", &rpcError{codeInvalidParams, "params must be an object that contains a message"}
	}
	received := given.Message
	if received.Role != "user" || received.MessageID == "" || len(received.Parts) == 0 {
		return message{}, "", &rpcError{codeInvalidParams, `params.message must have role "user", a messageId and parts`}
	}
	if received.TaskID != "" {
		return message{}, "", errNoSuchTask
	}
	var text strings.Builder
	for _, p := range received.Parts {
		if p.Kind != "text" {
			return message{}, "", &rpcError{codeContentType, "params.message.parts: this agent supports only parts of kind text"}
		}
		text.WriteString(p.Text)
	}
	if received.ContextID == "" {
		received.ContextID = newID()
	}
	return received, text.String(), nil
}

// errNoSuchTask answers requests about a task: a task ends with its stream.
var errNoSuchTask = &rpcError{codeNoSuchTask, "no such task: this agent stores no tasks; send a new message without taskId"}

// unsupported is the error for a method other than message/send and message/stream.
func unsupported(method string) error {
	switch {
	case method == "tasks/get", method == "tasks/cancel", method == "tasks/resubscribe":
		return errNoSuchTask
	case strings.HasPrefix(method, "tasks/pushNotificationConfig/"):
		return &rpcError{codeNoPush, "this agent sends no push notifications"}
	}
	return &rpcError{codeNoSuchMethod, "no such method: this agent supports message/send and message/stream of A2A " + protocolVersion}
}

// asRPCError converts an error for the caller. It hides the text of unexpected errors.
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

// newID returns 26 random letters and digits.
func newID() string { return rand.Text() }
