package chartstest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// aroundPeople adds what surrounds the people of the nation: evaluations and the
// contracts that they are of, sites, documents, pay standards, stations.
func (db *DB) aroundPeople(add func(string, Row)) {
	day := func(y, m, d int) string {
		return time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
	}
	grades := []string{"3", "2", "2", "1"}
	for i, u := range db.Contract.Units {
		if !u.Reports {
			continue
		}
		row := func(of string, r Row) {
			r["reporting_unit"] = u.Code
			add(of, r)
		}
		for n := range 6 + i%7 {
			project := fmt.Sprint("O", n)
			row("project", Row{"project_id": project, "purchaser_uscc": "11" + u.Code + "0000000000", "provider_uscc": "ORG-" + u.Code + "-00", "project_name": "社区戒毒社区康复服务项目", "budget_year": 2015, "amount_fen": 40_000_000 + 1_000_000*n,
				"fund_source": "02", "procurement_method": "01", "service_types": []string{"1"}, "county_code": u.Code, "start_on": day(2015, 1+n%9, 1), "end_on": day(2016, 1+n%9, 1), "effective_from": day(2015, 1+n%9, 1)})
			for year, at := range map[int]string{2015: day(2015, 2+n%10, 10), 2016: day(2016, 1+(n+i)%10, 20)} {
				score := 58 + (n*13+i*7+year)%41
				by := string(rune('1' + (n+i)%4))
				row("evaluation", Row{"evaluation_id": fmt.Sprint("E", year, n), "subject_type": string(rune('1' + (n+year)%4)), "subject_key": project, "evaluator_type": by, "year": year, "score": score,
					"grade": grades[max(0, (score-60)/10)], "evaluated_on": at, "effective_from": at})
				if n%3 == 0 {
					row("evaluation", Row{"evaluation_id": fmt.Sprint("T", year, n), "subject_type": "2", "subject_key": project, "evaluator_type": "2", "year": year, "score": 88, "grade": "2", "evaluated_on": at, "effective_from": at})
				}
			}
		}
		for n := range 1 + i%5 {
			row("demo_site", Row{"site_id": fmt.Sprint("D", n), "site_name": u.ShortZh + "示范点", "level": string(rune('1' + (n+i)%4)), "status": []string{"2", "3", "2"}[n%3], "county_code": u.Code,
				"named_on": day(2011+n%4, 6, 26), "reviewed_on": day(2012+(n+i)%5, 5, 4), "effective_from": "2015-10-31"})
		}
		for n := range 1 + i%4 {
			row("policy_doc", Row{"doc_no": fmt.Sprintf("%s禁毒〔2016〕%d号", u.Abbr, 1+n), "title": "关于加强禁毒社会工作者队伍建设的意见", "topics": [][]string{{"staffing", "pay"}, {"training"}, {"purchase", "evaluation"}, {"incentive"}}[n],
				"dimension": "V", "division_code": u.Code, "issued_on": day(2016, 2+2*n, 6), "effective_from": day(2016, 2+2*n, 6)})
		}
		for n := range 4 + i%6 {
			county := fmt.Sprintf("%s%02d%02d", u.Code[:2], 1+n/4, 1+n%4)
			if (n+i)%3 != 0 {
				row("pay_standard", Row{"division_code": county, "cert_level": "1", "monthly_fen": 420_000 + 10_000*(i%9), "adjust_rule": true, "effective_from": "2016-01-01"})
			}
			for k := range 1 + (n+i)%3 {
				row("station", Row{"station_id": fmt.Sprint("W", n, "-", k), "county_code": county, "township_name": fmt.Sprint("第", k+1, "街道"), "opened_on": "2014-06-26", "effective_from": "2014-06-26"})
			}
		}
	}
}

// Publishable makes the tables of published figures, of all that the sink makes.
func (db *DB) Publishable(t testing.TB, system []string) {
	t.Helper()
	for _, sql := range system {
		if strings.Contains(sql, "published_figures") || strings.Contains(sql, "publications") {
			db.Exec(t, sql)
		}
	}
}

// Published adds two months that were published, one of them approved.
func (db *DB) Published(t testing.TB, system []string) {
	t.Helper()
	db.Publishable(t, system)
	db.Exec(t, "INSERT INTO publications (month, edition, state, attempt, who, reason, at) VALUES ('2016-09-30', 1, 'published', generateUUIDv4(), 'Wang', '', '2016-10-05 09:00:00'), ('2016-09-30', 1, 'approved', generateUUIDv4(), 'Zhao', 'checked', '2016-10-08 09:00:00'), ('2016-10-31', 1, 'published', generateUUIDv4(), 'Wang', '', '2016-11-05 09:00:00')")
}

// pipeline fills what the worker leaves beside the feeds: receipts, quarantine
// and ledger, the newest of it in the last hour of today.
func (db *DB) pipeline(t testing.TB) {
	t.Helper()
	for _, s := range db.Contract.Feeds {
		db.Exec(t, "INSERT INTO receipt_parts_effective SELECT reporting_unit, '"+s.Feed+"', toInt64(count() + cityHash64(reporting_unit) % 7), toInt64(cityHash64(reporting_unit, '"+s.Feed+"') % 7), map('ric_checksum', toInt64(cityHash64(reporting_unit) % 4), 'code_list', toInt64(3), 'required', toInt64(2)), toDateTime64('2016-11-11 08:00:00', 3, 'Asia/Shanghai') FROM "+s.CurrentTable()+" FINAL WHERE reporting_unit != '000000' GROUP BY reporting_unit")
	}
	db.Exec(t, "INSERT INTO quarantine SELECT unit, feed, ['required'], arrived_at FROM receipt_parts_effective WHERE cityHash64(unit, feed) % 3 = 0")
	db.Exec(t, "INSERT INTO ledger SELECT 'duiwu.feed.' || unit, 0, 0, n * 500, n * 500 + 499, 'cut', 200 + cityHash64(unit, n) % 900, toDateTime64('2016-11-11 23:59:50', 3, 'Asia/Shanghai') - INTERVAL (cityHash64(unit, n) % 3600 + if(n > 3, 0, 18000)) SECOND FROM (SELECT DISTINCT unit FROM receipt_parts_effective) AS u CROSS JOIN (SELECT toInt64(number) AS n FROM numbers(12)) AS k")
}
