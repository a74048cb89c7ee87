package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/experimental/concurrent"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/edition"
	"github.com/duiwu/duiwu/charts/pkg/figures"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/worklist"
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
	// AsOf is the day (2016-11-11), or last_month for the end of the last month that
	// is over; the end of the dashboard's time range when empty. From and To are
	// months (2016-01) for GroupBy month; the twelve months up to AsOf when empty.
	AsOf string `json:"asOf"`
	// KnownOn reads the records as they stood at the end of a day (2016-11-20):
	// what arrived later does not count. Empty means as they stand.
	KnownOn string `json:"knownOn"`
	From    string `json:"from"`
	To      string `json:"to"`
	// Edition is live (default: what the records say now), or the figures of whole
	// months as they were published: first, latest, or approved.
	Edition string `json:"edition"`
	// Compare lists previous_month, last_year, target, national_mean, rank,
	// first_published.
	Compare []string `json:"compare"`
	// Fresh waits for the newest data, where else the last result would be shown
	// while it is computed.
	Fresh bool `json:"fresh"`
	// Lang is zh or en, for the names of columns.
	Lang string `json:"lang"`
	Shape

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
	lastMonth  = "last_month"

	previousMonth = "previous_month"
	lastYear      = "last_year"
	withTarget    = "target"
	nationalMean  = "national_mean"
	withRank      = "rank"
	// firstPublished shows what a month's first edition said.
	firstPublished = "first_published"

	maxMonths = 36
)

var compares = []string{previousMonth, lastYear, withTarget, nationalMean, withRank, firstPublished}

// QueryData answers the queries of a request, each with its own error.
func (d *Datasource) QueryData(ctx context.Context, req *backend.QueryDataRequest) (*backend.QueryDataResponse, error) {
	s := d.admit(req.PluginContext, req.Headers)
	return concurrent.QueryData(ctx, req, func(ctx context.Context, q concurrent.Query) backend.DataResponse {
		return d.answer(ctx, s, q.DataQuery, alerting(req.Headers))
	}, maxConcurrent)
}

// userError is a fault of the query itself.
type userError struct{ error }

func badQuery(format string, args ...any) error { return userError{fmt.Errorf(format, args...)} }

func (d *Datasource) answer(ctx context.Context, s scope.Scope, q backend.DataQuery, alert bool) backend.DataResponse {
	start := time.Now()
	what, frames, err := d.ask(ctx, s, q, alert)
	rows := 0
	for _, f := range frames {
		rows += f.Rows()
	}
	d.audit(s, what, rows, start, outcomeOf(err))
	if err == nil {
		return backend.DataResponse{Frames: frames, Status: backend.StatusOK}
	}
	var ue userError
	if errors.As(err, &ue) {
		return backend.DataResponse{Error: err, Status: backend.StatusBadRequest, ErrorSource: backend.ErrorSourceDownstream}
	}
	if outcomeOf(err) == "refused" {
		if errors.Is(err, scope.ErrDenied) {
			err = fmt.Errorf("%s / %s", outside.zh, outside.en)
		}
		return backend.DataResponse{Error: err, Status: backend.StatusForbidden, ErrorSource: backend.ErrorSourceDownstream}
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
	known     time.Time   // zero: as the records stand
	shown     []time.Time // the days of the answer
	prev, yr  time.Time   // compared days; zero when not asked for
	months    bool
	provinces bool
	unknown   []string // keys that were not understood

	// Of who may not see the nation: the published editions by day, the one that
	// the nation's figures come from, and how many days are left out.
	editions    map[int32]*edition.Edition
	nation      *edition.Edition
	unpublished int
	// chosen are the editions asked for, by day; nil when the figures are live.
	chosen map[int32]*edition.Edition
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
		case g == byProvince && !slices.Contains(p.in.Grain, byProvince):
			return nil, badQuery("cannot group %s by province: it is a figure of the nation only", p.in.ID)
		case g == byMonth:
			p.months = true
		case g == byProvince:
			p.provinces = true
		case slices.Contains(p.in.Dimensions, g) || g == catalogue.County && p.in.ByCounty():
			if p.split != "" {
				return nil, badQuery("cannot group %s by both %s and %s: one dimension at a time", p.in.ID, p.split, g)
			}
			p.split = g
		default:
			return nil, badQuery("cannot group %s by %q; use month, province%s", p.in.ID, g, strings.Join(append([]string{""}, p.in.Dimensions...), ", "))
		}
	}
	if p.split == catalogue.County {
		switch {
		case p.provinces || len(p.Filter.Units) != 1:
			return nil, badQuery("counties are those of one unit: name one in filter.units and leave province out of groupBy")
		case len(p.Filter.Codes) > 0 || len(p.Compare) > 0 || p.asksEdition():
			return nil, badQuery("counties can be asked for as they stand only, without codes, comparisons and editions")
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
		if !slices.Contains(compares, c) {
			return nil, badQuery("unknown comparison %q; use %s", c, strings.Join(compares, ", "))
		}
	}
	today := d.Today()
	p.asOf = today
	if to := q.TimeRange.To; given(to) {
		// A dashboard that looks at a past year shows that year's figures in every
		// panel, not in its lines only.
		y, m, day := to.In(feed.Shanghai).Date()
		p.asOf = earlier(time.Date(y, m, day, 0, 0, 0, 0, time.UTC), today)
	}
	switch p.AsOf {
	case "":
	case lastMonth:
		if p.asOf.Before(monthEnd(p.asOf)) {
			p.asOf = p.asOf.AddDate(0, 0, -p.asOf.Day())
		}
	default:
		t, err := time.Parse(time.DateOnly, p.AsOf)
		if err != nil {
			return nil, badQuery("asOf %q is neither a day such as 2016-11-11 nor %s", p.AsOf, lastMonth)
		}
		p.asOf = earlier(t, today)
	}
	if p.KnownOn != "" {
		t, err := time.ParseInLocation(time.DateOnly, p.KnownOn, feed.Shanghai)
		if err != nil {
			return nil, badQuery("knownOn %q is not a day such as 2016-11-20", p.KnownOn)
		}
		p.known = t.AddDate(0, 0, 1).Add(-time.Millisecond)
	}
	if p.Edition != "" && !slices.Contains(editions, p.Edition) {
		return nil, badQuery("unknown edition %q; use %s", p.Edition, strings.Join(editions, ", "))
	}
	if p.asksEdition() && !p.known.IsZero() {
		return nil, badQuery("a published figure rests on what was known when it was published; leave knownOn out")
	}
	if p.in.Now() && !p.asksEdition() && (p.months || p.asOf.Before(today)) {
		return nil, badQuery("%s is known for now only", p.in.ID)
	}
	if p.in.Measure.Kind == "freshness" && !p.known.IsZero() {
		return nil, badQuery("%s is about now, not about what was known on a day", p.in.ID)
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
	// A range after a today that was set for a demonstration asks for nothing that
	// can be; the twelve months up to that day are the nearest.
	if r := q.TimeRange; given(r.From) && p.From == "" && p.AsOf == "" && given(r.To) && !r.From.After(to) {
		from = r.From.In(feed.Shanghai)
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
	if last := len(p.shown) - 1; last > 0 && p.in.OfMonth() && p.shown[last].Before(monthEnd(p.shown[last])) {
		// Beside whole months, one that has just begun looks like a collapse.
		p.shown = p.shown[:last]
	}
	if len(p.shown) > maxMonths {
		// A dashboard of ten years still wants its newest months.
		p.shown = p.shown[len(p.shown)-maxMonths:]
	}
	return nil
}

// What is computed, and how it is hidden, is the same for `duiwu publish`.
type (
	part   = figures.Part
	place  = figures.Place
	figure = figures.Figure
)

// result is what one plan found.
type result struct {
	// figures by place; the nation is unit "".
	question *figures.Question
	figures  map[place]figure
	units    []*feed.UnitInfo
	// ranks are the published ones; nil for who may see the nation.
	ranks map[place]*float64
	// first is what was first published, when that is compared with.
	first    map[place]*float64
	included map[string]bool
	missing  []Missing
	arrivals *arrivals
	sql      string
	source   uint64
	hidden   int
	took     time.Duration
	queried  time.Duration // of took, waiting for the database
	computed time.Time
	stale    bool // newer data has come
}

// run computes the figures of all units, hides the small ones, and leaves of it
// what the scope may see.
func (d *Datasource) run(ctx context.Context, s scope.Scope, p *plan) (*result, error) {
	if p.asksEdition() {
		return d.stored(ctx, s, p)
	}
	start := time.Now()
	c, stale, err := d.reading(ctx, s, p)
	if err != nil {
		return nil, err
	}
	q := c.question
	r := &result{question: q, units: q.Units, included: map[string]bool{}, arrivals: c.arrivals, sql: c.sql, computed: c.at, stale: stale, missing: d.missing(c.arrivals, p.in.Feeds())}
	r.queried = time.Since(start)
	late := map[string]bool{}
	for _, m := range r.missing {
		late[m.Unit] = true
	}
	r.figures = q.Fold(c.parts, late)
	for k, f := range r.figures {
		if k.Day == feed.Day(p.asOf) && k.Unit != "" && f.Value != nil {
			r.included[k.Unit] = true
		}
	}
	q.Suppress(r.figures, c.totals)
	r.took = time.Since(start)
	if err := d.narrow(ctx, s, p, r); err != nil {
		return nil, fmt.Errorf("cannot read what was published of %s: %w", p.in.ID, err)
	}
	return r, nil
}

// codes lists the codes of the answer; one empty code without a split.
func (d *Datasource) codes(p *plan) []string {
	switch {
	case p.split == "":
		return []string{""}
	case p.split == catalogue.County:
		return d.catalogue.Counties(p.Filter.Units[0], feed.Day(p.asOf))
	case len(p.Filter.Codes) > 0:
		return p.Filter.Codes
	}
	return d.catalogue.Codes(p.in, p.split)
}

// parts asks the statement of a question about all units.
func (d *Datasource) parts(ctx context.Context, s scope.Scope, q *figures.Question) (sql string, parts map[place]part, err error) {
	st, err := q.Statement()
	if err != nil {
		return "", nil, userError{err}
	}
	sql = st.SQL + comment(worklist.Masked(st.Params))
	parts, err = d.answers.get(ctx, s.String()+"\n"+st.SQL+comment(st.Params), d.state.current(ctx, d, st.Tables...), func(ctx context.Context) (map[place]part, error) {
		rows, err := d.db.Whole(ctx, s, st.SQL, st.Params)
		if err != nil {
			return nil, err
		}
		return figures.Scan(rows)
	})
	return sql, parts, err
}

// mostHashes bounds the text of a statement.
const mostHashes = 1000

// hashes asks for what many statements leave out or look for alike, once while the
// tables stand: it is the same for all scopes, and no figure. Where there is too much
// of it, and where it cannot be had, each statement finds it by itself.
func (d *Datasource) hashes(ctx context.Context, s scope.Scope) func(catalogue.Statement) ([]uint64, bool) {
	return func(st catalogue.Statement) ([]uint64, bool) {
		got, err := d.hashed.get(ctx, st.SQL+comment(st.Params), d.state.current(ctx, d, st.Tables...), func(ctx context.Context) (out []uint64, err error) {
			rows, err := d.db.Whole(ctx, s, fmt.Sprintf("%s\nLIMIT %d", st.SQL, mostHashes+1), st.Params)
			if err != nil {
				return nil, err
			}
			defer func() { _ = rows.Close() }()
			for rows.Next() {
				var h uint64
				if err := rows.Scan(&h); err != nil {
					return nil, err
				}
				out = append(out, h)
			}
			return out, rows.Err()
		})
		return got, err == nil && len(got) <= mostHashes
	}
}

// given says whether a range's end was asked for. The zero time comes out of gRPC
// as a moment of 1754, which is what nanoseconds since 1970 can hold of it.
func given(t time.Time) bool { return t.Unix() > 0 }

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
