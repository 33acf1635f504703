package report

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Summary is what the records of a window add up to. Requests are posts and gets; streams are counted apart. Times are Unix
// milliseconds, durations milliseconds; 0 stands for none.
type Summary struct {
	From int64 `json:"from"` // the window; 0 is open
	To   int64 `json:"to"`

	Requests     int            `json:"requests"`
	Failures     int            `json:"failures"`
	Causes       map[string]int `json:"causes"`       // failures of requests by cause
	FailuresBy   map[string]int `json:"failuresBy"`   // failures of requests by pod; "" where none is known
	FirstFailure int64          `json:"firstFailure"` // when the first request that failed was due
	LastFailure  int64          `json:"lastFailure"`

	P50         float64 `json:"p50"` // latencies of good answers
	P99         float64 `json:"p99"`
	Slowest     float64 `json:"slowest"`
	LatestStart float64 `json:"latestStart"` // the longest that the generator itself was late: above some ten milliseconds latencies are in part its own

	Pods        map[string]int `json:"pods"`        // good answers by pod
	Versions    map[string]int `json:"versions"`    // good answers by version
	Connections map[string]int `json:"connections"` // requests by how they came by their connection

	// LongestGap is the longest time without a good answer: between two of them, and between one and a given end of the window.
	LongestGap   float64 `json:"longestGap"`
	LongestGapAt int64   `json:"longestGapAt"` // when it began

	StreamsFinished int            `json:"streamsFinished"`
	StreamsCut      int            `json:"streamsCut"`   // streams that did not reach their final event, from whatever cause
	StreamCauses    map[string]int `json:"streamCauses"` // by cause
	FirstCut        int64          `json:"firstCut"`     // when the first stream that did not reach its final event ended
	LastCut         int64          `json:"lastCut"`
}

// String is the summary in one line, for the log of a suite.
func (s Summary) String() string {
	text := fmt.Sprintf("%d requests, %d failures", s.Requests, s.Failures)
	for _, cause := range slices.Sorted(maps.Keys(s.Causes)) {
		text += fmt.Sprintf(", %s %d", cause, s.Causes[cause])
	}
	text += fmt.Sprintf("; p50 %.1f ms, p99 %.1f ms, slowest %.1f ms, longest gap %.0f ms; streams %d finished, %d cut",
		s.P50, s.P99, s.Slowest, s.LongestGap, s.StreamsFinished, s.StreamsCut)
	return text + fmt.Sprintf("; pods %s", strings.Join(slices.Sorted(maps.Keys(s.Pods)), " "))
}

// DecodeSummary reads a summary from its JSON.
func DecodeSummary(r io.Reader) (Summary, error) {
	var s Summary
	if err := json.NewDecoder(r).Decode(&s); err != nil {
		return Summary{}, fmt.Errorf("summary: %w", err)
	}
	return s, nil
}

// Summarize adds up the records that belong to the window [from, to), see Record.In. The records may be in any order.
func Summarize(records []Record, from, to int64) Summary {
	s := Summary{From: from, To: to, Causes: map[string]int{}, FailuresBy: map[string]int{}, Pods: map[string]int{},
		Versions: map[string]int{}, Connections: map[string]int{}, StreamCauses: map[string]int{}}
	var good []Record
	for _, r := range records {
		switch {
		case !r.In(from, to):
		case r.Kind == Stream:
			s.addStream(r)
		default:
			s.addRequest(r)
			if r.Outcome == OK {
				good = append(good, r)
			}
		}
	}
	s.addLatencies(good)
	s.addGap(good)
	return s
}

func (s *Summary) addStream(r Record) {
	if r.Outcome == OK {
		s.StreamsFinished++
		return
	}
	s.StreamsCut++
	s.StreamCauses[r.Outcome]++
	s.FirstCut, s.LastCut = widen(s.FirstCut, s.LastCut, r.End())
}

func (s *Summary) addRequest(r Record) {
	s.Requests++
	s.LatestStart = max(s.LatestStart, milliseconds(r.Late))
	if r.Connection != "" {
		s.Connections[r.Connection]++
	}
	if r.Outcome == OK {
		s.Pods[r.Pod]++
		s.Versions[r.Version]++
		return
	}
	s.Failures++
	s.Causes[r.Outcome]++
	s.FailuresBy[r.Pod]++
	s.FirstFailure, s.LastFailure = widen(s.FirstFailure, s.LastFailure, r.Start)
}

// widen makes the span from first to last hold t; a span of 0 is empty.
func widen(first, last, t int64) (int64, int64) {
	if first == 0 || t < first {
		first = t
	}
	return first, max(last, t)
}

func (s *Summary) addLatencies(good []Record) {
	latencies := make([]time.Duration, 0, len(good))
	for _, r := range good {
		latencies = append(latencies, r.Latency)
	}
	slices.Sort(latencies)
	s.P50 = milliseconds(percentile(latencies, 50))
	s.P99 = milliseconds(percentile(latencies, 99))
	s.Slowest = milliseconds(percentile(latencies, 100))
}

// percentile is the smallest of the sorted durations that at least p percent of them do not exceed (nearest rank).
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (s *Summary) addGap(good []Record) {
	var answers []int64
	if s.From != 0 {
		answers = append(answers, s.From)
	}
	for _, r := range good {
		if s.To == 0 || r.End() < s.To { // a request that was due within may be answered after the end
			answers = append(answers, r.End())
		}
	}
	if s.To != 0 {
		answers = append(answers, s.To)
	}
	slices.Sort(answers)
	for i := 1; i < len(answers); i++ {
		if gap := float64(answers[i] - answers[i-1]); gap > s.LongestGap {
			s.LongestGap, s.LongestGapAt = gap, answers[i-1]
		}
	}
}
