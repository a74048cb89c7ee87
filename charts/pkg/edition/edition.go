// Package edition holds the figures of months as they were published: an edition
// of a month is written once and never changes, whatever arrives afterwards.
// Correcting a published month means to reopen it and to publish the next
// edition; the first one stays and can be asked for as long as the tables stand.
//
// It knows the tables by name (sink/published.go makes them) and nothing of
// Grafana, so that `duiwu publish` and the datasource share it.
package edition

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/duiwu/duiwu/charts/pkg/figures"
)

// Query runs a statement with typed parameters.
type Query func(ctx context.Context, sql string, params map[string]string) (driver.Rows, error)

// State is how far a month's edition has come.
type State string

const (
	Published State = "published"
	Approved  State = "approved"
	// Reopened editions still answer, and the month may be published again.
	Reopened State = "reopened"
)

// Event is something that was done to an edition, with the name of who answers for it.
type Event struct {
	State  State     `json:"state"`
	Who    string    `json:"who"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// Edition is one complete set of figures of a month.
type Edition struct {
	// Month is its last day.
	Month  time.Time `json:"month"`
	Number int       `json:"edition"`
	// State is that of the last of Events, which begin with its publication.
	State  State   `json:"state"`
	Events []Event `json:"events"`
	// ReadAt is the moment at which the records were read, ReportedAt what the
	// newest of them said.
	ReadAt     time.Time `json:"read_at"`
	ReportedAt time.Time `json:"reported_at"`
	// Positions is the next offset of each partition in the ledger then, by
	// topic/incarnation/partition: everything below it was counted.
	Positions     map[string]int64  `json:"positions"`
	Figures       uint64            `json:"figures"`
	SuppressBelow int32             `json:"suppress_below"`
	Software      string            `json:"software"`
	Missing       []figures.Missing `json:"missing"`

	attempt string
}

// Figure is one published value. A nil value is none; State says why, in the
// words of the datasource: late (with the value of before), none, suppressed, protected.
type Figure struct {
	// Unit is empty for the nation, Code for a figure without a dimension.
	Unit, Code                    string
	Month                         time.Time
	Definition                    uint16 // version of the indicator's definition
	Value, Numerator, Denominator *float64
	State                         string
	// Counted says that there is a value, shown or hidden.
	Counted    bool
	SourceRows uint64
}

// The editions that can be asked for.
const (
	First        = "first"    // the first of each month
	Latest       = "latest"   // the newest of each month
	LastApproved = "approved" // the newest approved of each month
)

// List reads every edition, by month and number.
func List(ctx context.Context, query Query) ([]Edition, error) {
	// The earlier of two attempts at one edition counts, so that the later one,
	// though it was written, never answers anybody.
	rows, err := query(ctx, `SELECT month, edition, toString(state), toString(attempt), who, reason, at, read_at, reported_at, positions, figures, suppress_below, software,
    missing_unit, missing_feed, missing_expected, missing_last
FROM publications ORDER BY month, edition, at, attempt`, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read the publications: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Edition
	for rows.Next() {
		var e Edition
		var ev Event
		var number uint16
		var state string
		var unit, feed, expected, last []string
		if err := rows.Scan(&e.Month, &number, &state, &e.attempt, &ev.Who, &ev.Reason, &ev.At, &e.ReadAt, &e.ReportedAt, &e.Positions, &e.Figures, &e.SuppressBelow, &e.Software,
			&unit, &feed, &expected, &last); err != nil {
			return nil, fmt.Errorf("cannot read the publications: %w", err)
		}
		ev.State, e.Number = State(state), int(number)
		if n := len(out); n > 0 && out[n-1].Month.Equal(e.Month) && out[n-1].Number == e.Number {
			if ev.State != Published {
				out[n-1].Events, out[n-1].State = append(out[n-1].Events, ev), ev.State
			}
			continue
		}
		e.State, e.Events, e.Missing = ev.State, []Event{ev}, make([]figures.Missing, len(unit))
		for i := range unit {
			e.Missing[i] = figures.Missing{Unit: unit[i], Feed: feed[i], Expected: expected[i], Last: last[i]}
		}
		out = append(out, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("cannot read the publications: %w", err)
	}
	return out, nil
}

// Pick finds the edition of a month (its last day) among those of List: First,
// Latest or LastApproved. It returns nil when there is none.
func Pick(all []Edition, month time.Time, which string) *Edition {
	var found *Edition
	for i := range all {
		e := &all[i]
		if !e.Month.Equal(month) || which == LastApproved && !e.Approved() {
			continue
		}
		if found == nil || which != First {
			found = e
		}
	}
	return found
}

// Approved says whether the edition was ever approved: reopening the month does
// not take back that somebody stood for these figures.
func (e *Edition) Approved() bool {
	return slices.ContainsFunc(e.Events, func(ev Event) bool { return ev.State == Approved })
}

// Read returns the figures of an indicator under a dimension (empty: none) in
// some editions: the nation, every unit, and with a dimension every code of it.
func Read(ctx context.Context, query Query, indicator, dimension string, editions ...*Edition) ([]Figure, error) {
	if len(editions) == 0 {
		return nil, nil
	}
	var months, attempts []string
	for _, e := range editions {
		months, attempts = append(months, e.Month.Format(time.DateOnly)), append(attempts, e.attempt)
	}
	rows, err := query(ctx, `SELECT toString(unit), toString(code), month, definition_version, value, numerator, denominator, toString(state), counted, source_rows
FROM published_figures FINAL
WHERE indicator = {indicator:String} AND dimension = {dimension:String} AND month IN {months:Array(Date32)} AND attempt IN {attempts:Array(UUID)}
ORDER BY month, unit, code`, map[string]string{"indicator": indicator, "dimension": dimension, "months": quoted(months), "attempts": quoted(attempts)})
	if err != nil {
		return nil, fmt.Errorf("cannot read the published figures of %s: %w", indicator, err)
	}
	defer func() { _ = rows.Close() }()
	var out []Figure
	for rows.Next() {
		var f Figure
		if err := rows.Scan(&f.Unit, &f.Code, &f.Month, &f.Definition, &f.Value, &f.Numerator, &f.Denominator, &f.State, &f.Counted, &f.SourceRows); err != nil {
			return nil, fmt.Errorf("cannot read the published figures of %s: %w", indicator, err)
		}
		out = append(out, f)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("cannot read the published figures of %s: %w", indicator, err)
	}
	return out, nil
}
