package push

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/seal"
	"github.com/duiwu/duiwu/ingest/sheet"
	"github.com/duiwu/duiwu/internal/feed"
)

// The bounds of a chunk. Kafka takes messages of 1 MiB unless a topic says
// otherwise, and a sealed block is not made smaller by compression.
const (
	chunkRows  = 8192
	chunkBytes = 448 << 10
)

// preparing is one run of Prepare. Rows are routed as they are judged and wait
// in a file without a name, since only the end of the file shows which of them
// contradict each other; then the chunks are written.
type preparing struct {
	opt  *Options
	dir  string
	spec *feed.Spec
	mem  memory.Allocator

	parts   []*chunkRowsOf
	waiting *os.File
	drafts  []draft
	at      int64
	refused map[sheet.Place]bool

	batch  *Batch
	chunks *bufio.Writer
	rows   *bufio.Writer
	sum    hash.Hash
}

// chunkRowsOf collects the rows of one partition.
type chunkRowsOf struct {
	cols  []*array.StringBuilder
	table *array.Int64Builder
	line  *array.Int64Builder
	n     int
	bytes int
}

// draft is a chunk that waits for the end of the file.
type draft struct {
	partition int
	at, size  int64
}

func (p *preparing) run(ctx context.Context) (b *Batch, report *sheet.Report, err error) {
	opt := p.opt
	p.spec, p.mem, p.refused = opt.Sheet.Feed, opt.Sheet.Mem, map[sheet.Place]bool{}
	if p.mem == nil {
		p.mem = memory.DefaultAllocator
	}
	defer p.release()
	path, name, err := p.source()
	if err != nil {
		return nil, nil, err
	}
	file, err := sheet.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	source := Source{Name: name, Size: file.Size}
	if opt.File != "" {
		if source.Path, err = filepath.Abs(opt.File); err != nil {
			return nil, nil, err
		}
	} else {
		file.Date = opt.Sheet.Clock()
	}
	if source.SHA256, err = HashFile(path); err != nil {
		return nil, nil, err
	}
	if p.waiting, err = os.CreateTemp(p.dir, "waiting-*"); err != nil {
		return nil, nil, fmt.Errorf("cannot write the spool: %w", err)
	}
	_ = os.Remove(p.waiting.Name()) // where that is refused, release removes it
	// The batch's moment is that of every row in it.
	now := opt.Sheet.Clock().Truncate(time.Millisecond)
	judged := opt.Sheet
	judged.Clock = func() time.Time { return now }
	judged.Batch, judged.RecordKey, judged.Rows = opt.ID, opt.RecordKey, p
	if judged.Batch == "" {
		judged.Batch = newID(now)
	}
	report, err = sheet.Check(ctx, file, judged)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case report.Accepted == 0:
		return nil, report, ErrNothing
	case opt.AllOrNothing && report.Accepted < report.Rows:
		return nil, report, ErrRefused
	case report.Derived > 0 && len(opt.RecordKey) == 0:
		return nil, report, ErrNoRecordKey
	}
	if after, err := os.Stat(path); err != nil || after.Size() != file.Size || opt.File != "" && !after.ModTime().Equal(file.Date) {
		return nil, nil, fmt.Errorf("cannot prepare %s: it was changed while it was read; run this again", name)
	}
	p.batch = &Batch{
		ID: judged.Batch, Unit: judged.Unit, Feed: p.spec.Feed, Schema: p.spec.Version, PreparedAt: now, Effective: report.Effective,
		Partitions: opt.Partitions, Source: source, Read: int64(report.Rows), Refused: int64(report.Rows - report.Accepted),
	}
	p.batch.Mapping, p.batch.Traceparent = judged.Mapping.Sum(), opt.Traceparent
	if opt.Seal != nil {
		p.batch.SealKey = opt.Seal.ID()
	}
	if err := p.finish(ctx); err != nil {
		return nil, report, fmt.Errorf("cannot write the spool: %w", err)
	}
	return p.batch, report, nil
}

// source is the file to read: the one that was named, or what the reader gives,
// kept in the spool's folder until the batch is prepared.
func (p *preparing) source() (path, name string, err error) {
	if p.opt.File != "" {
		return p.opt.File, filepath.Base(p.opt.File), nil
	}
	f, err := os.CreateTemp(p.dir, "source-*")
	if err != nil {
		return "", "", fmt.Errorf("cannot keep the upload: %w", err)
	}
	_, err = io.Copy(f, p.opt.Reader)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", "", fmt.Errorf("cannot keep the upload: %w", err)
	}
	return f.Name(), p.opt.Name, nil
}

func (p *preparing) release() {
	for _, c := range p.parts {
		if c != nil {
			c.release()
		}
	}
	if p.waiting != nil {
		_ = p.waiting.Close()           // nothing in it is wanted any more
		_ = os.Remove(p.waiting.Name()) // it is gone already but on Windows
	}
}

func (c *chunkRowsOf) release() {
	for _, b := range c.cols {
		b.Release()
	}
	c.table.Release()
	c.line.Release()
}

// Take implements sheet.Rows.
func (p *preparing) Take(wire arrow.Record, rows []sheet.Judged) error {
	all := len(p.spec.All())
	if p.parts == nil {
		p.parts = make([]*chunkRowsOf, p.opt.Partitions)
	}
	cols := make([]*array.String, all)
	for i := range cols {
		cols[i] = wire.Column(i).(*array.String)
	}
	for i, r := range rows {
		if r.Bad {
			continue
		}
		n := ingest.PartitionOf(ingest.Key(p.opt.Sheet.Unit, cols[feed.FieldRecordID].Value(i)), p.opt.Partitions)
		c := p.parts[n]
		if c == nil {
			c = &chunkRowsOf{table: array.NewInt64Builder(p.mem), line: array.NewInt64Builder(p.mem)}
			for range all {
				c.cols = append(c.cols, array.NewStringBuilder(p.mem))
			}
			p.parts[n] = c
		}
		for f, col := range cols {
			if col.IsNull(i) {
				c.cols[f].AppendNull()
				continue
			}
			c.cols[f].Append(col.Value(i))
			c.bytes += 4 + len(col.Value(i))
		}
		c.table.Append(int64(r.Table))
		c.line.Append(int64(r.Line))
		if c.n++; c.n == chunkRows || c.bytes >= chunkBytes {
			if err := p.draft(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// Refuse implements sheet.Rows.
func (p *preparing) Refuse(at sheet.Place) { p.refused[at] = true }

// draft puts the rows of a partition aside.
func (p *preparing) draft(partition int) error {
	c := p.parts[partition]
	fields := make([]arrow.Field, 0, len(c.cols)+2)
	cols := make([]arrow.Array, 0, len(c.cols)+2)
	for i, b := range c.cols {
		fields = append(fields, arrow.Field{Name: p.spec.All()[i].Name, Type: arrow.BinaryTypes.String, Nullable: true})
		cols = append(cols, b.NewArray())
	}
	for _, b := range []*array.Int64Builder{c.table, c.line} {
		fields = append(fields, arrow.Field{Name: strconv.Itoa(len(fields)), Type: arrow.PrimitiveTypes.Int64})
		cols = append(cols, b.NewArray())
	}
	rec := array.NewRecord(arrow.NewSchema(fields, nil), cols, int64(c.n))
	defer rec.Release()
	for _, a := range cols {
		a.Release()
	}
	raw, err := p.stream(rec)
	if err != nil {
		return err
	}
	if _, err := p.waiting.Write(raw); err != nil {
		return fmt.Errorf("cannot write the spool: %w", err)
	}
	p.drafts = append(p.drafts, draft{partition, p.at, int64(len(raw))})
	p.at += int64(len(raw))
	c.n, c.bytes = 0, 0
	return nil
}

// stream writes a record as an Arrow IPC stream.
func (p *preparing) stream(rec arrow.Record) ([]byte, error) {
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(rec.Schema()), ipc.WithAllocator(p.mem))
	if err := errors.Join(w.Write(rec), w.Close()); err != nil {
		return nil, fmt.Errorf("cannot write Arrow: %w", err)
	}
	return b.Bytes(), nil
}

// finish writes the chunks, the map of rows, and last the batch itself.
func (p *preparing) finish(ctx context.Context) (err error) {
	for n, c := range p.parts {
		if c != nil && c.n > 0 {
			if err := p.draft(n); err != nil {
				return err
			}
		}
	}
	create := func(name string) *os.File {
		f, e := os.OpenFile(filepath.Join(p.dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		err = errors.Join(err, e)
		return f
	}
	chunks, rows := create(chunksFile), create(rowsFile)
	if err != nil {
		return err
	}
	p.chunks, p.rows, p.sum = bufio.NewWriterSize(chunks, 1<<20), bufio.NewWriter(rows), sha256.New()
	_, err = p.rows.WriteString("chunk,row,table,line\n")
	for _, d := range p.drafts {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = p.chunk(d)
		}
	}
	err = errors.Join(err, p.chunks.Flush(), p.rows.Flush(), chunks.Sync(), rows.Sync(), chunks.Close(), rows.Close())
	if err != nil {
		return err
	}
	if p.opt.Reader != nil {
		// The upload itself is not kept.
		left, err := filepath.Glob(filepath.Join(p.dir, "source-*"))
		if err != nil {
			return err
		}
		for _, f := range left {
			if err := os.Remove(f); err != nil {
				return err
			}
		}
	}
	p.batch.SHA256 = hex.EncodeToString(p.sum.Sum(nil))
	return replace(filepath.Join(p.dir, batchFile), p.batch)
}

// chunk writes one message: the columns that hold something, without the rows
// that were taken back and without what the headers say.
func (p *preparing) chunk(d draft) error {
	rd, err := ipc.NewReader(io.NewSectionReader(p.waiting, d.at, d.size), ipc.WithAllocator(p.mem))
	if err != nil {
		return fmt.Errorf("cannot read back the rows: %w", err)
	}
	defer rd.Release()
	if !rd.Next() {
		return fmt.Errorf("cannot read back the rows: %w", rd.Err())
	}
	rec := rd.Record()
	all := p.spec.All()
	table, line := rec.Column(len(all)).(*array.Int64), rec.Column(len(all)+1).(*array.Int64)
	number, n := len(p.batch.Chunks), 0
	keep := make([]bool, rec.NumRows())
	for i := range keep {
		if p.refused[sheet.Place{Table: int(table.Value(i)), Line: int(line.Value(i))}] {
			continue
		}
		keep[i] = true
		if _, err := fmt.Fprintf(p.rows, "%d,%d,%d,%d\n", number, n, table.Value(i), line.Value(i)); err != nil {
			return err
		}
		n++
	}
	if n == 0 {
		return nil
	}
	first := ""
	build := func(of func(f *feed.Field) bool) ([]byte, error) {
		var fields []arrow.Field
		var cols []arrow.Array
		defer func() {
			for _, c := range cols {
				c.Release()
			}
		}()
		for f := range all {
			switch f {
			case feed.FieldFeed, feed.FieldBatchID, feed.FieldSchemaVersion:
				continue // the message's headers say it
			}
			col := rec.Column(f).(*array.String)
			if col.NullN() == col.Len() || !of(&all[f]) {
				continue
			}
			b := array.NewStringBuilder(p.mem)
			for i, ok := range keep {
				switch {
				case !ok:
				case col.IsNull(i):
					b.AppendNull()
				default:
					b.Append(col.Value(i))
				}
			}
			a := b.NewStringArray()
			b.Release()
			if f == feed.FieldRecordID {
				first = string([]byte(a.Value(0)))
			}
			fields, cols = append(fields, arrow.Field{Name: all[f].Name, Type: arrow.BinaryTypes.String, Nullable: true}), append(cols, a)
		}
		out := array.NewRecord(arrow.NewSchema(fields, nil), cols, int64(n))
		defer out.Release()
		return p.stream(out)
	}
	var message []byte
	if p.opt.Seal == nil {
		message, err = build(func(*feed.Field) bool { return true })
	} else {
		var open, block []byte
		if open, err = build(func(f *feed.Field) bool { return !closed(f) }); err != nil {
			return err
		}
		if block, err = build(closed); err != nil {
			return err
		}
		message, err = p.opt.Seal.Seal(seal.Place{Unit: p.batch.Unit, Feed: p.batch.Feed, Batch: p.batch.ID, Chunk: number}, open, block)
	}
	if err != nil {
		return err
	}
	if _, err := p.chunks.Write(message); err != nil {
		return err
	}
	p.sum.Write(message)
	sum := sha256.Sum256(message)
	at := int64(0)
	if number > 0 {
		last := &p.batch.Chunks[number-1]
		at = last.Offset + int64(last.Size)
	}
	p.batch.Chunks = append(p.batch.Chunks, Chunk{
		Key: string(ingest.Key(p.batch.Unit, first)), Partition: d.partition, Rows: n, Offset: at, Size: len(message), SHA256: hex.EncodeToString(sum[:]),
	})
	p.batch.Rows += int64(n)
	return nil
}

// closed says which fields are sealed: the direct identifiers.
func closed(f *feed.Field) bool { return f.Privacy == feed.P3 || f.Kind.Kind.Info().Personal }
