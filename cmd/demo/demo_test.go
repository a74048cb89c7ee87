package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/cmd/demo/generate"
	"github.com/duiwu/duiwu/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// duiwu builds the production binary once for all tests of this package.
var duiwu = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "duiwu")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "duiwu")
	text, err := exec.Command("go", "build", "-o", out, "github.com/duiwu/duiwu/cmd/duiwu").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, text)
	}
	return out, nil
})

func testOptions(t *testing.T, records int) *options {
	t.Helper()
	testenv.LibCHDB(t) // skips where there is none
	bin, err := duiwu()
	require.NoError(t, err)
	return &options{once: true, records: records, seed: 7, dir: t.TempDir(), partitions: 1, duiwu: bin, listen: "127.0.0.1:0"}
}

func startStack(t *testing.T, o *options) *stack {
	t.Helper()
	s, err := start(t.Context(), o, slog.New(slog.NewTextHandler(io.Discard, nil)), io.Discard)
	require.NoError(t, err)
	t.Cleanup(s.stop)
	return s
}

// job runs the job to its end and returns its summary.
func (s *stack) job(t *testing.T) *summary {
	t.Helper()
	require.NoError(t, s.push(t.Context()))
	begun := time.Now()
	require.NoError(t, s.work())
	require.NoError(t, s.wait(t.Context()))
	sum, err := s.summarize(t.Context(), time.Since(begun))
	require.NoError(t, err)
	return sum
}

// digest names the content of every table without what a run may change: the
// arrival of a row and who wrote it.
func (s *stack) digest(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	one := func(name, query string) {
		var text string
		require.NoError(t, s.conn.QueryRow(t.Context(), query).Scan(&text), query)
		out[name] = text
	}
	const sum = "SELECT concat(toString(count()), ' ', hex(groupBitXor(cityHash64(toString(tuple(%s)))))) FROM %s"
	for name := range s.manifest.Feeds {
		if name == "" {
			continue
		}
		one(name+"_history", fmt.Sprintf(sum, "* EXCEPT (_arrived_at)", name+"_history FINAL"))
		one(name, fmt.Sprintf(sum, "* EXCEPT (_arrived_at)", name+" FINAL"))
	}
	one("quarantine", fmt.Sprintf(sum, "* EXCEPT (arrived_at, epoch)", "quarantine FINAL"))
	one("balance", fmt.Sprintf(sum, "*", "balance"))
	one("receipts", fmt.Sprintf(sum, "unit, feed, batch_id, received, new, unchanged, correction, superseded, conflict, duplicate, rejected, rules, warnings, declared", "receipts"))
	return out
}

// TestOnce runs the job as `make demo ARGS="--once --json"` does, and again on
// the same folder.
func TestOnce(t *testing.T) {
	o := testOptions(t, 20_000)
	var first summary
	for i := range 2 {
		var stdout, stderr bytes.Buffer
		err := run(t.Context(), []string{"--once", "--json", "--records", "20000", "--seed", "7", "--dir", o.dir, "--duiwu", o.duiwu}, &stdout, &stderr)
		require.NoError(t, err, "%s%s", &stderr, &stdout)
		var sum summary
		require.NoError(t, json.Unmarshal(stdout.Bytes(), &sum), "%s", &stdout)
		require.True(t, sum.ManifestOK)
		require.Equal(t, sum.Received, sum.Stored+sum.Duplicate+sum.Rejected)
		if i == 0 {
			first = sum
			require.Positive(t, sum.CPUPerMillion)
			require.Positive(t, sum.PeakRSSMB)
			continue
		}
		require.Equal(t, first.counts, sum.counts, "the second start shows the data of the first")
	}
	err := run(t.Context(), []string{"--once", "--records", "30000", "--seed", "7", "--dir", o.dir, "--duiwu", o.duiwu}, io.Discard, io.Discard)
	require.ErrorContains(t, err, "holds the world of --seed 7 --records 20000")
}

// TestKilledAtRandomMoments kills the worker, the database, or both with no
// warning, ten times during the job. Tables and counts must be those of a
// run that nobody disturbed.
func TestKilledAtRandomMoments(t *testing.T) {
	if !testenv.Full() {
		t.Skip("kills servers for minutes: run make test")
	}
	const records = 40_000
	quiet := testOptions(t, records)
	s := startStack(t, quiet)
	sum := s.job(t)
	require.Empty(t, sum.Mismatches)
	want := s.digest(t)
	s.stop()

	o := testOptions(t, records)
	// Small cuts make many moments between two writes.
	o.workerArgs = []string{"--cut-rows", "250", "--linger", "50ms", "--session", "2s", "--rebalance", "2s"}
	s = startStack(t, o)
	require.NoError(t, s.work()) // while the messages still come
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 1))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var killer sync.WaitGroup
	killed, moving := 0, 0
	killer.Go(func() {
		for killed < 11 && ctx.Err() == nil {
			// Most kills should meet the job at work; some meet it recovering.
			if s.moves(ctx, s.moved(ctx)) {
				moving++
			}
			time.Sleep(time.Duration(dice.IntN(700)) * time.Millisecond)
			victim := dice.IntN(3)
			if victim != 1 {
				_ = syscall.Kill(s.worker.pid(), syscall.SIGKILL)
			}
			if victim != 0 {
				s.engine.Kill()
			}
			killed++
		}
	})
	require.NoError(t, s.push(t.Context()))
	killer.Wait()
	require.NoError(t, s.wait(t.Context()))
	stop()
	t.Logf("%d of %d kills met the job at work", moving, killed)
	require.GreaterOrEqual(t, killed, 10)
	require.Positive(t, moving)
	got, err := s.summarize(t.Context(), time.Second)
	require.NoError(t, err)
	require.Empty(t, got.Mismatches)
	require.Equal(t, sum.counts, got.counts)
	have := s.digest(t)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		require.Equal(t, want[name], have[name], name)
	}
}

// moved counts the rows of the ledger; 0 when nobody answers.
func (s *stack) moved(ctx context.Context) uint64 {
	var n uint64
	if err := s.conn.QueryRow(ctx, "SELECT count() FROM ledger").Scan(&n); err != nil {
		return 0
	}
	return n
}

// moves says whether the ledger grows within some seconds.
func (s *stack) moves(ctx context.Context, before uint64) bool {
	for range 60 {
		if now := s.moved(ctx); now > before && before > 0 {
			return true
		} else if before == 0 {
			before = now
		}
		time.Sleep(100 * time.Millisecond)
	}
	return false
}

// TestNoPersonalValueAnywhere looks for every planted identity number, name and
// mobile number in the tables, the logs and the metrics.
func TestNoPersonalValueAnywhere(t *testing.T) {
	o := testOptions(t, 20_000)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	o.workerArgs = []string{"--log-level", "debug", "--listen", addr}
	s := startStack(t, o)
	s.job(t)
	world := generate.New(generate.Config{Seed: o.seed, Records: o.records})
	require.NoError(t, world.Messages(func(generate.Message) error { return nil }))
	// By the first six bytes, which every identity and mobile number and every
	// name of two characters has.
	secrets := map[string][]string{}
	n := 0
	world.Personal(func(_, v string) bool {
		if len(v) >= 6 && !slices.Contains(secrets[v[:6]], v) {
			secrets[v[:6]] = append(secrets[v[:6]], v)
			n++
		}
		return true
	})
	require.Greater(t, n, 1000)
	f := func(where, text string) {
		t.Helper()
		for i := 0; i+6 <= len(text); i++ {
			for _, v := range secrets[text[i:i+6]] {
				if strings.HasPrefix(text[i:], v) {
					t.Errorf("%s holds a planted personal value of %d bytes, near %q", where, len(v), text[max(0, i-80):i])
					return
				}
			}
		}
	}
	for _, name := range []string{"worker.log", "clickhouse.log", "kafka.log"} {
		raw, err := os.ReadFile(filepath.Join(o.dir, name))
		require.NoError(t, err)
		f(name, string(raw))
	}
	res, err := http.Get("http://" + addr + "/metrics")
	require.NoError(t, err)
	defer res.Body.Close()
	metrics, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Contains(t, string(metrics), "duiwu_rejects_total")
	f("metrics", string(metrics))
	rows, err := s.conn.Query(t.Context(), "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'")
	require.NoError(t, err)
	var tables []string
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		tables = append(tables, name)
	}
	require.NoError(t, rows.Err())
	require.Greater(t, len(tables), 30)
	for _, name := range tables {
		if strings.HasPrefix(name, "dim_") {
			continue
		}
		rows, err := s.conn.Query(t.Context(), "SELECT toString(tuple(*)) FROM `"+name+"`")
		require.NoError(t, err)
		var text strings.Builder
		for rows.Next() {
			var row string
			require.NoError(t, rows.Scan(&row))
			text.WriteString(row)
			text.WriteByte('\n')
		}
		require.NoError(t, rows.Err())
		f("table "+name, text.String())
	}
}
