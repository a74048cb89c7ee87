// Package template writes the workbook that a clerk fills in: one sheet for the
// records of a feed, one of instructions, one of code lists. It is made from the
// feed file; package ingest/sheet reads it back.
package template

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/xuri/excelize/v2"

	"github.com/duiwu/duiwu/ingest/sheet"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/value"
)

const (
	helpSheet  = "填报说明"
	listsSheet = "代码表"
	// ExampleLine is the line of the example row.
	ExampleLine = 3
	// lastLine is how far down formats and validations reach.
	lastLine = 20_000
)

// made is the date that the workbook says it was made on: the same feed gives
// the same bytes.
var made = time.Date(2016, 11, 11, 0, 0, 0, 0, time.UTC)

type writer struct {
	cat  *feed.Catalogue
	spec *feed.Spec
	book *excelize.File
	data string

	text, date, number, head, needed, example, exampleDate, wrap, title int
}

// Write writes the template of a feed.
func Write(w io.Writer, cat *feed.Catalogue, spec *feed.Spec) (err error) {
	t := &writer{cat: cat, spec: spec, book: excelize.NewFile(), data: sheetName(spec.Zh)}
	defer func() {
		if e := t.book.Close(); err == nil {
			err = e
		}
	}()
	for _, step := range []func() error{t.styles, t.records, t.lists, t.help} {
		if err := step(); err != nil {
			return fmt.Errorf("cannot make the template of feed %s: %w", spec.Feed, err)
		}
	}
	when := made.Format(time.RFC3339)
	if err := t.book.SetDocProps(&excelize.DocProperties{Creator: "duiwu", LastModifiedBy: "duiwu", Created: when, Modified: when, Title: spec.Zh, Identifier: spec.Feed}); err != nil {
		return err
	}
	t.book.SetActiveSheet(0)
	return t.book.Write(w)
}

// sheetName drops what a sheet's name cannot hold.
func sheetName(s string) string {
	s = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`:\/?*[]`, r) {
			return '_'
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 31 {
		s = string(r[:31])
	}
	return s
}

func (t *writer) styles() error {
	var err error
	style := func(s *excelize.Style) int {
		id, e := t.book.NewStyle(s)
		if e != nil && err == nil {
			err = e
		}
		return id
	}
	dateFmt := "yyyy-mm-dd"
	grey := &excelize.Font{Color: "808080", Italic: true}
	fill := func(c string) excelize.Fill {
		return excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{c}}
	}
	mid := &excelize.Alignment{Horizontal: "center", Vertical: "center", WrapText: true}
	t.text = style(&excelize.Style{NumFmt: 49})
	t.date = style(&excelize.Style{CustomNumFmt: &dateFmt})
	t.number = style(&excelize.Style{NumFmt: 0})
	t.head = style(&excelize.Style{NumFmt: 49, Font: &excelize.Font{Bold: true}, Fill: fill("DDEBF7"), Alignment: mid})
	t.needed = style(&excelize.Style{NumFmt: 49, Font: &excelize.Font{Bold: true, Color: "C00000"}, Fill: fill("FCE4D6"), Alignment: mid})
	t.example = style(&excelize.Style{NumFmt: 49, Font: grey})
	t.exampleDate = style(&excelize.Style{CustomNumFmt: &dateFmt, Font: grey})
	t.wrap = style(&excelize.Style{NumFmt: 49, Alignment: &excelize.Alignment{WrapText: true, Vertical: "top"}})
	t.title = style(&excelize.Style{Font: &excelize.Font{Bold: true, Size: 14}})
	return err
}

// dated says that a field's cells are real dates. Partial dates are text: a
// spreadsheet would make a day of a month.
func dated(f *feed.Field) bool {
	return (f.Kind.Kind == feed.Date || f.Kind.Kind == feed.Birth) && !f.Partial
}

func numeric(f *feed.Field) bool {
	return f.Kind.Kind == feed.Integer || f.Kind.Kind == feed.Tenths
}

// records writes the sheet to fill in: a title, the header, the example.
func (t *writer) records() error {
	if err := t.book.SetSheetName("Sheet1", t.data); err != nil {
		return err
	}
	last := sheet.ColumnName(len(t.spec.Fields) - 1)
	if err := t.book.SetCellStr(t.data, "A1", t.spec.Zh+" "+t.spec.En+"（红色为必填，灰色为示例行，不计入数据 red: required; grey: an example, never counted）"); err != nil {
		return err
	}
	if err := t.book.SetCellStyle(t.data, "A1", "A1", t.title); err != nil {
		return err
	}
	example := sheet.Example(t.cat, t.spec)
	lists := t.listColumns()
	for i := range t.spec.Fields {
		f := &t.spec.Fields[i]
		col := sheet.ColumnName(i)
		body, ex := t.text, t.example
		switch {
		case dated(f):
			body, ex = t.date, t.exampleDate
		case numeric(f):
			body = t.number
		}
		if err := t.book.SetColStyle(t.data, col, body); err != nil {
			return err
		}
		if err := t.book.SetColWidth(t.data, col, col, t.width(f)); err != nil {
			return err
		}
		heading, head := f.Zh, t.head
		if f.Required {
			heading, head = f.Zh+"*", t.needed
		}
		cell := col + "2"
		if err := t.book.SetCellStr(t.data, cell, heading); err != nil {
			return err
		}
		if err := t.book.SetCellStyle(t.data, cell, cell, head); err != nil {
			return err
		}
		cell = fmt.Sprintf("%s%d", col, ExampleLine)
		var err error
		if day, e := time.Parse(time.DateOnly, example[i]); dated(f) && e == nil {
			err = t.book.SetCellValue(t.data, cell, day)
		} else {
			err = t.book.SetCellStr(t.data, cell, example[i])
		}
		if err != nil {
			return err
		}
		if err := t.book.SetCellStyle(t.data, cell, cell, ex); err != nil {
			return err
		}
		if err := t.validation(f, col, lists[f.List]); err != nil {
			return err
		}
	}
	// The title above must not take the columns' formats.
	if err := t.book.SetRowHeight(t.data, 2, 32); err != nil {
		return err
	}
	if err := t.book.SetPanes(t.data, &excelize.Panes{Freeze: true, YSplit: 2, TopLeftCell: "A3", ActivePane: "bottomLeft"}); err != nil {
		return err
	}
	if err := t.book.AutoFilter(t.data, "A2:"+last+"2", nil); err != nil {
		return err
	}
	return t.onPaper(t.data) // a filter takes the sheet's properties away
}

// width is that of a field's column, in Latin letters: a name of a list is to be read
// where it was chosen.
func (t *writer) width(f *feed.Field) float64 {
	longest := len([]rune(f.Zh)) + 1
	switch f.Kind.Kind {
	case feed.ResidentID, feed.CreditCode, feed.Subject:
		return 22
	case feed.Text:
		return 28
	}
	if l := t.cat.List(f.List); l != nil && f.Kind.Kind == feed.Code {
		for _, e := range l.Entries {
			longest = max(longest, min(len([]rune(e.Zh)), 14))
		}
	}
	return max(12, float64(2*longest+2))
}

// listColumns says in which column of the list sheet each list stands.
func (t *writer) listColumns() map[string]string {
	out := map[string]string{}
	for i := range t.spec.Fields {
		if l := t.spec.Fields[i].List; l != "" && out[l] == "" && t.spec.Fields[i].Kind.Kind != feed.Pay {
			out[l] = sheet.ColumnName(2 * len(out))
		}
	}
	return out
}

// validation makes a spreadsheet refuse or question what the feed would refuse.
func (t *writer) validation(f *feed.Field, col, list string) error {
	dv := excelize.NewDataValidation(true)
	dv.SetSqref(fmt.Sprintf("%s%d:%s%d", col, ExampleLine, col, lastLine))
	prompt := f.Doc.Zh + f.Kind.Info().DocZh
	var err error
	style := excelize.DataValidationErrorStyleStop
	switch {
	case f.Kind.Kind == feed.Code && list != "":
		n := len(t.cat.List(f.List).Entries)
		dv.SetSqrefDropList(fmt.Sprintf("'%s'!$%s$3:$%s$%d", listsSheet, list, list, n+2))
		prompt = "请从下拉列表中选择，也可填写代码。 Choose from the list, or write the code."
		// A code typed by hand is fine too, so the list only asks.
		style = excelize.DataValidationErrorStyleWarning
	case dated(f):
		err = dv.SetRange("DATE(1900,3,1)", "DATE(2299,12,31)", excelize.DataValidationTypeDate, excelize.DataValidationOperatorBetween)
		prompt = "日期，例如 2016-11-11。 A date, such as 2016-11-11."
	case f.Kind.Kind == feed.Integer:
		err = dv.SetRange(bound(f.Min, -2147483648, 1), bound(f.Max, 2147483647, 1), excelize.DataValidationTypeWhole, excelize.DataValidationOperatorBetween)
	case f.Kind.Kind == feed.Tenths:
		err = dv.SetRange(bound(f.Min, -2147483648, 10), bound(f.Max, 2147483647, 10), excelize.DataValidationTypeDecimal, excelize.DataValidationOperatorBetween)
	case f.Kind.Kind == feed.ResidentID, f.Kind.Kind == feed.CreditCode:
		err = dv.SetRange(15, 18, excelize.DataValidationTypeTextLength, excelize.DataValidationOperatorBetween)
		if f.Kind.Kind == feed.CreditCode {
			err = dv.SetRange(18, 18, excelize.DataValidationTypeTextLength, excelize.DataValidationOperatorBetween)
		}
		style = excelize.DataValidationErrorStyleWarning
	case f.Kind.Kind == feed.Mobile:
		err = dv.SetRange(11, 11, excelize.DataValidationTypeTextLength, excelize.DataValidationOperatorBetween)
		style = excelize.DataValidationErrorStyleWarning
	case f.Kind.Kind == feed.Division:
		err = dv.SetRange(6, 6, excelize.DataValidationTypeTextLength, excelize.DataValidationOperatorBetween)
		style = excelize.DataValidationErrorStyleWarning
	case f.Kind.Kind == feed.Bool:
		err = dv.SetDropList([]string{"是", "否"})
	default:
		return nil
	}
	if err != nil {
		return err
	}
	dv.SetError(style, cut(f.Zh, 30), "请按填报说明填写。 See the sheet of instructions.")
	dv.SetInput(cut(f.Zh, 30), cut(prompt, 200))
	return t.book.AddDataValidation(t.data, dv)
}

func bound(v *int64, open int64, scale float64) float64 {
	if v == nil {
		return float64(open)
	}
	return float64(*v) / scale
}

func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}

// lists writes the code lists, name and code, a pair of columns each.
func (t *writer) lists() error {
	if _, err := t.book.NewSheet(listsSheet); err != nil {
		return err
	}
	for name, col := range t.listColumns() {
		first, err := excelize.ColumnNameToNumber(col)
		if err != nil {
			return err
		}
		put := func(line int, zh, code string) error {
			for j, v := range []string{zh, code} {
				cell, err := excelize.CoordinatesToCellName(first+j, line)
				if err != nil {
					return err
				}
				if err := t.book.SetCellStr(listsSheet, cell, v); err != nil {
					return err
				}
				if err := t.book.SetCellStyle(listsSheet, cell, cell, t.text); err != nil {
					return err
				}
			}
			return nil
		}
		if err := put(1, "代码表 "+name, ""); err != nil {
			return err
		}
		if err := put(2, "选项", "代码值"); err != nil {
			return err
		}
		for i, e := range t.cat.List(name).Entries {
			if err := put(3+i, e.Zh, e.Code); err != nil {
				return err
			}
		}
		if err := t.book.SetColWidth(listsSheet, col, col, 24); err != nil {
			return err
		}
	}
	return nil
}

// help writes the instructions in both languages.
func (t *writer) help() error {
	if _, err := t.book.NewSheet(helpSheet); err != nil {
		return err
	}
	due := t.spec.DueText()
	lines := [][]string{
		{t.spec.Zh + " " + t.spec.En},
		{t.spec.Doc.Zh, t.spec.Doc.En},
		{"报送时限：" + due.Zh + "。", "Due: " + due.En + "."},
		{"一行一条记录，从第 3 行开始填写；第 3 行是示例，原样保留或删除都不计入。", "One record a row, from row 3 on. Row 3 is an example; left or removed, it is never counted."},
		{"请勿改动表头；红色表头必填。号码列已设为文本，请勿改为数字，否则末位会丢失。", "Leave the header as it is; red headings are required. Columns of numbers of persons and organisations are text: made a number, they lose their last digits."},
		{"金额写明单位（3500元、1.2万元）；不写单位的整数按分计。", "Write amounts with their unit (3500元, 1.2万元); a bare whole number is in fen."},
		{"请用数值而不是公式填写；合并单元格请先取消合并。", "Paste values, not formulas; unmerge merged cells."},
		{"填好后运行：duiwu check 文件 --feed " + t.spec.Feed + " --unit 单位代码 --as-of 生效日期", "Then run: duiwu check FILE --feed " + t.spec.Feed + " --unit CODE --as-of DATE"},
		nil,
		{"列", "字段", "必填", "填写要求", "field", "how to write it"},
	}
	for i := range t.spec.Fields {
		f := &t.spec.Fields[i]
		need := ""
		if f.Required {
			need = "必填 required"
		}
		zh := f.Doc.Zh + f.Kind.Info().DocZh
		if f.List != "" && f.Kind.Kind != feed.Pay {
			zh += "代码见“" + listsSheet + "”中的 " + f.List + "。"
		}
		if f.Partial {
			zh += "可只填年月或年份。"
		}
		en := strings.TrimSpace(f.Doc.En + " " + f.Kind.Info().Doc)
		lines = append(lines, []string{sheet.ColumnName(i), "〖" + f.Zh + "〗", need, zh, f.Kind.String() + ": " + f.Name, en})
	}
	widths := []float64{8, 26, 14, 60, 30, 80}
	for i, line := range lines {
		high := 1
		for j, v := range line {
			if len(line) > 2 {
				high = max(high, int(math.Ceil(float64(value.Width(v))/widths[j])))
			}
			cell, err := excelize.CoordinatesToCellName(j+1, i+1)
			if err != nil {
				return err
			}
			if len(line) == 2 && j == 1 {
				cell, err = excelize.CoordinatesToCellName(6, i+1)
			}
			if err != nil {
				return err
			}
			if err := t.book.SetCellStr(helpSheet, cell, v); err != nil {
				return err
			}
			if len(line) > 2 {
				style := t.wrap
				if line[0] == "列" {
					style = t.head
				}
				if err := t.book.SetCellStyle(helpSheet, cell, cell, style); err != nil {
					return err
				}
			}
		}
		// Not every program that opens it makes room for a second line.
		if err := t.book.SetRowHeight(helpSheet, i+1, 15*float64(high)); err != nil {
			return err
		}
	}
	for j, w := range widths {
		col := sheet.ColumnName(j)
		if err := t.book.SetColWidth(helpSheet, col, col, w); err != nil {
			return err
		}
	}
	if err := t.book.SetCellStyle(helpSheet, "A1", "A1", t.title); err != nil {
		return err
	}
	return t.onPaper(helpSheet)
}

// onPaper prints a sheet lying, as wide as a page.
func (t *writer) onPaper(name string) error {
	lying, wide, high, yes := "landscape", 1, 0, true
	if err := t.book.SetSheetProps(name, &excelize.SheetPropsOptions{FitToPage: &yes}); err != nil {
		return err
	}
	return t.book.SetPageLayout(name, &excelize.PageLayoutOptions{Orientation: &lying, FitToWidth: &wide, FitToHeight: &high})
}
