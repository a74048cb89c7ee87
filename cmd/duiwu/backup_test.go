package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/testenv"
)

// statements are those of the section Backup of docs/operations.md, for this
// database and a folder of the test; the embedded server has no zip.
func (p *path) statements(folder string) (out []string) {
	p.t.Helper()
	raw, err := os.ReadFile("../../docs/operations.md")
	require.NoError(p.t, err)
	_, text, ok := strings.Cut(string(raw), "\n## Backup\n")
	require.True(p.t, ok)
	text, _, _ = strings.Cut(text, "\n## ")
	for _, m := range regexp.MustCompile(`--query "([^"]+)"`).FindAllStringSubmatch(text, -1) {
		out = append(out, strings.NewReplacer("Disk('backups', '", "File('"+folder+"/", "DATABASE duiwu ", "DATABASE "+p.database()+" ",
			"TABLE duiwu.", "TABLE "+p.database()+".", ".zip", ".tar").Replace(m[1]))
	}
	return out
}

func (p *path) database() string { return p.lines("SELECT currentDatabase()")[0] }

// whole is all tables that a restore has to bring back, without the moments of
// arrival.
func (p *path) whole() []string {
	out := p.rest()
	for i, line := range out {
		out[i] = regexp.MustCompile(`'20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}',\d+\)$`).ReplaceAllString(line, ")")
	}
	for _, q := range []string{
		"SELECT toString(tuple(record_id, id_number_token, _version, _is_deleted)) FROM employment FINAL ORDER BY record_id",
		"SELECT toString(tuple(record_id, id_number_token, _version, _is_deleted)) FROM worker FINAL ORDER BY record_id",
		"SELECT toString(tuple(* EXCEPT (epoch, first_offset, arrived_at))) FROM quarantine_open ORDER BY offset, row",
		"SELECT toString(tuple(*)) FROM balance ORDER BY unit, feed",
		"SELECT toString(tuple(* EXCEPT (first_arrived_at, last_arrived_at, as_of, chunks))) FROM receipts ORDER BY unit, feed, batch_id",
	} {
		out = append(out, p.lines(q)...)
	}
	return out
}

// TestRestore restores a backup that was made while a worker wrote, by the
// statements of docs/operations.md. The workers resume where its ledger ends,
// Kafka brings the rest, and every table is as it was.
func TestRestore(t *testing.T) {
	if !testenv.Full() {
		t.Skip("starts a server of its own: DUIWU_TEST=full")
	}
	lib := testenv.LibCHDB(t)
	folder := filepath.Join(t.TempDir(), "backups")
	require.NoError(t, os.Mkdir(folder, 0o700))
	server, err := engine.Start(t.Context(), engine.Options{Lib: lib, Dir: filepath.Join(t.TempDir(), "clickhouse"), Backups: folder})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop(context.Background()) })
	p := newPathAt(t, "310000", testenv.Kfake(t), server)
	stop := p.worker()
	send := func(from, to int) {
		for n := from; n < to; n++ {
			p.push(employment(n, "01", fmt.Sprint("b", n/10)), rosterOf(n), employment(n, "99", fmt.Sprint("b", n/10)), employment(n/2, "02", "c", "T08:00", fmt.Sprintf("T09:%02d", n%60)))
		}
	}
	send(0, 30)
	p.wait()
	statements := p.statements(folder)
	require.Len(t, statements, 4)
	done := make(chan struct{})
	go func() {
		defer close(done)
		send(30, 60)
	}()
	for _, q := range statements[:2] {
		require.NoError(t, p.conn.Exec(t.Context(), q), q)
	}
	<-done
	p.wait()
	send(60, 80)
	p.wait()
	stop()
	want := p.whole()
	before := p.lines("SELECT toString(count()) FROM ledger FINAL")

	opts, err := clickhouse.ParseDSN(server.DSN())
	require.NoError(t, err)
	admin, err := clickhouse.Open(opts)
	require.NoError(t, err)
	defer admin.Close()
	require.NoError(t, admin.Exec(t.Context(), "DROP DATABASE "+p.database()+" SYNC"))
	for _, q := range statements[2:] {
		require.NoError(t, admin.Exec(t.Context(), q), q)
	}
	require.NotEqual(t, before, p.lines("SELECT toString(count()) FROM ledger FINAL"), "the backup is older")
	require.NotEqual(t, want, p.whole())
	p.must("migrate")
	p.worker()
	p.wait()
	require.Equal(t, want, p.whole())
	p.balanceHolds()
	p.must("doctor", "--units", "310000")
}
