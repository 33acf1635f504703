package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

func good(start int64, latency time.Duration, pod string) Record {
	return Record{Start: start, Kind: Post, Connection: Kept, Latency: latency, Outcome: OK, Pod: pod, Version: "v1"}
}

func bad(start int64, cause, pod string) Record {
	return Record{Start: start, Kind: Get, Connection: New, Latency: ms, Outcome: cause, Pod: pod}
}

func stream(start int64, latency time.Duration, outcome string) Record {
	return Record{Start: start, Kind: Stream, Connection: New, Latency: latency, Outcome: outcome, Pod: "a"}
}

func TestASummaryAddsUp(t *testing.T) {
	hundred := []Record{}
	for i := range 100 {
		hundred = append(hundred, good(int64(1000+i), time.Duration(100-i)*ms, "a"))
	}
	for name, test := range map[string]struct {
		records  []Record
		from, to int64
		want     string // the fields that matter, as JSON
	}{
		"of nothing":                            {nil, 0, 0, `{"requests":0,"failures":0,"p50":0,"p99":0,"slowest":0,"longestGap":0,"firstFailure":0,"lastFailure":0}`},
		"good answers by pod and version":       {[]Record{good(1, ms, "a"), good(2, ms, "b"), good(3, ms, "a")}, 0, 0, `{"requests":3,"failures":0,"pods":{"a":2,"b":1},"versions":{"v1":3},"connections":{"kept":3}}`},
		"failures by cause and pod":             {[]Record{bad(5, EOF, "a"), bad(9, EOF, "b"), bad(7, Reset, ""), good(8, ms, "a")}, 0, 0, `{"requests":4,"failures":3,"causes":{"eof":2,"reset":1},"failuresBy":{"a":1,"b":1,"":1},"firstFailure":5,"lastFailure":9,"pods":{"a":1}}`},
		"percentiles by nearest rank":           {hundred, 0, 0, `{"p50":50,"p99":99,"slowest":100}`},
		"one answer is every percentile":        {[]Record{good(1, 7*ms, "a")}, 0, 0, `{"p50":7,"p99":7,"slowest":7}`},
		"failures are no latencies":             {[]Record{good(1, 7*ms, "a"), {Start: 1, Kind: Get, Latency: 5000 * ms, Outcome: Timeout}}, 0, 0, `{"slowest":7}`},
		"a gap is between ends":                 {[]Record{good(100, 400*ms, "a"), good(200, 10*ms, "a"), good(900, 10*ms, "a")}, 0, 0, `{"longestGap":410,"longestGapAt":500}`},
		"a gap at the window's start":           {[]Record{good(500, 10*ms, "a"), good(600, 10*ms, "a")}, 100, 700, `{"longestGap":410,"longestGapAt":100}`},
		"a gap at the window's end":             {[]Record{good(110, 10*ms, "a")}, 100, 700, `{"longestGap":580,"longestGapAt":120}`},
		"a window without an answer":            {nil, 100, 700, `{"longestGap":600,"longestGapAt":100}`},
		"an answer after the window":            {[]Record{good(650, 900*ms, "a")}, 100, 700, `{"requests":1,"longestGap":600}`},
		"a window holds its start, not its end": {[]Record{good(99, ms, "x"), good(100, ms, "a"), good(199, ms, "b"), good(200, ms, "x")}, 100, 200, `{"requests":2,"pods":{"a":1,"b":1}}`},
		"a stream counts when it ends":          {[]Record{stream(1, 149*ms, Cut), stream(150, 100*ms, Cut), stream(1, 120*ms, OK)}, 100, 200, `{"requests":0,"streamsFinished":1,"streamsCut":1,"streamCauses":{"cut":1},"firstCut":150,"lastCut":150}`},
		"how late the generator was":            {[]Record{{Start: 1, Kind: Get, Outcome: Overrun, Late: 30 * ms}, good(2, ms, "a")}, 0, 0, `{"latestStart":30,"connections":{"kept":1}}`},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(Summarize(test.records, test.from, test.to))
			require.NoError(t, err)
			var got, want map[string]any
			require.NoError(t, json.Unmarshal(text, &got))
			require.NoError(t, json.Unmarshal([]byte(test.want), &want))
			for field, value := range want {
				require.Equal(t, value, got[field], field)
			}
			read, err := DecodeSummary(bytes.NewReader(text))
			require.NoError(t, err)
			require.Equal(t, Summarize(test.records, test.from, test.to), read)
		})
	}
}

func TestASummaryReadsAsALine(t *testing.T) {
	line := Summarize([]Record{good(1, 2*ms, "a"), bad(3, Reset, ""), stream(1, ms, Cut)}, 0, 0).String()
	require.Equal(t, "2 requests, 1 failures, reset 1; p50 2.0 ms, p99 2.0 ms, slowest 2.0 ms, longest gap 0 ms; streams 0 finished, 1 cut; pods a", line)
}

func TestRecordsAreReadAsTheyWereWritten(t *testing.T) {
	records := []Record{
		{Start: 1700000000123, Kind: Stream, Connection: New, Late: 1 * ms, Latency: 1500 * time.Microsecond, FirstEvent: ms, Outcome: Cut, Pod: "a", Version: "v1"},
		good(1700000000200, ms, "b"), good(1700000000300, ms, "c"),
	}
	var text bytes.Buffer
	require.NoError(t, Encode(&text, records, 0, 1700000000300))
	read, err := Decode(&text)
	require.NoError(t, err)
	require.Equal(t, records[:2], read)
}

func TestIncompleteResultsAreRejected(t *testing.T) {
	var text bytes.Buffer
	require.NoError(t, Encode(&text, []Record{good(1, ms, "a"), good(2, ms, "b")}, 0, 0))
	lines := strings.SplitAfter(text.String(), "\n")
	for name, test := range map[string]struct{ text, want string }{
		"nothing":           {"", "cut after 0 records"},
		"no last line":      {lines[0] + lines[1], "cut after 2 records"},
		"half a line":       {lines[0] + lines[1][:9], "cut after 1 records"},
		"a line lost":       {lines[0] + lines[2], "hold 1 records"},
		"another last line": {lines[0] + "{}", "hold 1 records"},
		"fewer fields":      {`[1,"post"]`, "2 fields, want 9"},
		"more fields":       {`[1,"post","kept",1,1,1,"ok","a","v1",1]`, "10 fields, want 9"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode(strings.NewReader(test.text))
			require.ErrorContains(t, err, test.want)
		})
	}
}
