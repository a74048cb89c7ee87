package sink

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"math"
	mrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

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
	// Partitions is how many the topic has, when the caller says so: Newest then
	// leaves out what is routed to the others.
	Partitions int
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
	// held is when the partition was last seen to be this assignment's.
	held time.Time
	// due is where the next cut has to begin.
	due int64
	// ends are the last offsets in the ledger by placeOf, of all partitions of the
	// topic. The other partitions' are those of the claim, since the partitioner does
	// not send their keys here, or of when one of their keys came all the same.
	ends map[int64]int64
}

// Assign claims a partition and says where it resumes. Whoever held it before
// is fenced from here on: its next Write returns ErrFenced, and a row that it
// manages to write all the same is dropped by ledger_effective as soon as this
// assignment has written over it.
func (s *Sink) Assign(ctx context.Context, topic string, partition int32) (*Assignment, error) {
	a := &Assignment{Topic: topic, Partition: partition, Unit: unitOf(topic), s: s}
	if err := s.assigns.do(ctx, a, 1); err != nil {
		return nil, fmt.Errorf("cannot claim %s/%d: %w", topic, partition, err)
	}
	s.expect(a)
	s.log.Info("partition claimed", "topic", topic, "partition", partition, "incarnation", a.Incarnation,
		"epoch", a.Epoch, "next", a.Next, "gaps", len(a.Gaps))
	return a, nil
}

// assign claims partitions, then reads where they resume. The ledger is read
// after the claims: read before, it could miss a row that an old owner wrote in
// between.
func (s *Sink) assign(ctx context.Context, as []*Assignment) error {
	now := time.Now()
	if err := s.claim(ctx, as); err != nil {
		return err
	}
	if err := s.resume(ctx, as); err != nil {
		return fmt.Errorf("cannot read the ledger: %w", err)
	}
	for _, a := range as {
		a.held = now
	}
	return nil
}

func unitOf(topic string) string { return topic[strings.LastIndexByte(topic, '.')+1:] }

// place names a partition of one incarnation of a topic.
type place struct {
	topic                  string
	incarnation, partition int32
}

func (a *Assignment) place() place { return place{a.Topic, a.Incarnation, a.Partition} }

// topicsOf are the parameters of a query that asks for the topics of some
// assignments; the rest is sorted out here.
func topicsOf(as []*Assignment) params {
	names := map[string]bool{}
	for _, a := range as {
		names[a.Topic] = true
	}
	return params{"topics": texts(slices.Sorted(maps.Keys(names)))}
}

// claimTries bounds how often a claim that meets another of the same epoch is
// made again.
const claimTries = 20

// sequential makes a replica answer only when it has every claim: of two workers
// that claim one epoch the later one has to see the earlier one. The server can
// promise it of a table whose quorum inserts come one after another; claims are
// rare enough for that. Nothing else needs it: who reads an older ledger begins
// earlier, and what he writes again drops the rows of the former owner.
func sequential(ctx context.Context) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"select_sequential_consistency": "1"}))
}

// claim takes the epoch above all known ones for each partition. Two workers may
// take the same one at once. Each reads back what stands: an epoch is won only
// by a claim that finds itself alone in it. Of two claims the later one always
// sees the earlier one, so at most one wins; whoever has company claims a higher
// epoch after a random pause.
func (s *Sink) claim(ctx context.Context, as []*Assignment) error {
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
		if err := s.nextEpochs(ctx, as); err != nil {
			return err
		}
		rows := make([]row, len(as))
		least := uint32(math.MaxUint32)
		for i, a := range as {
			rows[i] = row{a.Topic, a.Incarnation, a.Partition, a.Epoch, uuid(), s.opt.Worker, stamp(time.Now())}
			least = min(least, a.Epoch)
		}
		err := insertJSON(ctx, s, "claims", []string{"topic", "incarnation", "partition", "epoch", "claim", "worker", "claimed_at"}, rows)
		if err != nil {
			return err
		}
		type epoch struct {
			place
			epoch uint32
		}
		claims := map[epoch][]string{}
		p := topicsOf(as)
		p["least"] = strconv.FormatUint(uint64(least), 10)
		err = s.rows(sequential(ctx), "SELECT DISTINCT topic, incarnation, partition, epoch, toString(claim) FROM claims WHERE topic IN {topics:Array(String)} AND epoch >= {least:UInt32}",
			p, func(scan func(...any) error) error {
				var e epoch
				var claim string
				err := scan(&e.topic, &e.incarnation, &e.partition, &e.epoch, &claim)
				claims[e] = append(claims[e], claim)
				return err
			})
		if err != nil {
			return err
		}
		var again []*Assignment
		for i, a := range as {
			if got := claims[epoch{a.place(), a.Epoch}]; len(got) != 1 || got[0] != rows[i].Claim {
				s.log.Info("epoch claimed by two, claiming again", "topic", a.Topic, "partition", a.Partition, "epoch", a.Epoch)
				again = append(again, a)
			}
		}
		if len(again) == 0 {
			return nil
		}
		as = again
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(mrand.N(time.Duration(min(try+1, 10)) * 20 * time.Millisecond)):
		}
	}
	return fmt.Errorf("%d claims met others of the same epoch; too many workers want %s/%d", claimTries, as[0].Topic, as[0].Partition)
}

// nextEpochs sets the incarnation of each partition and the epoch above all that
// are known of it.
func (s *Sink) nextEpochs(ctx context.Context, as []*Assignment) error {
	incarnations, epochs, err := s.epochs(ctx, as,
		"\nUNION ALL SELECT topic, incarnation, partition, max(epoch) FROM ledger WHERE topic IN {topics:Array(String)} GROUP BY topic, incarnation, partition")
	if err != nil {
		return err
	}
	for _, a := range as {
		a.Incarnation = incarnations[a.Topic]
		if epochs[a.place()] == math.MaxUint32 {
			panic("BUG: epochs are used up")
		}
		a.Epoch = epochs[a.place()] + 1
	}
	return nil
}

// epochs reads the newest incarnation of the topics of some assignments and the
// highest epoch claimed for each of their partitions.
func (s *Sink) epochs(ctx context.Context, as []*Assignment, more string) (map[string]int32, map[place]uint32, error) {
	incarnations, epochs := map[string]int32{}, map[place]uint32{}
	err := s.rows(sequential(ctx), `SELECT topic, max(incarnation), toInt32(-1), toUInt32(0) FROM incarnations WHERE topic IN {topics:Array(String)} GROUP BY topic
UNION ALL SELECT topic, incarnation, partition, max(epoch) FROM claims WHERE topic IN {topics:Array(String)} GROUP BY topic, incarnation, partition`+more,
		topicsOf(as), func(scan func(...any) error) error {
			var at place
			var epoch uint32
			err := scan(&at.topic, &at.incarnation, &at.partition, &epoch)
			if at.partition < 0 {
				incarnations[at.topic] = at.incarnation
			} else {
				epochs[at] = max(epochs[at], epoch)
			}
			return err
		})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read claims: %w", err)
	}
	return incarnations, epochs, nil
}

func uuid() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// resume reads where the ledger of each partition ends, and of the others of its
// topic.
func (s *Sink) resume(ctx context.Context, as []*Assignment) error {
	type end struct {
		last int64
		sum  uint64
		kind string
		gaps []flow.Span
	}
	ends := map[place]end{}
	// A row that an older owner writes from now on is not part of what these
	// assignments build on.
	err := s.rows(ctx, `SELECT topic, incarnation, partition, max(last_offset),
    argMax(last_sum, (last_offset, -first_offset, -toInt64(epoch))), argMax(kind, (last_offset, -first_offset, -toInt64(epoch))),
    groupArrayIf(_before + 1, _gap), groupArrayIf(first_offset - 1, _gap)
FROM
(
    SELECT *, max(toNullable(last_offset)) OVER (
        PARTITION BY topic, incarnation, partition ORDER BY first_offset, epoch ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS _last,
        assumeNotNull(_last) AS _before, isNotNull(_last) AND first_offset > _before + 1 AS _gap
    FROM (`+effective(liveTopics)+`)
)
GROUP BY topic, incarnation, partition`,
		topicsOf(as), func(scan func(...any) error) error {
			var at place
			var e end
			var from, to []int64
			if err := scan(&at.topic, &at.incarnation, &at.partition, &e.last, &e.sum, &e.kind, &from, &to); err != nil {
				return err
			}
			for i := range from {
				e.gaps = append(e.gaps, flow.Span{Topic: at.topic, Incarnation: at.incarnation, Partition: at.partition, First: from[i], Last: to[i]})
			}
			slices.SortFunc(e.gaps, func(a, b flow.Span) int { return cmp.Compare(a.First, b.First) })
			ends[at] = e
			return nil
		})
	if err != nil {
		return err
	}
	for _, a := range as {
		a.ends = map[int64]int64{}
		for at, e := range ends {
			if at.topic == a.Topic {
				a.ends[placeOf(at.incarnation, at.partition)] = e.last
			}
		}
		a.Next, a.Last, a.LastSum, a.Gaps = 0, -1, 0, nil
		if e, known := ends[a.place()]; known {
			a.Next, a.Gaps = e.last+1, e.gaps
			if e.kind != kindSkip {
				a.Last, a.LastSum = e.last, e.sum
			}
		}
		a.due = a.Next
	}
	return nil
}

// look reads where the ledgers of the topic's other partitions end by now. A row of a
// fenced worker among them does no harm: what it accounts for is written again.
func (a *Assignment) look(ctx context.Context) error {
	return a.s.rows(ctx, "SELECT incarnation, partition, max(last_offset) FROM ledger WHERE "+liveTopics+" GROUP BY incarnation, partition",
		topicsOf([]*Assignment{a}), func(scan func(...any) error) error {
			var incarnation, partition int32
			var last int64
			if err := scan(&incarnation, &partition, &last); err != nil {
				return err
			}
			a.ends[placeOf(incarnation, partition)] = last
			return nil
		})
}

func (a *Assignment) span(first, last int64) flow.Span {
	return flow.Span{Topic: a.Topic, Incarnation: a.Incarnation, Partition: a.Partition, First: first, Last: last}
}

// end is the last offset that this assignment knows to be in the ledger, -1
// when none is.
func (a *Assignment) end() int64 { return a.due - 1 }

// fenced asks for each assignment whether somebody claimed its partition after
// it, or an operator declared the topic made anew: ErrFenced, else nil.
func (s *Sink) fenced(ctx context.Context, as []*Assignment) ([]error, error) {
	incarnations, epochs, err := s.epochs(ctx, as, "")
	if err != nil {
		return nil, err
	}
	out := make([]error, len(as))
	for i, a := range as {
		if epoch, incarnation := epochs[a.place()], incarnations[a.Topic]; epoch > a.Epoch || incarnation > a.Incarnation {
			out[i] = fmt.Errorf("%s/%d: epoch %d and incarnation %d stand against ours, %d and %d: %w",
				a.Topic, a.Partition, epoch, incarnation, a.Epoch, a.Incarnation, ErrFenced)
		}
	}
	return out, nil
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

func (s *Sink) incarnation(ctx context.Context, topic string) (n int32, err error) {
	err = s.rows(ctx, "SELECT max(incarnation) FROM incarnations WHERE topic = {topic:String}", params{"topic": text(topic)},
		func(scan func(...any) error) error { return scan(&n) })
	return n, err
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
	fenced, err := s.fenced(ctx, []*Assignment{a})
	if err == nil {
		err = fenced[0]
	}
	if err != nil {
		return flow.Span{}, err
	}
	row := a.row(span, kindSkip)
	row.Worker, row.Reason = name, reason
	if err := insertJSON(ctx, s, "ledger", columnNames("ledger"), []ledgerRow{row}); err != nil {
		return flow.Span{}, fmt.Errorf("cannot skip %s: %w", span, err)
	}
	return span, nil
}
