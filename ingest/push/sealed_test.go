package push_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/push"
	"github.com/duiwu/duiwu/ingest/seal"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// sealedBatch prepares and "sends" workers with sealed fields.
func sealedBatch(t *testing.T, n int) (b *push.Batch, sent []ingest.Outgoing, id, secret string) {
	t.Helper()
	id, secret, public, err := seal.New()
	require.NoError(t, err)
	opt := options(t, workers(t, "名册.csv", n, nil), noon, 2)
	opt.Seal, err = seal.ReadPublic([]byte(public))
	require.NoError(t, err)
	b, _, err = push.Prepare(t.Context(), opt)
	require.NoError(t, err)
	var to topic
	require.NoError(t, b.Send(t.Context(), push.Target{Sender: &to, Topic: "t", Partitions: 2}, nil))
	return b, to.sent, id, secret
}

func ringOf(t *testing.T, text string) *seal.Ring {
	t.Helper()
	r, err := seal.ReadRing([]byte(text))
	require.NoError(t, err)
	return r
}

// A worker reads the same rows of a sealed batch as of one in the clear.
func TestSealedRowsAreTheSameRows(t *testing.T) {
	_, sent, _, secret := sealedBatch(t, 50)
	rows, rejects, _ := decode(t, ringOf(t, secret), sent)
	require.Empty(t, rejects)
	b, _, err := push.Prepare(t.Context(), options(t, workers(t, "名册.csv", 50, nil), noon, 2))
	require.NoError(t, err)
	var to topic
	require.NoError(t, b.Send(t.Context(), push.Target{Sender: &to, Topic: "t", Partitions: 2}, nil))
	plain, _, _ := decode(t, nil, to.sent)
	for _, all := range []map[string]map[string]string{rows, plain} {
		for _, r := range all {
			delete(r, "batch_id")
		}
	}
	require.Equal(t, plain, rows)
	for _, m := range sent {
		require.NotContains(t, string(m.Value), "阿依古丽")
		require.NotContains(t, string(m.Value), "id_number")
	}
}

// A block that does not open refuses the records of its message, one by one, and
// no other.
func TestABrokenSealRefusesItsMessageOnly(t *testing.T) {
	b, sent, id, secret := sealedBatch(t, 50)
	require.Len(t, sent, 2)
	broken := bytes.Clone(sent[0].Value)
	broken[len(broken)-1] ^= 1
	f := func(ring string, rule feed.Rule, refused int, messages ...ingest.Outgoing) {
		t.Helper()
		rows, rejects, tally := decode(t, ringOf(t, ring), messages)
		require.Len(t, rejects, refused)
		for i, r := range rejects {
			require.Equal(t, []flow.Finding{{Rule: rule}}, r.Findings)
			require.True(t, strings.HasPrefix(r.RecordID, "nk-"))
			require.EqualValues(t, i, r.Row)
		}
		require.Equal(t, 50, len(rows)+len(rejects))
		c := tally[flow.BatchKey{Feed: "worker", Batch: b.ID}]
		require.EqualValues(t, 50, c.Received)
		require.Equal(t, []flow.Chunk{{Number: 0, Rows: int64(b.Chunks[0].Rows), Offset: 0}, {Number: 1, Rows: int64(b.Chunks[1].Rows), Offset: 1}}, c.Chunks)
	}
	first := sent[0]
	first.Value = broken
	f(secret, feed.SealBroken, b.Chunks[0].Rows, first, sent[1])
	// Moved to another chunk, or beside other open columns.
	moved := sent[0]
	moved.Headers = append([]ingest.Header(nil), moved.Headers...)
	for i, h := range moved.Headers {
		if string(h.Key) == ingest.HeaderBatchID {
			moved.Headers[i].Value = []byte("another")
		}
	}
	_, rejects, _ := decode(t, ringOf(t, secret), []ingest.Outgoing{moved})
	require.Len(t, rejects, b.Chunks[0].Rows)
	require.Equal(t, feed.SealBroken, rejects[0].Findings[0].Rule)
	// A key that was given up.
	_, other, _, err := seal.New()
	require.NoError(t, err)
	_, rejects, _ = decode(t, ringOf(t, other+"retired "+id+"\n"), sent)
	require.Len(t, rejects, 50)
	require.Equal(t, feed.SealKeyRetired, rejects[0].Findings[0].Rule)
}

// A key that the worker does not have stops the partition and leaves nothing
// half read: the operator adds the key, and no record went to the quarantine.
func TestAnUnknownSealKeyStops(t *testing.T) {
	_, sent, id, _ := sealedBatch(t, 10)
	_, other, _, err := seal.New()
	require.NoError(t, err)
	for _, ring := range []*seal.Ring{nil, ringOf(t, other)} {
		d := ingest.NewDecoder(catalogue(t), memory.DefaultAllocator, unit, 0)
		d.Seals(ring)
		err := d.Add(&ingest.Message{Offset: 5, Key: sent[0].Key, Value: sent[0].Value, Headers: sent[0].Headers})
		require.True(t, flow.IsPermanent(err))
		require.ErrorContains(t, err, id)
		require.ErrorContains(t, err, "offset 5")
		require.Zero(t, d.Rows())
		d.Release()
	}
}

// No changed byte of a sealed message brings the decoder down.
func TestMutatedSealedMessages(t *testing.T) {
	_, sent, _, secret := sealedBatch(t, 4)
	ring := ringOf(t, secret)
	value := sent[0].Value
	d := ingest.NewDecoder(catalogue(t), memory.DefaultAllocator, unit, 0)
	defer d.Release()
	d.Seals(ring)
	for i := range value {
		for _, b := range []byte{0, 0xff, value[i] ^ 1, value[i] ^ 0x80} {
			m := bytes.Clone(value)
			m[i] = b
			if bytes.Equal(m, value) {
				continue
			}
			require.NoError(t, d.Add(&ingest.Message{Value: m, Headers: sent[0].Headers}))
		}
		require.NoError(t, d.Add(&ingest.Message{Value: value[:i], Headers: sent[0].Headers}))
		parts, rejects, _ := d.Flush()
		require.Empty(t, parts, "nothing that was changed is accepted")
		require.NotEmpty(t, rejects)
	}
}
