// Package flowtest holds the contract suites of flow's interfaces.
package flowtest

import (
	"context"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/flow"
)

// SinkHarness is what the suite needs to know about a sink.
type SinkHarness struct {
	// Assign takes the partition over. broken makes Write fail after it has
	// written the cut's rows and before it has recorded the cut, as a kill would.
	Assign func(t testing.TB, partition int32, broken bool) (sink flow.Sink, next int64)
	// Cut makes a cut of one record an offset; what the records hold depends on
	// partition and offset only. Its rows come from mem.
	Cut func(mem memory.Allocator, partition int32, first, last int64) flow.Cut
	// Tables prints what a reader of all tables sees, without clocks and epochs.
	Tables func(t testing.TB, partition int32) string
}

// Sink checks what flow.Sink promises.
func Sink(t *testing.T, h SinkHarness) {
	write := func(t *testing.T, s flow.Sink, partition int32, first, last int64) error {
		mem := Memory()
		cut := h.Cut(mem, partition, first, last)
		err := s.Write(context.Background(), cut)
		cut.Release()
		mem.AssertSize(t, 0)
		return err
	}

	t.Run("writing twice is writing once", func(t *testing.T) {
		once, _ := h.Assign(t, 1, false)
		require.NoError(t, write(t, once, 1, 0, 9))
		want := h.Tables(t, 1)
		require.NotEmpty(t, want)
		require.NoError(t, write(t, once, 1, 0, 9))
		require.Equal(t, want, h.Tables(t, 1))
	})

	t.Run("a new assignment resumes behind the last cut", func(t *testing.T) {
		first, next := h.Assign(t, 2, false)
		require.Zero(t, next)
		require.NoError(t, write(t, first, 2, 0, 4))
		second, next := h.Assign(t, 2, false)
		require.EqualValues(t, 5, next)
		require.NoError(t, write(t, second, 2, 5, 9))
		_, next = h.Assign(t, 2, false)
		require.EqualValues(t, 10, next)
	})

	t.Run("a cut that died half written is replayed to the same tables", func(t *testing.T) {
		quiet, _ := h.Assign(t, 3, false)
		require.NoError(t, write(t, quiet, 3, 0, 9))
		require.NoError(t, write(t, quiet, 3, 10, 19))
		want := h.Tables(t, 3)

		died, _ := h.Assign(t, 4, false)
		require.NoError(t, write(t, died, 4, 0, 9))
		died, next := h.Assign(t, 4, true)
		require.EqualValues(t, 10, next)
		require.Error(t, write(t, died, 4, 10, 16))
		heir, next := h.Assign(t, 4, false)
		require.EqualValues(t, 10, next, "what was not recorded is not durable")
		require.NoError(t, write(t, heir, 4, 10, 19))
		require.Equal(t, want, h.Tables(t, 4))
	})

	t.Run("a worker that was taken over cannot record a cut", func(t *testing.T) {
		old, _ := h.Assign(t, 5, false)
		require.NoError(t, write(t, old, 5, 0, 9))
		heir, next := h.Assign(t, 5, false)
		require.EqualValues(t, 10, next)
		err := write(t, old, 5, 10, 19)
		require.ErrorIs(t, err, flow.ErrFenced)
		require.False(t, flow.IsPermanent(err), "no operator is needed")
		require.NoError(t, write(t, heir, 5, 10, 14))
		_, next = h.Assign(t, 5, false)
		require.EqualValues(t, 15, next)
	})
}
