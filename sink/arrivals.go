package sink

import (
	"context"
	"fmt"
	"strings"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// Arrivals reads what a unit has sent for a feed about some days, by span. A row
// of a cut that is not in the ledger yet counts already: the cut is read again
// and its rows come at the same place.
func (s *Sink) Arrivals(ctx context.Context, unit string, spec *feed.Spec, days []flow.DueDay) ([]flow.Arrival, error) {
	if len(days) == 0 {
		return nil, nil
	}
	// Months and longer spans are what the record says of itself; a day of an
	// event or a change is when it took effect.
	day := "period"
	if spec.Rhythm == "daily" || spec.Rhythm == "event" {
		day = "effective_from"
	}
	var at, spans, dues []string
	for _, d := range days {
		due := int64(1) << 52 // never late
		if !d.Due.IsZero() {
			due = d.Due.UnixMilli()
		}
		at, spans, dues = append(at, fmt.Sprint(d.Day)), append(spans, fmt.Sprint(d.Span)), append(dues, fmt.Sprint(due))
	}
	list := func(v []string) string { return "[" + strings.Join(v, ",") + "]" }
	var out []flow.Arrival
	err := s.rows(ctx, fmt.Sprintf(`SELECT transform(day, {days:Array(Int32)}, {spans:Array(Int32)}, toInt32(-2147483648)) AS span, toInt64(count()),
    toInt64(countIf(toUnixTimestamp64Milli(first) > transform(day, {days:Array(Int32)}, {dues:Array(Int64)}, toInt64(4503599627370496)))), min(first), max(last)
FROM
(
    SELECT toInt32(any(%s)) AS day, min(_arrived_at) AS first, max(_arrived_at) AS last FROM %s
    WHERE reporting_unit = {unit:String} AND has({days:Array(Int32)}, toInt32(%s)) GROUP BY %s
)
GROUP BY span ORDER BY span`, day, quoteName(spec.HistoryTable()), day, quoteNames(spec.Key())),
		params{"unit": text(unit), "days": list(at), "spans": list(spans), "dues": list(dues)}, func(scan func(...any) error) error {
			var a flow.Arrival
			if err := scan(&a.Span, &a.Records, &a.Late, &a.First, &a.Last); err != nil {
				return err
			}
			out = append(out, a)
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("cannot read what unit %s has sent for feed %s: %w", unit, spec.Feed, err)
	}
	return out, nil
}
