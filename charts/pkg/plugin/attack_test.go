package plugin

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/sink"
)

// besieged is a nation in which every number of Guangdong can be told from all
// others: 137 workers there, 61 in Zhejiang, 41 in Shanghai (17 of them since
// 2015, 12 since May, 11 since August), 8 in Gansu and 3 in Shaanxi, 250 in all.
// October is published: 999 in the nation, 136 in Guangdong, 40 in Shanghai.
func besieged(t *testing.T) *chartstest.DB {
	db := chartstest.New(t, "charts_attacks")
	var spells []chartstest.Row
	add := func(unit string, n int, start, arrived string) {
		for range n {
			cat := []string{"01", "02"}[len(spells)%2]
			spells = append(spells, chartstest.Row{"record_id": fmt.Sprint("e", len(spells)), "reporting_unit": unit, "id_number_token": chartstest.Person(len(spells)), "start_on": start, "end_on": nil,
				"worker_category": cat, "effective_from": start, "_arrived_at": arrived + " 09:00:00.000"})
		}
	}
	add("310000", 17, "2015-01-01", "2016-02-01")
	add("310000", 12, "2016-05-01", "2016-09-01")
	add("310000", 11, "2016-08-01", "2016-09-01")
	add("310000", 1, "2016-11-05", "2016-11-06")
	add("440000", 137, "2015-01-01", "2016-02-01")
	add("330000", 61, "2015-01-01", "2016-02-01")
	add("620000", 8, "2015-01-01", "2016-02-01")
	add("610000", 3, "2015-01-01", "2016-02-01")
	// One of Shanghai's is reported by Guangdong too, and counts where he came last.
	spells = append(spells, chartstest.Row{"record_id": "twice", "reporting_unit": "440000", "id_number_token": chartstest.Person(0), "start_on": "2014-01-01", "end_on": nil, "worker_category": "01", "effective_from": "2014-01-01"})
	db.Insert(t, "employment", spells...)
	certs := make([]chartstest.Row, 0, 140)
	for i, s := range spells[:len(spells)-1] {
		if s["reporting_unit"] != "310000" || i%2 == 0 {
			certs = append(certs, chartstest.Row{"record_id": fmt.Sprint("q", i), "reporting_unit": s["reporting_unit"], "id_number_token": s["id_number_token"], "cert_level": "1", "issued_on": "2015-01-01", "cert_status": "1", "effective_from": "2015-01-01"})
		}
	}
	db.Insert(t, "qualification", certs...)
	for i, unit := range []string{"310000", "440000"} {
		n := []int{41, 137}[i]
		db.Insert(t, "context", chartstest.Row{"record_id": "c", "reporting_unit": unit, "division_code": unit, "registered_users": 100 * n, "population": 10_000 * n})
		name := []string{"上海项目", "机密项目"}[i]
		db.Insert(t, "project", chartstest.Row{"reporting_unit": unit, "project_id": "N1", "purchaser_uscc": "11" + unit, "provider_uscc": "x", "project_name": name, "budget_year": 2016, "amount_fen": 10_000 * n, "fund_source": "02",
			"procurement_method": "01", "county_code": unit, "start_on": "2016-01-01", "end_on": "2016-12-31", "effective_from": "2016-01-01"})
		db.Insert(t, "training", chartstest.Row{"reporting_unit": unit, "session_id": "s", "tier": "1", "kind": "2", "county_code": unit, "start_on": "2016-02-01", "end_on": "2016-02-02", "hours": n * 10, "attendee_total": 30, "effective_from": "2016-02-02"})
		db.Insert(t, "demo_site", chartstest.Row{"reporting_unit": unit, "site_id": "d", "site_name": name, "level": "1", "status": "1", "named_on": "2016-01-01"})
		db.Insert(t, "policy_doc", chartstest.Row{"reporting_unit": unit, "doc_no": unit + "-1", "title": name, "topics": []string{"1"}, "issued_on": "2016-06-01"})
		db.Exec(t, fmt.Sprintf("INSERT INTO receipt_parts_effective VALUES ('%s', 'employment', %d, %d, map('ric_checksum', %d), now())", unit, 10*n, n, n))
	}
	db.Exec(t, "CREATE TABLE balance (unit String, feed String, received Int64, duplicate Int64, rejected Int64, unexplained Int64) ENGINE = Memory")
	db.Exec(t, "CREATE TABLE receipts (unit String, rules Map(String, Int64)) ENGINE = Memory")
	db.Exec(t, "INSERT INTO balance VALUES ('310000', 'employment', 410, 0, 0, 0), ('440000', 'employment', 1370, 0, 137, 0)")
	db.Exec(t, "INSERT INTO receipts VALUES ('310000', map('ric_checksum', 1)), ('440000', map('ric_checksum', 137))")
	db.Exec(t, "INSERT INTO ledger (topic, last_offset, arrived_at) VALUES ('duiwu.feed.310000', 40, now()), ('duiwu.feed.440000', 136, now())")
	db.Publishable(t, sink.SystemDDL(db.Contract, sink.Layout{}))
	const attempt = "00000000-0000-0000-0000-000000000001"
	for unit, n := range map[string]int{"": 999, "440000": 136, "310000": 40} {
		db.Exec(t, fmt.Sprintf("INSERT INTO published_figures (indicator, month, attempt, unit, definition_version, value, numerator) VALUES ('I-01', '2016-10-31', '%s', '%s', 1, %d, %d)", attempt, unit, n, n))
	}
	db.Exec(t, "INSERT INTO publications (month, edition, state, attempt, who, at) VALUES ('2016-10-31', 1, 'published', '"+attempt+"', 'Wang', '2016-11-05 09:00:00')")
	return db
}

// intruder asks as somebody and keeps what the answers tell.
type intruder struct {
	t       *testing.T
	d       *Datasource
	user    *backend.User
	org     int64
	headers map[string]string
	rng     backend.TimeRange
}

// told is everything of an answer that a reader could use: the cells, what is
// said of them, and errors. The text of the statement holds no data.
func told(res backend.DataResponse) string {
	var b strings.Builder
	if res.Error != nil {
		fmt.Fprintln(&b, res.Error)
	}
	for _, f := range res.Frames {
		b.WriteString(table(f))
		for _, x := range f.Fields {
			fmt.Fprintln(&b, x.Name, x.Labels)
			for i := range x.Len() {
				if s, ok := x.At(i).(string); ok {
					fmt.Fprintln(&b, s)
				}
				if v, ok := x.At(i).(float64); ok {
					fmt.Fprintln(&b, v)
				}
			}
		}
		for _, n := range f.Meta.Notices {
			fmt.Fprintln(&b, n.Text)
		}
		if p, ok := f.Meta.Custom.(*Provenance); ok {
			fmt.Fprintln(&b, p.SourceRows, p.UnitsIncluded, p.UnitsMissing, p.States)
		}
	}
	return b.String()
}

func (in *intruder) send(query string) backend.DataResponse {
	res, err := in.d.QueryData(in.t.Context(), &backend.QueryDataRequest{PluginContext: backend.PluginContext{User: in.user, OrgID: in.org}, Headers: in.headers,
		Queries: []backend.DataQuery{{RefID: "A", JSON: []byte(query), TimeRange: in.rng}}})
	require.NoError(in.t, err)
	return res.Responses["A"]
}

func (in *intruder) ask(query string) string { return told(in.send(query)) }

// number is the one value of an answer without groups.
func (in *intruder) number(query, field string) (float64, bool) {
	res := in.send(query)
	if res.Error != nil {
		return 0, false
	}
	x, _ := res.Frames[0].FieldByName(field)
	v, _ := x.At(0).(*float64)
	if v == nil {
		return 0, false
	}
	return *v, true
}

func (in *intruder) get(path string) string {
	var got *backend.CallResourceResponse
	name, _, _ := strings.Cut(path, "?")
	headers := map[string][]string{}
	for k, v := range in.headers {
		headers[k] = []string{v}
	}
	require.NoError(in.t, in.d.CallResource(in.t.Context(), &backend.CallResourceRequest{PluginContext: backend.PluginContext{User: in.user, OrgID: in.org}, Headers: headers, Method: "GET", Path: name, URL: path},
		backend.CallResourceResponseSenderFunc(func(r *backend.CallResourceResponse) error { got = r; return nil })))
	return string(got.Body)
}

// less computes what one answer has more than another.
func (in *intruder) less(whole string, parts ...string) string {
	n, ok := in.number(whole, "numerator")
	for _, p := range parts {
		v, have := in.number(p, "numerator")
		n, ok = n-v, ok && have
	}
	if !ok {
		return "nothing"
	}
	return fmt.Sprintf("computed %v", n)
}

var (
	foreign = regexp.MustCompile(`44\d{4}|广东|Guangdong|机密|(?:^|[^0-9.])(?:137|136|250|249|209|239|13700|17800|1370|1780)(?:[^0-9.]|$)`)
	past    = regexp.MustCompile(`(?:^|[^0-9.])(?:17|29)(?:[^0-9.]|$)`)
	few     = regexp.MustCompile(`computed 3\b`)
)

func person(login string) *backend.User { return &backend.User{Login: login, Role: "Viewer"} }

// attacks are ways around the gate. Without a user given, Shanghai's clerk tries.
var attacks = []struct {
	name   string
	secret *regexp.Regexp // foreign when nil
	as     func(*intruder)
	run    func(*intruder) string
}{
	// Crafted queries.
	{name: "all provinces", run: q(`{"indicator":"I-01","groupBy":["province"]}`)},
	{name: "another unit in the filter", run: q(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["440000"]}}`)},
	{name: "another unit beside the own", run: q(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["310000","440000"]}}`)},
	{name: "another unit without grouping", run: q(`{"indicator":"I-01","filter":{"units":["440000"]}}`)},
	{name: "the key filter twice", run: q(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["310000"]},"filter":{"units":["440000"]}}`)},
	{name: "keys in capitals", run: q(`{"INDICATOR":"I-01","GroupBy":["province"],"FILTER":{"Units":["440000"]}}`)},
	{name: "an unknown key that changes the reader", run: q(`{"indicator":"I-01","scope":"nation","groupBy":["province"],"filter":{"units":["440000"]}}`)},
	{name: "Grafana's own scopes key", run: q(`{"indicator":"I-01","scopes":[{"name":"nation"}],"groupBy":["province"]}`)},
	{name: "a hidden query", run: q(`{"indicator":"I-01","hide":true,"groupBy":["province"]}`)},
	{name: "the nation live", run: q(`{"indicator":"I-01"}`)},
	{name: "the nation by month", run: q(`{"indicator":"I-01","groupBy":["month"]}`)},
	{name: "the nation by region", run: q(`{"indicator":"I-01","groupBy":["region"]}`)},
	{name: "regions as provinces", run: q(`{"indicator":"I-01","groupBy":["province","region"]}`)},
	{name: "the nation by a dimension", run: func(in *intruder) string {
		return in.less(`{"indicator":"I-01","groupBy":["worker_category"],"filter":{"codes":["01"]}}`, `{"indicator":"I-01","groupBy":["worker_category"],"filter":{"codes":["01"],"units":["310000"]}}`)
	}, secret: regexp.MustCompile(`computed \d`)},
	{name: "a dimension of another unit", run: q(`{"indicator":"I-01","groupBy":["province","worker_category"],"filter":{"units":["440000"]}}`)},
	{name: "the counties of another unit", run: q(`{"indicator":"I-01","groupBy":["county"],"filter":{"units":["440000"]}}`)},
	{name: "the counties of another unit as numbers", run: q(`{"indicator":"I-01","groupBy":["county"],"format":"numeric","filter":{"units":["440000"]},"refId":"310000"}`)},
	{name: "the counties of another unit by month", run: q(`{"indicator":"I-01","groupBy":["month","county"],"filter":{"units":["440000"]}}`)},
	{name: "the counties of another unit, its key twice", run: q(`{"indicator":"I-01","groupBy":["county"],"filter":{"units":["310000"]},"Filter":{"units":["440000"]}}`)},
	{name: "a pivot", run: q(`{"indicator":"I-01","groupBy":["province","worker_category"],"format":"pivot"}`)},
	{name: "a pivot of months", run: q(`{"indicator":"I-01","groupBy":["province","month"],"format":"pivot"}`)},
	{name: "a sorted table", run: q(`{"indicator":"I-01","groupBy":["province"],"format":"table","sort":"desc","compare":["rank"]}`)},
	{name: "numbers with labels", run: q(`{"indicator":"I-01","groupBy":["province"],"format":"numeric"}`)},
	{name: "lines with labels", run: q(`{"indicator":"I-01","groupBy":["province","month"],"format":"series"}`)},
	{name: "a Lorenz curve", run: q(`{"indicator":"I-10","groupBy":["province"],"format":"lorenz"}`)},
	{name: "the nation as a comparison", run: q(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["310000"]},"compare":["national_mean"]}`)},
	{name: "the live rank", secret: regexp.MustCompile(`41 41 3`), run: q(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["310000"]},"compare":["rank"]}`)},
	{name: "the denominator of another unit", run: q(`{"indicator":"I-20","groupBy":["province"],"filter":{"units":["440000"]},"column":"denominator","format":"table"}`)},
	{name: "who else reports the same people", run: q(`{"indicator":"I-37","groupBy":["other_unit"],"filter":{"units":["310000"]}}`)},
	{name: "freshness of others", run: q(`{"indicator":"I-40","groupBy":["province"]}`)},
	{name: "last year of another unit", run: q(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["440000"]},"compare":["last_year","previous_month"]}`)},
	{name: "a huge grouping", run: q(`{"indicator":"I-01","groupBy":["province","month","age_band"],"from":"2013-11"}`)},
	{name: "money of others", run: q(`{"indicator":"I-27","groupBy":["province"]}`)},
	{name: "the names of those missing", run: q(`{"indicator":"I-10","groupBy":["province"],"lang":"en"}`)},

	// Differences.
	{name: "the own and another less the own", run: func(in *intruder) string {
		return in.less(`{"indicator":"I-01","filter":{"units":["310000","440000"]}}`, `{"indicator":"I-01","filter":{"units":["310000"]}}`)
	}},
	{name: "the nation less the own", run: func(in *intruder) string {
		return in.less(`{"indicator":"I-01"}`, `{"indicator":"I-01","filter":{"units":["310000"]}}`)
	}, secret: regexp.MustCompile(`computed 209`)},
	{name: "a small cell as the nation less the others", secret: few, as: national, run: func(in *intruder) string {
		return in.less(`{"indicator":"I-01"}`, `{"indicator":"I-01","filter":{"units":["310000","330000","440000","620000"]}}`)
	}},
	{name: "a small cell as a region less the others", secret: few, as: national, run: func(in *intruder) string {
		return in.less(`{"indicator":"I-01","groupBy":["region"],"filter":{"codes":["west"]}}`, `{"indicator":"I-01","filter":{"units":["620000"]}}`)
	}},
	{name: "a small cell by itself", secret: few, as: national, run: func(in *intruder) string {
		return in.less(`{"indicator":"I-01","filter":{"units":["610000"]}}`)
	}},
	{name: "a small cell as the sum of its categories", secret: few, as: national, run: func(in *intruder) string {
		a, ok := in.number(`{"indicator":"I-01","groupBy":["worker_category"],"filter":{"codes":["01"],"units":["610000"]}}`, "numerator")
		b, too := in.number(`{"indicator":"I-01","groupBy":["worker_category"],"filter":{"codes":["02"],"units":["610000"]}}`, "numerator")
		return fmt.Sprintf("computed %v %v", map[bool]any{true: a + b}[ok && too], ok)
	}},
	{name: "a small cell as a share of its denominator", secret: few, as: national, run: func(in *intruder) string {
		query := `{"indicator":"I-20","filter":{"units":["610000"]}}`
		v, ok := in.number(query, "value")
		m, too := in.number(query, "denominator")
		return fmt.Sprintf("computed %v %v", map[bool]any{true: v * m / 100}[ok && too], ok)
	}},
	{name: "a small cell as the rows counted", secret: few, as: national, run: func(in *intruder) string {
		res := in.send(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["610000"]}}`)
		return fmt.Sprintf("computed %d", provenance(res.Frames[0]).SourceRows)
	}},

	// Days.
	{name: "any day of the past", secret: past, run: q(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["310000"]},"asOf":"2016-06-15"}`)},
	{name: "a day of the past by the dashboard's range", secret: past, as: func(in *intruder) {
		in.rng = backend.TimeRange{From: time.Date(2016, 5, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2016, 6, 15, 0, 0, 0, 0, time.UTC)}
	}, run: q(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["310000"]}}`)},
	{name: "what was known on a day", secret: past, run: q(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["310000"]},"knownOn":"2016-07-01"}`)},
	{name: "another unit as known on a day", run: q(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["440000"]},"knownOn":"2016-07-01"}`)},
	{name: "months that are not published", secret: past, run: q(`{"indicator":"I-01","groupBy":["province","month"],"filter":{"units":["310000"]},"from":"2016-03"}`)},
	{name: "the same day last year", secret: past, run: q(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["310000"]},"compare":["last_year"]}`)},
	{name: "a published day of another unit", run: q(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["440000"]},"asOf":"2016-10-31"}`)},

	{name: "the published figures of all units", run: q(`{"indicator":"I-01","groupBy":["province"],"edition":"latest"}`)},
	{name: "the published figure of another unit", run: q(`{"indicator":"I-01","filter":{"units":["440000"]},"edition":"first"}`)},
	{name: "the first published figures as a comparison", run: q(`{"indicator":"I-01","groupBy":["province"],"asOf":"2016-10-31","compare":["first_published"]}`)},
	{name: "published months as a pivot", run: q(`{"indicator":"I-01","groupBy":["province","month"],"edition":"latest","format":"pivot"}`)},

	// Lists and marks.
	{name: "list contracts_ending", run: list("contracts_ending")},
	{name: "list contracts_ending of another unit", run: q(`{"queryType":"list","list":"contracts_ending","filter":{"units":["440000"]}}`)},
	// Amounts in yuan, as the secret is known.
	{name: "list project_funds", run: q(`{"queryType":"list","list":"project_funds","lang":"en"}`)},
	{name: "list project_methods", run: q(`{"queryType":"list","list":"project_methods","lang":"en"}`)},
	{name: "list sessions", run: list("sessions")},
	{name: "list sites", run: list("sites")},
	{name: "list late", run: list("late")},
	{name: "list arrivals", run: list("arrivals")},
	{name: "list balance", run: list("balance")},
	{name: "list rules", secret: regexp.MustCompile(`178`), run: list("rules")},
	{name: "list partitions", run: list("partitions")},
	{name: "marks of others' documents", run: q(`{"queryType":"events","events":"policies"}`)},
	{name: "marks of another unit's documents", run: q(`{"queryType":"events","events":"policies","filter":{"units":["440000"]}}`)},
	{name: "marks of who was late", secret: regexp.MustCompile(`3[01] 个单位`), run: q(`{"queryType":"events","events":"incidents"}`)},

	// Resources and variables.
	{name: "the tile grid", run: get("values?dimension=province")},
	{name: "the units of a variable", run: get("options?values=province")},
	{name: "the units of the editor", secret: regexp.MustCompile(`"code":"440000"`), run: get("editor")},
	{name: "the status of the database", secret: regexp.MustCompile(`"rows":251`), run: get("status")},
	{name: "the balance of another unit", run: q(`{"queryType":"list","list":"balance","filter":{"units":["440000"]}}`)},
	{name: "a variable that holds two units", run: q(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["310000","440000","330000"]},"refId":"$province"}`)},

	// Who one is.
	{name: "nobody signed in", as: func(in *intruder) { in.user = nil }, run: q(`{"indicator":"I-01","groupBy":["province"]}`)},
	{name: "an empty login", as: func(in *intruder) { in.user = person("") }, run: q(`{"indicator":"I-01","groupBy":["province"]}`)},
	{name: "a public page that says it is a rule", as: func(in *intruder) { in.user, in.headers = nil, map[string]string{fromAlert: "true"} }, run: q(`{"indicator":"I-01","groupBy":["province"]}`)},
	{name: "a clerk who says he is a rule", as: func(in *intruder) { in.headers = map[string]string{fromAlert: "true"} }, run: q(`{"indicator":"I-01","groupBy":["province"]}`)},
	{name: "somebody who took the scheduler's login", as: func(in *intruder) {
		in.user, in.headers = &backend.User{Login: "grafana_scheduler", Email: "me@example.org"}, map[string]string{fromAlert: "true"}
	}, run: q(`{"indicator":"I-01","groupBy":["province"]}`)},
	{name: "the scheduler's login without its mark", as: func(in *intruder) { in.user = person("grafana_scheduler") }, run: q(`{"indicator":"I-01","groupBy":["province"]}`)},
	{name: "a rule of Shanghai's organisation", as: func(in *intruder) {
		in.user, in.org, in.headers = person("grafana_scheduler"), 2, map[string]string{fromAlert: "true"}
	}, run: q(`{"indicator":"I-01","groupBy":["province"],"format":"numeric"}`)},
	{name: "headers that name another", as: func(in *intruder) {
		in.headers = map[string]string{"X-Grafana-User": "national", "X-WEBAUTH-USER": "national", "X-Grafana-Org-Id": "1", "http_X-Grafana-User": "national"}
	}, run: q(`{"indicator":"I-01","groupBy":["province"]}`)},
	{name: "headers of a resource call", secret: regexp.MustCompile(`"rows":251`), as: func(in *intruder) {
		in.headers = map[string]string{"X-Grafana-User": "national", fromAlert: "true"}
	}, run: get("status")},
	{name: "a login in capitals", as: func(in *intruder) { in.user = person("NATIONAL") }, run: q(`{"indicator":"I-01","groupBy":["province"]}`)},
	{name: "a login with a space", as: func(in *intruder) { in.user = person("national ") }, run: q(`{"indicator":"I-01","groupBy":["province"]}`)},
	{name: "a login that looks the same", as: func(in *intruder) { in.user = person("nаtional") }, run: q(`{"indicator":"I-01","groupBy":["province"]}`)},
	{name: "a name and an address like a login", as: func(in *intruder) {
		in.user = &backend.User{Login: "stranger", Name: "national", Email: "national", Role: "Admin"}
	}, run: q(`{"indicator":"I-01","groupBy":["province"]}`)},
	{name: "an administrator nobody declared", as: func(in *intruder) { in.user = &backend.User{Login: "admin", Role: "Admin"} }, run: q(`{"indicator":"I-01","groupBy":["province"]}`)},
	{name: "a stranger in Shanghai's organisation", as: func(in *intruder) { in.user, in.org = person("stranger"), 2 }, run: q(`{"indicator":"I-01","groupBy":["province"]}`)},
	{name: "a member of Zhejiang's team", as: func(in *intruder) { in.user = person("zhou") }, run: q(`{"indicator":"I-01","groupBy":["province"]}`)},

	// The cache.
	{name: "an answer that the office has just had", run: func(in *intruder) string {
		query := `{"indicator":"I-01","groupBy":["province","cert_level"],"filter":{"units":["310000","440000"]}}`
		office := *in
		national(&office)
		require.Regexp(in.t, foreign, office.ask(query))
		return in.ask(query)
	}},
	{name: "arrivals that the office has just read", run: func(in *intruder) string {
		office := *in
		national(&office)
		require.Regexp(in.t, foreign, office.ask(`{"queryType":"list","list":"arrivals"}`))
		return in.ask(`{"queryType":"list","list":"arrivals"}`)
	}},
}

func national(in *intruder) { in.user = person("national") }

func q(query string) func(*intruder) string {
	return func(in *intruder) string { return in.ask(query) }
}

func list(id string) func(*intruder) string { return q(`{"queryType":"list","list":"` + id + `"}`) }

func get(path string) func(*intruder) string {
	return func(in *intruder) string { return in.get(path) }
}

// Every attack gets foreign or hidden data where there is no gate, and none where
// there is one. The first half tests the attacks themselves.
func TestAttacks(t *testing.T) {
	db := besieged(t)
	var policy scope.Policy
	require.NoError(t, json.Unmarshal([]byte(`{"users": {"national": "nation", "shanghai": ["310000"]}, "teams": {"zhejiang": {"logins": ["zhou"], "units": ["330000"]}}, "orgs": {"2": ["310000"]}, "alerts": "nation", "public": "none"}`), &policy))
	var log []Asked
	gated := open(t, Config{URL: db.DSN(), Today: today, Scope: &policy, Audit: func(a Asked) { log = append(log, a) }})
	ungated := open(t, Config{URL: db.DSN(), Today: today, SuppressBelow: -1})
	require.GreaterOrEqual(t, len(attacks), 40)
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			secret := a.secret
			if secret == nil {
				secret = foreign
			}
			in := &intruder{t: t, d: gated, user: person("shanghai"), org: 1}
			if a.as != nil {
				a.as(in)
			}
			free := *in
			free.d, free.user = ungated, person("anybody")
			require.True(t, secret.MatchString(a.run(&free)), "without the gate the attack gets nothing: it tests nothing")
			before := len(log)
			got := a.run(in)
			require.False(t, secret.MatchString(got), "%.2000s", got)
			require.Greater(t, len(log), before, "the attempt is not in the audit")
		})
	}
}

// What each may see he does see: a gate that lets nobody in is none.
func TestWhoMaySeeWhat(t *testing.T) {
	db := besieged(t)
	var policy scope.Policy
	require.NoError(t, json.Unmarshal([]byte(`{"users": {"national": "nation", "shanghai": ["310000"]}, "teams": {"zhejiang": {"logins": ["zhou"], "units": ["330000"]}}, "orgs": {"2": ["310000"]}, "alerts": "nation", "public": "nation"}`), &policy))
	var log []Asked
	d := open(t, Config{URL: db.DSN(), Today: today, Scope: &policy, Audit: func(a Asked) { log = append(log, a) }})
	f := func(u *backend.User, org int64, headers map[string]string, query string) *data.Frame {
		t.Helper()
		in := &intruder{t: t, d: d, user: u, org: org, headers: headers}
		res := in.send(query)
		require.NoError(t, res.Error)
		return res.Frames[0]
	}
	byUnit := `{"indicator":"I-01","groupBy":["province"],"compare":["national_mean","rank"]}`
	own := f(person("shanghai"), 1, nil, byUnit)
	require.Equal(t, "310000 41 41 999 2\n", table(own), "the own live, the nation and the rank as published")
	require.Equal(t, Asked{Who: "shanghai", Org: 1, Scope: "310000", What: "I-01 by province against national_mean,rank on 2016-11-11", Rows: 1, Took: log[0].Took, Outcome: "answered"}, log[0])
	require.Equal(t, []string{"310000"}, provenance(own).UnitsIncluded)
	require.Contains(t, own.Meta.Notices[0].Text, "全国数与位次取自 2016-10 已公布的数（第 1 版）")
	require.Equal(t, "999 999\n", table(f(person("shanghai"), 1, nil, `{"indicator":"I-01"}`)))
	series := f(person("shanghai"), 1, nil, `{"indicator":"I-01","groupBy":["month","province"]}`)
	require.Equal(t, "2016-10-31 310000 40 40\n2016-11-11 310000 41 41\n", table(series))
	require.Contains(t, series.Meta.Notices[0].Text, "10 个未公布的日期不显示")
	// What was never published has no nation, and says so.
	lonely := f(person("shanghai"), 1, nil, `{"indicator":"I-20","lang":"en"}`)
	require.Equal(t, "- - -\n", table(lonely))
	require.Equal(t, stateUnpublished, provenance(lonely).States[today+"||"])

	require.Equal(t, "330000 61 61\n", table(f(person("zhou"), 1, nil, `{"indicator":"I-01","groupBy":["province"]}`)))
	require.Equal(t, "310000 41 41\n", table(f(person("stranger"), 2, nil, `{"indicator":"I-01","groupBy":["province"]}`)))
	require.Equal(t, "250 250\n", table(f(person("national"), 2, nil, `{"indicator":"I-01"}`)), "a login wins over its organisation")
	rule := map[string]string{fromAlert: "true"}
	require.Equal(t, "250\n", table(f(person("grafana_scheduler"), 1, rule, `{"indicator":"I-01"}`)))
	require.Equal(t, "250 250\n", table(f(nil, 1, nil, `{"indicator":"I-01"}`)), "this public page was declared")
	policies := f(person("shanghai"), 1, nil, `{"queryType":"events","events":"policies"}`)
	require.Equal(t, 1, policies.Rows())

	refused := (&intruder{t: t, d: d, user: person("shanghai"), org: 1}).send(`{"indicator":"I-01","filter":{"units":["440000"]}}`)
	require.Equal(t, backend.StatusForbidden, refused.Status)
	require.ErrorContains(t, refused.Error, "不在您的可见范围内")
	require.Equal(t, "refused", log[len(log)-1].Outcome)
	for _, who := range []string{"alert", "public"} {
		require.True(t, slices.ContainsFunc(log, func(a Asked) bool { return a.Who == who }), who)
	}
}

// Without a declared scope nobody sees anything, and the health check says what to do.
func TestNoScopeIsNoSight(t *testing.T) {
	db := chartstest.New(t, "charts_no_scope")
	chartstest.Small(t, db)
	d, err := Open(Config{URL: db.DSN(), Today: today})
	require.NoError(t, err)
	t.Cleanup(d.Dispose)
	in := &intruder{t: t, d: d, user: &backend.User{Login: "admin", Role: "Admin"}, org: 1}
	require.Contains(t, in.ask(`{"indicator":"I-01"}`), "未声明谁可以看哪些单位")
	require.Contains(t, in.get("editor"), "declare")
	health, err := d.CheckHealth(t.Context(), &backend.CheckHealthRequest{})
	require.NoError(t, err)
	require.Equal(t, backend.HealthStatusError, health.Status)
	require.Contains(t, string(health.JSONDetails), `"fault":"scope"`)
	require.Contains(t, health.Message, `{"orgs": {"1": "nation"}`)

	for settings, want := range map[string]string{
		`{"scope":{"users":{"a":["31000"]}}}`:           "users.a names \"31000\"",
		`{"scope":{"users":{"a":["000000"]}}}`:          "no reporting unit",
		`{"scope":{"user":{"a":"nation"}}}`:             `unknown field "user"`,
		`{"scope":{"orgs":{"main":"nation"}}}`:          "is no number",
		`{"scope":{"users":{"":"nation"}}}`:             "no person's login",
		`{"scope":{"default":{"units":"nation"}}}`:      `a scope is "nation"`,
		`{"scope":{"default":"Nation"}}`:                "names \"Nation\"",
		`{"scope":{"teams":{"x":{"login":["a"]}}}}`:     `unknown field "login"`,
		`{"scope":{"users":{"grafana_scheduler":"x"}}}`: "no person's login",
	} {
		_, err := New(t.Context(), backend.DataSourceInstanceSettings{URL: "http://127.0.0.1:1", JSONData: []byte(settings)})
		require.ErrorContains(t, err, want, settings)
	}
}
