package value

import (
	"math"
	"testing"

	"github.com/duiwu/duiwu/internal/feed"
)

func TestMoney(t *testing.T) {
	f := func(in string, bareFen bool, want int64, rule feed.Rule) {
		t.Helper()
		if fen, r := Money([]byte(in), bareFen); fen != want || r != rule {
			t.Fatalf("%q: %d, %v; want %d, %v", in, fen, r, want, rule)
		}
	}
	ok := func(in string, want int64) { t.Helper(); f(in, false, want, feed.NoRule) }
	bad := func(in string, rule feed.Rule) { t.Helper(); f(in, true, 0, rule) }

	for _, in := range []string{
		"叁仟伍佰元整", "3,500元", "３５００元", "￥3500.00", "¥3,500.00", "三千五百元", "3500.00元整", "3500元人民币",
		"人民币叁仟伍佰圆整", "RMB 3500", "0.35万元", "3千5百元", "350000分", "35000角", "3，500元", "￥３，５００.００",
	} {
		ok(in, 350000)
	}
	for _, in := range []string{"1.2万元", "12000元", "一万二千元", "￥1.2万", "1.20000万元", "1万2千元"} {
		ok(in, 1200000)
	}
	ok("壹佰贰拾万元", 120000000)
	ok("两亿零三万元", 20003000000)
	ok("1亿2000万元", 12000000000)
	ok("1.2345678901亿元", 12345678901)
	ok("3元5角2分", 352)
	ok("壹仟陆佰捌拾元零叁角贰分", 168032)
	ok("壹拾万柒仟元零伍角叁分", 10700053)
	ok("5角", 50)
	ok("5分", 5)
	ok("0元", 0)
	ok("零元", 0)
	ok("-3500元", -350000)
	ok("￥-3500", -350000)
	ok("拾万元", 10000000)
	ok("3百万元", 300000000)
	f("350000", true, 350000, feed.NoRule)
	f("３５００００", true, 350000, feed.NoRule)
	f("-5", true, -5, feed.NoRule)

	for _, in := range []string{"约30万元", "30-40万元", "30~40万元", "30至40万元", "30万元左右", "700余元", "近30万元", "大约30万", "几千元", "30万+", "30万元以上", ">30万元"} {
		bad(in, feed.MoneyNotExact)
	}
	f("35", false, 0, feed.MoneyUnit)
	for _, in := range []string{"3500.00", "3,500", "1.2万", "三千五百", "3500.5"} {
		bad(in, feed.MoneyUnit)
	}
	for _, in := range []string{"", "面议", "元", "$35", "35港元", "3.005元", "3,50元", "3元5", "3.5元2角", "三万五元", "三亿二千元", "万元", "3元12角", "\xff", "1.元", ".5元", "1,2345元", "¥", "多少"} {
		bad(in, feed.MoneyInvalid)
	}
	bad("999999999999亿元", feed.OutOfRange)
	bad("99999999999999999999元", feed.OutOfRange)
	bad("99999999999999999999", feed.OutOfRange)
}

func TestInteger(t *testing.T) {
	f := func(in string, want int64, rule feed.Rule) {
		t.Helper()
		if v, r := Integer([]byte(in)); v != want || r != rule {
			t.Fatalf("%q: %d, %v; want %d, %v", in, v, r, want, rule)
		}
	}
	ok := func(in string, want int64) { t.Helper(); f(in, want, feed.NoRule) }
	ok("42", 42)
	ok("-42", -42)
	ok("+42", 42)
	ok("007", 7)
	ok("４２", 42)
	ok("1,234,567", 1234567)
	ok("十一", 11)
	ok("十", 10)
	ok("三十", 30)
	ok("廿三", 23)
	ok("卅", 30)
	ok("一百零五", 105)
	ok("一百一十五", 115)
	ok("一百十五", 115)
	ok("两千零一十六", 2016)
	ok("二〇一六", 2016)
	ok("2.9万", 29000)
	ok("零", 0)
	ok("一万二千亿", 1_2000_0000_0000)
	ok("三万亿零五万", 3_0000_0005_0000)
	ok("一亿二千三百四十五万六千七百八十九", 123456789)
	ok("十二万三千", 123000)
	ok("3万500", 30500)
	ok(" 5.0 ", 5)
	for _, in := range []string{"", "700余", "约700", "abc", "1.5", "1 人", "三万五", "3万5", "一百五", "十十", "万", "百", "三百零", "零五百", "一千三万", "五千三千", "3五", "1e3", "0x10", "1,23", "--5", "5-6", "三五百", "一二三万", "\xff", "-", ".", "1.", "三亿万"} {
		f(in, 0, feed.Type)
	}
	f("99999999999999999999", 0, feed.OutOfRange)
	f("999999999999999999", 999999999999999999, feed.NoRule)
}

func TestTenths(t *testing.T) {
	f := func(in string, want int64, rule feed.Rule) {
		t.Helper()
		if v, r := Tenths([]byte(in)); v != want || r != rule {
			t.Fatalf("%q: %d, %v; want %d, %v", in, v, r, want, rule)
		}
	}
	f("7.5", 75, feed.NoRule)
	f("7.50", 75, feed.NoRule)
	f("７．５", 75, feed.NoRule)
	f("7", 70, feed.NoRule)
	f("-7.5", -75, feed.NoRule)
	f("-0.5", -5, feed.NoRule)
	f("1,234.5", 12345, feed.NoRule)
	f("七", 70, feed.NoRule)
	f("0.0", 0, feed.NoRule)
	f("7.55", 0, feed.Type)
	f("7.5分", 0, feed.Type)
	f(".5", 0, feed.Type)
	f("", 0, feed.Type)
	f("999999999999999999.9", 0, feed.OutOfRange)
}

// TestNumeralsRoundTrip writes numbers in Chinese by the rules and reads them back.
func TestNumeralsRoundTrip(t *testing.T) {
	for n := int64(1); n > 0 && n < math.MaxInt64/10; n = n*3 + n%7 + 1 {
		for _, v := range []int64{n, n * 10, n / 100 * 100, n / 1000 * 1000, n%10000*10000 + 7} {
			if v <= 0 || v >= 1e16 {
				continue
			}
			text := chinese(v)
			if got, rule := Integer([]byte(text)); got != v || rule != feed.NoRule {
				t.Fatalf("%s: %d, %v; want %d", text, got, rule, v)
			}
		}
	}
}

// chinese writes v below 10^16 in full: each skipped place is one 零.
func chinese(v int64) string {
	if v >= 1e8 {
		rest := v % 1e8
		out := chinese(v/1e8) + "亿"
		if rest > 0 {
			if rest < 1e7 {
				out += "零"
			}
			out += chinese(rest)
		}
		return out
	}
	if v >= 1e4 {
		rest := v % 1e4
		out := chinese(v/1e4) + "万"
		if rest > 0 {
			if rest < 1000 {
				out += "零"
			}
			out += chinese(rest)
		}
		return out
	}
	digits, units := []rune("零一二三四五六七八九"), []string{"千", "百", "十", ""}
	out, gap := "", false
	for i, p := range []int64{1000, 100, 10, 1} {
		d := v / p % 10
		if d == 0 {
			gap = out != ""
			continue
		}
		if gap {
			out += "零"
			gap = false
		}
		out += string(digits[d]) + units[i]
	}
	return out
}
