package transform

import (
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
}

// reserve begins a column of n rows that hold about size bytes.
func (t *texts) reserve(mem memory.Allocator, n, size int) {
	t.mem, t.used, t.n = mem, 0, 0
	t.data, t.ints = mem.Allocate(size), mem.Allocate(4*(n+1))
	t.ends = arrow.Int32Traits.CastFromBytes(t.ints)
	t.ends[0] = 0
}

func (t *texts) append(v []byte) {
	if t.used+len(v) > len(t.data) {
		t.grow(len(v))
	}
	t.used += copy(t.data[t.used:], v)
	t.n++
	t.ends[t.n] = int32(t.used)
}

func (t *texts) appendString(v string) { t.append(bytesOf(v)) }

func (t *texts) grow(n int) {
	size := max(2*len(t.data), t.used+n, 1024)
	if len(t.data) == 0 {
		t.data = t.mem.Allocate(size)
		return
	}
	t.data = t.mem.Reallocate(size, t.data)
}

// column ends the column; the caller releases it.
func (t *texts) column() arrow.Array {
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
	data []byte
	ends []int32
}

func viewOf(col *array.String) view {
	v := view{ends: col.ValueOffsets()}
	if b := col.Data().Buffers()[2]; b != nil {
		v.data = b.Bytes()
	}
	return v
}

// at returns the text of a row; a null holds no bytes.
func (v *view) at(row int) []byte { return v.data[v.ends[row]:v.ends[row+1]] }

// scratch lends n values without pointers until free is called.
func scratch[T flow.Outcome | flow.Version | key](mem memory.Allocator, n int) (lent []T, free func()) {
	var one T
	b := mem.Allocate(n * int(unsafe.Sizeof(one)))
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n), func() { mem.Free(b) }
}
