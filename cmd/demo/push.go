package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/duiwu/duiwu/cmd/demo/generate"
	"github.com/duiwu/duiwu/ingest"
)

// pushBatch is how many messages go out in one call.
const pushBatch = 5000

// push makes the world and sends what the topics do not hold yet: the same seed
// makes the same messages, so a run that was stopped goes on where it was. It
// does nothing when an earlier run has sent everything.
func (s *stack) push(ctx context.Context) error {
	if s.manifest != nil {
		return nil
	}
	ends, err := ingest.Ends(ctx, s.kafka, s.topics()...)
	if err != nil {
		return err
	}
	// What each partition holds already is skipped: within a partition the order
	// of messages is the order in which they are made.
	skip := make(map[string][]int64, len(ends))
	for topic, parts := range ends {
		skip[topic] = append([]int64(nil), parts...)
	}
	producer, err := ingest.NewProducer(s.kafka)
	if err != nil {
		return err
	}
	defer producer.Close()
	world := generate.New(generate.Config{Seed: s.o.seed, Records: s.o.records, Partitions: s.o.partitions})
	size := pushBatch
	if s.o.pace > 0 {
		size = min(size, max(1, s.o.pace/4))
	}
	batch := make([]ingest.Outgoing, 0, size)
	sent := 0
	begun := time.Now()
	flush := func() error {
		if err := producer.Send(ctx, batch...); err != nil {
			return fmt.Errorf("cannot push to the broker: %w", err)
		}
		sent += len(batch)
		s.pushed = true
		batch = batch[:0]
		s.bar.show("making and pushing", int64(sent), 0)
		if s.o.pace == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(begun.Add(time.Duration(sent) * time.Second / time.Duration(s.o.pace)))):
			return nil
		}
	}
	err = world.Messages(func(m generate.Message) error {
		parts := skip[m.Topic]
		if len(parts) == 0 {
			return fmt.Errorf("topic %s does not exist", m.Topic)
		}
		p := ingest.PartitionOf(m.Key, len(parts))
		if parts[p] > 0 {
			parts[p]--
			return nil
		}
		out := ingest.Outgoing{Topic: m.Topic, Key: m.Key, Value: m.Value}
		for _, h := range m.Headers {
			out.Headers = append(out.Headers, ingest.Header{Key: []byte(h.Key), Value: h.Value})
		}
		if batch = append(batch, out); len(batch) == cap(batch) {
			return flush()
		}
		return nil
	})
	if err == nil && len(batch) > 0 {
		err = flush()
	}
	if err != nil {
		return err
	}
	m := world.Manifest()
	s.manifest = &m
	raw, err := json.MarshalIndent(s.manifest, "", " ")
	if err != nil {
		return err
	}
	path := filepath.Join(s.o.dir, manifestFile)
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// wait returns when the ledger reaches the end of every topic.
func (s *stack) wait(ctx context.Context) error {
	ends, err := ingest.Ends(ctx, s.kafka, s.topics()...)
	if err != nil {
		return err
	}
	var total int64
	for _, parts := range ends {
		for _, n := range parts {
			total += n
		}
	}
	moved := time.Now()
	var before int64
	for {
		done, err := s.durable(ctx, ends)
		if err == nil {
			s.bar.show("checked, tokenised, stored", done, total)
			if done >= total {
				s.bar.close()
				return nil
			}
		}
		if done > before {
			before, moved = done, time.Now()
		}
		if time.Since(moved) > 2*time.Minute {
			return fmt.Errorf("nothing has moved for 2 minutes at %d of %d messages: see %s\n%s",
				done, total, filepath.Join(s.o.dir, "worker.log"), lastLines(filepath.Join(s.o.dir, "worker.log"), 5))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// durable counts the messages of the topics that lie inside the ledger.
func (s *stack) durable(ctx context.Context, ends map[string][]int64) (int64, error) {
	rows, err := s.conn.Query(ctx, `SELECT topic, partition, max(last_offset) + 1 FROM ledger_effective
WHERE (topic, incarnation) IN (SELECT topic, max(incarnation) FROM ledger_effective GROUP BY topic) GROUP BY topic, partition`)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var done int64
	for rows.Next() {
		var topic string
		var partition int32
		var next int64
		if err := rows.Scan(&topic, &partition, &next); err != nil {
			return 0, err
		}
		if parts := ends[topic]; int(partition) < len(parts) {
			done += min(next, parts[partition])
		}
	}
	return done, rows.Err()
}

func lastLines(path string, n int) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// bar is a progress bar; it shows nothing when its output is no terminal.
type bar struct {
	w    io.Writer
	last time.Time
	on   bool
}

func newBar(w io.Writer) *bar {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &bar{}
	}
	return &bar{w: w}
}

const barWidth = 30

func (b *bar) show(what string, done, total int64) {
	if b.w == nil || time.Since(b.last) < 100*time.Millisecond && done < total {
		return
	}
	b.last, b.on = time.Now(), true
	if total == 0 {
		fmt.Fprintf(b.w, "\r\033[K%-26s %d messages", what, done)
		return
	}
	full := int(done * barWidth / max(total, 1))
	fmt.Fprintf(b.w, "\r\033[K%-26s [%s%s] %3d %%  %d of %d messages", what,
		strings.Repeat("#", full), strings.Repeat(".", barWidth-full), done*100/max(total, 1), done, total)
}

// close ends the line.
func (b *bar) close() {
	if b.w != nil && b.on {
		fmt.Fprintln(b.w)
		b.on = false
	}
}
