package value

import (
	"github.com/duiwu/duiwu/internal/feed"
)

// ResidentIDOptions says against what an identity number is judged.
type ResidentIDOptions struct {
	// Today is the civil day in China, in days since 1970-01-01: nobody is born after it.
	Today int32
	// AllowTestAreas accepts the reserved areas PP99xx, which were never given
	// to any place: for tests and the demo only.
	AllowTestAreas bool
}

// 7^.. mod 11: weights of characters 1 to 17, GB 11643-1999, ISO 7064 MOD 11-2.
var ricWeights = [17]uint32{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}

const ricChecks = "10X98765432"

// earliestBirthYear is older than the oldest printed sample of the standard (1880).
const earliestBirthYear = 1800

// ResidentID appends the 18 characters of a citizen identity number
// (GB 11643-1999, ISO 7064 MOD 11-2).
//
// Repairs: full width to ASCII; x to X; white space, U+00A0, U+200B to U+200F
// and U+FEFF out; an apostrophe at the start out; hyphens between groups out;
// U+0425, U+0445, U+03A7, U+00D7 and U+2715 in position 18 become X. A number of
// 15 digits is extended to 18 and noted FifteenDigits. No other character is
// guessed.
//
// Rules, the first that applies: RICPrecision for scientific notation;
// RICLength; RICChar; RICLegacyAge (15 digits, sequence 996 to 999: kept for
// people born before 1900); RICBirthDate; RICPrecision when the last three are
// 000 and the check fails, as after a spreadsheet's 15-digit float; RICChecksum;
// RICFuture; RICTestArea.
//
// The area is not looked up: it is the code at first registration.
func ResidentID(dst, src []byte, opt ResidentIDOptions) (out []byte, notes Notes, rule feed.Rule) {
	if len(src) == 18 {
		if rule, ok := ricJudge((*[18]byte)(src), opt); ok {
			if rule == feed.NoRule {
				dst = append(dst, src...)
			}
			return dst, 0, rule
		}
	}
	var n [18]byte
	size, notes, rule := ricClean(&n, src)
	if rule != feed.NoRule {
		return dst, notes, rule
	}
	if size == 15 {
		for _, c := range n[:15] {
			if c-'0' > 9 {
				return dst, notes, feed.RICChar
			}
		}
		if string(n[12:14]) == "99" && n[14] >= '6' {
			return dst, notes, feed.RICLegacyAge
		}
		copy(n[8:17], n[6:15])
		n[6], n[7] = '1', '9'
		n[17] = ricCheck(&n)
		notes |= FifteenDigits
	}
	rule, ok := ricJudge(&n, opt)
	if !ok {
		return dst, notes, feed.RICChar
	}
	if rule != feed.NoRule {
		return dst, notes, rule
	}
	return append(dst, n[:]...), notes, feed.NoRule
}

func ricCheck(n *[18]byte) byte {
	var sum uint32
	for i, w := range ricWeights {
		sum += uint32(n[i]-'0') * w
	}
	return ricChecks[sum%11]
}

// ricJudge applies the rules to 18 characters; ok is false when they are not
// 17 digits and a digit or X.
func ricJudge(n *[18]byte, opt ResidentIDOptions) (rule feed.Rule, ok bool) {
	var sum uint32
	for i, w := range ricWeights {
		d := uint32(n[i]) - '0'
		if d > 9 {
			return 0, false
		}
		sum += d * w
	}
	if n[17]-'0' > 9 && n[17] != 'X' {
		return 0, false
	}
	year, month, day := int(num4(n[6:10])), int(num2(n[10:12])), int(num2(n[12:14]))
	if year < earliestBirthYear || !civil(year, month, day) {
		return feed.RICBirthDate, true
	}
	if n[17] != ricChecks[sum%11] {
		if n[15] == '0' && n[16] == '0' && n[17] == '0' {
			return feed.RICPrecision, true
		}
		return feed.RICChecksum, true
	}
	if daysOf(year, month, day) > opt.Today {
		return feed.RICFuture, true
	}
	if n[2] == '9' && n[3] == '9' && !opt.AllowTestAreas {
		return feed.RICTestArea, true
	}
	return feed.NoRule, true
}

// ricClean makes the repairs; size is 15 or 18 when rule is feed.NoRule.
// Characters that cannot stand in a number are kept as '?', to be judged after
// the length.
func ricClean(n *[18]byte, src []byte) (size int, notes Notes, rule feed.Rule) {
	// The shape of scientific notation: 0 digits, 1 fraction, 2 just after E, 3 exponent.
	sci, digitsBefore := 0, 0
	hyphen := false
	add := func(c byte) {
		if size < len(n) {
			n[size] = c
		}
		size++
	}
	for i := 0; i < len(src); {
		r, w, ok := next(src, i)
		i += w
		if !ok {
			r = '?'
		}
		if f := fold(r); f != r {
			r = f
			notes |= FullWidth
		}
		if space(r) || r >= 0x200B && r <= 0x200F || r == 0xFEFF {
			notes |= Spaces
			continue
		}
		if r == '\'' && size == 0 && !hyphen && notes&Apostrophe == 0 {
			notes |= Apostrophe
			continue
		}
		if (r == '-' || r == 0x2010 || r == 0x2011) && size > 0 && !hyphen {
			hyphen = true
			continue
		}
		if hyphen {
			// Only now is it known that the hyphen stood between two characters.
			notes |= Hyphens
			hyphen = false
		}
		switch {
		case sci >= 0 && r >= '0' && r <= '9':
			digitsBefore++
			if sci == 2 {
				sci = 3
			}
		case sci == 0 && r == '.' && digitsBefore > 0:
			sci = 1
		case sci >= 0 && sci < 2 && (r == 'E' || r == 'e') && digitsBefore > 0:
			sci = 2
		case sci == 2 && r == '+':
		default:
			sci = -1
		}
		switch {
		case r >= '0' && r <= '9' || r == 'X':
			add(byte(r))
		case r == 'x':
			notes |= Case
			add('X')
		case size == 17 && (r == 0x0425 || r == 0x0445 || r == 0x03A7 || r == 0x00D7 || r == 0x2715):
			notes |= Lookalike
			add('X')
		default:
			add('?')
		}
	}
	if hyphen {
		size++ // it hung at the end, between nothing
	}
	if sci == 3 {
		return size, notes, feed.RICPrecision
	}
	if size != 15 && size != 18 {
		return size, notes, feed.RICLength
	}
	if hyphen {
		return size, notes, feed.RICChar
	}
	return size, notes, feed.NoRule
}

// BirthDays returns the birth date within an 18-character number that
// ResidentID gave, in days since 1970-01-01. Of anything else it returns 0.
func BirthDays(number []byte) int32 {
	if len(number) != 18 {
		return 0
	}
	year, month, day := int(num4(number[6:10])), int(num2(number[10:12])), int(num2(number[12:14]))
	if !civil(year, month, day) {
		return 0
	}
	return daysOf(year, month, day)
}

// Sex returns the code of GB/T 2261.1 within an 18-character number: '1' male
// (odd sequence), '2' female. Of anything else it returns '0', unknown.
func Sex(number []byte) byte {
	if len(number) != 18 || number[16]-'0' > 9 {
		return '0'
	}
	return '2' - number[16]&1
}

// Area returns the six digits of the area of first registration, a part of number.
func Area(number []byte) []byte {
	if len(number) != 18 {
		return nil
	}
	return number[:6:6]
}

// num2 and num4 read ASCII digits that were checked before.
func num2(b []byte) uint32 { return uint32(b[0]-'0')*10 + uint32(b[1]-'0') }
func num4(b []byte) uint32 { return num2(b)*100 + num2(b[2:]) }
