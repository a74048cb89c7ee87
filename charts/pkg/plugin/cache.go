package plugin

import (
	"context"
	"sync"
	"time"
)

// answers remembers for a moment what statements gave: the panels of one page,
// and the people who look at one page at one time, ask the database once. The
// key is the statement with every parameter, and with them the units that may be
// seen, the days and the moment as of which the records are read: two scopes
// never share an answer.
type answers struct {
	mu   sync.Mutex // guards what is below, and the fields of every entry
	kept map[string]*entry
}

// entry is one statement, under way or answered.
type entry struct {
	done    chan struct{} // closed when parts and err stand
	parts   map[place]part
	err     error
	at      time.Time // when it was answered
	waiting int
	cancel  context.CancelFunc
}

const (
	// fresh is how long an answer is shown again. It is shorter than the time in
	// which a cut becomes durable, so that nobody waits for a figure longer than
	// for its record.
	fresh = 5 * time.Second
	// mostAnswers bounds the memory: an answer is at most some thousand parts.
	mostAnswers = 256
)

func newAnswers() *answers { return &answers{kept: map[string]*entry{}} }

// get returns the answer under a key, asking for it when there is none. Whoever
// comes while it is asked for waits for the same one. A caller that goes away
// leaves the question to the others; with the last of them it is cancelled. The
// map is shared: nobody may change it. Errors are not kept.
func (a *answers) get(ctx context.Context, key string, ask func(context.Context) (map[place]part, error)) (map[place]part, error) {
	a.mu.Lock()
	e := a.kept[key]
	if e != nil && !e.at.IsZero() && time.Since(e.at) >= fresh {
		e = nil
	}
	if e == nil {
		a.prune()
		e = &entry{done: make(chan struct{})}
		var own context.Context
		own, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
		a.kept[key] = e
		go func() {
			parts, err := ask(own)
			e.cancel()
			a.mu.Lock()
			defer a.mu.Unlock()
			e.parts, e.err, e.at = parts, err, time.Now()
			if err != nil && a.kept[key] == e {
				delete(a.kept, key)
			}
			close(e.done)
		}()
	}
	e.waiting++
	a.mu.Unlock()
	select {
	case <-e.done:
		return e.parts, e.err
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.waiting--; e.waiting == 0 && e.at.IsZero() {
		e.cancel()
		if a.kept[key] == e {
			delete(a.kept, key)
		}
	}
	return nil, ctx.Err()
}

// prune drops what is no longer fresh and, while there is too much, the oldest.
// What is still asked for stays.
func (a *answers) prune() {
	oldest := ""
	for k, e := range a.kept {
		switch {
		case e.at.IsZero():
		case time.Since(e.at) >= fresh:
			delete(a.kept, k)
		case oldest == "" || e.at.Before(a.kept[oldest].at):
			oldest = k
		}
	}
	if len(a.kept) >= mostAnswers && oldest != "" {
		delete(a.kept, oldest)
	}
}
