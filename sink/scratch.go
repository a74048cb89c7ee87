package sink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// Scratch is a session with the server in which some current tables hold rows
// that were never written: a temporary table hides the real one of its name, so
// any query of the dashboards can be asked «what if». Nobody else sees it, and
// the server forgets it with Close or after ten silent minutes. It is not safe
// for concurrent use.
type Scratch struct {
	s       *Sink
	session string
	feeds   []string
}

// Scratch begins a session; before the first Add it answers as the tables do.
func (s *Sink) Scratch() *Scratch { return &Scratch{s: s, session: "duiwu-" + uuid()} }

func (x *Scratch) settings(more map[string]string) map[string]string {
	out := map[string]string{"session_id": x.session, "session_timeout": "600"}
	for k, v := range more {
		out[k] = v
	}
	return out
}

func (x *Scratch) exec(ctx context.Context, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, x.s.opt.Timeout)
	defer cancel()
	resp, err := x.s.send(ctx, sql, nil, x.settings(nil), "", nil)
	if err != nil {
		return err
	}
	return drain(resp)
}

// Feeds lists the feeds that rows were added to.
func (x *Scratch) Feeds() []string { return slices.Clone(x.feeds) }

// Add puts rows into the current table of their feed as the session sees it. It
// borrows them.
func (x *Scratch) Add(ctx context.Context, b flow.Batch) error {
	if err := x.add(ctx, b); err != nil {
		return fmt.Errorf("cannot lay rows of %s over the tables (the user needs CREATE TEMPORARY TABLE and CREATE ARBITRARY TEMPORARY TABLE): %w", b.Feed.Feed, err)
	}
	return nil
}

func (x *Scratch) add(ctx context.Context, b flow.Batch) error {
	t := currentTable(b.Feed)
	if !slices.Contains(x.feeds, b.Feed.Feed) {
		ddl, _ := strings.CutPrefix(t.create(Layout{}), "CREATE TABLE IF NOT EXISTS")
		if err := x.exec(ctx, "CREATE TEMPORARY TABLE"+ddl); err != nil {
			return err
		}
		x.feeds = append(x.feeds, b.Feed.Feed)
		// Not with FINAL: a void must stay, or an older version would win.
		names := quoteNames(t.names())
		if err := x.exec(ctx, "INSERT INTO "+quoteName(t.name)+" ("+names+") SELECT "+names+" FROM "+quoteName(x.s.database)+"."+quoteName(t.name)); err != nil {
			return err
		}
	}
	body, _, err := rowsTable(b, func(c feed.Column) bool { return c.Current })
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, x.s.opt.Timeout)
	defer cancel()
	resp, err := x.s.send(ctx, "INSERT INTO "+quoteName(t.name)+" ("+quoteNames(t.names())+") FORMAT ArrowStream", nil,
		x.settings(insertSettings), "application/octet-stream", body)
	if err != nil {
		return err
	}
	return drain(resp)
}

// Figure is one row of a compiled indicator: a unit's numerator and denominator
// on a day, nil where there is none.
type Figure struct {
	Day, Unit, Cat string
	N, M           *float64
}

// Figures asks the session a compiled indicator.
func (x *Scratch) Figures(ctx context.Context, sql string, values map[string]string) ([]Figure, error) {
	ctx, cancel := context.WithTimeout(ctx, x.s.opt.Timeout)
	defer cancel()
	p := params{}
	for k, v := range values {
		p[k] = text(v)
	}
	resp, err := x.s.send(ctx, sql, p, x.settings(map[string]string{
		"default_format": "JSONCompactEachRow", "output_format_json_quote_64bit_integers": "0", "wait_end_of_query": "1",
	}), "", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var out []Figure
	for d := json.NewDecoder(resp.Body); ; {
		var f Figure
		var source json.Number
		err := d.Decode(&[]any{&f.Day, &f.Unit, &f.Cat, &f.N, &f.M, &source})
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, broken(err)
		}
		out = append(out, f)
	}
}

// Close ends the session.
func (x *Scratch) Close(ctx context.Context) error {
	var all []error
	for _, f := range x.feeds {
		all = append(all, x.exec(ctx, "DROP TEMPORARY TABLE IF EXISTS "+quoteName(f)))
	}
	x.feeds = nil
	return errors.Join(all...)
}

// rowsTable writes some columns of a batch in the table's schema as an Arrow
// stream, with the structure by which an external table reads it.
func rowsTable(b flow.Batch, keep func(feed.Column) bool) (*bytes.Buffer, string, error) {
	var fields []arrow.Field
	var cols []arrow.Array
	var structure []string
	for i, c := range b.Feed.Columns() {
		if keep(c) {
			fields = append(fields, b.Rows.Schema().Field(i))
			cols = append(cols, b.Rows.Column(i))
			structure = append(structure, quoteName(c.Name)+" "+c.ClickHouse)
		}
	}
	rec := array.NewRecord(arrow.NewSchema(fields, nil), cols, b.Rows.NumRows())
	defer rec.Release()
	var body bytes.Buffer
	w := ipc.NewWriter(&body, ipc.WithSchema(rec.Schema()))
	err := w.Write(rec)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, "", flow.Permanent(fmt.Errorf("BUG: rows of %s cannot be encoded: %w", b.Feed.Feed, err))
	}
	return &body, strings.Join(structure, ", "), nil
}

// eachVersion calls fn with the key and version of every row of a batch in the
// table's schema.
func eachVersion(b flow.Batch, fn func(Key, flow.Version)) error {
	col := func(name string) arrow.Array { return b.Rows.Column(b.Rows.Schema().FieldIndices(name)[0]) }
	id, ok := col("record_id").(*array.String)
	from, ok2 := col("effective_from").(*array.Date32)
	version, ok3 := col(feed.ColVersion).(*array.FixedSizeBinary)
	if !ok || !ok2 || !ok3 {
		return flow.Permanent(fmt.Errorf("BUG: a batch of %s is not in its table's schema", b.Feed.Feed))
	}
	for i := range int(b.Rows.NumRows()) {
		k := Key{RecordID: strings.Clone(id.Value(i))}
		if b.Feed.KeyHasDate() {
			k.EffectiveFrom = int32(from.Value(i))
		}
		fn(k, flow.Version(version.Value(i)))
	}
	return nil
}
