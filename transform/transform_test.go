package transform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/flow/flowtest"
)

// demoKeys are the keys of the published vectors.
var demoKeys = TokenKeys{Algorithm: "sha256", Keys: [][]byte{sequence(0), sequence(32)}}

func sequence(from byte) []byte {
	k := make([]byte, 32)
	for i := range k {
		k[i] = from + byte(i)
	}
	return k
}

var testNow = time.Date(2016, 11, 30, 20, 0, 0, 0, feed.Shanghai)

func catalogue(t testing.TB) *feed.Catalogue {
	t.Helper()
	c, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	return c
}

// line is one partition's steps on a checked allocator, with a history kept in
// memory the way the tables keep it.
type line struct {
	t     *testing.T
	cat   *feed.Catalogue
	mem   *flowtest.Checked
	steps []flow.Step
	store store
	next  int64
	seen  []byte // what Pseudonymize let through, as JSON
	fails bool   // the last step is to fail; nothing is stored
}

func (l *line) dedupe() *Dedupe { return l.steps[len(l.steps)-1].(*Dedupe) }

func newLine(t *testing.T) *line {
	t.Helper()
	l := &line{t: t, cat: catalogue(t), mem: flowtest.Memory(), store: store{}}
	t.Cleanup(func() { l.mem.AssertSize(t, 0) })
	l.assign()
	return l
}

// assign gives the partition new steps, as after a restart.
func (l *line) assign() {
	l.t.Helper()
	for _, s := range l.steps {
		if c, ok := s.(*Check); ok {
			c.Release()
		}
	}
	pseudonymize, err := NewPseudonymize(demoKeys, l.cat, l.mem)
	require.NoError(l.t, err)
	dedupe := NewDedupe(DedupeOptions{Feeds: l.cat.Feeds, History: l.store, Revision: 1, Mem: l.mem})
	require.NoError(l.t, dedupe.Learn(context.Background()))
	check := NewCheck(CheckOptions{
		Catalogue: l.cat, AllowTestAreas: true, Mem: l.mem, Clock: func() time.Time { return testNow },
	})
	l.t.Cleanup(check.Release)
	l.steps = []flow.Step{check, pseudonymize, dedupe}
}

// send runs records, one JSON object a line, through the steps and returns what
// became of each, in order: its outcome, or "rejected" and the findings.
func (l *line) send(feedName string, lines string) []string {
	l.t.Helper()
	spec := l.cat.Feed(feedName)
	require.NotNil(l.t, spec, feedName)
	cut := flow.Cut{Tally: flow.Tally{}, Unit: "310000", Arrived: testNow,
		Span: flow.Span{Topic: "duiwu.feed.310000", First: l.next}}
	b := array.NewRecordBuilder(l.mem, flow.WireSchema(spec))
	defer b.Release()
	n := 0
	for text := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		var rec map[string]any
		require.NoError(l.t, json.Unmarshal([]byte(text), &rec), text)
		for i, f := range spec.All() {
			col := b.Field(i).(*array.StringBuilder)
			if v, ok := rec[f.Name]; ok && v != nil {
				col.Append(fmt.Sprint(v))
			} else {
				col.AppendNull()
			}
			delete(rec, f.Name)
		}
		require.Empty(l.t, rec, "no such field")
		b.Field(len(spec.All())).(*array.Int64Builder).Append(l.next + int64(n))
		b.Field(len(spec.All()) + 1).(*array.Int32Builder).Append(0)
		cut.Tally.Of(spec.Feed, "b1").Received++
		n++
	}
	first := l.next
	l.next += int64(n)
	cut.Span.Last = l.next - 1
	cut.Parts = []flow.Batch{{Feed: spec, Rows: b.NewRecord()}}
	for _, s := range l.steps {
		if _, last := s.(*Dedupe); last {
			l.seen = l.seen[:0]
			for _, p := range cut.Parts {
				text, err := p.Rows.MarshalJSON()
				require.NoError(l.t, err)
				l.seen = append(l.seen, text...)
			}
		}
		out, err := s.Apply(context.Background(), cut)
		cut.Release()
		if l.fails && s == flow.Step(l.dedupe()) {
			require.Error(l.t, err)
			l.next = first
			return nil
		}
		require.NoError(l.t, err)
		cut = out
	}
	defer cut.Release()
	for k, c := range cut.Tally {
		require.True(l.t, c.Balanced(), "%v %+v", k, c)
	}
	got := make([]string, n)
	for i := range got {
		got[i] = "duplicate"
	}
	for _, p := range cut.Parts {
		require.True(l.t, p.Rows.Schema().Equal(flow.TableSchema(spec)), "schema:\n%s\nwant:\n%s", p.Rows.Schema(), flow.TableSchema(spec))
		col := func(name string) arrow.Array { return p.Rows.Column(p.Rows.Schema().FieldIndices(name)[0]) }
		for row := range int(p.Rows.NumRows()) {
			at := col(feed.ColOffset).(*array.Int64).Value(row) - first
			if col(feed.ColPart).(*array.Uint8).Value(row) != 0 {
				got[at] = "void+"
			} else {
				got[at] = strings.Clone(strings.TrimPrefix(got[at], "duplicate") + col(feed.ColOutcome).(*array.String).Value(row))
				if w := col(feed.ColWarnings).(*array.String).Value(row); w != "" {
					got[at] += " (" + w + ")"
				}
			}
		}
		l.store.add(spec, p.Rows)
	}
	for _, r := range cut.Rejects {
		got[r.Offset-first] = "rejected"
		for _, f := range r.Findings {
			got[r.Offset-first] += fmt.Sprintf(" %s:%s", f.Field, f.Rule)
		}
	}
	return got
}

// store keeps every version, as the history tables do.
type store map[string][]flow.Known

func (s store) add(spec *feed.Spec, rec arrow.Record) {
	col := func(name string) arrow.Array { return rec.Column(rec.Schema().FieldIndices(name)[0]) }
	for row := range int(rec.NumRows()) {
		k := flow.Known{RecordID: []byte(col("record_id").(*array.String).Value(row))}
		copy(k.Version[:], col(feed.ColVersion).(*array.FixedSizeBinary).Value(row))
		if spec.KeyHasDate() {
			k.EffectiveFrom = int32(col("effective_from").(*array.Date32).Value(row))
		}
		s[spec.Feed] = append(s[spec.Feed], k)
	}
}

func (s store) Newest(_ context.Context, spec *feed.Spec, fn func([]byte, int32, flow.Version) error) error {
	newest := map[string]flow.Known{}
	for _, k := range s[spec.Feed] {
		name := fmt.Sprint(k.EffectiveFrom, string(k.RecordID))
		if old, ok := newest[name]; !ok || k.Version.Compare(old.Version) > 0 {
			newest[name] = k
		}
	}
	for _, k := range newest {
		if err := fn(k.RecordID, k.EffectiveFrom, k.Version); err != nil {
			return err
		}
	}
	return nil
}

func (s store) Stored(_ context.Context, spec *feed.Spec, rows []flow.Known) ([]bool, error) {
	out := make([]bool, len(rows))
	for i, r := range rows {
		out[i] = slices.ContainsFunc(s[spec.Feed], func(k flow.Known) bool {
			return string(k.RecordID) == string(r.RecordID) && k.EffectiveFrom == r.EffectiveFrom && k.Version == r.Version
		})
	}
	return out, nil
}

// org writes an organisation's record; each change replaces "key":"value" text.
func org(id, at string, changes ...string) string {
	s := fmt.Sprintf(`{"schema_version":"1","reporting_unit":"310000","feed":"org","batch_id":"b1","record_id":%q,"op":"U","period":"201611","effective_from":"2016-11-30","reported_at":%q,"uscc":"52119900MJ0000018T","org_name":"社工服务中心","org_type":"52","county_code":"310115","status":"active","service_types":"1,2","worker_total":"12"}`, id, at)
	for i := 0; i+1 < len(changes); i += 2 {
		if !strings.Contains(s, changes[i]) {
			panic("no such text: " + changes[i])
		}
		s = strings.Replace(s, changes[i], changes[i+1], 1)
	}
	return s
}

const (
	t1 = "2016-11-11T08:00:00+08:00"
	t2 = "2016-11-12T08:00:00+08:00"
	t3 = "2016-11-13T08:00:00+08:00"
)

func TestOutcomes(t *testing.T) {
	more := []string{`"worker_total":"12"`, `"worker_total":"13"`}
	void := []string{`"op":"U"`, `"op":"V"`}
	f := func(name string, want []string, records ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			// All in one batch, then one batch each, then with a new assignment
			// between any two, which learns from the tables or takes over what the last
			// one knew: the outcomes must be the same.
			require.Equal(t, want, newLine(t).send("org", strings.Join(records, "\n")))
			l, again, kept := newLine(t), newLine(t), newLine(t)
			for i, r := range records {
				require.Equal(t, want[i:i+1], l.send("org", r))
				again.assign()
				require.Equal(t, want[i:i+1], again.send("org", r))
				require.True(t, kept.dedupe().Resume(kept.store, kept.next))
				require.Equal(t, want[i:i+1], kept.send("org", r))
			}
		})
	}
	f("re-sent", []string{"new", "duplicate"}, org("a", t1), org("a", t1))
	f("prepared anew", []string{"new", "unchanged", "duplicate"}, org("a", t1), org("a", t2), org("a", t1))
	f("corrected", []string{"new", "correction", "correction"}, org("a", t1), org("a", t2, more...), org("a", t3))
	f("late", []string{"new", "superseded", "duplicate"}, org("a", t2), org("a", t1), org("a", t1))
	f("conflict above or below", []string{"new", "conflict", "duplicate", "duplicate"},
		org("a", t1), org("a", t1, more...), org("a", t1), org("a", t1, more...))
	f("void and back", []string{"new", "correction", "correction", "duplicate"},
		org("a", t1), org("a", t2, void...), org("a", t3), org("a", t2, void...))
	f("a void loses to an upsert of its moment", []string{"new", "correction"},
		org("a", t1, void...), org("a", t1))
	f("months are records of their own", []string{"new", "new"},
		org("a", t1), org("a", t2, `"effective_from":"2016-11-30"`, `"effective_from":"2016-10-31"`))
	f("corrects another record", []string{"new", "void+new", "superseded"},
		org("a", t1), org("b", t2, `"op":"U"`, `"op":"C","corrects":"a"`), org("a", t1, more...))
}

// TestARecordOfAnotherPartition: a unit that sends with a partitioner of its own, or a
// topic that got new partitions, had what it sent again counted as new, since no state
// but that of the record's own partition knows it; the balance then had more than the tables.
func TestARecordOfAnotherPartition(t *testing.T) {
	l, there := newLine(t), newLine(t)
	there.store = l.store
	there.assign()
	l.dedupe().opt.Mine = func(id []byte) bool { return string(id) == "mine" }
	require.Equal(t, []string{"new", "new"}, there.send("org", org("a", t2)+"\n"+org("b", t2)))
	require.Equal(t, []string{"duplicate", "new", "new", "duplicate", "new"},
		l.send("org", strings.Join([]string{org("a", t2), org("mine", t1), org("c", t1), org("c", t1), org("b", t1)}, "\n")))
	// What comes to the other partition later is asked for as well.
	require.Equal(t, []string{"new"}, there.send("org", org("c", t3)))
	require.Equal(t, []string{"duplicate", "duplicate", "duplicate"}, l.send("org", org("c", t3)+"\n"+org("c", t1)+"\n"+org("a", t2)))
}

// TestWhatWasJudgedAndNotWrittenIsNotTakenOver: a key remembered for a write that
// never happened would swallow its replay.
func TestWhatWasJudgedAndNotWrittenIsNotTakenOver(t *testing.T) {
	l := newLine(t)
	l.send("org", org("a", t1))
	written := l.next
	l.send("org", org("b", t1))
	require.False(t, l.dedupe().Resume(l.store, written), "the second cut never came into the ledger")
	require.True(t, l.dedupe().Resume(l.store, l.next))

	// The history does not answer in the middle of a cut: some of its keys are
	// remembered, and it will be judged again from its begin.
	require.True(t, l.dedupe().Resume(silent{}, l.next))
	l.fails = true
	l.send("org", org("c", t1)+"\n"+org("a", "2016-11-10T08:00:00+08:00"))
	require.False(t, l.dedupe().Resume(l.store, l.next))
}

// TestAStateThatIsNotWholeIsLearntFurther: when the group dealt partitions out again
// and again, no state of many records ever came to its end.
func TestAStateThatIsNotWholeIsLearntFurther(t *testing.T) {
	l := newLine(t)
	l.send("org", org("a", t1))
	h := &brief{store: l.store, left: 3}
	d := NewDedupe(DedupeOptions{Feeds: l.cat.Feeds, History: h, Revision: 1, Mem: l.mem})
	tries := 1
	for ; d.Learn(t.Context()) != nil; tries++ {
		h.left = 3
		require.True(t, d.Resume(h, 0))
	}
	require.Equal(t, (len(l.cat.Feeds)+2)/3, tries)
	require.Equal(t, len(l.cat.Feeds), h.read)
	require.Equal(t, 1, d.State().Len())
}

// brief is a history that answers a few times only.
type brief struct {
	store
	left, read int
}

func (b *brief) Newest(ctx context.Context, spec *feed.Spec, fn func([]byte, int32, flow.Version) error) error {
	if b.left--; b.left < 0 {
		return errors.New("the assignment ended")
	}
	b.read++
	return b.store.Newest(ctx, spec, fn)
}

// silent is a history that does not answer.
type silent struct{ store }

func (silent) Stored(context.Context, *feed.Spec, []flow.Known) ([]bool, error) {
	return nil, errors.New("nobody answers")
}

func TestFindings(t *testing.T) {
	f := func(want string, record string) {
		t.Helper()
		require.Equal(t, []string{want}, newLine(t).send("org", record))
	}
	f("rejected uscc:uscc_checksum", org("a", t1, "018T", "0180"))
	f("rejected org_name:required", org("a", t1, `"org_name":"社工服务中心"`, `"org_name":"　 "`))
	f("rejected org_name:damaged_text", org("a", t1, "社工", "社�"))
	f("rejected org_name:personal_in_open_field", org("a", t1, "社工", "13800000000"))
	f("rejected record_id:personal_in_open_field", org("119901198001153013", t1))
	f("rejected reported_at:reported_at_future", org("a", "2017-11-11T08:00:00+08:00"))
	f("rejected reported_at:reported_at_early", org("a", "1999-11-11T08:00:00+08:00"))
	f("new (reported_at_old)", org("a", "2014-11-11T08:00:00+08:00"))
	f("rejected county_code:division_unknown", org("a", t1, "310115", "319999"))
	f("new (division_retired)", org("a", t1, "310115", "310119"))
	f("new (org_type_mismatch)", org("a", t1, `"org_type":"52"`, `"org_type":"社会团体"`))
	f("rejected status:code_list worker_total:type", org("a", t1, "active", "sleeping", `"12"`, `"many"`))
	f("rejected period:date_invalid", org("a", t1, "201611", "201613"))
	f("new", org("a", t1, "201611", "二〇一六年十一月", "2016-11-30", "2016年11月30日", `"12"`, `"１２"`))
}

func TestNoRawValueAfterPseudonymize(t *testing.T) {
	l := newLine(t)
	const record = `{"schema_version":"1","reporting_unit":"310000","feed":"worker","batch_id":"b1","record_id":"w1","op":"U","period":"201611","effective_from":"2016-11-30","reported_at":"2016-11-11T08:00:00+08:00","id_number":"119901800115301","name":"阿依古丽•买买提","mobile":"+86 138-0000-0000","sex":"男","birth_date":"1980-01-15","education_code":"本科","worker_category":"01","employer_uscc":"52119900MJ0000018T","county_code":"310115"}`
	require.Equal(t, []string{"new (ric_fifteen_digits)"}, l.send("worker", record))
	require.Equal(t, []string{"unchanged (ric_fifteen_digits)"}, l.send("worker", strings.Replace(record, "11-11T", "11-12T", 1)))
	require.Contains(t, string(l.seen), `"birth_year":1980`)
	for _, raw := range []string{"19801153", "1980115301", "阿依", "13800000000", "01-15"} {
		require.NotContains(t, string(l.seen), raw)
	}
}

func TestTokenVectors(t *testing.T) {
	f := func(id, one, two string) {
		t.Helper()
		first, err := NewTokenizer(TokenKeys{"sha256", demoKeys.Keys[:1]})
		require.NoError(t, err)
		chain, err := NewTokenizer(demoKeys)
		require.NoError(t, err)
		require.Equal(t, one, fmt.Sprintf("%x", first.Token(nil, feed.ResidentID, id)))
		require.Equal(t, two, fmt.Sprintf("%x", chain.Token(nil, feed.ResidentID, id)))
	}
	f("119901198001153013", "a93c5722aa33cadf5aab3c1a4a193637adecc77016b9fcf6bfa5a60ce1b3b43d", "6c1efa64587190a459e0075903b2824dd4d650b397f63890d9c93915572f78c3")
	f("319902198512310029", "6ae966f1268f56e97e639801ff5c0bfca298766db631f71d1ace5238be66e063", "7e29f7cd659a5c2b6b2da88d92eae477d59c55a5c35a7ed2ef9e2f936f018d12")
	f("449903199202290173", "5a0e2fd704ce8a56c4b66d2fe52d606d398338f891d52a2aa2d7e86e431b333e", "c3712ba5fe906f84e72f9e919c179599f5546dec206d587569a50ab80bda1742")
	f("429904197607041283", "0cfd082b6cabf651070ea9fe28b412eddcc49a2fb7a8ec9fe1af63d45c7b9ca4", "9b646e090db88f720054853938f8de1a0dd19aab18940ea1e7838ca143b007b3")
	f("529905199511119997", "34dae47aa90af05f63dddf83c7cdf0f19695a9a16da69fc4ee2255c6d01def7b", "98f25d1fcc6e0d1770f3defc9b258c06bdb92c2d0ba425d07b9521649fa1fabf")
}

// TestNewestCostsAtMost64BytesAKey while it grows too: a table that is copied
// whole into one half as large again holds 94 bytes a key for a moment, which a
// worker with as many keys as its memory allows does not survive.
func TestNewestCostsAtMost64BytesAKey(t *testing.T) {
	var s Newest
	var k keyer
	for i := range 1_000_000 {
		before, largest := s.Bytes(), 0
		for i := range s.parts {
			largest = max(largest, len(s.parts[i].slots))
		}
		s.put(k.key("worker", fmt.Appendf(nil, "r%d", i), 0), flow.VersionOf(uint64(i), 1))
		held := s.Bytes()
		if held > before {
			held += largest * SlotBytes // what was copied stood beside it
		}
		if s.Len() > 20*parts && held > 64*s.Len() {
			t.Fatalf("%d keys take %d bytes", s.Len(), held)
		}
	}
	require.Equal(t, 1_000_000, s.Len())
	for i := range 1_000_000 {
		key := k.key("worker", fmt.Appendf(nil, "r%d", i), 0)
		slot := s.meet(key)
		if hi, _ := slot.version.Halves(); slot.key != key || hi != uint64(i) {
			t.Fatalf("key %d is lost", i)
		}
	}
}
