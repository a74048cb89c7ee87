package value

import "github.com/duiwu/duiwu/internal/feed"

// Mobile appends the 11 digits of a mobile telephone number of mainland China
// (1, then 3 to 9, then nine digits; the numbering plan of MIIT). Repairs: full
// width to ASCII; white space, invisible characters and hyphens out; +86 or 0086
// in front out. Anything else is feed.MobileInvalid.
func Mobile(dst, src []byte) (out []byte, notes Notes, rule feed.Rule) {
	if mobile(src) {
		return append(dst, src...), 0, feed.NoRule
	}
	var n [15]byte // 0086 and 11 digits
	size := 0
	for i := 0; i < len(src); {
		r, w, ok := next(src, i)
		i += w
		if !ok {
			return dst, notes, feed.MobileInvalid
		}
		if f := fold(r); f != r {
			r = f
			notes |= FullWidth
		}
		switch {
		case space(r) || invisible(r):
			notes |= Spaces
			continue
		case (r == '-' || r == 0x2010 || r == 0x2011) && size > 0:
			notes |= Hyphens
			continue
		case r == '+' && size == 0 || r >= '0' && r <= '9':
		default:
			return dst, notes, feed.MobileInvalid
		}
		if size == len(n) {
			return dst, notes, feed.MobileInvalid
		}
		n[size] = byte(r)
		size++
	}
	digits := n[:size]
	if len(digits) == 14 && string(digits[:3]) == "+86" {
		digits, notes = digits[3:], notes|Prefix
	} else if len(digits) == 15 && string(digits[:4]) == "0086" {
		digits, notes = digits[4:], notes|Prefix
	}
	if !mobile(digits) {
		return dst, notes, feed.MobileInvalid
	}
	return append(dst, digits...), notes, feed.NoRule
}

func mobile(b []byte) bool {
	if len(b) != 11 || b[0] != '1' || b[1] < '3' {
		return false
	}
	for _, c := range b {
		if c-'0' > 9 {
			return false
		}
	}
	return true
}
