package catalogue

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/worklist"
)

// Query asks for one indicator on some days.
type Query struct {
	Indicator *Indicator
	// Dates are the days on which the figure is taken, ascending.
	Dates []time.Time
	// Split is a dimension of the indicator, or empty.
	Split string
	// Codes restricts Split; empty means every code.
	Codes []string
	// Units are the reporting units asked for.
	Units []string
	// Now is the moment against which freshness is measured.
	Now time.Time
	// Known reads the tables as they stood at a moment; zero means as they are.
	Known time.Time
	// People says which tokens are one person; nil when each is one of its own.
	People *worklist.People
	// Hashes answers a statement of one column h of hashes that many queries ask for,
	// such as those of the records that a newer one of the same thing has replaced;
	// nothing when it should be part of the query. Nil answers nothing.
	Hashes func(Statement) (hashes []uint64, ok bool)
}

// Statement is a query in ClickHouse's language. Every value that comes from a
// user stands in Params and reaches the server as a typed query parameter; the
// text holds only names of the feed contract, and hashes.
//
// Its columns are d Date32, unit String, cat String, n Nullable(Float64), the
// numerator, m Nullable(Float64), the denominator, and source UInt64, the rows
// counted. There is one row per day, unit and code; the nation is folded from
// them, so that provinces and nation cannot differ. Only a median, which no fold
// gives, has rows of the nation, with an empty unit.
type Statement struct {
	SQL    string
	Params map[string]string
	// Tables are those that it reads, nil when it also reads what is no table of a feed.
	Tables []string
}

var tableRead = regexp.MustCompile(`\bFROM (\w+)`)

// tables finds what a statement reads.
func (c *Catalogue) tables(sql string) []string {
	var out []string
	for _, m := range tableRead.FindAllStringSubmatch(sql, -1) {
		if s := c.Contract.Feed(strings.TrimSuffix(m[1], "_history")); s == nil || m[1] != s.CurrentTable() && m[1] != s.HistoryTable() {
			return nil
		}
		out = append(out, m[1])
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// settings of every statement. A quarter of the time in which a server reads a long one
// goes into comparing its conditions with each other, of which nothing comes.
const settings = "join_use_nulls = 1, optimize_and_compare_chain = 0"

// Compile turns a query into its statement.
func (c *Catalogue) Compile(q Query) (Statement, error) {
	in := q.Indicator
	if q.Split == County && (!in.ByCounty() || len(q.Codes) == 0) {
		return Statement{}, fmt.Errorf("cannot split %s by county: it is not of that grain, or no county is named", in.ID)
	}
	if q.Split != "" && q.Split != County && (q.Split == Region || !slices.Contains(in.Dimensions, q.Split)) {
		return Statement{}, fmt.Errorf("cannot split %s by %s: its dimensions are %v", in.ID, q.Split, in.Dimensions)
	}
	if len(q.Dates) == 0 || len(q.Units) == 0 {
		return Statement{}, fmt.Errorf("cannot compile %s: no day or no unit is asked for", in.ID)
	}
	k := &compiler{c: c, in: in, q: q, split: q.Split, one: len(q.Dates) == 1, params: map[string]string{}}
	days := make([]string, len(q.Dates))
	for i, d := range q.Dates {
		days[i] = d.Format(time.DateOnly)
	}
	k.params["dates"] = array(days)
	k.params["units"] = array(q.Units)
	k.params["codes"] = array(k.codes())
	if len(in.Categories) > 0 {
		k.params["categories"] = array(in.Categories)
	}
	if !q.Known.IsZero() {
		k.params["known"] = q.Known.In(feed.Shanghai).Format(feed.KnownFormat)
	}
	maps.Copy(k.params, q.People.Params())
	body, err := k.body()
	if err != nil {
		return Statement{}, err
	}
	sql := "SELECT d, unit, cat, n, m, source\nFROM (\n" + indent(body) + "\n)\nWHERE unit IN {units:Array(String)}" + k.own + "\nORDER BY d, unit, cat\nSETTINGS " + settings + k.settings
	return Statement{SQL: sql, Params: k.params, Tables: c.tables(body + k.asked)}, nil
}

type compiler struct {
	c  *Catalogue
	in *Indicator
	q  Query
	// split is the dimension that splits what a leaf counts; empty when there is
	// none, or when each code has a measure of its own.
	split string
	// one says that a single day is asked for, which has shorter ways.
	one    bool
	params map[string]string
	// own lets rows of the nation through.
	own string
	// asked are the statements that Hashes has answered.
	asked string
	// settings are those that this statement needs beside the ones of every statement.
	settings string
}

// param stores a value under a name that is not taken and returns the reference.
func (k *compiler) param(name, typ, value string) string {
	for i := 1; ; i++ {
		n := name
		if i > 1 {
			n += "_" + strconv.Itoa(i)
		}
		if have, taken := k.params[n]; !taken || have == value {
			k.params[n] = value
			return "{" + n + ":" + typ + "}"
		}
	}
}

func (k *compiler) list(name string, values []string) string {
	return k.param(name, "Array(String)", array(values))
}

func (k *compiler) text(name, value string) string { return k.param(name, "String", value) }

// codes lists the codes of the split; one empty code when there is none.
func (k *compiler) codes() []string {
	switch {
	case k.q.Split == "":
		return []string{""}
	case len(k.q.Codes) > 0:
		return k.q.Codes
	}
	return k.c.Codes(k.in, k.q.Split)
}

// Codes lists the codes by which a dimension splits an indicator.
func (c *Catalogue) Codes(in *Indicator, dimension string) []string {
	switch dimension {
	case "worker_category":
		return in.Categories
	case "feed":
		if feeds := in.measuredFeeds(); len(feeds) > 0 {
			return feeds
		}
		var out []string
		for _, s := range c.Contract.Feeds {
			out = append(out, s.Feed)
		}
		return out
	case "purchase_mode":
		out := make([]string, 0, len(in.Measure.Parts))
		for _, p := range in.Measure.Parts {
			out = append(out, p.Code)
		}
		return out
	case "org_type":
		return in.Measure.Top.Types
	case OtherUnit:
		var out []string
		for _, u := range c.Contract.Units {
			if u.Reports {
				out = append(out, u.Code)
			}
		}
		return out
	}
	all := c.Values(dimension)
	if by := in.Measure.Splits[dimension]; by != nil && by["*"] == nil {
		// Codes without an override of their own are not asked of this indicator.
		return slices.DeleteFunc(slices.Clone(all), func(code string) bool { _, ok := by[code]; return !ok })
	}
	return all
}

// Of returns the measure under a code of a dimension.
func (in *Indicator) Of(split, code string) (Measure, Format, Text) {
	m, f, u := in.Measure, in.Format, in.Unit
	by := in.Measure.Splits[split]
	o := by[code]
	if o == nil {
		o = by["*"]
	}
	if o == nil {
		return m, f, u
	}
	if o.Kind != "" {
		m.Kind, m.Scale = o.Kind, 1
	}
	if o.Scale != 0 {
		m.Scale = o.Scale
	}
	if o.Fold != "" {
		m.Fold = o.Fold
	}
	if o.Top != nil {
		m.Top = o.Top
	}
	if o.Bottom != nil {
		m.Bottom = o.Bottom
	}
	if o.Format != nil {
		f = *o.Format
	}
	if o.Unit != nil {
		u = *o.Unit
	}
	return m, f, u
}

// body compiles the measure, or the measures of the codes.
func (k *compiler) body() (string, error) {
	by := k.in.Measure.Splits[k.q.Split]
	if by == nil || by["*"] != nil {
		m, _, _ := k.in.Of(k.q.Split, "*")
		return k.measure(&m)
	}
	// Codes that differ only in how units are folded share one statement.
	k.split = ""
	var bodies []string
	codes := map[string][]string{}
	for _, code := range k.codes() {
		m, _, _ := k.in.Of(k.q.Split, code)
		saved := k.params["codes"]
		k.params["codes"] = array([]string{""})
		b, err := k.measure(&m)
		k.params["codes"] = saved
		if err != nil {
			return "", err
		}
		b = strings.ReplaceAll(b, "{codes:Array(String)}", "['']")
		if codes[b] == nil {
			bodies = append(bodies, b)
		}
		codes[b] = append(codes[b], code)
	}
	for i, b := range bodies {
		bodies[i] = "SELECT d, unit, arrayJoin(" + k.list("codes_of", codes[b]) + ") AS cat, n, m, source\nFROM (\n" + indent(b) + "\n)"
	}
	return strings.Join(bodies, "\nUNION ALL\n"), nil
}

func (k *compiler) measure(m *Measure) (string, error) {
	switch m.Kind {
	case "count":
		body, err := k.leaf(m.Top)
		return "SELECT d, unit, cat, toNullable(v) AS n, CAST(NULL, 'Nullable(Float64)') AS m, source\nFROM (\n" + indent(body) + "\n)", err
	case "ratio", "balance":
		return k.ratio(m)
	case "mix":
		return k.mix(m), nil
	case "median":
		return k.median(m)
	case "freshness":
		return k.freshness(m), nil
	}
	return "", fmt.Errorf("cannot compile %s: unknown measure kind %q", k.in.ID, m.Kind)
}

func (k *compiler) leaf(l *Leaf) (string, error) {
	switch l.Kind {
	case "stock_persons":
		if l.Months > 0 {
			return k.meanStock(l), nil
		}
		return k.stock(l)
	case "stock_change":
		return k.change(), nil
	case "moves":
		return k.moves(l), nil
	case "leavers":
		return k.leavers(l), nil
	case "context":
		return k.context(l.Field), nil
	case "staffing_gap":
		return k.gap(l), nil
	case "active_orgs":
		return k.orgs(l), nil
	case "records":
		return k.records(l), nil
	case "amounts":
		return k.onGrid("SELECT d, unit, '' AS cat, sum(v) AS v, sum(source) AS source\nFROM (\n"+indent(k.amounts(k.in.Measure.Parts))+"\n)\nGROUP BY d, unit", partFeeds(k.in.Measure.Parts)...), nil
	case "covered_counties":
		return k.covered(l), nil
	case "batches":
		return k.batches(l)
	case "receipts":
		return k.receipts(l), nil
	case "reporting_units":
		factor := k.param("factor", "Float64", number(l.Factor))
		return "SELECT d, unit, cat, " + factor + " AS v, toUInt64(0) AS source\nFROM (\n" + indent(k.grid(l.Feeds...)) + "\n)", nil
	}
	return "", fmt.Errorf("cannot compile %s: unknown leaf kind %q", k.in.ID, l.Kind)
}

// whole compiles a leaf as if there were no split.
func (k *compiler) whole(l *Leaf) (string, error) {
	split := k.split
	k.split = ""
	body, err := k.leaf(l)
	k.split = split
	return strings.ReplaceAll(body, "{codes:Array(String)}", "['']"), err
}

// splits says whether a leaf itself can be split; others repeat for every code.
func (k *compiler) splits(l *Leaf) bool {
	switch l.Kind {
	case "context", "staffing_gap", "target", "amounts", "reporting_units", "covered_counties":
		return false
	}
	return true
}

func (k *compiler) ratio(m *Measure) (string, error) {
	if m.Bottom.Kind == "target" {
		// What is asked of the nation is asked of no province: the fold divides.
		top, err := k.leaf(m.Top)
		return "SELECT d, unit, cat, toNullable(v) AS n, CAST(NULL, 'Nullable(Float64)') AS m, source\nFROM (\n" + indent(top) + "\n)", err
	}
	apart := slices.Contains(m.Whole, k.split)
	if !apart && m.Top.Kind == "stock_persons" && m.Bottom.Kind == "stock_persons" && m.Bottom.Months == 0 {
		return k.share(m.Top, m.Bottom)
	}
	switch m.Top.Kind {
	case "versions":
		return k.versions(m.Top.Feeds), nil
	case "control_total":
		return k.control(m.Top.Field), nil
	}
	kind, on := "INNER", "t.d = b.d AND t.unit = b.unit"
	if m.Unpaired == "keep" {
		kind = "LEFT"
	}
	top, err := k.leaf(m.Top)
	if err != nil {
		return "", err
	}
	var bottom string
	if k.split != "" && (apart || !k.splits(m.Bottom)) {
		bottom, err = k.whole(m.Bottom)
	} else {
		bottom, err = k.leaf(m.Bottom)
		if k.split != "" {
			on += " AND t.cat = b.cat"
		}
	}
	return "SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source\nFROM (\n" +
		indent(top) + "\n) AS t\n" + kind + " JOIN (\n" + indent(bottom) + "\n) AS b ON " + on, err
}

// table names the rows of a feed as they stand, or as they stood, each with the
// person whom it is about as the worklist has it. Only the columns named can be
// read of what stood.
func (k *compiler) table(name string, columns ...string) string {
	return k.joined(name, k.rows(name, "", columns...))
}

// begun is table less the states that begin after the last of the days.
func (k *compiler) begun(name string, columns ...string) string {
	const by = "effective_from <= arrayMax({dates:Array(Date32)})"
	if k.c.Contract.Feed(name).KeyHasDate() {
		return k.joined(name, k.rows(name, by, columns...)) + " WHERE " + by
	}
	return k.table(name, columns...) + " WHERE " + by
}

// lately is begun where only the newest state of a key counts: nearly every key has
// one of the last months, and older ones are read only of the others. may is what one
// of the states of a key must meet on their own for the key to be of interest, among a
// statement of the hashes of those that are. A key is told by 64 bits here.
func (k *compiler) lately(name, key, may, among string, columns ...string) string {
	if !k.q.Known.IsZero() {
		return k.begun(name, columns...)
	}
	columns = append([]string{"reporting_unit", "effective_from", "_version"}, columns...)
	slices.Sort(columns)
	rows := k.table(name, columns...)
	read := "SELECT " + strings.Join(slices.Compact(columns), ", ") + " FROM " + rows + " WHERE "
	const since = "addMonths(arrayMin({dates:Array(Date32)}), -3)"
	hash := "xxh3(" + key + ")"
	newer := " FROM " + rows + " WHERE effective_from > " + since + " AND effective_from <= "
	recent := read + "effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > " + since
	older := "effective_from <= " + since
	decided := "SELECT " + hash + newer + "arrayMin({dates:Array(Date32)})"
	if k.c.Contract.Feed(name).Index("purchaser_uscc") >= 0 {
		// A newer state of another unit does not settle what the purchaser's own says.
		decided += " AND " + own
		may = "(" + may + " OR " + hash + " IN (SELECT " + hash + newer + "arrayMax({dates:Array(Date32)})))"
	}
	if among != "" {
		may = hash + " IN (SELECT h FROM (" + among + ") WHERE h NOT IN (" + decided + "))"
	} else {
		may += " AND " + hash + " NOT IN (" + decided + ")"
	}
	list, some := k.some("SELECT DISTINCT " + hash + " AS h FROM " + k.joined(name, k.held(name)) + " WHERE " + older + " AND " + may)
	if !some {
		return "(\n  " + recent + "\n)"
	}
	return "(\n  " + recent + "\n  UNION ALL\n  " + read + older + " AND " + hash + " IN " + list + "\n)"
}

// first is the condition that no other record of the same natural key stands before
// this one; empty when it is known to hold for all.
func (k *compiler) first(name string, key []string, by ...string) string {
	s := k.c.Contract.Feed(name)
	row, natural := strings.Join(s.Key(), ", "), strings.Join(key, ", ")
	held := k.joined(name, k.held(name))
	// Versions that FINAL leaves out make a key one of several too; that costs only time,
	// but in a history they are many. Sorting hashes takes three fifths of the time that grouping
	// by them takes.
	several := worklist.Repeated("xxh3("+natural+")", held)
	if !k.q.Known.IsZero() {
		several = "SELECT xxh3(" + natural + ") AS h FROM " + held + " GROUP BY h HAVING min(xxh3(" + row + ")) != max(xxh3(" + row + "))"
	}
	list, some := k.some(several)
	if !some {
		return ""
	}
	list, some = k.some("SELECT arrayJoin(arrayPopFront(arrayMap(x -> x.2, arrayReverseSort(groupArray((" + order(by...) + ", xxh3(" + row + "))))))) AS h\nFROM " +
		k.table(name, key...) + "\nWHERE (" + row + ") IN (SELECT " + row + " FROM " + held + " WHERE xxh3(" + natural + ") IN " + list + ")\nGROUP BY " + natural)
	if !some {
		return ""
	}
	return "xxh3(" + row + ") NOT IN " + list
}

// some is a list of hashes that a statement finds, as what stands after IN, and
// whether there is any: what Query.Hashes knows of it, else the statement itself.
func (k *compiler) some(sql string) (list string, some bool) {
	if k.q.Hashes != nil {
		l := Statement{SQL: sql, Params: map[string]string{}, Tables: k.c.tables(sql)}
		for p, v := range k.params {
			if strings.Contains(sql, "{"+p+":") {
				l.Params[p] = v
			}
		}
		if hashes, ok := k.q.Hashes(l); ok {
			k.asked += sql + "\n"
			text := make([]string, len(hashes))
			for i, h := range hashes {
				text[i] = strconv.FormatUint(h, 10)
			}
			// Not a parameter: those travel in an address, which may not be as long.
			return "(" + strings.Join(text, ", ") + ")", len(hashes) > 0
		}
	}
	return "(\n" + indent(sql) + "\n)", true
}

// held names the table that rows reads, with every version that lies in it.
func (k *compiler) held(name string) string {
	s := k.c.Contract.Feed(name)
	if k.q.Known.IsZero() {
		return s.CurrentTable()
	}
	return s.HistoryTable()
}

func (k *compiler) joined(name, rows string) string {
	if !k.q.People.Joins() || k.c.Contract.Feed(name).Index("id_number") < 0 {
		return rows
	}
	token := k.columnOf(name, "id_number")
	return "(SELECT * REPLACE (" + k.q.People.Person(token, "reporting_unit") + " AS " + token + ") FROM " + rows + ")"
}

// rows are those of the current table, or the newest version of each record among
// those that had arrived, unless it is a void. Of a record to which nothing has come
// since, that is its current row: only the others are looked up in the history. A
// condition on the key spares what the caller will not read.
func (k *compiler) rows(name, condition string, columns ...string) string {
	s := k.c.Contract.Feed(name)
	if k.q.Known.IsZero() {
		return s.CurrentTable() + " FINAL"
	}
	if condition != "" {
		condition = " AND " + condition
	}
	key := s.Key()
	cols := []string{"_version"}
	for _, c := range columns {
		if !slices.Contains(key, c) && !slices.Contains(cols, c) {
			cols = append(cols, c)
		}
	}
	out, picked := slices.Clone(key), slices.Clone(key)
	for i, c := range cols {
		// The inner names differ from the outer ones: an alias would shadow a column.
		out = append(out, fmt.Sprintf("c%d AS %s", i+1, c))
		picked = append(picked, k.latest(name, c)+fmt.Sprintf(" AS c%d", i+1))
	}
	since := "(SELECT " + hashed(key) + " FROM " + s.HistoryTable() + " WHERE _arrived_at > " + feed.KnownAt + condition + ")"
	return "(\n  SELECT " + strings.Join(append(slices.Clone(key), cols...), ", ") + "\n  FROM " + s.CurrentTable() + " FINAL\n  WHERE (" + hashed(key) + ") NOT IN " + since + condition +
		"\n  UNION ALL\n  SELECT " + strings.Join(out, ", ") + "\n  FROM (\n    WITH _version AS _order\n    SELECT " + strings.Join(picked, ", ") + "\n    FROM " + s.HistoryTable() +
		"\n    WHERE " + k.known("") + " AND (" + hashed(key) + ") IN " + since + condition + "\n    GROUP BY " + strings.Join(key, ", ") + "\n    HAVING argMax(_is_deleted, _order) = 0\n  )\n)"
}

// columnOf is the column that holds a field's stored form.
func (k *compiler) columnOf(feedName, field string) string {
	s := k.c.Contract.Feed(feedName)
	return s.All()[s.Index(field)].Column()
}

// naturalKey lists the columns by which a feed's records are one thing.
func (k *compiler) naturalKey(s *feed.Spec) []string {
	var key []string
	if !s.National {
		key = append(key, "reporting_unit")
	}
	for _, n := range s.NaturalKey {
		key = append(key, k.columnOf(s.Feed, n))
	}
	return key
}

// grid holds every day and code for each unit that has ever sent a feed, so
// that a count of nothing is zero, and a unit that never reported has no row.
func (k *compiler) grid(feeds ...string) string {
	seen := make([]string, len(feeds))
	for i, f := range feeds {
		seen[i] = "SELECT DISTINCT toString(reporting_unit) AS unit FROM " + f
		if !k.q.Known.IsZero() {
			seen[i] += "_history" + k.known(" WHERE ")
		}
	}
	codes := "{codes:Array(String)}"
	if k.split == "" {
		codes = "['']"
	}
	return "SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(" + codes + ") AS cat\nFROM (SELECT DISTINCT unit FROM (" + strings.Join(seen, " UNION ALL ") + "))"
}

// onGrid lays counts (d, unit, cat, v, source) over the grid.
func (k *compiler) onGrid(counts string, feeds ...string) string {
	return k.overGrid("toFloat64(ifNull(c.v, 0)) AS v", counts, feeds)
}

// pairsOnGrid lays two counts at once (d, unit, cat, n, m, source) over the grid.
func (k *compiler) pairsOnGrid(counts string, feeds ...string) string {
	return k.overGrid("toFloat64(ifNull(c.n, 0)) AS n, toFloat64(ifNull(c.m, 0)) AS m", counts, feeds)
}

func (k *compiler) overGrid(values, counts string, feeds []string) string {
	return "SELECT g.d AS d, g.unit AS unit, g.cat AS cat, " + values + ", toUInt64(ifNull(c.source, 0)) AS source\n" +
		"FROM (\n" + indent(k.grid(feeds...)) + "\n) AS g\nLEFT JOIN (\n" + indent(counts) + "\n) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat"
}

// window is the first day of a window that ends on a day.
func window(name, day string) string {
	switch name {
	case "ever", "":
		return "toDate32('1900-01-01')"
	case "year_to_date":
		return "toDate32(toStartOfYear(" + day + "))"
	case "month_to_date":
		return "toDate32(toStartOfMonth(" + day + "))"
	}
	n, _ := windowMonths(name)
	return "addDays(addMonths(" + day + ", -" + strconv.Itoa(n) + "), 1)"
}

func windowMonths(name string) (int, bool) {
	text, ok := strings.CutSuffix(name, "_months")
	n, err := strconv.Atoi(text)
	return n, ok && err == nil && n > 0
}

func isWindow(name string) bool {
	_, months := windowMonths(name)
	return months || oneOf(name, "ever", "year_to_date", "month_to_date")
}

// freshness is about now, whatever the day.
func (k *compiler) freshness(m *Measure) string {
	k.params["now"] = k.q.Now.UTC().Format("2006-01-02 15:04:05")
	cat := "''"
	if k.split == "feed" {
		cat = "feed"
	}
	var parts []string
	for _, f := range m.Feeds {
		if k.split == "" || slices.Contains(k.codes(), f) {
			parts = append(parts, "SELECT '"+f+"' AS feed, toString(reporting_unit) AS unit, max(reported_at) AS last, count() AS source FROM "+f+" WHERE reported_at <= {now:DateTime64(3, 'UTC')} GROUP BY unit")
		}
	}
	return "SELECT {dates:Array(Date32)}[1] AS d, unit, " + cat + " AS cat,\n  toNullable(dateDiff('second', max(last), {now:DateTime64(3, 'UTC')}) / 3600) AS n, CAST(NULL, 'Nullable(Float64)') AS m, sum(source) AS source\nFROM (\n" +
		indent(strings.Join(parts, "\nUNION ALL\n")) + "\n)\nGROUP BY unit, cat"
}

// array writes a parameter of type Array.
func array(values []string) string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
	}
	return "[" + strings.Join(out, ",") + "]"
}

// numbers writes a parameter of type Array of numbers.
func numbers(values []float64) string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = number(v)
	}
	return "[" + strings.Join(out, ",") + "]"
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func indent(s string) string { return "  " + strings.ReplaceAll(s, "\n", "\n  ") }

// days returns the sorted union of some days, and for each list where its days
// stand in it, counted from 1.
func days(lists ...[]time.Time) (all []time.Time, at [][]int) {
	for _, l := range lists {
		all = append(all, l...)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Before(all[j]) })
	all = slices.CompactFunc(all, time.Time.Equal)
	for _, l := range lists {
		var pos []int
		for _, d := range l {
			i, _ := slices.BinarySearchFunc(all, d, time.Time.Compare)
			pos = append(pos, i+1)
		}
		at = append(at, pos)
	}
	return all, at
}

// monthsBack is a day and the ends of the months before it.
func monthsBack(d time.Time, n int) []time.Time {
	out := []time.Time{d}
	for i := 1; i < n; i++ {
		out = append(out, time.Date(d.Year(), d.Month()-time.Month(i)+1, 0, 0, 0, 0, 0, time.UTC))
	}
	return out
}

func dateList(all []time.Time) string {
	text := make([]string, len(all))
	for i, d := range all {
		text[i] = d.Format(time.DateOnly)
	}
	return array(text)
}
