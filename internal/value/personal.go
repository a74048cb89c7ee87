package value

import "unicode/utf8"

// HoldsPersonalNumber says that an open text holds an identity number of a
// citizen (18 characters with a date and the right check character, or 15 digits
// with a province and a date, GB 11643) or a mobile number (11 digits from 13 to
// 19). Full width counts, and so do numbers written in groups with single spaces
// or hyphens between them; a number inside a longer run of digits does not.
func HoldsPersonalNumber(src []byte) bool {
	for i := 0; i+personalDigits <= len(src); { // a digit is a byte or more
		// Han characters hold no digits; skip them three bytes at a time.
		c := src[i]
		if c >= 0xE4 && c <= 0xE9 && i+2 < len(src) && src[i+1] >= 0x80 && src[i+2] >= 0x80 {
			i += 3
			continue
		}
		if c-'0' > 9 && c != 0xEF {
			i++
			continue
		}
		_, w := digitAt(src, i)
		if w == 0 {
			i++
			continue
		}
		if !hopeless(src, i) && personalAt(src, i) {
			return true
		}
		for w > 0 { // to the end of this group
			i += w
			_, w = digitAt(src, i)
		}
	}
	return false
}

// digitAt returns the ASCII digit that stands at i in any width, and its size; 0 if none does.
func digitAt(src []byte, i int) (digit byte, size int) {
	if i >= len(src) {
		return 0, 0
	}
	c := src[i]
	if c-'0' <= 9 {
		return c, 1
	}
	if c == 0xEF && i+2 < len(src) && src[i+1] == 0xBC && src[i+2]-0x90 <= 9 {
		return src[i+2] - 0x90 + '0', 3
	}
	return 0, 0
}

// gapAt returns the size of what may stand between two groups of digits: one
// space or hyphen, and any invisible characters.
func gapAt(src []byte, i int) int {
	start, seen := i, false
	for i < len(src) {
		if c := src[i]; c < 0x80 && c != ' ' && c != '-' && c != '\t' {
			break
		}
		r, w, _ := next(src, i)
		switch {
		case invisible(r):
		case !seen && (r == '-' || r == 0xFF0D || r >= 0x2010 && r <= 0x2014 || space(r) && r != '\n'):
			seen = true
		default:
			return i - start
		}
		i += w
	}
	return i - start
}

// hopeless says that no group of the digits that begin at i ends where personalAt
// would look for a number, as far as ASCII tells: most ids of records.
func hopeless(src []byte, i int) bool {
	const ends = 1<<11 | 1<<13 | 1<<15 | 1<<17 | 1<<18
	for size := 0; ; i++ {
		for ; i < len(src) && src[i]-'0' <= 9; i++ {
			if size++; size > 18 {
				return true
			}
		}
		switch {
		case ends>>size&1 != 0:
			return false
		case i == len(src):
			return true
		case src[i] >= utf8.RuneSelf:
			return false
		case src[i] != ' ' && src[i] != '-' && src[i] != '\t' || i+1 == len(src):
			return true
		case src[i+1]-'0' > 9:
			return src[i+1] < utf8.RuneSelf
		}
	}
}

// personalAt judges the digits that begin at i, the start of a group: at each
// group's end it looks whether the digits so far are a number.
func personalAt(src []byte, i int) bool {
	var n [18]byte
	size, first, longest := 0, 0, 0
	for {
		group := size
		for {
			d, w := digitAt(src, i)
			if w == 0 {
				break
			}
			if size == len(n) {
				return false
			}
			n[size] = d
			size++
			i += w
		}
		length := size - group
		if first == 0 {
			first = length
		}
		longest = max(longest, length)
		// Lists of small numbers are no telephone: 15 2016 11 11 1.
		phone := first >= 3 || longest == 1
		switch size {
		case 11:
			if phone && mobile(n[:11]) {
				return true
			}
		case 13:
			if n[0] == '8' && n[1] == '6' && mobile(n[2:13]) && (first == 13 || first == 2) {
				return true
			}
		case 15:
			if string(n[:4]) == "0086" && mobile(n[4:15]) {
				return true
			}
			if (first >= 6 || longest == 1) && fifteen(n[:15]) {
				return true
			}
		case 18:
			return eighteen(&n)
		}
		gap := gapAt(src, i)
		if size == 17 && exAt(src, i+gap) {
			n[17] = 'X'
			return eighteen(&n)
		}
		if gap == 0 {
			return false
		}
		if _, w := digitAt(src, i+gap); w == 0 {
			return false
		}
		i += gap
	}
}

// exAt says that an X of any kind stands at i.
func exAt(src []byte, i int) bool {
	if i >= len(src) {
		return false
	}
	r, _, _ := next(src, i)
	switch fold(r) {
	case 'X', 'x', 0x0425, 0x0445, 0x03A7, 0x00D7, 0x2715:
		return true
	}
	return false
}

func eighteen(n *[18]byte) bool {
	rule, ok := ricJudge(n, ResidentIDOptions{Today: 1<<31 - 1, AllowTestAreas: true})
	return ok && rule == 0
}

// fifteen says that 15 digits may be an identity number: a province's prefix
// (GB/T 2260) and a date of the 1900s.
func fifteen(n []byte) bool {
	switch p := num2(n); {
	case p >= 11 && p <= 15, p >= 21 && p <= 23, p >= 31 && p <= 37, p >= 41 && p <= 46,
		p >= 50 && p <= 54, p >= 61 && p <= 65, p == 71, p >= 81 && p <= 83:
	default:
		return false
	}
	return civil(1900+int(num2(n[6:])), int(num2(n[8:])), int(num2(n[10:])))
}

// LongDigitRun counts the digits, ASCII and full width, of the longest run in a
// text; single spaces and hyphens between digits do not end a run.
func LongDigitRun(src []byte) int {
	longest := 0
	for i := 0; i < len(src); {
		_, w := digitAt(src, i)
		if w == 0 {
			i++
			continue
		}
		n := 0
		for w > 0 {
			n++
			i += w
			if _, w = digitAt(src, i); w > 0 {
				continue
			}
			gap := gapAt(src, i)
			if _, w = digitAt(src, i+gap); w > 0 {
				i += gap
			}
		}
		longest = max(longest, n)
	}
	return longest
}

// personalDigits is the shortest run of digits that may be a number of a person:
// a mobile number has 11.
const personalDigits = 11

// Harmless says that a text from a province may be repeated in a finding, a
// reject or a log: it is whole, and holds neither a number of a person nor a run
// of digits as long as one, however it is spaced. It is the only judge of that;
// how long a text may be is its caller's affair.
func Harmless(v []byte) bool {
	return !Damaged(v) && LongDigitRun(v) < personalDigits && !HoldsPersonalNumber(v)
}
