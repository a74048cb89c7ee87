package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/engine"
)

// latency pushes records at a rate for a while and measures how long a record
// takes from the moment its sender begins to send until a query of the current
// table sees it. Every twentieth of a second one record is a probe.
func (b *bench) latency(ctx context.Context, rate int, span time.Duration) (err error) {
	if b.dir, err = os.MkdirTemp("", "wholepath"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	server, err := b.startBroker(ctx, b.kfake)
	if err != nil {
		return err
	}
	defer server.Kill()
	b.kafka = ingest.Broker{Brokers: []string{server.Addr()}, ClientID: "wholepath"}
	b.made = newRecords(b.seed, b.duplicates, b.codes[:1])
	if err := ingest.CreateTopics(ctx, b.kafka, b.partitions, nil, b.topics()...); err != nil {
		return err
	}
	e, err := engine.Start(ctx, engine.Options{Lib: b.lib, Dir: b.dir + "/server"})
	if err != nil {
		return err
	}
	defer func() { _ = e.Stop(context.WithoutCancel(ctx)) }()
	pid, stop, err := b.startWorker(ctx, e, "error", os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	p, err := ingest.NewProducer(b.kafka)
	if err != nil {
		return err
	}
	defer p.Close()

	const ticks = 20 // a second
	sent := map[string]time.Time{}
	var took []time.Duration
	look := func() error {
		if len(sent) == 0 {
			return nil
		}
		text, err := ask(ctx, e, "SELECT record_id FROM worker WHERE record_id LIKE 'P-%' AND toInt64(substring(record_id, 3)) >= "+strconv.Itoa(oldest(sent)))
		now := time.Now()
		for id := range strings.FieldsSeq(text) {
			if at, waiting := sent[id]; waiting {
				took = append(took, now.Sub(at))
				delete(sent, id)
			}
		}
		return err
	}
	// The first records also wait for the worker to be assigned its partitions.
	probes, late := 0, 0
	warm := time.Now().Add(15 * time.Second)
	end := warm.Add(span)
	for at := time.Now(); at.Before(end); at = at.Add(time.Second / ticks) {
		time.Sleep(time.Until(at))
		if time.Since(at) > time.Second/ticks {
			late++
		}
		var batch []ingest.Outgoing
		for range rate / ticks {
			values := b.made.next()
			value, err := jsonWire{}.add(values)
			if err != nil {
				return err
			}
			batch = append(batch, ingest.Outgoing{Topic: b.topics()[0], Key: ingest.Key(unit, values[recordID]), Value: value})
		}
		if at.After(warm) {
			probe := slices.Clone(b.made.next())
			probe[recordID] = fmt.Sprintf("P-%08d", probes)
			probes++
			value, err := jsonWire{}.add(probe)
			if err != nil {
				return err
			}
			batch[0] = ingest.Outgoing{Topic: b.topics()[0], Key: ingest.Key(unit, probe[recordID]), Value: value}
			sent[probe[recordID]] = time.Now()
		}
		if err := p.Send(ctx, batch...); err != nil {
			return err
		}
		if err := look(); err != nil {
			return err
		}
	}
	for until := time.Now().Add(time.Minute); len(sent) > 0; {
		if time.Now().After(until) {
			return fmt.Errorf("%d of %d probes were not seen a minute after the last one", len(sent), probes)
		}
		if err := look(); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	slices.Sort(took)
	at := func(q float64) float64 { return took[int(q*float64(len(took)-1))].Seconds() }
	note := ""
	if late > probes/10 {
		note = " (the sender fell behind)"
	}
	fmt.Printf("| %d%s | %d | %.2f | %.2f | %.2f | %.0f | %.0f |\n", rate, note, probes, at(0.5), at(0.99), at(1), peak(pid), peak(e.PID()))
	return nil
}

// oldest is the number of the first probe that was not seen yet.
func oldest(sent map[string]time.Time) int {
	least := 1 << 30
	for id := range sent {
		if n, err := strconv.Atoi(id[2:]); err == nil {
			least = min(least, n)
		}
	}
	return least
}
