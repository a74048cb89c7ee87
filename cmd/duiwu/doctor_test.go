package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/broker"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/finding"
	"github.com/duiwu/duiwu/internal/testenv"
)

// seen is what doctor printed as JSON.
type seen struct {
	Healthy  bool
	Findings []struct{ ID, Severity, Where, What, Means, Do string }
	Blind    []string `json:"could_not_look"`
	Records  int64    `json:"records_read_again"`
}

func (s *seen) ids() []string {
	out := []string{}
	for _, f := range s.Findings {
		if !slices.Contains(out, f.ID) {
			out = append(out, f.ID)
		}
	}
	return out
}

// doctor runs the command; the error is what ends the process.
func (p *path) doctor(flags ...string) (*seen, error) {
	p.t.Helper()
	s, err := p.glance(flags...)
	require.Empty(p.t, s.Blind)
	require.Equal(p.t, len(s.Findings) > 0, errors.Is(err, errFindings), "%v", err)
	require.Equal(p.t, len(s.Findings) == 0, s.Healthy)
	return s, err
}

// glance is doctor, also when it cannot look everywhere.
func (p *path) glance(flags ...string) (*seen, error) {
	p.t.Helper()
	out, err := p.output(append([]string{"doctor", "--json", "--units", p.unit, "--min-free", "0.001"}, flags...)...)
	var s seen
	if uerr := json.Unmarshal([]byte(out), &s); uerr != nil {
		p.t.Fatalf("%v\n%s\n%v", uerr, out, err)
	}
	for _, f := range s.Findings {
		covered[f.ID] = true
	}
	return &s, err
}

// finds breaks something and expects exactly these findings.
func (p *path) finds(ids []string, flags ...string) *seen {
	p.t.Helper()
	s, _ := p.doctor(flags...)
	require.ElementsMatch(p.t, ids, s.ids(), "%+v", s.Findings)
	return s
}

// full leaves out what breaks and mends servers for minutes.
func full(t *testing.T) {
	t.Helper()
	if !testenv.Full() {
		t.Skip("breaks and mends servers for minutes: DUIWU_TEST=full")
	}
}

// covered are the findings that some test of this package saw.
var covered = map[string]bool{}

// healthy is a path through which some records went: stored, corrected,
// duplicate, refused, and some replayed.
func healthy(t *testing.T, topicSettings ...string) *path {
	t.Helper()
	p := newPathWith(t, "310000", topicSettings...)
	p.env["DUIWU_FEEDS"] = feedFolder(t, "codes/worker_category.csv", without02, "", "demo_site.yaml", "", "")
	stop := p.worker()
	for n := range 5 {
		p.push(employment(n, "01", "b"))
	}
	p.push(employment(0, "01", "b"), employment(1, "03", "b", "T08:00", "T09:00"), employment(6, "02", "b"), employment(7, "99", "b"), "not JSON")
	p.send("["+demoSite("D-1")+","+demoSite("D-2", `"level":"1"`, `"level":"9"`)+"]", "feed", "demo_site")
	p.wait()
	stop()
	delete(p.env, "DUIWU_FEEDS")
	p.must("quarantine", "replay", "--by", "x", "--reason", "y")
	return p
}

func (p *path) exec(sql string) {
	p.t.Helper()
	require.NoError(p.t, p.conn.Exec(p.t.Context(), sql))
}

func TestAHealthySystemHasNoFindings(t *testing.T) {
	full(t)
	p := healthy(t)
	s := p.finds(nil)
	require.EqualValues(t, 11, s.Records)
	p.finds(nil, "--full")
	out := p.must("doctor", "--units", p.unit, "--min-free", "0.001")
	require.Contains(t, out, "healthy; looked at 1 units and 15 feeds, read 1 cuts of 11 records again from Kafka")
	delete(p.env, "DUIWU_TOKEN_KEYS")
	delete(p.env, "DUIWU_HASH_KEY")
	p.finds(nil)
	// The address of every interface reaches this machine and is not loopback.
	for _, name := range []string{"DUIWU_KAFKA", "DUIWU_CLICKHOUSE"} {
		p.env[name] = strings.Replace(p.env[name], "127.0.0.1", "0.0.0.0", 1)
	}
	p.env["DUIWU_KAFKA_TLS"] = "false"
	s, err := p.doctor()
	require.ErrorIs(t, err, errFindings)
	require.Equal(t, []string{"not_encrypted"}, s.ids())
	require.Len(t, s.Findings, 2)
	// While a worker runs and records come.
	q := newPathWith(t, "310000")
	q.worker()
	for n := range 30 {
		q.push(employment(n, "01", "b"))
		if n%10 == 9 {
			q.finds(nil)
		}
	}
}

func TestDoctorSeesWhatIsWrongInTheTables(t *testing.T) {
	full(t)
	p := healthy(t)
	for _, c := range []struct{ name, id, break_, mend string }{
		{"a column is missing", "schema_behind", "ALTER TABLE policy_doc_history DROP COLUMN title", "migrate"},
		{"a view is missing", "schema_behind", "DROP VIEW balance", "migrate"},
		{"another type", "schema_differs", "ALTER TABLE employment MODIFY COLUMN post_id LowCardinality(String)", "ALTER TABLE employment MODIFY COLUMN post_id String"},
		{"a column too many", "column_unknown", "ALTER TABLE org_history ADD COLUMN colour String", "ALTER TABLE org_history DROP COLUMN colour"},
		{"a window", "deduplication_window", "ALTER TABLE org_history MODIFY SETTING non_replicated_deduplication_window = 100", "ALTER TABLE org_history MODIFY SETTING non_replicated_deduplication_window = 0"},
		{"the ledger alone is durable", "durability_mixed", "ALTER TABLE ledger MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1", "ALTER TABLE ledger RESET SETTING fsync_after_insert, fsync_part_directory"},
		{"a TTL", "table_ttl", "ALTER TABLE quarantine MODIFY TTL toDateTime(arrived_at) + INTERVAL 80 YEAR", "ALTER TABLE quarantine REMOVE TTL"},
		{"current is behind", "current_differs", "DELETE FROM employment WHERE record_id = 'E-2'", "INSERT INTO employment SELECT reporting_unit, record_id, period, effective_from, reported_at, id_number_token, employer_uscc, start_on, end_on, employment_form, worker_category, county_code, post_id, leave_reason, destination_unit, social_insurance, pay_month_band, _version, _is_deleted, _arrived_at FROM employment_history WHERE record_id = 'E-2'"},
		{"current is another", "current_differs", "ALTER TABLE employment UPDATE worker_category = '03' WHERE record_id = 'E-2' SETTINGS mutations_sync = 1", "ALTER TABLE employment UPDATE worker_category = '01' WHERE record_id = 'E-2' SETTINGS mutations_sync = 1"},
		{"outcomes that do not add up", "ledger_unbalanced", "INSERT INTO ledger SELECT * REPLACE (-1 AS partition, 5 AS received) FROM ledger WHERE run = 'live' LIMIT 1", "DELETE FROM ledger WHERE partition = -1"},
		{"rows of an erased record", "erased_present", "INSERT INTO erased (unit, feed, record_id) VALUES ('310000', 'employment', 'E-2')", "DELETE FROM erased WHERE record_id = 'E-2'"},
		{"rows of no cut", "rows_outside_ledger", "INSERT INTO employment_history SELECT * REPLACE (1000 AS _offset, _version + 65536 AS _version) FROM (SELECT * FROM employment_history WHERE record_id = 'E-3')", "DELETE FROM employment_history WHERE _offset = 1000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.t = t
			p.exec(c.break_)
			s, _ := p.doctor()
			require.Contains(t, s.ids(), c.id, "%+v", s.Findings)
			if c.mend == "migrate" {
				p.must("migrate")
			} else {
				p.exec(c.mend)
			}
			if c.id == "rows_outside_ledger" {
				p.exec("DELETE FROM employment WHERE record_id = 'E-3'")
				p.exec("INSERT INTO employment SELECT reporting_unit, record_id, period, effective_from, reported_at, id_number_token, employer_uscc, start_on, end_on, employment_form, worker_category, county_code, post_id, leave_reason, destination_unit, social_insurance, pay_month_band, _version, _is_deleted, _arrived_at FROM employment_history WHERE record_id = 'E-3'")
			}
			p.finds(nil)
		})
	}
	p.t = t
	t.Run("a late clock", func(t *testing.T) {
		p.t = t
		p.exec("INSERT INTO ledger SELECT * REPLACE ('9' AS topic, now() + 3600 AS arrived_at, 0 AS received, 0 AS new, 0 AS correction, 0 AS duplicate, 0 AS rejected) FROM ledger WHERE run = 'live' LIMIT 1")
		s, _ := p.doctor()
		require.Contains(t, s.ids(), "clock_skew")
		p.exec("DELETE FROM ledger WHERE topic = '9'")
	})
	t.Run("parts", func(t *testing.T) {
		p.t = t
		p.exec("SYSTEM STOP MERGES schema_migrations")
		for range 30 {
			p.exec("INSERT INTO schema_migrations VALUES ('x', 'y', 'z', now())")
		}
		p.finds([]string{"too_many_parts"}, "--max-parts", "25")
		p.exec("SYSTEM START MERGES schema_migrations")
	})
	t.Run("disk", func(t *testing.T) {
		p.t = t
		s, _ := p.doctor("--min-free", "0.9999")
		require.Equal(t, []string{"disk_filling"}, s.ids())
	})
}

func TestDoctorSeesWhatIsWrongInTheLedger(t *testing.T) {
	full(t)
	p := healthy(t)
	row := func(epoch, first, last int) string {
		return fmt.Sprintf(`INSERT INTO ledger SELECT * REPLACE (%d AS epoch, %d AS first_offset, %d AS last_offset, 'cut' AS kind, 0 AS last_sum, 0 AS received, 0 AS new, 0 AS unchanged, 0 AS correction, 0 AS superseded, 0 AS conflict, 0 AS duplicate, 0 AS rejected, 0 AS reprocessed)
FROM (SELECT * FROM ledger WHERE run = 'live' AND partition = 0 LIMIT 1)`, epoch, first, last)
	}
	// On partition 1, which the topic has not: only the ledger is looked at.
	elsewhere := func(sql string) string {
		return strings.Replace(sql, "REPLACE (", "REPLACE (1 AS partition, ", 1)
	}
	check := func(id string, rows ...string) {
		t.Helper()
		for _, r := range rows {
			p.exec(elsewhere(r))
		}
		s, _ := p.doctor()
		require.Subset(t, []string{id, "topic_anew", "received_differs"}, s.ids(), "%+v", s.Findings)
		require.Contains(t, s.ids(), id, "%+v", s.Findings)
		p.exec("DELETE FROM ledger WHERE partition = 1")
		p.finds(nil)
	}
	check("ledger_gap", row(1, 0, 9), row(1, 12, 20))
	check("ledger_overlap", row(1, 0, 9), row(1, 9, 20))
	check("ledger_rewind", row(1, 0, 9), row(1, 10, 19), row(1, 20, 29), row(2, 5, 40))
	check("topic_anew", row(1, 0, 9))
	// One cut of a takeover is no rewind.
	p.exec(elsewhere(row(1, 0, 9)))
	p.exec(elsewhere(row(1, 10, 19)))
	p.exec(elsewhere(row(2, 10, 40)))
	p.finds([]string{"topic_anew"})
	p.exec("DELETE FROM ledger WHERE partition = 1")
	// A receipt that somebody touched.
	p.exec("ALTER TABLE receipt_parts UPDATE received = received + 1 WHERE feed = 'employment' SETTINGS mutations_sync = 1")
	p.finds([]string{"ledger_unbalanced"})
	p.exec("ALTER TABLE receipt_parts UPDATE received = received - 1 WHERE feed = 'employment' SETTINGS mutations_sync = 1")
	p.finds(nil)
}

// TestDoctorRecomputesFromKafka: what the tables alone cannot tell.
func TestDoctorRecomputesFromKafka(t *testing.T) {
	full(t)
	p := healthy(t)
	// A record vanishes from both tables: they agree, and Kafka does not.
	keep := "CREATE TABLE keep ENGINE = MergeTree ORDER BY record_id AS SELECT * FROM employment_history WHERE record_id = 'E-2'"
	p.exec(keep)
	p.exec("DELETE FROM employment_history WHERE record_id = 'E-2'")
	p.exec("DELETE FROM employment WHERE record_id = 'E-2'")
	s := p.finds([]string{"record_lost"})
	require.Contains(t, s.Findings[0].What, "offset 2 row 0")
	keys := map[string]string{"DUIWU_TOKEN_KEYS": p.env["DUIWU_TOKEN_KEYS"], "DUIWU_HASH_KEY": p.env["DUIWU_HASH_KEY"]}
	for k := range keys {
		delete(p.env, k)
	}
	p.finds([]string{"counts_differ"}) // without keys nobody can tell a lost record from a wrong name
	for k, v := range keys {
		p.env[k] = v
	}
	p.must("replay", "--topic", p.topic, "--partition", "0", "--from", "2", "--to", "2", "--by", "x", "--reason", "lost")
	p.finds(nil)
	p.exec("DROP TABLE keep")

	// One whose name is wrong: it is stored at another position than the ledger says.
	p.exec("ALTER TABLE ledger UPDATE new = new - 1, duplicate = duplicate + 1 WHERE run = 'live' SETTINGS mutations_sync = 1")
	p.exec("ALTER TABLE receipt_parts UPDATE new = new - 1, duplicate = duplicate + 1 WHERE feed = 'employment' SETTINGS mutations_sync = 1")
	p.finds([]string{"counts_differ"})
	p.exec("ALTER TABLE ledger UPDATE new = new + 1, duplicate = duplicate - 1, received = received + 1, rejected = rejected + 1 WHERE run = 'live' SETTINGS mutations_sync = 1")
	p.exec("ALTER TABLE receipt_parts UPDATE new = new + 1, duplicate = duplicate - 1, received = received + 1, rejected = rejected + 1 WHERE feed = 'employment' SETTINGS mutations_sync = 1")
	p.finds([]string{"received_differs"})
	p.exec("ALTER TABLE ledger UPDATE received = received - 1, rejected = rejected - 1 WHERE run = 'live' SETTINGS mutations_sync = 1")
	p.exec("ALTER TABLE receipt_parts UPDATE received = received - 1, rejected = rejected - 1 WHERE feed = 'employment' SETTINGS mutations_sync = 1")
	p.finds(nil)

	// A replay that was killed before it counted.
	p.exec("INSERT INTO demo_site_history SELECT * REPLACE (1 AS _row, 'D-2' AS record_id) FROM (SELECT * FROM demo_site_history WHERE record_id = 'D-1')")
	p.finds([]string{"replay_unfinished"})
	p.exec("DELETE FROM demo_site_history WHERE record_id = 'D-2'")
	p.exec("DELETE FROM demo_site WHERE record_id = 'D-2'")
	p.finds(nil)

	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.WriteFile(other, []byte(strings.Repeat("0d", 32)+"\n"), 0o600))
	p.env["DUIWU_TOKEN_KEYS"] = other
	p.finds([]string{"token_keys_differ"})
	p.env["DUIWU_TOKEN_KEYS"] = keys["DUIWU_TOKEN_KEYS"]
	require.NoError(t, os.WriteFile(other, []byte(strings.Repeat("0d", 16)+"\n"), 0o600))
	p.env["DUIWU_HASH_KEY"] = other
	p.finds([]string{"hash_key_differs"})
	p.env["DUIWU_HASH_KEY"] = keys["DUIWU_HASH_KEY"]
}

func TestDoctorSeesWhatIsWrongInKafka(t *testing.T) {
	full(t)
	p := healthy(t)
	p.push(employment(50, "01", "late"))
	p.finds(nil) // a minute is no delay
	p.finds([]string{"not_read"}, "--late", "1ns")

	require.NoError(t, ingest.CreateTopics(t.Context(), p.kafka, 1, p.settings, strings.Replace(p.topic, "310000", "320000", 1)))
	s := p.finds([]string{"unit_silent"}, "--units", "310000,320000")
	require.Contains(t, s.Findings[0].Where, "320000")
	s = p.finds([]string{"topic_missing"}, "--units", "310000,330000")
	require.Contains(t, s.Findings[0].Where, "330000")

	for _, c := range []struct{ id, setting, value string }{
		{"topic_retention", "retention.ms", "86400000"},
		{"topic_retention", "retention.bytes", "1000000"},
		{"topic_compacted", "cleanup.policy", "compact"},
		{"topic_max_message", "max.message.bytes", "100000"},
	} {
		q := newPathWith(t, "310000", c.setting, c.value)
		q.finds([]string{"unit_silent", c.id})
	}
	// Three brokers, so that replicas can be asked for.
	b, err := broker.Start(t.Context(), broker.Options{Dir: t.TempDir(), Brokers: 3})
	require.NoError(t, err)
	t.Cleanup(b.Kill)
	for least, ids := range map[string][]string{"1": {"unit_silent", "topic_in_sync"}, "2": {"unit_silent"}, "3": {"unit_silent", "topic_in_sync"}} {
		q := newPathAt(t, "310000", b.Addr(), testenv.ClickHouse(t), "min.insync.replicas", least)
		q.finds(ids)
	}
	// Partitions were added: where keys lie is no longer where they would go.
	q := newPathWith(t, "310000")
	q.worker()
	for n := range 20 {
		q.push(employment(n, "01", "b"))
	}
	q.wait()
	q.finds(nil)
	q.addPartitions(4)
	require.Contains(t, must(q.doctor()).ids(), "topic_partitions")
	// The topic is made anew.
	q = newPathWith(t, "310000")
	stop := q.worker()
	q.push(employment(1, "01", "b"), employment(2, "01", "b"))
	q.wait()
	stop()
	q.recreate()
	q.finds([]string{"topic_anew"})
	q.push(employment(3, "01", "b"), employment(4, "01", "b"), employment(5, "01", "b"))
	q.finds([]string{"topic_anew"})
	// Kafka deleted what nobody had read.
	q = newPathWith(t, "310000")
	stop = q.worker()
	q.push(employment(1, "01", "b"), employment(2, "01", "b"))
	q.wait()
	stop()
	q.push(employment(3, "01", "b"), employment(4, "01", "b"))
	q.deleteBefore(3)
	q.finds([]string{"messages_expired"})
}

func (p *path) addPartitions(n int32) {
	p.t.Helper()
	require.NoError(p.t, broker.AddPartitions(p.t.Context(), p.kafka.Brokers[0], p.topic, n))
}

func (p *path) recreate() {
	p.t.Helper()
	require.NoError(p.t, broker.DeleteTopic(p.t.Context(), p.kafka.Brokers[0], p.topic))
	require.NoError(p.t, ingest.CreateTopics(p.t.Context(), p.kafka, 1, p.settings, p.topic))
}

func (p *path) deleteBefore(offset int64) {
	p.t.Helper()
	require.NoError(p.t, broker.DeleteRecords(p.t.Context(), p.kafka.Brokers[0], p.topic, 0, offset))
}

func must(s *seen, _ error) *seen { return s }

// TestDoctorSeesWhatAUserMayNot runs servers whose users are held short.
func TestDoctorSeesWhatAUserMayNot(t *testing.T) {
	full(t)
	dir := t.TempDir()
	e, err := engine.Start(t.Context(), engine.Options{
		Lib: testenv.LibCHDB(t), Dir: dir,
		Profile:       "<apply_row_policy_after_final>0</apply_row_policy_after_final>",
		DashboardsXML: "<databases><duiwu><employment><filter>reporting_unit = '310000'</filter></employment></duiwu></databases>",
	})
	require.NoError(t, err)
	t.Cleanup(e.Kill)
	p := newPathAt(t, "310000", testenv.Kfake(t), e)
	// Grants of these users are on one database.
	p.env["DUIWU_CLICKHOUSE"] = e.DSN()
	p.must("migrate")
	require.Contains(t, must(p.doctor()).ids(), "row_policy_before_final")
	p.env["DUIWU_CLICKHOUSE"] = e.DSNOf(engine.Dashboards)
	require.Contains(t, must(p.glance()).ids(), "grant_missing")
	p.env["DUIWU_CLICKHOUSE"] = e.DSNOf(engine.Writer)
	s := must(p.glance())
	require.NotContains(t, s.ids(), "grant_missing", "what the worker's user has is enough")
	require.Len(t, s.Blind, 3)
	require.Contains(t, s.Blind[0], "GRANT SELECT ON system.row_policies")
	p.push(employment(1, "01", "b"))
	stop := p.worker()
	require.Eventually(t, func() bool { s, err = p.glance(); return len(s.Findings) == 0 }, time.Minute, time.Second)
	stop()
	s, err = p.glance()
	require.Empty(t, s.Findings)
	require.ErrorIs(t, err, errBlind, "nothing was found, but not everything was looked at")

	// The same server with a profile that forbids what every insert sends.
	e.Kill()
	<-e.Done()
	locked, err := engine.Start(t.Context(), engine.Options{Lib: testenv.LibCHDB(t), Dir: dir,
		Profile: "<async_insert>1</async_insert><constraints><async_insert><readonly/></async_insert></constraints>"})
	require.NoError(t, err)
	t.Cleanup(locked.Kill)
	p.env["DUIWU_CLICKHOUSE"] = locked.DSN()
	s, _ = p.glance()
	require.Equal(t, []string{"setting_locked"}, s.ids(), "%+v", s)
}

func TestDoctorCannotLook(t *testing.T) {
	p := healthy(t)
	dsn := p.env["DUIWU_CLICKHOUSE"]
	p.env["DUIWU_CLICKHOUSE"] = "http://127.0.0.1:1/duiwu"
	_, err := p.out("doctor")
	require.ErrorIs(t, err, errBlind)
	p.env["DUIWU_CLICKHOUSE"], p.env["DUIWU_KAFKA"] = dsn, "127.0.0.1:1"
	_, err = p.out("doctor")
	require.ErrorIs(t, err, errBlind)
}

// TestEveryFindingWasSeen runs behind the tests above.
func TestEveryFindingWasSeen(t *testing.T) {
	full(t)
	if len(covered) == 0 {
		t.Skip("only with the other tests of doctor in one run")
	}
	for _, k := range finding.Kinds() {
		if !covered[k.ID] {
			t.Errorf("no test sees %s", k.ID)
		}
	}
}

// TestDoctorAndDocsAgree: every finding has its line for the operator.
func TestDoctorAndDocsAgree(t *testing.T) {
	raw, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	require.Contains(t, string(raw), finding.Page(), "put the table of finding.Page into docs/operations.md")
}
