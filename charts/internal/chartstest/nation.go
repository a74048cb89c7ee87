package chartstest

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// Nation fills thirteen months of 32 units with plausible invented figures, so
// that pages can be looked at and no panel is empty. Today is 2016-11-11. Hunan is late with every
// monthly feed, Qinghai is very small, Tibet has sent no counts of users.
func Nation(t testing.TB, db *DB) {
	const late, silent = "430000", "540000"
	insert := map[string][]Row{}
	add := func(table string, r Row) {
		r["record_id"] = fmt.Sprintf("%s-%d", table, len(insert[table]))
		insert[table] = append(insert[table], r)
	}
	person := 0
	day := func(d time.Time) string { return d.Format(time.DateOnly) }
	first := time.Date(2015, 10, 1, 0, 0, 0, 0, time.UTC)
	for i, u := range db.Contract.Units {
		if !u.Reports {
			continue
		}
		// A fixed pseudo-random number per unit and use, so that every run draws
		// the same pages.
		rnd := func(k int) float64 {
			x := math.Sin(float64(i*97+k*31+7)) * 43758.5453
			return x - math.Floor(x)
		}
		population := u.Population2020
		if population == 0 {
			population = 2_600_000
		}
		workers := int(float64(population) / 30000 * (0.45 + 1.5*rnd(1)*rnd(2)))
		if u.Region == "east" {
			workers = workers * 3 / 2
		}
		users := int(float64(population) / 560 * (0.6 + 0.8*rnd(3)))
		counties := 4 + int(8*rnd(4))
		county := func(n int) string { return fmt.Sprintf("%s%02d%02d", u.Code[:2], 1+n/4, 1+n%4) }
		for w := range workers + workers/12 {
			person++
			start := first.AddDate(0, 0, -int(1500*rnd(10+w)))
			if rnd(5000+w) < 0.22 {
				start = first.AddDate(0, 0, int(405*rnd(9000+w)))
			}
			var end any
			reason := ""
			if w >= workers {
				end, reason = day(start.AddDate(0, 0, 200+int(500*rnd(700+w)))), []string{"02", "06", "05", "09"}[w%4]
			}
			at := start
			if at.Before(first) {
				at = first
			}
			cat := "01"
			if r := rnd(3000 + w); r < 0.34 {
				cat = "02"
			} else if r < 0.52 {
				cat = "03"
			}
			add("employment", Row{"reporting_unit": u.Code, "id_number_token": Person(person), "employer_uscc": fmt.Sprintf("ORG-%s-%02d", u.Code, w%7),
				"start_on": day(start), "end_on": end, "employment_form": []string{"01", "01", "02", "03"}[w%4], "worker_category": cat, "social_insurance": rnd(1000+w) < 0.86+0.1*rnd(9), "county_code": county(w % counties), "leave_reason": reason,
				"period": "2016-11-01", "effective_from": day(start), "reported_at": "2016-11-11 07:40:00.000"})
			birth, entry := 1962+int(34*rnd(2000+w)), start.AddDate(0, 0, -int(900*rnd(4000+w)*rnd(4100+w)))
			sent, when := "2016-11-01", "2016-11-11 07:40:00.000"
			if u.Code == late {
				sent, when = "2016-09-01", "2016-10-09 09:00:00.000"
			}
			add("worker", Row{"reporting_unit": u.Code, "id_number_token": Person(person), "sex": string(rune('1' + w%3%2)), "birth_year": birth,
				"education_code": []string{"21", "31", "21", "14", "31", "41"}[w%6], "major_social_work": rnd(4200+w) < 0.3, "worker_category": cat, "position_level": []string{"1", "1", "1", "1", "2", "3"}[w%6],
				"employer_uscc": fmt.Sprintf("ORG-%s-%02d", u.Code, w%7), "county_code": county(w % counties), "entry_on": day(entry), "is_trainer": w%37 == 0, "period": sent, "effective_from": day(at), "reported_at": when})
			if near := &db.Contract.Units[(i+1+w%5)%len(db.Contract.Units)]; near.Reports && near.Code != late && near.Code != u.Code {
				elsewhere := Row{"reporting_unit": near.Code, "id_number_token": Person(person), "employer_uscc": "ORG-" + near.Code + "-00", "start_on": day(start.AddDate(-2, 0, 0)), "end_on": nil,
					"employment_form": "01", "worker_category": cat, "county_code": near.Code, "period": "2016-11-01", "effective_from": day(start.AddDate(-2, 0, 0)), "reported_at": "2016-11-11 07:40:00.000"}
				switch {
				case w%25 == 3: // came from there
					elsewhere["end_on"], elsewhere["leave_reason"], elsewhere["destination_unit"] = day(start), "03", u.Code
					add("employment", elsewhere)
				case w%160 == 7: // is still reported there
					add("employment", elsewhere)
				}
			}
			if rnd(7000+w) < 0.28+0.3*rnd(5) {
				add("qualification", Row{"reporting_unit": u.Code, "id_number_token": Person(person), "cert_level": string(rune('1' + int(1.35*rnd(8000+w)))), "issued_on": day(start.AddDate(0, int(24*rnd(81+w))-6, 0)), "cert_status": "1", "effective_from": day(start), "reported_at": "2016-11-09 15:20:00.000"})
			}
			if rnd(6000+w) < 0.35+0.6*rnd(6) {
				on := time.Date(2016, time.Month(1+int(10*rnd(61+w))), 12, 0, 0, 0, 0, time.UTC)
				add("attendance", Row{"reporting_unit": u.Code, "session_id": fmt.Sprint("S", w%4), "id_number_token": Person(person), "hours_earned": 16 + 80*boolInt(w%3 == 0), "passed": rnd(62+w) < 0.93,
					"effective_from": day(on), "period": day(on.AddDate(0, 0, -11)), "reported_at": day(on) + " 18:00:00.000"})
				on = on.AddDate(-1, 0, 0)
				add("attendance", Row{"reporting_unit": u.Code, "session_id": fmt.Sprint("T", w%4), "id_number_token": Person(person), "hours_earned": 16, "passed": rnd(63+w) < 0.9,
					"effective_from": day(on), "period": day(on.AddDate(0, 0, -11)), "reported_at": day(on) + " 18:00:00.000"})
			}
		}
		for m := range 13 {
			month := first.AddDate(0, m, 0)
			last := monthEnd(month)
			if u.Code == late && m == 12 {
				continue
			}
			sent := month.AddDate(0, 1, 3+int(3*rnd(m))).Format(time.DateOnly) + " 16:20:00.000"
			at := func(r Row) Row {
				r["reporting_unit"], r["period"], r["effective_from"], r["reported_at"] = u.Code, day(month), last, sent
				return r
			}
			if u.Code != silent {
				growth := 1 + 0.004*float64(m)
				for n := range counties {
					add("context", at(Row{"division_code": county(n), "registered_users": int(float64(users) * growth / float64(counties) * (0.7 + 0.6*float64(n%3)/2)), "in_community_rehab": 10, "county_total": 1, "township_total": 3}))
				}
				area := u.Code
				add("context", at(Row{"op": []string{"U", "U", "C"}[(i+m)%3], "division_code": area, "registered_users": int(float64(users) * growth), "in_community_rehab": users / 4, "population": u.Population2020, "county_total": counties + int(2*rnd(12)), "township_total": 3*counties + 2}))
				if u.Population2020 == 0 {
					insert["context"][len(insert["context"])-1]["population"] = nil
				}
			}
			orgs := 3 + int(float64(workers)/38)
			for n := range orgs {
				if n >= orgs-3 && m < 4*(orgs-n) {
					continue
				}
				add("org", at(Row{"uscc": fmt.Sprintf("ORG-%s-%02d", u.Code, n), "org_name": "", "org_type": []string{"52", "52", "51", "53"}[n%4], "county_code": county(n % counties), "status": "active", "worker_total": 1 + n*n/3}))
			}
			if posts := int(float64(workers) / 3 * (1 - rnd(8))); m >= 2 && posts > 0 && m == 12-boolInt(u.Code == late) {
				for n := range posts {
					add("post", at(Row{"post_id": fmt.Sprint("G", n), "purchaser_uscc": "11" + u.Code + "0000000000", "provider_uscc": fmt.Sprintf("ORG-%s-00", u.Code), "budget_year": 2016,
						"county_code": county(n % counties), "unit_price_fen": 5_200_000 + 100_000*(n%9), "fund_source": "02", "start_on": "2016-02-01", "filled": n%9 != 0}))
				}
			}
		}
		for n := range 2 + int(14*rnd(8)) {
			start := time.Date(2016, time.Month(1+n%9), 1, 0, 0, 0, 0, time.UTC)
			add("project", Row{"reporting_unit": u.Code, "project_id": fmt.Sprint("N", n), "purchaser_uscc": "11" + u.Code + "0000000000", "provider_uscc": fmt.Sprintf("ORG-%s-%02d", u.Code, n%5), "project_name": "",
				"budget_year": 2016, "amount_fen": int64(30_000_000 + 90_000_000*rnd(200+n)), "fund_source": []string{"02", "03", "04", "05"}[n%4], "procurement_method": []string{"01", "02", "06"}[n%3], "service_types": []string{"1"}, "county_code": county(n % counties),
				"start_on": day(start), "end_on": day(start.AddDate(1, 0, -1)), "period": "2016-10-01", "effective_from": day(start), "reported_at": "2016-11-04 10:00:00.000"})
		}
	}
	db.aroundPeople(add)
	for i := range 4 {
		for _, u := range db.Contract.Units {
			if u.Reports {
				add("training", Row{"reporting_unit": u.Code, "session_id": fmt.Sprint("S", i), "tier": string(rune('1' + i)), "kind": "2", "county_code": u.Code, "start_on": fmt.Sprintf("2016-%02d-01", 2+2*i), "end_on": fmt.Sprintf("2016-%02d-02", 2+2*i), "hours": 16, "attendee_total": 30, "effective_from": "2016-02-02"})
			}
		}
	}
	for _, table := range []string{"training", "worker", "employment", "qualification", "attendance", "context", "org", "post", "project", "evaluation", "demo_site", "policy_doc", "pay_standard", "station"} {
		db.Insert(t, table, insert[table]...)
	}
	db.pipeline(t)
	// The pipeline's views, as tables.
	db.table(t, "balance", "unit String, feed String, received Int64, duplicate Int64, rejected Int64, unexplained Int64", "Memory", "cityHash64(unit)")
	db.table(t, "receipts", "unit String, rules Map(String, Int64)", "Memory", "cityHash64(unit)")
	db.Exec(t, "INSERT INTO balance SELECT reporting_unit, 'employment', toInt64(count() * 1.06), toInt64(count() * 0.04), toInt64(count() * 1.06) - toInt64(count() * 0.04) - count(), 0 FROM employment GROUP BY reporting_unit")
	db.Exec(t, "INSERT INTO receipts SELECT unit, map('ric_checksum', intDiv(rejected * 6, 10), 'code_list', intDiv(rejected * 3, 10), 'division_unknown', intDiv(rejected, 10)) FROM balance")
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func monthEnd(m time.Time) string { return m.AddDate(0, 1, -1).Format(time.DateOnly) }
