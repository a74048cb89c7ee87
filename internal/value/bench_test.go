package value

import (
	"testing"

	"github.com/duiwu/duiwu/internal/feed"
)

// fastPaths are the forms that nearly every value has; they must not allocate.
var fastPaths = []struct {
	name string
	in   string
	f    func(dst, src []byte) ([]byte, feed.Rule)
}{
	{"ResidentID", "119901198001153013", benchRIC},
	{"ResidentIDFullWidth", "１１９９０１１９８００１１５３０１３", benchRIC},
	{"ResidentID15", "119901800115301", benchRIC},
	{"CreditCode", "52119900MJ0000018T", noted(CreditCode)},
	{"Mobile", "13800000000", noted(Mobile)},
	{"Name", "阿依古丽·买买提", noted(Name)},
	{"NameSpaced", "王　小 明", noted(Name)},
	{"NameKey", "阿依古丽·买买提", func(dst, src []byte) ([]byte, feed.Rule) { return NameKey(dst, src), 0 }},
	{"Text", "某某区社会工作服务中心第三季度项目", noted(Text)},
	{"Code", "P-2016-0042", noted(Code)},
	{"Date", "2016-11-11", benchDate},
	{"DateDigits", "20161111", benchDate},
	{"DateChinese", "二〇一六年十一月十一日", benchDate},
	{"YearMonth", "201611", func(dst, src []byte) ([]byte, feed.Rule) { _, _, r := YearMonth(src); return dst, r }},
	{"DateTime", "2016-11-11T22:42:31+08:00", func(dst, src []byte) ([]byte, feed.Rule) { _, _, r := DateTime(src); return dst, r }},
	{"MoneyFen", "350000", benchMoney},
	{"MoneyYuan", "3,500.00元", benchMoney},
	{"MoneyChinese", "叁仟伍佰元整", benchMoney},
	{"Integer", "1234", func(dst, src []byte) ([]byte, feed.Rule) { _, r := Integer(src); return dst, r }},
	{"Tenths", "7.5", func(dst, src []byte) ([]byte, feed.Rule) { _, r := Tenths(src); return dst, r }},
	{"Bool", "true", func(dst, src []byte) ([]byte, feed.Rule) { _, r := Bool(src); return dst, r }},
	{"HoldsPersonalNumberID", "W-310000-00000123", func(dst, src []byte) ([]byte, feed.Rule) { HoldsPersonalNumber(src); return dst, 0 }},
	{"HoldsPersonalNumber", "某某区社会工作服务中心第三季度项目", func(dst, src []byte) ([]byte, feed.Rule) { HoldsPersonalNumber(src); return dst, 0 }},
	{"Damaged", "某某区社会工作服务中心第三季度项目", func(dst, src []byte) ([]byte, feed.Rule) { Damaged(src); return dst, 0 }},
}

func noted(f func(dst, src []byte) ([]byte, Notes, feed.Rule)) func(dst, src []byte) ([]byte, feed.Rule) {
	return func(dst, src []byte) ([]byte, feed.Rule) { out, _, r := f(dst, src); return out, r }
}

func benchRIC(dst, src []byte) ([]byte, feed.Rule) {
	out, _, r := ResidentID(dst, src, ResidentIDOptions{Today: 20_000, AllowTestAreas: true})
	return out, r
}
func benchDate(dst, src []byte) ([]byte, feed.Rule)  { _, _, r := Date(src); return dst, r }
func benchMoney(dst, src []byte) ([]byte, feed.Rule) { _, r := Money(src, true); return dst, r }

func TestNoAllocations(t *testing.T) {
	dst := make([]byte, 0, 256)
	for _, p := range fastPaths {
		src := []byte(p.in)
		if n := testing.AllocsPerRun(100, func() {
			if _, rule := p.f(dst, src); rule != feed.NoRule {
				t.Fatalf("%s: %v", p.name, rule)
			}
		}); n != 0 {
			t.Errorf("%s allocates %v times", p.name, n)
		}
	}
}

func BenchmarkValue(b *testing.B) {
	dst := make([]byte, 0, 256)
	for _, p := range fastPaths {
		b.Run(p.name, func(b *testing.B) {
			src := []byte(p.in)
			b.ReportAllocs()
			for b.Loop() {
				p.f(dst, src)
			}
		})
	}
}
