package ingest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/zeebo/xxh3"

	"github.com/duiwu/duiwu/internal/flow"
)

// fetcher reads one partition over one connection.
//
// It speaks Fetch v11 itself and walks the record batches in place. kafka-go's
// own readers were measured first: Conn delivers the markers and the aborted
// records of transactions as messages and checks no CRC; Client.Fetch costs
// twice as much a record and leaves out what tells an aborted record. The walk
// below allocates nothing, checks CRC32C of every batch, and hands out neither
// markers nor aborted records. kafka-go still does the login, metadata, groups
// and producing.
type fetcher struct {
	conn      *protocol.Conn
	topic     string
	partition int32
	maxBytes  int32
	clientID  string
	corr      int32

	req []byte
	raw []byte // the response
	set []byte // what is left of its record batches
	// pos is the offset to read next: everything below was handed out or is no
	// record.
	pos int64
	// high is the end of what a committed reader may see, start where the log
	// begins.
	high, start int64
	aborted     []abort
	open        map[int64]bool // producers inside an aborted transaction

	zstd  *zstd.Decoder
	plain []byte // decompressed records, when recs does not look into raw
	// lent is the memory of plain if that is mem's, largest what zstd batches became
	// at most. Between two cuts no partition holds any of it.
	lent    []byte
	largest int
	mem     memory.Allocator
	recs    []byte // records left of the batch at hand
	left    int32
	base    int64
	end     int64 // offset behind the batch at hand

	last struct { // the last message handed out
		key, value []byte
		offset     int64
		sum        uint64
		known      bool
	}
}

type abort struct{ producer, first int64 }

const (
	fetchKey     = 1
	fetchVersion = 11
	// maxResponse is far above any broker's message.max.bytes; a length beyond
	// it is no Kafka response.
	maxResponse = 1 << 30
	// maxBatch bounds what one record batch may grow to when decompressed.
	maxBatch   = 256 << 20
	batchFixed = 61
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errBatch marks a batch that the broker holds as it was sent and that cannot be
// read: its producer is at fault, not the machine.
var errBatch = errors.New("record batch cannot be read")

// dialLeader connects to the partition's leader.
func dialLeader(ctx context.Context, b *Broker, topic string, partition, maxBytes int32) (*fetcher, error) {
	addr, err := b.leader(ctx, topic, partition)
	if err != nil {
		return nil, fmt.Errorf("cannot find the leader of %s/%d: %w", topic, partition, err)
	}
	conn, limits, err := b.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	if limits[protocol.Fetch] < fetchVersion {
		_ = conn.Close()
		return nil, fmt.Errorf("broker %s answers Fetch up to v%d, v%d is needed; Kafka 2.3 or newer", addr, limits[protocol.Fetch], fetchVersion)
	}
	return &fetcher{conn: conn, topic: topic, partition: partition, maxBytes: maxBytes, clientID: b.ClientID, open: make(map[int64]bool), mem: memory.DefaultAllocator}, nil
}

func (f *fetcher) close() {
	_ = f.conn.Close()
	f.seal()
	f.giveBack()
	if f.zstd != nil {
		f.zstd.Close()
	}
}

// bounds asks for the first offset of the log and the one behind its end.
func (f *fetcher) bounds(ctx context.Context) (start, end int64, err error) {
	stop := context.AfterFunc(ctx, func() { _ = f.conn.Close() })
	defer stop()
	ask := func(when int64) (int64, error) {
		if err := f.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
			return 0, err
		}
		res, err := f.conn.RoundTrip(&listoffsets.Request{
			ReplicaID: -1,
			Topics: []listoffsets.RequestTopic{{Topic: f.topic, Partitions: []listoffsets.RequestPartition{{
				Partition: f.partition, CurrentLeaderEpoch: -1, Timestamp: when,
			}}}},
		})
		if err != nil {
			return 0, err
		}
		for _, t := range res.(*listoffsets.Response).Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode != 0 {
					return 0, kafka.Error(p.ErrorCode)
				}
				return p.Offset, nil
			}
		}
		return 0, kafka.UnknownTopicOrPartition
	}
	if start, err = ask(kafka.FirstOffset); err == nil {
		end, err = ask(kafka.LastOffset)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("cannot ask for the bounds of %s/%d: %w", f.topic, f.partition, err)
	}
	return start, end, nil
}

// seek sets the next offset.
func (f *fetcher) seek(pos int64) {
	f.pos, f.end, f.set, f.recs, f.left = pos, 0, nil, nil, 0
}

// fetch asks for data from pos on and waits at most wait for some. ctx ends the
// wait at once and makes the connection useless.
func (f *fetcher) fetch(ctx context.Context, wait time.Duration) error {
	stop := context.AfterFunc(ctx, func() { _ = f.conn.Close() })
	defer stop()
	err := f.exchange(wait)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (f *fetcher) exchange(wait time.Duration) error {
	f.rest()
	f.corr++
	b := append(f.req[:0], 0, 0, 0, 0)
	be := binary.BigEndian
	b = be.AppendUint16(b, fetchKey)
	b = be.AppendUint16(b, fetchVersion)
	b = be.AppendUint32(b, uint32(f.corr))
	b = text16(b, f.clientID)
	b = be.AppendUint32(b, 0xffffffff) // replica: a consumer
	b = be.AppendUint32(b, uint32(wait/time.Millisecond))
	b = be.AppendUint32(b, 1) // at least one byte
	b = be.AppendUint32(b, uint32(f.maxBytes))
	b = append(b, 1)                   // read committed
	b = be.AppendUint32(b, 0)          // no session
	b = be.AppendUint32(b, 0xffffffff) // no epoch
	b = be.AppendUint32(b, 1)
	b = text16(b, f.topic)
	b = be.AppendUint32(b, 1)
	b = be.AppendUint32(b, uint32(f.partition))
	b = be.AppendUint32(b, 0xffffffff) // leader epoch unknown
	b = be.AppendUint64(b, uint64(f.pos))
	b = be.AppendUint64(b, 0xffffffffffffffff)
	b = be.AppendUint32(b, uint32(f.maxBytes))
	b = be.AppendUint32(b, 0) // no forgotten topics
	b = text16(b, "")         // no rack
	be.PutUint32(b, uint32(len(b)-4))
	f.req = b
	if err := f.conn.SetDeadline(time.Now().Add(wait + timeout)); err != nil {
		return err
	}
	if _, err := f.conn.Write(b); err != nil {
		return err
	}
	var size [4]byte
	if _, err := io.ReadFull(f.conn, size[:]); err != nil {
		return err
	}
	n := be.Uint32(size[:])
	if n > maxResponse {
		return fmt.Errorf("the broker announces a response of %d bytes", n)
	}
	if int(n) > cap(f.raw) {
		f.raw = make([]byte, n)
	}
	f.raw = f.raw[:n]
	if _, err := io.ReadFull(f.conn, f.raw); err != nil {
		return err
	}
	return f.answer(f.raw)
}

func text16(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// wire reads big-endian values; a read past the end sets bad.
type wire struct {
	b   []byte
	bad bool
}

func (w *wire) take(n int) []byte {
	if n < 0 || n > len(w.b) {
		w.bad, w.b = true, nil
		return make([]byte, 8)
	}
	v := w.b[:n]
	w.b = w.b[n:]
	return v
}

func (w *wire) i16() int16 { return int16(binary.BigEndian.Uint16(w.take(2))) }
func (w *wire) i32() int32 { return int32(binary.BigEndian.Uint32(w.take(4))) }
func (w *wire) i64() int64 { return int64(binary.BigEndian.Uint64(w.take(8))) }

func (f *fetcher) answer(b []byte) error {
	w := wire{b: b}
	corr := w.i32()
	w.i32() // throttle
	code := w.i16()
	w.i32() // session
	topics := w.i32()
	if corr != f.corr && !w.bad {
		return fmt.Errorf("the broker answers request %d with %d", f.corr, corr)
	}
	if code != 0 {
		return kafka.Error(code)
	}
	if topics != 1 {
		return fmt.Errorf("the broker answers with %d topics", topics)
	}
	w.take(int(w.i16()))
	if n := w.i32(); n != 1 && !w.bad {
		return fmt.Errorf("the broker answers with %d partitions", n)
	}
	w.i32()
	if code := w.i16(); code != 0 {
		return kafka.Error(code)
	}
	high, stable := w.i64(), w.i64()
	f.high, f.start = high, w.i64()
	if stable >= 0 && stable < high {
		f.high = stable
	}
	f.aborted = f.aborted[:0]
	clear(f.open)
	for range max(w.i32(), 0) {
		if w.bad {
			break
		}
		f.aborted = append(f.aborted, abort{w.i64(), w.i64()})
	}
	w.i32() // preferred replica
	f.set = w.take(int(max(w.i32(), 0)))
	if w.bad {
		f.set = nil
		return io.ErrUnexpectedEOF
	}
	f.recs, f.left = nil, 0
	return nil
}

// more says whether a message may be had without asking the broker.
func (f *fetcher) more() bool { return f.left > 0 || len(f.set) >= batchFixed }

// next reads the next message into m; false means that the response is used up.
// The bytes are valid until the next call of next or fetch. errBatch comes with
// m holding the offset of a batch that was passed over.
func (f *fetcher) next(m *Message) (bool, error) {
	for {
		for f.left > 0 {
			ok, err := f.record(m)
			if err != nil {
				m.Offset = max(f.pos, f.base)
				f.skipBatch()
				return false, err
			}
			if ok {
				return true, nil
			}
		}
		f.pos = max(f.pos, f.end)
		ok, err := f.batch()
		if err != nil {
			m.Offset = max(f.pos, f.base)
			if errors.Is(err, errBatch) {
				f.skipBatch()
			}
			return false, err
		}
		if !ok {
			return false, nil
		}
	}
}

func (f *fetcher) skipBatch() {
	f.left, f.recs = 0, nil
	f.pos = max(f.pos, f.end)
}

// batch opens the next record batch; false when there is no whole one left.
func (f *fetcher) batch() (bool, error) {
	for {
		f.rest()
		b := f.set
		if len(b) < batchFixed {
			f.set = nil
			return false, nil
		}
		be := binary.BigEndian
		size := 12 + int64(int32(be.Uint32(b[8:])))
		if magic := b[16]; magic != 2 {
			return false, permanentf(flow.CauseSchema, "cannot read %s/%d at offset %d: message format v%d is older than Kafka 0.11; copy the topic with a current producer", f.topic, f.partition, f.pos, magic)
		}
		if size < batchFixed {
			return false, fmt.Errorf("record batch at offset %d says it has %d bytes", f.pos, size)
		}
		if size > int64(len(b)) {
			f.set = nil // cut off by MaxBytes; the next fetch begins with it
			return false, nil
		}
		b, f.set = b[:size], b[size:]
		f.base = int64(be.Uint64(b))
		f.end = f.base + int64(int32(be.Uint32(b[23:]))) + 1
		if f.end <= f.pos {
			continue
		}
		if crc32.Checksum(b[21:], castagnoli) != be.Uint32(b[17:]) {
			return false, fmt.Errorf("record batch at offset %d fails its checksum", f.base)
		}
		attr, producer := be.Uint16(b[21:]), int64(be.Uint64(b[43:]))
		f.left = int32(be.Uint32(b[57:]))
		for len(f.aborted) > 0 && f.aborted[0].first < f.end {
			f.open[f.aborted[0].producer] = true
			f.aborted = f.aborted[1:]
		}
		if attr&0x20 != 0 { // a marker: it ends a transaction and is no record
			delete(f.open, producer)
			f.skipBatch()
			continue
		}
		if attr&0x10 != 0 && f.open[producer] {
			f.skipBatch()
			continue
		}
		recs, err := f.inflate(attr&7, b[batchFixed:])
		if err != nil {
			return false, fmt.Errorf("%w: %w", errBatch, err)
		}
		f.recs = recs
		if f.left > 0 {
			return true, nil
		}
		f.skipBatch()
	}
}

func (f *fetcher) inflate(codec uint16, b []byte) ([]byte, error) {
	var err error
	switch codec {
	case 0:
		return b, nil
	case uint16(compress.Zstd):
		if f.zstd == nil {
			f.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBatch), zstd.WithDecoderLowmem(true))
			if err != nil {
				return nil, err
			}
		}
		f.lent = flow.Room(f.mem, max(f.largest, 8*len(b)))
		f.plain, err = f.zstd.DecodeAll(b, f.lent[:0])
		if cap(f.plain) != cap(f.lent) { // it grew into memory of its own
			f.mem.Free(f.lent)
			f.lent = nil
		}
		f.largest = max(f.largest, len(f.plain))
		return f.plain, err
	case uint16(compress.Gzip), uint16(compress.Snappy), uint16(compress.Lz4):
		r := compress.Compression(codec).Codec().NewReader(bytes.NewReader(b))
		defer func() { _ = r.Close() }()
		buf := bytes.NewBuffer(f.plain[:0])
		n, err := buf.ReadFrom(io.LimitReader(r, maxBatch+1))
		f.plain = buf.Bytes()
		if err == nil && n > maxBatch {
			err = errors.New("it grows past the bound when decompressed")
		}
		return f.plain, err
	}
	return nil, fmt.Errorf("unknown compression %d", codec)
}

// record reads one record of the batch at hand; false when it lies before pos.
func (f *fetcher) record(m *Message) (bool, error) {
	f.left--
	r := varints{b: f.recs}
	body := r.bytes()
	f.recs = r.b
	if r.bad || len(body) == 0 {
		return false, errBatch
	}
	r = varints{b: body[1:]}
	r.int() // timestamp; it is the producer's clock and nothing to rely on
	offset := f.base + r.int()
	m.Key, m.Value = r.bytes(), r.bytes()
	m.Headers = m.Headers[:0]
	for range max(r.int(), 0) {
		if r.bad {
			break
		}
		m.Headers = append(m.Headers, Header{r.bytes(), r.bytes()})
	}
	if r.bad || offset >= f.end {
		return false, errBatch
	}
	if offset < f.pos {
		return false, nil
	}
	m.Offset, f.pos = offset, offset+1
	f.last.key, f.last.value, f.last.offset, f.last.known = m.Key, m.Value, offset, false
	return true, nil
}

// varints reads zigzag varints and what they measure.
type varints struct {
	b   []byte
	bad bool
}

func (r *varints) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// bytes returns nil for a length of -1.
func (r *varints) bytes() []byte {
	n := r.int()
	if n < 0 {
		return nil
	}
	if n > int64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// sum is the checksum of the last message handed out.
func (f *fetcher) sum() uint64 {
	if !f.last.known {
		f.last.sum, f.last.known = Sum(f.last.key, f.last.value), true
	}
	return f.last.sum
}

// seal takes the last message's checksum before its bytes are written over: once
// a batch, not once a record.
func (f *fetcher) seal() {
	if f.last.key != nil || f.last.value != nil {
		f.sum()
		f.last.key, f.last.value = nil, nil
	}
}

// shrink gives buffers back that an idle partition does not need.
func (f *fetcher) shrink() {
	f.seal()
	f.giveBack()
	f.raw, f.plain, f.set, f.recs, f.left = nil, nil, nil, nil, 0
}

// rest ends the use of the last message handed out, and of its batch if it was the
// last one there.
func (f *fetcher) rest() {
	f.seal()
	if f.left == 0 {
		f.giveBack()
	}
}

func (f *fetcher) giveBack() {
	if f.lent != nil {
		f.mem.Free(f.lent)
		f.lent, f.plain, f.recs = nil, nil, nil
	}
}

// Sum is the checksum by which the ledger recognises a message.
func Sum(key, value []byte) uint64 { return xxh3.HashSeed(value, xxh3.Hash(key)) }
