package push

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/sheet"
	"github.com/duiwu/duiwu/internal/flow"
)

// ReceiptPrefix begins the name of every receipt topic; the unit's code follows.
const ReceiptPrefix = "duiwu.receipt"

// Receipts reads the receipt of a batch: the database (*sink.Sink) or the unit's
// receipt topic (*Topic). The error is flow.ErrNoReceipt while nothing of the
// batch has arrived.
type Receipts interface {
	Receipt(ctx context.Context, unit, feed, batch string) (*flow.Receipt, error)
}

// Wait asks for the batch's receipt until every row of it is accounted for, or
// ctx ends; it then returns the newest receipt there is, which may be nil, with
// ctx's error. Other errors are tried again: the broker or the database may be
// away. seen may be nil; it gets each receipt that differs from the one before,
// and the error of an attempt that failed.
func (b *Batch) Wait(ctx context.Context, from Receipts, seen func(*flow.Receipt, error)) (*flow.Receipt, error) {
	var last *flow.Receipt
	pause := 250 * time.Millisecond
	for {
		r, err := from.Receipt(ctx, b.Unit, b.Feed, b.ID)
		switch {
		case err == nil:
			if seen != nil && (last == nil || last.Received != r.Received || last.Status != r.Status) {
				seen(r, nil)
			}
			last = r
			if b.Settled(r) {
				return r, nil
			}
		case !errors.Is(err, flow.ErrNoReceipt) && ctx.Err() == nil:
			if seen != nil {
				seen(nil, err)
			}
			pause = min(2*pause, 5*time.Second)
		}
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// Settled says whether a receipt accounts for every row of the batch.
func (b *Batch) Settled(r *flow.Receipt) bool { return r.Status == flow.Complete }

// Reconcile compares the batch's control totals with its receipt and says what
// differs; nil when nothing does. It is for a settled receipt.
func (b *Batch) Reconcile(r *flow.Receipt) error {
	var all []error
	differs := func(what string, ours, theirs any) {
		if ours != theirs {
			all = append(all, fmt.Errorf("%s: prepared %v, received %v", what, ours, theirs))
		}
	}
	differs("rows", b.Rows, r.Declared)
	differs("SHA-256", b.SHA256, r.SHA256)
	if r.SHA256Differs {
		all = append(all, errors.New("two different contents came under this batch id"))
	}
	var sum int64
	for _, n := range r.By {
		sum += n
	}
	differs("sum of the outcomes", r.Received, sum)
	if r.Received < b.Rows {
		differs("records", b.Rows, r.Received)
	}
	if len(all) == 0 {
		return nil
	}
	return fmt.Errorf("batch %s does not reconcile with its receipt: %w", b.ID, errors.Join(all...))
}

// Topic reads receipts from the units' receipt topics. It belongs to one
// goroutine; Close it.
type Topic struct {
	broker Broker
	prefix string
	since  time.Time
	open   map[string]*receiptsOf
}

// Broker is ingest.Broker.
type Broker = ingest.Broker

// receiptsOf is one unit's topic and what was asked of it.
type receiptsOf struct {
	r      *ingest.Reader
	wanted string
	found  *flow.Receipt
}

// NewTopic returns a reader of the topics prefix.UNIT; an empty prefix is
// ReceiptPrefix. Receipts that were written before since are not looked at; zero
// looks at all of them.
func NewTopic(b Broker, prefix string, since time.Time) *Topic {
	if prefix == "" {
		prefix = ReceiptPrefix
	}
	return &Topic{broker: b, prefix: prefix, since: since, open: map[string]*receiptsOf{}}
}

// Receipt implements Receipts.
func (t *Topic) Receipt(ctx context.Context, unit, feedName, batch string) (*flow.Receipt, error) {
	wanted := flow.ReceiptKey(feedName, batch)
	u := t.open[unit]
	if u == nil || u.wanted != wanted {
		if u != nil {
			u.r.Close()
		}
		u = &receiptsOf{r: ingest.NewReader(t.broker, ingest.Topic(t.prefix, unit), 0, t.since), wanted: wanted}
		t.open[unit] = u
	}
	err := u.r.Poll(ctx, 500*time.Millisecond, func(m *ingest.Message) error {
		if string(m.Key) != wanted || len(m.Value) == 0 {
			return nil
		}
		r := new(flow.Receipt)
		if err := json.Unmarshal(m.Value, r); err != nil {
			return fmt.Errorf("cannot read the receipt at offset %d: %w", m.Offset, err)
		}
		// At least once, and a publisher that was held up may come late with an
		// older one.
		if u.found == nil || !r.AsOf.Before(u.found.AsOf) {
			u.found = r
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if u.found == nil {
		return nil, flow.ErrNoReceipt
	}
	return u.found, nil
}

// Close gives the connections back.
func (t *Topic) Close() {
	for _, u := range t.open {
		u.r.Close()
	}
}

// Resend marks the chunks that a receipt does not know to be sent once more,
// although all were acknowledged: a broker may lose what it acknowledged. It
// returns how many; Send sends them.
func (b *Batch) Resend(r *flow.Receipt) (int, error) {
	state, err := b.sent()
	if err != nil {
		return 0, err
	}
	state.Again = nil
	for n := range min(state.Chunks, len(b.Chunks)) {
		if !slices.ContainsFunc(r.Chunks, func(c [2]int64) bool { return c[0] <= int64(n) && int64(n) <= c[1] }) {
			state.Again = append(state.Again, n)
		}
	}
	return len(state.Again), replace(filepath.Join(b.Dir, sentFile), state)
}

// Discard removes the messages of a batch whose receipt is settled: unless they
// are sealed they hold identifiers in the clear, and they are not needed again.
// What the batch was, and which row of the file is which, stays.
func (b *Batch) Discard() error {
	err := os.Remove(filepath.Join(b.Dir, chunksFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// At is where a record stands in a batch, as a receipt names it.
type At struct{ Chunk, Row int32 }

// Places says where the records that a receipt lists as refused stand in the
// file. It reads the map of rows once.
func (b *Batch) Places(r *flow.Receipt) (map[At]sheet.Place, error) {
	wanted := map[At]bool{}
	for _, one := range r.Rejects {
		wanted[At{one.Chunk, one.Row}] = true
	}
	out := map[At]sheet.Place{}
	if len(wanted) == 0 {
		return out, nil
	}
	f, err := os.Open(filepath.Join(b.Dir, rowsFile))
	if err != nil {
		return nil, fmt.Errorf("cannot read which row is which: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	rows := csv.NewReader(bufio.NewReaderSize(f, 1<<16))
	rows.ReuseRecord = true
	if _, err := rows.Read(); err != nil {
		return nil, fmt.Errorf("cannot read which row is which: %w", err)
	}
	for len(out) < len(wanted) {
		cells, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read which row is which: %w", err)
		}
		var n [4]int64
		for i := range n {
			if n[i], err = strconv.ParseInt(cells[i], 10, 64); err != nil {
				return nil, fmt.Errorf("cannot read which row is which: %w", err)
			}
		}
		if at := (At{int32(n[0]), int32(n[1])}); wanted[at] {
			out[at] = sheet.Place{Table: int(n[2]), Line: int(n[3])}
		}
	}
	return out, nil
}

// Returned says which rows of the file the receipt lists as refused, and why.
func (b *Batch) Returned(r *flow.Receipt) (map[sheet.Place][]sheet.Why, error) {
	places, err := b.Places(r)
	if err != nil {
		return nil, err
	}
	out := map[sheet.Place][]sheet.Why{}
	for _, one := range r.Rejects {
		place, ok := places[At{one.Chunk, one.Row}]
		for _, f := range one.Findings {
			if ok {
				out[place] = append(out[place], sheet.Why(f))
			}
		}
	}
	return out, nil
}
