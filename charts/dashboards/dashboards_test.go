package dashboards_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/dashboards"
	"github.com/duiwu/duiwu/charts/indicators"
	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/feed"
)

var update = flag.Bool("update", false, "write the dashboards' JSON")

func load(t *testing.T) *catalogue.Catalogue {
	t.Helper()
	contract, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	c, err := catalogue.Load(indicators.FS, contract)
	require.NoError(t, err)
	return c
}

// each calls fn with every dashboard as made from the Go code.
func each(t *testing.T, fn func(p dashboards.Page, lang string, made []byte)) {
	t.Helper()
	c := load(t)
	for _, p := range dashboards.Pages() {
		for _, lang := range dashboards.Languages {
			b, err := dashboards.Build(p, lang, c)
			require.NoError(t, err)
			fn(p, lang, b)
		}
	}
}

func TestFilesAreFresh(t *testing.T) {
	want := map[string]bool{}
	each(t, func(p dashboards.Page, lang string, made []byte) {
		name := dashboards.File(p.ID, lang)
		want[name] = true
		if *update {
			require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
			require.NoError(t, os.WriteFile(name, made, 0o644))
			return
		}
		have, err := os.ReadFile(name)
		require.NoError(t, err, "run go test ./charts/dashboards -update")
		require.True(t, bytes.Equal(have, made), "%s is not what the Go code makes: run go test ./charts/dashboards -update", name)
	})
	require.NoError(t, fs.WalkDir(os.DirFS("."), "json", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !want[path] {
			t.Errorf("%s belongs to no dashboard", path)
		}
		return err
	}))
}

// model is what the tests read of a dashboard.
type model struct {
	UID, Title string
	Panels     []struct {
		ID          int
		Type, Title string
		Description string
		GridPos     struct{ X, Y, W, H int }
		Targets     []json.RawMessage
		Links       []struct{ URL string }
	}
	Templating  struct{ List []map[string]any }
	Annotations struct {
		List []struct{ Target json.RawMessage }
	}
}

func read(t *testing.T, b []byte) model {
	t.Helper()
	var m model
	require.NoError(t, json.Unmarshal(b, &m))
	return m
}

// fill puts a value where a variable stands, as Grafana does before it asks.
func fill(q []byte, indicator string) []byte {
	s := strings.NewReplacer("${province}", "310000", "${need}", "users", "${indicator}", indicator).Replace(string(q))
	return []byte(s)
}

// Every query of every panel and mark is one that the backend can plan: its
// indicator, its grouping, its comparison and its form are known.
func TestEveryQueryCanBeAsked(t *testing.T) {
	d, err := plugin.Open(plugin.Config{URL: "http://127.0.0.1:1/duiwu", Today: "2016-11-11", Scope: scope.Everything()})
	require.NoError(t, err)
	defer d.Dispose()
	asked := map[string]bool{}
	each(t, func(p dashboards.Page, lang string, made []byte) {
		m := read(t, made)
		n := 0
		check := func(q json.RawMessage, title string) {
			n++
			require.NoError(t, d.Check(fill(q, "I-10")), "%s %s: %s", p.ID, title, q)
			var x struct{ Indicator, Lang string }
			require.NoError(t, json.Unmarshal(q, &x))
			require.Equal(t, lang, x.Lang, "%s %s", p.ID, title)
			asked[x.Indicator] = true
		}
		for _, x := range m.Panels {
			for _, q := range x.Targets {
				check(q, x.Title)
			}
		}
		for _, a := range m.Annotations.List {
			check(a.Target, "annotation")
		}
		require.GreaterOrEqual(t, n, 8, p.ID)
	})
	for _, in := range load(t).Indicators {
		require.True(t, asked[in.ID], "%s is on no dashboard", in.ID)
	}
}

// Any indicator that the variable of D11 offers can stand in its panels.
func TestProfileTakesEveryOfferedIndicator(t *testing.T) {
	d, err := plugin.Open(plugin.Config{URL: "http://127.0.0.1:1/duiwu", Today: "2016-11-11", Scope: scope.Everything()})
	require.NoError(t, err)
	defer d.Dispose()
	b, err := fs.ReadFile(dashboards.FS, dashboards.File("D11", "zh"))
	require.NoError(t, err)
	offered := d.SeriesIndicators()
	require.Greater(t, len(offered), 25)
	for _, in := range offered {
		for _, x := range read(t, b).Panels {
			for _, q := range x.Targets {
				require.NoError(t, d.Check(fill(q, in.ID)), "%s in %q", in.ID, x.Title)
			}
		}
	}
}

// A panel says what it shows: a question, the definition, a link to all of it,
// and it lies on the grid without touching another.
func TestPanelsExplainThemselves(t *testing.T) {
	each(t, func(p dashboards.Page, lang string, made []byte) {
		m := read(t, made)
		require.Equal(t, dashboards.UID(p.ID, lang), m.UID)
		ids := map[int]bool{}
		for _, x := range m.Panels {
			at := p.ID + " " + lang + " " + x.Title
			require.False(t, ids[x.ID], at)
			ids[x.ID] = true
			require.LessOrEqual(t, x.GridPos.X+x.GridPos.W, 24, at)
			for _, y := range m.Panels {
				apart := x.ID == y.ID || x.GridPos.X+x.GridPos.W <= y.GridPos.X || y.GridPos.X+y.GridPos.W <= x.GridPos.X ||
					x.GridPos.Y+x.GridPos.H <= y.GridPos.Y || y.GridPos.Y+y.GridPos.H <= x.GridPos.Y
				require.True(t, apart, "%s lies over %s", at, y.Title)
			}
			if x.Type == "row" {
				continue
			}
			require.NotEmpty(t, x.Title, at)
			require.Len(t, x.Targets, 1, at)
			var q struct{ Indicator, Format, QueryType string }
			require.NoError(t, json.Unmarshal(x.Targets[0], &q))
			if strings.HasPrefix(q.Indicator, "I-") {
				require.Contains(t, x.Description, q.Indicator, at)
				require.Contains(t, x.Description, map[string]string{"zh": "单位：", "en": "Unit:"}[lang], at)
				require.Contains(t, x.Description, map[string]string{"zh": "目标：", "en": "Target:"}[lang], at)
				require.Len(t, x.Links, 1, at)
				require.Contains(t, x.Links[0].URL, "definition?indicator="+q.Indicator, at)
			}
			if lang == "en" {
				require.NotRegexp(t, regexp.MustCompile(`\p{Han}`), x.Title+x.Description, at)
			}
		}
	})
}

// The dashboards stay inside the panels that every Grafana has, and inside the
// subset that the viewer draws.
func TestOnlyCorePanels(t *testing.T) {
	core := []string{"row", "stat", "timeseries", "barchart", "table", "state-timeline", "xychart"}
	each(t, func(p dashboards.Page, lang string, made []byte) {
		for _, x := range read(t, made).Panels {
			require.Contains(t, core, x.Type, "%s %s", p.ID, x.Title)
		}
	})
}

// Chinese and English are the same dashboard: same panels, same queries.
func TestLanguagesAgree(t *testing.T) {
	shape := map[string][]string{}
	each(t, func(p dashboards.Page, lang string, made []byte) {
		var s []string
		for _, x := range read(t, made).Panels {
			q := ""
			if len(x.Targets) > 0 {
				q = strings.ReplaceAll(string(x.Targets[0]), `"lang": "`+lang+`"`, "")
			}
			s = append(s, x.Type+q)
		}
		if have, ok := shape[p.ID]; ok {
			require.True(t, slices.Equal(have, s), p.ID)
		}
		shape[p.ID] = s
	})
}
