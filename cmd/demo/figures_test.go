package main

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/cmd/demo/generate"
)

// figuresOf lists what the generator's own world says of the indicators.
var figuresOf = map[string]func(f *generate.Figures) float64{
	"I-01": func(f *generate.Figures) float64 { return float64(f.Workers) },
	"I-03": func(f *generate.Figures) float64 { return f.UsersPerWorker },
	"I-06": func(f *generate.Figures) float64 { return float64(f.Gap) },
	"I-09": func(f *generate.Figures) float64 { return f.Per10k },
	"I-10": func(f *generate.Figures) float64 { return f.Per1kUsers },
	"I-14": func(f *generate.Figures) float64 { return float64(f.Orgs) },
	"I-16": func(f *generate.Figures) float64 { return 100 * f.TrainedShare },
	"I-20": func(f *generate.Figures) float64 { return 100 * f.CertifiedShare },
	"I-24": func(f *generate.Figures) float64 {
		if f.ProjectFen+f.PostFen == 0 {
			return 0
		}
		return 100 * float64(f.ProjectFen) / float64(f.ProjectFen+f.PostFen)
	},
}

// ask runs one query of the datasource and returns its frame.
func ask(t *testing.T, ds *plugin.Datasource, query string) *data.Frame {
	t.Helper()
	res, err := ds.QueryData(t.Context(), &backend.QueryDataRequest{
		Queries: []backend.DataQuery{{RefID: "A", JSON: json.RawMessage(query)}},
	})
	require.NoError(t, err)
	a := res.Responses["A"]
	require.NoError(t, a.Error, query)
	require.NotEmpty(t, a.Frames, query)
	return a.Frames[0]
}

// values reads column value of a frame by unit ("" for the nation).
func values(t *testing.T, f *data.Frame) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	unit, _ := f.FieldByName("unit")
	value, at := f.FieldByName("value")
	require.GreaterOrEqual(t, at, 0, "frame without value")
	for row := range value.Len() {
		v, err := value.NullableFloatAt(row)
		require.NoError(t, err)
		if v == nil {
			continue
		}
		name := ""
		if unit != nil {
			if s, ok := unit.ConcreteAt(row); ok {
				name = s.(string)
			}
		}
		out[name] = *v
	}
	return out
}

// TestFiguresAreThoseOfTheWorld compares what the dashboards' queries answer
// with what the generator computed from its own world, for the nation and every
// province, at the last day of several months.
func TestFiguresAreThoseOfTheWorld(t *testing.T) {
	o := testOptions(t, 20_000)
	s := startStack(t, o)
	require.Empty(t, s.job(t).Mismatches)
	ds, err := plugin.Open(plugin.Config{URL: s.dsn, Today: generate.Today.Format(time.DateOnly), SuppressBelow: -1})
	require.NoError(t, err)
	defer ds.Dispose()
	compared := 0
	for _, month := range s.manifest.Expected {
		if !slices.Contains([]string{"2015-12", "2016-03", "2016-08", "2016-11"}, month.Month) {
			continue
		}
		for id, figure := range figuresOf {
			f := func(group string, want map[string]float64) {
				t.Helper()
				got := values(t, ask(t, ds, fmt.Sprintf(`{"indicator":%q,"groupBy":%s,"asOf":%q}`, id, group, month.Day)))
				for unit, w := range want {
					g, ok := got[unit]
					if w == 0 && !ok {
						continue
					}
					if !ok || math.Abs(g-w) > 1e-6*math.Max(1, math.Abs(w)) {
						t.Errorf("%s of unit %q on %s: the dashboard says %v, the world %v", id, unit, month.Day, g, w)
					}
					compared++
				}
			}
			f(`[]`, map[string]float64{"": figure(&month.Nation)})
			units := map[string]float64{}
			for unit, of := range month.Units {
				units[unit] = figure(of)
			}
			f(`["province"]`, units)
		}
	}
	require.Greater(t, compared, 700)
	// I-40: hours since the last accepted report among the indicator's feeds. The
	// datasource knows today's date only, hence the day of tolerance.
	fresh := values(t, ask(t, ds, `{"indicator":"I-40","groupBy":["province"]}`))
	for unit, feeds := range s.manifest.Freshness {
		hours, ok := fresh[unit]
		if !ok {
			continue // the national office is no province
		}
		last := ""
		for _, name := range []string{"attendance", "context", "employment", "org", "post", "project", "qualification", "training"} {
			last = max(last, feeds[name])
		}
		at, err := time.Parse(time.RFC3339, last)
		require.NoError(t, err)
		require.InDelta(t, generate.Today.Sub(at).Hours(), hours, 24, "freshness of %s", unit)
	}
	require.Len(t, fresh, 32)
}

// TestLateUnitsAreThoseThatWerePlanted: two provinces have not sent November.
func TestLateUnitsAreThoseThatWerePlanted(t *testing.T) {
	o := testOptions(t, 20_000)
	s := startStack(t, o)
	s.job(t)
	ds, err := plugin.Open(plugin.Config{URL: s.dsn, Today: generate.Today.Format(time.DateOnly), SuppressBelow: -1})
	require.NoError(t, err)
	defer ds.Dispose()
	f := ask(t, ds, `{"indicator":"I-01","groupBy":["province"]}`)
	raw, err := json.Marshal(f.Meta.Custom)
	require.NoError(t, err)
	var meta struct{ UnitsMissing []struct{ Unit string } }
	require.NoError(t, json.Unmarshal(raw, &meta))
	var late []string
	for _, m := range meta.UnitsMissing {
		late = append(late, m.Unit)
	}
	slices.Sort(late)
	require.Equal(t, s.manifest.LateUnits, slices.Compact(late))
}
