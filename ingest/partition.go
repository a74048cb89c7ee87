package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/segmentio/kafka-go"

	"github.com/duiwu/duiwu/ingest/seal"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// Resume says where a partition goes on. The ledger knows it; the offsets that
// were committed to Kafka are for lag tooling only.
type Resume struct {
	// Known is false when the ledger has no row of the partition yet: reading
	// begins where the log does.
	Known bool
	// Last is the last offset that is durable, LastSum the checksum of the
	// message there (Cut.LastSum; 0 when it was not kept and is not compared).
	Last    int64
	LastSum uint64
	// Incarnation counts how often the topic was made anew.
	Incarnation int32
}

// Options are what reading a partition needs beside the broker.
type Options struct {
	Catalogue *feed.Catalogue
	Log       *slog.Logger
	Mem       memory.Allocator
	Limits    Limits
	Gate      *Gate
	// Clock says when a cut arrived; default time.Now.
	Clock func() time.Time
	// Traces is how many traceparent headers a cut keeps; 0 looks at none.
	Traces int
	// Seals are the keys that open sealed fields; nil opens none.
	Seals *seal.Ring
	// ReadSeals is asked for them anew when a partition is opened, and when a
	// message names a key that is not there: it may have been added meanwhile.
	ReadSeals func() (*seal.Ring, error)
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Mem == nil {
		o.Mem = memory.DefaultAllocator
	}
	if o.Gate == nil {
		o.Gate = NewGate(0)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	o.Limits = o.Limits.withDefaults()
	return o
}

// Partition is the flow.Source of one assigned partition. It is used by one
// goroutine; Close may be called once Next and Commit have returned.
type Partition struct {
	broker    *Broker
	opt       Options
	topic     string
	unit      string
	partition int32
	resume    Resume
	commit    func(next int64) error

	f      *fetcher // nil while there is no connection
	dec    *Decoder
	pos    int64 // behind the last cut
	last   int64 // last message handed out, -1 when none
	sum    uint64
	known  bool      // last and sum can be compared
	share  int64     // of a slot of the gate, 0 between two cuts
	mean   int64     // bytes of a message, as counted so far
	swell  float64   // how much more than its length the last message counted
	closed time.Time // when the last cut was
	opened time.Time // when the first message of this one was there
	traces []string  // of this one
	failed error
}

var _ flow.Source = (*Partition)(nil)

// OpenPartition opens a partition of the topic of one unit and checks that the
// log still is the one that the ledger knows. An error is permanent when records
// are gone or the topic was made anew. commit tells the broker where the next
// cut begins; nil commits nothing.
func OpenPartition(ctx context.Context, b *Broker, topic, unit string, partition int32, resume Resume, commit func(next int64) error, opt Options) (*Partition, error) {
	opt = opt.withDefaults()
	p := &Partition{
		broker: b, opt: opt, topic: topic, unit: unit, partition: partition, resume: resume, commit: commit,
		dec: NewDecoder(opt.Catalogue, opt.Mem, unit, opt.Limits.Message), last: -1, mean: firstMean, swell: firstSwell,
	}
	if opt.ReadSeals != nil {
		var err error
		if opt.Seals, err = opt.ReadSeals(); err != nil {
			return nil, fmt.Errorf("cannot open %s/%d: %w", topic, partition, err)
		}
		p.dec.readSeals = opt.ReadSeals
	}
	p.dec.Seals(opt.Seals)
	if resume.Known {
		p.pos, p.last, p.sum, p.known = resume.Last+1, resume.Last, resume.LastSum, resume.LastSum != 0
	} else {
		p.pos = -1
	}
	if err := p.connect(ctx); err != nil {
		return nil, fmt.Errorf("cannot open %s/%d: %w", topic, partition, err)
	}
	opt.Gate.open.Add(1)
	return p, nil
}

func permanentf(cause flow.Cause, format string, args ...any) error {
	return flow.PermanentFor(cause, fmt.Errorf(format, args...))
}

// connect dials the leader and compares the log with what was read of it. It
// runs again after every lost connection, since a topic can be made anew or cut
// short while nobody looks: offsets alone would not tell.
func (p *Partition) connect(ctx context.Context) error {
	f, err := dialLeader(ctx, p.broker, p.topic, p.partition, int32(p.opt.Limits.Fetch))
	if err != nil {
		return err
	}
	f.mem = p.opt.Mem
	if err := p.verify(ctx, f); err != nil {
		f.close()
		return err
	}
	p.f = f
	return nil
}

func (p *Partition) verify(ctx context.Context, f *fetcher) error {
	start, end, err := f.bounds(ctx)
	if err != nil {
		return err
	}
	if p.pos < 0 {
		p.pos = start
	}
	switch {
	case p.pos < start:
		return permanentf(flow.CauseLog, "%d offsets (%d to %d) were deleted from %s/%d before they were read; ask the unit to send them again, then let the ledger pass over the gap: duiwu ledger --by NAME --reason TEXT skip %s %d %d",
			start-p.pos, p.pos, start-1, p.topic, p.partition, p.topic, p.partition, start-1)
	case p.pos > end:
		return p.anew(fmt.Sprintf("the log ends at %d and the ledger at %d", end, p.pos))
	}
	if p.known && p.last >= start {
		f.seek(p.last)
		var m Message
		for f.pos < p.pos {
			if err := f.fetch(ctx, p.opt.Limits.Wait); err != nil {
				return err
			}
			ok, err := f.next(&m)
			if err != nil {
				return fmt.Errorf("cannot compare offset %d: %w", p.last, err)
			}
			if ok {
				if m.Offset != p.last || f.sum() != p.sum {
					return p.anew(fmt.Sprintf("another message stands at offset %d than the ledger holds", p.last))
				}
				break
			}
			if f.high <= p.last {
				break // not visible yet, or an open transaction: nothing to compare
			}
		}
	}
	f.seek(p.pos)
	return nil
}

func (p *Partition) anew(why string) error {
	return permanentf(flow.CauseLog, "topic %s was made anew or cut short: %s in partition %d; find out who did it, and when the new log is right begin a new incarnation: duiwu ledger --by NAME --reason TEXT new-topic %s",
		p.topic, why, p.partition, p.topic)
}

// Next returns the next cut. It waits for the first message as long as ctx
// lives, and reconnects when the leader moves or the connection breaks. A span
// begins behind the one before and ends at a message; offsets between (markers,
// aborted records) belong to the cut that follows them.
func (p *Partition) Next(ctx context.Context) (flow.Cut, error) {
	p.giveBack()
	if p.failed != nil {
		return flow.Cut{}, p.failed
	}
	first, last := p.pos, int64(-1)
	lim := &p.opt.Limits
	var until, idle time.Time // when the cut ends; idle is zero while data comes
	bytes, messages, pause := int64(0), int64(0), 100*time.Millisecond
	var m Message
	for {
		if p.f == nil {
			err := p.connect(ctx)
			if err != nil && (ctx.Err() != nil || flow.IsPermanent(err)) {
				return p.stop(first, last, err)
			}
			if err != nil {
				p.opt.Log.Warn("cannot reach partition, trying again", "topic", p.topic, "partition", p.partition, "pause", pause, "error", err)
				if !sleep(ctx, pause) {
					return p.stop(first, last, ctx.Err())
				}
				pause = min(2*pause, 10*time.Second)
				if last >= 0 && time.Now().After(until) {
					return p.cut(first, last), nil
				}
				continue
			}
		}
		if !p.f.more() {
			wait := lim.Wait
			if last >= 0 {
				now := time.Now()
				if idle.IsZero() && p.f.pos >= p.f.high {
					// The log ended: what came so far should not wait for long.
					idle = now.Add(lim.Idle)
				}
				wait = min(wait, until.Sub(now))
				if !idle.IsZero() {
					end := idle
					if rest := p.closed.Truncate(lim.Linger).Add(lim.Linger); rest.After(end) && !p.opt.Gate.wanted() {
						end = rest
					}
					wait = min(wait, end.Sub(now))
				}
				if wait <= 0 {
					return p.cut(first, last), nil
				}
			} else if p.f.pos >= p.f.high {
				p.f.shrink()
			}
			if err := p.f.fetch(ctx, wait); err != nil {
				if err := p.lost(ctx, err); err != nil {
					return p.stop(first, last, err)
				}
				if !sleep(ctx, pause) {
					return p.stop(first, last, ctx.Err())
				}
				continue
			}
			if !p.f.more() {
				continue
			}
		}
		if p.share == 0 {
			share, err := p.opt.Gate.take(ctx, lim.share((p.f.high-p.f.pos)*p.mean))
			if err != nil {
				return p.stop(first, last, err)
			}
			p.share = share
		}
		ok, err := p.f.next(&m)
		switch {
		case errors.Is(err, errBatch):
			// The batch is what its producer sent: it is refused as one message
			// and those behind it live.
			m = Message{Offset: m.Offset, Headers: m.Headers[:0]}
			m.Value = unreadable
			p.f.last.offset, p.f.last.known, p.f.last.sum = m.Offset, true, 0
			p.f.last.key, p.f.last.value = nil, nil
		case err != nil:
			if flow.IsPermanent(err) {
				return p.stop(first, last, err)
			}
			if err := p.lost(ctx, err); err != nil {
				return p.stop(first, last, err)
			}
			if !sleep(ctx, pause) {
				return p.stop(first, last, ctx.Err())
			}
			pause = min(2*pause, 10*time.Second)
			continue
		case !ok:
			continue
		}
		size := int64(float64(len(m.Value)) * p.swell)
		full := !p.fits(bytes, size)
		messages++
		p.dec.ahead = p.ahead(bytes+size, messages)
		if err := p.dec.Add(&m); err != nil {
			return p.stop(first, last, fmt.Errorf("%s/%d: %w", p.topic, p.partition, err))
		}
		if last < 0 {
			p.opened = time.Now()
			until = p.opened.Add(lim.Linger)
		}
		if len(p.traces) < p.opt.Traces {
			p.trace(m.Headers)
		}
		idle = time.Time{}
		last, pause = m.Offset, 100*time.Millisecond
		p.last, p.sum, p.known = m.Offset, 0, false
		bytes += int64(p.dec.weight)
		if len(m.Value) > 0 {
			p.swell = float64(p.dec.weight) / float64(len(m.Value))
		}
		if full || p.dec.Rows() >= lim.Rows || bytes >= int64(lim.Bytes) {
			return p.cut(first, last), nil
		}
	}
}

// trace keeps the trace that a message belongs to, if it is another one.
func (p *Partition) trace(headers []Header) {
	const size = 55 // of version 00, the only one there is
	for i := range headers {
		if v := headers[i].Value; len(v) == size && string(headers[i].Key) == HeaderTraceparent {
			if !slices.ContainsFunc(p.traces, func(t string) bool { return t == string(v) }) {
				p.traces = append(p.traces, string(v))
			}
			return
		}
	}
}

// firstMean is what a message is expected to hold before one was seen, in bytes;
// firstSwell is how much more one of thousands of rows counts: of small ones a second
// one is soon there.
const firstMean, firstSwell = 1 << 10, 2

// fits says whether the share of a cut of so many bytes has room for one more
// message of a size, or could be made larger.
func (p *Partition) fits(bytes, size int64) bool {
	p.mean += (size - p.mean) / 16
	if p.share == slotParts {
		return true
	}
	want := p.opt.Limits.share(bytes + size)
	if want <= p.share {
		return true
	}
	if !p.opt.Gate.more(want - p.share) {
		return false
	}
	p.share = want
	return true
}

// ahead says how many times larger than now the cut at hand, of so many messages,
// will be when it ends, if no partition gets more than its fair share.
func (p *Partition) ahead(bytes, messages int64) float64 {
	lim, gate := &p.opt.Limits, p.opt.Gate
	fair := min(slotParts, gate.total/max(1, gate.open.Load()))
	room := max(fair, p.share) * int64(lim.Bytes) / slotParts
	end := min(room, bytes+(p.f.high-p.f.pos)*(bytes/messages))
	return min(float64(end)/float64(bytes), float64(lim.Rows)/float64(p.dec.Rows()))
}

// giveBack gives the share of the last cut back.
func (p *Partition) giveBack() {
	if p.share > 0 {
		p.opt.Gate.give(p.share)
		p.share = 0
	}
}

// unreadable is a value that no decoder reads.
var unreadable = []byte("{")

// stop ends the partition with err: it cannot go on, since an unfinished cut's
// rows are half decoded. What was read before a permanent error is
// handed out first, so that nothing behind it is lost to the ledger.
func (p *Partition) stop(first, last int64, err error) (flow.Cut, error) {
	p.failed = err
	if flow.IsPermanent(err) && last >= 0 {
		return p.cut(first, last), nil
	}
	return flow.Cut{}, err
}

// lost drops the connection; nil means try again.
func (p *Partition) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p.remember()
	pos := p.f.pos
	p.f.close()
	p.f = nil
	if p.last >= 0 {
		pos = p.last + 1
	}
	p.pos = max(p.pos, pos)
	var code kafka.Error
	if errors.As(err, &code) && (code == kafka.TopicAuthorizationFailed || code == kafka.ClusterAuthorizationFailed) {
		return permanentf(flow.CauseAccess, "cannot read %s/%d: %w; grant Read on the topic to this user", p.topic, p.partition, err)
	}
	p.opt.Log.Warn("lost the partition's leader, reconnecting", "topic", p.topic, "partition", p.partition, "offset", p.pos, "error", err)
	return nil
}

// remember takes the checksum of the last message from the fetcher.
func (p *Partition) remember() {
	if p.f != nil && !p.known && p.last >= 0 && p.f.last.offset == p.last {
		p.f.seal()
		p.sum = p.f.sum()
		p.known = p.sum != 0
	}
}

// cut closes the cut that ends with the message at last.
func (p *Partition) cut(first, last int64) flow.Cut {
	p.remember()
	if p.f != nil {
		p.f.rest() // the cut is on its way for a while
	}
	c := flow.Cut{
		Span:    flow.Span{Topic: p.topic, Incarnation: p.resume.Incarnation, Partition: p.partition, First: first, Last: last},
		Unit:    p.unit,
		LastSum: p.sum,
		Opened:  p.opened,
		Traces:  p.traces,
	}
	p.traces = nil
	c.Parts, c.Rejects, c.Tally = p.dec.Flush()
	c.Arrived, p.closed = p.opt.Clock(), time.Now()
	p.pos = last + 1
	return c
}

// Commit tells the broker that everything up to and with the span is durable.
func (p *Partition) Commit(_ context.Context, s flow.Span) error {
	if p.commit == nil {
		return nil
	}
	return p.commit(s.Last + 1)
}

// Lag is how many offsets lie between what was read and the end of the log, as
// of the last answer.
func (p *Partition) Lag() int64 {
	if p.f == nil {
		return 0
	}
	return max(0, p.f.high-p.f.pos)
}

// Close gives back the connection, the share and the rows of an unfinished cut.
// It must be called once.
func (p *Partition) Close() {
	if p.f != nil {
		p.f.close()
		p.f = nil
	}
	p.giveBack()
	p.opt.Gate.open.Add(-1)
	p.dec.Release()
}

// sleep waits about d; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d/2 + rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
