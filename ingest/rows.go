package ingest

import (
	"bytes"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// rows builds the wire columns of one feed. It writes Arrow's layout (offsets,
// bytes, validity bits) into buffers of its own: array.StringBuilder costs a
// third more a value, and cannot take back the rows of a message that turns out
// to be broken near its end.
type rows struct {
	spec *feed.Spec
	name []byte
	wire *arrow.Schema
	mem  memory.Allocator

	byName map[string]int
	quoted []string // name and closing quote, as it stands in JSON
	next   []int    // next[i+1] is the field that followed field i last time

	// The record at hand: vals[i] counts when seen[i] == gen.
	vals [][]byte
	seen []uint32
	gen  uint32

	n, room  int
	cols     []column
	offBuf   []byte
	rowBuf   []byte
	offsets  []int64
	position []int32

	savedN int // rows at save
	// wantRows and wantBytes are the sizes of the last cut: the next one is
	// allocated in one piece.
	wantRows  int
	wantBytes []int
	ahead     *float64 // see Decoder
}

// column is one text column in Arrow's layout.
type column struct {
	data   []byte // its length is the room
	used   int
	ends   []int32 // n+1 offsets, over endBuf
	endBuf []byte
}

const firstRows = 256

func newRows(spec *feed.Spec, mem memory.Allocator, ahead *float64) *rows {
	all := spec.All()
	r := &rows{
		spec: spec, name: []byte(spec.Feed), wire: flow.WireSchema(spec), mem: mem,
		byName: make(map[string]int, len(all)), quoted: make([]string, len(all)), next: make([]int, len(all)+1),
		vals: make([][]byte, len(all)), seen: make([]uint32, len(all)),
		cols: make([]column, len(all)), wantBytes: make([]int, len(all)),
		wantRows: firstRows, ahead: ahead,
	}
	for i := range all {
		r.byName[all[i].Name] = i
		r.quoted[i] = all[i].Name + `"`
		r.next[i] = i
	}
	return r
}

// begin starts a record.
func (r *rows) begin() {
	r.gen++
	if r.gen == 0 {
		clear(r.seen)
		r.gen = 1
	}
}

// set gives field i its value; false when the record has one already.
func (r *rows) set(i int, v []byte) bool {
	if r.seen[i] == r.gen {
		return false
	}
	r.seen[i], r.vals[i] = r.gen, v
	return true
}

// fill gives field i a value when it has none but white space.
func (r *rows) fill(i int, v []byte) {
	if len(bytes.TrimSpace(r.value(i))) == 0 {
		r.seen[i], r.vals[i] = r.gen, v
	}
}

// value returns a field of the record at hand, nil when absent.
func (r *rows) value(i int) []byte {
	if r.seen[i] != r.gen {
		return nil
	}
	return r.vals[i]
}

// bytesPerRow is what a row takes beside its texts.
func (r *rows) bytesPerRow() int { return 4*len(r.cols) + 8 + 4 }

// append adds the record at hand and returns its size.
func (r *rows) append(offset int64, row int32) int {
	n := r.n
	r.reserve(1)
	size := 0
	for i := range r.cols {
		c := &r.cols[i]
		if r.seen[i] == r.gen {
			if v := r.vals[i]; len(v) > 0 {
				if c.used+len(v) > len(c.data) {
					r.grow(i, len(v))
				}
				c.used += copy(c.data[c.used:], v)
				size += len(v)
			}
		}
		c.ends[n+1] = int32(c.used)
	}
	r.offsets[n], r.position[n] = offset, row
	r.n++
	return size
}

// most is the largest step by which a buffer grows: what is foretold of a cut that
// has hardly begun is not worth the memory.
const most = 32

// grown is the room that a buffer gets when so much of it is used. Buffers that
// only double are copied over and over, and end half empty.
func (r *rows) grown(used int) int {
	if a := *r.ahead; a > 1 && a <= most {
		return int(float64(used)*a) + used/8
	}
	return 2 * used
}

// grow makes room for n bytes more in column i.
func (r *rows) grow(i, n int) {
	c := &r.cols[i]
	size := max(r.grown(c.used+n), r.wantBytes[i], 1024)
	if c.data == nil {
		c.data = flow.Room(r.mem, size)
		return
	}
	c.data = r.mem.Reallocate(size, c.data)
}

// reserve makes room for n more rows in the buffers that all columns share a
// length with.
func (r *rows) reserve(n int) {
	if r.n+n <= r.room {
		return
	}
	room := max(r.wantRows, r.grown(r.n+n))
	room = (room + 63) &^ 63
	resize := func(old []byte, size int) []byte {
		if old == nil {
			return flow.Room(r.mem, size)
		}
		return r.mem.Reallocate(size, old)
	}
	for i := range r.cols {
		c := &r.cols[i]
		c.endBuf = resize(c.endBuf, 4*(room+1))
		c.ends = arrow.Int32Traits.CastFromBytes(c.endBuf)
		c.ends[0] = 0
	}
	r.offBuf, r.rowBuf = resize(r.offBuf, 8*room), resize(r.rowBuf, 4*room)
	r.offsets = arrow.Int64Traits.CastFromBytes(r.offBuf)
	r.position = arrow.Int32Traits.CastFromBytes(r.rowBuf)
	r.room = room
}

func (r *rows) save() { r.savedN = r.n }

// rewind goes back to the last save, also from the middle of a column.
func (r *rows) rewind() {
	for i := range r.cols {
		c := &r.cols[i]
		c.used = 0
		if r.savedN > 0 {
			c.used = int(c.ends[r.savedN])
		}
	}
	r.n = r.savedN
}

// tally counts the rows by batch. Batches come in long runs, so the map is asked
// once a run.
func (r *rows) tally(t flow.Tally) {
	c := &r.cols[feed.FieldBatchID]
	var last []byte
	var counts *flow.Counts
	for i := range r.n {
		b := c.data[c.ends[i]:c.ends[i+1]]
		if counts == nil || !bytes.Equal(b, last) {
			counts, last = t.Of(r.spec.Feed, string(b)), b
		}
		counts.Received++
	}
}

// record hands over the rows as an Arrow record and begins anew.
func (r *rows) record() arrow.Record {
	n := r.n
	cols := make([]arrow.Array, 0, len(r.cols)+2)
	wrap := func(typ arrow.DataType, nulls int, bufs ...[]byte) {
		own := make([]*memory.Buffer, len(bufs))
		for i, b := range bufs {
			if b != nil {
				own[i] = memory.NewBufferWithAllocator(b, r.mem)
			}
		}
		data := array.NewData(typ, n, own, nil, nulls, 0)
		cols = append(cols, array.MakeFromData(data))
		data.Release()
		for _, b := range own {
			if b != nil {
				b.Release()
			}
		}
	}
	for i := range r.cols {
		c := &r.cols[i]
		r.wantBytes[i] = c.used + c.used/8
		bits, nulls := r.validity(c.ends[:n+1])
		flow.End(c.data[c.used:])
		flow.End(c.ends[n+1:])
		wrap(arrow.BinaryTypes.String, nulls, bits, c.endBuf, c.data)
		*c = column{}
	}
	flow.End(r.offsets[n:])
	flow.End(r.position[n:])
	wrap(arrow.PrimitiveTypes.Int64, 0, nil, r.offBuf)
	wrap(arrow.PrimitiveTypes.Int32, 0, nil, r.rowBuf)
	rec := array.NewRecord(r.wire, cols, int64(n))
	for _, c := range cols {
		c.Release()
	}
	r.wantRows = max(firstRows, n+n/8)
	r.n, r.room, r.savedN = 0, 0, 0
	r.offBuf, r.rowBuf, r.offsets, r.position = nil, nil, nil, nil
	return rec
}

// validity returns the bitmap of a column in which no text is null, and how many
// are; nil when there are none.
func (r *rows) validity(ends []int32) ([]byte, int) {
	n := len(ends) - 1
	nulls := 0
	for i := range n {
		if ends[i] == ends[i+1] {
			nulls++
		}
	}
	if nulls == 0 {
		return nil, 0
	}
	bits := r.mem.Allocate((n + 7) / 8)
	for i := range n {
		if ends[i] != ends[i+1] {
			bits[i>>3] |= 1 << (i & 7)
		}
	}
	return bits, nulls
}

func (r *rows) release() {
	free := func(b []byte) {
		if b != nil {
			r.mem.Free(b)
		}
	}
	for i := range r.cols {
		c := &r.cols[i]
		free(c.data)
		free(c.endBuf)
		*c = column{}
	}
	free(r.offBuf)
	free(r.rowBuf)
	r.n, r.room, r.savedN = 0, 0, 0
	r.offBuf, r.rowBuf, r.offsets, r.position = nil, nil, nil, nil
}
