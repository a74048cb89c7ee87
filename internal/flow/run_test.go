package flow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
)

// rig is a source of n cuts and a sink that writes down what happens.
type rig struct {
	mem  memory.Allocator
	n    int
	log  []string
	fail map[int]error // by the count of Write calls, from 1
	call int
	bad  bool // the tally does not add up
}

func (r *rig) Next(ctx context.Context) (Cut, error) {
	if r.n == 0 {
		<-ctx.Done()
		return Cut{}, ctx.Err()
	}
	r.n--
	b := array.NewInt64Builder(r.mem)
	defer b.Release()
	b.AppendValues([]int64{1, 2, 3}, nil)
	col := b.NewArray()
	defer col.Release()
	rec := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Int64}}, nil), []arrow.Array{col}, 3)
	cut := Cut{Span: Span{Topic: "t", First: 0, Last: 2}, Parts: []Batch{{Rows: rec}}, Tally: Tally{}}
	c := cut.Tally.Of("f", "b")
	c.Received, c.By[New] = 3, 3
	if r.bad {
		c.By[Duplicate] = 1
	}
	r.log = append(r.log, "next")
	return cut, nil
}

func (r *rig) Apply(_ context.Context, in Cut) (Cut, error) {
	out := in
	out.Parts = []Batch{{Rows: in.Parts[0].Rows.NewSlice(0, 2)}}
	r.log = append(r.log, "apply")
	return out, nil
}

func (r *rig) Write(_ context.Context, c Cut) error {
	r.call++
	r.log = append(r.log, fmt.Sprint("write ", c.Parts[0].Rows.NumRows()))
	return r.fail[r.call]
}

func (r *rig) Commit(context.Context, Span) error {
	r.log = append(r.log, "commit")
	return nil
}

func (r *rig) run(t *testing.T, ctx context.Context) error {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	r.mem = mem
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	return Run(ctx, r, []Step{r}, r, Options{
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), RetryMin: time.Second, RetryMax: time.Minute,
	})
}

func TestRunWritesBeforeItCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		r := &rig{n: 2}
		require.NoError(t, r.run(t, ctx), "the end of ctx is no error")
		require.Equal(t, "next apply write 2 commit next apply write 2 commit", strings.Join(r.log, " "))
	})
}

func TestRunTriesTheSameCutAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		away := errors.New("the server is away")
		r := &rig{n: 1, fail: map[int]error{1: away, 2: away, 3: away}}
		start := time.Now()
		require.NoError(t, r.run(t, ctx))
		require.Equal(t, "next apply write 2 write 2 write 2 write 2 commit", strings.Join(r.log, " "))
		require.Equal(t, time.Hour, time.Since(start))
	})
}

func TestRunStopsAtAPermanentError(t *testing.T) {
	r := &rig{n: 2, fail: map[int]error{1: Permanent(errors.New("no such table"))}}
	err := r.run(t, t.Context())
	require.True(t, IsPermanent(err))
	require.ErrorContains(t, err, "cannot write t/0@0-2: no such table")
	require.NotContains(t, r.log, "commit")
}

func TestRunEndsWhenAnotherWorkerHasThePartition(t *testing.T) {
	r := &rig{n: 2, fail: map[int]error{1: fmt.Errorf("epoch 4: %w", ErrFenced)}}
	err := r.run(t, t.Context())
	require.ErrorIs(t, err, ErrFenced)
	require.False(t, IsPermanent(err), "no operator is needed")
	require.Equal(t, "next apply write 2", strings.Join(r.log, " "))
}

func TestRunEndsWhileItWaitsToTryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer stop()
		away := errors.New("the server is away")
		fail := map[int]error{}
		for i := range 100 {
			fail[i] = away
		}
		r := &rig{n: 1, fail: fail}
		require.NoError(t, r.run(t, ctx))
		require.NotContains(t, r.log, "commit")
	})
}

func TestRunPanicsWhenACutDoesNotBalance(t *testing.T) {
	r := &rig{n: 1, bad: true}
	require.PanicsWithValue(t, `BUG: t/0@0-2 feed "f" batch "b": received 3 does not equal the sum of its outcomes [3 0 0 0 0 0 1 0]`,
		func() { _ = r.run(t, t.Context()) })
}

func TestVersionOrder(t *testing.T) {
	f := func(low, high Version) {
		t.Helper()
		require.Negative(t, low.Compare(high))
		require.Positive(t, high.Compare(low))
		require.Zero(t, low.Compare(low))
	}
	f(MakeVersion(1, false, 1<<47-1, 9), MakeVersion(2, false, 0, 0))
	f(MakeVersion(1, true, 1<<47-1, 9), MakeVersion(1, false, 0, 0))
	f(MakeVersion(1, false, 3, 9), MakeVersion(1, false, 4, 0))
	f(MakeVersion(1, false, 3, 8), MakeVersion(1, false, 3, 9))
}
