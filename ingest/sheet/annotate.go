package sheet

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/xuri/excelize/v2"

	"github.com/duiwu/duiwu/internal/feed"
)

// The bounds of an annotated copy: it is a file for a person to mend by hand,
// and the library that writes it holds all of it.
const (
	annotateBytes    = 64 << 20 // of the workbook once unpacked
	annotateRows     = 50_000
	annotateCells    = 20_000
	annotateComments = 2_000
)

// ErrAnnotate says that a file is too large for an annotated copy.
var ErrAnnotate = errors.New("cannot annotate: the file is too large for a copy to be mended by hand; use --json")

// Annotate writes a copy of the file as a workbook in which every cell with a
// finding is coloured and says in a comment what is wrong. A file that is no
// workbook becomes one, all of its cells text. The input is never written to.
func Annotate(in *File, r *Report, out string) (err error) {
	if o, err := os.Stat(out); err == nil {
		if i, err := os.Stat(in.Path); err == nil && os.SameFile(i, o) {
			return errors.New("cannot annotate: the copy would overwrite the file itself; give another name")
		}
	}
	var book *excelize.File
	if in.Format == XLSX {
		book, err = openForNotes(in)
	} else {
		book, err = copyAsBook(in, r)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, book.Close()) }()
	if err := note(book, in, r); err != nil {
		return fmt.Errorf("cannot annotate: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(out), ".duiwu-*.xlsx")
	if err != nil {
		return fmt.Errorf("cannot write the annotated copy: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	if err := book.Write(tmp); err != nil {
		_ = tmp.Close() // it is thrown away
		return fmt.Errorf("cannot write the annotated copy: %w", err)
	}
	if err := tmp.Close(); err != nil {
		return fmt.Errorf("cannot write the annotated copy: %w", err)
	}
	if err := os.Rename(tmp.Name(), out); err != nil {
		return fmt.Errorf("cannot write the annotated copy: %w", err)
	}
	return nil
}

func openForNotes(in *File) (*excelize.File, error) {
	var total uint64
	for _, p := range in.src.(*xlsxSource).parts {
		total += p.UncompressedSize64
	}
	if total > annotateBytes {
		return nil, ErrAnnotate
	}
	book, err := excelize.OpenReader(io.NewSectionReader(in.f, 0, in.Size), excelize.Options{UnzipSizeLimit: 2 * annotateBytes, UnzipXMLSizeLimit: 2 * annotateBytes})
	if err != nil {
		return nil, fmt.Errorf("cannot annotate: %w", err)
	}
	return book, nil
}

// copyAsBook reads the file again and writes its cells as text.
func copyAsBook(in *File, r *Report) (*excelize.File, error) {
	src, _, err := openSource(in.f, in.Size)
	if err != nil {
		return nil, err
	}
	defer func() { _ = src.close() }() // it was only read
	book := excelize.NewFile()
	fail := func(err error) (*excelize.File, error) {
		_ = book.Close() // it is thrown away
		return nil, err
	}
	const name = "Sheet1"
	head := 0
	var rows [][]any
	var at []int
	var one row
	for {
		err := src.next(&one)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fail(err)
		}
		if len(rows) == annotateRows {
			return fail(ErrAnnotate)
		}
		cells := make([]any, len(one.cells))
		for i, c := range one.cells {
			t := c.text
			if runes := []rune(t); len(runes) > excelize.TotalCellChars {
				t = string(runes[:excelize.TotalCellChars])
			}
			cells[i] = t
		}
		rows, at = append(rows, cells), append(at, one.line)
	}
	if src.named() {
		head = 1
		names := make([]any, 0, len(src.names()))
		for _, n := range src.names() {
			names = append(names, n)
		}
		if err := book.SetSheetRow(name, "A1", &names); err != nil {
			return fail(err)
		}
	}
	for i, cells := range rows {
		if err := book.SetSheetRow(name, fmt.Sprintf("A%d", at[i]+head), &cells); err != nil {
			return fail(err)
		}
	}
	return book, nil
}

// note colours cells and adds comments.
func note(book *excelize.File, in *File, r *Report) error {
	styles := map[int]int{}
	colour := func(old int, severity feed.Severity) (int, error) {
		key := old*2 + int(severity)
		if s, ok := styles[key]; ok {
			return s, nil
		}
		st, err := book.GetStyle(old)
		if err != nil || st == nil {
			st = &excelize.Style{}
		}
		fill := "FFC7CE"
		if severity == feed.Warning {
			fill = "FFEB9C"
		}
		st.Fill = excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{fill}}
		s, err := book.NewStyle(st)
		if err != nil {
			return 0, err
		}
		styles[key] = s
		return s, nil
	}
	type place struct {
		sheet, cell string
	}
	var order []place
	texts := map[place][]string{}
	worst := map[place]feed.Severity{}
	for i := range r.found {
		f := &r.found[i]
		w := r.words(f)
		p := place{sheet: f.sheet}
		line, column := f.line, max(f.column, 0)
		if in.src.named() {
			p.sheet, line = "Sheet1", f.line+1
			for j, n := range in.src.names() {
				if n == w.Field {
					column = j
				}
			}
		} else if in.Format != XLSX {
			p.sheet = "Sheet1"
		}
		if line < 1 || line > excelize.TotalRows {
			continue
		}
		p.cell = fmt.Sprintf("%s%d", ColumnName(column), line)
		if texts[p] == nil {
			if len(order) == annotateCells {
				continue
			}
			order = append(order, p)
			worst[p] = feed.Warning
		}
		if f.rule.Severity() == feed.Error {
			worst[p] = feed.Error
		}
		texts[p] = append(texts[p], "["+w.Rule+"] "+w.MessageZh+"\n"+w.MessageEn)
	}
	for n, p := range order {
		old, err := book.GetCellStyle(p.sheet, p.cell)
		if err != nil {
			return err
		}
		s, err := colour(old, worst[p])
		if err != nil {
			return err
		}
		if err := book.SetCellStyle(p.sheet, p.cell, p.cell, s); err != nil {
			return err
		}
		if n >= annotateComments {
			continue
		}
		text := strings.Join(texts[p], "\n")
		if err := book.AddComment(p.sheet, excelize.Comment{Cell: p.cell, Author: "duiwu", Paragraph: []excelize.RichTextRun{{Text: text}}, Width: 360, Height: 120}); err != nil {
			return err
		}
	}
	return nil
}
