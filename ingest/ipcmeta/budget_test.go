package ipcmeta

import (
	"testing"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
)

func TestBudget(t *testing.T) {
	refuses := func(fn func()) {
		t.Helper()
		require.PanicsWithValue(t, ErrBudget, fn)
	}
	live := Live(100)
	for range 10 {
		live.Free(live.Reallocate(80, live.Allocate(20)))
	}
	refuses(func() { live.Reallocate(60, live.Allocate(60)) })
	total := Total(100, memory.DefaultAllocator)
	total.Free(total.Allocate(60))
	refuses(func() { total.Allocate(60) })
	refuses(func() { Live(100).Allocate(-1) })
}
