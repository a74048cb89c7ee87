package transform

import (
	"encoding/binary"
	"math/bits"

	"github.com/zeebo/xxh3"

	"github.com/duiwu/duiwu/internal/flow"
)

// Newest is the dedupe state of one assigned partition: record key -> newest
// version. It is an open-addressing table of 32-byte slots with linear probing.
// It grows by half when 85 % full, so a key costs 38 to 56 bytes; while it grows
// the old table stands beside the new one.
//
// The key is a 128-bit hash: among 50 million keys the chance that any two meet
// is below 10^-23.
type Newest struct {
	slots []slot
	used  int
}

type slot struct {
	key     key // zero means free
	version flow.Version
}

// SlotBytes is the size of one slot; Bytes()/Len() gives the real cost a key.
const SlotBytes = 32

const minSlots = 64

// Len is the number of keys, Bytes the memory of the table.
func (t *Newest) Len() int   { return t.used }
func (t *Newest) Bytes() int { return len(t.slots) * SlotBytes }

// key is the 128-bit name of one record inside its unit.
type key [2]uint64

// keyer makes keys; feed is the feed's name.
type keyer struct{ buf []byte }

func (k *keyer) key(feed string, recordID []byte, effectiveFrom int32) key {
	k.buf = append(append(k.buf[:0], feed...), 0)
	k.buf = binary.LittleEndian.AppendUint32(k.buf, uint32(effectiveFrom))
	k.buf = append(k.buf, recordID...)
	h := xxh3.Hash128(k.buf)
	if h.Hi == 0 && h.Lo == 0 {
		h.Lo = 1
	}
	return key{h.Hi, h.Lo}
}

// find returns the slot of a key, or the free slot where it belongs.
func (t *Newest) find(k key) *slot {
	n := uint64(len(t.slots))
	i, _ := bits.Mul64(k[0], n)
	for {
		s := &t.slots[i]
		if s.key == k || s.key == (key{}) {
			return s
		}
		if i++; i == n {
			i = 0
		}
	}
}

// get returns the newest version of a key.
func (t *Newest) get(k key) (v flow.Version, known bool) {
	if t.used == 0 {
		return v, false
	}
	s := t.find(k)
	return s.version, s.key == k
}

// put remembers v as the newest version of a key.
func (t *Newest) put(k key, v flow.Version) {
	if t.used >= len(t.slots)*85/100 {
		t.grow()
	}
	s := t.find(k)
	if s.key != k {
		s.key = k
		t.used++
	}
	s.version = v
}

func (t *Newest) grow() {
	old := t.slots
	t.slots = make([]slot, max(minSlots, len(old)+len(old)/2))
	for i := range old {
		if old[i].key != (key{}) {
			*t.find(old[i].key) = old[i]
		}
	}
}
