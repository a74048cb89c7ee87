package plugin

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/figures"
)

// crowd is a nation of small units whose people differ in everything by which
// figures can be split, so that there are small cells everywhere.
func crowd(t *testing.T, db *chartstest.DB, seed uint64) []string {
	t.Helper()
	sizes := map[string]int{"110000": 3, "120000": 7, "310000": 40, "320000": 12, "140000": 25, "220000": 9, "340000": 60,
		"150000": 2, "610000": 18, "620000": 33, "640000": 5, "660000": 14}
	var units []string
	for u := range sizes {
		units = append(units, u)
	}
	slices.Sort(units)
	r := rand.New(rand.NewPCG(seed, 1))
	pick := func(of ...string) string { return of[min(int(r.ExpFloat64()*float64(len(of))/2.5), len(of)-1)] }
	var spells, workers, certs []chartstest.Row
	for _, u := range units {
		for range sizes[u] {
			person := chartstest.Person(len(spells))
			spells = append(spells, chartstest.Row{"record_id": fmt.Sprint("e", len(spells)), "reporting_unit": u, "id_number_token": person, "start_on": "2015-01-01", "end_on": nil,
				"worker_category": pick("01", "02", "03"), "effective_from": "2015-01-01"})
			workers = append(workers, chartstest.Row{"record_id": fmt.Sprint("w", len(workers)), "reporting_unit": u, "id_number_token": person, "sex": pick("2", "1"), "education_code": pick("20", "30", "10", "60"),
				"birth_year": 1950 + r.IntN(48), "worker_category": "01"})
			if r.IntN(5) < 2 {
				certs = append(certs, chartstest.Row{"record_id": fmt.Sprint("q", len(certs)), "reporting_unit": u, "id_number_token": person, "cert_level": pick("1", "2", "3"), "issued_on": "2015-01-01", "cert_status": "1", "effective_from": "2015-01-01"})
			}
		}
	}
	db.Insert(t, "employment", spells...)
	db.Insert(t, "worker", workers...)
	db.Insert(t, "qualification", certs...)
	return units
}

// shownCells are all numerators of an indicator on a day, by "dimension|unit|code".
type shownCells struct {
	values map[string]float64
	hidden map[string]bool
}

func askAll(t *testing.T, d *Datasource, indicator string, dimensions []string) shownCells {
	t.Helper()
	out := shownCells{map[string]float64{}, map[string]bool{}}
	for _, dim := range append([]string{""}, dimensions...) {
		for _, by := range []string{"", byProvince} {
			groups := strings.Join(slices.DeleteFunc([]string{by, dim}, func(s string) bool { return s == "" }), `","`)
			if groups != "" {
				groups = `"` + groups + `"`
			}
			f := ask(t, d, fmt.Sprintf(`{"indicator":%q,"groupBy":[%s]}`, indicator, groups))
			states := provenance(f).States
			n, _ := f.FieldByName("numerator")
			text := func(name string, i int) string {
				if x, _ := f.FieldByName(name); x != nil {
					return x.At(i).(string)
				}
				return ""
			}
			for i := range f.Rows() {
				u, c := text("unit", i), text("code", i)
				key := dim + "|" + u + "|" + c
				switch v := n.At(i).(*float64); {
				case figures.Hidden(states[today+"|"+u+"|"+c]):
					require.Nil(t, v, key)
					out.hidden[key] = true
				case v != nil:
					out.values[key] = *v
				}
			}
		}
	}
	return out
}

// sums lists every sum that holds between the cells: the terms add up to zero.
func sums(d *Datasource, units, dimensions []string) []map[string]float64 {
	var out []map[string]float64
	line := func(total string, terms ...string) {
		m := map[string]float64{total: -1}
		for _, x := range terms {
			m[x]++
		}
		out = append(out, m)
	}
	var all []string
	regions := map[string][]string{}
	for _, u := range units {
		all = append(all, "|"+u+"|")
		r := d.catalogue.Contract.Unit(u).Region
		regions[r] = append(regions[r], "|"+u+"|")
		line("|"+u+"|", "region|"+u+"|"+r)
	}
	line("||", all...)
	var parts []string
	for r, of := range regions {
		line("region||"+r, of...)
		parts = append(parts, "region||"+r)
	}
	line("||", parts...)
	for _, dim := range dimensions {
		codes := d.catalogue.Codes(d.catalogue.Indicator("I-01"), dim)
		if dim == catalogue.Region {
			continue
		}
		for _, u := range append([]string{""}, units...) {
			var row []string
			for _, c := range codes {
				row = append(row, dim+"|"+u+"|"+c)
			}
			line("|"+u+"|", row...)
		}
		for _, c := range codes {
			var column []string
			for _, u := range units {
				column = append(column, dim+"|"+u+"|"+c)
			}
			line(dim+"||"+c, column...)
		}
	}
	return out
}

// computable solves the sums for the hidden cells and names those that have one
// solution only.
func computable(lines []map[string]float64, hidden map[string]bool) []string {
	var vars []string
	for k := range hidden {
		vars = append(vars, k)
	}
	slices.Sort(vars)
	rows := make([][]float64, len(lines))
	for i, l := range lines {
		rows[i] = make([]float64, len(vars))
		for j, v := range vars {
			rows[i][j] = l[v]
		}
	}
	at := 0
	var pivots []int
	for j := range vars {
		best := at
		for i := at; i < len(rows); i++ {
			if math.Abs(rows[i][j]) > math.Abs(rows[best][j]) {
				best = i
			}
		}
		if at == len(rows) || math.Abs(rows[best][j]) < 1e-9 {
			continue
		}
		rows[at], rows[best] = rows[best], rows[at]
		scale := rows[at][j]
		for k := range vars {
			rows[at][k] /= scale
		}
		for i := range rows {
			if f := rows[i][j]; i != at && f != 0 {
				for k := range vars {
					rows[i][k] -= f * rows[at][k]
				}
			}
		}
		pivots = append(pivots, j)
		at++
	}
	var out []string
	for i, j := range pivots {
		alone := true
		for k := range vars {
			alone = alone && (k == j || math.Abs(rows[i][k]) < 1e-9)
		}
		if alone {
			out = append(out, vars[j])
		}
	}
	return out
}

// No hidden cell can be computed from all answers about an indicator together:
// units, regions, the nation, every dimension and their sums.
func TestNoHiddenCellCanBeComputed(t *testing.T) {
	for seed := range uint64(2) {
		db := chartstest.New(t, fmt.Sprint("charts_solve_", seed))
		units := crowd(t, db, seed)
		open1 := func(below int) *Datasource { return open(t, Config{URL: db.DSN(), Today: today, SuppressBelow: below}) }
		all, hiding := open1(-1), open1(0)
		for _, x := range []struct {
			indicator  string
			dimensions []string
		}{
			{"I-01", []string{"worker_category", "sex", "age_band", "education_level", "cert_level", "region"}},
			{"I-20", []string{"worker_category", "sex", "age_band", "education_level", "region"}},
		} {
			truth := askAll(t, all, x.indicator, x.dimensions)
			lines := sums(all, units, x.dimensions)
			for _, l := range lines {
				sum := 0.0
				for k, f := range l {
					sum += f * truth.values[k]
				}
				require.InDelta(t, 0, sum, 1e-9, "the sum does not hold, so the solver proves nothing: %v", l)
			}
			naive := map[string]bool{}
			for k, v := range truth.values {
				if v > 0 && v < 5 {
					naive[k] = true
				}
			}
			require.NotEmpty(t, computable(lines, naive), "hiding the small cells alone already hides them, so this crowd proves nothing")

			got := askAll(t, hiding, x.indicator, x.dimensions)
			for k := range naive {
				require.True(t, got.hidden[k], "%s %s holds %v and is shown", x.indicator, k, truth.values[k])
			}
			require.Empty(t, computable(lines, got.hidden), x.indicator)
			for k, v := range got.values {
				require.Equal(t, truth.values[k], v, "hiding changes no shown figure: %s", k)
			}
			require.Less(t, len(got.hidden), len(truth.values)*9/10, "nearly everything is hidden")
			t.Logf("seed %d, %s: %d cells, %d small, %d hidden", seed, x.indicator, len(truth.values), len(naive), len(got.hidden))
		}
	}
}

// Two answers never show two patterns: filters choose among the cells of a cube,
// whose pattern was decided before.
func TestFiltersDoNotChangeThePattern(t *testing.T) {
	db := chartstest.New(t, "charts_pattern")
	units := crowd(t, db, 7)
	d := open(t, Config{URL: db.DSN(), Today: today})
	whole := provenance(ask(t, d, `{"indicator":"I-01","groupBy":["province","age_band"]}`)).States
	for _, u := range units {
		for _, c := range d.catalogue.Codes(d.catalogue.Indicator("I-01"), "age_band") {
			one := provenance(ask(t, d, fmt.Sprintf(`{"indicator":"I-01","groupBy":["province","age_band"],"filter":{"units":[%q],"codes":[%q]}}`, u, c)))
			key := today + "|" + u + "|" + c
			require.Equal(t, whole[key], one.States[key], key)
			require.Equal(t, figures.Hidden(one.States[key]), one.Suppressed == 1, key)
			if figures.Hidden(one.States[key]) {
				require.Zero(t, one.SourceRows, "the number of rows tells what is hidden")
			}
		}
	}
}

// Ten is the smallest number of persons of which a share is shown, whatever the
// numerator; the denominator goes with it.
func TestSharesOfFewPersonsAreHidden(t *testing.T) {
	db := chartstest.New(t, "charts_denominators")
	var spells, certs []chartstest.Row
	for unit, n := range map[string]int{"310000": 9, "320000": 10, "330000": 11, "340000": 30, "350000": 30} {
		for i := range n {
			spells = append(spells, chartstest.Row{"record_id": fmt.Sprint(unit, i), "reporting_unit": unit, "id_number_token": chartstest.Person(len(spells)), "start_on": "2015-01-01", "end_on": nil,
				"worker_category": "01", "effective_from": "2015-01-01"})
			if i < 8 {
				certs = append(certs, chartstest.Row{"record_id": fmt.Sprint(unit, i), "reporting_unit": unit, "id_number_token": spells[len(spells)-1]["id_number_token"], "cert_level": "1", "issued_on": "2015-01-01", "cert_status": "1"})
			}
		}
	}
	db.Insert(t, "employment", spells...)
	db.Insert(t, "qualification", certs...)
	d := open(t, Config{URL: db.DSN(), Today: today})
	f := ask(t, d, `{"indicator":"I-20","groupBy":["province"],"filter":{"units":["310000","320000","330000","340000","350000"]}}`)
	// Nine are too few; one of the others, all of 8 certified, must go with them.
	require.Equal(t, figures.Suppressed, provenance(f).States[today+"|310000|"])
	require.Equal(t, 2, provenance(f).Suppressed)
	protected := 0
	for _, state := range provenance(f).States {
		if state == figures.Protected {
			protected++
		}
	}
	require.Equal(t, 1, protected, "of the other it would be untrue that its persons are few")
	for i := range f.Rows() {
		unit := f.Fields[0].At(i).(string)
		for _, name := range []string{"value", "numerator", "denominator"} {
			x, _ := f.FieldByName(name)
			require.Equal(t, figures.Hidden(provenance(f).States[today+"|"+unit+"|"]), x.At(i).(*float64) == nil, unit+" "+name)
		}
	}
	require.Equal(t, "44.44 40 90\n", table(ask(t, d, `{"indicator":"I-20"}`)))
}

// What is asked of each person, in hours, is no target of the share that reaches it.
func TestATargetInHoursIsNoTargetOfAShare(t *testing.T) {
	d := open(t, Config{URL: "http://127.0.0.1:1/duiwu", Today: today})
	require.Nil(t, d.nationalTarget(d.catalogue.Indicator("I-18")))
	require.Equal(t, 95.0, *d.nationalTarget(d.catalogue.Indicator("I-33")))
}
