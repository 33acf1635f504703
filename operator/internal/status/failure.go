package status

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// Failure is why a pass could not put a child in place: the reason and message of Ready=False.
type Failure struct {
	Reason, Message string
	// Cause is the error behind it, nil when the operator itself found the fault.
	Cause error
}

// Error is the message.
func (f *Failure) Error() string { return f.Message }

// Unwrap is the error behind the failure.
func (f *Failure) Unwrap() error { return f.Cause }

// worst is the failure inside an error that Ready should name, nil without an error; those of the same reason are told
// together. An error that is not a Failure is something the API server or the way to it said.
func worst(err error) *Failure {
	var worst *Failure
	for _, failure := range Failures(err) {
		switch {
		case worst == nil || worseFirst(failure.Reason, worst.Reason) < 0:
			worst = &Failure{Reason: failure.Reason, Message: failure.Message, Cause: failure}
		case failure.Reason == worst.Reason:
			worst.Message += separator + failure.Message
		}
	}
	return worst
}

// Refused is the failure to put a child in place for what the API server said, nil when it said nothing.
func Refused(kind string, err error) *Failure {
	if err == nil {
		return nil
	}
	reason := v1alpha1.ReasonApplyFailed
	switch {
	case apierrors.IsForbidden(err):
		reason = refusal(err.Error())
	case containsAny(err.Error(), policyWords): // a policy or webhook chooses the code itself
		reason = v1alpha1.ReasonPolicyViolation
	}
	return &Failure{Reason: reason, Message: fmt.Sprintf("%s: %v", kind, err), Cause: err}
}

// Failures takes a joined error apart.
func Failures(err error) []*Failure {
	switch err := err.(type) { //nolint:errorlint // taking a joined error apart is what this is for
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
