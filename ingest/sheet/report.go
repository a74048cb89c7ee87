package sheet

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/value"
)

// Report says what in a file falls short. It holds no value of any cell.
type Report struct {
	Feed           string
	Rows, Accepted int
	// Derived counts the rows whose record id was made from the natural key.
	Derived int
	// Counts counts every finding by rule, Notes says what was read in a way
	// that a person should know.
	Counts map[feed.Rule]int
	Notes  []feed.Lingual
	// Total counts all findings; those beyond Options.MaxFindings are counted only.
	Total int
	// Effective is the effective_from of rows that say none.
	Effective string

	spec   *feed.Spec
	heads  []Line
	max    int
	found  []finding
	sheets map[int]string
	// letters says that columns have letters.
	letters bool
}

// Finding is one broken rule at one place, as `duiwu check --json` prints it.
type Finding struct {
	Sheet     string `json:"sheet"`
	Row       int    `json:"row"`
	Column    string `json:"column"`
	Field     string `json:"field"`
	Rule      string `json:"rule"`
	Severity  string `json:"severity"`
	MessageZh string `json:"message_zh"`
	MessageEn string `json:"message_en"`
}

// finding is a Finding before it is put into words.
type finding struct {
	table   int
	sheet   string
	line    int
	column  int // -1: the row or the table
	field   int // position in Spec.All, -1: see heading
	heading string
	rule    feed.Rule
	// missing says that the table has no such column.
	missing bool
	// otherLine is where the same key stood first.
	otherSheet string
	otherLine  int
}

func (r *Report) add(f finding) {
	r.Total++
	r.Counts[f.rule]++
	if len(r.found) < r.max {
		r.found = append(r.found, f)
	}
}

// drop takes back the findings of the row at hand.
func (r *Report) drop(p position) {
	for n := len(r.found); n > 0 && r.found[n-1].table == p.table && r.found[n-1].line == p.line; n-- {
		r.Total--
		r.Counts[r.found[n-1].rule]--
		r.found = r.found[:n-1]
	}
}

const (
	badPlace  = 1 << 63
	tableBits = 40
)

// place packs where a row stands, and whether it was refused.
func (r *Report) place(p position, bad bool) uint64 {
	if r.sheets == nil {
		r.sheets = map[int]string{}
	}
	if _, ok := r.sheets[p.table]; !ok {
		r.sheets[p.table] = p.sheet
	}
	v := uint64(p.table)<<tableBits | uint64(p.line)
	if bad {
		v |= badPlace
	}
	return v
}

func (r *Report) at(place uint64) (position, bool) {
	table := int(place &^ badPlace >> tableBits)
	return position{table, r.sheets[table], int(place & (1<<tableBits - 1))}, place&badPlace != 0
}

func (r *Report) finish() {
	slices.SortStableFunc(r.found, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
}

// Clean says that nothing was found.
func (r *Report) Clean() bool { return r.Total == 0 }

// Truncated says how many findings were counted only.
func (r *Report) Truncated() int { return r.Total - len(r.found) }

// Findings calls fn with every finding in the order of the file until it
// returns false.
func (r *Report) Findings(fn func(Finding) bool) {
	for i := range r.found {
		if !fn(r.words(&r.found[i])) {
			return
		}
	}
}

func (r *Report) words(f *finding) Finding {
	info := f.rule.Info()
	out := Finding{Sheet: f.sheet, Row: f.line, Rule: info.ID, Severity: info.Severity.String()}
	zh, en := f.heading, f.heading
	if f.field >= 0 {
		field := &r.spec.All()[f.field]
		out.Field, zh, en = field.Name, field.Zh, field.En
	} else {
		out.Field = f.heading
	}
	if f.column >= 0 && r.letters {
		out.Column = ColumnName(f.column)
		if zh == "" {
			zh, en = out.Column+" 列", "column "+out.Column
		}
	}
	if zh == "" {
		zh, en = "该记录", "the record"
	}
	out.MessageZh = strings.ReplaceAll(info.Zh, "{field}", zh)
	out.MessageEn = strings.ReplaceAll(info.En, "{field}", en)
	switch {
	case f.missing:
		out.MessageZh += "（表中没有这一列，请补上。）"
		out.MessageEn += " (The table has no such column; add it.)"
	case f.otherLine > 0 && f.otherSheet != "":
		out.MessageZh += fmt.Sprintf("（另见“%s”第 %d 行。）", f.otherSheet, f.otherLine)
		out.MessageEn += fmt.Sprintf(" (See sheet %s, row %d.)", f.otherSheet, f.otherLine)
	case f.otherLine > 0:
		out.MessageZh += fmt.Sprintf("（另见第 %d 行。）", f.otherLine)
		out.MessageEn += fmt.Sprintf(" (See row %d.)", f.otherLine)
	}
	return out
}

// WriteJSON prints the report for machines, one finding a line. The key
// "truncated" stands only where findings were counted and not kept.
func (r *Report) WriteJSON(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, `{"feed":%q,"rows":%d,"accepted":%d,"findings":[`, r.Feed, r.Rows, r.Accepted)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	first := true
	var err error
	r.Findings(func(f Finding) bool {
		if !first {
			_ = b.WriteByte(',') // bufio keeps the error for Flush
		} else {
			_ = b.WriteByte('\n')
		}
		first = false
		err = enc.Encode(f)
		return err == nil
	})
	if err != nil {
		return err
	}
	_, _ = b.WriteString("]")
	if n := r.Truncated(); n > 0 {
		fmt.Fprintf(b, `,"truncated":%d`, n)
	}
	_, _ = b.WriteString("}\n")
	return b.Flush()
}

// WriteText prints at most limit findings as a table, then the summary.
func (r *Report) WriteText(w io.Writer, limit int) error {
	b := bufio.NewWriter(w)
	head := [4]string{"位置 place", "字段 field", "规则 rule", "级别 severity"}
	var rows [][4]string
	var says [][2]string
	widths := [4]int{}
	for i, h := range head {
		widths[i] = value.Width(h)
	}
	r.Findings(func(f Finding) bool {
		if len(rows) == limit {
			return false
		}
		place := f.Column + strconv.Itoa(f.Row)
		if f.Sheet != "" {
			place = clean(f.Sheet) + "!" + place
		}
		name := f.Field
		if i := r.spec.Index(f.Field); i >= 0 {
			name = r.spec.All()[i].Zh + " " + f.Field
		}
		line := [4]string{place, clean(name), f.Rule, f.Severity}
		for i, c := range line {
			widths[i] = max(widths[i], value.Width(c))
		}
		rows = append(rows, line)
		says = append(says, [2]string{clean(f.MessageZh), clean(f.MessageEn)})
		return true
	})
	if len(rows) > 0 {
		put := func(line [4]string, last string) {
			for i, c := range line {
				_, _ = b.WriteString(c + strings.Repeat(" ", widths[i]-value.Width(c)+2))
			}
			_, _ = b.WriteString(last + "\n")
		}
		put(head, "说明 message")
		for i := range rows {
			put(rows[i], says[i][0])
			put([4]string{}, says[i][1])
		}
		if left := r.Total - len(rows); left > 0 {
			fmt.Fprintf(b, "…… 另有 %d 条，用 --json 查看全部。 %d more; --json lists all.\n", left, left)
		}
		_ = b.WriteByte('\n')
	}
	type count struct {
		rule feed.Rule
		n    int
	}
	var counts []count
	errs, warns := 0, 0
	for rule, n := range r.Counts {
		if n == 0 {
			continue
		}
		counts = append(counts, count{rule, n})
		if rule.Severity() == feed.Error {
			errs += n
		} else {
			warns += n
		}
	}
	slices.SortFunc(counts, func(a, b count) int { return cmp.Or(b.n-a.n, cmp.Compare(a.rule, b.rule)) })
	for _, c := range counts {
		fmt.Fprintf(b, "%8d  %s (%s)\n", c.n, c.rule, c.rule.Severity())
	}
	for _, n := range r.Notes {
		fmt.Fprintf(b, "注意：%s %s\n", n.Zh, n.En)
	}
	fmt.Fprintf(b, "%s：共 %d 行，可入库 %d 行；错误 %d 条，提示 %d 条。\n", r.spec.Zh, r.Rows, r.Accepted, errs, warns)
	fmt.Fprintf(b, "%s: %d rows, %d acceptable; %d errors, %d warnings. effective_from of rows that say none: %s\n", r.Feed, r.Rows, r.Accepted, errs, warns, r.Effective)
	return b.Flush()
}

// clean keeps a text from the file from moving the cursor of a terminal.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7F || c >= 0x80 && c < 0xA0 || c >= 0x202A && c <= 0x202E || c >= 0x2066 && c <= 0x2069 {
			return ' '
		}
		return c
	}, s)
}
