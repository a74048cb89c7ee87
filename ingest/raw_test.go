package ingest

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
)

// txnBatch is a record batch of one transactional record without a key.
func txnBatch(producer int64, epoch int16, seq int32, value string) []byte {
	rec := []byte{0}
	rec = binary.AppendVarint(rec, 0)
	rec = binary.AppendVarint(rec, 0)
	rec = binary.AppendVarint(rec, -1)
	rec = binary.AppendVarint(rec, int64(len(value)))
	rec = append(rec, value...)
	rec = binary.AppendVarint(rec, 0)
	return rawBatch(0x10, producer, epoch, seq, 1, append(binary.AppendVarint(nil, int64(len(rec))), rec...))
}

func rawBatch(attr uint16, producer int64, epoch int16, seq, count int32, recs []byte) []byte {
	be := binary.BigEndian
	now := uint64(time.Now().UnixMilli())
	tail := be.AppendUint16(nil, attr)
	tail = be.AppendUint32(tail, uint32(count-1))
	tail = be.AppendUint64(tail, now)
	tail = be.AppendUint64(tail, now)
	tail = be.AppendUint64(tail, uint64(producer))
	tail = be.AppendUint16(tail, uint16(epoch))
	tail = be.AppendUint32(tail, uint32(seq))
	tail = be.AppendUint32(tail, uint32(count))
	tail = append(tail, recs...)
	b := be.AppendUint64(nil, 0)
	b = be.AppendUint32(b, uint32(len(tail)+9))
	b = be.AppendUint32(b, 0xffffffff)
	b = append(b, 2)
	b = be.AppendUint32(b, crc32.Checksum(tail, castagnoli))
	return append(b, tail...)
}

// produceRaw sends one batch as it is to partition 0 (Produce v7).
func produceRaw(ctx context.Context, b *Broker, topic, txn string, batch []byte) error {
	be := binary.BigEndian
	q := be.AppendUint16(nil, 0xffff)
	if txn != "" {
		q = text16(nil, txn)
	}
	q = be.AppendUint16(q, 0xffff)
	q = be.AppendUint32(q, 5000)
	q = be.AppendUint32(q, 1)
	q = text16(q, topic)
	q = be.AppendUint32(q, 1)
	q = be.AppendUint32(q, 0)
	q = be.AppendUint32(q, uint32(len(batch)))
	w, err := exchangeRaw(ctx, b, topic, 0, 7, append(q, batch...))
	if err != nil {
		return err
	}
	w.i32()
	w.take(int(w.i16()))
	w.i32()
	w.i32()
	return code("produce", w.i16())
}

// deleteRecords moves the log's start (DeleteRecords v1).
func deleteRecords(t *testing.T, b Broker, topic string, before int64) {
	t.Helper()
	be := binary.BigEndian
	q := text16(be.AppendUint32(nil, 1), topic)
	q = be.AppendUint32(q, 1)
	q = be.AppendUint32(q, 0)
	q = be.AppendUint64(q, uint64(before))
	q = be.AppendUint32(q, 5000)
	w, err := exchangeRaw(t.Context(), &b, topic, 21, 1, q)
	require.NoError(t, err)
	w.i32()
	w.i32()
	w.take(int(w.i16()))
	w.i32()
	w.i32()
	w.i64()
	require.NoError(t, code("delete records", w.i16()))
}

func code(what string, c int16) error {
	if c == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", what, kafka.Error(c))
}

// exchangeRaw sends one request to the leader of partition 0 and returns the
// answer behind the correlation id.
func exchangeRaw(ctx context.Context, b *Broker, topic string, key, version uint16, body []byte) (*wire, error) {
	addr, err := b.leader(ctx, topic, 0)
	if err != nil {
		return nil, err
	}
	conn, _, err := b.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	be := binary.BigEndian
	q := be.AppendUint32(nil, uint32(len(body)+10))
	q = be.AppendUint16(q, key)
	q = be.AppendUint16(q, version)
	q = be.AppendUint32(q, 1)
	q = text16(q, "")
	if _, err := conn.Write(append(q, body...)); err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil, err
	}
	res := make([]byte, be.Uint32(head))
	if _, err := io.ReadFull(conn, res); err != nil {
		return nil, err
	}
	w := &wire{b: res}
	w.i32()
	return w, nil
}
