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
