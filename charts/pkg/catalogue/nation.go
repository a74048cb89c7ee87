package catalogue

import (
	"math"
	"sort"
)

// Share is what one unit brings to a figure of one day: numerator and
// denominator as the statement gives them, NaN where there is none.
type Share struct {
	Region string
	N, M   float64
}

// Figure is a figure with its numerator and denominator, as they are shown: money
// in yuan. NaN stands for what is absent.
type Figure struct{ N, M, Value float64 }

// Figure takes the quotient of a numerator and a denominator, under a code of a
// dimension or of no dimension.
func (in *Indicator) Figure(split, code string, n, m float64) Figure {
	measure, format, _ := in.Of(split, code)
	// Money is kept in fen and shown in yuan.
	top, bottom := 1.0, 1.0
	if format.Kind == "money" || format.Parts == "money" {
		top = 100
	}
	if format.Parts == "money" {
		bottom = 100
	}
	f := Figure{N: n / top, M: m / bottom, Value: math.NaN()}
	switch {
	case measure.Kind != "ratio" && measure.Kind != "mix" && measure.Kind != "balance":
		f.Value = n / top
	case m != 0: // a quotient by nothing is no value; its parts still stand
		f.Value = n / m * measure.Scale * bottom / top
	}
	return f
}

// Nation folds the units of one day into the figure of the nation. A median has
// no fold: the statement itself gives the nation's.
func (c *Catalogue) Nation(in *Indicator, split, code string, all []Share) Figure {
	none := Figure{math.NaN(), math.NaN(), math.NaN()}
	measure, _, _ := in.Of(split, code)
	if len(all) == 0 || measure.Kind == "median" {
		return none
	}
	if measure.Kind == "freshness" {
		// The middle unit: one silent province must not hide the others.
		var v []float64
		for _, x := range all {
			v = append(v, x.N)
		}
		sort.Float64s(v)
		mid := v[len(v)/2]
		if len(v)%2 == 0 {
			mid = (v[len(v)/2-1] + v[len(v)/2]) / 2
		}
		return Figure{mid, math.NaN(), mid}
	}
	n, m := math.NaN(), math.NaN()
	var staffed []Staffed
	for _, x := range all {
		n, m = plus(n, x.N), plus(m, x.M)
		if x.M > 0 {
			staffed = append(staffed, Staffed{W: x.N, N: x.M, Region: x.Region})
		}
	}
	if measure.Bottom != nil && measure.Bottom.Kind == "target" {
		m = c.Target(measure.Bottom.Target).Value
	}
	f := in.Figure(split, code, n, m)
	if measure.Kind == "balance" {
		f.Value = Folds[measure.Fold](staffed)
	}
	return f
}

// plus adds where NaN is an absent number.
func plus(a, b float64) float64 {
	switch {
	case math.IsNaN(a):
		return b
	case math.IsNaN(b):
		return a
	}
	return a + b
}
