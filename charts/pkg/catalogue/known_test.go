package catalogue_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/internal/feed"
)

// What was known on a day is what tables hold to which nothing came afterwards. Records
// are corrected, voided and overtaken by older versions, each at any time; persons have
// states that are years old, natural keys have several records, some dates move out of
// a window with a correction.
func TestAsKnownIsAsIfTheRestHadNotCome(t *testing.T) {
	c := load(t)
	whole := chartstest.New(t, "charts_known_whole")
	dice := rand.New(rand.NewPCG(1, 2))
	day := func(from string, days int) string {
		d, err := time.Parse(time.DateOnly, from)
		require.NoError(t, err)
		return d.AddDate(0, 0, dice.IntN(days)).Format(time.DateOnly)
	}
	units := []string{"310000", "320000", "330000"}
	records := func(table string, n int, fields func() chartstest.Row) {
		var rows []chartstest.Row
		for i := range n {
			unit, first := units[dice.IntN(len(units))], fields()
			for version := range 1 + dice.IntN(3) {
				r := fields()
				r["record_id"], r["reporting_unit"] = fmt.Sprint(table, i), unit
				r["_version"] = dice.IntN(9)*10 + version
				if dice.IntN(8) == 0 {
					r["_is_deleted"] = 1
				}
				if s := c.Contract.Feed(table); s.KeyHasDate() && dice.IntN(3) > 0 {
					r["effective_from"] = first["effective_from"] // of one record, and not of the next month's
				}
				at := day("2016-01-01", 320)
				r["reported_at"], r["_arrived_at"] = at+" 09:00:00.000", at+" 09:05:00.000"
				rows = append(rows, r)
			}
		}
		whole.Insert(t, table, rows...)
	}
	person := func() string { return chartstest.Person(dice.IntN(60)) }
	records("employment", 200, func() chartstest.Row {
		r := chartstest.Row{"id_number_token": person(), "start_on": day("2014-01-01", 1000), "worker_category": []string{"01", "02", "03", "05"}[dice.IntN(4)], "county_code": "310101", "leave_reason": ""}
		if r["effective_from"] = r["start_on"]; dice.IntN(3) == 0 {
			r["end_on"] = day("2016-01-01", 330)
		}
		return r
	})
	records("worker", 300, func() chartstest.Row {
		return chartstest.Row{"id_number_token": person(), "effective_from": day("2014-06-01", 900), "education_code": []string{"21", "31", "61", ""}[dice.IntN(4)], "is_trainer": dice.IntN(2) == 0,
			"entry_on": day("2010-01-01", 2000), "major_social_work": []any{true, false, nil}[dice.IntN(3)], "sex": "1", "birth_year": 1980}
	})
	records("attendance", 300, func() chartstest.Row {
		return chartstest.Row{"id_number_token": person(), "session_id": fmt.Sprint(dice.IntN(5)), "effective_from": day("2013-01-01", 1400), "passed": []any{true, false, nil}[dice.IntN(3)],
			"hours_earned": 20 + dice.IntN(40), "as_trainer": dice.IntN(3) == 0}
	})
	records("qualification", 60, func() chartstest.Row {
		return chartstest.Row{"id_number_token": person(), "cert_level": []string{"1", "2", "3"}[dice.IntN(3)], "cert_status": "1", "issued_on": day("2012-01-01", 1500), "effective_from": "2016-01-01"}
	})
	// Two units report one contract, the purchaser's own or not, now and long ago.
	purchaser := func() string { return "11" + units[dice.IntN(len(units))][:2] + "9900000000000" }
	provider := func() string { return fmt.Sprintf("52%016d", dice.IntN(20)) }
	records("org", 200, func() chartstest.Row {
		return chartstest.Row{"uscc": provider(), "org_type": []string{"51", "52", "53"}[dice.IntN(3)], "status": []string{"active", "cancelled"}[dice.IntN(2)], "worker_total": dice.IntN(3), "effective_from": day("2014-06-01", 900)}
	})
	records("post", 400, func() chartstest.Row {
		year := 2014 + dice.IntN(3)
		return chartstest.Row{"post_id": fmt.Sprint(dice.IntN(12)), "purchaser_uscc": purchaser(), "provider_uscc": provider(), "budget_year": year, "county_code": "310101", "unit_price_fen": 100 * dice.IntN(9), "fund_source": "02",
			"start_on": fmt.Sprintf("%d-%02d-01", year, 1+dice.IntN(4)), "end_on": []any{fmt.Sprintf("%d-%02d-28", year, 6+dice.IntN(7)), nil}[dice.IntN(2)], "filled": dice.IntN(2) == 0, "effective_from": day("2014-06-01", 900)}
	})
	records("project", 60, func() chartstest.Row {
		year := 2014 + dice.IntN(3)
		return chartstest.Row{"project_id": fmt.Sprint(dice.IntN(20)), "purchaser_uscc": purchaser(), "provider_uscc": provider(), "budget_year": year, "amount_fen": 100 * dice.IntN(90), "county_code": "310101",
			"start_on": fmt.Sprintf("%d-02-01", year), "end_on": fmt.Sprintf("%d-%02d-28", year, 3+dice.IntN(10)), "fund_source": "02", "procurement_method": "01", "effective_from": "2016-01-01"}
	})
	statement := func(id string, dates []time.Time, known time.Time) (string, map[string]string) {
		st, err := c.Compile(catalogue.Query{Indicator: c.Indicator(id), Units: units, Dates: dates, Now: dates[0], Known: known})
		require.NoError(t, err)
		return st.SQL, st.Params
	}
	date := func(m time.Month, d int) time.Time { return time.Date(2016, m, d, 0, 0, 0, 0, time.UTC) }
	for _, known := range []time.Time{time.Date(2016, 4, 1, 0, 0, 0, 0, feed.Shanghai), time.Date(2016, 9, 15, 12, 0, 0, 0, feed.Shanghai)} {
		then := chartstest.New(t, "charts_known_then")
		for _, table := range []string{"employment", "worker", "attendance", "qualification", "org", "post", "project"} {
			var columns []string
			for _, col := range c.Contract.Feed(table).Columns() {
				if col.Current {
					columns = append(columns, col.Name)
				}
			}
			from := fmt.Sprintf(" FROM %s.%s_history WHERE _arrived_at <= toDateTime64('%s', 3, 'Asia/Shanghai')", whole.Name, table, known.Format(time.DateTime))
			then.Exec(t, "INSERT INTO "+table+" SELECT "+strings.Join(columns, ", ")+from)
			then.Exec(t, "INSERT INTO "+table+"_history SELECT *"+from)
		}
		for _, id := range []string{"I-01", "I-16", "I-17", "I-18", "I-19", "I-20", "I-22", "I-23", "I-30", "I-44", "I-14", "I-24", "I-25", "I-27", "I-28"} {
			for _, dates := range [][]time.Time{{date(3, 31)}, {date(2, 29), date(3, 31), date(4, 30), date(9, 14)}} {
				sql, params := statement(id, dates, known)
				plain, plainParams := statement(id, dates, time.Time{})
				got, want := whole.Query(t, sql, params), then.Query(t, plain, plainParams)
				require.Equal(t, want, got, "%s on %v as known on %s", id, dates, known)
				st, err := c.Compile(catalogue.Query{Indicator: c.Indicator(id), Units: units, Dates: dates, Now: dates[0], Hashes: hashes(t, then)})
				require.NoError(t, err)
				require.Equal(t, want, then.Query(t, st.SQL, st.Params), "%s on %v by hashes found before", id, dates)
				some := false
				for _, r := range want {
					some = some || r["n"] != nil && r["n"] != 0.0
				}
				require.True(t, some || id == "I-44" || id == "I-25", "%s counts somebody", id)
			}
		}
	}
}
