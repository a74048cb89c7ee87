package viewer_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/charts/viewer"
	"github.com/duiwu/duiwu/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const today = "2016-11-11"

func open(t *testing.T, c plugin.Config) *plugin.Datasource {
	t.Helper()
	ds, err := plugin.Open(c)
	require.NoError(t, err)
	t.Cleanup(ds.Dispose)
	return ds
}

func serve(t *testing.T, c plugin.Config) *httptest.Server {
	t.Helper()
	assets := fstest.MapFS{"index.html": {Data: []byte("<!doctype html>page")}, "assets/app-1.js": {Data: []byte("1")}}
	s := httptest.NewServer(viewer.Handler(open(t, c), assets, viewer.Options{}))
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, url string) (int, string, http.Header) {
	t.Helper()
	res, err := http.Get(url)
	require.NoError(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(b), res.Header
}

// A page must open with no database at all: it is the page that says so.
func TestPagesAndAssets(t *testing.T) {
	s := serve(t, plugin.Config{URL: "http://127.0.0.1:1/duiwu", Scope: scope.Everything()})
	f := func(path string, status int, body, cache string) {
		t.Helper()
		got, text, h := get(t, s.URL+path)
		require.Equal(t, status, got, path)
		require.Contains(t, text, body, path)
		require.Equal(t, cache, h.Get("Cache-Control"), path)
		require.Contains(t, h.Get("Content-Security-Policy"), "default-src 'self'")
	}
	f("/", 200, "page", "no-cache")
	f("/d/D01?lang=en", 200, "page", "no-cache")
	f("/d/D11?var-province=310000", 200, "page", "no-cache")
	f("/d/D99", 404, "", "")
	f("/assets/app-1.js", 200, "1", "public, max-age=31536000, immutable")
	f("/assets/../index.html", 404, "", "")
	f("/assets/app-2.js", 404, "", "")
	status, text, _ := get(t, s.URL+"/api/ds/health")
	require.Equal(t, 200, status)
	require.Contains(t, text, `"fault":"refused"`)
	require.Contains(t, text, "服务器拒绝连接")
}

func TestQueryAnswersInGrafanasForm(t *testing.T) {
	db := chartstest.New(t, "charts_viewer_form")
	chartstest.Small(t, db)
	s := serve(t, plugin.Config{URL: db.DSN(), Today: today, SuppressBelow: -1, Scope: scope.Everything()})
	post := func(body string) (int, map[string]any) {
		t.Helper()
		res, err := http.Post(s.URL+"/api/ds/query", "application/json", strings.NewReader(body))
		require.NoError(t, err)
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		var out map[string]any
		_ = json.NewDecoder(bytes.NewReader(b)).Decode(&out)
		return res.StatusCode, out
	}
	status, out := post(`{"queries":[{"refId":"A","indicator":"I-01"},{"refId":"B","indicator":"I-77"}]}`)
	require.Equal(t, 200, status)
	a := out["results"].(map[string]any)["A"].(map[string]any)
	frame := a["frames"].([]any)[0].(map[string]any)
	require.Equal(t, []any{[]any{8.0}, []any{8.0}}, frame["data"].(map[string]any)["values"])
	b := out["results"].(map[string]any)["B"].(map[string]any)
	require.Contains(t, b["error"], `unknown indicator "I-77"`)
	require.Equal(t, "downstream", b["errorSource"])
	for _, bad := range []string{``, `[]`, `{"queries":[{"indicator":"I-01"}]}`, `{"queries":["x"]}`} {
		status, _ := post(bad)
		require.Equal(t, 400, status, bad)
	}
	code, text, _ := get(t, s.URL+"/api/ds/resources/values?dimension=province")
	require.Equal(t, 200, code)
	var units []map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &units))
	require.Len(t, units, 35) // 34 and the Corps
	code, text, _ = get(t, s.URL+"/api/ds/resources/options?values=moon")
	require.Equal(t, 404, code)
	require.Contains(t, text, "没有这个维度")
}
