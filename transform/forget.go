package transform

import (
	"context"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// Forget refuses records that were erased at a person's request, however often
// and in whatever version they come again. It stands before Dedupe.
type Forget struct {
	erased map[unitFeed]map[string]bool // record ids
	mem    memory.Allocator
}

type unitFeed struct{ unit, feed string }

// NewForget returns the step; it may be used by any number of goroutines.
func NewForget(erased []flow.RecordName, mem memory.Allocator) *Forget {
	if mem == nil {
		mem = memory.DefaultAllocator
	}
	f := &Forget{make(map[unitFeed]map[string]bool), mem}
	for _, name := range erased {
		of := unitFeed{name.Unit, name.Feed}
		if f.erased[of] == nil {
			f.erased[of] = make(map[string]bool)
		}
		f.erased[of][name.RecordID] = true
	}
	return f
}

func (f *Forget) String() string { return "forget" }

// Apply implements flow.Step.
func (f *Forget) Apply(_ context.Context, in flow.Cut) (flow.Cut, error) {
	out := in
	out.Rejects = slices.Clone(in.Rejects)
	for i := range out.Rejects {
		// Refused for another reason, it is forgotten all the same.
		if r := &out.Rejects[i]; f.erased[unitFeed{in.Unit, r.Feed}][r.RecordID] {
			r.Kept = ""
		}
	}
	out.Parts = make([]flow.Batch, 0, len(in.Parts))
	for _, b := range in.Parts {
		out.Parts = append(out.Parts, flow.Batch{Feed: b.Feed, Rows: f.rows(b, &out)})
	}
	return out, nil
}

// rows are those of a batch that stay.
func (f *Forget) rows(b flow.Batch, cut *flow.Cut) arrow.Record {
	erased := f.erased[unitFeed{cut.Unit, b.Feed.Feed}]
	if len(erased) == 0 {
		b.Rows.Retain()
		return b.Rows
	}
	r := openRows(b)
	for row := range r.n {
		if erased[r.record.Value(row)] {
			refuse(&r, row, cut)
		}
	}
	runs, kept := runsOf(r.n, func(row int) bool { return !erased[r.record.Value(row)] })
	return pick(b.Rows, runs, kept, f.mem)
}

// refuse counts one record. The void that a correction of it implies is a row
// but no record.
func refuse(r *rows, row int, cut *flow.Cut) {
	if r.part.Value(row) != 0 {
		return
	}
	batch := strings.Clone(r.batch.Value(row))
	cut.Tally.Of(r.spec.Feed, batch).Reject(feed.Erased)
	cut.Rejects = append(cut.Rejects, flow.Reject{
		Feed: r.spec.Feed, Batch: harmless(bytesOf(batch)), RecordID: harmless(bytesOf(r.record.Value(row))),
		Offset: r.offset.Value(row), Row: r.at.Value(row),
		Findings: []flow.Finding{{Field: "record_id", Rule: feed.Erased}},
	})
}
