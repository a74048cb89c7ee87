package sheet

import (
	"context"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// Trace is a step that tells where in its file each row stands that another step
// lets pass. Give it to Check as Options.Step.
type Trace struct {
	Step flow.Step
	// Row is called in the order of the file; the record is valid during the call.
	// A row that only the end of the file shows to be wrong is told all the same.
	Row func(sheet string, line int, rec arrow.Record, row int)

	c *checker
}

// Apply implements flow.Step.
func (t *Trace) Apply(ctx context.Context, in flow.Cut) (flow.Cut, error) {
	out, err := t.Step.Apply(ctx, in)
	if err != nil {
		return out, err
	}
	for _, part := range out.Parts {
		at := part.Rows.Column(part.Rows.Schema().FieldIndices(feed.ColOffset)[0]).(*array.Int64)
		for row := range int(part.Rows.NumRows()) {
			if p := &t.c.batch[at.Value(row)-t.c.base]; !p.bad {
				t.Row(p.pos.sheet, p.pos.line, part.Rows, row)
			}
		}
	}
	return out, nil
}
