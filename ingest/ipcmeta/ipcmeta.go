// Package ipcmeta walks the metadata of an Arrow IPC message before Arrow's own
// reader does: that reader makes room for as much as the metadata says before it
// looks whether it is there, and running out of memory cannot be recovered from.
package ipcmeta

import "encoding/binary"

// Body returns the length of the body that follows a message's metadata. It is
// false when the metadata is no message, or promises more than it holds.
func Body(metadata []byte) (int64, bool) {
	if !message(metadata).sane() {
		return 0, false
	}
	return bodyLength(metadata)
}

// Batch is what the metadata of a record batch says of its body: 16 bytes a column
// (length, nulls) and 16 bytes a buffer (offset, length), numbers of 64 bits.
type Batch struct {
	Rows           int64
	Nodes, Buffers []byte
}

// Plain reads the metadata of a record batch whose body is not compressed; false
// when it is anything else.
func Plain(metadata []byte) (b Batch, ok bool) {
	m := message(metadata)
	root := m.u32(0)
	if root < 0 || root >= len(m) {
		return b, false
	}
	kind, header := m.slot(root, 1), m.ref(m.slot(root, 2))
	if kind == 0 || kind >= len(m) || m[kind] != 3 || header == 0 {
		return b, false
	}
	const compression, variadic = 3, 4
	rows := m.slot(header, 0)
	if m.slot(header, compression) != 0 || m.slot(header, variadic) != 0 || rows == 0 || rows+8 > len(m) {
		return b, false
	}
	b.Rows = int64(binary.LittleEndian.Uint64(m[rows:]))
	nodes, n, ok := m.vector(header, 1, 16)
	buffers, k, ok2 := m.vector(header, 2, 16)
	if !ok || !ok2 {
		return b, false
	}
	b.Nodes, b.Buffers = m[nodes:nodes+16*n], m[buffers:buffers+16*k]
	return b, true
}

// bodyLength reads the field bodyLength (slot 3) of a flatbuffers Message.
func bodyLength(m []byte) (int64, bool) {
	if len(m) < 8 {
		return 0, false
	}
	table := int64(binary.LittleEndian.Uint32(m))
	if table+4 > int64(len(m)) {
		return 0, false
	}
	vt := table - int64(int32(binary.LittleEndian.Uint32(m[table:])))
	if vt < 0 || vt+4 > int64(len(m)) {
		return 0, false
	}
	const slot = 4 + 2*3
	if int64(binary.LittleEndian.Uint16(m[vt:])) <= slot {
		return 0, true
	}
	if vt+slot+2 > int64(len(m)) {
		return 0, false
	}
	field := int64(binary.LittleEndian.Uint16(m[vt+slot:]))
	if field == 0 {
		return 0, true
	}
	if table+field+8 > int64(len(m)) {
		return 0, false
	}
	return int64(binary.LittleEndian.Uint64(m[table+field:])), true
}

// message is a flatbuffers Message. The IPC reader makes room for as many fields,
// nodes and buffers as a vector says it has before it looks whether they stand
// there, and running out of memory cannot be recovered from; so the vectors are
// held to the message's size first. Other offsets that lie make it panic, which
// the readers turn into a refusal.
type message []byte

func (m message) u32(at int) int {
	if at < 0 || at+4 > len(m) {
		return -1
	}
	return int(binary.LittleEndian.Uint32(m[at:]))
}

// slot returns where a field of a table stands, 0 when it is absent. A vtable of
// an odd size has half a field at its end, and flatbuffers reads that one.
func (m message) slot(table, n int) int {
	off := m.u32(table)
	if off < 0 {
		return 0
	}
	vt := table - int(int32(uint32(off)))
	if vt < 0 || vt+4 > len(m) || int(binary.LittleEndian.Uint16(m[vt:])) <= 4+2*n || vt+4+2*n+2 > len(m) {
		return 0
	}
	if o := int(binary.LittleEndian.Uint16(m[vt+4+2*n:])); o != 0 {
		return table + o
	}
	return 0
}

// ref follows an offset.
func (m message) ref(at int) int {
	if o := m.u32(at); at > 0 && o > 0 {
		return at + o
	}
	return 0
}

// vector returns the first element of a vector and how many there are; false
// when they cannot all stand in the message.
func (m message) vector(table, slot, size int) (first, n int, ok bool) {
	at := m.slot(table, slot)
	if at == 0 {
		return 0, 0, true
	}
	v := m.ref(at)
	if n = m.u32(v); v == 0 || n < 0 || n > (len(m)-v-4)/size {
		return 0, 0, false
	}
	return v + 4, n, true
}

func (m message) sane() bool {
	root := m.u32(0)
	if root < 0 || root >= len(m) {
		return false
	}
	kind := m.slot(root, 1)
	if kind == 0 || kind >= len(m) {
		return false
	}
	header := m.ref(m.slot(root, 2))
	budget := len(m)
	switch m[kind] {
	case 1: // Schema
		return m.fields(header, 1, 0, &budget)
	case 2: // DictionaryBatch
		return m.batch(m.ref(m.slot(header, 1)))
	case 3: // RecordBatch
		return m.batch(header)
	}
	return true
}

func (m message) batch(table int) bool {
	_, _, nodes := m.vector(table, 1, 16)
	_, _, buffers := m.vector(table, 2, 16)
	return nodes && buffers
}

// viewType says that a column is of views. The IPC reader asks a batch for as
// many counts of view buffers as the schema has such columns, past the end of
// their vector if it is shorter, and makes room for what it finds there: 2 TB for
// one changed byte. So no schema with views is sane.
func (m message) viewType(field int) bool {
	at := m.slot(field, 2)
	return at > 0 && at < len(m) && m[at] >= 23 && m[at] <= 26 // BinaryView to LargeListView
}

// Views says that a message is a schema with columns of views, which Body
// refuses, so that a reader can tell it from a damaged one.
func Views(metadata []byte) bool {
	m := message(metadata)
	root := m.u32(0)
	if root < 0 || root >= len(m) {
		return false
	}
	if kind := m.slot(root, 1); kind == 0 || kind >= len(m) || m[kind] != 1 {
		return false
	}
	first, n, ok := m.vector(m.ref(m.slot(root, 2)), 1, 4)
	for i := 0; ok && i < n; i++ {
		if f := m.ref(first + 4*i); f != 0 && m.viewType(f) {
			return true
		}
	}
	return false
}

// fields walks a vector of Field tables: their children, metadata and, of a
// union, type ids.
func (m message) fields(table, slot, depth int, budget *int) bool {
	if depth > 64 {
		return false
	}
	meta := 2 // of Schema; of Field it is 6
	if depth > 0 {
		meta = 6
	}
	if _, _, ok := m.vector(table, meta, 4); !ok {
		return false
	}
	first, n, ok := m.vector(table, slot, 4)
	if !ok {
		return false
	}
	// Tables may be shared, so what is walked is counted.
	if *budget -= n + 1; *budget < 0 {
		return false
	}
	for i := range n {
		f := m.ref(first + 4*i)
		if f == 0 || m.viewType(f) || !m.fields(f, 5, depth+1, budget) {
			return false
		}
		if t := m.ref(m.slot(f, 3)); t != 0 {
			if _, _, ok := m.vector(t, 1, 4); !ok && m.slot(f, 2) > 0 && m.slot(f, 2) < len(m) && m[m.slot(f, 2)] == 14 {
				return false
			}
		}
	}
	return true
}
