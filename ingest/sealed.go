package ingest

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"

	"github.com/duiwu/duiwu/ingest/ipcmeta"
	"github.com/duiwu/duiwu/ingest/seal"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// Seals gives the decoder the keys that open sealed messages; nil has none.
func (d *Decoder) Seals(r *seal.Ring) { d.ring = r }

// sealed reads a message whose direct identifiers were closed on the province's
// machine: the open columns as Arrow, and the closed ones as a block. A block
// that does not open refuses the message's records one by one, so that the
// receipt accounts for each. A key that nobody has is the operator's matter and
// stops the partition, as a newer schema does: it must not fill the quarantine.
func (d *Decoder) sealed(b []byte) (rule feed.Rule, err error) {
	open, closed, ok := seal.Split(b)
	if !ok || !framed(open) {
		return feed.MessageUndecodable, nil
	}
	defer func() { // as in arrow
		if recover() != nil {
			rule, err = feed.MessageUndecodable, nil
		}
	}()
	chunk, e := strconv.ParseInt(string(d.head.chunk), 10, 32)
	if e != nil {
		chunk = -1
	}
	id := string(d.head.sealKey)
	at := seal.Place{Unit: d.unit, Feed: string(d.head.feed), Batch: string(d.head.batch), Chunk: int(chunk)}
	block, e := d.ring.Open(id, at, open, closed)
	if errors.Is(e, seal.ErrUnknownKey) && d.readSeals != nil {
		ring, err := d.readSeals()
		if err != nil {
			return feed.NoRule, fmt.Errorf("cannot look for the key of offset %d: %w", d.msg.Offset, err)
		}
		d.ring = ring
		block, e = ring.Open(id, at, open, closed)
	}
	fault := feed.NoRule
	switch {
	case errors.Is(e, seal.ErrUnknownKey):
		return feed.NoRule, permanentf(flow.CauseOther, "cannot open the sealed fields at offset %d: this worker does not have key %q; add the key to --seal-keys, or, when it was given up, the line `retired %s`, and the records are refused; nothing was skipped",
			d.msg.Offset, harmless(d.head.sealKey), harmless(d.head.sealKey))
	case errors.Is(e, seal.ErrRetiredKey):
		fault = feed.SealKeyRetired
	case errors.Is(e, seal.ErrBroken) || e == nil && !framed(block):
		fault = feed.SealBroken
	case e != nil:
		return feed.NoRule, fmt.Errorf("cannot open the sealed fields at offset %d: %w", d.msg.Offset, e)
	}
	budget := ipcmeta.Total(4*maxExpanded, &d.ipc)
	left, e := ipc.NewReaderFromMessageReader((*frames)(&open), ipc.WithAllocator(budget))
	if e != nil {
		return feed.MessageUndecodable, nil
	}
	defer left.Release()
	if !left.Next() {
		return feed.MessageUndecodable, nil
	}
	rec := left.Record()
	if fault == feed.NoRule {
		right, e := ipc.NewReaderFromMessageReader((*frames)(&block), ipc.WithAllocator(budget))
		if e == nil {
			defer right.Release()
		}
		if e != nil || !right.Next() || right.Record().NumRows() != rec.NumRows() {
			fault = feed.SealBroken
		} else {
			rec = beside(rec, right.Record())
			defer rec.Release()
		}
	}
	d.spoiled = fault
	defer func() { d.spoiled = feed.NoRule }()
	if d.expanded+int(rec.NumRows()) > maxExpanded {
		return feed.MessageTooLarge, nil
	}
	if rule, err := d.columns(rec); err != nil || rule != feed.NoRule {
		return rule, err
	}
	if rec.NumRows() == 0 || left.Next() {
		return feed.MessageUndecodable, nil // one record batch a message
	}
	return d.bounded(), nil
}

// beside joins the columns of two records of equal length.
func beside(a, b arrow.Record) arrow.Record {
	fields := append(append([]arrow.Field(nil), a.Schema().Fields()...), b.Schema().Fields()...)
	cols := append(append([]arrow.Array(nil), a.Columns()...), b.Columns()...)
	return array.NewRecord(arrow.NewSchema(fields, nil), cols, a.NumRows())
}
