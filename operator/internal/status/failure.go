package status

import (
	"cmp"
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
	// Fix is what to do about all failures of this kind, empty if the message says it.
	Fix string
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

// permissionFix is what to do if RBAC denies a write. The operator may read all namespaces, and write only in some.
const permissionFix = "the operator may not write in this namespace, which has no RoleBinding flokoa-operator-writer: install the chart " +
	"flokoa-environment for it, or set permissions: Cluster in the chart flokoa-operator"

// ApplyFailure is the Failure of an apply of a child of this kind, nil without an error. The reason follows from the API
// server's answer.
func ApplyFailure(kind string, err error) *Failure {
	if err == nil {
		return nil
	}
	failure := &Failure{Reason: v1alpha1.ReasonApplyFailed, Message: fmt.Sprintf("%s: %v", kind, err), Cause: err}
	switch {
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), permissionWords):
		failure.Fix = permissionFix
	case apierrors.IsForbidden(err):
		failure.Reason = admissionReason(err.Error())
	case containsAny(err.Error(), policyWords): // a policy or webhook chooses its own status code
		failure.Reason = v1alpha1.ReasonPolicyViolation
	case apierrors.IsInvalid(err): // such as a port of 808080: what waits for the Agent must not wait for a retry to help
		failure.Reason = v1alpha1.ReasonInvalidSpec
	}
	return failure
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

// worst returns the most severe failure inside an error, nil without an error. It joins the messages of all that share its reason,
// behind their fix.
func worst(err error) *Failure {
	var worst *Failure
	var messages []string
	var fix string
	for _, failure := range Failures(err) {
		switch {
		case worst == nil || compareSeverity(failure.Reason, worst.Reason) < 0:
			worst, messages, fix = failure, []string{failure.Message}, failure.Fix
		case failure.Reason == worst.Reason:
			messages, fix = append(messages, failure.Message), cmp.Or(fix, failure.Fix)
		}
	}
	if len(messages) <= 1 && fix == "" {
		return worst
	}
	message := strings.Join(messages, "; ")
	if fix != "" {
		message = fix + " (" + message + ")"
	}
	return &Failure{Reason: worst.Reason, Message: message, Cause: err}
}
