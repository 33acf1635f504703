package status

import (
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// ErrInvalidSpec is inside the Failure of a spec that cannot be rendered. Only another spec helps, so such a pass is not retried.
var ErrInvalidSpec = errors.New("the spec cannot be rendered")

// Failure is why a pass could not apply a child: the reason and message of Ready=False.
type Failure struct {
	Reason, Message string
	// Cause is the error behind the failure, nil if the operator itself found it.
	Cause error
}

// Error returns the message.
func (f *Failure) Error() string { return f.Message }

// Unwrap returns the error behind the failure.
func (f *Failure) Unwrap() error { return f.Cause }

// InvalidSpec is the Failure of a spec that rendering rejects, with the message of err. It wraps ErrInvalidSpec.
func InvalidSpec(err error) *Failure {
	return &Failure{Reason: v1alpha1.ReasonInvalidSpec, Message: err.Error(), Cause: errors.Join(ErrInvalidSpec, err)}
}

// ApplyFailure is the Failure of an apply of a child of this kind, nil without an error. The reason follows from the API
// server's answer.
func ApplyFailure(kind string, err error) *Failure {
	if err == nil {
		return nil
	}
	reason := v1alpha1.ReasonApplyFailed
	switch {
	case apierrors.IsForbidden(err):
		reason = admissionReason(err.Error())
	case containsAny(err.Error(), policyWords): // a policy or webhook chooses its own status code
		reason = v1alpha1.ReasonPolicyViolation
	}
	return &Failure{Reason: reason, Message: fmt.Sprintf("%s: %v", kind, err), Cause: err}
}

// Failures returns the failures inside a joined error. Any other error is a failure to apply.
func Failures(err error) []*Failure {
	switch err := err.(type) { //nolint:errorlint // it takes a joined error apart
	case nil:
		return nil
	case *Failure:
		return []*Failure{err}
	case interface{ Unwrap() []error }:
		var all []*Failure
		for _, part := range err.Unwrap() {
			all = append(all, Failures(part)...)
		}
		return all
	default:
		return []*Failure{{Reason: v1alpha1.ReasonApplyFailed, Message: err.Error(), Cause: err}}
	}
}

// worst returns the most severe failure inside an error, nil without an error. It joins the messages of all that share its reason.
func worst(err error) *Failure {
	var worst *Failure
	var messages []string
	for _, failure := range Failures(err) {
		switch {
		case worst == nil || compareSeverity(failure.Reason, worst.Reason) < 0:
			worst, messages = failure, []string{failure.Message}
		case failure.Reason == worst.Reason:
			messages = append(messages, failure.Message)
		}
	}
	if len(messages) <= 1 {
		return worst
	}
	return &Failure{Reason: worst.Reason, Message: strings.Join(messages, "; "), Cause: err}
}
