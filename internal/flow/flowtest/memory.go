package flowtest

import "github.com/apache/arrow/go/v15/arrow/memory"

// Memory returns the allocator of tests that touch columns: it counts what is not
// given back, and spoils what is, so that who reads a buffer after its release
// meets rubbish instead of the rows that happen to stand there still. In
// production such a buffer holds another cut's rows (flow.Recycler).
//
// Room that need not be zero is rubbish too.
func Memory() *Checked { return &Checked{memory.NewCheckedAllocator(&spoiler{})} }

// Checked is what Memory returns.
type Checked struct{ *memory.CheckedAllocator }

// Room is flow.Recycler.Room.
func (c *Checked) Room(size int) []byte {
	b := c.Allocate(size)
	spoil(b)
	return b
}

type spoiler struct{ memory.GoAllocator }

func (s *spoiler) Reallocate(size int, b []byte) []byte {
	out := s.Allocate(size)
	copy(out, b)
	s.Free(b)
	return out
}

func (*spoiler) Free(b []byte) { spoil(b) }

func spoil(b []byte) {
	for i := range b {
		b[i] = 0xA5
	}
}
