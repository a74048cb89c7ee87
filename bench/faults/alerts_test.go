package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/feed"
)

// scrapes is how many scrapes are taken under a fault: 20 minutes of a
// Prometheus that comes every 30 s, in a few seconds. No rule knows the clock.
const scrapes = 45

// TestTheRightAlertFires takes the metrics that a real worker serves under a
// fault, and evaluates the chart's rules over them with Prometheus' own engine.
func TestTheRightAlertFires(t *testing.T) {
	b := testBench(t)
	check := filepath.Join(t.TempDir(), "alertcheck")
	build := exec.Command("go", "build", "-o", check, ".")
	build.Dir = "../../tools/alertcheck"
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))

	bad := make([]message, 60)
	for i := range bad {
		bad[i] = message{fmt.Sprint("bad", i), "{"}
	}
	many := slices.DeleteFunc(newLoad(3000, 4).messages, func(m message) bool { // none that is refused: that has its own alert
		return m.value == "{" || strings.Contains(m.value, `"op":"X"`)
	})
	for _, f := range []struct {
		name, word string
		strike     func(c *cell) error
		want       []string
		env        func(c *cell) []string
	}{
		{"nothing", "", func(*cell) error { return nil }, []string{}, nil},
		{"broker cut", "cannot join", func(c *cell) error { c.wires[0].kafka.set(mode{cut: true}); return nil }, []string{"DuiwuKafkaAway"}, nil},
		{"ClickHouse away", "write failed", func(c *cell) error {
			c.wires[0].clickhouse.set(mode{cut: true})
			return c.send(t.Context(), many)
		}, []string{"DuiwuClickHouseAway"}, nil},
		{"a table gone", "partition stopped", func(c *cell) error {
			_, err := query(t.Context(), c.database, "RENAME TABLE station_history TO elsewhere")
			return errors.Join(err, c.send(t.Context(), b.load.messages))
		}, []string{"DuiwuPartitionStopped"}, nil},
		{"may only read", "partition stopped", func(*cell) error { return nil }, []string{"DuiwuAccessRefused"},
			func(c *cell) []string {
				return []string{"DUIWU_CLICKHOUSE=" + c.as(engine.Dashboards, c.wires[0].clickhouse)}
			}},
		{"quarantine flood", "", func(c *cell) error { return c.send(t.Context(), bad) }, []string{"DuiwuManyRejects"}, nil},
		{"a clock a day ahead", "database's differ", func(c *cell) error {
			c.clock = time.Now()
			return c.workers[0].jump(day)
		}, []string{"DuiwuClockApart"}, nil},
		{"behind", "", func(c *cell) error {
			c.wires[0].clickhouse.set(mode{delay: 300 * time.Millisecond})
			return c.send(t.Context(), many)
		}, []string{"DuiwuBehind"}, nil},
	} {
		t.Run(f.name, func(t *testing.T) {
			c, err := b.cell(t.Context())
			require.NoError(t, err)
			defer c.stop()
			require.NoError(t, c.migrate(t.Context()))
			others, err := c.otherTopics(t.Context())
			require.NoError(t, err)
			var env []string
			if f.env != nil {
				env = f.env(c)
			}
			w, err := c.work(env...)
			require.NoError(t, err)
			if f.env == nil {
				require.NoError(t, again(t.Context(), bound, func() error {
					if n := w.assignments().n; n < others+partitions {
						return fmt.Errorf("%d of %d partitions are assigned", n, others+partitions)
					}
					return nil
				}))
			}
			dir := t.TempDir()
			n := 0
			scrape := func(times int) {
				for range times {
					require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%04d", n)), w.metrics(t.Context()), 0o600))
					n++
					time.Sleep(100 * time.Millisecond)
				}
			}
			scrape(3)
			require.NoError(t, f.strike(c))
			if f.word != "" {
				require.NoError(t, c.until(t.Context(), f.word))
			}
			time.Sleep(2 * time.Second) // the worker looks at its servers every second
			scrape(scrapes)
			var errs bytes.Buffer
			cmd := exec.CommandContext(t.Context(), check, "--rules", "../../helm/testdata/prometheusrule.yaml", "--scrapes", dir,
				"--labels", "job=rel-duiwu-worker,namespace=office,pod=w0")
			cmd.Stderr = &errs
			raw, err := cmd.Output()
			require.NoError(t, err, errs.String())
			var firing []string
			require.NoError(t, json.Unmarshal(raw, &firing))
			require.Equal(t, f.want, firing, "%s\n%s", w.ready(t.Context()), w.metrics(t.Context()))
		})
	}
}

// otherTopics makes the topics of the other units, one partition each, so that
// none is missing, and says how many.
func (c *cell) otherTopics(ctx context.Context) (int, error) {
	cat, err := feed.Load(feeds.FS)
	if err != nil {
		return 0, err
	}
	var topics []string
	for _, u := range cat.Units {
		if topic := ingest.Topic("duiwu."+c.name, u.Code); (u.Reports || u.National()) && topic != c.topic {
			topics = append(topics, topic)
		}
	}
	return len(topics), ingest.CreateTopics(ctx, c.kafka(), 1, nil, topics...)
}
