package cluster_test

import "github.com/flokoa/flokoa/ci/testkit/harness"

// request is one that an operator sent, as the API server wrote it down.
type request = harness.Request

// auditLogEnd is the present end of the audit log.
func auditLogEnd() (harness.Mark, error) { return cluster.Audit.End() }

// requestsSince are the answered requests of every operator after a mark.
func requestsSince(mark harness.Mark) ([]request, error) { return requestsOf(harness.Account, mark) }

// requestsOf are those of another account than the operator's.
func requestsOf(account string, mark harness.Mark) ([]request, error) {
	return cluster.Audit.Requests(account, mark)
}
