package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/usage"
)

// cold is a cell whose tables hold many records that no worker has in memory.
type cold struct {
	*cell
	topics           []string
	partitions, keys int // of one topic
}

// newCold stores records under n keys for each of so many units, as cuts of the
// ledger would have, in topics of one message a partition.
func (l *lab) newCold(ctx context.Context, units, partitions, keys int, flags ...string) (*cold, error) {
	cat, err := feed.Load(feeds.FS)
	if err != nil {
		return nil, err
	}
	c := &cold{partitions: partitions, keys: keys}
	if c.cell, err = l.cellOf(ctx, partitions, flags...); err != nil {
		return nil, err
	}
	c.topics = []string{c.topic}
	for _, u := range cat.Units {
		if topic := ingest.Topic("duiwu."+c.name, u.Code); u.Reports && topic != c.topic && len(c.topics) < units {
			c.topics = append(c.topics, topic)
		}
	}
	if err := errors.Join(ingest.CreateTopics(ctx, c.kafka(), partitions, nil, c.topics...), c.migrate(ctx)); err != nil {
		return nil, err
	}
	p, err := ingest.NewProducer(c.kafka())
	if err != nil {
		return nil, err
	}
	defer p.Close()
	for _, topic := range c.topics {
		unit := topic[strings.LastIndexByte(topic, '.')+1:]
		for n := range partitions {
			key := []byte("k")
			for i := 0; ingest.PartitionOf(key, partitions) != n; i++ {
				key = fmt.Appendf(nil, "k%d", i)
			}
			if err := again(ctx, bound, func() error { return p.Send(ctx, ingest.Outgoing{Topic: topic, Key: key, Value: []byte("{")}) }); err != nil {
				return nil, err
			}
			if _, err := query(ctx, c.database, fmt.Sprintf("INSERT INTO ledger (topic, partition, last_offset, epoch, run, kind, worker) VALUES ('%s', %d, 0, 1, 'live', 'cut', 'fill')", topic, n)); err != nil {
				return nil, err
			}
		}
		const step = 250_000
		for from := 0; from < keys; from += step {
			if _, err := query(ctx, c.database, fmt.Sprintf(`INSERT INTO station_history (schema_version, reporting_unit, batch_id, record_id, op, period, effective_from, reported_at, station_id, county_code, _version, _outcome, _topic)
SELECT 1, '%s', 'fill', 'R-' || toString(number), 'U', toDate32('2016-11-01'), toDate32('2016-11-01'), toDateTime64('2016-11-01 18:00:00', 3, 'Asia/Shanghai'), 'T-' || toString(number), '310115',
    toUInt128(bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Milli(toDateTime64('2016-11-01 18:00:00', 3, 'Asia/Shanghai'))), 64), toUInt128(cityHash64(number)))), 'new', '%s'
FROM numbers(%d, %d)`, unit, topic, from, min(step, keys-from))); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// assignments are what a worker says of the partitions that it was assigned.
type assignments struct {
	n, known int
	longest  time.Duration
}

func (w *worker) assignments() (a assignments) {
	for _, line := range strings.Split(w.log.String(), "\n") {
		var l struct {
			Msg, Topic string
			Known      int
			Took       time.Duration
		}
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "partition assigned" {
			a.n++
			a.known += l.Known
			a.longest = max(a.longest, l.Took)
		}
	}
	return a
}

// assigned waits until the cell's workers together hold every partition.
func (c *cold) assigned(ctx context.Context, d time.Duration) error {
	return again(ctx, d, func() error {
		held := 0
		for _, w := range c.workers {
			n, err := w.gauge(ctx, "duiwu_dedupe_keys{")
			if err != nil {
				return err
			}
			held += len(n)
		}
		if want := len(c.topics) * c.partitions; held != want {
			return fmt.Errorf("%d of %d partitions are assigned: %s", held, want, c.workers[0].ready(ctx))
		}
		return nil
	})
}

// gauge lists the values of the series that begin so.
func (w *worker) gauge(ctx context.Context, series string) (out []float64, err error) {
	for _, line := range strings.Split(string(w.metrics(ctx)), "\n") {
		if strings.HasPrefix(line, series) {
			v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
	}
	return out, nil
}

func sum(v []float64) (n float64) {
	for _, x := range v {
		n += x
	}
	return n
}

// remember measures one worker that learns n keys of one unit, and prints it.
func (l *lab) remember(ctx context.Context, keys, partitions int, out io.Writer, flags ...string) error {
	c, err := l.newCold(ctx, 1, partitions, keys, flags...)
	if err != nil {
		return err
	}
	defer c.stop()
	for _, w := range l.wires {
		w.clickhouse.count()
	}
	before, err := usage.CPU(l.engine.PID())
	if err != nil {
		return err
	}
	begun := time.Now()
	w, err := c.work()
	if err != nil {
		return err
	}
	if err := c.assigned(ctx, time.Hour); err != nil {
		return err
	}
	took := time.Since(begun)
	ours, err1 := usage.CPU(w.cmd.Process.Pid)
	theirs, err2 := usage.CPU(l.engine.PID())
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	for _, line := range c.saw() {
		fmt.Fprintln(os.Stderr, line)
	}
	a := w.assignments()
	if a.known != keys {
		return fmt.Errorf("the worker knows %d of %d keys", a.known, keys)
	}
	bytes, err := w.gauge(ctx, "duiwu_dedupe_bytes{")
	if err != nil {
		return err
	}
	most, err := usage.Peak(w.cmd.Process.Pid)
	if err != nil {
		return err
	}
	server, err := usage.Peak(l.engine.PID())
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "| keys | partitions | bytes a key, table | bytes a key, process at its peak | assigned in | slowest partition | CPU s, worker | CPU s, server | queries | server MB at its peak |\n|---|---|---|---|---|---|---|---|---|---|")
	fmt.Fprintf(out, "| %d | %d | %.1f | %.1f | %s | %s | %.1f | %.1f | %d | %d |\n", keys, partitions, sum(bytes)/float64(keys), float64(most)/float64(keys),
		took.Round(time.Second), a.longest.Round(100*time.Millisecond), ours.Seconds(), (theirs - before).Seconds(), l.wires[0].clickhouse.counted("state rebuild"), server>>20)
	return nil
}

// flap measures two workers that share cold topics while a third joins and dies
// again and again.
func (l *lab) flap(ctx context.Context, units, keys, times int, out io.Writer) error {
	c, err := l.newCold(ctx, units, 1, keys)
	if err != nil {
		return err
	}
	defer c.stop()
	reads := func() (n int) {
		for _, w := range l.wires {
			n += w.clickhouse.counted("state rebuild")
		}
		return n
	}
	for _, w := range l.wires {
		w.clickhouse.count()
	}
	begun := time.Now()
	if _, err := c.work(); err != nil {
		return err
	}
	if err := c.assigned(ctx, 10*time.Minute); err != nil {
		return err
	}
	fmt.Fprintln(out, "| what | until all partitions are assigned | reads of a state |\n|---|---|---|")
	line := func(what string) {
		fmt.Fprintf(out, "| %s | %s | %d |\n", what, time.Since(begun).Round(100*time.Millisecond), reads())
		begun = time.Now()
		for _, w := range l.wires {
			w.clickhouse.count()
		}
	}
	line(fmt.Sprintf("%d topics of %d keys, one worker, cold", units, keys))
	second, err := c.work()
	if err != nil {
		return err
	}
	shared := func() error {
		return again(ctx, 10*time.Minute, func() error {
			n, err := second.gauge(ctx, "duiwu_dedupe_keys{")
			if err == nil && len(n) < units/2 {
				err = fmt.Errorf("the second worker holds %d", len(n))
			}
			if err == nil {
				err = c.assigned(ctx, time.Second)
			}
			return err
		})
	}
	if err := shared(); err != nil {
		return err
	}
	line("a second worker comes")
	for range times {
		second.kill()
		time.Sleep(time.Second)
		if err := shared(); err != nil {
			return err
		}
	}
	line(fmt.Sprintf("it is killed and comes back, %d times", times))
	known := 0.0
	for _, w := range c.workers {
		n, err := w.gauge(ctx, "duiwu_dedupe_keys{")
		if err != nil {
			return err
		}
		known += sum(n)
	}
	if int(known) != units*keys {
		return fmt.Errorf("the workers know %.0f of %d keys", known, units*keys)
	}
	return nil
}
