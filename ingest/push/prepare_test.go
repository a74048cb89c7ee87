package push_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/push"
	"github.com/duiwu/duiwu/ingest/sheet"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// What may not be sent leaves nothing behind, least of all rows in the clear.
func TestNothingIsLeftOfWhatIsNotPrepared(t *testing.T) {
	f := func(want error, n int, edit func(int, []string), change func(*push.Options)) *sheet.Report {
		t.Helper()
		file := workers(t, "名册.csv", n, edit)
		opt := options(t, file, noon, 3)
		change(&opt)
		b, report, err := push.Prepare(t.Context(), opt)
		require.ErrorIs(t, err, want)
		require.Nil(t, b)
		_, err = os.Stat(push.Spool(file))
		require.ErrorIs(t, err, os.ErrNotExist)
		return report
	}
	one := func(i int, row []string) {
		if i == 1 {
			row[3] = "?"
		}
	}
	all := func(_ int, row []string) { row[3] = "?" }
	f(push.ErrRefused, 3, one, func(o *push.Options) { o.AllOrNothing = true })
	report := f(push.ErrNothing, 3, all, func(*push.Options) {})
	require.Equal(t, 3, report.Counts[feed.CodeList])
	require.Len(t, report.Refusals(), 3)
	f(push.ErrNoRecordKey, 3, nil, func(o *push.Options) { o.RecordKey = nil })
	var u *sheet.Unusable
	file := filepath.Join(t.TempDir(), "x.csv")
	require.NoError(t, os.WriteFile(file, []byte("%PDF-1.7"), 0o600))
	_, _, err := push.Prepare(t.Context(), options(t, file, noon, 1))
	require.ErrorAs(t, err, &u)
	_, err = os.Stat(push.Spool(file))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Of two rows that contradict each other the later one is known at the end of the
// file only, when the first ones were put aside already.
func TestAContradictionAtTheEndIsNotSent(t *testing.T) {
	const n = 9000 // more than one chunk
	file := workers(t, "名册.csv", n, func(i int, row []string) {
		if i == n-1 || i == 5000 {
			row[0], row[2] = resident(0), "1" // says of the first one that it is a man
		}
	})
	b, report, err := push.Prepare(t.Context(), options(t, file, noon, 2))
	require.NoError(t, err)
	require.Equal(t, 2, report.Counts[feed.InFileConflict])
	require.EqualValues(t, n-2, b.Rows)
	require.EqualValues(t, 2, b.Refused)
	var to topic
	require.NoError(t, b.Send(t.Context(), push.Target{Sender: &to, Topic: "t", Partitions: 2}, nil))
	rows, _, tally := decode(t, nil, to.sent)
	require.Len(t, rows, n-2)
	var sum int64
	for _, c := range tally[flow.BatchKey{Feed: "worker", Batch: b.ID}].Chunks {
		require.Equal(t, int64(b.Chunks[c.Number].Rows), c.Rows)
		sum += c.Rows
	}
	require.EqualValues(t, n-2, sum)
	require.Contains(t, report.Refusals(), sheet.Place{Table: 0, Line: n + 1})

	// The map of rows leads from a receipt back to the line of the file.
	var last push.At
	for c := range b.Chunks {
		last = push.At{Chunk: int32(c), Row: int32(b.Chunks[c].Rows - 1)}
	}
	places, err := b.Places(&flow.Receipt{Rejects: []flow.RejectedRow{{Chunk: last.Chunk, Row: last.Row}, {Chunk: 99, Row: 0}}})
	require.NoError(t, err)
	require.Len(t, places, 1)
	rowsOf, _, _ := decode(t, nil, to.sent[last.Chunk:last.Chunk+1])
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	line := strings.Split(string(raw), "\n")[places[last].Line-1]
	found := false
	for _, r := range rowsOf {
		found = found || strings.HasPrefix(line, r["id_number"]+",")
	}
	require.True(t, found)
}

// The id of a row without one is the same in every file and month: it is made of
// the natural key alone, in its normal form, with the unit's key.
func TestDerivedRecordIDsAreForEver(t *testing.T) {
	ids := func(key string, asOf time.Time, edit func(int, []string)) (out []string) {
		opt := options(t, workers(t, "名册.csv", 1, edit), noon, 1)
		opt.RecordKey, opt.Sheet.AsOf = []byte(key), asOf
		b, _, err := push.Prepare(t.Context(), opt)
		require.NoError(t, err)
		require.NotContains(t, b.Chunks[0].Key, resident(0))
		return append(out, b.Chunks[0].Key)
	}
	// A changed value here makes every record of every unit a new one.
	const known = "310000nk-jphdkbifjiiecfhdephophilheofcoaj"
	require.Equal(t, []string{known}, ids("k", noon, nil))
	require.Equal(t, []string{known}, ids("k", noon.AddDate(0, -1, 0), func(_ int, row []string) { row[0] = " " + strings.ToLower(row[0]); row[3] = "11" }))
	require.NotEqual(t, []string{known}, ids("another", noon, nil))
}

func TestSendGoesOnWhereItWas(t *testing.T) {
	b, _, err := push.Prepare(t.Context(), options(t, workers(t, "名册.csv", 20000, nil), noon, 2))
	require.NoError(t, err)
	require.Greater(t, len(b.Chunks), 4)
	to := topic{fail: 2}
	target := push.Target{Sender: &to, Topic: "t", Partitions: 2}
	err = b.Send(t.Context(), target, nil)
	require.ErrorContains(t, err, "the line is cut")
	require.False(t, flow.IsPermanent(err))
	done := len(to.sent)
	require.NotZero(t, done)
	again, err := push.OpenBatch(b.Dir)
	require.NoError(t, err)
	var at []push.Progress
	require.NoError(t, again.Send(t.Context(), target, func(p push.Progress) { at = append(at, p) }))
	require.Equal(t, len(b.Chunks), len(to.sent), "nothing twice: the call that failed brought nothing")
	require.Equal(t, done, at[0].Chunks)
	require.Equal(t, at[len(at)-1].RowsAll, at[len(at)-1].Rows)

	// What a broker lost although it acknowledged it is sent again when asked for.
	n, err := again.Resend(&flow.Receipt{Chunks: [][2]int64{{0, 1}, {3, int64(len(b.Chunks) - 2)}}})
	require.NoError(t, err)
	require.Equal(t, 2, n)
	sent, err := again.Sent()
	require.NoError(t, err)
	require.False(t, sent)
	require.NoError(t, again.Send(t.Context(), target, nil))
	require.Len(t, to.sent, len(b.Chunks)+2)

	// A settled batch needs its messages no more.
	require.NoError(t, again.Discard())
	require.NoError(t, again.Send(t.Context(), target, nil))
	require.NoError(t, again.Discard())
}

func TestWhatIsNotSent(t *testing.T) {
	b, _, err := push.Prepare(t.Context(), options(t, workers(t, "名册.csv", 10, nil), noon, 2))
	require.NoError(t, err)
	var to topic
	err = b.Send(t.Context(), push.Target{Sender: &to, Topic: "t", Partitions: 3}, nil)
	require.ErrorContains(t, err, "prepare it anew")
	require.True(t, flow.IsPermanent(err))
	chunks := filepath.Join(b.Dir, "chunks")
	raw, err := os.ReadFile(chunks)
	require.NoError(t, err)
	raw[len(raw)/2] ^= 1
	require.NoError(t, os.WriteFile(chunks, raw, 0o600))
	err = b.Send(t.Context(), push.Target{Sender: &to, Topic: "t", Partitions: 2}, nil)
	require.ErrorContains(t, err, "not what was prepared")
	require.Empty(t, to.sent)
	_, err = push.OpenBatch(t.TempDir())
	require.Error(t, err)
}

// An upload is prepared like a file, and is not kept.
func TestPrepareFromAReader(t *testing.T) {
	raw, err := os.ReadFile(workers(t, "名册.csv", 10, nil))
	require.NoError(t, err)
	opt := options(t, "", noon, 1)
	opt.Reader, opt.Name, opt.Dir, opt.Sheet.AsOf = strings.NewReader(string(raw)), "名册.csv", t.TempDir(), time.Time{}
	b, report, err := push.Prepare(t.Context(), opt)
	require.NoError(t, err)
	require.Equal(t, "2016-11-30", report.Effective, "the day of the clock")
	require.Equal(t, "名册.csv", b.Source.Name)
	left, err := os.ReadDir(b.Dir)
	require.NoError(t, err)
	var names []string
	for _, e := range left {
		names = append(names, e.Name())
		info, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	require.Equal(t, []string{"batch.json", "chunks", "rows.csv"}, names)
	opt = options(t, "", noon, 1)
	opt.Dir, opt.Name, opt.Reader = t.TempDir(), "x", brokenReader{}
	_, _, err = push.Prepare(t.Context(), opt)
	require.ErrorContains(t, err, "cannot keep the upload")
	left, err = os.ReadDir(opt.Dir)
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("the line is cut") }

func TestReconcile(t *testing.T) {
	b, _, err := push.Prepare(t.Context(), options(t, workers(t, "名册.csv", 10, nil), noon, 1))
	require.NoError(t, err)
	good := func() *flow.Receipt {
		return &flow.Receipt{Declared: 10, Received: 10, By: flow.ByOutcome{flow.New: 9, flow.Rejected: 1}, SHA256: b.SHA256, Status: flow.Complete}
	}
	require.NoError(t, b.Reconcile(good()))
	f := func(want string, change func(*flow.Receipt)) {
		t.Helper()
		r := good()
		change(r)
		require.ErrorContains(t, b.Reconcile(r), want)
	}
	f("rows: prepared 10, received 9", func(r *flow.Receipt) { r.Declared = 9 })
	f("SHA-256", func(r *flow.Receipt) { r.SHA256 = "" })
	f("two different contents", func(r *flow.Receipt) { r.SHA256Differs = true })
	f("sum of the outcomes", func(r *flow.Receipt) { r.By[flow.New] = 8 })
	f("records: prepared 10, received 9", func(r *flow.Receipt) { r.Received, r.By[flow.New] = 9, 8 })
}

func TestProfile(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"ca", "crt", "key", "pw", "record.key", "national.pub"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	path := filepath.Join(dir, "profile.yaml")
	load := func(text string) (*push.Profile, error) {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return push.LoadProfile(path)
	}
	p, err := load("unit: \"310000\"\nbrokers: [a:9093]\ntls: {ca: ca, cert: crt, key: key}\nsasl: {mechanism: SCRAM-SHA-512, user: u, password_file: pw}\nrecord_key: record.key\nseal_key: national.pub\n")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "pw"), p.SASL.PasswordFile)
	f := func(text string, want ...string) {
		t.Helper()
		_, err := load(text)
		for _, w := range want {
			require.ErrorContains(t, err, w)
		}
	}
	f("unit: x\nbrokers: [a]\npassword: secret\n", "line 3", "password not found")
	f("{}\n", "unit is empty", "brokers are empty")
	const head = "unit: \"310000\"\nbrokers: [a]\n"
	f(head+"tls: {off: true, ca: ca}\n", "tls.off stands beside")
	f(head+"tls: {cert: crt}\n", "belong together")
	f(head+"sasl: {user: u}\n", "no mechanism")
	f(head+"sasl: {mechanism: GSSAPI}\n", "is not known")
	f(head+"sasl: {mechanism: PLAIN, user: u, password_file: pw}\ntls: {off: true}\n", "in the clear")
	f(head+"record_key: nowhere\n", "record_key:")
}
