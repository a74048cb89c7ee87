package catalogue

import (
	"math"
	"slices"
	"sort"
)

// Staffed is one unit of a measure of inequality: w workers over a need of n, in
// a region.
type Staffed struct {
	W, N   float64
	Region string
}

// Folds are the measures of inequality between units, by name. Units without
// need are left out before; of no unit the measure is NaN. Formulas: the Gini
// coefficient by mean absolute difference, Theil's T with its decomposition, the
// coefficient of variation, and the ratio of the 90th to the 10th percentile, in
// the standard definitions, weighted by need unless said otherwise.
var Folds = map[string]func([]Staffed) float64{
	"gini":          gini,
	"theil":         func(u []Staffed) float64 { return theil(u) },
	"theil_between": func(u []Staffed) float64 { return theil(byRegion(u)) },
	"theil_within":  func(u []Staffed) float64 { return theil(u) - theil(byRegion(u)) },
	"cv":            variation,
	"cv_plain": func(u []Staffed) float64 {
		// Plain: every unit weighs the same.
		plain := make([]Staffed, len(u))
		for i, x := range u {
			plain[i] = Staffed{W: x.W / x.N, N: 1}
		}
		return variation(plain)
	},
	"p90_p10": func(u []Staffed) float64 {
		x := make([]float64, len(u))
		for i := range u {
			x[i] = u[i].W / u[i].N
		}
		slices.Sort(x)
		return percentile(x, 0.9) / percentile(x, 0.1)
	},
}

func foldNames() []string {
	var out []string
	for n := range Folds {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

func sums(u []Staffed) (w, n float64) {
	for _, x := range u {
		w, n = w+x.W, n+x.N
	}
	return w, n
}

func gini(u []Staffed) float64 {
	w, n := sums(u)
	mean := w / n
	sum := 0.0
	for _, a := range u {
		for _, b := range u {
			sum += a.N / n * b.N / n * math.Abs(a.W/a.N-b.W/b.N)
		}
	}
	return sum / (2 * mean)
}

func theil(u []Staffed) float64 {
	w, n := sums(u)
	sum := 0.0
	for _, x := range u {
		if x.W > 0 {
			sum += x.W / w * math.Log(x.W/w/(x.N/n))
		}
	}
	if w == 0 || len(u) == 0 {
		return math.NaN()
	}
	return sum
}

// byRegion adds the units of each region up.
func byRegion(u []Staffed) []Staffed {
	var out []Staffed
	for _, x := range u {
		i := slices.IndexFunc(out, func(o Staffed) bool { return o.Region == x.Region })
		if i < 0 {
			out = append(out, x)
			continue
		}
		out[i].W, out[i].N = out[i].W+x.W, out[i].N+x.N
	}
	return out
}

func variation(u []Staffed) float64 {
	w, n := sums(u)
	mean := w / n
	sum := 0.0
	for _, x := range u {
		d := x.W/x.N - mean
		sum += x.N / n * d * d
	}
	return math.Sqrt(sum) / mean
}

// percentile interpolates linearly between order statistics.
func percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := p * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}
