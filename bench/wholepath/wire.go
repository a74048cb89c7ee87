package main

import (
	"bytes"
	"encoding/csv"
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/duiwu/duiwu/ingest"
)

// encoder turns records of one partition into messages. It may hold records back
// until it has a whole message; flush gives what is left.
type encoder interface {
	add(values []string) ([]byte, error)
	flush() ([]byte, error)
	contentType() string
}

// encoders are the wire formats by name, as systems send them: JSON a record a
// message, the others thousands.
var encoders = map[string]func() encoder{
	"json":  func() encoder { return jsonWire{} },
	"csv":   func() encoder { return &csvWire{} },
	"arrow": func() encoder { return newArrowWire() },
}

const chunk = 4000 // records a message

type jsonWire struct{}

func (jsonWire) contentType() string { return ingest.TypeJSON }

func (jsonWire) add(values []string) ([]byte, error) {
	b := []byte{'{'}
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "%q:%q", fields[i], v)
	}
	return append(b, '}'), nil
}

func (jsonWire) flush() ([]byte, error) { return nil, nil }

type csvWire struct {
	b bytes.Buffer
	w *csv.Writer
	n int
}

func (*csvWire) contentType() string { return ingest.TypeCSV }

func (c *csvWire) add(values []string) ([]byte, error) {
	if c.n == 0 {
		c.w = csv.NewWriter(&c.b)
		if err := c.w.Write(fields); err != nil {
			return nil, err
		}
	}
	if err := c.w.Write(values); err != nil {
		return nil, err
	}
	if c.n++; c.n < chunk {
		return nil, nil
	}
	return c.flush()
}

func (c *csvWire) flush() ([]byte, error) {
	if c.n == 0 {
		return nil, nil
	}
	c.w.Flush()
	out := bytes.Clone(c.b.Bytes())
	c.b.Reset()
	c.n = 0
	return out, c.w.Error()
}

type arrowWire struct {
	schema *arrow.Schema
	cols   []*array.StringBuilder
}

func newArrowWire() *arrowWire {
	a := &arrowWire{}
	var all []arrow.Field
	for _, name := range fields {
		all = append(all, arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true})
		a.cols = append(a.cols, array.NewStringBuilder(memory.DefaultAllocator))
	}
	a.schema = arrow.NewSchema(all, nil)
	return a
}

func (*arrowWire) contentType() string { return ingest.TypeArrow }

func (a *arrowWire) add(values []string) ([]byte, error) {
	for i, v := range values {
		a.cols[i].Append(v)
	}
	if a.cols[0].Len() < chunk {
		return nil, nil
	}
	return a.flush()
}

func (a *arrowWire) flush() ([]byte, error) {
	n := a.cols[0].Len()
	if n == 0 {
		return nil, nil
	}
	var cols []arrow.Array
	for _, c := range a.cols {
		cols = append(cols, c.NewArray())
	}
	rec := array.NewRecord(a.schema, cols, int64(n))
	defer rec.Release()
	for _, c := range cols {
		c.Release()
	}
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(a.schema))
	if err := w.Write(rec); err != nil {
		return nil, err
	}
	err := w.Close()
	return b.Bytes(), err
}
