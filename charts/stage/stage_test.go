// Package stage shows the plugin as Grafana shows it, as far as that can be had without
// a Grafana: the built module is loaded as Grafana loads it and drawn with Grafana's own
// packages, in a real Chromium, over the real backend and a real ClickHouse.
package stage

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/dashboards"
	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/charts/viewer"
	"github.com/duiwu/duiwu/internal/browsertest"
	"github.com/duiwu/duiwu/internal/fetch"
	"github.com/duiwu/duiwu/internal/testenv"
	"github.com/duiwu/duiwu/sink"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// page is what Grafana's page sets before a plugin is loaded. Grafana's letters are not
// in its packages: those of the viewer stand in, also where text is measured.
const page = `<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="/font/wght.css"><link rel="stylesheet" href="/stage.css">
<script>
window.__grafana_public_path__ = "/public/";
const lang = new URLSearchParams(location.search).get("lang");
window.grafanaBootData = { settings: { buildInfo: {} }, user: { language: lang } };
Object.defineProperty(navigator, "language", { get: () => lang });
const canvas = CanvasRenderingContext2D.prototype, font = Object.getOwnPropertyDescriptor(canvas, "font");
Object.defineProperty(canvas, "font", { ...font, set(v) { font.set.call(this, v.replace("Inter", "Noto Sans SC Variable")) } });
</script>
<body style="margin: 0"><div id="stage"></div><script src="/stage.js"></script>`

// serve builds the plugin and the stage, and answers from a nation's records.
func serve(t *testing.T) string {
	t.Helper()
	db := chartstest.New(t, "charts_stage")
	chartstest.Nation(t, db)
	db.Published(t, sink.SystemDDL(db.Contract, sink.Layout{}))
	dir := t.TempDir()
	require.NoError(t, fetch.Plugin(t.Context(), filepath.Join(dir, "plugin")))
	viewerDist, err := fetch.Viewer(t.Context())
	require.NoError(t, err)
	build := exec.CommandContext(t.Context(), "node", "stage/build.mjs", dir)
	build.Dir = ".."
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	ds, err := plugin.Open(plugin.Config{URL: db.DSN(), Today: "2016-11-11", Scope: scope.Everything()})
	require.NoError(t, err)
	t.Cleanup(ds.Dispose)

	mux := http.NewServeMux()
	mux.Handle("/api/", viewer.Handler(ds, nil, viewer.Options{}))
	mux.Handle("/", http.FileServer(http.Dir(dir)))
	mux.Handle("/font/", http.StripPrefix("/font/", http.FileServer(http.Dir(filepath.Join(viewerDist, "..", "node_modules", "@fontsource-variable", "noto-sans-sc")))))
	mux.HandleFunc("GET /stage", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, page)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

func TestStage(t *testing.T) {
	chromium := browsertest.Start(t)
	home := serve(t)
	open := func(t *testing.T) *browsertest.Tab {
		// What only Grafana's server has.
		return chromium.Tab(t, home, "fonts/inter/Inter-", "unicons/spinner.svg")
	}
	t.Run("editors", func(t *testing.T) { editors(t, open(t), home) })
	t.Run("choice", func(t *testing.T) { choice(t, open(t), home) })
	for _, lang := range []string{"zh-Hans", "en-US"} {
		for _, p := range dashboards.Pages() {
			t.Run(lang+"/"+p.ID, func(t *testing.T) {
				tab := open(t)
				board(t, tab, home, lang, p.ID)
				require.Empty(t, tab.Complaints())
			})
		}
	}
}

// The editors fit into a panel's pane, say everything in the reader's language, and
// name every input.
func editors(t *testing.T, tab *browsertest.Tab, home string) {
	for name, part := range map[string]string{
		"query":      "query",
		"table":      `query&q={"indicator":"I-01","groupBy":["month","province"],"compare":["national_mean"],"format":"table"}`,
		"dimension":  `query&q={"indicator":"I-21","groupBy":["education_level"],"format":"numeric"}`,
		"county":     `query&q={"indicator":"I-01","groupBy":["county"],"format":"table"}`,
		"list":       `query&q={"queryType":"list","list":"late"}`,
		"config":     "config",
		"variable":   "variable",
		"annotation": "annotation",
	} {
		for _, look := range []string{"lang=zh-Hans&theme=light", "lang=zh-Hans&theme=dark", "lang=en-US&theme=light"} {
			tab.Open(home+"/stage?"+look+"&part="+url.PathEscape(part), 760, 900, "main label")
			name := name + " " + look
			require.LessOrEqual(t, browsertest.Eval[int](tab, `document.documentElement.scrollWidth`), 760, name)
			require.Empty(t, browsertest.Eval[[]string](tab, `[...document.querySelectorAll("main input, main textarea")].filter(e => !e.labels?.length && !e.getAttribute("aria-label") && !e.closest("[aria-label]")).map(e => e.outerHTML)`), name)
			if strings.HasPrefix(look, "lang=zh") {
				require.Empty(t, browsertest.Eval[[]string](tab, `[...document.querySelectorAll("main label, main legend")].map(e => e.innerText).filter(s => s.trim() && !/[\u4e00-\u9fff]/.test(s) && s !== "TLS")`), name)
			}
			tab.ShootAll("stage-" + strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), "&", "-"))
		}
	}
	require.Empty(t, tab.Complaints())
}

// An indicator is found by a part of its Chinese name, its own definition comes, and
// the rest of the query stays.
func choice(t *testing.T, tab *browsertest.Tab, home string) {
	tab.Open(home+`/stage?lang=zh-Hans&part=query&q={"indicator":"I-01","groupBy":["month"]}`, 1000, 700, "[role=note]")
	box := chromedp.CSS("input[role=combobox]")
	tab.Do(chromedp.Click(box), chromedp.SendKeys(box, "人均培训"))
	tab.Do(chromedp.WaitVisible(chromedp.CSS("[role=option]")))
	tab.Settle()
	tab.Shoot("stage-choice")
	tab.Do(chromedp.SendKeys(box, "\r"))
	tab.Settle()
	got := browsertest.Eval[struct {
		Indicator string   `json:"indicator"`
		GroupBy   []string `json:"groupBy"`
	}](tab, `window.held`)
	require.NotEqual(t, "I-01", got.Indicator)
	require.Equal(t, []string{"month"}, got.GroupBy)
	require.Contains(t, browsertest.Eval[string](tab, `document.querySelector("main input[role=combobox]").value`), got.Indicator)
	// What stands in a sentence is not escaped as if it stood in HTML.
	require.Contains(t, tab.Text("[role=note]"), "学时/人")
	require.Empty(t, tab.Complaints())
}

// board holds a shipped dashboard against what Grafana's own parts make of it.
func board(t *testing.T, tab *browsertest.Tab, home, lang, id string) {
	tab.Open(home+"/stage?lang="+lang+"&theme=light&part=board&page="+id, 1680, 5000, "#board[data-done=true]")
	tab.Settle()
	tab.Shoot("board-" + id + "-" + lang)
	type drawn struct{ Panel, Type, Text, Cut string }
	for _, p := range browsertest.Eval[[]drawn](tab, `[...document.querySelectorAll("[data-panel]")].map(e => ({ Panel: e.dataset.panel, Type: e.dataset.type, Text: e.innerText,
		Cut: [...e.querySelectorAll("[role=grid]")].filter(g => g.scrollWidth > g.clientWidth + 1).map(g => g.scrollWidth + " > " + g.clientWidth).join() }))`) {
		require.NotContains(t, p.Text, "${", "panel %s", p.Panel)
		require.NotRegexp(t, `currency|suffix|undefined|NaN`, p.Text, "panel %s", p.Panel)
		if lang == "zh-Hans" {
			require.NotRegexp(t, `\b(hour|day|week|year)s?\b`, p.Text, "panel %s", p.Panel)
		}
		if p.Type == "table" || p.Type == "tiles" {
			require.Empty(t, p.Cut, "panel %s is cut off", p.Panel)
		}
	}
}
