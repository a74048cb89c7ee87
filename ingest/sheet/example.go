package sheet

import (
	"strconv"

	"github.com/duiwu/duiwu/internal/feed"
)

// Example is the example row of a feed's template, one text a field of
// Spec.Fields. Its persons and organisations are of the reserved test area and
// its texts say that they are an example. A row with exactly these texts is
// never counted as data.
func Example(cat *feed.Catalogue, spec *feed.Spec) []string {
	out := make([]string, len(spec.Fields))
	for i := range spec.Fields {
		out[i] = exampleOf(cat, spec, &spec.Fields[i])
	}
	return out
}

func exampleOf(cat *feed.Catalogue, spec *feed.Spec, f *feed.Field) string {
	switch f.Kind.Kind {
	case feed.Text:
		return "示例（请勿填报）"
	case feed.Key:
		return "EXAMPLE-0001"
	case feed.Code, feed.Codes:
		l := cat.List(f.List)
		return l.Entries[len(l.Entries)/2].Zh
	case feed.Unit:
		return "310000"
	case feed.Division:
		return "310115"
	case feed.ResidentID:
		return "119901198001153013"
	case feed.CreditCode:
		return "52119900MJ0000018T"
	case feed.PersonName:
		return "示例人员"
	case feed.Mobile:
		return "13800000000"
	case feed.Secret:
		return "EXAMPLE-0001"
	case feed.Birth:
		return "1980-01-15"
	case feed.Subject:
		return "52119900MJ0000018T"
	case feed.Date:
		// Later dates of a record stand later in the feed, so that its order holds.
		day := 1
		for j := range spec.Fields {
			if &spec.Fields[j] == f {
				break
			}
			if spec.Fields[j].Kind.Kind == feed.Date {
				day++
			}
		}
		return "2016-11-" + string([]byte{'0' + byte(day/10), '0' + byte(day%10)})
	case feed.Period:
		return "201611"
	case feed.Time:
		return "2016-11-11 22:42:31"
	case feed.Money, feed.Pay:
		return "3500元"
	case feed.Integer:
		return strconv.FormatInt(between(f, 1), 10)
	case feed.Tenths:
		return strconv.FormatInt(between(f, 70)/10, 10)
	case feed.Bool:
		return "是"
	}
	panic("BUG: no example for kind " + f.Kind.String())
}

func between(f *feed.Field, n int64) int64 {
	if f.Min != nil {
		n = max(n, *f.Min)
	}
	if f.Max != nil {
		n = min(n, *f.Max)
	}
	return n
}
