package e2e

import "github.com/flokoa/flokoa/ci/rig"

// request is one that an operator sent, as the API server wrote it down.
type request = rig.Request

// audited is the present end of the audit log.
func audited() (rig.Mark, error) { return cluster.Audit.End() }

// requestsSince are the answered requests of every operator after a mark.
func requestsSince(mark rig.Mark) ([]request, error) { return requestsOf(rig.Account, mark) }

// requestsOf are those of another account than the operator's.
func requestsOf(account string, mark rig.Mark) ([]request, error) {
	return cluster.Audit.Requests(account, mark)
}
