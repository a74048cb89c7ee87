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
	// Source is the document that the figure serves.
	Source Text `yaml:"source" json:"source"`
	// State says what the feeds cannot give of the definition; empty when nothing
	// is missing.
	State   Text    `yaml:"state,omitempty" json:"state"`
	Format  Format  `yaml:"format" json:"format"`
	Measure Measure `yaml:"measure" json:"-"`
}

// Format says how a figure is written.
type Format struct {
	// Kind is integer, decimal, percent, money (kept in fen, shown in yuan) or hours.
	Kind     string `yaml:"kind" json:"kind"`
	Decimals int    `yaml:"decimals,omitempty" json:"decimals"`
	// Parts is money when numerator and denominator are amounts in fen.
	Parts string `yaml:"parts,omitempty" json:"parts,omitempty"`
}

// Measure is how a figure is computed.
type Measure struct {
	// Kind is count (top), ratio (scale x top / bottom), mix (scale x the part
	// shown / all parts), median (of what top gives each person), balance (a
	// measure of inequality between units of top / bottom) or freshness.
	Kind string `yaml:"kind"`
	// Scale multiplies the quotient; 1 when absent.
	Scale float64 `yaml:"scale,omitempty"`
	Top   *Leaf   `yaml:"top,omitempty"`
	// Bottom is the denominator of a ratio or of a balance.
	Bottom *Leaf `yaml:"bottom,omitempty"`
	// Unpaired is keep when a unit that has only one of the two numbers still
	// counts in the nation; by default it is left out.
	Unpaired string `yaml:"unpaired,omitempty"`
	// Fold names the measure of a balance; Folds lists them.
	Fold string `yaml:"fold,omitempty"`
	// Parts are the amounts of a mix; Shown is the code of the part whose share
	// is the figure when it is not split.
	Parts []Part `yaml:"parts,omitempty"`
	Shown string `yaml:"shown,omitempty"`
	// Feeds are those whose freshness is measured.
	Feeds []string `yaml:"feeds,omitempty"`
	// Whole lists the dimensions that split the numerator only: each code is
	// then a share of the whole.
	Whole []string `yaml:"whole,omitempty"`
	// Splits says, by dimension and code, what is computed otherwise there. The
	// code "*" stands for every code of a dimension that splits the persons or
	// records themselves.
	Splits map[string]map[string]*Override `yaml:"splits,omitempty"`
}

// Override replaces parts of a measure under one code of a dimension. What it
// leaves out stays.
type Override struct {
	Kind   string  `yaml:"kind,omitempty"`
	Scale  float64 `yaml:"scale,omitempty"`
	Fold   string  `yaml:"fold,omitempty"`
	Top    *Leaf   `yaml:"top,omitempty"`
	Bottom *Leaf   `yaml:"bottom,omitempty"`
	Format *Format `yaml:"format,omitempty"`
	Unit   *Text   `yaml:"unit,omitempty"`
}

// Leaf is one number per day and unit.
type Leaf struct {
	// Kind is one of leafKinds.
	Kind string `yaml:"kind"`
	// Field is a count of the feed context, or of a control total.
	Field string `yaml:"field,omitempty"`
	// RatioTarget is the target that says how many users one worker may face;
	// Target is the one that a nation's figure is divided by.
	RatioTarget string `yaml:"ratio_target,omitempty"`
	Target      string `yaml:"target,omitempty"`
	// Types and Status select organisations.
	Types  []string `yaml:"types,omitempty"`
	Status string   `yaml:"status,omitempty"`
	// Categories are the worker categories counted, where they are fewer than
	// the indicator's.
	Categories []string `yaml:"categories,omitempty"`
	// With keeps the persons for whom all of it holds; Any those for whom one of
	// its lists does.
	With []With   `yaml:"with,omitempty"`
	Any  [][]With `yaml:"any,omitempty"`
	// Sum adds a number up over the persons instead of counting them.
	Sum *With `yaml:"sum,omitempty"`
	// Years measures each person by the years since a date field of a feed.
	Years *With `yaml:"years,omitempty"`
	// Elsewhere keeps the persons whom another unit reports too.
	Elsewhere bool `yaml:"elsewhere,omitempty"`
	// Months is over how many months a stock is averaged or leavers are counted.
	Months int `yaml:"months,omitempty"`
	// Reasons are the leave reasons that do not count.
	Reasons []string `yaml:"reasons,omitempty"`
	// Sources are the records that are counted.
	Sources []Source `yaml:"sources,omitempty"`
	// Distinct counts the different values of a field, not the records; a field
	// that holds a list counts each of its values.
	Distinct []string `yaml:"distinct,omitempty"`
	// Counties keeps the values of Distinct that are counties of the unit's
	// latest context.
	Counties bool `yaml:"counties,omitempty"`
	// Factor multiplies a count of units that reported: the denominator of a
	// share of a fixed number of things.
	Factor float64 `yaml:"factor,omitempty"`
	// Count is what is counted of the receipts; Rules are those whose findings it
	// is about.
	Count string   `yaml:"count,omitempty"`
	Rules []string `yaml:"rules,omitempty"`
	Feeds []string `yaml:"feeds,omitempty"`
}

// leafKinds says what each kind of leaf counts.
var leafKinds = map[string]string{
	"stock_persons":    "persons with an open spell",
	"stock_change":     "the stock less that of the end of the month before",
	"leavers":          "persons who left a unit within some months",
	"moves":            "persons whose primary unit was another one some months before",
	"context":          "a background count of the unit's latest month",
	"target":           "a target's value, for the nation only",
	"staffing_gap":     "workers that the ratio asks for less those there are, by county",
	"active_orgs":      "organisations in work",
	"records":          "records of feeds that hold on the day",
	"amounts":          "amounts of contracts of the budget year",
	"covered_counties": "counties under a record of a feed",
	"control_total":    "control totals, or their distance from what is counted",
	"batches":          "monthly batches due, or sent by then",
	"versions":         "accepted versions of records, or those that mend another",
	"receipts":         "what became of the records received",
	"reporting_units":  "units that ever sent a feed, times a factor",
}

// With is a condition on a person: at least one natural key in another feed
// whose newest record satisfies all of it.
type With struct {
	Feed  string `yaml:"feed"`
	Field string `yaml:"field"`
	// Is, AtLeast, Known or Listed is what Field must be. Known means that it was
	// sent; Listed are properties of the code in its list.
	Is      string   `yaml:"is,omitempty"`
	AtLeast string   `yaml:"at_least,omitempty"`
	Known   bool     `yaml:"known,omitempty"`
	Listed  []Listed `yaml:"listed,omitempty"`
	// Reaches makes it a condition on the sum of Field: at least the value of a
	// target.
	Reaches string `yaml:"reaches,omitempty"`
	// Not turns the condition round.
	Not bool `yaml:"not,omitempty"`
	// Date is the date field that places the record in time; Window is ever,
	// year_to_date, month_to_date or a number of months such as 36_months, all up
	// to the day. A snapshot needs neither: its state on the day counts.
	Date   string `yaml:"date,omitempty"`
	Window string `yaml:"window,omitempty"`
	// UnlessField being Unless makes the record not count.
	UnlessField string `yaml:"unless_field,omitempty"`
	Unless      string `yaml:"unless,omitempty"`
}

// Listed is a condition on a column of a code list.
type Listed struct {
	Column  string `yaml:"column"`
	Is      string `yaml:"is,omitempty"`
	AtLeast int    `yaml:"at_least,omitempty"`
}

// Source selects records of a feed as they stand on a day: one per natural key,
// the newest, of a snapshot feed the newest of those that apply by the day.
type Source struct {
	Feed string `yaml:"feed"`
	// Where must all hold.
	Where []Where `yaml:"where,omitempty"`
	// From and Until bound a record in force. Until is the first day on which it
	// is not, or, when Last is set, the last on which it is.
	From  string `yaml:"from,omitempty"`
	Until string `yaml:"until,omitempty"`
	Last  bool   `yaml:"last,omitempty"`
	// Date and Window place a record that happened.
	Date   string `yaml:"date,omitempty"`
	Window string `yaml:"window,omitempty"`
	// Key replaces the natural key: of the records that share it, the one with
	// the latest effective_from counts.
	Key []string `yaml:"key,omitempty"`
	// Match keeps the records that another feed's record of the same unit speaks of.
	Match *Match `yaml:"match,omitempty"`
	// Provider is the field that must name an organisation of Types and Status.
	Provider string `yaml:"provider,omitempty"`
	// year is a field of the natural key that holds the year of the day.
	year string
}

// Match compares fields of a source with those of another.
type Match struct {
	Source `yaml:",inline"`
	// On lists pairs: the field of the outer record, the field of this one.
	On [][]string `yaml:"on"`
}

// Where is a condition on a field of a record.
type Where struct {
	Field string `yaml:"field"`
	// Is lists the values that hold; Known asks for any.
	Is    []string `yaml:"is,omitempty"`
	Known bool     `yaml:"known,omitempty"`
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
	groups     []Group
	cubes      []Cube
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
	c.readGroups(fsys, &ps)
	names, _ := fs.Glob(fsys, "*.yaml") // the pattern is well formed
	names = slices.DeleteFunc(names, func(n string) bool { return n == groupsFile || n == cubesFile })
	for _, name := range names {
		if in := c.read(fsys, name, &ps); in != nil {
			c.Indicators = append(c.Indicators, in)
			c.byID[in.ID] = in
		}
	}
	if len(names) == 0 {
		ps = append(ps, feed.Problem{File: ".", Text: "there are no indicator files; add I-01.yaml"})
	}
	c.readCubes(fsys, &ps)
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
		{"denominator", in.Denominator, oneOf(in.Measure.Kind, "ratio", "mix", "balance")}, {"unit", in.Unit, true},
		{"source", in.Source, true}, {"state", in.State, false},
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
	enum("format.kind", in.Format.Kind, formats...)
	enum("format.parts", in.Format.Parts, "", "money")
	enum("measure.kind", in.Measure.Kind, "count", "ratio", "mix", "median", "balance", "freshness")
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
		if !c.dimension(d) {
			f.at(fmt.Sprintf("dimensions.%d", i), "dimension %q is no code list and no group", d)
		}
	}
	for i, t := range in.Targets {
		if c.Target(t) == nil {
			f.at(fmt.Sprintf("targets.%d", i), "target %q is not in targets.csv", t)
		}
	}
	c.checkCounty(in, f)
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

// together are the kinds of which one pass counts the top of a ratio and its bottom,
// with what either counts.
var together = map[string][2]string{"versions": {"mended", "all"}, "control_total": {"gap", "total"}}

var formats = []string{"integer", "decimal", "percent", "money", "hours"}

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
	case "count", "median":
		need(m.Top != nil && m.Bottom == nil, "measure", "a %s has top and no bottom", m.Kind)
		need(m.Kind != "median" || m.Top == nil || m.Top.Years != nil, "measure.top.years", "say what each person is measured by")
	case "ratio", "balance":
		need(m.Top != nil && m.Bottom != nil, "measure", "a %s has top and bottom", m.Kind)
		for _, kind := range sorted(together) {
			if t, b := m.Top, m.Bottom; t != nil && b != nil && (t.Kind == kind || b.Kind == kind) {
				n := together[kind]
				need(m.Kind == "ratio" && t.Kind == b.Kind && t.Count == n[0] && b.Count == n[1] && t.Field == b.Field && slices.Equal(t.Feeds, b.Feeds),
					"measure", "of %s, %s is a share of %s of the same, and of nothing else", leafKinds[kind], n[0], n[1])
			}
		}
		need(m.Kind != "balance" || Folds[m.Fold] != nil, "measure.fold", "fold %q is unknown; use one of %s", m.Fold, strings.Join(foldNames(), ", "))
	case "mix":
		need(len(m.Parts) >= 2, "measure.parts", "a mix has two parts or more")
		need(slices.ContainsFunc(m.Parts, func(p Part) bool { return p.Code == m.Shown }), "measure.shown", "shown %q is the code of no part", m.Shown)
	case "freshness":
		need(len(m.Feeds) > 0, "measure.feeds", "name the feeds whose freshness is measured")
		for i, n := range m.Feeds {
			need(c.Contract.Feed(n) != nil, fmt.Sprintf("measure.feeds.%d", i), "feed %q is unknown", n)
		}
	}
	for i, p := range m.Parts {
		at := fmt.Sprintf("measure.parts.%d", i)
		need(c.hasField(p.Feed, p.Field), at, "%s.%s is no current field", p.Feed, p.Field)
		need(!c.noCode("purchase_mode", p.Code), at, "%q is no code of list purchase_mode", p.Code)
		need(oneOf(p.Feed, "project", "post"), at, "a part is of feed project or post, not %q", p.Feed)
	}
	for i, d := range m.Whole {
		need(oneOf(d, in.Dimensions...), fmt.Sprintf("measure.whole.%d", i), "%q is no dimension of this indicator", d)
	}
	c.checkLeaf(m.Top, "measure.top", in, f)
	c.checkLeaf(m.Bottom, "measure.bottom", in, f)
	for _, d := range sorted(m.Splits) {
		need(oneOf(d, in.Dimensions...), "measure.splits."+d, "%q is no dimension of this indicator", d)
		for _, code := range sorted(m.Splits[d]) {
			at := "measure.splits." + d + "." + code
			o := m.Splits[d][code]
			need(code == "*" || oneOf(code, c.Values(d)...), at, "%q is no code of %s", code, d)
			if o == nil {
				m.Splits[d][code] = &Override{}
				continue
			}
			need(o.Fold == "" || Folds[o.Fold] != nil, at+".fold", "fold %q is unknown; use one of %s", o.Fold, strings.Join(foldNames(), ", "))
			need(o.Kind == "" || oneOf(o.Kind, "count", "ratio"), at+".kind", "a split is a count or a ratio, not %q", o.Kind)
			need(o.Format == nil || oneOf(o.Format.Kind, formats...), at+".format", "format kind is one of %s", strings.Join(formats, ", "))
			c.checkLeaf(o.Top, at+".top", in, f)
			c.checkLeaf(o.Bottom, at+".bottom", in, f)
		}
	}
}

func sorted[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

func (c *Catalogue) checkLeaf(l *Leaf, path string, in *Indicator, f *file) {
	if l == nil {
		return
	}
	need := func(ok bool, path, format string, args ...any) {
		if !ok {
			f.at(path, format, args...)
		}
	}
	need(leafKinds[l.Kind] != "", path+".kind", "measure kind %q is unknown; use one of %s", l.Kind, strings.Join(sorted(leafKinds), ", "))
	if oneOf(l.Kind, "stock_persons", "stock_change", "leavers", "moves", "staffing_gap", "control_total") {
		need(len(in.Categories) > 0, "categories", "a %s must say which categories it counts", l.Kind)
	}
	for i, cat := range l.Categories {
		need(oneOf(cat, in.Categories...), fmt.Sprintf("%s.categories.%d", path, i), "%q is no category that this indicator counts", cat)
	}
	switch l.Kind {
	case "context", "staffing_gap":
		need(c.hasField("context", l.Field), path+".field", "context.%s is no current field", l.Field)
		need(l.Kind == "context" || c.Target(l.RatioTarget) != nil, path+".ratio_target", "target %q is not in targets.csv", l.RatioTarget)
	case "target":
		need(c.Target(l.Target) != nil, path+".target", "target %q is not in targets.csv", l.Target)
	case "active_orgs":
		need(!c.noCode("org_status", l.Status), path+".status", "%q is no code of list org_status", l.Status)
		need(len(l.Types) > 0, path+".types", "name the organisation types")
	case "records", "covered_counties":
		need(len(l.Sources) > 0, path+".sources", "name the records that are counted")
	case "control_total":
		need(c.hasField("org", l.Field), path+".field", "org.%s is no current field", l.Field)
		need(oneOf(l.Count, "gap", "total"), path+".count", "count is gap or total, not %q", l.Count)
	case "batches":
		need(oneOf(l.Count, "due", "sent"), path+".count", "count is due or sent, not %q", l.Count)
	case "versions":
		need(oneOf(l.Count, "all", "mended"), path+".count", "count is all or mended, not %q", l.Count)
	case "receipts":
		need(oneOf(l.Count, "received", "accepted", "clean", "values_due", "values_present"), path+".count", "count is received, accepted, clean, values_due or values_present, not %q", l.Count)
	case "reporting_units":
		need(l.Factor > 0, path+".factor", "say how many things each unit has")
	case "leavers", "moves":
		need(l.Months > 0, path+".months", "say over how many months %s are counted", l.Kind)
	}
	for i, t := range l.Types {
		need(!c.noCode("org_type", t), fmt.Sprintf("%s.types.%d", path, i), "%q is no code of list org_type", t)
	}
	for i, r := range l.Reasons {
		need(!c.noCode("leave_reason", r), fmt.Sprintf("%s.reasons.%d", path, i), "%q is no code of list leave_reason", r)
	}
	for i, n := range l.Feeds {
		need(c.Contract.Feed(n) != nil, fmt.Sprintf("%s.feeds.%d", path, i), "feed %q is unknown", n)
	}
	known := map[string]bool{}
	for _, r := range feed.Rules() {
		known[r.String()] = true
	}
	for i, r := range l.Rules {
		need(known[r], fmt.Sprintf("%s.rules.%d", path, i), "rule %q is unknown", r)
	}
	persons := l.Kind == "stock_persons"
	for i := range l.With {
		c.checkWith(&l.With[i], persons, true, fmt.Sprintf("%s.with.%d", path, i), f)
	}
	for i := range l.Any {
		for j := range l.Any[i] {
			c.checkWith(&l.Any[i][j], persons, true, fmt.Sprintf("%s.any.%d.%d", path, i, j), f)
		}
	}
	if l.Sum != nil {
		c.checkWith(l.Sum, persons, false, path+".sum", f)
	}
	if l.Years != nil {
		c.checkWith(l.Years, persons, false, path+".years", f)
	}
	for i := range l.Sources {
		at := fmt.Sprintf("%s.sources.%d", path, i)
		s := &l.Sources[i]
		c.checkSource(s, at, f)
		need(s.Provider == "" || l.Kind == "records" && len(in.Measure.Top.Types) > 0, at+".provider", "a provider is asked for of counted records only; name the types of organisation in top.types")
		need((s.Provider == "") == (l.Sources[0].Provider == ""), at+".provider", "all sources name a provider, or none does")
		for _, d := range l.Distinct {
			need(c.hasField(s.Feed, d), at, "%s.%s is no current field", s.Feed, d)
		}
	}
}

func (c *Catalogue) checkWith(w *With, persons, condition bool, path string, f *file) {
	need := func(ok bool, format string, args ...any) {
		if !ok {
			f.at(path, format, args...)
		}
	}
	need(persons, "only a stock of persons can be restricted with records of another feed")
	need(c.hasField(w.Feed, w.Field), "%s.%s is no current field", w.Feed, w.Field)
	need(c.hasField(w.Feed, "id_number"), "feed %s is not about persons", w.Feed)
	if s := c.Contract.Feed(w.Feed); s != nil && s.History != feed.Snapshot {
		need(c.hasField(w.Feed, w.Date), "%s.%s is no current field", w.Feed, w.Date)
		need(isWindow(w.Window), "window %q is unknown; use ever, year_to_date, month_to_date or a number such as 36_months", w.Window)
	}
	n := 0
	for _, said := range []bool{w.Is != "", w.AtLeast != "", w.Known, len(w.Listed) > 0, w.Reaches != ""} {
		if said {
			n++
		}
	}
	if condition {
		need(n == 1, "say one of is, at_least, known, listed, reaches")
	} else {
		need(n == 0, "a number has no condition")
	}
	need(w.Reaches == "" || c.Target(w.Reaches) != nil, "target %q is not in targets.csv", w.Reaches)
	need((w.UnlessField == "") == (w.Unless == ""), "unless_field and unless belong together")
	need(w.UnlessField == "" || c.hasField(w.Feed, w.UnlessField), "%s.%s is no current field", w.Feed, w.UnlessField)
}

func (c *Catalogue) checkSource(s *Source, path string, f *file) {
	need := func(ok bool, format string, args ...any) {
		if !ok {
			f.at(path, format, args...)
		}
	}
	for _, n := range append(s.fields(), s.Key...) {
		need(c.hasField(s.Feed, n), "%s.%s is no current field", s.Feed, n)
	}
	need(s.Date == "" || isWindow(s.Window), "window %q is unknown; use ever, year_to_date, month_to_date or a number such as 36_months", s.Window)
	spec := c.Contract.Feed(s.Feed)
	for _, w := range s.Where {
		need(w.Known != (len(w.Is) > 0), "where %s: say either is or known", w.Field)
		if spec == nil || spec.Index(w.Field) < 0 {
			continue
		}
		if l := spec.All()[spec.Index(w.Field)].List; l != "" {
			for _, v := range w.Is {
				need(!c.noCode(l, v), "%q is no code of list %s", v, l)
			}
		}
	}
	if s.Match != nil {
		c.checkSource(&s.Match.Source, path+".match", f)
		need(s.Match.Provider == "", "what is matched names no provider")
		for _, pair := range s.Match.On {
			need(len(pair) == 2 && c.hasField(s.Feed, pair[0]) && c.hasField(s.Match.Feed, pair[1]), "on lists pairs of a field of %s and one of %s", s.Feed, s.Match.Feed)
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
		if l != nil {
			add(l.feeds(&in.Measure)...)
		}
	}
	for _, p := range in.Measure.Parts {
		add(p.Feed)
	}
	add(in.Measure.Feeds...)
	return out
}

func (l *Leaf) feeds(m *Measure) []string {
	var out []string
	switch l.Kind {
	case "stock_persons", "stock_change", "leavers", "moves":
		out = append(out, "employment")
	case "context":
		out = append(out, "context")
	case "staffing_gap":
		out = append(out, "employment", "context")
	case "active_orgs":
		out = append(out, "org", "project", "post")
	case "control_total":
		out = append(out, "org", "employment")
	case "amounts":
		out = append(out, partFeeds(m.Parts)...)
	}
	ws := slices.Clone(l.With)
	for _, any := range l.Any {
		ws = append(ws, any...)
	}
	for _, w := range []*With{l.Sum, l.Years} {
		if w != nil {
			ws = append(ws, *w)
		}
	}
	for _, w := range ws {
		out = append(out, w.Feed)
	}
	for i := range l.Sources {
		out = append(out, l.Sources[i].Feed)
		if m := l.Sources[i].Match; m != nil {
			out = append(out, m.Feed)
		}
	}
	if l.Kind == "covered_counties" || l.Counties {
		out = append(out, "context")
	}
	return append(out, l.Feeds...)
}

// Counts says whether a leaf's number is a number of people, which small cells
// must not show. A sum over persons is none, but its denominator is.
func (l *Leaf) Counts() bool {
	if l == nil {
		return false
	}
	switch l.Kind {
	case "stock_persons":
		return l.Sum == nil
	case "leavers", "stock_change", "moves":
		return true
	case "records":
		// Of how many counties a record speaks says nothing of how many people.
		return len(l.Distinct) == 0 && slices.ContainsFunc(l.Sources, func(s Source) bool { return s.Feed == "employment" })
	}
	return false
}

// OfMonth says that a month's figure counts what happened within the month, so
// that it grows until the month is over and begins at zero with the next.
func (in *Indicator) OfMonth() bool {
	return in.Measure.Top != nil && in.Measure.Top.Kind == "stock_change"
}

// Now says whether a figure is known for now only: receipts and freshness have
// no past of their own.
func (in *Indicator) Now() bool {
	m := &in.Measure
	return m.Kind == "freshness" || m.Top != nil && m.Top.Kind == "receipts"
}

// Needs lists the feeds without which a figure has no value yet: all of the
// first, and one of the second.
func (in *Indicator) Needs() (all, any []string) {
	m := &in.Measure
	for _, l := range []*Leaf{m.Top, m.Bottom} {
		if l == nil {
			continue
		}
		switch l.Kind {
		case "active_orgs", "control_total":
			all = append(all, "org") // contracts only add to the organisations that have workers
		case "records":
			for i := range l.Sources {
				any = append(any, l.Sources[i].Feed)
			}
		case "covered_counties":
			all = append(all, "context")
		case "amounts":
			any = append(any, partFeeds(m.Parts)...)
		case "batches", "versions", "receipts", "reporting_units":
			any = append(any, l.Feeds...)
		default:
			all = append(all, l.feeds(m)...)
		}
	}
	if m.Kind == "mix" {
		any = append(any, partFeeds(m.Parts)...)
	}
	return all, append(any, m.Feeds...)
}

// YearToDate lists the feeds that are counted from the first of January.
func (in *Indicator) YearToDate() []string {
	const year = "year_to_date"
	var out []string
	for _, l := range []*Leaf{in.Measure.Top, in.Measure.Bottom} {
		if l == nil {
			continue
		}
		for _, w := range l.With {
			if w.Window == year {
				out = append(out, w.Feed)
			}
		}
		if l.Sum != nil && l.Sum.Window == year {
			out = append(out, l.Sum.Feed)
		}
		for i := range l.Sources {
			if l.Sources[i].Window == year {
				out = append(out, l.Sources[i].Feed)
			}
		}
		if l.Kind == "batches" {
			out = append(out, l.Feeds...)
		}
	}
	return out
}
