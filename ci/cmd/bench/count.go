package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/flokoa/flokoa/ci/testkit/harness"
)

// count is what a number of requests come to.
type count struct {
	// requests are how often each was sent, such as "patch deployments", or "404 get services" when it was refused.
	requests map[string]int
	// children and statuses are writes, of children and of Agents' statuses.
	children, statuses, events int
	// conflicts are answers 409, failures all others from 400 on, but for the read that finds a name to be free.
	conflicts, failures int
	// all are all but leases and watches, which go on whether or not anything happens.
	all int
}

func tally(requests []harness.Request) count {
	c := count{requests: map[string]int{}}
	for _, r := range requests {
		if r.ObjectRef.Resource == "leases" || r.Verb == "watch" {
			continue
		}
		c.all++
		code, what := r.ResponseStatus.Code, r.Verb+" "+r.Resource()
		free := r.Verb == "get" && code == http.StatusNotFound
		switch {
		case code == http.StatusConflict:
			c.conflicts++
		case code >= http.StatusBadRequest && !free:
			c.failures++
		}
		switch {
		case r.ObjectRef.Resource == "events" && r.Verb != "list":
			c.events++
		case r.IsWrite() && r.Resource() == "agents/status":
			c.statuses++
		case r.IsWrite():
			c.children++
		}
		if r.ObjectRef.Resource == "" {
			what = "discovery"
		}
		if code >= http.StatusBadRequest {
			what = fmt.Sprintf("%d %s", code, what)
		}
		c.requests[what]++
	}
	return c
}

// load is how many calls passed a proxy, leases and watches apart, and how fast.
type load struct {
	calls, refused int
	// busiest is the most in one second, span the time from the first to the last.
	busiest int
	span    time.Duration
}

// loadOf needs calls in the order in which they came.
func loadOf(calls []harness.Call) load {
	l := load{}
	var times []time.Time
	for _, c := range calls {
		if c.Resource == "leases" || c.Verb == "watch" {
			continue
		}
		if c.FaultName == harness.TooMany.Name {
			l.refused++
		}
		times = append(times, c.At)
	}
	l.calls = len(times)
	for first, last := 0, 0; last < len(times); last++ {
		for times[last].Sub(times[first]) >= time.Second {
			first++
		}
		l.busiest = max(l.busiest, last-first+1)
	}
	if l.calls > 0 {
		l.span = times[l.calls-1].Sub(times[0])
	}
	return l
}
