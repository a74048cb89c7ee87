package ingest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/duiwu/duiwu/ingest/ipcmeta"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// arrow reads an Arrow IPC stream whose columns are named as fields.
func (d *Decoder) arrow(b []byte) (rule feed.Rule, err error) {
	if !framed(b) {
		return feed.MessageUndecodable, nil
	}
	// The IPC reader trusts the metadata of its input: offsets, buffer and
	// dictionary lengths that lie make it, or the arrays it returns, index out
	// of range. The message is then refused like any other that cannot be
	// read. Nothing else is recovered in this package.
	defer func() {
		if recover() != nil {
			rule, err = feed.MessageUndecodable, nil
		}
	}()
	in := (*frames)(&b)
	rd, e := ipc.NewReaderFromMessageReader(in, ipc.WithAllocator(ipcmeta.Total(4*maxExpanded, &d.ipc)))
	if e != nil {
		return feed.MessageUndecodable, nil
	}
	defer rd.Release()
	n, texts := 0, onlyTexts(rd.Schema())
	for {
		var rec arrow.Record
		if texts {
			rec = in.texts(rd.Schema())
		}
		if rec == nil {
			if !rd.Next() {
				break
			}
			rec = rd.Record()
		}
		n += int(rec.NumRows())
		if d.expanded+int(rec.NumRows()) > maxExpanded {
			return feed.MessageTooLarge, nil
		}
		rule, err := d.columns(rec)
		if err != nil || rule != feed.NoRule {
			return rule, err
		}
	}
	if e := rd.Err(); e != nil && !errors.Is(e, io.EOF) {
		return feed.MessageUndecodable, nil
	}
	if n == 0 {
		return feed.MessageEmpty, nil
	}
	return d.bounded(), nil
}

// framed says whether an IPC stream is made of whole frames: the reader allocates
// what a frame's length says before it looks whether that much is there.
func framed(b []byte) bool {
	for {
		meta, _, rest, ok := frame(b)
		if meta == nil {
			return ok
		}
		b = rest
	}
}

// frame cuts the first frame off an IPC stream; no metadata is the stream's end.
func frame(b []byte) (meta, body, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, nil, true
	}
	if len(b) < 4 {
		return nil, nil, nil, false
	}
	n := binary.LittleEndian.Uint32(b)
	b = b[4:]
	if n == 0xffffffff {
		if len(b) < 4 {
			return nil, nil, nil, false
		}
		n = binary.LittleEndian.Uint32(b)
		b = b[4:]
	}
	if n == 0 {
		return nil, nil, nil, true
	}
	if uint64(n) > uint64(len(b)) {
		return nil, nil, nil, false
	}
	meta, b = b[:n], b[n:]
	size, ok := ipcmeta.Body(meta)
	if !ok || size < 0 || size > int64(len(b)) {
		return nil, nil, nil, false
	}
	return meta, b[:size:size], b[size:], true
}

// frames is an ipc.MessageReader over a stream that is framed. Arrow's own copies
// each frame, the reader then copies its columns, and they are copied into rows.
type frames []byte

func (f *frames) Message() (*ipc.Message, error) {
	meta, body, rest, ok := frame(*f)
	if meta == nil || !ok {
		return nil, io.EOF
	}
	*f = rest
	return ipc.NewMessage(memory.NewBufferBytes(meta), memory.NewBufferBytes(body)), nil
}

func (*frames) Retain()  {}
func (*frames) Release() {}

// onlyTexts says that all columns are plain text, as push sends them.
func onlyTexts(schema *arrow.Schema) bool {
	for _, f := range schema.Fields() {
		if f.Type.ID() != arrow.STRING {
			return false
		}
	}
	return schema.IsNativeEndian()
}

// texts takes a record batch of text columns off the stream without a copy: its
// columns look into the message. Of anything else it returns nil, and leaves it to
// Arrow's reader, which copies each buffer.
func (f *frames) texts(schema *arrow.Schema) arrow.Record {
	meta, body, rest, ok := frame(*f)
	if meta == nil || !ok {
		return nil
	}
	fields := schema.Fields()
	batch, ok := ipcmeta.Plain(meta)
	const buffers = 3 // validity, offsets, text
	if !ok || batch.Rows <= 0 || batch.Rows > int64(len(body)) || len(batch.Nodes) != 16*len(fields) || len(batch.Buffers) != 16*buffers*len(fields) {
		return nil
	}
	at := func(b []byte, i int) int64 { return int64(binary.LittleEndian.Uint64(b[8*i:])) }
	cols := make([]arrow.Array, len(fields))
	for i := range cols {
		rows, nulls := at(batch.Nodes, 2*i), at(batch.Nodes, 2*i+1)
		if rows != batch.Rows || nulls < 0 || nulls > rows {
			return nil
		}
		var own [buffers]*memory.Buffer
		for k := range own {
			from, n := at(batch.Buffers, 2*(buffers*i+k)), at(batch.Buffers, 2*(buffers*i+k)+1)
			if from < 0 || n < 0 || from > int64(len(body)) || n > int64(len(body))-from {
				return nil
			}
			own[k] = memory.NewBufferBytes(body[from : from+n])
		}
		if nulls == 0 {
			own[0] = nil
		}
		cols[i] = array.NewStringData(array.NewData(arrow.BinaryTypes.String, int(rows), own[:], nil, int(nulls), 0))
	}
	*f = rest
	return array.NewRecord(schema, cols, batch.Rows)
}

// cells reads one column of a record batch as text.
type cells struct {
	arr   arrow.Array
	utf8  *array.String
	dict  *array.Dictionary
	words *array.String
	dirty bool
	plain bool // utf8 as it stands, without nulls
	buf   []byte
}

// open says whether the column's type has one text form.
func (c *cells) open(arr arrow.Array) bool {
	*c = cells{arr: arr, buf: c.buf[:0]}
	switch a := arr.(type) {
	case *array.String:
		c.utf8 = a
		c.dirty = damaged(a)
		c.plain = !c.dirty && a.NullN() == 0
	case *array.Dictionary:
		w, ok := a.Dictionary().(*array.String)
		if !ok {
			return false
		}
		c.dict, c.words = a, w
		c.dirty = damaged(w)
	case *array.LargeString, *array.Int64, *array.Int32, *array.Int16, *array.Int8,
		*array.Date32, *array.Boolean, *array.Decimal128, *array.Null:
	default:
		return false
	}
	return true
}

// damaged says that one of the texts is no UTF-8, be it because a character of the
// whole is cut in two.
func damaged(a *array.String) bool {
	if a.Len() == 0 {
		return false
	}
	data, ends := a.ValueBytes(), a.ValueOffsets()
	if !utf8.Valid(data) {
		return true
	}
	for _, end := range ends {
		if at := int(end - ends[0]); at >= 0 && at < len(data) && !utf8.RuneStart(data[at]) {
			return true
		}
	}
	return false
}

// at returns the text of row i, nil when absent; it is valid until the next
// call.
func (c *cells) at(i int) []byte {
	if c.arr.IsNull(i) {
		return nil
	}
	if c.utf8 != nil {
		return c.mended(c.utf8.Value(i))
	}
	if c.dict != nil {
		k := c.dict.GetValueIndex(i)
		if c.words.IsNull(k) {
			return nil
		}
		return c.mended(c.words.Value(k))
	}
	switch a := c.arr.(type) {
	case *array.LargeString:
		s := a.Value(i)
		if !utf8.ValidString(s) {
			return bytes.ToValidUTF8([]byte(s), []byte("\uFFFD"))
		}
		return append(c.buf[:0], s...)
	case *array.Int64:
		c.buf = strconv.AppendInt(c.buf[:0], a.Value(i), 10)
	case *array.Int32:
		c.buf = strconv.AppendInt(c.buf[:0], int64(a.Value(i)), 10)
	case *array.Int16:
		c.buf = strconv.AppendInt(c.buf[:0], int64(a.Value(i)), 10)
	case *array.Int8:
		c.buf = strconv.AppendInt(c.buf[:0], int64(a.Value(i)), 10)
	case *array.Date32:
		c.buf = time.Unix(int64(a.Value(i))*86400, 0).UTC().AppendFormat(c.buf[:0], time.DateOnly)
	case *array.Boolean:
		c.buf = strconv.AppendBool(c.buf[:0], a.Value(i))
	case *array.Decimal128:
		scale := a.DataType().(*arrow.Decimal128Type).Scale
		c.buf = append(c.buf[:0], a.Value(i).ToString(scale)...)
	}
	return c.buf
}

func (c *cells) mended(s string) []byte {
	v := bytesOf(s)
	if c.dirty && !utf8.Valid(v) {
		return bytes.ToValidUTF8(v, []byte("\uFFFD"))
	}
	return v
}

// columns adds a record batch. The frame of every row is checked first; then
// the rows that stay are copied column by column.
func (d *Decoder) columns(rec arrow.Record) (feed.Rule, error) {
	n, names := int(rec.NumRows()), rec.Schema().Fields()
	r := d.start()
	if len(d.head.feed) == 0 {
		// One stream, one feed: its first row says which.
		i := rec.Schema().FieldIndices(feed.Envelope[feed.FieldFeed].Name)
		var c cells
		if len(i) != 1 || n == 0 || !c.open(rec.Column(i[0])) {
			return feed.FeedUnknown, nil
		}
		if r = d.rowsOf(bytes.TrimSpace(c.at(0))); r == nil {
			return feed.FeedUnknown, nil
		}
	}
	if n == 0 {
		return feed.NoRule, nil
	}
	all := r.spec.All()
	if cap(d.cells) < len(all) {
		d.cells = make([]cells, len(all))
	}
	cs := d.cells[:len(all)]
	for i := range cs {
		cs[i].arr = nil
	}
	d.finds = d.finds[:0]
	for i := range names {
		f := r.spec.Index(names[i].Name)
		switch {
		case f < 0:
			d.misnamed(r, names[i].Name)
		case cs[f].arr != nil:
			d.find(all[f].Name, feed.DuplicateField)
		case !cs[f].open(rec.Column(i)):
			d.find(all[f].Name, feed.Type)
		}
	}
	if d.spoiled != feed.NoRule {
		d.find("", d.spoiled)
	}
	header := append([]flow.Finding(nil), d.finds...)
	if cap(d.keep) < n {
		d.keep = make([]bool, n)
	}
	keep, kept := d.keep[:n], 0
	first := d.row
	frame := [...]int{feed.FieldSchemaVersion, feed.FieldReportingUnit, feed.FieldFeed, feed.FieldBatchID}
	for i := range n {
		if i > 0 && keep[i-1] && again(cs, frame[:], i) {
			keep[i] = true
			kept++
			continue
		}
		d.finds = append(d.finds[:0], header...)
		r.begin()
		for _, f := range frame {
			if cs[f].arr != nil {
				r.set(f, cs[f].at(i))
			}
		}
		r.fill(feed.FieldSchemaVersion, d.head.schema)
		r.fill(feed.FieldBatchID, d.head.batch)
		if err := d.schema(r, r.value(feed.FieldSchemaVersion)); err != nil {
			return feed.NoRule, err
		}
		d.owner(r, r.value(feed.FieldReportingUnit))
		if name := r.value(feed.FieldFeed); len(name) > 0 && string(name) != r.spec.Feed && string(bytes.TrimSpace(name)) != r.spec.Feed {
			d.finds = d.finds[:0]
			d.find("feed", feed.FeedUnknown)
		}
		d.meet(r.spec.Feed, r.value(feed.FieldBatchID))
		if keep[i] = len(d.finds) == 0; keep[i] {
			kept++
			continue
		}
		for _, f := range [...]int{feed.FieldRecordID, feed.FieldOp, feed.FieldPeriod, feed.FieldReportedAt} {
			if cs[f].arr != nil {
				r.set(f, cs[f].at(i))
			}
		}
		d.refuse(r.spec.Feed, r, d.row+int32(i))
	}
	d.row += int32(n)
	if kept == 0 {
		return feed.NoRule, nil
	}
	r.reserve(kept)
	base := r.n
	for f := range cs {
		d.expanded += r.column(f, &cs[f], keep, kept, d.fallback(r, f))
		if d.expanded > maxExpanded {
			return feed.MessageTooLarge, nil
		}
	}
	k := base
	for i := range n {
		if keep[i] {
			r.offsets[k], r.position[k] = d.msg.Offset, first+int32(i)
			k++
		}
	}
	r.n += kept
	d.total += kept
	d.guess = r
	return feed.NoRule, nil
}

// inked says that no row of a plain column is white space, as far as one byte tells.
func (c *cells) inked() bool {
	for i := range c.utf8.Len() {
		if v := c.utf8.Value(i); len(v) == 0 || v[0] <= ' ' || v[0] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// again says that row i has the same texts in some columns as the row before it.
func again(cs []cells, fields []int, i int) bool {
	for _, f := range fields {
		if c := &cs[f]; c.arr != nil && (!c.plain || c.utf8.Value(i) != c.utf8.Value(i-1)) {
			return false
		}
	}
	return true
}

// fallback is the value of a field where the record has none.
func (d *Decoder) fallback(r *rows, f int) []byte {
	switch f {
	case feed.FieldFeed:
		return r.name
	case feed.FieldBatchID:
		return d.head.batch
	case feed.FieldSchemaVersion:
		return d.head.schema
	}
	return nil
}

// column copies the rows to keep of one column behind the rows there are, and
// returns how many bytes they hold.
func (r *rows) column(f int, src *cells, keep []bool, kept int, fallback []byte) int {
	if kept == len(keep) && src.plain && (fallback == nil || src.inked()) {
		return r.whole(f, src.utf8)
	}
	c, n, start := &r.cols[f], r.n, r.cols[f].used
	for i, ok := range keep {
		if !ok {
			continue
		}
		var v []byte
		if src.arr != nil {
			v = src.at(i)
		}
		if fallback != nil && len(bytes.TrimSpace(v)) == 0 {
			v = fallback
		}
		if len(v) > 0 {
			if c.used+len(v) > len(c.data) {
				if c.used-start+len(v) > maxExpanded {
					return maxExpanded + 1
				}
				r.grow(f, len(v))
			}
			c.used += copy(c.data[c.used:], v)
		}
		n++
		c.ends[n] = int32(c.used)
	}
	return c.used - start
}

// whole copies a column as it stands, which is how push and most writers send it.
func (r *rows) whole(f int, src *array.String) int {
	c, ends, data := &r.cols[f], src.ValueOffsets(), src.ValueBytes()
	if len(data) > maxExpanded {
		return maxExpanded + 1
	}
	if c.used+len(data) > len(c.data) {
		r.grow(f, len(data))
	}
	move := int32(c.used) - ends[0]
	c.used += copy(c.data[c.used:], data)
	to := c.ends[r.n+1:][:len(ends)-1]
	last, back := ends[0], int32(0)
	for i, end := range ends[1:] {
		to[i] = end + move
		back |= end - last
		last = end
	}
	if back < 0 {
		// Arrow looks at the last offset only.
		panic("arrow: offsets that fall")
	}
	return len(data)
}
