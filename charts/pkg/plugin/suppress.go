package plugin

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/scope"
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

// hides says whether an indicator counts persons, so that small cells tell of them.
func (d *Datasource) hides(p *plan) bool {
	m, _, _ := p.in.Of(p.split, "*")
	return d.config.SuppressBelow >= 0 && m.Kind != "balance" && (m.Top.Counts() || m.Bottom.Counts())
}

// few says whether a cell tells of too few persons.
func (d *Datasource) few(p *plan, f figure) bool {
	m, _, _ := p.in.Of(p.split, "*")
	top, bottom := m.Top.Counts(), m.Bottom.Counts()
	small := func(v *float64) bool {
		return v != nil && math.Abs(*v) > 0 && math.Abs(*v) < float64(d.config.SuppressBelow)
	}
	return top && m.Kind != "median" && small(f.n) || bottom && small(f.m) ||
		bottom && m.Kind == "ratio" && f.m != nil && *f.m > 0 && *f.m < minDenominator ||
		m.Kind == "median" && f.source > 0 && f.source < minDenominator
}

// The prices of hiding a cell: the fewer people stand in it the better; an empty
// one, which tells that there is nobody, only where nothing else will do; the
// figure of the nation last.
const (
	priceEmpty  = 1e9
	priceNation = 1e12
)

func price(f figure) float64 {
	for _, v := range []*float64{f.n, f.m} {
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
	key    place
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
func (t *cube) hidden() map[place]bool {
	out := map[place]bool{}
	for _, c := range t.cells {
		if c.hidden {
			out[c.key] = true
		}
	}
	return out
}

// totals are the figures of one day without a dimension: units, regions (by their
// code as cat) and the nation.
func (d *Datasource) totals(p *plan, r *result, parts map[place]part, day int32) map[place]figure {
	whole := *p
	whole.split = ""
	out := map[place]figure{}
	var all []member
	regions := map[string][]member{}
	for _, u := range r.units {
		if v, ok := parts[place{day, u.Code, ""}]; ok {
			out[place{day, u.Code, ""}] = whole.figure(v, "")
			all = append(all, member{v, u})
			regions[u.Region] = append(regions[u.Region], member{v, u})
		}
	}
	if slices.Contains(p.in.Dimensions, catalogue.Region) {
		for name, members := range regions {
			out[place{day, "", name}] = d.nation(&whole, members, "")
		}
	}
	out[place{day, "", ""}] = d.nation(&whole, all, "")
	return out
}

// hideTotals decides the pattern of the figures without a dimension.
func (d *Datasource) hideTotals(p *plan, r *result, totals map[place]figure, day int32) map[place]bool {
	whole := *p
	whole.split = ""
	const ground, nation = "ground", "nation"
	var t cube
	add := func(k place, a, b string, least float64) {
		if f, ok := totals[k]; ok && (f.n != nil || f.m != nil) {
			t.add(cell{k, a, b, price(f) + least, d.few(&whole, f)})
		}
	}
	for _, u := range r.units {
		sum := nation
		if _, split := totals[place{day, "", u.Region}]; split {
			sum = "region " + u.Region
		}
		add(place{day, u.Code, ""}, ground, sum, 0)
	}
	for _, region := range d.catalogue.Values(catalogue.Region) {
		add(place{day, "", region}, "region "+region, nation, 0)
	}
	add(place{day, "", ""}, nation, ground, priceNation)
	t.protect()
	return t.hidden()
}

// hideCells decides the pattern of a dimension's cells. The totals are another
// answer with a pattern of its own, and so is every other dimension; they stay
// safe together because no cycle here leans on a hidden total, and because the
// rows of hidden totals hang together, so that what is unknown of the totals
// stays unknown through every dimension.
func (d *Datasource) hideCells(p *plan, r *result, codes []string, hiddenTotals map[place]bool, day int32) map[place]bool {
	var t cube
	rows := []string{""}
	for _, u := range r.units {
		rows = append(rows, u.Code)
	}
	var open []string // rows whose total is hidden
	for _, u := range rows {
		hide, least := hiddenTotals[place{day, u, ""}], 0.0
		if u == "" {
			least = priceNation
		}
		any := false
		for _, c := range codes {
			k := place{day, u, c}
			f, ok := r.figures[k]
			if !ok || f.n == nil && f.m == nil {
				continue
			}
			hidden := d.few(p, f) || hide && price(f) < priceEmpty
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

// suppress hides the small cells of a result.
func (d *Datasource) suppress(ctx context.Context, s scope.Scope, p *plan, r *result, parts map[place]part, days []time.Time, codes []string) error {
	if !d.hides(p) {
		return nil
	}
	m, _, _ := p.in.Of(p.split, "*")
	folded := p.split != "" && p.split != catalogue.Region
	small := false
	for _, f := range r.figures {
		small = small || d.few(p, f)
	}
	if folded && !small {
		// A total of few people has a part of few people, so no total is hidden.
		return nil
	}
	if folded && m.Kind != "median" {
		var err error
		if _, parts, err = d.ask1(ctx, s, p, days, ""); err != nil {
			return err
		}
	}
	for _, t := range days {
		day := feed.Day(t)
		hide := map[place]bool{}
		switch {
		case m.Kind == "median": // medians do not add up
			for k, f := range r.figures {
				hide[k] = k.day == day && d.few(p, f)
			}
		default:
			hide = d.hideTotals(p, r, d.totals(p, r, parts, day), day)
			if folded {
				hide = d.hideCells(p, r, codes, hide, day)
			}
		}
		for k, f := range r.figures {
			of := k
			if p.split == catalogue.Region && k.unit != "" {
				of.cat = "" // a unit's figure is the same under its region
			}
			if k.day != day || !hide[of] || f.state == stateNone && f.n == nil && f.m == nil {
				continue
			}
			r.figures[k] = figure{state: stateSuppressed}
		}
	}
	return nil
}
