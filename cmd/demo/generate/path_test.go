package generate

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/transform"
)

// stored is a history in memory.
type stored map[string]bool

func storedKey(spec *feed.Spec, id []byte, from int32, v flow.Version) string {
	return spec.Feed + "\x00" + string(id) + "\x00" + string(rune(from+100_000)) + string(v[:])
}

func (stored) Newest(context.Context, *feed.Spec, func([]byte, int32, flow.Version) error) error {
	return nil
}

func (s stored) Stored(_ context.Context, spec *feed.Spec, rows []flow.Known) ([]bool, error) {
	out := make([]bool, len(rows))
	for i, k := range rows {
		out[i] = s[storedKey(spec, k.RecordID, k.EffectiveFrom, k.Version)]
	}
	return out, nil
}

// lane is one topic's decoder and steps.
type lane struct {
	dec   *ingest.Decoder
	check *transform.Check
	names *transform.Pseudonymize
	dedup *transform.Dedupe
	known stored
	unit  string
	n     int64
}

// TestThePathCountsWhatTheManifestSays sends the messages through the decoder
// and the steps that the worker uses and compares every count.
func TestThePathCountsWhatTheManifestSays(t *testing.T) {
	cat, err := feed.Load(feeds.FS)
	if err != nil {
		t.Fatal(err)
	}
	g := New(Config{Seed: 7, Records: pathRecords})
	ctx, mem := context.Background(), memory.DefaultAllocator
	lanes := map[string]*lane{}
	got := Manifest{Feeds: map[string]*Count{}}
	flush := func(l *lane) {
		parts, rejects, tally := l.dec.Flush()
		cut := flow.Cut{Span: flow.Span{Topic: l.unit}, Unit: l.unit, Parts: parts, Rejects: rejects, Tally: tally, Arrived: Today}
		for _, step := range []flow.Step{l.check, l.names, l.dedup} {
			next, err := step.Apply(ctx, cut)
			if err != nil {
				t.Fatal(err)
			}
			cut.Release()
			cut = next
		}
		for _, p := range cut.Parts {
			col := func(n string) int { return p.Rows.Schema().FieldIndices(n)[0] }
			id := p.Rows.Column(col("record_id")).(*array.String)
			from := p.Rows.Column(col("effective_from")).(*array.Date32)
			v := p.Rows.Column(col(feed.ColVersion)).(*array.FixedSizeBinary)
			for i := range int(p.Rows.NumRows()) {
				var day int32
				if p.Feed.KeyHasDate() {
					day = int32(from.Value(i))
				}
				l.known[storedKey(p.Feed, []byte(id.Value(i)), day, flow.Version(v.Value(i)))] = true
			}
		}
		for k, c := range cut.Tally {
			m := got.of(k.Feed)
			m.Received += c.Received
			for o, n := range c.By {
				m.Outcomes[flow.Outcome(o).String()] += n
			}
			for r, n := range c.Rules {
				m.RejectedByRule[r.String()] += n
			}
			for r, n := range c.Warnings {
				m.Warnings[r.String()] += n
			}
		}
		for i, r := range cut.Rejects {
			if len(r.Findings) > 1 && i < 3 {
				t.Logf("%s: more than one finding: %v", r.Feed, r.Findings)
			}
		}
		cut.Release()
	}
	err = g.Messages(func(m Message) error {
		l := lanes[m.Topic]
		if l == nil {
			unit := strings.TrimPrefix(m.Topic, "duiwu.feed.")
			l = &lane{unit: unit, known: stored{}, dec: ingest.NewDecoder(cat, mem, unit, 0)}
			l.check = transform.NewCheck(transform.CheckOptions{Catalogue: cat, AllowTestAreas: true, Clock: func() time.Time { return Today }})
			if l.names, err = transform.NewPseudonymize(transform.TokenKeys{Algorithm: "sha256", Keys: [][]byte{make([]byte, 32)}}, cat, mem); err != nil {
				return err
			}
			if l.dedup, err = transform.NewDedupe(ctx, transform.DedupeOptions{Feeds: cat.Feeds, History: l.known, Revision: 1}); err != nil {
				return err
			}
			lanes[m.Topic] = l
		}
		in := ingest.Message{Offset: l.n, Key: m.Key, Value: m.Value}
		for _, h := range m.Headers {
			in.Headers = append(in.Headers, ingest.Header{Key: []byte(h.Key), Value: h.Value})
		}
		l.n++
		if err := l.dec.Add(&in); err != nil {
			return err
		}
		if l.dec.Rows() >= 97 {
			flush(l)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lanes {
		flush(l)
	}
	want := g.Manifest()
	compare := func(feedName, what string, want, got map[string]int64) {
		for k, n := range want {
			if got[k] != n {
				t.Errorf("feed %q: %s %s: the manifest says %d, the path counts %d", feedName, what, k, n, got[k])
			}
		}
		for k, n := range got {
			if n != 0 && want[k] == 0 {
				t.Errorf("feed %q: %s %s: the manifest says 0, the path counts %d", feedName, what, k, n)
			}
		}
	}
	for name, w := range want.Feeds {
		h := got.of(name)
		if w.Received != h.Received {
			t.Errorf("feed %q: the manifest says %d received, the path counts %d", name, w.Received, h.Received)
		}
		compare(name, "outcome", w.Outcomes, h.Outcomes)
		compare(name, "rule", w.RejectedByRule, h.RejectedByRule)
		compare(name, "warning", w.Warnings, h.Warnings)
	}
}
