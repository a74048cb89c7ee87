package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/testenv"
	"github.com/duiwu/duiwu/sink"
)

// TestRolesWorkAndCanDoNoMore runs each command as the user that `duiwu show
// grants` makes for it, and tries what it must not do.
func TestRolesWorkAndCanDoNoMore(t *testing.T) {
	if !testenv.Full() {
		t.Skip("starts a server of its own: DUIWU_TEST=full")
	}
	lib := testenv.LibCHDB(t)
	cat, err := catalogue("")
	require.NoError(t, err)
	roles := sink.Roles(cat, sink.Layout{Database: engine.Database})
	users := ""
	for i := range roles {
		users += roles[i].XML(fmt.Sprintf("%x", sha256.Sum256([]byte("pw-"+roles[i].Name))))
	}
	reader := unitReader(cat, engine.Database, []string{"320000"})
	users += reader.XML(fmt.Sprintf("%x", sha256.Sum256([]byte("pw-"+reader.Name))))
	server, err := engine.Start(t.Context(), engine.Options{Lib: lib, Dir: filepath.Join(t.TempDir(), "clickhouse"), UsersXML: users})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop(context.Background()) })
	p := newPathAt(t, "310000", testenv.Kfake(t), server)
	dsn := func(role string) string {
		u, err := url.Parse(server.DSN())
		require.NoError(t, err)
		u.User = url.UserPassword("duiwu_"+role, "pw-"+role)
		return u.String()
	}
	as := func(role string) { p.env["DUIWU_CLICKHOUSE"] = dsn(role) }
	opts, err := clickhouse.ParseDSN(server.DSN())
	require.NoError(t, err)
	p.conn, err = clickhouse.Open(opts)
	require.NoError(t, err)
	defer p.conn.Close()

	as("migrate")
	p.must("migrate")
	p.must("migrate")
	as("worker")
	stop := p.worker()
	p.push(employment(0, "01", "b"), employment(1, "99", "b"), rosterOf(1))
	p.wait()
	p.must("replay", "--topic", p.topic, "--partition", "0", "--from", "0", "--to", "2", "--by", "x", "--reason", "y")
	as("steward")
	p.must("erase", "--unit", "310000", "--feed", "employment", "--record-id", "E-0", "--by", "x", "--reason", "y")
	stop()
	next := p.newKeys(p.env["DUIWU_TOKEN_KEYS"])
	p.must("keys", "rotate", "--by", "x", "--token-keys", next)
	p.env["DUIWU_TOKEN_KEYS"] = next
	as("publisher")
	p.must("publish", "2016-10", "--by", "x")
	as("doctor")
	p.must("balance")
	out, _ := p.out("doctor", "--units", "310000")
	require.NotContains(t, out, "could not look")
	require.NotContains(t, out, "cannot look")

	const reads = "SELECT count() FROM worker_history"
	writes := []string{"INSERT INTO ledger (topic) VALUES ('x')", "INSERT INTO employment_history (record_id) VALUES ('x')"}
	changes := []string{"ALTER TABLE employment_history DELETE WHERE 1", "ALTER TABLE quarantine UPDATE kept = '' WHERE 1", "TRUNCATE TABLE ledger"}
	makes := []string{"CREATE TABLE mine (x UInt8) ENGINE = MergeTree ORDER BY x", "DROP TABLE ledger", "ALTER TABLE ledger DROP COLUMN unit"}
	always := []string{"CREATE USER x", "SELECT * FROM file('/etc/passwd', 'LineAsString')", "SELECT * FROM url('http://127.0.0.1/', 'LineAsString')",
		"CREATE DATABASE x", "DROP DATABASE duiwu", "SYSTEM STOP MERGES duiwu.ledger", "GRANT SELECT ON duiwu.* TO duiwu_plugin", "BACKUP DATABASE duiwu TO Null"}
	refused := map[string][][]string{
		"plugin": {writes, changes, makes, always}, "doctor": {writes, changes, makes, always}, "worker": {changes, makes, always},
		"migrate": {changes, always}, "steward": {always}, "publisher": {writes, changes, makes, always}, reader.Name: {writes, changes, makes, always},
	}
	for role, all := range refused {
		opts, err := clickhouse.ParseDSN(dsn(role))
		require.NoError(t, err)
		conn, err := clickhouse.Open(opts)
		require.NoError(t, err)
		var rows uint64
		require.NoError(t, conn.QueryRow(t.Context(), reads).Scan(&rows), role)
		require.Equal(t, role == reader.Name, rows == 0, "%s reads %d rows of Shanghai", role, rows)
		for _, statements := range all {
			for _, q := range statements {
				if role == "migrate" && strings.HasPrefix(q, "ALTER TABLE ledger") {
					continue
				}
				assert.ErrorContains(t, conn.Exec(t.Context(), q), "ACCESS_DENIED", "%s: %s", role, q)
			}
		}
		require.NoError(t, conn.Close())
	}

	// No server at hand makes users by SQL; its parser reads the statements.
	for _, r := range append(roles, reader) {
		for _, q := range r.SQL() {
			require.NoError(t, p.conn.Exec(t.Context(), "EXPLAIN AST "+q), q)
		}
	}
}
