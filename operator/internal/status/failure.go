package status

import (
	"slices"

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

// severity orders the reasons of failures, the worst first.
var severity = []string{
	v1alpha1.ReasonInvalidSpec,
	v1alpha1.ReasonNameConflict,
	v1alpha1.ReasonApplyFailed,
	v1alpha1.ReasonRolloutInProgress,
}

// worst is the failure inside an error that Ready should name, nil without an error. An error that is not a Failure is
// something the API server or the way to it said.
func worst(err error) *Failure {
	failures := Failures(err)
	if len(failures) == 0 {
		return nil
	}
	return slices.MinFunc(failures, func(a, b *Failure) int {
		return slices.Index(severity, a.Reason) - slices.Index(severity, b.Reason)
	})
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
