package transform

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/minio/highwayhash"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/flow/flowtest"
)

// TestFingerprintIsTheRecordAsSent: the fingerprint is part of every version that is
// stored, so it is the hash of the same bytes whatever else stands in the cut: rows
// of all lengths, before and behind those that no strip holds.
func TestFingerprintIsTheRecordAsSent(t *testing.T) {
	mem := flowtest.Memory()
	defer mem.AssertSize(t, 0)
	cat := catalogue(t)
	spec := cat.Feed("worker")
	key := [16]byte{1, 2, 3}
	wide := sha256.Sum256(key[:])
	c := NewCheck(CheckOptions{Catalogue: cat, HashKey: key, Mem: mem})
	defer c.Release()
	all := spec.All()
	dice := rand.New(rand.NewPCG(1, 2))
	b := array.NewRecordBuilder(mem, flow.WireSchema(spec))
	defer b.Release()
	const rows = 500
	var want []uint64
	s := c.sheet(spec)
	for row := range rows {
		var sent []byte
		for i := range all {
			v := []string{"", " ", "\u3000", "310000", "社工", " x ", "\u00e9", strings.Repeat("long ", 10)}[dice.IntN(8)]
			if dice.IntN(1000) == 0 {
				v = strings.Repeat("y", 1000+dice.IntN(5000))
			}
			b.Field(i).(*array.StringBuilder).Append(v)
			switch all[i].Name {
			case "schema_version", "batch_id", "op", "reported_at":
				continue
			}
			if strings.TrimSpace(v) != "" {
				sent = binary.LittleEndian.AppendUint32(sent, s.plan[i].tag)
				sent = binary.LittleEndian.AppendUint32(sent, uint32(len(v)))
				sent = append(sent, v...)
			}
		}
		b.Field(len(all)).(*array.Int64Builder).Append(int64(row))
		b.Field(len(all) + 1).(*array.Int32Builder).Append(0)
		want = append(want, highwayhash.Sum64(sent, wide[:]))
	}
	rec := b.NewRecord()
	defer rec.Release()
	s.open(rec, testNow)
	for _, end := range []int{1, 20, rows} {
		clear(s.hash)
		c.fingerprint(s, 0, end)
		require.Equal(t, want[:end], s.hash[:end])
	}
	s.close()
	c.back(s)
}
