// Package house tests the house itself: who may know whom, which names are not
// used, and that every kind has a row in every room.
package house

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/duiwu/duiwu/"

// root is the folder of go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above this folder")
		}
		dir = filepath.Dir(dir)
	}
}

// goFiles calls fn with every Go file of the project, path relative to the root.
func goFiles(t *testing.T, fn func(path string, imports []string)) {
	t.Helper()
	top := root(t)
	n := 0
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != top && (strings.HasPrefix(name, ".") || name == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		var imports []string
		for _, i := range file.Imports {
			imports = append(imports, strings.Trim(i.Path.Value, `"`))
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		n++
		fn(filepath.ToSlash(rel), imports)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 20 {
		t.Fatalf("only %d Go files found: the walk is broken", n)
	}
}

// TestWhoKnowsWhom holds the arrows of docs/architecture.md: a package (by
// prefix of its path) may be imported only from the folders named.
func TestWhoKnowsWhom(t *testing.T) {
	// Tests may use real servers and browsers wherever they stand.
	inTests := map[string]bool{"github.com/ClickHouse/clickhouse-go": true, "github.com/chromedp/": true, module + "internal/engine": true, module + "internal/broker": true}
	only := []struct{ imported, from, why string }{
		{"github.com/segmentio/kafka-go", "ingest/ cmd/demo/ internal/broker/ bench/", "only ingest knows Kafka"},
		{"github.com/twmb/franz-go", "internal/broker/ ingest/", "kfake is the demo's and the tests' broker, never the product's client"},
		{"github.com/ClickHouse/clickhouse-go", "sink/ bench/dashboards/ charts/ cmd/demo/ internal/engine/ internal/testenv/", "only sink and the charts' query side know ClickHouse"},
		{"github.com/grafana/", "charts/ bench/dashboards/ cmd/demo/ helm/cluster_test.go", "only charts knows Grafana, and what measures its datasource or asks it on a cluster"},
		{"github.com/chromedp/", "", "only tests drive a browser"},
		{"go.opentelemetry.io/otel/sdk", "internal/trace/", "only internal/trace makes and sends spans"},
		{"go.opentelemetry.io/otel/exporters", "internal/trace/", "only internal/trace makes and sends spans"},
		{module + "ingest", "ingest/ cmd/ transform/ sink/ charts/ internal/house/ bench/ internal/feed/ internal/value/", "rooms do not import each other"},
		// A file of people is judged by the worker's own step; a test with another judge would test that one.
		{module + "transform", "transform/ cmd/ bench/ internal/house/ ingest/push/push_test.go ingest/gateway/gateway_test.go", "rooms do not import each other"},
		{module + "sink", "sink/ cmd/ bench/ charts/ internal/house/ ingest/gateway/gateway_test.go", "rooms do not import each other"},
		{module + "charts", "charts/ cmd/ bench/ internal/house/ helm/cluster_test.go", "rooms do not import each other"},
		{module + "internal/engine", "internal/ cmd/demo/ sink/ bench/", "the product does not carry the embedded server"},
		{module + "internal/broker", "internal/ cmd/demo/ ingest/ bench/", "the product does not carry the embedded broker"},
	}
	goFiles(t, func(path string, imports []string) {
		for _, imp := range imports {
			for _, rule := range only {
				if imp != rule.imported && !strings.HasPrefix(imp, strings.TrimSuffix(rule.imported, "/")+"/") {
					continue
				}
				allowed := inTests[rule.imported] && (strings.HasSuffix(path, "_test.go") || strings.Contains(path, "test/"))
				for _, from := range strings.Fields(rule.from) {
					allowed = allowed || strings.HasPrefix(path, from)
				}
				if !allowed {
					t.Errorf("%s imports %s: %s", path, imp, rule.why)
				}
			}
		}
	})
}

// TestRoomsStayApart is the stricter half: code that is no test may import its
// own room, the vocabulary, and the feed files.
func TestRoomsStayApart(t *testing.T) {
	rooms := []string{"ingest", "transform", "sink", "charts"}
	goFiles(t, func(path string, imports []string) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		for _, room := range rooms {
			if !strings.HasPrefix(path, room+"/") {
				continue
			}
			for _, imp := range imports {
				for _, other := range rooms {
					if other != room && (imp == module+other || strings.HasPrefix(imp, module+other+"/")) && imp != module+"ingest/feeds" {
						t.Errorf("%s imports %s: rooms do not import each other", path, imp)
					}
				}
			}
		}
		if strings.HasPrefix(path, "internal/feed/") {
			for _, imp := range imports {
				for _, no := range []string{"arrow", "kafka", "clickhouse", "grafana"} {
					if strings.Contains(imp, no) {
						t.Errorf("%s imports %s: internal/feed is a leaf", path, imp)
					}
				}
			}
		}
		if strings.HasPrefix(path, "charts/") {
			for _, imp := range imports {
				if strings.HasPrefix(imp, "github.com/apache/arrow/go/v15") || imp == module+"internal/flow" {
					t.Errorf("%s imports %s: the plugin SDK brings an Arrow of its own, and the two must not meet", path, imp)
				}
			}
		}
		if strings.HasPrefix(path, "cmd/duiwu/") {
			for _, imp := range imports {
				if strings.HasPrefix(imp, module+"cmd/demo") || strings.HasPrefix(imp, module+"internal/engine") || strings.HasPrefix(imp, module+"internal/broker") {
					t.Errorf("%s imports %s: the product does not link the demo's parts", path, imp)
				}
			}
		}
	})
}

// TestNames keeps words out of folder names that say nothing of what is inside.
func TestNames(t *testing.T) {
	banned := map[string]bool{"util": true, "utils": true, "common": true, "models": true, "service": true, "manager": true, "types": true, "helpers": true, "misc": true}
	goFiles(t, func(path string, _ []string) {
		for _, part := range strings.Split(filepath.Dir(path), "/") {
			if banned[part] {
				t.Errorf("%s: %q says nothing of what is inside", path, part)
			}
		}
	})
}

// TestNothingOfTheWorkplace keeps machine paths and registry hosts out of the tree.
func TestNothingOfTheWorkplace(t *testing.T) {
	top := root(t)
	banned := []string{"/wo" + "rk/", "/ro" + "ot/", "proxy.gol" + "ang.org", "registry.np" + "mjs.org", "repo1.mav" + "en.org", "pypi" + ".org/"}
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != top && (strings.HasPrefix(name, ".") && name != ".ci" || name == "node_modules" || name == "dist" || name == "bin" || name == "screenshots") {
				return filepath.SkipDir
			}
			return nil
		}
		switch filepath.Ext(name) {
		case ".go", ".md", ".yaml", ".yml", ".json", ".ts", ".js", ".mjs", ".css", ".html", ".sh", ".xml", "":
		default:
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, b := range banned {
			if strings.Contains(string(raw), b) {
				t.Errorf("%s speaks of %q", path, b)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
