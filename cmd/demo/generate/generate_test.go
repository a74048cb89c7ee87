package generate

import (
	"bytes"
	"encoding/json"
	"hash/fnv"
	"runtime"
	"strings"
	"testing"
	"time"
)

const pathRecords = 20_000

// sum runs a world and returns a checksum of every byte of every message.
func sum(t *testing.T, c Config) (uint64, Manifest) {
	t.Helper()
	g := New(c)
	h := fnv.New64a()
	if err := g.Messages(func(m Message) error {
		h.Write([]byte(m.Topic))
		h.Write(m.Key)
		h.Write(m.Value)
		for _, x := range m.Headers {
			h.Write([]byte(x.Key))
			h.Write(x.Value)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return h.Sum64(), g.Manifest()
}

func TestSameSeedSameBytes(t *testing.T) {
	a, am := sum(t, Config{Seed: 3, Records: 20_000})
	b, bm := sum(t, Config{Seed: 3, Records: 20_000})
	c, _ := sum(t, Config{Seed: 4, Records: 20_000})
	if a != b || a == c {
		t.Errorf("sums %x and %x of one seed, %x of another", a, b, c)
	}
	aj, _ := json.Marshal(am)
	bj, _ := json.Marshal(bm)
	if !bytes.Equal(aj, bj) {
		t.Error("one seed gave two manifests")
	}
}

func TestTheFullWorldHasThePublicTotals(t *testing.T) {
	_, m := sum(t, Config{Seed: 1})
	last := m.Expected[months-1]
	if n := last.Nation; n.Workers != fullWorkers || n.Orgs != fullOrgs || n.RegisteredUsers != fullUsers {
		t.Errorf("%d workers, %d organisations, %d users", n.Workers, n.Orgs, n.RegisteredUsers)
	}
	var workers, gap int64
	for _, f := range last.Units {
		workers += f.Workers
		gap += f.Gap
	}
	if workers != fullWorkers || gap != last.Nation.Gap {
		t.Errorf("units sum to %d workers and a gap of %d", workers, gap)
	}
	if s := last.Nation.CertifiedShare; s < 0.3 || s > 0.45 {
		t.Errorf("certified share %.3f", s)
	}
	if r := float64(m.Records) / defaultRecords; r < 0.95 || r > 1.05 {
		t.Errorf("%d records", m.Records)
	}
	if s := float64(m.Forms["json"]) / float64(m.Records); s < 0.7 {
		t.Errorf("%.2f of the records are single messages", s)
	}
	planted := map[string]int64{}
	for _, p := range m.Planted {
		planted[p.Kind] = p.Count
	}
	for _, k := range messes {
		if planted[k.kind] < 20 {
			t.Errorf("%s planted %d times", k.kind, planted[k.kind])
		}
	}
	for _, k := range []string{"not_json", "empty_message", "unknown_content_type", "unknown_feed"} {
		if planted[k] < 15 {
			t.Errorf("%s planted %d times", k, planted[k])
		}
	}
	if planted["message_of_5_mb"] != 1 {
		t.Errorf("%d large messages", planted["message_of_5_mb"])
	}
	for _, late := range m.LateUnits {
		if at := m.Freshness[late]["employment"]; at > "2016-11-01T" {
			t.Errorf("late unit %s sent employment at %s", late, at)
		}
	}
}

func TestASmallWorldPlantsEveryKind(t *testing.T) {
	_, m := sum(t, Config{Seed: 9, Records: 20_000})
	planted := map[string]bool{}
	for _, p := range m.Planted {
		planted[p.Kind] = true
	}
	for _, k := range messes {
		if !planted[k.kind] {
			t.Errorf("%s is missing", k.kind)
		}
	}
	if n := m.Expected[months-1].Nation.Workers; n != 3867 {
		t.Errorf("%d workers at scale %.4f", n, m.Scale)
	}
}

// TestANaiveClassifierAgrees names outcomes with nothing but a map, from the
// decoded text of single messages; what the generator refuses it knows by rule.
func TestANaiveClassifierAgrees(t *testing.T) {
	type version struct {
		at   string
		void bool
		body string
	}
	newest := map[string]version{}
	all := map[string]map[version]bool{}
	got := map[string]int64{}
	order := func(v version) string { // a void loses at the same moment
		if v.void {
			return v.at + "0"
		}
		return v.at + "1" + v.body
	}
	snapshot := map[string]bool{"worker": true, "org": true, "post": true, "demo_site": true, "context": true}
	day := strings.NewReplacer("年", "-", "月", "-", "日", "")
	g := New(Config{Seed: 5, Records: 20_000})
	refused := int64(0)
	if err := g.Messages(func(m Message) error {
		if len(m.Headers) > 1 || m.Topic == "" {
			var rows int64
			for _, h := range m.Headers {
				if h.Key == "batch-rows" {
					for _, d := range h.Value {
						rows = rows*10 + int64(d-'0')
					}
				}
			}
			got["chunked"] += rows
			return nil
		}
		var r map[string]any
		if json.Unmarshal(m.Value, &r) != nil || r["feed"] == nil {
			refused++
			return nil
		}
		if g.lastRefused {
			refused++
			return nil
		}
		name := r["feed"].(string)
		if name == "volunteers" {
			refused++
			return nil
		}
		key := m.Topic + "/" + name + "/" + r["record_id"].(string)
		if snapshot[name] {
			from := day.Replace(r["effective_from"].(string))
			at, err := time.Parse("2006-1-2", from)
			if err != nil {
				t.Fatal(err)
			}
			key += at.Format(time.DateOnly)
		}
		v := version{at: r["reported_at"].(string), void: r["op"] == "V"}
		for _, k := range []string{"batch_id", "reported_at", "schema_version", "op"} {
			delete(r, k)
		}
		body, _ := json.Marshal(r)
		v.body = string(body)
		old, known := newest[key]
		switch {
		case !known:
			got[isNew]++
			all[key] = map[version]bool{}
		case all[key][v]:
			got[duplicate]++
			return nil
		case v.at == old.at:
			got[conflict]++
		case v.at < old.at:
			got[superseded]++
		case v.body == old.body && v.void == old.void:
			got[unchanged]++
		default:
			got[correction]++
		}
		all[key][v] = true
		if !known || order(v) > order(old) {
			newest[key] = v
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	m := g.Manifest()
	want := m.Total.Outcomes
	// Records in chunks are new, but for those of damaged GB18030.
	var damaged int64
	for _, p := range m.Planted {
		if p.Kind == "damaged_gb18030" {
			damaged = p.Count
		}
	}
	got[isNew] += got["chunked"] - damaged
	for _, o := range []string{isNew, unchanged, correction, superseded, conflict, duplicate} {
		if got[o] != want[o] {
			t.Errorf("%s: the manifest says %d, the map %d", o, want[o], got[o])
		}
	}
	if refused+damaged != want[rejected] {
		t.Errorf("rejected: the manifest says %d, counted %d", want[rejected], refused+damaged)
	}
}

func TestEveryNumberIsWellMade(t *testing.T) {
	f := func(id string) bool { // ISO 7064 MOD 11-2 by its closed form, not by weights
		if len(id) != 18 || id[2:4] != "99" {
			return false
		}
		p := 10
		for i := range 17 {
			p = (p + int(id[i]-'0')) % 11
			if i < 17 {
				p = p * 2 % 11
			}
		}
		// The recursive form carries 10 in; take it out by 2^17.
		start := 10
		for range 17 {
			start = start * 2 % 11
		}
		p = (p - start + 11) % 11
		return "10X98765432"[p] == id[17]
	}
	if !f("119901198001153013") || !f("64990619680101005X") || f("119901198001153012") {
		t.Fatal("the test's own check is wrong")
	}
	if c := creditCode("52", "11", "MJ", 1); c != "52119900MJ0000018T" {
		t.Errorf("credit code %s", c)
	}
	g := New(Config{Seed: 2, Records: 20_000})
	var open bytes.Buffer
	if err := g.Messages(func(m Message) error {
		for _, k := range []string{`"org_name":"`, `"project_name":"`, `"title":"`, `"site_name":"`, `"township_name":"`, `"brand_name":"`} {
			if _, rest, ok := strings.Cut(string(m.Value), k); ok && len(m.Value) < 1<<20 {
				v, _, _ := strings.Cut(rest, `"`)
				open.WriteString(v + "\n")
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	seen, names := map[string]bool{}, map[string]bool{}
	g.Personal(func(kind, v string) bool {
		switch kind {
		case "identity":
			if !f(v) {
				t.Fatalf("identity number %s fails its check", v)
			}
			if seen[v] {
				t.Fatalf("identity number %s belongs to two", v)
			}
			seen[v] = true
		case "name":
			names[v] = true
		}
		return true
	})
	if len(seen) < 4000 {
		t.Errorf("only %d persons", len(seen))
	}
	for n := range names {
		if strings.Contains(open.String(), n) {
			t.Errorf("the name %s stands in open text, where a search for leaks would find it", n)
		}
	}
}

func TestMemoryDoesNotGrowWithRecords(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	g := New(Config{Seed: 1, Records: 1_000_000})
	n, peak := 0, uint64(0)
	var ms runtime.MemStats
	start := time.Now()
	if err := g.Messages(func(Message) error {
		if n++; n%100_000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&ms)
			peak = max(peak, ms.HeapAlloc)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	m := g.Manifest()
	t.Logf("%d records in %v, %.0f a second, at most %d MiB live, history of %d months", m.Records, took, float64(m.Records)/took.Seconds(), peak>>20, g.deep)
	if peak > 64<<20 {
		t.Errorf("%d MiB live", peak>>20)
	}
	if r := float64(m.Records) / 1_000_000; r < 0.9 || r > 1.1 {
		t.Errorf("%d records", m.Records)
	}
}

func TestTheHashIsKafkas(t *testing.T) {
	// Vectors of the Java client's own tests.
	for in, want := range map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536} {
		if got := int32(murmur2([]byte(in))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", in, got, want)
		}
	}
}
