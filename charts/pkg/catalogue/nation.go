package catalogue

import (
	"math"
	"slices"
)

// Nation folds the units' numerators and denominators of one day and code into
// the national figure, NaN where there is none. Absent numbers are NaN, or
// missing: a unit that has one of the two still counts in that one.
func (in *Indicator) Nation(n, m []float64) float64 {
	present := func(v []float64) []float64 {
		return slices.DeleteFunc(slices.Clone(v), math.IsNaN)
	}
	n, m = present(n), present(m)
	if len(n) == 0 {
		return math.NaN()
	}
	sum := func(v []float64) (s float64) {
		for _, x := range v {
			s += x
		}
		return s
	}
	switch in.Measure.Kind {
	case "freshness":
		// The middle unit: one silent province must not hide the others.
		slices.Sort(n)
		mid := n[len(n)/2]
		if len(n)%2 == 0 {
			mid = (n[len(n)/2-1] + mid) / 2
		}
		return mid
	case "count":
		return sum(n)
	}
	if d := sum(m); d != 0 {
		return sum(n) / d * in.Measure.Scale
	}
	return math.NaN()
}
