package ipcmeta

import (
	"errors"

	"github.com/apache/arrow/go/v15/arrow/memory"
)

// ErrBudget is what a Budget panics with; Arrow's allocators have no other way
// to refuse.
var ErrBudget = errors.New("asks for more memory than its budget")

// Budget is an allocator that gives no more than it has: a few bytes of metadata
// can ask for any amount, and running out of memory cannot be recovered from. It is
// not safe for concurrent use.
type Budget struct {
	mem  memory.Allocator
	left int
	live bool
}

// Total bounds all that is ever asked of mem, and with it the work that unpacking
// a small message can cost.
func Total(n int, mem memory.Allocator) *Budget { return &Budget{mem: mem, left: n} }

// Live bounds what is held at one time.
func Live(n int) *Budget { return &Budget{mem: memory.DefaultAllocator, left: n, live: true} }

func (b *Budget) take(n int) {
	if n < 0 || n > b.left {
		panic(ErrBudget)
	}
	b.left -= n
}

// Allocate implements memory.Allocator.
func (b *Budget) Allocate(n int) []byte {
	b.take(n)
	return b.mem.Allocate(n)
}

// Reallocate implements memory.Allocator.
func (b *Budget) Reallocate(n int, old []byte) []byte {
	b.take(n)
	b.give(old)
	return b.mem.Reallocate(n, old)
}

// Free implements memory.Allocator.
func (b *Budget) Free(old []byte) {
	b.give(old)
	b.mem.Free(old)
}

func (b *Budget) give(old []byte) {
	if b.live {
		b.left += len(old)
	}
}
