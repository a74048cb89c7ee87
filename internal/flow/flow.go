// Package flow says HOW data moves: the types that pass from the ingest room
// through the transform room to the sink room, and Run, the loop that moves
// them. Read this file first.
//
//	Source.Next -> Step.Apply ... -> Sink.Write -> Source.Commit
//
// Rows move right by call; success and failure come back by return. A call that
// has not returned is the backpressure. Two kinds of trouble are never mixed:
// bad data is a value (Reject) and never stops the flow; an error is about the
// machine.
package flow

import (
	"context"
	"time"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/duiwu/duiwu/internal/feed"
)

// Span is a run of offsets of one partition: First and Last are both inside.
// Incarnation counts how often the topic was made anew since the ledger began.
type Span struct {
	Topic       string
	Incarnation int32
	Partition   int32
	First, Last int64
}

// Batch is rows of one feed. Between the source and the Check step Rows has the
// wire schema (every field as text, see ingest.WireSchema); after Dedupe it has
// exactly the columns of Feed.Columns().
type Batch struct {
	Feed *feed.Spec
	Rows arrow.Record
}

// Cut is one span of offsets and everything that was in it: at most one Batch a
// feed, what was refused, and the count of each record's outcome. A cut is
// written whole and then its span is recorded in the ledger.
type Cut struct {
	Span    Span
	Unit    string // reporting unit that owns the topic
	Parts   []Batch
	Rejects []Reject
	Tally   Tally
	// Arrived is the worker's clock when the cut was closed.
	Arrived time.Time
	// Opened is when its first message was there, by the process's own clock.
	Opened time.Time
	// Traces are the traceparent headers of its messages, each once, as many as
	// the source was asked to keep.
	Traces []string
	// LastSum is a checksum of the last message; the ledger keeps it so that a
	// topic made anew is noticed.
	LastSum uint64
}

// Release gives the rows back. Only Run and tests call it.
func (c *Cut) Release() {
	for i := range c.Parts {
		if c.Parts[i].Rows != nil {
			c.Parts[i].Rows.Release()
			c.Parts[i].Rows = nil
		}
	}
}

// Reject is one record (or one message that is no record) that was refused. It
// never carries a personal value.
type Reject struct {
	Feed     string // empty when the message did not say or it is unknown
	Batch    string
	RecordID string // empty when it holds a personal number
	Offset   int64
	Row      int32 // position of the record inside its message, from 0
	// Findings are the broken rules of severity error, the first one being the
	// reason by which the record is counted.
	Findings []Finding
	// Kept is a JSON object of the fields that decoded and are not personal.
	Kept string
}

// Finding is one broken rule in one field ("" when it is about the record).
type Finding struct {
	Field string
	Rule  feed.Rule
}

// Outcome is the name that every record ends with.
type Outcome uint8

const (
	New Outcome = iota
	Unchanged
	Correction
	Superseded
	Conflict
	Reprocessed
	Duplicate
	Rejected
	// Outcomes counts them; keep it last.
	Outcomes
)

var outcomeNames = [Outcomes]string{"new", "unchanged", "correction", "superseded", "conflict", "reprocessed", "duplicate", "rejected"}

func (o Outcome) String() string { return outcomeNames[o] }

// Stored says whether a record with this outcome has a row in the history.
func (o Outcome) Stored() bool { return o < Duplicate }

// BatchKey names one batch of a unit's feed.
type BatchKey struct{ Feed, Batch string }

// Tally counts records by batch. The cut's owner changes it in place.
type Tally map[BatchKey]*Counts

// Counts says what became of a batch's records inside one cut.
type Counts struct {
	Received int64
	By       [Outcomes]int64
	// Rules counts rejected records by their first finding, Warnings every
	// warning of a stored record.
	Rules    map[feed.Rule]int64
	Warnings map[feed.Rule]int64
	// Declared is the batch-rows header (0 when absent), Chunks the messages
	// that had a chunk number, SHA256 the batch-sha256 header.
	Declared int64
	Chunks   []Chunk
	SHA256   string
	// Astray are the stored records that the partitioner sends to another partition.
	Astray int64
}

// Chunk is one message of a batch: its number, how many records it held, and
// where it lies. A chunk that was sent twice comes twice.
type Chunk struct {
	Number int32
	Rows   int64
	Offset int64
}

// Of returns the counts of a batch, made on first use.
func (t Tally) Of(feedName, batch string) *Counts {
	k := BatchKey{feedName, batch}
	c := t[k]
	if c == nil {
		c = &Counts{}
		t[k] = c
	}
	return c
}

// Reject counts one rejected record under its first finding.
func (c *Counts) Reject(r feed.Rule) {
	c.By[Rejected]++
	if c.Rules == nil {
		c.Rules = make(map[feed.Rule]int64)
	}
	c.Rules[r]++
}

// Warn counts a warning.
func (c *Counts) Warn(r feed.Rule) {
	if c.Warnings == nil {
		c.Warnings = make(map[feed.Rule]int64)
	}
	c.Warnings[r]++
}

// Balanced says whether every received record ended with a name.
func (c *Counts) Balanced() bool {
	var n int64
	for _, v := range c.By {
		n += v
	}
	return n == c.Received
}

// Source yields the cuts of one assigned partition in offset order. Next blocks
// until there is a cut; a cut's rows belong to the caller. Commit tells the
// broker that everything up to and with the span is durable; it serves lag
// tooling only, the ledger decides where a partition resumes.
type Source interface {
	Next(context.Context) (Cut, error)
	Commit(context.Context, Span) error
}

// Step changes a cut. Apply borrows its input's rows and owns its output's: it
// must not release the input, and what it returns must hold references of its
// own. An error ends the assignment, and with it all that the step remembers.
type Step interface {
	Apply(context.Context, Cut) (Cut, error)
}

// Sink writes a cut; nil means durable: rows, rejects, receipt parts, and last
// the ledger row. Write is called again with the same cut after an error that
// is not permanent, and writing twice must be writing once.
type Sink interface {
	Write(context.Context, Cut) error
}
