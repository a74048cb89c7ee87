package main

import (
	"archive/zip"
	"bytes"
	"debug/elf"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/dashboards"
	"github.com/duiwu/duiwu/internal/fetch"
	"github.com/duiwu/duiwu/internal/testenv"
)

// plugin.json keeps the rules of Grafana's schema that its loader and its
// catalogue check.
func TestPluginJSON(t *testing.T) {
	b, err := os.ReadFile("../src/plugin.json")
	require.NoError(t, err)
	var p struct {
		ID, Type, Name, Executable, Category    string
		Backend, Alerting, Annotations, Metrics bool
		Languages                               []string
		QueryOptions                            map[string]bool
		Info                                    struct {
			Description, Version, Updated string
			Keywords                      []string
			Author                        struct{ Name string }
			Logos                         struct{ Small, Large string }
		}
		Dependencies struct {
			GrafanaDependency string
			Plugins           []any
		}
		Includes []struct{ Type, Name, Path string }
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	require.NoError(t, dec.Decode(&p))
	require.Regexp(t, regexp.MustCompile(`^[0-9a-z]+-([0-9a-z]+-)?datasource$`), p.ID)
	require.Equal(t, "datasource", p.Type)
	require.Equal(t, "sql", p.Category)
	require.True(t, p.Backend && p.Alerting && p.Annotations && p.Metrics)
	require.True(t, strings.HasPrefix(p.Executable, "gpx_"))
	require.Equal(t, []string{"en-US", "zh-Hans"}, p.Languages)
	require.Equal(t, "%VERSION%", p.Info.Version)
	require.Equal(t, "%TODAY%", p.Info.Updated)
	require.NotEmpty(t, p.Info.Author.Name)
	require.NotEmpty(t, p.Info.Description)
	require.Equal(t, ">=12.3.0", p.Dependencies.GrafanaDependency)
	require.NotNil(t, p.Dependencies.Plugins)
	for _, logo := range []string{p.Info.Logos.Small, p.Info.Logos.Large} {
		require.Equal(t, ".svg", filepath.Ext(logo))
		require.FileExists(t, "../src/"+logo)
	}
	for _, lang := range p.Languages {
		require.FileExists(t, "../src/locales/"+lang+"/"+p.ID+".json")
	}
	// Every dashboard is included, under the name that it has inside.
	var want []string
	for _, lang := range dashboards.Languages {
		for _, page := range dashboards.Pages() {
			want = append(want, strings.Replace(dashboards.File(page.ID, lang), "json/", "dashboards/", 1))
		}
	}
	var have []string
	for _, x := range p.Includes {
		require.Equal(t, "dashboard", x.Type)
		b, err := fs.ReadFile(dashboards.FS, strings.Replace(x.Path, "dashboards/", "json/", 1))
		require.NoError(t, err)
		var d struct{ Title string }
		require.NoError(t, json.Unmarshal(b, &d))
		require.Equal(t, d.Title, x.Name)
		have = append(have, x.Path)
	}
	require.Equal(t, want, have)
}

func TestZipIsTheSameForTheSameFiles(t *testing.T) {
	dir := fstest.MapFS{"plugin.json": {Data: []byte("{}")}, "gpx_x_linux_amd64": {Data: []byte("elf")}, "img/logo.svg": {Data: []byte("<svg/>")}}
	f := func() []byte {
		t.Helper()
		name := filepath.Join(t.TempDir(), "x.zip")
		require.NoError(t, write(name, "x-datasource", dir))
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		return b
	}
	a := f()
	require.Equal(t, a, f())
	z, err := zip.NewReader(bytes.NewReader(a), int64(len(a)))
	require.NoError(t, err)
	require.Equal(t, "x-datasource/gpx_x_linux_amd64", z.File[0].Name)
	require.Equal(t, os.FileMode(0o755), z.File[0].Mode())
	require.Equal(t, os.FileMode(0o644), z.File[1].Mode())
}

// The zip that make plugin leaves is one that Grafana can unpack and start: one
// folder, the front end as an AMD module, a static backend.
func TestPackedPlugin(t *testing.T) {
	if !testenv.Full() {
		t.Skip("builds the plugin; DUIWU_TEST=full runs it")
	}
	// One platform: a second one costs two minutes of compiling and differs in
	// nothing that is checked here but the name.
	name, err := pack(t.Context(), t.TempDir(), platforms[:1])
	require.NoError(t, err)
	require.Equal(t, "duiwu-datasource-0.1.0.zip", filepath.Base(name))
	z, err := zip.OpenReader(name)
	require.NoError(t, err)
	defer z.Close()
	files := map[string]*zip.File{}
	for _, f := range z.File {
		rest, ok := strings.CutPrefix(f.Name, "duiwu-datasource/")
		require.True(t, ok, "%s lies outside the plugin's folder", f.Name)
		files[rest] = f
	}
	content := func(name string) []byte {
		t.Helper()
		require.Contains(t, files, name)
		r, err := files[name].Open()
		require.NoError(t, err)
		defer r.Close()
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		return b
	}
	for _, name := range []string{"README.md", "CHANGELOG.md", "LICENSE", "img/logo.svg", "locales/zh-Hans/duiwu-datasource.json", "dashboards/zh/D01.json", "dashboards/en/OPS.json"} {
		require.NotEmpty(t, content(name), name)
	}
	require.NotContains(t, files, "MANIFEST.txt", "it is not signed, and says so")
	js := string(content("module.js"))
	require.True(t, strings.HasPrefix(js, `define([`))
	require.Less(t, len(js), 100_000)
	require.NotContains(t, js, "eval(")
	require.NotContains(t, string(content("plugin.json")), "%VERSION%")
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64} {
		bin := "gpx_duiwu_datasource_linux_" + arch
		e, err := elf.NewFile(bytes.NewReader(content(bin)))
		require.NoError(t, err)
		require.Equal(t, machine, e.Machine)
		libs, err := e.ImportedLibraries()
		require.NoError(t, err)
		require.Empty(t, libs, "the backend must start in any image")
		require.Equal(t, os.FileMode(0o755), files[bin].Mode())
	}
}

// The types and the tests of the front end, which npm runs.
func TestFrontEnd(t *testing.T) {
	if !testenv.Full() {
		t.Skip("type-checks and tests the editors; DUIWU_TEST=full runs it")
	}
	for _, script := range []string{"check", "test"} {
		t.Run(script, func(t *testing.T) { require.NoError(t, fetch.PluginScript(t.Context(), script)) })
	}
}
