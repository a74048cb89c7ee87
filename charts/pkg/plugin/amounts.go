package plugin

import (
	"math"
	"strings"

	"github.com/grafana/grafana-plugin-sdk-go/data"
)

// yuan is the unit of an amount as it is kept: Grafana shortens it to ¥550M.
const yuan = "currency:¥"

// inTenThousands writes the amounts of a frame as a reader of Chinese counts them, in
// 万元 or 亿元. Grafana has no such unit, so they are divided. All are in one unit, that
// bars and lines can be compared, or each column is in its own (apart). The least
// amount decides: it must not become 0.0.
func inTenThousands(lang string, f *data.Frame, apart bool) {
	if strings.HasPrefix(lang, "en") {
		return
	}
	var together []*data.Field
	for i, x := range f.Fields {
		if x.Config == nil || x.Config.Unit != yuan {
			continue
		}
		n := data.NewField(x.Name, x.Labels, make([]*float64, x.Len()))
		n.Config = copyConfig(x.Config)
		for k := range x.Len() {
			if v, err := x.NullableFloatAt(k); err == nil && v != nil {
				own := *v
				n.Set(k, &own)
			}
		}
		f.Fields[i] = n
		if apart {
			divide([]*data.Field{n})
		} else {
			together = append(together, n)
		}
	}
	divide(together)
}

// divide brings amounts of yuan, of type *float64, into the largest unit that fits all.
func divide(fields []*data.Field) {
	least := math.Inf(1)
	each := func(do func(v *float64)) {
		for _, x := range fields {
			for k := range x.Len() {
				if v := x.At(k).(*float64); v != nil {
					do(v)
				}
			}
		}
	}
	each(func(v *float64) {
		if *v != 0 {
			least = min(least, math.Abs(*v))
		}
	})
	by, unit, decimals := 1.0, "suffix:元", uint16(0)
	switch {
	case math.IsInf(least, 1):
	case least >= 1e7:
		by, unit, decimals = 1e8, "suffix:亿元", 2
	case least >= 1e5:
		by, unit, decimals = 1e4, "suffix:万元", 1
	case least >= 1e4:
		by, unit, decimals = 1e4, "suffix:万元", 2
	}
	each(func(v *float64) { *v /= by })
	for _, x := range fields {
		x.Config.Unit, x.Config.Decimals = unit, &decimals
	}
}
