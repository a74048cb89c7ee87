package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/testenv"
)

// held is everything in the tables that speaks of a record, in one order. FINAL,
// because a merge may take a row of the current table away between two looks.
func (p *path) held(id string) []string {
	p.t.Helper()
	return p.lines(`SELECT line FROM (
SELECT concat('history ', record_id) AS line FROM employment_history WHERE record_id = '` + id + `'
UNION ALL SELECT concat('current ', record_id) FROM employment FINAL WHERE record_id = '` + id + `'
UNION ALL SELECT concat('quarantine ', rule) FROM quarantine_open WHERE record_id = '` + id + `' OR position(kept, '` + id + `') > 0
) ORDER BY line`)
}

// TestErase takes a record out under a running worker. Nothing brings it back:
// not the unit, not a replay, not a worker that reads Kafka from its beginning.
func TestErase(t *testing.T) {
	if !testenv.Full() {
		t.Skip("runs every reader of Kafka twice: DUIWU_TEST=full")
	}
	p := newPath(t, "310000")
	stop := p.worker()
	const other = "E-1"
	p.push(employment(0, "01", "b"), employment(1, "01", "b"), employment(0, "02", "b", "T08:00", "T09:00"),
		employment(0, "99", "b"), "not JSON", demoSite("E-0"))
	p.wait()
	require.Subset(t, p.held("E-0"), []string{"history E-0", "current E-0", "quarantine code_list"})
	before := p.held("E-0")
	balance := p.lines("SELECT toString(tuple(*)) FROM balance ORDER BY feed")

	args := []string{"erase", "--unit", "310000", "--feed", "employment", "--record-id", "E-0"}
	_, err := p.out(args...)
	require.ErrorContains(t, err, "give --by NAME and --reason TEXT")
	out := p.must(append(args, "--dry-run")...)
	require.Regexp(t, "would be erased: 2 rows of the history, [12] of the current table, what was kept of 1 refusals", out)
	require.Equal(t, before, p.held("E-0"))
	args = append(args, "--by", "王", "--reason", "request 2016-17")
	out = p.must(args...)
	require.Contains(t, out, "stay in Kafka until its retention is over")
	t.Log("\n" + out)
	gone := func() {
		t.Helper()
		require.Empty(t, p.held("E-0"))
		require.NotEmpty(t, p.held(other))
		require.Equal(t, []string{"E-0"}, p.lines("SELECT record_id FROM demo_site FINAL"), "another feed's record of this id stays")
		p.balanceHolds()
	}
	gone()
	require.Equal(t, balance, p.lines("SELECT toString(tuple(*)) FROM balance ORDER BY feed"), "what was received stays received")

	// The unit sends it again, in an old and a new version, and corrects another
	// record by its name; the worker was not restarted.
	p.push(employment(0, "02", "again", "T08:00", "T09:00"), employment(0, "01", "again", "T08:00", "T11:00"), employment(0, "99", "again"),
		employment(5, "01", "again", `"op":"U"`, `"op":"C","corrects":"E-0"`), employment(1, "01", "again"))
	p.wait()
	refused := p.lines("SELECT concat(rule, ' ', record_id) FROM quarantine_open WHERE batch_id = 'again' ORDER BY offset")
	require.Equal(t, []string{"erased E-0", "erased E-0", "code_list E-0"}, refused)
	require.Equal(t, []string{"(5,1,1,3)"}, p.lines("SELECT toString(tuple(received, new, duplicate, rejected)) FROM receipts WHERE batch_id = 'again'"))
	require.Empty(t, p.lines("SELECT record_id FROM employment_history WHERE record_id = 'E-0'"))
	require.Empty(t, p.lines("SELECT concat(toString(epoch), rule, kept) FROM quarantine WHERE kept != '' AND record_id = 'E-0'"))
	p.must("erase", "--unit", "310000", "--feed", "employment", "--record-id", "E-0", "--by", "王", "--reason", "request 2016-17")
	gone()

	// Replays.
	for _, replay := range [][]string{
		{"quarantine", "replay"},
		{"replay", "--topic", p.topic, "--partition", "0", "--from", "0", "--to", "20"},
	} {
		t.Log("\n" + p.must(append(replay, "--by", "x", "--reason", "y")...))
		require.Empty(t, p.lines("SELECT record_id FROM employment_history WHERE record_id = 'E-0'"))
		p.balanceHolds()
	}
	p.must("doctor", "--units", "310000")
	require.Regexp(t, `310000 +employment +E-0 +\S+ \S+ +王 +request 2016-17`, p.must("erase", "--list"))

	// A worker reads everything again from the beginning, as after a restored backup.
	stop()
	require.NoError(t, p.conn.Exec(t.Context(), "TRUNCATE TABLE ledger"))
	p.worker()
	p.wait()
	require.Empty(t, p.lines("SELECT record_id FROM employment_history WHERE record_id = 'E-0'"))
	require.NotEmpty(t, p.held(other))

	// Somebody restores rows by hand: doctor says so.
	require.NoError(t, p.conn.Exec(t.Context(), "INSERT INTO employment_history (reporting_unit, record_id, _topic) VALUES ('310000', 'E-0', 'x')"))
	out, _ = p.out("doctor", "--units", "310000")
	require.Contains(t, out, "erased_present")
}
