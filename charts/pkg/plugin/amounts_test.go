package plugin

import (
	"fmt"
	"testing"

	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/stretchr/testify/require"
)

func TestAmountsAreCountedAsTheirReadersDo(t *testing.T) {
	ptr := func(v float64) *float64 { return &v }
	amounts := func(name string, v ...*float64) *data.Field {
		x := data.NewField(name, nil, v)
		x.Config = &data.FieldConfig{Unit: yuan}
		return x
	}
	says := func(lang string, apart bool, fields ...*data.Field) (out []string) {
		was := fmt.Sprint(fields[0].At(0).(*float64) == nil)
		f := data.NewFrame("", fields...)
		inTenThousands(lang, f, apart)
		for _, x := range f.Fields {
			s := x.Name + " " + x.Config.Unit
			for k := range x.Len() {
				if v := x.At(k).(*float64); v == nil {
					s += " -"
				} else {
					s += fmt.Sprint(" ", *v)
				}
			}
			out = append(out, s)
		}
		require.Equal(t, was, fmt.Sprint(fields[0].At(0).(*float64) == nil))
		return out
	}
	rank := data.NewField("rank", nil, []*float64{ptr(1)})
	rank.Config = &data.FieldConfig{Unit: "none"}

	sum := amounts("sum", ptr(549_511_990))
	require.Equal(t, []string{"sum suffix:亿元 5.4951199"}, says("zh", false, sum))
	require.Equal(t, 549_511_990.0, *sum.At(0).(*float64), "what is kept for the next question stands")
	require.Equal(t, []string{"sum currency:¥ 5.4951199e+08"}, says("en", false, sum))
	// One unit for what stands beside each other, by the least of them, nothing aside.
	require.Equal(t, []string{"a suffix:万元 20000 - 0", "b suffix:万元 1.2"}, says("zh", false, amounts("a", ptr(2e8), nil, ptr(0)), amounts("b", ptr(12_000))))
	require.Equal(t, []string{"a suffix:亿元 2", "b suffix:万元 1.2", "rank none 1"}, says("zh", true, amounts("a", ptr(2e8)), amounts("b", ptr(12_000)), rank))
	require.Equal(t, []string{"a suffix:元 999 2e+08"}, says("zh", false, amounts("a", ptr(999), ptr(2e8))))
	require.Equal(t, []string{"a suffix:元 -"}, says("zh", false, amounts("a", nil)))
}
