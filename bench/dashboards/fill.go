package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/duiwu/duiwu/internal/feed"
)

// years is how far back the history reaches; its last month is November 2016.
const years = 5

const monthsMade = 12 * years

// table says how many rows a feed gets and what stands in them. In expressions n
// is the number of the thing (a person, a contract), k the month from 0 in feeds
// of monthly states, and h a hash of n.
type table struct {
	feed    string
	things  int
	monthly bool
	fields  map[string]string
}

// tables spreads the rows as a nation of that size would: more than half are
// monthly states of persons.
func tables(rows int) []table {
	persons := rows * 55 / 100 / monthsMade
	counties := min(2_880, max(320, rows/20/monthsMade))
	orgs, posts := rows/14/monthsMade, rows/14/monthsMade
	projects, sessions := rows/200, rows/200
	// A thing's unit, county and the like hang on its number, so that feeds agree.
	const person = "toFixedString(hex(sipHash128('p', n)), 32)"
	const start = "addDays(toDate32('2011-06-01'), h % 1900)"
	county := fmt.Sprintf("concat(substring(unit, 1, 2), leftPad(toString(1 + h %% %d), 4, '0'))", counties/32)
	orgCode := func(hash string) string {
		return fmt.Sprintf("concat('52', leftPad(toString(%s %% %d), 16, '0'))", hash, max(orgs, 1))
	}
	contract := "addDays(toDate32('2012-01-05'), h % 1780)"
	return []table{
		{"worker", persons, true, map[string]string{
			"id_number_token": person, "sex": "['1','2'][1 + h % 2]", "birth_year": "1958 + h % 38", "education_code": "['21','31','14','41','61'][1 + h % 5]",
			"major_social_work": "h % 3 = 0", "worker_category": "['01','02','03'][1 + h % 3]", "position_level": "['1','2','3'][1 + h % 3]", "county_code": county,
			"entry_on": start, "is_trainer": "h % 25 = 0", "employer_uscc": orgCode("h"),
		}},
		{"employment", persons * 3 / 2, false, map[string]string{
			"id_number_token": person, "employer_uscc": orgCode("h"), "start_on": start, "end_on": fmt.Sprintf("if(n >= %d, addDays(start_on, 100 + h %% 900), NULL)", persons),
			"leave_reason": fmt.Sprintf("if(n >= %d, ['01','02','05','06'][1 + h %% 4], '')", persons), "worker_category": "['01','02','03'][1 + h % 3]", "county_code": county, "social_insurance": "h % 9 != 0", "employment_form": "'01'",
			"effective_from": "start_on",
		}},
		{"attendance", rows / 5, false, map[string]string{
			"id_number_token": fmt.Sprintf("toFixedString(hex(sipHash128('p', h %% %d)), 32)", persons), "session_id": fmt.Sprintf("toString(intDiv(n, 40) %% %d)", max(sessions, 1)),
			"hours_earned": "24", "passed": "h % 20 != 0", "as_trainer": "h % 30 = 0", "effective_from": "addDays(toDate32('2011-12-01'), (h % 1820))",
		}},
		{"qualification", persons * 2 / 5, false, map[string]string{
			"id_number_token": person, "cert_level": "['1','1','1','2','3'][1 + h % 5]", "issued_on": start, "cert_status": "['1','1','2','3'][1 + h % 4]", "effective_from": start,
		}},
		{"training", sessions, false, map[string]string{"session_id": "toString(n)", "tier": "['2','3','4'][1 + h % 3]", "start_on": contract, "end_on": contract, "hours": "24", "attendee_total": "40", "effective_from": contract}},
		{"org", orgs, true, map[string]string{"uscc": orgCode("n"), "org_type": "['51','52','53'][1 + h % 3]", "county_code": county, "status": "'active'", "worker_total": "h % 12"}},
		{"post", posts, true, map[string]string{
			"post_id": "toString(n)", "purchaser_uscc": "concat('11', substring(unit, 1, 2), '9900000000000')", "provider_uscc": orgCode("h"), "budget_year": "toYear(month)", "county_code": county,
			"unit_price_fen": "5000000", "fund_source": "['02','03','04'][1 + h % 3]", "start_on": "toStartOfYear(month)", "end_on": "addDays(addYears(toStartOfYear(month), 1), -1)", "filled": "h % 12 != 0",
		}},
		{"project", projects, false, map[string]string{
			"project_id": "toString(n)", "purchaser_uscc": "concat('11', substring(unit, 1, 2), '9900000000000')", "provider_uscc": orgCode("h"), "budget_year": "toYear(start_on)", "amount_fen": "h % 90000000",
			"county_code": county, "start_on": contract, "end_on": "addDays(start_on, 364)", "fund_source": "'02'", "procurement_method": "'01'", "effective_from": "start_on",
		}},
		{"evaluation", projects, false, map[string]string{
			"evaluation_id": "toString(n)", "subject_type": "'2'", "subject_key": "toString(n)", "evaluator_type": "['1','2','3'][1 + h % 3]", "year": "toYear(evaluated_on)", "grade": "['1','2','3'][1 + h % 3]",
			"evaluated_on": "addDays(" + contract + ", 100)", "effective_from": "evaluated_on",
		}},
		{"demo_site", max(32, rows/4000/monthsMade), true, map[string]string{"site_id": "toString(n)", "level": "'2'", "status": "['2','3'][1 + h % 2]", "county_code": county, "named_on": start, "reviewed_on": "if(h % 2 = 1, addDays(" + start + ", 200), NULL)"}},
		{"policy_doc", 32 * 12, false, map[string]string{"doc_no": "toString(n)", "topics": "[['pay'],['training'],['purchase','staffing']][1 + h % 3]", "dimension": "'S'", "issued_on": contract, "effective_from": contract}},
		{"pay_standard", counties, false, map[string]string{"division_code": areas(counties), "cert_level": "'1'", "monthly_fen": "300000", "adjust_rule": "h % 3 = 0", "effective_from": "toDate32('2014-01-01')"}},
		{"context", counties, true, map[string]string{"division_code": areas(counties), "registered_users": "300 + h % 1500", "in_community_rehab": "40 + h % 200", "population": "200000 + h % 900000", "county_total": "1", "township_total": "6 + h % 20"}},
		{"station", counties, false, map[string]string{"station_id": "toString(n)", "county_code": areas(counties), "township_name": "toString(h % 7)", "opened_on": contract, "effective_from": contract}},
	}
}

// areas are the counties in which persons and contracts lie.
func areas(counties int) string {
	return fmt.Sprintf("concat(substring(unit, 1, 2), leftPad(toString(1 + intDiv(n, 32) %% %d), 4, '0'))", counties/32)
}

// statements fill the histories year by year, so that there are parts to merge;
// the views fill the current tables. One row in twenty is corrected.
func statements(contract *feed.Catalogue, rows int) []string {
	var units []string
	for _, u := range contract.Units {
		if u.Reports {
			units = append(units, "'"+u.Code+"'")
		}
	}
	var out []string
	for _, t := range tables(rows) {
		fields := maps.Clone(t.fields)
		id := "toString(n)"
		month := "addMonths(toDate32('2011-12-01'), k)"
		if t.monthly {
			fields["effective_from"] = "month"
		} else {
			month = "toStartOfMonth(" + fields["effective_from"] + ")"
			delete(fields, "effective_from")
		}
		// Sent on the fourth of the next month, a correction two days later.
		fields["period"], fields["record_id"], fields["reporting_unit"] = "month", id, "unit"
		fields["reported_at"] = "toDateTime64(addDays(addMonths(month, 1), 3 + 2 * fix), 3, 'Asia/Shanghai') + toIntervalSecond(36000 + h % 20000)"
		fields["_arrived_at"] = "reported_at + toIntervalMinute(5)"
		fields["_version"] = "bitShiftLeft(toUInt128(toUnixTimestamp64Milli(reported_at)), 64) + bitShiftLeft(toUInt128(1), 63) + h"
		fields["op"], fields["_outcome"], fields["batch_id"] = "if(fix = 1, 'C', 'U')", "if(fix = 1, 'correction', 'new')", "concat('B', toString(month))"
		names := slices.Sorted(maps.Keys(fields))
		if !t.monthly {
			names = append(names, "effective_from")
			fields["effective_from"] = t.fields["effective_from"]
		}
		columns := make([]string, len(names))
		for i, n := range names {
			columns[i] = fields[n] + " AS `" + n + "`"
		}
		from := fmt.Sprintf("(SELECT number AS n, bitShiftRight(cityHash64(number), 17) AS h, [%s][1 + n %% 32] AS unit, arrayJoin(if(h %% 20 = 7, [0, 1], [0])) AS fix FROM numbers(%d))", strings.Join(units, ","), t.things)
		for year := range years {
			span := "[toInt32(0)]"
			where := fmt.Sprintf("toYear(addMonths(month, 1)) = %d", 2012+year)
			if t.monthly {
				span = fmt.Sprintf("range(%d, %d)", 12*year, 12*year+12)
				where = "true"
			}
			out = append(out, fmt.Sprintf("INSERT INTO %s_history (`%s`)\nSELECT `%s` FROM (\nSELECT %s, %s AS month\nFROM %s ARRAY JOIN %s AS k\n) WHERE %s SETTINGS max_insert_threads = 1",
				t.feed, strings.Join(names, "`, `"), strings.Join(names, "`, `"), strings.Join(columns, ",\n  "), month, from, span, where))
		}
	}
	return out
}
