package transform

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/compute"
	"github.com/apache/arrow/go/v15/arrow/decimal128"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/flow/flowtest"
)

// TestPickEqualsFilter holds pick against Arrow's own filter, for every stored
// type, with nulls, on slices that begin in the middle of a byte.
func TestPickEqualsFilter(t *testing.T) {
	mem := flowtest.Memory()
	defer mem.AssertSize(t, 0)
	ctx := compute.WithAllocator(context.Background(), mem)
	var fields []arrow.Field
	for s := feed.StoreText; s <= feed.StoreByte; s++ {
		fields = append(fields, arrow.Field{Name: flow.StoreType(s).String(), Type: flow.StoreType(s), Nullable: true})
	}
	fields = append(fields, arrow.Field{Name: "u64", Type: arrow.PrimitiveTypes.Uint64})
	r := rand.New(rand.NewPCG(1, 2))
	b := array.NewRecordBuilder(mem, arrow.NewSchema(fields, nil))
	defer b.Release()
	const rows = 300
	for range rows {
		for _, col := range b.Fields() {
			text := []string{"", "a", "社工", "long enough to be seen"}[r.IntN(4)]
			switch c := col.(type) {
			case *array.ListBuilder:
				c.Append(true)
				for range r.IntN(3) {
					c.ValueBuilder().(*array.StringBuilder).Append(text)
				}
				continue
			case *array.Uint64Builder:
				c.Append(r.Uint64())
				continue
			}
			if r.IntN(5) == 0 {
				col.AppendNull()
				continue
			}
			switch c := col.(type) {
			case *array.StringBuilder:
				c.Append(text)
			case *array.Date32Builder:
				c.Append(arrow.Date32(r.Int32()))
			case *array.TimestampBuilder:
				c.Append(arrow.Timestamp(r.Int64()))
			case *array.Int64Builder:
				c.Append(r.Int64())
			case *array.Int32Builder:
				c.Append(r.Int32())
			case *array.Uint8Builder:
				c.Append(uint8(r.Int32()))
			case *array.BooleanBuilder:
				c.Append(r.IntN(2) == 0)
			case *array.Decimal128Builder:
				c.Append(decimal128.FromI64(r.Int64N(1e9)))
			case *array.FixedSizeBinaryBuilder:
				v := make([]byte, c.Type().(*arrow.FixedSizeBinaryType).ByteWidth)
				v[0], v[len(v)-1] = byte(r.Int32()), byte(r.Int32())
				c.Append(v)
			default:
				t.Fatalf("no values for %s", col.Type())
			}
		}
	}
	whole := b.NewRecord()
	defer whole.Release()
	f := func(from, to int64, share float64) {
		t.Helper()
		in := whole.NewSlice(from, to)
		defer in.Release()
		keep := make([]bool, in.NumRows())
		m := array.NewBooleanBuilder(mem)
		defer m.Release()
		for i := range keep {
			keep[i] = r.Float64() < share
			m.Append(keep[i])
		}
		mask := m.NewArray()
		defer mask.Release()
		want, err := compute.FilterRecordBatch(ctx, in, mask, compute.DefaultFilterOptions())
		require.NoError(t, err)
		defer want.Release()
		runs, n := runsOf(len(keep), func(row int) bool { return keep[row] })
		got := pick(in, runs, n, mem)
		defer got.Release()
		require.True(t, array.RecordEqual(want, got), "%d to %d, %v kept\nwant %v\ngot %v", from, to, share, want, got)
	}
	for _, share := range []float64{0, 0.1, 0.5, 0.99, 1} {
		f(0, rows, share)
		f(3, rows-5, share)
		f(13, 14, share)
		f(7, 7, share)
	}
}
