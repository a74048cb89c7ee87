package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

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
			bin := filepath.Join(dir, "duiwu")
			if out, err := exec.Command("go", "build", "-o", bin, "github.com/duiwu/duiwu/cmd/duiwu").CombinedOutput(); err != nil {
				t.Logf("%s", out)
				return nil, err
			}
			l, err := newLab(context.Background(), dir, bin, lib, jars)
			if err != nil {
				return nil, err
			}
			return newBench(context.Background(), l)
		}()
	})
	require.NoError(t, laboratory.err)
	return laboratory.b
}

func TestOneFault(t *testing.T) {
	b := testBench(t)
	for _, f := range faults[3:] {
		r, err := b.run(t.Context(), moments[11], f)
		require.NoError(t, err)
		t.Logf("%+v", r)
		require.Empty(t, r.Problems)
	}
}
