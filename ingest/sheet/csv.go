package sheet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// csvSource reads rows of text. It is written by hand because a library reads a
// quote that never ends to the end of the file, and forgets on which line a
// record with line breaks began.
type csvSource struct {
	t     *text
	comma byte
	line  int
	buf   []byte
	ends  []int // where each cell of the row ends in buf
	wrap  []bool
	cells []cell
	done  bool
}

func newCSV(t *text) (*csvSource, error) {
	s := &csvSource{t: t, comma: ',', line: 1}
	head, err := t.Peek(64 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("cannot read the file: %w", err)
	}
	if rest, ok := strings.CutPrefix(string(head[:min(len(head), 16)]), "sep="); ok && len(rest) > 1 && strings.ContainsRune(",;\t|", rune(rest[0])) {
		// Excel's own first line; it is a line of the file all the same.
		s.comma = rest[0]
		if _, err := t.ReadString('\n'); err != nil {
			return nil, unusable("文件里没有数据行。", "There is no row in the file.")
		}
		s.line++
		return s, nil
	}
	s.comma = separator(head)
	return s, nil
}

// separator is the one of , tab ; | that stands most often outside quotes in
// the line that has most of one: titles above a header have none.
func separator(head []byte) byte {
	best, most := byte(','), 0
	for n, line := range bytes.Split(head, []byte("\n")) {
		if n == 40 {
			break
		}
		var count [256]int
		quoted := false
		for _, c := range line {
			if c == '"' {
				quoted = !quoted
			} else if !quoted {
				count[c]++
			}
		}
		for _, c := range []byte(",\t;|") {
			if count[c] > most {
				best, most = c, count[c]
			}
		}
	}
	return best
}

func (s *csvSource) named() bool     { return false }
func (s *csvSource) names() []string { return nil }
func (s *csvSource) close() error    { return nil }

func (s *csvSource) next(r *row) error {
	if s.done {
		return io.EOF
	}
	first := s.line
	s.buf, s.ends, s.wrap = s.buf[:0], s.ends[:0], s.wrap[:0]
	start, quoted, closed, wrapped := 0, false, false, false
	end := func() {
		s.ends = append(s.ends, len(s.buf))
		s.wrap = append(s.wrap, wrapped)
		start, closed, wrapped = len(s.buf), false, false
	}
	n := 0
	for {
		c, err := s.t.ReadByte()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return fmt.Errorf("cannot read the file: %w", err)
			}
			if quoted {
				return unusable(
					fmt.Sprintf("第 %d 行有一个引号没有结束，其后的内容无法分列。", first),
					fmt.Sprintf("A quote that begins in the row of line %d never ends; what follows cannot be split into cells.", first))
			}
			s.done = true
			if n == 0 {
				return io.EOF
			}
			end()
			break
		}
		n++
		if len(s.buf)-start > MaxCell {
			if quoted && s.line > first {
				return unusable(
					fmt.Sprintf("第 %d 行有一个引号没有结束，其后的内容无法分列。", first),
					fmt.Sprintf("A quote that begins in the row of line %d never ends; what follows cannot be split into cells.", first))
			}
			return cellTooLong("", first, len(s.ends))
		}
		if len(s.buf) > maxRecord || len(s.ends) > MaxColumns {
			return unusable(fmt.Sprintf("第 %d 行过长，不是表格。", first), fmt.Sprintf("Line %d is too long for a table.", first))
		}
		if quoted {
			if c == '"' {
				if b, _ := s.t.Peek(1); len(b) == 1 && b[0] == '"' {
					_, _ = s.t.ReadByte() // it was just seen
					s.buf = append(s.buf, '"')
				} else {
					quoted, closed = false, true
				}
				continue
			}
			if c == '\n' {
				s.line++
			}
			s.buf = append(s.buf, c)
			continue
		}
		switch {
		case c == s.comma:
			end()
		case c == '\n' || c == '\r':
			if c == '\r' {
				if b, _ := s.t.Peek(1); len(b) == 1 && b[0] == '\n' {
					_, _ = s.t.ReadByte() // it was just seen
				}
			}
			s.line++
			end()
			r.table, r.sheet, r.line, r.hidden = 0, "", first, false
			r.cells = s.take()
			return nil
		case c == '"' && !closed && blankBytes(s.buf[start:]):
			s.buf, quoted = s.buf[:start], true
		case c == '"' && !closed && string(s.buf[start:]) == "=":
			// ="0123" is how systems keep a spreadsheet from cutting a number.
			s.buf, quoted, wrapped = s.buf[:start], true, true
		case closed && (c == ' ' || c == '\t'):
		default:
			s.buf = append(s.buf, c)
		}
	}
	r.table, r.sheet, r.line, r.hidden = 0, "", first, false
	r.cells = s.take()
	return nil
}

func (s *csvSource) take() []cell {
	all := validText(string(s.buf))
	s.cells = s.cells[:0]
	if len(all) != len(s.buf) {
		// Mending moved the ends; mend cell by cell.
		from := 0
		for i, to := range s.ends {
			s.cells = append(s.cells, cell{text: validText(string(s.buf[from:to])), form: plainFormula(s.buf[from:to], s.wrap[i])})
			from = to
		}
		return s.cells
	}
	from := 0
	for i, to := range s.ends {
		s.cells = append(s.cells, cell{text: all[from:to], form: plainFormula(s.buf[from:to], s.wrap[i])})
		from = to
	}
	return s.cells
}

// plainFormula says whether a spreadsheet would run a text as a formula.
func plainFormula(b []byte, wrapped bool) formula {
	if wrapped {
		// ="text" is unwrapped above; = and @ inside are formulas again.
		return plainFormula(b, false)
	}
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	if len(b) == 0 {
		return noFormula
	}
	switch b[0] {
	case '=', '@':
		return bareFormula
	case '+', '-':
		// +86 (138)..., -5 and a lone hyphen are no formulas; +cmd|... is, and
		// so is -SUM(...).
		if bytes.ContainsAny(b, "|!") {
			return bareFormula
		}
		if i := bytes.IndexByte(b, '('); i > 0 && (b[i-1]|0x20) >= 'a' && (b[i-1]|0x20) <= 'z' {
			return bareFormula
		}
	}
	return noFormula
}

func blankBytes(b []byte) bool { return len(bytes.TrimSpace(b)) == 0 }
