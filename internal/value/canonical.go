package value

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/duiwu/duiwu/internal/feed"
)

// Canonical appends the form by which two values of a field are compared: the 15
// and the 18 digits of a number are one, a code and its name are one, 1.2万元 and
// 1200000 are one. A value that cannot be read gives its rule and appends
// nothing; bounds and rules between fields are the check's affair. Numbers of the
// test area count as numbers. A Subject is read as a citizen's number where it is
// one.
func Canonical(dst, src []byte, f *feed.Field, cat *feed.Catalogue, today int32) (out []byte, rule feed.Rule) {
	n := len(dst)
	num := func(v int64, rule feed.Rule) ([]byte, feed.Rule) {
		if rule != feed.NoRule {
			return dst[:n], rule
		}
		return strconv.AppendInt(dst, v, 10), feed.NoRule
	}
	listed := func(src []byte) (string, feed.Rule) {
		key, _, rule := Code(nil, src)
		if rule != feed.NoRule {
			return "", rule
		}
		var code string
		var ok bool
		if f.Kind.Kind == feed.Unit {
			code, ok = cat.LookupUnit(key)
		} else {
			code, ok = cat.List(f.List).Lookup(key)
		}
		if !ok {
			return "", feed.CodeList
		}
		return code, feed.NoRule
	}
	switch f.Kind.Kind {
	case feed.ResidentID:
		dst, _, rule = ResidentID(dst, src, ResidentIDOptions{Today: today, AllowTestAreas: true})
	case feed.Subject:
		if dst, _, rule = ResidentID(dst, src, ResidentIDOptions{Today: today, AllowTestAreas: true}); rule != feed.NoRule {
			dst, _, rule = Code(dst[:n], src)
		}
	case feed.CreditCode:
		dst, _, rule = CreditCode(dst, src)
	case feed.Code, feed.Unit:
		var code string
		if code, rule = listed(src); rule == feed.NoRule {
			dst = append(dst, code...)
		}
	case feed.Codes:
		var all []string
		for _, part := range SplitCodes(src) {
			code, rule := listed(part)
			if rule != feed.NoRule {
				return dst[:n], rule
			}
			all = append(all, code)
		}
		slices.Sort(all)
		dst = append(dst, strings.Join(slices.Compact(all), ",")...)
	case feed.Division:
		var code []byte
		code, _, rule = Code(nil, src)
		if rule == feed.NoRule && cat.Divisions.Lookup(code, today) == feed.Unknown {
			rule = feed.DivisionUnknown
		}
		if rule == feed.NoRule {
			dst = append(dst, code...)
		}
	case feed.PersonName:
		var name []byte
		if name, _, rule = Name(nil, src); rule == feed.NoRule {
			dst = NameKey(dst, name)
		}
	case feed.Mobile:
		dst, _, rule = Mobile(dst, src)
	case feed.Date, feed.Birth:
		day, precision, rule := Date(src)
		if rule == feed.NoRule && precision != Day && !f.Partial {
			rule = feed.DatePartial
		}
		return num(int64(day), rule)
	case feed.Period:
		day, precision, rule := YearMonth(src)
		if rule == feed.NoRule && precision == Year {
			rule = feed.DatePartial
		}
		return num(int64(day), rule)
	case feed.Time:
		ms, exact, rule := DateTime(src)
		if rule == feed.NoRule && !exact {
			rule = feed.ReportedAtPrecision
		}
		return num(ms, rule)
	case feed.Money, feed.Pay:
		return num(Money(src, true))
	case feed.Integer:
		return num(Integer(src))
	case feed.Tenths:
		return num(Tenths(src))
	case feed.Bool:
		var v bool
		if v, rule = Bool(src); rule == feed.NoRule {
			dst = strconv.AppendBool(dst, v)
		}
	case feed.Text:
		dst, _, rule = Text(dst, src)
	default:
		dst, _, rule = Code(dst, src)
	}
	if rule != feed.NoRule {
		return dst[:n], rule
	}
	return dst, feed.NoRule
}

// SplitCodes cuts a text of several codes apart.
func SplitCodes(src []byte) [][]byte {
	parts := bytes.FieldsFunc(src, func(r rune) bool { return strings.ContainsRune(",;|、，；", r) })
	for i := range parts {
		parts[i] = bytes.TrimSpace(parts[i])
	}
	return parts
}
