// Package figures turns what the catalogue's statements count into figures: the
// units folded into the nation, late units marked, small cells hidden. The
// datasource and `duiwu publish` compute by it, so that what is published is what
// was shown. It knows nothing of Grafana.
package figures

import (
	"math"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/worklist"
)

// Part is a numerator and a denominator as a statement gives them, NaN where
// there is none, with the rows counted.
type Part struct {
	N, M   float64
	Source uint64
}

// Place is a day, a unit (empty: the nation) and a code of the split.
type Place struct {
	Day        int32
	Unit, Code string
}

// Figure is one value as it may be shown. A nil value is none; State says why.
type Figure struct {
	Value, N, M *float64
	State       string
	Source      uint64
}

// The states of a figure.
const (
	OK   = ""
	Late = "late" // with the value of before
	None = "none"
	// Suppressed is too small to be shown, Protected of any size and hidden because
	// with it a suppressed one could be computed: of that «<5» would be untrue.
	Suppressed = "suppressed"
	Protected  = "protected"
)

// Hidden says whether a state is that of a cell that is not shown.
func Hidden(state string) bool { return state == Suppressed || state == Protected }

// Question is an indicator on some days, of all units and codes: what may be
// shown of one cell depends on its neighbours.
type Question struct {
	Catalogue *catalogue.Catalogue
	Indicator *catalogue.Indicator
	// Split is a dimension, County, or empty; Only are the codes that will be shown
	// of it, though more may be computed. Of counties they are all those of Within,
	// the unit that is asked about.
	Split  string
	Only   []string
	Within string
	Units  []*feed.UnitInfo
	Days   []time.Time
	// AsOf is the day on which a late unit is marked, Base the day of last year
	// that another is compared with, zero when there is none.
	AsOf, Base time.Time
	// Now is the moment against which freshness is measured. Known reads the
	// tables as they stood at a moment; zero means as they are.
	Now, Known time.Time
	// SuppressBelow hides counts of persons from 1 to one below it; negative hides
	// nothing.
	SuppressBelow int
	// Begun says whether anything is known of a feed on a day: before its first
	// record the nation has no value yet, which is not zero.
	Begun func(feed string, on time.Time) bool
	// People says which tokens are one person.
	People *worklist.People
	// Hashes is catalogue.Query.Hashes.
	Hashes func(catalogue.Statement) ([]uint64, bool)
}

// Statement compiles the question.
func (q *Question) Statement() (catalogue.Statement, error) {
	split := q.Split
	if split == catalogue.Region {
		split = "" // regions are folded from the same rows
	}
	units := make([]string, len(q.Units))
	for i, u := range q.Units {
		units[i] = u.Code
	}
	return q.Catalogue.Compile(catalogue.Query{Indicator: q.Indicator, Dates: q.Days, Split: split, Codes: q.only(), Units: units, Now: q.Now, Known: q.Known, People: q.People, Hashes: q.Hashes})
}

// Codes lists the codes that are computed; one empty code without a split.
func (q *Question) Codes() []string {
	switch {
	case q.Split == "":
		return []string{""}
	case len(q.only()) > 0:
		return q.only()
	}
	return q.Catalogue.Codes(q.Indicator, q.Split)
}

// only is Only, unless what is hidden depends on the other codes.
func (q *Question) only() []string {
	if q.hides() && q.Split != catalogue.County {
		return nil
	}
	return q.Only
}

// Scan reads the rows of a statement and closes them.
func Scan(rows driver.Rows) (map[Place]Part, error) {
	defer func() { _ = rows.Close() }()
	out := map[Place]Part{}
	for rows.Next() {
		var t time.Time
		var unit, code string
		var n, m *float64
		var source uint64
		if err := rows.Scan(&t, &unit, &code, &n, &m, &source); err != nil {
			return nil, err
		}
		v := Part{N: math.NaN(), M: math.NaN(), Source: source}
		if n != nil {
			v.N = *n
		}
		if m != nil {
			v.M = *m
		}
		out[Place{feed.Day(t), unit, code}] = v
	}
	return out, rows.Err()
}

// Member is a unit's parts.
type Member struct {
	Part
	Unit *feed.UnitInfo
}

// Fold makes the figures of every day, unit and code and of the nation. late
// holds the units whose last expected records have not arrived.
func (q *Question) Fold(parts map[Place]Part, late map[string]bool) map[Place]Figure {
	out := map[Place]Figure{}
	for _, t := range q.Days {
		day := feed.Day(t)
		begun := q.begun(t)
		for _, code := range q.Codes() {
			var all []Member
			for _, info := range q.Units {
				at := Place{day, info.Code, code}
				v, ok := parts[at]
				if q.Split == catalogue.Region {
					v, ok = parts[Place{day, info.Code, ""}]
					ok = ok && info.Region == code
				}
				if !ok || !begun {
					out[at] = Figure{State: None}
					continue
				}
				f := q.figure(v, code)
				if late[info.Code] && t.Equal(q.AsOf) {
					f.State = Late
				}
				out[at] = f
				all = append(all, Member{v, info})
			}
			if own, ok := parts[Place{day, "", code}]; ok && begun {
				out[Place{day, "", code}] = q.figure(own, code)
				continue
			}
			out[Place{day, "", code}] = q.Nation(all, code)
		}
	}
	return out
}

// begun says whether the indicator can have a value on a day. A figure that
// counts from the first of January is no base of comparison for a year whose
// beginning nobody sent: its end is not the year.
func (q *Question) begun(t time.Time) bool {
	if t.Equal(q.Base) {
		january := time.Date(t.Year(), 1, 31, 0, 0, 0, 0, time.UTC)
		for _, name := range q.Indicator.YearToDate() {
			if t.After(january) && !q.Begun(name, january) {
				return false
			}
		}
	}
	all, any := q.Indicator.Needs()
	for _, name := range all {
		if !q.Begun(name, t) {
			return false
		}
	}
	for _, name := range any {
		if q.Begun(name, t) {
			return true
		}
	}
	return len(any) == 0
}

// figure takes the quotient of a unit's parts.
func (q *Question) figure(v Part, code string) Figure {
	return shown(q.Indicator.Figure(q.Split, code, v.N, v.M), v.Source)
}

// Nation folds the units of one day and code.
func (q *Question) Nation(all []Member, code string) Figure {
	var shares []catalogue.Share
	var source uint64
	for _, x := range all {
		shares = append(shares, catalogue.Share{Region: x.Unit.Region, N: x.N, M: x.M})
		source += x.Source
	}
	return shown(q.Catalogue.Nation(q.Indicator, q.Split, code, shares), source)
}

func shown(f catalogue.Figure, source uint64) Figure {
	out := Figure{Value: Number(f.Value), N: Number(f.N), M: Number(f.M), Source: source}
	if math.IsNaN(f.Value) {
		out.State = None
	}
	return out
}

// Number is nil for what is no number.
func Number(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}
