package sink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/finding"
	"github.com/duiwu/duiwu/internal/flow"
)

// An erasure takes a record out of the tables for good:
//
//	erased           a tombstone, and where each of the record's rows stood: they
//	                 were received, and the balance goes on counting them
//	claims           workers of the unit are fenced, and read the tombstone when
//	                 they claim their partitions anew
//	<feed>_history,  the rows go
//	<feed>
//	quarantine,      what was kept of the record goes; that something was refused
//	replayed         there, and why, stays
//
// From then on the record is refused, in whatever version it comes.

func erasedTable() table {
	return table{
		name: "erased",
		columns: columns([]column{{"unit", code, ""}, {"feed", code, ""}, {"record_id", "String", ""}}, position, []column{
			{"offset", "Int64", ""}, {"row", "Int32", ""}, {"part", "UInt8", ""},
			{"by", code, ""}, {"reason", "String", ""}, {"erased_at", moment, ""}, {"outcome", code, ""},
		}),
		engine:  "ReplacingMergeTree",
		unit:    ofUnit("unit"),
		order:   []string{"unit", "feed", "record_id", "topic", "incarnation", "partition", "offset", "row", "part"},
		comment: "Records that were erased at a person's request: a tombstone (topic is empty), and where the rows stood",
	}
}

// Erasure says which record goes, who decided so, and why.
type Erasure struct {
	flow.RecordName
	By, Reason string
}

// Found is what the tables hold of a record.
type Found struct {
	History uint64 `json:"history"`
	Current uint64 `json:"current"`
	Refused uint64 `json:"refused"`
}

func (e *Erasure) params() params {
	return params{"unit": text(e.Unit), "feed": text(e.Feed), "id": text(e.RecordID), "by": text(e.By), "reason": text(e.Reason)}
}

const (
	ofRecord  = "reporting_unit = {unit:String} AND record_id = {id:String}"
	ofRefused = "unit = {unit:String} AND feed = {feed:String} AND record_id = {id:String}"
)

// Find counts what the tables hold of a record.
func (s *Sink) Find(ctx context.Context, e Erasure) (out Found, err error) {
	spec, err := s.erasable(e)
	if err != nil {
		return out, err
	}
	err = s.rows(ctx, "SELECT (SELECT count() FROM "+quoteName(spec.HistoryTable())+" WHERE "+ofRecord+"), (SELECT count() FROM "+quoteName(spec.CurrentTable())+" WHERE "+ofRecord+
		"), (SELECT count() FROM quarantine WHERE "+ofRefused+") + (SELECT count() FROM replayed WHERE "+ofRefused+")",
		e.params(), func(scan func(...any) error) error { return scan(&out.History, &out.Current, &out.Refused) })
	if err != nil {
		err = fmt.Errorf("cannot look for the record: %w", err)
	}
	return out, err
}

func (s *Sink) erasable(e Erasure) (*feed.Spec, error) {
	spec := s.opt.Catalogue.Feed(e.Feed)
	if spec == nil || e.Unit == "" || e.RecordID == "" {
		return nil, errors.New("cannot erase: a unit, a feed of the catalogue and a record id are needed")
	}
	return spec, nil
}

// Erase takes a record out of the tables. It may be killed and run again, and
// has to be when Checkup finds rows of an erased record, as after a backup was
// restored.
func (s *Sink) Erase(ctx context.Context, e Erasure) error {
	spec, err := s.erasable(e)
	if err != nil {
		return err
	}
	if e.By == "" || e.Reason == "" {
		return errors.New("cannot erase: a name and a reason are needed")
	}
	fail := func(what string, err error) error {
		return fmt.Errorf("cannot erase the record: %s: %w; run this again", what, err)
	}
	if err := s.exec(ctx, `INSERT INTO erased (unit, feed, record_id, topic, incarnation, partition, offset, row, part, by, reason, erased_at)
SELECT {unit:String}, {feed:String}, {id:String}, '', 0, 0, 0, 0, 0, {by:String}, {reason:String}, now64(3)`, e.params()); err != nil {
		return fail("table erased", err)
	}
	if err := s.fence(ctx, e.Unit); err != nil {
		return fail("workers of the unit", err)
	}
	// By then no worker that was fenced begins another insert.
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(2 * fencedWithin):
	}
	if err := s.settled(ctx); err != nil {
		return fail("running inserts", err)
	}
	if err := s.exec(ctx, `INSERT INTO erased (unit, feed, record_id, topic, incarnation, partition, offset, row, part, by, reason, erased_at, outcome)
SELECT {unit:String}, {feed:String}, {id:String}, _topic, _incarnation, _partition, _offset, _row, _part, {by:String}, {reason:String}, now64(3), _outcome
FROM `+quoteName(spec.HistoryTable())+" FINAL WHERE "+ofRecord, e.params()); err != nil {
		return fail("table erased", err)
	}
	l, err := s.layout(ctx)
	if err != nil {
		return err
	}
	const now = "\nSETTINGS mutations_sync = 2"
	alter := func(table, change string) step {
		return step{table, "ALTER TABLE " + quoteName(l.held(table)) + l.on() + " " + change + now}
	}
	for _, st := range []step{
		alter(spec.HistoryTable(), "DELETE WHERE "+ofRecord),
		alter(spec.CurrentTable(), "DELETE WHERE "+ofRecord),
		alter("quarantine", "UPDATE kept = '', record_id = 'erased' WHERE "+ofRefused),
		alter("replayed", "UPDATE kept = '', record_id = 'erased' WHERE "+ofRefused),
	} {
		if err := s.exec(ctx, st.statement, e.params()); err != nil {
			return fail("table "+st.object, err)
		}
	}
	return nil
}

// fence makes whoever holds a partition of the unit claim it anew.
func (s *Sink) fence(ctx context.Context, unit string) error {
	var as []*Assignment
	err := s.rows(ctx, "SELECT DISTINCT topic, partition FROM ledger WHERE run = 'live' AND endsWith(topic, {end:String})", params{"end": text("." + unit)},
		func(scan func(...any) error) error {
			a := &Assignment{s: s, Unit: unit}
			err := scan(&a.Topic, &a.Partition)
			as = append(as, a)
			return err
		})
	if err != nil || len(as) == 0 {
		return err
	}
	return s.claim(ctx, as)
}

// Erased lists the records that were erased: those of a unit, or of all when it
// is empty.
func (s *Sink) Erased(ctx context.Context, unit string) (out []Erasure, at []time.Time, err error) {
	err = s.rows(ctx, `SELECT unit, feed, record_id, argMax(by, erased_at), argMax(reason, erased_at), max(erased_at) FROM erased
WHERE {unit:String} IN ('', unit) GROUP BY unit, feed, record_id ORDER BY max(erased_at), unit, feed, record_id`, params{"unit": text(unit)},
		func(scan func(...any) error) error {
			var e Erasure
			var t time.Time
			err := scan(&e.Unit, &e.Feed, &e.RecordID, &e.By, &e.Reason, &t)
			out, at = append(out, e), append(at, t)
			return err
		})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read which records were erased: %w", err)
	}
	return out, at, nil
}

// ErasedNames is Erased without who and why.
func (s *Sink) ErasedNames(ctx context.Context, unit string) ([]flow.RecordName, error) {
	all, _, err := s.Erased(ctx, unit)
	out := make([]flow.RecordName, len(all))
	for i, e := range all {
		out[i] = e.RecordName
	}
	return out, err
}

// lookErased finds rows of erased records.
func (s *Sink) lookErased(ctx context.Context, _ *Checkup) (found []finding.Finding, err error) {
	for _, spec := range s.opt.Catalogue.Feeds {
		for _, table := range []string{spec.HistoryTable(), spec.CurrentTable()} {
			var n uint64
			err := s.rows(ctx, "SELECT count() FROM "+quoteName(table)+" WHERE (reporting_unit, record_id) IN (SELECT unit, record_id FROM erased WHERE feed = {feed:String})",
				params{"feed": text(spec.Feed)}, func(scan func(...any) error) error { return scan(&n) })
			if err != nil {
				return nil, err
			}
			if n > 0 {
				found = append(found, finding.Of("erased_present", table, "%d rows", n))
			}
		}
	}
	return found, nil
}

// erasedRows counts the rows of a cut that an erasure took; see Cut.
const erasedRows = `SELECT count() AS n FROM (SELECT * FROM erased FINAL)
WHERE topic IN {topics:Array(String)} AND incarnation = {incarnation:Int32} AND partition = {partition:Int32} AND offset BETWEEN {first:Int64} AND {last:Int64} AND part = 0
AND (offset, row) NOT IN (SELECT offset, row FROM refused) AND offset NOT IN (SELECT offset FROM refused WHERE row = -1)`
