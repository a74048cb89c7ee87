// Package transform is the middle room: pure steps on Arrow columns.
//
//	Check         wire text -> typed columns; refuses what breaks a rule
//	Pseudonymize  direct identifiers -> keyed tokens; the raw values end here
//	Dedupe        names each record's outcome, drops what is already stored
//
// Check is made of two files: normalize.go reads one value at a time, validate.go
// compares fields with each other.
package transform

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/minio/highwayhash"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/value"
)

// colHash is the keyed hash of the record as sent; only Check's output has it,
// Dedupe turns it into part of the version.
const colHash = "_hash"

// CheckOptions say against what records are judged.
type CheckOptions struct {
	Catalogue *feed.Catalogue
	// HashKey keys the hash of the record as sent. It is not the token key and
	// never changes with it: rotating tokens changes no version.
	HashKey [16]byte
	// AllowTestAreas accepts identity numbers of the reserved areas PP99xx.
	AllowTestAreas bool
	// Clock is the worker's clock; reported_at is held against it.
	Clock func() time.Time
	Mem   memory.Allocator
}

// Check reads the wire text of a cut into typed columns and moves every record
// that breaks a rule of severity error to the cut's rejects. Its output has the
// columns of feed.Spec.Columns up to the system columns, personal kinds still
// in the clear (see clearType), then _warnings, _part, _offset, _row and _hash.
// A record of op C that corrects another record_id comes out as two rows: the
// record (part 0) and, before it, the void of the other (part 1).
type Check struct {
	opt CheckOptions
	key [sha256.Size]byte // of the hash

	mu sync.Mutex
	// idle are the sheets that nobody works at.
	idle map[*feed.Spec][]*sheet
}

// NewCheck returns a Check that any number of partitions may use at once.
func NewCheck(opt CheckOptions) *Check {
	if opt.Mem == nil {
		opt.Mem = memory.DefaultAllocator
	}
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	return &Check{opt: opt, key: sha256.Sum256(opt.HashKey[:]), idle: make(map[*feed.Spec][]*sheet)}
}

// Release gives the builders' memory back; the step is of no use afterwards.
func (c *Check) Release() {
	for _, sheets := range c.idle {
		for _, s := range sheets {
			for _, b := range s.builders {
				if b != nil {
					b.Release()
				}
			}
		}
	}
	clear(c.idle)
}

// sheet takes an idle sheet of a feed or makes one.
func (c *Check) sheet(spec *feed.Spec) *sheet {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := c.idle[spec]
	if len(idle) == 0 {
		return newSheet(spec, &c.opt)
	}
	c.idle[spec] = idle[:len(idle)-1]
	return idle[len(idle)-1]
}

// back gives a sheet back.
func (c *Check) back(s *sheet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle[s.spec] = append(c.idle[s.spec], s)
}

func (c *Check) String() string { return "check" }

// Apply implements flow.Step.
func (c *Check) Apply(_ context.Context, in flow.Cut) (flow.Cut, error) {
	out := in
	out.Parts = make([]flow.Batch, 0, len(in.Parts))
	out.Rejects = slices.Clone(in.Rejects)
	now := c.opt.Clock()
	for _, b := range in.Parts {
		s := c.sheet(b.Feed)
		rec, err := c.batch(s, b.Rows, now, &out)
		c.back(s)
		if err != nil {
			out.Release()
			return flow.Cut{}, err
		}
		if rec.NumRows() == 0 {
			rec.Release()
			continue
		}
		out.Parts = append(out.Parts, flow.Batch{Feed: b.Feed, Rows: rec})
	}
	return out, nil
}

// batch checks the rows of one feed.
func (c *Check) batch(s *sheet, wire arrow.Record, now time.Time, cut *flow.Cut) (arrow.Record, error) {
	s.open(wire, now)
	defer s.close()
	// A block of rows stays in the cache until its fingerprints are made.
	const block = 1024
	s.begin()
	for from := 0; from < s.n; from += block {
		to := min(from+block, s.n)
		s.normalize(from, to)
		c.fingerprint(s, from, to)
	}
	rec := s.record()
	if len(s.found) == 0 && !s.splits {
		return rec, nil
	}
	defer rec.Release()
	kept := rec
	kept.Retain()
	if len(s.found) > 0 {
		kept.Release()
		kept = c.refuse(s, rec, cut)
	}
	if !s.splits {
		return kept, nil
	}
	defer kept.Release()
	return c.split(s, kept)
}

// refuse moves the rows with findings to the cut's rejects and returns the rest.
func (c *Check) refuse(s *sheet, rec arrow.Record, cut *flow.Cut) arrow.Record {
	runs, rows := runsOf(s.n, func(row int) bool { return len(s.found[int32(row)]) == 0 })
	for row := range s.n {
		f := s.found[int32(row)]
		if len(f) == 0 {
			continue
		}
		batch := s.batch(row)
		cut.Tally.Of(s.spec.Feed, batch).Reject(f[0].Rule)
		cut.Rejects = append(cut.Rejects, flow.Reject{
			Feed: s.spec.Feed, Batch: harmless([]byte(batch)), RecordID: harmless(s.text(feed.FieldRecordID, row)),
			Offset: s.offset.Value(row), Row: s.row.Value(row),
			Findings: f, Kept: s.keptJSON(row),
		})
	}
	return pick(rec, runs, rows, c.opt.Mem)
}

// split puts the void of the corrected record before every record that names
// one. The order of rows of one key is the order in which they were sent, so
// pieces are joined where they stood and nothing is sorted.
func (c *Check) split(s *sheet, rec arrow.Record) (arrow.Record, error) {
	at := func(name string) int { return rec.Schema().FieldIndices(name)[0] }
	op := rec.Column(at("op")).(*array.String)
	record := rec.Column(at("record_id")).(*array.String)
	corrects := rec.Column(at("corrects")).(*array.String)
	var pieces []arrow.Record
	defer func() {
		for _, p := range pieces {
			p.Release()
		}
	}()
	from := int64(0)
	for row := 0; row < int(rec.NumRows()); row++ {
		old := corrects.Value(row)
		if op.Value(row) != "C" || old == "" || old == record.Value(row) {
			continue
		}
		if from < int64(row) {
			pieces = append(pieces, rec.NewSlice(from, int64(row)))
		}
		from = int64(row)
		one := rec.NewSlice(from, from+1)
		cols := slices.Clone(one.Columns())
		replace := func(name string, a arrow.Array) { cols[at(name)] = a }
		id, v, none, part := c.oneText(old), c.oneText("V"), c.oneText(""), c.oneByte(1)
		replace("record_id", id)
		replace("op", v)
		replace("corrects", none)
		replace(feed.ColWarnings, none)
		replace(feed.ColPart, part)
		pieces = append(pieces, array.NewRecord(rec.Schema(), cols, 1))
		for _, a := range []arrow.Array{id, v, none, part} {
			a.Release()
		}
		one.Release()
	}
	if len(pieces) == 0 {
		rec.Retain()
		return rec, nil
	}
	pieces = append(pieces, rec.NewSlice(from, rec.NumRows()))
	return join(rec.Schema(), pieces, c.opt.Mem)
}

func (c *Check) oneText(s string) arrow.Array {
	b := array.NewStringBuilder(c.opt.Mem)
	defer b.Release()
	b.Append(s)
	return b.NewArray()
}

func (c *Check) oneByte(v uint8) arrow.Array {
	b := array.NewUint8Builder(c.opt.Mem)
	defer b.Release()
	b.Append(v)
	return b.NewArray()
}

// join concatenates records of one schema.
func join(schema *arrow.Schema, pieces []arrow.Record, mem memory.Allocator) (arrow.Record, error) {
	cols := make([]arrow.Array, 0, schema.NumFields())
	defer func() {
		for _, c := range cols {
			c.Release()
		}
	}()
	parts := make([]arrow.Array, len(pieces))
	var rows int64
	for i := range schema.Fields() {
		for j, p := range pieces {
			parts[j] = p.Column(i)
		}
		col, err := array.Concatenate(parts, mem)
		if err != nil {
			return nil, fmt.Errorf("cannot join column %s: %w", schema.Field(i).Name, err)
		}
		cols = append(cols, col)
	}
	for _, p := range pieces {
		rows += p.NumRows()
	}
	return array.NewRecord(schema, cols, rows), nil
}

// fingerprint hashes every record as sent: the fields that hold something, by
// name and value, without what differs between two deliveries of one content.
// HighwayHash is keyed, so the stored hash does not let a reader try out identity
// numbers.
//
// What is hashed of some rows is put together column by column, a row in each of
// the strips: a column's ends and its tag are then at hand once, not once a row.
func (c *Check) fingerprint(s *sheet, from, to int) {
	if s.strips == nil {
		s.strips = new([strips][stripRoom]byte)
	}
	for ; from < to; from += strips {
		n := min(strips, to-from)
		var used [strips]int
		for i := range s.sent {
			f := &s.sent[i]
			ends := f.ends[from : from+n+1]
			begin := ends[0]
			for r, end := range ends[1:] {
				v := f.data[begin:end]
				begin = end
				if blank(v) {
					continue
				}
				at := used[r]
				if used[r] += 8 + len(v); used[r] > stripRoom {
					continue // this row goes the long way
				}
				to := s.strips[r][at:used[r]]
				binary.LittleEndian.PutUint64(to, f.tag|uint64(len(v))<<32)
				copy(to[8:], v)
			}
		}
		for r := range n {
			sent := s.strips[r][:min(used[r], stripRoom)]
			if used[r] > stripRoom {
				sent = s.long(from+r, used[r])
			}
			s.hash[from+r] = highwayhash.Sum64(sent, c.key[:])
		}
	}
}

// strips are as many as lie in the nearest cache together.
const strips, stripRoom = 16, 1024

// long puts together what is hashed of a row that no strip holds.
func (s *sheet) long(row, size int) []byte {
	buf := slices.Grow(s.scratch[:0], size)
	for i := range s.sent {
		f := &s.sent[i]
		if v := f.text(row); len(v) > 0 {
			buf = binary.LittleEndian.AppendUint64(buf, f.tag|uint64(len(v))<<32)
			buf = append(buf, v...)
		}
	}
	s.scratch = buf
	return buf
}

// sent is a column of which the fingerprint is made.
type sent struct {
	view
	tag uint64 // stands for the field's name
}

// harmless returns the text if it may be repeated.
func harmless(v []byte) string {
	if !value.Harmless(v) {
		return ""
	}
	return string(v)
}

// bytesOf views a string without copying; the result must not be changed.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// warnings joins rule ids the way the _warnings column stores them.
func warnings(rules []feed.Rule) string {
	if len(rules) == 1 {
		return rules[0].String()
	}
	ids := make([]string, len(rules))
	for i, r := range rules {
		ids[i] = r.String()
	}
	return strings.Join(ids, ",")
}
