package sink

import (
	"context"
	"errors"
	"io"
	"time"
)

// errSilent ends a stream on which nothing came for as long as a whole request
// may take: a network that forgot the connection does not say so, and without
// this the partition would wait for ever.
var errSilent = errors.New("the server did not answer in time: the stream of its answer stands still")

// guard watches a stream that may be of any length as long as it moves.
type guard struct {
	ctx   context.Context
	r     io.Reader
	timer *time.Timer
	most  time.Duration
	end   context.CancelCauseFunc
}

// watch gives the context of a request and the watch over it. The caller stops it.
func watch(ctx context.Context, most time.Duration) (context.Context, *guard) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &guard{ctx: ctx, most: most, end: cancel, timer: time.AfterFunc(most, func() { cancel(errSilent) })}
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	if n > 0 {
		g.timer.Reset(g.most)
	}
	return n, err
}

// why words an error that the watch caused.
func (g *guard) why(err error) error {
	if err != nil && errors.Is(context.Cause(g.ctx), errSilent) {
		return errSilent
	}
	return err
}

func (g *guard) stop() {
	g.timer.Stop()
	g.end(nil)
}
