// Package mapping says how the columns of one source become the fields of one
// feed: the language of mapping.yaml, and how one cell is turned by it.
//
// The structs of this file are the language: their yaml tags are its keys, their
// comments its documentation. What a mapping does not say is never guessed.
package mapping

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/width"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/strict"
	"github.com/duiwu/duiwu/internal/value"
)

// Mapping is one mapping.yaml.
type Mapping struct {
	// Feed is the feed that the source's rows become records of.
	Feed string `yaml:"feed"`
	// Sheet is the only sheet of a workbook that is read; empty means every
	// visible one.
	Sheet string `yaml:"sheet,omitempty"`
	// Columns say which column is which field. A column that is not named here
	// may still have the field's own heading; any other is unknown_field.
	Columns []Column `yaml:"columns"`
	// Constants fill fields that the source has no column for.
	Constants []Constant `yaml:"constants,omitempty"`
	// Ignore lists the headings of columns that are left out on purpose.
	Ignore []string `yaml:"ignore,omitempty"`

	sum string
}

// Sum is the SHA-256 of the mapping's file, in hexadecimal: two mappings of one
// sum read a file alike. It is empty for no mapping.
func (m *Mapping) Sum() string {
	if m == nil {
		return ""
	}
	return m.sum
}

// Column maps one column.
type Column struct {
	// Column is its heading, or its key in JSON, Arrow and Parquet. Width, case
	// and spaces do not matter.
	Column string `yaml:"column"`
	// At is its letter, such as C: needed where two columns have one heading, or
	// a column has none.
	At string `yaml:"at,omitempty"`
	// Field is the feed's field.
	Field string `yaml:"field"`
	// Codes translates the source's values into the feed's, code by code. Where
	// it is given, a value that is not in it is code_list, even one that the feed
	// knows: the two lists may use one code for two things. The key "" is an
	// empty cell.
	Codes map[string]string `yaml:"codes,omitempty"`
	// Unit is the unit of bare numbers in a column of money: 分, 角, 元, 千元, 万元,
	// 百万元 or 亿元.
	Unit string `yaml:"unit,omitempty"`
	// Dates is the order of a column's dates: ymd, dmy or mdy. Dates that begin
	// with their year are read under any of them.
	Dates string `yaml:"dates,omitempty"`
	// Optional says that the source may come without this column.
	Optional bool `yaml:"optional,omitempty"`
}

// Constant is one value for all rows.
type Constant struct {
	Field string `yaml:"field"`
	Value string `yaml:"value"`
}

// Units are the units of money that a mapping may name.
var Units = []string{"分", "角", "元", "千元", "万元", "百万元", "亿元"}

// Orders are the orders of a date that a mapping may name.
var Orders = []string{"ymd", "dmy", "mdy"}

// maxColumns is the widest table that is read, that of a spreadsheet.
const maxColumns = 16384

// Load reads a mapping and holds it against the feeds. Its error is
// strict.Problems with every fault of the file.
func Load(name string, raw []byte, cat *feed.Catalogue) (*Mapping, error) {
	var ps strict.Problems
	d := strict.New(name, &ps)
	sum := sha256.Sum256(raw)
	m := &Mapping{sum: hex.EncodeToString(sum[:])}
	if d.Decode(raw, m, "feed: worker") {
		m.validate(d, cat)
	}
	if len(ps) > 0 {
		ps.Sort()
		return nil, ps
	}
	for i := range m.Columns {
		m.Columns[i].fold()
	}
	return m, nil
}

// fold brings the codes of the source into the form in which they are looked up.
func (c *Column) fold() {
	if c.Codes == nil {
		return
	}
	out := make(map[string]string, len(c.Codes))
	for k, v := range c.Codes {
		out[foldCode(k)] = v
	}
	c.Codes = out
}

func foldCode(s string) string { return strings.TrimSpace(width.Narrow.String(s)) }

func (m *Mapping) validate(d *strict.File, cat *feed.Catalogue) {
	spec := cat.Feed(m.Feed)
	if spec == nil {
		var names []string
		for _, s := range cat.Feeds {
			names = append(names, s.Feed)
		}
		d.At("feed", "unknown feed %q; use one of %s", m.Feed, strings.Join(names, ", "))
		return
	}
	if m.Columns == nil && m.Constants == nil && m.Ignore == nil && !d.Broken("columns") {
		d.At("columns", "the mapping says nothing; list columns: [{column: …, field: …}]")
	}
	taken := map[string]string{} // field to where it is filled
	for i := range m.Columns {
		m.validateColumn(d, cat, spec, i, taken)
	}
	for i := range m.Constants {
		at := fmt.Sprintf("constants[%d]", i)
		if d.Broken(at) {
			continue
		}
		c := &m.Constants[i]
		f := fieldOf(d, spec, at+".field", c.Field, taken, "constant")
		if f == nil {
			continue
		}
		switch {
		case f.Kind.Kind.Info().Personal:
			d.At(at+".value", "field %s is personal, which no constant can be; remove it", f.Name)
		case c.Value == "":
			d.At(at+".value", "the constant of field %s is empty; write its value", f.Name)
		default:
			if _, rule := value.Canonical(nil, []byte(c.Value), f, cat, feed.DayMax); rule != feed.NoRule {
				d.At(at+".value", "%s", told(rule, f))
			}
		}
	}
	seen := map[string]bool{}
	for i, h := range m.Ignore {
		at := fmt.Sprintf("ignore[%d]", i)
		k := FoldHeading(h)
		switch {
		case k == "" && !d.Broken(at):
			d.At(at, "a heading to ignore is empty; remove it")
		case seen[k]:
			d.At(at, "heading %q stands twice in ignore; keep one", h)
		case slices.ContainsFunc(m.Columns, func(c Column) bool { return FoldHeading(c.Column) == k && c.At == "" }):
			d.At(at, "heading %q is mapped and ignored at once; remove one of the two", h)
		}
		seen[k] = true
	}
}

func fieldOf(d *strict.File, spec *feed.Spec, at, name string, taken map[string]string, what string) *feed.Field {
	i := spec.Index(name)
	if i < 0 {
		if !d.Broken(at) {
			var names []string
			for _, f := range spec.Fields {
				names = append(names, f.Name)
			}
			d.At(at, "feed %s has no field %q; use one of %s", spec.Feed, name, strings.Join(names, ", "))
		}
		return nil
	}
	if other := taken[name]; other != "" {
		d.At(at, "field %s is filled by a %s already; a field has one source", name, other)
		return nil
	}
	taken[name] = what
	return &spec.All()[i]
}

func (m *Mapping) validateColumn(d *strict.File, cat *feed.Catalogue, spec *feed.Spec, i int, taken map[string]string) {
	at := fmt.Sprintf("columns[%d]", i)
	if d.Broken(at) {
		return
	}
	c := &m.Columns[i]
	if c.At != "" {
		if _, ok := columnOf(c.At); !ok {
			d.At(at+".at", "at %q is no column; write its letter, such as C", c.At)
		}
	} else if FoldHeading(c.Column) == "" && !d.Broken(at+".column") {
		d.At(at, "the column has no heading; write column: with the heading of the source, or at: with its letter")
	}
	for j := range m.Columns[:i] {
		if o := &m.Columns[j]; FoldHeading(o.Column) == FoldHeading(c.Column) && (o.At == c.At || o.At == "" || c.At == "") {
			d.At(at+".column", "column %q stands twice; keep one, or tell them apart with at: and the letter of each", c.Column)
			break
		}
	}
	f := fieldOf(d, spec, at+".field", c.Field, taken, "column")
	if f == nil {
		return
	}
	kind := f.Kind.Kind
	switch money := kind == feed.Money || kind == feed.Pay; {
	case c.Unit != "" && !money:
		d.At(at+".unit", "field %s of kind %s takes no unit; only money does", f.Name, kind)
	case c.Unit != "" && !slices.Contains(Units, c.Unit):
		d.At(at+".unit", "unknown unit %q; use one of %s", c.Unit, strings.Join(Units, ", "))
	}
	switch dated := kind == feed.Date || kind == feed.Birth || kind == feed.Time || kind == feed.Period; {
	case c.Dates != "" && !dated:
		d.At(at+".dates", "field %s of kind %s takes no order of dates; only dates do", f.Name, kind)
	case c.Dates != "" && !slices.Contains(Orders, c.Dates):
		d.At(at+".dates", "unknown order %q; use one of %s", c.Dates, strings.Join(Orders, ", "))
	}
	if len(c.Codes) == 0 {
		return
	}
	switch kind {
	case feed.Code, feed.Codes, feed.Bool, feed.Unit, feed.Division, feed.CreditCode:
	default:
		if kind.Info().Personal {
			d.At(at+".codes", "field %s is personal, and its values must not stand in a mapping; remove codes", f.Name)
		} else {
			d.At(at+".codes", "field %s of kind %s takes no codes; only codes, truth values, divisions, units and credit codes are translated", f.Name, kind)
		}
		return
	}
	folded := map[string]string{}
	for _, from := range sortedKeys(c.Codes) {
		here := at + ".codes." + from
		if d.Broken(here) {
			continue
		}
		if !value.Harmless([]byte(from)) {
			d.At(here, "a key of codes looks like a number of a person; remove it")
			continue
		}
		if other, ok := folded[foldCode(from)]; ok {
			d.At(here, "keys %q and %q of codes are one value; keep one", other, from)
		}
		folded[foldCode(from)] = from
		if _, rule := value.Canonical(nil, []byte(c.Codes[from]), f, cat, feed.DayMax); rule != feed.NoRule {
			d.At(here, "%s", told(rule, f))
		}
	}
}

// told says in both languages which rule a value of the mapping breaks.
func told(rule feed.Rule, f *feed.Field) string {
	return rule.String() + ": " + strings.ReplaceAll(rule.Info().Zh, "{field}", f.Zh) + " " + strings.ReplaceAll(rule.Info().En, "{field}", f.Name)
}

func sortedKeys(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
