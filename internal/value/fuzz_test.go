package value

import (
	"bytes"
	"strconv"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/duiwu/duiwu/internal/feed"
)

var seeds = []string{
	"", "1", "119901198001153013", "６４９９０６19680101005Х", "119901800115301", "1.19901E+17", "'319902 19851231 0029",
	"52119900MJ0000018T", "+86 138-0000-0000", "2016年11月11日", "二〇一六年十一月", "42685.946192", "2016-11-11T22:42:31+08:00",
	"20161111224231Z", "16.11.11", "叁仟伍佰元整", "两亿零三万元", "￥3,500.00", "30-40万元", "3元5角2分", "一万二千亿", "廿三", "7.50",
	"阿依古丽．买买提", "ＺＨＡＯ　Ｌｉ", "⼈小明", "⺠", "e\u0301", "A\u200b\u0301", "李\uFFFD", "\xff\xfe", "\uE000", "是", "Ｙｅｓ", "豈",
}

func seed(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
}

// fuzzAppend: no panic; dst is kept; an error gives nothing; an output read
// again gives itself and needs no repair.
func fuzzAppend(f *testing.F, x func(dst, src []byte) ([]byte, Notes, feed.Rule)) {
	seed(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		before := bytes.Clone(src)
		out, notes, rule := x([]byte("dst"), src)
		if !bytes.Equal(src, before) {
			t.Fatal("src was written to")
		}
		if !bytes.HasPrefix(out, []byte("dst")) {
			t.Fatalf("dst was lost: %q", out)
		}
		out = out[3:]
		if rule != feed.NoRule {
			if len(out) != 0 || rule.Severity() != feed.Error {
				t.Fatalf("rule %v with output %q", rule, out)
			}
			return
		}
		if !utf8.Valid(out) {
			t.Fatalf("%q is not UTF-8", out)
		}
		if notes == 0 && !bytes.Equal(out, src) {
			t.Fatalf("%q became %q without a note", src, out)
		}
		again, notes, rule := x(nil, out)
		if !bytes.Equal(again, out) || rule != feed.NoRule || notes&^OrgCheck != 0 {
			t.Fatalf("%q became %q and then %q, notes %q, rule %v", src, out, again, notes, rule)
		}
	})
}

func FuzzResidentID(f *testing.F) {
	fuzzAppend(f, func(dst, src []byte) ([]byte, Notes, feed.Rule) {
		out, notes, rule := ResidentID(dst, src, ResidentIDOptions{Today: 20_000, AllowTestAreas: true})
		if rule == feed.NoRule {
			n := out[len(dst):]
			if BirthDays(n) > 20_000 || Sex(n) == '0' || len(Area(n)) != 6 || n[17] != ricCheck((*[18]byte)(n)) {
				panic("an accepted number must be whole")
			}
		}
		return out, notes, rule
	})
}

func FuzzCreditCode(f *testing.F) {
	fuzzAppend(f, func(dst, src []byte) ([]byte, Notes, feed.Rule) { _ = OrgType(src); return CreditCode(dst, src) })
}
func FuzzMobile(f *testing.F) { fuzzAppend(f, Mobile) }
func FuzzName(f *testing.F)   { fuzzAppend(f, Name) }
func FuzzText(f *testing.F)   { fuzzAppend(f, Text) }
func FuzzCode(f *testing.F)   { fuzzAppend(f, Code) }

func FuzzNameKey(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		once := NameKey(nil, src)
		if twice := NameKey(nil, once); !bytes.Equal(once, twice) {
			t.Fatalf("%q, %q, %q", src, once, twice)
		}
	})
}

func FuzzDate(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		YearMonth(src)
		Serial(int64(len(src)), true)
		days, p, rule := Date(src)
		if rule != feed.NoRule {
			return
		}
		text := time.Unix(int64(days)*86400, 0).UTC().Format([]string{"2006-01-02", "2006-01", "2006年"}[p])
		if again, q, rule := Date([]byte(text)); again != days || q != p || rule != feed.NoRule && days < daysOf(latestYear, 12, 31) {
			t.Fatalf("%q is %s, and then %d, %v, %v", src, text, again, q, rule)
		}
	})
}

func FuzzDateTime(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		milli, second, rule := DateTime(src)
		if second != (rule == feed.NoRule) {
			t.Fatal("second and rule must agree")
		}
		if !second {
			return
		}
		at := time.UnixMilli(milli).UTC()
		if at.Year() < earliestYear || at.Year() > latestYear {
			return // an offset led out of the years
		}
		again, _, rule := DateTime([]byte(at.Format(time.RFC3339Nano)))
		if again != milli || rule != feed.NoRule {
			t.Fatalf("%q is %v, and then %v, %v", src, at, time.UnixMilli(again).UTC(), rule)
		}
		// Whoever is a date by Date is the same day in China here.
		if days, _, rule := Date(src); rule != feed.NoRule || int64(days) != (milli+milliZone-mod(milli+milliZone, milliDay))/milliDay {
			t.Fatalf("%q: day %d, %v", src, days, rule)
		}
	})
}

func mod(a, b int64) int64 { return (a%b + b) % b }

func FuzzMoney(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		unsure, rule1 := Money(src, false)
		fen, rule := Money(src, true)
		if rule1 == feed.NoRule && (rule != feed.NoRule || fen != unsure) {
			t.Fatalf("%q: %d, %v; %d, %v", src, unsure, rule1, fen, rule)
		}
		if rule != feed.NoRule {
			return
		}
		if again, rule := Money(strconv.AppendInt(nil, fen, 10), true); again != fen && rule != feed.OutOfRange {
			t.Fatalf("%q is %d, and then %d, %v", src, fen, again, rule)
		}
	})
}

func FuzzNumbers(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		Bool(src)
		tenths, rule10 := Tenths(src)
		v, rule := Integer(src)
		if rule == feed.NoRule && rule10 == feed.NoRule && tenths != v*10 {
			t.Fatalf("%q: %d and %d tenths", src, v, tenths)
		}
		if rule == feed.NoRule && rule10 == feed.Type {
			t.Fatalf("%q is an integer and no tenths", src)
		}
	})
}

func FuzzPersonal(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		if HoldsPersonalNumber(src) && LongDigitRun(src) < 11 {
			t.Fatalf("%q holds a number of fewer digits", src)
		}
		// What the contract calls an identity or mobile number is found, alone in a text.
		opt := ResidentIDOptions{Today: 1 << 30, AllowTestAreas: true}
		if n, _, rule := ResidentID(nil, src, opt); rule == feed.NoRule && !HoldsPersonalNumber(n) {
			t.Fatalf("%q is an identity number", n)
		}
		if n, _, rule := Mobile(nil, src); rule == feed.NoRule && !HoldsPersonalNumber(n) {
			t.Fatalf("%q is a mobile number", n)
		}
		Damaged(src)
	})
}
