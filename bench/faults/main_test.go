package main

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/testenv"
)

func TestMain(m *testing.M) {
	if os.Getenv("DUIWU_SAY_TIME") != "" {
		sayTime()
		return
	}
	testenv.Main(m)
}

// laboratory is started once for all tests of this package.
var laboratory struct {
	once sync.Once
	b    *bench
	err  error
}

func testBench(t *testing.T) *bench {
	t.Helper()
	if !testenv.Full() {
		t.Skip("faults are made on real servers, for minutes: DUIWU_TEST=full")
	}
	lib, jars := testenv.LibCHDB(t), testenv.KafkaLib(t)
	laboratory.once.Do(func() {
		laboratory.b, laboratory.err = func() (*bench, error) {
			dir, err := os.MkdirTemp("", "faults")
			if err != nil {
				return nil, err
			}
			l, err := openLab(context.Background(), dir, lib, jars)
			if err != nil {
				return nil, err
			}
			return newBench(context.Background(), l)
		}()
	})
	require.NoError(t, laboratory.err)
	return laboratory.b
}

// seed of the cells of one test run: another one each time, said in the output.
func testSeed(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("DUIWU_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("DUIWU_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// TestFaultsAtMoments draws cells of the matrix, each fault at least once; make
// soak runs all of them.
func TestFaultsAtMoments(t *testing.T) {
	b := testBench(t)
	dice := testSeed(t)
	for i := range 12 {
		m, f := moments[dice.IntN(len(moments))], faults[i%len(faults)]
		if !m.meets(f) {
			continue
		}
		r, err := b.run(t.Context(), m, f)
		require.NoError(t, err, "%s / %s", m.says, f.name)
		require.Empty(t, r.Problems, "%s / %s", m.says, f.name)
	}
}

// TestSituations draws some of the other faults.
func TestSituations(t *testing.T) {
	b := testBench(t)
	dice := testSeed(t)
	for _, i := range dice.Perm(len(situations))[:4] {
		s := situations[i]
		r, err := s.run(t.Context(), b)
		require.NoError(t, err, s.name)
		require.Empty(t, r.Problems, s.name)
	}
}

// TestTheTablesAreAFunctionOfTheRecords sends and reads the same records in
// some of the other ways.
func TestTheTablesAreAFunctionOfTheRecords(t *testing.T) {
	b := testBench(t)
	dice := testSeed(t)
	seed := dice.Uint64()
	for _, i := range dice.Perm(len(variants))[:6] {
		v := variants[i]
		t.Run(v.name, func(t *testing.T) {
			problems, err := b.metamorphic(t.Context(), v, seed)
			require.NoError(t, err)
			require.Empty(t, problems)
		})
	}
}

// TestRandomSchedule is one short round of make soak ARGS="--seed N --for D".
func TestRandomSchedule(t *testing.T) {
	b := testBench(t)
	schedule, problems, err := b.round(t.Context(), testSeed(t).Uint64())
	require.NoError(t, err, "%v", schedule)
	require.Empty(t, problems, "%v", schedule)
}
