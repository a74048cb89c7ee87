package transform

import (
	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
)

// texts builds a text column without nulls in Arrow's layout. array.StringBuilder
// costs four times as much a value.
type texts struct {
	data []byte
	ends []int32 // one more than there are rows
}

// reserve begins a column of n rows that hold about size bytes.
func (t *texts) reserve(n, size int) {
	t.data, t.ends = make([]byte, 0, size), make([]int32, 1, n+1)
}

func (t *texts) append(v []byte) {
	t.data = append(t.data, v...)
	t.ends = append(t.ends, int32(len(t.data)))
}

func (t *texts) appendString(v string) {
	t.data = append(t.data, v...)
	t.ends = append(t.ends, int32(len(t.data)))
}

// column ends the column; the caller releases it.
func (t *texts) column() arrow.Array {
	data := array.NewData(arrow.BinaryTypes.String, len(t.ends)-1, []*memory.Buffer{
		nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(t.ends)), memory.NewBufferBytes(t.data),
	}, nil, 0, 0)
	defer data.Release()
	t.data, t.ends = nil, nil
	return array.NewStringData(data)
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
