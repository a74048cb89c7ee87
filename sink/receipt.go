package sink

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/duiwu/duiwu/internal/flow"
)

// ErrNoReceipt says that nothing of a batch has been recorded.
var ErrNoReceipt = flow.ErrNoReceipt

// The bounds of the list of refused records on one receipt.
const (
	maxRejects      = 2000
	maxRejectsBytes = 640 << 10
)

// Receipt reads the receipt of a batch; ErrNoReceipt when there is none.
func (s *Sink) Receipt(ctx context.Context, unit, feedName, batch string) (*flow.Receipt, error) {
	one := "unit = {unit:String} AND feed = {feed:String} AND batch_id = {batch:String}"
	p := params{"unit": text(unit), "feed": text(feedName), "batch": text(batch)}
	all, err := s.receipts(ctx, one, p, 1, func(*flow.Receipt) bool { return true })
	if err == nil && len(all) == 0 {
		err = ErrNoReceipt
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the receipt of batch %q of feed %s of unit %s: %w", batch, feedName, unit, err)
	}
	return all[0], nil
}

// ReceiptsSince reads the receipts of the units' batches that a cut was written
// for at or after since, by AsOf. Of more than limit it reads the first ones, and
// all that have the last one's AsOf. Refused records are listed where wanted asks
// for them.
func (s *Sink) ReceiptsSince(ctx context.Context, units []string, since time.Time, limit int, wanted func(*flow.Receipt) bool) ([]*flow.Receipt, error) {
	quoted := make([]string, len(units))
	for i, u := range units {
		quoted[i] = quoteText(u)
	}
	// The units bound what is read of the parts, whose key begins with them; the
	// ledger is read by one column, and in a quiet minute that is all.
	where := `unit IN (` + strings.Join(quoted, ",") + `) AND (unit, feed, batch_id) IN (
    SELECT unit, feed, batch_id FROM receipt_parts WHERE unit IN (` + strings.Join(quoted, ",") + `) AND (topic, incarnation, partition, first_offset, epoch) IN (
        SELECT topic, incarnation, partition, first_offset, epoch FROM ledger WHERE run = 'live' AND written_at >= {since:DateTime64(3)})
    UNION ALL SELECT unit, feed, batch FROM replayed WHERE replayed_at >= {since:DateTime64(3)}
    UNION ALL SELECT unit, was_feed, was_batch FROM replayed WHERE replayed_at >= {since:DateTime64(3)})`
	all, err := s.receipts(ctx, where, params{"since": since.UTC().Format("2006-01-02 15:04:05.000")}, limit, wanted)
	if err != nil {
		return nil, fmt.Errorf("cannot read the receipts that changed: %w", err)
	}
	return all, nil
}

// ofBatches restricts the ledger to the topics of some batches, and receipt parts
// to them. Some batches are known by a replay alone.
func ofBatches(where string) (ledger, parts string) {
	ledger = effective("run = 'live' AND topic IN (SELECT topic FROM receipt_parts WHERE " + where +
		" UNION ALL SELECT topic FROM (SELECT topic, unit, feed, batch AS batch_id FROM replayed) WHERE " + where + ")")
	return ledger, partsEffective(where, "("+ledger+")")
}

// receipts reads the receipts of some batches, with the refused records of those
// that are wanted.
func (s *Sink) receipts(ctx context.Context, where string, p params, limit int, wanted func(*flow.Receipt) bool) ([]*flow.Receipt, error) {
	_, parts := ofBatches(where)
	var out []*flow.Receipt
	refused := map[[3]string]*flow.Receipt{}
	err := s.rows(ctx, "SELECT unit, feed, batch_id, toString(status), rules, warnings, declared, chunks, missing_from, missing_to, sha256, sha256_differs, first_arrived_at, last_arrived_at, as_of, "+counts+
		" FROM ("+receiptsOf("("+parts+")")+") ORDER BY as_of LIMIT "+strconv.Itoa(limit)+" WITH TIES", p, func(scan func(...any) error) error {
		r := &flow.Receipt{Missing: [][2]int64{}, Rejects: []flow.RejectedRow{}}
		var status string
		var differs uint8
		var chunks []int32
		var from, to []int64
		into := append([]any{&r.Unit, &r.Feed, &r.Batch, &status, &r.Rules, &r.Warnings, &r.Declared, &chunks, &from, &to, &r.SHA256, &differs, &r.First, &r.Last, &r.AsOf, &r.Received}, by((*[flow.Outcomes]int64)(&r.By))...)
		if err := scan(into...); err != nil {
			return err
		}
		r.Status, r.SHA256Differs, r.Chunks = flow.Status(status), differs != 0, flow.Ranges(chunks)
		for i := range from {
			r.Missing = append(r.Missing, [2]int64{from[i], to[i]})
		}
		out = append(out, r)
		if r.Rejected() && wanted(r) {
			refused[[3]string{r.Unit, r.Feed, r.Batch}] = r
		}
		return nil
	})
	if err != nil || len(refused) == 0 {
		return out, err
	}
	return out, s.rejects(ctx, refused)
}

// rejects adds the refused records to receipts. A record that was refused in a
// cut that never reached the ledger, or twice in a chunk that came twice, is
// listed once or not at all, as it is counted.
func (s *Sink) rejects(ctx context.Context, of map[[3]string]*flow.Receipt) error {
	var keys []string
	for k, r := range of {
		// Those whose batch id may not be repeated are not found by it.
		r.RejectsOmitted = r.By[flow.Rejected]
		keys = append(keys, "("+quoteText(k[0])+","+quoteText(k[1])+","+quoteText(k[2])+")")
	}
	where := "(unit, feed, batch_id) IN (" + strings.Join(keys, ",") + ")"
	ledger, parts := ofBatches(where)
	replays := replayedEffective("(" + ledger + ")")
	size := map[*flow.Receipt]int{}
	err := s.rows(ctx, `SELECT *, toInt64(count() OVER (PARTITION BY unit, feed, batch_id)) AS refused FROM
(
SELECT q.unit AS unit, q.feed AS feed, q.batch_id AS batch_id, toInt32(if(c.rank = 0, -1, c.chunk)) AS chunk, q.row AS row, q.record_id, q.fields, q.rules
FROM
(
    SELECT * FROM
    (
        SELECT topic, incarnation, partition, offset, row, unit, feed, batch_id, record_id, fields, rules FROM quarantine FINAL
        WHERE `+where+` AND (topic, incarnation, partition, offset, row) NOT IN (SELECT topic, incarnation, partition, offset, row FROM (`+replays+`))
        UNION ALL
        SELECT topic, incarnation, partition, offset, row, unit, feed, batch_id, record_id, fields, rules FROM (`+replays+`)
        WHERE `+where+` AND outcome = 'rejected'
    ) AS q
    ASOF JOIN (SELECT topic, incarnation, partition, first_offset, last_offset FROM (`+ledger+`)) AS l
    ON q.topic = l.topic AND q.incarnation = l.incarnation AND q.partition = l.partition AND q.offset >= l.first_offset
    WHERE q.offset <= l.last_offset
) AS q
LEFT JOIN
(
    SELECT topic, incarnation, partition, chunk_offset, any(chunk) AS chunk, 1 AS rank FROM (`+parts+`)
    ARRAY JOIN chunks AS chunk, arrayResize(chunk_offsets, length(chunks), toInt64(-1)) AS chunk_offset
    GROUP BY topic, incarnation, partition, chunk_offset
) AS c ON q.topic = c.topic AND q.incarnation = c.incarnation AND q.partition = c.partition AND q.offset = c.chunk_offset
ORDER BY unit, feed, batch_id, chunk, row, q.partition, q.offset
LIMIT 1 BY unit, feed, batch_id, chunk, row, if(chunk < 0, (q.partition, q.offset), (0, 0))
)
ORDER BY unit, feed, batch_id, chunk, row
LIMIT `+strconv.Itoa(maxRejects)+` BY unit, feed, batch_id`, nil, func(scan func(...any) error) error {
		var key [3]string
		var one flow.RejectedRow
		var fields, rules []string
		var refused int64
		if err := scan(&key[0], &key[1], &key[2], &one.Chunk, &one.Row, &one.RecordID, &fields, &rules, &refused); err != nil {
			return err
		}
		r := of[key]
		if r == nil {
			return nil
		}
		for i := range rules {
			one.Findings = append(one.Findings, flow.RejectedRule{Field: fields[i], Rule: rules[i]})
			size[r] += len(fields[i]) + len(rules[i]) + 24
		}
		if size[r] += 64 + len(one.RecordID); size[r] <= maxRejectsBytes {
			r.Rejects = append(r.Rejects, one)
		}
		r.RejectsOmitted = refused - int64(len(r.Rejects))
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot read the refused records: %w", err)
	}
	return nil
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
