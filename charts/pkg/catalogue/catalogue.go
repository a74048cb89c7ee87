// Package catalogue is the metric catalogue: what each indicator counts, and
// how that becomes ClickHouse SQL.
//
// The language of an indicator file is the structs of this file. A measure is
// built from a closed vocabulary, never from SQL text, so that a definition can
// be read, versioned and checked by people who do not write SQL.
package catalogue

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/duiwu/duiwu/internal/feed"
)

// Text is a sentence in both languages.
type Text struct {
	Zh string `yaml:"zh" json:"zh"`
	En string `yaml:"en" json:"en"`
}

// Indicator is one indicator file.
type Indicator struct {
	// ID is stable, such as I-01; the file is named after it.
	ID string `yaml:"id" json:"id"`
	Zh string `yaml:"zh" json:"zh"`
	En string `yaml:"en" json:"en"`
	// Frame is S (socialised), P (professional), V (vocational), G (size and
	// balance) or Q (quality of the data).
	Frame string `yaml:"frame" json:"frame"`
	// Version rises with every change of what is counted.
	Version   int    `yaml:"version" json:"version"`
	ValidFrom string `yaml:"valid_from" json:"validFrom"`
	// Approval is provisional until the office has approved this version.
	Approval    string `yaml:"approval" json:"approval"`
	Definition  Text   `yaml:"definition" json:"definition"`
	Numerator   Text   `yaml:"numerator" json:"numerator"`
	Denominator Text   `yaml:"denominator,omitempty" json:"denominator"`
	Unit        Text   `yaml:"unit" json:"unit"`
	// Direction says which way is better: up, down or none.
	Direction string   `yaml:"direction" json:"direction"`
	Grain     []string `yaml:"grain" json:"grain"`
	Update    string   `yaml:"update" json:"update"`
	// Categories are the worker categories that the figure counts; every page
	// shows them, since public figures mix them.
	Categories []string `yaml:"categories" json:"categories"`
	// Dimensions are the code lists by which the figure can be split.
	Dimensions []string `yaml:"dimensions,omitempty" json:"dimensions"`
	Targets    []string `yaml:"targets" json:"targets"`
	Format     Format   `yaml:"format" json:"format"`
	Measure    Measure  `yaml:"measure" json:"-"`
}

// Format says how a figure is written.
type Format struct {
	// Kind is integer, decimal, percent or hours.
	Kind     string `yaml:"kind" json:"kind"`
	Decimals int    `yaml:"decimals,omitempty" json:"decimals"`
	// Parts is money when numerator and denominator are amounts in fen.
	Parts string `yaml:"parts,omitempty" json:"parts,omitempty"`
}

// Measure is how a figure is computed.
type Measure struct {
	// Kind is count (top), ratio (scale x top / bottom), mix (scale x the part
	// shown / all parts) or freshness.
	Kind string `yaml:"kind"`
	// Scale multiplies the quotient; 1 when absent.
	Scale float64 `yaml:"scale,omitempty"`
	Top   *Leaf   `yaml:"top,omitempty"`
	// Bottom is the denominator of a ratio.
	Bottom *Leaf `yaml:"bottom,omitempty"`
	// Unpaired is keep when a unit that has only one of the two numbers still
	// counts in the nation; by default it is left out.
	Unpaired string `yaml:"unpaired,omitempty"`
	// Parts are the amounts of a mix; Shown is the code of the part whose share
	// is the figure when it is not split.
	Parts []Part `yaml:"parts,omitempty"`
	Shown string `yaml:"shown,omitempty"`
	// Feeds are those whose freshness is measured.
	Feeds []string `yaml:"feeds,omitempty"`
}

// Leaf is one number per day and unit.
type Leaf struct {
	// Kind is stock_persons, context, staffing_gap or active_orgs.
	Kind string `yaml:"kind"`
	// Field is a count of the feed context.
	Field string `yaml:"field,omitempty"`
	// RatioTarget is the target that says how many users one worker may face.
	RatioTarget string `yaml:"ratio_target,omitempty"`
	// Types and Status select organisations.
	Types  []string `yaml:"types,omitempty"`
	Status string   `yaml:"status,omitempty"`
	// With keeps the persons who have a record of another feed.
	With *With `yaml:"with,omitempty"`
}

// With is a condition on a person: at least one natural key in another feed
// whose newest record satisfies all of it.
type With struct {
	Feed  string `yaml:"feed"`
	Field string `yaml:"field"`
	// Is or AtLeast is what Field must be.
	Is      string `yaml:"is,omitempty"`
	AtLeast string `yaml:"at_least,omitempty"`
	// Date is the date field that places the record in time; Window is
	// year_to_date or ever, both up to the day.
	Date   string `yaml:"date"`
	Window string `yaml:"window"`
	// UnlessField being Unless makes the record not count.
	UnlessField string `yaml:"unless_field,omitempty"`
	Unless      string `yaml:"unless,omitempty"`
}

// Part is one amount of a mix.
type Part struct {
	Code  string `yaml:"code"`
	Feed  string `yaml:"feed"`
	Field string `yaml:"field"`
}

// Catalogue is every indicator with the contract that it rests on. It is
// immutable once loaded and may be shared by any number of goroutines.
type Catalogue struct {
	// Indicators are sorted by id.
	Indicators []*Indicator
	Contract   *feed.Catalogue
	byID       map[string]*Indicator
}

// Indicator returns the indicator of that id, or nil.
func (c *Catalogue) Indicator(id string) *Indicator { return c.byID[id] }

// Target returns the target of that id, or nil.
func (c *Catalogue) Target(id string) *feed.Target {
	for i := range c.Contract.Targets {
		if c.Contract.Targets[i].ID == id {
			return &c.Contract.Targets[i]
		}
	}
	return nil
}

var (
	idShape   = regexp.MustCompile(`^I-\d{2}$`)
	dayShape  = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`)
	errorLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
)

// file collects the problems of one indicator file with their lines.
type file struct {
	name string
	root *yaml.Node
	out  *feed.Problems
}

func (f *file) at(path, format string, args ...any) {
	line := 1
	n := f.root
	for _, step := range strings.Split(path, ".") {
		if n = child(n, step); n == nil {
			break
		}
		line = n.Line
	}
	*f.out = append(*f.out, feed.Problem{File: f.name, Line: line, Text: fmt.Sprintf(format, args...)})
}

// child returns what a key or index holds.
func child(n *yaml.Node, step string) *yaml.Node {
	if n == nil {
		return nil
	}
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	if i, err := strconv.Atoi(step); err == nil && n.Kind == yaml.SequenceNode {
		if i < len(n.Content) {
			return n.Content[i]
		}
		return nil
	}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == step {
			return n.Content[i+1]
		}
	}
	return nil
}

// Load reads *.yaml from fsys. Its error is a feed.Problems with every fault of
// every file.
func Load(fsys fs.FS, contract *feed.Catalogue) (*Catalogue, error) {
	c := &Catalogue{Contract: contract, byID: map[string]*Indicator{}}
	var ps feed.Problems
	names, _ := fs.Glob(fsys, "*.yaml") // the pattern is well formed
	for _, name := range names {
		if in := c.read(fsys, name, &ps); in != nil {
			c.Indicators = append(c.Indicators, in)
			c.byID[in.ID] = in
		}
	}
	if len(names) == 0 {
		ps = append(ps, feed.Problem{File: ".", Text: "there are no indicator files; add I-01.yaml"})
	}
	sort.Slice(c.Indicators, func(i, j int) bool { return c.Indicators[i].ID < c.Indicators[j].ID })
	if len(ps) > 0 {
		sort.SliceStable(ps, func(i, j int) bool {
			if ps[i].File != ps[j].File {
				return ps[i].File < ps[j].File
			}
			return ps[i].Line < ps[j].Line
		})
		return nil, ps
	}
	return c, nil
}

func (c *Catalogue) read(fsys fs.FS, name string, ps *feed.Problems) *Indicator {
	raw, err := fs.ReadFile(fsys, name)
	if err != nil {
		*ps = append(*ps, feed.Problem{File: name, Text: "cannot read the file: " + err.Error()})
		return nil
	}
	f := &file{name: name, root: &yaml.Node{}, out: ps}
	if err := yaml.Unmarshal(raw, f.root); err != nil {
		f.yaml(err)
		return nil
	}
	in := &Indicator{}
	dec := yaml.NewDecoder(strings.NewReader(string(raw)))
	dec.KnownFields(true)
	if err := dec.Decode(in); err != nil {
		f.yaml(err)
	}
	c.check(in, f)
	return in
}

func (f *file) yaml(err error) {
	lines := []string{err.Error()}
	var te *yaml.TypeError
	if errors.As(err, &te) {
		lines = te.Errors
	}
	for _, l := range lines {
		p := feed.Problem{File: f.name, Line: 1, Text: l}
		if m := errorLine.FindStringSubmatch(l); m != nil {
			p.Line, _ = strconv.Atoi(m[1])
			p.Text = strings.Replace(m[2], "not found in type catalogue.", "is no key of ", 1)
		}
		*f.out = append(*f.out, p)
	}
}

func oneOf(v string, of ...string) bool { return slices.Contains(of, v) }

func (c *Catalogue) check(in *Indicator, f *file) {
	if !idShape.MatchString(in.ID) || in.ID+".yaml" != f.name {
		f.at("id", "id %q is not the file's name; an indicator I-01 stands in I-01.yaml", in.ID)
	}
	for _, t := range []struct {
		path string
		v    Text
		want bool
	}{
		{"zh", Text{in.Zh, in.En}, true}, {"definition", in.Definition, true}, {"numerator", in.Numerator, true},
		{"denominator", in.Denominator, in.Measure.Kind == "ratio" || in.Measure.Kind == "mix"}, {"unit", in.Unit, true},
	} {
		if t.want && (t.v.Zh == "" || t.v.En == "") || (t.v.Zh == "") != (t.v.En == "") {
			f.at(t.path, "%s needs both zh and en", t.path)
		}
	}
	enum := func(path, v string, of ...string) {
		if !oneOf(v, of...) {
			f.at(path, "%s %q is unknown; use one of %s", path, v, strings.Join(of, ", "))
		}
	}
	enum("frame", in.Frame, "S", "P", "V", "G", "Q")
	enum("approval", in.Approval, "provisional", "approved")
	enum("direction", in.Direction, "up", "down", "none")
	enum("format.kind", in.Format.Kind, "integer", "decimal", "percent", "hours")
	enum("format.parts", in.Format.Parts, "", "money")
	enum("measure.kind", in.Measure.Kind, "count", "ratio", "mix", "freshness")
	enum("measure.unpaired", in.Measure.Unpaired, "", "keep")
	if in.Version < 1 {
		f.at("version", "version must be 1 or more")
	}
	if !dayShape.MatchString(in.ValidFrom) {
		f.at("valid_from", "valid_from %q is not a day such as 2016-01-01", in.ValidFrom)
	}
	for i, cat := range in.Categories {
		if c.noCode("worker_category", cat) {
			f.at(fmt.Sprintf("categories.%d", i), "%q is no code of list worker_category", cat)
		}
	}
	for i, d := range in.Dimensions {
		if d != "feed" && c.Contract.List(d) == nil {
			f.at(fmt.Sprintf("dimensions.%d", i), "dimension %q is no code list", d)
		}
	}
	for i, t := range in.Targets {
		if c.Target(t) == nil {
			f.at(fmt.Sprintf("targets.%d", i), "target %q is not in targets.csv", t)
		}
	}
	c.checkMeasure(&in.Measure, in, f)
}

func (c *Catalogue) noCode(list, code string) bool {
	l := c.Contract.List(list)
	if l == nil {
		return true
	}
	_, ok := l.Index(code)
	return !ok
}

// hasField says whether a feed's current table holds the field.
func (c *Catalogue) hasField(name, field string) bool {
	s := c.Contract.Feed(name)
	if s == nil {
		return false
	}
	i := s.Index(field)
	return i >= 0 && s.All()[i].Current
}

func (c *Catalogue) checkMeasure(m *Measure, in *Indicator, f *file) {
	if m.Scale == 0 {
		m.Scale = 1
	}
	need := func(ok bool, path, format string, args ...any) {
		if !ok {
			f.at(path, format, args...)
		}
	}
	switch m.Kind {
	case "count":
		need(m.Top != nil && m.Bottom == nil, "measure", "a count has top and no bottom")
	case "ratio":
		need(m.Top != nil && m.Bottom != nil, "measure", "a ratio has top and bottom")
	case "mix":
		need(len(m.Parts) >= 2, "measure.parts", "a mix has two parts or more")
		found := false
		for i, p := range m.Parts {
			at := fmt.Sprintf("measure.parts.%d", i)
			found = found || p.Code == m.Shown
			need(c.hasField(p.Feed, p.Field), at, "%s.%s is no current field", p.Feed, p.Field)
			need(!c.noCode("purchase_mode", p.Code), at, "%q is no code of list purchase_mode", p.Code)
			need(oneOf(p.Feed, "project", "post"), at, "a part is of feed project or post, not %q", p.Feed)
		}
		need(found, "measure.shown", "shown %q is the code of no part", m.Shown)
	case "freshness":
		need(len(m.Feeds) > 0, "measure.feeds", "name the feeds whose freshness is measured")
		for i, n := range m.Feeds {
			need(c.Contract.Feed(n) != nil, fmt.Sprintf("measure.feeds.%d", i), "feed %q is unknown", n)
		}
	}
	for path, l := range map[string]*Leaf{"measure.top": m.Top, "measure.bottom": m.Bottom} {
		if l == nil {
			continue
		}
		switch l.Kind {
		case "stock_persons":
			need(len(in.Categories) > 0, "categories", "a stock of persons must say which categories it counts")
		case "context":
			need(c.hasField("context", l.Field), path+".field", "context.%s is no current field", l.Field)
		case "staffing_gap":
			need(c.hasField("context", l.Field), path+".field", "context.%s is no current field", l.Field)
			need(c.Target(l.RatioTarget) != nil, path+".ratio_target", "target %q is not in targets.csv", l.RatioTarget)
			need(len(in.Categories) > 0, "categories", "a staffing gap must say which categories it counts")
		case "active_orgs":
			need(!c.noCode("org_status", l.Status), path+".status", "%q is no code of list org_status", l.Status)
			need(len(l.Types) > 0, path+".types", "name the organisation types")
			for i, t := range l.Types {
				need(!c.noCode("org_type", t), fmt.Sprintf("%s.types.%d", path, i), "%q is no code of list org_type", t)
			}
		default:
			f.at(path+".kind", "measure kind %q is unknown; use one of stock_persons, context, staffing_gap, active_orgs", l.Kind)
		}
		if w := l.With; w != nil {
			p := path + ".with"
			need(l.Kind == "stock_persons", p, "only a stock of persons can be restricted with records of another feed")
			need(c.hasField(w.Feed, w.Field), p, "%s.%s is no current field", w.Feed, w.Field)
			need(c.hasField(w.Feed, w.Date), p, "%s.%s is no current field", w.Feed, w.Date)
			need(c.hasField(w.Feed, "id_number"), p, "feed %s is not about persons", w.Feed)
			need((w.Is == "") != (w.AtLeast == ""), p, "say either is or at_least")
			need(oneOf(w.Window, "ever", "year_to_date"), p, "window %q is unknown; use ever or year_to_date", w.Window)
			need((w.UnlessField == "") == (w.Unless == ""), p, "unless_field and unless belong together")
			need(w.UnlessField == "" || c.hasField(w.Feed, w.UnlessField), p, "%s.%s is no current field", w.Feed, w.UnlessField)
		}
	}
}

// Feeds lists the feeds that a figure rests on, the one it counts first.
func (in *Indicator) Feeds() []string {
	var out []string
	add := func(names ...string) {
		for _, n := range names {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	for _, l := range []*Leaf{in.Measure.Top, in.Measure.Bottom} {
		if l == nil {
			continue
		}
		switch l.Kind {
		case "stock_persons":
			add("employment")
			if l.With != nil {
				add(l.With.Feed)
			}
		case "context":
			add("context")
		case "staffing_gap":
			add("employment", "context")
		case "active_orgs":
			add("org", "project", "post")
		}
	}
	for _, p := range in.Measure.Parts {
		add(p.Feed)
	}
	add(in.Measure.Feeds...)
	return out
}

// CountsPersons says whether figures are numbers of people, which small cells
// must not show.
func (in *Indicator) CountsPersons() bool {
	m := &in.Measure
	return m.Top != nil && m.Top.Kind == "stock_persons" && (m.Kind == "count" || m.Top.With != nil)
}
