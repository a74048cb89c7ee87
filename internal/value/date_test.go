package value

import (
	"testing"
	"time"

	"github.com/duiwu/duiwu/internal/feed"
)

func TestDaysOf(t *testing.T) {
	// Every day of the years that can be stored, against package time.
	day := time.Date(earliestYear, 1, 1, 0, 0, 0, 0, time.UTC)
	n := daysOf(earliestYear, 1, 1)
	for ; day.Year() <= latestYear; day = day.AddDate(0, 0, 1) {
		y, m, d := day.Date()
		if got := daysOf(y, int(m), d); got != n || int64(n)*86400 != day.Unix() || !civil(y, int(m), d) {
			t.Fatalf("%v: %d, want %d", day, got, n)
		}
		if next := day.AddDate(0, 0, 1); next.Day() == 1 && civil(y, int(m), d+1) {
			t.Fatalf("%v has no day after it in its month", day)
		}
		n++
	}
}

func TestDate(t *testing.T) {
	ok := func(in string, want int32, p Precision) {
		t.Helper()
		if days, got, rule := Date([]byte(in)); days != want || got != p || rule != feed.NoRule {
			t.Fatalf("%q: %d, %v, %v; want %d, %v", in, days, got, rule, want, p)
		}
	}
	bad := func(in string, want feed.Rule) {
		t.Helper()
		if days, _, rule := Date([]byte(in)); rule != want || days != 0 {
			t.Fatalf("%q: %d, %v; want %v", in, days, rule, want)
		}
	}
	day := ymd(2016, 11, 11)
	for _, in := range []string{
		"2016年11月11日", "2016-11-11", "2016/11/11", "2016.11.11", "20161111",
		"２０１６年１１月１１日", "２０１６－１１－１１", "２０１６１１１１",
		"二〇一六年十一月十一日", "二○一六年十一月十一日", "二零一六年十一月十一日",
		"二◯一六年十一月十一日", "二O一六年十一月十一日", "二Ｏ一六年十一月十一日",
		"二〇一六年一一月一一日", "2016 年 11 月 11 日", "2016年11月11号", " 2016-11-11\u3000",
		"42685", "42685.946192", "2016-11-11 22:42:31", "2016/11/11 22:42", "2016-11-11T22:42:31+08:00",
		"2016-11-10T16:00:00Z", // midnight in China
		"2016-11-10T16:00:00.000Z", "2016年11月11日22时42分31秒", "20161111224231", "20161111 22:42:31",
	} {
		ok(in, day, Day)
	}
	ok("2016/1/5", ymd(2016, 1, 5), Day)
	ok("二〇一六年二月廿九日", ymd(2016, 2, 29), Day)
	ok("二〇一六年十月三十一日", ymd(2016, 10, 31), Day)
	ok("二〇一六年十月卅一日", ymd(2016, 10, 31), Day)
	ok("二〇二〇年二月二十日", ymd(2020, 2, 20), Day)
	ok("2016-11-11T23:59:59Z", ymd(2016, 11, 12), Day)
	for _, in := range []string{"2016年11月", "2016.11", "201611", "2016-11", "2016/11", "二〇一六年十一月"} {
		ok(in, ymd(2016, 11, 1), Month)
	}
	ok("2016年", ymd(2016, 1, 1), Year)
	ok("二〇一六年", ymd(2016, 1, 1), Year)
	ok("25569", 0, Day)
	ok("29235", ymd(1980, 1, 15), Day)
	ok("36585", ymd(2000, 2, 29), Day)
	ok("44136", ymd(2020, 11, 1), Day)
	ok("61", ymd(1900, 3, 1), Day)

	for _, in := range []string{"11/12/2016", "16.11.11", "16年11月11日", "11-12", "2016", "2016111"} {
		bad(in, feed.DateAmbiguous)
	}
	for _, in := range []string{
		"", " ", "abc", "60", "0", "2016-02-30", "2015-02-29", "20161301", "201613", "2016-11-", "2016-11-11-11",
		"2016年13月", "2016年11月11", "2O16年11月11日", "二〇一六年十三月", "二〇一六年〇十月", "2016-11-11 25:00:00", "2016-11-11 22:60:00",
		"2016-11-11 22", "11月11日", "2016-11 22:42:31", "\xff", "2016-11/11", "2016-11-11T", "123456789012",
		"二〇一六年十一月十十日", "2016-11-11 22:42:31+25:00", "O年", "2016年O月",
	} {
		bad(in, feed.DateInvalid)
	}
	bad("1899-12-31", feed.OutOfRange)
	bad("2300-01-01", feed.OutOfRange)
	bad("0016-11-11", feed.OutOfRange)
}

func TestSerial(t *testing.T) {
	f := func(serial int64, date1904 bool, want int32, rule feed.Rule) {
		t.Helper()
		if days, r := Serial(serial, date1904); days != want || r != rule {
			t.Fatalf("%d: %d, %v; want %d, %v", serial, days, r, want, rule)
		}
	}
	both := func(day int32, in1900, in1904 int64) {
		t.Helper()
		f(in1900, false, day, feed.NoRule)
		f(in1904, true, day, feed.NoRule)
	}
	both(ymd(1970, 1, 1), 25569, 24107)
	both(ymd(1980, 1, 15), 29235, 27773)
	both(ymd(2000, 2, 29), 36585, 35123)
	both(ymd(2016, 11, 11), 42685, 41223)
	both(ymd(2020, 11, 1), 44136, 42674)
	f(61, false, ymd(1900, 3, 1), feed.NoRule)
	f(60, false, 0, feed.DateInvalid)
	f(0, true, ymd(1904, 1, 1), feed.NoRule)
	f(-1, true, 0, feed.DateInvalid)
	f(1<<62, false, 0, feed.OutOfRange)
}

func TestYearMonth(t *testing.T) {
	f := func(in string, want int32, p Precision, rule feed.Rule) {
		t.Helper()
		if days, got, r := YearMonth([]byte(in)); days != want || got != p && r == feed.NoRule || r != rule {
			t.Fatalf("%q: %d, %v, %v", in, days, got, r)
		}
	}
	for _, in := range []string{"201611", "2016-11", "2016年11月", "二〇一六年十一月", "２０１６１１"} {
		f(in, ymd(2016, 11, 1), Month, feed.NoRule)
	}
	f("2016-11-11", ymd(2016, 11, 11), Day, feed.NoRule)
	f("2016年", 0, 0, feed.DateInvalid)
	f("201613", 0, 0, feed.DateInvalid)
	f("189912", 0, 0, feed.OutOfRange)
}

func TestDateTime(t *testing.T) {
	f := func(in, want string, second bool, rule feed.Rule) {
		t.Helper()
		var milli int64
		if want != "" {
			at, err := time.Parse(time.RFC3339Nano, want)
			if err != nil {
				t.Fatal(err)
			}
			milli = at.UnixMilli()
		}
		if got, s, r := DateTime([]byte(in)); got != milli || s != second || r != rule {
			t.Fatalf("%q: %v, %v, %v; want %s", in, time.UnixMilli(got).UTC(), s, r, want)
		}
	}
	const at = "2016-11-11T22:42:31+08:00"
	for _, in := range []string{
		at, "2016-11-11T22:42:31", "2016-11-11 22:42:31", "2016/11/11 22:42:31", "2016-11-11T14:42:31Z",
		"２０１６－１１－１１　２２：４２：３１", "2016年11月11日 22:42:31", "2016年11月11日22时42分31秒",
		"20161111224231", "20161111224231+0800", "2016-11-11T09:42:31-05:00", "2016-11-11 22:42:31 +08:00",
		"42685.946192",
	} {
		f(in, at, true, feed.NoRule)
	}
	f("2016-11-11T22:42:31.250+08:00", "2016-11-11T22:42:31.25+08:00", true, feed.NoRule)
	f("2016-11-11T22:42:31.123456789Z", "2016-11-11T22:42:31.123Z", true, feed.NoRule)
	f("2016-11-11", "2016-11-11T00:00:00+08:00", false, feed.ReportedAtPrecision)
	f("2016-11-11 22:42", "2016-11-11T22:42:00+08:00", false, feed.ReportedAtPrecision)
	f("2016-11", "", false, feed.ReportedAtPrecision)
	f("", "", false, feed.DateInvalid)
	f("2016-11-11 24:00:00", "", false, feed.DateInvalid)
	f("2016-11-11 22:42:60", "", false, feed.DateInvalid)
	f("2016-02-30 22:42:31", "", false, feed.DateInvalid)
	f("2016-11-11 22:42:31 x", "", false, feed.DateInvalid)
	f("11/12/2016 22:42:31", "", false, feed.DateAmbiguous)
	f("1816-11-11 22:42:31", "", false, feed.OutOfRange)
}
