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

// row is the newest version of one record, as the current table holds it.
type row struct {
	version    flow.Version
	void       bool
	feed, unit string
	v          map[string]string
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
	current := map[string]row{}
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
				ver := flow.Version(v.Value(i))
				l.known[storedKey(p.Feed, []byte(id.Value(i)), day, ver)] = true
				k := l.unit + storedKey(p.Feed, []byte(id.Value(i)), day, flow.Version{})
				if old, ok := current[k]; ok && old.version.Compare(ver) >= 0 {
					continue
				}
				r := row{version: ver, feed: p.Feed.Feed, unit: l.unit, v: map[string]string{}}
				r.void = p.Rows.Column(col(feed.ColDeleted)).(*array.Uint8).Value(i) == 1
				for c, f := range p.Rows.Schema().Fields() {
					if a := p.Rows.Column(c); f.Name[0] != '_' && a.IsValid(i) {
						r.v[f.Name] = a.ValueStr(i)
					}
				}
				current[k] = r
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
			l.dedup = transform.NewDedupe(transform.DedupeOptions{Feeds: cat.Feeds, History: l.known, Revision: 1})
			if err := l.dedup.Learn(ctx); err != nil {
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
	figuresFrom(t, current, want.Expected)
}

// figuresFrom computes the nation's figures from the current rows alone, as the
// indicators define them, and compares them with the world's own.
func figuresFrom(t *testing.T, current map[string]row, want []MonthFigures) {
	t.Helper()
	by := map[string][]row{}
	for _, r := range current {
		if !r.void {
			by[r.feed] = append(by[r.feed], r)
		}
	}
	// Old and new number are one person.
	now := map[string]string{}
	for _, r := range by["id_change"] {
		now[r.v["old_id_number_token"]] = r.v["new_id_number_token"]
	}
	person := func(r row) string {
		token := r.v["id_number_token"]
		if t, ok := now[token]; ok {
			return t
		}
		return token
	}
	for _, m := range want {
		type spell struct{ start, unit, county, category string }
		open := map[string]spell{}
		for _, r := range by["employment"] {
			s := spell{r.v["start_on"], r.unit, r.v["county_code"], r.v["worker_category"]}
			end := r.v["end_on"]
			if s.category > "03" || s.start > m.Day || end != "" && end <= m.Day {
				continue
			}
			id := person(r)
			if old, ok := open[id]; !ok || s.start > old.start || s.start == old.start && s.unit < old.unit {
				open[id] = s
			}
		}
		byUnit, byCounty, category := map[string]int64{}, map[string]int64{}, map[string]int64{}
		for _, s := range open {
			byUnit[s.unit]++
			byCounty[s.unit+s.county]++
			category[s.category]++
		}
		certified, trained := map[string]bool{}, map[string]bool{}
		for _, r := range by["qualification"] {
			if _, ok := open[person(r)]; ok && r.v["issued_on"] <= m.Day && r.v["cert_status"] != "4" && r.v["cert_level"] >= "1" {
				certified[person(r)] = true
			}
		}
		for _, r := range by["attendance"] {
			if _, ok := open[person(r)]; ok && r.v["effective_from"] <= m.Day && r.v["effective_from"][:4] == m.Day[:4] && r.v["passed"] == "true" {
				trained[person(r)] = true
			}
		}
		latest := func(feedName, key string) map[string]row {
			out := map[string]row{}
			for _, r := range by[feedName] {
				k := r.v[key] + r.v["budget_year"]
				if r.unit == nationalOffice || r.v["effective_from"] > m.Day || out[k].v["effective_from"] >= r.v["effective_from"] {
					continue
				}
				out[k] = r
			}
			return out
		}
		number := func(s string) (n int64) {
			for _, d := range s {
				n = n*10 + int64(d-'0')
			}
			return n
		}
		var orgs, users, population, gap, projects, posts int64
		for _, r := range latest("org", "uscc") {
			if r.v["status"] == "active" && strings.Contains("51 52 53", r.v["org_type"]) && r.v["worker_total"] != "0" {
				orgs++
			}
		}
		for _, r := range latest("context", "division_code") {
			users += number(r.v["registered_users"])
			population += number(r.v["population"])
			gap += max(0, (number(r.v["registered_users"])+29)/30-byCounty[r.unit+r.v["division_code"]])
		}
		for _, r := range by["project"] {
			if r.v["start_on"] <= m.Day && r.v["budget_year"] == m.Day[:4] {
				projects += number(r.v["amount_fen"])
			}
		}
		for _, r := range latest("post", "record_id") {
			if r.v["start_on"] <= m.Day && r.v["budget_year"] == m.Day[:4] {
				posts += number(r.v["unit_price_fen"])
			}
		}
		f := func(what string, got, want int64) {
			if got != want {
				t.Errorf("%s: %s: the rows give %d, the world has %d", m.Month, what, got, want)
			}
		}
		n := m.Nation
		f("workers", int64(len(open)), n.Workers)
		for c, w := range n.ByCategory {
			f("workers of category "+c, category[c], w)
		}
		for u, w := range m.Units {
			f("workers of "+u, byUnit[u], w.Workers)
		}
		f("certified", int64(len(certified)), n.Certified)
		f("trained", int64(len(trained)), n.Trained)
		f("organisations", orgs, n.Orgs)
		f("registered users", users, n.RegisteredUsers)
		f("population", population, n.Population)
		f("gap", gap, n.Gap)
		f("projects", projects, n.ProjectFen)
		f("posts", posts, n.PostFen)
	}
}
