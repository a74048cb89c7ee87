package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/testenv"
)

func TestMain(m *testing.M) {
	if os.Getenv("DUIWU_RUN_MAIN") != "" {
		main() // a process to be killed; see interrupt_test.go
		os.Exit(0)
	}
	testenv.Main(m)
}

// path is a worker between a broker and a ClickHouse of the test's own.
type path struct {
	t     *testing.T
	env   map[string]string
	kafka ingest.Broker
	conn  driver.Conn
	log   *syncBuffer
	topic string
	unit  string
	// settings are those of the topic.
	settings map[string]string
	sent     int64
	stop     func()
}

// syncBuffer is a buffer for two goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const testClock = "2016-11-30T20:00:00+08:00"

// newPath makes a database of its own on the shared server, a topic, and the
// tables.
func newPath(t *testing.T, unit string) *path { return newPathWith(t, unit) }

// newPathWith makes the topic with further settings: name, value.
func newPathWith(t *testing.T, unit string, settings ...string) *path {
	t.Helper()
	return newPathAt(t, unit, testenv.Kfake(t), testenv.ClickHouse(t), settings...)
}

// newPathAt is newPathWith on other servers than the shared ones.
func newPathAt(t *testing.T, unit, kafka string, server *engine.Engine, settings ...string) *path {
	t.Helper()
	return pathOn(t, unit, server.DSN(), kafka, settings...)
}

// pathOn is newPath on servers of the test's own.
func pathOn(t *testing.T, unit, dsn, kafka string, settings ...string) *path {
	t.Helper()
	return pathOnCluster(t, unit, dsn, "", kafka, settings...)
}

// pathOnCluster is pathOn with the tables on a cluster, unless it has no name.
func pathOnCluster(t *testing.T, unit, dsn, cluster, kafka string, settings ...string) *path {
	t.Helper()
	on := ""
	if cluster != "" {
		on = " ON CLUSTER " + cluster
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		p := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(p, []byte(text), 0o600))
		return p
	}
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	name := "t_" + hex.EncodeToString([]byte(fmt.Sprint(time.Now().UnixNano()%1e9)))
	opts, err := clickhouse.ParseDSN(u.String())
	require.NoError(t, err)
	admin, err := clickhouse.Open(opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = admin.Close() })
	require.NoError(t, admin.Exec(t.Context(), "CREATE DATABASE "+name+on))
	u.Path = "/" + name
	opts, err = clickhouse.ParseDSN(u.String())
	require.NoError(t, err)
	if cluster != "" {
		opts.Settings = clickhouse.Settings{"distributed_product_mode": "allow"} // as whoever asks on a cluster
	}
	conn, err := clickhouse.Open(opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	prefix := "duiwu." + name
	p := &path{
		t: t, conn: conn, log: &syncBuffer{}, unit: unit, topic: ingest.Topic(prefix, unit),
		kafka: ingest.Broker{Brokers: []string{kafka}},
		env: map[string]string{
			"DUIWU_CLICKHOUSE": u.String(), "DUIWU_PREFIX": prefix, "DUIWU_GROUP": name, "DUIWU_CLOCK": testClock,
			"DUIWU_TEST_AREAS": "true", "DUIWU_LINGER": "100ms", "DUIWU_LISTEN": "127.0.0.1:0",
			"DUIWU_TOKEN_KEYS": file("token.keys", strings.Repeat("0b", 32)+"\n"),
			"DUIWU_HASH_KEY":   file("hash.key", strings.Repeat("0c", 16)+"\n"),
		},
	}
	p.env["DUIWU_KAFKA"] = p.kafka.Brokers[0]
	p.settings = map[string]string{"max.message.bytes": "8388608", "retention.ms": "7776000000", "min.insync.replicas": "2"}
	for i := 0; i < len(settings); i += 2 {
		p.settings[settings[i]] = settings[i+1]
	}
	require.NoError(t, ingest.CreateTopics(t.Context(), p.kafka, 1, p.settings, p.topic))
	require.NoError(t, p.run(t.Context(), "migrate", "--cluster", cluster))
	return p
}

func (p *path) run(ctx context.Context, args ...string) error {
	return run(ctx, &environment{stdout: p.log, stderr: p.log, getenv: func(k string) string { return p.env[k] }}, args)
}

// worker starts a worker that runs until the test ends or the returned function
// is called.
func (p *path) worker() (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.t.Context()))
	done := make(chan error, 1)
	go func() { done <- p.run(ctx, "worker") }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("the worker ended with %v", err)
		}
	})
	p.t.Cleanup(stop)
	return stop
}

func (p *path) push(values ...string) {
	p.t.Helper()
	producer, err := ingest.NewProducer(p.kafka)
	require.NoError(p.t, err)
	defer producer.Close()
	for _, v := range values {
		require.NoError(p.t, producer.Send(p.t.Context(), ingest.Outgoing{Topic: p.topic, Key: []byte("k"), Value: []byte(v)}))
	}
	p.sent += int64(len(values))
}

// wait returns when everything that was pushed lies inside the ledger.
func (p *path) wait() {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		var next int64
		err := p.conn.QueryRow(p.t.Context(), "SELECT if(count() = 0, 0, max(last_offset) + 1) FROM ledger_effective WHERE topic = {topic:String}",
			clickhouse.Named("topic", p.topic)).Scan(&next)
		return err == nil && next >= p.sent
	}, 60*time.Second, 50*time.Millisecond, "%s", p.log)
}

// lines runs a query of one text column.
func (p *path) lines(query string) []string {
	p.t.Helper()
	rows, err := p.conn.Query(p.t.Context(), query)
	require.NoError(p.t, err)
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		require.NoError(p.t, rows.Scan(&s))
		out = append(out, s)
	}
	require.NoError(p.t, rows.Err())
	return out
}

func demoSite(id string, changes ...string) string {
	s := fmt.Sprintf(`{"schema_version":1,"reporting_unit":"310000","feed":"demo_site","batch_id":"b1","record_id":%q,"op":"U","period":"201611","effective_from":"2016-11-30","reported_at":"2016-11-30T08:00:00+08:00","site_id":"S-1","site_name":"示范点","level":"1","status":"2","county_code":"310115"}`, id)
	for i := 0; i+1 < len(changes); i += 2 {
		if !strings.Contains(s, changes[i]) {
			panic("no such text: " + changes[i])
		}
		s = strings.Replace(s, changes[i], changes[i+1], 1)
	}
	return s
}

// TestBadInputIsExplainedAndNothingElseIsLost sends what provinces should not
// send among what they should.
func TestBadInputIsExplainedAndNothingElseIsLost(t *testing.T) {
	p := newPath(t, "310000")
	p.worker()
	p.push(
		demoSite("good-1"),
		`not JSON`,
		``,
		demoSite("unknown", `"level"`, `"colour":"red","level"`),
		demoSite("forbidden", `"level"`, `"home_address":"某路1号","level"`),
		demoSite("other", `"310000"`, `"320000"`),
		demoSite("id", `示范点`, `119901198001153013`),
		demoSite("big", `示范点`, strings.Repeat("x", 5<<20)),
		demoSite("many", `"level":"1"`, `"level":"9"`, `"county_code":"310115"`, `"county_code":"999999"`),
		demoSite("good-2"),
	)
	p.wait()
	require.Equal(t, []string{"good-1 new 0", "good-2 new 9"},
		p.lines("SELECT concat(record_id, ' ', _outcome, ' ', toString(_offset)) FROM demo_site_history FINAL ORDER BY record_id"))
	require.Equal(t, []string{"good-1", "good-2"}, p.lines("SELECT record_id FROM demo_site FINAL ORDER BY record_id"))
	require.Equal(t, []string{
		"1 :message_undecodable",
		"2 :message_empty",
		"3 colour:unknown_field",
		"4 home_address:forbidden_field",
		"5 reporting_unit:reporting_unit",
		"6 site_name:personal_in_open_field",
		"7 :message_too_large",
		"8 level:code_list county_code:division_unknown",
	}, p.lines("SELECT concat(toString(offset), arrayStringConcat(arrayMap((f, r) -> concat(' ', f, ':', r), fields, rules))) FROM quarantine FINAL ORDER BY offset"))
	for _, text := range []string{"某路", "119901198001153013", "红", "xxxx"} {
		require.Empty(t, p.lines("SELECT kept FROM quarantine WHERE kept LIKE '%"+text+"%'"))
		require.NotContains(t, p.log.String(), text)
	}
	require.NoError(t, p.run(t.Context(), "balance"), "the balance holds")
	require.NoError(t, p.run(t.Context(), "receipt", "310000", "demo_site", "b1"))
	require.Contains(t, p.log.String(), "rejected by code_list")
}

// TestARestartCountsAsAnUndisturbedRun stops the worker between two pushes of
// the same records.
func TestARestartCountsAsAnUndisturbedRun(t *testing.T) {
	p := newPath(t, "310000")
	stop := p.worker()
	p.push(demoSite("a"), demoSite("b"))
	p.wait()
	stop()
	p.push(demoSite("a"), demoSite("b", "T08:00", "T09:00"), demoSite("b", "T08:00", "T10:00", `"status":"2"`, `"status":"3"`), demoSite("a"))
	p.worker()
	p.wait()
	require.Equal(t, []string{"a new", "b correction", "b new", "b unchanged"},
		p.lines("SELECT concat(record_id, ' ', _outcome) AS x FROM demo_site_history FINAL ORDER BY x"))
	require.Equal(t, []string{"received 6 duplicate 2"},
		p.lines("SELECT concat('received ', toString(sum(received)), ' duplicate ', toString(sum(duplicate))) FROM balance"))
}

// TestANewerSchemaStopsThePartition: it must not fill the quarantine.
func TestANewerSchemaStopsThePartition(t *testing.T) {
	p := newPath(t, "310000")
	p.worker()
	p.push(demoSite("a", `"schema_version":1`, `"schema_version":99`))
	require.Eventually(t, func() bool { return strings.Contains(p.log.String(), "partition stopped") }, 30*time.Second, 50*time.Millisecond)
	require.Contains(t, p.log.String(), "upgrade duiwu")
	require.Empty(t, p.lines("SELECT rule FROM quarantine"))
}
