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
	ids   map[string]int // of the sums, by name
	at    [][]int        // the cells of each sum
}

type cell struct {
	key    Place
	a, b   int
	price  float64
	hidden bool
}

// sum is the number of a sum.
func (t *cube) sum(name string) int {
	if t.ids == nil {
		t.ids = map[string]int{}
	}
	id, ok := t.ids[name]
	if !ok {
		id = len(t.at)
		t.ids[name], t.at = id, append(t.at, nil)
	}
	return id
}

func (t *cube) add(key Place, a, b string, price float64, hidden bool) {
	c := cell{key, t.sum(a), t.sum(b), price, hidden}
	for _, n := range []int{c.a, c.b} {
		t.at[n] = append(t.at[n], len(t.cells))
	}
	t.cells = append(t.cells, c)
}

func (c *cell) other(n int) int { return c.a + c.b - n }

// join hides the cheapest cells that connect two sums, without one cell; hidden
// ones cost nothing. It says whether there is such a way.
func (t *cube) join(from, to, without int) bool {
	cost, by, done := make([]float64, len(t.at)), make([]int, len(t.at)), make([]bool, len(t.at))
	for i := range cost {
		cost[i] = math.Inf(1)
	}
	cost[from] = 0
	for {
		at := -1
		for n, c := range cost {
			if !done[n] && !math.IsInf(c, 1) && (at < 0 || c < cost[at]) {
				at = n
			}
		}
		switch at {
		case -1:
			return false
		case to:
			for at != from {
				t.cells[by[at]].hidden = true
				at = t.cells[by[at]].other(at)
			}
			return true
		}
		done[at] = true
		for _, i := range t.at[at] {
			if i == without {
				continue
			}
			c, step := &t.cells[i], cost[at]
			if !c.hidden {
				step += c.price
			}
			if next := c.other(at); step < cost[next] {
				cost[next], by[next] = step, i
			}
		}
	}
}

// protect gives every hidden cell a cycle. One without any, such as the only cell
// of a table, is given away by no sum.
func (t *cube) protect() {
	given := map[int]bool{}
	for {
		i := t.bridge(given)
		if i < 0 {
			return
		}
		t.join(t.cells[i].a, t.cells[i].b, i)
		given[i] = true
	}
}

// bridge finds a hidden cell that lies on no cycle of hidden cells, other than
// some; -1 when there is none. A cell is one when nothing beyond it, in the order
// of a walk, leads back before it.
func (t *cube) bridge(but map[int]bool) int {
	found, clock := -1, 0
	seen := make([]int, len(t.at))
	var walk func(n, from int) (low int)
	walk = func(n, from int) int {
		clock++
		seen[n] = clock
		low := clock
		for _, i := range t.at[n] {
			if c := &t.cells[i]; c.hidden && i != from {
				next := c.other(n)
				if seen[next] > 0 {
					low = min(low, seen[next])
					continue
				}
				back := walk(next, i)
				low = min(low, back)
				if back > seen[n] && !but[i] && (found < 0 || i < found) {
					found = i
				}
			}
		}
		return low
	}
	for n := range t.at {
		if seen[n] == 0 {
			walk(n, -1)
		}
	}
	return found
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
			t.add(k, a, b, price(f)+least, w.few(f))
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
	if q.Split == catalogue.County {
		rows = []string{q.Within} // a county stands in no other sum than its unit's
	}
	var open []int // rows whose total is hidden
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
			column := "code " + c
			if q.Split == catalogue.County {
				column = "ground"
			}
			t.add(k, "row "+u, column, price(f)+least, hidden)
		}
		if hide && any {
			open = append(open, t.sum("row "+u))
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
				state := Protected
				if q.few(f) {
					state = Suppressed
				}
				all[k] = Figure{State: state}
			}
		}
	}
}
