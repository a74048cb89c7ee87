package plugin

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"

	"github.com/duiwu/duiwu/charts/indicators"
	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/figures"
)

// FuzzQuery sends what a browser might: every text of a query is refused, or is a
// name of the contract, or is read as a day, and none stands in the statement.
func FuzzQuery(f *testing.F) {
	c, err := catalogue.Load(indicators.FS, chartstest.Contract(f))
	if err != nil {
		f.Fatal(err)
	}
	d := &Datasource{catalogue: c, today: time.Date(2016, 11, 11, 0, 0, 0, 0, time.UTC)}
	f.Add("I-01", "worker_category", "01", "310000", "2016-10-31", "2016-01", "rank", "latest", "late")
	for _, bad := range []string{"'", "') OR 1=1 --", "310000'", "\\'", "{units:Array(String)}", "`x`", "01', '02", "2016-10-31' --"} {
		f.Add("I-01", "worker_category", bad, "310000", "2016-10-31", "2016-01", "rank", "", bad)
		f.Add("I-01", "worker_category", "01", bad, "2016-10-31", "2016-01", "rank", bad, "late")
		f.Add("I-01", bad, "01", "310000", bad, bad, bad, "live", "late")
		f.Add(bad, "month", "", "", "", bad, "", "", bad)
	}
	f.Fuzz(func(t *testing.T, indicator, group, code, unit, day, month, compare, edition, list string) {
		m := map[string]any{
			"indicator": indicator, "groupBy": []string{group, "month"}, "filter": map[string]any{"codes": []string{code}, "units": []string{unit}},
			"asOf": day, "knownOn": day, "from": month, "compare": []string{compare}, "edition": edition, "list": list, "queryType": "list", "refId": "A",
		}
		texts := []string{indicator, group, code, unit, day, month, compare, edition, list}
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := d.plan(backend.DataQuery{JSON: raw}); err == nil {
			q := figures.Question{Catalogue: c, Indicator: p.in, Split: p.split, Only: p.Filter.Codes, Units: d.units(p.asOf), Days: p.shown, AsOf: p.asOf, Now: d.now(), Known: p.known}
			st, err := q.Statement()
			if err != nil {
				t.Fatalf("a query is accepted and does not compile: %v\n%s", err, raw)
			}
			for _, text := range texts {
				if strings.ContainsAny(text, "'\"`\\;{}()/*- \n") && strings.Contains(st.SQL, text) {
					t.Fatalf("%q of a query stands in the statement:\n%s", text, st.SQL)
				}
			}
		}
		if l, err := d.other(backend.DataQuery{JSON: raw}); err == nil && strings.ContainsAny(l.List+strings.Join(l.Filter.Units, ""), "'\"`\\;{}()") {
			t.Fatalf("a list is read by %q of units %q", l.List, l.Filter.Units)
		}
	})
}
