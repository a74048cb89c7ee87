package viewer_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/dashboards"
	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/charts/pkg/scope"
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

// The pages that are drawn by hand show what their dashboards in Grafana show:
// each headline of the page is a panel there.
func TestHandMadePagesAgreeWithTheirDashboards(t *testing.T) {
	f := func(id, source string, apart ...string) {
		t.Helper()
		b, err := fs.ReadFile(dashboards.FS, dashboards.File(id, "zh"))
		require.NoError(t, err)
		ts, err := os.ReadFile("web/src/" + source)
		require.NoError(t, err)
		n := 0
		for i := 1; i <= 42; i++ {
			in := fmt.Sprintf("I-%02d", i)
			if !strings.Contains(string(ts), `"`+in+`"`) || slices.Contains(apart, in) {
				continue
			}
			n++
			require.Contains(t, string(b), `"indicator": "`+in+`"`, "%s shows %s and the dashboard of Grafana does not", source, in)
		}
		require.Greater(t, n, 5)
	}
	f("D01", "d01.ts", "I-09")                 // a line beside the headline; D03 has its panel
	f("D11", "d11.ts", "I-09", "I-10", "I-24") // chosen by the variable there
}

// overflow finds text that leaves its card, and a page that is wider than the
// screen. What scrolls may be longer than it looks.
const overflow = `(() => {
  const bad = [];
  if (document.documentElement.scrollWidth > innerWidth + 1) bad.push("the page is wider than the screen");
  for (const c of document.querySelectorAll(".board-card")) {
    const r = c.getBoundingClientRect();
    for (const e of c.querySelectorAll("*")) {
      if (e.closest("svg") || e.closest(".scroll") || e.closest(".mini")) continue;
      const x = e.getBoundingClientRect();
      if (x.width && x.height && (x.right > r.right + 1 || x.bottom > r.bottom + 1)) bad.push("leaves its card: " + e.tagName + "." + e.className + " «" + (e.textContent || "").slice(0, 30) + "»");
    }
    for (const e of c.querySelectorAll(".digits, .unit, h3, .label")) if (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflow !== "visible") bad.push("is cut: " + e.textContent);
    if (!c.querySelector("svg, table, .digits, .none-yet")) bad.push("shows nothing: " + c.textContent.slice(0, 40));
  }
  return bad.slice(0, 12);
})()`

// Every dashboard is drawn from its own file, with every panel filled, nothing
// cut, no complaint, and the figures that the backend gives.
func TestBoards(t *testing.T) {
	ctx := browser(t)
	db := chartstest.New(t, "charts_boards")
	chartstest.Nation(t, db)
	c := plugin.Config{URL: db.DSN(), Today: today, Scope: scope.Everything()}
	home := pageOf(t, c)
	complaints := listen(t, ctx, home)
	f := func(page, lang, theme string, w, h int64) {
		t.Helper()
		name := fmt.Sprintf("%s-%s-%s-%d", page, lang, theme, w)
		require.NoError(t, chromedp.Do(ctx, load(fmt.Sprintf("%s/d/%s?lang=%s&theme=%s", home, page, lang, theme), w, h)), "%s %v", name, complaints())
		shoot(t, ctx, name)
		if bad := run(t, ctx, chromedp.Evaluate[[]string](overflow)); len(bad) > 0 {
			t.Errorf("%s:\n  %s", name, strings.Join(bad, "\n  "))
		}
	}
	for _, p := range dashboards.Pages() {
		if p.ID == "D01" || p.ID == "D11" {
			continue // drawn by hand, see TestPages
		}
		f(p.ID, "zh", "light", 1366, 2400)
		if p.ID == "D03" || p.ID == "D05" {
			f(p.ID, "en", "dark", 1920, 2400)
		}
	}
	require.Empty(t, complaints())

	// What stands on the page is what the backend answers to the same query.
	require.NoError(t, chromedp.Do(ctx, load(home+"/d/D02?lang=zh", 1366, 2400)))
	drawn := run(t, ctx, chromedp.Evaluate[[]struct{ Indicator, Unit, Value string }](
		`[...document.querySelectorAll(".stat [data-indicator], .stat[data-indicator]")].map(e => ({Indicator: e.dataset.indicator, Unit: e.dataset.unit, Value: e.dataset.value}))`))
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
