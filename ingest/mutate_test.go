package ingest

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/feed"
)

// TestAMutatedArrowMessageCannotKillTheWorker: one wrong length in the metadata
// of a message made Arrow's reader ask for more memory than there is, which no
// recover catches. Every mutation must end as rows or as a reject.
func TestAMutatedArrowMessageCannotKillTheWorker(t *testing.T) {
	cat, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	mem := memory.DefaultAllocator
	b := array.NewRecordBuilder(mem, arrow.NewSchema([]arrow.Field{
		{Name: "record_id", Type: arrow.BinaryTypes.String},
		{Name: "op", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}},
		{Name: "effective_from", Type: arrow.FixedWidthTypes.Date32},
	}, nil))
	defer b.Release()
	for _, id := range []string{"a", "b", "c"} {
		b.Field(0).(*array.StringBuilder).Append(id)
		require.NoError(t, b.Field(1).(*array.BinaryDictionaryBuilder).AppendString("U"))
		b.Field(2).(*array.Date32Builder).Append(17000)
	}
	rec := b.NewRecord()
	defer rec.Release()
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(rec.Schema()))
	require.NoError(t, w.Write(rec))
	require.NoError(t, w.Close())

	texts := envelopeStream(t, 5, func(int) string { return "310000" })

	seed := uint64(time.Now().UnixNano())
	dice := rand.New(rand.NewPCG(seed, 0))
	n := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); n++ {
		raw := bytes.Clone([][]byte{buf.Bytes(), texts}[n%2])
		for range 1 + dice.IntN(6) {
			at := dice.IntN(len(raw))
			switch dice.IntN(3) {
			case 0:
				raw[at] ^= 1 << dice.IntN(8)
			case 1:
				raw[at] = byte(dice.IntN(256))
			case 2:
				raw[at] = [...]byte{0, 0xFF, 0x7F, 0x80}[dice.IntN(4)]
			}
		}
		d := NewDecoder(cat, mem, "310000", 0)
		err := d.Add(&Message{Value: raw, Headers: []Header{
			{Key: []byte(HeaderContentType), Value: []byte(TypeArrow)}, {Key: []byte(HeaderFeed), Value: []byte([]string{"org", "worker"}[n%2])},
		}})
		require.NoError(t, err, "seed %d", seed)
		parts, rejects, tally := d.Flush()
		var received int64
		for _, c := range tally {
			received += c.Received
		}
		rows := int64(len(rejects))
		for _, p := range parts {
			rows += p.Rows.NumRows()
			for _, c := range p.Rows.Columns() {
				for i := range c.Len() {
					_ = c.ValueStr(i) // panics where offsets fall
				}
			}
			p.Rows.Release()
		}
		require.Equal(t, received, rows, "seed %d", seed)
		require.Positive(t, rows, "seed %d", seed)
		d.Release()
	}
	require.Greater(t, n, 100)
}
