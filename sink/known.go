package sink

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// insideLedger restricts a history to rows whose position the ledger accounts
// for. Rows of an unfinished cut are not known: its replay must be classified
// as the first try was.
const insideLedger = `_topic = {topic:String}
AND _offset <= transform(bitOr(bitShiftLeft(toInt64(_incarnation), 32), toInt64(_partition)), {places:Array(Int64)}, {ends:Array(Int64)}, toInt64(-1))`

// routedHere restricts a history to the records whose messages the partitioner
// sends to one partition, as ingest.Key and ingest.PartitionOf do. Each of a
// topic's partitions would else be sent the keys of all.
const routedHere = `bitAnd(kafkaMurmurHash(concat({unit:String}, record_id)), 2147483647) % {partitions:Int32} = {partition:Int32}`

// inside makes the parameters of insideLedger. For this assignment's own
// partition the end is the one it resumed from, or wrote since: a row that a
// fenced worker still adds to the ledger is about to be written over by us. No
// parameters mean that the ledger of the topic is empty: nothing is inside, and
// no history has to be asked.
func (a *Assignment) inside() params {
	ends := maps.Clone(a.ends)
	ends[placeOf(a.Incarnation, a.Partition)] = a.end()
	if len(ends) == 1 && a.end() < 0 {
		return nil
	}
	places := make([]int64, 0, len(ends))
	for p := range ends {
		places = append(places, p)
	}
	sort.Slice(places, func(i, j int) bool { return places[i] < places[j] })
	at := make([]int64, len(places))
	for i, p := range places {
		at[i] = ends[p]
	}
	return params{"topic": text(a.Topic), "unit": text(a.Unit), "places": numbers(places), "ends": numbers(at)}
}

func placeOf(incarnation, partition int32) int64 { return int64(incarnation)<<32 | int64(partition) }

// texts writes an array of strings as the server reads it in a parameter.
func texts(v []string) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, s := range v {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quoteText(s))
	}
	b.WriteByte(']')
	return b.String()
}

func numbers(v []int64) string {
	s := make([]string, len(v))
	for i, n := range v {
		s[i] = strconv.FormatInt(n, 10)
	}
	return "[" + strings.Join(s, ",") + "]"
}

// Newest calls fn with the newest known version of every record of the
// assignment's unit in one feed, voids included, in no order that a caller may
// rely on. effectiveFrom is 0 unless spec.KeyHasDate. recordID belongs to the
// sink and is valid during the call only. Memory does not grow with the number
// of records. An error of fn ends the stream and is returned.
func (a *Assignment) Newest(ctx context.Context, spec *feed.Spec, fn func(recordID []byte, effectiveFrom int32, v flow.Version) error) error {
	if err := a.newest(ctx, spec, memory.DefaultAllocator, fn); err != nil {
		return fmt.Errorf("cannot read the newest versions of %s for %s/%d: %w", spec.Feed, a.Topic, a.Partition, err)
	}
	return nil
}

func (a *Assignment) newest(ctx context.Context, spec *feed.Spec, mem memory.Allocator, fn func([]byte, int32, flow.Version) error) error {
	p := a.inside()
	if p == nil {
		return nil
	}
	mine := ""
	if a.Partitions > 1 {
		mine = "\nAND " + routedHere
		p["partition"], p["partitions"] = strconv.Itoa(int(a.Partition)), strconv.Itoa(a.Partitions)
	}
	sql := "SELECT record_id, " + keyDate(spec) + ", max(" + feed.ColVersion + ")\nFROM " + quoteName(spec.HistoryTable()) +
		"\nWHERE reporting_unit = {unit:String} AND " + insideLedger + mine +
		"\nGROUP BY " + quoteNames(spec.Key())
	// The key is the head of the sort key, so groups can be closed one after
	// another and the server needs no table of all of them.
	settings := map[string]string{"optimize_aggregation_in_order": "1"}
	return a.s.stream(ctx, sql, p, settings, mem, func(rec arrow.Record) error {
		ids, ok := rec.Column(0).(*array.Binary)
		dates, ok2 := rec.Column(1).(*array.Int32)
		versions, ok3 := rec.Column(2).(*array.FixedSizeBinary)
		if !ok || !ok2 || !ok3 || versions.DataType().(*arrow.FixedSizeBinaryType).ByteWidth != 16 {
			return flow.Permanent(fmt.Errorf("this version of the server answers with the types %v; use one that duiwu was tested with", rec.Schema().Fields()))
		}
		for i := range int(rec.NumRows()) {
			if err := fn(ids.Value(i), dates.Value(i), flow.Version(versions.Value(i))); err != nil {
				return err
			}
		}
		return nil
	})
}

// stream runs a query whose answer may be of any length and calls each for every
// batch of it, which is valid during the call. Text comes as bytes.
func (s *Sink) stream(ctx context.Context, sql string, p params, more map[string]string, mem memory.Allocator, each func(arrow.Record) error) (err error) {
	ctx, w := watch(ctx, s.opt.Timeout)
	defer w.stop()
	defer func() { err = w.why(err) }()
	settings := map[string]string{
		"output_format_arrow_string_as_string":                 "0",
		"output_format_arrow_low_cardinality_as_dictionary":    "0",
		"output_format_arrow_compression_method":               "none",
		"max_execution_time":                                   "0",
		"http_write_exception_in_output_format":                "0",
		"output_format_arrow_fixed_string_as_fixed_byte_array": "1",
	}
	maps.Copy(settings, more)
	resp, err := s.send(ctx, sql+"\nFORMAT ArrowStream", p, settings, "", nil)
	if err != nil {
		return err
	}
	w.r = resp.Body
	body := &tail{r: w}
	defer resp.Body.Close()
	r, err := ipc.NewReader(body, ipc.WithAllocator(mem))
	if err != nil {
		return broken(err)
	}
	defer r.Release()
	for r.Next() {
		if err := each(r.Record()); err != nil {
			return err
		}
		w.timer.Reset(s.opt.Timeout) // the time that each took is not the server's silence
	}
	if err := r.Err(); err != nil {
		return broken(err)
	}
	// The reader takes a stream that breaks off between two messages for a whole
	// one; half the rows would then pass for all of them.
	if _, err := io.Copy(io.Discard, body); err != nil {
		return serverError(err)
	}
	if !body.ended() {
		return broken(io.ErrUnexpectedEOF)
	}
	return nil
}

// broken words a stream that cannot be read to its end: the server's error
// stands inside the stream and may quote data, so it is not repeated.
func broken(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return errors.New("the answer broke off before its end; see the server's log")
}

// tail remembers the last bytes that were read.
type tail struct {
	r    io.Reader
	last [8]byte
}

func (t *tail) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if n >= len(t.last) {
		copy(t.last[:], p[n-len(t.last):n])
	} else if n > 0 {
		copy(t.last[:], t.last[n:])
		copy(t.last[len(t.last)-n:], p[:n])
	}
	return n, err
}

// ended says whether the stream closed with Arrow's end-of-stream mark.
func (t *tail) ended() bool { return t.last == [8]byte{0xff, 0xff, 0xff, 0xff} }

// keyDate is the key's date as days, or 0 where the key has none.
func keyDate(spec *feed.Spec) string {
	if spec.KeyHasDate() {
		return "toInt32(effective_from)"
	}
	return "toInt32(0)"
}

// Stored says for each key and version whether the history holds it at a
// position inside the ledger. It is one query, whatever the number of keys, and one
// more where a key is Elsewhere; it borrows keys.
func (a *Assignment) Stored(ctx context.Context, spec *feed.Spec, keys []flow.Known) ([]bool, error) {
	out := make([]bool, len(keys))
	if len(keys) == 0 {
		return out, nil
	}
	if err := a.stored(ctx, spec, keys, out); err != nil {
		return nil, fmt.Errorf("cannot look up %d versions of %s for %s/%d: %w", len(keys), spec.Feed, a.Topic, a.Partition, err)
	}
	return out, nil
}

func (a *Assignment) stored(ctx context.Context, spec *feed.Spec, keys []flow.Known, out []bool) error {
	if slices.ContainsFunc(keys, func(k flow.Known) bool { return k.Elsewhere }) {
		if err := a.look(ctx); err != nil {
			return fmt.Errorf("cannot read the ledger: %w", err)
		}
	}
	p := a.inside()
	if p == nil {
		return nil
	}
	// The keys travel as an external table, never inside a statement. RowBinary
	// is their bytes as they are.
	var table bytes.Buffer
	at := make(map[string][]int, len(keys))
	for i := range keys {
		k := &keys[i]
		row := rowBinary(nil, k.RecordID, k.EffectiveFrom, k.Version)
		at[string(row)] = append(at[string(row)], i)
		table.Write(row)
	}
	date := ""
	if spec.KeyHasDate() {
		date = "effective_from, "
	}
	cast := strings.Replace(date, "effective_from", "CAST(effective_from, 'Date32')", 1)
	sql := "SELECT DISTINCT record_id, " + keyDate(spec) + ", " + feed.ColVersion + "\nFROM " + quoteName(spec.HistoryTable()) +
		"\nWHERE reporting_unit = {unit:String} AND (record_id, " + date + feed.ColVersion + ") IN (SELECT record_id, " + cast + "version FROM wanted)" +
		"\nAND " + insideLedger + "\nFORMAT RowBinary"
	ctx, cancel := context.WithTimeout(ctx, a.s.opt.Timeout)
	defer cancel()
	return a.s.ask(ctx, sql, p, "record_id String, effective_from Int32, version UInt128", table.Bytes(),
		func(row, _ []byte, _ int32, _ flow.Version) {
			for _, i := range at[string(row)] {
				out[i] = true
			}
		})
}

// ask runs a query about the keys in wanted, an external table in RowBinary of
// the structure given, and calls each for every row of the answer: its bytes as
// rowBinary writes them, and what they hold, valid during the call.
func (s *Sink) ask(ctx context.Context, sql string, p params, structure string, wanted []byte, each func(row, recordID []byte, effectiveFrom int32, v flow.Version)) error {
	body, contentType, err := multipartTable("wanted", wanted)
	if err != nil {
		return err
	}
	resp, err := s.send(ctx, sql, p, map[string]string{
		"wanted_format":    "RowBinary",
		"wanted_structure": structure,
		// The answer comes whole or as an error; it is no longer than the history of
		// the keys asked for.
		"wait_end_of_query": "1",
	}, contentType, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return serverError(err)
	}
	for len(answer) > 0 {
		n, w := binary.Uvarint(answer)
		size := w + int(n) + 4 + len(flow.Version{})
		if w <= 0 || n > uint64(len(answer)) || size > len(answer) {
			return broken(io.ErrUnexpectedEOF)
		}
		id, rest := answer[w:w+int(n)], answer[w+int(n):size]
		each(answer[:size], id, int32(binary.LittleEndian.Uint32(rest)), flow.Version(rest[4:]))
		answer = answer[size:]
	}
	return nil
}

func rowBinary(b, id []byte, date int32, v flow.Version) []byte {
	b = binary.AppendUvarint(b, uint64(len(id)))
	b = append(b, id...)
	b = binary.LittleEndian.AppendUint32(b, uint32(date))
	return append(b, v[:]...)
}
