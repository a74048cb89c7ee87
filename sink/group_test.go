package sink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGroupRunsWhatComesTogetherAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var runs []string
		bad, more := 0, false
		g := newGroup(10, func(ctx context.Context, items []int) error {
			mu.Lock()
			runs = append(runs, fmt.Sprint(items))
			mu.Unlock()
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
			for _, i := range items {
				if i == bad {
					return errors.New("bad item")
				}
			}
			return nil
		}, func() bool { return more })
		results := map[int]error{}
		f := func(ctx context.Context, rows int64, items ...int) {
			for _, i := range items {
				go func() {
					err := g.do(ctx, i, rows)
					mu.Lock()
					defer mu.Unlock()
					results[i] = err
				}()
				synctest.Wait()
			}
		}
		check := func(want ...string) {
			t.Helper()
			time.Sleep(time.Minute)
			synctest.Wait()
			require.Equal(t, want, runs)
			require.Nil(t, g.open)
			require.Empty(t, g.places)
			runs = nil
		}
		ctx := t.Context()
		f(ctx, 1, 1, 2, 3)
		check("[1 2 3]")
		require.Equal(t, map[int]error{1: nil, 2: nil, 3: nil}, results)

		// A party that is full waits for nobody, and takes nobody in.
		f(ctx, 5, 1, 2)
		require.Equal(t, []string{"[1 2]"}, runs)
		f(ctx, 5, 3)
		check("[1 2]", "[3]")

		// Nobody is expected: a short silence ends the gathering.
		f(ctx, 1, 1)
		time.Sleep(2 * silence)
		f(ctx, 1, 2)
		check("[1]", "[2]")
		// Somebody is: a longer one does, and never more than the longest wait.
		more = true
		f(ctx, 1, 1)
		time.Sleep(longSilence / 2)
		f(ctx, 1, 2)
		check("[1 2]")
		for i := range 30 {
			f(ctx, 0, i)
			time.Sleep(longSilence * 3 / 5)
		}
		mu.Lock()
		first := runs[0]
		mu.Unlock()
		require.Equal(t, "[0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16]", first)
		time.Sleep(time.Minute)
		synctest.Wait()
		runs, more = nil, false

		// Who finds both places taken gathers until one is free.
		f(ctx, 10, 1, 2)
		f(ctx, 1, 3)
		time.Sleep(time.Second / 2)
		f(ctx, 1, 4)
		check("[1]", "[2]", "[3 4]")

		// An item that the server refuses fails for itself only.
		bad = 3
		clear(results)
		f(ctx, 1, 1, 2, 3, 4)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.ElementsMatch(t, []string{"[1 2 3 4]", "[1]", "[2]", "[3]", "[4]"}, runs)
		require.EqualError(t, results[3], "bad item")
		delete(results, 3)
		require.Equal(t, map[int]error{1: nil, 2: nil, 4: nil}, results)
		runs, bad = nil, 0

		// Who is stopped takes nobody along: as a guest, and as the one who leads.
		for _, leads := range []bool{false, true} {
			clear(results)
			stopped, stop := context.WithCancel(ctx)
			first, second := ctx, stopped
			if leads {
				first, second = stopped, ctx
			}
			f(first, 1, 1)
			f(second, 1, 2)
			time.Sleep(time.Second / 2)
			stop()
			time.Sleep(time.Minute)
			synctest.Wait()
			at := map[bool]int{false: 2, true: 1}[leads]
			require.ErrorIs(t, results[at], context.Canceled)
			require.NoError(t, results[3-at])
			check("[1 2]", fmt.Sprintf("[%d]", 3-at))
		}
	})
}
