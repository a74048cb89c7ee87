package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/experimental/concurrent"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/internal/feed"
)

// Model is a query as a panel writes it.
type Model struct {
	// Indicator is an id of the catalogue.
	Indicator string `json:"indicator"`
	// GroupBy lists month, province and at most one dimension of the indicator;
	// empty asks for the nation on one day.
	GroupBy []string `json:"groupBy"`
	Filter  struct {
		// Units restricts the units shown; ranks and means still count them all.
		Units []string `json:"units"`
		// Codes restricts the dimension of GroupBy.
		Codes []string `json:"codes"`
	} `json:"filter"`
	// AsOf is the day (2016-11-11); today when empty. From and To are months
	// (2016-01) for GroupBy month; the twelve months up to AsOf when empty.
	AsOf string `json:"asOf"`
	From string `json:"from"`
	To   string `json:"to"`
	// Compare lists previous_month, last_year, target, national_mean, rank.
	Compare []string `json:"compare"`
	// Lang is zh or en, for the names of columns.
	Lang string `json:"lang"`

	// Grafana adds these to every query.
	RefID         string          `json:"refId"`
	Datasource    json.RawMessage `json:"datasource"`
	DatasourceID  json.RawMessage `json:"datasourceId"`
	QueryType     string          `json:"queryType"`
	Hide          bool            `json:"hide"`
	Key           string          `json:"key"`
	IntervalMS    json.RawMessage `json:"intervalMs"`
	MaxDataPoints json.RawMessage `json:"maxDataPoints"`
	TimeRange     json.RawMessage `json:"timeRange"`
	Scopes        json.RawMessage `json:"scopes"`
}

const (
	byMonth    = "month"
	byProvince = "province"

	previousMonth = "previous_month"
	lastYear      = "last_year"
	withTarget    = "target"
	nationalMean  = "national_mean"
	withRank      = "rank"

	maxMonths = 36
)

// QueryData answers the queries of a request, each with its own error.
func (d *Datasource) QueryData(ctx context.Context, req *backend.QueryDataRequest) (*backend.QueryDataResponse, error) {
	return concurrent.QueryData(ctx, req, func(ctx context.Context, q concurrent.Query) backend.DataResponse {
		return d.answer(ctx, q.DataQuery)
	}, maxConcurrent)
}

// userError is a fault of the query itself.
type userError struct{ error }

func badQuery(format string, args ...any) error { return userError{fmt.Errorf(format, args...)} }

func (d *Datasource) answer(ctx context.Context, q backend.DataQuery) backend.DataResponse {
	p, err := d.plan(q)
	if err == nil {
		var res *result
		if res, err = d.run(ctx, p); err == nil {
			return backend.DataResponse{Frames: d.frames(p, res), Status: backend.StatusOK}
		}
	}
	var ue userError
	if errors.As(err, &ue) {
		return backend.DataResponse{Error: err, Status: backend.StatusBadRequest, ErrorSource: backend.ErrorSourceDownstream}
	}
	if errors.Is(err, context.Canceled) {
		return backend.DataResponse{Error: err, Status: backend.StatusInternal, ErrorSource: backend.ErrorSourceDownstream}
	}
	// What the server or the way to it did is downstream; a statement that it
	// cannot read is ours.
	f := findFault(err)
	source := backend.ErrorSourceDownstream
	if f.id == "" {
		source = backend.ErrorSourcePlugin
	}
	text := err
	if f.id != "" {
		text = fmt.Errorf("%s / %s", f.zh, f.en)
	}
	return backend.DataResponse{Error: text, Status: backend.StatusBadGateway, ErrorSource: source}
}

// plan is a query that was understood.
type plan struct {
	Model
	in        *catalogue.Indicator
	split     string
	asOf      time.Time
	shown     []time.Time // the days of the answer
	prev, yr  time.Time   // compared days; zero when not asked for
	months    bool
	provinces bool
	unknown   []string // keys that were not understood
}

func monthEnd(m time.Time) time.Time {
	return time.Date(m.Year(), m.Month()+1, 0, 0, 0, 0, 0, time.UTC)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (d *Datasource) plan(q backend.DataQuery) (*plan, error) {
	p := &plan{}
	dec := json.NewDecoder(bytes.NewReader(q.JSON))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p.Model); err != nil {
		// A newer Grafana may add keys of its own: read the rest and say so.
		name, ok := strings.CutPrefix(err.Error(), "json: unknown field ")
		p.Model = Model{}
		if err := json.Unmarshal(q.JSON, &p.Model); err != nil || !ok {
			return nil, badQuery("cannot read the query: it is not the JSON of this datasource")
		}
		p.unknown = append(p.unknown, strings.Trim(name, `"`))
	}
	if p.in = d.catalogue.Indicator(p.Indicator); p.in == nil {
		return nil, badQuery("unknown indicator %q; see the catalogue", p.Indicator)
	}
	for _, g := range p.GroupBy {
		switch {
		case g == byMonth:
			p.months = true
		case g == byProvince:
			p.provinces = true
		case slices.Contains(p.in.Dimensions, g):
			if p.split != "" {
				return nil, badQuery("cannot group %s by both %s and %s: one dimension at a time", p.in.ID, p.split, g)
			}
			p.split = g
		default:
			return nil, badQuery("cannot group %s by %q; use month, province%s", p.in.ID, g, strings.Join(append([]string{""}, p.in.Dimensions...), ", "))
		}
	}
	if len(p.Filter.Codes) > 0 {
		if p.split == "" {
			return nil, badQuery("codes filter the dimension of groupBy, and there is none")
		}
		for _, c := range p.Filter.Codes {
			if !slices.Contains(d.catalogue.Codes(p.in, p.split), c) {
				return nil, badQuery("%q is no code of %s", c, p.split)
			}
		}
	}
	for _, u := range p.Filter.Units {
		if info := d.catalogue.Contract.Unit(u); info == nil || !info.Reports {
			return nil, badQuery("%q is no reporting unit", u)
		}
	}
	for _, c := range p.Compare {
		if !slices.Contains([]string{previousMonth, lastYear, withTarget, nationalMean, withRank}, c) {
			return nil, badQuery("unknown comparison %q; use previous_month, last_year, target, national_mean, rank", c)
		}
	}
	today := d.Today()
	p.asOf = today
	if p.AsOf != "" {
		t, err := time.Parse(time.DateOnly, p.AsOf)
		if err != nil {
			return nil, badQuery("asOf %q is not a day such as 2016-11-11", p.AsOf)
		}
		p.asOf = earlier(t, today)
	}
	if p.in.Measure.Kind == "freshness" && (p.months || p.asOf.Before(today)) {
		return nil, badQuery("%s is known for now only", p.in.ID)
	}
	p.shown = []time.Time{p.asOf}
	if p.months {
		if err := p.series(q); err != nil {
			return nil, err
		}
	}
	if slices.Contains(p.Compare, previousMonth) {
		p.prev = monthEnd(p.asOf.AddDate(0, 0, -p.asOf.Day()))
	}
	if slices.Contains(p.Compare, lastYear) {
		p.yr = p.asOf.AddDate(-1, 0, 0)
	}
	return p, nil
}

func (p *plan) series(q backend.DataQuery) error {
	to := p.asOf
	from := time.Date(to.Year(), to.Month()-11, 1, 0, 0, 0, 0, time.UTC)
	if !q.TimeRange.From.IsZero() && p.From == "" && p.AsOf == "" && !q.TimeRange.To.IsZero() {
		to = earlier(q.TimeRange.To.In(feed.Shanghai), to)
		from = q.TimeRange.From.In(feed.Shanghai)
	}
	for _, e := range []struct {
		text string
		to   *time.Time
	}{{p.From, &from}, {p.To, &to}} {
		if e.text == "" {
			continue
		}
		t, err := time.Parse("2006-01", e.text)
		if err != nil {
			return badQuery("%q is not a month such as 2016-11", e.text)
		}
		*e.to = t
	}
	p.shown = nil
	last := time.Date(to.Year(), to.Month(), 1, 0, 0, 0, 0, time.UTC)
	for m := time.Date(from.Year(), from.Month(), 1, 0, 0, 0, 0, time.UTC); !m.After(last); m = m.AddDate(0, 1, 0) {
		if m.After(p.asOf) {
			break
		}
		p.shown = append(p.shown, earlier(monthEnd(m), p.asOf))
	}
	if len(p.shown) == 0 {
		return badQuery("the months asked for lie after %s", p.asOf.Format(time.DateOnly))
	}
	if len(p.shown) > maxMonths {
		// A dashboard of ten years still wants its newest months.
		p.shown = p.shown[len(p.shown)-maxMonths:]
	}
	return nil
}

// part is a numerator and a denominator with the rows counted.
type part struct {
	n, m   float64
	source uint64
}

// place is a day, unit and code.
type place struct {
	day       int32
	unit, cat string
}

// figure is one value of an answer. A nil value is none; state says why.
type figure struct {
	value, n, m *float64
	state       string
	source      uint64
}

const (
	stateOK         = ""
	stateLate       = "late"
	stateNone       = "none"
	stateSuppressed = "suppressed"
)

// result is what one plan found.
type result struct {
	// figures by place; the nation is unit "".
	figures  map[place]figure
	units    []*feed.UnitInfo
	included map[string]bool
	missing  []Missing
	arrivals *arrivals
	sql      string
	source   uint64
	hidden   int
	took     time.Duration
	computed time.Time
}

func (d *Datasource) run(ctx context.Context, p *plan) (*result, error) {
	start := time.Now()
	a, err := d.arrivals(ctx)
	if err != nil {
		return nil, err
	}
	days := slices.Clone(p.shown)
	for _, t := range []time.Time{p.prev, p.yr} {
		if !t.IsZero() && !slices.ContainsFunc(days, t.Equal) {
			days = append(days, t)
		}
	}
	slices.SortFunc(days, time.Time.Compare)
	r := &result{figures: map[place]figure{}, units: d.units(p.asOf), included: map[string]bool{}, arrivals: a, computed: d.clock()}
	units := make([]string, len(r.units))
	for i, u := range r.units {
		units[i] = u.Code
	}
	st, err := d.catalogue.Compile(catalogue.Query{Indicator: p.in, Dates: days, Split: p.split, Codes: p.Filter.Codes, Units: units, Now: d.now()})
	if err != nil {
		return nil, userError{err}
	}
	r.sql = st.SQL + comment(st.Params)
	parts, err := d.read(ctx, st)
	if err != nil {
		return nil, fmt.Errorf("cannot compute %s: %w", p.in.ID, err)
	}
	r.missing = d.missing(a, p.in.Feeds())
	late := map[string]bool{}
	for _, m := range r.missing {
		late[m.Unit] = true
	}
	codes := []string{""}
	if p.split != "" {
		codes = p.Filter.Codes
		if len(codes) == 0 {
			codes = d.catalogue.Codes(p.in, p.split)
		}
	}
	for _, t := range days {
		day := feed.Day(t)
		begun := p.begun(a, t)
		for _, cat := range codes {
			var all []part
			for _, u := range units {
				v, ok := parts[place{day, u, cat}]
				if !ok || !begun {
					r.figures[place{day, u, cat}] = figure{state: stateNone}
					continue
				}
				f := p.figure(v)
				if late[u] && t.Equal(p.asOf) {
					f.state = stateLate
				}
				r.figures[place{day, u, cat}] = f
				all = append(all, v)
				if t.Equal(p.asOf) {
					if f.value != nil {
						r.included[u] = true
					}
					r.source += v.source
				}
			}
			r.figures[place{day, "", cat}] = p.nation(all)
		}
	}
	r.hidden = d.suppress(p, r, days, units, codes)
	r.took = time.Since(start)
	return r, nil
}

// begun says whether the indicator can have a value on a day. A mix or a
// freshness lives from any of its feeds, everything else needs all. A figure that
// counts from the first of January is no base of comparison for a year whose
// beginning nobody sent: its end is not the year.
func (p *plan) begun(a *arrivals, t time.Time) bool {
	if l := p.in.Measure.Top; t.Equal(p.yr) && l != nil && l.With != nil && l.With.Window == "year_to_date" {
		if january := time.Date(t.Year(), 1, 31, 0, 0, 0, 0, time.UTC); t.After(january) && !a.begun(l.With.Feed, january) {
			return false
		}
	}
	any, all := false, true
	for _, name := range p.in.Feeds() {
		b := a.begun(name, t)
		any, all = any || b, all && b
	}
	switch m := &p.in.Measure; {
	case m.Kind == "mix" || m.Kind == "freshness":
		return any
	case m.Top.Kind == "active_orgs":
		// Contracts only add to the organisations that have workers.
		return a.begun(p.in.Feeds()[0], t)
	}
	return all
}

func (d *Datasource) read(ctx context.Context, st catalogue.Statement) (map[place]part, error) {
	rows, err := d.query(ctx, st.SQL, st.Params)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	out := map[place]part{}
	for rows.Next() {
		var t time.Time
		var unit, cat string
		var n, m *float64
		var source uint64
		if err := rows.Scan(&t, &unit, &cat, &n, &m, &source); err != nil {
			return nil, err
		}
		v := part{n: math.NaN(), m: math.NaN(), source: source}
		if n != nil {
			v.n = *n
		}
		if m != nil {
			v.m = *m
		}
		out[place{feed.Day(t), unit, cat}] = v
	}
	return out, rows.Err()
}

// figure takes the quotient of a unit's parts.
func (p *plan) figure(v part) figure {
	f := figure{n: p.amount(v.n), m: p.amount(v.m), source: v.source}
	switch {
	case math.IsNaN(v.n):
		f.state = stateNone
	case p.in.Measure.Kind == "count" || p.in.Measure.Kind == "freshness":
		f.value = number(v.n)
	case math.IsNaN(v.m) || v.m == 0:
		// A quotient by nothing is no value; its parts still stand.
		f.state = stateNone
	default:
		f.value = number(v.n / v.m * p.in.Measure.Scale)
	}
	return f
}

// nation folds the units of one day and code.
func (p *plan) nation(all []part) figure {
	if len(all) == 0 {
		return figure{state: stateNone}
	}
	if p.in.Measure.Kind == "freshness" {
		var v []float64
		var source uint64
		for _, x := range all {
			v = append(v, x.n)
			source += x.source
		}
		sort.Float64s(v)
		mid := v[len(v)/2]
		if len(v)%2 == 0 {
			mid = (v[len(v)/2-1] + v[len(v)/2]) / 2
		}
		return figure{value: number(mid), n: number(mid), source: source}
	}
	var sum part
	sum.n, sum.m = math.NaN(), math.NaN()
	for _, x := range all {
		sum.n, sum.m, sum.source = plus(sum.n, x.n), plus(sum.m, x.m), sum.source+x.source
	}
	return p.figure(sum)
}

// plus adds where NaN is an absent number.
func plus(a, b float64) float64 {
	switch {
	case math.IsNaN(a):
		return b
	case math.IsNaN(b):
		return a
	}
	return a + b
}

func number(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// amount shows money in yuan; the database keeps fen.
func (p *plan) amount(v float64) *float64 {
	if p.in.Format.Parts == "money" {
		v /= 100
	}
	return number(v)
}

// minDenominator is the smallest number of persons of which a share is shown.
const minDenominator = 10

// suppress hides small cells before anything leaves the server: anybody who can
// edit a panel could otherwise read them. A lone hidden cell of a total that is
// shown could be computed from it, so the next smallest goes too. It returns
// how many shown cells are hidden.
func (d *Datasource) suppress(p *plan, r *result, days []time.Time, units, codes []string) int {
	limit := float64(d.config.SuppressBelow)
	if limit < 0 || !p.in.CountsPersons() {
		return 0
	}
	share := p.in.Measure.Kind == "ratio"
	small := func(v *float64) bool { return v != nil && *v > 0 && *v < limit }
	hidden := 0
	for _, t := range days {
		day := feed.Day(t)
		for _, u := range append([]string{""}, units...) {
			for _, c := range codes {
				k := place{day, u, c}
				f := r.figures[k]
				if small(f.n) || share && small(f.m) || share && f.m != nil && *f.m < minDenominator && *f.m > 0 {
					r.figures[k] = figure{state: stateSuppressed, source: f.source}
				}
			}
		}
		// The lines whose totals are shown: a code over the units, a unit over the codes.
		var lines [][]place
		for _, c := range codes {
			var l []place
			for _, u := range units {
				l = append(l, place{day, u, c})
			}
			lines = append(lines, l)
		}
		if len(codes) > 1 {
			for _, u := range append([]string{""}, units...) {
				var l []place
				for _, c := range codes {
					l = append(l, place{day, u, c})
				}
				lines = append(lines, l)
			}
		}
		for again := true; again; {
			again = false
			for _, l := range lines {
				again = r.complement(l) || again
			}
		}
		if !slices.ContainsFunc(p.shown, t.Equal) {
			continue
		}
		for k, f := range r.figures {
			if k.day == day && f.state == stateSuppressed && (k.unit != "") == p.provinces {
				hidden++
			}
		}
	}
	return hidden
}

// complement hides the next smallest cell of a line with exactly one hidden
// one, and says whether it did.
func (r *result) complement(line []place) bool {
	hidden := 0
	next := -1
	for i, k := range line {
		f := r.figures[k]
		switch {
		case f.state == stateSuppressed:
			hidden++
		case f.n != nil && *f.n > 0 && (next < 0 || *f.n < *r.figures[line[next]].n):
			next = i
		}
	}
	if hidden != 1 || next < 0 {
		return false
	}
	r.figures[line[next]] = figure{state: stateSuppressed, source: r.figures[line[next]].source}
	return true
}

func comment(params map[string]string) string {
	names := make([]string, 0, len(params))
	for n := range params {
		names = append(names, n)
	}
	sort.Strings(names)
	var b strings.Builder
	for _, n := range names {
		b.WriteString("\n-- " + n + " = " + params[n])
	}
	return b.String()
}
