package sheet

import (
	"context"
	"errors"
	"io"
)

// Line is one row of a file as a person sees it. It holds what the cells hold:
// it is for whoever sent the file and nobody else.
type Line struct {
	Sheet string   `json:"sheet"`
	Row   int      `json:"row"`
	Cells []string `json:"cells"`
	// Fields stand in a header only: the field of each column, "" for none.
	Fields []string `json:"fields,omitempty"`
	table  int
}

// The bounds of what is shown of a row.
const (
	lineCells = 256
	lineRunes = 120
)

// noteHead remembers the header at hand for Lines.
func (c *checker) noteHead(sheet string) {
	l := Line{Sheet: sheet, Row: c.head.line, table: max(c.table, 0)}
	if c.file.src.named() {
		l.Row = 0
	}
	for _, col := range c.head.columns[:min(len(c.head.columns), lineCells)] {
		name := ""
		if col.field >= 0 {
			name = c.all[col.field].Name
		}
		l.Cells, l.Fields = append(l.Cells, shorten(col.heading)), append(l.Fields, name)
	}
	if n := len(c.report.heads); n > 0 && c.report.heads[n-1].table == l.table {
		c.report.heads[n-1] = l // a file of objects that brought a new name
		return
	}
	c.report.heads = append(c.report.heads, l)
}

func shorten(s string) string {
	n := 0
	for i := range s {
		if n++; n > lineRunes {
			return s[:i] + "…"
		}
	}
	return s
}

// Lines reads a file again and returns its headers and the first limit rows that
// have findings, in the order of the file.
func Lines(ctx context.Context, in *File, r *Report, limit int) ([]Line, error) {
	wanted := map[Place]bool{}
	heads := map[int]*Line{}
	for i := range r.heads {
		heads[r.heads[i].table] = &r.heads[i]
	}
	for _, f := range r.found {
		at := Place{f.table, f.line}
		if h := heads[f.table]; (h == nil || h.Row != f.line) && !wanted[at] && len(wanted) < limit {
			wanted[at] = true
		}
	}
	out := []Line{}
	shown := map[int]bool{}
	head := func(table int) {
		if h := heads[table]; h != nil && !shown[table] {
			shown[table] = true
			out = append(out, *h)
		}
	}
	if len(wanted) > 0 {
		src, _, err := openSource(in.f, in.Size)
		if err != nil {
			return nil, err
		}
		defer func() { _ = src.close() }() // it was only read
		var one row
		for left := len(wanted); left > 0; {
			err := src.next(&one)
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return nil, err
			}
			if !wanted[Place{one.table, one.line}] {
				continue
			}
			left--
			head(one.table)
			out = append(out, in.line(&one, heads[one.table], r))
		}
	}
	for i := range r.heads {
		head(r.heads[i].table)
	}
	return out, nil
}

// line puts a row's cells into text; a date that is a serial number is written
// as the date.
func (f *File) line(r *row, head *Line, report *Report) Line {
	l := Line{Sheet: r.sheet, Row: r.line, Cells: make([]string, 0, len(r.cells))}
	for i := range r.cells[:min(len(r.cells), lineCells)] {
		c := &r.cells[i]
		text := c.text
		if c.kind == numberCell && head != nil && i < len(head.Fields) {
			if at := report.spec.Index(head.Fields[i]); at >= 0 {
				if t, ambiguous := numberText(c, &report.spec.All()[at], f.date1904); !ambiguous {
					text = t
				}
			}
		}
		l.Cells = append(l.Cells, shorten(validText(text)))
	}
	return l
}
