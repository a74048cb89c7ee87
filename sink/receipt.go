package sink

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/duiwu/duiwu/internal/flow"
)

// ErrNoReceipt says that nothing of a batch has been recorded.
var ErrNoReceipt = errors.New("no cut of this batch is in the ledger")

// Status says how much of a batch has arrived.
type Status string

const (
	// Complete: as many rows arrived as the batch declared, and no chunk is missing.
	Complete Status = "complete"
	// Partial: fewer rows arrived than declared, or a chunk is missing.
	Partial Status = "partial"
	// Undeclared: the sender did not say how many rows there are.
	Undeclared Status = "undeclared"
)

// Receipt says what became of one batch: the sum over the cuts that the ledger
// holds, in records.
type Receipt struct {
	Unit, Feed, Batch string
	Status            Status
	Received          int64
	By                [flow.Outcomes]int64
	// Rules counts rejected records by the id of their first finding, Warnings
	// every warning of a stored one.
	Rules, Warnings map[string]int64
	// Declared is the number of rows the sender announced, 0 when it did not.
	Declared int64
	// Chunks are the chunk numbers seen, Missing the ranges below the largest
	// one that were not, both ends included.
	Chunks  []int32
	Missing [][2]int64
	SHA256  string
	// SHA256Differs says that two different contents came under one batch id.
	SHA256Differs bool
	First, Last   time.Time
}

// Receipt reads the receipt of a batch; ErrNoReceipt when there is none.
func (s *Sink) Receipt(ctx context.Context, unit, feedName, batch string) (*Receipt, error) {
	var r *Receipt
	err := s.rows(ctx, "SELECT toString(status), rules, warnings, declared, chunks, missing_from, missing_to, sha256, sha256_differs, first_arrived_at, last_arrived_at, "+counts+
		" FROM receipts WHERE unit = {unit:String} AND feed = {feed:String} AND batch_id = {batch:String}",
		params{"unit": text(unit), "feed": text(feedName), "batch": text(batch)}, func(scan func(...any) error) error {
			r = &Receipt{Unit: unit, Feed: feedName, Batch: batch}
			var status string
			var differs uint8
			var from, to []int64
			into := append([]any{&status, &r.Rules, &r.Warnings, &r.Declared, &r.Chunks, &from, &to, &r.SHA256, &differs, &r.First, &r.Last, &r.Received}, by(&r.By)...)
			if err := scan(into...); err != nil {
				return err
			}
			r.Status, r.SHA256Differs = Status(status), differs != 0
			for i := range from {
				r.Missing = append(r.Missing, [2]int64{from[i], to[i]})
			}
			return nil
		})
	if err == nil && r == nil {
		err = ErrNoReceipt
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the receipt of batch %q of feed %s of unit %s: %w", batch, feedName, unit, err)
	}
	return r, nil
}

var counts = "received, " + strings.Join(outcomeNames(), ", ")

func by(c *[flow.Outcomes]int64) []any {
	out := make([]any, len(c))
	for i := range c {
		out[i] = &c[i]
	}
	return out
}

// FeedBalance says what became of everything that a unit sent for a feed. Feed
// is empty for messages that did not say.
type FeedBalance struct {
	Unit, Feed string
	Received   int64
	By         [flow.Outcomes]int64
}

// Unexplained is the number of received records without an outcome; it is 0
// unless something is broken.
func (b *FeedBalance) Unexplained() int64 {
	n := b.Received
	for _, v := range b.By {
		n -= v
	}
	return n
}

// Balance reads the balance of every unit and feed, sorted.
func (s *Sink) Balance(ctx context.Context) ([]FeedBalance, error) {
	var out []FeedBalance
	err := s.rows(ctx, "SELECT unit, feed, "+counts+" FROM balance ORDER BY unit, feed", nil, func(scan func(...any) error) error {
		var b FeedBalance
		if err := scan(append([]any{&b.Unit, &b.Feed, &b.Received}, by(&b.By)...)...); err != nil {
			return err
		}
		out = append(out, b)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the balance: %w", err)
	}
	return out, nil
}
