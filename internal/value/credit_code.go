package value

import "github.com/duiwu/duiwu/internal/feed"

// usccValues holds the value of each character of the alphabet
// 0123456789ABCDEFGHJKLMNPQRTUWXY (GB 32100-2015), 0xFF for the others.
var usccValues = func() (v [256]uint8) {
	for i := range v {
		v[i] = 0xFF
	}
	for i := 0; i < len(usccAlphabet); i++ {
		v[usccAlphabet[i]] = uint8(i)
	}
	return v
}()

const usccAlphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// 3^(i-1) mod 31.
var usccWeights = [17]uint32{1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28}

// GB 11714, the organisation code within.
var orgWeights = [8]uint32{3, 7, 9, 10, 5, 8, 4, 2}

// CreditCode appends the 18 characters of a unified social credit code
// (GB 32100-2015; the organisation code inside is GB 11714).
//
// Repairs: full width to ASCII, upper case, white space, invisible characters
// and hyphens out. O for 0, I for 1, Z for 2, S for 5 and V for U are never
// guessed.
//
// Rules, the first that applies: USCCLength; USCCChar (outside the alphabet, or
// no digit in the area code, characters 3 to 8); USCCChecksum. When the inner
// organisation code fails its own check the note OrgCheck is set: alone it is a
// warning, beside USCCChecksum it says that both fail.
func CreditCode(dst, src []byte) (out []byte, notes Notes, rule feed.Rule) {
	if len(src) == 18 {
		if notes, rule, ok := usccJudge((*[18]byte)(src)); ok {
			if rule == feed.NoRule {
				dst = append(dst, src...)
			}
			return dst, notes, rule
		}
	}
	var n [18]byte
	size := 0
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
		switch {
		case space(r) || invisible(r):
			notes |= Spaces
			continue
		case r == '-' || r == 0x2010 || r == 0x2011:
			notes |= Hyphens
			continue
		case r >= 'a' && r <= 'z':
			r -= 'a' - 'A'
			notes |= Case
		case r >= 0x80:
			r = '?'
		}
		if size < len(n) {
			n[size] = byte(r)
		}
		size++
	}
	if size != len(n) {
		return dst, notes, feed.USCCLength
	}
	warning, rule, ok := usccJudge(&n)
	notes |= warning
	if !ok {
		return dst, notes, feed.USCCChar
	}
	if rule != feed.NoRule {
		return dst, notes, rule
	}
	return append(dst, n[:]...), notes, feed.NoRule
}

// usccJudge checks 18 characters; ok is false when one cannot stand where it is.
func usccJudge(n *[18]byte) (notes Notes, rule feed.Rule, ok bool) {
	var sum uint32
	for i, w := range usccWeights {
		v := uint32(usccValues[n[i]])
		if v == 0xFF || i >= 2 && i < 8 && v > 9 {
			return 0, 0, false
		}
		sum += v * w
	}
	last := usccValues[n[17]]
	if last == 0xFF {
		return 0, 0, false
	}
	var org uint32
	for i, w := range orgWeights {
		c := uint32(n[8+i])
		if c <= '9' {
			c -= '0'
		} else {
			c -= 'A' - 10
		}
		org += c * w
	}
	check := byte('0')
	switch c := 11 - org%11; c {
	case 10:
		check = 'X'
	case 11:
	default:
		check += byte(c)
	}
	if n[16] != check {
		notes = OrgCheck
	}
	if uint32(last) != (31-sum%31)%31 {
		return notes, feed.USCCChecksum, true
	}
	return notes, feed.NoRule, true
}

// OrgType returns our org_type code of a credit code, from its registering
// authority and type characters (GB 32100-2015): 51 social association, 52
// social service institution, 53 foundation, 59 other of civil affairs, 11
// state organ, 12 public institution, 13 mass organisation, 91 enterprise, and
// 99 for everything else.
func OrgType(code []byte) string {
	if len(code) < 2 {
		return "99"
	}
	switch string(code[:2]) {
	case "51":
		return "51"
	case "52":
		return "52"
	case "53":
		return "53"
	case "59":
		return "59"
	case "11":
		return "11"
	case "12":
		return "12"
	case "13":
		return "13"
	case "91":
		return "91"
	}
	return "99"
}
