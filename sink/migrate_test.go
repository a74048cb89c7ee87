package sink

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/flow/flowtest"
)

// shape prints everything a migration decides.
func shape(t testing.TB, s *Sink) string {
	return value(t, s, "SELECT table, name, type, position, default_kind, default_expression FROM system.columns WHERE database = currentDatabase() ORDER BY table, position") +
		"\n" + value(t, s, "SELECT name, engine_full, sorting_key, as_select FROM system.tables WHERE database = currentDatabase() ORDER BY name")
}

func TestMigrateTwiceChangesNothing(t *testing.T) {
	s := fresh(t)
	want := shape(t, s)
	n := value(t, s, "SELECT count() FROM schema_migrations")
	require.NoError(t, s.Migrate(t.Context()))
	require.Equal(t, want, shape(t, s))
	require.Equal(t, n, value(t, s, "SELECT count() FROM schema_migrations"))
	_, steps, err := s.plan(t.Context())
	require.NoError(t, err)
	require.Empty(t, steps)
}

// Tables of an earlier release take over the settings that this one makes.
func TestMigrateBringsTheSettings(t *testing.T) {
	s := fresh(t)
	const settings = "SELECT engine_full LIKE '%merge_selector_base = 32%' FROM system.tables WHERE database = currentDatabase() AND name = 'station_history'"
	require.Equal(t, "(1)", value(t, s, settings))
	require.NoError(t, s.exec(t.Context(), "ALTER TABLE station_history RESET SETTING merge_selector_base", nil))
	require.Equal(t, "(0)", value(t, s, settings))
	require.NoError(t, s.Migrate(t.Context()))
	require.Equal(t, "(1)", value(t, s, settings))
}

func TestMigrateByTwoAtOnce(t *testing.T) {
	dsn := emptyDatabase(t)
	c := catalogue(t, []string{"org", "employment"})
	a, b := open(t, dsn, c, "w1"), open(t, dsn, c, "w2")
	var g errgroup.Group
	g.Go(func() error { return a.Migrate(t.Context()) })
	g.Go(func() error { return b.Migrate(t.Context()) })
	require.NoError(t, g.Wait())
	require.NotContains(t, value(t, a, "SELECT name FROM system.tables WHERE database = currentDatabase()"), "__", "nothing half made is left")
	require.NotEqual(t, "(0)", value(t, a, "SELECT count() FROM dim_unit"))
}

func TestMigrateAddsAColumnAndFillsWhatBecameCurrent(t *testing.T) {
	dsn := emptyDatabase(t)
	const shown, hidden = "kind: bool, privacy: P2, current: true}", "kind: bool, privacy: P2}"
	old := open(t, dsn, catalogue(t, []string{"employment"}, "employment.yaml", shown, hidden), "old")
	require.NoError(t, old.Migrate(t.Context()))
	spec := old.opt.Catalogue.Feed("employment")
	require.NoError(t, put(t, assign(t, old, 0), spec, 0, 1,
		record{id: "a", version: version(1, 1)}, record{id: "a", version: version(2, 1), offset: 1}))

	s := open(t, dsn, catalogue(t, []string{"employment"}, "employment.yaml", "fields:\n",
		"fields:\n  - {name: added_field, zh: 新增, en: added, kind: code, list: sex, privacy: P1, current: true}\n"), "new")
	spec = s.opt.Catalogue.Feed("employment")

	mem := flowtest.Memory()
	rec := build(mem, spec, topic310, []record{{id: "b", version: version(1, 1)}})
	err := s.store(t.Context(), spec, rec)
	require.True(t, flow.IsPermanent(err))
	require.ErrorContains(t, err, "added_field")
	require.ErrorContains(t, err, "duiwu migrate")

	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.store(t.Context(), spec, rec))
	rec.Release()
	mem.AssertSize(t, 0)
	require.Equal(t, "('b')", value(t, s, "SELECT record_id FROM employment FINAL WHERE added_field != ''"))
	// The newest versions stored before are filled in; void nor older ones come back.
	require.Equal(t, "('a',true)\n('b',true)", value(t, s, "SELECT record_id, social_insurance FROM employment FINAL ORDER BY record_id"))
	for _, table := range []string{"employment", "employment_history"} {
		have, err := s.columns(t.Context(), table)
		require.NoError(t, err)
		for i, c := range have[table] {
			if c.name == "added_field" {
				require.Equal(t, "reported_at", have[table][i-1].name, "beside its neighbour")
			}
		}
	}
	_, steps, err := s.plan(t.Context())
	require.NoError(t, err)
	require.Empty(t, steps)

	// A worker of the old version goes on while the new one is rolled out.
	old.forget("employment_history")
	require.NoError(t, put(t, assign(t, old, 0), old.opt.Catalogue.Feed("employment"), 2, 2, record{id: "c", version: version(1, 1), offset: 2}))
}

func TestMigrateRefusesWhatWouldChangeData(t *testing.T) {
	s := fresh(t, "employment")
	ctx := t.Context()
	require.NoError(t, s.exec(ctx, "ALTER TABLE employment_history MODIFY COLUMN _offset Int32", nil))
	require.NoError(t, s.exec(ctx, "ALTER TABLE employment DROP COLUMN period", nil))
	require.NoError(t, s.exec(ctx, "DROP TABLE claims SYNC", nil))
	require.NoError(t, s.exec(ctx, "CREATE TABLE claims (topic LowCardinality(String)) ENGINE = MergeTree ORDER BY topic", nil))
	want := shape(t, s)
	err := s.Migrate(ctx)
	require.True(t, flow.IsPermanent(err))
	require.ErrorContains(t, err, "table employment_history: column _offset is Int32 in the database and Int64 in the feed")
	require.ErrorContains(t, err, "table claims has engine MergeTree")
	require.ErrorContains(t, err, "table claims is sorted by (topic)")
	require.Equal(t, want, shape(t, s), "nothing has changed")
}

func TestDimensionsHoldTheCatalogue(t *testing.T) {
	s := fresh(t, "worker")
	require.NoError(t, s.Migrate(t.Context()))
	c := s.opt.Catalogue
	require.Equal(t, "("+itoa(len(c.Units))+","+itoa(len(c.Divisions.Rows))+","+itoa(len(c.Targets))+")",
		value(t, s, "SELECT (SELECT count() FROM dim_unit), (SELECT count() FROM dim_division), (SELECT count() FROM dim_target)"))
	codes := 0
	for _, l := range c.Lists {
		codes += len(l.Entries)
	}
	require.Equal(t, "("+itoa(codes)+")", value(t, s, "SELECT count() FROM dim_code"))
	require.NotEqual(t, "(0)", value(t, s, "SELECT count() FROM dim_calendar"))
	require.Equal(t, "('1900-01-01','2299-12-31')", value(t, s, "SELECT min(valid_from), max(valid_until) FROM dim_division"))
}

func TestDDLIsWhatMigrateRuns(t *testing.T) {
	dsn := emptyDatabase(t)
	c := catalogue(t, []string{"org"})
	s := open(t, dsn, c, "w")
	for _, sql := range append(DDL(c.Feed("org"), Layout{}), SystemDDL(c, Layout{})...) {
		require.NoError(t, s.exec(t.Context(), sql, nil), sql)
	}
	_, steps, err := s.plan(t.Context())
	require.NoError(t, err)
	require.Empty(t, steps)
}
