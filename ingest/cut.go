package ingest

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// Limits say where a cut ends: at the first message boundary after any of them
// is reached. A message is never split.
type Limits struct {
	// Rows counts records, the refused ones too; default 131072.
	Rows int
	// Bytes counts the values of the cut's messages, as sent or what they take as
	// columns and what is made of these, whichever is more; default 32 MiB.
	Bytes int
	// Linger is how long a cut stays open after its first message while more
	// keeps coming; default 5 s. It also paces a partition to which little comes
	// often: behind a cut the next one ends for silence only at a full multiple
	// of Linger on the clock, or when its memory is wanted. All partitions share
	// that moment, so that the sink can join their rows.
	Linger time.Duration
	// Idle is how long a cut stays open when the end of the log was reached and
	// nothing comes; default 200 ms.
	Idle time.Duration
	// Message is the largest message that is decoded; default 4 MiB.
	Message int
	// Fetch is how much is asked of the broker at once; default 1 MiB. A larger
	// record batch is still read whole.
	Fetch int
	// Wait is how long a fetch waits for data; default and most 500 ms, so that
	// a lost broker is noticed.
	Wait time.Duration
}

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.Rows, 131072)
	def(&l.Bytes, 32<<20)
	def(&l.Message, DefaultMaxMessageBytes)
	def(&l.Fetch, 1<<20)
	if l.Linger <= 0 {
		l.Linger = 5 * time.Second
	}
	if l.Idle <= 0 {
		l.Idle = 200 * time.Millisecond
	}
	if l.Wait <= 0 || l.Wait > 500*time.Millisecond {
		l.Wait = 500 * time.Millisecond
	}
	return l
}

// Gate bounds the memory of all partitions' cuts. A partition takes a share of a
// slot before the first message of a cut, as large as what it expects to read but
// no more than is fair to the other partitions, lets it grow while nobody else
// wants the room, and gives it back when it is asked for the next cut, which is
// after the cut was written. So all partitions that have something get on at
// once, and the sink can join their rows.
//
// The memory of all partitions is then at most about
//
//	slots x 3 x Limits.Bytes + partitions x Limits.Fetch
//
// where 3 is the room of growing column buffers plus one step's copy; ordinary
// records need about slots x 1.5 to 2 x Limits.Bytes. Beyond its share a cut may hold
// the one message that showed it to be too small, expanded.
type Gate struct {
	parts *semaphore.Weighted
	total int64
	// open counts the partitions, held the parts taken, waiting the partitions
	// that want some.
	open, held, waiting atomic.Int64
}

// slotParts are the parts that a slot is shared in, leastParts the smallest
// share: with a slot of 32 MiB it is 2 MiB.
const (
	slotParts  = 1024
	leastParts = 64
)

// NewGate returns a gate of n slots; 0 means six, or one for each CPU and one more
// where that is more. Six slots hold the rows of two posts that are large enough
// to be cheap: one is on its way while the other is read.
func NewGate(n int) *Gate {
	if n <= 0 {
		n = max(6, runtime.GOMAXPROCS(0)+1)
	}
	total := int64(n) * slotParts
	return &Gate{parts: semaphore.NewWeighted(total), total: total}
}

// take waits for a share of a slot: for as much as is wanted and fair.
func (g *Gate) take(ctx context.Context, want int64) (int64, error) {
	parts := min(want, max(leastParts, g.total/max(1, g.open.Load())))
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	if err := g.parts.Acquire(ctx, parts); err != nil {
		return 0, err
	}
	g.held.Add(parts)
	return parts, nil
}

// more takes more if it is free: who holds a share must not wait for another.
func (g *Gate) more(parts int64) bool {
	if !g.parts.TryAcquire(parts) {
		return false
	}
	g.held.Add(parts)
	return true
}

func (g *Gate) give(parts int64) {
	g.held.Add(-parts)
	g.parts.Release(parts)
}

// wanted says whether somebody waits for a share.
func (g *Gate) wanted() bool { return g.waiting.Load() > 0 }

// Held is how many slots are taken, a part counting as one.
func (g *Gate) Held() int { return int((g.held.Load() + slotParts - 1) / slotParts) }

// share is the part of a slot for a number of bytes.
func (l *Limits) share(bytes int64) int64 {
	return min(max(leastParts, (bytes*slotParts+int64(l.Bytes)-1)/int64(l.Bytes)), slotParts)
}
