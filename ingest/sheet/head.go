package sheet

import (
	"strings"
	"unicode"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/value"
)

// headRows is how far down a header row may stand, below titles and notes.
const headRows = 40

// matcher knows the headings of one feed: Chinese name, English name, field name.
type matcher struct {
	spec  *feed.Spec
	exact map[string]int
	// bare holds the headings without what they say in parentheses.
	bare map[string]int
}

func newMatcher(spec *feed.Spec) *matcher {
	m := &matcher{spec: spec, exact: map[string]int{}, bare: map[string]int{}}
	for i, f := range spec.All() {
		for _, h := range []string{f.Name, f.Zh, f.En} {
			put := func(in map[string]int, k string) {
				if _, ok := in[k]; !ok && k != "" {
					in[k] = i
				}
			}
			k := foldHeading(h)
			put(m.exact, k)
			b, _ := parens(k)
			put(m.bare, b)
		}
	}
	return m
}

// foldHeading makes headings comparable: width, case, spaces, line breaks and
// the marks of required fields do not matter.
func foldHeading(h string) string {
	return strings.Map(func(r rune) rune {
		if r >= 0xFF01 && r <= 0xFF5E {
			r -= 0xFEE0
		}
		switch {
		case unicode.IsSpace(r), r == '_', r == '-', r == '*', r == ':', r == '\'', r == '"', r == '★', r == '※', r == 0x3000,
			r >= 0x200B && r <= 0x200F, r == 0xFEFF, r == 0x2060:
			return -1
		case r == '【', r == '〔', r == '[':
			return '('
		case r == '】', r == '〕', r == ']':
			return ')'
		}
		return unicode.ToLower(r)
	}, h)
}

// parens splits what stands in parentheses off a folded heading.
func parens(k string) (bare, in string) {
	open, end := strings.IndexByte(k, '('), strings.LastIndexByte(k, ')')
	if open < 0 || end < open {
		return k, ""
	}
	return k[:open] + k[end+1:], k[open+1 : end]
}

// The unit of a money column as its heading says.
const (
	unitContract = ""  // the contract's own heading: whole fen
	unitNone     = "?" // none: a bare number has no meaning
)

// match returns the field of a heading, or -1, and the unit that a money
// column's bare numbers are in.
func (m *matcher) match(heading string) (field int, unit string) {
	k := foldHeading(heading)
	if k == "" || len(k) > 200 {
		return -1, ""
	}
	if i, ok := m.exact[k]; ok {
		return i, unitContract
	}
	b, in := parens(k)
	i, ok := m.bare[b]
	if !ok {
		return -1, ""
	}
	if kind := m.spec.All()[i].Kind.Kind; kind != feed.Money && kind != feed.Pay {
		return i, unitContract
	}
	in = strings.TrimPrefix(strings.TrimPrefix(in, "单位"), "人民币")
	switch in {
	case "元", "万元", "亿元", "角":
		return i, in
	case "yuan", "rmb", "cny":
		return i, "元"
	case "分", "fen":
		return i, unitContract
	}
	return i, unitNone
}

// column is what one column of a table is.
type column struct {
	field   int // -1: none
	heading string
	unit    string
	// skip says that the column is passed over without a finding.
	skip bool
	rule feed.Rule
}

// counting columns number the rows; every spreadsheet has one.
func counting(heading string) bool {
	switch foldHeading(heading) {
	case reasonHeading, "序号", "行号", "顺序号", "no", "no.", "#", "index", "rownumber", "unnamed0", "unnamed:0":
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
	for _, c := range cells {
		if c.kind != textCell {
			continue
		}
		if f, _ := m.match(c.text); f >= 0 && !seen[f] {
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
		f, _ := m.match(heads[c])
		for up := best - 1; f < 0 && up >= max(0, best-2); up-- {
			// A heading merged downwards stands in the row above.
			t := text(up, c)
			if g, _ := m.match(t); g >= 0 && heads[c] == "" {
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
			f, _ := m.match(t)
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
	for _, text := range heads {
		f, unit := m.match(text)
		c := column{field: f, heading: text, unit: unit}
		switch {
		case text == "":
			c.skip = true
		case f < 0 && counting(text):
			c.skip = true
		case f < 0:
			c.rule = feed.UnknownField
		case used[f]:
			c.rule, c.field = feed.DuplicateField, -1
		default:
			used[f] = true
			h.total++
			if f >= feed.EnvelopeLen {
				h.matched++
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
	if len(h) > 64 || value.LongDigitRun([]byte(h)) >= 11 || value.Damaged([]byte(h)) {
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
