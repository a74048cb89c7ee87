package figures

import (
	"maps"
	"math"
	"slices"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/internal/feed"
)

// Small cells are hidden before anything leaves the server. A hidden cell must
// not be computable from the shown ones either, so more cells are hidden with it.
// Which ones is decided from the whole cube of one indicator and day, before any
// filter and whoever asks: two answers never show two patterns.
//
// The sums that an adversary has are those of a table with margins. Take each sum
// for a node and each cell for an edge between the two sums in which it stands:
// then a hidden cell can be computed exactly when it lies on no cycle of hidden
// cells. So every hidden cell is given the cheapest cycle. A cell of which only
// one sum is known hangs on the ground, the node of no sum.

// minDenominator is the smallest number of persons of which a share is shown.
const minDenominator = 10

// hides says whether the indicator counts persons, so that small cells tell of them.
func (q *Question) hides() bool {
	m, _, _ := q.Indicator.Of(q.Split, "*")
	return q.SuppressBelow >= 0 && m.Kind != "balance" && (m.Top.Counts() || m.Bottom.Counts())
}

// few says whether a cell tells of too few persons.
func (q *Question) few(f Figure) bool {
	m, _, _ := q.Indicator.Of(q.Split, "*")
	top, bottom := m.Top.Counts(), m.Bottom.Counts()
	small := func(v *float64) bool { return v != nil && math.Abs(*v) > 0 && math.Abs(*v) < float64(q.SuppressBelow) }
	return top && m.Kind != "median" && small(f.N) || bottom && small(f.M) ||
		bottom && m.Kind == "ratio" && f.M != nil && *f.M > 0 && *f.M < minDenominator ||
		m.Kind == "median" && f.Source > 0 && f.Source < minDenominator
}

// The prices of hiding a cell: the fewer people stand in it the better; an empty
// one, which tells that there is nobody, only where nothing else will do; the
// figure of the nation last.
const (
	priceEmpty  = 1e9
	priceNation = 1e12
)

func price(f Figure) float64 {
	for _, v := range []*float64{f.N, f.M} {
		if v != nil && *v != 0 {
			return math.Abs(*v)
		}
	}
	return priceEmpty
}

// cube is a table's cells as edges between sums.
type cube struct {
	cells []cell
	sums  map[string][]int // the cells of each sum
}

type cell struct {
	key    Place
	a, b   string
	price  float64
	hidden bool
}

func (t *cube) add(c cell) {
	if t.sums == nil {
		t.sums = map[string][]int{}
	}
	t.sums[c.a] = append(t.sums[c.a], len(t.cells))
	t.sums[c.b] = append(t.sums[c.b], len(t.cells))
	t.cells = append(t.cells, c)
}

// path finds the cheapest way between two sums over cells other than one; hidden
// ones cost nothing. ok is false when there is none.
func (t *cube) path(from, to string, without int) (cells []int, ok bool) {
	cost := map[string]float64{from: 0}
	by := map[string]int{}
	done := map[string]bool{}
	for {
		at, best := "", math.Inf(1)
		for n, c := range cost {
			if !done[n] && (c < best || c == best && n < at) {
				at, best = n, c
			}
		}
		switch {
		case math.IsInf(best, 1):
			return nil, false
		case at == to:
			for at != from {
				i := by[at]
				cells = append(cells, i)
				at = t.cells[i].other(at)
			}
			return cells, true
		}
		done[at] = true
		for _, i := range t.sums[at] {
			c := &t.cells[i]
			if i == without {
				continue
			}
			next, step := c.other(at), best
			if !c.hidden {
				step += c.price
			}
			if was, seen := cost[next]; !seen || step < was {
				cost[next], by[next] = step, i
			}
		}
	}
}

func (c *cell) other(n string) string {
	if c.a == n {
		return c.b
	}
	return c.a
}

// join hides the cheapest cells that connect two sums.
func (t *cube) join(a, b string, without int) {
	cells, _ := t.path(a, b, without)
	for _, i := range cells {
		t.cells[i].hidden = true
	}
}

// protect gives every hidden cell a cycle.
func (t *cube) protect() {
	for i := 0; i < len(t.cells); i++ {
		if c := t.cells[i]; c.hidden {
			t.join(c.a, c.b, i)
		}
	}
}

// hidden lists what is hidden.
func (t *cube) hidden() map[Place]bool {
	out := map[Place]bool{}
	for _, c := range t.cells {
		if c.hidden {
			out[c.key] = true
		}
	}
	return out
}

// Totals is the question without its split, which Suppress needs the parts of; nil
// when those of the question itself will do.
func (q *Question) Totals(parts map[Place]Part) *Question {
	m, _, _ := q.Indicator.Of(q.Split, "*")
	if !q.hides() || q.Split == "" || q.Split == catalogue.Region || m.Kind == "median" {
		return nil
	}
	small := slices.ContainsFunc(slices.Collect(maps.Values(q.Fold(parts, nil))), q.few)
	if !small {
		return nil // a total of few people has a part of few people
	}
	w := *q
	w.Split, w.Only = "", nil
	return &w
}

// totals are the figures of a day without the split: of the units, the regions
// (by their code) and the nation.
func (q *Question) totals(parts map[Place]Part, day int32) map[Place]Figure {
	out := map[Place]Figure{}
	var all []Member
	regions := map[string][]Member{}
	for _, u := range q.Units {
		if v, ok := parts[Place{day, u.Code, ""}]; ok {
			out[Place{day, u.Code, ""}] = q.figure(v, "")
			all = append(all, Member{v, u})
			regions[u.Region] = append(regions[u.Region], Member{v, u})
		}
	}
	if slices.Contains(q.Indicator.Dimensions, catalogue.Region) {
		for name, members := range regions {
			out[Place{day, "", name}] = q.Nation(members, "")
		}
	}
	out[Place{day, "", ""}] = q.Nation(all, "")
	return out
}

// hideTotals decides the pattern of the figures without the split.
func (q *Question) hideTotals(parts map[Place]Part, day int32) map[Place]bool {
	w := *q
	w.Split = ""
	totals := w.totals(parts, day)
	const ground, nation = "ground", "nation"
	var t cube
	add := func(k Place, a, b string, least float64) {
		if f, ok := totals[k]; ok && (f.N != nil || f.M != nil) {
			t.add(cell{k, a, b, price(f) + least, w.few(f)})
		}
	}
	for _, u := range q.Units {
		sum := nation
		if _, split := totals[Place{day, "", u.Region}]; split {
			sum = "region " + u.Region
		}
		add(Place{day, u.Code, ""}, ground, sum, 0)
	}
	for _, region := range q.Catalogue.Values(catalogue.Region) {
		add(Place{day, "", region}, "region "+region, nation, 0)
	}
	add(Place{day, "", ""}, nation, ground, priceNation)
	t.protect()
	return t.hidden()
}

// hideCells decides the pattern of the split's cells. The totals are another
// answer with a pattern of its own, and so is every other dimension; they stay
// safe together because no cycle here leans on a hidden total, and because the
// rows of hidden totals hang together, so that what is unknown of the totals
// stays unknown through every dimension.
func (q *Question) hideCells(all map[Place]Figure, totals map[Place]bool, day int32) map[Place]bool {
	var t cube
	rows := []string{""}
	for _, u := range q.Units {
		rows = append(rows, u.Code)
	}
	var open []string // rows whose total is hidden
	for _, u := range rows {
		hide, least := totals[Place{day, u, ""}], 0.0
		if u == "" {
			least = priceNation
		}
		any := false
		for _, c := range q.Codes() {
			k := Place{day, u, c}
			f, ok := all[k]
			if !ok || f.N == nil && f.M == nil {
				continue
			}
			hidden := q.few(f) || hide && price(f) < priceEmpty
			any = any || hidden
			t.add(cell{k, "row " + u, "code " + c, price(f) + least, hidden})
		}
		if hide && any {
			open = append(open, "row "+u)
		}
	}
	for i := 1; i < len(open); i++ {
		t.join(open[0], open[i], -1)
	}
	t.protect()
	return t.hidden()
}

// Suppress hides the small cells of folded figures, and what would give them away.
// totals are the parts of Totals, or else those that were folded.
func (q *Question) Suppress(all map[Place]Figure, totals map[Place]Part) {
	if !q.hides() {
		return
	}
	m, _, _ := q.Indicator.Of(q.Split, "*")
	split := q.Split != "" && q.Split != catalogue.Region
	if split && m.Kind != "median" && !slices.ContainsFunc(slices.Collect(maps.Values(all)), q.few) {
		return // as in Totals
	}
	for _, t := range q.Days {
		day := feed.Day(t)
		hide := map[Place]bool{}
		if m.Kind == "median" { // medians do not add up
			for k, f := range all {
				hide[k] = k.Day == day && q.few(f)
			}
		} else {
			hide = q.hideTotals(totals, day)
			if split {
				hide = q.hideCells(all, hide, day)
			}
		}
		for k, f := range all {
			of := k
			if q.Split == catalogue.Region && k.Unit != "" {
				of.Code = "" // a unit's figure is the same under its region
			}
			if k.Day == day && hide[of] && (f.N != nil || f.M != nil) {
				all[k] = Figure{State: Suppressed}
			}
		}
	}
}
