package harness

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"time"
)

// AuditLog is the path of the file in which the API server writes down every request that it has answered.
type AuditLog string

// Mark is a place in the audit log.
type Mark int64

// Request is one that was sent to the API server, as it wrote it down.
type Request struct {
	Stage, Verb, RequestURI, UserAgent string
	User                               struct{ Extra map[string][]string }
	ObjectRef                          struct{ APIGroup, Resource, Subresource, Namespace, Name string }
	ResponseStatus                     struct{ Code int }
	Annotations                        map[string]string
	// RequestReceivedTimestamp is when the API server received it, StageTimestamp when it had answered.
	RequestReceivedTimestamp, StageTimestamp time.Time
}

// End is the present end of the log.
func (l AuditLog) End() (Mark, error) {
	info, err := os.Stat(string(l))
	if err != nil {
		return 0, err
	}
	return Mark(info.Size()), nil
}

// Requests are the answered requests of an account after a mark. The API server writes a request down before it answers, so
// those of which an effect can be seen are all there.
func (l AuditLog) Requests(account string, since Mark) ([]Request, error) {
	file, err := os.Open(string(l))
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() < int64(since) {
		// What is lost would count as nothing, which is what is hoped for.
		return nil, fmt.Errorf("%s is shorter than it was: it was begun anew", l)
	}
	requests, err := requestsIn(io.NewSectionReader(file, int64(since), 1<<40), account)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l, err)
	}
	return requests, nil
}

// requestsIn reads the requests of an account from lines; a last line without an end is still being written.
func requestsIn(text io.Reader, account string) ([]Request, error) {
	var requests []Request
	theirs := []byte(`"username":"` + account + `"`)
	for lines := bufio.NewReaderSize(text, 1<<20); ; {
		line, err := lines.ReadBytes('\n')
		switch {
		case errors.Is(err, io.EOF):
			return requests, nil
		case err != nil:
			return nil, err
		case !bytes.Contains(line, theirs):
			continue
		}
		r := Request{}
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, err
		}
		requests = append(requests, r)
	}
}

// SentBy reports whether a request was sent with a credential.
func (r Request) SentBy(credential string) bool {
	return slices.Contains(r.User.Extra["authentication.kubernetes.io/credential-id"], credential)
}

// IsDryRun reports whether the API server only says what a request would do.
func (r Request) IsDryRun() bool {
	uri, err := url.Parse(r.RequestURI)
	return err == nil && uri.Query().Has("dryRun")
}

// IsWrite reports whether a request writes an object that Flokoa manages: no Lease, no Event.
func (r Request) IsWrite() bool {
	if r.IsDryRun() || r.ObjectRef.Resource == "leases" || r.ObjectRef.Resource == "events" {
		return false
	}
	return r.Stage == "ResponseComplete" && slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, r.Verb)
}

// Resource is the resource of a request with its subresource, such as agents/status.
func (r Request) Resource() string {
	if r.ObjectRef.Subresource == "" {
		return r.ObjectRef.Resource
	}
	return r.ObjectRef.Resource + "/" + r.ObjectRef.Subresource
}

// String is a request as messages show it.
func (r Request) String() string {
	return fmt.Sprintf("%s %s %s/%s: %d", r.Verb, r.Resource(), r.ObjectRef.Namespace, r.ObjectRef.Name, r.ResponseStatus.Code)
}

// Counts are how often each thing was changed, such as "patch deployments".
func Counts(requests []Request) map[string]int {
	all := map[string]int{}
	for _, r := range requests {
		if r.IsWrite() {
			all[r.Verb+" "+r.Resource()]++
		}
	}
	return all
}
