package sink

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// MaxRows is the largest number of rows in one post: above it the server would
// split the insert into several parts.
const MaxRows = 1 << 20

// insertSettings close the silent ways in which an insert can differ from what
// was sent.
var insertSettings = map[string]string{
	"async_insert":                             "0",
	"input_format_null_as_default":             "0",
	"input_format_arrow_allow_missing_columns": "0",
	"input_format_skip_unknown_fields":         "0",
	"input_format_defaults_for_omitted_fields": "1",
	"date_time_input_format":                   "best_effort",
	// One post, one part.
	"max_insert_block_size":       strconv.Itoa(MaxRows),
	"min_insert_block_size_rows":  strconv.Itoa(MaxRows),
	"min_insert_block_size_bytes": "0",
	// A view that fails must fail the insert.
	"materialized_views_ignore_errors": "0",
	// A batch may hold the states of many years, each a part of its own.
	"max_partitions_per_insert_block": "0",
	// On a cluster rows that stay on the server are counted as those that leave it.
	"prefer_localhost_replica": "0",
}

// everywhere are the settings of every statement. Only a cluster heeds them: an
// insert is done when most replicas of the shard have it, not when somebody will
// pass it on; and what a statement compares with is read of all shards.
var everywhere = map[string]string{
	"distributed_foreground_insert": "1",
	"insert_quorum":                 "auto",
	"distributed_product_mode":      "allow",
}

// send makes one request: a statement in the URL with a body, or in the body
// when there is none. The caller drains or closes the response, whose status
// and error header have been checked.
func (s *Sink) send(ctx context.Context, sql string, p params, settings map[string]string, contentType string, body io.Reader) (*http.Response, error) {
	q := url.Values{"database": {s.database}}
	for k, v := range p {
		q.Set("param_"+k, v)
	}
	for k, v := range everywhere {
		q.Set(k, v)
	}
	for k, v := range settings {
		q.Set(k, v)
	}
	if body != nil {
		q.Set("query", sql)
	} else {
		body = bytes.NewReader([]byte(sql))
	}
	u := url.URL{Scheme: s.server.Scheme, Host: s.server.Addr, Path: "/", RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), body)
	if err != nil {
		return nil, errors.New("cannot make a request for this DSN")
	}
	req.Header.Set("User-Agent", "duiwu")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, serverError(err)
	}
	if err := responseError(resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

func drain(resp *http.Response) error {
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return serverError(err)
	}
	return nil
}

// insert posts rows in one format and compares what the server wrote with what
// was sent. One row sent is written times times: once into the table and once
// through each view on it. write is called once, in another goroutine that has
// ended when insert returns.
func (s *Sink) insert(ctx context.Context, table string, columns []string, format string, rows, times int64, write func(io.Writer) error) error {
	if rows > MaxRows {
		return flow.Permanent(fmt.Errorf("BUG: a post of %d rows to table %s; the limit is %d", rows, table, MaxRows))
	}
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	settings := maps.Clone(insertSettings)
	if s.opt.Keys != "" {
		settings["log_comment"] = keysComment(s.opt.Keys)
	}
	if table == "claims" {
		settings["insert_quorum_parallel"] = "0" // see sequential
	}
	maps.Copy(settings, s.opt.Settings)
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(pw, 256<<10)
		err := write(w)
		if err == nil {
			err = w.Flush()
		}
		pw.CloseWithError(err)
		done <- err
	}()
	sql := "INSERT INTO " + quoteName(table) + " (" + quoteNames(columns) + ") FORMAT " + format
	resp, err := s.send(ctx, sql, nil, settings, "application/octet-stream", pr)
	pr.CloseWithError(errStopped)
	// A transport whose connection broke closes the body before it returns.
	if werr := <-done; werr != nil && !errors.Is(werr, errStopped) && !errors.Is(werr, io.ErrClosedPipe) {
		if resp != nil {
			resp.Body.Close()
		}
		return flow.Permanent(fmt.Errorf("BUG: rows for table %s cannot be encoded: %w", table, werr))
	}
	if err != nil {
		return err
	}
	if err := drain(resp); err != nil {
		return err
	}
	var summary struct {
		Written int64 `json:"written_rows,string"`
	}
	if err := json.Unmarshal([]byte(resp.Header.Get("X-ClickHouse-Summary")), &summary); err != nil {
		return fmt.Errorf("the server did not say how many rows it wrote to table %s (header X-ClickHouse-Summary); a proxy may have dropped it", table)
	}
	if summary.Written != rows*times {
		s.forget(table)
		return fmt.Errorf("table %s: %d rows were sent, %d written where %d were due; the cut is written again", table, rows, summary.Written, rows*times)
	}
	return nil
}

var errStopped = errors.New("the request ended")

// insertJSON posts small system rows, one JSON object a line: row values travel
// as JSON, never inside a statement.
func insertJSON[T any](ctx context.Context, s *Sink, table string, columns []string, rows []T) error {
	for part := range slices.Chunk(rows, MaxRows) {
		err := s.insert(ctx, table, columns, "JSONEachRow", int64(len(part)), 1, func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetEscapeHTML(false)
			for i := range part {
				if err := e.Encode(&part[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("cannot insert into table %s: %w", table, err)
		}
	}
	return nil
}

// store posts rows of one feed, at most MaxRows. It borrows recs.
func (s *Sink) store(ctx context.Context, spec *feed.Spec, recs ...arrow.Record) error {
	want := flow.TableSchema(spec)
	var rows int64
	for _, rec := range recs {
		if err := sameSchema(spec, want, rec); err != nil {
			return flow.Permanent(err)
		}
		rows += rec.NumRows()
	}
	times, err := s.check(ctx, spec)
	if err != nil {
		return err
	}
	names := make([]string, want.NumFields())
	for i := range names {
		names[i] = want.Field(i).Name
	}
	err = s.insert(ctx, spec.HistoryTable(), names, "ArrowStream", rows, times, func(w io.Writer) error {
		e := ipc.NewWriter(w, ipc.WithSchema(recs[0].Schema()))
		for _, r := range recs {
			if err := e.Write(r); err != nil {
				return err
			}
		}
		return e.Close()
	})
	if err != nil {
		if isSchemaTrouble(err) {
			s.forget(spec.HistoryTable())
		}
		return fmt.Errorf("cannot insert into table %s: %w", spec.HistoryTable(), err)
	}
	return nil
}

// sameSchema compares rows with their feed. The server would take a narrower
// type, another order of letters or a missing column without a word.
func sameSchema(spec *feed.Spec, want *arrow.Schema, rec arrow.Record) error {
	got := rec.Schema()
	if got.NumFields() != want.NumFields() {
		return fmt.Errorf("BUG: feed %s has %d columns, its batch %d", spec.Feed, want.NumFields(), got.NumFields())
	}
	for i := range want.NumFields() {
		w, g := want.Field(i), got.Field(i)
		switch {
		case w.Name != g.Name:
			return fmt.Errorf("BUG: feed %s: column %d of the batch is %s, not %s", spec.Feed, i, g.Name, w.Name)
		case !arrow.TypeEqual(w.Type, g.Type):
			return fmt.Errorf("BUG: feed %s: column %s of the batch is %s, not %s", spec.Feed, w.Name, g.Type, w.Type)
		case !w.Nullable && rec.Column(i).NullN() > 0:
			return fmt.Errorf("BUG: feed %s: column %s of the batch holds %d nulls and must hold none", spec.Feed, w.Name, rec.Column(i).NullN())
		}
	}
	return nil
}

// check is one comparison of a feed's tables with its spec.
type check struct {
	at time.Time
	// times is how often a row sent is written.
	times int64
}

func (s *Sink) forget(table string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.checked, table)
}

// check compares the tables in the database with the feed: every column must be
// there under its name and type, in the feed's order. Columns that a newer
// version added are no trouble, since an insert names its columns.
func (s *Sink) check(ctx context.Context, spec *feed.Spec) (int64, error) {
	name := spec.HistoryTable()
	s.mu.Lock()
	c, ok := s.checked[name]
	s.mu.Unlock()
	if ok && time.Since(c.at) < s.opt.Recheck {
		return c.times, nil
	}
	// Partitions that begin together ask once.
	times, err, _ := s.checks.Do(name, func() (any, error) { return s.checkNow(ctx, spec) })
	if err != nil {
		if ctx.Err() == nil && errors.Is(err, context.Canceled) {
			return s.checkNow(ctx, spec) // the one who asked was stopped
		}
		return 0, err
	}
	return times.(int64), nil
}

func (s *Sink) checkNow(ctx context.Context, spec *feed.Spec) (int64, error) {
	h := historyTable(spec)
	cur, v := currentTable(spec), currentView(spec, Layout{})
	have, err := s.columns(ctx, h.name, cur.name, v.name)
	if err != nil {
		return 0, fmt.Errorf("cannot read the columns of table %s: %w", h.name, err)
	}
	for _, t := range []table{h, cur, {name: v.name, columns: cur.columns}} {
		if err := compare(t, have[t.name]); err != nil {
			return 0, flow.PermanentFor(flow.CauseSchema, err)
		}
	}
	c := check{at: time.Now()}
	var views uint64
	err = s.rows(ctx, "SELECT length(dependencies_table) FROM system.tables WHERE database = currentDatabase() AND name = {t:String}",
		params{"t": text(h.name)}, func(scan func(...any) error) error { return scan(&views) })
	if err != nil {
		return 0, fmt.Errorf("cannot read the views of table %s: %w", h.name, err)
	}
	c.times = 1 + int64(views)
	s.mu.Lock()
	s.checked[h.name] = c
	s.mu.Unlock()
	return c.times, nil
}

// columns reads the columns of some tables in order.
func (s *Sink) columns(ctx context.Context, tables ...string) (map[string][]column, error) {
	list, err := json.Marshal(tables)
	if err != nil {
		return nil, err
	}
	out := map[string][]column{}
	err = s.rows(ctx, `SELECT table, name, type, default_kind FROM system.columns
WHERE database = currentDatabase() AND has(JSONExtract({tables:String}, 'Array(String)'), table) ORDER BY table, position`,
		params{"tables": text(string(list))}, func(scan func(...any) error) error {
			var t string
			var c column
			if err := scan(&t, &c.name, &c.typ, &c.more); err != nil {
				return err
			}
			out[t] = append(out[t], c)
			return nil
		})
	return out, err
}

// compare says what keeps rows made for want from being written to have.
func compare(want table, have []column) error {
	if len(have) == 0 {
		return fmt.Errorf("table %s is missing; run `duiwu migrate`", want.name)
	}
	at := map[string]int{}
	for i, c := range have {
		at[c.name] = i
	}
	last, lastName := -1, ""
	for _, c := range want.columns {
		if c.materialized() {
			continue
		}
		i, ok := at[c.name]
		switch {
		case !ok:
			return fmt.Errorf("table %s lacks column %s (%s); run `duiwu migrate`", want.name, c.name, c.typ)
		case have[i].typ != c.typ:
			return fmt.Errorf("table %s: column %s is %s in the database and %s in the feed; run `duiwu migrate` to see what can be done", want.name, c.name, have[i].typ, c.typ)
		case have[i].more != "":
			return fmt.Errorf("table %s: column %s is %s in the database; run `duiwu migrate` to see what can be done", want.name, c.name, have[i].more)
		case i < last:
			return fmt.Errorf("table %s: column %s stands before %s in the database and after it in the feed; run `duiwu migrate` to see what can be done", want.name, c.name, lastName)
		}
		last, lastName = i, c.name
	}
	return nil
}

// multipartTable is a request body that carries one external table.
func multipartTable(name string, rows []byte) (io.Reader, string, error) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, err := w.CreateFormFile(name, name)
	if err != nil {
		return nil, "", err
	}
	if _, err := part.Write(rows); err != nil {
		return nil, "", err
	}
	if err := w.Close(); err != nil {
		return nil, "", err
	}
	return &b, w.FormDataContentType(), nil
}
