package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRangesPercentilesAndRatios(t *testing.T) {
	require.Equal(t, Range{1, 2, 9}, RangeOf([]float64{9, 1, 2}))
	require.Equal(t, Range{1, 2.5, 9}, RangeOf([]float64{9, 1, 2, 3}))
	require.Equal(t, Range{4, 4, 4}, RangeOf([]float64{4}))

	numbers := make([]float64, 200)
	for i := range numbers {
		numbers[i] = float64(200 - i)
	}
	require.InDelta(t, 100.0, Percentile(numbers, 50), 0)
	require.InDelta(t, 198.0, Percentile(numbers, 99), 0)
	require.InDelta(t, 1.0, Percentile(numbers, 0), 0)
	require.InDelta(t, 200.0, numbers[0], 0, "the argument is not changed")
	require.True(t, math.IsNaN(Percentile(nil, 50)))

	ratio, ok := RatioOf(map[int]float64{1: 12, 2: 20, 3: 18}, map[int]float64{1: 10, 2: 10, 3: 20})
	require.True(t, ok)
	require.Equal(t, Ratio{OfMedians: 1.8, Min: 0.9, Max: 2}, ratio)
	for name, none := range map[string]map[int]float64{"nothing": {}, "zero": {1: 0}, "no round of both": {4: 1}} {
		_, ok := RatioOf(map[int]float64{1: 12}, none)
		require.False(t, ok, name)
	}
}

func TestNumbersAreShownWithThreeDigits(t *testing.T) {
	for v, text := range map[float64]string{0: "0", 2: "2", 1000: "1000", 0.123: "0.12", 9.994: "9.99", 9.996: "10.0", 12.34: "12.3", 99.96: "100", 1234.5: "1234"} {
		require.Equal(t, text, number(v))
	}
	require.Equal(t, "999", thousands(999))
	require.Equal(t, "1,000", thousands(1000))
	require.Equal(t, "1,002,003", thousands(1002003))
}

// twoRounds are results of both sides; the operator takes 1.1 and 1.3 times as long.
func twoRounds() Results {
	r := Results{Machine: Machine{Version: "v1", Kubernetes: "v2", CPUs: 2, Processor: "p", System: "linux/amd64", MemoryMiB: 4096, Time: "now"}, Seconds: 61}
	for round, seconds := range []float64{11, 13} {
		operator := New(Scale, Operator, 1000, 1, round+1)
		operator.Values = map[string]float64{
			"create.seconds": seconds, "create.children": 2000, "create.statuses": 2500, "create.conflicts": 0, "create.cpu.operator": 7, "rest.requests": float64(round),
		}
		operator.Latencies["create.reaction"] = []float64{10, 20}
		bare := New(Scale, Floor, 1000, 1, round+1)
		bare.Values = map[string]float64{"create.seconds": 10, "create.children": 2000, "create.cpu.controlplane": 100}
		bare.Latencies["create.write"] = []float64{5, 5}
		r.Measurements = append(r.Measurements, operator, bare)
	}
	slow := New(Slow, Operator, 100, 1, 1)
	slow.Values = map[string]float64{"quiet.requests": 500, "quiet.span": 5, "slow.requests": 900, "slow.span": 90}
	r.Measurements = append(r.Measurements, slow)
	return r
}

func TestTheTableHasBothSidesTheRatioAndTheBar(t *testing.T) {
	out := &strings.Builder{}
	require.NoError(t, twoRounds().WriteTable(out))
	require.Equal(t, `Flokoa v1 on Kubernetes v2, 2 CPUs (p, linux/amd64), 4096 MiB; now, in 2 minutes

1,000 Agents, created, rolled, and left alone
                                                             floor, min / median / max of 2  operator, min / median / max of 2  ratio                bar
create: until all are ready                              s   10                              11 / 12 / 13                       1.20 (1.10-1.30)     <= 1.15 x  missed
create: writes of children per Agent                         2                               2                                  1.00 (1.00-1.00)     2          met
create: writes of status per Agent                                                           2.50                                                    <= 2       missed
create: answers 409                                                                          0                                                       0          met
create: CPU per Agent, operator / floor's control plane  ms  100                             7                                  0.070 (0.070-0.070)  <= 0.08 x  met
create: CPU of the control plane per Agent               ms  100
create: Deployment available -> status, p50              ms  5                               10                                 2.00 (2.00-2.00)     <= 3 x     met
create: Deployment available -> status, p99              ms  5                               20                                 4.00 (4.00-4.00)     <= 3 x     missed
at rest for 10 s: requests                                                                   0 / 0.50 / 1                                            0          missed

100 Agents, on an API server that answers 200 ms later and refuses 30% with 429
                                                     operator (1 round)  bar
requests per Agent, a good API server                5
requests per Agent, 200 ms slower and 30% refused    9
requests per second, a good API server               100
requests per second, slow, by that of a good one     0.10                <= 1  met
`, out.String())
}

func TestABarAppliesToItsSizeOnly(t *testing.T) {
	statuses := row{bars: []bar{{2, atMost, one}, {4, atMost, several}}}
	b, has := statuses.bar(group{Scale, 300, 3})
	require.True(t, has)
	require.Equal(t, "<= 4", b.String())
	_, has = row{bars: []bar{{70, atMost, small}}}.bar(group{Scale, 5000, 1})
	require.False(t, has)
}

func TestThePlotIsXMLWithALineForEverySideAndSize(t *testing.T) {
	for name, r := range map[string]Results{"results": twoRounds(), "nothing": {}} {
		out := &strings.Builder{}
		require.NoError(t, r.WritePlot(out), name)
		decoder := xml.NewDecoder(strings.NewReader(out.String()))
		for {
			_, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, name)
		}
		require.NotContains(t, out.String(), "NaN", name)
		require.Contains(t, out.String(), "prefers-color-scheme: dark")
	}
	out := &strings.Builder{}
	require.NoError(t, twoRounds().WritePlot(out))
	require.Contains(t, out.String(), ">1,000</text>")
	require.Equal(t, 3, strings.Count(out.String(), "<circle"), "create of both sides, CPU of the operator")
}

func TestTheScaleHasMarksAtRoundNumbers(t *testing.T) {
	for most, step := range map[float64]float64{0: 1, 4.2: 1, 38: 10, 61: 20, 120: 25, 180: 50, 7: 2} {
		s := scaleFor([]int{300}, most)
		require.InDelta(t, step, s.step, 1e-9, "%v", most)
		require.GreaterOrEqual(t, s.step*float64(s.marks), most)
	}
}

func TestEveryNumberIsInTheJSON(t *testing.T) {
	out := &strings.Builder{}
	require.NoError(t, twoRounds().WriteJSON(out))
	back := Results{}
	require.NoError(t, json.Unmarshal([]byte(out.String()), &back))
	require.Equal(t, twoRounds(), back)
}
