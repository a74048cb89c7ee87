package trace

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/duiwu/duiwu/internal/flow"
)

// Links is how many traces a cut leads to at most: a source keeps so many.
const Links = 64

var errUnfinished = errors.New("the assignment ended before the cut was durable; another one reads it again")

// Path puts a span around each call that flow.Run makes: one a cut, from its
// first message to its commit, and inside it one a stage, one a try of Write. A
// cut of one batch is in the trace of that batch; one of several is a trace of
// its own that leads to theirs. done ends what is open when Run has returned.
func Path(t oteltrace.Tracer, src flow.Source, steps []flow.Step, sink flow.Sink) (flow.Source, []flow.Step, flow.Sink, func()) {
	p := &path{t: t, src: src, sink: sink}
	traced := make([]flow.Step, len(steps))
	for i, s := range steps {
		traced[i] = step{s, p}
	}
	return p, traced, p, func() { p.end(errUnfinished) }
}

// path is used by the goroutine of one partition, one cut at a time.
type path struct {
	t    oteltrace.Tracer
	src  flow.Source
	sink flow.Sink
	cut  oteltrace.Span // nil between two cuts
}

// Next implements flow.Source.
func (p *path) Next(ctx context.Context) (flow.Cut, error) {
	p.end(errUnfinished)
	cut, err := p.src.Next(ctx)
	if err != nil {
		return cut, err
	}
	opt := []oteltrace.SpanStartOption{
		oteltrace.WithTimestamp(cut.Opened), oteltrace.WithSpanKind(oteltrace.SpanKindConsumer),
		oteltrace.WithAttributes(
			attribute.String("messaging.system", "kafka"),
			attribute.String("messaging.destination.name", cut.Span.Topic),
			attribute.Int("messaging.destination.partition.id", int(cut.Span.Partition)),
			attribute.Int64("duiwu.offset.first", cut.Span.First),
			attribute.Int64("duiwu.offset.last", cut.Span.Last),
		),
	}
	if len(cut.Traces) == 1 {
		ctx = Continue(ctx, cut.Traces[0])
	} else {
		opt = append(opt, oteltrace.WithNewRoot())
		for _, of := range cut.Traces {
			if link := oteltrace.LinkFromContext(Continue(context.Background(), of)); link.SpanContext.IsValid() {
				opt = append(opt, oteltrace.WithLinks(link))
			}
		}
	}
	_, p.cut = p.t.Start(ctx, "cut", opt...)
	_, decode := p.t.Start(p.in(ctx), "decode", oteltrace.WithTimestamp(cut.Opened))
	decode.SetAttributes(rows(&cut)...)
	decode.End()
	return cut, nil
}

// Write implements flow.Sink.
func (p *path) Write(ctx context.Context, cut flow.Cut) error {
	ctx, span := p.t.Start(p.in(ctx), "write", oteltrace.WithAttributes(rows(&cut)...))
	err := p.sink.Write(ctx, cut)
	finish(span, err)
	if err == nil {
		var sum [flow.Outcomes]int64
		for _, c := range cut.Tally {
			for o, n := range c.By {
				sum[o] += n
			}
		}
		for o, n := range sum {
			if n > 0 {
				p.cut.SetAttributes(attribute.Int64("duiwu.records."+flow.Outcome(o).String(), n))
			}
		}
	}
	return err
}

// Commit implements flow.Source.
func (p *path) Commit(ctx context.Context, at flow.Span) error {
	ctx, span := p.t.Start(p.in(ctx), "commit")
	err := p.src.Commit(ctx, at)
	finish(span, err)
	if err == nil {
		p.end(nil)
	}
	return err
}

// in is ctx inside the span of the cut at hand.
func (p *path) in(ctx context.Context) context.Context {
	return oteltrace.ContextWithSpan(ctx, p.cut)
}

func (p *path) end(err error) {
	if p.cut != nil {
		finish(p.cut, err)
		p.cut = nil
	}
}

type step struct {
	flow.Step
	p *path
}

// Apply implements flow.Step.
func (s step) Apply(ctx context.Context, cut flow.Cut) (flow.Cut, error) {
	ctx, span := s.p.t.Start(s.p.in(ctx), s.String())
	out, err := s.Step.Apply(ctx, cut)
	if err == nil {
		span.SetAttributes(rows(&out)...)
	}
	finish(span, err)
	return out, err
}

// String keeps the verb.
func (s step) String() string {
	if v, ok := s.Step.(fmt.Stringer); ok {
		return v.String()
	}
	return fmt.Sprintf("%T", s.Step)
}

func rows(cut *flow.Cut) []attribute.KeyValue {
	var n int64
	for _, p := range cut.Parts {
		n += p.Rows.NumRows()
	}
	return []attribute.KeyValue{attribute.Int64("duiwu.rows", n), attribute.Int("duiwu.rejects", len(cut.Rejects))}
}

func finish(s oteltrace.Span, err error) {
	if err != nil {
		s.SetStatus(codes.Error, err.Error())
	}
	s.End()
}
