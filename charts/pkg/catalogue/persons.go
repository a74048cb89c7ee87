package catalogue

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/duiwu/duiwu/internal/feed"
)

// everOpen is when a spell without an end ends.
const everOpen = "toDate32('2299-12-31')"

// primary is the number by which a person's place is decided: the spell with the
// least is the primary one. A unit that was decided on goes first, then the later
// start, then the lower unit code; of two records of one unit that began on one day
// it is always the same one, so that the choice never depends on row order.
func (k *compiler) primary() string {
	first := "-toInt32(start_on)"
	if ahead := k.q.People.Ahead(k.columnOf("employment", "id_number"), "reporting_unit"); ahead != "" {
		first += " + " + ahead
	}
	return "bitShiftLeft(toInt256(" + first + "), 84) + bitShiftLeft(toInt256(toUInt32(toString(reporting_unit))), 64) + xxh3(record_id)"
}

// person tells people apart by half of a token, which is a keyed hash of 32 bytes:
// numbers are grouped and joined in half the time.
func person(token string) string { return "reinterpretAsUInt128(substring(" + token + ", 17))" }

// digits is the text of a code of six digits that was kept as a number, or of two.
func digits(x string, n int) string {
	return "leftPad(toString(" + x + "), " + strconv.Itoa(n) + ", '0')"
}

func (k *compiler) employment() string {
	return k.table("employment", "id_number_token", "start_on", "end_on", "worker_category", "county_code")
}

// inPost takes an expression of every spell that was open on one of the days.
func (k *compiler) inPost(x string) string {
	return "SELECT " + x + " FROM " + k.employment() + " WHERE worker_category IN {categories:Array(String)} AND start_on <= arrayMax({dates:Array(Date32)}) AND ifNull(end_on > arrayMin({dates:Array(Date32)}), true)"
}

// persons holds one row per spell, with a flag per day of the parameter dates
// that says whether it is its person's primary one: open on the day, and no
// better one is. Flags, and not one row per person and day, make twelve months
// about as quick as one day. others are the units of the spells elsewhere.
func (k *compiler) persons(elsewhere bool) string {
	if k.one && !elsewhere {
		return `SELECT person, unit, category, county, [toUInt64(1)] AS here
FROM (
  WITH ` + k.primary() + ` AS _order
  SELECT ` + person("id_number_token") + ` AS person, argMin(toString(reporting_unit), _order) AS unit, argMin(toString(worker_category), _order) AS category, argMin(toString(county_code), _order) AS county
  FROM ` + k.employment() + `
  WHERE worker_category IN {categories:Array(String)} AND start_on <= {dates:Array(Date32)}[1] AND ifNull(end_on > {dates:Array(Date32)}[1], true)
  GROUP BY person
)`
	}
	more := ""
	if elsewhere {
		more = `,
  arrayMap(d -> arrayMap(u -> ` + digits("u", 6) + `, arrayDistinct(arrayFilter((u, b, e) -> u != s AND b <= d AND e > d, units, begins, ends))), {dates:Array(Date32)}) AS others`
	}
	return `SELECT person, ` + digits("s", 6) + ` AS unit, ` + digits("c", 2) + ` AS category, if(a = 0, '', ` + digits("a", 6) + `) AS county,
  arrayMap(f -> f = i, firsts) AS here` + more + `
FROM (
  SELECT person, spells.2 AS units, spells.3 AS begins, spells.4 AS ends, spells.5 AS categories, spells.6 AS areas,
    ` + firstOpen("arrayEnumerate(units)", "{dates:Array(Date32)}") + ` AS firsts
  FROM (
` + indent(indent(k.bySpells("{dates:Array(Date32)}", "toUInt8OrZero(toString(worker_category))", "toUInt32OrZero(toString(county_code))"))) + `
  )
)
ARRAY JOIN units AS s, categories AS c, areas AS a, arrayEnumerate(units) AS i`
}

// firstOpen finds for each day what stands at the place of the first spell, which is the
// primary one, that was open.
func firstOpen(of, dates string) string {
	return "arrayMap(d -> arrayFirst((x, b, e) -> b <= d AND e > d, " + of + ", begins, ends), " + dates + ")"
}

// bySpells is one row per person with the spells that were open on one of some days,
// the primary one of any day before the others: the number that orders them, unit,
// begin, end and what else is asked for. They hold numbers only: texts take most of
// the time.
func (k *compiler) bySpells(dates string, more ...string) string {
	spell := append([]string{k.primary(), "toUInt32(toString(reporting_unit))", "start_on", "ifNull(end_on, " + everOpen + ")"}, more...)
	return `SELECT ` + person("id_number_token") + ` AS person, arraySort(groupArray((` + strings.Join(spell, ", ") + `))) AS spells
FROM ` + k.employment() + `
WHERE worker_category IN {categories:Array(String)} AND start_on <= arrayMax(` + dates + `) AND ifNull(end_on > arrayMin(` + dates + `), true)
GROUP BY person`
}

// join is a subquery with one row per person and values v1, v2 ..., each an array
// of one value per day.
type join struct {
	sql, alias string
	// feed is the snapshot feed that the values are read from; its statement is
	// built when all of them are known, so that each person's states are found once.
	feed   string
	values []*value
}

// value is one array of a join. Of a snapshot feed it is made of a number that every
// state gives.
type value struct {
	join *join
	// name is the array's column; none stands where a person has no row.
	name, none string
	// column is what number reads, which is below 2^bits; expr makes the value of the
	// number ⟨n⟩, 0 before the first state, on the day ⟨d⟩.
	column, number, expr string
	bits                 int
}

// x is the value's name inside a condition on one day.
func (v *value) x() string { return "x" + v.join.alias + v.name }

// days is the value's array, as long as the days.
func (v *value) days() string {
	array := "arrayResize(" + v.join.alias + "." + v.name + ", length({dates:Array(Date32)})"
	if v.none != "" {
		array += ", " + v.none
	}
	return array + ")"
}

// head counts persons for one or two leaves at once.
type head struct {
	k     *compiler
	joins []*join
	// sliding says that records are summed up in a window that moves with the days.
	sliding bool
}

// events joins a statement that gives each person v1.
func (h *head) events(sql string) *value {
	for _, j := range h.joins {
		if j.sql == sql {
			return j.values[0]
		}
	}
	j := &join{sql: sql, alias: "f" + strconv.Itoa(len(h.joins)+1)}
	j.values = []*value{{join: j, name: "v1"}}
	h.joins = append(h.joins, j)
	return j.values[0]
}

// state joins a value of a snapshot feed.
func (h *head) state(feedName string, v value) *value {
	var j *join
	for _, have := range h.joins {
		if have.feed == feedName {
			j = have
		}
	}
	if j == nil {
		j = &join{feed: feedName, alias: "f" + strconv.Itoa(len(h.joins)+1)}
		h.joins = append(h.joins, j)
	}
	for _, have := range j.values {
		if have.number == v.number && have.expr == v.expr {
			return have
		}
	}
	v.join, v.name = j, "v"+strconv.Itoa(len(j.values)+1)
	j.values = append(j.values, &v)
	return &v
}

// fact joins a condition, or the sum of a field.
func (h *head) fact(w *With) *value {
	k := h.k
	if k.c.Contract.Feed(w.Feed).History == feed.Snapshot {
		c := k.columnOf(w.Feed, w.Field)
		return h.state(w.Feed, value{column: c, number: k.holds(w, c), bits: 1, expr: "⟨n⟩"})
	}
	h.sliding = h.sliding || !k.one && k.left(w.Window) != nil
	return h.events(k.events(w))
}

// test is a condition on one day.
func (h *head) test(w *With) string {
	v := h.fact(w)
	t := v.x() + " > 0"
	if w.Reaches != "" {
		t = v.x() + " >= " + h.k.param("reaches", "Float64", number(h.k.c.Target(w.Reaches).Value))
	}
	if w.Not {
		t = "NOT (" + t + ")"
	}
	return t
}

func (h *head) all(ws []With) string {
	var out []string
	for i := range ws {
		out = append(out, h.test(&ws[i]))
	}
	return strings.Join(out, " AND ")
}

// weight is what a person counts for a leaf, an array of one number per day.
func (h *head) weight(l *Leaf) string {
	k := h.k
	cond := []string{"h > 0"}
	arrays := []string{"p.here"}
	names := []string{"h"}
	if len(l.Categories) > 0 {
		cond = append(cond, "p.category IN "+k.list("counted", l.Categories))
	}
	if l.Elsewhere {
		cond, arrays, names = append(cond, "notEmpty(o)"), append(arrays, "p.others"), append(names, "o")
	}
	if t := h.all(l.With); t != "" {
		cond = append(cond, t)
	}
	if len(l.Any) > 0 {
		var any []string
		for _, ws := range l.Any {
			any = append(any, "("+h.all(ws)+")")
		}
		cond = append(cond, "("+strings.Join(any, " OR ")+")")
	}
	value := "1"
	if l.Sum != nil {
		value = h.fact(l.Sum).x()
	}
	if len(cond) == 1 && value == "1" {
		return "p.here"
	}
	used := strings.Join(append(slices.Clone(cond), value), " ") + " "
	for _, j := range h.joins {
		for _, v := range j.values {
			// A name ends where a condition goes on or closes.
			if strings.Contains(used, v.x()+" ") || strings.Contains(used, v.x()+")") {
				arrays, names = append(arrays, v.days()), append(names, v.x())
			}
		}
	}
	return "arrayMap((" + strings.Join(names, ", ") + ") -> if(" + strings.Join(cond, " AND ") + ", toFloat64(" + value + "), 0), " + strings.Join(arrays, ", ") + ")"
}

// from is the persons with what is known of them.
func (h *head) from(elsewhere bool) string {
	s := "FROM (\n" + indent(h.k.persons(elsewhere)) + "\n) AS p"
	if h.sliding && !slices.ContainsFunc(h.joins, func(j *join) bool { return j.feed != "" }) {
		// Held against the persons, their records need a third less of the server's time
		// than the other way about (I-16, I-17, I-18). States do not, nor does a single day.
		h.k.settings = ", query_plan_join_swap_table = 1"
	}
	for _, j := range h.joins {
		if j.feed != "" {
			j.sql = h.k.states(j)
		}
		s += "\nLEFT JOIN (\n" + indent(j.sql) + "\n) AS " + j.alias + " ON p.person = " + j.alias + ".person"
	}
	return s
}

// stock counts the persons of one leaf.
func (k *compiler) stock(l *Leaf) (string, error) {
	if k.split == "training_tier" {
		return k.byTier(l), nil
	}
	body, err := k.count([]*Leaf{l})
	return "SELECT d, unit, cat, n AS v, source\nFROM (\n" + indent(body) + "\n)", err
}

// share counts numerator and denominator in one pass over the persons.
func (k *compiler) share(top, bottom *Leaf) (string, error) {
	body, err := k.count([]*Leaf{top, bottom})
	return "SELECT d, unit, cat, toNullable(n) AS n, toNullable(m) AS m, source\nFROM (\n" + indent(body) + "\n)", err
}

// count lays the counts of one or two leaves over the grid: d, unit, cat, n, m,
// source.
func (k *compiler) count(leaves []*Leaf) (string, error) {
	h := &head{k: k}
	names := []string{"n", "m"}
	var weights []string
	elsewhere := false
	for _, l := range leaves {
		weights = append(weights, h.weight(l))
		elsewhere = elsewhere || l.Elsewhere
	}
	if len(weights) == 1 {
		weights = append(weights, "p.here")
	}
	cats := ""
	cat := "''"
	switch k.split {
	case "", "feed":
	case "worker_category":
		cat = "p.category"
	case County:
		cat = "if(p.county IN {codes:Array(String)}, p.county, '" + OtherCounty + "')"
	case OtherUnit:
		cats = "p.others"
	default:
		g := k.c.group(k.split)
		if g == nil || g.Feed == "" {
			return "", fmt.Errorf("cannot split the persons of %s by %s", k.in.ID, k.split)
		}
		cats = k.attribute(h, g).days()
	}
	var counts string
	if cats == "" {
		var sums []string
		for i, w := range weights {
			sums = append(sums, "sumForEach("+w+") AS "+names[i]+"s")
		}
		counts = "SELECT d, unit, cat, n, m, heads AS source\nFROM (\n  SELECT p.unit AS unit, " + cat + " AS cat, " + strings.Join(sums, ", ") + ", sumForEach(p.here) AS hs\n" +
			indent(h.from(elsewhere)) + "\n  GROUP BY unit, cat\n)\nARRAY JOIN {dates:Array(Date32)} AS d, ns AS n, ms AS m, hs AS heads"
	} else {
		join := "ARRAY JOIN {dates:Array(Date32)} AS d, cats AS cat, ns AS n, ms AS m, hs AS heads"
		pick := "cat"
		if k.split == OtherUnit {
			pick = "arrayJoin(cat)"
		}
		counts = "SELECT d, unit, " + pick + " AS code, sum(n) AS ns_of, sum(m) AS ms_of, sum(heads) AS heads_of\nFROM (\n  SELECT p.unit AS unit, " + cats + " AS cats, " + weights[0] + " AS ns, " + weights[1] + " AS ms, p.here AS hs\n" +
			indent(h.from(elsewhere)) + "\n)\n" + join + "\nWHERE heads > 0\nGROUP BY d, unit, code"
		counts = "SELECT d, unit, code AS cat, ns_of AS n, ms_of AS m, heads_of AS source FROM (\n" + indent(counts) + "\n)"
	}
	return k.pairsOnGrid(counts, "employment"), nil
}

// newest are the records of a feed that count and meet a condition: of those of one
// natural key the newest counts, whether it meets the condition or not. A record
// without one of the columns named is left out.
func (k *compiler) newest(name, condition string, on []string, columns ...string) string {
	key := k.naturalKey(k.c.Contract.Feed(name))
	reads := slices.Concat(key, on, columns)
	for _, c := range columns {
		if k.nullable(name, c) {
			condition += " AND isNotNull(" + c + ")"
		}
	}
	if first := k.first(name, key, byVersion); first != "" {
		condition += " AND " + first
	}
	return "FROM " + k.table(name, reads...) + "\nWHERE " + condition
}

// present is a column of a record that has it.
func (k *compiler) present(name, column string) string {
	if k.nullable(name, column) {
		return "assumeNotNull(" + column + ")"
	}
	return column
}

// holds is the condition that a stored value must meet.
func (k *compiler) holds(w *With, x string) string {
	switch {
	case k.truth(w.Feed, w.Field) && w.Is == "true":
		return "ifNull(" + x + ", false)" // the same as by its text, and four times as fast
	case k.truth(w.Feed, w.Field) && w.Is == "false":
		return "NOT ifNull(" + x + ", true)"
	case w.Is != "":
		return "ifNull(toString(" + x + "), '') = " + k.text("with_is", w.Is)
	case w.AtLeast != "":
		return "ifNull(toString(" + x + "), '') >= " + k.text("with_min", w.AtLeast)
	case len(w.Listed) > 0:
		// Not has: IN looks at each text of a dictionary once.
		return "ifNull(toString(" + x + "), '') IN " + k.list("with_codes", k.listed(w))
	case w.Known:
		return "ifNull(toString(" + x + "), '') != ''"
	}
	return "true"
}

// listed finds the codes of a field's list that have some properties.
func (k *compiler) listed(w *With) []string {
	s := k.c.Contract.Feed(w.Feed)
	l := k.c.Contract.List(s.All()[s.Index(w.Field)].List)
	var out []string
	for _, e := range l.Entries {
		ok := true
		for _, c := range w.Listed {
			n, _ := strconv.Atoi(e.Extra[c.Column])
			ok = ok && (c.Is == "" || e.Extra[c.Column] == c.Is) && n >= c.AtLeast
		}
		if ok {
			out = append(out, e.Code)
		}
	}
	return out
}

// events gives each person a number per day: how many of his or her records meet the
// condition, or the sum of a field.
func (k *compiler) events(w *With) string {
	col, date := k.columnOf(w.Feed, w.Field), k.columnOf(w.Feed, w.Date)
	cond, on := k.holds(w, col), []string{col}
	if w.UnlessField != "" {
		unless := k.columnOf(w.Feed, w.UnlessField)
		cond, on = cond+" AND ifNull(toString("+unless+"), '') != "+k.text("with_unless", w.Unless), append(on, unless)
	}
	// The days first: they leave few rows, and take less than the rest.
	cond = date + " <= arrayMax({dates:Array(Date32)}) AND " + date + " >= " + window(w.Window, "arrayMin({dates:Array(Date32)})") + " AND " + cond
	sums := w.Reaches != "" || w.Is == "" && w.AtLeast == "" && !w.Known && len(w.Listed) == 0
	columns := []string{date}
	if sums {
		columns = append(columns, col)
	}
	from := k.newest(w.Feed, cond, on, columns...) + "\nGROUP BY person"
	x := "toInt64(1)"
	if sums {
		x = k.present(w.Feed, col)
	}
	value := "[toFloat64(sum(" + x + "))]"
	if !k.one {
		// Each record goes once into what there was up to a day, and once into what had
		// left the window by then.
		upTo := func(days []time.Time) string {
			return fmt.Sprintf("arrayCumSum(sumResample(1, %d, 1)(%s, %s))", len(days)+1, x, k.bucket(k.present(w.Feed, date), days))
		}
		value = "arrayMap(x -> toFloat64(x), " + upTo(k.q.Dates) + ")"
		if left := k.left(w.Window); left != nil {
			value = "arrayMap((x, left) -> toFloat64(x - left), " + upTo(k.q.Dates) + ", " + upTo(left) + ")"
		}
	}
	return "SELECT " + person(k.columnOf(w.Feed, "id_number")) + " AS person, " + value + " AS v1\n" + from
}

// states gives each person the values of a join, made of the snapshot that applies on
// each day; of two of one day the newer version. A state is one number, its order
// before those that the values are made of: the largest is the state that applies.
func (k *compiler) states(j *join) string {
	token := k.columnOf(j.feed, "id_number")
	columns, out := []string{token}, []string{"person"}
	wide, bits := "toUInt128", 0
	for _, v := range j.values {
		columns, bits = append(columns, v.column), bits+v.bits
	}
	if bits > 128-stateBits {
		wide = "toUInt256"
	}
	state, at := fmt.Sprintf("bitShiftLeft(%s(%s), %d)", wide, stateOrder, bits), 0
	for _, v := range j.values {
		state += fmt.Sprintf(" + bitShiftLeft(%s(%s), %d)", wide, v.number, at)
		n := fmt.Sprintf("bitAnd(toUInt64(bitShiftRight(x, %d)), %d)", at, 1<<v.bits-1)
		at += v.bits
		expr := strings.NewReplacer("⟨n⟩", n, "⟨d⟩", "d").Replace(v.expr)
		if strings.Contains(v.expr, "⟨d⟩") {
			out = append(out, "arrayMap((x, d) -> "+expr+", xs, {dates:Array(Date32)}) AS "+v.name)
		} else {
			out = append(out, "arrayMap(x -> "+expr+", xs) AS "+v.name)
		}
	}
	return "SELECT " + strings.Join(out, ",\n  ") + "\nFROM (\n  SELECT " + person(token) + " AS person,\n    " + k.daily(state) + " AS xs\n  FROM " +
		k.lately(j.feed, token, "", k.inPost("xxh3("+k.columnOf("employment", "id_number")+") AS h"), columns...) + "\n  GROUP BY person\n)"
}

// attribute joins each person's code of a group.
func (k *compiler) attribute(h *head, g *Group) *value {
	col := k.columnOf(g.Feed, g.Field)
	none := k.text("none", g.None)
	switch g.By {
	case "highest":
		// The highest level of the certificates that stand on the day.
		unless := k.columnOf(g.Feed, g.UnlessField)
		stands := "toString(" + unless + ") != " + k.text("none_if", g.Unless)
		date := k.columnOf(g.Feed, g.Date)
		v := h.events("WITH groupArray(toString(" + k.present(g.Feed, col) + ")) AS x1, groupArray(" + k.present(g.Feed, date) + ") AS x2\nSELECT " + person(k.columnOf(g.Feed, "id_number")) + " AS person, arrayMap(d -> arrayReduce('max', arrayPushBack(arrayFilter((x, day) -> day <= d, x1, x2), " + none + ")), {dates:Array(Date32)}) AS v1\n" +
			k.newest(g.Feed, stands, []string{unless}, col, date) + "\nGROUP BY person")
		v.none = none
		return v
	case "years":
		v := k.since(g.Feed, col)
		years := "age('year', " + v.expr + ", ⟨d⟩)"
		if strings.HasSuffix(col, "_year") {
			years = "(toYear(⟨d⟩) - " + v.expr + ")"
		}
		v.expr, v.none = "if(⟨n⟩ = 0, "+none+", "+k.band(g, years)+")", none
		return h.state(g.Feed, v)
	}
	// The code itself, or the group that holds it.
	values, places, codes := []string{}, []float64{}, []string{g.None}
	s := k.c.Contract.Feed(g.Feed)
	list := k.c.Contract.List(s.All()[s.Index(g.Field)].List)
	for _, e := range list.Entries {
		v := e.Code
		if g.By != "is" {
			v = e.Extra[g.By]
		}
		code := v
		if len(g.Codes) > 0 {
			code = g.None
			for _, c := range g.Codes {
				if slices.Contains(c.Is, v) {
					code = c.Code
				}
			}
		}
		place := slices.Index(codes, code)
		if place < 0 {
			place, codes = len(codes), append(codes, code)
		}
		values, places = append(values, e.Code), append(places, float64(place))
	}
	return h.state(g.Feed, value{column: col, bits: 16, none: none,
		number: "transform(ifNull(toString(" + col + "), ''), " + k.list("values", values) + ", " + k.param("values_at", "Array(UInt16)", numbers(places)) + ", toUInt16(0))",
		expr:   k.list("values_as", codes) + "[⟨n⟩ + 1]"})
}

// since is a column that holds a day or a year, 0 where it holds none.
func (k *compiler) since(feedName, column string) value {
	const zero = "100000" // neither is before
	v := value{column: column, number: "ifNull(toInt32(" + column + ") + " + zero + ", 0)", bits: 32, expr: "(toInt32(⟨n⟩) - " + zero + ")"}
	if strings.Contains(k.typeOf(feedName, column), "Date32") {
		v.expr = "addDays(toDate32(0), " + v.expr + ")"
	}
	return v
}

// byTier splits a condition on attendance by the tier of the session, which the
// unit reports in its own feed.
func (k *compiler) byTier(l *Leaf) string {
	w := &l.With[0]
	tiers := "SELECT reporting_unit, session_id, toString(argMax(tier, _version)) AS tier FROM " + k.table("training", "session_id", "tier") + " GROUP BY reporting_unit, session_id"
	col := k.columnOf(w.Feed, w.Field)
	date := k.columnOf(w.Feed, w.Date)
	rows := "SELECT " + person(k.columnOf(w.Feed, "id_number")) + " AS person, " + k.present(w.Feed, date) + " AS day, reporting_unit AS unit, session_id AS session\n" + k.newest(w.Feed, k.holds(w, col), []string{col}, date, "reporting_unit", "session_id")
	facts := "SELECT person, tier, groupArray(day) AS days\nFROM (\n" + indent(rows) + "\n) AS n\nINNER JOIN (" + tiers + ") AS t ON n.unit = t.reporting_unit AND n.session = t.session_id\nGROUP BY person, tier"
	return k.onGrid(byDay("unit, cat", "{dates:Array(Date32)}", "SELECT p.unit AS unit, e.tier AS cat,\n  sumForEach(arrayMap((h, d) -> h AND arrayExists(x -> x <= d AND x >= "+window(w.Window, "d")+", e.days), p.here, {dates:Array(Date32)})) AS flags\n"+
		"FROM (\n"+indent(k.persons(false))+"\n) AS p\nINNER JOIN (\n"+indent(facts)+"\n) AS e ON p.person = e.person\nGROUP BY unit, cat"), "employment")
}

// byDay turns sums of flags (column flags) into one row per day.
func byDay(columns, dates, flags string) string {
	return "SELECT d, " + columns + ", v, v AS source\nFROM (\n" + indent(flags) + "\n)\nARRAY JOIN " + dates + " AS d, flags AS v"
}

// median is the middle of what a number measures each person by, for each unit
// and for the nation: no fold of medians gives that of all.
func (k *compiler) median(m *Measure) (string, error) {
	k.own = " OR unit = ''"
	h := &head{k: k}
	v := k.since(m.Top.Years.Feed, k.columnOf(m.Top.Years.Feed, m.Top.Years.Field))
	v.expr = "if(⟨n⟩ = 0, -1, dateDiff('day', " + v.expr + ", ⟨d⟩) / 365.25)"
	h.state(m.Top.Years.Feed, v)
	years := k.states(h.joins[0])
	return "SELECT d, if(grouping(unit_of) = 1, '', unit_of) AS unit, '' AS cat, toNullable(quantileExactInclusive(0.5)(y)) AS n, CAST(NULL, 'Nullable(Float64)') AS m, count() AS source\nFROM (\n  SELECT d, unit_of, y\n  FROM (\n    SELECT p.unit AS unit_of, p.here AS here, f1.v1 AS v\n    FROM (\n" +
		indent(indent(indent(k.persons(false)))) + "\n    ) AS p\n    INNER JOIN (\n" + indent(indent(indent(years))) + "\n    ) AS f1 ON p.person = f1.person\n    WHERE p.unit IN {units:Array(String)}\n  )\n  ARRAY JOIN {dates:Array(Date32)} AS d, here AS h, v AS y\n  WHERE h > 0 AND y >= 0\n)\nGROUP BY GROUPING SETS ((d, unit_of), (d))", nil
}

// stockDays sets the parameter stock_dates to the days on which the stock is
// needed and says where those of each asked day stand in it.
func (k *compiler) stockDays(of func(time.Time) []time.Time) [][]int {
	var lists [][]time.Time
	for _, d := range k.q.Dates {
		lists = append(lists, of(d))
	}
	all, at := days(lists...)
	k.params["stock_dates"] = dateList(all)
	return at
}

func positions(at [][]int) string {
	out := make([]string, len(at))
	for i, a := range at {
		p := make([]string, len(a))
		for j, n := range a {
			p[j] = strconv.Itoa(n)
		}
		out[i] = "[" + strings.Join(p, ",") + "]"
	}
	return "[" + strings.Join(out, ",") + "]"
}

// places is one row per person: the unit of the primary spell on each day of
// stock_dates as a number, 0 where there is none.
func (k *compiler) places() string {
	const dates = "{stock_dates:Array(Date32)}"
	return "SELECT person, spells.2 AS units, spells.3 AS begins, spells.4 AS ends, " + firstOpen("units", dates) + " AS places\nFROM (\n" + indent(k.bySpells(dates)) + "\n)"
}

// meanStock is the mean of the stocks on the day and at the ends of the months
// before it.
func (k *compiler) meanStock(l *Leaf) string {
	at := k.param("stock_at", "Array(Array(UInt32))", positions(k.stockDays(func(d time.Time) []time.Time { return monthsBack(d, l.Months) })))
	counts := "SELECT d, " + digits("place", 6) + " AS unit, '' AS cat, sum(n) / " + strconv.Itoa(l.Months) + " AS v, toUInt64(sum(n)) AS source\nFROM (\n  SELECT place, i, count() AS n\n  FROM (\n" + indent(indent(k.places())) +
		"\n  )\n  ARRAY JOIN places AS place, arrayEnumerate(places) AS i\n  WHERE place != 0\n  GROUP BY place, i\n)\nARRAY JOIN {dates:Array(Date32)} AS d, " + at + " AS wanted\nWHERE has(wanted, i)\nGROUP BY d, unit"
	return k.onGrid(counts, "employment")
}

// change is the stock less that of the end of the month before: who joined the
// nation, left it, or moved between units.
func (k *compiler) change() string {
	at := k.param("stock_at", "Array(Array(UInt32))", positions(k.stockDays(func(d time.Time) []time.Time { return monthsBack(d, 2) })))
	cat, value := "''", "sum(tupleElement(w, 3))"
	if k.split == "movement" {
		cat, value = "tupleElement(w, 2)", "count()"
	}
	return k.onGrid("SELECT d, "+digits("tupleElement(w, 1)", 6)+" AS unit, "+cat+" AS cat, toFloat64("+value+") AS v, count() AS source\nFROM (\n  SELECT d, places[i[1]] AS now, places[i[2]] AS then,\n    arrayJoin(multiIf(then = 0, [(now, 'joined', 1)], now = 0, [(then, 'left', -1)], [(now, 'moved_in', 1), (then, 'moved_out', -1)])) AS w\n  FROM (\n"+
		indent(indent(k.places()))+"\n  )\n  ARRAY JOIN {dates:Array(Date32)} AS d, "+at+" AS i\n  WHERE now != then\n)\nGROUP BY d, unit, cat", "employment")
}

// leavers are the persons of whom a spell ended while no other of the same unit
// was open.
func (k *compiler) leavers(l *Leaf) string {
	g := k.c.group("leave_group")
	cat, where := "''", ""
	if k.split == g.Name {
		var values, codes []string
		for _, c := range g.Codes {
			for _, v := range c.Is {
				values, codes = append(values, v), append(codes, c.Code)
			}
		}
		cat = "transform(tupleElement(s, 4), " + k.list("values", values) + ", " + k.list("values_as", codes) + ", '')"
	} else if len(l.Reasons) > 0 {
		where = " AND tupleElement(s, 4) NOT IN " + k.list("reasons", l.Reasons)
	}
	start := window(strconv.Itoa(l.Months)+"_months", "arrayMin({dates:Array(Date32)})")
	spells := k.table("employment", "id_number_token", "start_on", "end_on", "worker_category", "leave_reason")
	some := ""
	if k.q.Known.IsZero() {
		// Few people have a spell that ended; what was known of them is dear to find twice.
		some = " AND xxh3(id_number_token) IN (SELECT xxh3(id_number_token) FROM " + spells + " WHERE ifNull(end_on >= " + start + " AND end_on <= arrayMax({dates:Array(Date32)}), false))"
	}
	return k.onGrid("SELECT d, unit, cat, uniqExact(person) AS v, uniqExact(person) AS source\nFROM (\n  SELECT person, tupleElement(s, 1) AS unit, "+cat+" AS cat, tupleElement(s, 3) AS day\n  FROM (\n    SELECT "+person("id_number_token")+" AS person, groupArray((toString(reporting_unit), start_on, ifNull(end_on, "+everOpen+"), toString(leave_reason))) AS spells\n    FROM "+
		spells+"\n    WHERE worker_category IN {categories:Array(String)} AND ifNull(end_on >= "+start+", true)"+some+"\n    GROUP BY person\n  )\n  ARRAY JOIN spells AS s\n  WHERE tupleElement(s, 3) < "+everOpen+
		where+"\n    AND NOT arrayExists(o -> tupleElement(o, 1) = tupleElement(s, 1) AND tupleElement(o, 2) <= tupleElement(s, 3) AND tupleElement(o, 3) > tupleElement(s, 3), spells)\n)\nARRAY JOIN {dates:Array(Date32)} AS d\nWHERE day <= d AND day >= "+window(strconv.Itoa(l.Months)+"_months", "d")+"\nGROUP BY d, unit, cat", "employment")
}
