// Package receipt publishes what became of the units' batches on their receipt
// topics: one message a receipt, keyed by feed and batch id, so that a compacted
// topic holds the newest of each.
//
// The receipt topics are themselves what is dealt out: the workers form a
// consumer group over them, so each unit has one publisher, whoever holds the
// partitions of its feed topic. How far a unit's receipts were published stands
// in the topic, in a header of its last message; a restart goes on from there.
package receipt

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/flow"
)

// Source tells which receipts changed, by AsOf, the refused records listed of
// those alone that wanted asks for; a *sink.Sink.
type Source interface {
	ReceiptsSince(ctx context.Context, units []string, since time.Time, limit int, wanted func(*flow.Receipt) bool) ([]*flow.Receipt, error)
}

// Config says where receipts come from and go to.
type Config struct {
	Broker ingest.Broker
	// Prefix begins the topics' names, Group names the consumer group.
	Prefix, Group string
	Units         []string
	Source        Source
	// Every is how often the source is asked, once for all units; default 3 s.
	Every time.Duration
	// Slack is how long a ledger row may be on its way into the database after
	// it was stamped, clocks apart; default 10 min. What changed in that time is
	// read again at every turn and published when it differs.
	Slack time.Duration
	Log   *slog.Logger
}

// headerUpTo says, in a unit's last message, up to which moment every change was
// published.
const headerUpTo = "published-up-to"

// page is how many receipts are read at a time.
const page = 1000

// publisher publishes for the units that this process holds.
type publisher struct {
	cfg      Config
	producer *ingest.Producer

	mu    sync.Mutex
	units map[string]*unit
}

type unit struct {
	topic string
	// upTo is the moment up to which every change was published.
	upTo time.Time
	// seen remembers what was published since, by key.
	seen map[string]published
}

// published tells two states of a receipt apart: a cut that comes to it or goes
// from it changes one of the two.
type published struct {
	asOf     time.Time
	received int64
}

func (u *unit) wants(r *flow.Receipt) bool {
	// Before upTo it was another unit that had to go back this far.
	return !r.AsOf.Before(u.upTo) && u.seen[r.Key()] != published{r.AsOf, r.Received}
}

// Run publishes until ctx ends (nil). It returns an error when the broker
// refuses the login or the group.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Every <= 0 {
		cfg.Every = 3 * time.Second
	}
	if cfg.Slack <= 0 {
		cfg.Slack = 10 * time.Minute
	}
	producer, err := ingest.NewProducer(cfg.Broker)
	if err != nil {
		return err
	}
	defer func() { _ = producer.Close() }() // nothing is on its way between two Sends
	p := &publisher{cfg: cfg, producer: producer, units: map[string]*unit{}}
	group, err := ingest.NewGroup(ingest.Config{
		Broker: cfg.Broker, Group: cfg.Group, Prefix: cfg.Prefix, Units: cfg.Units, Create: "--partitions 1 --config cleanup.policy=compact",
	}, ingest.Options{Log: cfg.Log}, p.assigned)
	if err != nil {
		return err
	}
	inner, stop := context.WithCancel(ctx)
	var turns sync.WaitGroup
	turns.Go(func() { p.run(inner) })
	err = group.Run(ctx)
	stop()
	turns.Wait()
	return err
}

// assigned holds a unit until its topic goes to another worker.
func (p *publisher) assigned(ctx context.Context, a *ingest.Assignment) error {
	if a.Partitions != 1 {
		return flow.Permanent(fmt.Errorf("receipt topic %s has %d partitions and must have 1: the order of its messages says how far it was published; make it anew", a.Topic, a.Partitions))
	}
	r := ingest.NewReader(p.cfg.Broker, a.Topic, 0, time.Time{})
	defer r.Close()
	u := &unit{topic: a.Topic, seen: map[string]published{}}
	_, err := r.Last(ctx, func(m *ingest.Message) error {
		for _, h := range m.Headers {
			if string(h.Key) == headerUpTo {
				return u.upTo.UnmarshalText(h.Value)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot find out how far receipts were published: %w", err)
	}
	p.mu.Lock()
	p.units[a.Unit] = u
	p.mu.Unlock()
	<-ctx.Done()
	p.mu.Lock()
	delete(p.units, a.Unit)
	p.mu.Unlock()
	return nil
}

func (p *publisher) run(ctx context.Context) {
	tick := time.NewTicker(p.cfg.Every)
	defer tick.Stop()
	for {
		if err := p.turn(ctx); err != nil && ctx.Err() == nil {
			p.cfg.Log.Warn("cannot publish receipts, trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// turn publishes what changed, a page at a time.
func (p *publisher) turn(ctx context.Context) error {
	p.mu.Lock()
	held := maps.Clone(p.units)
	p.mu.Unlock()
	if len(held) == 0 {
		return nil
	}
	codes := slices.Sorted(maps.Keys(held))
	from := held[codes[0]].upTo
	for _, u := range held {
		if u.upTo.Before(from) {
			from = u.upTo
		}
	}
	safe := time.Now().Add(-p.cfg.Slack)
	wanted := func(r *flow.Receipt) bool { return held[r.Unit].wants(r) }
	for {
		all, err := p.cfg.Source.ReceiptsSince(ctx, codes, from, page, wanted)
		if err != nil {
			return err
		}
		upTo := safe
		if len(all) >= page {
			// Of the last one's moment all were read.
			from = all[len(all)-1].AsOf.Add(time.Millisecond)
			if from.Before(safe) {
				upTo = from
			}
		}
		changed := map[string][]*flow.Receipt{}
		for _, r := range all {
			if wanted(r) {
				changed[r.Unit] = append(changed[r.Unit], r)
			}
		}
		for _, code := range codes {
			if err := p.publish(ctx, held[code], changed[code], upTo); err != nil {
				return err
			}
		}
		if len(all) < page {
			return nil
		}
	}
}

// publish sends a unit's receipts. The last one alone says how far publishing has
// come, after the others were acknowledged: a crash between them publishes them
// again and misses none.
func (p *publisher) publish(ctx context.Context, u *unit, all []*flow.Receipt, upTo time.Time) error {
	if upTo.Before(u.upTo) {
		upTo = u.upTo
	}
	out := make([]ingest.Outgoing, len(all))
	for i, r := range all {
		value, err := json.Marshal(r)
		if err != nil {
			panic("BUG: a receipt does not marshal: " + err.Error())
		}
		out[i] = ingest.Outgoing{Topic: u.topic, Key: []byte(r.Key()), Value: value}
	}
	if n := len(out); n > 0 {
		if n > 1 {
			if err := p.producer.Send(ctx, out[:n-1]...); err != nil {
				return fmt.Errorf("cannot publish receipts to %s: %w", u.topic, err)
			}
		}
		text, err := upTo.UTC().MarshalText()
		if err != nil {
			panic("BUG: a moment does not marshal: " + err.Error())
		}
		out[n-1].Headers = []ingest.Header{{Key: []byte(headerUpTo), Value: text}}
		if err := p.producer.Send(ctx, out[n-1]); err != nil {
			return fmt.Errorf("cannot publish receipts to %s: %w", u.topic, err)
		}
	}
	for _, r := range all {
		u.seen[r.Key()] = published{r.AsOf, r.Received}
	}
	u.upTo = upTo
	maps.DeleteFunc(u.seen, func(_ string, mark published) bool { return mark.asOf.Before(upTo) })
	return nil
}
