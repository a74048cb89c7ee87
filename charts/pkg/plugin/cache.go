package plugin

import (
	"context"
	"sync"
	"time"

	"github.com/duiwu/duiwu/charts/pkg/scope"
)

// answers remembers what statements gave, until the tables change: the panels of
// one page, and the people who look at it, ask the database once. The key is the
// statement with every parameter, and with them the units that may be seen, the
// days and the moment as of which the records are read: two scopes never share an
// answer.
type answers[T any] struct {
	mu   sync.Mutex // guards what is below, and the fields of every entry
	kept map[string]*entry[T]
}

// entry is one statement, under way or answered.
type entry[T any] struct {
	done    chan struct{} // closed when got and err stand
	got     T
	err     error
	at      time.Time // when it was answered
	state   string    // of the tables, before they were asked
	waiting int
	cancel  context.CancelFunc
}

// mostAnswers bounds the memory: an answer is at most some thousand parts, or
// mostRows lines of a list.
const mostAnswers = 1024

func newAnswers[T any]() *answers[T] { return &answers[T]{kept: map[string]*entry[T]{}} }

// get returns the answer under a key, asking for it when there is none, or one of
// another state of the tables. Whoever comes while it is asked for waits for the
// same one. A caller that goes away leaves the question to the others; with the
// last of them it is cancelled. The answer is shared: nobody may change it. Errors
// are not kept. Who asks while nobody waits gets none that will soon be too old.
func (a *answers[T]) get(ctx context.Context, key, state string, ask func(context.Context) (T, error)) (T, error) {
	a.mu.Lock()
	e := a.kept[key]
	if e != nil && !e.at.IsZero() && (!stands(e.at, e.state, state) || scope.IsSlow(ctx) && time.Since(e.at) >= early) {
		e = nil
	}
	if e != nil && e.at.IsZero() && e.state != state {
		e = nil // it reads what there was before
	}
	if e == nil {
		a.prune()
		e = &entry[T]{done: make(chan struct{}), state: state}
		var own context.Context
		own, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
		a.kept[key] = e
		go func() {
			got, err := ask(own)
			e.cancel()
			a.mu.Lock()
			defer a.mu.Unlock()
			e.got, e.err, e.at = got, err, time.Now()
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
		return e.got, e.err
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
	var none T
	return none, ctx.Err()
}

// prune drops what is too old to be shown again and, while there is too much, the
// oldest. What is still asked for stays.
func (a *answers[T]) prune() {
	oldest := ""
	for k, e := range a.kept {
		switch {
		case e.at.IsZero():
		case time.Since(e.at) >= longest:
			delete(a.kept, k)
		case oldest == "" || e.at.Before(a.kept[oldest].at):
			oldest = k
		}
	}
	if len(a.kept) >= mostAnswers && oldest != "" {
		delete(a.kept, oldest)
	}
}
