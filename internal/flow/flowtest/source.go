package flowtest

import (
	"context"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// SourceUnder is a source under test over one partition that starts empty.
type SourceUnder struct {
	// Append adds n messages of one good record each and returns when they can
	// be read.
	Append func(t *testing.T, n int)
	// Open opens the source behind last (known false: at the beginning) and
	// returns what closes it.
	Open func(t *testing.T, known bool, last int64, sum uint64) (flow.Source, func())
	// Committed is the next offset as told by Commit, -1 when nothing was.
	Committed func(t *testing.T) int64
}

// Source checks what flow.Run relies on: offsets in order without gap or
// overlap, resuming behind any cut, commits, and an end that comes with ctx.
func Source(t *testing.T, s SourceUnder) {
	const n = 250
	s.Append(t, n)
	var spans []flow.Span
	var sums []uint64

	t.Run("order", func(t *testing.T) {
		src, done := s.Open(t, false, 0, 0)
		defer done()
		seen := int64(0)
		for want := int64(0); want < n; {
			cut := next(t, src)
			require.Equal(t, want, cut.Span.First, "a span begins behind the one before")
			require.GreaterOrEqual(t, cut.Span.Last, cut.Span.First)
			require.WithinDuration(t, time.Now(), cut.Arrived, time.Minute)
			for _, p := range cut.Parts {
				i := p.Rows.Schema().FieldIndices(feed.ColOffset)
				for _, off := range p.Rows.Column(i[0]).(*array.Int64).Int64Values() {
					require.Equal(t, seen, off, "every message once, in order")
					seen++
				}
			}
			var received int64
			for _, c := range cut.Tally {
				received += c.Received
			}
			require.Equal(t, cut.Span.Last-cut.Span.First+1, received)
			require.NotZero(t, cut.LastSum)
			spans, sums = append(spans, cut.Span), append(sums, cut.LastSum)
			want = cut.Span.Last + 1
			cut.Release()
		}
		require.EqualValues(t, n, seen)
	})

	t.Run("resume", func(t *testing.T) {
		for i, span := range spans[:len(spans)-1] {
			src, done := s.Open(t, true, span.Last, sums[i])
			cut := next(t, src)
			require.Equal(t, span.Last+1, cut.Span.First)
			cut.Release()
			done()
		}
	})

	t.Run("commit", func(t *testing.T) {
		src, done := s.Open(t, false, 0, 0)
		defer done()
		cut := next(t, src)
		defer cut.Release()
		require.NoError(t, src.Commit(t.Context(), cut.Span))
		require.Equal(t, cut.Span.Last+1, s.Committed(t))
	})

	t.Run("wait", func(t *testing.T) {
		src, done := s.Open(t, true, n-1, sums[len(sums)-1])
		defer done()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		begun := time.Now()
		_, err := src.Next(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded, "nothing to read is no cut")
		require.Less(t, time.Since(begun), time.Second)
	})

	t.Run("late", func(t *testing.T) {
		src, done := s.Open(t, true, n-1, sums[len(sums)-1])
		defer done()
		time.AfterFunc(100*time.Millisecond, func() { s.Append(t, 1) })
		cut := next(t, src)
		defer cut.Release()
		require.EqualValues(t, n, cut.Span.First)
		require.EqualValues(t, n, cut.Span.Last)
	})
}

func next(t *testing.T, src flow.Source) flow.Cut {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cut, err := src.Next(ctx)
	require.NoError(t, err)
	return cut
}
