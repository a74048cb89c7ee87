package catalogue

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/duiwu/duiwu/internal/feed"
)

// measuredFeeds are the feeds whose arrival an indicator is about.
func (in *Indicator) measuredFeeds() []string {
	if in.Measure.Top != nil && len(in.Measure.Top.Feeds) > 0 {
		return in.Measure.Top.Feeds
	}
	return in.Measure.Feeds
}

// known restricts a history to what had arrived.
func (k *compiler) known(and string) string {
	if k.q.Known.IsZero() {
		return ""
	}
	return and + "_arrived_at <= " + feed.KnownAt
}

// batches counts the monthly batches that were due in the year of each day, or
// those of them of which a first record was reported in time. When they were due
// is the calendar's business and comes as a parameter; a month of which the
// calendar does not know the holidays is not due.
func (k *compiler) batches(l *Leaf) (string, error) {
	var feeds, months, dues []string
	first, last := k.q.Dates[0], k.q.Dates[len(k.q.Dates)-1]
	for _, name := range l.Feeds {
		s := k.c.Contract.Feed(name)
		for m := time.Date(first.Year()-1, 10, 1, 0, 0, 0, 0, time.UTC); !m.After(last); m = m.AddDate(0, 1, 0) {
			due, err := k.c.Contract.Calendar.Due(s, feed.Day(m))
			if err != nil {
				continue
			}
			feeds, months, dues = append(feeds, name), append(months, m.Format(time.DateOnly)), append(dues, due.In(feed.Shanghai).Format("2006-01-02 15:04:05"))
		}
	}
	if len(feeds) == 0 {
		return "", fmt.Errorf("cannot compute %s: the calendar knows no due time up to %s", k.in.ID, last.Format(time.DateOnly))
	}
	due := "arrayZip(" + k.list("due_feeds", feeds) + ", " + k.param("due_months", "Array(Date32)", array(months)) + ", " + k.param("due_at", "Array(DateTime('Asia/Shanghai'))", array(dues)) + ")"
	cat := "''"
	if k.split == "feed" {
		cat = "feed"
	}
	asked := "SELECT d, unit, tupleElement(b, 1) AS feed, tupleElement(b, 2) AS month, tupleElement(b, 3) AS due\nFROM (SELECT arrayJoin({dates:Array(Date32)}) AS d, arrayJoin({units:Array(String)}) AS unit)\nARRAY JOIN " + due + " AS b\nWHERE toYear(subtractSeconds(due, 1)) = toYear(d) AND toDate32(subtractSeconds(due, 1)) <= d"
	if l.Count == "due" {
		return "SELECT d, unit, " + cat + " AS cat, toFloat64(count()) AS v, toUInt64(0) AS source\nFROM (\n" + indent(asked) + "\n)\nGROUP BY d, unit, cat", nil
	}
	var firsts []string
	for _, name := range l.Feeds {
		firsts = append(firsts, "SELECT '"+name+"' AS feed, toString(reporting_unit) AS unit, period AS month, min(reported_at) AS first FROM "+name+"_history WHERE period >= arrayMin("+k.param("due_months", "Array(Date32)", array(months))+")"+k.known(" AND ")+" GROUP BY unit, month")
	}
	return "SELECT d, unit, " + cat + " AS cat, toFloat64(countIf(ifNull(f.first < a.due, false))) AS v, countIf(isNotNull(f.first)) AS source\nFROM (\n" + indent(asked) + "\n) AS a\nLEFT JOIN (\n" + indent(strings.Join(firsts, "\nUNION ALL\n")) +
		"\n) AS f ON a.feed = f.feed AND a.unit = f.unit AND a.month = f.month\nGROUP BY d, unit, cat", nil
}

// versions counts the accepted versions reported in the month of each day (m), and
// those of them that mend or void another (n), in one pass over the histories.
func (k *compiler) versions(feeds []string) string {
	ops := k.list("ops", []string{"C", "V"})
	var parts []string
	for _, name := range feeds {
		if k.split != "" && !slices.Contains(k.codes(), name) {
			continue
		}
		cat := "''"
		if k.split == "feed" {
			cat = "'" + name + "'"
		}
		// A version whose cut was written twice lies twice until a merge.
		parts = append(parts, "SELECT toString(reporting_unit) AS unit, "+cat+" AS cat, toDate32(reported_at) AS day, uniqExactIf(xxh3(record_id, _version), op IN "+ops+") AS mended, uniqExact(xxh3(record_id, _version)) AS c FROM "+name+"_history WHERE _part = 0 AND reported_at >= toDateTime(toStartOfMonth(arrayMin({dates:Array(Date32)})), 'Asia/Shanghai') AND reported_at < toDateTime(addDays(arrayMax({dates:Array(Date32)}), 1), 'Asia/Shanghai')"+k.known(" AND ")+" GROUP BY unit, day")
	}
	return "SELECT d, unit, cat, toNullable(toFloat64(sum(mended))) AS n, toNullable(toFloat64(sum(c))) AS m, toUInt64(sum(c)) AS source\nFROM (\n" + indent(strings.Join(parts, "\nUNION ALL\n")) + "\n)\nARRAY JOIN {dates:Array(Date32)} AS d\nWHERE day <= d AND day >= " + window("month_to_date", "d") + "\nGROUP BY d, unit, cat"
}

// receipts counts what became of the records received: all of them, whenever
// they came, since a receipt says when a cut was written and not of which month
// its records were.
func (k *compiler) receipts(l *Leaf) string {
	cat := "''"
	if k.split == "feed" {
		cat = "toString(feed)"
	}
	of := ""
	if len(l.Feeds) > 0 {
		of = "feed IN " + k.list("of_feeds", l.Feeds)
	}
	and := func(first string, conds ...string) string {
		out := ""
		for _, c := range conds {
			if c == "" {
				continue
			}
			if out == "" {
				out = first + c
			} else {
				out += " AND " + c
			}
		}
		return out
	}
	known := ""
	if !k.q.Known.IsZero() {
		known = "arrived_at <= " + feed.KnownAt
	}
	sum := func(value string) string {
		return "SELECT {dates:Array(Date32)}[1] AS d, toString(unit) AS unit, " + cat + " AS cat, toFloat64(" + value + ") AS v, toUInt64(sum(received)) AS source\nFROM receipt_parts_effective" + and(" WHERE ", of, known) + "\nGROUP BY unit, cat"
	}
	switch l.Count {
	case "accepted":
		return sum("sum(received - rejected)")
	case "clean":
		// Rules counts rejected records by their first finding only, so that a
		// record is not taken off twice.
		return sum("sum(received) - sum(arraySum(arrayFilter((n, r) -> has(" + k.list("rules", l.Rules) + ", toString(r)), mapValues(rules), mapKeys(rules))))")
	case "values_due", "values_present":
		var names []string
		var required []float64
		for _, s := range k.c.Contract.Feeds {
			if len(l.Feeds) > 0 && !slices.Contains(l.Feeds, s.Feed) {
				continue
			}
			n := 0.0
			for i := range s.All() {
				if s.All()[i].Required {
					n++
				}
			}
			names, required = append(names, s.Feed), append(required, n)
		}
		due := sum("sum(received * transform(toString(feed), " + k.list("due_feeds", names) + ", " + k.param("due_values", "Array(Float64)", numbers(required)) + ", toFloat64(0)))")
		if l.Count == "values_due" {
			return due
		}
		absent := "SELECT toString(unit) AS unit, " + cat + " AS cat, sum(arrayCount(r -> toString(r) = " + k.text("required_rule", feed.Required.String()) + ", rules)) AS c\nFROM quarantine FINAL" + and(" WHERE ", of, known) + "\nGROUP BY unit, cat"
		return "SELECT a.d AS d, a.unit AS unit, a.cat AS cat, a.v - toFloat64(ifNull(b.c, 0)) AS v, a.source AS source\nFROM (\n" + indent(due) + "\n) AS a\nLEFT JOIN (\n" + indent(absent) + "\n) AS b ON a.unit = b.unit AND a.cat = b.cat"
	}
	return sum("sum(received)")
}
