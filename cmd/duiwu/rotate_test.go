package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/testenv"
	"github.com/duiwu/duiwu/transform"
)

// rosterOf is a worker's record; changes are old, new.
func rosterOf(n int, changes ...string) string {
	s := fmt.Sprintf(`{"schema_version":1,"reporting_unit":"310000","feed":"worker","batch_id":"w","record_id":"W-%d","op":"U","period":"20161101","effective_from":"2016-11-30","reported_at":"2016-11-30T08:00:00+08:00","id_number":%q,"name":"张三","mobile":"13800000001","sex":"%d","birth_date":"1980-01-15","education_code":"21","worker_category":"01","employer_uscc":"52119900MJ0000018T","county_code":"310115"}`,
		n, person(n), 2-n%2)
	for i := 0; i+1 < len(changes); i += 2 {
		s = strings.Replace(s, changes[i], changes[i+1], 1)
	}
	return s
}

func judgement(id, kind, subject string) string {
	return fmt.Sprintf(`{"schema_version":1,"reporting_unit":"310000","feed":"evaluation","batch_id":"v","record_id":%q,"op":"U","period":"20161101","effective_from":"2016-11-30","reported_at":"2016-11-30T08:00:00+08:00","evaluation_id":%q,"subject_type":%q,"subject_key":%q,"evaluator_type":"3","year":2016,"score":90,"grade":"1","evaluated_on":"2016-11-01"}`,
		id, id, kind, subject)
}

// people is a path with records of three feeds about the same people, a value
// that is absent and a void among them.
func people(t *testing.T, n int) (p *path, sent []string, stop func()) {
	p = newPath(t, "310000")
	stop = p.worker()
	for i := range n {
		sent = append(sent, employment(i, "01", "e"), rosterOf(i), judgement(fmt.Sprintf("V-%d", i), "4", person(i)))
	}
	sent = append(sent, rosterOf(n, `,"mobile":"13800000001"`, ``), judgement("V-org", "1", "52119900MJ0000018T"),
		`{"schema_version":1,"reporting_unit":"310000","feed":"employment","batch_id":"e","record_id":"E-0","op":"V","period":"20161101","effective_from":"2016-11-01","reported_at":"2016-11-30T07:00:00+08:00"}`)
	p.push(sent...)
	p.wait()
	require.Empty(t, p.lines("SELECT toString(tuple(feed, rules, fields)) FROM quarantine"))
	return p, sent, stop
}

const met = `SELECT toString(tuple(count(), uniqExact(e.id_number_token))) FROM (SELECT * FROM employment FINAL) AS e
INNER JOIN (SELECT * FROM worker FINAL) AS w ON e.id_number_token = w.id_number_token
INNER JOIN (SELECT * FROM evaluation FINAL WHERE subject_type = '4') AS v ON v.subject_key = lower(hex(e.id_number_token))`

// rest is everything in the histories that is no token.
func (p *path) rest() []string {
	var out []string
	for _, q := range []string{
		"SELECT toString(tuple(* EXCEPT id_number_token, _rank)) FROM employment_history FINAL ORDER BY record_id, _version",
		"SELECT toString(tuple(* EXCEPT (id_number_token, name_token, mobile_token), _rank)) FROM worker_history FINAL ORDER BY record_id, _version",
		"SELECT toString(tuple(* EXCEPT subject_key, _rank)) FROM evaluation_history FINAL ORDER BY record_id, _version",
	} {
		out = append(out, p.lines(q)...)
	}
	return out
}

func (p *path) chain(keys string) *transform.Tokenizer {
	k, err := readTokenKeys("sha256", keys)
	require.NoError(p.t, err)
	out, err := transform.NewTokenizer(k)
	require.NoError(p.t, err)
	return out
}

// under fails unless every token of a person is the one that the chain makes.
func (p *path) under(keys string, n int) {
	p.t.Helper()
	c := p.chain(keys)
	var want []string
	for i := range n {
		want = append(want, fmt.Sprintf("E-%d %x", i, c.Token(nil, feed.ResidentID, person(i))))
	}
	for _, table := range []string{"employment", "employment_history"} {
		require.ElementsMatch(p.t, want, p.lines("SELECT concat(record_id, ' ', lower(hex(id_number_token))) FROM "+table+" FINAL WHERE _is_deleted = 0"), table)
	}
	name := hex.EncodeToString(c.Token(nil, feed.PersonName, "张三"))
	require.Equal(p.t, []string{name}, p.lines("SELECT DISTINCT lower(hex(name_token)) FROM worker_history"))
	require.Equal(p.t, []string{"1"}, p.lines("SELECT toString(count()) FROM worker_history FINAL WHERE mobile_token IS NULL"))
	require.Equal(p.t, []string{"E-0 " + strings.Repeat("0", 64)}, p.lines("SELECT concat(record_id, ' ', hex(id_number_token)) FROM employment_history FINAL WHERE op = 'V'"))
	require.Equal(p.t, []string{"52119900MJ0000018T"}, p.lines("SELECT subject_key FROM evaluation FINAL WHERE subject_type = '1'"))
}

// newKeys makes the next key file.
func (p *path) newKeys(after string) string {
	p.t.Helper()
	out := filepath.Join(p.t.TempDir(), "token.keys")
	p.must("keys", "new", "token", "--out", out, "--after", after)
	return out
}

// TestRotation: rotate, re-send everything, 100 % duplicates; people still meet
// across feeds; nothing but tokens changed.
func TestRotation(t *testing.T) {
	const n = 5
	p, sent, stop := people(t, n)
	stop()
	first := p.env["DUIWU_TOKEN_KEYS"]
	p.under(first, n)
	joined, rest := p.lines(met), p.rest()
	require.Equal(t, []string{"(5,5)"}, joined)
	// All are of one name, and alike in the rest by twos and threes.
	alike := func() (ids []string) {
		for _, row := range p.lines("SELECT toString(tuple(case_id, decision)) FROM worklist_decisions ORDER BY decided_at") {
			ids = append(ids, strings.Split(row, "'")[1])
		}
		return ids
	}
	waiting := func() []string {
		var cases []struct{ ID string }
		require.NoError(t, json.Unmarshal([]byte(p.must("worklist", "list", "--kind", "weak", "--json")), &cases))
		var ids []string
		for _, c := range cases {
			ids = append(ids, c.ID)
		}
		return ids
	}
	cases := waiting()
	require.NotEmpty(t, cases)
	p.must("worklist", "decide", "--by", "王", "--reason", "asked the unit", cases[0], "different_persons")
	p.must("worklist", "decide", "--by", "王", "--reason", "asked again", cases[0], "ignore")
	require.Len(t, waiting(), len(cases)-1)
	current := first
	for range 2 {
		next := p.newKeys(current)
		out := p.must("keys", "rotate", "--by", "王", "--token-keys", next)
		t.Log("\n" + out)
		require.Contains(t, out, p.chain(next).Name())
		p.under(next, n)
		require.Equal(t, joined, p.lines(met))
		require.Equal(t, rest, p.rest())
		require.Len(t, waiting(), len(cases)-1, "what was decided stays so")
		named := alike()
		require.Len(t, named, 2, "both decisions, once")
		require.NotContains(t, named, cases[0])
		require.Contains(t, p.must("worklist", "show", named[0]), "asked the unit")
		require.Contains(t, p.must("keys", "rotate", "--by", "王", "--token-keys", next), "nothing left to do")
		p.under(next, n)
		current = next
	}
	require.Empty(t, p.lines("SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE '%__rotation'"))
	require.NotEmpty(t, p.lines("SELECT statement FROM schema_migrations WHERE object = 'ledger' AND worker = '王'"))

	p.env["DUIWU_TOKEN_KEYS"] = current
	stop = p.worker()
	p.push(sent...)
	p.push(rosterOf(n + 1))
	p.wait()
	stop()
	require.Equal(t, []string{fmt.Sprintf("(%d,%d,%d)", 2*len(sent)+1, len(sent), len(sent)+1)},
		p.lines("SELECT toString(tuple(sum(received), sum(duplicate), sum(received) - sum(duplicate))) FROM balance"))
	require.Equal(t, joined, p.lines(met))
	p.must("doctor", "--units", "310000")
	// A new column of a current table is filled by the migration.
	require.NoError(t, p.conn.Exec(t.Context(), "DROP TABLE employment_to_current"))
	p.must("migrate")
	p.under(current, n)
}

// TestAWorkerWithTheOldKeysIsFenced: it was not stopped before the rotation.
func TestAWorkerWithTheOldKeysIsFenced(t *testing.T) {
	const n = 3
	p, _, stop := people(t, n)
	next := p.newKeys(p.env["DUIWU_TOKEN_KEYS"])
	p.must("keys", "rotate", "--by", "王", "--token-keys", next)
	p.push(employment(n, "01", "e"), rosterOf(n+1))
	require.Eventually(t, func() bool { return strings.Contains(p.log.String(), "partition stopped") }, 30*time.Second, 20*time.Millisecond)
	require.Contains(t, p.log.String(), "give this process the present key file")
	p.under(next, n) // nothing of it came through
	stop()
	_, err := p.out("replay", "--topic", p.topic, "--partition", "0", "--from", "0", "--to", "3", "--by", "x", "--reason", "y")
	require.ErrorContains(t, err, "chain of token keys")
	p.env["DUIWU_TOKEN_KEYS"] = next
	p.worker()
	p.wait()
	p.under(next, n+1)
	p.balanceHolds()
}

func TestARotationRefusesOtherKeys(t *testing.T) {
	const n = 2
	p, _, stop := people(t, n)
	stop()
	first := p.env["DUIWU_TOKEN_KEYS"]
	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.WriteFile(other, []byte(strings.Repeat("0d", 32)+"\n"+strings.Repeat("0e", 32)+"\n"), 0o600))
	rotate := func(keys string) error {
		_, err := p.out("keys", "rotate", "--by", "x", "--token-keys", keys)
		return err
	}
	require.ErrorContains(t, rotate(first), "holds one key")
	require.ErrorContains(t, rotate(other), "chain of token keys")
	p.under(first, n)
	next := p.newKeys(first)
	require.NoError(t, rotate(next))
	require.ErrorContains(t, rotate(other), "the tables are under the chain "+p.chain(next).Name())
	require.NoError(t, p.conn.Exec(t.Context(), "CREATE TABLE mine (token FixedString(32)) ENGINE = MergeTree ORDER BY token"))
	require.ErrorContains(t, rotate(p.newKeys(next)), "mine.token may hold tokens")
	p.under(next, n)
}

// TestAKilledRotationIsRunAgain kills rotations at random moments: readers find
// the old tokens or the new ones, and never both.
func TestAKilledRotationIsRunAgain(t *testing.T) {
	if !testenv.Full() {
		t.Skip("kills processes for some seconds: DUIWU_TEST=full")
	}
	const n = 40
	p, _, stop := people(t, n)
	stop()
	joined, rest := p.lines(met), p.rest()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	current := p.env["DUIWU_TOKEN_KEYS"]
	kills := 0
	for range 2 {
		next := p.newKeys(current)
		for tries := 0; ; tries++ {
			cmd := exec.Command(os.Args[0], "keys", "rotate", "--by", "x", "--token-keys", next)
			cmd.Env = append(os.Environ(), "DUIWU_RUN_MAIN=1")
			for k, v := range p.env {
				if k != "DUIWU_TOKEN_KEYS" {
					cmd.Env = append(cmd.Env, k+"="+v)
				}
			}
			var said syncBuffer
			cmd.Stdout, cmd.Stderr = &said, &said
			require.NoError(t, cmd.Start())
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			var err error
			select {
			case err = <-ended:
				require.NoError(t, err, said.String())
			case <-time.After(time.Duration(dice.IntN(300*(tries+2))) * time.Millisecond):
				require.NoError(t, cmd.Process.Kill())
				<-ended
				kills++
				err = errKilled
			}
			require.Equal(t, joined, p.lines(met))
			require.Equal(t, rest, p.rest())
			if err == nil {
				break
			}
		}
		p.under(next, n)
		current = next
	}
	t.Logf("%d kills", kills)
	require.NotZero(t, kills)
	require.Empty(t, p.lines("SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE '%__rotation'"))
}
