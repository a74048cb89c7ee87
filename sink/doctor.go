package sink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/finding"
	"github.com/duiwu/duiwu/internal/flow"
)

// Checkup says how closely the database is looked at. The zero value takes
// defaults.
type Checkup struct {
	// Full looks at every key; else about Sample keys a feed, chosen by Seed.
	Full   bool
	Sample int // default 100000
	Seed   uint64
	// MaxParts is how many parts a table may have; default 300.
	MaxParts int
	// MinFree is the share of a disk that has to be free; default 0.1.
	MinFree float64
	// Skew is how far clocks may differ; default one minute.
	Skew time.Duration
	// Settle is how long the rows of an unfinished cut may stand, Again the pause
	// after which what differs is looked at once more; default ten minutes and two
	// seconds.
	Settle, Again time.Duration
	// Now is this machine's clock; default time.Now.
	Now func() time.Time
}

func (c *Checkup) withDefaults() {
	if c.Sample <= 0 {
		c.Sample = 100000
	}
	if c.MaxParts <= 0 {
		c.MaxParts = 300
	}
	if c.MinFree <= 0 {
		c.MinFree = 0.1
	}
	if c.Skew <= 0 {
		c.Skew = time.Minute
	}
	if c.Settle <= 0 {
		c.Settle = 10 * time.Minute
	}
	if c.Again <= 0 {
		c.Again = 2 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// accessDenied is the server's code for a grant that is missing.
const accessDenied = 497

// Checkup looks at everything that the database alone can tell. blind are the
// looks that failed; what the others found stands all the same.
func (s *Sink) Checkup(ctx context.Context, c Checkup) (found []finding.Finding, blind []error) {
	c.withDefaults()
	for _, look := range []struct {
		// system is the server's table that a user without grants may not read.
		name, system string
		fn           func(context.Context, *Checkup) ([]finding.Finding, error)
	}{
		{"the schema", "columns", s.lookSchema}, {"the tables' settings", "tables", s.lookTables}, {"row policies", "row_policies", s.lookPolicies},
		{"grants", "grants", s.lookGrants}, {"the user's settings", "settings", s.lookSettings}, {"parts", "parts", s.lookParts},
		{"disks", "disks", s.lookDisks}, {"clocks", "one", s.lookClocks},
		{"the ledger", "one", s.lookLedger}, {"takeovers", "one", s.lookRewinds}, {"the balance", "one", s.lookBalance},
		{"rows outside the ledger", "one", s.lookOutside}, {"current tables", "one", s.lookCurrent}, {"unfinished replays", "one", s.lookReplays},
		{"erased records", "one", s.lookErased},
		{"the way to the database", "one", s.lookWay},
	} {
		f, err := look.fn(ctx, &c)
		if err != nil {
			var server *ServerError
			if errors.As(err, &server) && server.Code == accessDenied && look.system != "one" {
				err = fmt.Errorf("%w: GRANT SELECT ON system.%s TO the user of this DSN", err, look.system)
			}
			blind = append(blind, fmt.Errorf("cannot look at %s: %w", look.name, err))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		found = append(found, f...)
	}
	return found, blind
}

func (s *Sink) lookWay(context.Context, *Checkup) (found []finding.Finding, err error) {
	if s.server.Plain() {
		found = append(found, finding.Of("not_encrypted", s.server.Addr, "the DSN begins with http:// and its host is not this machine"))
	}
	return found, nil
}

func (s *Sink) wanted(l Layout) (out []table) {
	all := append(systemTables(), dimensionTables()...)
	for _, spec := range s.opt.Catalogue.Feeds {
		all = append(all, historyTable(spec), currentTable(spec))
	}
	for _, t := range all {
		out = append(out, l.tables(t)...)
	}
	return out
}

func (s *Sink) lookSchema(ctx context.Context, _ *Checkup) (found []finding.Finding, err error) {
	l, steps, err := s.plan(ctx)
	var server *ServerError
	switch {
	case err != nil && (errors.As(err, &server) || !flow.IsPermanent(err)):
		return nil, err
	case err != nil:
		for line := range strings.SplitSeq(err.Error(), "\n") {
			found = append(found, finding.Of("schema_differs", s.database, "%s", line))
		}
	}
	for _, st := range steps {
		what, _, _ := strings.Cut(st.statement, "\n")
		found = append(found, finding.Of("schema_behind", st.object, "duiwu migrate would run: %s", what))
	}
	have, err := s.tables(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range systemViews(s.opt.Catalogue) {
		if have[v.name] == nil {
			found = append(found, finding.Of("schema_behind", v.name, "the view is missing"))
		}
	}
	for _, t := range s.wanted(l) {
		if have[t.name] == nil {
			continue
		}
		for _, c := range have[t.name].columns {
			if !slices.ContainsFunc(t.columns, func(w column) bool { return w.name == c.name }) {
				found = append(found, finding.Of("column_unknown", t.name, "column %s %s", c.name, c.typ))
			}
		}
	}
	return found, nil
}

// window is one that drops inserts; a replicated table has one unless it says no.
var window = regexp.MustCompile(`replicated_deduplication_window = (\d+)`)

func (s *Sink) lookTables(ctx context.Context, _ *Checkup) (found []finding.Finding, err error) {
	l, err := s.layout(ctx)
	if err != nil {
		return nil, err
	}
	ours := map[string]*table{}
	for _, t := range s.wanted(l) {
		ours[t.name] = &t
	}
	err = s.rows(ctx, "SELECT DISTINCT name, engine_full FROM "+l.system("tables")+" WHERE database = {database:String} ORDER BY name", params{"database": text(s.database)}, func(scan func(...any) error) error {
		var name, engine string
		if err := scan(&name, &engine); err != nil || ours[name] == nil {
			return err
		}
		m := window.FindStringSubmatch(engine)
		switch {
		case m != nil && m[1] != "0":
			found = append(found, finding.Of("deduplication_window", name, "the window is %s inserts", m[1]))
		case m == nil && strings.HasPrefix(engine, "Replicated"):
			found = append(found, finding.Of("deduplication_window", name, "the window is the server's default"))
		}
		if t := ours[name]; l.Durable && !t.made && len(t.order) > 0 && !isDurable(engine) {
			found = append(found, finding.Of("durability_mixed", name, "it lacks %s", durableSettings))
		}
		if strings.Contains(engine, " TTL ") {
			found = append(found, finding.Of("table_ttl", name, "%s", engine[strings.Index(engine, " TTL ")+1:]))
		}
		return nil
	})
	return found, err
}

func (s *Sink) lookPolicies(ctx context.Context, _ *Checkup) (found []finding.Finding, err error) {
	var after string
	if err := s.rows(ctx, "SELECT value FROM system.settings WHERE name = 'apply_row_policy_after_final'", nil, func(scan func(...any) error) error { return scan(&after) }); err != nil {
		return nil, err
	}
	if after == "1" {
		return nil, nil
	}
	current := map[string]bool{}
	l, err := s.layout(ctx)
	if err != nil {
		return nil, err
	}
	for _, spec := range s.opt.Catalogue.Feeds {
		for _, name := range []string{spec.CurrentTable(), spec.HistoryTable()} {
			current[name], current[l.held(name)] = true, true
		}
	}
	err = s.rows(ctx, "SELECT short_name, table FROM system.row_policies WHERE database = currentDatabase() ORDER BY table, short_name", nil, func(scan func(...any) error) error {
		var name, table string
		err := scan(&name, &table)
		if err == nil && (current[table] || table == "") {
			found = append(found, finding.Of("row_policy_before_final", table, "policy %s", name))
		}
		return err
	})
	return found, err
}

func (s *Sink) lookGrants(ctx context.Context, _ *Checkup) (found []finding.Finding, err error) {
	granted := func(what, on string) (ok bool, err error) {
		var n uint8
		err = s.rows(ctx, "CHECK GRANT "+what+" ON "+on, nil, func(scan func(...any) error) error { return scan(&n) })
		return n == 1, err
	}
	if ok, err := granted("SELECT, INSERT", quoteName(s.database)+".*"); err != nil || ok {
		return nil, err
	}
	names := []string{}
	for _, t := range s.wanted(Layout{}) {
		names = append(names, t.name)
	}
	for _, v := range systemViews(s.opt.Catalogue) {
		names = append(names, v.name)
	}
	for i, name := range names {
		need := []string{"SELECT", "INSERT"}
		if i >= len(names)-len(systemViews(s.opt.Catalogue)) || strings.HasPrefix(name, "dim_") || name == "schema_migrations" || name == "worklist_decisions" {
			need = need[:1] // workers only read these
		}
		for _, what := range need {
			ok, err := granted(what, quoteName(s.database)+"."+quoteName(name))
			if err != nil {
				return nil, err
			}
			if !ok {
				found = append(found, finding.Of("grant_missing", name, "%s is not granted to %s", what, s.server.User))
			}
		}
	}
	return found, nil
}

func (s *Sink) lookSettings(ctx context.Context, _ *Checkup) (found []finding.Finding, err error) {
	err = s.rows(ctx, "SELECT name, value, toString(readonly), ifNull(toString(min), ''), ifNull(toString(max), '') FROM system.settings ORDER BY name", nil, func(scan func(...any) error) error {
		var name, now, readonly, least, most string
		if err := scan(&name, &now, &readonly, &least, &most); err != nil {
			return err
		}
		want, ours := insertSettings[name]
		if more, ok := s.opt.Settings[name]; ok {
			want, ours = more, true
		}
		if !ours || now == want {
			return nil
		}
		n, numeric := strconv.ParseInt(want, 10, 64)
		low, e1 := strconv.ParseInt(least, 10, 64)
		high, e2 := strconv.ParseInt(most, 10, 64)
		if readonly != "0" || numeric == nil && (e1 == nil && n < low || e2 == nil && n > high) {
			found = append(found, finding.Of("setting_locked", name, "every insert sends %s; the profile of %s holds it at %s", want, s.server.User, now))
		}
		return nil
	})
	return found, err
}

func (s *Sink) lookParts(ctx context.Context, c *Checkup) (found []finding.Finding, err error) {
	l, err := s.layout(ctx)
	if err != nil {
		return nil, err
	}
	err = s.rows(ctx, "SELECT table, count() FROM "+l.system("parts")+" WHERE active AND database = {database:String} GROUP BY table, hostName() HAVING count() > {most:UInt64} ORDER BY table",
		params{"most": strconv.Itoa(c.MaxParts), "database": text(s.database)}, func(scan func(...any) error) error {
			var table string
			var n uint64
			err := scan(&table, &n)
			found = append(found, finding.Of("too_many_parts", table, "%d active parts; %d is the limit here", n, c.MaxParts))
			return err
		})
	return found, err
}

func (s *Sink) lookDisks(ctx context.Context, c *Checkup) (found []finding.Finding, err error) {
	l, err := s.layout(ctx)
	if err != nil {
		return nil, err
	}
	err = s.rows(ctx, "SELECT name, free_space, total_space FROM "+l.system("disks")+" WHERE total_space > 0 AND is_remote = 0 ORDER BY name", nil, func(scan func(...any) error) error {
		var name string
		var free, total uint64
		err := scan(&name, &free, &total)
		if err == nil && float64(free) < c.MinFree*float64(total) {
			found = append(found, finding.Of("disk_filling", "disk "+name, "%.1f GiB of %.1f GiB are free", float64(free)/(1<<30), float64(total)/(1<<30)))
		}
		return err
	})
	return found, err
}

func (s *Sink) lookClocks(ctx context.Context, c *Checkup) (found []finding.Finding, err error) {
	var server, written, arrived time.Time
	before := c.Now()
	err = s.rows(ctx, "SELECT now64(3), (SELECT max(written_at) FROM ledger), (SELECT max(arrived_at) FROM ledger)", nil, func(scan func(...any) error) error {
		return scan(&server, &written, &arrived)
	})
	if err != nil {
		return nil, err
	}
	if d := aheadOf(before, server, c.Now()).Abs(); d > c.Skew {
		found = append(found, finding.Of("clock_skew", "database", "its clock differs from this machine's by %s", d.Round(time.Second)))
	}
	for _, at := range []time.Time{written, arrived} {
		if d := at.Sub(server); d > c.Skew {
			found = append(found, finding.Of("clock_skew", "a worker", "the ledger holds a row that was written %s after the database's now", d.Round(time.Second)))
			break
		}
	}
	return found, nil
}

const presentIncarnation = "(topic, incarnation) IN (SELECT topic, max(incarnation) FROM (SELECT topic, incarnation FROM incarnations UNION ALL SELECT topic, toInt32(0) FROM ledger) GROUP BY topic)"

// lookLedger walks the effective rows of the ledger in order.
func (s *Sink) lookLedger(ctx context.Context, _ *Checkup) (found []finding.Finding, err error) {
	var at place
	end, first := int64(0), true
	err = s.rows(ctx, "SELECT topic, incarnation, partition, first_offset, last_offset, received - ("+strings.Join(outcomeNames(), " + ")+") FROM ledger_effective WHERE "+
		presentIncarnation+" ORDER BY topic, incarnation, partition, first_offset, last_offset", nil, func(scan func(...any) error) error {
		var now place
		var from, to, unexplained int64
		if err := scan(&now.topic, &now.incarnation, &now.partition, &from, &to, &unexplained); err != nil {
			return err
		}
		if now != at {
			at, first = now, true
		}
		where := fmt.Sprintf("%s/%d@%d-%d", at.topic, at.partition, from, to)
		switch {
		case first:
		case from > end+1:
			found = append(found, finding.Of("ledger_gap", fmt.Sprintf("%s/%d@%d-%d", at.topic, at.partition, end+1, from-1), "%d offsets are in no row", from-end-1))
		case from <= end:
			found = append(found, finding.Of("ledger_overlap", where, "a row before it ends at offset %d", end))
		}
		if unexplained != 0 {
			found = append(found, finding.Of("ledger_unbalanced", where, "received less its outcomes is %d", unexplained))
		}
		if first || to > end {
			end = to
		}
		first = false
		return nil
	})
	return found, err
}

// lookRewinds finds takeovers that wrote more than one cut of the old owner
// again. One is what a takeover may do: the cut that the old owner wrote while
// the new one was reading the ledger.
func (s *Sink) lookRewinds(ctx context.Context, _ *Checkup) (found []finding.Finding, err error) {
	all, _, _ := strings.Cut(effective(liveRows), "\nWHERE _taken_over")
	all = strings.Replace(all, "SELECT * EXCEPT (_taken_over)", "SELECT topic, partition, epoch, count(), min(first_offset), max(last_offset)", 1)
	err = s.rows(ctx, all+"\nWHERE _taken_over <= last_offset AND "+presentIncarnation+"\nGROUP BY topic, incarnation, partition, epoch HAVING count() > 1 ORDER BY topic, partition, epoch", nil,
		func(scan func(...any) error) error {
			var topic string
			var partition int32
			var epoch uint32
			var n uint64
			var from, to int64
			err := scan(&topic, &partition, &epoch, &n, &from, &to)
			found = append(found, finding.Of("ledger_rewind", fmt.Sprintf("%s/%d@%d-%d", topic, partition, from, to), "%d cuts of epoch %d were written anew by a later one", n, epoch))
			return err
		})
	return found, err
}

// lookBalance compares each cut with its receipt parts, and the balance with the
// ledger and the replays.
func (s *Sink) lookBalance(ctx context.Context, _ *Checkup) (found []finding.Finding, err error) {
	names := append([]string{"received"}, outcomeNames()...)
	var sums, own []string
	for _, n := range names {
		sums = append(sums, "sum("+n+")")
		own = append(own, n)
	}
	err = s.rows(ctx, `SELECT l.topic, l.partition, l.first_offset, l.last_offset, tupleElement(l.n, 1), tupleElement(p.n, 1) FROM
(SELECT topic, incarnation, partition, first_offset, last_offset, epoch, tuple(`+strings.Join(own, ", ")+`) AS n FROM ledger_effective WHERE kind = '`+kindCut+`') AS l
LEFT JOIN (SELECT topic, incarnation, partition, first_offset, epoch, tuple(`+strings.Join(sums, ", ")+`) AS n FROM receipt_parts FINAL GROUP BY topic, incarnation, partition, first_offset, epoch) AS p
ON l.topic = p.topic AND l.incarnation = p.incarnation AND l.partition = p.partition AND l.first_offset = p.first_offset AND l.epoch = p.epoch
WHERE l.n != p.n ORDER BY 1, 2, 3 LIMIT 100`, nil, func(scan func(...any) error) error {
		var topic string
		var partition int32
		var from, to, ledger, parts int64
		err := scan(&topic, &partition, &from, &to, &ledger, &parts)
		found = append(found, finding.Of("ledger_unbalanced", fmt.Sprintf("%s/%d@%d-%d", topic, partition, from, to), "the ledger says %d received, its receipts %d (or other outcomes)", ledger, parts))
		return err
	})
	return found, err
}

func (s *Sink) lookOutside(ctx context.Context, c *Checkup) (found []finding.Finding, err error) {
	for _, spec := range s.opt.Catalogue.Feeds {
		err = s.rows(ctx, `SELECT h._topic, h._partition, count(), min(h._offset), max(h._offset) FROM
(SELECT _topic, _incarnation, _partition, _offset FROM `+quoteName(spec.HistoryTable())+` WHERE _arrived_at < {before:DateTime64(3, 'UTC')}) AS h
LEFT JOIN (SELECT topic, incarnation, partition, max(last_offset) AS last, 1 AS known FROM ledger_effective GROUP BY topic, incarnation, partition) AS l
ON h._topic = l.topic AND h._incarnation = l.incarnation AND h._partition = l.partition
WHERE l.known = 0 OR h._offset > l.last
GROUP BY h._topic, h._partition ORDER BY h._topic, h._partition`,
			params{"before": c.Now().Add(-c.Settle).UTC().Format("2006-01-02 15:04:05.000")}, func(scan func(...any) error) error {
				var topic string
				var partition int32
				var n uint64
				var from, to int64
				err := scan(&topic, &partition, &n, &from, &to)
				found = append(found, finding.Of("rows_outside_ledger", spec.HistoryTable(), "%d rows of %s/%d, offsets %d to %d", n, topic, partition, from, to))
				return err
			})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// lookCurrent compares the newest version of each key with the current table. An
// insert on its way is in the one and not yet in the other, so what differs is
// looked at once more.
func (s *Sink) lookCurrent(ctx context.Context, c *Checkup) (found []finding.Finding, err error) {
	for _, spec := range s.opt.Catalogue.Feeds {
		n, keys, err := s.differing(ctx, spec, c)
		if err == nil && n > 0 {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(c.Again):
			}
			n, keys, err = s.differing(ctx, spec, c)
		}
		if err != nil {
			return nil, err
		}
		if n > 0 {
			found = append(found, finding.Of("current_differs", spec.CurrentTable(), "%d of the %d records looked at", n, keys))
		}
	}
	return found, nil
}

func (s *Sink) differing(ctx context.Context, spec *feed.Spec, c *Checkup) (n, keys uint64, err error) {
	var rows uint64
	if err := s.rows(ctx, "SELECT count() FROM "+quoteName(spec.HistoryTable()), nil, func(scan func(...any) error) error { return scan(&rows) }); err != nil {
		return 0, 0, err
	}
	of := max(1, rows/uint64(c.Sample))
	if c.Full {
		of = 1
	}
	cur := currentTable(spec)
	var content []string
	for _, col := range cur.names() {
		if col != feed.ColArrived {
			content = append(content, quoteName(col))
		}
	}
	newest := func(table string) string {
		return "SELECT " + quoteNames(spec.Key()) + ", max(" + feed.ColVersion + ") AS v, argMax(sipHash64(toString(tuple(" + strings.Join(content, ", ") + "))), " + feed.ColVersion + ") AS h FROM " +
			quoteName(table) + " WHERE sipHash64(record_id) % {of:UInt64} = {at:UInt64} GROUP BY " + quoteNames(spec.Key())
	}
	err = s.rows(ctx, "SELECT countIf(a.v != b.v OR a.h != b.h), count() FROM ("+newest(spec.HistoryTable())+") AS a FULL OUTER JOIN ("+newest(cur.name)+") AS b USING ("+quoteNames(spec.Key())+")",
		params{"of": strconv.FormatUint(of, 10), "at": strconv.FormatUint(c.Seed%of, 10)}, func(scan func(...any) error) error { return scan(&n, &keys) })
	return n, keys, err
}

func (s *Sink) lookReplays(ctx context.Context, _ *Checkup) (found []finding.Finding, err error) {
	var total uint64
	for _, spec := range s.opt.Catalogue.Feeds {
		var n uint64
		err := s.rows(ctx, "SELECT count() FROM "+quoteName(spec.HistoryTable())+" WHERE _part = 0 AND (_topic, _incarnation, _partition, _offset, _row) IN (SELECT topic, incarnation, partition, offset, row FROM quarantine_open)", nil,
			func(scan func(...any) error) error { return scan(&n) })
		if err != nil {
			return nil, err
		}
		if total += n; n > 0 {
			found = append(found, finding.Of("replay_unfinished", spec.HistoryTable(), "%d rows stand at positions whose refusal stands", n))
		}
	}
	return found, nil
}

// UnitsHeard lists the units of which the ledger counts anything as received.
func (s *Sink) UnitsHeard(ctx context.Context) (map[string]bool, error) {
	out := map[string]bool{}
	err := s.rows(ctx, "SELECT DISTINCT unit FROM receipt_parts WHERE received > 0", nil, func(scan func(...any) error) error {
		var unit string
		err := scan(&unit)
		out[unit] = true
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the units of the receipts: %w", err)
	}
	return out, nil
}

// LastWritten is when the ledger of a partition last grew, on the worker's clock.
func (s *Sink) LastWritten(ctx context.Context, topic string) (at time.Time, err error) {
	err = s.rows(ctx, "SELECT max(written_at) FROM ledger WHERE run = 'live' AND topic = {topic:String}", params{"topic": text(topic)},
		func(scan func(...any) error) error { return scan(&at) })
	return at, err
}

// SomeKeys gives keys of a topic's present rows with the partitions that they
// came from, about limit of each feed.
func (s *Sink) SomeKeys(ctx context.Context, topic string, limit int) (map[string]int32, error) {
	out := map[string]int32{}
	n, err := s.incarnation(ctx, topic)
	if err != nil {
		return nil, err
	}
	var each []string
	for _, spec := range s.opt.Catalogue.Feeds {
		// A void of a correction (part 1) comes with the message of another record.
		each = append(each, "SELECT record_id, _partition FROM (SELECT record_id, _partition FROM "+quoteName(spec.HistoryTable())+
			" WHERE reporting_unit = {unit:String} AND _topic IN {topics:Array(String)} AND _incarnation = {incarnation:Int32} AND _part = 0 LIMIT "+strconv.Itoa(limit)+")")
	}
	p := spot(topic, n, 0)
	p["unit"] = text(unitOf(topic))
	err = s.rows(ctx, strings.Join(each, "\nUNION ALL\n"), p, func(scan func(...any) error) error {
		var id string
		var at int32
		err := scan(&id, &at)
		out[id] = at
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read keys of %s: %w", topic, err)
	}
	return out, nil
}

// CutState is what the tables hold of one cut.
type CutState struct {
	// Stored are rows of records at positions of the cut, without those that a
	// replay put there; Refused are the refusals of the cut's owner.
	Stored, Refused int64
	// RefusedAt are their positions (offset, row), Whole the offsets whose message
	// was refused whole.
	Whole     map[int64]bool
	RefusedAt map[[2]int64]bool
}

// Cut reads what the tables hold of one effective cut, for the feeds named.
func (s *Sink) Cut(ctx context.Context, l LedgerSpan, feeds []*feed.Spec) (*CutState, error) {
	out := &CutState{Whole: map[int64]bool{}, RefusedAt: map[[2]int64]bool{}}
	p := spot(l.Topic, l.Incarnation, l.Partition)
	p["first"], p["last"] = strconv.FormatInt(l.First, 10), strconv.FormatInt(l.Last, 10)
	p["epoch"], p["unit"] = strconv.FormatUint(uint64(l.Epoch), 10), text(unitOf(l.Topic))
	err := s.rows(ctx, `SELECT offset, row, row = 0 AND kept = '' AND record_id = '' AND fields = [''] FROM quarantine FINAL
WHERE topic IN {topics:Array(String)} AND incarnation = {incarnation:Int32} AND partition = {partition:Int32} AND epoch = {epoch:UInt32} AND offset BETWEEN {first:Int64} AND {last:Int64}`,
		p, func(scan func(...any) error) error {
			var offset int64
			var row int32
			var whole uint8
			err := scan(&offset, &row, &whole)
			out.Refused++
			out.RefusedAt[[2]int64{offset, int64(row)}] = true
			if whole != 0 {
				out.Whole[offset] = true
			}
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("cannot read the quarantine of %s: %w", l.Span, err)
	}
	if len(feeds) == 0 {
		return out, nil
	}
	// A row at a position that the cut refused is a replay's.
	var refused []byte
	for at := range out.RefusedAt {
		refused = binary.LittleEndian.AppendUint64(refused, uint64(at[0]))
		row := uint32(at[1])
		if out.Whole[at[0]] {
			row = math.MaxUint32 // -1: all of the message
		}
		refused = binary.LittleEndian.AppendUint32(refused, row)
	}
	each := []string{erasedRows}
	for _, spec := range feeds {
		each = append(each, "SELECT count() AS n FROM "+quoteName(spec.HistoryTable())+` FINAL
WHERE reporting_unit = {unit:String} AND _topic IN {topics:Array(String)} AND _incarnation = {incarnation:Int32} AND _partition = {partition:Int32} AND _offset BETWEEN {first:Int64} AND {last:Int64} AND _part = 0
AND (_offset, _row) NOT IN (SELECT offset, row FROM refused) AND _offset NOT IN (SELECT offset FROM refused WHERE row = -1)`)
	}
	body, contentType, err := multipartTable("refused", refused)
	if err != nil {
		return nil, err
	}
	resp, err := s.send(ctx, "SELECT toInt64(sum(n)) FROM ("+strings.Join(each, "\nUNION ALL\n")+") FORMAT RowBinary", p,
		map[string]string{"refused_format": "RowBinary", "refused_structure": "offset Int64, row Int32", "wait_end_of_query": "1"}, contentType, body)
	if err != nil {
		return nil, fmt.Errorf("cannot count the rows of %s: %w", l.Span, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, serverError(err)
	}
	if len(answer) != 8 {
		return nil, broken(io.ErrUnexpectedEOF)
	}
	out.Stored = int64(binary.LittleEndian.Uint64(answer))
	return out, nil
}

// Absent lists the positions (offset, row) of a batch, in the table's schema,
// whose record the history does not hold with this content, at whatever position
// and under whatever revision.
func (s *Sink) Absent(ctx context.Context, b flow.Batch) ([][2]int64, error) {
	body, structure, err := rowsTable(b, func(c feed.Column) bool {
		switch c.Name {
		case "reporting_unit", "record_id", "effective_from", feed.ColVersion, feed.ColPart, feed.ColOffset, feed.ColRow:
			return true
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	data, contentType, err := multipartTable("w", body.Bytes())
	if err != nil {
		return nil, err
	}
	key := quoteNames(b.Feed.Key()) + ", bitShiftRight(" + feed.ColVersion + ", 16)"
	resp, err := s.send(ctx, "SELECT toInt64(_offset), toInt64(_row) FROM w WHERE _part = 0 AND ("+key+") NOT IN (SELECT "+key+" FROM "+quoteName(b.Feed.HistoryTable())+
		" WHERE reporting_unit IN (SELECT reporting_unit FROM w) AND record_id IN (SELECT record_id FROM w)) ORDER BY _offset, _row FORMAT RowBinary", nil,
		map[string]string{"w_format": "ArrowStream", "w_structure": structure, "wait_end_of_query": "1"}, contentType, data)
	if err != nil {
		return nil, fmt.Errorf("cannot look up records of %s: %w", b.Feed.HistoryTable(), err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, serverError(err)
	}
	var out [][2]int64
	for ; len(answer) >= 16; answer = answer[16:] {
		out = append(out, [2]int64{int64(binary.LittleEndian.Uint64(answer)), int64(binary.LittleEndian.Uint64(answer[8:]))})
	}
	return out, nil
}
