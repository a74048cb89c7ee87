package flow

import (
	"bytes"
	"encoding/binary"
)

// Version orders the versions of one record and nothing else: reported_at in
// milliseconds, then one bit that is 0 for a void, then 47 bits of a keyed hash
// of the record as sent, then the 16-bit revision that read it. Bytes are those
// of an unsigned 128-bit little-endian integer, as ClickHouse's UInt128.
type Version [16]byte

// MakeVersion packs a version. Only the low 47 bits of hash are used.
func MakeVersion(reportedAt int64, void bool, hash uint64, revision uint16) Version {
	lo := (hash&(1<<47-1))<<16 | uint64(revision)
	if !void {
		lo |= 1 << 63
	}
	return VersionOf(uint64(reportedAt), lo)
}

// VersionOf packs the two halves.
func VersionOf(hi, lo uint64) (v Version) {
	binary.LittleEndian.PutUint64(v[:8], lo)
	binary.LittleEndian.PutUint64(v[8:], hi)
	return v
}

// Halves returns the high half (reported_at in milliseconds) and the low half
// (void bit, hash, revision).
func (v Version) Halves() (hi, lo uint64) {
	return binary.LittleEndian.Uint64(v[8:]), binary.LittleEndian.Uint64(v[:8])
}

// Compare orders versions as the database does.
func (v Version) Compare(w Version) int {
	for i := len(v) - 1; i >= 0; i-- {
		if v[i] != w[i] {
			return bytes.Compare(v[i:i+1], w[i:i+1])
		}
	}
	return 0
}
