package sink

import (
	"context"
	"slices"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// pending is a cut on its way into the tables.
type pending struct {
	a   *Assignment
	cut *flow.Cut
	// span is the trace's, see write.
	span trace.Span
	// fenced is set when the cut's partition is another's by now.
	fenced error
}

// Write makes a cut durable: rows, rejects, receipt parts, and last the ledger
// row, together with the cuts that other assignments have at the moment. It may
// be called again with the same cut after an error. It borrows the cut.
// ErrFenced ends the assignment.
func (a *Assignment) Write(ctx context.Context, cut flow.Cut) error {
	if err := a.accept(cut.Span); err != nil {
		return flow.Permanent(err)
	}
	rows := int64(len(cut.Rejects))
	for _, p := range cut.Parts {
		if p.Rows != nil {
			rows += p.Rows.NumRows()
		}
	}
	p := &pending{a: a, cut: &cut, span: trace.SpanFromContext(ctx)}
	a.s.came(a)
	err := a.s.writes.do(ctx, p, rows)
	a.s.expect(a)
	if err == nil {
		err = p.fenced
	}
	if err != nil {
		return err
	}
	a.due = cut.Span.Last + 1
	return nil
}

// busy is how long after its last write an assignment is expected to write
// again soon.
const busy = 2 * time.Second

// expect notes that an assignment goes for its next cut.
func (s *Sink) expect(a *Assignment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expected[a] = time.Now()
}

// came notes that an assignment is expected no more.
func (s *Sink) came(a *Assignment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.expected, a)
}

// soon says whether an assignment was lately sent for its next cut.
func (s *Sink) soon() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a, since := range s.expected {
		if time.Since(since) < busy {
			return true
		}
		delete(s.expected, a)
	}
	return false
}

// inserts bounds the feeds that one party writes at a time.
const inserts = 4

// fencedWithin is how long an assignment that was fenced may go on to write rows
// that nobody will account for. They do no harm, unless they are of a record that
// is being erased.
const fencedWithin = time.Second

// write makes cuts durable.
func (s *Sink) write(ctx context.Context, cuts []*pending) error {
	// What is asked of the server is in the trace of who leads; those of the others
	// say where to look.
	lead := trace.LinkFromContext(ctx)
	for _, c := range cuts {
		if c.span.SpanContext().SpanID() != lead.SpanContext.SpanID() {
			c.span.AddLink(lead)
		}
	}
	stale := func(c *pending) bool { return time.Since(c.a.held) > fencedWithin }
	if slices.ContainsFunc(cuts, stale) {
		var err error
		if cuts, err = s.holding(ctx, cuts); err != nil {
			return err
		}
	}
	if len(cuts) == 0 {
		return nil
	}
	if err := s.fill(ctx, cuts); err != nil {
		return err
	}
	return s.record(ctx, cuts)
}

// holding asks who is fenced, and returns the cuts of those who are not.
func (s *Sink) holding(ctx context.Context, cuts []*pending) ([]*pending, error) {
	as := make([]*Assignment, len(cuts))
	for i, c := range cuts {
		as[i] = c.a
	}
	now := time.Now()
	fenced, err := s.fenced(ctx, as)
	if err != nil {
		return nil, err
	}
	var out []*pending
	for i, c := range cuts {
		if c.fenced = fenced[i]; c.fenced == nil {
			c.a.held = now
			out = append(out, c)
		}
	}
	return out, nil
}

// fill writes everything but the ledger. The tables do not know each other, so
// their order is free.
func (s *Sink) fill(ctx context.Context, cuts []*pending) error {
	rows := map[*feed.Spec][]arrow.Record{}
	var rejects []quarantineRow
	var parts []receiptPart
	for _, c := range cuts {
		for _, p := range c.cut.Parts {
			if p.Rows != nil && p.Rows.NumRows() > 0 {
				rows[p.Feed] = append(rows[p.Feed], p.Rows)
			}
		}
		rejects = append(rejects, c.a.rejects(c.cut)...)
		parts = append(parts, c.a.receiptParts(c.cut)...)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(inserts)
	for spec, recs := range rows {
		g.Go(func() error { return s.store(ctx, spec, recs...) })
	}
	g.Go(func() error { return insertJSON(ctx, s, "quarantine", columnNames("quarantine"), rejects) })
	g.Go(func() error { return insertJSON(ctx, s, "receipt_parts", columnNames("receipt_parts"), parts) })
	return g.Wait()
}

// record writes the ledger rows of cuts whose rows are durable.
func (s *Sink) record(ctx context.Context, cuts []*pending) error {
	cuts, err := s.holding(ctx, cuts)
	if err != nil {
		return err
	}
	var ledger []ledgerRow
	for _, c := range cuts {
		row := c.a.row(c.cut.Span, kindCut)
		for _, n := range c.cut.Tally {
			row.add(n)
		}
		row.ArrivedAt, row.LastSum = stamp(c.cut.Arrived), c.cut.LastSum
		ledger = append(ledger, row)
	}
	return insertJSON(ctx, s, "ledger", columnNames("ledger"), ledger)
}

type quarantineRow struct {
	Topic       string   `json:"topic"`
	Incarnation int32    `json:"incarnation"`
	Partition   int32    `json:"partition"`
	Offset      int64    `json:"offset"`
	Row         int32    `json:"row"`
	Epoch       uint32   `json:"epoch"`
	Unit        string   `json:"unit"`
	Feed        string   `json:"feed"`
	Batch       string   `json:"batch_id"`
	RecordID    string   `json:"record_id"`
	Rule        string   `json:"rule"`
	Fields      []string `json:"fields"`
	Rules       []string `json:"rules"`
	Kept        string   `json:"kept"`
	ArrivedAt   string   `json:"arrived_at"`
}

func (a *Assignment) rejects(cut *flow.Cut) []quarantineRow {
	at := stamp(cut.Arrived)
	rows := make([]quarantineRow, len(cut.Rejects))
	for i := range cut.Rejects {
		r := &cut.Rejects[i]
		out := quarantineRow{a.Topic, a.Incarnation, a.Partition, r.Offset, r.Row, a.Epoch, cut.Unit, r.Feed, r.Batch, r.RecordID, "",
			make([]string, len(r.Findings)), make([]string, len(r.Findings)), r.Kept, at}
		for j, f := range r.Findings {
			out.Fields[j], out.Rules[j] = f.Field, f.Rule.String()
		}
		if len(out.Rules) > 0 {
			out.Rule = out.Rules[0]
		}
		rows[i] = out
	}
	return rows
}

type receiptPart struct {
	Unit        string `json:"unit"`
	Feed        string `json:"feed"`
	Batch       string `json:"batch_id"`
	Topic       string `json:"topic"`
	Incarnation int32  `json:"incarnation"`
	Partition   int32  `json:"partition"`
	First       int64  `json:"first_offset"`
	Epoch       uint32 `json:"epoch"`
	outcomes
	Rules      map[string]int64 `json:"rules"`
	Warnings   map[string]int64 `json:"warnings"`
	Declared   int64            `json:"declared"`
	Chunks     []int32          `json:"chunks"`
	Rows       []int64          `json:"chunk_rows"`
	Offsets    []int64          `json:"chunk_offsets"`
	SHA256     string           `json:"sha256"`
	ArrivedAt  string           `json:"arrived_at"`
	Astray     int64            `json:"astray"`
	Partitions int              `json:"partitions"`
}

func (a *Assignment) receiptParts(cut *flow.Cut) []receiptPart {
	rows := make([]receiptPart, 0, len(cut.Tally))
	for key, c := range cut.Tally {
		out := receiptPart{
			Unit: cut.Unit, Feed: key.Feed, Batch: key.Batch, Topic: a.Topic, Incarnation: a.Incarnation, Partition: a.Partition,
			First: cut.Span.First, Epoch: a.Epoch,
			Rules: make(map[string]int64, len(c.Rules)), Warnings: make(map[string]int64, len(c.Warnings)),
			Declared: c.Declared, Chunks: []int32{}, Rows: []int64{}, Offsets: []int64{}, SHA256: c.SHA256, ArrivedAt: stamp(cut.Arrived),
			Astray: c.Astray, Partitions: a.Partitions,
		}
		for _, n := range c.Chunks {
			out.Chunks, out.Rows, out.Offsets = append(out.Chunks, n.Number), append(out.Rows, n.Rows), append(out.Offsets, n.Offset)
		}
		out.add(c)
		for r, n := range c.Rules {
			out.Rules[r.String()] += n
		}
		for r, n := range c.Warnings {
			out.Warnings[r.String()] += n
		}
		rows = append(rows, out)
	}
	return rows
}
