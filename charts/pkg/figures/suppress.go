package figures

import (
	"math"

	"github.com/duiwu/duiwu/internal/feed"
)

// minDenominator is the smallest number of persons of which a share is shown.
const minDenominator = 10

// Suppress hides small cells before anything leaves the server: anybody who can
// edit a panel could otherwise read them. A lone hidden cell of a total that is
// shown could be computed from it, so the next smallest goes too.
func (q *Question) Suppress(all map[Place]Figure) {
	limit := float64(q.SuppressBelow)
	m, _, _ := q.Indicator.Of(q.Split, "*")
	top, bottom := m.Top.Counts(), m.Bottom.Counts()
	if limit < 0 || m.Kind == "balance" || !top && !bottom {
		return
	}
	small := func(v *float64) bool { return v != nil && math.Abs(*v) > 0 && math.Abs(*v) < limit }
	units, codes := []string{""}, q.Codes()
	for _, u := range q.Units {
		units = append(units, u.Code)
	}
	for _, t := range q.Days {
		day := feed.Day(t)
		for _, u := range units {
			for _, c := range codes {
				k := Place{day, u, c}
				f := all[k]
				few := top && m.Kind != "median" && small(f.N) || bottom && small(f.M) ||
					bottom && m.Kind == "ratio" && f.M != nil && *f.M > 0 && *f.M < minDenominator ||
					m.Kind == "median" && f.Source > 0 && f.Source < minDenominator
				if few {
					all[k] = Figure{State: Suppressed, Source: f.Source}
				}
			}
		}
		// The lines whose totals are shown: a code over the units, a unit over the codes.
		var lines [][]Place
		for _, c := range codes {
			var l []Place
			for _, u := range units[1:] {
				l = append(l, Place{day, u, c})
			}
			lines = append(lines, l)
		}
		if len(codes) > 1 {
			for _, u := range units {
				var l []Place
				for _, c := range codes {
					l = append(l, Place{day, u, c})
				}
				lines = append(lines, l)
			}
		}
		for again := true; again; {
			again = false
			for _, l := range lines {
				again = complement(all, l) || again
			}
		}
	}
}

// complement hides the next smallest cell of a line with exactly one hidden
// one, and says whether it did.
func complement(all map[Place]Figure, line []Place) bool {
	hidden := 0
	next := -1
	for i, k := range line {
		f := all[k]
		switch {
		case f.State == Suppressed:
			hidden++
		case f.N != nil && *f.N > 0 && (next < 0 || *f.N < *all[line[next]].N):
			next = i
		}
	}
	if hidden != 1 || next < 0 {
		return false
	}
	all[line[next]] = Figure{State: Suppressed, Source: all[line[next]].Source}
	return true
}
