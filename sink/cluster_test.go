package sink

import (
	"context"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/duiwu/duiwu/internal/broker"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/fetch"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/testenv"
)

// TestOnACluster runs what holds on one server once more on two shards, each
// request on another of them.
func TestOnACluster(t *testing.T) {
	c, err := engine.StartCluster(t.Context(), engine.Options{Lib: testenv.LibCHDB(t), Dir: t.TempDir()}, 2)
	require.NoError(t, err)
	shards = c
	t.Cleanup(func() {
		shards = nil
		_ = c.Stop(context.WithoutCancel(t.Context())) // see testenv.Main
	})
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"MigrateTwiceChangesNothing", TestMigrateTwiceChangesNothing},
		{"MigrateByTwoAtOnce", TestMigrateByTwoAtOnce},
		{"MigrateAddsAColumn", TestMigrateAddsAColumnAndFillsWhatBecameCurrent},
		{"EveryFeed", TestEveryFeedGoesInAndIsReadBack},
		{"Contract", TestContract},
		{"LedgerEffective", TestLedgerEffective},
		{"TwoClaims", TestTwoClaimsAtOnceEndWithDifferentEpochs},
		{"Fenced", TestCutsThatAreWrittenTogetherAreFencedOneByOne},
		{"NewestAndStored", TestNewestAndStoredSeeTheLedgerOnly},
		{"WhatIsAskedAtOnce", TestWhatIsAskedAtOnceIsReadOnce},
		{"Receipts", TestReceipts},
		{"RefusedAgain", TestRefusedAgain},
		{"Recount", TestARecordInTwoPartitionsIsCountedOnce},
		{"Scratch", TestScratch},
		{"Worklist", TestWorklist},
		{"RowsOfAUnitLieOnOneShard", rowsOfAUnitLieOnOneShard},
		{"WhatAServerLacksIsMade", whatAServerLacksIsMade},
		{"Erase", eraseOnShards},
		{"WhatIsNotSupportedSaysSo", whatIsNotSupportedSaysSo},
	} {
		t.Run(test.name, test.run)
	}
}

// each asks every shard by itself.
func each(t *testing.T, s *Sink, sql string) (out []string) {
	t.Helper()
	for _, e := range shards.Shards {
		u, err := url.Parse(e.DSN())
		require.NoError(t, err)
		u.Path = "/" + s.database
		out = append(out, value(t, open(t, u.String(), s.opt.Catalogue, "shard"), sql))
	}
	return out
}

// Two units that the sharding key parts, written as one group and counted apart.
func rowsOfAUnitLieOnOneShard(t *testing.T) {
	s := fresh(t, "employment")
	spec := s.opt.Catalogue.Feed("employment")
	var g errgroup.Group
	for _, unit := range []string{"310000", "120000"} {
		a, err := s.Assign(t.Context(), "duiwu.feed."+unit, 0)
		require.NoError(t, err)
		g.Go(func() error { return put(t, a, spec, 0, 0, record{id: "a", version: version(1, 1)}) })
	}
	require.NoError(t, g.Wait())
	const units = "SELECT arraySort(groupUniqArray(unit)) FROM "
	want := []string{"(['120000'])", "(['310000'])"}
	for _, from := range []string{
		"(SELECT toString(reporting_unit) AS unit FROM employment_history_local)", "(SELECT toString(reporting_unit) AS unit FROM employment_local)",
		"(SELECT toString(unit) AS unit FROM receipt_parts_local)", "(SELECT substringIndex(topic, '.', -1) AS unit FROM ledger_local)",
		"(SELECT substringIndex(topic, '.', -1) AS unit FROM claims_local)",
	} {
		require.Equal(t, want, each(t, s, units+from), from)
	}
	// Every server tells the same of both.
	all := each(t, s, "SELECT reporting_unit, record_id, _version FROM employment FINAL ORDER BY reporting_unit")
	require.Len(t, strings.Split(all[0], "\n"), 2)
	require.Equal(t, all[0], all[1])
	balance, err := s.Balance(t.Context())
	require.NoError(t, err)
	require.Len(t, balance, 2)
	for _, b := range balance {
		require.Equal(t, int64(1), b.By[flow.New])
		require.Zero(t, b.Unexplained())
	}
	found, blind := s.Checkup(t.Context(), Checkup{Full: true})
	require.Empty(t, blind)
	require.Empty(t, found)
}

// A server that joins later has no tables; the next migration makes them there
// and leaves the others alone.
func whatAServerLacksIsMade(t *testing.T) {
	s := fresh(t, "employment")
	want := each(t, s, "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase() ORDER BY name")
	require.Equal(t, want[0], want[1])
	u, err := url.Parse(shards.Shards[1].DSN())
	require.NoError(t, err)
	u.Path = "/" + s.database
	second := open(t, u.String(), s.opt.Catalogue, "second")
	for _, name := range []string{"employment", "employment_local", "ledger"} {
		require.NoError(t, second.exec(t.Context(), "DROP TABLE "+name+" SYNC", nil))
	}
	require.NoError(t, s.Migrate(t.Context()))
	require.Equal(t, want, each(t, s, "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase() ORDER BY name"))
}

func eraseOnShards(t *testing.T) {
	s := fresh(t, "employment")
	spec := s.opt.Catalogue.Feed("employment")
	require.NoError(t, put(t, assign(t, s, 0), spec, 0, 1, record{id: "a", version: version(1, 1)}, record{id: "b", version: version(1, 1), offset: 1}))
	e := Erasure{RecordName: flow.RecordName{Unit: "310000", Feed: "employment", RecordID: "a"}, By: "Zhao", Reason: "asked for"}
	require.NoError(t, s.Erase(t.Context(), e))
	found, err := s.Find(t.Context(), e)
	require.NoError(t, err)
	require.Zero(t, found)
	require.Equal(t, "('b')", value(t, s, "SELECT record_id FROM employment FINAL"))
	for _, rows := range each(t, s, "SELECT count() FROM employment_history_local WHERE record_id = 'a'") {
		require.Equal(t, "(0)", rows)
	}
	names, err := s.ErasedNames(t.Context(), "310000")
	require.NoError(t, err)
	require.Equal(t, []flow.RecordName{e.RecordName}, names)
}

func whatIsNotSupportedSaysSo(t *testing.T) {
	s := fresh(t, "employment")
	_, err := s.Rotate(t.Context(), "old", func([]byte) {})
	require.ErrorContains(t, err, "cannot rotate: the tables are those of cluster shards")
	s.opt.Cluster = "another"
	require.ErrorContains(t, s.Migrate(t.Context()), "the tables are those of shards, not of cluster another")
	s.opt.Cluster = ""
	require.NoError(t, s.Migrate(t.Context()), "the database knows that it is a cluster")
}

// TestReplicatedTables makes the tables as they are made on a cluster of two
// replicas a shard, against a real ZooKeeper. Nothing can be written to them: the
// embedded server has no listener from which a replica could fetch, and stays
// read-only without it; and what every server runs of an ON CLUSTER statement is
// run on each here.
func TestReplicatedTables(t *testing.T) {
	if !testenv.Full() {
		t.Skip("starts a ZooKeeper: DUIWU_TEST=full")
	}
	lib, err := fetch.ZooKeeper(t.Context())
	require.NoError(t, err)
	zoo, err := broker.StartZooKeeper(t.Context(), broker.Options{Dir: t.TempDir(), Lib: lib})
	require.NoError(t, err)
	t.Cleanup(zoo.Kill)
	host, port, _ := strings.Cut(zoo.Addr(), ":")
	c := catalogue(t, []string{"employment"})
	l := Layout{Database: engine.Database, Cluster: "office", Durable: true}
	var statements []string
	for _, spec := range c.Feeds {
		statements = append(statements, DDL(spec, l)...)
	}
	statements = append(statements, SystemDDL(c, l)...)
	var servers []*Sink
	for i, at := range [][2]string{{"1", "a"}, {"1", "b"}, {"2", "a"}} {
		e, err := engine.Start(t.Context(), engine.Options{Lib: testenv.LibCHDB(t), Dir: filepath.Join(t.TempDir(), strconv.Itoa(i)), ConfigXML: `
  <zookeeper><node><host>` + host + `</host><port>` + port + `</port></node></zookeeper>
  <macros><shard>` + at[0] + `</shard><replica>` + at[1] + `</replica></macros>
  <remote_servers><office><shard><replica><host>127.0.0.1</host><port>1</port></replica></shard></office></remote_servers>`})
		require.NoError(t, err)
		t.Cleanup(func() { _ = e.Stop(context.WithoutCancel(t.Context())) })
		s := open(t, e.DSN(), c, "w")
		for _, sql := range statements {
			require.Contains(t, value(t, s, "SELECT formatQuery("+quoteText(sql)+")"), " ON CLUSTER office", "as the server reads it")
			require.NoError(t, s.exec(t.Context(), strings.Replace(sql, " ON CLUSTER `office`", "", 1), nil), sql)
		}
		servers = append(servers, s)
	}
	const replicas = "SELECT table, zookeeper_path, total_replicas FROM system.replicas WHERE database = currentDatabase() AND table = 'employment_history_local'"
	require.Equal(t, "('employment_history_local','/clickhouse/tables/1/duiwu/employment_history_local',2)", value(t, servers[0], replicas))
	require.Equal(t, value(t, servers[0], replicas), value(t, servers[1], replicas), "two replicas of one shard")
	require.Equal(t, "('employment_history_local','/clickhouse/tables/2/duiwu/employment_history_local',1)", value(t, servers[2], replicas))
	require.Equal(t, "(0)", value(t, servers[0], "SELECT count() FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND engine NOT LIKE 'Replicated%'"))
	// What is there is what is wanted: nothing would be altered.
	have, err := servers[0].tables(t.Context())
	require.NoError(t, err)
	for _, want := range servers[0].wanted(l) {
		if want.made {
			continue // replaced whole
		}
		added, err := want.grow(have[want.name])
		require.NoError(t, err)
		require.Empty(t, added)
		require.NotNil(t, have[want.name])
		require.Equal(t, len(want.order) > 0, isDurable(have[want.name].full), want.name)
	}
	require.Equal(t, "(0)", value(t, servers[0], "SELECT count() FROM system.tables WHERE database = currentDatabase() AND engine LIKE 'Replicated%' AND engine_full NOT LIKE '%replicated_deduplication_window = 0%'"))
}
