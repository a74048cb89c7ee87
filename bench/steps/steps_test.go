// Package steps measures what the worker does with a record between Kafka and the
// database, on one core:
//
//	go test ./bench/steps -bench . -count 6 -cpuprofile cpu.prof
package steps

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/transform"
)

const rows = 50_000

var now = time.Date(2016, 11, 30, 20, 0, 0, 0, feed.Shanghai)

// workerJSON is a record of the worker feed with a valid number of a reserved area.
func workerJSON(i int) []byte {
	id := fmt.Appendf(nil, "11990119%02d%02d%02d%03d", 60+i%40, 1+i%12, 1+i%28, i%1000)
	sum := 0
	for k, w := range [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2} {
		sum += int(id[k]-'0') * w
	}
	return fmt.Appendf(nil, `{"schema_version":"1","reporting_unit":"310000","feed":"worker","batch_id":"2016-11-310000-01","record_id":"W-310000-%07d","op":"U","period":"2016-11","effective_from":"2016-11-30","reported_at":"2016-11-03T10:%02d:%02d+08:00","id_number":"%s%c","name":"阿依古丽·买买提","mobile":"138%08d","sex":"%d","birth_date":"19%02d-%02d-%02d","ethnic_code":"05","political_code":"13","education_code":"21","major_social_work":"true","worker_category":"1","position_level":"2","employer_uscc":"52119900MJ0000018T","county_code":"310115","entry_on":"2016-11-11","is_trainer":"false"}`,
		i, i/60%60, i%60, id, "10X98765432"[sum%11], i, 2-i%2, 60+i%40, 1+i%12, 1+i%28)
}

type nothing struct{}

func (nothing) Newest(context.Context, *feed.Spec, func([]byte, int32, flow.Version) error) error {
	return nil
}

func (nothing) Stored(_ context.Context, _ *feed.Spec, keys []flow.Known) ([]bool, error) {
	return make([]bool, len(keys)), nil
}

// names are the steps in the order of their laps.
var names = [...]string{"decode", "check", "pseudonymize", "dedupe", "encode"}

// path is the worker's part of the path, ready to be run again and again.
type path struct {
	tb           testing.TB
	values       [][]byte // messages
	n            int      // records in them
	typ          string   // their content type, as the header says it
	calibration  [][]byte // what the guard's loop reads
	cat          *feed.Catalogue
	mem          *flow.Recycler
	decoder      *ingest.Decoder
	check        *transform.Check
	pseudonymize *transform.Pseudonymize
}

func newPath(tb testing.TB) *path {
	cat, err := feed.Load(feeds.FS)
	if err != nil {
		tb.Fatal(err)
	}
	p := &path{tb: tb, values: make([][]byte, rows), n: rows, cat: cat, mem: new(flow.Recycler)}
	for i := range p.values {
		p.values[i] = workerJSON(i)
	}
	p.calibration = p.values[:rows/5]
	p.decoder = ingest.NewDecoder(cat, p.mem, "310000", 0)
	p.check = transform.NewCheck(transform.CheckOptions{Catalogue: cat, AllowTestAreas: true, Mem: p.mem, Clock: func() time.Time { return now }})
	p.pseudonymize, err = transform.NewPseudonymize(transform.TokenKeys{Algorithm: "sha256", Keys: [][]byte{bytes.Repeat([]byte{1}, 32)}}, cat, p.mem)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// run takes all records through the steps and returns the CPU time of each step
// in nanoseconds. What is posted of them goes to post.
func (p *path) run(ctx context.Context, post io.Writer) (took [len(names)]int64) {
	dedupe := transform.NewDedupe(transform.DedupeOptions{Feeds: p.cat.Feeds, History: nothing{}, Revision: 1, Mem: p.mem})
	if err := dedupe.Learn(ctx); err != nil {
		p.tb.Fatal(err)
	}
	last := cpu()
	lap := func(i int) {
		t := cpu()
		took[i] = t - last
		last = t
	}
	m := ingest.Message{}
	if p.typ != "" {
		m.Headers = []ingest.Header{{Key: []byte(ingest.HeaderContentType), Value: []byte(p.typ)}}
	}
	for i, v := range p.values {
		m.Offset, m.Value = int64(i), v
		if err := p.decoder.Add(&m); err != nil {
			p.tb.Fatal(err)
		}
	}
	cut := flow.Cut{Unit: "310000", Arrived: now, Span: flow.Span{Topic: "duiwu.feed.310000", Last: int64(p.n) - 1}}
	cut.Parts, cut.Rejects, cut.Tally = p.decoder.Flush()
	lap(0)
	for i, s := range []flow.Step{p.check, p.pseudonymize, dedupe} {
		out, err := s.Apply(ctx, cut)
		if err != nil {
			p.tb.Fatal(err)
		}
		cut.Release()
		cut = out
		lap(1 + i)
	}
	if len(cut.Rejects) > 0 || cut.Parts[0].Rows.NumRows() != int64(p.n) {
		p.tb.Fatalf("%d rejects, first %+v", len(cut.Rejects), cut.Rejects[0])
	}
	w := ipc.NewWriter(post, ipc.WithSchema(cut.Parts[0].Rows.Schema()))
	if err := w.Write(cut.Parts[0].Rows); err != nil {
		p.tb.Fatal(err)
	}
	cut.Release()
	lap(4)
	return took
}

// arrow turns the messages into Arrow streams of some thousand records, as push
// sends them.
func (p *path) arrow() *path {
	const chunk = 5000
	p.typ = ingest.TypeArrow
	var out [][]byte
	for part := range slices.Chunk(p.values, chunk) {
		var fields []arrow.Field
		var cols []arrow.Array
		var names []string
		texts := map[string]*array.StringBuilder{}
		for _, v := range part {
			d := json.NewDecoder(bytes.NewReader(v))
			if _, err := d.Token(); err != nil {
				p.tb.Fatal(err)
			}
			for d.More() {
				key, err := d.Token()
				v, err2 := d.Token()
				if err := errors.Join(err, err2); err != nil {
					p.tb.Fatal(err)
				}
				name := key.(string)
				if texts[name] == nil {
					texts[name] = array.NewStringBuilder(memory.DefaultAllocator)
					names = append(names, name)
				}
				texts[name].Append(v.(string))
			}
		}
		for _, name := range names {
			fields = append(fields, arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true})
			cols = append(cols, texts[name].NewArray())
		}
		var b bytes.Buffer
		schema := arrow.NewSchema(fields, nil)
		w := ipc.NewWriter(&b, ipc.WithSchema(schema))
		if err := errors.Join(w.Write(array.NewRecord(schema, cols, int64(len(part)))), w.Close()); err != nil {
			p.tb.Fatal(err)
		}
		out = append(out, b.Bytes())
	}
	p.values = out
	return p
}

// TestNothingOfOtherRecordsIsPosted: columns are made in memory that other records
// have left as it was. Not even between two columns may a byte of that go out.
func TestNothingOfOtherRecordsIsPosted(t *testing.T) {
	// A collection would take away what is to be found again.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	f := func(p *path) {
		var clean, used bytes.Buffer
		p.run(t.Context(), &clean)
		var left [][]byte
		for size := 1 << 14; size < 1<<19; size += size / 4 {
			for range 64 { // more than there are columns
				b := p.mem.Room(size + 1)
				copy(b, bytes.Repeat([]byte("raw"), len(b)/3+1))
				left = append(left, b)
			}
		}
		for _, b := range left {
			p.mem.Free(b)
		}
		p.run(t.Context(), &used)
		if !bytes.Equal(clean.Bytes(), used.Bytes()) || bytes.Contains(used.Bytes(), []byte("rawraw")) {
			t.Error("the same records are posted in other bytes")
		}
	}
	odd := func() *path {
		// Columns of odd numbers of rows end between two of the units that are sent.
		p := newPath(t)
		p.n = 20_003
		p.values = p.values[:p.n]
		return p
	}
	f(odd())
	f(odd().arrow())
}

func BenchmarkSteps(b *testing.B) {
	b.Run("json", func(b *testing.B) { steps(b, newPath(b)) })
	b.Run("arrow", func(b *testing.B) { steps(b, newPath(b).arrow()) })
}

func steps(b *testing.B, p *path) {
	var took [len(names)]int64
	for b.Loop() {
		for i, t := range p.run(b.Context(), io.Discard) {
			took[i] += t
		}
	}
	b.ReportMetric(0, "ns/op")
	var sum int64
	for i, step := range names {
		b.ReportMetric(float64(took[i])/float64(b.N*rows), step+"-ns/record")
		sum += took[i]
	}
	b.ReportMetric(float64(sum)/float64(b.N*rows), "sum-ns/record")
}

func cpu() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
