// Package strict reads the YAML files that people write: it finds every fault of
// a file in one pass, each with its line and how to mend it.
package strict

import (
	"encoding"
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Problem is one fault of one file: where, what, and how to mend it.
type Problem struct {
	File string
	Line int
	Text string
}

func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ": " + p.Text
}

// Problems is every fault of some files, sorted by file and line. As an error
// it prints one line a problem.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// Sort puts the problems in the order of their files.
func (p Problems) Sort() {
	sort.SliceStable(p, func(i, j int) bool {
		if p[i].File != p[j].File {
			return p[i].File < p[j].File
		}
		return p[i].Line < p[j].Line
	})
}

// File decodes one YAML document into a struct: unknown and repeated keys, wrong
// types and aliases are problems, and all of them are found in one pass. It
// remembers where each value stands, so that later checks can name the line.
type File struct {
	name     string
	problems *Problems
	lines    map[string]int
	// broken holds the paths that did not decode, so that one slip is not told twice.
	broken map[string]bool
}

// New returns the reader of a file; its problems are added to ps.
func New(name string, ps *Problems) *File {
	return &File{name: name, problems: ps, lines: map[string]int{}, broken: map[string]bool{}}
}

// Name is the file's name as problems give it.
func (d *File) Name() string { return d.name }

// Decode reads raw into the struct that v points to: its yaml tags are the keys.
// begin is what an empty file should begin with. False means that nothing of it
// could be read.
func (d *File) Decode(raw []byte, v any, begin string) bool {
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		line, text := trouble(err)
		d.Problem(line, "this is not YAML: %s; check indentation, brackets and quotes", text)
		return false
	}
	if len(doc.Content) == 0 {
		d.Problem(1, "the file is empty; begin with %s", begin)
		return false
	}
	d.decode(doc.Content[0], reflect.ValueOf(v).Elem(), "")
	return !d.broken[""]
}

// trouble splits the parser's message into line and text.
func trouble(err error) (int, string) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var line int
	if n, _ := fmt.Sscanf(text, "line %d:", &line); n == 1 {
		_, text, _ = strings.Cut(text, ": ")
		return line, text
	}
	return 1, text
}

// Broken says that the value at a path did not decode.
func (d *File) Broken(path string) bool { return d.broken[path] }

func (d *File) fail(n *yaml.Node, path, format string, args ...any) {
	d.broken[path] = true
	d.Problem(n.Line, format, args...)
}

// Problem adds a problem at a line.
func (d *File) Problem(line int, format string, args ...any) {
	*d.problems = append(*d.problems, Problem{File: d.name, Line: line, Text: fmt.Sprintf(format, args...)})
}

// Line returns where a path such as "fields[2].kind" stands, or where the
// nearest thing around it does.
func (d *File) Line(path string) int {
	for {
		if n, ok := d.lines[path]; ok {
			return n
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return 1
		}
		path = path[:i]
	}
}

// At adds a problem where a path stands, unless the path is broken already.
func (d *File) At(path, format string, args ...any) {
	if !d.broken[path] {
		d.Problem(d.Line(path), format, args...)
	}
}

func (d *File) decode(n *yaml.Node, v reflect.Value, path string) {
	if path != "" {
		d.lines[path] = n.Line
	}
	what := path
	if what == "" {
		what = "the file"
	}
	if n.Kind == yaml.AliasNode {
		d.fail(n, path, "%s is an alias (*name); write the value out", what)
		return
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		var s string
		d.decode(n, reflect.ValueOf(&s).Elem(), path)
		if s == "" {
			return
		}
		if err := u.UnmarshalText([]byte(s)); err != nil {
			d.fail(n, path, "%v", err)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.decodeStruct(n, v, path, what)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.fail(n, path, "%s must be a list, such as [a, b]", what)
			return
		}
		out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
		for i, c := range n.Content {
			d.decode(c, out.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
		v.Set(out)
	case reflect.Map:
		d.decodeMap(n, v, path, what)
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		d.decode(n, p.Elem(), path)
		v.Set(p)
	case reflect.String:
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
			d.fail(n, path, "%s must be text", what)
			return
		}
		// 01 without quotes is a number to YAML and a code to people; take it as written.
		v.SetString(n.Value)
	case reflect.Bool:
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
			d.fail(n, path, "%s must be true or false", what)
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(n.Value, 10, 64)
		if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil {
			d.fail(n, path, "%s must be a whole number", what)
			return
		}
		v.SetInt(i)
	default:
		panic("BUG: the struct of a file holds a type without a decoder: " + v.Type().String())
	}
}

func (d *File) decodeStruct(n *yaml.Node, v reflect.Value, path, what string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, "%s must be a mapping of keys to values", what)
		return
	}
	fields := map[string]int{}
	var names []string
	for i := range v.NumField() {
		tag, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if tag != "" {
			fields[tag] = i
			names = append(names, tag)
		}
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, c := n.Content[i], n.Content[i+1]
		idx, ok := fields[k.Value]
		switch {
		case k.Kind != yaml.ScalarNode || !ok:
			d.Problem(k.Line, "unknown key %q in %s; use one of %s", k.Value, what, strings.Join(names, ", "))
			continue
		case seen[k.Value]:
			d.Problem(k.Line, "key %q stands twice in %s; keep one", k.Value, what)
			continue
		}
		seen[k.Value] = true
		sub := k.Value
		if path != "" {
			sub = path + "." + sub
		}
		d.decode(c, v.Field(idx), sub)
	}
}

// decodeMap reads text by text; a key that stands twice is a problem.
func (d *File) decodeMap(n *yaml.Node, v reflect.Value, path, what string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, "%s must be a mapping of keys to values", what)
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, c := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			d.fail(n, path, "a key of %s must be text", what)
			continue
		}
		if out.MapIndex(reflect.ValueOf(k.Value)).IsValid() {
			d.Problem(k.Line, "key %q stands twice in %s; keep one", k.Value, what)
			continue
		}
		e := reflect.New(v.Type().Elem()).Elem()
		d.decode(c, e, path+"."+k.Value)
		out.SetMapIndex(reflect.ValueOf(k.Value), e)
	}
	v.Set(out)
}
