package sheet

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/xuri/excelize/v2"

	"github.com/duiwu/duiwu/internal/feed"
)

// Why is one rule that a row breaks, in one field ("" when it is about the row).
type Why struct{ Field, Rule string }

// reasonHeading heads the column that says why a row came back. Files with it
// are read as if it were not there, so a mended file is pushed as it is.
const reasonHeading = "退回原因"

// Refusals says which rows of the file broke which rules of severity error. Rows
// beyond Options.MaxFindings are not in it.
func (r *Report) Refusals() map[Place][]Why {
	out := map[Place][]Why{}
	for i := range r.found {
		f := &r.found[i]
		if f.rule.Severity() != feed.Error || f.missing {
			continue
		}
		name := ""
		if f.field >= 0 {
			name = r.spec.All()[f.field].Name
		}
		at := Place{f.table, f.line}
		out[at] = append(out[at], Why{name, f.rule.String()})
	}
	return out
}

// Excerpt writes a workbook with those rows of a file that came back: the heading
// as it was, a first column that says why, the cells in question coloured. All
// cells are text, so that nothing is read as another value when it is mended. It
// returns how many rows it wrote. The input is never written to.
func Excerpt(in *File, spec *feed.Spec, why map[Place][]Why, out string) (n int, err error) {
	fail := func(err error) (int, error) {
		return 0, fmt.Errorf("cannot write the rows to mend: %w", err)
	}
	src, _, err := openSource(in.f, in.Size)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = src.close() }() // it was only read
	book := excelize.NewFile()
	defer func() { err = errors.Join(err, book.Close()) }()
	e := &excerpt{book: book, src: src, spec: spec, why: why, match: newMatcher(spec), table: -1}
	if x, ok := src.(*xlsxSource); ok {
		e.date1904 = x.date1904
	}
	if err := e.run(); err != nil {
		return fail(err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(out), ".duiwu-*.xlsx")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	if err := errors.Join(book.Write(tmp), tmp.Close()); err != nil {
		return fail(err)
	}
	if err := os.Rename(tmp.Name(), out); err != nil {
		return fail(err)
	}
	return e.written, nil
}

type excerpt struct {
	book     *excelize.File
	src      source
	spec     *feed.Spec
	why      map[Place][]Why
	match    *matcher
	date1904 bool

	text, bad, reason int // styles
	table             int
	sheets, written   int
	w                 *excelize.StreamWriter
	at                int
	head              *header
	ahead             []row
}

func (e *excerpt) run() (err error) {
	style := func(fill string) int {
		s := &excelize.Style{NumFmt: 49} // text
		if fill != "" {
			s.Fill = excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{fill}}
		}
		id, e := e.book.NewStyle(s)
		err = errors.Join(err, e)
		return id
	}
	e.text, e.bad, e.reason = style(""), style("FFC7CE"), style("FFEB9C")
	if err != nil {
		return err
	}
	var r row
	for {
		err := e.src.next(&r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if r.table != e.table {
			if err := e.end(); err != nil {
				return err
			}
			e.table, e.head, e.ahead = r.table, nil, nil
			if e.src.named() {
				h := header{}
				e.match.columns(&h, e.src.names())
				e.head = &h
				cells := make([]cell, len(e.src.names()))
				for i, n := range e.src.names() {
					cells[i].text = n
				}
				e.ahead = []row{{cells: cells}}
			}
		}
		if e.head == nil {
			held := r
			held.cells = slices.Clone(r.cells)
			if e.ahead = append(e.ahead, held); len(e.ahead) == headRows {
				if err := e.begin(); err != nil {
					return err
				}
			}
			continue
		}
		if err := e.row(&r); err != nil {
			return err
		}
	}
	return e.end()
}

// begin finds the heading among the rows held back.
func (e *excerpt) begin() error {
	h, next, ok := e.match.find(e.ahead)
	if !ok {
		e.head = &header{} // no table: no row of it can have come back
		e.ahead = nil
		return nil
	}
	rows := e.ahead
	e.head, e.ahead = &h, rows[:next]
	for i := next; i < len(rows); i++ {
		if err := e.row(&rows[i]); err != nil {
			return err
		}
	}
	return nil
}

// end closes the sheet of a table.
func (e *excerpt) end() error {
	if e.head == nil && len(e.ahead) > 0 {
		if err := e.begin(); err != nil {
			return err
		}
	}
	if e.w == nil {
		return nil
	}
	err := e.w.Flush()
	e.w = nil
	return err
}

// row writes a row if it came back.
func (e *excerpt) row(r *row) error {
	whys := e.why[Place{r.table, r.line}]
	if len(whys) == 0 {
		return nil
	}
	if e.w == nil {
		if err := e.sheet(r.sheet); err != nil {
			return err
		}
	}
	if e.at >= excelize.TotalRows {
		return errors.New("more rows came back than a spreadsheet holds; mend the source itself")
	}
	broken := map[int]bool{}
	var says []string
	for _, w := range whys {
		zh := "该记录"
		if f := e.spec.Index(w.Field); f >= 0 {
			broken[f] = true
			zh = e.spec.All()[f].Zh
		}
		text := w.Rule
		if rule, ok := feed.RuleNamed(w.Rule); ok {
			text = "[" + w.Rule + "] " + strings.ReplaceAll(rule.Info().Zh, "{field}", zh)
		}
		says = append(says, text)
	}
	line := []any{excelize.Cell{StyleID: e.reason, Value: strings.Join(says, "\n")}}
	for i := range r.cells {
		text, style := r.cells[i].text, e.text
		if i < len(e.head.columns) {
			if f := e.head.columns[i].field; f >= 0 {
				if r.cells[i].kind == numberCell {
					text, _ = numberText(&r.cells[i], &e.spec.All()[f], e.date1904)
				}
				if broken[f] {
					style = e.bad
				}
			}
		}
		line = append(line, excelize.Cell{StyleID: style, Value: short(text)})
	}
	e.written++
	return e.put(line)
}

// sheet begins the sheet of a table with its heading.
func (e *excerpt) sheet(name string) (err error) {
	if name == "" {
		name = "Sheet1"
	}
	if e.sheets == 0 {
		err = e.book.SetSheetName("Sheet1", name)
	} else {
		_, err = e.book.NewSheet(name)
	}
	if err != nil {
		return err
	}
	e.sheets++
	e.at = 0
	if e.w, err = e.book.NewStreamWriter(name); err != nil {
		return err
	}
	if err := e.w.SetColWidth(1, 1, 40); err != nil {
		return err
	}
	for i := range e.ahead {
		first := ""
		if i == len(e.ahead)-1 {
			first = reasonHeading
		}
		line := []any{excelize.Cell{StyleID: e.text, Value: first}}
		for _, c := range e.ahead[i].cells {
			line = append(line, excelize.Cell{StyleID: e.text, Value: short(c.text)})
		}
		if err := e.put(line); err != nil {
			return err
		}
	}
	return nil
}

func (e *excerpt) put(line []any) error {
	e.at++
	at, err := excelize.CoordinatesToCellName(1, e.at)
	if err != nil {
		return err
	}
	return e.w.SetRow(at, line)
}

// short bounds a text to what a cell holds.
func short(s string) string {
	if runes := []rune(s); len(runes) > excelize.TotalCellChars {
		return string(runes[:excelize.TotalCellChars])
	}
	return s
}
