package sheet

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/duiwu/duiwu/ingest/mapping"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/value"
)

const (
	// surveyRows is how many rows of a table a proposal looks at.
	surveyRows = 2000
	// surveyWords is how many different values of a column are counted.
	surveyWords = 400
)

// table is what a survey learns of one table. It holds values; what is made of
// it decides which of them may be seen.
type table struct {
	sheet   string
	line    int // of the header
	columns []surveyed
	rows    int
	score   int
}

// surveyed is what a survey learns of one column.
type surveyed struct {
	heading string
	filled  int
	// reads counts, for each field of Spec.All, the values that read as one of it.
	reads []int
	// words counts the values that repeat; it is nil beyond surveyWords.
	words map[string]int
	// Of values such as 3/4/2016: how many, and whose first and second part is
	// over 12.
	slashed, firstOver, secondOver int
	// Of numbers without a unit: how many, with decimals, and how large.
	bare, decimals int
	amounts        []float64
}

// surveyFile reads a file's first rows and chooses the table that is most like the
// feed's.
func surveyFile(ctx context.Context, f *File, cat *feed.Catalogue, spec *feed.Spec, today int32) (*table, error) {
	m := newMatcher(spec, nil)
	m.loosen()
	var best, now *table
	var ahead []row
	at, date1904, searched := -1, false, false
	hidden := map[int]bool{}
	if x, ok := f.src.(*xlsxSource); ok {
		date1904 = x.date1904
		for i, w := range x.sheets {
			hidden[i] = w.hidden
		}
	}
	begin := func() {
		if len(ahead) == 0 {
			return
		}
		t, next, ok := headerOf(m, ahead)
		if ok && (best == nil || t.score > best.score) {
			now, best = t, t
			for _, r := range ahead[next:] {
				now.take(&r, cat, spec, today, date1904)
			}
		}
		ahead = nil
	}
	var r row
	for {
		err := f.src.next(&r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if f.src.named() {
			if now == nil {
				now = &table{line: r.line}
				best = now
			}
			for _, name := range f.src.names()[len(now.columns):] {
				now.columns = append(now.columns, newSurveyed(name, spec))
			}
			if now.rows == surveyRows {
				break
			}
			now.take(&r, cat, spec, today, date1904)
			continue
		}
		if r.table != at {
			begin()
			at, now, searched = r.table, nil, false
		}
		switch {
		case now != nil && now.rows == surveyRows:
			x, ok := f.src.(*xlsxSource)
			if !ok {
				return now, nil // it has one table only
			}
			x.skip()
		case now != nil:
			now.take(&r, cat, spec, today, date1904)
		case !searched && (!hidden[r.table] || best == nil):
			held := r
			held.cells = slices.Clone(r.cells)
			if ahead = append(ahead, held); len(ahead) == headRows {
				begin()
				searched = true
			}
		}
	}
	begin()
	if best == nil || len(best.columns) == 0 {
		return nil, unusable("没有找到表头：前 40 行里没有一行像是列名。", "No header was found: none of the first 40 rows looks like headings.")
	}
	return best, nil
}

func newSurveyed(heading string, spec *feed.Spec) surveyed {
	return surveyed{heading: heading, reads: make([]int, len(spec.All())), words: map[string]int{}}
}

// headerOf finds the header among a table's first rows: by the headings that are
// known, else the first row of nothing but words above a row with values. Rows of
// data must never pass for headings, since headings are printed.
func headerOf(m *matcher, rows []row) (*table, int, bool) {
	h, next, ok := m.find(rows)
	if ok && h.total >= 2 {
		t := &table{sheet: rows[0].sheet, line: h.line, score: 10 * h.matched}
		for _, c := range h.columns {
			t.columns = append(t.columns, newSurveyed(c.heading, m.spec))
		}
		return t, next, true
	}
	for i := range rows[:max(len(rows)-1, 0)] {
		words, values := wordsAndValues(rows[i].cells)
		_, below := wordsAndValues(rows[i+1].cells)
		if words < 2 || values > 0 || below == 0 {
			continue
		}
		t := &table{sheet: rows[i].sheet, line: rows[i].line, score: 1}
		for _, c := range rows[i].cells {
			t.columns = append(t.columns, newSurveyed(strings.TrimSpace(c.text), m.spec))
		}
		return t, i + 1, true
	}
	return nil, 0, false
}

// wordsAndValues counts the different words of a row and the cells that hold a
// digit: no heading of a form has one, and few rows of data have none.
func wordsAndValues(cells []cell) (words, values int) {
	seen := map[string]bool{}
	for _, c := range cells {
		t := strings.TrimSpace(c.text)
		switch {
		case t == "":
		case c.kind != textCell || strings.IndexFunc(t, unicode.IsDigit) >= 0:
			values++
		case !seen[t]:
			seen[t] = true
			words++
		}
	}
	return words, values
}

// take counts what one row shows.
func (t *table) take(r *row, cat *feed.Catalogue, spec *feed.Spec, today int32, date1904 bool) {
	if t.rows == surveyRows || footer(r.cells) {
		return
	}
	t.rows++
	all := spec.All()
	for i := range r.cells {
		cl := &r.cells[i]
		if i >= len(t.columns) || strings.TrimSpace(cl.text) == "" || cl.kind == nestedCell || cl.kind == errorCell {
			continue
		}
		s := &t.columns[i]
		s.filled++
		s.count(cl)
		slashed := s.date(cl.text)
		for k := range all {
			f := &all[k]
			text := cl.text
			if cl.kind == numberCell {
				text, _ = numberText(cl, f, date1904)
			}
			switch f.Kind.Kind {
			case feed.Text, feed.Key, feed.Secret, feed.Subject:
				continue // anything reads as one
			case feed.Date, feed.Birth, feed.Time:
				if slashed {
					s.reads[k]++
					continue
				}
			case feed.PersonName:
				if nameLike(text) {
					s.reads[k]++
				}
				continue
			case feed.Money, feed.Pay:
				if plainNumber(text) {
					text += "元"
				}
			}
			if _, rule := value.Canonical(nil, []byte(text), f, cat, today); rule == feed.NoRule {
				s.reads[k]++
			}
		}
	}
}

// count keeps the values of a column that repeat, and the size of its numbers.
func (s *surveyed) count(cl *cell) {
	text := strings.TrimSpace(cl.text)
	if s.words != nil {
		if len(text) <= 64 {
			s.words[text]++
		}
		if len(s.words) > surveyWords {
			s.words = nil
		}
	}
	if plainNumber(text) {
		s.bare++
		if strings.Contains(text, ".") {
			s.decimals++
		}
		if v, ok := number(text); ok {
			s.amounts = append(s.amounts, v)
		}
	}
}

// date counts a date that does not begin with its year.
func (s *surveyed) date(text string) bool {
	// The two orders agree on which values are such dates and differ in which of
	// them they can read.
	one, two := mapping.Column{Dates: "dmy"}, mapping.Column{Dates: "mdy"}
	dmy, mdy := one.Date(text), two.Date(text)
	if dmy == text && mdy == text {
		return false
	}
	s.slashed++
	if mdy == text {
		s.firstOver++
	}
	if dmy == text {
		s.secondOver++
	}
	return true
}

// surnames begin most names of Han people.
const surnames = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任卢姚沈钟姜崔谭陆范汪廖石金韦贾夏付方邹熊白孟秦邱侯江尹薛闫段雷龙黎史陶贺毛郝顾龚邵万覃武钱戴严莫孔向汤"

// nameLike says that a text has the shape of a person's name. It is used to say
// what a column is, and to keep a value from being shown.
func nameLike(text string) bool {
	text = strings.TrimSpace(text)
	n, dot := 0, false
	for _, r := range text {
		switch {
		case unicode.Is(unicode.Han, r):
			n++
		case strings.ContainsRune("·•・．", r) && n > 0:
			dot = true
		default:
			return false
		}
	}
	if dot {
		return n >= 3 && n <= 20
	}
	return n >= 2 && n <= 4 && strings.ContainsRune(surnames, []rune(text)[0])
}
