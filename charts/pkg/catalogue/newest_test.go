package catalogue

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/internal/chartstest"
)

// What has left a window by a day is what lies before its first day, as the server
// counts months: of February 29 as of the last days of months.
func TestLeftIsBeforeTheWindow(t *testing.T) {
	db := chartstest.New(t, "charts_window")
	var days []time.Time
	for d := time.Date(2015, 12, 1, 0, 0, 0, 0, time.UTC); d.Year() < 2017; d = d.AddDate(0, 0, 1) {
		days = append(days, d)
	}
	k := &compiler{q: Query{Dates: days}}
	for _, name := range []string{"year_to_date", "month_to_date", "12_months", "24_months", "36_months", "5_months"} {
		rows := db.Query(t, "SELECT toString(addDays("+window(name, "d")+", -1)) AS d FROM (SELECT arrayJoin({dates:Array(Date32)}) AS d) ORDER BY d", map[string]string{"dates": dateList(days)})
		for i, left := range k.left(name) {
			require.Equal(t, rows[i]["d"], left.Format(time.DateOnly), "%s of %s", name, days[i].Format(time.DateOnly))
		}
	}
	require.Nil(t, k.left("ever"))
}
