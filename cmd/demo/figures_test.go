package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/cmd/demo/generate"
	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/feed"
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

// TestFigures runs the job once and holds the datasource's answers to the world.
func TestFigures(t *testing.T) {
	o := testOptions(t, 20_000)
	s := startStack(t, o)
	require.Empty(t, s.job(t).Mismatches)
	ds, err := plugin.Open(plugin.Config{URL: s.dsn, Today: generate.Today.Format(time.DateOnly), SuppressBelow: -1, Scope: scope.Everything()})
	require.NoError(t, err)
	defer ds.Dispose()
	t.Run("those of the manifest", func(t *testing.T) { figuresOfTheManifest(t, s, ds) })
	t.Run("every indicator", func(t *testing.T) { everyIndicator(t, s, ds) })
	t.Run("late units", func(t *testing.T) { lateUnits(t, s, ds) })
	t.Run("a decision", func(t *testing.T) { aDecision(t, s) })
}

// figuresOfTheManifest compares what the dashboards' queries answer
// with what the generator computed from its own world, for the nation and every
// province, at the last day of several months.
func figuresOfTheManifest(t *testing.T, s *stack, ds *plugin.Datasource) {
	t.Helper()
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

// everyIndicator compares each indicator, in each of its
// groupings that the oracle knows, with a computation that knows no SQL and no
// indicator file: numerators and denominators of the nation and of every unit at
// several months' ends.
func everyIndicator(t *testing.T, s *stack, ds *plugin.Datasource) {
	t.Helper()
	o := s.o
	contract, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	required := map[string]int{}
	for _, spec := range contract.Feeds {
		for _, f := range spec.All() {
			if f.Required {
				required[spec.Feed]++
			}
		}
	}
	world := generate.New(generate.Config{Seed: o.seed, Records: o.records, Partitions: o.partitions})
	require.NoError(t, world.Messages(func(generate.Message) error { return nil }))
	seen, told := map[string]bool{}, map[string]int{}
	compared, differ := 0, 0
	for _, month := range world.Oracle(required) {
		if !slices.Contains([]string{"2015-12", "2016-03", "2016-08", "2016-11"}, month.Month) {
			continue
		}
		// The answers of one query hold every code of a dimension.
		type answer struct{ n, m, value map[[2]string]float64 }
		answers := map[string]answer{}
		for _, key := range month.Keys() {
			id, rest, _ := strings.Cut(key, "|")
			if !strings.HasPrefix(id, "I-") {
				continue // a number that others are made of
			}
			dimension, code, _ := strings.Cut(rest, "|")
			seen[id] = true
			for _, grain := range []string{"", "province"} {
				if id == "I-02" && grain != "" {
					continue
				}
				asked := id + " " + dimension + " " + grain
				a, ok := answers[asked]
				if !ok {
					day := month.Day
					if month.Month == "2016-11" && slices.Contains([]string{"I-34", "I-35", "I-36"}, id) {
						day = "" // known for now only
					}
					groups := []string{}
					for _, g := range []string{grain, dimension} {
						if g != "" {
							groups = append(groups, strconv.Quote(g))
						}
					}
					f := ask(t, ds, fmt.Sprintf(`{"indicator":%q,"groupBy":[%s],"asOf":%q}`, id, strings.Join(groups, ","), day))
					a = answer{column(f, "numerator"), column(f, "denominator"), column(f, "value")}
					answers[asked] = a
				}
				money := 1.0
				if id == "I-27" {
					money = 100 // fen are shown as yuan
				}
				for unit, w := range month.Figures[key] {
					if (unit == "") != (grain == "") {
						continue
					}
					n, ok := a.n[[2]string{unit, code}]
					m := a.m[[2]string{unit, code}]
					compared++
					if !ok && w.N == 0 && (w.M == 0 || id == "I-33") {
						continue
					}
					value := w.N / money
					if w.M != 0 {
						value *= scale(key) / w.M
					}
					if v, shown := a.value[[2]string{unit, code}]; shown && !near(v, value) || !near(n, w.N/money) || !near(m, w.M) {
						differ++
						if told[key]++; told[key] <= 3 {
							t.Errorf("%s of unit %q on %s: the datasource says %v of %v, the world %v of %v", key, unit, month.Day, n, m, w.N/money, w.M)
						}
					}
				}
			}
		}
		balance(t, ds, month)
	}
	t.Logf("%d figures compared, %d differ", compared, differ)
	for _, in := range []string{"I-01", "I-02", "I-04", "I-05", "I-07", "I-08", "I-15", "I-17", "I-18", "I-19", "I-20", "I-21", "I-22", "I-23", "I-25", "I-26", "I-27", "I-28",
		"I-29", "I-30", "I-31", "I-32", "I-33", "I-34", "I-35", "I-36", "I-37", "I-38", "I-39", "I-41", "I-42", "I-43", "I-44"} {
		require.True(t, seen[in], in)
	}
	require.Greater(t, compared, 10_000)
}

// scale is what a quotient is multiplied by: most are per cent.
func scale(key string) float64 {
	switch key[:4] {
	case "I-04", "I-17":
		return 1
	case "I-27":
		if strings.HasSuffix(key, "per_10k") {
			return 10_000
		}
		return 1
	}
	return 100
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-6*math.Max(1, math.Abs(b)) }

// column reads a column of a frame by unit and code.
func column(f *data.Frame, name string) map[[2]string]float64 {
	out := map[[2]string]float64{}
	unit, _ := f.FieldByName("unit")
	code, _ := f.FieldByName("code")
	value, at := f.FieldByName(name)
	if at < 0 {
		return out
	}
	for row := range value.Len() {
		v, err := value.NullableFloatAt(row)
		if err != nil || v == nil {
			continue
		}
		key := [2]string{}
		if unit != nil {
			key[0] = unit.At(row).(string)
		}
		if code != nil {
			key[1] = code.At(row).(string)
		}
		out[key] = *v
	}
	return out
}

// balance compares the measures of inequality with other formulas than the
// datasource's: the Gini coefficient by the area under the Lorenz curve, Theil's
// parts by regions summed apart, the coefficient of variation by moments.
func balance(t *testing.T, ds *plugin.Datasource, month generate.Oracle) {
	t.Helper()
	contract, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	for code, need := range map[string]string{"users": "users", "population": "residents"} {
		type unit struct{ w, n float64 }
		var all []unit
		regions := map[string][]unit{}
		var w, n float64
		for u, x := range month.Figures["I-01"] {
			if u == "" {
				continue
			}
			at := unit{x.N, month.Figures[need][u].N}
			all, w, n = append(all, at), w+at.w, n+at.n
			r := contract.Unit(u).Region
			regions[r] = append(regions[r], at)
		}
		slices.SortFunc(all, func(a, b unit) int { return cmp.Compare(a.w/a.n, b.w/b.n) })
		area, below := 0.0, 0.0
		for _, x := range all {
			area += x.n / n * (below + x.w/w/2)
			below += x.w / w
		}
		between, within, square := 0.0, 0.0, 0.0
		for _, members := range regions {
			var rw, rn float64
			for _, x := range members {
				rw, rn = rw+x.w, rn+x.n
			}
			between += rw / w * math.Log(rw/w/(rn/n))
			for _, x := range members {
				within += rw / w * (x.w / rw) * math.Log(x.w/rw/(x.n/rn))
				square += x.w * x.w / x.n / n
			}
		}
		f := func(id, dimension, c string, want float64) {
			t.Helper()
			got := column(ask(t, ds, fmt.Sprintf(`{"indicator":%q,"groupBy":[%q],"asOf":%q}`, id, dimension, month.Day)), "value")[[2]string{"", c}]
			if !near(got, want) {
				t.Errorf("%s %s %s on %s: the datasource says %v, the world %v", id, dimension, c, month.Day, got, want)
			}
		}
		f("I-11", "need", code, 1-2*area)
		f("I-12", "need", code, between+within)
		f("I-13", "need", code, math.Sqrt(square/(w/n*w/n)-1))
		if code == "users" {
			f("I-12", "theil_part", "between", between)
			f("I-12", "theil_part", "within", within)
		}
	}
}

// lateUnits: two provinces have not sent November.
func lateUnits(t *testing.T, s *stack, ds *plugin.Datasource) {
	t.Helper()
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
