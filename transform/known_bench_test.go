package transform

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/duiwu/duiwu/internal/flow"
)

// BenchmarkNewest measures the dedupe state alone: what a key costs in memory,
// and how long an insert and a look-up take.
//
//	go test ./transform -run ^$ -bench Newest -benchtime 1x
func BenchmarkNewest(b *testing.B) {
	for _, n := range []int{1_000_000, 10_000_000, 50_000_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			keys := rand.New(rand.NewPCG(1, 2))
			next := func(r *rand.Rand) key { return key{r.Uint64(), r.Uint64() | 1} }
			var t Newest
			for b.Loop() {
				t = Newest{}
				for i := range n {
					var v flow.Version
					binary.LittleEndian.PutUint64(v[:], uint64(i))
					t.put(next(keys), v)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/insert")
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(t.Bytes())/float64(t.Len()), "bytes/key")
			// The keys of the last round, met in another order than they came.
			const lookups = 2_000_000
			found := 0
			order := rand.New(rand.NewPCG(3, 4))
			asked := make([]key, lookups)
			for i := range asked {
				for {
					p := &t.parts[order.IntN(parts)]
					if s := p.slots[order.IntN(len(p.slots))]; s.key != (key{}) {
						asked[i] = s.key
						break
					}
				}
			}
			begun := time.Now()
			for _, k := range asked {
				if t.meet(k).key == k {
					found++
				}
			}
			b.ReportMetric(float64(time.Since(begun).Nanoseconds())/lookups, "ns/lookup")
			var touched uint64
			begun = time.Now()
			for from := 0; from < lookups; from += ahead {
				part := asked[from:min(from+ahead, lookups)]
				for _, k := range part {
					touched += t.touch(k)
				}
				for _, k := range part {
					if t.meet(k).key == k {
						found++
					}
				}
			}
			b.ReportMetric(float64(time.Since(begun).Nanoseconds())/lookups, "ns/touched-lookup")
			if found != 2*lookups || touched == 0 {
				b.Fatalf("%d of %d keys found", found, 2*lookups)
			}
		})
	}
}
