package sink

import (
	"context"
	"errors"
	"sync"
	"time"
)

// group is a group commit: calls that come at about the same time are run as
// one. An insert of a few hundred rows costs the server as much as one of ten
// thousand, a small part has to be merged again and again, and a query that
// finds nothing costs as much as one that finds the rows of all partitions.
type group[T any] struct {
	// run does the work of all items at once. Its error is common to all of them;
	// what belongs to one item lies in that item.
	run func(context.Context, []T) error
	// soon says whether more calls are to be expected; then a party waits for the
	// longer of the two silences.
	soon func() bool
	// full is the number of rows from which a party waits for nobody.
	full int64
	// places bounds the parties under way. Who waits for a place takes guests in.
	places chan struct{}

	mu   sync.Mutex
	open *party[T]
}

// party is one common run. Its fields but the channels belong to group.mu until
// it is closed to guests, then to its leader until done.
type party[T any] struct {
	items []T
	ctxs  []context.Context
	rows  int64
	came  chan struct{} // a guest came; holds one
	full  chan struct{} // closed when there is no room
	done  chan struct{} // closed when err is set
	err   error
}

const (
	// silence ends the gathering when nobody came for so long, by whether
	// somebody is expected.
	silence, longSilence = 5 * time.Millisecond, 100 * time.Millisecond
	// longestWait ends it whoever comes.
	longestWait = time.Second
	// fullRows: a post of 32,768 rows costs a half more a row than one of this size,
	// larger ones gain little.
	fullRows = 1 << 17
	// mostRows bounds what one more guest can make of a party.
	mostRows = MaxRows / 2
)

func newGroup[T any](full int64, run func(context.Context, []T) error, soon func() bool) *group[T] {
	return &group[T]{run: run, soon: soon, full: full, places: make(chan struct{}, 2)}
}

// do runs item with the others that come meanwhile. When the common run fails,
// perhaps by another's fault or because another was stopped, the item is run
// alone and has its own error. It is borrowed until do returns.
func (g *group[T]) do(ctx context.Context, item T, rows int64) error {
	g.mu.Lock()
	if g.open != nil && g.open.rows+rows > mostRows {
		close(g.open.full)
		g.open = nil
	}
	p := g.open
	leads := p == nil
	if leads {
		p = &party[T]{came: make(chan struct{}, 1), full: make(chan struct{}), done: make(chan struct{})}
		g.open = p
	}
	p.items, p.ctxs, p.rows = append(p.items, item), append(p.ctxs, ctx), p.rows+rows
	if p.rows >= g.full {
		close(p.full)
		g.open = nil
	}
	g.mu.Unlock()
	if leads {
		g.lead(ctx, p)
	} else {
		select {
		case p.came <- struct{}{}:
		default:
		}
		<-p.done
	}
	if p.err != nil && len(p.items) > 1 && ctx.Err() == nil {
		return g.run(ctx, []T{item})
	}
	return p.err
}

// lead gathers guests and runs the party. A guest that is stopped stops the run,
// since nobody may leave while his rows are in use: the others go on alone.
func (g *group[T]) lead(ctx context.Context, p *party[T]) {
	p.err = errors.New("the common run ended early")
	defer close(p.done)
	g.gather(ctx, p)
	select {
	case g.places <- struct{}{}:
		defer func() { <-g.places }()
	case <-ctx.Done():
	}
	g.mu.Lock()
	if g.open == p {
		g.open = nil
	}
	g.mu.Unlock()
	common, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	for _, c := range p.ctxs {
		defer context.AfterFunc(c, cancel)()
	}
	p.err = g.run(common, p.items)
}

func (g *group[T]) gather(ctx context.Context, p *party[T]) {
	wait := func() time.Duration {
		if g.soon() {
			return longSilence
		}
		return silence
	}
	longest := time.NewTimer(longestWait)
	defer longest.Stop()
	quiet := time.NewTimer(wait())
	defer quiet.Stop()
	for {
		select {
		case <-p.came:
			quiet.Reset(wait())
		case <-p.full:
			return
		case <-quiet.C:
			return
		case <-longest.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
