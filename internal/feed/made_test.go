package feed_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/feed"
)

// golden compares a made text with its file, or writes the file with -update.
func golden(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, want, 0o644))
		return
	}
	got, err := os.ReadFile(file)
	require.NoError(t, err, "made file is missing; run go test ./internal/feed -update")
	require.Equal(t, string(want), string(got), "%s is stale; run go test ./internal/feed -update", file)
}

const docs = "../../docs"

func TestMadeTexts(t *testing.T) {
	c := catalogue(t)
	want := map[string]bool{"README.md": true, "dictionary.json": true, "feed-file.schema.json": true}
	for _, s := range c.Feeds {
		golden(t, filepath.Join(docs, "feeds", s.Feed+".md"), c.Page(s))
		golden(t, filepath.Join(docs, "feeds", s.Feed+".schema.json"), c.JSONSchema(s))
		want[s.Feed+".md"], want[s.Feed+".schema.json"] = true, true
	}
	golden(t, filepath.Join(docs, "feeds", "README.md"), c.IndexPage())
	golden(t, filepath.Join(docs, "feeds", "dictionary.json"), c.Dictionary())
	golden(t, filepath.Join(docs, "feeds", "feed-file.schema.json"), languageSchema(t))
	golden(t, filepath.Join(docs, "rules.md"), feed.RulesPage())

	// A page of a feed that is gone must go too.
	files, err := os.ReadDir(filepath.Join(docs, "feeds"))
	require.NoError(t, err)
	for _, f := range files {
		require.True(t, want[f.Name()], "docs/feeds/%s belongs to no feed; remove it", f.Name())
	}
}

// TestSchemaIsJSON: what provinces get parses, and closes the record.
func TestSchemaIsJSON(t *testing.T) {
	c := catalogue(t)
	for _, s := range c.Feeds {
		var got struct {
			Properties           map[string]map[string]any
			AdditionalProperties *bool
		}
		require.NoError(t, json.Unmarshal(c.JSONSchema(s), &got))
		require.NotNil(t, got.AdditionalProperties)
		require.False(t, *got.AdditionalProperties)
		require.Len(t, got.Properties, len(s.All()))
	}
}

// languageSchema makes the JSON Schema of feed files from the structs of spec.go
// and their comments, so that an editor shows the same words as the source.
func languageSchema(t *testing.T) []byte {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "spec.go", nil, parser.ParseComments)
	require.NoError(t, err)
	comments, types := map[string]string{}, map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		g, ok := n.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			return true
		}
		for _, sp := range g.Specs {
			ts := sp.(*ast.TypeSpec)
			types[ts.Name.Name] = oneLine(g.Doc.Text())
			st, ok := ts.Type.(*ast.StructType)
			if !ok {
				continue
			}
			last := ""
			for _, f := range st.Fields.List {
				if text := oneLine(f.Doc.Text()); text != "" {
					last = text
				}
				for _, name := range f.Names {
					comments[ts.Name.Name+"."+name.Name] = last
				}
			}
		}
		return true
	})
	enums := map[string][]string{
		"History": {string(feed.Snapshot), string(feed.Spell), string(feed.Event)},
		"Privacy": {string(feed.P0), string(feed.P1), string(feed.P2), string(feed.P3)},
		"rhythm":  feed.Rhythms(),
		"rule":    feed.CheckRules(),
	}
	for _, k := range feed.Kinds() {
		enums["KindName"] = append(enums["KindName"], k.String())
	}
	defs := map[string]any{}
	var schemaOf func(reflect.Type) map[string]any
	schemaOf = func(rt reflect.Type) map[string]any {
		if e := enums[rt.Name()]; e != nil {
			return map[string]any{"enum": e}
		}
		switch rt.Kind() {
		case reflect.Pointer:
			return schemaOf(rt.Elem())
		case reflect.Slice:
			return map[string]any{"type": "array", "items": schemaOf(rt.Elem())}
		case reflect.String:
			return map[string]any{"type": "string"}
		case reflect.Bool:
			return map[string]any{"type": "boolean"}
		case reflect.Int, reflect.Int64:
			return map[string]any{"type": "integer"}
		}
		require.Equal(t, reflect.Struct, rt.Kind())
		ref := map[string]any{"$ref": "#/$defs/" + rt.Name()}
		if defs[rt.Name()] != nil {
			return ref
		}
		props, required := map[string]any{}, []string{}
		defs[rt.Name()] = map[string]any{}
		for i := range rt.NumField() {
			f := rt.Field(i)
			key, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if key == "" {
				continue
			}
			p := schemaOf(f.Type)
			if e := enums[key]; e != nil && f.Type.Kind() == reflect.String {
				p = map[string]any{"enum": e}
			}
			if text := comments[rt.Name()+"."+f.Name]; text != "" {
				p["description"] = text
			}
			props[key] = p
			if opts != "omitempty" {
				required = append(required, key)
			}
		}
		defs[rt.Name()] = map[string]any{
			"type": "object", "description": types[rt.Name()], "properties": props,
			"required": required, "additionalProperties": false,
		}
		return ref
	}
	root := schemaOf(reflect.TypeFor[feed.Spec]())
	for _, name := range []string{"Spec", "Field", "Check", "When", "Lingual"} {
		require.NotNil(t, defs[name], name)
	}
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "a feed file"
	root["$defs"] = defs
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	require.NoError(t, e.Encode(root))
	return out.Bytes()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
