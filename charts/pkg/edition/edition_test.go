package edition_test

import (
	"context"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/edition"
	"github.com/duiwu/duiwu/charts/pkg/figures"
	"github.com/duiwu/duiwu/internal/testenv"
	"github.com/duiwu/duiwu/sink"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// tables makes the two tables as a migration does.
func tables(t *testing.T, db *chartstest.DB) edition.Query {
	t.Helper()
	db.Publishable(t, sink.SystemDDL(db.Contract, sink.Layout{}))
	opts, err := clickhouse.ParseDSN(db.DSN())
	require.NoError(t, err)
	conn, err := clickhouse.Open(opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return func(ctx context.Context, sql string, params map[string]string) (driver.Rows, error) {
		return conn.Query(clickhouse.Context(ctx, clickhouse.WithParameters(params)), sql)
	}
}

// TestEditionsAnswerByTheirAttempt lays down what two writers at once and one
// that died leave behind.
func TestEditionsAnswerByTheirAttempt(t *testing.T) {
	db := chartstest.Empty(t, "edition_read")
	query := tables(t, db)
	const (
		first  = "00000000-0000-0000-0000-000000000001"
		later  = "00000000-0000-0000-0000-000000000002"
		died   = "00000000-0000-0000-0000-000000000003"
		second = "00000000-0000-0000-0000-000000000004"
	)
	for attempt, value := range map[string]string{first: "100", later: "101", died: "102", second: "103"} {
		db.Exec(t, "INSERT INTO published_figures (indicator, month, attempt, unit, definition_version, value) VALUES ('I-01', '2016-10-31', '"+attempt+"', '', 1, "+value+")")
	}
	row := func(number int, state edition.State, attempt, who, at string) {
		db.Exec(t, "INSERT INTO publications (month, edition, state, attempt, who, at, missing_unit, missing_feed, missing_expected, missing_last) VALUES ('2016-10-31', "+
			string(rune('0'+number))+", '"+string(state)+"', '"+attempt+"', '"+who+"', '2016-11-"+at+" 09:00:00', ['430000'], ['org'], ['2016-10'], ['2016-09'])")
	}
	row(1, edition.Published, later, "Li", "03")
	row(1, edition.Published, first, "Wang", "02")
	row(1, edition.Approved, first, "Zhao", "05")
	row(1, edition.Reopened, first, "Zhao", "06")
	row(2, edition.Published, second, "Wang", "07")

	all, err := edition.List(t.Context(), query)
	require.NoError(t, err)
	require.Len(t, all, 2)
	october := time.Date(2016, 10, 31, 0, 0, 0, 0, time.UTC)
	require.Equal(t, []figures.Missing{{Unit: "430000", Feed: "org", Expected: "2016-10", Last: "2016-09"}}, all[0].Missing)
	f := func(which string, number int, state edition.State, value float64) {
		t.Helper()
		e := edition.Pick(all, october, which)
		require.NotNil(t, e)
		require.Equal(t, number, e.Number)
		require.Equal(t, state, e.State)
		require.Equal(t, "Wang", e.Events[0].Who)
		got, err := edition.Read(t.Context(), query, "I-01", "", e)
		require.NoError(t, err)
		require.Len(t, got, 1)
		require.Equal(t, value, *got[0].Value)
		require.Nil(t, got[0].Numerator)
	}
	f(edition.First, 1, edition.Reopened, 100)
	f(edition.Latest, 2, edition.Published, 103)
	f(edition.LastApproved, 1, edition.Reopened, 100)
	require.Nil(t, edition.Pick(all, october.AddDate(0, 0, -31), edition.Latest))
}
