package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// peak is the most memory that a process has held, in bytes.
func peak(t *testing.T, pid int) int64 {
	t.Helper()
	n, err := memory(pid, "VmHWM")
	require.NoError(t, err)
	return n
}

// TestAPoisonTopicIsCountedAndNotHeld sends 100 MB of messages that are larger
// than the largest that is decoded, between records, and then ten times the load
// at once. Beyond what the idle process holds, memory stays within what the
// comment of ingest.Gate states; the runtime may hold as much again as garbage.
func TestAPoisonTopicIsCountedAndNotHeld(t *testing.T) {
	b := testBench(t)
	const slots, cutBytes, fetch, largest = 2, 4 << 20, 1 << 20, 8 << 20
	c, err := b.cellOf(t.Context(), partitions, "--slots", fmt.Sprint(slots), "--cut-bytes", fmt.Sprint(cutBytes), "--cut-rows", "5000")
	require.NoError(t, err)
	defer c.stop()
	require.NoError(t, c.migrate(t.Context()))
	w, err := c.work()
	require.NoError(t, err)
	require.NoError(t, c.send(t.Context(), b.load.messages))
	require.NoError(t, c.wait(t.Context(), bound))
	idle := peak(t, w.cmd.Process.Pid)

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

// TestAWorkerThatIsToldToStopEndsInTime holds it to ten seconds, which leaves
// twenty of what an orchestrator grants: at work, and with a database and a
// broker that do not answer. What it had not written is written by the next one.
func TestAWorkerThatIsToldToStopEndsInTime(t *testing.T) {
	b := testBench(t)
	const most = 10 * time.Second
	for _, moment := range []string{"ledger insert", "offset commit"} {
		t.Run(moment, func(t *testing.T) {
			frozen := make(chan struct{})
			c, err := b.start(t.Context(), func(c *cell) error {
				w := c.wires[0].clickhouse
				if moment == "offset commit" {
					w = c.wires[0].kafka
				}
				w.arm(trap{moment, before, 2, func() bool {
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
