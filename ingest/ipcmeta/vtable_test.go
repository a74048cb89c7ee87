package ipcmeta_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/ipcmeta"
)

// TestAVTableOfAnOddSize: one byte less in a vtable leaves half of its last field,
// and Arrow's reader reads that field all the same. A walk that takes it for absent
// lets pass a count of buffers for which the reader makes 16 GB of room.
func TestAVTableOfAnOddSize(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "record_id", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.StringBuilder).AppendValues([]string{"a", "b"}, nil)
	rec := b.NewRecord()
	defer rec.Release()
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(schema))
	require.NoError(t, w.Write(rec))
	stream := buf.Bytes()
	u32 := func(b []byte, at int) int { return int(binary.LittleEndian.Uint32(b[at:])) }
	// The second frame, behind a schema without a body, is the batch.
	const prefix = 8
	second := prefix + u32(stream, 4) + prefix

	f := func(vtable, buffers int, sane bool) {
		t.Helper()
		raw := bytes.Clone(stream)
		meta := raw[second:][:u32(raw, second-4)]
		vtableOf := func(table int) int { return table - u32(meta, table) }
		field := func(table, slot int) int {
			return table + int(binary.LittleEndian.Uint16(meta[vtableOf(table)+4+2*slot:]))
		}
		message := u32(meta, 0)
		header := field(message, 2)
		batch := header + u32(meta, header)
		vector := field(batch, 2)
		count := vector + u32(meta, vector)
		require.Equal(t, 3, u32(meta, count), "validity, offsets and text")
		require.EqualValues(t, 4+2*3, binary.LittleEndian.Uint16(meta[vtableOf(batch):]), "length, nodes, buffers")
		binary.LittleEndian.PutUint16(meta[vtableOf(batch):], uint16(vtable))
		binary.LittleEndian.PutUint32(meta[count:], uint32(buffers))
		_, ok := ipcmeta.Body(meta)
		require.Equal(t, sane, ok)
		if !sane {
			return
		}
		plain, ok := ipcmeta.Plain(meta)
		require.True(t, ok)
		require.Len(t, plain.Buffers, 16*buffers)
		rd, err := ipc.NewReader(bytes.NewReader(raw))
		require.NoError(t, err)
		defer rd.Release()
		require.True(t, rd.Next(), "the reader finds its buffers: %v", rd.Err())
		require.Equal(t, "b", rd.Record().Column(0).(*array.String).Value(1))
	}
	const whole, half, lie = 4 + 2*3, 4 + 2*2 + 1, 1 << 30
	f(whole, 3, true)
	f(half, 3, true)
	f(whole, lie, false)
	f(half, lie, false)
}
