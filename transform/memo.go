package transform

import (
	"encoding/binary"
	"math/bits"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/value"
)

// form is what was read of one value: the text of a text column, or the number,
// day, moment or truth of any other.
type form struct {
	text      []byte // borrowed until the next value is read
	n         int64
	precision value.Precision
	// warn is the warning that the value earns, NoRule for none.
	warn feed.Rule
}

// memo remembers how texts of a field were read. Most fields of a batch hold few
// different texts, and reading one again costs ten times what finding it here
// does. Only texts that break no rule are kept, and only as long as the same
// answer is due: the batch's clock is part of some.
type memo struct {
	gen uint32
	// missed counts the texts that were not known among rows rows; rest is how many
	// blocks of rows go by before it is asked again.
	missed, rows, rest int

	slots [memoSlots]memoSlot
}

const (
	memoSlots = 1 << memoBits
	memoBits  = 7
	// memoLen is the longest text that is kept.
	memoLen = 32
)

type memoSlot struct {
	key [4]uint64
	gen uint32
	// day is the day on which the answer depends, for fields that depend on one.
	day  int32
	len  uint8
	form form
	text [memoLen]byte
}

// find returns the slot of a text and whether it holds its form.
func (m *memo) find(v []byte, day int32) (*memoSlot, bool) {
	var k [4]uint64
	n := len(v)
	if n < 8 { // most codes
		if n >= 4 {
			k[0] = uint64(binary.LittleEndian.Uint32(v)) | uint64(binary.LittleEndian.Uint32(v[n-4:]))<<32
		} else {
			k[0] = uint64(v[0]) | uint64(v[n/2])<<8 | uint64(v[n-1])<<16
		}
		s := &m.slots[k[0]*0x9E3779B97F4A7C15>>(64-memoBits)]
		// The rest of a key is zero for all texts of this length.
		if s.key[0] == k[0] && s.gen == m.gen && int(s.len) == n && s.day == day {
			return s, true
		}
		return m.miss(s, k, day, n), false
	}
	k[0], k[3] = binary.LittleEndian.Uint64(v), binary.LittleEndian.Uint64(v[n-8:])
	if n > 16 {
		k[1] = binary.LittleEndian.Uint64(v[8:])
		if n > 24 {
			k[2] = binary.LittleEndian.Uint64(v[16:])
		}
	}
	h := k[0]*0x9E3779B97F4A7C15 ^ bits.RotateLeft64(k[1]*0xC2B2AE3D27D4EB4F, 17) ^ bits.RotateLeft64(k[2]*0x165667B19E3779F9, 31) ^ k[3]*0xD6E8FEB86659FD93
	h ^= h >> 29
	s := &m.slots[h*0x9E3779B97F4A7C15>>(64-memoBits)]
	if s.gen == m.gen && s.key == k && int(s.len) == n && s.day == day {
		return s, true
	}
	return m.miss(s, k, day, n), false
}

// miss makes a slot that of another text.
func (m *memo) miss(s *memoSlot, k [4]uint64, day int32, n int) *memoSlot {
	m.missed++
	s.gen, s.key, s.day, s.len = m.gen-1, k, day, uint8(n)
	return s
}

// worth says whether a block of rows had better ask. Where hardly a text comes again,
// as moments do and the codes of thousands of employers in no order, asking costs as
// much as reading, so most blocks do not.
func (m *memo) worth(rows int) bool {
	if m.rest > 0 {
		m.rest--
		return false
	}
	if m.missed > m.rows*7/8 {
		m.rest = 14 // and this one
	}
	m.missed, m.rows = 0, rows
	return m.rest == 0
}

// put keeps the form of the text that the slot was last asked for. A form whose
// text is too long stays unknown.
func (m *memo) put(s *memoSlot, f form) {
	if len(f.text) > memoLen {
		return
	}
	f.text = s.text[:copy(s.text[:], f.text)]
	s.form, s.gen = f, m.gen
}
