package catalogue_test

import (
	"math"
	"testing"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
)

// The worked example of the definitions, and two whose values are known.
func TestFolds(t *testing.T) {
	f := func(w, n []float64, regions string, want map[string]float64) {
		t.Helper()
		var u []catalogue.Staffed
		for i := range w {
			u = append(u, catalogue.Staffed{W: w[i], N: n[i], Region: regions[i : i+1]})
		}
		for name, v := range want {
			if got := catalogue.Folds[name](u); math.Abs(got-v) > 1e-6 {
				t.Errorf("%s of %v over %v is %.6f, not %.6f", name, w, n, got, v)
			}
		}
	}
	f([]float64{120, 80, 40, 200, 60}, []float64{3000, 4000, 2000, 2500, 6000}, "EWWEW", map[string]float64{
		"gini": 0.401143, "theil": 0.281020, "theil_between": 0.223178, "theil_within": 0.057843, "cv": 0.816088, "cv_plain": 0.734706,
		// x is 10 20 20 40 80: the 90th percentile lies at 3.6, the 10th at 0.4.
		"p90_p10": 64.0 / 14.0,
	})
	f([]float64{100, 100, 100}, []float64{3000, 3000, 3000}, "EMW", map[string]float64{
		"gini": 0, "theil": 0, "theil_between": 0, "theil_within": 0, "cv": 0, "cv_plain": 0, "p90_p10": 1,
	})
	f([]float64{300, 0, 0}, []float64{3000, 3000, 3000}, "EMW", map[string]float64{"gini": 0.666667, "theil": 1.098612, "cv": 1.414214})
	for name, fold := range catalogue.Folds {
		if v := fold(nil); !math.IsNaN(v) {
			t.Errorf("%s of no unit is %v", name, v)
		}
	}
}
