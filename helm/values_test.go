package helm

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the made files instead of checking them")

// value is one entry of values.yaml with what its comments say.
type value struct {
	path string
	doc  string
	// schema is what "# @schema" adds to what the default tells.
	schema   map[string]any
	node     *yaml.Node
	children []*value
}

// readValues reads values.yaml as a tree. Every problem of the file is told at
// once.
func readValues(t *testing.T) []*value {
	t.Helper()
	raw, err := os.ReadFile("duiwu/values.yaml")
	require.NoError(t, err)
	var doc yaml.Node
	require.NoError(t, yaml.Unmarshal(raw, &doc))
	return readMap(t, "", doc.Content[0])
}

func readMap(t *testing.T, prefix string, m *yaml.Node) []*value {
	t.Helper()
	var out []*value
	for i := 0; i < len(m.Content); i += 2 {
		key, node := m.Content[i], m.Content[i+1]
		v := &value{path: prefix + key.Value, node: node, schema: map[string]any{}}
		for _, line := range strings.Split(key.HeadComment, "\n") {
			line = strings.TrimSpace(strings.TrimPrefix(line, "#"))
			if rest, ok := strings.CutPrefix(line, "-- "); ok {
				v.doc = rest
			}
			if rest, ok := strings.CutPrefix(line, "@schema "); ok {
				if err := yaml.Unmarshal([]byte(rest), &v.schema); err != nil {
					t.Errorf("values.yaml:%d: %s: cannot read @schema: %v", key.Line, v.path, err)
				}
			}
		}
		if v.doc == "" {
			t.Errorf(`values.yaml:%d: %s has no line that begins with "# --"`, key.Line, v.path)
		}
		// A map that may hold anything has documented children, or none.
		free := v.schema["additionalProperties"] != nil
		if node.Kind == yaml.MappingNode && len(node.Content) > 0 && (!free || strings.Contains(node.Content[0].HeadComment, "# -- ")) {
			v.children = readMap(t, v.path+".", node)
		}
		empty := (node.Kind == yaml.MappingNode && len(node.Content) == 0) || node.Kind == yaml.SequenceNode || node.Tag == "!!null"
		if empty && len(v.schema) == 0 {
			t.Errorf("values.yaml:%d: the default of %s does not tell its type; say it with @schema", key.Line, v.path)
		}
		out = append(out, v)
	}
	return out
}

func leaves(vs []*value) []*value {
	var out []*value
	for _, v := range vs {
		if len(v.children) == 0 {
			out = append(out, v)
		}
		out = append(out, leaves(v.children)...)
	}
	return out
}

func (v *value) jsonSchema() map[string]any {
	out := map[string]any{"description": v.doc}
	switch v.node.Kind {
	case yaml.MappingNode:
		out["type"] = "object"
		out["additionalProperties"] = false
		if len(v.children) > 0 {
			out["properties"] = properties(v.children)
		}
	case yaml.SequenceNode:
		out["type"] = "array"
	default:
		out["type"] = map[string]string{"!!str": "string", "!!int": "integer", "!!bool": "boolean", "!!float": "number"}[v.node.ShortTag()]
	}
	for k, s := range v.schema {
		out[k] = s
	}
	return out
}

func properties(vs []*value) map[string]any {
	out := map[string]any{}
	for _, v := range vs {
		_, key := cutLast(v.path)
		out[key] = v.jsonSchema()
	}
	return out
}

func cutLast(path string) (before, after string) {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// golden compares a made file, or writes it with -update.
func golden(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, want, 0o644))
		return
	}
	have, err := os.ReadFile(file)
	require.NoError(t, err, "run go test ./helm -update")
	if !bytes.Equal(have, want) {
		t.Errorf("helm/%s is stale: run go test ./helm -update", file)
	}
}

// TestSchemaIsMade holds values.schema.json against values.yaml. It is strict:
// a value that is not in values.yaml is refused by every helm command.
func TestSchemaIsMade(t *testing.T) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	require.NoError(t, enc.Encode(map[string]any{
		"$schema": "http://json-schema.org/draft-07/schema#", "$comment": "Made from values.yaml: go test ./helm -update.",
		"title": "Values of the chart duiwu", "type": "object",
		"properties": properties(readValues(t)), "additionalProperties": false,
	}))
	golden(t, "duiwu/values.schema.json", b.Bytes())
}

const tableBegin, tableEnd = "<!-- values: made from values.yaml by go test ./helm -update -->\n", "<!-- end of values -->\n"

// TestReadmeIsMade holds the table of values in the chart's README.
func TestReadmeIsMade(t *testing.T) {
	var b strings.Builder
	b.WriteString("\n| value | default | what |\n|---|---|---|\n")
	for _, v := range leaves(readValues(t)) {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.path, cell(v), strings.ReplaceAll(v.doc, "|", `\|`))
	}
	b.WriteString("\n")
	raw, err := os.ReadFile("duiwu/README.md")
	require.NoError(t, err)
	head, rest, ok := strings.Cut(string(raw), tableBegin)
	require.True(t, ok, "helm/duiwu/README.md has no line %s", tableBegin)
	_, tail, ok := strings.Cut(rest, tableEnd)
	require.True(t, ok, "helm/duiwu/README.md has no line %s", tableEnd)
	golden(t, "duiwu/README.md", []byte(head+tableBegin+b.String()+tableEnd+tail))
}

func cell(v *value) string {
	var x any
	if err := v.node.Decode(&x); err != nil {
		panic("BUG: " + err.Error())
	}
	raw, err := json.Marshal(x)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	if len(raw) > 60 {
		return "see values.yaml"
	}
	return "`" + strings.ReplaceAll(string(raw), "|", `\|`) + "`"
}

var valuePath = regexp.MustCompile(`(?:\.|\$root\.|\)\.)Values((?:\.[a-zA-Z][a-zA-Z0-9]*)+)`)

// TestEveryValueIsUsed: a value that no template reads is a promise that is not
// kept, and a path that values.yaml does not have is a slip.
func TestEveryValueIsUsed(t *testing.T) {
	used := map[string]bool{}
	err := filepath.WalkDir("duiwu/templates", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		for _, m := range valuePath.FindAllStringSubmatch(string(raw), -1) {
			used[m[1][1:]] = true
		}
		return err
	})
	require.NoError(t, err)
	require.Greater(t, len(used), 50, "the pattern finds the paths no more")
	known := map[string]bool{}
	for _, v := range leaves(readValues(t)) {
		known[v.path] = true
		if !used[v.path] {
			t.Errorf("value %s: no template uses it", v.path)
		}
	}
	var slips []string
	for path := range used {
		if !known[path] {
			slips = append(slips, path)
		}
	}
	sort.Strings(slips)
	for _, path := range slips {
		t.Errorf("templates use .Values.%s, which is no documented value", path)
	}
}

// TestFilesAreThoseOfCharts: a chart can only hand out what lies in its own
// folder, so the dashboards and alert rules of charts/ are copied there.
func TestFilesAreThoseOfCharts(t *testing.T) {
	want, have := map[string][]byte{}, map[string][]byte{}
	read := func(into map[string][]byte, root, pattern, to string) {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		for _, file := range files {
			rel, err := filepath.Rel(root, file)
			require.NoError(t, err)
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			into[filepath.Join(to, rel)] = raw
		}
	}
	read(want, "../charts/dashboards/json", "*/*.json", "duiwu/files/dashboards")
	read(want, "../charts/provisioning/alerting", "*.yaml", "duiwu/files/alerts")
	read(have, "duiwu/files/dashboards", "*/*.json", "duiwu/files/dashboards")
	read(have, "duiwu/files/alerts", "*.yaml", "duiwu/files/alerts")
	require.Contains(t, want, "duiwu/files/alerts/duiwu.yaml")
	require.Contains(t, want, "duiwu/files/dashboards/zh/D01.json")
	for file := range have {
		if _, ok := want[file]; !ok {
			if !*update {
				t.Errorf("helm/%s is no file of charts/ any more: run go test ./helm -update", file)
				continue
			}
			require.NoError(t, os.Remove(file))
		}
	}
	for file, raw := range want {
		if *update {
			require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		}
		golden(t, file, raw)
	}
}
