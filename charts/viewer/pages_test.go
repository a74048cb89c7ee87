package viewer_test

import (
	"fmt"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/charts/viewer"
	"github.com/duiwu/duiwu/internal/browsertest"
	"github.com/duiwu/duiwu/internal/fetch"
	"github.com/duiwu/duiwu/sink"
)

// pageOf serves the built front end over a datasource.
func pageOf(t *testing.T, c plugin.Config) string {
	t.Helper()
	dist, err := fetch.Viewer(t.Context())
	require.NoError(t, err)
	s := httptest.NewServer(viewer.Handler(open(t, c), os.DirFS(dist), viewer.Options{}))
	t.Cleanup(s.Close)
	return s.URL
}

const ready = `body[data-ready]`

// The pages share one browser and one nation; each part has a tab of its own.
func TestPages(t *testing.T) {
	chromium := browsertest.Start(t)
	db := chartstest.New(t, "charts_pages")
	chartstest.Nation(t, db)
	db.Published(t, sink.SystemDDL(db.Contract, sink.Layout{}))
	c := plugin.Config{URL: db.DSN(), Today: today, Scope: scope.Everything()}
	home := pageOf(t, c)
	part := func(name string, f func(t *testing.T, tab *browsertest.Tab)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tab := chromium.Tab(t, home)
			f(t, tab)
			require.Empty(t, tab.Complaints())
		})
	}
	part("numbers", func(t *testing.T, tab *browsertest.Tab) { numbers(t, tab, home, db) })
	part("source", func(t *testing.T, tab *browsertest.Tab) { source(t, tab, home) })
	part("profile", func(t *testing.T, tab *browsertest.Tab) { profile(t, tab, home, db) })
	part("boards", func(t *testing.T, tab *browsertest.Tab) { boards(t, tab, home, c) })
	part("wall", func(t *testing.T, tab *browsertest.Tab) { wall(t, tab, home) })
	part("files", func(t *testing.T, tab *browsertest.Tab) { files(t, tab, home) })
	part("paper", func(t *testing.T, tab *browsertest.Tab) { paper(t, tab, home) })
	t.Run("trouble", func(t *testing.T) {
		t.Parallel()
		trouble(t, chromium)
	})
}

// The same figures by other statements, written for these tests alone.
const (
	stock = `(SELECT u, count() AS w FROM (SELECT argMax(reporting_unit, (start_on, -toInt32(reporting_unit))) AS u FROM employment FINAL WHERE worker_category IN ('01','02','03') AND start_on <= '2016-11-11' AND (end_on IS NULL OR end_on > '2016-11-11') GROUP BY id_number_token) GROUP BY u)`
	users = `(SELECT reporting_unit AS u, argMax(registered_users, period) AS n FROM context FINAL WHERE division_code = reporting_unit GROUP BY u)`
	// atWork are those of whom a share is told.
	atWork = ` AND id_number_token IN (SELECT id_number_token FROM employment FINAL WHERE start_on <= '2016-11-11' AND (end_on IS NULL OR end_on > '2016-11-11'))`
)

func one(t *testing.T, db *chartstest.DB, sql string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(db.Exec(t, sql), 64)
	require.NoError(t, err)
	return v
}

// figures are what a page shows, by indicator and unit.
func figures(t *testing.T, tab *browsertest.Tab) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for _, d := range browsertest.Eval[[]struct{ Indicator, Unit, Value string }](tab,
		`[...document.querySelectorAll(".stat[data-indicator]:not([data-code])")].map(e => ({Indicator: e.dataset.indicator, Unit: e.dataset.unit, Value: e.dataset.value}))`) {
		v, err := strconv.ParseFloat(d.Value, 64)
		require.NoError(t, err, d)
		out[d.Indicator+" "+d.Unit] = v
	}
	return out
}

// tilesOf are the texts of the grid's tiles, by unit.
func tilesOf(tab *browsertest.Tab) map[string]string {
	return browsertest.Eval[map[string]string](tab, `Object.fromEntries([...document.querySelectorAll(".mosaic [data-unit]")].map(e => [e.dataset.unit, [...e.querySelectorAll("b, span")].map(x => x.textContent).join(" ")]))`)
}

func numbers(t *testing.T, tab *browsertest.Tab, home string, db *chartstest.DB) {
	tab.Open(home+"/d/D01?lang=zh", 1366, 900, ready)
	drawn := figures(t, tab)
	for key, sql := range map[string]string{
		"I-01 000000": "SELECT sum(w) FROM " + stock,
		"I-03 000000": "SELECT sum(n) / sum(w) FROM " + stock + " AS s JOIN " + users + " AS c ON s.u = c.u",
		"I-14 000000": "SELECT uniqExact(uscc) FROM org FINAL WHERE org_type IN ('51','52','53') AND status = 'active' AND worker_total > 0",
		"I-16 000000": "SELECT 100 * uniqExact(id_number_token) / (SELECT sum(w) FROM " + stock + ") FROM attendance FINAL WHERE passed AND toYear(effective_from) = 2016" + atWork,
		"I-20 000000": "SELECT 100 * uniqExact(id_number_token) / (SELECT sum(w) FROM " + stock + ") FROM qualification FINAL WHERE cert_level >= '1' AND issued_on <= '2016-11-11'" + atWork,
	} {
		require.Contains(t, drawn, key)
		require.InEpsilon(t, one(t, db, sql), drawn[key], 1e-9, key)
	}
	// Each tile and each bar is its unit's; no value yet must not look like zero.
	tiles := tilesOf(tab)
	require.Len(t, tiles, 32)
	require.Equal(t, "藏 —", tiles["540000"])
	require.Equal(t, 1, browsertest.Eval[int](tab, `document.querySelectorAll('.mosaic .late').length`))
	require.Equal(t, "430000", browsertest.Eval[string](tab, `document.querySelector('.mosaic .late').dataset.unit`))
	bars := browsertest.Eval[string](tab, `[...document.querySelectorAll(".barchart .plot, .barchart .plot *")].map(e => e.getAttribute("aria-label") ?? "").find(s => s.includes("内蒙古"))`)
	rows := strings.Split(strings.TrimSpace(db.Exec(t, "SELECT s.u, 1000 * w / n FROM "+stock+" AS s JOIN "+users+" AS c ON s.u = c.u")), "\n")
	require.Len(t, rows, 31)
	for _, r := range rows {
		unit, text, _ := strings.Cut(r, "\t")
		v, err := strconv.ParseFloat(text, 64)
		require.NoError(t, err, r)
		_, shown, _ := strings.Cut(tiles[unit], " ")
		require.Equal(t, fmt.Sprintf("%.1f", v), shown, unit)
		require.Contains(t, bars, " "+shown, unit)
	}
}

// From the nation to a province and back, by keyboard and by the page's choices:
// the profile is of that province, its figures are those of the database.
func profile(t *testing.T, tab *browsertest.Tab, home string, db *chartstest.DB) {
	tab.Open(home+"/d/D01?lang=zh", 1366, 900, ready)
	browsertest.Eval[bool](tab, `(() => { document.querySelector('.mosaic [data-unit="430000"] a').focus(); return true; })()`)
	tab.Do(chromedp.KeyEvent("\r"), chromedp.WaitVisible(chromedp.CSS(`body[data-ready="D11"]`)))
	require.Contains(t, browsertest.Eval[string](tab, `location.search`), "var-province=430000")
	require.Contains(t, tab.Text("main"), "湖南在各省中排在哪里？")
	drawn := figures(t, tab)
	require.InEpsilon(t, one(t, db, "SELECT w FROM "+stock+" WHERE u = '430000'"), drawn["I-01 430000"], 1e-9)
	load := one(t, db, "SELECT n / w FROM "+stock+" AS s JOIN "+users+" AS c ON s.u = c.u WHERE s.u = '430000'")
	require.InEpsilon(t, load, drawn["I-03 430000"], 1e-9)
	require.Equal(t, "late", browsertest.Eval[string](tab, `document.querySelector('[data-indicator="I-03"]').dataset.state`))

	// Another indicator: the grid is of that one, the province stays.
	browsertest.Eval[bool](tab, `(() => { const s = document.querySelector('select[aria-label="指标"]'); s.value = "I-03"; s.dispatchEvent(new Event("change")); return true; })()`)
	tab.Do(chromedp.WaitVisible(chromedp.CSS(`.stats.n4 [data-indicator="I-03"]`)))
	tab.Settle()
	require.Contains(t, browsertest.Eval[string](tab, `location.search`), "var-province=430000&var-indicator=I-03")
	require.Equal(t, fmt.Sprintf("湘 %.1f", load), tilesOf(tab)["430000"])
	tab.ShootAll("D11-hunan")
	// What is no province is not asked for.
	tab.Open(home+"/d/D11?lang=zh&var-province=810000", 1366, 900, ready)
	require.Contains(t, tab.Text("main"), "北京在各省中排在哪里？")
}

// By keyboard alone: the headline is reachable, explains itself, opens and closes.
func source(t *testing.T, tab *browsertest.Tab, home string) {
	tab.Open(home+"/d/D01?lang=zh", 1366, 900, ready)
	require.Contains(t, browsertest.Eval[string](tab, `document.querySelector('[data-indicator="I-01"][role=button]').focus(); document.getElementById("tip").textContent`), "I-01 第 1 版")
	tab.Do(chromedp.KeyEvent("\r"), chromedp.WaitVisible(chromedp.CSS(`dialog.source`)))
	text := tab.Text(`dialog.source`)
	for _, want := range []string{"这个数字从哪里来", "一人在全国只计一次", "I-01 第 1 版", "来源记录", "32 个报送单位中的 32 个", "执行的查询", "T-SCALE-2020"} {
		require.Contains(t, text, want)
	}
	tab.Shoot("source")
	tab.Do(chromedp.KeyEvent("\x1b"), chromedp.WaitNotPresent(chromedp.CSS(`dialog.source`)))
}

// An empty database, and one that is not there, each say what to do.
func trouble(t *testing.T, chromium *browsertest.Browser) {
	f := func(c plugin.Config, want ...string) {
		t.Helper()
		home := pageOf(t, c)
		tab := chromium.Tab(t, home)
		tab.Do(chromedp.Navigate(home+"/d/D01?lang=zh"), chromedp.WaitVisible(chromedp.CSS(`.trouble`)))
		for _, w := range want {
			require.Contains(t, tab.Text(`.trouble`), w)
		}
	}
	f(plugin.Config{URL: chartstest.New(t, "charts_hollow").DSN(), Today: today, Scope: scope.Everything()}, "还没有数据", "duiwu worker")
	f(plugin.Config{URL: chartstest.Empty(t, "charts_bare").DSN(), Today: today, Scope: scope.Everything()}, "duiwu migrate")
	f(plugin.Config{URL: "http://127.0.0.1:1/duiwu", Scope: scope.Everything()}, "服务器拒绝连接")
}
