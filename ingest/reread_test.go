package ingest

import (
	"fmt"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/broker"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/testenv"
)

func reread(t *testing.T, b Broker, topic string, lim Limits) *Reread {
	t.Helper()
	opt := options(t, lim)
	r, err := OpenReread(t.Context(), &b, topic, unit, 0, opt)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

// ids lists what a reading kept: offset.row and record id, the refused ones by rule.
func ids(in *Reading) []string {
	out := []string{}
	for _, p := range in.Cut.Parts {
		id := p.Rows.Column(feed.FieldRecordID).(*array.String)
		n := int(p.Rows.NumCols())
		for i := range id.Len() {
			out = append(out, fmt.Sprintf("%d.%d %s", p.Rows.Column(n-2).(*array.Int64).Value(i), p.Rows.Column(n-1).(*array.Int32).Value(i), id.Value(i)))
		}
	}
	for _, r := range in.Cut.Rejects {
		out = append(out, fmt.Sprintf("%d.%d %s", r.Offset, r.Row, r.Findings[0].Rule))
	}
	return out
}

func TestRereadKeepsWhatIsAskedFor(t *testing.T) {
	b := Broker{Brokers: []string{testenv.Kfake(t)}}
	topic := newTopic(t, b, 1)
	all := records(3)
	chunk := "[" + all[0] + "," + all[1] + `,{"record_id":"bad","colour":1},` + all[2] + "]"
	send(t, b, topic, all[0], chunk, "not JSON", all[1], all[2])
	leaks(t)
	r := reread(t, b, topic, Limits{})
	require.EqualValues(t, 0, r.Start)
	require.EqualValues(t, 5, r.End)

	in, err := r.Read(t.Context(), []int64{0, 1, 2, 3, 4, 9}, nil)
	require.NoError(t, err)
	require.Len(t, ids(in), 8)
	require.Equal(t, []int64{9}, in.Gone)
	require.Equal(t, 6, in.Done)
	require.Len(t, in.Records, 8)
	require.True(t, in.Records[Position{2, 0}].Whole)
	require.False(t, in.Records[Position{1, 2}].Whole)
	in.Cut.Release()

	// Some rows of one message, one before it, in the middle of what was fetched.
	want := map[Position]bool{{1, 1}: true, {1, 2}: true, {1, 3}: true, {3, 0}: true}
	in, err = r.Read(t.Context(), []int64{1, 3}, func(p Position) bool { return want[p] })
	require.NoError(t, err)
	require.Equal(t, []string{"1.1 " + idOf(t, all[1]), "1.3 " + idOf(t, all[2]), "3.0 " + idOf(t, all[1]), "1.2 unknown_field"}, ids(in))
	var received, rejected int64
	for _, c := range in.Cut.Tally {
		received += c.Received
		rejected += c.By[flow.Rejected]
	}
	require.EqualValues(t, 4, received)
	require.EqualValues(t, 1, rejected)
	in.Cut.Release()

	// It ends where a cut would, and goes on from there.
	r = reread(t, b, topic, Limits{Rows: 2})
	offsets, n := []int64{0, 2, 3, 4}, 0
	for len(offsets) > 0 {
		in, err := r.Read(t.Context(), offsets, nil)
		require.NoError(t, err)
		require.LessOrEqual(t, in.Done, 2)
		n += len(ids(in))
		offsets = offsets[in.Done:]
		in.Cut.Release()
	}
	require.Equal(t, 4, n)
}

func idOf(t *testing.T, record string) string {
	t.Helper()
	d := NewDecoder(catalogue(t), options(t, Limits{}).Mem, unit, 0)
	require.NoError(t, d.Add(&Message{Value: []byte(record), Headers: []Header{{[]byte("feed"), []byte("worker")}}}))
	parts, _, _ := d.Flush()
	defer parts[0].Rows.Release()
	return string([]byte(parts[0].Rows.Column(feed.FieldRecordID).(*array.String).Value(0)))
}

// TestRereadFindsTheLedgersSum: the checksum that the ledger keeps
// is found again.
func TestRereadFindsTheLedgersSum(t *testing.T) {
	b := Broker{Brokers: []string{testenv.Kfake(t)}}
	topic := newTopic(t, b, 1)
	send(t, b, topic, records(20)...)
	cut := nextCut(t, open(t, b, topic, Resume{}, options(t, Limits{})))
	r := reread(t, b, topic, Limits{})
	sum, ok, err := r.Sum(t.Context(), cut.Span.Last)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, cut.LastSum, sum)
	other, ok, err := r.Sum(t.Context(), cut.Span.Last-1)
	require.NoError(t, err)
	require.True(t, ok)
	require.NotEqual(t, sum, other)
	_, ok, err = r.Sum(t.Context(), 20)
	require.NoError(t, err)
	require.False(t, ok, "behind the end")
	require.NoError(t, broker.DeleteRecords(t.Context(), b.Brokers[0], topic, 0, 5))
	r = reread(t, b, topic, Limits{})
	require.EqualValues(t, 5, r.Start)
	in, err := r.Read(t.Context(), []int64{3, 4, 5}, nil)
	require.NoError(t, err)
	require.Equal(t, []int64{3, 4}, in.Gone)
	require.Len(t, in.Records, 1)
	in.Cut.Release()
}
