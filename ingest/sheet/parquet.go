package sheet

import (
	"context"
	"errors"
	"io"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
)

// parquetRows reads a Parquet file's columns one after another, on the caller's
// goroutine: pqarrow's own record reader begins columns on goroutines of theirs,
// where a panic over metadata that lies cannot be turned into a refusal. Columns
// with structs inside are begun on such goroutines whatever one does; they have
// no text form, so they are not read at all.
type parquetRows struct {
	mem     memory.Allocator
	schema  *arrow.Schema
	columns []*pqarrow.ColumnReader // nil: holds structs
	rec     arrow.Record
}

const parquetBatch = 8192

func newParquetRows(pf *file.Reader, mem memory.Allocator) (*parquetRows, error) {
	fr, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: parquetBatch}, mem)
	if err != nil {
		return nil, err
	}
	leaves := map[int]bool{}
	for i := range pf.MetaData().Schema.NumColumns() {
		leaves[i] = true
	}
	groups := make([]int, pf.NumRowGroups())
	for i := range groups {
		groups[i] = i
	}
	p := &parquetRows{mem: mem}
	var fields []arrow.Field
	for i := range fr.Manifest.Fields {
		f := *fr.Manifest.Fields[i].Field
		var c *pqarrow.ColumnReader
		if structured(&fr.Manifest.Fields[i]) {
			f.Type = arrow.StructOf()
		} else {
			if c, err = fr.GetFieldReader(context.Background(), i, leaves, groups); err != nil {
				return nil, err
			}
			if c == nil {
				return nil, errors.New("a column has no reader")
			}
			f = *c.Field()
		}
		p.columns, fields = append(p.columns, c), append(fields, f)
	}
	p.schema = arrow.NewSchema(fields, nil)
	return p, nil
}

func structured(f *pqarrow.SchemaField) bool {
	if !f.IsLeaf() && len(f.Children) != 1 || f.Field.Type.ID() == arrow.STRUCT {
		return true
	}
	for i := range f.Children {
		if structured(&f.Children[i]) {
			return true
		}
	}
	return false
}

// next returns the next rows; they are valid until it is called again.
func (p *parquetRows) next() (arrow.Record, error) {
	p.release()
	cols := make([]arrow.Array, len(p.columns))
	defer func() {
		for _, c := range cols {
			if c != nil {
				c.Release()
			}
		}
	}()
	n := -1
	for i, c := range p.columns {
		if c == nil {
			continue
		}
		chunks, err := c.NextBatch(parquetBatch)
		if err != nil {
			return nil, err
		}
		cols[i], err = p.join(chunks)
		chunks.Release()
		if err != nil {
			return nil, err
		}
		if n >= 0 && cols[i].Len() != n {
			return nil, errors.New("columns are not of one length")
		}
		n = cols[i].Len()
	}
	if n <= 0 {
		return nil, io.EOF
	}
	for i := range cols {
		if cols[i] == nil {
			cols[i] = array.NewStructData(array.NewData(arrow.StructOf(), n, []*memory.Buffer{nil}, nil, 0, 0))
		}
	}
	p.rec = array.NewRecord(p.schema, cols, int64(n))
	return p.rec, nil
}

func (p *parquetRows) join(c *arrow.Chunked) (arrow.Array, error) {
	if len(c.Chunks()) == 1 {
		c.Chunk(0).Retain()
		return c.Chunk(0), nil
	}
	if len(c.Chunks()) == 0 {
		return array.MakeArrayOfNull(p.mem, c.DataType(), 0), nil
	}
	return array.Concatenate(c.Chunks(), p.mem)
}

func (p *parquetRows) release() {
	if p.rec != nil {
		p.rec.Release()
		p.rec = nil
	}
}

func (p *parquetRows) close() {
	p.release()
	for _, c := range p.columns {
		if c != nil {
			c.Release()
		}
	}
}
