package catalogue_test

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/indicators"
	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/testenv"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { testenv.Main(m) }

func load(t testing.TB) *catalogue.Catalogue {
	t.Helper()
	c, err := catalogue.Load(indicators.FS, chartstest.Contract(t))
	require.NoError(t, err)
	return c
}

func day(s string) time.Time {
	d, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return d
}

// A definition that changes must show its change: the SQL of every indicator
// and split stands beside this test.
func TestGoldenSQL(t *testing.T) {
	c := load(t)
	for _, in := range c.Indicators {
		for _, split := range append([]string{""}, in.Dimensions...) {
			if split == catalogue.Region {
				continue // a fold of the same rows
			}
			st, err := c.Compile(catalogue.Query{Indicator: in, Split: split, Units: []string{"310000"},
				Dates: []time.Time{day("2016-10-31"), day("2016-11-11")}, Now: day("2016-11-11")})
			require.NoError(t, err)
			var names []string
			for n := range st.Params {
				names = append(names, n)
			}
			sort.Strings(names)
			got := st.SQL + "\n"
			for _, n := range names {
				got += "-- " + n + " = " + st.Params[n] + "\n"
			}
			file := filepath.Join("testdata", strings.TrimSuffix(in.ID+"_"+split, "_")+".sql")
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
				continue
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err, "run go test ./charts/pkg/catalogue -update")
			require.Equal(t, string(want), got, "%s: a changed definition needs a new version; then run go test -update", file)
		}
	}
}

// No value that a user sends may reach the text of a statement.
func TestValuesAreParameters(t *testing.T) {
	c := load(t)
	evil := `x') OR 1=1 --`
	st, err := c.Compile(catalogue.Query{Indicator: c.Indicator("I-01"), Split: "worker_category", Codes: []string{evil}, Units: []string{evil}, Dates: []time.Time{day("2016-11-11")}})
	require.NoError(t, err)
	require.NotContains(t, st.SQL, "OR 1=1")
	require.Equal(t, `['x\') OR 1=1 --']`, st.Params["units"])
	_, err = c.Compile(catalogue.Query{Indicator: c.Indicator("I-01"), Split: evil, Units: []string{"1"}, Dates: []time.Time{day("2016-11-11")}})
	require.ErrorContains(t, err, "cannot split I-01")
}

func TestLoadNamesEveryProblemWithItsLine(t *testing.T) {
	bad := `id: I-01
zh: 总数
en: total
frame: X
version: one
approvel: provisional
valid_from: 2016-01-01
approval: provisional
definition: {zh: 甲, en: a}
numerator: {zh: 甲}
unit: {zh: 人, en: persons}
direction: up
grain: [nation]
update: daily
categories: ["01", "77"]
targets: [T-NONE]
format: {kind: integer}
measure:
  kind: ratio
  top: {kind: stock_persons, with: [{feed: qualification, field: nothing, is: "1", date: issued_on, window: ever}]}
`
	_, err := catalogue.Load(fstest.MapFS{"I-01.yaml": {Data: []byte(bad)}}, chartstest.Contract(t))
	var ps feed.Problems
	require.True(t, errors.As(err, &ps))
	got := err.Error()
	for _, want := range []string{
		"I-01.yaml:4: frame \"X\" is unknown; use one of S, P, V, G, Q",
		"I-01.yaml:5: cannot unmarshal !!str `one` into int",
		"I-01.yaml:6: field approvel is no key of Indicator",
		"I-01.yaml:10: numerator needs both zh and en",
		"I-01.yaml:15: \"77\" is no code of list worker_category",
		"I-01.yaml:16: target \"T-NONE\" is not in targets.csv",
		"I-01.yaml:19: a ratio has top and bottom",
		"I-01.yaml:20: qualification.nothing is no current field",
	} {
		require.Contains(t, got, want)
	}
}

// One pass counts both, whatever the two would say by themselves: a file that says
// something else may not be loaded.
func TestWhatIsCountedTogetherIsOneRatio(t *testing.T) {
	for file, said := range map[string]string{"I-38.yaml": "count: gap", "I-39.yaml": "count: mended"} {
		raw, err := os.ReadFile("../../indicators/" + file)
		require.NoError(t, err)
		load := func(old, new string) error {
			require.Contains(t, string(raw), old)
			_, err := catalogue.Load(fstest.MapFS{file: {Data: []byte(strings.Replace(string(raw), old, new, 1))}}, chartstest.Contract(t))
			return err
		}
		const why = "and of nothing else"
		if err := load(said, said); err != nil {
			require.NotContains(t, err.Error(), why)
		}
		require.ErrorContains(t, load(said, "count: "+map[string]string{"I-38.yaml": "total", "I-39.yaml": "all"}[file]), why)
		require.ErrorContains(t, load("kind: ratio", "kind: balance\n  fold: gini"), why)
		require.ErrorContains(t, load("bottom: {kind: ", "bottom: {kind: target, target: T-RATIO-30, was: "), why)
	}
}

// cell is one expected row: unit, code, numerator, denominator; NaN is NULL.
type cell struct {
	unit, cat string
	n, m      float64
}

var null = math.NaN()

func TestFiguresByHand(t *testing.T) {
	t.Run("one server", func(t *testing.T) { figuresByHand(t, chartstest.New(t, "charts_catalogue")) })
	// Whatever is compared or joined must be found on the other shard too.
	t.Run("two shards", func(t *testing.T) { figuresByHand(t, chartstest.OnShards(t, "charts_catalogue")) })
}

func figuresByHand(t *testing.T, db *chartstest.DB) {
	c := load(t)
	chartstest.Small(t, db)
	f := func(id, split, on string, want ...cell) {
		t.Helper()
		st, err := c.Compile(catalogue.Query{Indicator: c.Indicator(id), Split: split, Dates: []time.Time{day(on)},
			Units: []string{"310000", "320000", "330000", "440000", "660000"}, Now: time.Date(2016, 11, 12, 0, 0, 0, 0, feed.Shanghai)})
		require.NoError(t, err)
		var got, exp []string
		show := func(unit, cat string, n, m float64) string {
			return fmt.Sprintf("%s %-2s %.4f %.4f", unit, cat, n, m)
		}
		num := func(v any) float64 {
			if v == nil {
				return null
			}
			return v.(float64)
		}
		for _, r := range db.Query(t, st.SQL, st.Params) {
			// A split fills its grid with zeros; the page shows what is not zero.
			if split != "" && num(r["n"]) == 0 {
				continue
			}
			got = append(got, show(r["unit"].(string), r["cat"].(string), num(r["n"]), num(r["m"])))
		}
		for _, w := range want {
			exp = append(exp, show(w.unit, w.cat, w.n, w.m))
		}
		require.Equal(t, strings.Join(exp, "\n"), strings.Join(got, "\n"), "%s by %q on %s", id, split, on)
	}
	const today = "2016-11-11"
	f("I-01", "", today, cell{"310000", "", 4, null}, cell{"320000", "", 3, null}, cell{"330000", "", 0, null}, cell{"660000", "", 1, null})
	f("I-01", "worker_category", today, cell{"310000", "01", 2, null}, cell{"310000", "02", 1, null}, cell{"310000", "03", 1, null},
		cell{"320000", "01", 1, null}, cell{"320000", "02", 1, null}, cell{"320000", "03", 1, null}, cell{"660000", "01", 1, null})
	// A month before: P2 had not joined, P8 was still there.
	f("I-01", "", "2016-10-31", cell{"310000", "", 3, null}, cell{"320000", "", 3, null}, cell{"330000", "", 1, null}, cell{"660000", "", 1, null})
	// Before P3 joined in Shanghai, Jiangsu was the primary unit.
	f("I-01", "", "2016-01-09", cell{"310000", "", 1, null}, cell{"320000", "", 2, null}, cell{"330000", "", 1, null}, cell{"660000", "", 1, null})
	f("I-03", "", today, cell{"310000", "", 300, 4}, cell{"320000", "", 261, 3}, cell{"330000", "", 50, 0}, cell{"660000", "", 31, 1})
	f("I-06", "", today, cell{"310000", "", 2, null}, cell{"320000", "", 7, null}, cell{"660000", "", 1, null})
	f("I-09", "", today, cell{"310000", "", 4, 24000}, cell{"320000", "", 3, 50000}, cell{"330000", "", 0, 10000}, cell{"660000", "", 1, null})
	f("I-10", "", today, cell{"310000", "", 4, 300}, cell{"320000", "", 3, 261}, cell{"330000", "", 0, 50}, cell{"660000", "", 1, 31})
	f("I-10", "", "2016-09-30", cell{"310000", "", 3, 999}) // P1, P3, P7; the month before; nobody else had reported
	f("I-14", "", today, cell{"310000", "", 2, null}, cell{"320000", "", 1, null}, cell{"330000", "", 0, null})
	f("I-14", "org_type", today, cell{"310000", "51", 1, null}, cell{"310000", "52", 1, null}, cell{"320000", "53", 1, null})
	f("I-14", "", "2016-10-01", cell{"310000", "", 0, null}, cell{"320000", "", 0, null}, cell{"330000", "", 1, null})
	f("I-16", "", today, cell{"310000", "", 1, 4}, cell{"320000", "", 1, 3}, cell{"330000", "", 0, 0}, cell{"660000", "", 0, 1})
	f("I-16", "training_tier", today, cell{"310000", "2", 1, 4}, cell{"310000", "4", 1, 4}, cell{"320000", "3", 1, 3})
	f("I-20", "", today, cell{"310000", "", 1, 4}, cell{"320000", "", 1, 3}, cell{"330000", "", 0, 0}, cell{"660000", "", 1, 1})
	f("I-20", "worker_category", today, cell{"310000", "01", 1, 2}, cell{"320000", "03", 1, 1}, cell{"660000", "01", 1, 1})
	f("I-24", "", today, cell{"310000", "", 80_000_00, 80_000_00}, cell{"320000", "", 10_000_00, 40_000_00}, cell{"660000", "", 0, 40_000_00})
	f("I-24", "purchase_mode", today, cell{"310000", "1", 80_000_00, 80_000_00}, cell{"320000", "1", 10_000_00, 40_000_00},
		cell{"320000", "2", 30_000_00, 40_000_00}, cell{"660000", "2", 40_000_00, 40_000_00})
	f("I-40", "", today, cell{"310000", "", 183, null}, cell{"320000", "", 183, null}, cell{"330000", "", 183, null}, cell{"660000", "", 183, null})
	f("I-40", "feed", "2016-11-11", cell{"310000", "attendance", 183, null}, cell{"310000", "context", 183, null}, cell{"310000", "employment", 183, null},
		cell{"310000", "org", 183, null}, cell{"310000", "project", 183, null}, cell{"310000", "qualification", 183, null}, cell{"310000", "training", 183, null},
		cell{"320000", "attendance", 183, null}, cell{"320000", "context", 183, null}, cell{"320000", "employment", 183, null}, cell{"320000", "org", 183, null},
		cell{"320000", "post", 183, null}, cell{"320000", "project", 183, null}, cell{"320000", "qualification", 183, null}, cell{"320000", "training", 183, null},
		cell{"330000", "attendance", 183, null}, cell{"330000", "employment", 183, null}, cell{"330000", "org", 183, null},
		cell{"660000", "context", 183, null}, cell{"660000", "employment", 183, null}, cell{"660000", "post", 183, null}, cell{"660000", "qualification", 183, null})
}

// hashes asks the database by statements of their own.
func hashes(t *testing.T, db *chartstest.DB) func(catalogue.Statement) ([]uint64, bool) {
	return func(st catalogue.Statement) ([]uint64, bool) {
		var out []uint64
		for _, r := range db.Query(t, "SELECT toString(h) AS h FROM (\n"+st.SQL+"\n)", st.Params) {
			h, err := strconv.ParseUint(r["h"].(string), 10, 64)
			require.NoError(t, err)
			out = append(out, h)
		}
		return out, true
	}
}

// Every statement that can be asked for must be one that the server reads: each
// indicator by each of its dimensions, on one day and on several, as it stands
// and as it stood.
func TestEveryStatementRuns(t *testing.T) {
	if !testenv.Full() {
		t.Skip("asks some four hundred statements: run make test")
	}
	c := load(t)
	db := chartstest.New(t, "charts_statements")
	chartstest.Small(t, db)
	units := []string{"310000", "320000", "330000", "660000"}
	for _, in := range c.Indicators {
		for _, split := range append([]string{""}, in.Dimensions...) {
			if split == catalogue.Region {
				continue
			}
			for _, on := range [][]time.Time{{day("2016-11-11")}, {day("2016-09-30"), day("2016-10-31"), day("2016-11-11")}} {
				if in.Now() && len(on) > 1 {
					continue
				}
				f := func(known time.Time) string {
					st, err := c.Compile(catalogue.Query{Indicator: in, Split: split, Units: units, Dates: on, Now: on[0], Known: known})
					require.NoError(t, err)
					return fmt.Sprint(db.Query(t, st.SQL, st.Params))
				}
				if len(on) > 1 && split != "" {
					f(time.Time{})
					continue
				}
				// Everything had arrived by then, so that the past is the present.
				require.Equal(t, f(time.Time{}), f(time.Date(2017, 1, 1, 0, 0, 0, 0, feed.Shanghai)), "%s by %q on %v", in.ID, split, on)
			}
		}
	}
}

// A statement names every table that it reads, or none: an answer is shown again
// while they stay as they are.
func TestTheTablesOfAStatement(t *testing.T) {
	c := load(t)
	of := func(id, split string) []string {
		st, err := c.Compile(catalogue.Query{Indicator: c.Indicator(id), Split: split, Dates: []time.Time{day("2016-10-31")}, Units: []string{"310000"}, Now: day("2016-11-11")})
		require.NoError(t, err)
		return st.Tables
	}
	require.Equal(t, []string{"employment"}, of("I-01", ""))
	require.Equal(t, []string{"attendance", "employment", "training"}, of("I-16", "training_tier"))
	require.Equal(t, []string{"context", "employment", "org", "post", "project"}, of("I-15", ""))
	require.Nil(t, of("I-34", ""), "it reads the receipts too")
}
