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

	// pairs: a text may stand in two places, so that two codes of a list that fall
	// on one do not drive each other out, row by row.
	pairs [1 << memoBits][2]memoSlot
}

const (
	memoBits = 6
	// memoLen is the longest text that is kept.
	memoLen = 32
)

type memoSlot struct {
	key [4]uint64
	gen uint32
	// day is the day on which the answer depends, for fields that depend on one.
	day int32
	len uint8
	// asSent says that the form is the text itself, without a warning.
	asSent bool
	form   form
	text   [memoLen]byte
}

// short is the key of a text of 1 to 7 bytes, as most codes are; the other words of
// its key are zero.
func short(v []byte) uint64 {
	if n := len(v); n >= 4 {
		return uint64(binary.LittleEndian.Uint32(v)) | uint64(binary.LittleEndian.Uint32(v[n-4:]))<<32
	}
	return uint64(v[0]) | uint64(v[len(v)/2])<<8 | uint64(v[len(v)-1])<<16
}

func (m *memo) pair(hash uint64) *[2]memoSlot {
	return &m.pairs[hash*0x9E3779B97F4A7C15>>(64-memoBits)]
}

// short returns the slot of a text of n bytes with a key of short, nil for none.
func (m *memo) short(k uint64, n int, day int32) *memoSlot {
	p := m.pair(k)
	for i := range p {
		if s := &p[i]; s.key[0] == k && s.gen == m.gen && int(s.len) == n && s.day == day {
			return s
		}
	}
	return nil
}

// asSent counts the rows from one on whose texts are short and known to be as they
// should be. It is for fields that depend on no day.
func (m *memo) asSent(w *view, from, to int) int {
	ends := w.ends[from : to+1]
	begin := ends[0]
	for n, end := range ends[1:] {
		v := w.data[begin:end]
		if begin = end; len(v) == 0 || len(v) >= 8 {
			return n
		}
		if s := m.short(short(v), len(v), 0); s == nil || !s.asSent {
			return n
		}
	}
	return to - from
}

// find returns the slot of a text and whether it holds its form.
func (m *memo) find(v []byte, day int32) (*memoSlot, bool) {
	var k [4]uint64
	n := len(v)
	if n < 8 {
		k[0] = short(v)
		if s := m.short(k[0], n, day); s != nil {
			return s, true
		}
		return m.miss(m.pair(k[0]), k, day, n), false
	}
	k[0], k[3] = binary.LittleEndian.Uint64(v), binary.LittleEndian.Uint64(v[n-8:])
	if n > 16 {
		k[1] = binary.LittleEndian.Uint64(v[8:])
		if n > 24 {
			k[2] = binary.LittleEndian.Uint64(v[16:])
		}
	}
	h := k[0]*0x9E3779B97F4A7C15 ^ bits.RotateLeft64(k[1]*0xC2B2AE3D27D4EB4F, 17) ^ bits.RotateLeft64(k[2]*0x165667B19E3779F9, 31) ^ k[3]*0xD6E8FEB86659FD93
	p := m.pair(h ^ h>>29)
	for i := range p {
		if s := &p[i]; s.gen == m.gen && s.key == k && int(s.len) == n && s.day == day {
			return s, true
		}
	}
	return m.miss(p, k, day, n), false
}

// miss makes a slot that of another text: a free one, or the two in turn.
func (m *memo) miss(p *[2]memoSlot, k [4]uint64, day int32, n int) *memoSlot {
	m.missed++
	s := &p[m.missed&1]
	for i := range p {
		if p[i].gen != m.gen {
			s = &p[i]
		}
	}
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
func (m *memo) put(s *memoSlot, v []byte, f form) {
	if len(f.text) > memoLen {
		return
	}
	s.asSent = f.warn == feed.NoRule && string(f.text) == string(v)
	f.text = s.text[:copy(s.text[:], f.text)]
	s.form, s.gen = f, m.gen
}
