package catalogue

import (
	"fmt"
	"slices"
	"strings"

	"github.com/duiwu/duiwu/internal/feed"
)

// office is the national office's unit code, which may push some feeds too.
const office = "000000"

// fields lists the fields of a source that its conditions and a caller read.
func (s *Source) fields(more ...string) []string {
	out := slices.Clone(more)
	for _, w := range s.Where {
		out = append(out, w.Field)
	}
	out = append(out, s.From, s.Until, s.Date, s.Provider, s.year)
	if s.Match != nil {
		for _, pair := range s.Match.On {
			out = append(out, pair[0])
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return slices.DeleteFunc(out, func(f string) bool { return f == "" })
}

// read are the columns of fields.
func (k *compiler) read(s *Source, more ...string) []string {
	var out []string
	for _, f := range s.fields(more...) {
		out = append(out, k.columnOf(s.Feed, f))
	}
	return out
}

// state is the records of a source that hold on each day: d, unit and the
// fields named, under their columns' names.
func (k *compiler) state(s *Source, more ...string) string {
	spec := k.c.Contract.Feed(s.Feed)
	cols := k.read(s, more...)
	key := k.naturalKey(spec)
	dated := spec.History == feed.Snapshot || len(s.Key) > 0
	if len(s.Key) > 0 {
		key = nil
		for _, f := range s.Key {
			key = append(key, k.columnOf(s.Feed, f))
		}
	}
	// Of two units that report one thing on one day the lower code stands, as with
	// persons; of two records of one unit the newer version.
	by := []string{byUnit, byVersion}
	if dated {
		by = slices.Insert(by, 0, byEffective)
	}
	if spec.Index("purchaser_uscc") >= 0 {
		// A contract that two provinces report counts once, and the purchaser's own
		// record wins.
		by = slices.Insert(by, 0, byOwn)
	}
	columns := append(append([]string{"effective_from"}, key...), cols...)
	var rows string
	if !dated {
		all := k.table(s.Feed, columns...)
		if first := k.first(s.Feed, key, by...); first != "" {
			all = "(SELECT * FROM " + all + " WHERE " + first + ")"
		}
		rows = "SELECT d, toString(reporting_unit) AS unit, " + strings.Join(cols, ", ") + "\nFROM " + all + "\nARRAY JOIN {dates:Array(Date32)} AS d"
		return k.holding(rows, s)
	}
	keys := hashed(key)
	picked, names := []string{"argMax(toString(reporting_unit), _order) AS x0"}, []string{"x0 AS unit"}
	for i, c := range cols {
		picked = append(picked, k.latest(s.Feed, c)+fmt.Sprintf(" AS x%d", i+1))
		names = append(names, fmt.Sprintf("x%d AS %s", i+1, c))
	}
	with := "WITH " + order(by...) + " AS _order "
	states := k.lately(s.Feed, strings.Join(key, ", "), k.may(s), "", columns...)
	switch {
	case k.one:
		rows = "SELECT {dates:Array(Date32)}[1] AS d, " + strings.Join(names, ", ") + "\nFROM (" + with + "SELECT " + strings.Join(picked, ", ") + " FROM " + states + " GROUP BY " + keys + ")"
	default:
		// The best first, so that the first that has begun by a day is its state.
		tuple := strings.Join(append([]string{"toString(reporting_unit)"}, cols...), ", ")
		take := []string{"tupleElement(t, 1) AS unit"}
		for i, c := range cols {
			take = append(take, fmt.Sprintf("tupleElement(t, %d) AS %s", i+2, c))
		}
		rows = "SELECT arrayJoin(arrayFilter((day, first) -> first = i, {dates:Array(Date32)}, firsts)) AS d, " + strings.Join(take, ", ") +
			"\nFROM (\n  SELECT xs.2 AS begins, xs.3 AS ts, arrayMap(d -> arrayFirstIndex(b -> b <= d, begins), {dates:Array(Date32)}) AS firsts\n  FROM (" + with + "SELECT arrayReverseSort(x -> x.1, groupArray((_order, effective_from, (" + tuple + ")))) AS xs FROM " + states +
			" GROUP BY " + keys + ")\n)\nARRAY JOIN ts AS t, arrayEnumerate(ts) AS i"
	}
	return k.holding(rows, s)
}

// holding are the rows that meet the conditions of a source.
func (k *compiler) holding(rows string, s *Source) string {
	if cond := k.conditions(s); len(cond) > 0 {
		return "SELECT *\nFROM (\n" + indent(rows) + "\n)\nWHERE " + strings.Join(cond, " AND ")
	}
	return rows
}

// may is what a state must meet that holds on any of the days.
func (k *compiler) may(s *Source) string {
	const first, last = "arrayMin({dates:Array(Date32)})", "arrayMax({dates:Array(Date32)})"
	var out []string
	if s.From != "" {
		out = append(out, "ifNull("+k.columnOf(s.Feed, s.From)+" <= "+last+", true)")
	}
	if s.Until != "" {
		out = append(out, "ifNull("+k.columnOf(s.Feed, s.Until)+" >= "+first+", true)")
	}
	if s.Date != "" {
		c := k.columnOf(s.Feed, s.Date)
		out = append(out, "ifNull("+c+" <= "+last+" AND "+c+" >= "+window(s.Window, first)+", false)")
	}
	if s.year != "" {
		out = append(out, k.columnOf(s.Feed, s.year)+" BETWEEN toYear("+first+") AND toYear("+last+")")
	}
	if len(out) == 0 {
		return "true"
	}
	return strings.Join(out, " AND ")
}

// conditions are what a record must meet on the day d.
func (k *compiler) conditions(s *Source) []string {
	var out []string
	spec := k.c.Contract.Feed(s.Feed)
	for _, w := range s.Where {
		f := &spec.All()[spec.Index(w.Field)]
		if k.splitsBy(f) {
			continue // the split asks for each value, so no single one is wanted
		}
		if w.Known {
			out = append(out, "ifNull(toString("+f.Column()+"), '') != ''")
			continue
		}
		if k.truth(s.Feed, w.Field) && len(w.Is) == 1 {
			out = append(out, k.holds(&With{Feed: s.Feed, Field: w.Field, Is: w.Is[0]}, f.Column()))
			continue
		}
		out = append(out, "ifNull(toString("+f.Column()+"), '') IN "+k.list("where_"+w.Field, w.Is))
	}
	col := func(f string) string { return k.columnOf(s.Feed, f) }
	if s.From != "" {
		out = append(out, "ifNull("+col(s.From)+" <= d, true)")
	}
	if s.Until != "" {
		op := ">"
		if s.Last {
			op = ">="
		}
		out = append(out, "ifNull("+col(s.Until)+" "+op+" d, true)")
	}
	if s.Date != "" {
		out = append(out, "ifNull("+col(s.Date)+" <= d AND "+col(s.Date)+" >= "+window(s.Window, "d")+", false)")
	}
	if s.year != "" {
		out = append(out, col(s.year)+" = toYear(d)")
	}
	if m := s.Match; m != nil {
		mine, theirs := []string{"d", "unit"}, []string{"d", "unit"}
		var more []string
		for _, pair := range m.On {
			mine = append(mine, "toString("+col(pair[0])+")")
			theirs = append(theirs, "toString("+k.columnOf(m.Feed, pair[1])+")")
			more = append(more, pair[1])
		}
		split := k.split
		k.split = ""
		other := k.state(&m.Source, more...)
		k.split = split
		out = append(out, "("+strings.Join(mine, ", ")+") IN (\n"+indent("SELECT "+strings.Join(theirs, ", ")+" FROM (\n"+indent(other)+"\n)")+"\n)")
	}
	return out
}

// splitsBy says whether a field holds the codes of the split.
func (k *compiler) splitsBy(f *feed.Field) bool {
	if k.split == "" {
		return false
	}
	g := k.c.group(k.split)
	return f.List == k.split || g != nil && g.Feed == "" && g.Field == f.Name
}

// splitField is the field of a feed that holds the codes of the split.
func (k *compiler) splitField(name string) string {
	s := k.c.Contract.Feed(name)
	for i := range s.All() {
		if f := &s.All()[i]; f.Current && k.splitsBy(f) {
			return f.Name
		}
	}
	return ""
}

func (k *compiler) records(l *Leaf) string {
	var parts, feeds, where []string
	provider := l.Sources[0].Provider != ""
	for i := range l.Sources {
		s := &l.Sources[i]
		feeds = append(feeds, s.Feed)
		more := slices.Clone(l.Distinct)
		spec := k.c.Contract.Feed(s.Feed)
		cat := "''"
		if f := k.splitField(s.Feed); f != "" {
			more = append(more, f)
			cat = k.code(k.columnOf(s.Feed, f))
		}
		key := "''"
		if len(l.Distinct) > 0 {
			var keys []string
			for _, f := range l.Distinct {
				c := k.columnOf(s.Feed, f)
				if spec.All()[spec.Index(f)].Kind.Kind == feed.Codes {
					c = "arrayJoin(" + c + ")"
				}
				keys = append(keys, "toString("+c+")")
			}
			key = "[" + strings.Join(keys, ", ") + "]"
		}
		if provider {
			key += " AS key, " + k.columnOf(s.Feed, s.Provider) + " AS provider"
		} else {
			key += " AS key"
		}
		parts = append(parts, "SELECT d, unit, "+cat+" AS cat, "+key+"\nFROM (\n"+indent(k.state(s, more...))+"\n)")
	}
	rows := strings.Join(parts, "\nUNION ALL\n")
	value := "count()"
	if len(l.Distinct) > 0 {
		value = "uniqExact(xxh3(key))" // told by 64 bits, in an eighth of the time
	}
	// By 64 bits: looking up a million texts with their days takes twice as long.
	if provider {
		where = append(where, "xxh3(d, provider) IN (\n"+indent(k.providers())+"\n)")
	}
	if l.Counties {
		where = append(where, "xxh3(d, unit, key[1]) IN (SELECT xxh3(d, unit, area) FROM (\n"+indent(k.counties("registered_users"))+"\n))")
	}
	counts := "SELECT d, unit, cat, " + value + " AS v, count() AS source\nFROM (\n" + indent(rows) + "\n)"
	if len(where) > 0 {
		counts += "\nWHERE " + strings.Join(where, " AND ")
	}
	return k.onGrid(counts+"\nGROUP BY d, unit, cat", feeds...)
}

// providers are the organisations of the types counted that are active on a day, as
// hashes of both. Of a state only that much has to be known, so it is one number; states
// with all that they say take three times as long.
func (k *compiler) providers() string {
	s := &Source{Feed: "org", Where: []Where{{Field: "status", Is: []string{"active"}}, {Field: "org_type", Is: k.in.Measure.Top.Types}}}
	counts := strings.Join(append(k.conditions(s), "true"), " AND ")
	state := "bitOr(bitShiftLeft(" + order(byEffective, byUnit, byVersion) + ", 1), toUInt256(" + counts + "))"
	return "SELECT xxh3(d, uscc)\nFROM (\n  SELECT uscc, " + k.daily(state) + " AS xs\n  FROM " + k.lately(s.Feed, "uscc", k.may(s), "", k.read(s, "uscc")...) + "\n  GROUP BY uscc\n)\nARRAY JOIN {dates:Array(Date32)} AS d, xs AS x\nWHERE bitAnd(toUInt8(x), 1) = 1"
}

// areas are the counts of context by area, of the month that is its unit's newest on each
// of the days: d, unit, area and the count x. A province's own figure wins over the
// national office's.
func (k *compiler) areas(field, where string) string {
	// Numbers: texts take twice the time.
	const place = "if(reporting_unit = '" + office + "', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit)))"
	rows := k.table("context", "division_code", "period", field)
	where = "WHERE " + field + " IS NOT NULL AND period <= arrayMax({dates:Array(Date32)})" + where
	newest := "SELECT place, d, max(month) AS newest\nFROM (SELECT DISTINCT " + place + " AS place, period AS month FROM " + rows + " " + where + ")\nARRAY JOIN {dates:Array(Date32)} AS d\nWHERE month <= d\nGROUP BY place, d"
	counts := "SELECT " + place + " AS place, division_code AS area, period AS month,\n  argMax(" + field + ", bitOr(bitShiftLeft(toUInt128(reporting_unit != '" + office + "'), 120), _version)) AS x\nFROM " + rows + "\n" +
		where + " AND (place, month) IN (SELECT place, newest FROM (\n" + indent(newest) + "\n))\nGROUP BY place, area, month"
	return "SELECT n.d AS d, " + digits("c.place", 6) + " AS unit, toString(c.area) AS area, c.x AS x\nFROM (\n" + indent(counts) + "\n) AS c\nINNER JOIN (\n" + indent(newest) + "\n) AS n ON c.place = n.place AND c.month = n.newest"
}

// context takes a unit's latest month up to the day: the province's own row if
// it sent one, else the sum of its cities, else of its counties.
func (k *compiler) context(field string) string {
	return "SELECT d, unit, '' AS cat, toFloat64(argMax(total, level)) AS v, argMax(areas, level) AS source\nFROM (\n" +
		"  SELECT d, unit, multiIf(endsWith(area, '0000'), 3, endsWith(area, '00'), 2, 1) AS level, sum(x) AS total, count() AS areas\n  FROM (\n" +
		indent(indent(k.areas(field, ""))) + "\n  )\n  GROUP BY d, unit, level\n)\nGROUP BY d, unit"
}

// counties are the counties of each unit's latest month of context.
func (k *compiler) counties(field string) string {
	return k.areas(field, " AND NOT endsWith(division_code, '00')")
}

func (k *compiler) gap(l *Leaf) string {
	ratio := k.param("ratio", "Float64", number(k.c.Target(l.RatioTarget).Value))
	return "SELECT d, unit, '' AS cat, toFloat64(sum(greatest(0, ceil(need.x / " + ratio + ") - ifNull(have.v, 0)))) AS v, toUInt64(count() + sum(ifNull(have.source, 0))) AS source\n" +
		"FROM (\n" + indent("SELECT * FROM (\n"+indent(k.counties(l.Field))+"\n)\nWHERE unit IN (SELECT DISTINCT toString(reporting_unit) FROM employment)") + "\n) AS need\n" +
		"LEFT JOIN (\n" + indent(byDay("unit, area", "{dates:Array(Date32)}", "SELECT unit, county AS area, sumForEach(here) AS flags\nFROM (\n"+indent(k.persons(false))+"\n)\nGROUP BY unit, area")) + "\n) AS have ON need.d = have.d AND need.unit = have.unit AND need.area = have.area\nGROUP BY d, unit"
}

// orgs are the organisations that have workers, or an open contract. One that two
// units report belongs to that of its newest state.
func (k *compiler) orgs(l *Leaf) string {
	cat := "''"
	switch k.split {
	case "org_type":
		cat = "toString(org_type)"
	case "size_class":
		cat = k.code("worker_total")
	}
	open := func(name string) string {
		return "SELECT xxh3(d, provider_uscc) FROM (\n" + indent(k.state(&Source{Feed: name, From: "start_on", Until: "end_on", Last: true}, "provider_uscc")) + "\n)"
	}
	is := func(field string, codes ...string) Where { return Where{Field: field, Is: codes} }
	states := k.state(&Source{Feed: "org", Key: []string{"uscc"}, Where: []Where{is("org_type", l.Types...), is("status", l.Status)}}, "uscc", "org_type", "worker_total")
	return k.onGrid("SELECT d, unit, "+cat+" AS cat, count() AS v, count() AS source\nFROM (\n"+indent(states)+"\n)\nWHERE worker_total > 0 OR xxh3(d, uscc) IN (\n"+
		indent(open("project")+"\nUNION ALL\n"+open("post"))+"\n)\nGROUP BY d, unit, cat", "org")
}

func partFeeds(parts []Part) []string {
	var out []string
	for _, p := range parts {
		out = append(out, p.Feed)
	}
	return out
}

// amounts sums the amounts of contracts of the day's budget year that have begun:
// d, unit, cat (the part's code), v, source.
func (k *compiler) amounts(parts []Part) string {
	out := make([]string, len(parts))
	for i, p := range parts {
		rows := k.state(&Source{Feed: p.Feed, From: "start_on", year: "budget_year"}, p.Field)
		out[i] = "SELECT d, unit, " + k.text("mode", p.Code) + " AS cat, sum(toFloat64(" + p.Field + ")) AS v, count() AS source\nFROM (\n" + indent(rows) + "\n)\nGROUP BY d, unit"
	}
	return strings.Join(out, "\nUNION ALL\n")
}

// mix gives each part's amount and the sum of all.
func (k *compiler) mix(m *Measure) string {
	all := make([]string, len(m.Parts))
	for i, p := range m.Parts {
		all[i] = p.Code
	}
	shown, cat := "{codes:Array(String)}", "code"
	split := k.split
	if split == "" {
		shown, cat = "["+k.text("shown", m.Shown)+"]", "''"
	}
	k.split = "purchase_mode"
	amounts := strings.ReplaceAll(k.onGrid(k.amounts(m.Parts), partFeeds(m.Parts)...), "{codes:Array(String)}", k.list("all_codes", all))
	k.split = split
	return "SELECT d, unit, " + cat + " AS cat, n, m, source\nFROM (\n  SELECT d, unit, cat AS code, toNullable(v) AS n, toNullable(sum(v) OVER (PARTITION BY d, unit)) AS m, toUInt64(sum(source) OVER (PARTITION BY d, unit)) AS source\n  FROM (\n" + indent(indent(amounts)) + "\n  )\n)\nWHERE code IN " + shown
}

// covered counts the counties of context that lie in an area, be it the county,
// its city or its province, of which a record of a feed speaks.
func (k *compiler) covered(l *Leaf) string {
	s := &l.Sources[0]
	areas := "SELECT d, toString(division_code) AS area FROM (\n" + indent(k.state(s, "division_code")) + "\n)"
	return "SELECT d, unit, '' AS cat, toFloat64(countIf((d, area) IN (\n" + indent(areas) + "\n) OR (d, concat(substring(area, 1, 4), '00')) IN (\n" + indent(areas) + "\n) OR (d, concat(substring(area, 1, 2), '0000')) IN (\n" + indent(areas) + "\n))) AS v, count() AS source\nFROM (\n" +
		indent(k.counties("registered_users")) + "\n)\nGROUP BY d, unit"
}

// control gives the sum of the control totals of the organisations (m), and of how far
// each is from the persons with an open spell there (n).
func (k *compiler) control(field string) string {
	open := "arrayMap(d -> start_on <= d AND ifNull(end_on > d, true), {dates:Array(Date32)})"
	heads := "SELECT d, employer_uscc, heads\nFROM (\n  SELECT employer_uscc, sumForEach(open) AS hs\n  FROM (SELECT employer_uscc, " + person("id_number_token") + " AS person, maxForEach(" + open + ") AS open FROM " +
		k.table("employment", "employer_uscc", "id_number_token", "start_on", "end_on", "worker_category") + " WHERE worker_category IN {categories:Array(String)} GROUP BY employer_uscc, person)\n  GROUP BY employer_uscc\n)\nARRAY JOIN {dates:Array(Date32)} AS d, hs AS heads"
	counts := "SELECT t.d AS d, t.unit AS unit, '' AS cat, sum(abs(toInt64(" + field + ") - toInt64(ifNull(c.heads, 0)))) AS n, sum(" + field + ") AS m, count() AS source\nFROM (\n" +
		indent(k.state(&Source{Feed: "org"}, "uscc", field)) + "\n) AS t\nLEFT JOIN (\n" + indent(heads) + "\n) AS c ON t.d = c.d AND t.uscc = c.employer_uscc\nGROUP BY d, unit"
	return "SELECT d, unit, cat, toNullable(n) AS n, toNullable(m) AS m, source\nFROM (\n" + indent(k.pairsOnGrid(counts, "org")) + "\n)"
}
