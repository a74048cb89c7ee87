package value

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/duiwu/duiwu/internal/feed"
)

const nameDot = "\u00B7"

// Name appends the display form of a person's name. Invisible characters go;
// full-width ASCII becomes ASCII; radicals (U+2F00 to U+2FD5 and those of the
// supplement that are characters by themselves) become the character; the dots
// of minority and foreign names become U+00B7, a full stop of any width only
// between two Han characters; white space goes, but for single spaces within
// names that are not Han; the result is NFC (Unicode annex 15). NFKC is not used: it would turn ① into 1.
// Variants of characters, and characters above U+FFFF, stay.
//
// Damaged text is feed.DamagedText: a name with a replaced or private-use
// character must never be stored, for two different names would fall together.
func Name(dst, src []byte) (out []byte, notes Notes, rule feed.Rule) {
	if plainName(src) {
		return append(dst, src...), 0, feed.NoRule
	}
	if Damaged(src) {
		return dst, 0, feed.DamagedText
	}
	start := len(dst)
	var (
		compose  bool // something that NFC may change was met
		gap      bool // white space since the last rune kept
		last     rune // the last rune kept
		stop     = -1 // where the last rune is a full stop after a Han character
		size     int
		spacesIn int
	)
	for i := 0; i < len(src); i += size {
		r := rune(src[i])
		if size = 1; r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(src[i:])
		}
		if invisible(r) {
			notes |= Spaces
			continue
		}
		if r >= 0x80 {
			if f := fold(r); f != r {
				r = f
				notes |= FullWidth
			}
		}
		if space(r) {
			gap = true
			spacesIn++
			if r != ' ' {
				notes |= Spaces
			}
			continue
		}
		if r != '\u00B7' && dotVariant(r) {
			r = '\u00B7'
			notes |= Dot
		}
		if r >= 0x2E80 && r <= 0x2FD5 {
			if c := radical(r); c != r {
				r = c
				notes |= Radical
			}
		}
		isHan := han(r)
		if stop >= 0 && isHan {
			dst = append(dst[:stop], nameDot...)
			last = '\u00B7'
			notes |= Dot
		}
		if gap {
			gap = false
			if last != 0 && last != '\u00B7' && r != '\u00B7' && !han(last) && !isHan {
				dst = append(dst, ' ')
				spacesIn--
			}
		}
		stop = -1
		if fullStop(r) && han(last) {
			stop = len(dst)
		}
		dst = utf8.AppendRune(dst, r)
		last = r
		compose = compose || r >= 0x300 && !(r >= 0x3400 && r <= 0x9FFF)
	}
	if spacesIn > 0 {
		notes |= Spaces
	}
	if compose && !norm.NFC.IsNormal(dst[start:]) {
		composed := norm.NFC.Bytes(dst[start:])
		dst = append(dst[:start], composed...)
		notes |= Composed
	}
	return dst, notes, feed.NoRule
}

// plainName says that a name is in its display form as it stands: Han of the
// basic block and its extension A, with U+00B7 between, or ASCII letters.
func plainName(src []byte) bool {
	for i := 0; i < len(src); {
		switch c := src[i]; {
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			i++
		case c >= 0xE4 && c <= 0xE9 || c == 0xE3 && i+1 < len(src) && src[i+1] >= 0x90:
			if i+2 >= len(src) || src[i+1]&0xC0 != 0x80 || src[i+2]&0xC0 != 0x80 {
				return false
			}
			i += 3
		case c == 0xC2 && i+1 < len(src) && src[i+1] == 0xB7:
			i += 2
		default:
			return false
		}
	}
	return true
}

func han(r rune) bool {
	return r >= 0x3400 && r <= 0x9FFF || r >= 0xF900 && r <= 0xFAFF || r >= 0x20000 && r <= 0x3FFFF || r == 0x3007
}

// dotVariant lists what stands for the dot between the parts of a name, wherever it is.
func dotVariant(r rune) bool {
	switch r {
	case 0x00B7, 0x0387, 0x2022, 0x2027, 0x2219, 0x22C5, 0x30FB, 0xFF65, 0x2E31, 0xA78F, 0x16EB:
		return true
	}
	return false
}

// fullStop lists what stands for that dot between two Han characters only.
func fullStop(r rune) bool {
	switch r {
	case '.', 0xFF0E, 0xFE52, 0x2024, 0x3002, 0xFF61:
		return true
	}
	return false
}

// radical returns the character that a radical stands for, or the radical.
func radical(r rune) rune {
	if r >= 0x2F00 {
		var b, k [utf8.UTFMax]byte
		c, _ := utf8.DecodeRune(norm.NFKC.Append(k[:0], utf8.AppendRune(b[:0], r)...))
		return c
	}
	for i := 0; i < len(radicalsSupplement); i++ {
		if radicalsSupplement[i][0] == r {
			return radicalsSupplement[i][1]
		}
	}
	return r
}

// radicalsSupplement maps those of U+2E80 to U+2EF3 that are whole characters,
// after Unicode's EquivalentUnifiedIdeograph.txt; NFKC knows only two of them.
// The others are parts of characters (U+2E85 ⺅) and never stand in a name.
var radicalsSupplement = [...][2]rune{
	{0x2E9C, '日'}, {0x2E9D, '月'}, {0x2E9F, '母'}, {0x2EA0, '民'}, {0x2EA9, '王'},
	{0x2EAB, '目'}, {0x2EAC, '示'}, {0x2EAE, '竹'}, {0x2EC1, '虎'}, {0x2EC4, '西'},
	{0x2EC5, '见'}, {0x2EC6, '角'}, {0x2EC9, '贝'}, {0x2ECB, '车'}, {0x2ED1, '長'},
	{0x2ED3, '长'}, {0x2ED4, '门'}, {0x2ED7, '雨'}, {0x2ED8, '青'}, {0x2ED9, '韦'},
	{0x2EDA, '页'}, {0x2EDB, '风'}, {0x2EDC, '飞'}, {0x2EDD, '食'}, {0x2EE2, '马'},
	{0x2EE3, '骨'}, {0x2EE4, '鬼'}, {0x2EE5, '鱼'}, {0x2EE6, '鸟'}, {0x2EE7, '卤'},
	{0x2EE8, '麦'}, {0x2EE9, '黄'}, {0x2EEA, '黾'}, {0x2EEB, '斉'}, {0x2EEC, '齐'},
	{0x2EED, '歯'}, {0x2EEE, '齿'}, {0x2EEF, '竜'}, {0x2EF0, '龙'}, {0x2EF2, '亀'},
	{0x2EF3, '龟'},
}

// NameKey appends the comparison form of a display form that Name gave: upper
// case. It finds conflicts and is never shown and never a key.
//
// Traditional to simplified is left out: it needs a table of some thousand
// pairs, which golang.org/x/text does not have, and a wrong pair would make two
// people one. So 張 and 张 compare as different.
func NameKey(dst, display []byte) []byte {
	for i := 0; i < len(display); {
		c := display[i]
		if c < utf8.RuneSelf {
			if c >= 'a' && c <= 'z' {
				c -= 'a' - 'A'
			}
			dst = append(dst, c)
			i++
			continue
		}
		if c >= 0xE3 && c <= 0xE9 && i+3 <= len(display) { // no letters with case here
			dst = append(dst, c, display[i+1], display[i+2])
			i += 3
			continue
		}
		if c == 0xC2 && i+2 <= len(display) && display[i+1] == 0xB7 { // nameDot
			dst = append(dst, c, 0xB7)
			i += 2
			continue
		}
		r, w := utf8.DecodeRune(display[i:])
		if r == utf8.RuneError {
			dst = append(dst, display[i:i+w]...)
		} else {
			dst = utf8.AppendRune(dst, unicode.ToUpper(r))
		}
		i += w
	}
	return dst
}
