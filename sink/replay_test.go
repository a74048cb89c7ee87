package sink

import (
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// refuse writes one cut of one stored record (offset first) and some refused
// ones behind it.
func refuse(t testing.TB, a *Assignment, spec *feed.Spec, first int64, refused int) {
	t.Helper()
	rec := build(memory.DefaultAllocator, spec, a.Topic, []record{{id: fmt.Sprintf("stored-%d", first), version: version(1, 1), offset: first, partition: a.Partition}})
	defer rec.Release()
	c := cut(spec, a, first, first+int64(refused), rec)
	for i := range refused {
		n := c.Tally.Of(spec.Feed, "b1")
		n.Received++
		n.Reject(feed.CodeList)
		c.Rejects = append(c.Rejects, flow.Reject{Feed: spec.Feed, Batch: "b1", RecordID: fmt.Sprint("r", i), Offset: first + 1 + int64(i),
			Findings: []flow.Finding{{Field: "x", Rule: feed.CodeList}}, Kept: `{"feed":"x"}`})
	}
	require.NoError(t, a.Write(t.Context(), c))
}

// accepted is the chunk of a replay that accepts the refusal at one offset.
func accepted(t testing.TB, s *Sink, spec *feed.Spec, offset int64, outcome flow.Outcome) Chunk {
	t.Helper()
	spans, err := s.Spans(t.Context(), topic310, 0)
	require.NoError(t, err)
	id := fmt.Sprint("at-", offset)
	rec := build(memory.DefaultAllocator, spec, topic310, []record{{id: id, version: version(2, 2), offset: offset, outcome: outcome}})
	t.Cleanup(rec.Release)
	for _, l := range spans {
		if l.First <= offset && offset <= l.Last {
			return Chunk{First: offset, Last: offset, Parts: []flow.Batch{{Feed: spec, Rows: rec}}, At: noon, Records: []Replayed{{
				Offset: offset, Kind: Moved, First: l.First, Epoch: l.Epoch, ArrivedAt: l.ArrivedAt, WasFeed: spec.Feed, WasBatch: "b1", WasRule: "code_list",
				Feed: spec.Feed, Batch: "b1", Outcome: outcome,
			}}}
		}
	}
	t.Fatal("no cut holds the offset")
	return Chunk{}
}

const sums = "SELECT sum(received), sum(new), sum(rejected), sum(unexplained) FROM balance"

// TestAReplayCountsFromItsLedgerRowOn stops a replay behind each of its writes.
func TestAReplayCountsFromItsLedgerRowOn(t *testing.T) {
	for _, stop := range []string{"data", "records", "ledger", "twice"} {
		t.Run(stop, func(t *testing.T) {
			s := fresh(t, "employment")
			spec := s.opt.Catalogue.Feed("employment")
			refuse(t, assign(t, s, 0), spec, 0, 3)
			require.Equal(t, "(4,1,3,0)", value(t, s, sums))
			key := []Key{{RecordID: "at-2"}}
			time.Sleep(5 * time.Millisecond)
			since := time.Now()
			changed := func() int {
				all, err := s.ReceiptsSince(t.Context(), []string{"310000"}, since, 10, func(*flow.Receipt) bool { return true })
				require.NoError(t, err)
				return len(all)
			}
			require.Zero(t, changed())

			r, err := s.Replay(t.Context(), topic310, "run-1", "name", "reason")
			require.NoError(t, err)
			c := accepted(t, s, spec, 2, flow.New)
			require.NoError(t, s.store(t.Context(), spec, c.Parts[0].Rows))
			if stop != "data" {
				require.NoError(t, r.records(t.Context(), c))
			}
			done := stop == "ledger" || stop == "twice"
			if done {
				require.NoError(t, r.Write(t.Context(), c))
			}
			if stop == "twice" {
				require.NoError(t, r.Write(t.Context(), c))
			}
			if !done {
				require.Equal(t, "(4,1,3,0)", value(t, s, sums), "nothing counts yet")
				require.Equal(t, "(3)", value(t, s, "SELECT count() FROM quarantine_open"))
				next, err := s.Replay(t.Context(), topic310, "run-2", "name", "reason")
				require.NoError(t, err)
				known, err := next.Versions(t.Context(), spec, key)
				require.NoError(t, err)
				require.Empty(t, known, "the row that was left behind is not known: the outcome is the same again")
				require.ErrorIs(t, r.Write(t.Context(), c), ErrFenced, "the first replay may not go on")
				require.Equal(t, "(4,1,3,0)", value(t, s, sums))
				require.NoError(t, next.Write(t.Context(), c))
			}
			require.Equal(t, "(4,2,2,0)", value(t, s, sums))
			require.Equal(t, "(1)\n(3)", value(t, s, "SELECT offset FROM quarantine_open ORDER BY offset"))
			require.Equal(t, "(2)", value(t, s, "SELECT count() FROM employment_history FINAL"))
			rc, err := s.Receipt(t.Context(), "310000", "employment", "b1")
			require.NoError(t, err)
			require.Equal(t, map[string]int64{"code_list": 2}, rc.Rules)
			require.Len(t, rc.Rejects, 2, "the receipt lists what stands")
			require.Equal(t, 1, changed(), "the receipt is published again")
			known, err := r.Versions(t.Context(), spec, key)
			require.NoError(t, err)
			require.Equal(t, []flow.Version{version(2, 2)}, known[key[0]])
			// The live ledger and the workers never notice.
			require.Equal(t, "(1)", value(t, s, "SELECT count() FROM ledger_effective"))
			_, err = s.Assign(t.Context(), topic310, 0)
			require.NoError(t, err)
		})
	}
}

// TestAReplayIsTakenBackWithItsCut: a worker that had lost its partition wrote
// the cut, a replay moved a record of it, and then the heir wrote over it.
func TestAReplayIsTakenBackWithItsCut(t *testing.T) {
	s := fresh(t, "employment")
	spec := s.opt.Catalogue.Feed("employment")
	a := assign(t, s, 0)
	refuse(t, a, spec, 0, 3)
	r, err := s.Replay(t.Context(), topic310, "run-1", "name", "reason")
	require.NoError(t, err)
	require.NoError(t, r.Write(t.Context(), accepted(t, s, spec, 2, flow.New)))
	require.Equal(t, "(4,2,2,0)", value(t, s, sums))
	heir := &Assignment{Topic: topic310, Unit: "310000", Epoch: 2, s: s}
	refuse(t, heir, spec, 0, 3)
	require.Equal(t, "(4,1,3,0)", value(t, s, sums))
	require.Equal(t, "(3)", value(t, s, "SELECT count() FROM quarantine_open"))
}

// TestRefusedAgain: a second replay that was killed must not take back what the
// first one finished.
func TestRefusedAgain(t *testing.T) {
	s := fresh(t, "employment")
	spec := s.opt.Catalogue.Feed("employment")
	refuse(t, assign(t, s, 0), spec, 0, 3)
	again := func(run string, rule feed.Rule, finish bool) {
		r, err := s.Replay(t.Context(), topic310, run, "name", "reason")
		require.NoError(t, err)
		c := accepted(t, s, spec, 2, flow.Rejected)
		c.Parts = nil
		c.Records[0].Reject = &flow.Reject{RecordID: "r1", Findings: []flow.Finding{{Field: "y", Rule: rule}}, Kept: "{}"}
		if finish {
			require.NoError(t, r.Write(t.Context(), c))
		} else {
			require.NoError(t, r.records(t.Context(), c))
		}
	}
	rules := "SELECT offset, rule, run FROM quarantine_open ORDER BY offset"
	again("run-1", feed.DateOrder, true)
	require.Equal(t, "(1,'code_list','')\n(2,'date_order','run-1')\n(3,'code_list','')", value(t, s, rules))
	again("run-2", feed.DateInvalid, false)
	require.Equal(t, "(1,'code_list','')\n(2,'date_order','run-1')\n(3,'code_list','')", value(t, s, rules))
	again("run-3", feed.DatePartial, true)
	require.Equal(t, "(1,'code_list','')\n(2,'date_partial','run-3')\n(3,'code_list','')", value(t, s, rules))
	require.Equal(t, "(4,1,3,0)", value(t, s, sums))
	rc, err := s.Receipt(t.Context(), "310000", "employment", "b1")
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"code_list": 2, "date_partial": 1}, rc.Rules)
	runs, err := s.Runs(t.Context())
	require.NoError(t, err)
	require.Len(t, runs, 2)
	require.Equal(t, "name", runs[0].By)
}

// TestScratch: what the session sees differs from the tables by what was added,
// and a void in the tables still wins over an older row.
func TestScratch(t *testing.T) {
	s := fresh(t, "employment")
	spec := s.opt.Catalogue.Feed("employment")
	a := assign(t, s, 0)
	require.NoError(t, put(t, a, spec, 0, 1, record{id: "a", version: version(1, 1)},
		record{id: "void", version: flow.MakeVersion(noon.UnixMilli()+9000, true, 1, 7), deleted: true, offset: 1}))
	x := s.Scratch()
	count := func(x *Scratch) float64 {
		f, err := x.Figures(t.Context(), "SELECT toDate32('2016-01-01') AS d, 'u' AS unit, '' AS cat, toNullable(toFloat64(count())) AS n, CAST(NULL, 'Nullable(Float64)') AS m, toUInt64(1) AS source FROM employment FINAL WHERE record_id != {no:String} SETTINGS join_use_nulls = 1",
			map[string]string{"no": "it's \\ \"x\"\t"})
		require.NoError(t, err)
		require.Len(t, f, 1)
		require.Nil(t, f[0].M)
		return *f[0].N
	}
	require.EqualValues(t, 1, count(x))
	rec := build(memory.DefaultAllocator, spec, topic310, []record{{id: "b", version: version(1, 1)}, {id: "void", version: version(1, 1)}})
	defer rec.Release()
	require.NoError(t, x.Add(t.Context(), flow.Batch{Feed: spec, Rows: rec}))
	require.Equal(t, []string{"employment"}, x.Feeds())
	require.EqualValues(t, 2, count(x))
	require.EqualValues(t, 1, count(s.Scratch()))
	require.NoError(t, x.Close(t.Context()))
	require.EqualValues(t, 1, count(x))
}
