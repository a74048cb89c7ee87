package sheet

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"
)

// xmlReader walks the elements of one part of a workbook. It knows no DOCTYPE
// and so no entities but the five of XML, and keeps nothing but the token at
// hand: what grows without end is refused. encoding/xml costs five times as much
// a row and would hold a text of any length.
type xmlReader struct {
	r *bufio.Reader
	// name is the local name of the element at hand, attrs its attributes as
	// they stand. Both are valid until the next call.
	name, attrs []byte
	text        []byte
	tag         []byte
	selfClosed  bool
	depth       int
	limit       int
}

type xmlToken uint8

const (
	xmlEnd xmlToken = iota
	xmlStart
	xmlText
)

var (
	errXML     = errors.New("not well-formed")
	errDoctype = errors.New("holds a DOCTYPE")
	errXMLText = errors.New("text too long")
)

const maxTag = 64 << 10

func newXML(r io.Reader) *xmlReader {
	return &xmlReader{r: bufio.NewReaderSize(r, 128<<10), limit: MaxCell}
}

// next returns the next token; io.EOF at the end of the part.
func (x *xmlReader) next() (xmlToken, error) {
	if x.selfClosed {
		x.selfClosed = false
		x.depth--
		return xmlEnd, nil
	}
	for {
		b, err := x.r.Peek(1)
		if err != nil {
			if errors.Is(err, io.EOF) && x.depth != 0 {
				return 0, errXML
			}
			return 0, err
		}
		if b[0] != '<' {
			if err := x.readText(); err != nil {
				return 0, err
			}
			return xmlText, nil
		}
		_, _ = x.r.Discard(1) // it was just seen
		b, err = x.r.Peek(2)
		if err != nil {
			return 0, errXML
		}
		switch {
		case b[0] == '?':
			if err := x.until("?>", nil); err != nil {
				return 0, err
			}
			continue
		case b[0] == '!' && b[1] == '-':
			if err := x.until("-->", nil); err != nil {
				return 0, err
			}
			continue
		case b[0] == '!' && b[1] == '[':
			if h, _ := x.r.Peek(8); string(h) != "![CDATA[" {
				return 0, errXML
			}
			_, _ = x.r.Discard(8) // it was just seen
			x.text = x.text[:0]
			if err := x.until("]]>", &x.text); err != nil {
				return 0, err
			}
			return xmlText, nil
		case b[0] == '!':
			return 0, errDoctype
		}
		return x.element()
	}
}

// readText reads up to the next tag.
func (x *xmlReader) readText() error {
	x.text = x.text[:0]
	amp := false
	for {
		b, err := x.r.ReadSlice('<')
		cut := b
		if err == nil {
			cut = b[:len(b)-1]
			_ = x.r.UnreadByte() // ReadSlice has just read it
		}
		amp = amp || bytes.IndexByte(cut, '&') >= 0
		x.text = append(x.text, cut...)
		switch {
		case len(x.text) > x.limit:
			return errXMLText
		case err == nil || errors.Is(err, io.EOF):
			if amp {
				return x.unescape()
			}
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

func (x *xmlReader) unescape() error {
	out := x.text[:0]
	in := x.text
	for i := 0; i < len(in); {
		if in[i] != '&' {
			out = append(out, in[i])
			i++
			continue
		}
		semi := bytes.IndexByte(in[i:min(len(in), i+12)], ';')
		if semi < 0 {
			return errXML
		}
		name := string(in[i+1 : i+semi])
		i += semi + 1
		c, ok := entity(name)
		if !ok {
			return errXML
		}
		out = utf8.AppendRune(out, c)
	}
	x.text = out
	return nil
}

func entity(name string) (rune, bool) {
	switch name {
	case "amp":
		return '&', true
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "quot":
		return '"', true
	case "apos":
		return '\'', true
	}
	if len(name) < 2 || name[0] != '#' {
		return 0, false
	}
	base, digits := 10, name[1:]
	if digits[0] == 'x' {
		base, digits = 16, digits[1:]
	}
	n, err := strconv.ParseUint(digits, base, 21)
	// A reference is at least as long as the character that it stands for.
	if err != nil {
		return 0, false
	}
	return rune(n), true
}

// until skips, or appends to keep, everything up to an end mark.
func (x *xmlReader) until(mark string, keep *[]byte) error {
	var last [3]byte
	for n := 0; ; n++ {
		c, err := x.r.ReadByte()
		if err != nil {
			return errXML
		}
		if keep == nil && n > 1<<20 {
			return errXML
		}
		last[0], last[1], last[2] = last[1], last[2], c
		if keep != nil {
			if *keep = append(*keep, c); len(*keep) > x.limit {
				return errXMLText
			}
		}
		if n+1 >= len(mark) && string(last[3-len(mark):]) == mark {
			if keep != nil {
				*keep = (*keep)[:len(*keep)-len(mark)]
			}
			return nil
		}
	}
}

// element reads a tag whose < was read.
func (x *xmlReader) element() (xmlToken, error) {
	b, err := x.r.ReadSlice('>')
	if err == nil && balanced(b) {
		x.tag = append(x.tag[:0], b[:len(b)-1]...)
	} else {
		x.tag = append(x.tag[:0], b...)
		for {
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) || len(x.tag) > maxTag {
				return 0, errXML
			}
			if err == nil && balanced(x.tag) {
				break
			}
			b, err = x.r.ReadSlice('>')
			x.tag = append(x.tag, b...)
		}
		x.tag = x.tag[:len(x.tag)-1]
	}
	t := x.tag
	if len(t) == 0 {
		return 0, errXML
	}
	if t[0] == '/' {
		x.name, x.attrs = local(bytes.TrimSpace(t[1:])), nil
		if x.depth--; x.depth < 0 {
			return 0, errXML
		}
		return xmlEnd, nil
	}
	if x.depth++; x.depth > 256 {
		return 0, errXML
	}
	if t[len(t)-1] == '/' {
		x.selfClosed = true
		t = t[:len(t)-1]
	}
	i := 0
	for i < len(t) && !isSpace(t[i]) {
		i++
	}
	x.name, x.attrs = local(t[:i]), t[i:]
	return xmlStart, nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// balanced says that a tag does not end inside a quoted value.
func balanced(b []byte) bool {
	var q byte
	for _, c := range b {
		switch {
		case q == 0 && (c == '"' || c == '\''):
			q = c
		case c == q:
			q = 0
		}
	}
	return q == 0
}

func local(name []byte) []byte {
	if i := bytes.IndexByte(name, ':'); i >= 0 {
		return name[i+1:]
	}
	return name
}

// attr calls fn with every attribute, its prefix left out, until it returns false.
func (x *xmlReader) attr(fn func(name, value []byte) bool) {
	t := x.attrs
	for {
		i := 0
		for i < len(t) && isSpace(t[i]) {
			i++
		}
		t = t[i:]
		eq := bytes.IndexByte(t, '=')
		if eq < 0 {
			return
		}
		name := bytes.TrimRight(t[:eq], " \t\r\n")
		t = bytes.TrimLeft(t[eq+1:], " \t\r\n")
		if len(t) == 0 || t[0] != '"' && t[0] != '\'' {
			return
		}
		end := bytes.IndexByte(t[1:], t[0])
		if end < 0 {
			return
		}
		if !fn(local(name), t[1:1+end]) {
			return
		}
		t = t[end+2:]
	}
}

// value returns one attribute, unescaped.
func (x *xmlReader) value(want string) string {
	out := ""
	x.attr(func(name, v []byte) bool {
		if string(name) != want {
			return true
		}
		u := xmlReader{text: append([]byte(nil), v...)}
		if u.unescape() == nil {
			out = string(u.text)
		}
		return false
	})
	return out
}

// content reads the text of the element at hand up to its end; elements inside
// are walked over, their text left out when skip names them.
func (x *xmlReader) content(buf []byte, skip string) ([]byte, error) {
	depth, skipped := x.depth, 0
	for {
		tok, err := x.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errXML
			}
			return buf, err
		}
		switch tok {
		case xmlText:
			if skipped == 0 {
				if buf = append(buf, x.text...); len(buf) > x.limit {
					return buf, errXMLText
				}
			}
		case xmlStart:
			if skipped > 0 || skip != "" && string(x.name) == skip {
				skipped++
			}
		case xmlEnd:
			if skipped > 0 {
				skipped--
			} else if x.depth < depth {
				return buf, nil
			}
		}
	}
}
