// Package ingest turns Kafka messages into cuts: it joins the consumer group,
// reads each assigned partition, decodes the wire formats into Arrow text
// columns, and says where a cut ends. It judges the frame of a record (feed,
// unit, schema version, field names), never a value: that is the transform
// room's work.
package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/duiwu/duiwu/ingest/seal"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/value"
)

// Header is one header of a Kafka message.
type Header struct{ Key, Value []byte }

// Message is one Kafka message. Its bytes belong to whoever made it and are
// valid until the next one is asked for.
type Message struct {
	Offset     int64
	Key, Value []byte
	Headers    []Header
}

// The headers that a message may carry.
const (
	HeaderFeed          = "feed"
	HeaderContentType   = "content-type"
	HeaderSchemaVersion = "schema-version"
	HeaderBatchID       = "batch-id"
	HeaderBatchRows     = "batch-rows"
	HeaderChunk         = "chunk"
	HeaderBatchSHA256   = "batch-sha256"
	// HeaderTraceparent is the W3C trace context of the batch.
	HeaderTraceparent = "traceparent"
	// HeaderSealKey names the key that closed a message's direct identifiers.
	HeaderSealKey = "seal-key"
)

// The content types that Decoder reads.
const (
	TypeJSON   = "application/json"
	TypeNDJSON = "application/x-ndjson"
	TypeCSV    = "text/csv"
	TypeArrow  = "application/vnd.apache.arrow.stream"
)

const (
	// DefaultMaxMessageBytes is the largest message that is decoded.
	DefaultMaxMessageBytes = 4 << 20
	// maxExpanded bounds what one message may become once decoded: GB18030
	// grows by half, Arrow dictionaries and compressed bodies by any factor.
	maxExpanded = 64 << 20
	// maxName is the longest field name that is repeated in a finding.
	maxName = 64
)

// Decoder turns the messages of one reporting unit into rows, one builder a
// feed. It is not safe for concurrent use; a partition owns one.
type Decoder struct {
	cat  *feed.Catalogue
	mem  memory.Allocator
	ipc  flow.Recycler // what Arrow messages unpack to, until their rows are copied
	unit string
	max  int
	ring *seal.Ring
	// readSeals gives the ring as it is now; nil when it does not change.
	readSeals func() (*seal.Ring, error)

	feeds map[string]*rows
	all   []*rows // those of feeds; a map costs too much to walk for each message
	guess *rows   // feed of the record before, tried first
	total int     // accepted rows since the last Flush
	// ahead is how many times larger than now the rows will be at the next Flush, 0
	// when nobody knows.
	ahead float64

	rejects []reject
	notes   []note

	// Of the message at hand.
	msg        *Message
	head       headers
	row        int32
	dirty      bool // the message holds bytes that are not UTF-8
	firstFeed  string
	firstBatch string
	haveFirst  bool
	expanded   int
	weight     int       // see Add
	spoiled    feed.Rule // what every record of the message is refused for

	// Of the record at hand.
	finds []flow.Finding
	text  []byte // unescaped and mended text
	join  []byte // joined arrays
	cells []cells
	keep  []bool
}

// headers are the headers that matter, as slices of the message.
type headers struct {
	feed, contentType, schema, batch, rows, chunk, sha, sealKey []byte
}

// note keeps what headers say about a batch until the tally is made.
type note struct {
	key      flow.BatchKey
	declared int64
	chunk    flow.Chunk // number -1 when absent
	sha      string
}

// NewDecoder returns a decoder for the topic of one reporting unit. Rows are
// allocated from mem. maxBytes bounds one message; 0 means
// DefaultMaxMessageBytes.
func NewDecoder(cat *feed.Catalogue, mem memory.Allocator, unit string, maxBytes int) *Decoder {
	if maxBytes <= 0 {
		maxBytes = DefaultMaxMessageBytes
	}
	return &Decoder{cat: cat, mem: mem, unit: unit, max: maxBytes, feeds: make(map[string]*rows)}
}

// Rows is the number of accepted rows and rejects since the last Flush.
func (d *Decoder) Rows() int { return d.total + len(d.rejects) }

// Add decodes one message. Bad data is kept as rejects; the only error is a
// permanent one, that a record was written for a schema newer than this worker
// knows, and then nothing of the message was added.
//
// Behind it d.weight is the memory that the message takes on its way through the
// worker: what it became, and as much again that the steps make of it. JSON repeats
// the names and is about as long itself; Arrow and CSV are half as long, or less.
func (d *Decoder) Add(m *Message) error {
	start := d.mark()
	d.msg, d.head, d.row, d.haveFirst, d.expanded = m, headersOf(m.Headers), 0, false, 0
	d.firstFeed, d.firstBatch = "", ""
	rule, err := d.decode(m.Value)
	if err != nil {
		d.rewind(start)
		return err
	}
	if rule != feed.NoRule {
		// The message counts as one record; what was read of it before the
		// fault was found must not live beside that.
		d.rewind(start)
		d.row = 0
		d.refuseMessage(rule)
	}
	d.weight = len(m.Value)
	if n := d.total - start.total; n > 0 {
		held := d.expanded + n*d.guess.bytesPerRow()
		d.weight = max(d.weight, 2*held)
	}
	d.note()
	d.msg = nil
	return nil
}

func headersOf(hs []Header) (h headers) {
	for i := range hs {
		v := hs[i].Value
		switch string(hs[i].Key) {
		case HeaderFeed:
			h.feed = bytes.TrimSpace(v)
		case HeaderContentType:
			h.contentType = bytes.TrimSpace(v)
		case HeaderSchemaVersion:
			h.schema = bytes.TrimSpace(v)
		case HeaderBatchID:
			h.batch = v
		case HeaderBatchRows:
			h.rows = v
		case HeaderChunk:
			h.chunk = v
		case HeaderBatchSHA256:
			h.sha = v
		case HeaderSealKey:
			h.sealKey = v
		}
	}
	return h
}

func (d *Decoder) decode(b []byte) (feed.Rule, error) {
	if len(b) > d.max {
		return feed.MessageTooLarge, nil
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return feed.MessageEmpty, nil
	}
	if len(d.head.feed) > 0 && d.rowsOf(d.head.feed) == nil {
		return feed.FeedUnknown, nil
	}
	if len(d.head.batch) > 0 && !utf8.Valid(d.head.batch) {
		d.head.batch = bytes.ToValidUTF8(d.head.batch, []byte("\uFFFD"))
	}
	if len(d.head.sealKey) > 0 {
		return d.sealed(b)
	}
	if len(d.head.contentType) == 0 {
		switch c := first(b); {
		case c == '{' || c == '[':
			return d.json(b)
		case len(b) >= 4 && b[0] == 0xff && b[1] == 0xff && b[2] == 0xff && b[3] == 0xff:
			return d.arrow(b)
		}
		rule, err := d.csv(b, "")
		if rule == feed.FeedUnknown {
			// Nothing said that this is CSV, and nothing in it looks like it.
			rule = feed.MessageUndecodable
		}
		return rule, err
	}
	if string(d.head.contentType) == TypeJSON {
		return d.json(b)
	}
	kind, params, _ := strings.Cut(string(d.head.contentType), ";")
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case TypeJSON, TypeNDJSON:
		return d.json(b)
	case TypeCSV:
		return d.csv(b, charset(params))
	case TypeArrow:
		return d.arrow(b)
	}
	return feed.ContentTypeUnknown, nil
}

// first returns the first byte behind white space and a byte order mark.
func first(b []byte) byte {
	b = bytes.TrimPrefix(b, bom)
	for _, c := range b {
		if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return c
		}
	}
	return 0
}

var bom = []byte("\xef\xbb\xbf")

func charset(params string) string {
	for p := range strings.SplitSeq(params, ";") {
		k, v, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(k), "charset") {
			return strings.ToLower(strings.Trim(strings.TrimSpace(v), `"`))
		}
	}
	return ""
}

// rowsOf returns the builder of a feed, or nil when there is no such feed.
func (d *Decoder) rowsOf(name []byte) *rows {
	if r := d.feeds[string(name)]; r != nil {
		return r
	}
	spec := d.cat.Feed(string(name))
	if spec == nil {
		return nil
	}
	r := newRows(spec, d.mem, &d.ahead)
	d.feeds[spec.Feed] = r
	d.all = append(d.all, r)
	return r
}

// start returns the builder to try first for the records of a message.
func (d *Decoder) start() *rows {
	if len(d.head.feed) > 0 {
		return d.rowsOf(d.head.feed)
	}
	if d.guess == nil && len(d.cat.Feeds) > 0 {
		// Every feed has the envelope, so any of them finds the feed's name.
		d.guess = d.rowsOf([]byte(d.cat.Feeds[0].Feed))
	}
	return d.guess
}

// find adds a finding about the record at hand. A name that is long, damaged or
// holds a long number is not repeated: a key may be a value gone astray.
func (d *Decoder) find(field string, rule feed.Rule) {
	if len(field) > maxName || !value.Harmless([]byte(field)) {
		field = ""
	}
	f := flow.Finding{Field: strings.Clone(field), Rule: rule}
	if !slices.Contains(d.finds, f) {
		d.finds = append(d.finds, f)
	}
}

// misnamed adds the finding for a name that is no field of the feed.
func (d *Decoder) misnamed(r *rows, name string) {
	d.find(strings.TrimSpace(name), d.nameRule(r, name))
}

func (d *Decoder) nameRule(r *rows, name string) feed.Rule {
	name = strings.TrimSpace(name)
	if d.cat.IsForbidden(name) {
		return feed.ForbiddenField
	}
	for _, f := range r.spec.Forbidden {
		if strings.EqualFold(f, name) {
			return feed.ForbiddenField
		}
	}
	return feed.UnknownField
}

// finish ends the record at hand: it fills what headers say, checks the frame,
// and appends the row or keeps a reject.
func (d *Decoder) finish(r *rows) error {
	row := d.row
	d.row++
	r.fill(feed.FieldSchemaVersion, d.head.schema)
	r.fill(feed.FieldBatchID, d.head.batch)
	r.fill(feed.FieldFeed, r.name)
	// Before all other rules: the fields of a newer schema look unknown here.
	if err := d.schema(r, r.value(feed.FieldSchemaVersion)); err != nil {
		return err
	}
	d.owner(r, r.value(feed.FieldReportingUnit))
	d.meet(r.spec.Feed, r.value(feed.FieldBatchID))
	if len(d.finds) > 0 {
		d.refuse(r.spec.Feed, r, row)
		return nil
	}
	d.guess = r
	d.expanded += r.append(d.msg.Offset, row)
	d.total++
	return nil
}

// meet remembers the first record's batch, which the message's headers are about.
func (d *Decoder) meet(name string, batch []byte) {
	if h := &d.head; !d.haveFirst && len(h.rows)+len(h.chunk)+len(h.sha) > 0 {
		d.haveFirst, d.firstFeed, d.firstBatch = true, name, string(batch)
	}
}

// schema checks a record's schema version. Older ones are fine, since columns
// are only ever added; a newer one stops the partition, because a full
// quarantine would say that the province made a mistake.
func (d *Decoder) schema(r *rows, v []byte) error {
	if len(v) == 1 && v[0] > '0' && int(v[0]-'0') <= min(r.spec.Version, 9) || len(v) == 0 {
		return nil
	}
	text := foldDigits(v)
	n, err := strconv.ParseUint(text, 10, 31)
	switch {
	case err != nil || n == 0:
		d.find("schema_version", feed.SchemaVersion)
	case int(n) > r.spec.Version:
		return flow.PermanentFor(flow.CauseSchema, fmt.Errorf("cannot decode feed %s at offset %d: it was written for schema version %d and this worker knows %d; upgrade duiwu to a release that knows version %d, nothing was skipped",
			r.spec.Feed, d.msg.Offset, n, r.spec.Version, n))
	}
	return nil
}

// owner checks that a record comes from the unit that owns the topic.
func (d *Decoder) owner(r *rows, v []byte) {
	if len(v) > 0 && string(v) != d.unit && foldDigits(v) != d.unit {
		d.find("reporting_unit", feed.ReportingUnit)
	}
	if d.unit == nationalOffice && !r.spec.NationalOffice {
		d.find("feed", feed.ReportingUnit)
	}
}

// nationalOffice is the unit code of the national office itself.
const nationalOffice = "000000"

// foldDigits trims a text and writes full-width digits as ASCII.
func foldDigits(v []byte) string {
	return strings.Map(func(c rune) rune {
		if c >= '\uFF10' && c <= '\uFF19' {
			return c - '\uFF10' + '0'
		}
		return c
	}, strings.TrimSpace(string(v)))
}

// refuse keeps the record at hand as a reject. Values of fields that were not
// asked for never reach it.
func (d *Decoder) refuse(name string, r *rows, row int32) {
	rj := reject{key: flow.BatchKey{Feed: name}}
	rj.Feed, rj.Offset, rj.Row = name, d.msg.Offset, row
	rj.Findings = slices.Clone(d.finds)
	if r != nil {
		batch := r.value(feed.FieldBatchID)
		rj.key.Batch = string(batch)
		rj.Batch = harmless(batch)
		rj.RecordID = harmless(r.value(feed.FieldRecordID))
		rj.Kept = kept(name, r)
	} else {
		rj.key.Batch = string(d.head.batch)
		rj.Batch = harmless(d.head.batch)
	}
	d.rejects = append(d.rejects, rj)
}

// refuseMessage keeps the whole message as one reject.
func (d *Decoder) refuseMessage(rule feed.Rule) {
	name := ""
	if r := d.rowsOf(d.head.feed); r != nil {
		name = r.spec.Feed
	}
	d.finds = append(d.finds[:0], flow.Finding{Rule: rule})
	d.refuse(name, nil, 0)
}

// reject is a reject with the tally key that counts it: the key has the batch
// as sent, the reject only what is harmless.
type reject struct {
	flow.Reject
	key flow.BatchKey
}

// harmless returns a short text that may be repeated, else "".
func harmless(v []byte) string {
	if len(v) > 2*maxName || !value.Harmless(v) {
		return ""
	}
	return string(v)
}

// kept writes the envelope's harmless fields as JSON, in the order of the schema.
func kept(name string, r *rows) string {
	var b strings.Builder
	put := func(key, v string) {
		if v == "" || len(v) > maxName {
			return
		}
		sep := byte(',')
		if b.Len() == 0 {
			sep = '{'
		}
		b.WriteByte(sep)
		text, err := json.Marshal(v)
		if err != nil {
			panic("BUG: text does not marshal: " + err.Error())
		}
		fmt.Fprintf(&b, "%q:%s", key, text)
	}
	put("feed", name)
	for _, f := range [...]int{feed.FieldBatchID, feed.FieldOp, feed.FieldPeriod, feed.FieldReportedAt} {
		put(feed.Envelope[f].Name, harmless(r.value(f)))
	}
	if b.Len() == 0 {
		return ""
	}
	b.WriteByte('}')
	return b.String()
}

// note remembers what the message's headers say about its batch.
func (d *Decoder) note() {
	h := &d.head
	if len(h.rows) == 0 && len(h.chunk) == 0 && len(h.sha) == 0 {
		return
	}
	n := note{key: flow.BatchKey{Feed: d.firstFeed, Batch: d.firstBatch}, sha: harmlessHex(h.sha)}
	n.chunk = flow.Chunk{Number: -1, Rows: int64(max(d.row, 1)), Offset: d.msg.Offset}
	if len(h.feed) > 0 && d.rowsOf(h.feed) != nil {
		n.key.Feed = string(h.feed)
	}
	if len(h.batch) > 0 {
		n.key.Batch = string(h.batch)
	}
	if v, err := strconv.ParseInt(string(h.rows), 10, 64); err == nil && v > 0 {
		n.declared = v
	}
	if v, err := strconv.ParseInt(string(h.chunk), 10, 32); err == nil && v >= 0 {
		n.chunk.Number = int32(v)
	}
	d.notes = append(d.notes, n)
}

func harmlessHex(v []byte) string {
	if len(v) != 64 {
		return ""
	}
	for _, c := range v {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return ""
		}
	}
	return strings.ToLower(string(v))
}

// state is where the builders stood before a message.
type state struct{ rejects, notes, total int }

func (d *Decoder) mark() state {
	for _, r := range d.all {
		r.save()
	}
	return state{len(d.rejects), len(d.notes), d.total}
}

// rewind takes back what a message added.
func (d *Decoder) rewind(s state) {
	for _, r := range d.all {
		r.rewind()
	}
	clear(d.rejects[s.rejects:])
	d.rejects, d.notes, d.total = d.rejects[:s.rejects], d.notes[:s.notes], s.total
}

// Flush hands over all rows and rejects since the last Flush, parts ordered by
// feed, with the tally in which every record is received and the refused ones
// have their outcome. The parts belong to the caller.
func (d *Decoder) Flush() ([]flow.Batch, []flow.Reject, flow.Tally) {
	tally := make(flow.Tally)
	var parts []flow.Batch
	for _, r := range d.all {
		if r.n == 0 {
			continue
		}
		r.tally(tally)
		parts = append(parts, flow.Batch{Feed: r.spec, Rows: r.record()})
	}
	slices.SortFunc(parts, func(a, b flow.Batch) int { return strings.Compare(a.Feed.Feed, b.Feed.Feed) })
	var rejects []flow.Reject
	if len(d.rejects) > 0 {
		rejects = make([]flow.Reject, len(d.rejects))
		for i := range d.rejects {
			rejects[i] = d.rejects[i].Reject
			c := tally.Of(d.rejects[i].key.Feed, d.rejects[i].key.Batch)
			c.Received++
			c.Reject(rejects[i].Findings[0].Rule)
		}
	}
	for _, n := range d.notes {
		c := tally.Of(n.key.Feed, n.key.Batch)
		c.Declared = max(c.Declared, n.declared)
		if n.chunk.Number >= 0 {
			c.Chunks = append(c.Chunks, n.chunk)
		}
		if n.sha != "" {
			c.SHA256 = n.sha
		}
	}
	clear(d.rejects)
	d.rejects, d.notes, d.total = d.rejects[:0], d.notes[:0], 0
	return parts, rejects, tally
}

// Release gives back the memory of rows that were never flushed.
func (d *Decoder) Release() {
	for _, r := range d.all {
		r.release()
	}
	d.total = 0
}

// bytesOf looks at a string's bytes without a copy; they must not be changed.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
