package transform

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// History is what Dedupe asks the tables. It sees only rows whose position lies
// inside the ledger: rows of a cut that was never finished do not exist for it,
// so that a replay is judged exactly as the first try was.
type History interface {
	// Newest calls fn with every record key of the partition's unit and its
	// newest version, voids included. effectiveFrom is 0 unless the date
	// belongs to the key. recordID is valid during the call.
	Newest(ctx context.Context, spec *feed.Spec, fn func(recordID []byte, effectiveFrom int32, v flow.Version) error) error
	// Stored says of each key and version whether it stands in the history, and of
	// those Elsewhere whether it stands there by now.
	Stored(ctx context.Context, spec *feed.Spec, rows []flow.Known) ([]bool, error)
}

// DedupeOptions configure one assignment's Dedupe.
type DedupeOptions struct {
	Feeds   []*feed.Spec
	History History
	// Mine says whether the partitioner sends a record of this unit to this
	// partition; nil means every record.
	Mine func(recordID []byte) bool
	// Revision counts changes of mapping and code that read the same bytes
	// differently; a higher one replaces what a lower one wrote.
	Revision uint16
	// Next is the offset that the first cut begins at or behind.
	Next int64
	Mem  memory.Allocator
}

// Dedupe names each record's outcome and drops the rows that are already
// stored. What it remembers is learnt from the tables when a partition is
// assigned, and dies with the assignment unless Resume takes it over.
type Dedupe struct {
	opt   DedupeOptions
	next  int64 // behind the last cut that was judged, -1 within one
	state Newest
	// touched keeps what is read ahead of its use from being left out.
	touched uint64
	learnt  map[*feed.Spec]bool
	keys    keyer
	schema  map[*feed.Spec]*arrow.Schema
}

// NewDedupe makes a Dedupe that has to Learn before it is applied. It is not safe
// for concurrent use.
func NewDedupe(opt DedupeOptions) *Dedupe {
	if opt.Mem == nil {
		opt.Mem = memory.DefaultAllocator
	}
	d := &Dedupe{opt: opt, next: opt.Next, learnt: make(map[*feed.Spec]bool), schema: make(map[*feed.Spec]*arrow.Schema)}
	for _, spec := range opt.Feeds {
		d.schema[spec] = flow.TableSchema(spec)
	}
	return d
}

// Learn reads the newest version of every record of the partition. After an error
// it goes on with the feed where it broke off: assignments that end before a state
// is whole come to it all the same.
func (d *Dedupe) Learn(ctx context.Context) error {
	for _, spec := range d.opt.Feeds {
		if d.learnt[spec] {
			continue
		}
		err := d.opt.History.Newest(ctx, spec, func(id []byte, from int32, v flow.Version) error {
			if d.opt.Mine == nil || d.opt.Mine(id) {
				d.state.put(d.keys.key(spec.Feed, id, from), v)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("cannot read what is known of %s: %w", spec.Feed, err)
		}
		d.learnt[spec] = true
	}
	return nil
}

func (d *Dedupe) String() string { return "dedupe" }

// Resume makes d go on in a later assignment of the same partition, with its
// history, from offset next on. It is only for an assignment that nobody came
// before but the one that d served. False: what d judged is not what was written,
// so d remembers rows that do not exist, and must not be used.
func (d *Dedupe) Resume(h History, next int64) bool {
	if d.next != next {
		return false
	}
	d.opt.History = h
	return true
}

// State gives the size of what is remembered.
func (d *Dedupe) State() *Newest { return &d.state }

// Apply implements flow.Step.
func (d *Dedupe) Apply(ctx context.Context, in flow.Cut) (flow.Cut, error) {
	out := in
	out.Parts = make([]flow.Batch, 0, len(in.Parts))
	d.next = -1
	for _, b := range in.Parts {
		rec, err := d.batch(ctx, b, &out)
		if err != nil {
			out.Release()
			return flow.Cut{}, fmt.Errorf("feed %s: %w", b.Feed.Feed, err)
		}
		if rec == nil {
			continue
		}
		out.Parts = append(out.Parts, flow.Batch{Feed: b.Feed, Rows: rec})
	}
	d.next = in.Span.Last + 1
	return out, nil
}

// rows are the columns of one batch that decide its outcomes.
type rows struct {
	spec     *feed.Spec
	n        int
	record   *array.String
	batch    *array.String
	op       *array.String
	from     *array.Date32
	reported *array.Timestamp
	warnings *array.String
	part     *array.Uint8
	hash     *array.Uint64
	offset   *array.Int64
	at       *array.Int32 // row in the message
	position int          // of _warnings, the first column after the fields
}

func openRows(b flow.Batch) rows {
	col := func(name string) arrow.Array { return b.Rows.Column(b.Rows.Schema().FieldIndices(name)[0]) }
	return rows{
		spec: b.Feed, n: int(b.Rows.NumRows()),
		record:   col("record_id").(*array.String),
		batch:    col("batch_id").(*array.String),
		op:       col("op").(*array.String),
		from:     col("effective_from").(*array.Date32),
		reported: col("reported_at").(*array.Timestamp),
		warnings: col(feed.ColWarnings).(*array.String),
		part:     col(feed.ColPart).(*array.Uint8),
		hash:     col(colHash).(*array.Uint64),
		offset:   col(feed.ColOffset).(*array.Int64),
		at:       col(feed.ColRow).(*array.Int32),
		position: b.Rows.Schema().FieldIndices(feed.ColWarnings)[0],
	}
}

func (r *rows) keyDate(row int) int32 {
	if r.spec.KeyHasDate() {
		return int32(r.from.Value(row))
	}
	return 0
}

func (r *rows) version(row int, revision uint16) flow.Version {
	return flow.MakeVersion(int64(r.reported.Value(row)), r.op.Value(row) == "V", r.hash.Value(row), revision)
}

// ahead is for how many rows the state is touched before the first of them is met.
const ahead = 32

// batch names the outcome of every row, counts it, and returns the rows to
// store in the table's schema, or nil when there is none.
func (d *Dedupe) batch(ctx context.Context, b flow.Batch, cut *flow.Cut) (arrow.Record, error) {
	r := openRows(b)
	outcomes, free := scratch[flow.Outcome](d.opt.Mem, r.n)
	defer free()
	versions, free := scratch[flow.Version](d.opt.Mem, r.n)
	defer free()
	keys, free := scratch[key](d.opt.Mem, r.n)
	defer free()
	var asked, astray []int // rows that may be stored already, and those Elsewhere
	for row := range r.n {
		if row%ahead == 0 {
			d.foresee(&r, keys, versions, row, min(row+ahead, r.n))
		}
		k, v := keys[row], versions[row]
		slot := d.state.meet(k)
		outcome, newer := classify(slot.version, slot.key == k, v)
		outcomes[row] = outcome
		if newer {
			d.state.set(slot, k, v)
		}
		if outcome == flow.Duplicate {
			continue
		}
		// The state holds the newest version of the records that belong here.
		elsewhere := d.elsewhere(&r, row)
		if elsewhere {
			astray = append(astray, row)
		}
		if elsewhere || !newer {
			asked = append(asked, row)
		}
	}
	if len(asked) > 0 {
		if err := d.ask(ctx, &r, keys, versions, outcomes, asked); err != nil {
			return nil, err
		}
	}
	stored := d.count(&r, outcomes, cut.Tally)
	for _, row := range astray {
		if outcomes[row].Stored() && r.part.Value(row) == 0 {
			cut.Tally.Of(r.spec.Feed, r.batch.Value(row)).Astray++
		}
	}
	if stored == 0 {
		return nil, nil
	}
	return d.table(b, &r, outcomes, versions, stored, cut), nil
}

// foresee makes the keys and versions of some rows and touches where they stand.
func (d *Dedupe) foresee(r *rows, keys []key, versions []flow.Version, from, to int) {
	for row := from; row < to; row++ {
		keys[row] = d.keys.key(r.spec.Feed, bytesOf(r.record.Value(row)), r.keyDate(row))
		versions[row] = r.version(row, d.opt.Revision)
	}
	for _, k := range keys[from:to] {
		d.touched += d.state.touch(k)
	}
}

// classify compares a version with the newest one known of its record. newer
// says that v becomes the newest; when it does not and the outcome is not
// Duplicate, the history has to be asked whether v is stored already.
func classify(newest flow.Version, known bool, v flow.Version) (outcome flow.Outcome, newer bool) {
	if !known {
		return flow.New, true
	}
	switch v.Compare(newest) {
	case 0:
		return flow.Duplicate, false
	case 1:
		newer = true
	}
	const (
		content  uint64 = 1<<64 - 1<<16 // void bit and hash, without the revision
		hashOnly uint64 = 1<<63 - 1<<16 // the hash alone
	)
	hi, lo := v.Halves()
	newestHi, newestLo := newest.Halves()
	same := lo&content == newestLo&content
	switch {
	case hi == newestHi && lo&hashOnly != newestLo&hashOnly:
		return flow.Conflict, newer
	case !newer:
		return flow.Superseded, false
	case !same:
		return flow.Correction, true
	case hi == newestHi:
		return flow.Reprocessed, true
	}
	return flow.Unchanged, true
}

// elsewhere says whether the partitioner sends a row's record to another partition:
// a unit has a partitioner of its own, or partitions were added.
func (d *Dedupe) elsewhere(r *rows, row int) bool {
	return d.opt.Mine != nil && !d.opt.Mine(bytesOf(r.record.Value(row)))
}

// ask decides the rows that are below the newest version of their record, and those
// whose record another partition may hold: one that is stored already, in the history
// or earlier in this batch, is a duplicate.
func (d *Dedupe) ask(ctx context.Context, r *rows, keys []key, versions []flow.Version, outcomes []flow.Outcome, asked []int) error {
	ask := make([]flow.Known, len(asked))
	for i, row := range asked {
		ask[i] = flow.Known{RecordID: bytesOf(r.record.Value(row)), EffectiveFrom: r.keyDate(row), Version: versions[row], Elsewhere: d.elsewhere(r, row)}
	}
	stored, err := d.opt.History.Stored(ctx, r.spec, ask)
	if err != nil {
		return fmt.Errorf("cannot ask the history: %w", err)
	}
	type seen struct {
		key     key
		version flow.Version
	}
	first := make(map[seen]int, r.n)
	for row := range r.n {
		if _, ok := first[seen{keys[row], versions[row]}]; !ok {
			first[seen{keys[row], versions[row]}] = row
		}
	}
	for i, row := range asked {
		if stored[i] || first[seen{keys[row], versions[row]}] < row {
			outcomes[row] = flow.Duplicate
		}
	}
	return nil
}

// count adds the outcomes to the tally and returns how many rows are stored. A
// void that a correction implies (part 1) is a row but no record.
func (d *Dedupe) count(r *rows, outcomes []flow.Outcome, tally flow.Tally) int {
	stored := 0
	var batch string
	var counts *flow.Counts
	for row, o := range outcomes {
		if o.Stored() {
			stored++
		}
		if r.part.Value(row) != 0 {
			continue
		}
		if b := r.batch.Value(row); counts == nil || b != batch {
			batch = strings.Clone(b)
			counts = tally.Of(r.spec.Feed, batch)
		}
		counts.By[o]++
		if w := r.warnings.Value(row); w != "" && o.Stored() {
			for id := range strings.SplitSeq(w, ",") {
				if rule, ok := feed.RuleNamed(id); ok {
					counts.Warn(rule)
				}
			}
		}
	}
	return stored
}

// table puts the stored rows into the table's schema.
func (d *Dedupe) table(b flow.Batch, r *rows, outcomes []flow.Outcome, versions []flow.Version, stored int, cut *flow.Cut) arrow.Record {
	mem := d.opt.Mem
	in := b.Rows
	if stored < r.n {
		runs, rows := runsOf(r.n, func(row int) bool { return outcomes[row].Stored() })
		in = pick(b.Rows, runs, rows, mem)
		defer in.Release()
	}
	version := memory.NewBufferWithAllocator(flow.Room(mem, stored*len(flow.Version{})), mem)
	defer version.Release()
	deleted := array.NewUint8Builder(mem)
	defer deleted.Release()
	deleted.Reserve(stored)
	var outcome texts
	outcome.reserve(mem, stored, stored*len(flow.New.String()))
	at := version.Bytes()
	for row, o := range outcomes {
		if !o.Stored() {
			continue
		}
		at = at[copy(at, versions[row][:]):]
		var void uint8
		if r.op.Value(row) == "V" {
			void = 1
		}
		deleted.UnsafeAppend(void)
		outcome.appendString(o.String())
	}
	cols := make([]arrow.Array, 0, len(d.schema[b.Feed].Fields()))
	own := func(a arrow.Array) { cols = append(cols, a) }
	share := func(i int) { in.Column(i).Retain(); own(in.Column(i)) }
	for i := range r.position {
		share(i)
	}
	data := array.NewData(flow.StoreType(feed.StoreVersion), stored, []*memory.Buffer{nil, version}, nil, 0, 0)
	defer data.Release()
	own(array.NewFixedSizeBinaryData(data))
	own(deleted.NewArray())
	own(outcome.column())
	share(r.position + 1) // _part
	share(r.position)     // _warnings
	own(sameText(mem, cut.Span.Topic, stored))
	own(constInt32(mem, cut.Span.Incarnation, stored))
	own(constInt32(mem, cut.Span.Partition, stored))
	share(r.position + 2) // _offset
	share(r.position + 3) // _row
	own(constTime(mem, cut.Arrived.UnixMilli(), stored))
	rec := array.NewRecord(d.schema[b.Feed], cols, int64(stored))
	for _, c := range cols {
		c.Release()
	}
	return rec
}

func constInt32(mem memory.Allocator, v int32, n int) arrow.Array {
	b := array.NewInt32Builder(mem)
	defer b.Release()
	b.Reserve(n)
	for range n {
		b.UnsafeAppend(v)
	}
	return b.NewArray()
}

func constTime(mem memory.Allocator, ms int64, n int) arrow.Array {
	b := array.NewTimestampBuilder(mem, flow.StoreType(feed.StoreTime).(*arrow.TimestampType))
	defer b.Release()
	b.Reserve(n)
	for range n {
		b.UnsafeAppend(arrow.Timestamp(ms))
	}
	return b.NewArray()
}
