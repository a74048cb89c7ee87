package plugin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/scope"
)

func TestAnswersAreSharedForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAnswers[map[place]part]()
		var asked atomic.Int32
		one := map[place]part{{Unit: "310000"}: {N: 1}}
		slow := func(context.Context) (map[place]part, error) {
			asked.Add(1)
			time.Sleep(time.Second)
			return one, nil
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				got, err := a.get(t.Context(), "q", "", slow)
				require.NoError(t, err)
				require.Equal(t, one, got)
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, asked.Load(), "eight at one time are one question")
		_, _ = a.get(t.Context(), "q", "", slow)
		require.EqualValues(t, 1, asked.Load(), "and a moment later it is still answered")
		_, _ = a.get(t.Context(), "another scope", "", slow)
		require.EqualValues(t, 2, asked.Load(), "another key is another question")
		time.Sleep(fresh)
		_, _ = a.get(t.Context(), "q", "", slow)
		require.EqualValues(t, 3, asked.Load(), "an old answer is not shown again")
	})
}

func TestAnAnswerStandsWhileTheTablesDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAnswers[map[place]part]()
		asked := 0
		ask := func(state string) int {
			_, err := a.get(t.Context(), "q", state, func(context.Context) (map[place]part, error) { asked++; return nil, nil })
			require.NoError(t, err)
			return asked
		}
		require.Equal(t, 1, ask("one"))
		time.Sleep(longest - time.Second)
		require.Equal(t, 1, ask("one"))
		require.Equal(t, 2, ask("two"))
		time.Sleep(longest)
		require.Equal(t, 3, ask("two"), "not for ever")
		time.Sleep(fresh)
		require.Equal(t, 4, ask(""), "nobody knows")
	})
}

// What is found ahead is found again before it is too old to be shown.
func TestAheadNothingGetsTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, asked := newAnswers[map[place]part](), 0
		get := func(ctx context.Context) int {
			_, err := a.get(ctx, "q", "a", func(context.Context) (map[place]part, error) { asked++; return nil, nil })
			require.NoError(t, err)
			return asked
		}
		ahead := scope.Slowly(t.Context())
		require.Equal(t, 1, get(ahead))
		time.Sleep(early - time.Second)
		require.Equal(t, 1, get(ahead))
		time.Sleep(2 * time.Second)
		require.Equal(t, 1, get(t.Context()), "it can be shown")
		require.Equal(t, 2, get(ahead))
		time.Sleep(longest - time.Second)
		require.Equal(t, 2, get(t.Context()))
	})
}

// A state changes with what is written and deleted, and not with merges.
func TestTheStateOfTheTables(t *testing.T) {
	db := chartstest.New(t, "charts_state")
	d := open(t, Config{URL: db.DSN(), Today: today})
	now := func(tables ...string) string {
		d.state.forget()
		return d.state.current(t.Context(), d, tables...)
	}
	require.Empty(t, now(), "no table holds anything")
	row := func(id string) { db.Insert(t, "station", chartstest.Row{"record_id": id, "reporting_unit": "310000"}) }
	row("a")
	first := now()
	require.NotEmpty(t, first)
	require.Equal(t, first, now())
	row("b")
	second := now()
	require.NotEqual(t, first, second)
	station, org := now("station"), now("org")
	db.Insert(t, "org", chartstest.Row{"record_id": "a", "reporting_unit": "310000", "uscc": "521100000000000001"})
	require.Equal(t, station, now("station"), "what came to another table is not its business")
	require.NotEqual(t, org, now("org"))
	second = now()
	db.Exec(t, "OPTIMIZE TABLE station FINAL")
	require.Equal(t, second, now())
	db.Exec(t, "ALTER TABLE station DELETE WHERE record_id = 'a' SETTINGS mutations_sync = 2")
	third := now()
	require.NotEqual(t, second, third)
	db.Exec(t, "OPTIMIZE TABLE station FINAL")
	require.Equal(t, third, now())
	row("c")
	require.NotEqual(t, third, now())
	db.Exec(t, "RENAME TABLE station TO elsewhere")
	require.NotEqual(t, third, now())
}

func TestAnErrorIsNotRemembered(t *testing.T) {
	a := newAnswers[map[place]part]()
	fault := errors.New("the server is down")
	_, err := a.get(t.Context(), "q", "", func(context.Context) (map[place]part, error) { return nil, fault })
	require.ErrorIs(t, err, fault)
	_, err = a.get(t.Context(), "q", "", func(context.Context) (map[place]part, error) { return nil, nil })
	require.NoError(t, err)
}

// One who goes away must not take the answer from those who wait with him, and a
// question for which nobody waits must not run on.
func TestWhoGoesAwayLeavesTheQuestionToTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAnswers[map[place]part]()
		ended := make(chan error, 1)
		ask := func(ctx context.Context) (map[place]part, error) {
			select {
			case <-ctx.Done():
				ended <- ctx.Err()
				return nil, ctx.Err()
			case <-time.After(time.Minute):
				ended <- nil
				return map[place]part{}, nil
			}
		}
		first, leave := context.WithCancel(t.Context())
		errs := make(chan error, 2)
		go func() { _, err := a.get(first, "q", "", ask); errs <- err }()
		synctest.Wait()
		go func() { _, err := a.get(t.Context(), "q", "", ask); errs <- err }()
		synctest.Wait()
		leave()
		require.ErrorIs(t, <-errs, context.Canceled)
		require.NoError(t, <-errs)
		require.NoError(t, <-ended)

		alone, leave := context.WithCancel(t.Context())
		go func() { _, err := a.get(alone, "other", "", ask); errs <- err }()
		synctest.Wait()
		leave()
		require.ErrorIs(t, <-errs, context.Canceled)
		require.ErrorIs(t, <-ended, context.Canceled)
	})
}

func TestTheMemoryOfAnswersIsBounded(t *testing.T) {
	a := newAnswers[map[place]part]()
	for i := range 3 * mostAnswers {
		_, err := a.get(t.Context(), fmt.Sprint(i), "", func(context.Context) (map[place]part, error) { return nil, nil })
		require.NoError(t, err)
	}
	require.LessOrEqual(t, len(a.kept), mostAnswers)
}

// Which records another one replaces is found once and then left out by number: one
// that comes later must not count beside the one that it replaces.
func TestWhatReplacesARecordCountsAlone(t *testing.T) {
	db := chartstest.New(t, "charts_replaced")
	joins(t, db, 1)
	attends := func(record string, hours, version int) {
		db.Insert(t, "attendance", chartstest.Row{"record_id": record, "reporting_unit": "310000", "session_id": "s", "id_number_token": chartstest.Person(1), "hours_earned": hours, "passed": true,
			"effective_from": "2016-02-01", "_version": version})
	}
	attends("a", 10, 1)
	d := open(t, Config{URL: db.DSN(), Today: today, SuppressBelow: -1})
	hours := func() float64 {
		d.state.forget()
		v, _ := ask(t, d, `{"indicator":"I-17"}`).FieldByName("value")
		return *v.At(0).(*float64)
	}
	require.InDelta(t, 10, hours(), 0)
	require.NotEmpty(t, d.hashed.kept, "it was found apart")
	attends("b", 20, 2)
	require.InDelta(t, 20, hours(), 0)
	attends("a", 30, 3)
	require.InDelta(t, 30, hours(), 0)
}

// What is under way reads what there was before: who knows of newer data does not
// wait for it.
func TestNobodyJoinsAQuestionOfOlderData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAnswers[int]()
		ask := func(state string, answer int) int {
			got, err := a.get(t.Context(), "q", state, func(context.Context) (int, error) {
				time.Sleep(time.Second)
				return answer, nil
			})
			require.NoError(t, err)
			return got
		}
		old := make(chan int)
		go func() { old <- ask("one", 1) }()
		synctest.Wait()
		require.Equal(t, 2, ask("two", 2))
		require.Equal(t, 1, <-old)
		require.Equal(t, 2, ask("two", 3), "the older answer takes no newer one's place")
	})
}
