package value

import (
	"math/rand/v2"
	"testing"

	"github.com/duiwu/duiwu/internal/feed"
)

// ymd is a day for tests.
func ymd(y, m, d int) int32 { return daysOf(y, m, d) }

func TestNotes(t *testing.T) {
	f := func(n Notes, want string, warning feed.Rule) {
		t.Helper()
		if n.String() != want || n.Warning() != warning {
			t.Fatalf("got %q, %v; want %q, %v", n, n.Warning(), want, warning)
		}
	}
	f(0, "", feed.NoRule)
	f(FullWidth|Spaces, "full_width,spaces", feed.NoRule)
	f(FifteenDigits|Case, "case,fifteen_digits", feed.RICFifteenDigits)
	f(OrgCheck, "org_check", feed.USCCOrgChecksum)
	if 1<<len(noteNames) != int(notesEnd) {
		t.Fatal("noteNames has a hole")
	}
	for _, r := range []feed.Rule{feed.RICFifteenDigits, feed.USCCOrgChecksum} {
		if r.Severity() != feed.Warning {
			t.Fatalf("%v must be a warning", r)
		}
	}
}

// appender tests one function of the appending shape: dst keeps what it held,
// and grows only when no rule is broken.
func appender(t *testing.T, x func(dst, src []byte) ([]byte, Notes, feed.Rule)) func(in, want string, notes Notes, rule feed.Rule) {
	return func(in, want string, notes Notes, rule feed.Rule) {
		t.Helper()
		out, n, r := x([]byte("dst "), []byte(in))
		if string(out) != "dst "+want || n != notes || r != rule {
			t.Fatalf("%q: got %q, notes %q, rule %v; want %q, %q, %v", in, out, n, r, "dst "+want, notes, rule)
		}
	}
}

func TestResidentID(t *testing.T) {
	opt := ResidentIDOptions{Today: ymd(2026, 11, 23), AllowTestAreas: true}
	f := appender(t, func(dst, src []byte) ([]byte, Notes, feed.Rule) { return ResidentID(dst, src, opt) })
	ok := func(number string, sex byte, birth int32) {
		t.Helper()
		f(number, number, 0, feed.NoRule)
		n := []byte(number)
		if Sex(n) != sex || BirthDays(n) != birth || string(Area(n)) != number[:6] {
			t.Fatalf("%s: sex %c, born %d, area %s", number, Sex(n), BirthDays(n), Area(n))
		}
	}
	bad := func(in string, rule feed.Rule) { t.Helper(); f(in, "", 0, rule) }

	ok("119901198001153013", '1', ymd(1980, 1, 15))
	ok("319902198512310029", '2', ymd(1985, 12, 31))
	ok("449903199202290173", '1', ymd(1992, 2, 29))
	ok("429904197607041283", '2', ymd(1976, 7, 4))
	ok("529905199511119997", '1', ymd(1995, 11, 11))
	ok("64990619680101005X", '1', ymd(1968, 1, 1))
	ok("659907199912302102", '2', ymd(1999, 12, 30))
	ok("519908198810083333", '1', ymd(1988, 10, 8))
	// The standard's own samples.
	ok("11010519491231002X", '2', ymd(1949, 12, 31))
	ok("440524188001010014", '1', ymd(1880, 1, 1))

	bad("119901198001153012", feed.RICChecksum)
	bad("119901198001533013", feed.RICBirthDate)
	bad("449903199302290170", feed.RICBirthDate)
	bad("11990119800115301", feed.RICLength)
	bad("119901198001153000", feed.RICPrecision)
	bad("1.19901E+17", feed.RICPrecision)
	bad("1.19901198001153E+17", feed.RICPrecision)
	bad("1199011980O1153013", feed.RICChar)
	bad("119901205001153016", feed.RICFuture)
	bad("", feed.RICLength)
	bad("身份证", feed.RICLength)
	bad("119901198001153013X", feed.RICLength)
	bad("X19901198001153013", feed.RICChar)
	bad("1199011980011530Х3", feed.RICChar)
	bad("-119901198001153013", feed.RICLength)
	bad("119901198001153013-", feed.RICLength)
	bad("\xff19901198001153013", feed.RICChar)
	f("119901--198001153013", "", Hyphens, feed.RICLength)
	f("1199011980011530'13", "", 0, feed.RICLength)

	f("１１９９０１１９８００１１５３０１３", "119901198001153013", FullWidth, feed.NoRule)
	f("64990619680101005x", "64990619680101005X", Case, feed.NoRule)
	f("64990619680101005ｘ", "64990619680101005X", Case|FullWidth, feed.NoRule)
	f("64990619680101005\u0425", "64990619680101005X", Lookalike, feed.NoRule)
	f("64990619680101005\u0445", "64990619680101005X", Lookalike, feed.NoRule)
	f("64990619680101005\u03A7", "64990619680101005X", Lookalike, feed.NoRule)
	f("64990619680101005\u00D7", "64990619680101005X", Lookalike, feed.NoRule)
	f("64990619680101005\u2715", "64990619680101005X", Lookalike, feed.NoRule)
	f("'319902 19851231 0029", "319902198512310029", Apostrophe|Spaces, feed.NoRule)
	f("319902-19851231-0029", "319902198512310029", Hyphens, feed.NoRule)
	f("\ufeff319902\u00a019851231\u200b0029\u3000", "319902198512310029", Spaces, feed.NoRule)

	up := func(in, want string) { t.Helper(); f(in, want, FifteenDigits, feed.NoRule) }
	up("119901800115301", "119901198001153013")
	up("319902851231002", "319902198512310029")
	up("449903760229017", "449903197602290173")
	up("429904760704128", "429904197607041283")
	up("529905601111993", "529905196011119938")
	up("659907681230210", "659907196812302101")
	bad("119901800115996", feed.RICLegacyAge)
	bad("119901800115999", feed.RICLegacyAge)
	f("119901801315301", "", FifteenDigits, feed.RICBirthDate)
	bad("11990180011530X", feed.RICChar)

	opt.AllowTestAreas = false
	bad("119901198001153013", feed.RICTestArea)
	f("119901800115301", "", FifteenDigits, feed.RICTestArea)
	f("11010519491231002X", "11010519491231002X", 0, feed.NoRule)

	if BirthDays(nil) != 0 || Sex([]byte("1")) != '0' || Area([]byte("1")) != nil {
		t.Fatal("accessors must bear anything")
	}
}

func TestCreditCode(t *testing.T) {
	f := appender(t, CreditCode)
	ok := func(code, orgType string) {
		t.Helper()
		f(code, code, 0, feed.NoRule)
		if got := OrgType([]byte(code)); got != orgType {
			t.Fatalf("%s: org type %s, want %s", code, got, orgType)
		}
	}
	ok("52119900MJ0000018T", "52")
	ok("51319900MJ00000266", "51")
	ok("53449900MJ0000034X", "53")
	ok("12429900MB0000043C", "12")
	ok("11529900MB00000511", "11")
	ok("91649900MA00000666", "91")
	ok("31659900MD0000075L", "99")
	ok("Y1119900MC000008X0", "99")
	ok("N1519900MF0000099C", "99")
	ok("91110000600037341L", "91") // the public sample of GB 11714 inside

	f("５２１１９９００ｍｊ0000018t", "52119900MJ0000018T", FullWidth|Case, feed.NoRule)
	f(" 52119900-MJ0000018-T\u3000", "52119900MJ0000018T", Spaces|Hyphens, feed.NoRule)

	f("52119900MJ00000180", "", 0, feed.USCCChecksum)
	f("52119900MJ0000019T", "", OrgCheck, feed.USCCChecksum)
	f("52119900MJO000018T", "", 0, feed.USCCChar)
	f("52119900MJ000018T", "", 0, feed.USCCLength)
	f("119900MJ0000018", "", 0, feed.USCCLength)
	f("", "", 0, feed.USCCLength)
	f("5211990AMJ0000018T", "", 0, feed.USCCChar)
	f("52119900MJ000001中T", "", 0, feed.USCCChar)

	// Only the inner check fails: 9 for 8, and a new outer check.
	b := []byte("52119900MJ0000019?")
	for _, c := range []byte(usccAlphabet) {
		b[17] = c
		if _, _, rule := CreditCode(nil, b); rule == feed.NoRule {
			f(string(b), string(b), OrgCheck, feed.NoRule)
			return
		}
	}
	t.Fatal("no check character fits")
}

func TestOrgType(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := OrgType([]byte(in)); got != want {
			t.Fatalf("%q: %s, want %s", in, got, want)
		}
	}
	f("59", "59")
	f("13", "13")
	f("92", "99")
	f("93", "99")
	f("5", "99")
	f("", "99")
}

func TestMobile(t *testing.T) {
	f := appender(t, Mobile)
	f("13800000000", "13800000000", 0, feed.NoRule)
	f("+86 138-0000-0000", "13800000000", Prefix|Spaces|Hyphens, feed.NoRule)
	f("008613800000000", "13800000000", Prefix, feed.NoRule)
	f("＋８６１３８０００００００0", "13800000000", Prefix|FullWidth, feed.NoRule)
	f("12800000000", "", 0, feed.MobileInvalid)
	f("1380000000", "", 0, feed.MobileInvalid)
	f("138000000000", "", 0, feed.MobileInvalid)
	f("8613800000000", "", 0, feed.MobileInvalid)
	f("1380000000O", "", 0, feed.MobileInvalid)
	f("010-12345678", "", Hyphens, feed.MobileInvalid)
	f("", "", 0, feed.MobileInvalid)
}

func TestName(t *testing.T) {
	f := appender(t, Name)
	f("王小明", "王小明", 0, feed.NoRule)
	f("阿依古丽·买买提", "阿依古丽·买买提", 0, feed.NoRule)
	f("阿依古丽\u2022买买提", "阿依古丽·买买提", Dot, feed.NoRule)
	f("阿依古丽\u30FB买买提", "阿依古丽·买买提", Dot, feed.NoRule)
	f("阿依古丽\uFF0E买买提", "阿依古丽·买买提", Dot|FullWidth, feed.NoRule)
	for _, dot := range []string{"\u2027", "\u2219", "\u22C5", "\uFF65", "\u2E31", "\uA78F", "\u16EB", ".", "\uFE52", "\u2024", "\u3002", "\uFF61"} {
		f("阿依古丽"+dot+"买买提", "阿依古丽·买买提", Dot, feed.NoRule)
	}
	f("阿依古丽 . 买买提", "阿依古丽·买买提", Dot|Spaces, feed.NoRule)
	f("J. Li", "J. Li", 0, feed.NoRule)
	f("王　小 明", "王小明", Spaces, feed.NoRule)
	f("王小明\u200b ", "王小明", Spaces, feed.NoRule)
	f("ＺＨＡＯ　Ｌｉ", "ZHAO Li", FullWidth|Spaces, feed.NoRule)
	f("ZHAO  Li", "ZHAO Li", Spaces, feed.NoRule)
	f("ZHAO Li", "ZHAO Li", 0, feed.NoRule)
	f("\u2F08小明", "人小明", Radical, feed.NoRule)
	f("\u2EA0小明", "民小明", Radical, feed.NoRule)
	f("\u2E85小明", "\u2E85小明", 0, feed.NoRule)
	f("①㎡½", "①㎡½", 0, feed.NoRule)
	f("\uF900", "豈", Composed, feed.NoRule)
	f("\uFA0E", "\uFA0E", 0, feed.NoRule) // one of the twelve true characters
	f("e\u0301", "é", Composed, feed.NoRule)
	f("Ｅ\u200b\u0301", "É", FullWidth|Spaces|Composed, feed.NoRule)
	f("䶮㐂𠮷", "䶮㐂𠮷", 0, feed.NoRule)
	f("", "", 0, feed.NoRule)
	f("李\uFFFD明", "", 0, feed.DamagedText)
	f("李\uE000明", "", 0, feed.DamagedText)
	f("李\xc3", "", 0, feed.DamagedText)
	f("李\U000F0000", "", 0, feed.DamagedText)
}

func TestNameKey(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := NameKey([]byte("dst "), []byte(in)); string(got) != "dst "+want {
			t.Fatalf("%q: got %q, want %q", in, got, "dst "+want)
		}
	}
	f("ZHAO Li", "ZHAO LI")
	f("阿依古丽·买买提", "阿依古丽·买买提")
	f("é\xff", "É\xff")
	f("張", "張")
}

func TestText(t *testing.T) {
	f := appender(t, Text)
	f("社工服务中心", "社工服务中心", 0, feed.NoRule)
	f(" \u3000社工（ＡＢＣ）\u200b服务 中心\ufeff\n", "社工（ＡＢＣ）服务 中心", Spaces, feed.NoRule)
	f("a\u00adb", "ab", Spaces, feed.NoRule)
	f(" \u200b ", "", Spaces, feed.NoRule)
	f("坏\uFFFD", "", 0, feed.DamagedText)
}

func TestCode(t *testing.T) {
	f := appender(t, Code)
	f("P-2016-0042", "P-2016-0042", 0, feed.NoRule)
	f("Ｐ－2016　42 ", "P-2016 42", FullWidth|Spaces, feed.NoRule)
	f("沪民\u200b 1", "沪民 1", Spaces, feed.NoRule)
	f("x\uE123", "", 0, feed.DamagedText)
}

func TestDamaged(t *testing.T) {
	f := func(in string, want bool) {
		t.Helper()
		if Damaged([]byte(in)) != want {
			t.Fatalf("%q: want %v", in, want)
		}
	}
	f("", false)
	f("plain 文字 𠮷 é", false)
	f("\uD7FF\uF900\uFFFC\U000EFFFF", false)
	f("\uE000", true)
	f("\uEFFF", true)
	f("\uF000", true)
	f("\uF8FF", true)
	f("\U000F0000", true)
	f("\U0010FFFD", true)
	f("a\uFFFDb", true)
	f("\xa1\xa4", true)
	f("\xe4\xb8", true)
}

func TestBool(t *testing.T) {
	f := func(in string, want bool, rule feed.Rule) {
		t.Helper()
		if v, r := Bool([]byte(in)); v != want || r != rule {
			t.Fatalf("%q: %v, %v", in, v, r)
		}
	}
	for _, in := range []string{"true", "1", "是", "有", "Y", "yes", "TRUE", " 是 ", "１", "Ｙｅｓ"} {
		f(in, true, feed.NoRule)
	}
	for _, in := range []string{"false", "0", "否", "无", "N", "no", "０", "False"} {
		f(in, false, feed.NoRule)
	}
	for _, in := range []string{"", "2", "y e s", "truetrue", "是否", "\xff", "不"} {
		f(in, false, feed.Type)
	}
}

func TestHoldsPersonalNumber(t *testing.T) {
	f := func(in string, want bool) {
		t.Helper()
		if HoldsPersonalNumber([]byte(in)) != want {
			t.Fatalf("%q: want %v", in, want)
		}
	}
	f("社工服务中心", false)
	f("身份证119901198001153013。", true)
	f("身份证 64990619680101005x", true)
	f("64990619680101005Ｘ", true)
	f("119901 19800115 3013", true)
	f("119901-19800115-3013", true)
	f("１１９９０１１９８００１１５３０１３", true)
	f("119901198001153012", false) // wrong check
	f("1119901198001153013", false)
	f("119901800115301", true)
	f("119901801315301", false) // no date
	f("999901800115301", false) // no province
	f("电话13800000000，", true)
	f("138 0000 0000", true)
	f("138-0000-0000", true)
	f("１３８００００００００", true)
	f("+86 13800000000", true)
	f("+8613800000000", true)
	f("008613800000000", true)
	f("2016-11-11 13800000000", true)
	f("13800000000 119901", true)
	f("单号1380000000012", false)
	f("12800000000", false)
	f("15 2016 11 11 1", false)
	f("2016-11-11 至 2016-12-31 共 3500 人次", false)
	f("1 3 8 0 0 0 0 0 0 0 0", true)
	f("138\u200b0000\u200b0000", true)
	f("52119900MJ0000018T", false)
	f("\xe4138000000001380000", false)
	f("\xe413800000000", true)
}

// What is passed over without a look holds no number.
func TestHopelessIsNeverWrong(t *testing.T) {
	pieces := []string{"138", "0000", "00000000", "13800000000", "119901", "119901198001153013", "119901800115301", "19800115", "3013", "301", "1", "8", "86", "0086", "64990619680101005",
		"-", " ", "\t", "\n", "x", "X", "１", "\u200b", "社", "\u2014", "\xe4"}
	r := rand.New(rand.NewPCG(1, 2))
	numbers, passed := 0, 0
	for range 200_000 {
		var text []byte
		for range 1 + r.IntN(7) {
			text = append(text, pieces[r.IntN(len(pieces))]...)
		}
		for i := range text {
			if _, w := digitAt(text, i); w == 0 {
				continue
			}
			holds, skips := personalAt(text, i), hopeless(text, i)
			if holds && skips {
				t.Fatalf("%q from %d holds a number", text, i)
			}
			if holds {
				numbers++
			}
			if skips {
				passed++
			}
		}
	}
	if numbers < 1000 || passed < 1000 {
		t.Fatalf("%d numbers, %d passed over", numbers, passed)
	}
}

func TestLongDigitRun(t *testing.T) {
	f := func(in string, want int) {
		t.Helper()
		if got := LongDigitRun([]byte(in)); got != want {
			t.Fatalf("%q: %d, want %d", in, got, want)
		}
	}
	f("", 0)
	f("abc", 0)
	f("2016年11月", 4)
	f("１２３-456 7", 7)
	f("12  34", 2)
	f("6222 0000 0000 0000 000", 19)
}

func TestHarmless(t *testing.T) {
	f := func(in string, want bool) {
		t.Helper()
		if got := Harmless([]byte(in)); got != want {
			t.Fatalf("%q: %t", in, got)
		}
	}
	f("", true)
	f("310000-worker-2016-11", true)
	f("身份证号", true)
	f("138 0000 0000", false)
	f("１３８００００００００", false)
	f("1199-0119-8001-1530-13", false)
	f("11990119800115301X", false)
	f("社\uFFFD", false)
	f("\xff", false)
}
