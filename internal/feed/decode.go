package feed

import (
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

// Problems is every fault that Load found, sorted by file and line. As an error
// it prints one line a problem.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

func (p Problems) sort() {
	sort.SliceStable(p, func(i, j int) bool {
		if p[i].File != p[j].File {
			return p[i].File < p[j].File
		}
		return p[i].Line < p[j].Line
	})
}

// strict decodes one YAML document into a struct: unknown and repeated keys,
// wrong types and aliases are problems, and all of them are found in one pass.
// It remembers where each value stands, so that later checks can name the line.
type strict struct {
	file     string
	problems *Problems
	lines    map[string]int
	// broken holds the paths that did not decode, so that one slip is not told twice.
	broken map[string]bool
}

func newStrict(file string, ps *Problems) *strict {
	return &strict{file: file, problems: ps, lines: map[string]int{}, broken: map[string]bool{}}
}

func (d *strict) fail(n *yaml.Node, path, format string, args ...any) {
	d.broken[path] = true
	d.problem(n.Line, format, args...)
}

func (d *strict) problem(line int, format string, args ...any) {
	*d.problems = append(*d.problems, Problem{File: d.file, Line: line, Text: fmt.Sprintf(format, args...)})
}

// line returns where a path such as "fields[2].kind" stands, or where the
// nearest thing around it does.
func (d *strict) line(path string) int {
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

func (d *strict) at(path, format string, args ...any) {
	if !d.broken[path] {
		d.problem(d.line(path), format, args...)
	}
}

func (d *strict) decode(n *yaml.Node, v reflect.Value, path string) {
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
	if v.Type() == reflect.TypeFor[KindName]() {
		var s string
		d.decode(n, reflect.ValueOf(&s).Elem(), path)
		if s == "" {
			return
		}
		k, ok := kindNamed(s)
		if !ok {
			d.fail(n, path, "unknown kind %q; use one of %s", s, kindNames())
			return
		}
		v.Set(reflect.ValueOf(KindName{k}))
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
		panic("BUG: feed file struct holds a type without a decoder: " + v.Type().String())
	}
}

func (d *strict) decodeStruct(n *yaml.Node, v reflect.Value, path, what string) {
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
			d.problem(k.Line, "unknown key %q in %s; use one of %s", k.Value, what, strings.Join(names, ", "))
			continue
		case seen[k.Value]:
			d.problem(k.Line, "key %q stands twice in %s; keep one", k.Value, what)
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

func kindNames() string {
	var out []string
	for _, k := range Kinds() {
		out = append(out, k.String())
	}
	return strings.Join(out, ", ")
}
