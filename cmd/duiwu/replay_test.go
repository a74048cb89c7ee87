package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/testenv"
)

// feedFolder copies the feed files with edits: file, old, new. An empty old
// removes the file.
func feedFolder(t *testing.T, edits ...string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, feeds.FS))
	for i := 0; i < len(edits); i += 3 {
		file := filepath.Join(dir, edits[i])
		if edits[i+1] == "" {
			require.NoError(t, os.Remove(file))
			continue
		}
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(raw), edits[i+1])
		require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(raw), edits[i+1], edits[i+2], 1)), 0o600))
	}
	return dir
}

const (
	// The code list as it was before an operator mended it.
	without02 = "02,乡镇（街道）聘用的社区戒毒社区康复专职工作人员,full-time community rehabilitation staff of a township or street,2|专职工作人员|专职人员|乡镇(街道)聘用的社区戒毒社区康复专职工作人员,law,true\n"
)

// person is an identity number of the reserved area 119901.
func person(n int) string {
	s := fmt.Sprintf("119901%08d%03d", 19800115, n)
	sum := 0
	for i, w := range []int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2} {
		sum += w * int(s[i]-'0')
	}
	return s + string("10X98765432"[sum%11])
}

func employment(n int, category, batch string, changes ...string) string {
	s := fmt.Sprintf(`{"schema_version":1,"reporting_unit":"310000","feed":"employment","batch_id":%q,"record_id":"E-%d","op":"U","period":"20161101","effective_from":"2016-11-01","reported_at":"2016-11-30T08:00:00+08:00","id_number":%q,"employer_uscc":"52119900MJ0000018T","start_on":"2016-01-01","employment_form":"01","worker_category":%q,"county_code":"310115"}`,
		batch, n, person(n), category)
	for i := 0; i+1 < len(changes); i += 2 {
		s = strings.Replace(s, changes[i], changes[i+1], 1)
	}
	return s
}

// send is push with headers: name, value.
func (p *path) send(value string, headers ...string) {
	p.t.Helper()
	producer, err := ingest.NewProducer(p.kafka)
	require.NoError(p.t, err)
	defer producer.Close()
	m := ingest.Outgoing{Topic: p.topic, Key: []byte("k"), Value: []byte(value)}
	for i := 0; i < len(headers); i += 2 {
		m.Headers = append(m.Headers, ingest.Header{Key: []byte(headers[i]), Value: []byte(headers[i+1])})
	}
	require.NoError(p.t, producer.Send(p.t.Context(), m))
	p.sent++
}

// out runs a command and returns what it printed.
func (p *path) out(args ...string) (string, error) {
	var b syncBuffer
	err := run(p.t.Context(), &environment{stdout: &b, stderr: &b, getenv: func(k string) string { return p.env[k] }}, args)
	return b.String(), err
}

func (p *path) must(args ...string) string {
	p.t.Helper()
	out, err := p.out(args...)
	require.NoError(p.t, err, out)
	return out
}

// refusing is a path whose worker had an older catalogue: category 02 and the
// feed demo_site are unknown to it. What it refused waits in the quarantine.
func refusing(t *testing.T) *path {
	p := newPath(t, "310000")
	p.env["DUIWU_FEEDS"] = feedFolder(t, "codes/worker_category.csv", without02, "", "demo_site.yaml", "", "")
	stop := p.worker()
	// 14 digits in a batch's name: the quarantine does not keep it, the receipts do.
	const batch = "20161130080000"
	for n := range 3 {
		p.push(employment(n, "01", batch))
	}
	for n := 3; n < 7; n++ {
		p.push(employment(n, "02", batch))
	}
	p.push(employment(3, "02", batch)) // the same once more
	p.push(employment(7, "99", batch)) // wrong today as well
	p.push(employment(8, "02", batch, "310115", "999999"))
	p.push(employment(0, "02", batch, "T08:00", "T09:00")) // a correction of what is stored
	p.send("["+demoSite("D-1")+","+demoSite("D-2", `"level":"1"`, `"level":"9"`)+","+demoSite("D-3")+"]",
		"feed", "demo_site", "batch-id", "d1", "batch-rows", "3")
	p.push("not JSON")
	p.wait()
	stop()
	delete(p.env, "DUIWU_FEEDS")
	return p
}

// state is everything that a replay may change, and what it must not.
func (p *path) state() string {
	var out []string
	for _, q := range []string{
		"SELECT concat(record_id, ' ', _outcome, ' ', toString(_offset), '.', toString(_row), ' ', toString(_part)) FROM employment_history FINAL ORDER BY record_id, _version",
		"SELECT concat(record_id, ' ', _outcome, ' ', toString(_offset), '.', toString(_row)) FROM demo_site_history FINAL ORDER BY record_id, _version",
		"SELECT concat(record_id, ' ', worker_category) FROM employment FINAL ORDER BY record_id",
		"SELECT record_id FROM demo_site FINAL ORDER BY record_id",
		"SELECT toString(tuple(unit, feed, received, new, unchanged, correction, superseded, conflict, reprocessed, duplicate, rejected, unexplained)) FROM balance WHERE received != 0 ORDER BY unit, feed",
		"SELECT toString(tuple(unit, feed, batch_id, received, new, correction, duplicate, rejected, arraySort(mapKeys(rules)), arraySort(mapValues(rules)), declared, status)) FROM receipts WHERE received != 0 ORDER BY unit, feed, batch_id",
		"SELECT toString(tuple(offset, row, feed, rule, rules)) FROM quarantine_open ORDER BY offset, row",
		"SELECT toString(tuple(first_offset, last_offset, received, rejected)) FROM ledger_effective ORDER BY first_offset",
	} {
		out = append(out, strings.Join(p.lines(q), "\n"))
	}
	return strings.Join(out, "\n\n")
}

func (p *path) balanceHolds() {
	p.t.Helper()
	require.Equal(p.t, []string{"0"}, p.lines("SELECT toString(max(abs(unexplained))) FROM balance"))
	// What the balance says is the live ledger and what replays changed of it.
	require.Equal(p.t,
		p.lines("SELECT toString(tuple(sum(received), sum(new), sum(correction), sum(duplicate), sum(rejected))) FROM balance"),
		p.lines(`SELECT toString(tuple(sum(received), sum(new), sum(correction), sum(duplicate), sum(rejected))) FROM
(SELECT received, new, correction, duplicate, rejected FROM ledger_effective UNION ALL SELECT received, new, correction, duplicate, rejected FROM ledger FINAL WHERE kind = 'replay')`))
	require.Equal(p.t, p.lines("SELECT toString(sum(rejected)) FROM balance"), p.lines("SELECT toString(count()) FROM quarantine_open"))
}

func TestAReplayMovesWhatIsAcceptedTodayAndNothingElse(t *testing.T) {
	p := refusing(t)
	before := p.state()
	p.balanceHolds()
	list := p.must("quarantine", "list", "--rows", "20")
	require.Contains(t, list, "code_list")
	require.Contains(t, list, "E-3")
	require.NotContains(t, list, person(3))
	t.Log("\n" + list)

	dry := p.must("quarantine", "replay", "--dry-run")
	t.Log("\n" + dry)
	require.Equal(t, before, p.state(), "a dry run changes nothing")
	// I-01 counts people of category 01 to 03: 3 before, and 3 to 6 join them.
	require.Regexp(t, `I-01 +3 +7 +\+4`, dry)
	var report replayReport
	require.NoError(t, json.Unmarshal([]byte(p.must("quarantine", "replay", "--dry-run", "--json")), &report))
	require.EqualValues(t, 7, report.Moved)

	_, err := p.out("quarantine", "replay")
	require.ErrorContains(t, err, "--by")
	done := p.must("quarantine", "replay", "--by", "王", "--reason", "02 was missing in the code list")
	t.Log("\n" + done)
	after := p.state()
	p.balanceHolds()
	require.Equal(t, strings.TrimSpace(`
E-0 new 0.0 0
E-0 correction 10.0 0
E-1 new 1.0 0
E-2 new 2.0 0
E-3 new 3.0 0
E-4 new 4.0 0
E-5 new 5.0 0
E-6 new 6.0 0

D-1 new 11.0
D-3 new 11.2

E-0 02
E-1 01
E-2 01
E-3 02
E-4 02
E-5 02
E-6 02

D-1
D-3

('310000','',1,0,0,0,0,0,0,0,1,0)
('310000','demo_site',3,2,0,0,0,0,0,0,1,0)
('310000','employment',11,7,0,1,0,0,0,1,2,0)

('310000','','',1,0,0,0,1,['message_undecodable'],[1],0,'undeclared')
('310000','demo_site','b1',3,2,0,0,1,['code_list'],[1],0,'undeclared')
('310000','employment','20161130080000',11,7,1,1,2,['code_list','division_unknown'],[1,1],0,'undeclared')

(8,0,'employment','code_list',['code_list'])
(9,0,'employment','division_unknown',['division_unknown'])
(11,1,'demo_site','code_list',['code_list'])
(12,0,'','message_undecodable',['message_undecodable'])
`), after[:strings.LastIndex(after, "\n\n")])
	require.Equal(t, before[strings.LastIndex(before, "\n\n"):], after[strings.LastIndex(after, "\n\n"):], "the live ledger is untouched")
	require.Equal(t, []string{"('王','02 was missing in the code list',2,0)"},
		p.lines("SELECT toString(tuple(any(worker), any(reason), sum(received), sum(received) - sum(new) - sum(correction) - sum(duplicate) - sum(rejected))) FROM ledger WHERE kind = 'replay'"))

	again := p.must("quarantine", "replay", "--by", "王", "--reason", "once more")
	require.Contains(t, again, "0 left the quarantine")
	require.Equal(t, after, p.state(), "a second replay changes nothing")

	// A worker that begins behind the replay knows what it stored.
	p.worker()
	p.push(employment(4, "02", "later"))
	p.wait()
	require.Equal(t, []string{"1 1"}, p.lines("SELECT concat(toString(received), ' ', toString(duplicate)) FROM receipts WHERE batch_id = 'later'"))
	p.balanceHolds()
}

func TestExplain(t *testing.T) {
	p := refusing(t)
	out := p.must("quarantine", "explain", p.topic, "0", "3")
	require.Contains(t, out, "“worker_category”不在代码表中")
	require.Contains(t, out, "worker_category is not in its code list")
	require.Contains(t, out, "still in Kafka: yes")
	require.Contains(t, out, "under today's feed files: new")
	require.Contains(t, out, "look with --dry-run, then replay it")
	require.NotContains(t, out, person(3))
	t.Log("\n" + out)
	out = p.must("quarantine", "explain", p.topic, "0", "11")
	require.Contains(t, out, "readable now, 3 records: 2 new, 1 rejected")
	t.Log("\n" + out)
	out = p.must("quarantine", "explain", p.topic, "0", "8")
	require.Contains(t, out, "Ask the unit to mend it")
	_, err := p.out("quarantine", "explain", p.topic, "0", "1")
	require.ErrorContains(t, err, "no refusal stands at offset 1")
	delete(p.env, "DUIWU_KAFKA")
	require.Contains(t, p.must("quarantine", "explain", p.topic, "0", "8"), "give --kafka")
}

func TestAReplayRefusesOtherKeys(t *testing.T) {
	p := refusing(t)
	before := p.state()
	file := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("0d", 32)+"\n"), 0o600))
	keys := p.env["DUIWU_TOKEN_KEYS"]
	p.env["DUIWU_TOKEN_KEYS"] = file
	_, err := p.out("quarantine", "replay", "--by", "x", "--reason", "y")
	require.ErrorContains(t, err, "chain of token keys")
	p.env["DUIWU_TOKEN_KEYS"] = keys
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("0d", 16)+"\n"), 0o600))
	p.env["DUIWU_HASH_KEY"] = file
	_, err = p.out("quarantine", "replay", "--by", "x", "--reason", "y")
	require.ErrorContains(t, err, "hash key")
	require.Equal(t, before, p.state())
}

// TestASpanWritesWhatIsMissing: rows that a careless hand deleted come back, and
// what had been counted is not counted twice.
func TestASpanWritesWhatIsMissing(t *testing.T) {
	p := refusing(t)
	p.must("quarantine", "replay", "--by", "x", "--reason", "y")
	want := p.state()
	args := []string{"replay", "--topic", p.topic, "--partition", "0", "--from", "0", "--to", "100", "--by", "x", "--reason", "rows were deleted"}
	out := p.must(args...)
	require.Contains(t, out, "stays as it is")
	require.Contains(t, out, "88 offsets of the span lie in no cut")
	require.Equal(t, want, p.state())
	for _, table := range []string{"employment_history", "employment"} {
		require.NoError(t, p.conn.Exec(t.Context(), "DELETE FROM "+table+" WHERE record_id IN ('E-1', 'E-4')"))
	}
	require.NotEqual(t, want, p.state())
	out = p.must(args...)
	require.Contains(t, out, "written anew as new  ")
	require.Equal(t, want, p.state())
	p.balanceHolds()
}

// TestARunningWorkerKeepsItsPartition during a replay of its topic.
func TestARunningWorkerKeepsItsPartition(t *testing.T) {
	p := refusing(t)
	p.worker()
	p.push(employment(20, "01", "live"))
	p.wait()
	claims := p.lines("SELECT toString(count()) FROM claims WHERE topic = '" + p.topic + "'")
	done := make(chan error, 1)
	go func() {
		_, err := p.out("quarantine", "replay", "--by", "x", "--reason", "y", "--chunk", "1")
		done <- err
	}()
	for n := 21; n < 40; n++ {
		p.push(employment(n, "01", "live"))
	}
	require.NoError(t, <-done)
	p.wait()
	require.Equal(t, claims, p.lines("SELECT toString(count()) FROM claims WHERE topic = '"+p.topic+"'"))
	require.NotContains(t, p.log.String(), "newer claim")
	require.Equal(t, []string{"20"}, p.lines("SELECT toString(received) FROM receipts WHERE batch_id = 'live'"))
	p.balanceHolds()
}

var errKilled = errors.New("killed")

// TestAKilledReplayIsRepeated kills a replay at random moments until one comes
// through.
func TestAKilledReplayIsRepeated(t *testing.T) {
	if !testenv.Full() {
		t.Skip("kills processes for ten seconds: DUIWU_TEST=full")
	}
	p := newPath(t, "310000")
	p.env["DUIWU_FEEDS"] = feedFolder(t, "codes/worker_category.csv", without02, "")
	stop := p.worker()
	const records, twice = 120, 20
	var all []string
	for n := range records {
		all = append(all, employment(n, "02", "b"))
	}
	for n := range twice {
		all = append(all, employment(n, "02", "b")) // refused twice: new once, duplicate once
	}
	p.push(all...)
	p.wait()
	stop()
	delete(p.env, "DUIWU_FEEDS")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	kills, left := 0, 0
	for tries := 0; ; tries++ {
		require.Less(t, tries, 40)
		cmd := exec.Command(os.Args[0], "quarantine", "replay", "--by", "x", "--reason", "y", "--chunk", "10")
		cmd.Env = append(os.Environ(), "DUIWU_RUN_MAIN=1")
		for k, v := range p.env {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		var said syncBuffer
		cmd.Stdout, cmd.Stderr = &said, &said
		require.NoError(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		var err error
		select {
		case err = <-ended:
		case <-time.After(time.Duration(200+dice.IntN(200*(tries+4))) * time.Millisecond):
			require.NoError(t, cmd.Process.Kill())
			<-ended
			kills++
			err = errKilled
		}
		if err != errKilled {
			require.NoError(t, err, said.String())
		}
		p.balanceHolds()
		if err == nil {
			break
		}
		var open int
		fmt.Sscan(p.lines("SELECT toString(count()) FROM quarantine_open")[0], &open)
		if open > 0 && open < records+twice {
			left++
		}
	}
	t.Logf("%d kills, %d of them in the middle", kills, left)
	require.Equal(t, []string{"120 120"}, p.lines("SELECT concat(toString(count()), ' ', toString(uniqExact(record_id))) FROM employment_history FINAL"))
	require.Equal(t, []string{"(140,120,20,0)"}, p.lines("SELECT toString(tuple(received, new, duplicate, rejected)) FROM receipts WHERE batch_id = 'b'"))
	require.Empty(t, p.lines("SELECT rule FROM quarantine_open"))
}
