package sink

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	mrand "math/rand/v2"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/duiwu/duiwu/internal/flow"
)

func outcomeNames() []string {
	out := make([]string, flow.Outcomes)
	for o := range flow.Outcomes {
		out[o] = o.String()
	}
	return out
}

// Assignment is one worker's claim on one partition. It implements flow.Sink
// and belongs to one goroutine.
type Assignment struct {
	Topic       string
	Partition   int32
	Incarnation int32
	// Unit is the reporting unit that owns the topic: what follows its last dot.
	Unit string
	// Epoch is higher than that of every earlier claim.
	Epoch uint32
	// Next is the offset to resume at, 0 when the ledger is empty.
	Next int64
	// Last is the offset of the last recorded message and LastSum its checksum:
	// a topic whose message there differs was made anew. Last is -1 when nothing
	// is recorded, or when an operator skipped to Next and vouches for it.
	Last    int64
	LastSum uint64
	// Gaps are the offsets before Next that no row of the ledger accounts for.
	Gaps []flow.Span

	s *Sink
	// written is the last cut this assignment made durable, or tried to.
	written flow.Span
	// due is where the next cut has to begin.
	due int64
	// ends are the last offsets in the ledger by placeOf, nil until asked for.
	ends map[int64]int64
}

// Assign claims a partition and says where it resumes. Whoever held it before
// is fenced from here on: its next Write returns ErrFenced, and a row that it
// manages to write all the same is dropped by ledger_effective as soon as this
// assignment has written over it.
func (s *Sink) Assign(ctx context.Context, topic string, partition int32) (*Assignment, error) {
	a, err := s.claim(ctx, topic, partition)
	if err != nil {
		return nil, fmt.Errorf("cannot claim %s/%d: %w", topic, partition, err)
	}
	// The ledger is read after the claim: read before, it could miss a row that
	// the old owner wrote in between.
	if err := a.resume(ctx); err != nil {
		return nil, fmt.Errorf("cannot read the ledger of %s/%d: %w", topic, partition, err)
	}
	s.log.Info("partition claimed", "topic", topic, "partition", partition, "incarnation", a.Incarnation,
		"epoch", a.Epoch, "next", a.Next, "gaps", len(a.Gaps))
	return a, nil
}

func unitOf(topic string) string { return topic[strings.LastIndexByte(topic, '.')+1:] }

// place are the parameters that name a partition.
func place(topic string, incarnation, partition int32) params {
	return params{
		"topic": text(topic), "incarnation": strconv.Itoa(int(incarnation)), "partition": strconv.Itoa(int(partition)),
	}
}

// claimTries bounds how often a claim that meets another of the same epoch is
// made again.
const claimTries = 20

// claim takes the epoch above all known ones. Two workers may take the same one
// at once. Each reads back what stands: an epoch is won only by a claim that
// finds itself alone in it. Of two claims the later one always sees the earlier
// one, so at most one wins; whoever has company claims a higher epoch after a
// random pause.
func (s *Sink) claim(ctx context.Context, topic string, partition int32) (*Assignment, error) {
	type row struct {
		Topic       string `json:"topic"`
		Incarnation int32  `json:"incarnation"`
		Partition   int32  `json:"partition"`
		Epoch       uint32 `json:"epoch"`
		Claim       string `json:"claim"`
		Worker      string `json:"worker"`
		ClaimedAt   string `json:"claimed_at"`
	}
	for try := range claimTries {
		var incarnation int32
		var epoch uint64
		err := s.rows(ctx, `WITH (SELECT max(incarnation) FROM incarnations WHERE topic = {topic:String}) AS now
SELECT now, greatest(
    (SELECT toUInt64(max(epoch)) FROM claims WHERE topic = {topic:String} AND incarnation = now AND partition = {partition:Int32}),
    (SELECT toUInt64(max(epoch)) FROM ledger WHERE topic = {topic:String} AND incarnation = now AND partition = {partition:Int32}))`,
			place(topic, 0, partition), func(scan func(...any) error) error { return scan(&incarnation, &epoch) })
		if err != nil {
			return nil, err
		}
		epoch++
		if epoch > math.MaxUint32 {
			panic("BUG: epochs are used up")
		}
		id := uuid()
		err = insertJSON(ctx, s, "claims", []string{"topic", "incarnation", "partition", "epoch", "claim", "worker", "claimed_at"},
			[]row{{topic, incarnation, partition, uint32(epoch), id, s.opt.Worker, stamp(time.Now())}})
		if err != nil {
			return nil, err
		}
		var mine, others uint64
		p := place(topic, incarnation, partition)
		p["epoch"], p["claim"] = strconv.FormatUint(epoch, 10), id
		err = s.rows(ctx, `SELECT countIf(claim = {claim:UUID}), countIf(claim != {claim:UUID}) FROM claims
WHERE topic = {topic:String} AND incarnation = {incarnation:Int32} AND partition = {partition:Int32} AND epoch = {epoch:UInt32}`,
			p, func(scan func(...any) error) error { return scan(&mine, &others) })
		if err != nil {
			return nil, err
		}
		if mine > 0 && others == 0 {
			return &Assignment{
				Topic: topic, Partition: partition, Incarnation: incarnation, Unit: unitOf(topic), Epoch: uint32(epoch), s: s,
			}, nil
		}
		s.log.Info("epoch claimed by two, claiming again", "topic", topic, "partition", partition, "epoch", epoch)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(mrand.N(time.Duration(min(try+1, 10)) * 20 * time.Millisecond)):
		}
	}
	return nil, fmt.Errorf("%d claims met others of the same epoch; too many workers want this partition", claimTries)
}

func uuid() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (s *Sink) incarnation(ctx context.Context, topic string) (n int32, err error) {
	err = s.rows(ctx, "SELECT max(incarnation) FROM incarnations WHERE topic = {topic:String}", params{"topic": text(topic)},
		func(scan func(...any) error) error { return scan(&n) })
	return n, err
}

// resume reads where the ledger of the partition ends.
func (a *Assignment) resume(ctx context.Context) error {
	a.Next, a.Last, a.LastSum, a.Gaps = 0, -1, 0, nil
	first := true
	// A row that an older owner writes from now on is not part of what this
	// assignment builds on.
	err := a.s.rows(ctx, `SELECT first_offset, last_offset, kind, last_sum FROM (`+effective(liveTopic)+`)
WHERE incarnation = {incarnation:Int32} AND partition = {partition:Int32} ORDER BY first_offset, epoch`,
		place(a.Topic, a.Incarnation, a.Partition), func(scan func(...any) error) error {
			var from, to int64
			var kind string
			var sum uint64
			if err := scan(&from, &to, &kind, &sum); err != nil {
				return err
			}
			if !first && from > a.Next {
				a.Gaps = append(a.Gaps, a.span(a.Next, from-1))
			}
			first = false
			if to < a.Next {
				return nil
			}
			a.Next, a.Last, a.LastSum = to+1, to, sum
			if kind == kindSkip {
				a.Last, a.LastSum = -1, 0
			}
			return nil
		})
	a.due = a.Next
	return err
}

func (a *Assignment) span(first, last int64) flow.Span {
	return flow.Span{Topic: a.Topic, Incarnation: a.Incarnation, Partition: a.Partition, First: first, Last: last}
}

// end is the last offset that this assignment knows to be in the ledger, -1
// when none is.
func (a *Assignment) end() int64 { return a.due - 1 }

// fenced asks whether somebody claimed the partition after us, or an operator
// declared the topic made anew.
func (a *Assignment) fenced(ctx context.Context) error {
	var epoch uint32
	var incarnation int32
	err := a.s.rows(ctx, `SELECT
    (SELECT max(epoch) FROM claims WHERE topic = {topic:String} AND incarnation = {incarnation:Int32} AND partition = {partition:Int32}),
    (SELECT max(incarnation) FROM incarnations WHERE topic = {topic:String})`,
		place(a.Topic, a.Incarnation, a.Partition), func(scan func(...any) error) error { return scan(&epoch, &incarnation) })
	if err != nil {
		return fmt.Errorf("cannot read claims: %w", err)
	}
	if epoch > a.Epoch || incarnation > a.Incarnation {
		return fmt.Errorf("%s/%d: epoch %d and incarnation %d stand against ours, %d and %d: %w",
			a.Topic, a.Partition, epoch, incarnation, a.Epoch, a.Incarnation, ErrFenced)
	}
	return nil
}

const (
	kindCut  = "cut"
	kindSkip = "skip"
)

// outcomes are the counts of outcomeColumns.
type outcomes struct {
	Received    int64 `json:"received"`
	New         int64 `json:"new"`
	Unchanged   int64 `json:"unchanged"`
	Correction  int64 `json:"correction"`
	Superseded  int64 `json:"superseded"`
	Conflict    int64 `json:"conflict"`
	Reprocessed int64 `json:"reprocessed"`
	Duplicate   int64 `json:"duplicate"`
	Rejected    int64 `json:"rejected"`
}

func (o *outcomes) add(c *flow.Counts) {
	o.Received += c.Received
	o.New += c.By[flow.New]
	o.Unchanged += c.By[flow.Unchanged]
	o.Correction += c.By[flow.Correction]
	o.Superseded += c.By[flow.Superseded]
	o.Conflict += c.By[flow.Conflict]
	o.Reprocessed += c.By[flow.Reprocessed]
	o.Duplicate += c.By[flow.Duplicate]
	o.Rejected += c.By[flow.Rejected]
}

type ledgerRow struct {
	Topic       string `json:"topic"`
	Incarnation int32  `json:"incarnation"`
	Partition   int32  `json:"partition"`
	First       int64  `json:"first_offset"`
	Last        int64  `json:"last_offset"`
	Epoch       uint32 `json:"epoch"`
	Run         string `json:"run"`
	Kind        string `json:"kind"`
	Worker      string `json:"worker"`
	Revision    uint16 `json:"revision"`
	outcomes
	ArrivedAt string `json:"arrived_at"`
	LastSum   uint64 `json:"last_sum"`
	Reason    string `json:"reason"`
	WrittenAt string `json:"written_at"`
}

func columnNames(table string) []string {
	for _, t := range systemTables() {
		if t.name == table {
			return t.names()
		}
	}
	panic("BUG: no system table " + table)
}

// Write makes a cut durable: rows, rejects, receipt parts, and last the ledger
// row. It may be called again with the same cut after an error. It borrows the
// cut. ErrFenced ends the assignment.
func (a *Assignment) Write(ctx context.Context, cut flow.Cut) error {
	if err := a.accept(cut.Span); err != nil {
		return flow.Permanent(err)
	}
	// At one time, so that each table's queue meets the rows that other
	// partitions have for it; the tables do not know each other.
	g, parts := errgroup.WithContext(ctx)
	for _, p := range cut.Parts {
		if p.Rows != nil {
			g.Go(func() error { return a.s.store(parts, p.Feed, p.Rows) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := a.quarantine(ctx, &cut); err != nil {
		return err
	}
	if err := a.receiptParts(ctx, &cut); err != nil {
		return err
	}
	if err := a.fenced(ctx); err != nil {
		return err
	}
	row := a.row(cut.Span, kindCut)
	for _, c := range cut.Tally {
		row.add(c)
	}
	row.ArrivedAt, row.LastSum = stamp(cut.Arrived), cut.LastSum
	if err := insertJSON(ctx, a.s, "ledger", columnNames("ledger"), []ledgerRow{row}); err != nil {
		return err
	}
	a.due = cut.Span.Last + 1
	return nil
}

func (a *Assignment) row(span flow.Span, kind string) ledgerRow {
	now := stamp(time.Now())
	return ledgerRow{
		Topic: a.Topic, Incarnation: a.Incarnation, Partition: a.Partition, First: span.First, Last: span.Last, Epoch: a.Epoch,
		Run: "live", Kind: kind, Worker: a.s.opt.Worker, Revision: a.s.opt.Revision, ArrivedAt: now, WrittenAt: now,
	}
}

// accept says whether a span is the one that may come now: the last one again,
// or one after it. A span that begins after the next offset leaves a gap, which
// the ledger shows and doctor reports.
func (a *Assignment) accept(span flow.Span) error {
	switch {
	case span.Topic != a.Topic || span.Partition != a.Partition || span.Incarnation != a.Incarnation:
		return fmt.Errorf("BUG: cut %s of incarnation %d came to the assignment of %s/%d, incarnation %d", span, span.Incarnation, a.Topic, a.Partition, a.Incarnation)
	case span.Last < span.First:
		return fmt.Errorf("BUG: cut %s ends before it begins", span)
	case span == a.written:
		return nil
	case span.First < a.due:
		return fmt.Errorf("BUG: cut %s begins before offset %d, where the ledger ends", span, a.due)
	case span.First > a.due && a.due > 0:
		a.s.log.Error("gap before a cut", "topic", a.Topic, "partition", a.Partition, "from", a.due, "to", span.First-1)
	}
	a.written = span
	return nil
}

func (a *Assignment) quarantine(ctx context.Context, cut *flow.Cut) error {
	if len(cut.Rejects) == 0 {
		return nil
	}
	type row struct {
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
	at := stamp(cut.Arrived)
	rows := make([]row, len(cut.Rejects))
	for i := range cut.Rejects {
		r := &cut.Rejects[i]
		out := row{a.Topic, a.Incarnation, a.Partition, r.Offset, r.Row, a.Epoch, cut.Unit, r.Feed, r.Batch, r.RecordID, "",
			make([]string, len(r.Findings)), make([]string, len(r.Findings)), r.Kept, at}
		for j, f := range r.Findings {
			out.Fields[j], out.Rules[j] = f.Field, f.Rule.String()
		}
		if len(out.Rules) > 0 {
			out.Rule = out.Rules[0]
		}
		rows[i] = out
	}
	return insertJSON(ctx, a.s, "quarantine", columnNames("quarantine"), rows)
}

func (a *Assignment) receiptParts(ctx context.Context, cut *flow.Cut) error {
	if len(cut.Tally) == 0 {
		return nil
	}
	type row struct {
		Unit        string `json:"unit"`
		Feed        string `json:"feed"`
		Batch       string `json:"batch_id"`
		Topic       string `json:"topic"`
		Incarnation int32  `json:"incarnation"`
		Partition   int32  `json:"partition"`
		First       int64  `json:"first_offset"`
		Epoch       uint32 `json:"epoch"`
		outcomes
		Rules     map[string]int64 `json:"rules"`
		Warnings  map[string]int64 `json:"warnings"`
		Declared  int64            `json:"declared"`
		Chunks    []int32          `json:"chunks"`
		Rows      []int64          `json:"chunk_rows"`
		Offsets   []int64          `json:"chunk_offsets"`
		SHA256    string           `json:"sha256"`
		ArrivedAt string           `json:"arrived_at"`
	}
	rows := make([]row, 0, len(cut.Tally))
	for key, c := range cut.Tally {
		out := row{
			Unit: cut.Unit, Feed: key.Feed, Batch: key.Batch, Topic: a.Topic, Incarnation: a.Incarnation, Partition: a.Partition,
			First: cut.Span.First, Epoch: a.Epoch,
			Rules: make(map[string]int64, len(c.Rules)), Warnings: make(map[string]int64, len(c.Warnings)),
			Declared: c.Declared, Chunks: []int32{}, Rows: []int64{}, Offsets: []int64{}, SHA256: c.SHA256, ArrivedAt: stamp(cut.Arrived),
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
	return insertJSON(ctx, a.s, "receipt_parts", columnNames("receipt_parts"), rows)
}

// NewIncarnation records that a topic was made anew: its offsets begin again,
// under the next incarnation. It is an operator's act; assignments of the old
// incarnation are fenced.
func (s *Sink) NewIncarnation(ctx context.Context, topic string) (int32, error) {
	type row struct {
		Topic       string `json:"topic"`
		Incarnation int32  `json:"incarnation"`
		Worker      string `json:"worker"`
		WrittenAt   string `json:"written_at"`
	}
	n, err := s.incarnation(ctx, topic)
	if err == nil {
		n++
		err = insertJSON(ctx, s, "incarnations", columnNames("incarnations"), []row{{topic, n, s.opt.Worker, stamp(time.Now())}})
	}
	if err != nil {
		return 0, fmt.Errorf("cannot record a new incarnation of topic %s: %w", topic, err)
	}
	return n, nil
}

// Skip records that an operator accepts the loss of a partition's next offsets,
// up to and with last: they are gone from the topic, or nothing can read them.
// Name and reason stay in the ledger. It claims the partition, so a worker that
// holds it is fenced and resumes behind the gap.
func (s *Sink) Skip(ctx context.Context, topic string, partition int32, last int64, name, reason string) (flow.Span, error) {
	if name == "" || reason == "" {
		return flow.Span{}, fmt.Errorf("cannot skip offsets of %s/%d: an operator's name and a reason are needed", topic, partition)
	}
	a, err := s.Assign(ctx, topic, partition)
	if err != nil {
		return flow.Span{}, err
	}
	span := a.span(a.Next, last)
	if last < a.Next {
		return flow.Span{}, fmt.Errorf("cannot skip to offset %d of %s/%d: the ledger ends at %d already", last, topic, partition, a.Next-1)
	}
	if err := a.fenced(ctx); err != nil {
		return flow.Span{}, err
	}
	row := a.row(span, kindSkip)
	row.Worker, row.Reason = name, reason
	if err := insertJSON(ctx, s, "ledger", columnNames("ledger"), []ledgerRow{row}); err != nil {
		return flow.Span{}, fmt.Errorf("cannot skip %s: %w", span, err)
	}
	return span, nil
}
