package plugin

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/indicators"
	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/catalogue"
)

// TestOneNation: what a dry run of a replay calls the national figure is what the
// dashboards show.
func TestOneNation(t *testing.T) {
	c, err := catalogue.Load(indicators.FS, chartstest.Contract(t))
	require.NoError(t, err)
	none := math.NaN()
	for _, in := range c.Indicators {
		for _, parts := range [][]part{
			{}, {{n: 3, m: 4}}, {{n: 3, m: 4}, {n: 5, m: 1}, {n: 100, m: 7}}, {{n: 3, m: none}, {n: none, m: 4}},
			{{n: 3, m: 0}}, {{n: 1, m: 2}, {n: 9, m: 2}, {n: 4, m: 2}, {n: 2, m: 2}},
		} {
			if in.Measure.Kind == "freshness" && len(parts) == 2 {
				continue // a unit has a freshness or no row
			}
			var n, m []float64
			for _, p := range parts {
				n, m = append(n, p.n), append(m, p.m)
			}
			got := in.Nation(n, m)
			if want := (&plan{in: in}).nation(parts).value; want == nil {
				require.True(t, math.IsNaN(got), "%s of %v", in.ID, parts)
			} else {
				require.InDelta(t, *want, got, 1e-9, "%s of %v", in.ID, parts)
			}
		}
	}
}
