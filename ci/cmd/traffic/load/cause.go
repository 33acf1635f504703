package load

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/flokoa/flokoa/ci/cmd/traffic/report"
)

// outcome is an error that is its own cause, in the words of package report.
type outcome string

func (o outcome) Error() string { return string(o) }

func statusOutcome(status int) error { return outcome(fmt.Sprintf("status %d", status)) }

func rpcOutcome(code int) error { return outcome(fmt.Sprintf("rpc error %d", code)) }

// cause is how a request ended, as a value of package report.
func cause(err error) string {
	var (
		own    outcome
		lookup *net.DNSError
		op     *net.OpError
	)
	switch {
	case err == nil:
		return report.OK
	case errors.As(err, &own):
		return string(own)
	case errors.As(err, &lookup):
		return lookupCause(lookup)
	case errors.As(err, &op) && op.Op == "dial":
		return dialCause(op)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return report.Reset
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return report.Timeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return report.Cut
	case op != nil:
		return report.BrokenOther
	}
	return report.BadAnswer
}

func lookupCause(err *net.DNSError) string {
	switch {
	case err.IsNotFound:
		return report.ResolveNotFound
	case err.IsTimeout:
		return report.ResolveTimeout
	}
	return report.ResolveFailed
}

func dialCause(err *net.OpError) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return report.DialRefused
	case err.Timeout(), errors.Is(err, syscall.ETIMEDOUT):
		return report.DialTimeout
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return report.DialUnreachable
	}
	return report.DialFailed
}
