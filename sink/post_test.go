package sink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/flow/flowtest"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Each of these would go in without a word, if nobody compared.
func TestSilentTrapsInTheTable(t *testing.T) {
	for name, c := range map[string]struct{ alter, says string }{
		"a narrower type":        {"MODIFY COLUMN _row Int8", "column _row is Int8"},
		"another decimal":        {"MODIFY COLUMN reported_at DateTime64(0, 'Asia/Shanghai')", "column reported_at is DateTime64(0"},
		"another case":           {"RENAME COLUMN batch_id TO Batch_Id", "lacks column batch_id"},
		"a missing column":       {"DROP COLUMN _warnings", "lacks column _warnings"},
		"another order":          {"MODIFY COLUMN op LowCardinality(String) FIRST", "column op stands before"},
		"a column that computes": {"MODIFY COLUMN _warnings LowCardinality(String) MATERIALIZED 'x'", "column _warnings is MATERIALIZED"},
	} {
		t.Run(name, func(t *testing.T) {
			s := fresh(t, "employment")
			spec := s.opt.Catalogue.Feed("employment")
			require.NoError(t, s.exec(t.Context(), "ALTER TABLE employment_history "+c.alter, nil))
			mem := flowtest.Memory()
			rec := build(mem, spec, topic310, []record{{id: "a", version: version(1, 1)}})
			defer mem.AssertSize(t, 0)
			defer rec.Release()
			err := s.store(t.Context(), spec, rec)
			require.True(t, flow.IsPermanent(err), "%v", err)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, "duiwu migrate")
			require.Equal(t, "(0)", value(t, s, "SELECT count() FROM employment_history"))
		})
	}
}

func TestSilentTrapsInTheBatch(t *testing.T) {
	s := fresh(t, "employment")
	spec := s.opt.Catalogue.Feed("employment")
	mem := flowtest.Memory()
	defer mem.AssertSize(t, 0)
	good := build(mem, spec, topic310, []record{{id: "a", version: version(1, 1)}})
	defer good.Release()
	n := int(good.NumCols())
	with := func(i int, f arrow.Field, col arrow.Array) arrow.Record {
		fields := append([]arrow.Field(nil), good.Schema().Fields()...)
		cols := append([]arrow.Array(nil), good.Columns()...)
		fields[i], cols[i] = f, col
		return array.NewRecord(arrow.NewSchema(fields, nil), cols, 1)
	}
	wide := array.NewInt64Builder(mem)
	wide.Append(1)
	col := wide.NewInt64Array()
	defer col.Release()
	null := array.NewStringBuilder(mem)
	null.AppendNull()
	nulls := null.NewStringArray()
	defer nulls.Release()
	wide.Release()
	null.Release()
	row := good.Schema().FieldIndices(feed.ColRow)[0]
	f := good.Schema().Field(0)
	f.Name = strings.ToUpper(good.Schema().Field(1).Name)
	for says, rec := range map[string]arrow.Record{
		"column _row of the batch is int64":               with(row, arrow.Field{Name: feed.ColRow, Type: arrow.PrimitiveTypes.Int64}, col),
		"column 1 of the batch is REPORTING_UNIT":         with(1, arrow.Field{Name: "REPORTING_UNIT", Type: arrow.BinaryTypes.String}, good.Column(1)),
		"column reporting_unit of the batch holds 1 null": with(1, good.Schema().Field(1), nulls),
		"columns, its batch " + itoa(n-1):                 array.NewRecord(arrow.NewSchema(good.Schema().Fields()[:n-1], nil), good.Columns()[:n-1], 1),
	} {
		err := s.store(t.Context(), spec, rec)
		rec.Release()
		require.True(t, flow.IsPermanent(err), says)
		require.ErrorContains(t, err, says)
	}
}

// proxy stands before the real server and spoils one answer.
func proxy(t *testing.T, s *Sink, spoil func(r *http.Request, h *http.Response)) *Sink {
	t.Helper()
	target := url.URL{Scheme: s.server.Scheme, Host: s.server.Addr, Path: "/"}
	p := httputil.NewSingleHostReverseProxy(&target)
	p.ModifyResponse = func(r *http.Response) error {
		spoil(r.Request, r)
		return nil
	}
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	u, err := url.Parse(s.opt.DSN)
	require.NoError(t, err)
	u.Host = strings.TrimPrefix(srv.URL, "http://")
	return open(t, u.String(), s.opt.Catalogue, "proxied")
}

func TestWrittenRowsAreCompared(t *testing.T) {
	direct := fresh(t, "employment")
	spec := direct.opt.Catalogue.Feed("employment")
	header := ""
	s := proxy(t, direct, func(r *http.Request, h *http.Response) {
		if strings.HasPrefix(r.URL.Query().Get("query"), "INSERT INTO `employment_history`") && header != "" {
			h.Header.Set("X-ClickHouse-Summary", header)
		}
	})
	a := assign(t, s, 0)
	header = `{"written_rows":"1"}`
	err := put(t, a, spec, 0, 0, record{id: "a", version: version(1, 1)})
	require.ErrorContains(t, err, "1 rows were sent, 1 written where 2 were due")
	require.False(t, flow.IsPermanent(err))
	header = ""
	require.NoError(t, put(t, a, spec, 0, 0, record{id: "a", version: version(1, 1)}))
	// Two rows of one version collapse before they are written; they were sent all the same.
	require.NoError(t, put(t, a, spec, 1, 1, record{id: "b", version: version(1, 1), offset: 1}, record{id: "b", version: version(1, 1), offset: 1}))
	// A view that somebody adds takes its rows too.
	require.NoError(t, s.exec(t.Context(), "CREATE MATERIALIZED VIEW extra ENGINE = MergeTree ORDER BY record_id AS SELECT record_id FROM employment_history", nil))
	err = put(t, a, spec, 2, 2, record{id: "c", version: version(1, 1), offset: 2})
	require.ErrorContains(t, err, "3 written where 2 were due")
	require.NoError(t, put(t, a, spec, 2, 2, record{id: "c", version: version(1, 1), offset: 2}))
}

func TestErrorsOfTheServer(t *testing.T) {
	direct := fresh(t, "employment")
	spec := direct.opt.Catalogue.Feed("employment")
	for code, permanent := range map[int]bool{243: false, 252: false, 241: false, 164: true, 516: true, 60: true, 31337: false} {
		s := proxy(t, direct, func(r *http.Request, h *http.Response) {
			if strings.HasPrefix(r.URL.Query().Get("query"), "INSERT INTO `employment_history`") {
				h.StatusCode = 500
				h.Header.Set("X-ClickHouse-Exception-Code", itoa(code))
			}
		})
		err := put(t, assign(t, s, 0), spec, 0, 0, record{id: "secret-id", version: version(1, 1)})
		require.Error(t, err)
		require.Equal(t, permanent, flow.IsPermanent(err), "%v", err)
		require.NotContains(t, err.Error(), "secret-id")
	}
	// The ledger never heard of any of them.
	a := assign(t, direct, 0)
	require.Zero(t, a.Next)
}

func TestErrorsCarryNoValue(t *testing.T) {
	s := fresh(t, "employment")
	err := s.exec(t.Context(), "SELECT toInt32('119901198001153013x')", nil)
	require.ErrorContains(t, err, "ClickHouse error 6 CANNOT_PARSE_TEXT")
	require.NotContains(t, err.Error(), "1199011980")
	err = s.rows(t.Context(), "SELECT toInt32('119901198001153013x')", nil, nil)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "1199011980")
	err = s.exec(t.Context(), "SELECT 1 FROM nowhere", nil)
	require.True(t, flow.IsPermanent(err))
	require.ErrorContains(t, err, "run `duiwu migrate`")

	u, _ := url.Parse(s.opt.DSN)
	u.User = url.UserPassword("admin", "wrong-password")
	_, err = Open(t.Context(), Options{DSN: u.String(), Catalogue: s.opt.Catalogue})
	require.True(t, flow.IsPermanent(err), "%v", err)
	require.ErrorContains(t, err, "check the DSN")
	require.NotContains(t, err.Error(), "wrong-password")
	_, err = Open(t.Context(), Options{DSN: "http://u:s3cret@127.0.0.1:1/x", Catalogue: s.opt.Catalogue})
	require.Error(t, err)
	require.False(t, flow.IsPermanent(err))
	require.NotContains(t, err.Error(), "s3cret")
	for _, dsn := range []string{"clickhouse://u:s3cret@h/x", "http://u:s3cret@h", "http://u:s3cret@h:bad\x7f/x"} {
		_, err = Open(t.Context(), Options{DSN: dsn, Catalogue: s.opt.Catalogue})
		require.ErrorContains(t, err, "cannot read the DSN")
		require.NotContains(t, err.Error(), "s3cret")
	}
}

func TestTroubleTable(t *testing.T) {
	for code, info := range troubles {
		require.NotEmpty(t, info.name, code)
		require.NotEmpty(t, info.says, code)
		err := serverError(fmt.Errorf("read: %w", &clickhouse.Exception{Code: int32(code), Message: "value 119901198001153013"}))
		require.Equal(t, !info.retry, flow.IsPermanent(err), code)
		require.NotContains(t, err.Error(), "119901198001153013")
	}
	require.Nil(t, serverError(nil))
	require.ErrorIs(t, serverError(fmt.Errorf("x: %w", ErrFenced)), ErrFenced)
	for status, permanent := range map[int]bool{401: true, 403: true, 404: true, 502: false, 503: false, 429: false} {
		require.Equal(t, permanent, flow.IsPermanent(serverError(&ServerError{Status: status})), status)
	}
	require.False(t, flow.IsPermanent(serverError(errors.New("broken pipe"))))
}

func TestTooManyRowsIsABug(t *testing.T) {
	s := &Sink{}
	err := s.insert(t.Context(), "x", nil, "ArrowStream", MaxRows+1, 1, nil)
	require.True(t, flow.IsPermanent(err))
	require.ErrorContains(t, err, "BUG")
}

func TestInsertLeavesNoGoroutine(t *testing.T) {
	direct := fresh(t, "employment")
	spec := direct.opt.Catalogue.Feed("employment")
	ignore := goleak.IgnoreCurrent()
	s, err := Open(t.Context(), Options{DSN: direct.opt.DSN, Catalogue: direct.opt.Catalogue})
	require.NoError(t, err)
	a := assign(t, s, 0)
	require.NoError(t, put(t, a, spec, 0, 0, record{id: "a", version: version(1, 1)}))
	require.NoError(t, s.exec(t.Context(), "DROP TABLE employment_history SYNC", nil))
	err = put(t, a, spec, 1, 1, record{id: "a", version: version(1, 1)})
	require.True(t, flow.IsPermanent(err), "%v", err)
	require.NoError(t, s.Close())
	goleak.VerifyNone(t, ignore)
}

// An answer that breaks off between two messages must not pass for a whole one.
func TestNewestNoticesABrokenAnswer(t *testing.T) {
	direct := fresh(t, "employment")
	spec := direct.opt.Catalogue.Feed("employment")
	require.NoError(t, put(t, assign(t, direct, 0), spec, 0, 0, record{id: "a", version: version(1, 1)}))
	short := 0
	s := proxy(t, direct, func(r *http.Request, h *http.Response) {
		if short > 0 && h.Header.Get("X-ClickHouse-Format") == "ArrowStream" {
			whole, err := io.ReadAll(h.Body)
			require.NoError(t, err)
			whole = whole[:len(whole)-short]
			h.Body, h.ContentLength = io.NopCloser(bytes.NewReader(whole)), int64(len(whole))
			h.Header.Set("Content-Length", itoa(len(whole)))
		}
	})
	a := assign(t, s, 0)
	n := 0
	count := func([]byte, int32, flow.Version) error { n++; return nil }
	require.NoError(t, a.Newest(t.Context(), spec, count))
	require.Equal(t, 1, n)
	for short = range 40 {
		if short > 0 {
			require.ErrorContains(t, a.Newest(t.Context(), spec, count), "broke off", short)
		}
	}
	short = 0
	resp, err := s.send(t.Context(), "SELECT 1 FORMAT ArrowStream", nil, nil, "", nil)
	require.NoError(t, err)
	body := &tail{r: resp.Body}
	buf := make([]byte, 3)
	for err == nil {
		_, err = body.Read(buf)
	}
	resp.Body.Close()
	require.True(t, body.ended())
	require.False(t, (&tail{}).ended())
}
