package viewer_test

import (
	"context"
	"fmt"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/charts/viewer"
	"github.com/duiwu/duiwu/internal/fetch"
	"github.com/duiwu/duiwu/internal/testenv"
)

// browser starts Chromium once for a test.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, env := testenv.Chromium(t)
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.Env(env...), chromedp.NoSandbox, chromedp.Flag("force-color-profile", "srgb"))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx)) // starts the browser, which must outlive the timeout of a step
	ctx, cancel = context.WithTimeout(ctx, 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// pageOf serves the built front end over a datasource.
func pageOf(t *testing.T, c plugin.Config) string {
	t.Helper()
	dist, err := fetch.Viewer(t.Context())
	require.NoError(t, err)
	s := httptest.NewServer(viewer.Handler(open(t, c), os.DirFS(dist), viewer.Options{}))
	t.Cleanup(s.Close)
	return s.URL
}

// listen collects what a page complains of and where else it asks.
func listen(t *testing.T, ctx context.Context, home string) func() []string {
	t.Helper()
	var mu sync.Mutex
	var out []string
	note := func(s string) { mu.Lock(); out = append(out, s); mu.Unlock() }
	require.NoError(t, chromedp.Listen(ctx, func(ev any) {
		switch e := ev.(type) {
		case *runtime.EventConsoleAPICalled:
			if k := string(e.Type); k == "error" || k == "warning" {
				var s []string
				for _, a := range e.Args {
					s = append(s, fmt.Sprint(a.Value, a.Description))
				}
				note("console: " + strings.Join(s, " "))
			}
		case *runtime.EventExceptionThrown:
			note(fmt.Sprint("exception: ", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
		case *log.EventEntryAdded:
			if string(e.Entry.Level) == "error" {
				note(fmt.Sprint("log: ", e.Entry.Text, " ", e.Entry.URL))
			}
		case *network.EventRequestWillBeSent:
			if u := e.Request.URL; !strings.HasPrefix(u, home) && !strings.HasPrefix(u, "data:") {
				note("asks elsewhere: " + u)
			}
		}
	}))
	return func() []string { mu.Lock(); defer mu.Unlock(); return append([]string(nil), out...) }
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

func load(url string, w, h int64) chromedp.Action[chromedp.Void] {
	return chromedp.Steps(
		chromedp.EmulateViewport(w, h),
		chromedp.Navigate(url),
		chromedp.WaitVisible(chromedp.CSS(`body[data-ready]`)),
		chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := chromedp.Evaluate[bool](`document.fonts.ready.then(() => new Promise(r => setTimeout(() => r(true), 250)))`, chromedp.EvalAwaitPromise)(ctx, target)
			return err
		}),
	)
}

// run runs one action that must succeed.
func run[T any](t *testing.T, ctx context.Context, a chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(ctx, a)
	require.NoError(t, err)
	return v
}

func shoot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := filepath.Join("..", "..", "screenshots")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, name+".png"), run(t, ctx, chromedp.CaptureScreenshot()), 0o644))
}

// What is drawn must be what the database says, at every size, theme and
// language, with nothing cut, nothing asked of another server, and no complaint.
func TestPages(t *testing.T) {
	ctx := browser(t)
	db := chartstest.New(t, "charts_pages")
	chartstest.Nation(t, db)
	home := pageOf(t, plugin.Config{URL: db.DSN(), Today: today, Scope: scope.Everything()})
	complaints := listen(t, ctx, home)
	f := func(page, query, lang, theme string, w, h int64) {
		t.Helper()
		url := fmt.Sprintf("%s/d/%s?lang=%s&theme=%s%s", home, page, lang, theme, query)
		name := fmt.Sprintf("%s-%s-%s-%d", page, lang, theme, w)
		require.NoError(t, chromedp.Do(ctx, load(url, w, h)), "%s %v", name, complaints())
		shoot(t, ctx, name)
		if bad := run(t, ctx, chromedp.Evaluate[[]string](spill)); len(bad) > 0 {
			t.Errorf("%s:\n  %s", name, strings.Join(bad, "\n  "))
		}
	}
	for _, s := range [][2]int64{{1366, 768}, {3840, 2160}} {
		for _, lang := range []string{"zh", "en"} {
			for _, theme := range []string{"light", "dark"} {
				f("D01", "", lang, theme, s[0], s[1])
				f("D11", "&unit=310000", lang, theme, s[0], s[1])
			}
		}
	}
	f("D11", "&unit=430000&indicator=I-03", "zh", "light", 1920, 1080) // late
	require.Empty(t, complaints())

	t.Run("numbers", func(t *testing.T) {
		require.NoError(t, chromedp.Do(ctx, load(home+"/d/D01?lang=zh", 1366, 768)))
		drawn := run(t, ctx, chromedp.Evaluate[[]struct{ Indicator, Unit, Value, State string }](
			`[...document.querySelectorAll("[data-indicator]:not(.chart):not([data-part]):not([data-code])")].map(e => ({Indicator: e.dataset.indicator, Unit: e.dataset.unit, Value: e.dataset.value, State: e.dataset.state || ""}))`))
		// The same figures by other statements, written for this test alone.
		stock := `SELECT reporting_unit AS u, uniqExact(id_number_token) AS w FROM employment FINAL WHERE worker_category IN ('01','02','03') AND start_on <= '2016-11-11' AND (end_on IS NULL OR end_on > '2016-11-11') GROUP BY u`
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
	})

	t.Run("source", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		// By keyboard alone: the headline is reachable, explains itself, opens and closes.
		require.NoError(t, chromedp.Do(ctx, load(home+"/d/D01?lang=zh", 1366, 768), chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
			return err
		})))
		tip := run(t, ctx, chromedp.Evaluate[string](`document.querySelector('[data-indicator="I-01"][role=button]').focus(); document.getElementById("tip").textContent`))
		require.Contains(t, tip, "I-01 第 1 版")
		require.NoError(t, chromedp.Do(ctx, chromedp.KeyEvent("\r"), chromedp.WaitVisible(chromedp.CSS(`dialog.source`))))
		text := run(t, ctx, chromedp.Text(chromedp.CSS(`dialog.source`)))
		for _, want := range []string{"这个数字从哪里来", "一人在全国只计一次", "I-01 第 1 版", "来源记录", "32 个报送单位中的 32 个", "执行的查询", "T-SCALE-2020"} {
			require.Contains(t, text, want)
		}
		shoot(t, ctx, "source")
		require.NoError(t, chromedp.Do(ctx, chromedp.KeyEvent("\x1b"), chromedp.WaitNotPresent(chromedp.CSS(`dialog.source`))))
	})
	require.Empty(t, complaints())
}

// An empty database, and one that is not there, each say what to do.
func TestTroubleIsAClearSentence(t *testing.T) {
	ctx := browser(t)
	f := func(c plugin.Config, want ...string) {
		t.Helper()
		require.NoError(t, chromedp.Do(ctx, chromedp.Navigate(pageOf(t, c)+"/d/D01?lang=zh"), chromedp.WaitVisible(chromedp.CSS(`.trouble`))))
		text := run(t, ctx, chromedp.Text(chromedp.CSS(`.trouble`)))
		for _, w := range want {
			require.Contains(t, text, w)
		}
	}
	f(plugin.Config{URL: chartstest.New(t, "charts_hollow").DSN(), Today: today, Scope: scope.Everything()}, "还没有数据", "duiwu worker")
	f(plugin.Config{URL: chartstest.Empty(t, "charts_bare").DSN(), Today: today, Scope: scope.Everything()}, "duiwu migrate")
	f(plugin.Config{URL: "http://127.0.0.1:1/duiwu", Scope: scope.Everything()}, "服务器拒绝连接")
}
