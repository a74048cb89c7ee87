package plugin

import (
	"fmt"
	"testing"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/scope"
)

// shanghai has 20, 12, 7 and 3 workers in four counties, 6 whose county is none of
// its own, and one who is reported by Jiangsu too and counts where he came last;
// Shaanxi has 3 in all, so that Gansu's 8 are hidden with them.
func shanghai(t *testing.T) *chartstest.DB {
	db := chartstest.New(t, "charts_counties")
	var spells []chartstest.Row
	add := func(unit, county string, n int) {
		for range n {
			spells = append(spells, chartstest.Row{"record_id": fmt.Sprint("e", len(spells)), "reporting_unit": unit, "id_number_token": chartstest.Person(len(spells)), "start_on": "2015-01-01", "end_on": nil,
				"worker_category": "01", "county_code": county, "effective_from": "2015-01-01"})
		}
	}
	add("310000", "310101", 20)
	add("310000", "310104", 12)
	add("310000", "310105", 7)
	add("310000", "310106", 3)
	add("310000", "320102", 6)
	add("320000", "320102", 30)
	add("610000", "610102", 3)
	add("620000", "620102", 8)
	spells = append(spells, chartstest.Row{"record_id": "twice", "reporting_unit": "320000", "id_number_token": chartstest.Person(0), "start_on": "2014-01-01", "end_on": nil, "worker_category": "01", "county_code": "320102", "effective_from": "2014-01-01"})
	db.Insert(t, "employment", spells...)
	return db
}

const byCounty = `{"indicator":"I-01","groupBy":["county"],"filter":{"units":["%s"]},"lang":"zh"}`

// counted are the values by county, those with none left out, and the hidden ones.
func counted(f *data.Frame) (values map[string]float64, hidden int) {
	values = map[string]float64{}
	code, _ := f.FieldByName("code")
	value, _ := f.FieldByName("value")
	for i := range f.Rows() {
		switch v := value.At(i).(*float64); {
		case v == nil:
			hidden++
		case *v != 0:
			values[code.At(i).(string)] = *v
		}
	}
	return values, hidden
}

func TestCountiesOfOneProvince(t *testing.T) {
	db := shanghai(t)
	whole := open(t, Config{URL: db.DSN(), Today: today, SuppressBelow: -1})
	values, hidden := counted(ask(t, whole, fmt.Sprintf(byCounty, "310000")))
	require.Equal(t, map[string]float64{"310101": 20, "310104": 12, "310105": 7, "310106": 3, "other": 6}, values)
	require.Zero(t, hidden)
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	require.InDelta(t, 48, sum, 0, "the counties sum to the province")
	f := ask(t, whole, `{"indicator":"I-01","groupBy":["county"],"filter":{"units":["310000"]},"lang":"zh","format":"table","sort":"desc"}`)
	require.Equal(t, []any{"黄浦区", "县区"}, []any{f.Fields[0].At(0), f.Fields[0].Config.DisplayNameFromDS})

	// The 3 are hidden, and the fewest others with them: else the province's 48 told.
	safe := open(t, Config{URL: db.DSN(), Today: today})
	values, hidden = counted(ask(t, safe, fmt.Sprintf(byCounty, "310000")))
	require.Equal(t, map[string]float64{"310101": 20, "310104": 12, "310105": 7}, values)
	require.Equal(t, 2, hidden)
	// Where the province's own number is hidden its counties would give it away.
	for _, unit := range []string{"610000", "620000"} {
		values, hidden = counted(ask(t, safe, fmt.Sprintf(byCounty, unit)))
		require.Empty(t, values, unit)
		require.Positive(t, hidden, unit)
	}
	for _, bad := range []string{
		`{"indicator":"I-01","groupBy":["county"]}`,
		`{"indicator":"I-01","groupBy":["county"],"filter":{"units":["310000","320000"]}}`,
		`{"indicator":"I-01","groupBy":["province","county"],"filter":{"units":["310000"]}}`,
		`{"indicator":"I-01","groupBy":["county"],"filter":{"units":["310000"],"codes":["310101"]}}`,
		`{"indicator":"I-01","groupBy":["county"],"filter":{"units":["310000"]},"compare":["last_year"]}`,
		`{"indicator":"I-20","groupBy":["county"],"filter":{"units":["310000"]}}`,
	} {
		require.Error(t, safe.Check([]byte(bad)), bad)
	}
}

// Below the province only its own accounts see figures, unless the policy lets the
// national office see them too.
func TestWhoSeesCounties(t *testing.T) {
	db := shanghai(t)
	as := func(p scope.Policy, unit string) backend.DataResponse {
		d := open(t, Config{URL: db.DSN(), Today: today, Scope: &p})
		res, err := d.QueryData(t.Context(), &backend.QueryDataRequest{PluginContext: backend.PluginContext{OrgID: 1, User: &backend.User{Login: "li"}},
			Queries: []backend.DataQuery{{RefID: "A", JSON: fmt.Appendf(nil, byCounty, unit)}}})
		require.NoError(t, err)
		return res.Responses["A"]
	}
	office := as(scope.Policy{Default: scope.Nation()}, "310000")
	require.NoError(t, office.Error)
	require.Empty(t, office.Frames[0].Fields)
	require.Equal(t, "省以下的数只有本省的账号可以看", office.Frames[0].Meta.Notices[0].Text)

	allowed := as(scope.Policy{Default: scope.Nation(), Counties: true}, "310000")
	require.NoError(t, allowed.Error)
	own := as(scope.Policy{Default: scope.Units("310000")}, "310000")
	require.NoError(t, own.Error)
	for _, res := range []backend.DataResponse{allowed, own} {
		values, hidden := counted(res.Frames[0])
		require.Equal(t, map[string]float64{"310101": 20, "310104": 12, "310105": 7}, values, "who asks changes no pattern")
		require.Equal(t, 2, hidden)
	}
	other := as(scope.Policy{Default: scope.Units("310000"), Counties: true}, "320000")
	require.Error(t, other.Error)
	require.Equal(t, backend.StatusForbidden, other.Status)
}
