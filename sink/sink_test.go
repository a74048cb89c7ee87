package sink

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/flow/flowtest"
	"github.com/duiwu/duiwu/internal/testenv"
)

// put writes records of one partition as one cut.
func put(t testing.TB, a *Assignment, spec *feed.Spec, first, last int64, recs ...record) error {
	t.Helper()
	mem := flowtest.Memory()
	for i := range recs {
		recs[i].partition, recs[i].incarnation = a.Partition, a.Incarnation
	}
	rec := build(mem, spec, a.Topic, recs)
	c := cut(spec, a, first, last, rec)
	err := a.Write(t.Context(), c)
	c.Release()
	mem.AssertSize(t, 0)
	return err
}

func assign(t testing.TB, s *Sink, partition int32) *Assignment {
	t.Helper()
	a, err := s.Assign(t.Context(), topic310, partition)
	require.NoError(t, err)
	return a
}

func TestEveryFeedGoesInAndIsReadBack(t *testing.T) {
	s := fresh(t)
	for _, spec := range s.opt.Catalogue.Feeds {
		mem := flowtest.Memory()
		rec := build(mem, spec, topic310, []record{{id: "a", day: 100, version: version(1, 5)}, {id: "b", day: 100, version: version(2, 6)}})
		require.NoError(t, s.store(t.Context(), spec, rec), spec.Feed)
		rec.Release()
		mem.AssertSize(t, 0)
		for _, table := range []string{spec.HistoryTable(), spec.CurrentTable()} {
			require.Equal(t, "('a',5)\n('b',6)", value(t, s, "SELECT record_id, toUInt64(bitAnd(bitShiftRight(_version, 16), 140737488355327)) FROM "+table+" FINAL ORDER BY record_id"), table)
		}
	}
}

// The bytes of a version are those of ClickHouse's UInt128, both ways.
func TestVersionBytes(t *testing.T) {
	s := fresh(t, "org")
	spec := s.opt.Catalogue.Feed("org")
	a := assign(t, s, 0)
	v := flow.VersionOf(0x0102030405060708, 0x090a0b0c0d0e0f10)
	require.NoError(t, put(t, a, spec, 0, 0, record{id: "a", day: 20000, version: v}))
	require.Equal(t, "(1)", value(t, s, "SELECT count() FROM org_history WHERE _version = bitOr(bitShiftLeft(toUInt128(72623859790382856), 64), toUInt128(651345242494996240))"))
	require.NoError(t, a.Newest(t.Context(), spec, func(id []byte, day int32, got flow.Version) error {
		require.Equal(t, v, got)
		require.Equal(t, "a", string(id))
		require.EqualValues(t, 20000, day)
		return nil
	}))
}

func TestContract(t *testing.T) {
	s := fresh(t, "employment")
	spec := s.opt.Catalogue.Feed("employment")
	now := noon
	// A unit for each partition, so that partitions that hold the same can be compared.
	topicOf := func(partition int32) string { return fmt.Sprintf("duiwu.feed.3%d0000", partition) }
	flowtest.Sink(t, flowtest.SinkHarness{
		Assign: func(t testing.TB, partition int32, broken bool) (flow.Sink, int64) {
			a, err := s.Assign(t.Context(), topicOf(partition), partition)
			require.NoError(t, err)
			if broken {
				return brokenBeforeLedger{a}, a.Next
			}
			return a, a.Next
		},
		Cut: func(mem memory.Allocator, partition int32, first, last int64) flow.Cut {
			now = now.Add(time.Second) // each try has its own arrival
			var recs []record
			for o := first; o <= last; o++ {
				if o%5 == 3 {
					continue
				}
				recs = append(recs, record{id: fmt.Sprintf("r%d", o), version: version(o, 1), partition: partition, offset: o, arrived: now})
			}
			c := cut(spec, &Assignment{Topic: topicOf(partition), Partition: partition, Unit: unitOf(topicOf(partition))}, first, last, build(mem, spec, topicOf(partition), recs))
			c.Arrived = now
			for o := first; o <= last; o++ {
				if o%5 == 3 {
					n := c.Tally.Of(spec.Feed, "b1")
					n.Received++
					n.Reject(feed.CodeList)
					c.Rejects = append(c.Rejects, flow.Reject{Feed: spec.Feed, Batch: "b1", RecordID: fmt.Sprintf("r%d", o), Offset: o,
						Findings: []flow.Finding{{Field: "x", Rule: feed.CodeList}, {Rule: feed.DateOrder}}, Kept: `{"a":"it's \\ \"1\""}`})
				}
			}
			return c
		},
		Tables: func(t testing.TB, partition int32) string {
			in := fmt.Sprintf(" WHERE partition = %d", partition)
			return strings.Join([]string{
				value(t, s, fmt.Sprintf("SELECT record_id, _version, _offset, _outcome, _is_deleted FROM employment_history FINAL WHERE _partition = %d ORDER BY record_id, _version", partition)),
				value(t, s, fmt.Sprintf("SELECT * EXCEPT (reporting_unit, _arrived_at) FROM employment FINAL WHERE reporting_unit = '%s' ORDER BY record_id", unitOf(topicOf(partition)))),
				value(t, s, "SELECT offset, row, feed, batch_id, record_id, rule, fields, rules, kept FROM quarantine FINAL"+in+" ORDER BY offset"),
				value(t, s, "SELECT sum(received), sum(new), sum(duplicate), sum(rejected), min(first_offset), max(last_offset) FROM ledger_effective"+in),
				value(t, s, "SELECT feed, batch_id, sum(received), sum(new), sum(rejected), sumMap(rules) FROM receipt_parts_effective"+in+" GROUP BY feed, batch_id"),
			}, "\n\n")
		},
	})
	all, err := s.Balance(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 5)
	for _, b := range all {
		require.Zero(t, b.Unexplained())
	}
	require.Equal(t, value(t, s, "SELECT sum(received), sum(new), sum(rejected) FROM ledger_effective"), value(t, s, "SELECT sum(received), sum(new), sum(rejected) FROM balance"))
	require.Equal(t, "(0)", value(t, s, "SELECT max(abs(unexplained)) FROM balance"))
}

// brokenBeforeLedger writes everything but the ledger row.
type brokenBeforeLedger struct{ *Assignment }

func (b brokenBeforeLedger) Write(ctx context.Context, cut flow.Cut) error {
	if err := b.s.fill(ctx, []*pending{{a: b.Assignment, cut: &cut}}); err != nil {
		return err
	}
	return fmt.Errorf("killed")
}

func TestEarliestArrivalStays(t *testing.T) {
	s := fresh(t, "employment")
	spec := s.opt.Catalogue.Feed("employment")
	for _, minute := range []int{5, 2, 9, 2} {
		mem := flowtest.Memory()
		rec := build(mem, spec, topic310, []record{{id: "a", version: version(1, 1), arrived: noon.Add(time.Duration(minute) * time.Minute)}})
		require.NoError(t, s.store(t.Context(), spec, rec))
		rec.Release()
		mem.AssertSize(t, 0)
	}
	want := "('2026-11-23 12:02:00.000')"
	require.Equal(t, want, value(t, s, "SELECT _arrived_at FROM employment_history FINAL"))
	require.NoError(t, s.exec(t.Context(), "OPTIMIZE TABLE employment_history FINAL", nil))
	require.Equal(t, want, value(t, s, "SELECT _arrived_at FROM employment_history"))
}

// A void has to stay in the current table, or an older version that comes late
// would bring its record back.
func TestVoidStaysAgainstALateOlderVersion(t *testing.T) {
	s := fresh(t, "employment")
	spec := s.opt.Catalogue.Feed("employment")
	a := assign(t, s, 0)
	require.NoError(t, put(t, a, spec, 0, 0, record{id: "a", version: flow.MakeVersion(2000, true, 1, 7), deleted: true}))
	require.NoError(t, s.exec(t.Context(), "OPTIMIZE TABLE employment FINAL", nil))
	require.NoError(t, put(t, a, spec, 1, 1, record{id: "a", version: flow.MakeVersion(1000, false, 2, 7), offset: 1}))
	require.NoError(t, s.exec(t.Context(), "OPTIMIZE TABLE employment FINAL", nil))
	require.Equal(t, "(0)", value(t, s, "SELECT count() FROM employment FINAL"))
	require.Equal(t, "(2)", value(t, s, "SELECT count() FROM employment_history FINAL"))
}

func TestLedgerEffective(t *testing.T) {
	s := fresh(t, "org")
	var rows []ledgerRow
	add := func(partition int32, epoch uint32, first, last int64) {
		rows = append(rows, ledgerRow{Topic: topic310, Partition: partition, Epoch: epoch, First: first, Last: last, Run: "live", Kind: kindCut, ArrivedAt: stamp(noon), WrittenAt: stamp(noon)})
	}
	add(0, 1, 0, 9)
	add(0, 1, 10, 19)
	add(0, 1, 20, 29) // taken over by epoch 2
	add(0, 2, 20, 24)
	add(0, 2, 25, 30) // taken over by epoch 3
	add(0, 3, 26, 40)
	add(0, 3, 26, 40) // inserted twice
	add(1, 1, 0, 99)  // another partition
	for i := range rows {
		require.NoError(t, insertJSON(t.Context(), s, "ledger", columnNames("ledger"), rows[i:i+1]))
	}
	rows = rows[:0]
	add(0, 9, 0, 1000)
	rows[0].Run = "replay-1"
	require.NoError(t, insertJSON(t.Context(), s, "ledger", columnNames("ledger"), rows))
	require.Equal(t, "(0,1,0,9)\n(0,1,10,19)\n(0,2,20,24)\n(0,3,26,40)\n(1,1,0,99)",
		value(t, s, "SELECT partition, epoch, first_offset, last_offset FROM ledger_effective ORDER BY partition, first_offset"))
	a := assign(t, s, 0)
	require.EqualValues(t, 41, a.Next)
	require.EqualValues(t, 40, a.Last)
	require.Equal(t, []flow.Span{{Topic: topic310, First: 25, Last: 25}}, a.Gaps)
	require.EqualValues(t, 10, a.Epoch, "above every epoch of the ledger")
}

func TestTwoClaimsAtOnceEndWithDifferentEpochs(t *testing.T) {
	s := fresh(t, "org")
	const n = 6
	epochs := make([]uint32, n)
	var g errgroup.Group
	for i := range n {
		g.Go(func() error {
			a, err := s.Assign(t.Context(), topic310, 0)
			if err == nil {
				epochs[i] = a.Epoch
			}
			return err
		})
	}
	require.NoError(t, g.Wait())
	seen := map[uint32]bool{}
	for _, e := range epochs {
		require.False(t, seen[e], "%v", epochs)
		seen[e] = true
	}
}

func TestSkipAndNewIncarnation(t *testing.T) {
	s := fresh(t, "employment")
	spec := s.opt.Catalogue.Feed("employment")
	a := assign(t, s, 0)
	require.NoError(t, put(t, a, spec, 0, 9, record{id: "a", version: version(1, 1)}))
	_, err := s.Skip(t.Context(), topic310, 0, 9, "li", "gone")
	require.ErrorContains(t, err, "the ledger ends at 9 already")
	_, err = s.Skip(t.Context(), topic310, 0, 19, "", "gone")
	require.ErrorContains(t, err, "name and a reason")
	span, err := s.Skip(t.Context(), topic310, 0, 19, "li", "retention was too short")
	require.NoError(t, err)
	require.Equal(t, flow.Span{Topic: topic310, First: 10, Last: 19}, span)
	require.ErrorIs(t, put(t, a, spec, 10, 11, record{id: "b", version: version(1, 1), offset: 10}), ErrFenced)
	a = assign(t, s, 0)
	require.EqualValues(t, 20, a.Next)
	require.EqualValues(t, -1, a.Last)
	require.Empty(t, a.Gaps)
	require.NoError(t, put(t, a, spec, 20, 20, record{id: "c", version: version(1, 1), offset: 20}))
	b := assign(t, s, 0)
	require.EqualValues(t, 20, b.Last)
	require.EqualValues(t, uint64(20)+1<<63, b.LastSum)

	n, err := s.NewIncarnation(t.Context(), topic310)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	require.ErrorIs(t, put(t, b, spec, 21, 21, record{id: "d", version: version(1, 1), offset: 21}), ErrFenced)
	a = assign(t, s, 0)
	require.EqualValues(t, 1, a.Incarnation)
	require.EqualValues(t, 0, a.Next)
	got, err := a.Stored(t.Context(), spec, []flow.Known{{RecordID: []byte("a"), Version: version(1, 1)}})
	require.NoError(t, err)
	require.Equal(t, []bool{true}, got, "what the old incarnation brought stays known")
}

func TestCutsThatAreWrittenTogetherAreFencedOneByOne(t *testing.T) {
	s := fresh(t, "employment")
	spec := s.opt.Catalogue.Feed("employment")
	mem := flowtest.Memory()
	var cuts []*pending
	for p := range int32(3) {
		a := assign(t, s, p)
		rec := build(mem, spec, topic310, []record{{id: fmt.Sprint(p), version: version(1, 1)}})
		c := cut(spec, a, 0, 0, rec)
		cuts = append(cuts, &pending{a: a, cut: &c, span: trace.SpanFromContext(t.Context())})
	}
	assign(t, s, 1)
	require.NoError(t, s.write(t.Context(), cuts))
	for _, c := range cuts {
		c.cut.Release()
	}
	mem.AssertSize(t, 0)
	require.NoError(t, cuts[0].fenced)
	require.ErrorIs(t, cuts[1].fenced, ErrFenced)
	require.NoError(t, cuts[2].fenced)
	require.Equal(t, "(0)\n(2)", value(t, s, "SELECT partition FROM ledger ORDER BY partition"))
}

func TestNewestAndStoredSeeTheLedgerOnly(t *testing.T) {
	for _, name := range []string{"employment", "org"} {
		t.Run(name, func(t *testing.T) {
			s := fresh(t, name)
			spec := s.opt.Catalogue.Feed(name)
			day := func(d int32) int32 {
				if spec.KeyHasDate() {
					return d
				}
				return 0
			}
			odd := "it's \\ \"x\"\t乙\n"
			a := assign(t, s, 0)
			require.NoError(t, put(t, a, spec, 0, 9,
				record{id: "a", day: day(10), version: version(1, 1)},
				record{id: "a", day: day(10), version: version(3, 1), offset: 1},
				record{id: odd, day: day(-20000), version: version(5, 1), offset: 2},
				record{id: "void", day: day(10), version: flow.MakeVersion(noon.UnixMilli(), true, 3, 7), deleted: true, offset: 3}))
			other := assign(t, s, 1)
			require.NoError(t, put(t, other, spec, 0, 0, record{id: "other", day: day(10), version: version(1, 1)}))
			// Unfinished: in the tables, not in the ledger.
			mem := flowtest.Memory()
			rec := build(mem, spec, topic310, []record{{id: "a", day: day(10), version: version(9, 1), offset: 10}, {id: "new", day: day(10), version: version(9, 1), offset: 11}})
			require.NoError(t, s.store(t.Context(), spec, rec))
			rec.Release()
			// Another unit's record of the same name.
			rec = build(mem, spec, "duiwu.feed.320000", []record{{id: "a", day: day(10), version: version(99, 1)}})
			require.NoError(t, s.store(t.Context(), spec, rec))
			rec.Release()
			mem.AssertSize(t, 0)

			a = assign(t, s, 0)
			got := map[string]flow.Version{}
			mem = flowtest.Memory()
			all := readings([]*learning{{a, spec, func(id []byte, d int32, v flow.Version) error {
				got[fmt.Sprintf("%s/%d", id, d)] = v
				return nil
			}}})
			require.Len(t, all, 1)
			require.NoError(t, all[0].read(t.Context(), s, mem))
			mem.AssertSize(t, 0)
			require.Equal(t, map[string]flow.Version{
				fmt.Sprintf("a/%d", day(10)): version(3, 1), fmt.Sprintf("%s/%d", odd, day(-20000)): version(5, 1),
				fmt.Sprintf("void/%d", day(10)): flow.MakeVersion(noon.UnixMilli(), true, 3, 7), fmt.Sprintf("other/%d", day(10)): version(1, 1),
			}, got)
			stop := fmt.Errorf("enough")
			require.ErrorIs(t, a.Newest(t.Context(), spec, func([]byte, int32, flow.Version) error { return stop }), stop)

			known := func(id string, d int32, v flow.Version) flow.Known {
				return flow.Known{RecordID: []byte(id), EffectiveFrom: day(d), Version: v}
			}
			keys := []flow.Known{
				known("a", 10, version(1, 1)), known("a", 10, version(2, 1)), known("a", 10, version(9, 1)),
				known(odd, -20000, version(5, 1)), known("new", 10, version(9, 1)), known("other", 10, version(1, 1)), known("a", 10, version(1, 1)),
			}
			stored, err := a.Stored(t.Context(), spec, keys)
			require.NoError(t, err)
			require.Equal(t, []bool{true, false, false, true, false, true, true}, stored)

			// A fenced worker's row does not count for its heir.
			require.NoError(t, insertJSON(t.Context(), s, "ledger", columnNames("ledger"), []ledgerRow{{Topic: topic310, First: 10, Last: 11, Epoch: 1, Run: "live", Kind: kindCut, ArrivedAt: stamp(noon), WrittenAt: stamp(noon)}}))
			stored, err = a.Stored(t.Context(), spec, keys)
			require.NoError(t, err)
			require.Equal(t, []bool{true, false, false, true, false, true, true}, stored)
			// What the heir writes itself does.
			require.NoError(t, put(t, a, spec, 10, 11, record{id: "a", day: day(10), version: version(9, 1), offset: 10}))
			stored, err = a.Stored(t.Context(), spec, keys[2:3])
			require.NoError(t, err)
			require.Equal(t, []bool{true}, stored)
			// What another partition wrote since the claim does for its own records.
			require.NoError(t, put(t, other, spec, 1, 1, record{id: "stray", day: day(10), version: version(1, 1), offset: 1}))
			stray := known("stray", 10, version(1, 1))
			stored, err = a.Stored(t.Context(), spec, []flow.Known{stray})
			require.NoError(t, err)
			require.Equal(t, []bool{false}, stored)
			stray.Elsewhere = true
			stored, err = a.Stored(t.Context(), spec, []flow.Known{stray, known("new", 10, version(9, 1))})
			require.NoError(t, err)
			require.Equal(t, []bool{true, true}, stored, "the row of offset 11 is this assignment's own")
		})
	}
}

func TestReceipts(t *testing.T) {
	s := fresh(t, "employment")
	spec := s.opt.Catalogue.Feed("employment")
	_, err := s.Receipt(t.Context(), "310000", "employment", "b1")
	require.ErrorIs(t, err, ErrNoReceipt)
	a := assign(t, s, 0)
	write := func(a *Assignment, first, last int64, chunks ...int32) {
		c := cut(spec, a, first, last, nil)
		n := c.Tally.Of("employment", `b\1'`)
		n.Received, n.By[flow.New], n.By[flow.Duplicate] = 10, 7, 1
		n.Reject(feed.CodeList)
		n.Reject(feed.DateOrder)
		n.Warn(feed.RICSexMismatch)
		n.Declared, n.SHA256 = 30, "abc"
		for _, c := range chunks {
			n.Chunks = append(n.Chunks, flow.Chunk{Number: c, Rows: 10, Offset: first})
		}
		require.NoError(t, a.Write(t.Context(), c))
	}
	write(a, 0, 0, 1)
	write(a, 1, 1, 3)
	r, err := s.Receipt(t.Context(), "310000", "employment", `b\1'`)
	require.NoError(t, err)
	require.Equal(t, flow.Partial, r.Status)
	require.Equal(t, [][2]int64{{2, 2}}, r.Missing)
	require.EqualValues(t, 20, r.Received)
	require.EqualValues(t, 14, r.By[flow.New])
	require.Equal(t, map[string]int64{"code_list": 2, "date_order": 2}, r.Rules)
	require.Equal(t, map[string]int64{"ric_sex_mismatch": 2}, r.Warnings)
	// Most messages say nothing of chunks.
	plain := cut(spec, assign(t, s, 6), 0, 0, nil)
	plain.Span.Partition = 6
	plain.Tally.Of("employment", "plain").Received = 0
	require.NoError(t, assign(t, s, 6).Write(t.Context(), plain))
	r, err = s.Receipt(t.Context(), "310000", "employment", "plain")
	require.NoError(t, err)
	require.Equal(t, flow.Undeclared, r.Status)
	require.Empty(t, r.Missing)
	// A header may say anything; it must not break the view for all.
	wild := cut(spec, assign(t, s, 7), 0, 0, nil)
	wild.Tally.Of("employment", "wild").Chunks = []flow.Chunk{{Number: 0}, {Number: 1}, {Number: 5}, {Number: 2147483647}}
	wild.Span.Partition = 7
	require.NoError(t, assign(t, s, 7).Write(t.Context(), wild))
	w, err := s.Receipt(t.Context(), "310000", "employment", "wild")
	require.NoError(t, err)
	require.Equal(t, flow.Undeclared, w.Status)
	require.Equal(t, [][2]int64{{2, 4}, {6, 2147483646}}, w.Missing)
	// A part whose cut never reached the ledger does not count, nor one written over.
	c := cut(spec, a, 2, 2, nil)
	c.Tally.Of("employment", `b\1'`).Received = 1000
	require.NoError(t, s.fill(t.Context(), []*pending{{a: a, cut: &c}}))
	write(assign(t, s, 1), 0, 0, 2)
	b := assign(t, s, 0)
	require.EqualValues(t, 2, b.Next)
	r, err = s.Receipt(t.Context(), "310000", "employment", `b\1'`)
	require.NoError(t, err)
	require.Equal(t, flow.Complete, r.Status)
	require.EqualValues(t, 30, r.Received)
	require.Equal(t, [][2]int64{{1, 3}}, r.Chunks)
	require.Empty(t, r.Missing)
	require.False(t, r.SHA256Differs)
	all, err := s.Balance(t.Context())
	require.NoError(t, err)
	require.Equal(t, []FeedBalance{{Unit: "310000", Feed: "employment", Received: 30, By: [flow.Outcomes]int64(r.By)}}, all)
}

// The worker's user may only read and insert.
func TestWriterNeedsNoMoreThanSelectAndInsert(t *testing.T) {
	e := testenv.ClickHouse(t)
	c := catalogue(t, []string{"employment"})
	require.NoError(t, open(t, e.DSN(), c, "admin").Migrate(t.Context()))
	s := open(t, e.DSNOf(engine.Writer), c, "w")
	spec := c.Feed("employment")
	a := assign(t, s, 0)
	require.NoError(t, put(t, a, spec, 0, 0, record{id: "a", version: version(1, 1)}))
	got, err := a.Stored(t.Context(), spec, []flow.Known{{RecordID: []byte("a"), Version: version(1, 1)}})
	require.NoError(t, err)
	require.Equal(t, []bool{true}, got)
	require.NoError(t, a.Newest(t.Context(), spec, func([]byte, int32, flow.Version) error { return nil }))
	err = s.Migrate(t.Context())
	if err != nil {
		require.True(t, flow.IsPermanent(err), "%v", err)
		require.ErrorContains(t, err, "ACCESS_DENIED")
	}
}
