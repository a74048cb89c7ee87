package scope

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestWhoMaySeeWhat(t *testing.T) {
	var p Policy
	require.NoError(t, json.Unmarshal([]byte(`{
		"users": {"li": "nation", "wang": ["320000", "310000", "310000"], "gone": "none"},
		"teams": {"east": {"logins": ["zhou", "qian"], "units": ["330000"]}, "west": {"logins": ["qian"], "units": "610000"}},
		"orgs": {"2": ["310000"], "3": "none"},
		"alerts": "nation", "public": ["310000", "440000"], "default": ["110000"]}`), &p))
	f := func(a Asker, want string) {
		t.Helper()
		require.Equal(t, want, p.Of(a).String())
	}
	f(Asker{Login: "li", Org: 2}, "nation")
	f(Asker{Login: "wang"}, "310000,320000")
	f(Asker{Login: "gone", Org: 2}, "none") // declared to see nothing
	f(Asker{Login: "zhou", Org: 2}, "330000")
	f(Asker{Login: "qian"}, "330000,610000")
	f(Asker{Login: "stranger", Org: 2}, "310000")
	f(Asker{Login: "stranger", Org: 3}, "none")
	f(Asker{Login: "stranger", Org: 1}, "110000")
	f(Asker{Login: "Li", Org: 1}, "110000") // logins are compared as they are
	f(Asker{}, "310000,440000")
	f(Asker{Org: 2}, "310000")
	f(Asker{Org: 3}, "none")
	f(Asker{Login: scheduler, Alert: true, Org: 1}, "nation")
	f(Asker{Login: scheduler, Alert: true, Org: 2}, "310000")
	f(Asker{Login: scheduler, Org: 1}, "none")
	f(Asker{Login: scheduler, Email: "a@b", Alert: true, Org: 1}, "none")
	f(Asker{Alert: true}, "310000,440000") // the mark alone is nobody's
	require.True(t, (*Policy)(nil).Of(Asker{Login: "li"}).None())
	require.True(t, Scope{}.None() && !Scope{}.Sees("310000") && !Scope{}.Sees(""))
	require.True(t, Process("publish").Nation())
	s := p.Of(Asker{Login: "wang"})
	require.False(t, s.Sees(""), "the nation is no unit of anybody")
	require.Equal(t, []string{"310000"}, s.Of([]string{"310000", "440000", ""}))
}

// records is a table of two units under FINAL, as the pipeline's are.
const records = `CREATE TABLE duiwu.employment (record_id String, reporting_unit String, _version UInt64, _is_deleted UInt8) ENGINE = ReplacingMergeTree(_version, _is_deleted) ORDER BY (reporting_unit, record_id)`

const rows = `INSERT INTO duiwu.employment VALUES ('a', '310000', 1, 0), ('b', '310000', 1, 0), ('c', '440000', 1, 0), ('n', '000000', 1, 0)`

func dial(t *testing.T, dsn string) driver.Conn {
	t.Helper()
	o, err := clickhouse.ParseDSN(dsn)
	require.NoError(t, err)
	conn, err := clickhouse.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// The server restricts every table of records for who may not see the nation,
// even when a statement forgets to.
func TestTheServerRestrictsRecords(t *testing.T) {
	e := testenv.ClickHouse(t)
	admin := dial(t, e.DSN())
	for _, sql := range []string{"DROP TABLE IF EXISTS duiwu.employment", records, rows} {
		require.NoError(t, admin.Exec(t.Context(), sql))
	}
	o, err := clickhouse.ParseDSN(e.DSNOf(engine.Dashboards))
	require.NoError(t, err)
	db, err := Open(o, []string{"employment"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	f := func(s Scope, asked []string, sql string, want uint64) {
		t.Helper()
		got, err := db.Rows(t.Context(), s, asked, sql, nil)
		require.NoError(t, err)
		defer func() { _ = got.Close() }()
		require.True(t, got.Next())
		var n uint64
		require.NoError(t, got.Scan(&n))
		require.Equal(t, want, n, sql)
	}
	shanghai := (&Policy{Default: Units("310000")}).Of(Asker{Login: "a"})
	own := []string{"310000"}
	const forgets = "SELECT count() FROM employment FINAL WHERE {units:Array(String)} != []"
	f(shanghai, own, forgets, 2)
	f(shanghai, own, "SELECT count() FROM (SELECT * FROM duiwu.employment WHERE {units:Array(String)} != []) AS x", 2)
	f(Process("test"), []string{"310000", "440000", Office}, forgets, 4)
	for _, asked := range [][]string{{"440000"}, {"310000", "440000"}, {Office}} {
		_, err = db.Rows(t.Context(), shanghai, asked, forgets, nil)
		require.ErrorIs(t, err, ErrDenied)
	}
	_, err = db.Rows(t.Context(), shanghai, own, "SELECT count() FROM employment", nil)
	require.ErrorContains(t, err, "BUG: a statement about records that does not restrict units")
	_, err = db.Whole(t.Context(), Scope{}, "SELECT 1", nil)
	require.ErrorIs(t, err, ErrDenied)
	// What the office says to all comes with the own, nothing else.
	got, err := db.Documents(t.Context(), shanghai, own, "SELECT reporting_unit FROM employment WHERE reporting_unit IN {units:Array(String)} GROUP BY 1 ORDER BY 1", nil)
	require.NoError(t, err)
	var units []string
	for got.Next() {
		var u string
		require.NoError(t, got.Scan(&u))
		units = append(units, u)
	}
	require.NoError(t, got.Err())
	require.Equal(t, []string{Office, "310000"}, units)
}

// More askers than connections wait for their turn, however long that is.
func TestAskersWaitForTheirTurn(t *testing.T) {
	o, err := clickhouse.ParseDSN(testenv.ClickHouse(t).DSN())
	require.NoError(t, err)
	// The last ones wait four seconds, and a connection may take its time to come about.
	o.MaxOpenConns, o.DialTimeout = 2, 3*time.Second
	db, err := Open(o, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	var all errgroup.Group
	for range 10 {
		all.Go(func() error {
			got, err := db.Whole(t.Context(), Process("test"), "SELECT sleep(1)", nil)
			if err != nil {
				return err
			}
			for got.Next() {
			}
			_ = got.Close()
			return got.Close() // the second time gives nothing up
		})
	}
	require.NoError(t, all.Wait())
	require.Empty(t, db.turns)
	for range 2 {
		db.turns <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = db.Whole(ctx, Process("test"), "SELECT 1", nil)
	require.ErrorIs(t, err, context.Canceled)
}

// The row policies hold on a real server, under FINAL as well, whether they are
// applied before it or after.
func TestRowPoliciesHoldUnderFinal(t *testing.T) {
	lib := testenv.LibCHDB(t)
	tables := []Table{{"employment", "reporting_unit"}}
	e, err := engine.Start(t.Context(), engine.Options{Lib: lib, Dir: filepath.Join(t.TempDir(), "ch"), DashboardsXML: UsersXML("duiwu", tables, []string{"310000"})})
	require.NoError(t, err)
	t.Cleanup(e.Kill)
	admin := dial(t, e.DSN())
	for _, sql := range []string{records, rows} {
		require.NoError(t, admin.Exec(t.Context(), sql))
	}
	// A newer version that says another unit sent it, and one that deletes: neither
	// may bring an older row of somebody else to light.
	require.NoError(t, admin.Exec(t.Context(), `INSERT INTO duiwu.employment VALUES ('c', '440000', 2, 1), ('b', '310000', 2, 1), ('d', '440000', 1, 0)`))
	reader := dial(t, e.DSNOf(engine.Dashboards))
	for _, after := range []int{0, 1} {
		for sql, want := range map[string]uint64{
			"SELECT count() FROM employment FINAL":                                   2, // a, and the office's n
			"SELECT count() FROM employment FINAL WHERE reporting_unit = '440000'":   0,
			"SELECT count() FROM employment WHERE reporting_unit = '440000'":         0,
			"SELECT count() FROM employment AS x FINAL WHERE record_id IN ('c','d')": 0,
		} {
			var n uint64
			ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"apply_row_policy_after_final": after}))
			require.NoError(t, reader.QueryRow(ctx, sql).Scan(&n))
			require.Equal(t, want, n, "%s, after %d", sql, after)
		}
	}
	require.Equal(t, []string{"CREATE ROW POLICY OR REPLACE `shanghai` ON `duiwu`.`employment` FOR SELECT USING reporting_unit IN ('310000', '000000') TO `shanghai`"},
		RowPolicies("duiwu", "shanghai", tables, []string{"310000"}))
	require.Contains(t, UsersXML("duiwu", Tables([]string{"org"}), []string{"310000"}), "<published_figures><filter>unit IN ('310000', '')</filter></published_figures>")
}

func TestShowsNation(t *testing.T) {
	f := func(want bool, settings string) {
		t.Helper()
		var p Policy
		if err := json.Unmarshal([]byte(settings), &p); err != nil {
			t.Fatal(err)
		}
		if got := p.ShowsNation(); got != want {
			t.Errorf("%s: %v", settings, got)
		}
	}
	f(false, `{}`)
	f(false, `{"alerts": "nation", "default": "310000"}`)
	f(true, `{"default": "nation"}`)
	f(true, `{"public": "nation"}`)
	f(true, `{"users": {"li": "nation"}}`)
	f(true, `{"orgs": {"1": "310000", "2": "nation"}}`)
	f(true, `{"teams": {"office": {"logins": ["li"], "units": "nation"}}}`)
	if (*Policy)(nil).ShowsNation() {
		t.Error("no policy shows something")
	}
}
