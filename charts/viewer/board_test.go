package viewer_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/color"
	"image/png"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/dashboards"
	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/internal/browsertest"
)

// parts is what the viewer draws of something and what it leaves out on purpose.
type parts struct{ Drawn, Left []string }

func (p parts) knows(name string) bool {
	return slices.Contains(p.Drawn, name) || slices.Contains(p.Left, name)
}

// A dashboard may use only what the viewer has declared: a feature that it does
// not know would silently show something else than Grafana does.
func TestDashboardsStayInsideTheSubset(t *testing.T) {
	b, err := os.ReadFile("web/src/subset.json")
	require.NoError(t, err)
	var subset struct {
		Dashboard, Panel, Query, Override parts
		Types                             map[string]parts
		Units                             []string
	}
	require.NoError(t, json.Unmarshal(b, &subset))
	require.NoError(t, fs.WalkDir(dashboards.FS, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := fs.ReadFile(dashboards.FS, path)
		require.NoError(t, err)
		var d map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(b, &d))
		for k := range d {
			require.True(t, subset.Dashboard.knows(k), "%s: the dashboard's %q", path, k)
		}
		var panels []map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(d["panels"], &panels))
		for _, p := range panels {
			var kind, title string
			require.NoError(t, json.Unmarshal(p["type"], &kind))
			_ = json.Unmarshal(p["title"], &title)
			at := path + ": " + kind + " " + title
			known, ok := subset.Types[kind]
			require.True(t, ok, at)
			for k := range p {
				require.True(t, subset.Panel.knows(k), "%s: %q", at, k)
			}
			var targets []map[string]json.RawMessage
			if p["targets"] != nil {
				require.NoError(t, json.Unmarshal(p["targets"], &targets))
			}
			for _, q := range targets {
				for k := range q {
					require.True(t, subset.Query.knows(k), "%s: the query's %q", at, k)
				}
			}
			if p["options"] != nil {
				for _, k := range leaves(t, p["options"]) {
					require.True(t, known.knows(k), "%s: option %q", at, k)
				}
			}
			var config struct {
				Defaults  json.RawMessage
				Overrides []struct{ Properties []struct{ ID string } }
			}
			if p["fieldConfig"] != nil {
				require.NoError(t, json.Unmarshal(p["fieldConfig"], &config))
			}
			if config.Defaults != nil {
				for _, k := range leaves(t, config.Defaults) {
					require.True(t, known.knows(k), "%s: field config %q", at, k)
				}
			}
			for _, o := range config.Overrides {
				for _, x := range o.Properties {
					require.True(t, subset.Override.knows(x.ID), "%s: override %q", at, x.ID)
				}
			}
		}
		return nil
	}))
}

// leaves lists the paths to what is no object.
func leaves(t *testing.T, b json.RawMessage) []string {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal(b, &v))
	var out []string
	var walk func(path string, v any)
	walk = func(path string, v any) {
		m, ok := v.(map[string]any)
		if !ok {
			out = append(out, path)
			return
		}
		for k, x := range m {
			walk(strings.TrimPrefix(path+"."+k, "."), x)
		}
	}
	walk("", v)
	return out
}

// overflow finds text that leaves its card, and a page that is wider than the
// screen. What scrolls may be longer than it looks.
const overflow = `(() => {
  const bad = [];
  if (document.documentElement.scrollWidth > innerWidth + 1) bad.push("the page is wider than the screen");
  for (const c of document.querySelectorAll(".board-card")) {
    const r = c.getBoundingClientRect();
    for (const e of c.querySelectorAll("*")) {
      if (e.closest("svg") || e.closest(".tool-list") || e.closest(".scroll, .many, .mini")) continue;
      const x = e.getBoundingClientRect();
      if (x.width && x.height && (x.right > r.right + 1 || x.bottom > r.bottom + 1)) bad.push("leaves its card: " + e.tagName + "." + e.className + " «" + (e.textContent || "").slice(0, 30) + "»");
    }
    for (const e of c.querySelectorAll(".digits, .unit, h3, .label")) if (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflow !== "visible") bad.push("is cut: " + e.textContent);
    for (const e of c.querySelectorAll(".scroll")) {
      const end = e.getBoundingClientRect().top + e.clientHeight;
      for (const row of e.scrollHeight > e.clientHeight + 1 ? e.querySelectorAll("tbody tr") : []) {
        const x = row.getBoundingClientRect();
        if (x.top < end - 2 && x.bottom > end + 2) bad.push("is cut in half: " + row.textContent.slice(0, 30));
      }
    }
    const none = c.querySelector(".none-yet");
    if (none && !/到齐|is missing/.test(none.textContent)) bad.push("is empty: " + c.textContent.slice(0, 40));
    if (!none && !c.querySelector("svg, table, .digits, .mosaic")) bad.push("shows nothing: " + c.textContent.slice(0, 40));
  }
  return bad.slice(0, 12);
})()`

// access finds what a keyboard or a screen reader cannot use, and what is hard to
// read: text on its ground needs a contrast of 4.5.
const access = `(() => {
  const bad = [];
  for (const e of document.querySelectorAll("button, a[href], select, summary")) {
    if (!(e.getAttribute("aria-label") || e.textContent.trim())) bad.push("has no name: " + e.outerHTML.slice(0, 80));
    if (e.tabIndex < 0) bad.push("cannot be reached by keyboard: " + e.outerHTML.slice(0, 80));
  }
  for (const e of document.querySelectorAll(".plot svg")) if (!e.closest("[aria-label]") && !e.getAttribute("aria-label")) bad.push("a chart without words: " + e.closest(".card").textContent.slice(0, 20));
  for (const e of document.querySelectorAll(".scroll")) if (e.scrollHeight > e.clientHeight + 1 && e.tabIndex < 0) bad.push("scrolls by mouse only");
  if (document.querySelectorAll("main").length !== 1 || document.querySelectorAll("h1").length !== 1) bad.push("not one main and one h1");
  const lum = (c) => { const [r, g, b] = c.match(/[\d.]+/g).map(Number).map((v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (c.startsWith("rgb(")) return c; } return "rgb(255,255,255)"; };
  for (const e of document.querySelectorAll("main *")) {
    if (e.closest("svg, option, .cross") || ![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    const [a, b] = [lum(getComputedStyle(e).color), lum(ground(e))].sort((x, y) => y - x), k = (a + .05) / (b + .05);
    if (k < 4.5) bad.push("hard to read, contrast " + k.toFixed(2) + ": " + e.tagName + "." + e.className + " «" + e.textContent.slice(0, 20) + "»");
  }
  return [...new Set(bad)].slice(0, 12);
})()`

// boards draws every dashboard from its own file, with every panel filled, nothing
// cut, no complaint, and the figures that the backend gives.
func boards(t *testing.T, tab *browsertest.Tab, home string, c plugin.Config) {
	f := func(page, lang, theme string, w, h int64) {
		t.Helper()
		name := fmt.Sprintf("%s-%s-%s-%d", page, lang, theme, w)
		tab.Open(fmt.Sprintf("%s/d/%s?lang=%s&theme=%s", home, page, lang, theme), w, h, ready)
		tab.ShootAll(name)
		for _, check := range []string{overflow, access} {
			if bad := browsertest.Eval[[]string](tab, check); len(bad) > 0 {
				t.Errorf("%s:\n  %s", name, strings.Join(bad, "\n  "))
			}
		}
	}
	for _, p := range dashboards.Pages() {
		switch p.ID {
		case "WALL": // see wall
			continue
		case "D01", "D11": // what is looked at first: every language and theme
			f(p.ID, "en", "light", 1366, 900)
			f(p.ID, "en", "dark", 1920, 1080)
			f(p.ID, "zh", "dark", 1920, 1080)
		case "D03", "D05":
			f(p.ID, "en", "dark", 1920, 1080)
		case "D04", "D06", "D09":
			f(p.ID, "en", "dark", 1366, 900)
			f(p.ID, "en", "light", 1920, 1080)
		case "D12":
			f(p.ID, "en", "dark", 1920, 1080)
		}
		f(p.ID, "zh", "light", 1366, 900)
	}
	f("D01", "zh", "dark", 3840, 2160)
	for _, p := range []string{"D01", "D03", "D08", "D11"} { // a telephone
		f(p, "zh", "light", 390, 844)
		f(p, "en", "light", 390, 844)
	}
	// An axis tells no more than its figure: coefficients have four places.
	tab.Open(home+"/d/D03?lang=zh", 1366, 900, ready)
	ticks := browsertest.Eval[[]string](tab, `[...document.querySelector(".timeseries svg").querySelectorAll("text")].map(e => e.textContent).filter(s => /^[\d.]+$/.test(s))`)
	require.NotEmpty(t, ticks)
	for _, s := range ticks {
		require.Regexp(t, `^\d\.\d{1,4}$`, s)
	}
	// A province without a figure looks otherwise than one with zero.
	tab.Open(home+"/d/D08?lang=zh", 1366, 900, ready)
	require.Equal(t, 32, browsertest.Eval[int](tab, `[...[...document.querySelectorAll(".barchart")].find(e => e.textContent.includes("哪些省份留不住人")).querySelectorAll("svg text")].filter(e => (e.getAttribute("transform") ?? "").startsWith("matrix(0,-1") || e.textContent === "—").length`))
	// What stands on the page is what the backend answers to the same query.
	tab.Open(home+"/d/D02?lang=zh", 1366, 900, ready)
	page := tab.Text("main")
	for _, want := range []string{
		"目标 100,000（未经核实）", "目标 30", // what a coloured figure is held against
		"社会组织聘用的禁毒社会工作者", "政府购买岗位派驻人员", // no name of a legend is behind an arrow
		"虚线为配备目标。", // the note of a panel
	} {
		require.Contains(t, page, want)
	}
	drawn := browsertest.Eval[[]struct{ Indicator, Unit, Value string }](tab,
		`[...document.querySelectorAll(".stat [data-indicator], .stat[data-indicator]")].map(e => ({Indicator: e.dataset.indicator, Unit: e.dataset.unit, Value: e.dataset.value}))`)
	require.Len(t, drawn, 4)
	ds := open(t, c)
	for _, x := range drawn {
		res, err := ds.QueryData(t.Context(), &backend.QueryDataRequest{Queries: []backend.DataQuery{{RefID: "A", JSON: []byte(`{"indicator":"` + x.Indicator + `"}`)}}})
		require.NoError(t, err)
		require.NoError(t, res.Responses["A"].Error)
		want, _ := res.Responses["A"].Frames[0].FieldByName("value")
		have, err := strconv.ParseFloat(x.Value, 64)
		require.NoError(t, err)
		require.InDelta(t, *want.At(0).(*float64), have, 1e-9, x.Indicator)
	}
}

// wall holds the wall to its promise: nothing scrolls, nothing is cut, and the
// smallest text is 1.8 % of the height: 17 mm on a screen of 75 inches, which is
// read from five metres.
func wall(t *testing.T, tab *browsertest.Tab, home string) {
	const far = `(() => {
  const bad = [], H = innerHeight;
  if (document.documentElement.scrollHeight > H + 1) bad.push("the wall scrolls");
  for (const e of document.querySelectorAll("main *, .page-foot *")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    const r = e.getBoundingClientRect(), s = getComputedStyle(e);
    if (!r.width || s.display === "none") continue;
    if (parseFloat(s.fontSize) < 0.018 * H) bad.push("too small: " + s.fontSize + " «" + e.textContent.slice(0, 20) + "»");
    if (!e.closest("svg") && e.scrollWidth > e.clientWidth + 1 && s.overflowX !== "visible") bad.push("is cut: " + e.textContent.slice(0, 30));
    if (r.right > innerWidth + 1 || r.bottom > H + 1) bad.push("leaves the screen: " + e.textContent.slice(0, 30));
  }
  for (const e of document.querySelectorAll(".mosaic > div")) {
    const r = e.getBoundingClientRect();
    for (const c of e.children) { const x = c.getBoundingClientRect(); if (x.width && (x.left < r.left - 1 || x.right > r.right + 1)) bad.push("leaves its tile: " + e.textContent); }
  }
  if (document.querySelectorAll(".mosaic > div").length < 70) bad.push("tiles are missing");
  if (document.documentElement.dataset.theme !== "dark") bad.push("the wall is not dark");
  return [...new Set(bad)].slice(0, 12);
})()`
	for _, v := range []struct {
		lang string
		w, h int64
	}{{"zh", 1920, 1080}, {"en", 1920, 1080}, {"zh", 3840, 2160}} {
		tab.Open(fmt.Sprintf("%s/d/WALL?lang=%s", home, v.lang), v.w, v.h, ready)
		tab.Shoot(fmt.Sprintf("WALL-%s-%d", v.lang, v.w))
		for _, check := range []string{far, overflow} {
			if bad := browsertest.Eval[[]string](tab, check); len(bad) > 0 {
				t.Errorf("WALL %s %d:\n  %s", v.lang, v.w, strings.Join(bad, "\n  "))
			}
		}
	}
}

// files takes a panel away by keyboard: every chart has a table that says the
// same, a picture of it is a picture, and the links lead to files.
func files(t *testing.T, tab *browsertest.Tab, home string) {
	tab.Open(home+"/d/D04?lang=zh", 1366, 900, ready)
	charts := browsertest.Eval[int](tab, `document.querySelectorAll(".board-card:is(.timeseries, .barchart, .xychart)").length`)
	tables := browsertest.Eval[int](tab, `(() => { let n = 0; for (const b of document.querySelectorAll(".tools [aria-pressed]")) { b.click(); n += b.closest(".board-card").querySelectorAll("tbody tr").length > 0; } return n; })()`)
	require.Positive(t, charts)
	require.Equal(t, charts, tables, "each chart has its table")
	browsertest.Eval[bool](tab, `(() => { for (const b of document.querySelectorAll(".tools [aria-pressed]")) b.click(); document.querySelector('.timeseries .tools summary').focus(); return true; })()`)
	tab.Settle()
	tab.Do(chromedp.KeyEvent("\r"), chromedp.WaitVisible(chromedp.CSS(`.tools[open] a[href*="format=xlsx"]`)))
	tab.ShootAll("tools")
	// The bytes of a picture, whose name alone the page gives to the browser.
	browsertest.Eval[bool](tab, `(() => { window.kept = new Promise((done) => { URL.createObjectURL = (b) => { b.arrayBuffer().then((a) => done([...new Uint8Array(a)])); return "data:,"; }; }); document.querySelector(".tools[open] [data-png]").click(); return true; })()`)
	raw := browsertest.Eval[[]int](tab, `window.kept`)
	b := make([]byte, len(raw))
	for i, v := range raw {
		b[i] = byte(v)
	}
	img, err := png.Decode(bytes.NewReader(b))
	require.NoError(t, err)
	colours := map[color.Color]bool{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			colours[img.At(x, y)] = true
		}
	}
	require.Greater(t, img.Bounds().Dx(), 1200)
	require.Greater(t, len(colours), 30, "the picture is empty")
	status, text, h := get(t, browsertest.Eval[string](tab, `document.querySelector('.timeseries .tools a[href*="format=csv"]').href`))
	require.Equal(t, 200, status, text)
	require.Contains(t, h.Get("Content-Type"), "text/csv")
}

// paper prints dashboards on lying and standing sheets: nothing is cut, charts
// are as wide as their cards, and the letters are of a size that is read.
func paper(t *testing.T, tab *browsertest.Tab, home string) {
	const cut = `(() => {
  dispatchEvent(new Event("beforeprint"));
  const bad = [], app = document.getElementById("app").getBoundingClientRect();
  for (const e of document.querySelectorAll("#app *")) {
    const r = e.getBoundingClientRect(), name = e.tagName + "." + (e.className.baseVal ?? e.className) + " «" + (e.textContent || "").slice(0, 24) + "»";
    if (!r.width || !r.height || e.closest("svg") && e.tagName !== "svg") continue;
    if (r.right > app.right + 1) bad.push("is wider than the sheet: " + name);
    if (e.tagName === "svg" && Math.abs(r.width - e.closest(".plot, .mini, .spark, .trend, .trend-chart").getBoundingClientRect().width) > 2) bad.push("is not as wide as its card: " + name);
    if (e.matches(".scroll") && (e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1)) bad.push("is cut: " + name + e.scrollWidth + ">" + e.clientWidth);
  }
  dispatchEvent(new Event("afterprint"));
  return bad.slice(0, 12);
})()`
	for _, v := range []struct{ page, paper string }{{"D05", "portrait"}, {"D08", "landscape"}, {"D01", "landscape"}, {"D11", "portrait"}} {
		tab.Open(home+"/d/"+v.page+"?lang=zh&theme=dark", 1366, 900, ready)
		browsertest.Eval[string](tab, `document.documentElement.dataset.paper = "`+v.paper+`"`)
		if bad := browsertest.Eval[[]string](tab, cut); len(bad) > 0 {
			t.Errorf("%s %s:\n  %s", v.page, v.paper, strings.Join(bad, "\n  "))
		}
		pdf := tab.PDF(v.page + "-" + v.paper)
		sheet := map[string]string{"landscape": `/MediaBox \[0 0 841\.\d+ 59[45]\.`, "portrait": `/MediaBox \[0 0 59[45]\.\d+ 841\.`}[v.paper]
		require.True(t, regexp.MustCompile(sheet).Match(pdf), "the sheet is not A4 %s", v.paper)
		require.Equal(t, "dark", browsertest.Eval[string](tab, `document.documentElement.dataset.theme`), "the page is as it was")
	}
}
