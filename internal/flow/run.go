package flow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Options are what Run needs beside the path itself.
type Options struct {
	Log *slog.Logger
	// Observe is told how many rows passed a stage, how long it took, and the
	// finished cut's counts; nil means nobody listens.
	Observe Observer
	// RetryMin and RetryMax bound the pause between two tries of Write.
	RetryMin, RetryMax time.Duration
}

// Observer receives measurements. Its methods must not block.
type Observer interface {
	Stage(span Span, stage string, rows int64, took time.Duration)
	Done(cut *Cut)
}

// permanent marks an error that the same input meets again for ever.
type permanent struct {
	err   error
	cause Cause
}

func (p permanent) Error() string { return p.err.Error() }
func (p permanent) Unwrap() error { return p.err }

// Cause says in one word why a partition stopped, so that an alert can name who
// has to act.
type Cause string

const (
	// CauseAccess: a login or a right is refused.
	CauseAccess Cause = "access"
	// CauseSchema: tables, feed files, release and messages do not fit each other.
	CauseSchema Cause = "schema"
	// CauseLog: the topic is not what the ledger knows.
	CauseLog Cause = "log"
	// CauseOther is everything else, a bug among it.
	CauseOther Cause = "other"
)

// Causes lists all of them.
var Causes = []Cause{CauseAccess, CauseSchema, CauseLog, CauseOther}

// Permanent marks err: the partition stops, nothing is skipped, an operator is
// needed. A nil err stays nil.
func Permanent(err error) error { return PermanentFor(CauseOther, err) }

// PermanentFor is Permanent with a cause. The first mark of an error stays.
func PermanentFor(cause Cause, err error) error {
	if err == nil || IsPermanent(err) {
		return err
	}
	return permanent{err, cause}
}

// CauseOf is why an error that was marked by Permanent stops a partition.
func CauseOf(err error) Cause {
	var p permanent
	if errors.As(err, &p) {
		return p.cause
	}
	return CauseOther
}

// IsPermanent says whether err was marked by Permanent.
func IsPermanent(err error) bool {
	var p permanent
	return errors.As(err, &p)
}

// Run moves the cuts of one assigned partition until ctx ends (nil) or the
// assignment has to end (an error: permanent, or one that a new assignment may
// cure). Run alone releases rows, and checks for every cut that
// received = stored + duplicate + rejected.
func Run(ctx context.Context, src Source, steps []Step, sink Sink, opt Options) error {
	for {
		start := time.Now()
		cut, err := src.Next(ctx)
		if err != nil {
			return ended(ctx, err)
		}
		opt.stage(&cut, "decode", start)
		if err := pass(ctx, src, steps, sink, cut, opt); err != nil {
			return ended(ctx, err)
		}
	}
}

// pass takes one cut through the steps into the sink.
func pass(ctx context.Context, src Source, steps []Step, sink Sink, cut Cut, opt Options) error {
	defer func() { cut.Release() }()
	for _, step := range steps {
		start := time.Now()
		out, err := step.Apply(ctx, cut)
		if err != nil {
			return fmt.Errorf("cannot %s %s: %w", name(step), cut.Span, err)
		}
		cut.Release()
		cut = out
		opt.stage(&cut, name(step), start)
	}
	for key, counts := range cut.Tally {
		if !counts.Balanced() {
			panic(fmt.Sprintf("BUG: %s feed %q batch %q: received %d does not equal the sum of its outcomes %v",
				cut.Span, key.Feed, key.Batch, counts.Received, counts.By))
		}
	}
	start := time.Now()
	if err := write(ctx, sink, cut, opt); err != nil {
		return fmt.Errorf("cannot write %s: %w", cut.Span, err)
	}
	opt.stage(&cut, "write", start)
	if err := src.Commit(ctx, cut.Span); err != nil {
		return fmt.Errorf("cannot commit %s: %w", cut.Span, err)
	}
	if opt.Observe != nil {
		opt.Observe.Done(&cut)
	}
	return nil
}

// write tries until the cut is durable, the error is permanent, another worker
// has the partition, or ctx ends.
func write(ctx context.Context, sink Sink, cut Cut, opt Options) error {
	pause := max(opt.RetryMin, time.Millisecond)
	for try := 1; ; try++ {
		err := sink.Write(ctx, cut)
		if err == nil || IsPermanent(err) || errors.Is(err, ErrFenced) || ctx.Err() != nil {
			return err
		}
		opt.Log.Warn("write failed, trying again", "span", cut.Span.String(), "try", try, "pause", pause, "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause/2 + rand.N(pause/2+1)):
		}
		pause = min(2*pause, max(opt.RetryMax, opt.RetryMin))
	}
}

// ended turns an error caused by the end of ctx into nil.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && !IsPermanent(err) {
		return nil
	}
	return err
}

func (o Options) stage(cut *Cut, stage string, start time.Time) {
	if o.Observe == nil {
		return
	}
	var rows int64
	for _, p := range cut.Parts {
		rows += p.Rows.NumRows()
	}
	o.Observe.Stage(cut.Span, stage, rows, time.Since(start))
}

// name asks a step for its verb.
func name(s Step) string {
	if n, ok := s.(fmt.Stringer); ok {
		return n.String()
	}
	return fmt.Sprintf("%T", s)
}

// String names a span the way logs and errors do.
func (s Span) String() string {
	return fmt.Sprintf("%s/%d@%d-%d", s.Topic, s.Partition, s.First, s.Last)
}
