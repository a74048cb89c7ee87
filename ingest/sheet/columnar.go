package sheet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/file"

	"github.com/duiwu/duiwu/ingest/ipcmeta"
)

// columnarSource reads record batches, of Arrow IPC or Parquet.
type columnarSource struct {
	read  func() (arrow.Record, error) // io.EOF at the end; valid until the next call
	free  func()
	keys  []string
	rec   arrow.Record
	at    int
	count int
	cells []cell
	what  string
}

func (s *columnarSource) named() bool     { return true }
func (s *columnarSource) names() []string { return s.keys }

func (s *columnarSource) close() error {
	return s.guard(func() error { s.free(); return nil })
}

// guard turns a panic of the Arrow and Parquet readers into a refusal: they
// trust lengths and offsets of their input, and index out of range where those
// lie. Nothing else is recovered in this package.
func (s *columnarSource) guard(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.damaged(fmt.Errorf("%v", p))
			if p == any(ipcmeta.ErrBudget) {
				err = unusable("一个数据块展开后超过内存上限，请以较小的块（例如 65536 行）重新写出。",
					"One batch of the file takes more memory than allowed; write it again in smaller batches, of 65,536 rows say.")
			}
		}
	}()
	return fn()
}

func (s *columnarSource) damaged(err error) error {
	if strings.Contains(err.Error(), "compression for ") { // the reader's own words; it has no error to ask for
		return unusable("Parquet 文件用了不认识的压缩方式（例如 LZ4），请用 zstd、snappy、gzip 或 brotli 重新写出。",
			"The Parquet file is compressed in a way that is not known (such as LZ4); write it again with zstd, snappy, gzip or brotli.")
	}
	return &Unusable{Zh: s.what + " 文件已损坏或不完整。", En: "The " + s.what + " file is damaged or cut short.", Err: err}
}

func (s *columnarSource) next(r *row) error {
	for s.rec == nil || s.at >= int(s.rec.NumRows()) {
		var rec arrow.Record
		err := s.guard(func() (err error) { rec, err = s.read(); return err })
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		var u *Unusable
		if err != nil && !errors.As(err, &u) {
			return s.damaged(err)
		}
		if err != nil {
			return err
		}
		s.rec, s.at = rec, 0
	}
	s.count++
	err := s.guard(func() error {
		s.cells = s.cells[:0]
		for i := range s.keys {
			c := arrowCell(s.rec.Column(i), s.at)
			if len(c.text) > MaxCell {
				return cellTooLong("", s.count, i)
			}
			s.cells = append(s.cells, c)
		}
		return nil
	})
	s.at++
	r.table, r.sheet, r.line, r.hidden, r.cells = 0, "", s.count, false, s.cells
	return err
}

// arrowCell writes one value as text; types without one text form are nested.
func arrowCell(a arrow.Array, i int) cell {
	if a.IsNull(i) {
		return cell{}
	}
	said := func(t string) cell {
		t = validText(strings.Clone(t))
		return cell{text: t, form: plainFormula([]byte(t[:min(len(t), 256)]), false)}
	}
	switch a := a.(type) {
	case *array.String:
		return said(a.Value(i))
	case *array.LargeString:
		return said(a.Value(i))
	case *array.Dictionary:
		return arrowCell(a.Dictionary(), a.GetValueIndex(i))
	case *array.Int64, *array.Int32, *array.Int16, *array.Int8, *array.Uint64, *array.Uint32, *array.Uint16, *array.Uint8:
		return cell{text: a.ValueStr(i)}
	case *array.Float64:
		return cell{text: strconv.FormatFloat(a.Value(i), 'f', -1, 64), kind: numberCell}
	case *array.Float32:
		return cell{text: strconv.FormatFloat(float64(a.Value(i)), 'f', -1, 32), kind: numberCell}
	case *array.Date32:
		return cell{text: a.Value(i).ToTime().Format(time.DateOnly)}
	case *array.Date64:
		return cell{text: a.Value(i).ToTime().Format(time.DateOnly)}
	case *array.Timestamp:
		t := a.DataType().(*arrow.TimestampType)
		at := a.Value(i).ToTime(t.Unit)
		if t.TimeZone == "" {
			if at.Equal(at.Truncate(24 * time.Hour)) {
				return cell{text: at.Format(time.DateOnly)}
			}
			return cell{text: at.Format("2006-01-02T15:04:05")}
		}
		return cell{text: at.UTC().Format("2006-01-02T15:04:05Z")}
	case *array.Boolean:
		return cell{text: strconv.FormatBool(a.Value(i)), kind: boolCell}
	case *array.Decimal128:
		return cell{text: a.Value(i).ToString(a.DataType().(*arrow.Decimal128Type).Scale)}
	case *array.Null:
		return cell{}
	case *array.List:
		from, to := a.ValueOffsets(i)
		parts := make([]string, 0, to-from)
		for k := from; k < to; k++ {
			c := arrowCell(a.ListValues(), int(k))
			if c.kind == nestedCell {
				return c
			}
			parts = append(parts, c.text)
		}
		return cell{text: strings.Join(parts, ",")}
	}
	return cell{text: a.DataType().Name(), kind: nestedCell}
}

func namesOf(schema *arrow.Schema) ([]string, error) {
	if schema.NumFields() > MaxColumns {
		return nil, unusable("列数过多。", "The table has too many columns.")
	}
	out := make([]string, schema.NumFields())
	for i, f := range schema.Fields() {
		out[i] = f.Name
	}
	return out, nil
}

func openArrow(in input, size int64) (source, error) {
	s := &columnarSource{what: "Arrow"}
	skip := int64(0)
	var magic [8]byte
	if _, err := in.ReadAt(magic[:], 0); err == nil && string(magic[:6]) == "ARROW1" {
		// A file is a stream between a magic word and an index.
		skip = 8
	}
	end, err := framed(in, skip, size)
	var u *Unusable
	if errors.As(err, &u) {
		return nil, err
	}
	if err != nil {
		return nil, s.damaged(err)
	}
	var rd *ipc.Reader
	s.free = func() {
		if rd != nil {
			rd.Release()
		}
	}
	err = s.guard(func() (err error) {
		rd, err = ipc.NewReader(io.NewSectionReader(in, skip, end-skip), ipc.WithAllocator(ipcmeta.Live(maxColumnar)))
		if err != nil {
			return s.damaged(err)
		}
		s.keys, err = namesOf(rd.Schema())
		return err
	})
	if err != nil {
		return nil, err
	}
	s.read = func() (arrow.Record, error) {
		if rd.Next() {
			return rd.Record(), nil
		}
		if err := rd.Err(); err != nil {
			return nil, err
		}
		return nil, io.EOF
	}
	return s, nil
}

// framed walks the frames of an IPC stream and returns where they end: the
// reader allocates what a frame's length says before it looks whether that much
// is there.
func framed(in input, at, size int64) (int64, error) {
	errFrame := errors.New("a frame reaches past the end of the file")
	for {
		var b [8]byte
		n, err := in.ReadAt(b[:min(8, size-at)], at)
		if n < 4 || err != nil && !errors.Is(err, io.EOF) {
			if at >= size {
				return at, nil
			}
			return 0, errFrame
		}
		if binary.LittleEndian.Uint32(b[:]) != 0xFFFFFFFF {
			return at, nil // the index of a file
		}
		meta := int64(binary.LittleEndian.Uint32(b[4:]))
		if n < 8 || meta == 0 {
			return at, nil
		}
		at += 8
		if meta > 16<<20 || meta > size-at {
			return 0, errFrame
		}
		m := make([]byte, meta)
		if _, err := in.ReadAt(m, at); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		at += meta
		if ipcmeta.Views(m) {
			return 0, unusable("Arrow 文件用了视图类型的列（string_view），请以普通文本列（utf8）重新写出。", "The Arrow file has columns of views (string_view); write it again with plain text columns (utf8).")
		}
		body, ok := ipcmeta.Body(m)
		if !ok || body < 0 || body > size-at {
			return 0, errFrame
		}
		if body > maxColumnar {
			return 0, ipcmeta.ErrBudget
		}
		at += body
	}
}

func openParquet(in input, size int64) (source, error) {
	s := &columnarSource{what: "Parquet", free: func() {}}
	var tail [8]byte
	if size < 12 {
		return nil, s.damaged(io.ErrUnexpectedEOF)
	}
	if _, err := in.ReadAt(tail[:], size-8); err != nil {
		return nil, s.damaged(err)
	}
	if string(tail[4:]) == "PARE" {
		return nil, unusable("文件已加密，请先解密再检查。", "The file is encrypted; decrypt it first.")
	}
	if n := int64(binary.LittleEndian.Uint32(tail[:])); string(tail[4:]) != "PAR1" || n > size-12 || n > 64<<20 {
		return nil, s.damaged(errors.New("no footer"))
	}
	err := s.guard(func() error {
		mem := ipcmeta.Live(maxColumnar)
		props := parquet.NewReaderProperties(mem)
		props.BufferedStreamEnabled = true
		pf, err := file.NewParquetReader(io.NewSectionReader(in, 0, size), file.WithReadProps(props))
		if err != nil {
			return s.damaged(err)
		}
		if n := pf.NumRows(); n < 0 || n > 1<<32 {
			return s.damaged(errors.New("row count"))
		}
		p, err := newParquetRows(pf, mem)
		if err != nil {
			return s.damaged(err)
		}
		s.free, s.read = p.close, p.next
		s.keys, err = namesOf(p.schema)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}
