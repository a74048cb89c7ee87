package value

import (
	"bytes"
	"unicode/utf8"

	"golang.org/x/text/width"

	"github.com/duiwu/duiwu/internal/feed"
)

// Damaged says that a text lost characters on its way: it is not UTF-8, or holds
// U+FFFD, or a private-use character (U+E000 to U+F8FF, planes 15 and 16).
// golang.org/x/text decodes some 2,000 GB18030 codes to U+FFFD without an error,
// and older editions of GB18030 put rare characters of names into the
// private-use area: two different names would fall together.
func Damaged(src []byte) bool {
	if !utf8.Valid(src) {
		return true
	}
	// The text is valid, so lead bytes alone tell how far to go.
	for i := 0; i < len(src); {
		switch c := src[i]; {
		case c < 0x80:
			i++
		case c < 0xE0:
			i += 2
		case c < 0xEE:
			i += 3
		case c == 0xEE: // U+E000 to U+EFFF
			return true
		case c == 0xEF:
			if src[i+1] <= 0xA3 || src[i+1] == 0xBF && src[i+2] == 0xBD { // to U+F8FF; U+FFFD
				return true
			}
			i += 3
		case c == 0xF4 || c == 0xF3 && src[i+1] >= 0xB0: // from U+F0000
			return true
		default:
			i += 4
		}
	}
	return false
}

// Text appends an open text: trimmed, invisible characters (zero-width spaces,
// direction marks, byte-order marks) out, width kept. Damaged text is
// feed.DamagedText.
func Text(dst, src []byte) (out []byte, notes Notes, rule feed.Rule) {
	if Damaged(src) {
		return dst, 0, feed.DamagedText
	}
	body := trim(src)
	if len(body) != len(src) {
		notes |= Spaces
	}
	for len(body) > 0 {
		i, w := firstInvisible(body)
		dst = append(dst, body[:i]...)
		body = body[i+w:]
		if w > 0 {
			notes |= Spaces
		}
	}
	return dst, notes, feed.NoRule
}

// trim cuts white space and invisible characters off both ends.
func trim(b []byte) []byte {
	// Most texts begin and end with a Han character or visible ASCII.
	if n := len(b); n > 0 && (b[0] > ' ' && b[0] < 0x80 || b[0] >= 0xE4 && b[0] <= 0xE9) &&
		(b[n-1] > ' ' && b[n-1] < 0x80 || n > 2 && b[n-3] >= 0xE4 && b[n-3] <= 0xE9) {
		return b
	}
	return bytes.TrimFunc(b, blank)
}

func blank(r rune) bool { return space(r) || invisible(r) }

// firstInvisible finds the first invisible character of valid UTF-8; it returns
// len(b), 0 when there is none.
func firstInvisible(b []byte) (at, size int) {
	for i := 0; i < len(b); {
		switch c := b[i]; {
		case c < 0x80:
			i++
		case c < 0xE0:
			if c == 0xC2 && b[i+1] == 0xAD {
				return i, 2
			}
			i += 2
		case c < 0xF0:
			if c == 0xE1 || c == 0xE2 || c == 0xEF { // U+1000.., U+2000.., U+F000..
				if r, _ := utf8.DecodeRune(b[i:]); invisible(r) {
					return i, 3
				}
			}
			i += 3
		default:
			i += 4
		}
	}
	return len(b), 0
}

// Code appends a key or a code of a source system: full-width forms of ASCII
// become ASCII, invisible characters go, both ends are trimmed, inner spaces
// stay. Damaged text is feed.DamagedText.
func Code(dst, src []byte) (out []byte, notes Notes, rule feed.Rule) {
	plain := true
	for _, c := range src {
		if c <= ' ' || c >= 0x80 {
			plain = false
			break
		}
	}
	if plain {
		return append(dst, src...), 0, feed.NoRule
	}
	if Damaged(src) {
		return dst, 0, feed.DamagedText
	}
	body := trim(src)
	if len(body) != len(src) {
		notes |= Spaces
	}
	for i := 0; i < len(body); {
		r, w, _ := next(body, i)
		if invisible(r) {
			notes |= Spaces
			i += w
			continue
		}
		f := fold(r)
		if r == 0x3000 {
			f = ' '
		}
		if f != r {
			dst = append(dst, byte(f))
			notes |= FullWidth
		} else {
			dst = append(dst, body[i:i+w]...)
		}
		i += w
	}
	return dst, notes, feed.NoRule
}

// Width counts the columns that a text takes where Latin letters take one: on a
// terminal, about so in a spreadsheet and on a page.
func Width(s string) int {
	n := 0
	for _, c := range s {
		n++
		switch width.LookupRune(c).Kind() {
		case width.EastAsianWide, width.EastAsianFullwidth:
			n++
		}
	}
	return n
}
