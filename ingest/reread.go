package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// Position is the place of one record in a partition: the offset of its message
// and its row inside the message, from 0.
type Position struct {
	Offset int64
	Row    int32
}

// Reread reads messages of one partition again, at offsets that the ledger
// accounts for. It joins no group, commits nothing and claims nothing, so that
// the worker that holds the partition never notices. It is not safe for
// concurrent use.
type Reread struct {
	opt       Options
	topic     string
	unit      string
	partition int32

	f   *fetcher
	dec *Decoder
	// Start is the first offset that the log still holds, End the one behind its last.
	Start, End int64
}

// OpenReread connects to the partition's leader.
func OpenReread(ctx context.Context, b *Broker, topic, unit string, partition int32, opt Options) (*Reread, error) {
	opt = opt.withDefaults()
	f, err := dialLeader(ctx, b, topic, partition, int32(opt.Limits.Fetch))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s/%d again: %w", topic, partition, err)
	}
	r := &Reread{opt: opt, topic: topic, unit: unit, partition: partition, f: f,
		dec: NewDecoder(opt.Catalogue, opt.Mem, unit, opt.Limits.Message)}
	r.dec.Seals(opt.Seals)
	if r.Start, r.End, err = f.bounds(ctx); err != nil {
		r.Close()
		return nil, fmt.Errorf("cannot read %s/%d again: %w", topic, partition, err)
	}
	return r, nil
}

// Close gives the connection back.
func (r *Reread) Close() {
	r.f.close()
	r.dec.Release()
}

// Sum is the checksum of the message at an offset, as the ledger keeps it for
// the last message of a cut; false when the log holds no message there.
func (r *Reread) Sum(ctx context.Context, offset int64) (sum uint64, ok bool, err error) {
	var m Message
	ok, err = r.message(ctx, offset, &m)
	if err != nil || !ok {
		return 0, false, err
	}
	return r.f.sum(), true, nil
}

// far is the distance in offsets from which seeking is cheaper than reading on.
const far = 1000

// message moves to the message at offset; false when there is none: it was
// deleted, or a marker stands there.
func (r *Reread) message(ctx context.Context, offset int64, m *Message) (bool, error) {
	if offset < r.Start || offset >= r.End {
		return false, nil
	}
	if f := r.f; offset < f.pos || offset > f.pos+far || !f.more() {
		f.seek(offset)
	}
	for {
		if !r.f.more() {
			if r.f.pos > offset {
				return false, nil
			}
			before := r.f.pos
			if err := r.f.fetch(ctx, r.opt.Limits.Wait); err != nil {
				return false, fmt.Errorf("cannot read offset %d of %s/%d again: %w", offset, r.topic, r.partition, err)
			}
			if !r.f.more() && r.f.pos == before {
				return false, nil // behind what a committed reader may see
			}
		}
		ok, err := r.f.next(m)
		switch {
		case errors.Is(err, errBatch):
			// As in Partition.Next: such a batch counts as one message that
			// nobody can read, at its first offset.
			if m.Offset != offset {
				return false, nil
			}
			*m = Message{Offset: offset, Value: unreadable}
			r.f.last.offset, r.f.last.known, r.f.last.sum = offset, true, 0
			r.f.last.key, r.f.last.value = nil, nil
			return true, nil
		case err != nil:
			return false, fmt.Errorf("cannot read offset %d of %s/%d again: %w", offset, r.topic, r.partition, err)
		case !ok:
			continue
		case m.Offset == offset:
			return true, nil
		case m.Offset > offset:
			r.f.seek(m.Offset) // it was not asked for yet
			return false, nil
		}
	}
}

// Record is what a record said of itself before anything was judged.
type Record struct {
	// Feed and Batch are the key under which the tally counts it.
	Feed, Batch string
	// Head is the batch that the message's header named.
	Head string
	// Whole says that the message could not be read as records and counts as one.
	Whole bool
}

// Reading is what one call of Read found.
type Reading struct {
	// Cut holds the records asked for, their refusals and their tally, as a
	// partition would have handed them out. Its rows belong to the caller.
	Cut flow.Cut
	// Records are all of them by position, the refused ones too.
	Records map[Position]Record
	// Gone are the offsets at which the log holds no message.
	Gone []int64
	// Done is how many of the offsets were read.
	Done int
}

// Read decodes the messages at ascending offsets and keeps the records for which
// keep says true; nil keeps all. It ends where a cut would end: Done says how
// many offsets it came through, at least one. The only error about data is a
// record of a schema that this release does not know.
func (r *Reread) Read(ctx context.Context, offsets []int64, keep func(Position) bool) (*Reading, error) {
	out := &Reading{Records: make(map[Position]Record)}
	heads := make(map[int64]string)
	bytes := 0
	var m Message
	first, last := int64(-1), int64(-1)
	for out.Done < len(offsets) && r.dec.Rows() < r.opt.Limits.Rows && bytes < r.opt.Limits.Bytes {
		at := offsets[out.Done]
		ok, err := r.message(ctx, at, &m)
		if err != nil {
			r.dec.Release()
			return nil, err
		}
		out.Done++
		if !ok {
			out.Gone = append(out.Gone, at)
			continue
		}
		refused := len(r.dec.rejects)
		if err := r.dec.Add(&m); err != nil {
			r.dec.Release()
			return nil, fmt.Errorf("%s/%d: %w", r.topic, r.partition, err)
		}
		head := string(r.dec.head.batch)
		heads[at] = head
		for _, rj := range r.dec.rejects[refused:] {
			if p := (Position{rj.Offset, rj.Row}); keep == nil || keep(p) {
				out.Records[p] = Record{Feed: rj.key.Feed, Batch: rj.key.Batch, Head: head, Whole: Whole(&rj.Reject)}
			}
		}
		bytes += r.dec.weight
		if first < 0 {
			first = at
		}
		last = at
	}
	parts, rejects, tally := r.dec.Flush()
	out.Cut = flow.Cut{
		Span: flow.Span{Topic: r.topic, Partition: r.partition, First: first, Last: last},
		Unit: r.unit, Tally: make(flow.Tally), Arrived: r.opt.Clock(),
	}
	for key, c := range tally {
		// Only what headers said: the counts are of records that nobody asked for too.
		if c.Declared > 0 || len(c.Chunks) > 0 || c.SHA256 != "" {
			n := out.Cut.Tally.Of(key.Feed, key.Batch)
			n.Declared, n.Chunks, n.SHA256 = c.Declared, c.Chunks, c.SHA256
		}
	}
	for _, rj := range rejects {
		if rec, ok := out.Records[Position{rj.Offset, rj.Row}]; ok {
			out.Cut.Rejects = append(out.Cut.Rejects, rj)
			n := out.Cut.Tally.Of(rec.Feed, rec.Batch)
			n.Received++
			n.Reject(rj.Findings[0].Rule)
		}
	}
	for _, p := range parts {
		rows, err := r.kept(p.Rows, keep)
		p.Rows.Release()
		if err != nil {
			out.Cut.Release()
			return nil, err
		}
		if rows == nil {
			continue
		}
		out.Cut.Parts = append(out.Cut.Parts, flow.Batch{Feed: p.Feed, Rows: rows})
		r.note(out, p.Feed, rows, heads)
	}
	return out, nil
}

// Whole says whether a refusal stands for a message that could not be read as
// records at all, or was none: what Decoder.refuseMessage keeps.
func Whole(rj *flow.Reject) bool {
	return rj.Row == 0 && rj.Kept == "" && rj.RecordID == "" && len(rj.Findings) == 1 && rj.Findings[0].Field == ""
}

// note lists the decoded records of one feed and counts them as received.
func (r *Reread) note(out *Reading, spec *feed.Spec, rows arrow.Record, heads map[int64]string) {
	batch := rows.Column(feed.FieldBatchID).(*array.String)
	offset := rows.Column(int(rows.NumCols()) - 2).(*array.Int64)
	row := rows.Column(int(rows.NumCols()) - 1).(*array.Int32)
	for i := range int(rows.NumRows()) {
		b := ""
		if batch.IsValid(i) {
			b = string([]byte(batch.Value(i))) // the rows are released before the note is
		}
		out.Records[Position{offset.Value(i), row.Value(i)}] = Record{Feed: spec.Feed, Batch: b, Head: heads[offset.Value(i)]}
		out.Cut.Tally.Of(spec.Feed, b).Received++
	}
}

// kept returns the rows that keep names as a record of its own, nil when there
// is none.
func (r *Reread) kept(rows arrow.Record, keep func(Position) bool) (arrow.Record, error) {
	if keep == nil {
		rows.Retain()
		return rows, nil
	}
	offset := rows.Column(int(rows.NumCols()) - 2).(*array.Int64)
	row := rows.Column(int(rows.NumCols()) - 1).(*array.Int32)
	var runs [][2]int64
	total := int64(0)
	for i := range rows.NumRows() {
		if !keep(Position{offset.Value(int(i)), row.Value(int(i))}) {
			continue
		}
		total++
		if n := len(runs); n > 0 && runs[n-1][1] == i {
			runs[n-1][1]++
		} else {
			runs = append(runs, [2]int64{i, i + 1})
		}
	}
	switch {
	case total == 0:
		return nil, nil
	case total == rows.NumRows():
		rows.Retain()
		return rows, nil
	}
	return concat(rows, runs, total, r.opt.Mem)
}

func concat(rows arrow.Record, runs [][2]int64, total int64, mem memory.Allocator) (arrow.Record, error) {
	cols := make([]arrow.Array, 0, rows.NumCols())
	defer func() {
		for _, c := range cols {
			c.Release()
		}
	}()
	for _, col := range rows.Columns() {
		pieces := make([]arrow.Array, len(runs))
		for i, run := range runs {
			pieces[i] = array.NewSlice(col, run[0], run[1])
		}
		joined, err := array.Concatenate(pieces, mem)
		for _, p := range pieces {
			p.Release()
		}
		if err != nil {
			return nil, fmt.Errorf("cannot pick records: %w", err)
		}
		cols = append(cols, joined)
	}
	return array.NewRecord(rows.Schema(), slices.Clone(cols), total), nil
}
