package report

import (
	"math"
	"slices"
)

// Range is the least, the middle and the most of some numbers.
type Range struct{ Min, Median, Max float64 }

// RangeOf is the range of at least one number.
func RangeOf(numbers []float64) Range {
	sorted := slices.Sorted(slices.Values(numbers))
	half := len(sorted) / 2
	median := sorted[half]
	if len(sorted)%2 == 0 {
		median = (sorted[half-1] + median) / 2
	}
	return Range{sorted[0], median, sorted[len(sorted)-1]}
}

// Percentile is the number that a share of all are not above: the smallest such number that is among them. It is NaN of none.
func Percentile(numbers []float64, percent float64) float64 {
	if len(numbers) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(numbers))
	rank := int(math.Ceil(percent / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

// Ratio compares two sides: the ratio of their medians, and between which the ratios of single rounds lie.
type Ratio struct{ OfMedians, Min, Max float64 }

// RatioOf compares numbers of two sides by round. A round that one side lacks counts in its median only. It is false if a
// side has no numbers.
func RatioOf(above, below map[int]float64) (Ratio, bool) {
	if len(above) == 0 || len(below) == 0 {
		return Ratio{}, false
	}
	least := RangeOf(values(below))
	if least.Min <= 0 {
		return Ratio{}, false
	}
	r := Ratio{OfMedians: RangeOf(values(above)).Median / least.Median, Min: math.Inf(1), Max: math.Inf(-1)}
	for round, a := range above {
		if b, both := below[round]; both {
			r.Min, r.Max = min(r.Min, a/b), max(r.Max, a/b)
		}
	}
	return r, !math.IsInf(r.Min, 0)
}

func values(byRound map[int]float64) []float64 {
	all := make([]float64, 0, len(byRound))
	for _, value := range byRound {
		all = append(all, value)
	}
	return all
}
