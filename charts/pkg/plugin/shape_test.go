package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/dashboards"
	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/testenv"
	"github.com/duiwu/duiwu/sink"
)

// show writes a frame as lines of «name[labels] = values».
func show(f *data.Frame) string {
	var b strings.Builder
	for _, x := range f.Fields {
		b.WriteString(x.Name)
		for _, k := range []string{"unit", "code", "compare"} {
			if v := x.Labels[k]; v != "" {
				b.WriteString(" " + v)
			}
		}
		b.WriteString(" =")
		for i := range x.Len() {
			v, ok := x.ConcreteAt(i)
			if !ok {
				b.WriteString(" -")
				continue
			}
			if t, isTime := v.(time.Time); isTime {
				v = t.Format("01-02")
			}
			fmt.Fprintf(&b, " %v", v)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func lines(s ...string) string { return strings.Join(s, "\n") + "\n" }

func TestFormsOfAnAnswer(t *testing.T) {
	d := small(t, "charts_plugin_forms")
	f := func(query string, typ data.FrameType, want ...string) *data.Frame {
		t.Helper()
		got := ask(t, d, query)
		require.Equal(t, lines(want...), show(got), query)
		require.Equal(t, typ, got.Meta.Type, query)
		return got
	}
	got := f(`{"indicator":"I-01","groupBy":["month"],"from":"2016-10","to":"2016-11","format":"series"}`, data.FrameTypeTimeSeriesWide,
		"time = 10-31 11-11", "value = 8 8")
	require.Equal(t, "禁毒社工总数", got.Fields[1].Config.DisplayNameFromDS)
	require.Contains(t, got.Meta.Notices[len(got.Meta.Notices)-1].Text, "统计日 2016-11-11；数据截至 2016-11-04 09:00；口径 I-01 第 1 版（暂行）；计入 32 个单位中的 4 个")
	got = f(`{"indicator":"I-01","groupBy":["month","province"],"filter":{"units":["310000","660000"]},"from":"2016-10","to":"2016-11","format":"series","compare":["national_mean"],"lang":"en"}`, data.FrameTypeTimeSeriesWide,
		"time = 10-31 11-11", "value 310000 = 3 4", "national_mean 310000 national_mean = 8 8", "value 660000 = 1 1", "national_mean 660000 national_mean = 8 8")
	require.Equal(t, "Shanghai", got.Fields[1].Config.DisplayNameFromDS)
	require.Equal(t, "Shanghai · nation", got.Fields[2].Config.DisplayNameFromDS)
	// A share of the target is held against the whole of it, not against its persons.
	f(`{"indicator":"I-02","format":"numeric","compare":["target"]}`, data.FrameTypeNumericWide, "value = 0.008", "target target = 100")
	got = f(`{"indicator":"I-10","groupBy":["month","province"],"filter":{"units":["310000"]},"from":"2016-11","to":"2016-11","format":"series","compare":["national_mean"]}`, data.FrameTypeTimeSeriesWide,
		"time = 11-11", "value 310000 = 13.333333333333334", "national_mean 310000 national_mean = 12.461059190031152")
	require.Equal(t, []string{"上海", "全国"}, []string{got.Fields[1].Config.DisplayNameFromDS, got.Fields[2].Config.DisplayNameFromDS}, "whose it is needs no saying twice")
	f(`{"indicator":"I-03","format":"numeric","compare":["target"]}`, data.FrameTypeNumericWide, "value = 80.25", "target target = 30")
	f(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["310000","660000"]},"format":"numeric"}`, data.FrameTypeNumericWide, "value 310000 = 4", "value 660000 = 1")
	f(`{"indicator":"I-01","groupBy":["month"],"from":"2016-10","to":"2016-11","format":"table"}`, data.FrameTypeTable,
		"time = 11-11 10-31", "value = 8 8")
	f(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["660000","310000"]},"format":"table","sort":"desc","compare":["rank"]}`, data.FrameTypeNumericLong,
		"unit = 310000 660000", "unit_name = 上海 兵团", "value = 4 1", "rank = 1 3")
	f(`{"indicator":"I-24","groupBy":["province","purchase_mode"],"filter":{"units":["310000","320000"]},"format":"pivot","column":"numerator"}`, data.FrameTypeNumericLong,
		"unit = 310000 320000", "unit_name = 上海 江苏", "1 = 8 1", "2 = 0 3") // 万元
	f(`{"indicator":"I-24","groupBy":["province","purchase_mode"],"filter":{"units":["310000","320000"]},"format":"pivot","column":"numerator","lang":"en"}`, data.FrameTypeNumericLong,
		"unit = 310000 320000", "unit_name = Shanghai Jiangsu", "1 = 80000 10000", "2 = 0 30000")
	f(`{"indicator":"I-01","groupBy":["province","month"],"filter":{"units":["310000"]},"from":"2016-10","to":"2016-11","format":"pivot"}`, data.FrameTypeTimeSeriesLong,
		"unit = 310000", "unit_name = 上海", "2016-10 = 3", "2016-11 = 4")
	curve := ask(t, d, `{"indicator":"I-10","groupBy":["province"],"format":"lorenz"}`)
	share, _ := curve.FieldByName("share")
	need, _ := curve.FieldByName("need")
	for i := 1; i < curve.Rows(); i++ {
		require.GreaterOrEqual(t, need.At(i).(float64), share.At(i).(float64), "the curve lies under the diagonal")
		require.GreaterOrEqual(t, share.At(i).(float64), share.At(i-1).(float64))
	}
	require.EqualValues(t, 100, share.At(curve.Rows()-1))
}

// What an alert rule gets has numbers and labels alone, whatever the panel from
// which it was made asked for.
func TestAlertsGetNumbersWithLabels(t *testing.T) {
	d := small(t, "charts_plugin_alerts")
	f := func(query string, want ...string) {
		t.Helper()
		res, err := d.QueryData(t.Context(), &backend.QueryDataRequest{Headers: map[string]string{fromAlert: "true"}, Queries: []backend.DataQuery{{RefID: "A", JSON: []byte(query)}}})
		require.NoError(t, err)
		require.NoError(t, res.Responses["A"].Error)
		require.Equal(t, lines(want...), show(res.Responses["A"].Frames[0]))
	}
	f(`{"indicator":"I-03","compare":["target","last_year"]}`, "value = 80.25")
	f(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["310000"]},"format":"table","sort":"desc"}`, "value 310000 = 4")
	f(`{"indicator":"I-01","groupBy":["month"],"from":"2016-11"}`, "time = 11-11", "value = 8")
}

func TestFormsThatCannotBe(t *testing.T) {
	d := open(t, Config{URL: "http://127.0.0.1:1/duiwu", Today: today})
	f := func(query, want string) {
		t.Helper()
		require.ErrorContains(t, d.Check([]byte(query)), want, query)
	}
	f(`{"indicator":"I-01","format":"pie"}`, `unknown format "pie"`)
	f(`{"indicator":"I-01","format":"series"}`, "needs groupBy month")
	f(`{"indicator":"I-01","groupBy":["month"],"format":"numeric"}`, "for one day")
	f(`{"indicator":"I-01","groupBy":["province"],"format":"pivot"}`, "needs two of")
	f(`{"indicator":"I-01","column":"denominator"}`, "has no denominator")
	f(`{"indicator":"I-01","groupBy":["province"],"format":"lorenz"}`, "needs a ratio")
	f(`{"indicator":"I-01","sort":"up"}`, `unknown order "up"`)
	f(`{"indicator":"I-01","colour":"red"}`, `unknown key "colour"`)
	f(`{"queryType":"list","list":"persons"}`, `there is no list "persons"`)
	f(`{"queryType":"events","events":"birthdays"}`, `there are no events "birthdays"`)
	f(`{"queryType":"sql"}`, `unknown query type "sql"`)
	f(`{"queryType":"list","list":"late","filter":{"units":["1' OR 1"]}}`, "is no reporting unit")
}

// A dashboard that looks at the past shows that day in every panel, and one that
// looks past today shows today.
func TestTheRangeEndsTheFigures(t *testing.T) {
	d := small(t, "charts_plugin_range")
	at := func(query, from, to string) *data.Frame {
		t.Helper()
		a, _ := time.Parse(time.DateOnly, from)
		b, _ := time.Parse(time.DateOnly, to)
		res, err := d.QueryData(t.Context(), &backend.QueryDataRequest{Queries: []backend.DataQuery{{RefID: "A", JSON: []byte(query), TimeRange: backend.TimeRange{From: a, To: b}}}})
		require.NoError(t, err)
		require.NoError(t, res.Responses["A"].Error)
		return res.Responses["A"].Frames[0]
	}
	require.Equal(t, "2016-09-20", provenance(at(`{"indicator":"I-01"}`, "2016-08-01", "2016-09-20")).AsOf)
	require.Equal(t, today, provenance(at(`{"indicator":"I-01"}`, "2016-08-01", "2026-09-20")).AsOf)
	require.Equal(t, lines("time = 08-31 09-20", "value = 7 7"), show(at(`{"indicator":"I-01","groupBy":["month"],"format":"series"}`, "2016-08-01", "2016-09-20")))
	require.Equal(t, 12, at(`{"indicator":"I-01","groupBy":["month"],"format":"series"}`, "2025-08-01", "2026-09-20").Rows())
}

func TestEventsOnTheTimeAxis(t *testing.T) {
	db := chartstest.New(t, "charts_plugin_events")
	chartstest.Small(t, db)
	db.Insert(t, "policy_doc",
		chartstest.Row{"record_id": "a", "reporting_unit": "310000", "doc_no": "沪禁毒〔2016〕1号", "title": "购买服务办法", "topics": []string{"purchase"}, "issued_on": "2016-03-01", "effective_from": "2016-03-01"},
		chartstest.Row{"record_id": "b", "reporting_unit": "000000", "doc_no": "禁毒办〔2016〕2号", "title": "队伍意见", "topics": []string{"pay", "staffing"}, "issued_on": "2016-05-01", "repealed_on": "2016-09-01", "effective_from": "2016-05-01"},
		chartstest.Row{"record_id": "c", "reporting_unit": "320000", "doc_no": "苏〔2010〕9号", "title": "旧文件", "topics": []string{"pay"}, "issued_on": "2010-05-01", "effective_from": "2010-05-01"})
	d := open(t, Config{URL: db.DSN(), Today: today, SuppressBelow: -1})
	titles := func(query string) []string {
		t.Helper()
		f := ask(t, d, query)
		require.Equal(t, data.DataTopicAnnotations, f.Meta.DataTopic)
		var out []string
		for i := range f.Rows() {
			out = append(out, f.Fields[0].At(i).(time.Time).In(feed.Shanghai).Format("01-02")+" "+f.Fields[2].At(i).(string)+" "+f.Fields[3].At(i).(string))
		}
		return out
	}
	require.Equal(t, []string{"03-01 上海印发文件 购买服务办法（沪禁毒〔2016〕1号）", "05-01 国家禁毒办印发文件 队伍意见（禁毒办〔2016〕2号）", "09-01 国家禁毒办废止文件 队伍意见（禁毒办〔2016〕2号）"}, titles(`{"queryType":"events","events":"policies"}`))
	require.Len(t, titles(`{"queryType":"events","events":"policies","filter":{"units":["320000"]}}`), 2)
	all := titles(`{"queryType":"events","events":"incidents"}`)
	require.NotEmpty(t, all)
	require.Contains(t, strings.Join(all, "\n"), "未按时到齐")
	require.Contains(t, strings.Join(all, "\n"), "个单位未报")
}

func TestLists(t *testing.T) {
	db := chartstest.New(t, "charts_plugin_lists")
	chartstest.Small(t, db)
	db.Insert(t, "demo_site", chartstest.Row{"record_id": "s", "reporting_unit": "310000", "site_id": "S1", "site_name": "徐汇示范点", "level": "2", "status": "2", "named_on": "2012-01-01", "reviewed_on": "2015-01-01", "effective_from": "2016-09-30"})
	d := open(t, Config{URL: db.DSN(), Today: today, SuppressBelow: -1})
	sites := ask(t, d, `{"queryType":"list","list":"sites"}`)
	require.Equal(t, 1, sites.Rows())
	require.Contains(t, show(sites), "徐汇示范点")
	require.NotContains(t, show(sites), "level = 2\n", "a code is shown by its name")
	late := ask(t, d, `{"queryType":"list","list":"late","lang":"en"}`)
	require.Greater(t, late.Rows(), 30)
	require.Equal(t, "reporting unit", late.Fields[1].Config.DisplayNameFromDS)
	one := ask(t, d, `{"queryType":"list","list":"late","filter":{"units":["310000"]}}`)
	require.Less(t, one.Rows(), 4)
	for _, l := range lists {
		f := ask(t, d, `{"queryType":"list","list":"`+l.ID+`"}`)
		if l.live == nil {
			require.Len(t, f.Fields, len(l.columns), l.ID)
		}
		require.NotEmpty(t, l.About.Zh+l.About.En)
	}
	// A database that the pipeline did not make has no ledger: the lists say so.
	db.Exec(t, "DROP VIEW ledger_effective")
	db.Exec(t, "DROP TABLE ledger")
	for _, id := range []string{"last_day", "rate", "age_nation"} {
		fresh := open(t, Config{URL: db.DSN(), Today: today})
		require.Contains(t, ask(t, fresh, `{"queryType":"list","list":"`+id+`"}`).Meta.Notices[0].Text, "duiwu migrate", id)
	}
	require.Contains(t, ask(t, d, `{"queryType":"list","list":"partitions"}`).Meta.Notices[0].Text, "duiwu migrate")
}

// hollow says that a frame has no row, or no figure where it has figures.
func hollow(f *data.Frame) bool {
	figures := false
	for _, x := range f.Fields {
		if !x.Type().Numeric() {
			continue
		}
		figures = true
		for i := range x.Len() {
			if v, ok := x.ConcreteAt(i); ok && v != 0.0 {
				return false
			}
		}
	}
	return f.Rows() == 0 || figures
}

// Every panel of every dashboard answers on a real server, with a figure or
// rows wherever the nation of the tests has any.
func TestDashboardsAnswer(t *testing.T) {
	if !testenv.Full() {
		t.Skip("asks some 150 queries of a nation; DUIWU_TEST=full runs it")
	}
	// Panels that have nothing to show, and why.
	declared := map[string]bool{
		"D11 还差哪些数据？": true, // Shanghai, whose profile it is, is late with nothing
	}
	db := chartstest.New(t, "charts_plugin_pages")
	chartstest.Nation(t, db)
	db.Published(t, sink.SystemDDL(db.Contract, sink.Layout{}))
	d := open(t, Config{URL: db.DSN(), Today: today})
	for _, p := range dashboards.Pages() {
		asked, err := dashboards.Opened(p.ID, "zh", d.now())
		require.NoError(t, err)
		req := &backend.QueryDataRequest{}
		titles := map[string]string{}
		for _, x := range asked {
			titles[x.RefID] = x.Panel
			req.Queries = append(req.Queries, x.DataQuery)
		}
		start := time.Now()
		res, err := d.QueryData(t.Context(), req)
		require.NoError(t, err)
		for id, a := range res.Responses {
			require.NoError(t, a.Error, "%s %s", p.ID, titles[id])
			require.Len(t, a.Frames, 1)
			if hollow(a.Frames[0]) && !declared[p.ID+" "+titles[id]] {
				t.Errorf("%s %q is empty: give chartstest.Nation data for it, or declare why it has none", p.ID, titles[id])
			}
		}
		t.Logf("%s: %d panels in %d ms", p.ID, len(res.Responses), time.Since(start).Milliseconds())
	}
}

func TestWhatTheEditorReads(t *testing.T) {
	d := small(t, "charts_plugin_editor")
	get := func(path string) (int, http.Header, []byte) {
		t.Helper()
		var got *backend.CallResourceResponse
		name, _, _ := strings.Cut(path, "?")
		require.NoError(t, d.CallResource(context.Background(), &backend.CallResourceRequest{Method: http.MethodGet, Path: name, URL: path},
			backend.CallResourceResponseSenderFunc(func(r *backend.CallResourceResponse) error { got = r; return nil })))
		return got.Status, got.Headers, got.Body
	}
	_, _, b := get("editor")
	var v editorView
	require.NoError(t, json.Unmarshal(b, &v))
	require.Len(t, v.Indicators, len(d.Indicators()))
	require.Len(t, v.Units, 32)
	for _, in := range v.Indicators {
		for _, g := range in.Groups {
			require.NotEqual(t, g.Code, g.Zh, "%s: the dimension %s has no Chinese name", in.ID, g.Code)
			require.Equal(t, g.Code == catalogue.County, len(g.Codes) == 0, "%s %s: only counties are not listed, being those of a unit", in.ID, g.Code)
		}
	}
	// What the editor offers, the backend can plan.
	for _, in := range v.Indicators {
		for _, g := range in.Groups {
			if g.Code == catalogue.County {
				require.NoError(t, d.Check([]byte(`{"indicator":"`+in.ID+`","groupBy":["county"],"filter":{"units":["310000"]},"format":"table"}`)))
				continue
			}
			require.NoError(t, d.Check([]byte(`{"indicator":"`+in.ID+`","groupBy":["`+g.Code+`"],"filter":{"codes":["`+g.Codes[0].Code+`"]},"format":"table"}`)))
		}
		if !in.NowOnly {
			require.NoError(t, d.Check([]byte(`{"indicator":"`+in.ID+`","groupBy":["month"],"format":"series"}`)))
		}
		if !in.NationOnly {
			require.NoError(t, d.Check([]byte(`{"indicator":"`+in.ID+`","groupBy":["province"],"format":"table"}`)))
		}
	}
	for _, x := range []struct{ path, want string }{{"options?values=province", `{"code":"310000","zh":"上海","en":"Shanghai"}`}, {"options?values=need", "按现有吸毒人员"}, {"options?values=indicator", "I-10"}} {
		status, _, b := get(x.path)
		require.Equal(t, 200, status)
		require.Contains(t, string(b), x.want)
	}
	status, _, _ := get("options?values=moon")
	require.Equal(t, 404, status)
	for _, in := range v.Indicators {
		for _, lang := range []string{"zh", "en"} {
			status, h, b := get("definition?indicator=" + in.ID + "&lang=" + lang)
			require.Equal(t, 200, status)
			require.Equal(t, "text/html; charset=utf-8", http.Header(h).Get("Content-Type"))
			require.Contains(t, string(b), in.ID)
			require.NotContains(t, string(b), "<script")
		}
	}
	status, _, _ = get("definition?indicator=%3Cscript%3E")
	require.Equal(t, 404, status)
}
