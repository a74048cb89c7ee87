package sheet

import (
	"slices"
	"strings"

	"github.com/duiwu/duiwu/ingest/mapping"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/value"
)

// headRows is how far down a header row may stand, below titles and notes.
const headRows = 40

// matcher knows the headings of one feed: those of a mapping, else Chinese name,
// English name, field name.
type matcher struct {
	spec  *feed.Spec
	own   *mapping.Mapping // nil when there is none
	exact map[string]int
	// bare holds the headings without what they say in parentheses.
	bare map[string]int
}

func newMatcher(spec *feed.Spec, own *mapping.Mapping) *matcher {
	m := &matcher{spec: spec, own: own, exact: map[string]int{}, bare: map[string]int{}}
	for i, f := range spec.All() {
		for _, h := range []string{f.Name, f.Zh, f.En} {
			put := func(in map[string]int, k string) {
				if _, ok := in[k]; !ok && k != "" {
					in[k] = i
				}
			}
			k := mapping.FoldHeading(h)
			put(m.exact, k)
			b, _ := parens(k)
			put(m.bare, b)
		}
	}
	return m
}

// loosen lets the matcher know the feed's aliases too. Only proposals do that.
func (m *matcher) loosen() {
	for i, f := range m.spec.All() {
		for _, a := range f.Aliases {
			k := mapping.FoldHeading(a)
			if _, known := m.bare[k]; !known {
				m.bare[k] = i
			}
		}
	}
}

// parens splits what stands in parentheses off a folded heading.
func parens(k string) (bare, in string) {
	open, end := strings.IndexByte(k, '('), strings.LastIndexByte(k, ')')
	if open < 0 || end < open {
		return k, ""
	}
	return k[:open] + k[end+1:], k[open+1 : end]
}

// The unit of a money column as its heading or its mapping says.
const (
	unitContract = ""  // the contract's own heading: whole fen
	unitNone     = "?" // none: a bare number has no meaning
)

// match says what a heading at a position from 0 means; its field is -1 when it
// means none.
func (m *matcher) match(heading string, at int) column {
	c := column{field: -1, heading: heading}
	if m.own != nil {
		if own := m.own.Find(heading, at); own != nil {
			return m.mapped(own, c)
		}
		if m.own.Ignores(heading) {
			c.skip = true
			return c
		}
	}
	k := mapping.FoldHeading(heading)
	if k == "" || len(k) > 200 {
		return c
	}
	if i, ok := m.exact[k]; ok {
		c.field = i
		return c
	}
	b, _ := parens(k)
	i, ok := m.bare[b]
	if !ok {
		return c
	}
	c.field = i
	if kind := m.spec.All()[i].Kind.Kind; kind == feed.Money || kind == feed.Pay {
		if c.unit = headingUnit(k); c.unit == "分" {
			c.unit = unitContract
		}
	}
	return c
}

// mapped is what a mapping says of a column.
func (m *matcher) mapped(own *mapping.Column, c column) column {
	c.field, c.own = m.spec.Index(own.Field), own
	if kind := m.spec.All()[c.field].Kind.Kind; kind != feed.Money && kind != feed.Pay {
		return c
	}
	k := mapping.FoldHeading(c.heading)
	said := headingUnit(k)
	if i, ok := m.exact[k]; ok && i == c.field {
		said = "分" // the contract's own heading
	}
	switch {
	case own.Unit == "":
		c.unit = said
	case said == unitNone || said == own.Unit:
		c.unit = own.Unit
	default:
		c.rule = feed.MoneyUnit // the heading says another unit
	}
	if c.unit == "分" {
		c.unit = unitContract
	}
	return c
}

// headingUnit is the unit that a folded heading names in its parentheses.
func headingUnit(k string) string {
	_, in := parens(k)
	in = strings.TrimPrefix(strings.TrimPrefix(in, "单位"), "人民币")
	switch in {
	case "yuan", "rmb", "cny":
		return "元"
	case "fen":
		return "分"
	}
	if slices.Contains(mapping.Units, in) {
		return in
	}
	return unitNone
}

// column is what one column of a table is.
type column struct {
	field   int // -1: none
	heading string
	unit    string
	// skip says that the column is passed over without a finding.
	skip bool
	rule feed.Rule
	// own is what a mapping says of it, nil when nothing.
	own *mapping.Column
}

// counting columns number the rows; every spreadsheet has one.
func counting(heading string) bool {
	switch mapping.FoldHeading(heading) {
	case reasonHeading, "序号", "行号", "顺序号", "no", "no.", "#", "index", "rownumber", "unnamed0", "unnamed:0", "indexlevel0":
		return true
	}
	return false
}

// header is a table's header as found.
type header struct {
	columns []column
	line    int // of its last row
	matched int // fields of the feed's own
	total   int
}

func (m *matcher) score(cells []cell) (own, total int) {
	seen := map[int]bool{}
	for i, c := range cells {
		if c.kind != textCell {
			continue
		}
		if c.text == reasonHeading {
			total++ // a file that came back may have one column only
		} else if f := m.match(c.text, i).field; f >= 0 && !seen[f] {
			seen[f] = true
			if total++; f >= feed.EnvelopeLen {
				own++
			}
		}
	}
	return own, total
}

// find looks for the header among a table's first rows: the row with the most
// headings, joined with the row above where a merged heading stands only there,
// and with the row below where it splits a group.
func (m *matcher) find(rows []row) (h header, next int, ok bool) {
	best, bestOwn, bestTotal := -1, 0, 0
	for i := range rows {
		if own, total := m.score(rows[i].cells); own > bestOwn || own == bestOwn && total > bestTotal {
			best, bestOwn, bestTotal = i, own, total
		}
	}
	if best < 0 || bestOwn == 0 || bestTotal < 2 {
		return h, 0, false
	}
	text := func(r, c int) string {
		if r < 0 || r >= len(rows) || c >= len(rows[r].cells) {
			return ""
		}
		return strings.TrimSpace(rows[r].cells[c].text)
	}
	width := len(rows[best].cells)
	for r := max(0, best-2); r < min(len(rows), best+2); r++ {
		width = max(width, len(rows[r].cells))
	}
	heads := make([]string, width)
	found := make([]bool, width)
	for c := range heads {
		heads[c] = text(best, c)
		f := m.match(heads[c], c).field
		for up := best - 1; f < 0 && up >= max(0, best-2); up-- {
			// A heading merged downwards stands in the row above.
			t := text(up, c)
			if g := m.match(t, c).field; g >= 0 && heads[c] == "" {
				heads[c], f = t, g
			}
		}
		found[c] = f >= 0
	}
	next = best + 1
	// A second line of headings under a group: all its texts are headings, and
	// none stands under one that was found.
	if next < len(rows) {
		sub, fits := 0, true
		for c := range heads {
			t := text(next, c)
			if t == "" {
				continue
			}
			f := m.match(t, c).field
			if f < 0 || found[c] {
				fits = false
				break
			}
			sub++
		}
		if fits && sub > 0 {
			for c := range heads {
				if t := text(next, c); t != "" {
					heads[c] = t
				}
			}
			next++
		}
	}
	for len(heads) > 0 && heads[len(heads)-1] == "" {
		heads = heads[:len(heads)-1]
	}
	h.line = rows[next-1].line
	return h, next, m.columns(&h, heads)
}

// columns says what each heading is.
func (m *matcher) columns(h *header, heads []string) bool {
	used := map[int]bool{}
	if m.own != nil {
		for _, k := range m.own.Constants {
			used[m.spec.Index(k.Field)] = true
		}
	}
	// A mapping's column comes before one that only has the field's own heading.
	for i, text := range heads {
		if c := m.match(text, i); c.own != nil {
			used[c.field] = true
		}
	}
	seen := map[int]bool{}
	for i, text := range heads {
		c := m.match(text, i)
		switch f := c.field; {
		case text == "" && f < 0:
			c.skip = true
		case f < 0 && (c.skip || counting(text)):
			c.skip = true
		case f < 0:
			c.rule = feed.UnknownField
		case seen[f] || used[f] && c.own == nil:
			c.rule, c.field = feed.DuplicateField, -1
		default:
			seen[f] = true
			h.total++
			if f >= feed.EnvelopeLen {
				h.matched++
			}
			if c.rule != feed.NoRule {
				c.field = -1
			}
		}
		h.columns = append(h.columns, c)
	}
	return h.matched > 0
}

// harmlessHeading returns a heading that may be repeated: a key may be a value
// gone astray.
func harmlessHeading(h string) string {
	h = strings.Join(strings.Fields(h), " ")
	if len(h) > 64 || !value.Harmless([]byte(h)) {
		return ""
	}
	return h
}

// footers begin the lines under a table that are no records.
var footers = []string{"合计", "总计", "小计", "填表", "填报", "制表", "审核", "负责人", "单位负责人", "注:", "注：", "备注:", "备注：", "说明:", "说明：", "total", "note:"}

// footer says that a row is a total or a signature under the table.
func footer(cells []cell) bool {
	first, n := "", 0
	for i := range cells {
		if t := strings.TrimSpace(cells[i].text); t != "" {
			if n == 0 {
				first = strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(t, " ", ""), "\u3000", ""))
			}
			n++
		}
	}
	if n == 0 || n > 4 {
		return false
	}
	for _, f := range footers {
		if strings.HasPrefix(first, f) {
			return true
		}
	}
	return false
}
