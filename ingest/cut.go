package ingest

import (
	"context"
	"runtime"
	"time"
)

// Limits say where a cut ends: at the first message boundary after any of them
// is reached. A message is never split.
type Limits struct {
	// Rows counts records, the refused ones too; default 131072.
	Rows int
	// Bytes counts the values of the cut's messages; default 32 MiB.
	Bytes int
	// Linger is how long a cut stays open after its first message while more
	// keeps coming; default 1 s.
	Linger time.Duration
	// Idle is how long it stays open once the end of the log was reached;
	// default 200 ms.
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
		l.Linger = time.Second
	}
	if l.Idle <= 0 {
		l.Idle = 200 * time.Millisecond
	}
	if l.Wait <= 0 || l.Wait > 500*time.Millisecond {
		l.Wait = 500 * time.Millisecond
	}
	return l
}

// Gate bounds how many partitions hold a cut at once. A partition takes a slot
// with the first message of a cut and gives it back when it is asked for the
// next one, which is after the cut was written.
//
// The memory of all partitions is then at most
//
//	slots x 3 x (Limits.Bytes + Limits.Message + 64 MiB of one expanded message at worst)
//	+ partitions x Limits.Fetch
//
// where 3 is the room of growing column buffers plus one step's copy; ordinary
// JSON needs about slots x 1.5 x Limits.Bytes.
type Gate struct{ slots chan struct{} }

// NewGate returns a gate of n slots; 0 means one for each CPU and one more, so
// that one partition decodes while another waits for the database.
func NewGate(n int) *Gate {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0) + 1
	}
	return &Gate{slots: make(chan struct{}, n)}
}

func (g *Gate) take(ctx context.Context) error {
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *Gate) give() { <-g.slots }

// Held is how many slots are taken.
func (g *Gate) Held() int { return len(g.slots) }
