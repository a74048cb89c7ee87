package usage_test

import (
	"bytes"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/usage"
)

func TestOfThisProcess(t *testing.T) {
	var own syscall.Rusage
	begun := time.Now()
	for time.Since(begun) < 100*time.Millisecond {
		require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &own))
	}
	cpu, err := usage.CPU(os.Getpid())
	require.NoError(t, err)
	require.InDelta(t, time.Duration(own.Utime.Nano()+own.Stime.Nano()).Seconds(), cpu.Seconds(), 0.2)
	// A process begins with the peak of the one that started it.
	held := bytes.Repeat([]byte{1}, 200<<20)
	peak, err := usage.Peak(os.Getpid())
	require.NoError(t, err)
	require.Greater(t, peak, int64(len(held)))
	require.Less(t, peak, int64(len(held))*100)
}

func TestOfNone(t *testing.T) {
	_, err := usage.CPU(1 << 30)
	require.ErrorContains(t, err, "process 1073741824")
	_, err = usage.Peak(1 << 30)
	require.ErrorContains(t, err, "process 1073741824")
}
