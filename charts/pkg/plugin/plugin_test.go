package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/backend/instancemgmt"
	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/grafana/grafana-plugin-sdk-go/experimental/datasourcetest"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/figures"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const today = "2016-11-11"

func open(t *testing.T, c Config) *Datasource {
	t.Helper()
	if c.Scope == nil {
		c.Scope = scope.Everything()
	}
	if c.StaleSeconds == 0 {
		c.StaleSeconds = -1 // tests write and look at once
	}
	d, err := Open(c)
	require.NoError(t, err)
	t.Cleanup(d.Dispose)
	return d
}

// small is the nation worked out by hand, with nothing hidden.
func small(t *testing.T, name string) *Datasource {
	t.Helper()
	db := chartstest.New(t, name)
	chartstest.Small(t, db)
	return open(t, Config{URL: db.DSN(), Today: today, SuppressBelow: -1})
}

func ask(t *testing.T, d *Datasource, query string) *data.Frame {
	t.Helper()
	res, err := d.QueryData(t.Context(), &backend.QueryDataRequest{Queries: []backend.DataQuery{{RefID: "A", JSON: []byte(query)}}})
	require.NoError(t, err)
	require.NoError(t, res.Responses["A"].Error, query)
	return res.Responses["A"].Frames[0]
}

// table writes a frame's rows as text: names of codes are left out, numbers
// rounded to two places.
func table(f *data.Frame) string {
	var b strings.Builder
	for row := range f.Rows() {
		var cells []string
		for _, x := range f.Fields {
			switch v := x.At(row).(type) {
			case *float64:
				if v == nil {
					cells = append(cells, "-")
				} else {
					cells = append(cells, strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", *v), "0"), "."))
				}
			case time.Time:
				cells = append(cells, v.Format(time.DateOnly))
			case string:
				if !strings.HasSuffix(x.Name, "_name") {
					cells = append(cells, v)
				}
			}
		}
		b.WriteString(strings.Join(cells, " ") + "\n")
	}
	return b.String()
}

func provenance(f *data.Frame) *Provenance { return f.Meta.Custom.(*Provenance) }

func TestAnswersOfTheSmallNation(t *testing.T) {
	d := small(t, "charts_plugin_small")
	f := func(query string, want ...string) {
		t.Helper()
		require.Equal(t, strings.Join(want, "\n")+"\n", table(ask(t, d, query)), query)
	}
	// value, numerator[, denominator][, compared]
	f(`{"indicator":"I-01"}`, "8 8")
	f(`{"indicator":"I-01","compare":["previous_month","last_year","target"]}`, "8 8 8 5 100000")
	f(`{"indicator":"I-03"}`, "80.25 642 8")
	f(`{"indicator":"I-06"}`, "10 10")
	f(`{"indicator":"I-09"}`, "0.95 8 84000") // the Corps' workers count, its residents are Xinjiang's
	f(`{"indicator":"I-10"}`, "12.46 8 642")
	f(`{"indicator":"I-14"}`, "3 3")
	f(`{"indicator":"I-16"}`, "25 2 8")
	f(`{"indicator":"I-20"}`, "37.5 3 8")
	f(`{"indicator":"I-24"}`, "56.25 90000 160000") // yuan
	f(`{"indicator":"I-24","groupBy":["purchase_mode"]}`, "1 56.25 90000 160000", "2 43.75 70000 160000")
	f(`{"indicator":"I-01","groupBy":["worker_category"],"filter":{"codes":["03","01"]}}`, "03 2 2", "01 4 4")
	f(`{"indicator":"I-40"}`, "183 183")
	f(`{"indicator":"I-10","groupBy":["province"],"filter":{"units":["310000","330000","440000","660000"]},"compare":["rank","national_mean"]}`,
		"310000 13.33 4 300 2 12.46", "330000 0 0 50 4 12.46", "440000 - - - - 12.46", "660000 32.26 1 31 1 12.46")
	f(`{"indicator":"I-03","groupBy":["province"],"filter":{"units":["310000","330000","660000"]},"compare":["rank"]}`,
		"310000 75 300 4 2", "330000 - 50 0 -", "660000 31 31 1 1") // fewer is better
	f(`{"indicator":"I-01","groupBy":["month"],"from":"2016-09","to":"2016-12"}`, "2016-09-30 7 7", "2016-10-31 8 8", "2016-11-11 8 8")
	// What counts the comings and goings of a month has nothing to say of one that is not over.
	f(`{"indicator":"I-07","groupBy":["month"],"from":"2016-09","to":"2016-12"}`, "2016-09-30 0 0", "2016-10-31 1 1")
	f(`{"indicator":"I-07","asOf":"last_month"}`, "1 1")
	f(`{"indicator":"I-01","asOf":"2017-01-01"}`, "8 8") // nothing is known after today
	f(`{"indicator":"I-01","filter":{"units":["310000","660000"]}}`, "5 5")
}

func TestFrameSaysWhatItIs(t *testing.T) {
	d := small(t, "charts_plugin_meta")
	f := ask(t, d, `{"indicator":"I-10","groupBy":["province"],"lang":"zh"}`)
	require.Equal(t, data.FrameTypeNumericLong, f.Meta.Type)
	require.Equal(t, data.FrameTypeTimeSeriesLong, ask(t, d, `{"indicator":"I-01","groupBy":["month"]}`).Meta.Type)
	require.Equal(t, data.FrameTypeNumericWide, ask(t, d, `{"indicator":"I-01"}`).Meta.Type)
	require.Contains(t, f.Meta.ExecutedQueryString, "-- dates = ['2016-11-11']")
	value, _ := f.FieldByName("value")
	require.Equal(t, "每千名现有吸毒人员社工数", value.Config.DisplayNameFromDS)
	en, _ := ask(t, d, `{"indicator":"I-03","lang":"en"}`).FieldByName("value")
	require.Equal(t, "Registered users per worker", en.Config.DisplayNameFromDS)
	require.Len(t, en.Config.Thresholds.Steps, 2)
	require.EqualValues(t, 30, en.Config.Thresholds.Steps[1].Value)

	p := provenance(f)
	require.Equal(t, 1, p.Version)
	require.True(t, p.Provisional)
	require.Equal(t, []string{"310000", "320000", "330000", "660000"}, p.UnitsIncluded)
	require.Equal(t, 32, p.Units)
	require.Equal(t, "2016-11-04T09:00:00+08:00", p.DataAsOf.Format(time.RFC3339))
	require.Equal(t, uint64(8+5), p.SourceRows) // 8 primary spells, 5 rows of context: counties are summed where no province row came
	require.Nil(t, p.Ledger)
	late := map[string]bool{}
	for _, m := range p.UnitsMissing {
		late[m.Unit+" "+m.Feed+" "+m.Expected+" "+m.Last] = true
	}
	// On 11 November the counts of October are due; Zhejiang never sent any.
	require.True(t, late["330000 context 2016-10 "])
	require.False(t, late["310000 context 2016-10 2016-10"])
	require.Equal(t, figures.Late, p.States["2016-11-11|330000|"])
	require.Equal(t, figures.None, p.States["2016-11-11|440000|"])
	scale := provenance(ask(t, d, `{"indicator":"I-01"}`)).Targets[0]
	require.Equal(t, "T-SCALE-2020", scale.ID)
	require.False(t, scale.Verified)
}

// No cell of a few persons may leave the server, nor a total that gives it away.
func TestSmallCellsAreHidden(t *testing.T) {
	db := chartstest.New(t, "charts_plugin_hidden")
	var rows []chartstest.Row
	for unit, n := range map[string]int{"310000": 3, "320000": 7, "330000": 40, "340000": 0} {
		for i := range n + 1 {
			end := any(nil)
			if i == n {
				end = "2016-01-01" // one who left: the unit has reported
			}
			rows = append(rows, chartstest.Row{"record_id": fmt.Sprint(unit, i), "reporting_unit": unit, "id_number_token": chartstest.Person(len(rows)),
				"start_on": "2015-01-01", "end_on": end, "worker_category": "01", "effective_from": "2015-01-01"})
		}
	}
	db.Insert(t, "employment", rows...)
	db.Insert(t, "qualification", chartstest.Row{"reporting_unit": "330000", "id_number_token": rows[0]["id_number_token"], "cert_level": "1", "issued_on": "2015-01-01", "cert_status": "1"})
	d := open(t, Config{URL: db.DSN(), Today: today})
	f := ask(t, d, `{"indicator":"I-01","groupBy":["province"],"filter":{"units":["310000","320000","330000","340000"]}}`)
	// Three is below five; seven is the next smallest, since the nation's 50 is shown.
	require.Equal(t, "310000 - -\n320000 - -\n330000 40 40\n340000 0 0\n", table(f))
	p := provenance(f)
	require.Equal(t, 2, p.Suppressed)
	require.Equal(t, figures.Suppressed, p.States["2016-11-11|310000|"])
	require.Equal(t, "50 50\n", table(ask(t, d, `{"indicator":"I-01"}`)))
	// A filter is no way around it.
	require.Equal(t, "- -\n", table(ask(t, d, `{"indicator":"I-01","filter":{"units":["310000","330000"]}}`)))
	require.Equal(t, "310000 - -\n", table(ask(t, d, `{"indicator":"I-01","groupBy":["province"],"filter":{"units":["310000"]}}`)))
	// A share of fewer than ten persons is not shown.
	require.Equal(t, "310000 - - -\n320000 - - -\n", table(ask(t, d, `{"indicator":"I-20","groupBy":["province"],"filter":{"units":["310000","320000"]}}`)))
}

func TestBadQueriesAreTheUsers(t *testing.T) {
	d := open(t, Config{URL: "http://127.0.0.1:1/duiwu", Today: today})
	f := func(query, want string) {
		t.Helper()
		res, err := d.QueryData(t.Context(), &backend.QueryDataRequest{Queries: []backend.DataQuery{{RefID: "A", JSON: []byte(query)}}})
		require.NoError(t, err)
		a := res.Responses["A"]
		require.ErrorContains(t, a.Error, want, query)
		require.Equal(t, backend.ErrorSourceDownstream, a.ErrorSource)
		require.Equal(t, backend.StatusBadRequest, a.Status)
	}
	f(`{"indicator":"I-99"}`, `unknown indicator "I-99"`)
	f(`not json`, "cannot read the query")
	f(`{"indicator":"I-01","groupBy":["purchase_mode"]}`, `cannot group I-01 by "purchase_mode"; use month, province, worker_category`)
	f(`{"indicator":"I-01","filter":{"units":["810000"]}}`, "no reporting unit")
	f(`{"indicator":"I-01","filter":{"codes":["01"]}}`, "there is none")
	f(`{"indicator":"I-01","groupBy":["worker_category"],"filter":{"codes":["04"]}}`, `"04" is no code`)
	f(`{"indicator":"I-01","compare":["mars"]}`, "unknown comparison")
	f(`{"indicator":"I-01","asOf":"yesterday"}`, "is neither a day such as 2016-11-11 nor last_month")
	f(`{"indicator":"I-01","groupBy":["month"],"from":"2017-01"}`, "lie after 2016-11-11")
	f(`{"indicator":"I-40","groupBy":["month"]}`, "known for now only")
	// The server's absence is the server's, in words.
	res, err := d.QueryData(t.Context(), &backend.QueryDataRequest{Queries: []backend.DataQuery{{RefID: "A", JSON: []byte(`{"indicator":"I-01"}`)}}})
	require.NoError(t, err)
	require.ErrorContains(t, res.Responses["A"].Error, "服务器拒绝连接")
	require.Equal(t, backend.ErrorSourceDownstream, res.Responses["A"].ErrorSource)
}

// Each fault is told apart by one sentence in both languages, and no answer
// ever holds the password.
func TestHealthTellsFaultsApart(t *testing.T) {
	full := chartstest.New(t, "charts_health")
	bare := chartstest.Empty(t, "charts_health_bare")
	old := chartstest.New(t, "charts_health_old")
	old.Exec(t, "ALTER TABLE employment DROP COLUMN social_insurance")
	at := func(db *chartstest.DB, change func(*url.URL)) string {
		u, err := url.Parse(db.DSN())
		require.NoError(t, err)
		change(u)
		return u.String()
	}
	none := func(*url.URL) {}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refused := silent.Addr().String()
	require.NoError(t, silent.Close())
	f := func(dsn, fault, zh, en string) {
		t.Helper()
		res, err := open(t, Config{URL: dsn, Today: today}).CheckHealth(t.Context(), &backend.CheckHealthRequest{})
		require.NoError(t, err)
		require.Contains(t, res.Message, zh)
		require.Contains(t, res.Message, en)
		if u, err := url.Parse(dsn); err == nil {
			if pw, ok := u.User.Password(); ok && pw != "" {
				require.NotContains(t, res.Message+string(res.JSONDetails), pw)
			}
		}
		if fault == "" {
			require.Equal(t, backend.HealthStatusOk, res.Status)
			return
		}
		require.Equal(t, backend.HealthStatusError, res.Status)
		require.Contains(t, string(res.JSONDetails), `"fault":"`+fault+`"`)
	}
	f(full.DSN(), "", "44 个指标可用", "44 indicators")
	f("http://"+refused+"/duiwu", "refused", "拒绝连接", "refuses the connection")
	f("http://no-such-host.invalid:8123/duiwu", "dns", "找不到服务器的名称", "name cannot be found")
	f(at(full, func(u *url.URL) { u.User = url.UserPassword("admin", "wrong-password") }), "auth", "用户名或密码不对", "User or password is wrong")
	f(at(full, func(u *url.URL) { u.Path = "/no_such_database" }), "database", "数据库不存在", "does not exist")
	f(at(bare, none), "table", "缺少数据表", "duiwu migrate")
	f(at(old, none), "schema", "数据表比本插件旧", "older than this plugin")
	require.True(t, oldVersion("24.8.1.1") && oldVersion("25.11") && oldVersion("x"))
	require.False(t, oldVersion("25.12.1.1") || oldVersion("26.7.2.1"))
}

// TestANetworkThatFailsIsNamed: a server that takes connections and says nothing, one
// that breaks them off, and one that goes away with the question. All were «unknown»
// to whoever looked.
func TestANetworkThatFailsIsNamed(t *testing.T) {
	f := func(fault string, most time.Duration, serve func(net.Conn)) {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go serve(c)
			}
		}()
		begun := time.Now()
		res, err := open(t, Config{URL: "http://" + l.Addr().String() + "/duiwu", Today: today}).CheckHealth(t.Context(), &backend.CheckHealthRequest{})
		require.NoError(t, err)
		require.Less(t, time.Since(begun), most)
		require.Equal(t, backend.HealthStatusError, res.Status)
		require.Contains(t, string(res.JSONDetails), `"fault":"`+fault+`"`, res.Message)
	}
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	f("timeout", 20*time.Second, func(c net.Conn) { <-end; _ = c.Close() })
	f("broken", 10*time.Second, func(c net.Conn) {
		_ = c.(*net.TCPConn).SetLinger(0) // what is left unread makes it a reset anyway
		_ = c.Close()
	})
	f("broken", 10*time.Second, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4<<10)) // whatever it asks, nobody answers
		_ = c.Close()
	})
}

func TestAddressesThatCannotBe(t *testing.T) {
	for _, bad := range []string{"", "localhost:8123", "ftp://host/db", "http://"} {
		_, err := Open(Config{URL: bad})
		require.ErrorContains(t, err, "cannot use the server's address", bad)
	}
	_, err := Open(Config{URL: "http://u:secret@host:8123/db?dial_timeout=soon"})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")
	_, err = Open(Config{URL: "http://host:8123/db", Today: "tomorrow"})
	require.ErrorContains(t, err, "write it as 2016-11-11")
}

// served remembers that the SDK has registered its metrics, which it does at
// every start and cannot do twice in a process.
var served bool

// Grafana speaks to the backend over gRPC; so does this test.
func TestOverGRPC(t *testing.T) {
	if served {
		t.Skip("the SDK serves once a process")
	}
	served = true
	db := chartstest.New(t, "charts_grpc")
	chartstest.Small(t, db)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	// The manager disposes of an instance when its settings change, not at the end.
	var mu sync.Mutex
	var made []*Datasource
	factory := func(ctx context.Context, s backend.DataSourceInstanceSettings) (instancemgmt.Instance, error) {
		i, err := New(ctx, s)
		if d, ok := i.(*Datasource); ok {
			d.beat = 100 * time.Millisecond
			mu.Lock()
			made = append(made, d)
			mu.Unlock()
		}
		return i, err
	}
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, d := range made {
			d.Dispose()
		}
	})
	p, err := datasourcetest.Manage(factory, datasourcetest.ManageOpts{Address: addr})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Shutdown()) }()
	u, err := url.Parse(db.DSN())
	require.NoError(t, err)
	password, _ := u.User.Password()
	pc := backend.PluginContext{PluginID: "duiwu-datasource", OrgID: 1, DataSourceInstanceSettings: &backend.DataSourceInstanceSettings{
		ID: 1, UID: "duiwu", URL: "http://" + u.Host, Updated: time.Unix(1, 0),
		JSONData:                []byte(`{"database":"charts_grpc","user":"admin","today":"2016-11-11","suppressBelow":-1,"scope":{"public":"nation"}}`),
		DecryptedSecureJSONData: map[string]string{"password": password},
	}}
	health, err := p.Client.CheckHealth(t.Context(), &backend.CheckHealthRequest{PluginContext: pc})
	require.NoError(t, err)
	require.Equal(t, backend.HealthStatusOk, health.Status, health.Message)
	res, err := p.Client.QueryData(t.Context(), &backend.QueryDataRequest{PluginContext: pc, Queries: []backend.DataQuery{
		{RefID: "A", JSON: []byte(`{"refId":"A","indicator":"I-03","datasource":{"uid":"duiwu"},"intervalMs":1000,"maxDataPoints":100}`)},
		{RefID: "B", JSON: []byte(`{"refId":"B","indicator":"I-77"}`)},
		{RefID: "C", JSON: []byte(`{"refId":"C","indicator":"I-01","aKeyOfTheFuture":true}`)},
	}})
	require.NoError(t, err)
	require.Equal(t, "80.25 642 8\n", table(res.Responses["A"].Frames[0]))
	require.ErrorContains(t, res.Responses["B"].Error, "unknown indicator")
	require.Contains(t, res.Responses["C"].Frames[0].Meta.Notices[0].Text, "aKeyOfTheFuture")
	custom, err := json.Marshal(res.Responses["A"].Frames[0].Meta.Custom)
	require.NoError(t, err)
	require.Contains(t, string(custom), `"version":1`)
	require.NotContains(t, string(custom), password)
	streamsOverGRPC(t, addr, pc, db, func() *Datasource {
		mu.Lock()
		defer mu.Unlock()
		return made[len(made)-1]
	})
}

func TestResources(t *testing.T) {
	d := small(t, "charts_resources")
	f := func(path string, status int, want ...string) {
		t.Helper()
		var got *backend.CallResourceResponse
		name, _, _ := strings.Cut(path, "?")
		require.NoError(t, d.CallResource(t.Context(), &backend.CallResourceRequest{Method: http.MethodGet, Path: name, URL: path},
			backend.CallResourceResponseSenderFunc(func(r *backend.CallResourceResponse) error { got = r; return nil })))
		require.Equal(t, status, got.Status, path)
		for _, w := range want {
			require.Contains(t, string(got.Body), w, path)
		}
	}
	f("catalogue", 200, `"id":"I-01"`, `"zh":"禁毒社工总数"`, `"id":"I-40"`)
	f("dimensions?indicator=I-24", 200, `["month","province","purchase_mode"]`)
	f("dimensions?indicator=I-99", 404, "没有这个指标")
	f("values?dimension=province", 200, `"code":"660000"`, `"row":3,"col":1`)
	f("values?dimension=purchase_mode", 200, `"zh":"购买项目"`)
	f("values?dimension=moon", 404, "没有这个维度")
	f("status", 200, `"today":"2016-11-11"`, `"expected":"2016-10"`)
	f("nothing", 404)
}

// A page that is left must not keep the database busy.
func TestCancelledQueryEnds(t *testing.T) {
	started := make(chan struct{}, 8)
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the client left
		started <- struct{}{}
		<-r.Context().Done()
	}))
	defer slow.Close()
	d := open(t, Config{URL: slow.URL, Today: today, StaleSeconds: 120})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan backend.DataResponse, 1)
	go func() {
		res, err := d.QueryData(ctx, &backend.QueryDataRequest{Queries: []backend.DataQuery{{RefID: "A", JSON: []byte(`{"indicator":"I-01"}`)}}})
		if err != nil {
			res = &backend.QueryDataResponse{}
		}
		done <- res.Responses["A"]
	}()
	<-started
	cancel()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the query outlived its caller")
	}
}

// What is known of a month changes as records arrive, and an earlier day's
// knowledge can be asked for again.
func TestAsKnownOnADay(t *testing.T) {
	db := chartstest.New(t, "charts_plugin_known")
	spell := func(id int, version int, end any, arrived string) chartstest.Row {
		return chartstest.Row{"record_id": fmt.Sprint("e", id), "reporting_unit": "310000", "id_number_token": chartstest.Person(id), "start_on": "2015-01-01", "end_on": end,
			"worker_category": "01", "effective_from": "2015-01-01", "_version": version, "_arrived_at": arrived}
	}
	db.Insert(t, "employment",
		spell(1, 1, nil, "2016-03-01 09:00:00.000"),
		spell(2, 1, nil, "2016-03-01 09:00:00.000"),
		spell(3, 1, nil, "2016-06-01 23:59:59.999"), // reported late
		spell(2, 2, "2016-02-15", "2016-08-01 09:00:00.000"),
		chartstest.Row{"record_id": "e1", "reporting_unit": "310000", "_version": 3, "_is_deleted": 1, "_arrived_at": "2016-10-01 09:00:00.000"},
	)
	d := open(t, Config{URL: db.DSN(), Today: today, SuppressBelow: -1})
	f := func(known, want string) {
		t.Helper()
		frame := ask(t, d, fmt.Sprintf(`{"indicator":"I-01","asOf":"2016-02-29","knownOn":%q}`, known))
		require.Equal(t, want+"\n", table(frame), "as known on %s", known)
		require.Equal(t, known, provenance(frame).KnownOn)
	}
	f("2016-02-29", "- -") // nothing had come
	f("2016-03-01", "2 2")
	f("2016-05-31", "2 2")
	f("2016-06-01", "3 3")
	f("2016-08-01", "2 2") // one had left in February, as August brought
	f("2016-10-01", "1 1") // and one never was
	f("", "1 1")
}

func TestAnAnswerTooLargeSaysSo(t *testing.T) {
	d := small(t, "charts_plugin_limits")
	d.limits.rows = 3
	f := ask(t, d, `{"indicator":"I-01","groupBy":["province"],"lang":"en"}`)
	require.Equal(t, 3, f.Rows())
	require.Contains(t, f.Meta.Notices[0].Text, "29 rows at its end are not shown")
	d.limits = limits{rows: 1000, bytes: 500}
	f = ask(t, d, `{"indicator":"I-01","groupBy":["province"]}`)
	require.Less(t, f.Rows(), 12)
	require.Contains(t, f.Meta.Notices[0].Text, "结果过大")
}
