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
	"golang.org/x/sync/errgroup"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// insideLedger restricts a history to rows whose position the ledger accounts
// for. Rows of an unfinished cut are not known: its replay must be classified
// as the first try was.
const insideLedger = `_topic = {topic:String}
AND _offset <= transform(` + placeExpr + `, {places:Array(Int64)}, {ends:Array(Int64)}, toInt64(-1))`

// placeExpr is placeOf a row.
const placeExpr = "bitOr(bitShiftLeft(toInt64(_incarnation), 32), toInt64(_partition))"

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

// learning is what one assignment wants to know of one feed.
type learning struct {
	a    *Assignment
	spec *feed.Spec
	fn   func(recordID []byte, effectiveFrom int32, v flow.Version) error
}

// Newest calls fn with the newest known version of every record of the
// assignment's unit in one feed, voids included, in no order that a caller may
// rely on. effectiveFrom is 0 unless spec.KeyHasDate. recordID belongs to the
// sink and is valid during the call only. Memory does not grow with the number
// of records. An error of fn ends the stream and is returned. Assignments that ask
// at one moment are answered from one reading: fn may then be called by another
// goroutine, while this one waits, and from the beginning again when that reading
// broke off.
func (a *Assignment) Newest(ctx context.Context, spec *feed.Spec, fn func(recordID []byte, effectiveFrom int32, v flow.Version) error) error {
	if err := a.s.learns.do(ctx, &learning{a, spec, fn}, 1); err != nil {
		return fmt.Errorf("cannot read the newest versions of %s for %s/%d: %w", spec.Feed, a.Topic, a.Partition, err)
	}
	return nil
}

// learn reads for all who ask at the moment. A worker that starts gets all its
// partitions at once, and each wants to know every feed: one by one they would make
// the server read the history of a unit once for each of its partitions.
func (s *Sink) learn(ctx context.Context, all []*learning) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(inserts)
	for _, some := range readings(all) {
		g.Go(func() error { return some.read(ctx, s, memory.DefaultAllocator) })
	}
	return g.Wait()
}

// reading is one query about one feed for assignments of some topics.
type reading struct {
	spec   *feed.Spec
	topics []asked
	// who asks for each partition of the topics, one topic after another; nil where
	// nobody does.
	who []*learning
}

// asked is a topic in a reading: of whoever asked first, and its partitions in who.
type asked struct {
	*Assignment
	first, n int
}

// readings puts together what can be asked together.
func readings(all []*learning) (out []*reading) {
	for _, l := range all {
		if l.a.inside() != nil && !slices.ContainsFunc(out, func(r *reading) bool { return r.takes(l) }) {
			if r := (&reading{spec: l.spec}); r.takes(l) {
				out = append(out, r)
			}
		}
	}
	return out
}

// takes says whether the query can answer l too, and adds it. It tells partitions
// apart by the hash of the key, so a unit has one topic in it, with one number of
// partitions, and a partition has one assignment.
func (r *reading) takes(l *learning) bool {
	n, at := 1, 0
	if l.a.Partitions > 1 {
		n, at = l.a.Partitions, int(l.a.Partition)
	}
	if l.spec != r.spec || at >= n {
		return false
	}
	i := slices.IndexFunc(r.topics, func(t asked) bool { return t.Unit == l.a.Unit })
	if i < 0 {
		i = len(r.topics)
		r.topics = append(r.topics, asked{l.a, len(r.who), n})
		r.who = append(r.who, make([]*learning, n)...)
	}
	t := r.topics[i]
	if t.Topic != l.a.Topic || t.Incarnation != l.a.Incarnation || t.n != n || r.who[t.first+at] != nil {
		return false
	}
	r.who[t.first+at] = l
	return true
}

func (r *reading) read(ctx context.Context, s *Sink, mem memory.Allocator) error {
	var topics, units []string
	var numbered, firsts, sizes, places, ends, wanted []int64
	for i, t := range r.topics {
		topics, units = append(topics, t.Topic), append(units, t.Unit)
		numbered, firsts, sizes = append(numbered, int64(i)), append(firsts, int64(t.first)), append(sizes, int64(t.n))
		known := maps.Clone(t.ends)
		for p, l := range r.who[t.first : t.first+t.n] {
			if l != nil {
				wanted = append(wanted, int64(t.first+p))
				known[placeOf(l.a.Incarnation, l.a.Partition)] = l.a.end()
			}
		}
		for place, end := range known {
			places, ends = append(places, int64(i)<<48|place), append(ends, end)
		}
	}
	p := params{"topics": texts(topics), "units": texts(units), "numbered": numbers(numbered), "firsts": numbers(firsts), "sizes": numbers(sizes),
		"places": numbers(places), "ends": numbers(ends), "wanted": numbers(wanted)}
	// As ingest.Key and ingest.PartitionOf do.
	const routed = `transform(toString(reporting_unit), {units:Array(String)}, {firsts:Array(Int64)}, toInt64(-1)) +
    bitAnd(kafkaMurmurHash(concat(toString(reporting_unit), record_id)), 2147483647) % transform(toString(reporting_unit), {units:Array(String)}, {sizes:Array(Int64)}, toInt64(1))`
	sql := "SELECT record_id, " + keyDate(r.spec) + ", max(" + feed.ColVersion + "), toInt64(" + routed + ")\nFROM " + quoteName(r.spec.HistoryTable()) +
		"\nWHERE reporting_unit IN {units:Array(String)} AND _offset <= transform(bitOr(bitShiftLeft(transform(_topic, {topics:Array(String)}, {numbered:Array(Int64)}, toInt64(-1)), 48), " +
		placeExpr + "), {places:Array(Int64)}, {ends:Array(Int64)}, toInt64(-1))"
	if len(wanted) < len(r.who) {
		sql += "\nAND has({wanted:Array(Int64)}, " + routed + ")"
	}
	sql += "\nGROUP BY " + quoteNames(r.spec.Key())
	// The key is the head of the sort key, so groups can be closed one after
	// another and the server needs no table of all of them.
	settings := map[string]string{"optimize_aggregation_in_order": "1"}
	return s.stream(ctx, sql, p, settings, mem, func(rec arrow.Record) error {
		ids, ok := rec.Column(0).(*array.Binary)
		dates, ok2 := rec.Column(1).(*array.Int32)
		versions, ok3 := rec.Column(2).(*array.FixedSizeBinary)
		at, ok4 := rec.Column(3).(*array.Int64)
		if !ok || !ok2 || !ok3 || !ok4 || versions.DataType().(*arrow.FixedSizeBinaryType).ByteWidth != 16 {
			return flow.Permanent(fmt.Errorf("this version of the server answers with the types %v; use one that duiwu was tested with", rec.Schema().Fields()))
		}
		for i := range int(rec.NumRows()) {
			if l := r.who[at.Value(i)]; l != nil {
				if err := l.fn(ids.Value(i), dates.Value(i), flow.Version(versions.Value(i))); err != nil {
					return err
				}
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
