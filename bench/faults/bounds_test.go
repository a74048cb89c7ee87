package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/usage"
)

// peak is the most memory that a process has held, in bytes.
func peak(t *testing.T, pid int) int64 {
	t.Helper()
	n, err := usage.Peak(pid)
	require.NoError(t, err)
	return n
}

// idling is a cell whose worker has read the load, and the most memory that it held.
func idling(t *testing.T, b *bench, partitions int, flags ...string) (c *cell, w *worker, idle int64) {
	t.Helper()
	c, err := b.cellOf(t.Context(), partitions, flags...)
	require.NoError(t, err)
	t.Cleanup(c.stop)
	require.NoError(t, c.migrate(t.Context()))
	w, err = c.work()
	require.NoError(t, err)
	require.NoError(t, c.send(t.Context(), b.load.messages))
	require.NoError(t, c.wait(t.Context(), bound))
	return c, w, peak(t, w.cmd.Process.Pid)
}

// TestAPoisonTopicIsCountedAndNotHeld sends 100 MB of messages that are larger
// than the largest that is decoded, between records, and then ten times the load
// at once. Beyond what the idle process holds, memory stays within what the
// comment of ingest.Gate states; the runtime may hold as much again as garbage.
func TestAPoisonTopicIsCountedAndNotHeld(t *testing.T) {
	b := testBench(t)
	const slots, cutBytes, fetch, largest = 2, 4 << 20, 1 << 20, 8 << 20
	c, w, idle := idling(t, b, partitions, "--slots", fmt.Sprint(slots), "--cut-bytes", fmt.Sprint(cutBytes), "--cut-rows", "5000")

	const poison = 20
	value := strings.Repeat("x", 5<<20)
	for i := range poison {
		require.NoError(t, c.send(t.Context(), []message{{fmt.Sprint(i), value}, b.load.messages[i]}))
	}
	burst := newLoad(10*keys, 3)
	require.NoError(t, c.send(t.Context(), burst.messages))
	require.NoError(t, c.wait(t.Context(), 2*bound))
	problems, err := c.sums(t.Context(), b.load.received()+2*poison+burst.received())
	require.NoError(t, err)
	require.Empty(t, problems)
	lines, err := query(t.Context(), c.database, "SELECT count(), max(length(kept)) FROM quarantine FINAL WHERE rule = 'message_too_large' FORMAT TSV")
	require.NoError(t, err)
	require.Equal(t, []string{fmt.Sprintf("%d\t0", poison)}, lines)
	grown := peak(t, w.cmd.Process.Pid) - idle
	// A record batch is read whole, however large: as sent, and as expanded.
	allowed := int64(2 * (slots*3*cutBytes + partitions*(fetch+2*largest)))
	t.Logf("idle %d MB, grown by %d MB of %d MB", idle>>20, grown>>20, allowed>>20)
	require.Less(t, grown, allowed)
}

// TestAMillionKeysCostAtMost64BytesEach beside what a worker without keys holds,
// the garbage of growing tables among it; and the server and the worker agree
// whose key is whose.
func TestAMillionKeysCostAtMost64BytesEach(t *testing.T) {
	b := testBench(t)
	const keys = 1_000_000
	bytes := func(keys int) (held int64, table float64) {
		c, err := b.newCold(t.Context(), 1, 3, keys, "--database-timeout", "1m")
		require.NoError(t, err)
		defer c.stop()
		w, err := c.work()
		require.NoError(t, err)
		require.NoError(t, c.assigned(t.Context(), 2*bound))
		require.Equal(t, keys, w.assignments().known)
		tables, err := w.gauge(t.Context(), "duiwu_dedupe_bytes{")
		require.NoError(t, err)
		return peak(t, w.cmd.Process.Pid), sum(tables)
	}
	without, _ := bytes(0)
	with, table := bytes(keys)
	t.Logf("without keys %d MB, with a million %d MB, the table %.1f bytes a key", without>>20, with>>20, table/keys)
	require.Less(t, table, 64.0*keys)
	// What reads a stream is there once a partition, whatever the number of keys.
	require.Less(t, with-without, int64(64*keys+3*reader))
}

// reader is what a worker holds to read a stream of keys, its garbage among it, in
// bytes.
const reader = 16 << 20

// TestABurstIsHeldInTheTopicAndNotInMemory sends ten times as many bytes as all
// slots hold, while one partition's broker does not answer in the middle of a cut.
// The others go on, and memory stays within the stated bound.
func TestABurstIsHeldInTheTopicAndNotInMemory(t *testing.T) {
	b := testBench(t)
	const slots, cutBytes, fetch = 2, 1 << 20, 1 << 20
	c, w, idle := idling(t, b, 3, "--slots", fmt.Sprint(slots), "--cut-bytes", fmt.Sprint(cutBytes), "--cut-rows", "5000")

	release := make(chan struct{})
	held := c.wires[0].kafka.arm(trap{"fetch", after, 1, func() bool { <-release; return true }, nil})
	big := newLoad(40*keys, 3)
	bytes := 0
	for i := range big.messages {
		// Blanks cost a reader as much as anything else and mean nothing.
		big.messages[i].value += strings.Repeat(" ", 800)
		bytes += len(big.messages[i].value)
	}
	require.Greater(t, bytes, 10*slots*cutBytes)
	for m := big.messages; len(m) > 0; m = m[min(len(m), 2000):] {
		require.NoError(t, c.send(t.Context(), m[:min(len(m), 2000)]))
	}
	// Two partitions end while the third stands still.
	ends, err := ingest.Ends(t.Context(), c.kafka(), c.topic)
	require.NoError(t, err)
	require.NoError(t, again(t.Context(), 2*bound, func() error {
		lines, err := query(t.Context(), c.database, "SELECT partition, max(last_offset) + 1 FROM ledger_effective GROUP BY partition ORDER BY partition FORMAT TSV")
		done := 0
		for i, line := range lines {
			if line == fmt.Sprintf("%d\t%d", i, ends[c.topic][i]) {
				done++
			}
		}
		if err == nil && done < 2 {
			err = fmt.Errorf("%d partitions came to their end: %v of %v", done, lines, ends)
		}
		return err
	}))
	close(release)
	<-held
	require.NoError(t, c.wait(t.Context(), 2*bound))
	problems, err := c.sums(t.Context(), b.load.received()+big.received())
	require.NoError(t, err)
	require.Empty(t, problems)
	grown := peak(t, w.cmd.Process.Pid) - idle
	// The runtime may hold as much again as garbage.
	allowed := int64(2 * (slots*3*cutBytes + 3*fetch))
	t.Logf("a burst of %d MB: idle %d MB, grown by %d MB of %d MB", bytes>>20, idle>>20, grown>>20, allowed>>20)
	require.Less(t, grown, allowed)
}

// TestWhoStaysReadsNothingAgain: a worker that joins, is killed and comes back takes
// partitions from the other one and leaves it those that stay. Each time that one
// read again what is stored of all its units.
func TestWhoStaysReadsNothingAgain(t *testing.T) {
	b := testBench(t)
	const units, keys = 6, 200
	c, err := b.newCold(t.Context(), units, 1, keys)
	require.NoError(t, err)
	defer c.stop()
	cat, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	c.wires[0].clickhouse.count()
	first, err := c.work()
	require.NoError(t, err)
	require.NoError(t, c.assigned(t.Context(), bound))
	// What starts together is read together, as far as it comes together.
	require.LessOrEqual(t, c.wires[0].clickhouse.counted("state rebuild"), units/2*len(cat.Feeds))
	c.wires[0].clickhouse.count()
	second, err := c.work()
	require.NoError(t, err)
	shared := func() {
		t.Helper()
		require.NoError(t, again(t.Context(), 2*bound, func() error {
			n, err := second.gauge(t.Context(), "duiwu_dedupe_keys{")
			if err == nil && len(n) != units/2 {
				err = fmt.Errorf("the second worker has %d partitions", len(n))
			}
			if err == nil {
				err = c.assigned(t.Context(), time.Second)
			}
			return err
		}))
	}
	shared()
	require.Zero(t, c.wires[0].clickhouse.counted("state rebuild"), "%s", first.log)
	for range 2 {
		require.Equal(t, float64(units*keys), known(t, c.cell))
		second.kill()
		time.Sleep(time.Second)
		shared()
	}
	// What the other one had is read once each time that it dies, never one's own.
	require.LessOrEqual(t, c.wires[0].clickhouse.counted("state rebuild"), 2*units/2*len(cat.Feeds))
}

// known is how many keys the workers of a cell remember.
func known(t *testing.T, c *cell) (n float64) {
	t.Helper()
	for _, w := range c.workers {
		v, err := w.gauge(t.Context(), "duiwu_dedupe_keys{")
		require.NoError(t, err)
		n += sum(v)
	}
	return n
}

// TestAWorkerThatIsToldToStopEndsInTime holds it to ten seconds, a third of what an
// orchestrator grants by itself: at work, while it joins the group, and with a
// database and a broker that do not answer. What it had not written is written by the
// next one.
func TestAWorkerThatIsToldToStopEndsInTime(t *testing.T) {
	b := testBench(t)
	const most = 10 * time.Second
	for _, at := range []moment{{name: "ledger insert"}, {name: "offset commit"}, {name: "join"}, {name: "sync"}} {
		t.Run(at.name, func(t *testing.T) {
			frozen := make(chan struct{})
			c, err := b.start(t.Context(), func(c *cell) error {
				w, nth := c.wires[0].clickhouse, 2
				if at.onKafka() {
					w = c.wires[0].kafka
				}
				if at.name == "join" || at.name == "sync" {
					nth = 1
				}
				w.arm(trap{at.name, before, nth, func() bool {
					for _, w := range []*wire{c.wires[0].clickhouse, c.wires[0].kafka} {
						w.set(mode{frozen: true})
					}
					close(frozen)
					return true
				}, nil})
				return nil
			})
			require.NoError(t, err)
			defer c.stop()
			select {
			case <-frozen:
			case <-time.After(bound):
				t.Fatal("the moment never came")
			}
			w := c.workers[0]
			time.Sleep(300 * time.Millisecond)
			begun := time.Now()
			w.mu.Lock()
			w.stopped = true
			w.mu.Unlock()
			w.signal(syscall.SIGTERM)
			select {
			case <-w.done:
			case <-time.After(3 * most):
				t.Fatalf("it does not end: %s", w.log)
			}
			took := time.Since(begun)
			t.Logf("ended in %s", took.Round(time.Millisecond))
			require.Less(t, took, most)
			require.True(t, w.cmd.ProcessState.Success(), "%s: %s", w.cmd.ProcessState, w.log)
			for _, w := range c.wires {
				w.kafka.disarm()
				w.clickhouse.disarm()
			}
			c.workers = nil
			_, err = c.work()
			require.NoError(t, err)
			require.NoError(t, c.wait(t.Context(), bound))
			problems, err := b.judge(t.Context(), c)
			require.NoError(t, err)
			require.Empty(t, problems)
		})
	}
}
