package viewer_test

import (
	"fmt"
	"math"
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

// spill finds text that is cut and elements that leave the screen.
const spill = `(() => {
  const bad = [], W = innerWidth, H = innerHeight;
  if (document.documentElement.scrollWidth > W) bad.push("page is wider than the screen");
  if (document.documentElement.scrollHeight > H + 1) bad.push("page is taller than the screen: " + document.documentElement.scrollHeight);
  for (const e of document.querySelectorAll("#app *")) {
    if (e.closest("svg") || e.tagName === "OPTION") continue;
    const r = e.getBoundingClientRect();
    if (!r.width || !r.height) continue;
    const name = e.tagName + "." + e.className + " «" + (e.textContent || "").slice(0, 30) + "»";
    if (r.right > W + 1 || r.left < -1 || r.bottom > H + 1) bad.push("leaves the screen: " + name);
    const card = e.closest(".card");
    if (card && e !== card) {
      const c = card.getBoundingClientRect();
      if (r.bottom > c.bottom + 1 || r.right > c.right + 1) bad.push("leaves its card: " + name);
    }
    if (e.childElementCount === 0 && e.textContent && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflow !== "visible") bad.push("is cut: " + name);
  }
  for (const f of document.querySelectorAll(".page-foot p")) if (f.scrollWidth > f.clientWidth + 1) bad.push("is cut: foot " + f.textContent);
  return bad.slice(0, 12);
})()`

const ready = `body[data-ready]`

// The pages share one browser and one nation; each part has a tab of its own.
func TestPages(t *testing.T) {
	chromium := browsertest.Start(t)
	db := chartstest.New(t, "charts_pages")
	chartstest.Nation(t, db)
	db.Published(t, sink.SystemDDL(sink.Layout{}))
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
	part("screens", func(t *testing.T, tab *browsertest.Tab) { screens(t, tab, home) })
	part("numbers", func(t *testing.T, tab *browsertest.Tab) { numbers(t, tab, home, db) })
	part("source", func(t *testing.T, tab *browsertest.Tab) { source(t, tab, home) })
	part("boards", func(t *testing.T, tab *browsertest.Tab) { boards(t, tab, home, c) })
	part("wall", func(t *testing.T, tab *browsertest.Tab) { wall(t, tab, home) })
	part("files", func(t *testing.T, tab *browsertest.Tab) { files(t, tab, home) })
	part("paper", func(t *testing.T, tab *browsertest.Tab) { paper(t, tab, home) })
	t.Run("trouble", func(t *testing.T) {
		t.Parallel()
		trouble(t, chromium)
	})
}

// What is drawn must be what the database says, at every size, theme and
// language, with nothing cut, nothing asked of another server, and no complaint.
func screens(t *testing.T, tab *browsertest.Tab, home string) {
	f := func(page, query, lang, theme string, w, h int64) {
		t.Helper()
		name := fmt.Sprintf("%s-%s-%s-%d", page, lang, theme, w)
		tab.Open(fmt.Sprintf("%s/d/%s?lang=%s&theme=%s%s", home, page, lang, theme, query), w, h, ready)
		tab.Shoot(name)
		if bad := browsertest.Eval[[]string](tab, spill); len(bad) > 0 {
			t.Errorf("%s:\n  %s", name, strings.Join(bad, "\n  "))
		}
	}
	// The picture scales with the screen: the two sizes differ in nothing else, so
	// that the large one needs no more than a look.
	for _, lang := range []string{"zh", "en"} {
		for _, theme := range []string{"light", "dark"} {
			f("D01", "", lang, theme, 1366, 768)
			f("D11", "&unit=310000", lang, theme, 1366, 768)
		}
	}
	f("D01", "", "zh", "dark", 3840, 2160)
	f("D11", "&unit=430000&indicator=I-03", "zh", "light", 1920, 1080) // late
}

func numbers(t *testing.T, tab *browsertest.Tab, home string, db *chartstest.DB) {
	tab.Open(home+"/d/D01?lang=zh", 1366, 768, ready)
	drawn := browsertest.Eval[[]struct{ Indicator, Unit, Value, State string }](tab,
		`[...document.querySelectorAll("[data-indicator]:not(.chart):not([data-part]):not([data-code])")].map(e => ({Indicator: e.dataset.indicator, Unit: e.dataset.unit, Value: e.dataset.value, State: e.dataset.state || ""}))`)
	// The same figures by other statements, written for this test alone.
	stock := `SELECT u, count() AS w FROM (SELECT argMax(reporting_unit, (start_on, -toInt32(reporting_unit))) AS u FROM employment FINAL WHERE worker_category IN ('01','02','03') AND start_on <= '2016-11-11' AND (end_on IS NULL OR end_on > '2016-11-11') GROUP BY id_number_token) GROUP BY u`
	users := `SELECT reporting_unit AS u, argMax(registered_users, period) AS n FROM context FINAL WHERE division_code = reporting_unit GROUP BY u`
	one := func(sql string) float64 {
		v, err := strconv.ParseFloat(db.Exec(t, sql), 64)
		require.NoError(t, err)
		return v
	}
	want := map[string]float64{
		"I-01 000000": one("SELECT sum(w) FROM (" + stock + ")"),
		"I-03 000000": one("SELECT sum(n) / sum(w) FROM (" + stock + ") AS s JOIN (" + users + ") AS c ON s.u = c.u"),
		"I-14 000000": one("SELECT uniqExact(uscc) FROM org FINAL WHERE org_type IN ('51','52','53') AND status = 'active' AND worker_total > 0"),
		"I-16 000000": one("SELECT 100 * uniqExact(id_number_token) / (SELECT sum(w) FROM (" + stock + ")) FROM attendance FINAL WHERE passed AND toYear(effective_from) = 2016 AND id_number_token IN (SELECT id_number_token FROM employment FINAL WHERE start_on <= '2016-11-11' AND (end_on IS NULL OR end_on > '2016-11-11'))"),
		"I-20 000000": one("SELECT 100 * uniqExact(id_number_token) / (SELECT sum(w) FROM (" + stock + ")) FROM qualification FINAL WHERE cert_level >= '1' AND issued_on <= '2016-11-11' AND id_number_token IN (SELECT id_number_token FROM employment FINAL WHERE start_on <= '2016-11-11' AND (end_on IS NULL OR end_on > '2016-11-11'))"),
		"I-10 310000": one("SELECT 1000 * (SELECT w FROM (" + stock + ") WHERE u = '310000') / (SELECT n FROM (" + users + ") WHERE u = '310000')"),
	}
	seen := map[string]int{}
	for _, d := range drawn {
		key := d.Indicator + " " + d.Unit
		w, ok := want[key]
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(d.Value, 64)
		require.NoError(t, err, key)
		if math.Abs(v-w) > 1e-9*math.Max(1, w) {
			t.Errorf("%s: the page draws %v, the database has %v", key, v, w)
		}
		seen[key]++
	}
	for key := range want {
		require.Positive(t, seen[key], "%s is not drawn", key)
	}
	tiles := 0
	for _, d := range drawn {
		if d.Indicator == "I-10" && d.Unit == "540000" {
			require.Equal(t, "none", d.State)
			require.Empty(t, d.Value, "no value yet must not look like zero")
		}
		if d.Indicator == "I-10" && d.Unit == "430000" {
			require.Equal(t, "late", d.State)
		}
		if d.Indicator == "I-10" {
			tiles++
		}
	}
	require.Equal(t, 64, tiles, "32 tiles and 32 bars")
}

// By keyboard alone: the headline is reachable, explains itself, opens and closes.
func source(t *testing.T, tab *browsertest.Tab, home string) {
	tab.Open(home+"/d/D01?lang=zh", 1366, 768, ready)
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
