package worklist

import (
	"fmt"
	"strings"

	"github.com/duiwu/duiwu/internal/feed"
)

// overlap is for how many days a person may be open in two units before anybody
// asks: papers of a move take their time.
const overlap = 31

// Cases is the statement that finds all cases of the current tables on the day
// {today:Date32}; open leaves out those that were decided. Its other parameters
// are those of the people.
func Cases(c *feed.Catalogue, p *People, open bool) string {
	var parts []string
	for _, s := range c.Feeds {
		if s.NaturalKey != nil {
			parts = append(parts, twins(s), conflicts(s))
		}
	}
	if s := c.Feed("employment"); s != nil {
		parts = append(parts, twoUnits(c, s, p))
	}
	if s := c.Feed("worker"); s != nil {
		parts = append(parts, identities(s, p), weak(s, p))
	}
	where := ""
	if open {
		where = "\nWHERE id NOT IN (SELECT case_id FROM (" + Standing() + "))"
	}
	// Of several records that make one case the least pair stands for it.
	return "SELECT id, kind, feed, reason, unit_a, record_a, toString(from_a) AS day_a, token_a, unit_b, record_b, toString(from_b) AS day_b, token_b, toString(since) AS since_day\nFROM (\n" +
		"  SELECT lower(hex(substring(SHA256(concat(kind, '|', key)), 1, 6))) AS id, * FROM (\n" + strings.Join(parts, "\nUNION ALL\n") + "\n  )\n" +
		"  ORDER BY unit_a, record_a, unit_b, record_b\n  LIMIT 1 BY id\n)" + where + "\nORDER BY indexOf(['" + kindOrder() + "'], kind), since, id"
}

func kindOrder() string {
	var ids []string
	for _, k := range Kinds {
		ids = append(ids, k.ID)
	}
	return strings.Join(ids, "', '")
}

// sides are the columns of a pair from two tuples of unit, record, day and token.
func sides(a, b string) string {
	var out []string
	for _, s := range [][2]string{{a, "a"}, {b, "b"}} {
		for i, name := range []string{"unit", "record", "from", "token"} {
			out = append(out, fmt.Sprintf("tupleElement(%s, %d) AS %s_%s", s[0], i+1, name, s[1]))
		}
	}
	return strings.Join(out, ", ")
}

// twins are two records of one unit with one natural key; in a snapshot feed, of
// one day.
func twins(s *feed.Spec) string {
	token := "''"
	key, cols := []string{"toString(reporting_unit)"}, []string{"reporting_unit"}
	for _, name := range s.NaturalKey {
		f := &s.All()[s.Index(name)]
		col := f.Column()
		cols = append(cols, col)
		if f.Kind.Kind == feed.ResidentID {
			if token == "''" {
				token = "lower(hex(" + col + "))"
			}
			col = "hex(" + col + ")"
		}
		key = append(key, "toString("+col+")")
	}
	thing := "concatWithSeparator('|', '" + s.Feed + "', " + strings.Join(key, ", ") + ")"
	group := "thing"
	if s.KeyHasDate() {
		group += ", effective_from"
		cols = append(cols, "effective_from")
	}
	// Nearly no key is there twice.
	hash := "xxh3(" + strings.Join(cols, ", ") + ")"
	rows := "SELECT " + thing + " AS thing, reporting_unit, record_id, effective_from, " + token + " AS token FROM " + s.CurrentTable() + " FINAL WHERE " + hash + " IN (" + Repeated(hash, s.CurrentTable()+" FINAL") + ")"
	return "SELECT 'twin' AS kind, '" + s.Feed + "' AS feed, 'same_key' AS reason, concatWithSeparator('|', thing, tupleElement(a, 2), tupleElement(b, 2)) AS key, " + sides("a", "b") + ", since\nFROM (\n" +
		"  SELECT max(one) AS a, max(other) AS b, thing, min(day) AS since FROM (\n" +
		"    SELECT thing, day, r[1] AS one, arrayJoin(arraySlice(r, 2)) AS other FROM (\n" +
		"      SELECT thing, max(effective_from) AS day, arraySort(groupArray((toString(reporting_unit), record_id, effective_from, token))) AS r FROM (\n        " + rows + "\n      )\n      GROUP BY " + group + " HAVING length(r) > 1\n    )\n" +
		"  )\n  GROUP BY thing, tupleElement(one, 2), tupleElement(other, 2)\n)"
}

// Repeated is the statement that finds the hashes that several rows have. It sorts
// sixteen arrays of all of them, which is cheaper than a table of them.
func Repeated(hash, from string) string {
	return "SELECT arrayJoin(arrayFilter((h, before) -> h = before, hs, arrayPushFront(arrayPopBack(hs), 0))) AS h\nFROM (SELECT arraySort(groupArray(" + hash + ")) AS hs FROM " + from + " GROUP BY " + hash + " % 16)"
}

// conflicts are two contents of one record with one reported_at of which one is
// current. A version is the moment, then the hash of the content, then the
// revision that read it.
func conflicts(s *feed.Spec) string {
	key := strings.Join(s.Key(), ", ")
	const moment, content = "bitShiftRight(" + feed.ColVersion + ", 64)", "bitShiftRight(" + feed.ColVersion + ", 16)"
	// Nearly no record has a conflict: everything else is left out first.
	some := "(" + key + ") IN (SELECT " + key + " FROM " + s.HistoryTable() + " WHERE " + feed.ColOutcome + " = 'conflict')"
	return "SELECT 'conflict' AS kind, '" + s.Feed + "' AS feed, 'moment' AS reason, concatWithSeparator('|', '" + s.Feed + "', toString(unit), record, toString(day), toString(at)) AS key,\n" +
		"  unit AS unit_a, record AS record_a, day AS from_a, '' AS token_a, unit AS unit_b, record AS record_b, day AS from_b, '' AS token_b, day_of AS since\nFROM (\n" +
		"  SELECT toString(reporting_unit) AS unit, record_id AS record, any(effective_from) AS day, " + moment + " AS at, toDate32(any(reported_at)) AS day_of\n  FROM " + s.HistoryTable() + "\n" +
		"  WHERE " + some + "\n    AND (" + key + ", " + moment + ") IN (SELECT " + key + ", " + moment + " FROM " + s.CurrentTable() + " FINAL WHERE " + some + ")\n" +
		"  GROUP BY " + key + ", at HAVING min(" + content + ") != max(" + content + ")\n)"
}

// twoUnits are persons of the head count open in two units for longer than a move
// takes: the spell that began last beside the last one of each other unit.
func twoUnits(c *feed.Catalogue, s *feed.Spec, p *People) string {
	var head []string
	for _, e := range c.List("worker_category").Entries {
		if e.Extra["head_count"] == "true" {
			head = append(head, e.Code)
		}
	}
	return "SELECT 'two_units' AS kind, 'employment' AS feed, 'both' AS reason, concatWithSeparator('|', hex(person), arrayStringConcat(arraySort([tupleElement(a, 1), tupleElement(b, 1)]), '|')) AS key, " + sides("a", "b") + ", since\nFROM (\n" +
		"  SELECT person, tuple(tupleElement(s[1], 2), tupleElement(s[1], 3), tupleElement(s[1], 4), lower(hex(person))) AS a, tuple(tupleElement(o, 2), tupleElement(o, 3), tupleElement(o, 4), tupleElement(o, 5)) AS b, tupleElement(s[1], 4) AS since FROM (\n" +
		"    SELECT person, arraySort(groupArray((-toInt32(start_on), toString(reporting_unit), record_id, start_on, lower(hex(id_number_token))))) AS s FROM (\n" +
		"      SELECT " + p.Person("id_number_token", "reporting_unit") + " AS person, id_number_token, start_on, reporting_unit, record_id FROM " + s.CurrentTable() + " FINAL\n" +
		"      WHERE worker_category IN ('" + strings.Join(head, "', '") + "') AND start_on <= {today:Date32} AND ifNull(end_on > {today:Date32}, true)\n    )\n" +
		"    GROUP BY person HAVING uniqExact(reporting_unit) > 1\n  )\n  ARRAY JOIN s AS o\n" +
		fmt.Sprintf("  WHERE tupleElement(o, 2) != tupleElement(s[1], 2) AND dateDiff('day', tupleElement(s[1], 4), {today:Date32}) > %d\n)", overlap)
}

// known are the workers as each record last told of them, with the first day of
// which it told: all of them, or those of some rows of the current table. Names stand
// in the history only.
func known(s *feed.Spec, p *People, where string) string {
	return "SELECT toString(h.reporting_unit) AS unit, h.record_id AS record, h.effective_from AS day, h.id_number_token AS token, " + p.Person("token", "unit") + " AS person,\n" +
		"  h.name_token AS name, toString(h.sex) AS sex, h.birth_year AS birth, toString(h.county_code) AS county, c.first AS first\nFROM " + s.HistoryTable() + " AS h\nINNER JOIN (\n" +
		"  SELECT reporting_unit, record_id, min(effective_from) AS first, max(effective_from) AS last, argMax(" + feed.ColVersion + ", effective_from) AS newest FROM " + s.CurrentTable() + " FINAL " + where + "GROUP BY reporting_unit, record_id\n" +
		") AS c ON h.reporting_unit = c.reporting_unit AND h.record_id = c.record_id AND h.effective_from = c.last AND h." + feed.ColVersion + " = c.newest"
}

// identities are records with one number and another name, sex or birth year.
func identities(s *feed.Spec, p *People) string {
	const x, y = "tupleElement(g[1], %[1]d)", "tupleElement(o, %[1]d)"
	// Nearly every number stands in one record.
	several := "SELECT xxh3(id_number_token) AS h FROM " + s.CurrentTable() + " FINAL GROUP BY h HAVING min(xxh3(reporting_unit, record_id)) != max(xxh3(reporting_unit, record_id))"
	some := "WHERE (reporting_unit, record_id) IN (SELECT reporting_unit, record_id FROM " + s.CurrentTable() + " FINAL WHERE xxh3(id_number_token) IN (" + several + ")) "
	differs := func(at int) string {
		d := fmt.Sprintf(x+" != "+y, at)
		return "ifNull(" + d + ", false)"
	}
	return "SELECT 'identity' AS kind, 'worker' AS feed, arrayStringConcat(why, ',') AS reason, concatWithSeparator('|', tupleElement(a, 4), tupleElement(a, 1), tupleElement(a, 2), tupleElement(b, 1), tupleElement(b, 2)) AS key, " + sides("a", "b") + ", since\nFROM (\n" +
		"  SELECT arrayFilter(w -> w != '', [if(" + differs(5) + ", 'name', ''), if(" + differs(6) + ", 'sex', ''), if(" + differs(7) + ", 'birth_year', '')]) AS why,\n" +
		"    tuple(tupleElement(g[1], 1), tupleElement(g[1], 2), tupleElement(g[1], 3), tupleElement(g[1], 4)) AS a, tuple(tupleElement(o, 1), tupleElement(o, 2), tupleElement(o, 3), tupleElement(o, 4)) AS b, greatest(tupleElement(g[1], 8), tupleElement(o, 8)) AS since\n  FROM (\n" +
		"    SELECT arraySort(q -> (tupleElement(q, 1), tupleElement(q, 2)), groupArray((unit, record, day, lower(hex(token)), name, sex, birth, first))) AS g FROM (\n" + known(s, p, some) + "\n    )\n    GROUP BY token HAVING uniqExact(name) + uniqExact(sex) + uniqExact(birth) > 3\n  )\n" +
		"  ARRAY JOIN g AS o\n  WHERE notEmpty(why)\n)"
}

// weak are two persons with one name, sex, birth year and area.
func weak(s *feed.Spec, p *People) string {
	pick := func(t string) string {
		return "tuple(tupleElement(" + t + ", 1), tupleElement(" + t + ", 2), tupleElement(" + t + ", 3), tupleElement(" + t + ", 4))"
	}
	return "SELECT 'weak' AS kind, 'worker' AS feed, 'alike' AS reason, concatWithSeparator('|', least(tupleElement(a, 4), tupleElement(b, 4)), greatest(tupleElement(a, 4), tupleElement(b, 4))) AS key, " + sides("a", "b") + ", since\nFROM (\n" +
		"  SELECT " + pick("x") + " AS a, " + pick("y") + " AS b, greatest(tupleElement(x, 6), tupleElement(y, 6)) AS since\n  FROM (SELECT x, arrayJoin(g) AS y FROM (SELECT g, arrayJoin(g) AS x FROM (\n" +
		"    SELECT groupArray((unit, record, day, lower(hex(token)), person, first)) AS g FROM (\n" + known(s, p, "") + "\n    )\n    WHERE isNotNull(birth)\n    GROUP BY name, sex, birth, county HAVING uniqExact(person) > 1\n  )))\n" +
		"  WHERE x < y AND tupleElement(x, 5) != tupleElement(y, 5)\n)"
}
