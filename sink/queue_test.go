package sink

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestQueueJoinsWhatComesMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q queue[int]
		var posts []string
		bad := 0
		post := func(ctx context.Context, items []int) error {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
			posts = append(posts, fmt.Sprint(items))
			for _, i := range items {
				if i == bad {
					return errors.New("bad item")
				}
			}
			return nil
		}
		results := map[int]error{}
		f := func(ctx context.Context, rows int64, items ...int) {
			for _, i := range items {
				go func() { results[i] = q.do(ctx, i, rows, post) }()
				synctest.Wait()
			}
		}
		check := func(want ...string) {
			t.Helper()
			time.Sleep(time.Minute)
			synctest.Wait()
			require.Equal(t, want, posts)
			require.False(t, q.busy)
			require.Empty(t, q.waiting)
			posts = nil
		}
		ctx := t.Context()
		f(ctx, 1, 1, 2, 3, 4)
		check("[1]", "[2 3 4]")
		require.Equal(t, map[int]error{1: nil, 2: nil, 3: nil, 4: nil}, results)

		f(ctx, maxJoined/2, 1, 2, 3, 4)
		check("[1]", "[2 3]", "[4]")

		// One item that the server refuses fails for itself only.
		bad = 3
		clear(results)
		f(ctx, 1, 1, 2, 3, 4)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.ElementsMatch(t, []string{"[1]", "[2 3 4]", "[2]", "[3]", "[4]"}, posts)
		require.EqualError(t, results[3], "bad item")
		delete(results, 3)
		require.Equal(t, map[int]error{1: nil, 2: nil, 4: nil}, results)
		posts = nil
		check()

		// Whoever is stopped takes nobody along: while it waits, and while it leads.
		bad = 0
		clear(results)
		stopped, stop := context.WithCancel(ctx)
		f(ctx, 1, 1)
		f(stopped, 1, 2)
		f(ctx, 1, 3)
		time.Sleep(1500 * time.Millisecond)
		stop()
		synctest.Wait()
		require.ErrorIs(t, results[2], context.Canceled)
		check("[1]", "[3]")
		require.NoError(t, results[3])
		stopped, stop = context.WithCancel(ctx)
		f(ctx, 1, 1)
		f(stopped, 1, 2)
		f(ctx, 1, 3)
		stop()
		check("[1]", "[3]")
	})
}
