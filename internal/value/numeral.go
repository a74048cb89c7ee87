package value

import (
	"math"
	"math/bits"

	"github.com/duiwu/duiwu/internal/feed"
)

// A number's text becomes glyphs, one byte each, so that the readers below walk
// over bytes and see ASCII, full width, Chinese numerals and 大写 alike.
type glyph = byte

const (
	// '0' to '9', '.', ',', '-', '+' stand for themselves.
	gZero glyph = 128 + iota // 零 〇; gZero+1 to gZero+9 are 一 to 九
	_                        // gZero + 1
	_
	_
	_
	_
	_
	_
	_
	_ // gZero + 9
	gTwenty
	gThirty
	gForty
	gTen      // the units of 10^1, 10^2, 10^3
	gHundred  //
	gThousand //
	gWan      // 10^4
	gYi       // 10^8
	gYuan
	gJiao
	gFen
	gWhole    // 整, 正
	gCurrency // ￥, 人民币
	gTo       // a range
	gAbout    // 约, 余, 左右 ..., whatever makes a number inexact
)

// glyphOf returns 0 for what has no business in a number.
func glyphOf(r rune) glyph {
	if r >= '0' && r <= '9' || r == '.' || r == ',' || r == '-' || r == '+' {
		return glyph(r)
	}
	switch r {
	case '零', '〇', '○', '◯':
		return gZero
	case '一', '壹':
		return gZero + 1
	case '二', '贰', '貳', '两', '兩':
		return gZero + 2
	case '三', '叁', '參', '叄':
		return gZero + 3
	case '四', '肆':
		return gZero + 4
	case '五', '伍':
		return gZero + 5
	case '六', '陆', '陸':
		return gZero + 6
	case '七', '柒':
		return gZero + 7
	case '八', '捌':
		return gZero + 8
	case '九', '玖':
		return gZero + 9
	case '廿':
		return gTwenty
	case '卅':
		return gThirty
	case '卌':
		return gForty
	case '十', '拾':
		return gTen
	case '百', '佰':
		return gHundred
	case '千', '仟':
		return gThousand
	case '万', '萬':
		return gWan
	case '亿', '億':
		return gYi
	case '元', '圆', '圓', '块':
		return gYuan
	case '角', '毛':
		return gJiao
	case '分':
		return gFen
	case '整', '正':
		return gWhole
	case '¥', '￥':
		return gCurrency
	case 0x2212:
		return '-'
	case '~', '～', '—', '–', '至', '到', '〜':
		return gTo
	case '约', '約', '近', '余', '餘', '多', '逾', '几', '幾', '数', '數', '来', '超', '≈', '<', '>', '≤', '≥', '±':
		return gAbout
	}
	return 0
}

// glyphs is the text of one number.
type glyphs struct {
	g       [64]glyph
	n       int
	about   bool // inexact words were met (and left out)
	number  bool // at least one digit or numeral was met
	unknown bool // something was met that has no business in a number
}

// words are the inexact words and the currencies of more than one character.
var words = [...]struct {
	text string
	g    glyph
}{
	{"大约", gAbout}, {"左右", gAbout}, {"上下", gAbout}, {"以上", gAbout}, {"以下", gAbout},
	{"不足", gAbout}, {"不到", gAbout}, {"至少", gAbout}, {"至多", gAbout}, {"最多", gAbout}, {"最少", gAbout},
	{"人民币", gCurrency}, {"RMB", gCurrency}, {"CNY", gCurrency}, {"rmb", gCurrency},
}

func (t *glyphs) read(src []byte) {
	src = trim(src)
scan:
	for i := 0; i < len(src); {
		r, w, ok := next(src, i)
		if !ok {
			t.unknown = true
			return
		}
		if r = fold(r); blank(r) {
			i += w
			continue
		}
		switch r { // the first characters of words
		case '大', '左', '上', '以', '不', '至', '最', '人', 'R', 'C', 'r':
			for k := range words {
				if x := words[k].text; len(src)-i >= len(x) && string(src[i:i+len(x)]) == x {
					if words[k].g == gAbout {
						t.about = true
					} else {
						t.add(words[k].g)
					}
					i += len(x)
					continue scan
				}
			}
		}
		i += w
		switch g := glyphOf(r); {
		case g == 0:
			t.unknown = true
		case g == gAbout:
			t.about = true
		default:
			if g >= '0' && g <= '9' || g >= gZero && g <= gYi {
				t.number = true
			}
			t.add(g)
		}
	}
}

func (t *glyphs) add(g glyph) {
	if t.n == len(t.g) {
		t.unknown = true
		return
	}
	t.g[t.n] = g
	t.n++
}

// verdict of reading a numeral.
type verdict uint8

const (
	readOK verdict = iota
	readBad
	readTooLarge
)

var powers = [20]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}

// numeral reads a number without sign as v = number x 10^scale, which must be
// whole: 3,500.00, 1.2万, 一万二千, 叁仟伍佰, 廿三, 二〇一六 (a string of digits),
// 3万5千. It reads from the right, where each digit's place is known by the units
// met so far, and asks that places rise strictly.
//
// Colloquial short forms are refused, since 三万五 may be 30,005 or 35,000: a
// skipped place needs its 零, but that it may be left out before 千 (the rules for
// amounts on bills allow 壹拾万柒仟).
func numeral(g []glyph, scale int) (v int64, is verdict) {
	if len(g) == 0 {
		return 0, readBad
	}
	if isDigitString(g) {
		var sum uint64
		for i, c := range g {
			if i > 17 {
				return 0, readTooLarge
			}
			sum = sum*10 + uint64(c-gZero)
		}
		return sumAt(0, sum, scale)
	}
	var (
		total      int64
		unit, big  int   // exponents of the units to the right
		floor      = -20 // the lowest place still free
		zero       bool  // a 零 was met since the last digit
		digitsSeen bool
		lowPlace   int  // of the digit to the right, for the rule of skipped places
		short      bool // that digit has a rule of skipped places to keep
	)
	put := func(m uint64, place, width int, single bool) verdict {
		if place < floor {
			return readBad
		}
		if digitsSeen && short && !zero {
			if gap := place - lowPlace; gap > 1 && !(lowPlace%4 == 3 && place/4 == lowPlace/4+1) {
				return readBad
			}
		}
		var is verdict
		if total, is = sumAt(total, m, place+scale); is != readOK {
			return is
		}
		floor, digitsSeen, zero = place+width, true, false
		lowPlace, short = place, single
		return readOK
	}
	for i := len(g) - 1; i >= 0; {
		switch c := g[i]; {
		case c == gYi:
			if unit != 0 || big > 8 || big == 8 || floor > 8 {
				return 0, readBad
			}
			big = 8
			i--
			if !hasDigit(g, i) {
				return 0, readBad
			}
			continue
		case c == gWan:
			if unit != 0 {
				return 0, readBad
			}
			switch {
			case big == 8 || big == 12:
				if big == 12 {
					return 0, readBad
				}
				big = 12
			case big == 0 && floor <= 4:
				big = 4
			default:
				return 0, readBad
			}
			i--
			if !hasDigit(g, i) {
				return 0, readBad
			}
			continue
		case c >= gTen && c <= gThousand:
			e := int(c-gTen) + 1
			// 十 alone is 一十; 百 and 千 may stand before 万 and 亿 after ASCII digits (3百万).
			if i > 0 && digitGlyph(g[i-1]) && g[i-1] != gZero {
				unit = e
				i--
				continue
			}
			if c != gTen || i > 0 && g[i-1] >= gTen && g[i-1] < gHundred {
				return 0, readBad
			}
			if is := put(1, big+1, 1, true); is != readOK {
				return 0, is
			}
			i--
		case c >= gTwenty && c <= gForty:
			if unit != 0 {
				return 0, readBad
			}
			if is := put(uint64(c-gTwenty)+2, big+1, 1, true); is != readOK {
				return 0, is
			}
			i--
		case c == gZero:
			if unit != 0 || zero || i == 0 || i == len(g)-1 && len(g) > 1 {
				return 0, readBad
			}
			zero = true
			i--
		case c > gZero && c <= gZero+9:
			if i > 0 && (digitGlyph(g[i-1]) && g[i-1] != gZero && g[i-1] < gTwenty || g[i-1] == '.' || g[i-1] == ',') {
				return 0, readBad
			}
			if is := put(uint64(c-gZero), big+unit, 1, true); is != readOK {
				return 0, is
			}
			unit = 0
			i--
		case c >= '0' && c <= '9':
			start := i
			for start > 0 && (g[start-1] >= '0' && g[start-1] <= '9' || g[start-1] == '.' || g[start-1] == ',') {
				start--
			}
			if start > 0 && digitGlyph(g[start-1]) {
				return 0, readBad
			}
			m, whole, places, is := decimal(g[start : i+1])
			if is != readOK {
				return 0, is
			}
			place := big + unit - places
			if is := put(m, place, whole+places, whole == 1 && places == 0); is != readOK {
				return 0, is
			}
			unit = 0
			i = start - 1
		default:
			return 0, readBad
		}
	}
	if !digitsSeen || unit != 0 {
		return 0, readBad
	}
	return total, readOK
}

func digitGlyph(c glyph) bool { return c >= '0' && c <= '9' || c >= gZero && c <= gForty }

// hasDigit says that a digit or a smaller unit stands at i, before a unit.
func hasDigit(g []glyph, i int) bool {
	return i >= 0 && (digitGlyph(g[i]) && g[i] != gZero || g[i] >= gTen && g[i] <= gWan)
}

func isDigitString(g []glyph) bool {
	for _, c := range g {
		if c < gZero || c > gZero+9 {
			return false
		}
	}
	return true
}

// decimal reads ASCII digits with thousands separators and a fraction: the digits
// as one number without its last zeros of the fraction, how many digits are
// before and after the point.
func decimal(g []glyph) (m uint64, whole, places int, is verdict) {
	group := -1 // digits since the last separator
	point := false
	significant := 0
	zeros := 0 // of the fraction, not yet in m
	for _, c := range g {
		switch {
		case c == ',':
			if point || whole == 0 || group < 0 && whole > 3 || group >= 0 && group != 3 {
				return 0, 0, 0, readBad
			}
			group = 0
		case c == '.':
			if point || whole == 0 || group >= 0 && group != 3 {
				return 0, 0, 0, readBad
			}
			point = true
		case point && c == '0':
			zeros++
		default:
			d := uint64(c - '0')
			if point {
				for ; zeros > 0; zeros-- {
					if significant++; significant > 18 {
						return 0, 0, 0, readBad
					}
					m *= 10
					places++
				}
				places++
			} else {
				whole++
				if group >= 0 {
					group++
				}
			}
			if m > 0 || d > 0 {
				if significant++; significant > 18 {
					if point && whole <= 9 {
						return 0, 0, 0, readBad
					}
					return 0, 0, 0, readTooLarge
				}
			}
			m = m*10 + d
		}
	}
	if group >= 0 && !point && group != 3 || g[len(g)-1] == '.' || g[len(g)-1] == ',' {
		return 0, 0, 0, readBad
	}
	return m, whole, places, readOK
}

// sumAt adds m x 10^e, which must be whole, to total.
func sumAt(total int64, m uint64, e int) (int64, verdict) {
	if m == 0 {
		return total, readOK
	}
	if e < 0 {
		if e < -18 || m%powers[-e] != 0 {
			return 0, readBad
		}
		m /= powers[-e]
	} else {
		if e >= len(powers) {
			return 0, readTooLarge
		}
		hi, lo := bits.Mul64(m, powers[e])
		if hi != 0 {
			return 0, readTooLarge
		}
		m = lo
	}
	if m > math.MaxInt64 || int64(m) > math.MaxInt64-total {
		return 0, readTooLarge
	}
	return total + int64(m), readOK
}

// Integer reads a whole number: ASCII or full-width digits, thousands separators
// in their places, Chinese numerals (一百零五, 两千零一十六, 二〇一六, 廿三, 2.9万),
// perhaps a sign. Anything else, an approximate number (700余) too, is feed.Type;
// more than an int64 is feed.OutOfRange.
func Integer(src []byte) (int64, feed.Rule) {
	if v, ok := plainInteger(src); ok {
		return v, feed.NoRule
	}
	return number(src, 0)
}

// Tenths reads a number of at most one decimal place, in tenths: 7.5 and 7.50 are
// 75, 7 is 70, 7.55 is feed.Type. Otherwise as Integer.
func Tenths(src []byte) (int64, feed.Rule) {
	if n := len(src); n >= 3 && src[n-2] == '.' && src[n-1]-'0' <= 9 && src[0] != '-' {
		if v, ok := plainInteger(src[:n-2]); ok && v < math.MaxInt64/10-1 {
			return v*10 + int64(src[n-1]-'0'), feed.NoRule
		}
	}
	return number(src, 1)
}

// plainInteger is the fast path: up to 18 ASCII digits, perhaps a minus.
func plainInteger(src []byte) (v int64, ok bool) {
	b := src
	if len(b) > 1 && b[0] == '-' {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c-'0' > 9 {
			return 0, false
		}
		v = v*10 + int64(c-'0')
	}
	if len(b) != len(src) {
		v = -v
	}
	return v, true
}

func number(src []byte, scale int) (int64, feed.Rule) {
	var t glyphs
	t.read(src)
	if t.unknown || t.about {
		return 0, feed.Type
	}
	g, negative := signed(t.g[:t.n])
	v, is := numeral(g, scale)
	switch is {
	case readBad:
		return 0, feed.Type
	case readTooLarge:
		return 0, feed.OutOfRange
	}
	if negative {
		v = -v
	}
	return v, feed.NoRule
}

func signed(g []glyph) (rest []glyph, negative bool) {
	if len(g) > 1 && (g[0] == '-' || g[0] == '+') {
		return g[1:], g[0] == '-'
	}
	return g, false
}
