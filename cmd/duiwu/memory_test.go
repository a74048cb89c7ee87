package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheSoftLimitFollowsTheControlGroup reads both versions' files; "max" and
// version 1's huge number are no limit.
func TestTheSoftLimitFollowsTheControlGroup(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "")
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	f := func(content string, want int64) {
		t.Helper()
		debug.SetMemoryLimit(before)
		file := filepath.Join(t.TempDir(), "memory.max")
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		require.Equal(t, want, limitMemory(filepath.Join(t.TempDir(), "absent"), file))
		if want == 0 {
			want = before
		}
		require.Equal(t, want, debug.SetMemoryLimit(-1))
	}
	f("2147483650\n", 1932735285)
	f("max\n", 0)
	f("9223372036854771712\n", 0)
	t.Setenv("GOMEMLIMIT", "1GiB")
	f("2147483650\n", 0)
}
