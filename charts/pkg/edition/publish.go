package edition

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/figures"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/peer"
	"github.com/duiwu/duiwu/internal/worklist"
)

// Press computes and writes editions.
type Press struct {
	conn      driver.Conn
	Catalogue *catalogue.Catalogue
	// SuppressBelow hides counts of persons from 1 to one below it.
	SuppressBelow int
	// Software names the build that computed.
	Software string
	// Clock says what month it is, and against what freshness is measured.
	Clock func() time.Time
}

// Open makes a press for a database. It does not connect yet. Close it at the end.
func Open(db *peer.Database, c *catalogue.Catalogue) (*Press, error) {
	o := &clickhouse.Options{
		Protocol: clickhouse.HTTP, Addr: []string{db.Addr}, Auth: clickhouse.Auth{Database: db.Name}, TLS: db.TLS,
		TransportFunc: func(t *http.Transport) (http.RoundTripper, error) { return db.Transport(t), nil },
		MaxOpenConns:  2 * atOnce, DialTimeout: 5 * time.Second, Settings: clickhouse.Settings{"max_threads": 1,
			// On a cluster an edition is there when most replicas have it, and what a
			// statement compares with is read of all shards.
			"distributed_foreground_insert": 1, "insert_quorum": "auto", "distributed_product_mode": "allow"},
	}
	p := &Press{Catalogue: c, SuppressBelow: 5, Clock: time.Now}
	var err error
	if p.conn, err = clickhouse.Open(o); err != nil {
		return nil, fmt.Errorf("cannot use the database: %w", err)
	}
	return p, nil
}

// Close ends the connections.
func (p *Press) Close() { _ = p.conn.Close() }

const (
	// atOnce bounds the statements that run side by side, each in one thread:
	// publishing is in no hurry, and pages are looked at meanwhile.
	atOnce = 2
	// settled is how far behind the clock a moment lies whose records are all in
	// the tables, though more keep arriving: a cut is durable some seconds after.
	settled = time.Minute
)

// ErrNot says that a month may not be published, approved or reopened as it
// stands; its text says what to do instead.
var ErrNot = errors.New("not now")

func not(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrNot}, args...)...)
}

// Result is one indicator under one dimension of a draft.
type Result struct {
	Indicator *catalogue.Indicator
	Dimension string
	Figures   []Figure
}

// Draft is what would be published.
type Draft struct {
	Edition
	Results []Result
}

// query is what List and Read ask with.
func (p *Press) query(ctx context.Context, sql string, params map[string]string) (driver.Rows, error) {
	if len(params) > 0 {
		ctx = clickhouse.Context(ctx, clickhouse.WithParameters(params))
	}
	return p.conn.Query(ctx, sql)
}

// List reads every edition, by month and number.
func (p *Press) List(ctx context.Context) ([]Edition, error) { return List(ctx, p.query) }

// Read returns the figures of an indicator under a dimension in an edition.
func (p *Press) Read(ctx context.Context, indicator, dimension string, e *Edition) ([]Figure, error) {
	return Read(ctx, p.query, indicator, dimension, e)
}

// Received asks with the statement of the dashboards how many records of a feed a
// unit has sent until now: what stands below the line of the accepted records.
func (p *Press) Received(ctx context.Context, unit, feedName string) (float64, error) {
	const accepted = "I-34"
	y, m, day := p.Clock().In(feed.Shanghai).Date()
	st, err := p.Catalogue.Compile(catalogue.Query{Indicator: p.Catalogue.Indicator(accepted), Dates: []time.Time{time.Date(y, m, day, 0, 0, 0, 0, time.UTC)},
		Split: "feed", Units: []string{unit}, Now: p.Clock()})
	if err != nil {
		return 0, err
	}
	rows, err := p.query(ctx, st.SQL, st.Params)
	if err != nil {
		return 0, fmt.Errorf("cannot ask for %s: %w", accepted, err)
	}
	parts, err := figures.Scan(rows)
	if err != nil {
		return 0, fmt.Errorf("cannot read the answer of %s: %w", accepted, err)
	}
	for place, part := range parts {
		if place.Unit == unit && place.Code == feedName {
			return part.M, nil
		}
	}
	return 0, nil
}

// MonthEnd is the last day of the month of a day.
func MonthEnd(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month()+1, 0, 0, 0, 0, 0, time.UTC)
}

// Draft computes every indicator at a month's end, for the nation, the units,
// and when dimensions are asked for by each of them. It writes nothing. All its
// figures rest on the same records: when some arrived meanwhile, everything is
// computed again as of a moment that is past.
func (p *Press) Draft(ctx context.Context, month time.Time, dimensions bool) (*Draft, error) {
	known := time.Time{}
	for {
		d := &Draft{Edition: Edition{Month: month, Number: 1, SuppressBelow: int32(p.SuppressBelow), Software: p.Software, ReadAt: p.now()}}
		var err error
		if d.Positions, err = p.positions(ctx); err != nil {
			return nil, err
		}
		if !known.IsZero() {
			d.ReadAt = known
		}
		if err := p.compute(ctx, d, known, dimensions); err != nil {
			return nil, err
		}
		if !known.IsZero() {
			return d, nil
		}
		after, err := p.positions(ctx)
		if err != nil {
			return nil, err
		}
		if equal(d.Positions, after) {
			return d, nil
		}
		known = d.ReadAt.Add(-settled)
	}
}

func (p *Press) now() time.Time { return p.Clock().Truncate(time.Millisecond) }

func equal(a, b map[string]int64) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

// positions is the next offset of each partition in the ledger.
func (p *Press) positions(ctx context.Context) (map[string]int64, error) {
	out := map[string]int64{}
	var at string
	var next int64
	err := p.each(ctx, "SELECT concat(topic, '/', toString(incarnation), '/', toString(partition)) AS at, max(last_offset) + 1 FROM ledger_effective GROUP BY at", nil,
		func() { out[at] = next }, &at, &next)
	if err != nil {
		return nil, fmt.Errorf("cannot read the ledger: %w", err)
	}
	return out, nil
}

func (p *Press) each(ctx context.Context, sql string, params map[string]string, row func(), to ...any) error {
	rows, err := p.query(ctx, sql, params)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			return err
		}
		row()
	}
	return rows.Err()
}

// sent is what is known of a feed: its first day, and of each unit the newest
// month that is not after the one published, with the time of its last report.
type sent struct {
	begin    time.Time
	period   map[string]time.Time
	reported map[string]time.Time
}

func (p *Press) arrived(ctx context.Context, d *Draft, known time.Time) (map[string]*sent, error) {
	out := map[string]*sent{}
	params := map[string]string{"month": d.Month.Format(time.DateOnly)}
	where := ""
	if !known.IsZero() {
		params["known"] = known.In(feed.Shanghai).Format(feed.KnownFormat)
		where = "_history WHERE _arrived_at <= " + feed.KnownAt
	}
	var parts []string
	for _, s := range p.Catalogue.Contract.Feeds {
		out[s.Feed] = &sent{period: map[string]time.Time{}, reported: map[string]time.Time{}}
		parts = append(parts, "SELECT '"+s.Feed+"' AS feed, toString(reporting_unit) AS unit, min(effective_from) AS begin, maxIf(period, period <= {month:Date32}) AS period, max(reported_at) AS reported FROM "+s.CurrentTable()+where+" GROUP BY unit")
	}
	var name, unit string
	var begin, period, reported time.Time
	err := p.each(ctx, strings.Join(parts, "\nUNION ALL\n"), params, func() {
		s := out[name]
		if s.begin.IsZero() || begin.Before(s.begin) {
			s.begin = begin
		}
		s.period[unit], s.reported[unit] = period, reported
		if reported.After(d.ReportedAt) {
			d.ReportedAt = reported
		}
	}, &name, &unit, &begin, &period, &reported)
	if err != nil {
		return nil, fmt.Errorf("cannot read what has arrived: %w", err)
	}
	return out, nil
}

// missing lists the units of which the month, or the last one due before its
// end, has not come. As on the pages, of a feed of things that happen any batch
// sent in or after that month will do.
func (p *Press) missing(d *Draft, arrived map[string]*sent, units []*feed.UnitInfo) []figures.Missing {
	out := []figures.Missing{}
	for _, s := range p.Catalogue.Contract.Feeds {
		if !s.Owed {
			continue
		}
		want := figures.Expected(p.Catalogue.Contract, s, p.Clock())
		if first := time.Date(d.Month.Year(), d.Month.Month(), 1, 0, 0, 0, 0, time.UTC); want.After(first) {
			want = first
		}
		for _, u := range units {
			got, ever := arrived[s.Feed].period[u.Code]
			ever = ever && got.Year() > 1970 // the empty Date32
			if ever && (!got.Before(want) || s.History != feed.Snapshot && !arrived[s.Feed].reported[u.Code].Before(time.Date(want.Year(), want.Month(), 1, 0, 0, 0, 0, feed.Shanghai))) {
				continue
			}
			m := figures.Missing{Unit: u.Code, Feed: s.Feed, Expected: want.Format("2006-01")}
			if ever {
				m.Last = got.Format("2006-01")
			}
			out = append(out, m)
		}
	}
	return out
}

// people reads whose tokens are one person, as it stands or as it stood.
func (p *Press) people(ctx context.Context, known time.Time) (*worklist.People, error) {
	params := map[string]string{}
	if !known.IsZero() {
		params["known"] = known.In(feed.Shanghai).Format(feed.KnownFormat)
	}
	rows, err := p.query(ctx, worklist.Facts(p.Catalogue.Contract, !known.IsZero()), params)
	if err == nil {
		defer func() { _ = rows.Close() }()
		var people *worklist.People
		if people, err = worklist.Read(rows); err == nil {
			return people, nil
		}
	}
	return nil, fmt.Errorf("cannot read the decisions of the worklist: %w", err)
}

func (p *Press) compute(ctx context.Context, d *Draft, known time.Time, dimensions bool) error {
	var units []*feed.UnitInfo
	for i := range p.Catalogue.Contract.Units {
		if u := &p.Catalogue.Contract.Units[i]; u.ReportsOn(feed.Day(d.Month)) {
			units = append(units, u)
		}
	}
	arrived, err := p.arrived(ctx, d, known)
	if err != nil {
		return err
	}
	d.Missing = p.missing(d, arrived, units)
	people, err := p.people(ctx, known)
	if err != nil {
		return err
	}
	begun := func(name string, on time.Time) bool {
		return !arrived[name].begin.IsZero() && !arrived[name].begin.After(on)
	}
	results := make([][]Result, len(p.Catalogue.Indicators))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, in := range p.Catalogue.Indicators {
		own := []Result{{Indicator: in}}
		for _, name := range in.Dimensions {
			if dimensions {
				own = append(own, Result{Indicator: in, Dimension: name})
			}
		}
		results[i] = own
		late := map[string]bool{}
		for _, m := range d.Missing {
			late[m.Unit] = late[m.Unit] || slices.Contains(in.Feeds(), m.Feed)
		}
		q := figures.Question{Catalogue: p.Catalogue, Indicator: in, Units: units, Days: []time.Time{d.Month}, AsOf: d.Month, Known: known, Now: p.Clock(), SuppressBelow: p.SuppressBelow, Begun: begun, People: people}
		if in.Now() {
			// It has no past: the edition keeps what it was when it was made.
			y, m, day := p.Clock().In(feed.Shanghai).Date()
			q.AsOf = time.Date(y, m, day, 0, 0, 0, 0, time.UTC)
			q.Days, q.Known = []time.Time{q.AsOf}, time.Time{}
		}
		g.Go(func() error {
			if err := p.ask(ctx, q, late, own); err != nil {
				return fmt.Errorf("cannot compute %s: %w", in.ID, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	d.Results = slices.Concat(results...)
	for _, r := range d.Results {
		d.Figures += uint64(len(r.Figures))
	}
	return nil
}

// ask computes the results of one indicator, the first of which has no dimension.
func (p *Press) ask(ctx context.Context, q figures.Question, late map[string]bool, own []Result) error {
	var whole map[figures.Place]figures.Part
	for i := range own {
		q.Split = own[i].Dimension
		parts := whole // regions are folded from the rows of the units
		if q.Split != catalogue.Region {
			st, err := q.Statement()
			if err != nil {
				return err
			}
			rows, err := p.query(ctx, st.SQL, st.Params)
			if err != nil {
				return err
			}
			if parts, err = figures.Scan(rows); err != nil {
				return err
			}
		}
		if i == 0 {
			whole = parts
		}
		all := q.Fold(parts, late)
		counted := map[figures.Place]bool{}
		for k, f := range all {
			counted[k] = f.Value != nil
		}
		q.Suppress(all, whole)
		own[i].keep(all, counted)
	}
	return nil
}

// keep takes what says something over into the draft: a place that has no row
// in an edition has no value.
func (r *Result) keep(all map[figures.Place]figures.Figure, counted map[figures.Place]bool) {
	nationOnly := !slices.Contains(r.Indicator.Grain, "province")
	for k, f := range all {
		if f.State == figures.None && f.N == nil && f.M == nil {
			continue
		}
		if nationOnly && k.Unit != "" {
			// Nobody may ask for it; that it counts in the nation's is told.
			f.Value, f.N, f.M = nil, nil, nil
		}
		r.Figures = append(r.Figures, Figure{Unit: k.Unit, Code: k.Code, Definition: uint16(r.Indicator.Version),
			Value: f.Value, Numerator: f.N, Denominator: f.M, State: f.State, Counted: counted[k], SourceRows: f.Source})
	}
	slices.SortFunc(r.Figures, func(a, b Figure) int { return strings.Compare(a.Unit+"|"+a.Code, b.Unit+"|"+b.Code) })
}

// Next says which edition of a month may be published now, or why none may.
func (p *Press) Next(all []Edition, month time.Time) (int, error) {
	if over := time.Date(month.Year(), month.Month()+1, 1, 0, 0, 0, 0, feed.Shanghai); p.Clock().Before(over) {
		return 0, fmt.Errorf("%s is not over; publish it from %s on", month.Format("2006-01"), over.Format(time.DateOnly))
	}
	last := Pick(all, month, Latest)
	switch {
	case last == nil:
		return 1, nil
	case last.State != Reopened:
		return 0, fmt.Errorf("%s is published: edition %d, by %s; to correct it: duiwu publish reopen %[1]s --by NAME --reason TEXT", month.Format("2006-01"), last.Number, last.Events[0].Who)
	}
	return last.Number + 1, nil
}

// Publish writes a draft as the next edition of its month: the figures first,
// and last the row by which they count. It may end anywhere and be run again.
func (p *Press) Publish(ctx context.Context, d *Draft, who, reason string) error {
	all, err := p.List(ctx)
	if err != nil {
		return err
	}
	if d.Number, err = p.Next(all, d.Month); err != nil {
		return err
	}
	d.attempt = newAttempt()
	if err := p.write(ctx, d); err != nil {
		return fmt.Errorf("cannot write the figures of %s: %w", d.Month.Format("2006-01"), err)
	}
	if err := p.record(ctx, &d.Edition, Published, who, reason); err != nil {
		return err
	}
	if all, err = p.List(ctx); err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(e Edition) bool { return e.Month.Equal(d.Month) && e.Number == d.Number })
	if i < 0 || all[i].attempt != d.attempt {
		return fmt.Errorf("somebody else published edition %d of %s at this moment; theirs counts", d.Number, d.Month.Format("2006-01"))
	}
	d.Edition = all[i]
	return nil
}

// newAttempt is a random UUID.
func newAttempt() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (p *Press) write(ctx context.Context, d *Draft) error {
	batch, err := p.conn.PrepareBatch(ctx, "INSERT INTO published_figures (indicator, dimension, month, attempt, unit, code, definition_version, value, numerator, denominator, state, counted, source_rows)")
	if err != nil {
		return err
	}
	defer func() { _ = batch.Abort() }() // nothing after Send
	for _, r := range d.Results {
		for _, f := range r.Figures {
			if err := batch.Append(r.Indicator.ID, r.Dimension, d.Month, d.attempt, f.Unit, f.Code, f.Definition, f.Value, f.Numerator, f.Denominator, f.State, f.Counted, f.SourceRows); err != nil {
				return err
			}
		}
	}
	return batch.Send()
}

// record writes what was done to an edition. The server's clock orders it: of
// two that publish at once the one whose row came first counts.
func (p *Press) record(ctx context.Context, e *Edition, state State, who, reason string) error {
	params := map[string]string{"month": e.Month.Format(time.DateOnly), "edition": fmt.Sprint(e.Number), "state": string(state), "attempt": e.attempt, "who": who, "reason": reason}
	columns, values := "month, edition, state, attempt, who, reason, at", "{month:Date32}, {edition:UInt16}, {state:String}, {attempt:UUID}, {who:String}, {reason:String}, now64(3)"
	if state == Published {
		columns += ", read_at, reported_at, positions, figures, suppress_below, software, missing_unit, missing_feed, missing_expected, missing_last"
		values += ", fromUnixTimestamp64Milli({read_at:Int64}), fromUnixTimestamp64Milli({reported_at:Int64}), CAST(({topics:Array(String)}, {offsets:Array(Int64)}), 'Map(String, Int64)'), {figures:UInt64}, {below:Int32}, {software:String}, {unit:Array(String)}, {feed:Array(String)}, {expected:Array(String)}, {last:Array(String)}"
		params["read_at"], params["reported_at"] = fmt.Sprint(e.ReadAt.UnixMilli()), fmt.Sprint(e.ReportedAt.UnixMilli())
		var topics, offsets []string
		for at, next := range e.Positions {
			topics, offsets = append(topics, at), append(offsets, fmt.Sprint(next))
		}
		params["topics"], params["offsets"] = quoted(topics), "["+strings.Join(offsets, ",")+"]"
		params["figures"], params["below"], params["software"] = fmt.Sprint(e.Figures), fmt.Sprint(e.SuppressBelow), e.Software
		var unit, name, expected, last []string
		for _, m := range e.Missing {
			unit, name, expected, last = append(unit, m.Unit), append(name, m.Feed), append(expected, m.Expected), append(last, m.Last)
		}
		params["unit"], params["feed"], params["expected"], params["last"] = quoted(unit), quoted(name), quoted(expected), quoted(last)
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithParameters(params))
	if err := p.conn.Exec(ctx, "INSERT INTO publications ("+columns+") SELECT "+values); err != nil {
		return fmt.Errorf("cannot write down that %s is %s: %w", e.Month.Format("2006-01"), state, err)
	}
	return nil
}

// Approve says that somebody stands for the newest edition of a month, Reopen
// that it may be published again.
func (p *Press) Approve(ctx context.Context, month time.Time, who, reason string) (*Edition, error) {
	return p.decide(ctx, month, Approved, who, reason)
}

// Reopen lets a month be published again. Its editions stay and keep answering.
func (p *Press) Reopen(ctx context.Context, month time.Time, who, reason string) (*Edition, error) {
	return p.decide(ctx, month, Reopened, who, reason)
}

func (p *Press) decide(ctx context.Context, month time.Time, state State, who, reason string) (*Edition, error) {
	if strings.TrimSpace(who) == "" || strings.TrimSpace(reason) == "" {
		return nil, errors.New("give a name and a reason, --by NAME --reason TEXT: they are kept with the month")
	}
	all, err := p.List(ctx)
	if err != nil {
		return nil, err
	}
	e := Pick(all, month, Latest)
	switch {
	case e == nil:
		return nil, fmt.Errorf("%s is not published", month.Format("2006-01"))
	case e.State == state:
		return nil, fmt.Errorf("edition %d of %s is %s already, by %s", e.Number, month.Format("2006-01"), state, e.Events[len(e.Events)-1].Who)
	case e.State == Reopened:
		return nil, fmt.Errorf("%s was reopened by %s: publish it again first", month.Format("2006-01"), e.Events[len(e.Events)-1].Who)
	}
	if err := p.record(ctx, e, state, who, reason); err != nil {
		return nil, err
	}
	if all, err = p.List(ctx); err != nil {
		return nil, err
	}
	return Pick(all, month, Latest), nil
}

// quoted writes names and months, which hold no quotes, as an array.
func quoted(values []string) string {
	if len(values) == 0 {
		return "[]"
	}
	return "['" + strings.Join(values, "','") + "']"
}
