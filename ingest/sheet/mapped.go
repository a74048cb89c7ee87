package sheet

import (
	"slices"
	"strings"

	"github.com/duiwu/duiwu/ingest/mapping"
	"github.com/duiwu/duiwu/internal/feed"
)

// mapCell turns a cell as its mapping says.
func (c *checker) mapCell(own *mapping.Column, field int, text string) (string, feed.Rule) {
	if len(own.Codes) > 0 && strings.TrimSpace(text) != "" {
		out, ok := own.Translate(&c.all[field], text)
		if !ok {
			return "", feed.CodeList
		}
		return out, feed.NoRule
	}
	return own.Date(text), feed.NoRule
}

// fillBlanks gives the row at hand what a mapping says of empty cells, also of
// those that the row does not reach, and the constants.
func (c *checker) fillBlanks() {
	m := c.opt.Mapping
	if m == nil {
		return
	}
	for i := range c.head.columns {
		col := &c.head.columns[i]
		if col.own == nil || col.field < 0 || strings.TrimSpace(c.vals[col.field]) != "" {
			continue
		}
		if out, ok := col.own.Codes[""]; ok && !c.own[int32(len(c.batch))][c.all[col.field].Name] {
			c.vals[col.field] = out
		}
	}
	for _, k := range m.Constants {
		c.vals[c.spec.Index(k.Field)] = k.Value
	}
}

// fillConstants marks the fields that a mapping fills as present.
func (c *checker) fillConstants(have []bool) {
	if c.opt.Mapping == nil {
		return
	}
	for _, k := range c.opt.Mapping.Constants {
		have[c.spec.Index(k.Field)] = true
	}
}

// unmapped finds the columns that a mapping names and the table at hand lacks:
// a renamed column must not become an empty field. It returns the fields that
// mapped columns do not fill.
func (c *checker) unmapped(sheet string) []int {
	if c.opt.Mapping == nil {
		return nil
	}
	var missing []int
	for i := range c.opt.Mapping.Columns {
		own := &c.opt.Mapping.Columns[i]
		field := c.spec.Index(own.Field)
		if at := slices.IndexFunc(c.head.columns, func(col column) bool { return col.own == own }); at >= 0 {
			if c.head.columns[at].field < 0 {
				missing = append(missing, field) // its heading was found wanting already
			}
			continue
		}
		if own.Optional {
			continue
		}
		missing = append(missing, field)
		c.blocked = true
		c.report.add(finding{table: c.table, sheet: sheet, line: c.head.line, column: -1, field: field, rule: feed.MappedColumn})
	}
	return missing
}
