package sink

import (
	"context"
	"slices"
	"sync"
)

// queue joins what several assignments write to one table at the same time: an
// insert of a few hundred rows costs the server as much as one of ten thousand,
// and a small part has to be merged again and again. While one post is on its
// way, those that come wait and go out together as the next one; nobody waits
// when nothing is on its way.
type queue[T any] struct {
	mu      sync.Mutex
	busy    bool
	waiting []*turn[T]
}

type turn[T any] struct {
	item T
	rows int64
	// said is told once what became of the turn.
	said chan verdict
}

type verdict int

const (
	written verdict = iota
	// lead: the table is free, post what waits.
	lead
	// alone: the common post failed, perhaps by another's fault or because the
	// one who led it was stopped; the turn's owner posts by itself and has its
	// own error.
	alone
)

// maxJoined bounds the rows of a common post.
const maxJoined = 1 << 18

// do writes item with post, perhaps together with others' or in another's call.
// It returns when the item is durable or its own post failed; item is borrowed
// until then.
func (q *queue[T]) do(ctx context.Context, item T, rows int64, post func(context.Context, []T) error) error {
	me := &turn[T]{item, rows, make(chan verdict, 1)}
	q.mu.Lock()
	if q.busy {
		q.waiting = append(q.waiting, me)
		q.mu.Unlock()
		switch v := q.wait(ctx, me); v {
		case written:
			return nil
		case alone:
			return post(ctx, []T{item})
		}
		q.mu.Lock()
	}
	q.busy = true
	group := []*turn[T]{me}
	items := []T{item}
	for len(q.waiting) > 0 && rows+q.waiting[0].rows <= maxJoined {
		rows += q.waiting[0].rows
		group, items = append(group, q.waiting[0]), append(items, q.waiting[0].item)
		q.waiting = q.waiting[1:]
	}
	q.mu.Unlock()
	// The next turn has to come and the group has to hear, even past a panic.
	outcome := alone
	defer func() {
		for _, t := range group[1:] {
			t.said <- outcome
		}
		q.pass()
	}()
	err := post(ctx, items)
	if err == nil {
		outcome = written
	} else if len(group) > 1 && ctx.Err() == nil {
		err = post(ctx, items[:1])
	}
	return err
}

// wait returns what became of a turn. When ctx ends a turn that nobody took yet
// is withdrawn and has to be posted alone, which fails by ctx; one that was taken
// is waited for, since its item is in use.
func (q *queue[T]) wait(ctx context.Context, me *turn[T]) verdict {
	select {
	case v := <-me.said:
		return v
	case <-ctx.Done():
	}
	q.mu.Lock()
	i := slices.Index(q.waiting, me)
	if i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	q.mu.Unlock()
	if i >= 0 {
		return alone
	}
	return <-me.said
}

// pass gives the table to the first that waits.
func (q *queue[T]) pass() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.busy = false
		return
	}
	next := q.waiting[0]
	q.waiting = q.waiting[1:]
	next.said <- lead
}
