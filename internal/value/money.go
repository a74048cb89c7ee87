package value

import (
	"bytes"
	"math"

	"github.com/duiwu/duiwu/internal/feed"
)

// Money reads an amount of renminbi as whole fen (1/100 yuan), as decimal text
// throughout, never in binary floating point.
//
// Accepted: 3,500元, ￥3500.00, RMB 3500, 1.2万元, 亿元, 3元5角2分, Chinese and 大写
// numerals (叁仟伍佰元整, 两亿零三万元), full width, a sign. A bare whole number is
// fen when bareFen, which is what the contract says of JSON and CSV; with
// separators it is not bare, since people write yuan that way.
//
// Rules: MoneyNotExact for 约, 余, 左右, ranges and their like; MoneyUnit when no
// unit is written (35, 3500.00, 1.2万); OutOfRange above an int64; otherwise
// MoneyInvalid.
func Money(src []byte, bareFen bool) (fen int64, rule feed.Rule) {
	if v, ok := plainInteger(src); ok {
		if !bareFen {
			return 0, feed.MoneyUnit
		}
		return v, feed.NoRule
	}
	var t glyphs
	t.read(src)
	if t.about && t.number {
		return 0, feed.MoneyNotExact
	}
	g, negative := signed(t.g[:t.n])
	currency := false
	if len(g) > 0 && g[0] == gCurrency {
		g, currency = g[1:], true
		if !negative {
			g, negative = signed(g)
		}
	}
	if isRange(g) {
		return 0, feed.MoneyNotExact
	}
	if t.unknown || t.about {
		return 0, feed.MoneyInvalid
	}
	if n := len(g); n > 0 && g[n-1] == gCurrency {
		g = g[:n-1] // 3500元人民币
	}
	if n := len(g); n > 0 && g[n-1] == gWhole {
		g = g[:n-1]
	}
	fen, is := amount(g, currency, bareFen)
	switch is {
	case noUnit:
		return 0, feed.MoneyUnit
	case readBad:
		return 0, feed.MoneyInvalid
	case readTooLarge:
		return 0, feed.OutOfRange
	}
	if negative {
		fen = -fen
	}
	return fen, feed.NoRule
}

// noUnit is one more verdict: a number, but of what.
const noUnit verdict = readTooLarge + 1

// isRange says that two numbers stand around a hyphen or 至, or that a plus follows one.
func isRange(g []glyph) bool {
	before := false
	for i, c := range g {
		if digitGlyph(c) || c == gTen {
			before = true
		}
		if before && (c == '-' || c == gTo || c == '+') {
			if c == '+' {
				return true
			}
			for _, c := range g[i+1:] {
				if digitGlyph(c) || c == gTen {
					return true
				}
			}
		}
	}
	return false
}

func amount(g []glyph, currency, bareFen bool) (fen int64, is verdict) {
	yuan := bytes.IndexByte(g, gYuan)
	if yuan < 0 && bytes.IndexByte(g, gJiao) < 0 && bytes.IndexByte(g, gFen) < 0 {
		if currency {
			return numeral(g, 2)
		}
		if v, is := numeral(g, 0); is != readBad {
			if bareFen && is == readOK && digits(g) {
				return v, readOK
			}
			if is == readTooLarge && bareFen && digits(g) {
				return 0, readTooLarge
			}
			return 0, noUnit
		}
		if _, is := numeral(g, 10); is != readBad {
			return 0, noUnit // 3500.5
		}
		return 0, readBad
	}
	if yuan >= 0 {
		if fen, is = numeral(g[:yuan], 2); is != readOK {
			return 0, is
		}
		g = g[yuan+1:]
		if len(g) == 0 {
			return fen, readOK
		}
		if fen%100 != 0 {
			return 0, readBad // 3.5元2角
		}
	}
	// 角 and 分: one digit each after 元, any whole number when alone.
	for _, unit := range [...]struct {
		mark  glyph
		scale int
	}{{gJiao, 1}, {gFen, 0}} {
		at := bytes.IndexByte(g, unit.mark)
		if at < 0 {
			continue
		}
		part := g[:at]
		if len(part) > 1 && part[0] == gZero {
			part = part[1:] // 元零伍角
		}
		v, is := numeral(part, unit.scale)
		if is != readOK {
			return 0, is
		}
		limit := int64(math.MaxInt64)
		if yuan >= 0 || unit.mark == gFen && fen > 0 {
			if limit = 9; unit.mark == gJiao {
				limit = 99
			}
		}
		if v > limit || fen > math.MaxInt64-v {
			return 0, readBad
		}
		fen += v
		g = g[at+1:]
	}
	if len(g) != 0 {
		return 0, readBad
	}
	return fen, readOK
}
