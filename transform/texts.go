package transform

import (
	"bytes"
	"unsafe"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/duiwu/duiwu/internal/flow"
)

// texts builds a text column without nulls in Arrow's layout. array.StringBuilder
// costs four times as much a value.
type texts struct {
	mem  memory.Allocator
	data []byte // its length is the room
	used int
	ends []int32 // one more than there are rows, over ints
	ints []byte
	n    int
	// like is a column that says the same so far, none when its col is nil. If that
	// stays so its buffers are this column's too.
	like view
}

// follow begins a column of as many rows as another one, most of which say the
// same: what provinces write is mostly as it should be.
func (t *texts) follow(mem memory.Allocator, v view) {
	if v.data == nil {
		t.reserve(mem, v.col.Len(), 0)
		return
	}
	t.mem, t.used, t.n, t.like = mem, 0, 0, v
}

// follows says that this column's rows so far are those of another one.
func (t *texts) follows() bool { return t.like.col != nil }

// part ends the likeness: the rows so far are copied.
func (t *texts) part() {
	v, rows, n := t.like, t.like.col.Len(), t.n
	begin, end := v.ends[0], v.ends[n]
	t.reserve(t.mem, rows, int(v.ends[rows]-begin))
	t.used = copy(t.data, v.data[begin:end])
	for i, e := range v.ends[:n+1] {
		t.ends[i] = e - begin
	}
	t.n = n
}

// reserve begins a column of n rows that hold about size bytes.
func (t *texts) reserve(mem memory.Allocator, n, size int) {
	t.mem, t.used, t.n, t.like = mem, 0, 0, view{}
	t.data, t.ints = flow.Room(mem, size), flow.Room(mem, 4*(n+1))
	t.ends = arrow.Int32Traits.CastFromBytes(t.ints)
	t.ends[0] = 0
}

func (t *texts) append(v []byte) {
	if t.follows() {
		if string(v) == string(t.like.at(t.n)) {
			t.n++
			return
		}
		t.part()
	}
	if t.used+len(v) > len(t.data) {
		t.grow(len(v))
	}
	t.used += copy(t.data[t.used:], v)
	t.n++
	t.ends[t.n] = int32(t.used)
}

// repeat appends a text some times. While another column is followed, and says v in
// this row, it has to say v in all of these rows.
func (t *texts) repeat(v []byte, times int) {
	t.append(v)
	if t.follows() {
		t.n += times - 1
		return
	}
	for range times - 1 {
		t.append(v)
	}
}

func (t *texts) appendString(v string) { t.append(bytesOf(v)) }

func (t *texts) grow(n int) {
	size := max(2*len(t.data), t.used+n, 1024)
	if len(t.data) == 0 {
		t.data = flow.Room(t.mem, size)
		return
	}
	t.data = t.mem.Reallocate(size, t.data)
}

// column ends the column; the caller releases it.
func (t *texts) column() arrow.Array {
	if like := t.like.col; like != nil {
		t.like = view{}
		from := like.Data()
		data := array.NewData(arrow.BinaryTypes.String, t.n, []*memory.Buffer{nil, from.Buffers()[1], from.Buffers()[2]}, nil, 0, from.Offset())
		defer data.Release()
		return array.NewStringData(data)
	}
	flow.End(t.data[t.used:])
	flow.End(t.ends[t.n+1:])
	ends, text := memory.NewBufferWithAllocator(t.ints, t.mem), memory.NewBufferWithAllocator(t.data, t.mem)
	data := array.NewData(arrow.BinaryTypes.String, t.n, []*memory.Buffer{nil, ends, text}, nil, 0, 0)
	defer data.Release()
	ends.Release()
	text.Release()
	t.data, t.ints, t.ends = nil, nil, nil
	return array.NewStringData(data)
}

// sameText is a column that says the same n times.
func sameText(mem memory.Allocator, v string, n int) arrow.Array {
	var t texts
	t.reserve(mem, n, n*len(v))
	for range n {
		t.appendString(v)
	}
	return t.column()
}

// view reads a text column.
type view struct {
	col  *array.String
	data []byte
	ends []int32
}

func viewOf(col *array.String) view {
	v := view{col: col, ends: col.ValueOffsets()}
	if b := col.Data().Buffers()[2]; b != nil {
		v.data = b.Bytes()
	}
	return v
}

// at returns the text of a row; a null holds no bytes.
func (v *view) at(row int) []byte { return v.data[v.ends[row]:v.ends[row+1]] }

// constant says that all of some rows say the same, and say something.
func (v *view) constant(from, to int) bool {
	ends := v.ends[from : to+1]
	size := ends[1] - ends[0]
	if size == 0 || ends[len(ends)-1]-ends[0] != size*int32(to-from) {
		return false
	}
	last := ends[0]
	for _, end := range ends[1:] {
		if end-last != size {
			return false
		}
		last = end
	}
	// A text that is the same behind its first row repeats.
	all := v.data[ends[0]:last]
	return bytes.Equal(all[:len(all)-int(size)], all[size:])
}

// text returns the text of a row, empty when it is white space.
func (v *view) text(row int) []byte {
	t := v.at(row)
	if blank(t) {
		return nil
	}
	return t
}

// blank says that a text is empty or white space. Its first byte tells of most that
// they are not.
func blank(t []byte) bool {
	return len(t) == 0 || t[0]-'!' >= 0xC2-'!' && white(t)
}

func white(t []byte) bool {
	return (t[0] <= ' ' || t[0] == 0xC2 || t[0] == 0xE3) && len(bytes.TrimSpace(t)) == 0
}

// scratch lends n values without pointers until free is called. They hold rubbish.
func scratch[T flow.Outcome | flow.Version | key](mem memory.Allocator, n int) (lent []T, free func()) {
	var one T
	b := flow.Room(mem, n*int(unsafe.Sizeof(one)))
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n), func() { mem.Free(b) }
}
