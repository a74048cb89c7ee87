package mapping

import (
	"strings"
	"unicode"

	"github.com/duiwu/duiwu/internal/feed"
)

// FoldHeading makes headings comparable: width, case, spaces, line breaks and
// the marks of required fields do not matter.
func FoldHeading(h string) string {
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

// Find returns the mapped column of that heading at that position from 0, or nil.
func (m *Mapping) Find(heading string, at int) *Column {
	k := FoldHeading(heading)
	for i := range m.Columns {
		c := &m.Columns[i]
		if c.At != "" {
			if n, ok := columnOf(c.At); !ok || n != at {
				continue
			}
		}
		if FoldHeading(c.Column) == k {
			return c
		}
	}
	return nil
}

// Ignores says that a column is left out on purpose.
func (m *Mapping) Ignores(heading string) bool {
	k := FoldHeading(heading)
	for _, h := range m.Ignore {
		if FoldHeading(h) == k {
			return true
		}
	}
	return false
}

// Translate turns a value by the column's codes; false when they do not have it.
// For a list of codes every part is turned.
func (c *Column) Translate(f *feed.Field, text string) (string, bool) {
	if out, ok := c.Codes[foldCode(text)]; ok || f.Kind.Kind != feed.Codes {
		return out, ok
	}
	var parts []string
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(",;|、，；", r) }) {
		out, ok := c.Codes[foldCode(part)]
		if !ok {
			return "", false
		}
		parts = append(parts, out)
	}
	return strings.Join(parts, ","), true
}

// Date brings a date of the column's order into the order of the standard.
// Anything else, dates that begin with their year and those of two digits among
// it, is returned as it is.
func (c *Column) Date(text string) string {
	if c.Dates == "" || c.Dates == "ymd" {
		return text
	}
	t := strings.TrimSpace(foldCode(text))
	day, rest := t, ""
	if i := strings.IndexAny(t, " T"); i >= 0 {
		day, rest = t[:i], "T"+strings.TrimSpace(t[i+1:])
	}
	parts := strings.FieldsFunc(day, func(r rune) bool { return r == '/' || r == '-' || r == '.' })
	if len(day) == 8 && len(parts) == 1 && digits(day) {
		parts = []string{day[:2], day[2:4], day[4:]}
	}
	if len(parts) != 3 || len(parts[2]) != 4 || len(parts[0]) > 2 || len(parts[1]) > 2 || !digits(strings.Join(parts, "")) {
		return text
	}
	d, m, y := parts[0], parts[1], parts[2]
	if c.Dates == "mdy" {
		d, m = m, d
	}
	two := func(s string) string {
		if len(s) == 1 {
			return "0" + s
		}
		return s
	}
	if two(m) > "12" || two(d) > "31" || y < "1900" {
		return text // not of this order: 20161111 under dmy stays what it is
	}
	return y + "-" + two(m) + "-" + two(d) + rest
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// columnOf reads a column's letters as its position from 0.
func columnOf(letters string) (int, bool) {
	n := 0
	for _, c := range []byte(letters) {
		if c < 'A' || c > 'Z' {
			return 0, false
		}
		if n = n*26 + int(c-'A'+1); n > maxColumns {
			return 0, false
		}
	}
	return n - 1, n > 0
}

// Reads says that the sheet of that name is read.
func (m *Mapping) Reads(sheet string) bool {
	return m.Sheet == "" || strings.TrimSpace(m.Sheet) == strings.TrimSpace(sheet)
}
