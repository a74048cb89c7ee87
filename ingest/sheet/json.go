package sheet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// jsonSource reads objects: an array of them, one a line, or one after another.
// An object is cut out of the stream first, so that its size has a bound.
type jsonSource struct {
	t     *text
	array bool
	began bool
	ended bool
	count int
	line  int
	buf   []byte
	keys  []string
	at    map[string]int
	cells []cell
	// nested says that a list or an object stood in the place of a value.
	nested bool
}

func newJSON(t *text) *jsonSource { return &jsonSource{t: t, line: 1, at: map[string]int{}} }

func (s *jsonSource) named() bool     { return true }
func (s *jsonSource) names() []string { return s.keys }
func (s *jsonSource) close() error    { return nil }

func (s *jsonSource) bad() error {
	return unusable(fmt.Sprintf("第 %d 行起不是有效的 JSON。", s.line), fmt.Sprintf("From line %d on this is not JSON.", s.line))
}

// skip returns the next byte that is no white space.
func (s *jsonSource) skip() (byte, error) {
	for {
		c, err := s.t.ReadByte()
		if err != nil {
			return 0, err
		}
		switch c {
		case '\n':
			s.line++
		case ' ', '\t', '\r':
		default:
			return c, nil
		}
	}
}

func (s *jsonSource) next(r *row) error {
	if s.ended {
		return io.EOF
	}
	c, err := s.skip()
	if err == nil && !s.began {
		s.began = true
		if c == '[' {
			s.array = true
			c, err = s.skip()
			if err == nil && c == ']' {
				s.ended = true
				return io.EOF
			}
		}
	} else if err == nil && s.array {
		switch c {
		case ']':
			s.ended = true
			if _, err := s.skip(); !errors.Is(err, io.EOF) {
				return s.bad()
			}
			return io.EOF
		case ',':
			c, err = s.skip()
		default:
			return s.bad()
		}
	}
	if errors.Is(err, io.EOF) && !s.array {
		return io.EOF
	}
	if err != nil || c != '{' {
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("cannot read the file: %w", err)
		}
		return s.bad()
	}
	first := s.line
	if err := s.cut(); err != nil {
		return err
	}
	s.count++
	// A record is known by its line where each has one of its own.
	r.table, r.sheet, r.line, r.hidden = 0, "", first, false
	if s.array {
		r.line = s.count
	}
	if err := s.object(); err != nil {
		s.line = first
		return s.bad()
	}
	r.cells = s.cells
	return nil
}

// cut reads up to the end of the object whose brace was read.
func (s *jsonSource) cut() error {
	s.buf = append(s.buf[:0], '{')
	depth, quoted := 1, false
	for depth > 0 {
		c, err := s.t.ReadByte()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return s.bad()
			}
			return fmt.Errorf("cannot read the file: %w", err)
		}
		if s.buf = append(s.buf, c); len(s.buf) > maxRecord {
			return unusable(fmt.Sprintf("第 %d 行的记录过大，整份文件未读。", s.line), fmt.Sprintf("The record at line %d is too large; the file was not read.", s.line))
		}
		if c == '\n' {
			s.line++
		}
		if quoted {
			switch c {
			case '"':
				quoted = false
			case '\\':
				c, err := s.t.ReadByte()
				if err != nil {
					return s.bad()
				}
				s.buf = append(s.buf, c)
			}
			continue
		}
		switch c {
		case '"':
			quoted = true
		case '{', '[':
			if depth++; depth > 64 {
				return s.bad()
			}
		case '}', ']':
			depth--
		}
	}
	return nil
}

// object splits an object into cells, one a key.
func (s *jsonSource) object() error {
	d := json.NewDecoder(bytes.NewReader(s.buf))
	d.UseNumber()
	for i := range s.cells {
		s.cells[i] = cell{}
	}
	s.cells = s.cells[:0]
	for len(s.cells) < len(s.keys) {
		s.cells = append(s.cells, cell{})
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	seen := make(map[int]bool, len(s.keys))
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			return err
		}
		key, ok := tok.(string)
		if !ok {
			return errXML
		}
		i, known := s.at[key]
		if !known {
			if len(s.keys) >= MaxColumns/8 {
				return unusable("JSON 记录的键各不相同，不是表格。", "The records share no keys; this is no table.")
			}
			i = len(s.keys)
			s.at[key] = i
			s.keys = append(s.keys, key)
			s.cells = append(s.cells, cell{})
		}
		c, err := jsonValue(d)
		if err != nil {
			return err
		}
		s.nested = s.nested || c.kind == nestedCell
		if seen[i] {
			c.kind = twiceCell
		}
		seen[i] = true
		s.cells[i] = c
	}
	_, err := d.Token()
	return err
}

func jsonValue(d *json.Decoder) (cell, error) {
	tok, err := d.Token()
	if err != nil {
		return cell{}, err
	}
	switch v := tok.(type) {
	case nil:
		return cell{}, nil
	case string:
		if len(v) > MaxCell {
			return cell{}, errXMLText
		}
		return cell{text: validText(v), form: plainFormula([]byte(v[:min(len(v), 256)]), false)}, nil
	case bool:
		return cell{text: fmt.Sprint(v), kind: boolCell}, nil
	case json.Number:
		return cell{text: v.String()}, nil
	case json.Delim:
		if v == '{' {
			return cell{text: "{}", kind: nestedCell}, drain(d)
		}
		var parts []string
		nested := false
		for d.More() {
			c, err := jsonValue(d)
			if err != nil {
				return cell{}, err
			}
			nested = nested || c.kind == nestedCell
			parts = append(parts, c.text)
		}
		if _, err := d.Token(); err != nil {
			return cell{}, err
		}
		c := cell{text: strings.Join(parts, ",")}
		if nested {
			c = cell{text: "[]", kind: nestedCell}
		}
		return c, nil
	}
	return cell{}, errXML
}

// drain reads to the end of the object whose brace was read.
func drain(d *json.Decoder) error {
	for depth := 1; depth > 0; {
		tok, err := d.Token()
		if err != nil {
			return err
		}
		if v, ok := tok.(json.Delim); ok {
			if v == '{' || v == '[' {
				depth++
			} else {
				depth--
			}
		}
	}
	return nil
}
