package transform

import (
	"encoding/binary"
	"math/bits"

	"github.com/zeebo/xxh3"

	"github.com/duiwu/duiwu/internal/flow"
)

// Newest is the dedupe state of one assigned partition: record key -> newest
// version. It is an open-addressing table of 32-byte slots with linear probing,
// in parts that grow by half, each for itself, when they are 85 % full. No two
// parts begin alike, so they do not grow together: a key costs about 46 bytes
// whatever the number of keys, and while a part grows what stands beside it is
// no second table but its own old slots.
//
// The key is a 128-bit hash: among 50 million keys the chance that any two meet
// is below 10^-23.
type Newest struct {
	parts [parts]part
	used  int
	slots int
}

// part holds the keys that begin with its number.
type part struct {
	slots []slot
	used  int
}

type slot struct {
	key     key // zero means free
	version flow.Version
}

// SlotBytes is the size of one slot; Bytes()/Len() gives the real cost a key.
const SlotBytes = 32

const (
	partBits = 5
	parts    = 1 << partBits
	minSlots = 16
)

// Len is the number of keys, Bytes the memory of the table.
func (t *Newest) Len() int   { return t.used }
func (t *Newest) Bytes() int { return t.slots * SlotBytes }

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
func (p *part) find(k key) *slot {
	n := uint64(len(p.slots))
	i, _ := bits.Mul64(k[0]<<partBits, n)
	for {
		s := &p.slots[i]
		if s.key == k || s.key == (key{}) {
			return s
		}
		if i++; i == n {
			i = 0
		}
	}
}

// touch reads where a key would stand. The processor waits for the memory of some
// keys at a time if they are touched one behind the other before they are met.
func (t *Newest) touch(k key) uint64 {
	p := &t.parts[k[0]>>(64-partBits)]
	if p.used == 0 {
		return 0
	}
	i, _ := bits.Mul64(k[0]<<partBits, uint64(len(p.slots)))
	return p.slots[i].key[0]
}

// meet returns the slot of a key, whose key is still zero if it is not known. It is
// valid until the next call.
func (t *Newest) meet(k key) *slot {
	i := k[0] >> (64 - partBits)
	p := &t.parts[i]
	if p.used >= len(p.slots)*85/100 {
		old := len(p.slots)
		p.grow(minSlots + minSlots*int(i)/(2*parts))
		t.slots += len(p.slots) - old
	}
	return p.find(k)
}

// set remembers v as the newest version of a key, in the slot where it was met.
func (t *Newest) set(s *slot, k key, v flow.Version) {
	if s.key != k {
		s.key = k
		t.parts[k[0]>>(64-partBits)].used++
		t.used++
	}
	s.version = v
}

// put remembers v as the newest version of a key.
func (t *Newest) put(k key, v flow.Version) { t.set(t.meet(k), k, v) }

func (p *part) grow(least int) {
	old := p.slots
	p.slots = make([]slot, max(least, len(old)+len(old)/2))
	for i := range old {
		if old[i].key != (key{}) {
			*p.find(old[i].key) = old[i]
		}
	}
}
