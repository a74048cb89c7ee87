package catalogue

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/duiwu/duiwu/internal/feed"
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
}

// Statement is a query in ClickHouse's language. Every value that comes from a
// user stands in Params and reaches the server as a typed query parameter; the
// text holds only names of the feed contract.
//
// Its columns are d Date32, unit String, cat String, n Nullable(Float64), the
// numerator, m Nullable(Float64), the denominator, and source UInt64, the rows
// counted. There is one row per day, unit and code; the nation is folded from
// them, so that provinces and nation cannot differ.
type Statement struct {
	SQL    string
	Params map[string]string
}

// Compile turns a query into its statement.
func (c *Catalogue) Compile(q Query) (Statement, error) {
	in := q.Indicator
	if q.Split != "" && !slices.Contains(in.Dimensions, q.Split) {
		return Statement{}, fmt.Errorf("cannot split %s by %s: its dimensions are %v", in.ID, q.Split, in.Dimensions)
	}
	if len(q.Dates) == 0 || len(q.Units) == 0 {
		return Statement{}, fmt.Errorf("cannot compile %s: no day or no unit is asked for", in.ID)
	}
	k := &compiler{c: c, in: in, q: q, params: map[string]string{}}
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
	var body string
	switch m := &in.Measure; m.Kind {
	case "count":
		body = "SELECT d, unit, cat, toNullable(v) AS n, CAST(NULL, 'Nullable(Float64)') AS m, source\nFROM (\n" + indent(k.leaf(m.Top)) + "\n)"
	case "ratio":
		body = k.ratio(m)
	case "mix":
		body = k.mix(m)
	case "freshness":
		body = k.freshness(m)
	}
	sql := ""
	if k.persons {
		sql = "WITH persons AS (\n" + indent(persons) + "\n)\n"
	}
	sql += "SELECT d, unit, cat, n, m, source\nFROM (\n" + indent(body) + "\n)\nWHERE unit IN {units:Array(String)}\nORDER BY d, unit, cat\nSETTINGS join_use_nulls = 1"
	return Statement{SQL: sql, Params: k.params}, nil
}

type compiler struct {
	c       *Catalogue
	in      *Indicator
	q       Query
	params  map[string]string
	persons bool
}

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
		return in.Measure.Feeds
	case "purchase_mode":
		out := make([]string, 0, len(in.Measure.Parts))
		for _, p := range in.Measure.Parts {
			out = append(out, p.Code)
		}
		return out
	case "org_type":
		return in.Measure.Top.Types
	}
	l := c.Contract.List(dimension)
	out := make([]string, 0, len(l.Entries))
	for i := range l.Entries {
		out = append(out, l.Entries[i].Code)
	}
	return out
}

// persons holds one row per spell, with a flag per day that says whether it is
// its person's primary one: open on the day, and no better one is. The better is
// the later start, then the lower unit code, then the lower record id, so that
// the choice never depends on row order. Flags, and not one row per person and
// day, make twelve months about as quick as one day.
const persons = `SELECT person, tupleElement(s, 2) AS unit, tupleElement(s, 4) AS category, tupleElement(s, 5) AS county,
  arrayMap(d -> toUInt64(tupleElement(s, 6) <= d AND tupleElement(s, 7) > d
    AND NOT arrayExists(o -> o < s AND tupleElement(o, 6) <= d AND tupleElement(o, 7) > d, spells)), {dates:Array(Date32)}) AS here
FROM (
  SELECT id_number_token AS person,
    groupArray((-toInt32(start_on), toString(reporting_unit), record_id, toString(worker_category), toString(county_code), start_on, ifNull(end_on, toDate32('2299-12-31')))) AS spells
  FROM employment FINAL
  WHERE worker_category IN {categories:Array(String)}
  GROUP BY person
)
ARRAY JOIN spells AS s`

// byDay turns sums of flags (column flags) into one row per day.
func byDay(columns, flags string) string {
	return "SELECT d, " + columns + ", v, v AS source\nFROM (\n" + indent(flags) + "\n)\nARRAY JOIN {dates:Array(Date32)} AS d, flags AS v"
}

// grid holds every day and code for each unit that has ever sent a feed, so
// that a count of nothing is zero, and a unit that never reported has no row.
func grid(feeds ...string) string {
	seen := make([]string, len(feeds))
	for i, f := range feeds {
		seen[i] = "SELECT DISTINCT toString(reporting_unit) AS unit FROM " + f
	}
	return "SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin({codes:Array(String)}) AS cat\nFROM (SELECT DISTINCT unit FROM (" + strings.Join(seen, " UNION ALL ") + "))"
}

// onGrid lays counts (d, unit, cat, v, source) over the grid.
func onGrid(counts string, feeds ...string) string {
	return "SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source\n" +
		"FROM (\n" + indent(grid(feeds...)) + "\n) AS g\nLEFT JOIN (\n" + indent(counts) + "\n) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat"
}

// split says whether a leaf itself is split; others repeat for every code.
func (k *compiler) split(l *Leaf) bool {
	switch k.q.Split {
	case "":
		return true
	case "training_tier":
		return l.With != nil
	}
	return l.Kind != "context" && l.Kind != "staffing_gap"
}

func (k *compiler) cat(dimension, expr string) string {
	if k.q.Split == dimension {
		return "toString(" + expr + ")"
	}
	return "''"
}

func (k *compiler) leaf(l *Leaf) string {
	switch l.Kind {
	case "stock_persons":
		return k.stock(l)
	case "context":
		return context(l.Field)
	case "staffing_gap":
		return k.gap(l)
	}
	return k.orgs(l)
}

func (k *compiler) stock(l *Leaf) string {
	k.persons = true
	if l.With == nil {
		cat := k.cat("worker_category", "category")
		if !k.split(l) {
			cat = "arrayJoin({codes:Array(String)})"
		}
		return onGrid(byDay("unit, cat", "SELECT unit, "+cat+" AS cat, sumForEach(here) AS flags\nFROM persons\nGROUP BY unit, cat"), "employment")
	}
	cat := k.cat("worker_category", "p.category")
	if k.q.Split == "training_tier" {
		cat = "e.tier"
	}
	from := "toDate32('1900-01-01')"
	if l.With.Window == "year_to_date" {
		from = "toDate32(toStartOfYear(d))"
	}
	return onGrid(byDay("unit, cat", "SELECT p.unit AS unit, "+cat+" AS cat,\n  sumForEach(arrayMap((h, d) -> h AND arrayExists(x -> x <= d AND x >= "+from+", e.days), p.here, {dates:Array(Date32)})) AS flags\n"+
		"FROM persons AS p\nINNER JOIN (\n"+indent(k.with(l.With))+"\n) AS e ON p.person = e.person\nGROUP BY unit, cat"), "employment")
}

// with finds the persons who satisfy a condition, and the days of the records
// that do: person, tier, days.
func (k *compiler) with(w *With) string {
	s := k.c.Contract.Feed(w.Feed)
	col := func(name string) string { return s.All()[s.Index(name)].Column() }
	key := make([]string, 0, len(s.NaturalKey)+1)
	if !s.National {
		key = append(key, "reporting_unit")
	}
	for _, n := range s.NaturalKey {
		key = append(key, col(n))
	}
	var cond []string
	value := func(name, field, op, v string) {
		k.params[name] = v
		cond = append(cond, "ifNull(toString("+field+"), '') "+op+" {"+name+":String}")
	}
	if w.Is != "" {
		value("with_is", "fact", "=", w.Is)
	} else {
		value("with_min", "fact", ">=", w.AtLeast)
	}
	unless := "''"
	if w.UnlessField != "" {
		unless = col(w.UnlessField)
		value("with_unless", "bar", "!=", w.Unless)
	}
	group := "person"
	tier, source := "''", "newest"
	if k.q.Split == "training_tier" {
		// Tier belongs to the session, which the unit reports in its own feed.
		tier = "tier"
		group += ", tier"
		source = "newest AS n INNER JOIN (SELECT reporting_unit, session_id, toString(argMax(tier, _version)) AS tier FROM training FINAL GROUP BY reporting_unit, session_id) AS t ON n.reporting_unit = t.reporting_unit AND n.session_id = t.session_id"
	}
	newest := "SELECT " + strings.Join(key, ", ") + ",\n  argMax(" + col(w.Field) + ", _version) AS fact, argMax(" + col(w.Date) + ", _version) AS day, argMax(" + unless + ", _version) AS bar\nFROM " + s.CurrentTable() + " FINAL\nGROUP BY " + strings.Join(key, ", ")
	return "WITH newest AS (\n" + indent(newest) + "\n)\nSELECT " + col("id_number") + " AS person, " + tier + " AS tier, groupArray(day) AS days\nFROM (SELECT * FROM " + source + ")\n" +
		"WHERE " + strings.Join(cond, " AND ") + "\nGROUP BY " + group
}

// area gives the counts of context by unit, area and month. A province's own
// figure wins over the national office's.
func area(field, where string) string {
	return "SELECT if(reporting_unit = '" + office + "', concat(substring(division_code, 1, 2), '0000'), toString(reporting_unit)) AS unit,\n" +
		"  toString(division_code) AS area, period AS month,\n" +
		"  argMax(" + field + ", (reporting_unit != '" + office + "', _version)) AS x\nFROM context FINAL\nWHERE " + field + " IS NOT NULL" + where + "\nGROUP BY unit, area, month"
}

// office is the national office's unit code, which may push context too.
const office = "000000"

// context takes a unit's latest month up to the day: the province's own row if
// it sent one, else the sum of its cities, else of its counties.
func context(field string) string {
	return "SELECT d, unit, '' AS cat, toFloat64(argMax(total, (month, level))) AS v, argMax(areas, (month, level)) AS source\nFROM (\n" +
		"  SELECT d, unit, month, multiIf(endsWith(area, '0000'), 3, endsWith(area, '00'), 2, 1) AS level, sum(x) AS total, count() AS areas\n  FROM (\n" +
		indent(indent(area(field, ""))) + "\n  )\n  ARRAY JOIN {dates:Array(Date32)} AS d\n  WHERE month <= d\n  GROUP BY d, unit, month, level\n)\nGROUP BY d, unit"
}

func (k *compiler) gap(l *Leaf) string {
	k.persons = true
	k.params["ratio"] = strconv.FormatFloat(k.c.Target(l.RatioTarget).Value, 'f', -1, 64)
	counties := area(l.Field, " AND NOT endsWith(division_code, '00')")
	return "SELECT d, unit, '' AS cat, toFloat64(sum(greatest(0, ceil(need.x / {ratio:Float64}) - ifNull(have.v, 0)))) AS v, toUInt64(count() + sum(ifNull(have.source, 0))) AS source\n" +
		"FROM (\n  SELECT l.d AS d, a.unit AS unit, a.area AS area, a.x AS x\n  FROM (\n" + indent(indent(counties)) + "\n  ) AS a\n  INNER JOIN (\n" +
		"    SELECT d, unit, max(month) AS latest\n    FROM (\n" + indent(indent(indent(counties))) + "\n    )\n    ARRAY JOIN {dates:Array(Date32)} AS d\n    WHERE month <= d\n    GROUP BY d, unit\n" +
		"  ) AS l ON a.unit = l.unit AND a.month = l.latest\n  WHERE a.unit IN (SELECT DISTINCT toString(reporting_unit) FROM employment)\n) AS need\n" +
		"LEFT JOIN (\n" + indent(byDay("unit, area", "SELECT unit, county AS area, sumForEach(here) AS flags\nFROM persons\nGROUP BY unit, area")) + "\n) AS have ON need.d = have.d AND need.unit = have.unit AND need.area = have.area\nGROUP BY d, unit"
}

func (k *compiler) orgs(l *Leaf) string {
	k.params["org_types"] = array(l.Types)
	k.params["org_status"] = l.Status
	counts := `SELECT d, toString(tupleElement(o, 1)) AS unit, ` + k.cat("org_type", "tupleElement(o, 2)") + ` AS cat, count() AS v, sum(records) AS source
FROM (
  SELECT d, uscc, argMin((reporting_unit, org_type, status, worker_total), (-toInt32(effective_from), reporting_unit, record_id)) AS o, count() AS records
  FROM (SELECT uscc, reporting_unit, record_id, org_type, status, worker_total, effective_from FROM org FINAL)
  ARRAY JOIN {dates:Array(Date32)} AS d
  WHERE effective_from <= d
  GROUP BY d, uscc
)
WHERE tupleElement(o, 2) IN {org_types:Array(String)} AND tupleElement(o, 3) = {org_status:String}
  AND (tupleElement(o, 4) > 0 OR (d, uscc) IN (
    SELECT d, provider_uscc
    FROM (SELECT provider_uscc, start_on, end_on FROM project FINAL)
    ARRAY JOIN {dates:Array(Date32)} AS d
    WHERE start_on <= d AND end_on >= d
    UNION ALL
    SELECT d, tupleElement(p, 1)
    FROM (
      SELECT d, argMax((provider_uscc, start_on, end_on), (effective_from, _version)) AS p
      FROM (SELECT purchaser_uscc, post_id, budget_year, provider_uscc, start_on, end_on, effective_from, _version FROM post FINAL)
      ARRAY JOIN {dates:Array(Date32)} AS d
      WHERE effective_from <= d
      GROUP BY d, purchaser_uscc, post_id, budget_year
    )
    WHERE tupleElement(p, 2) <= d AND ifNull(tupleElement(p, 3) >= d, true)
  ))
GROUP BY d, unit, cat`
	return onGrid(counts, "org")
}

func (k *compiler) ratio(m *Measure) string {
	kind, on := "INNER", "t.d = b.d AND t.unit = b.unit"
	if m.Unpaired == "keep" {
		kind = "LEFT"
	}
	if k.split(m.Top) && k.split(m.Bottom) || m.Bottom.Kind == "stock_persons" {
		on += " AND t.cat = b.cat"
	}
	return "SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source\nFROM (\n" +
		indent(k.leaf(m.Top)) + "\n) AS t\n" + kind + " JOIN (\n" + indent(k.leaf(m.Bottom)) + "\n) AS b ON " + on
}

// mix sums the amounts of a budget year that have begun by the day. A contract
// that two provinces report counts once, and the purchaser's own record wins.
func (k *compiler) mix(m *Measure) string {
	parts := make([]string, len(m.Parts))
	var feeds, all []string
	for i, p := range m.Parts {
		name := fmt.Sprintf("mode_%d", i+1)
		k.params[name] = p.Code
		all = append(all, p.Code)
		feeds = append(feeds, p.Feed)
		s := k.c.Contract.Feed(p.Feed)
		key := slices.Clone(s.NaturalKey)
		known, version := "", "_version"
		if s.History == feed.Snapshot {
			known, version = "effective_from <= d AND ", "effective_from, _version"
		}
		parts[i] = "SELECT d, unit, {" + name + ":String} AS cat, sum(amount) AS v, count() AS source\nFROM (\n" +
			"  SELECT d, " + strings.Join(key, ", ") + ",\n    tupleElement(argMax((toString(reporting_unit), " + p.Field + "), (substring(purchaser_uscc, 3, 2) = substring(reporting_unit, 1, 2), " + version + ")) AS newest, 1) AS unit, tupleElement(newest, 2) AS amount\n" +
			"  FROM (SELECT * FROM " + p.Feed + " FINAL)\n  ARRAY JOIN {dates:Array(Date32)} AS d\n  WHERE " + known + "budget_year = toYear(d) AND start_on <= d\n  GROUP BY d, " + strings.Join(key, ", ") + "\n)\nGROUP BY d, unit"
	}
	k.params["all_codes"] = array(all)
	shown := "{codes:Array(String)}"
	cat := "code"
	if k.q.Split == "" {
		k.params["shown"] = m.Shown
		shown = "[{shown:String}]"
		cat = "''"
	}
	amounts := strings.ReplaceAll(onGrid(strings.Join(parts, "\nUNION ALL\n"), feeds...), "{codes:Array(String)}", "{all_codes:Array(String)}")
	return "SELECT d, unit, " + cat + " AS cat, n, m, source\nFROM (\n  SELECT d, unit, cat AS code, toNullable(v) AS n, toNullable(sum(v) OVER (PARTITION BY d, unit)) AS m, toUInt64(sum(source) OVER (PARTITION BY d, unit)) AS source\n  FROM (\n" + indent(indent(amounts)) + "\n  )\n)\nWHERE code IN " + shown
}

func (k *compiler) freshness(m *Measure) string {
	k.params["now"] = k.q.Now.UTC().Format("2006-01-02 15:04:05")
	var parts []string
	for _, f := range m.Feeds {
		if k.q.Split == "" || slices.Contains(k.codes(), f) {
			parts = append(parts, "SELECT '"+f+"' AS feed, toString(reporting_unit) AS unit, max(reported_at) AS last, count() AS source FROM "+f+" WHERE reported_at <= {now:DateTime64(3, 'UTC')} GROUP BY unit")
		}
	}
	return "SELECT {dates:Array(Date32)}[1] AS d, unit, " + k.cat("feed", "feed") + " AS cat,\n  toNullable(dateDiff('second', max(last), {now:DateTime64(3, 'UTC')}) / 3600) AS n, CAST(NULL, 'Nullable(Float64)') AS m, sum(source) AS source\nFROM (\n" +
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

func indent(s string) string { return "  " + strings.ReplaceAll(s, "\n", "\n  ") }
