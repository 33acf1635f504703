// Package report describes the requests that the load generator of ci/cmd/traffic made: the records, their text, and
// what they add up to. It is pure, and is all that a suite outside the cluster needs to import.
package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// The kinds of request.
const (
	Post   = "post"   // an A2A message/send
	Get    = "get"    // the agent card
	Stream = "stream" // an A2A message/stream, as server-sent events
)

// How a request came by its connection.
const (
	Kept           = "kept"            // a keep-alive connection that has answered before
	Opened         = "opened"          // the first request on a connection that will be kept
	ReplacedClosed = "replaced-closed" // as Opened; the kept connection found first had been closed by the server while it was idle
	ReplacedReset  = "replaced-reset"  // as Opened; the kept connection found first had been reset while it was idle
	New            = "new"             // a connection for this one request; a post or get sends Connection: close
)

// The outcomes: OK, or the cause of a failure. "status 503" stands for any HTTP status but 200, "rpc error -32603" for any JSON-RPC error.
const (
	OK              = "ok"
	ResolveNotFound = "resolve not found"
	ResolveTimeout  = "resolve timeout"
	ResolveFailed   = "resolve failed"
	DialRefused     = "dial refused"
	DialTimeout     = "dial timeout"
	DialUnreachable = "dial unreachable"
	DialFailed      = "dial failed"
	Reset           = "reset"        // by the peer, while writing or reading
	EOF             = "eof"          // closed before the first byte of an answer
	Cut             = "cut"          // closed inside an answer; a stream without its final event
	Timeout         = "timeout"      // after the connection stood
	BadAnswer       = "bad answer"   // not HTTP, or not the JSON-RPC answer to this request
	Overrun         = "overrun"      // not sent: as many were in flight as may be
	BrokenOther     = "broken other" // any other error of the network
)

// Record is one request.
type Record struct {
	Start      int64         // when it was due, Unix milliseconds
	Kind       string        // Post, Get, Stream
	Connection string        // Kept, Opened, ReplacedClosed, ReplacedReset, New; empty for Overrun
	Late       time.Duration // how late the generator itself started it; part of Latency
	Latency    time.Duration // from when it was due until it ended, well or not
	FirstEvent time.Duration // for a stream: from when it was due until its last event
	Outcome    string        // OK or the cause
	Pod        string        // of the answer; for a failure without one, of the last answer on its connection
	Version    string        // as Pod
}

// End is when the request ended, Unix milliseconds.
func (r Record) End() int64 { return r.Start + r.Latency.Milliseconds() }

// At is the time by which a record belongs to a window, Unix milliseconds: when a request was due, and when a stream ended,
// since a stream that began before a disruption is cut within it.
func (r Record) At() int64 {
	if r.Kind == Stream {
		return r.End()
	}
	return r.Start
}

// In reports whether the record belongs to the window [from, to), in Unix milliseconds; 0 leaves that side open.
func (r Record) In(from, to int64) bool {
	return r.At() >= from && (to == 0 || r.At() < to)
}

// MarshalJSON writes the record as an array of its fields in their order, durations in microseconds.
func (r Record) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{r.Start, r.Kind, r.Connection, r.Late.Microseconds(), r.Latency.Microseconds(),
		r.FirstEvent.Microseconds(), r.Outcome, r.Pod, r.Version})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *Record) UnmarshalJSON(text []byte) error {
	var late, latency, firstEvent int64
	fields := []any{&r.Start, &r.Kind, &r.Connection, &late, &latency, &firstEvent, &r.Outcome, &r.Pod, &r.Version}
	want := len(fields)
	if err := json.Unmarshal(text, &fields); err != nil {
		return fmt.Errorf("record %s: %w", text, err)
	}
	if len(fields) != want {
		return fmt.Errorf("record %s: %d fields, want %d: is the generator of another version?", text, len(fields), want)
	}
	r.Late, r.Latency, r.FirstEvent = microseconds(late), microseconds(latency), microseconds(firstEvent)
	return nil
}

func microseconds(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// trailer is the last line of a written list. Without it, the list is truncated.
type trailer struct {
	Records *int `json:"records"`
}

// Encode writes the records that belong to the window, one JSON line each, and a last line that counts them.
func Encode(w io.Writer, records []Record, from, to int64) error {
	buffered := bufio.NewWriter(w)
	out, count := json.NewEncoder(buffered), 0
	for _, r := range records {
		if !r.In(from, to) {
			continue
		}
		if err := out.Encode(r); err != nil {
			return err
		}
		count++
	}
	if err := out.Encode(trailer{&count}); err != nil {
		return err
	}
	return buffered.Flush()
}

// Decode reads what Encode wrote. A list without its last line is an error: something between here and the pod lost a part.
func Decode(r io.Reader) ([]Record, error) {
	in, records := json.NewDecoder(r), []Record{}
	for {
		var line json.RawMessage
		if err := in.Decode(&line); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("results are cut after %d records: %w", len(records), err)
		}
		if line[0] == '{' {
			return records, checkTrailer(line, len(records))
		}
		var record Record
		if err := json.Unmarshal(line, &record); err != nil {
			return nil, err
		}
		records = append(records, record)
	}
}

func checkTrailer(line []byte, got int) error {
	var end trailer
	if err := json.Unmarshal(line, &end); err != nil {
		return fmt.Errorf("last line of the results: %w", err)
	}
	if end.Records == nil || *end.Records != got {
		return fmt.Errorf("results hold %d records, but their last line is %s", got, line)
	}
	return nil
}
