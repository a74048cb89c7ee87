package push_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/ingest/push"
	"github.com/duiwu/duiwu/ingest/seal"
	"github.com/duiwu/duiwu/ingest/sheet"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/flow/flowtest"
	"github.com/duiwu/duiwu/internal/testenv"
	"github.com/duiwu/duiwu/internal/value"
	"github.com/duiwu/duiwu/transform"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const unit = "310000"

var noon = time.Date(2016, 11, 30, 4, 0, 0, 123e6, time.UTC)

func catalogue(t testing.TB) *feed.Catalogue {
	t.Helper()
	cat, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	return cat
}

// options are those of a worker file of the unit at a moment.
func options(t testing.TB, file string, now time.Time, partitions int) push.Options {
	t.Helper()
	cat := catalogue(t)
	mem := flowtest.Memory()
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	clock := func() time.Time { return now }
	step := transform.NewCheck(transform.CheckOptions{Catalogue: cat, AllowTestAreas: true, Clock: clock, Mem: mem})
	t.Cleanup(step.Release)
	return push.Options{
		File: file, Partitions: partitions, RecordKey: []byte("a key of this test"),
		Sheet: sheet.Options{Catalogue: cat, Feed: cat.Feed("worker"), Unit: unit, Clock: clock, Step: step, Mem: mem, AsOf: noon},
	}
}

// resident makes the n-th identity number of the reserved test area.
func resident(n int) string {
	body := fmt.Sprintf("1199011980%02d%02d%03d", 1+n/28%12, 1+n%28, n/336)
	return body + checkChar(body)
}

// checkChar is that of GB 11643.
func checkChar(body string) string {
	weights, sum := [...]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}, 0
	for i, w := range weights {
		sum += w * int(body[i]-'0')
	}
	return "10X98765432"[sum%11 : sum%11+1]
}

var heads = []string{"公民身份号码", "姓名", "性别", "学历", "人员类别", "用人单位代码", "工作地区划"}

// workers writes a file of n workers; edit changes row i, from 0.
func workers(t testing.TB, name string, n int, edit func(i int, row []string)) string {
	t.Helper()
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	require.NoError(t, w.Write(heads))
	for i := range n {
		sex := []string{"女", "男"}[(i/336)%2]
		row := []string{resident(i), "阿依古丽", sex, "21", "01", "52119900MJ0000018T", "310115"}
		if edit != nil {
			edit(i, row)
		}
		require.NoError(t, w.Write(row))
	}
	w.Flush()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
	return path
}

// topic keeps what was sent; an ingest.Producer is tested against brokers.
type topic struct {
	sent []ingest.Outgoing
	fail int // calls until one fails, 0 never
}

func (p *topic) Send(_ context.Context, m ...ingest.Outgoing) error {
	if p.fail > 0 {
		if p.fail--; p.fail == 0 {
			return fmt.Errorf("the line is cut")
		}
	}
	p.sent = append(p.sent, m...)
	return nil
}

// decode reads messages as a worker does and returns the rows by record id.
func decode(t testing.TB, ring *seal.Ring, messages []ingest.Outgoing) (map[string]map[string]string, []flow.Reject, flow.Tally) {
	t.Helper()
	mem := flowtest.Memory()
	defer mem.AssertSize(t, 0)
	d := ingest.NewDecoder(catalogue(t), mem, unit, 0)
	d.Seals(ring)
	defer d.Release()
	for i, m := range messages {
		require.NoError(t, d.Add(&ingest.Message{Offset: int64(i), Key: m.Key, Value: m.Value, Headers: m.Headers}))
	}
	parts, rejects, tally := d.Flush()
	out := map[string]map[string]string{}
	for _, p := range parts {
		for row := range int(p.Rows.NumRows()) {
			one := map[string]string{}
			for i, f := range p.Rows.Schema().Fields() {
				if s, ok := p.Rows.Column(i).(*array.String); ok && !s.IsNull(row) {
					one[f.Name] = strings.Clone(s.Value(row))
				}
			}
			out[one["record_id"]] = one
		}
		p.Rows.Release()
	}
	return out, rejects, tally
}

func TestPrepareAndSend(t *testing.T) {
	file := workers(t, "花名册.csv", 3000, func(i int, row []string) {
		if i == 7 {
			row[3] = "不是学历"
		}
	})
	b, report, err := push.Prepare(t.Context(), options(t, file, noon, 4))
	require.NoError(t, err)
	require.Equal(t, 1, report.Counts[feed.CodeList], "%v", report.Counts)
	require.EqualValues(t, 3000, b.Read)
	require.EqualValues(t, 1, b.Refused)
	require.EqualValues(t, 2999, b.Rows)
	var to topic
	target := push.Target{Sender: &to, Topic: "t", Partitions: 4}
	require.NoError(t, b.Send(t.Context(), target, nil))
	n := len(to.sent)
	require.Equal(t, len(b.Chunks), n)
	for i, m := range to.sent {
		require.Equal(t, b.Chunks[i].Partition, ingest.PartitionOf(m.Key, 4))
	}
	rows, rejects, tally := decode(t, nil, to.sent)
	require.Empty(t, rejects)
	require.Len(t, rows, 2999)
	for id, r := range rows {
		require.Equal(t, b.ID, r["batch_id"])
		require.Equal(t, "2016-11-30T12:00:00.123+08:00", r["reported_at"])
		require.True(t, strings.HasPrefix(id, "nk-"))
	}
	counts := tally[flow.BatchKey{Feed: "worker", Batch: b.ID}]
	require.EqualValues(t, 2999, counts.Received)
	require.EqualValues(t, 2999, counts.Declared)
	require.Equal(t, b.SHA256, counts.SHA256)

	require.Less(t, value.LongDigitRun([]byte(b.ID)), 11, "the quarantine repeats the id of a batch only then")

	again, err := push.OpenBatch(b.Dir)
	require.NoError(t, err)
	require.NoError(t, again.Send(t.Context(), target, nil))
	require.Len(t, to.sent, n, "a sent batch sends nothing again")
	latest, err := push.Latest(push.Spool(file))
	require.NoError(t, err)
	require.Equal(t, b.ID, latest.ID)
}
