package plugin

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/internal/chartstest"
)

// What a steward decides, and a declared change of a number, show in the figures
// from then on, and not in what was known before.
func TestFiguresObeyTheWorklist(t *testing.T) {
	db := chartstest.New(t, "charts_plugin_worklist")
	spell := func(id, person int, unit, start string) chartstest.Row {
		return chartstest.Row{"record_id": fmt.Sprint("e", id), "reporting_unit": unit, "id_number_token": chartstest.Person(person), "start_on": start, "end_on": nil,
			"worker_category": "01", "county_code": "310115", "effective_from": "2015-01-01", "_arrived_at": "2016-02-01 09:00:00.000"}
	}
	db.Insert(t, "employment",
		spell(1, 1, "310000", "2015-01-01"), spell(2, 2, "310000", "2015-02-01"), // 2 is 1 after a change of the number
		spell(3, 3, "320000", "2015-01-01"), spell(4, 4, "330000", "2015-03-01"), // a weak match
		spell(5, 5, "320000", "2015-01-01"), spell(6, 5, "330000", "2015-01-01"), // one number in two units
	)
	passed := func(id, person int) chartstest.Row {
		return chartstest.Row{"record_id": fmt.Sprint("a", id), "reporting_unit": "310000", "session_id": fmt.Sprint("s", id), "id_number_token": chartstest.Person(person), "hours_earned": 10, "passed": true,
			"effective_from": "2016-01-10", "_arrived_at": "2016-02-01 09:00:00.000"}
	}
	db.Insert(t, "attendance", passed(1, 1), passed(2, 2))
	figures := func(id, known, want string) {
		t.Helper()
		// A datasource of its own remembers no answer of before.
		d := open(t, Config{URL: db.DSN(), Today: today, SuppressBelow: -1})
		f := ask(t, d, fmt.Sprintf(`{"indicator":%q,"groupBy":["province"],"asOf":"2016-02-29","knownOn":%q}`, id, known))
		got := ""
		unit, _ := f.FieldByName("unit")
		n, _ := f.FieldByName("numerator")
		for i := range f.Rows() {
			if v := n.At(i).(*float64); v != nil && *v != 0 {
				got += fmt.Sprintf("%s:%g ", unit.At(i), *v)
			}
		}
		require.Equal(t, want, got, "%s known on %q", id, known)
		require.NotContains(t, f.Meta.ExecutedQueryString, hex.EncodeToString([]byte("person-")), "the shown statement holds no token")
	}
	figures("I-01", "", "310000:2 320000:2 330000:1 ")
	db.Insert(t, "id_change", chartstest.Row{"reporting_unit": "310000", "old_id_number_token": chartstest.Person(1), "new_id_number_token": chartstest.Person(2), "_arrived_at": "2016-03-01 09:00:00.000"})
	figures("I-01", "", "310000:1 320000:2 330000:1 ")
	figures("I-17", "", "310000:20 ")

	at := 0
	decide := func(id int, decision string, a, b int, unitA, unitB, keep string) {
		t.Helper()
		at++
		token := func(i int) string { return hex.EncodeToString([]byte(chartstest.Person(i))) }
		db.Exec(t, fmt.Sprintf("INSERT INTO worklist_decisions VALUES ('d%d', 'c%d', 'weak', '%s', '%s', '%s', '%s', '%s', '%s', '2016-0%d-01 09:00:00.000')",
			at, id, decision, keep, unitA, token(a), unitB, token(b), 3+at))
	}
	decide(1, "same_person", 3, 4, "320000", "330000", "")
	figures("I-01", "", "310000:1 320000:1 330000:1 ") // 3 is 4, who joined 330000 last
	decide(2, "keep_primary", 4, 3, "330000", "320000", "320000")
	figures("I-01", "", "310000:1 320000:2 ") // and counts in 320000 all the same
	decide(3, "different_persons", 5, 5, "320000", "330000", "")
	figures("I-01", "", "310000:1 320000:2 330000:1 ") // two people had one number
	decide(1, "undo", 3, 4, "320000", "330000", "")
	figures("I-01", "", "310000:1 320000:2 330000:2 ") // the first decision is undone

	figures("I-01", "2016-02-29", "310000:2 320000:2 330000:1 ")
	figures("I-01", "2016-03-31", "310000:1 320000:2 330000:1 ")
	figures("I-01", "2016-04-30", "310000:1 320000:1 330000:1 ")
	figures("I-01", "2016-05-31", "310000:1 320000:2 ")
	figures("I-01", "2016-06-30", "310000:1 320000:2 330000:1 ")
	figures("I-01", "2016-07-31", "310000:1 320000:2 330000:2 ")
}

// The lists count the open cases, name records of the asked units only, and lose
// a case with its decision.
func TestListsOfTheWorklist(t *testing.T) {
	db := chartstest.New(t, "charts_plugin_cases")
	for i, unit := range []string{"310000", "320000"} {
		db.Insert(t, "employment", chartstest.Row{"record_id": fmt.Sprint("e", i), "reporting_unit": unit, "id_number_token": chartstest.Person(1), "start_on": "2016-01-01", "end_on": nil, "worker_category": "01"})
	}
	d := open(t, Config{URL: db.DSN(), Today: today, SuppressBelow: -1})
	f := func(list, units, want string) {
		t.Helper()
		frame := ask(t, d, fmt.Sprintf(`{"queryType":"list","list":%q,"filter":{"units":[%s]},"lang":"en"}`, list, units))
		require.Empty(t, frame.Meta.Notices)
		require.Equal(t, want, rows(frame))
	}
	counts := "310000 Shanghai 1 315 0 0 1 0 0\n"
	f("worklist_counts", `"310000"`, counts)
	f("worklist_counts", `"310000"`, counts)
	ask(t, d, `{"queryType":"list","list":"worklist","filter":{"units":["310000"]}}`)
	require.Len(t, d.listed.kept, 1, "the cases are found once, for whoever asks and for both lists")
	f("worklist_counts", "", counts+"320000 Jiangsu 1 315 0 0 1 0 0\n")
	f("worklist", `"440000"`, "")
	id := rows(ask(t, d, `{"queryType":"list","list":"worklist","lang":"en"}`))[:12]
	why := id + " open in two units 315 open in both units for more than 31 days employment spell 310000 Shanghai e0 Jiangsu "
	f("worklist", "", why+"e1\n")
	f("worklist", `"310000"`, why+"\n")
	db.Exec(t, "INSERT INTO worklist_decisions (case_id, decision, decided_at) VALUES ('"+id+"', 'ignore', now())")
	time.Sleep(fresh)
	f("worklist", "", "")
}

// While data comes the cases are those of a moment ago, and say so; a decision counts
// at once.
func TestCasesAreNotFoundWithEveryRecord(t *testing.T) {
	db := chartstest.New(t, "charts_plugin_cases_kept")
	twice := func(person int) {
		for i, unit := range []string{"310000", "320000"} {
			db.Insert(t, "employment", chartstest.Row{"record_id": fmt.Sprint("e", person, i), "reporting_unit": unit, "id_number_token": chartstest.Person(person), "start_on": "2016-01-01", "end_on": nil, "worker_category": "01"})
		}
	}
	twice(1)
	d := open(t, Config{URL: db.DSN(), Today: today, StaleSeconds: 120})
	f := func(cases int, notices ...string) (first string) {
		t.Helper()
		d.state.forget()
		frame := ask(t, d, `{"queryType":"list","list":"worklist","lang":"en"}`)
		var got []string
		for _, n := range frame.Meta.Notices {
			got = append(got, n.Text)
		}
		require.Equal(t, notices, got)
		require.Equal(t, cases, frame.Rows())
		first, _, _ = strings.Cut(rows(frame), " ")
		return first
	}
	f(1)
	twice(2)
	id := f(1, staleNotice("en").Text)
	db.Exec(t, "INSERT INTO worklist_decisions (case_id, decision, decided_at) VALUES ('"+id+"', 'ignore', now())")
	f(1) // the other one
	twice(3)
	f(1, staleNotice("en").Text)
	d.cases.at = time.Now().Add(-2 * time.Minute)
	f(2)
}

// rows prints a list, a line a row.
func rows(f *data.Frame) string {
	out := ""
	for i := range f.Rows() {
		for j, x := range f.Fields {
			if j > 0 {
				out += " "
			}
			out += fmt.Sprint(x.At(i))
		}
		out += "\n"
	}
	return out
}
