package plugin

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/duiwu/duiwu/charts/pkg/figures"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/worklist"
)

// arrival is the newest of one unit and feed.
type arrival struct {
	period            time.Time
	reported, arrived time.Time
	// begin is the first day about which anything is known.
	begin time.Time
	rows  uint64
}

// arrivals is what has come in so far; it is read once while the tables stay as they are.
type arrivals struct {
	at    time.Time
	state string                        // of the tables, before they were asked
	feeds map[string]map[string]arrival // feed, unit
	// ledger says how far the log has been stored; nil without a ledger.
	ledger *Ledger
	rows   uint64
	// people says which tokens are one person.
	people *worklist.People
}

// Ledger is a position of the pipeline: what lies below it is in the tables.
type Ledger struct {
	Topics    uint64    `json:"topics"`
	Offset    int64     `json:"offset"`
	ArrivedAt time.Time `json:"arrivedAt"`
}

// mostKnown bounds how many moments as of which somebody asks are remembered.
const mostKnown = 64

// arrivals reads the newest arrival of every feed, as it stands or, when known is
// not zero, as it stood then. It tells of all units: narrow it before it leaves.
// One caller at a time asks the database; the others
// wait and share its answer.
func (d *Datasource) arrivals(ctx context.Context, s scope.Scope, known time.Time) (*arrivals, error) {
	if s.None() {
		return nil, scope.ErrDenied // what is kept has asked nobody
	}
	now := d.state.current(ctx, d)
	d.mu.Lock()
	defer d.mu.Unlock()
	for of, a := range d.known {
		if !stands(a.at, a.state, now) {
			delete(d.known, of)
		}
	}
	if a := d.known[known]; a != nil {
		return a, nil
	}
	var params map[string]string
	where := ""
	if !known.IsZero() {
		params = map[string]string{"known": known.In(feed.Shanghai).Format(feed.KnownFormat)}
		where = "_history WHERE _arrived_at <= " + feed.KnownAt
	}
	a := &arrivals{at: time.Now(), state: now, feeds: map[string]map[string]arrival{}}
	sql := ""
	for i, f := range d.catalogue.Contract.Feeds {
		if i > 0 {
			sql += "\nUNION ALL\n"
		}
		a.feeds[f.Feed] = map[string]arrival{}
		sql += "SELECT '" + f.Feed + "' AS feed, toString(reporting_unit) AS unit, max(period) AS period, max(reported_at) AS reported, max(_arrived_at) AS arrived, min(effective_from) AS begin, count() AS n FROM " + f.CurrentTable() + where + " GROUP BY unit"
	}
	rows, err := d.db.Whole(ctx, s, sql, params)
	if err != nil {
		return nil, fmt.Errorf("cannot read arrivals: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var f, unit string
		var v arrival
		if err := rows.Scan(&f, &unit, &v.period, &v.reported, &v.arrived, &v.begin, &v.rows); err != nil {
			return nil, fmt.Errorf("cannot read arrivals: %w", err)
		}
		a.feeds[f][unit] = v
		a.rows += v.rows
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("cannot read arrivals: %w", err)
	}
	_ = rows.Close() // what follows needs a connection too
	if a.ledger, err = d.ledger(ctx, s); err != nil {
		return nil, err
	}
	if a.people, err = d.people(ctx, s, !known.IsZero(), params); err != nil {
		return nil, err
	}
	if len(d.known) >= mostKnown {
		clear(d.known)
	}
	d.known[known] = a
	return a, nil
}

func (d *Datasource) ledger(ctx context.Context, s scope.Scope) (*Ledger, error) {
	rows, err := d.db.Whole(ctx, s, "SELECT uniqExact(topic), toInt64(sum(next)), max(arrived) FROM (SELECT topic, max(last_offset) + 1 AS next, max(arrived_at) AS arrived FROM ledger_effective GROUP BY topic, incarnation, partition)", nil)
	if err != nil {
		if codeOf(err) == codeUnknownTable {
			return nil, nil // the tables were filled by hand
		}
		return nil, fmt.Errorf("cannot read the ledger: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var l Ledger
	for rows.Next() {
		if err := rows.Scan(&l.Topics, &l.Offset, &l.ArrivedAt); err != nil {
			return nil, fmt.Errorf("cannot read the ledger: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		if codeOf(err) == codeUnknownTable {
			return nil, nil
		}
		return nil, fmt.Errorf("cannot read the ledger: %w", err)
	}
	if l.Topics == 0 {
		return nil, nil
	}
	return &l, nil
}

// expected is the last month of a feed that is due by a moment.
func (d *Datasource) expected(s *feed.Spec, now time.Time) time.Time {
	return figures.Expected(d.catalogue.Contract, s, now)
}

// Missing is a unit whose last expected month of a feed has not arrived.
type Missing = figures.Missing

// missing lists the units that are late with one of some feeds. A feed of
// things that happen may have nothing to say about a month, so there any batch
// sent in or after the month will do; a snapshot must be of the month itself.
func (d *Datasource) missing(a *arrivals, feeds []string) []Missing {
	out := []Missing{}
	now := d.now()
	for _, name := range feeds {
		s := d.catalogue.Contract.Feed(name)
		if !s.Owed {
			// A unit that buys no posts or holds no class has nothing to be late with.
			continue
		}
		want := d.expected(s, now)
		for _, u := range d.units(d.Today()) {
			got, ever := a.feeds[name][u.Code]
			if ever && !got.period.Before(want) {
				continue
			}
			if ever && s.History != feed.Snapshot && !got.reported.Before(time.Date(want.Year(), want.Month(), 1, 0, 0, 0, 0, feed.Shanghai)) {
				continue
			}
			m := Missing{Unit: u.Code, Feed: name, Expected: want.Format("2006-01")}
			if ever {
				m.Last = got.period.Format("2006-01")
			}
			out = append(out, m)
		}
	}
	return out
}

// narrow keeps what has come from the units of a scope. How far the log is stored
// as a whole is nobody's figure.
func (a *arrivals) narrow(s scope.Scope) *arrivals {
	if s.Nation() {
		return a
	}
	own := &arrivals{at: a.at, feeds: map[string]map[string]arrival{}, ledger: a.ledger}
	for name, units := range a.feeds {
		own.feeds[name] = map[string]arrival{}
		for u, v := range units {
			if s.Sees(u) {
				own.feeds[name][u] = v
				own.rows += v.rows
			}
		}
	}
	return own
}

// begun says whether anything is known of a feed on a day: before its first
// record the nation has no value yet, which is not zero.
func (a *arrivals) begun(name string, t time.Time) bool {
	for _, v := range a.feeds[name] {
		if !v.begin.After(t) {
			return true
		}
	}
	return false
}

// asOf is the newest reporting time among some feeds.
func (a *arrivals) asOf(feeds []string) (reported, arrived time.Time) {
	for _, f := range feeds {
		for _, v := range a.feeds[f] {
			if v.reported.After(reported) {
				reported = v.reported
			}
			if v.arrived.After(arrived) {
				arrived = v.arrived
			}
		}
	}
	return reported, arrived
}

// The server's codes that mean something to an administrator.
const (
	codeUnknownColumn    = 47
	codeUnknownTable     = 60
	codeUnknownDatabase  = 81
	codeTimeout          = 159
	codeUnknownUser      = 192
	codeWrongPassword    = 193
	codeRequiredPassword = 194
	codeTooManyRows      = 158
	codeAccessDenied     = 497
	codeAuthFailed       = 516
)

var codeText = regexp.MustCompile(`(?i)\bcode: (\d+)`)

// codeOf finds the server's code in an error, 0 when it has none. Over HTTP the
// driver gives some of them as text only.
func codeOf(err error) int {
	if err == nil {
		return 0
	}
	var e *clickhouse.Exception
	if errors.As(err, &e) {
		return int(e.Code)
	}
	if m := codeText.FindStringSubmatch(err.Error()); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return 0
}
