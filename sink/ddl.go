package sink

import (
	"fmt"
	"slices"
	"strings"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// moment is the type of every point in time that the sink itself writes.
const moment = "DateTime64(3, 'Asia/Shanghai')"

// column is one column of a table as ClickHouse knows it.
type column struct {
	name, typ string
	// more is what follows the type: a codec, or MATERIALIZED and an expression.
	more string
}

func (c column) materialized() bool { return strings.HasPrefix(c.more, "MATERIALIZED") }

// table is everything that decides what a table holds. Columns may be added to
// it; its engine and keys never change.
type table struct {
	name    string
	columns []column
	engine  string
	// partition is an expression over columns of order, or empty.
	partition string
	// primary is empty when it equals order.
	primary, order []string
	settings       string
	comment        string
	// unit is a number by which the rows of a unit are told from those of others,
	// empty when a row is of none.
	unit string
	// made tables hold nothing that a migration does not make again.
	made bool
}

// lacks are the settings that an engine, as the server writes it, does not have.
func (t *table) lacks(full string) []string {
	if t.settings == "" {
		return nil
	}
	return slices.DeleteFunc(strings.Split(t.settings, ", "), func(s string) bool { return strings.Contains(full, s) })
}

func (t *table) create(l Layout) string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s%s\n(\n", quoteName(t.name), l.on())
	for i, c := range t.columns {
		b.WriteString("    " + c.ddl())
		if i < len(t.columns)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, ")\nENGINE = %s\n", t.engine)
	if t.partition != "" {
		fmt.Fprintf(&b, "PARTITION BY %s\n", t.partition)
	}
	if len(t.primary) > 0 {
		fmt.Fprintf(&b, "PRIMARY KEY (%s)\n", quoteNames(t.primary))
	}
	if len(t.order) > 0 {
		fmt.Fprintf(&b, "ORDER BY (%s)\n", quoteNames(t.order))
	}
	if t.settings != "" {
		fmt.Fprintf(&b, "SETTINGS %s\n", t.settings)
	}
	fmt.Fprintf(&b, "COMMENT %s", quoteText(t.comment))
	return b.String()
}

func (c column) ddl() string {
	s := quoteName(c.name) + " " + c.typ
	if c.more != "" {
		s += " " + c.more
	}
	return s
}

// view is a query under a name. A view with a target is materialized: it feeds
// that table with every insert into the table it reads.
type view struct {
	name, target, query string
}

func (v view) create(l Layout) string {
	if v.target != "" {
		return fmt.Sprintf("CREATE MATERIALIZED VIEW IF NOT EXISTS %s%s TO %s AS\n%s", quoteName(v.name), l.on(), quoteName(v.target), v.query)
	}
	return fmt.Sprintf("CREATE OR REPLACE VIEW %s%s AS\n%s", quoteName(v.name), l.on(), v.query)
}

func quoteName(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

func quoteNames(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = quoteName(n)
	}
	return strings.Join(out, ", ")
}

func quoteText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// codec picks a column's compression. Tokens are random bytes: trying to
// compress them only costs. A moment repeats over a whole batch, and versions
// share their high bytes; everything else keeps the server's default.
func codec(c feed.Column) string {
	switch c.Store {
	case feed.StoreToken:
		return "CODEC(NONE)"
	case feed.StoreVersion:
		return "CODEC(ZSTD(1))"
	}
	if c.Name == feed.ColArrived || c.Name == feed.ColOffset {
		return "CODEC(Delta, ZSTD(1))"
	}
	return ""
}

// colRank decides which of two rows of one version stays: ReplacingMergeTree
// keeps the largest, and this is the complement of the arrival, so that the
// earliest arrival wins however often a cut is replayed. The low 20 bits come
// from the position, so that two rows of equal arrival do not depend on the
// order of parts.
const colRank = "_rank"

const rankExpr = "MATERIALIZED bitNot(bitOr(bitShiftLeft(toUInt64(toUnixTimestamp64Milli(_arrived_at)), 20), " +
	"bitAnd(cityHash64(_topic, _incarnation, _partition, _offset, _row), 1048575)))"

// historyTable merges late: each merge writes every row again, which costs the server
// half of what an insert does, and nobody who reads a history waits for it to be in few
// parts. 32 parts of about one size become one, where five do by default.
func historyTable(s *feed.Spec) table {
	t := table{
		name:     s.HistoryTable(),
		engine:   "ReplacingMergeTree(" + colRank + ")",
		primary:  s.Key(),
		order:    append(append([]string(nil), s.Key()...), feed.ColVersion),
		unit:     ofUnit("reporting_unit"),
		comment:  s.En + ": every version of every record; the earliest arrival of a version stays",
		settings: "merge_selector_base = 32",
	}
	for _, c := range s.Columns() {
		t.columns = append(t.columns, column{c.Name, c.ClickHouse, codec(c)})
	}
	t.columns = append(t.columns, column{colRank, "UInt64", rankExpr})
	return t
}

// currentTable never runs CLEANUP: a void must stay, or a late older version of
// its record would come back to life. What nothing was added to for ten minutes settles
// into a single part, for which FINAL has nothing to do: units send some hours a
// month, and panels are looked at all day. A million states are merged in 0.3 s, so that
// a unit that sends a little every quarter of an hour does no harm. Monthly states are kept
// by the year, so that those which are over stay settled.
func currentTable(s *feed.Spec) table {
	t := table{
		name:     s.CurrentTable(),
		engine:   "ReplacingMergeTree(" + feed.ColVersion + ", " + feed.ColDeleted + ")",
		order:    s.Key(),
		unit:     ofUnit("reporting_unit"),
		comment:  s.En + ": the newest version of each record; read it with FINAL",
		settings: "min_age_to_force_merge_seconds = 600, min_age_to_force_merge_on_partition_only = 1",
	}
	if s.KeyHasDate() {
		t.partition = "toYear(effective_from)"
	}
	for _, c := range s.Columns() {
		if c.Current {
			t.columns = append(t.columns, column{c.Name, c.ClickHouse, codec(c)})
		}
	}
	return t
}

// currentView stands where the rows are.
func currentView(s *feed.Spec, l Layout) view {
	t := currentTable(s)
	return view{
		name:   s.Feed + "_to_current",
		target: l.held(s.CurrentTable()),
		query:  "SELECT " + quoteNames(t.names()) + "\nFROM " + quoteName(l.held(s.HistoryTable())),
	}
}

func (t *table) names() []string {
	out := make([]string, 0, len(t.columns))
	for _, c := range t.columns {
		if !c.materialized() {
			out = append(out, c.name)
		}
	}
	return out
}

// outcomeColumns are the counts of a ledger row or a receipt part, in the order
// of flow.Outcome.
func outcomeColumns() []column {
	out := []column{{"received", "Int64", ""}}
	for _, name := range outcomeNames() {
		out = append(out, column{name, "Int64", ""})
	}
	return out
}

const code = "LowCardinality(String)"

// position is a span's place; every system table that speaks of spans begins
// with it.
var position = []column{{"topic", code, ""}, {"incarnation", "Int32", ""}, {"partition", "Int32", ""}}

func columns(groups ...[]column) []column {
	var out []column
	for _, g := range groups {
		out = append(out, g...)
	}
	return out
}

// ofTopic names the unit of a row that says only its topic.
const ofTopic = "cityHash64(substringIndex(topic, '.', -1))"

// ofUnit spreads rows by the unit in a column.
func ofUnit(column string) string { return "cityHash64(" + column + ")" }

// systemTables are the sink's own tables. Each is idempotent by its key: a row
// written twice is one row under FINAL.
func systemTables() []table {
	return append([]table{
		{
			name: "quarantine",
			columns: columns(position, []column{
				{"offset", "Int64", ""}, {"row", "Int32", ""}, {"epoch", "UInt32", ""},
				{"unit", code, ""}, {"feed", code, ""}, {"batch_id", "String", ""}, {"record_id", "String", ""},
				{"rule", code, ""}, {"fields", "Array(" + code + ")", ""}, {"rules", "Array(" + code + ")", ""},
				{"kept", "String", "CODEC(ZSTD(1))"}, {"arrived_at", moment, ""},
			}),
			engine:  "ReplacingMergeTree(epoch)",
			unit:    ofTopic,
			order:   []string{"topic", "incarnation", "partition", "offset", "row"},
			comment: "Refused records by position, with their findings and the fields that are not personal",
		},
		{
			name: "ledger",
			columns: columns(position, []column{
				{"first_offset", "Int64", ""}, {"last_offset", "Int64", ""}, {"epoch", "UInt32", ""},
				{"run", code, ""}, {"kind", code, ""}, {"worker", code, ""}, {"revision", "UInt16", ""},
			}, outcomeColumns(), []column{
				{"arrived_at", moment, ""}, {"last_sum", "UInt64", ""}, {"reason", "String", ""}, {"written_at", moment, ""},
			}),
			engine:  "ReplacingMergeTree",
			unit:    ofTopic,
			order:   []string{"topic", "incarnation", "partition", "run", "epoch", "first_offset"},
			comment: "One row a durable cut, written after everything that was in it; kind is cut, skip, or replay for what a replay changed",
		},
		{
			name: "claims",
			columns: columns(position, []column{
				{"epoch", "UInt32", ""}, {"claim", "UUID", ""}, {"worker", code, ""}, {"claimed_at", moment, ""},
			}),
			engine:  "ReplacingMergeTree",
			unit:    ofTopic,
			order:   []string{"topic", "incarnation", "partition", "epoch", "claim"},
			comment: "Who took a partition over; the highest epoch owns it",
		},
		{
			name: "incarnations",
			columns: []column{
				{"topic", code, ""}, {"incarnation", "Int32", ""}, {"worker", code, ""}, {"written_at", moment, ""},
			},
			engine:  "ReplacingMergeTree",
			unit:    ofTopic,
			order:   []string{"topic", "incarnation"},
			comment: "Topics that an operator declared to be made anew; without a row the incarnation is 0",
		},
		{
			name: "receipt_parts",
			columns: columns([]column{{"unit", code, ""}, {"feed", code, ""}, {"batch_id", "String", ""}}, position, []column{
				{"first_offset", "Int64", ""}, {"epoch", "UInt32", ""},
			}, outcomeColumns(), []column{
				{"rules", "Map(" + code + ", Int64)", ""}, {"warnings", "Map(" + code + ", Int64)", ""},
				{"declared", "Int64", ""}, {"chunks", "Array(Int32)", ""}, {"sha256", "String", ""}, {"arrived_at", moment, ""},
				// Beside chunks, one for one: how many records the message held, and where it lies.
				{"chunk_rows", "Array(Int64)", ""}, {"chunk_offsets", "Array(Int64)", ""},
				// Records that the partitioner sends to another partition, and how many the
				// topic had: see recount.
				{"astray", "Int64", ""}, {"partitions", "Int32", ""},
			}),
			engine:  "ReplacingMergeTree",
			unit:    ofUnit("unit"),
			order:   []string{"unit", "feed", "batch_id", "topic", "incarnation", "partition", "first_offset", "epoch"},
			comment: "What one cut did to one batch; it counts only where the cut is in ledger_effective",
		},
		replayedTable(),
		decisionsTable(),
		erasedTable(),
		{
			name: "schema_migrations",
			columns: []column{
				{"object", "String", ""}, {"statement", "String", "CODEC(ZSTD(1))"}, {"worker", "String", ""}, {"applied_at", moment, ""},
			},
			engine:  "MergeTree",
			order:   []string{"applied_at", "object"},
			comment: "Every statement by which a migration changed the database",
		},
	}, publishedTables()...)
}

// effective is the ledger without the rows that a takeover made void: a row is
// dropped when a row of a higher epoch starts at or before its last offset,
// because the newer owner wrote those offsets again. The argument restricts it
// to some topics before the window, which the view cannot do.
func effective(where string) string {
	return fmt.Sprintf(`SELECT * EXCEPT (_taken_over)
FROM
(
    SELECT *, ifNull(min(toNullable(first_offset)) OVER (
        PARTITION BY topic, incarnation, partition
        ORDER BY epoch DESC RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 9223372036854775807) AS _taken_over
    FROM ledger FINAL
    WHERE %s
)
WHERE _taken_over > last_offset`, where)
}

const (
	liveRows   = "run = 'live'"
	liveTopics = "run = 'live' AND topic IN {topics:Array(String)}"
)

func systemViews(c *feed.Catalogue) []view {
	var balance []string
	for _, c := range outcomeColumns() {
		balance = append(balance, "sum("+c.name+") AS "+c.name)
	}
	return []view{
		{name: "ledger_effective", query: effective(liveRows)},
		{name: "replayed_effective", query: replayedEffective("ledger_effective")},
		{name: "quarantine_open", query: quarantineOpen},
		{name: "receipt_parts_effective", query: partsEffective("1", "ledger_effective")},
		{name: "receipts", query: receiptsOf("receipt_parts_effective")},
		{name: "recount", query: recount(c)},
		{name: "balance", query: "SELECT unit, feed, " + strings.Join(balance, ", ") + ",\n    received - (" +
			strings.Join(outcomeNames(), " + ") + ") AS unexplained\nFROM\n(\n    SELECT unit, feed, " + counts +
			" FROM receipt_parts_effective\n    UNION ALL\n    SELECT unit, feed, " + counts + " FROM recount\n)\nGROUP BY unit, feed"},
	}
}

// recount is what the ledger counts too much as stored, and too little as a
// duplicate. It happens when one record comes in two partitions, since a unit has
// a partitioner of its own or partitions were added, and each is read before the
// other's is known: both count it, and it is one row. What is stored of such a unit is
// therefore counted from the rows, at the positions that the ledger accounts for. Of
// what a replay put there only that counts which it turned from a refusal.
func recount(c *feed.Catalogue) string {
	const units = "(SELECT unit FROM receipt_parts GROUP BY unit HAVING sum(astray) > 0 OR uniqExactIf(partitions, partitions > 0) > 1)"
	// There is none as a rule. The server reads a number once, before all else, and
	// where it makes a condition false nothing else is read.
	const some = "(SELECT count() FROM " + units + ") > 0 AND "
	var less, more, sums, all []string
	for o := range flow.Outcomes {
		name := o.String()
		switch {
		case o.Stored():
			less = append(less, "-sum("+name+") AS n_"+name)
			more = append(more, "toInt64(countIf(outcome = '"+name+"')) AS n_"+name)
			sums = append(sums, "sum(n_"+name+") AS "+name)
			all = append(all, "sum(n_"+name+")")
		case o == flow.Duplicate:
			sums = append(sums, "-twice AS "+name)
		default:
			sums = append(sums, "toInt64(0) AS "+name)
		}
	}
	const at = "topic, incarnation, partition, offset, row"
	// An erasure did not always say what its rows had been counted as.
	rows := []string{"SELECT toString(unit) AS unit, toString(feed) AS feed, if(erased.outcome = '', '" + flow.New.String() + "', toString(erased.outcome)) AS outcome, toString(topic) AS topic, incarnation, partition, offset, row FROM erased FINAL\n" +
		"WHERE " + some + "topic != '' AND part = 0 AND unit IN " + units}
	for _, s := range c.Feeds {
		rows = append(rows, "SELECT toString(reporting_unit), "+quoteText(s.Feed)+", toString(_outcome), toString(_topic), _incarnation, _partition, _offset, _row FROM "+quoteName(s.HistoryTable())+" FINAL\n"+
			"WHERE "+some+"_part = 0 AND reporting_unit IN "+units)
	}
	return `SELECT unit, feed, ` + strings.Join(all, " + ") + ` AS twice, toInt64(0) AS received, ` + strings.Join(sums, ", ") + `
FROM
(
SELECT toString(unit) AS unit, toString(feed) AS feed, ` + strings.Join(less, ", ") + `
FROM receipt_parts_effective WHERE ` + some + `unit IN ` + units + `
GROUP BY unit, feed
UNION ALL
SELECT unit, feed, ` + strings.Join(more, ", ") + `
FROM
(
` + strings.Join(rows, "\nUNION ALL\n") + `
) AS r
INNER JOIN (SELECT toString(topic) AS topic, incarnation, partition, max(last_offset) AS last FROM ledger_effective GROUP BY topic, incarnation, partition) AS l
ON r.topic = l.topic AND r.incarnation = l.incarnation AND r.partition = l.partition
WHERE ` + some + `offset <= last
AND (` + at + `) NOT IN (SELECT toString(topic), incarnation, partition, offset, row FROM quarantine_open WHERE unit IN ` + units + `)
AND NOT (outcome = '` + flow.Reprocessed.String() + `' AND (` + at + `) IN (SELECT toString(topic), incarnation, partition, offset, row FROM replayed WHERE kind = '` + Again + `'))
GROUP BY unit, feed
)
GROUP BY unit, feed
HAVING twice < 0`
}

// partsEffective are the receipt parts of cuts that the ledger holds, and what
// replays changed of them. The
// arguments restrict both sides before they are joined, which a view cannot do.
func partsEffective(where, ledger string) string {
	return fmt.Sprintf(`SELECT p.*, l.written_at AS written_at
FROM (SELECT * FROM receipt_parts FINAL WHERE %s) AS p
SEMI LEFT JOIN %s AS l
ON p.topic = l.topic AND p.incarnation = l.incarnation AND p.partition = l.partition AND p.first_offset = l.first_offset AND p.epoch = l.epoch
UNION ALL
SELECT * FROM (%s)
WHERE %s`, where, ledger, replayedParts(ledger), where)
}

// receiptsOf adds receipt parts up. Chunks are numbered from 0 or 1. A chunk may
// come twice, so a batch is complete when the rows of its chunks, each counted
// once, are those it declared; only a batch without chunks is counted by what was
// received. Missing chunks are given as ranges: a header may name any number, and
// a list of all below it has no bound.
func receiptsOf(parts string) string {
	var sums []string
	for _, c := range outcomeColumns() {
		sums = append(sums, "sum(p."+c.name+") AS "+c.name)
	}
	return `SELECT * EXCEPT (_from, _to, _chunks), _chunks.1 AS chunks, arraySum(_chunks.2) AS chunk_rows,
    if(empty(chunks) OR chunk_rows = 0, received, chunk_rows) AS accounted,
    multiIf(declared = 0, 'undeclared', accounted >= declared AND empty(missing_from), 'complete', 'partial') AS status
FROM (SELECT *,
    arrayFilter((a, b) -> a <= b, arrayMap(n -> n + 1, arraySlice(arrayConcat([toInt64(0)], _chunks.1), 1, length(_chunks.1))) AS _from, arrayMap(n -> toInt64(n) - 1, _chunks.1) AS _to) AS missing_from,
    arrayFilter((b, a) -> a <= b, _to, _from) AS missing_to
FROM
(
    SELECT unit, feed, batch_id,
        ` + strings.Join(sums, ",\n        ") + `,
        mapFilter((k, n) -> n != 0, sumMap(p.rules)) AS rules, sumMap(p.warnings) AS warnings,
        max(p.declared) AS declared, maxMap(p.chunks, arrayResize(p.chunk_rows, length(p.chunks))) AS _chunks,
        max(p.sha256) AS sha256, uniqExactIf(p.sha256, p.sha256 != '') > 1 AS sha256_differs,
        min(p.arrived_at) AS first_arrived_at, max(p.arrived_at) AS last_arrived_at, max(p.written_at) AS as_of
    FROM ` + parts + ` AS p
    GROUP BY unit, feed, batch_id
))`
}

// dimensionTables are made from the catalogue and replaced whole by a migration.
func dimensionTables() []table {
	const text = "String"
	return []table{
		{
			name: "dim_unit",
			columns: []column{
				{"code", code, ""}, {"zh", text, ""}, {"short_zh", text, ""}, {"abbr", text, ""}, {"en", text, ""}, {"iso", text, ""},
				{"type", code, ""}, {"region", code, ""}, {"reports", "Bool", ""}, {"since", "Date32", ""}, {"until", "Date32", ""},
				{"tile_row", "Int32", ""}, {"tile_col", "Int32", ""}, {"population_2020", "Int64", ""}, {"aliases", "Array(String)", ""},
			},
			made: true, engine: "MergeTree", order: []string{"code"}, comment: "Reporting units; until is not included",
		},
		{
			name: "dim_division",
			columns: []column{
				{"code", text, ""}, {"valid_from", "Date32", ""}, {"valid_until", "Date32", ""}, {"name", text, ""},
				{"level", code, ""}, {"parent", text, ""}, {"successor", text, ""},
			},
			made: true, engine: "MergeTree", order: []string{"code", "valid_from"}, comment: "GB/T 2260 codes by date; valid_until is not included",
		},
		{
			name: "dim_code",
			columns: []column{
				{"list", code, ""}, {"code", text, ""}, {"position", "Int32", ""}, {"zh", text, ""}, {"en", text, ""},
				{"aliases", "Array(String)", ""}, {"extra", "Map(" + code + ", String)", ""},
			},
			made: true, engine: "MergeTree", order: []string{"list", "code"}, comment: "Code lists",
		},
		{
			name: "dim_target",
			columns: []column{
				{"target_id", text, ""}, {"indicator_id", text, ""}, {"scope", text, ""}, {"value", "Float64", ""}, {"unit", text, ""},
				{"due", text, ""}, {"source", text, ""}, {"status", text, ""}, {"verified", "Bool", ""},
			},
			made: true, engine: "MergeTree", order: []string{"target_id"}, comment: "Targets; one that is not verified is shown with a mark",
		},
		{
			name: "dim_calendar",
			columns: []column{
				{"feed", code, ""}, {"rhythm", code, ""}, {"period", "Date32", ""}, {"due_at", moment, ""},
			},
			made: true, engine: "MergeTree", order: []string{"feed", "period"},
			comment: "When the records of a period are due, for feeds with a rhythm and years whose working days are known; units report within dim_unit.since and until",
		},
	}
}

// DDL lists the statements that make a feed's tables and the view between them,
// as `duiwu show ddl` prints them.
func DDL(s *feed.Spec, l Layout) []string {
	var out []string
	for _, t := range append(l.tables(historyTable(s)), l.tables(currentTable(s))...) {
		out = append(out, t.create(l))
	}
	return append(out, currentView(s, l).create(l))
}

// SystemDDL lists the statements that make the tables and views that belong to
// no single feed. They come after DDL of all feeds, since one view reads their
// histories.
func SystemDDL(c *feed.Catalogue, l Layout) []string {
	var out []string
	for _, t := range append(systemTables(), dimensionTables()...) {
		for _, t := range l.tables(t) {
			out = append(out, t.create(l))
		}
	}
	for _, v := range systemViews(c) {
		out = append(out, v.create(l))
	}
	return out
}
