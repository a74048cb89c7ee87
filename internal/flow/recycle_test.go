package flow_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/flow"
)

// Every buffer is as long as was asked for, zero, aligned as Arrow wants it, and
// nobody else's, whatever happened to its memory before.
func TestRecycledMemoryIsAsGoodAsNew(t *testing.T) {
	var mem flow.Recycler
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 1))
			mark := byte(worker + 1)
			held := make([][]byte, 8)
			for range 3000 {
				i := r.IntN(len(held))
				size := 1 + r.IntN(1<<(4+r.IntN(16)))
				switch old := held[i]; {
				case old == nil:
					held[i] = mem.Allocate(size)
					zero(t, held[i])
				case r.IntN(2) == 0:
					whole(t, old, mark)
					mem.Free(old)
					held[i] = nil
					continue
				default:
					whole(t, old, mark)
					held[i] = mem.Reallocate(size, old)
					kept := min(len(old), size)
					whole(t, held[i][:kept], mark)
					zero(t, held[i][kept:])
				}
				if len(held[i]) != size || uintptr(unsafe.Pointer(&held[i][0]))%64 != 0 {
					t.Errorf("%d bytes asked for, %d given at %p", size, len(held[i]), &held[i][0])
				}
				for k := range held[i] {
					held[i][k] = mark
				}
			}
		})
	}
	wg.Wait()
}

func zero(t *testing.T, b []byte) { t.Helper(); whole(t, b, 0) }
func whole(t *testing.T, b []byte, mark byte) {
	t.Helper()
	if n := bytes.Count(b, []byte{mark}); n != len(b) {
		t.Errorf("%d of %d bytes are not %d", len(b)-n, len(b), mark)
	}
}

// The room that nobody asked for is at most a fifth of what is held.
func TestRecycledRoomIsBounded(t *testing.T) {
	var mem flow.Recycler
	for size := 1; size < 1<<22; size += 1 + size/37 {
		b := mem.Allocate(size)
		if room := cap(b) - size; room > 64 && room > cap(b)/5 {
			t.Errorf("%d bytes take %d", size, cap(b))
		}
	}
}

// What was released is what is handed out next: that is the point.
func TestReleasedMemoryIsUsedAgain(t *testing.T) {
	var mem flow.Recycler
	f := func(size int) {
		t.Helper()
		allocated := testing.AllocsPerRun(200, func() { mem.Free(mem.Allocate(size)) })
		require.Less(t, allocated, 0.5, fmt.Sprint(size))
	}
	f(1<<14 + 1)
	f(100_000)
	f(1 << 22)
}

func BenchmarkRecycler(b *testing.B) {
	var mem flow.Recycler
	for b.Loop() {
		mem.Free(mem.Allocate(1 << 20))
	}
	b.SetBytes(1 << 20)
}
