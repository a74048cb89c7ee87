package sink

import (
	"context"
	"fmt"
	"slices"
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
	all, err := s.receipts(ctx, batches{{unit, feedName, batch}}, 1, func(*flow.Receipt) bool { return true })
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
// for them. When nothing changed it reads
// one column of the ledger and of the replays, and no more.
func (s *Sink) ReceiptsSince(ctx context.Context, units []string, since time.Time, limit int, wanted func(*flow.Receipt) bool) ([]*flow.Receipt, error) {
	p := params{"since": since.UTC().Format("2006-01-02 15:04:05.000")}
	const cuts = "FROM ledger WHERE run = 'live' AND written_at >= {since:DateTime64(3)}"
	var some []string
	err := s.rows(ctx, "SELECT DISTINCT topic "+cuts, p, func(scan func(...any) error) error {
		var topic string
		err := scan(&topic)
		if u := unitOf(topic); slices.Contains(units, u) {
			some = append(some, quoteText(u))
		}
		return err
	})
	var changed batches
	if err == nil && len(some) > 0 {
		err = s.rows(ctx, `SELECT unit, feed, batch_id FROM receipt_parts WHERE unit IN (`+strings.Join(some, ",")+`)
AND (topic, incarnation, partition, first_offset, epoch) IN (SELECT topic, incarnation, partition, first_offset, epoch `+cuts+`)
GROUP BY unit, feed, batch_id`, p, func(scan func(...any) error) error {
			var k [3]string
			err := scan(&k[0], &k[1], &k[2])
			changed = append(changed, k)
			return err
		})
	}
	// A replay changes the batch that refused a record and the one that has it now.
	if err == nil {
		err = s.rows(ctx, `SELECT unit, feed, batch FROM replayed WHERE replayed_at >= {since:DateTime64(3)}
UNION DISTINCT SELECT unit, was_feed, was_batch FROM replayed WHERE replayed_at >= {since:DateTime64(3)}`, p, func(scan func(...any) error) error {
			var k [3]string
			err := scan(&k[0], &k[1], &k[2])
			if slices.Contains(units, k[0]) && !slices.Contains(changed, k) {
				changed = append(changed, k)
			}
			return err
		})
	}
	var all []*flow.Receipt
	if err == nil && len(changed) > 0 {
		all, err = s.receipts(ctx, changed, limit, wanted)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the receipts that changed: %w", err)
	}
	return all, nil
}

// batches are unit, feed and batch id.
type batches [][3]string

// where restricts a table to some batches by its key.
func (b batches) where() string {
	keys := make([]string, len(b))
	for i, k := range b {
		keys[i] = "(" + quoteText(k[0]) + "," + quoteText(k[1]) + "," + quoteText(k[2]) + ")"
	}
	return "(unit, feed, batch_id) IN (" + strings.Join(keys, ",") + ")"
}

// of restricts the ledger to the partitions of some batches, and receipt parts to
// the batches. Some batches are known by a replay alone.
func (b batches) of() (ledger, parts string) {
	ledger = effective("run = 'live' AND (topic, incarnation, partition) IN (SELECT topic, incarnation, partition FROM receipt_parts WHERE " + b.where() +
		" UNION DISTINCT SELECT topic, incarnation, partition FROM (SELECT topic, incarnation, partition, unit, feed, batch AS batch_id FROM replayed) WHERE " + b.where() + ")")
	return ledger, partsEffective(b.where(), "("+ledger+")")
}

// receipts reads the receipts of some batches, with the refused records of those
// that are wanted.
func (s *Sink) receipts(ctx context.Context, of batches, limit int, wanted func(*flow.Receipt) bool) ([]*flow.Receipt, error) {
	_, parts := of.of()
	var out []*flow.Receipt
	refused := map[[3]string]*flow.Receipt{}
	err := s.rows(ctx, "SELECT unit, feed, batch_id, toString(status), rules, warnings, declared, chunks, missing_from, missing_to, sha256, sha256_differs, first_arrived_at, last_arrived_at, as_of, "+counts+
		" FROM ("+receiptsOf("("+parts+")")+") ORDER BY as_of LIMIT "+strconv.Itoa(limit)+" WITH TIES", nil, func(scan func(...any) error) error {
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
	var some batches
	for k, r := range of {
		// Those whose batch id may not be repeated are not found by it.
		r.RejectsOmitted = r.By[flow.Rejected]
		some = append(some, k)
	}
	where := some.where()
	ledger, parts := some.of()
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

// CountedTwice says of each unit how many records the ledger counts once more than
// there are rows, and the balance once; see recount.
func (s *Sink) CountedTwice(ctx context.Context) (map[string]int64, error) {
	out := map[string]int64{}
	err := s.rows(ctx, "SELECT unit, sum(duplicate) FROM recount GROUP BY unit", nil, func(scan func(...any) error) error {
		var unit string
		var n int64
		err := scan(&unit, &n)
		out[unit] = n
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot count what two partitions counted: %w", err)
	}
	return out, nil
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
