package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// auditMark is a place in the audit log.
type auditMark int64

// request is one that the operator sent, as the API server wrote it down.
type request struct {
	Stage, Verb, RequestURI, UserAgent string
	User                               struct{ Extra map[string][]string }
	ObjectRef                          struct{ APIGroup, Resource, Subresource, Namespace, Name string }
	ResponseStatus                     struct{ Code int }
	Annotations                        map[string]string
	// RequestReceivedTimestamp is when the API server received it.
	RequestReceivedTimestamp time.Time
}

// audited is the present end of the audit log.
func audited() (auditMark, error) {
	info, err := os.Stat(cluster.auditLog)
	if err != nil {
		return 0, err
	}
	return auditMark(info.Size()), nil
}

// requestsSince are the answered requests of every operator after a mark. The API server writes a request down before it
// answers, so those of which an effect can be seen are all there.
func requestsSince(mark auditMark) ([]request, error) { return requestsOf(account, mark) }

// requestsOf are those of another account than the operator's.
func requestsOf(account string, mark auditMark) ([]request, error) {
	file, err := os.Open(cluster.auditLog)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() < int64(mark) {
		// What is lost would count as nothing, which is what tests hope for.
		return nil, fmt.Errorf("%s is shorter than it was: it was begun anew", cluster.auditLog)
	}
	text, err := io.ReadAll(io.NewSectionReader(file, int64(mark), 1<<40))
	if err != nil {
		return nil, err
	}
	var requests []request
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) || !bytes.Contains(line, []byte(`"username":"`+account+`"`)) {
			continue
		}
		r := request{}
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", cluster.auditLog, err)
		}
		requests = append(requests, r)
	}
	return requests, nil
}

// by tells whether a request was sent with a credential.
func (r request) by(credential string) bool {
	return slices.Contains(r.User.Extra["authentication.kubernetes.io/credential-id"], credential)
}

// changes tells whether a request asks to change something that is Flokoa's business: not the lease, not an event.
func (r request) changes() bool {
	if r.ObjectRef.Resource == "leases" || r.ObjectRef.Resource == "events" {
		return false
	}
	return r.Stage == "ResponseComplete" && slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, r.Verb)
}

// resource is the resource of a request with its subresource, such as agents/status.
func (r request) resource() string {
	if r.ObjectRef.Subresource == "" {
		return r.ObjectRef.Resource
	}
	return r.ObjectRef.Resource + "/" + r.ObjectRef.Subresource
}

// String is a request as messages show it.
func (r request) String() string {
	return fmt.Sprintf("%s %s %s/%s: %d", r.Verb, r.resource(), r.ObjectRef.Namespace, r.ObjectRef.Name, r.ResponseStatus.Code)
}

// counts are how often each thing was changed, such as "patch deployments".
func counts(requests []request) map[string]int {
	all := map[string]int{}
	for _, r := range requests {
		if r.changes() {
			all[r.Verb+" "+r.resource()]++
		}
	}
	return all
}
