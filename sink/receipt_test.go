package sink

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// chunked is a cut of one chunk of batch b, of so many rows.
func chunked(a *Assignment, spec *feed.Spec, offset int64, number int32, rows int64) flow.Cut {
	c := cut(spec, a, offset, offset, nil)
	n := c.Tally.Of(spec.Feed, "b")
	n.Received, n.By[flow.New] = rows, rows
	n.Declared, n.SHA256 = 20, "abc"
	n.Chunks = []flow.Chunk{{Number: number, Rows: rows, Offset: offset}}
	return c
}

// A chunk that came twice made up for one that never came: its rows were added
// to those received, and nothing is missing below the largest number seen.
func TestARepeatedChunkDoesNotStandForAMissingOne(t *testing.T) {
	s := fresh(t, "employment")
	spec := s.opt.Catalogue.Feed("employment")
	a := assign(t, s, 0)
	status := func() *flow.Receipt {
		r, err := s.Receipt(t.Context(), "310000", "employment", "b")
		require.NoError(t, err)
		return r
	}
	require.NoError(t, a.Write(t.Context(), chunked(a, spec, 0, 0, 10)))
	require.Equal(t, flow.Partial, status().Status)
	require.NoError(t, a.Write(t.Context(), chunked(a, spec, 1, 0, 10)))
	require.Equal(t, flow.Partial, status().Status, "20 records were received, 10 of them twice")
	require.NoError(t, a.Write(t.Context(), chunked(a, spec, 2, 1, 10)))
	r := status()
	require.Equal(t, flow.Complete, r.Status)
	require.EqualValues(t, 30, r.Received)
	require.Equal(t, [][2]int64{{0, 1}}, r.Chunks)
}

func TestReceiptListsWhatWasRefused(t *testing.T) {
	s := fresh(t, "employment")
	spec := s.opt.Catalogue.Feed("employment")
	a := assign(t, s, 0)
	refuse := func(c *flow.Cut, offset int64, row int32, id string) {
		c.Tally.Of("employment", "b").Reject(feed.CodeList)
		c.Tally.Of("employment", "b").By[flow.New]--
		c.Rejects = append(c.Rejects, flow.Reject{Feed: "employment", Batch: "b", RecordID: id, Offset: offset, Row: row,
			Findings: []flow.Finding{{Field: "leave_reason", Rule: feed.CodeList}, {Rule: feed.DateOrder}}})
	}
	for offset, number := range []int32{4, 7, 4} { // chunk 4 comes twice
		c := chunked(a, spec, int64(offset), number, 10)
		refuse(&c, int64(offset), 3, "r3")
		require.NoError(t, a.Write(t.Context(), c))
	}
	// What an unfinished cut refused is on no receipt.
	c := chunked(a, spec, 3, 9, 10)
	refuse(&c, 3, 5, "r5")
	require.NoError(t, s.fill(t.Context(), []*pending{{a: a, cut: &c}}))

	r, err := s.Receipt(t.Context(), "310000", "employment", "b")
	require.NoError(t, err)
	why := []flow.RejectedRule{{Field: "leave_reason", Rule: "code_list"}, {Field: "", Rule: "date_order"}}
	require.Equal(t, []flow.RejectedRow{{Chunk: 4, Row: 3, RecordID: "r3", Findings: why}, {Chunk: 7, Row: 3, RecordID: "r3", Findings: why}}, r.Rejects)
	require.Zero(t, r.RejectsOmitted)
	require.EqualValues(t, 3, r.By[flow.Rejected])

	raw, err := json.Marshal(r)
	require.NoError(t, err)
	var back flow.Receipt
	require.NoError(t, json.Unmarshal(raw, &back))
	require.Equal(t, r.By, back.By)
	require.Equal(t, r.Rejects, back.Rejects)

	// Since: what changed, and what changed in spite of an older first cut.
	all, err := s.ReceiptsSince(t.Context(), []string{"310000", "320000"}, time.Now().Add(-time.Hour), 10, func(*flow.Receipt) bool { return true })
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, r, all[0])
	all, err = s.ReceiptsSince(t.Context(), []string{"310000"}, time.Now().Add(time.Hour), 10, func(*flow.Receipt) bool { return true })
	require.NoError(t, err)
	require.Empty(t, all)
	all, err = s.ReceiptsSince(t.Context(), []string{"320000"}, time.Time{}, 10, func(*flow.Receipt) bool { return true })
	require.NoError(t, err)
	require.Empty(t, all)
}

// The list has a bound; what lies beyond is counted.
func TestReceiptListsNoMoreThanItsBound(t *testing.T) {
	s := fresh(t, "employment")
	spec := s.opt.Catalogue.Feed("employment")
	a := assign(t, s, 0)
	c := chunked(a, spec, 0, 0, maxRejects+5)
	c.Tally.Of("employment", "b").By[flow.New] = 0
	for i := range maxRejects + 5 {
		c.Tally.Of("employment", "b").Reject(feed.CodeList)
		c.Rejects = append(c.Rejects, flow.Reject{Feed: "employment", Batch: "b", RecordID: fmt.Sprint("r", i), Row: int32(i),
			Findings: []flow.Finding{{Field: "leave_reason", Rule: feed.CodeList}}})
	}
	require.NoError(t, a.Write(t.Context(), c))
	r, err := s.Receipt(t.Context(), "310000", "employment", "b")
	require.NoError(t, err)
	require.Len(t, r.Rejects, maxRejects)
	require.EqualValues(t, 5, r.RejectsOmitted)
}

// BenchmarkReceiptsSince asks for what changed, as a publisher does every few
// seconds: of a ledger of half a million cuts and as many receipt parts.
func BenchmarkReceiptsSince(b *testing.B) {
	s := fresh(b, "employment")
	for _, sql := range []string{
		`INSERT INTO ledger (topic, incarnation, partition, first_offset, last_offset, epoch, run, kind, worker, revision, received, new, arrived_at, written_at)
SELECT 'duiwu.feed.' || toString(110000 + 10000 * (number % 31)), 0, intDiv(number, 31) % 8, intDiv(number, 248), intDiv(number, 248), 1, 'live', 'cut', 'w', 1, 1000, 1000, now64(3) - number, now64(3) - 60 - number FROM numbers(500000)`,
		`INSERT INTO receipt_parts (unit, feed, batch_id, topic, incarnation, partition, first_offset, epoch, received, new, declared, chunks, chunk_rows, chunk_offsets, sha256, arrived_at)
SELECT toString(110000 + 10000 * (number % 31)), 'employment', 'b' || toString(intDiv(number, 310)), 'duiwu.feed.' || toString(110000 + 10000 * (number % 31)), 0, intDiv(number, 31) % 8, intDiv(number, 248), 1, 1000, 1000, 10000, [intDiv(number, 31) % 10], [1000], [intDiv(number, 248)], 'abc', now64(3) - number FROM numbers(500000)`,
	} {
		require.NoError(b, s.exec(b.Context(), sql, nil))
	}
	var units []string
	for i := range 31 {
		units = append(units, fmt.Sprint(110000+10000*i))
	}
	all := func(*flow.Receipt) bool { return true }
	for _, c := range []struct {
		name  string
		since time.Time
		most  int
	}{{"quiet", time.Now().Add(time.Hour), 0}, {"changed", time.Now().Add(-2 * time.Minute), 40}, {"tenminutes", time.Now().Add(-11 * time.Minute), 1000}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				got, err := s.ReceiptsSince(b.Context(), units, c.since, 1000, all)
				require.NoError(b, err)
				require.LessOrEqual(b, len(got), c.most)
			}
		})
	}
}
