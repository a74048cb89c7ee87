package flow

import (
	"math/bits"
	"sync"
	"unsafe"

	"github.com/apache/arrow/go/v15/arrow/memory"
)

// Recycler is an Arrow allocator that gives the memory of released columns out
// again. A worker makes and drops the same few hundred large buffers for every
// cut; without it the collector runs all the time, and the kernel maps and clears
// the same pages again and again, which together were a fifth of a worker's CPU.
//
// What it hands out is zero, as Arrow's own allocator promises: a null's slot must
// not hold what stood there in another record. What nobody asks for again goes
// back to the system with the second collection after. Any number of goroutines
// may use it.
//
// A buffer that is read after its release holds another cut's rows. That is what
// the rule «borrow in, own out, one releaser» is for, and flowtest.Memory finds
// who breaks it.
type Recycler struct {
	small memory.GoAllocator
	sizes [4 * (maxRecycled - minRecycled)]sync.Pool
}

// Buffers from 2^minRecycled to 2^maxRecycled bytes are used again, in four sizes
// an octave, so that at most a fifth of a buffer is room that nobody asked for.
const minRecycled, maxRecycled = 14, 28

// sizeClass returns the class of a buffer of size bytes and the room that its
// buffers have, or class -1 for what is not used again.
func sizeClass(size int) (class, room int) {
	if size <= 1<<minRecycled || size > 1<<maxRecycled {
		return -1, size
	}
	octave := bits.Len(uint(size-1)) - 1
	step := 1 << octave / 4
	quarter := (size - 1 - 1<<octave) / step
	return 4*(octave-minRecycled) + quarter, 1<<octave + (quarter+1)*step
}

// Allocate implements memory.Allocator.
func (r *Recycler) Allocate(size int) []byte {
	class, room := sizeClass(size)
	if class < 0 {
		return r.small.Allocate(size)
	}
	b, fresh := r.take(class, room)
	b = b[:size]
	if !fresh {
		clear(b)
	}
	return b
}

// take returns a buffer of a class, and whether it is fresh and so zero.
func (r *Recycler) take(class, room int) (b []byte, fresh bool) {
	if p, ok := r.sizes[class].Get().(*byte); ok {
		return unsafe.Slice(p, room), false
	}
	return make([]byte, room), true
}

// Room is Allocate without the zeros, for columns of which every byte is written: to
// clear what is written over anyway was a fortieth of a worker's CPU. Nobody may read
// or send on what other records left there: see End.
func (r *Recycler) Room(size int) []byte {
	class, room := sizeClass(size)
	if class < 0 {
		return r.small.Allocate(size)
	}
	b, _ := r.take(class, room)
	return b[:size]
}

// End clears what a writer may send of a column's memory behind its end: Arrow sends
// columns in units of up to 64 bytes.
func End[T byte | int32 | int64](rest []T) {
	var one T
	clear(rest[:min(len(rest), 64/int(unsafe.Sizeof(one)))])
}

// Room asks an allocator for memory that need not be zero, if it knows the difference.
func Room(mem memory.Allocator, size int) []byte {
	if r, ok := mem.(interface{ Room(int) []byte }); ok {
		return r.Room(size)
	}
	return mem.Allocate(size)
}

// Reallocate implements memory.Allocator.
func (r *Recycler) Reallocate(size int, b []byte) []byte {
	if size <= cap(b) {
		old := len(b)
		b = b[:size]
		if size > old {
			clear(b[old:])
		}
		return b
	}
	out := r.Room(size)
	clear(out[copy(out, b):])
	r.Free(b)
	return out
}

// Free implements memory.Allocator.
func (r *Recycler) Free(b []byte) {
	class, room := sizeClass(cap(b))
	// Only a buffer that was handed out here has exactly a class's room.
	if class >= 0 && room == cap(b) {
		r.sizes[class].Put(unsafe.SliceData(b))
	}
}
