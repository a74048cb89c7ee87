package generate

import (
	"bytes"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// Header is one header of a Kafka message.
type Header struct {
	Key   string
	Value []byte
}

// Message is one Kafka message. Its bytes are the receiver's to keep.
type Message struct {
	Topic      string
	Key, Value []byte
	Headers    []Header
}

type feedID uint8

const (
	fOrg feedID = iota
	fWorker
	fEmployment
	fPost
	fProject
	fTraining
	fAttendance
	fQualification
	fEvaluation
	fDemoSite
	fPolicy
	fPay
	fContext
	fStation
	fIDChange
	nFeeds
)

var feedNames = [nFeeds]string{"org", "worker", "employment", "post", "project", "training", "attendance", "qualification", "evaluation", "demo_site", "policy_doc", "pay_standard", "context", "station", "id_change"}

var envelopeFields = []string{"schema_version", "reporting_unit", "feed", "batch_id", "record_id", "op", "corrects", "period", "effective_from", "reported_at"}

const (
	eVersion = iota
	eUnit
	eFeed
	eBatch
	eRecord
	eOp
	eCorrects
	ePeriod
	eFrom
	eReported
	own // the feed's own fields begin here
)

// ownFields are the feeds' own fields in the order of their files.
var ownFields = [nFeeds][]string{
	fOrg:           {"uscc", "org_name", "org_type", "county_code", "founded_on", "status", "brand_name", "service_types", "staff_total", "worker_total"},
	fWorker:        {"id_number", "name", "mobile", "sex", "birth_date", "ethnic_code", "political_code", "education_code", "major_social_work", "worker_category", "position_level", "employer_uscc", "county_code", "entry_on", "is_trainer"},
	fEmployment:    {"id_number", "employer_uscc", "start_on", "end_on", "employment_form", "worker_category", "county_code", "post_id", "leave_reason", "destination_unit", "social_insurance", "pay_month_fen"},
	fPost:          {"post_id", "purchaser_uscc", "provider_uscc", "budget_year", "county_code", "unit_price_fen", "fund_source", "start_on", "end_on", "filled"},
	fProject:       {"project_id", "purchaser_uscc", "provider_uscc", "project_name", "budget_year", "amount_fen", "paid_fen", "fund_source", "procurement_method", "service_types", "workers_required", "county_code", "start_on", "end_on"},
	fTraining:      {"session_id", "title", "tier", "kind", "host_uscc", "county_code", "start_on", "end_on", "hours", "attendee_total"},
	fAttendance:    {"session_id", "id_number", "hours_earned", "passed", "as_trainer"},
	fQualification: {"id_number", "cert_level", "cert_no", "issued_on", "cert_status", "registered_until"},
	fEvaluation:    {"evaluation_id", "subject_type", "subject_key", "evaluator_type", "evaluator_uscc", "year", "score", "grade", "evaluated_on"},
	fDemoSite:      {"site_id", "site_name", "level", "status", "county_code", "operator_uscc", "named_on", "reviewed_on"},
	fPolicy:        {"doc_no", "title", "topics", "dimension", "division_code", "issued_on", "repealed_on"},
	fPay:           {"division_code", "cert_level", "monthly_fen", "adjust_rule"},
	fContext:       {"division_code", "registered_users", "in_community_rehab", "population", "county_total", "township_total"},
	fStation:       {"station_id", "county_code", "township_name", "opened_on"},
	fIDChange:      {"old_id_number", "new_id_number", "changed_on", "change_reason"},
}

// allFields and quoted are the envelope and the feed's own fields, plain and as
// JSON keys.
var allFields, quoted = func() (all, q [nFeeds][]string) {
	for f := range nFeeds {
		all[f] = append(append([]string{}, envelopeFields...), ownFields[f]...)
		for _, name := range all[f] {
			q[f] = append(q[f], `"`+name+`":`)
		}
	}
	return all, q
}()

type valueKind uint8

const (
	absent  valueKind = iota
	text              // JSON text
	literal           // JSON number or truth value
	list              // comma-separated codes, a JSON array
)

type span struct {
	lo, hi int32
	kind   valueKind
}

// rec is one record under way: values in an arena that is used again.
type rec struct {
	feed    feedID
	unit    int // index of the topic's unit, len(units) for the national office
	month   int
	at      int64 // reported_at, Unix seconds
	buf     []byte
	v       [32]span
	extra   string // JSON text added before the closing brace
	keyed   bool   // the key gets another version later: always a message of its own
	outcome string
	person  *person
}

func (r *rec) get(i int) []byte { return r.buf[r.v[i].lo:r.v[i].hi] }

func (r *rec) close(i, lo int, k valueKind) {
	r.v[i] = span{int32(lo), int32(len(r.buf)), k}
}

func (r *rec) str(i int, s string) {
	if s == "" {
		r.v[i] = span{}
		return
	}
	lo := len(r.buf)
	r.buf = append(r.buf, s...)
	r.close(i, lo, text)
}

func (r *rec) bytes(i int, s []byte) {
	lo := len(r.buf)
	r.buf = append(r.buf, s...)
	r.close(i, lo, text)
}

func (r *rec) num(i int, n int64) {
	lo := len(r.buf)
	r.buf = strconv.AppendInt(r.buf, n, 10)
	r.close(i, lo, literal)
}

func (r *rec) lit(i int, s string) {
	lo := len(r.buf)
	r.buf = append(r.buf, s...)
	r.close(i, lo, literal)
}

func (r *rec) codes(i int, s string) { r.str(i, s); r.v[i].kind = list }

func (r *rec) truth(i int, b bool) {
	if b {
		r.lit(i, "true")
	} else {
		r.lit(i, "false")
	}
}

func (r *rec) id(prefix string, area string, n int) {
	lo := len(r.buf)
	r.buf = append(r.buf, prefix...)
	r.buf = append(r.buf, area...)
	r.buf = append(r.buf, 'N')
	r.buf = strconv.AppendInt(r.buf, int64(n), 10)
	r.close(eRecord, lo, text)
}

// reported sets the envelope's reported_at.
func (g *Generator) reported(r *rec, sec int64) {
	r.at = sec
	lo := len(r.buf)
	local := sec + 8*3600
	day := local / 86400
	s := local % 86400
	r.buf = append(r.buf, g.days[int32(day)-dayMin]...)
	r.buf = append(r.buf, 'T',
		'0'+byte(s/36000), '0'+byte(s/3600%10), ':',
		'0'+byte(s%3600/600), '0'+byte(s%3600/60%10), ':',
		'0'+byte(s%60/10), '0'+byte(s%10), '+', '0', '8', ':', '0', '0')
	r.close(eReported, lo, text)
}

func (g *Generator) day(r *rec, i int, d int32) { r.str(i, g.days[d-dayMin]) }

// copyOf makes an independent copy in one of the generator's scratch records.
func (r *rec) copyTo(o *rec) *rec {
	buf := append(o.buf[:0], r.buf...)
	*o = *r
	o.buf = buf
	return o
}

func appendJSON(dst []byte, r *rec, nulls bool) []byte {
	q := quoted[r.feed]
	dst = append(dst, '{')
	for i := range q {
		s := r.v[i]
		if s.kind == absent {
			if !nulls || i < own {
				continue
			}
			dst = append(append(dst, q[i]...), "null,"...)
			continue
		}
		dst = append(dst, q[i]...)
		v := r.buf[s.lo:s.hi]
		switch s.kind {
		case text:
			dst = append(dst, '"')
			dst = append(dst, v...)
			dst = append(dst, '"')
		case literal:
			dst = append(dst, v...)
		case list:
			dst = append(dst, '[', '"')
			for _, c := range v {
				if c == ',' {
					dst = append(dst, '"', ',', '"')
				} else {
					dst = append(dst, c)
				}
			}
			dst = append(dst, '"', ']')
		}
		dst = append(dst, ',')
	}
	dst = append(dst, r.extra...)
	dst[len(dst)-1] = '}'
	return dst
}

// form is how a unit writes records that need not stand alone.
type form uint8

const (
	formJSON form = iota
	formArray
	formCSV
	formGB
	formArrow
)

const (
	typeJSON  = "application/json"
	typeCSV   = "text/csv; charset=utf-8"
	typeGB    = "text/csv; charset=gb18030"
	typeArrow = "application/vnd.apache.arrow.stream"
)

var singleHeaders = []Header{{"content-type", []byte(typeJSON)}}

// chunkRows is the most records that one chunk holds.
const chunkRows = 200

// chunk gathers records of one unit, feed and partition.
type chunk struct {
	unit, part int
	feed       feedID
	form       form
	rows       int
	key        []byte
	batch      string
	buf        []byte
	columns    []*array.StringBuilder
}

func (g *Generator) chunkOf(r *rec) *chunk {
	part := int(murmur2(g.key(r)) & 0x7fffffff % uint32(g.parts))
	k := [3]int{r.unit, int(r.feed), part}
	c := g.chunks[k]
	if c == nil {
		c = &chunk{unit: r.unit, part: part, feed: r.feed, form: g.units[r.unit].form}
		g.chunks[k] = c
		g.order = append(g.order, c)
	}
	return c
}

// addChunk puts a record into its chunk and sends the chunk when it is full.
func (g *Generator) addChunk(r *rec) error {
	c := g.chunkOf(r)
	if c.rows == 0 {
		c.key = bytes.Clone(g.key(r))
		g.chunkNo++
		c.batch = "K" + strconv.Itoa(g.chunkNo) + "C" + g.units[c.unit].area
		c.buf = c.buf[:0]
		switch c.form {
		case formArray:
			c.buf = append(c.buf, '[')
		case formCSV, formGB:
			for i, n := range allFields[c.feed] {
				if i > 0 {
					c.buf = append(c.buf, ',')
				}
				c.buf = append(c.buf, n...)
			}
			c.buf = append(c.buf, '\n')
		}
	}
	r.str(eBatch, c.batch)
	switch c.form {
	case formArray:
		if c.rows > 0 {
			c.buf = append(c.buf, ',')
		}
		c.buf = appendJSON(c.buf, r, false)
	case formCSV, formGB:
		for i := range allFields[c.feed] {
			if i > 0 {
				c.buf = append(c.buf, ',')
			}
			v := r.get(i)
			if r.v[i].kind == list {
				for _, b := range v {
					if b == ',' {
						b = ';'
					}
					c.buf = append(c.buf, b)
				}
			} else if bytes.IndexByte(v, ',') >= 0 {
				c.buf = append(append(append(c.buf, '"'), v...), '"')
			} else {
				c.buf = append(c.buf, v...)
			}
		}
		c.buf = append(c.buf, '\n')
	case formArrow:
		if c.columns == nil {
			for range allFields[c.feed] {
				c.columns = append(c.columns, array.NewStringBuilder(memory.DefaultAllocator))
			}
		}
		for i, b := range c.columns {
			if r.v[i].kind == absent {
				b.AppendNull()
			} else {
				b.Append(string(r.get(i)))
			}
		}
	}
	c.rows++
	if c.rows >= chunkRows {
		return g.sendChunk(c)
	}
	return nil
}

func (g *Generator) sendChunk(c *chunk) error {
	if c.rows == 0 {
		return nil
	}
	var value []byte
	kind := typeJSON
	switch c.form {
	case formArray:
		value = append(bytes.Clone(c.buf), ']')
	case formCSV:
		kind, value = typeCSV, bytes.Clone(c.buf)
	case formGB:
		kind = typeGB
		v, err := simplifiedchinese.GB18030.NewEncoder().Bytes(c.buf)
		if err != nil {
			return err
		}
		// 0x01 stands where a planted record has a code that decodes to nothing.
		value = bytes.ReplaceAll(v, []byte{1}, []byte{0xFE, 0x59})
	case formArrow:
		kind = typeArrow
		var err error
		if value, err = c.arrow(); err != nil {
			return err
		}
	}
	m := Message{Topic: g.topic(c.unit), Key: c.key, Value: value, Headers: []Header{
		{"feed", []byte(feedNames[c.feed])}, {"content-type", []byte(kind)}, {"schema-version", []byte("1")},
		{"batch-id", []byte(c.batch)}, {"batch-rows", []byte(strconv.Itoa(c.rows))},
	}}
	g.man.Messages++
	g.man.Forms[[...]string{"json", "json_array", "csv_utf8", "csv_gb18030", "arrow"}[c.form]] += int64(c.rows)
	c.rows = 0
	return g.yield(m)
}

func (c *chunk) arrow() ([]byte, error) {
	fields := make([]arrow.Field, len(c.columns))
	cols := make([]arrow.Array, len(c.columns))
	for i, b := range c.columns {
		fields[i] = arrow.Field{Name: allFields[c.feed][i], Type: arrow.BinaryTypes.String, Nullable: true}
		cols[i] = b.NewArray()
		defer cols[i].Release()
	}
	schema := arrow.NewSchema(fields, nil)
	rec := array.NewRecord(schema, cols, int64(c.rows))
	defer rec.Release()
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(schema))
	if err := w.Write(rec); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// key routes a record: the unit, then the record_id. It is valid until the next call.
func (g *Generator) key(r *rec) []byte {
	g.keyBuf = append(append(g.keyBuf[:0], g.unitCode(r.unit)...), r.get(eRecord)...)
	return g.keyBuf
}

// murmur2 is the hash by which Kafka's Java client spreads keys.
func murmur2(data []byte) uint32 {
	const m = 0x5bd1e995
	h := uint32(0x9747b28c) ^ uint32(len(data))
	for len(data) >= 4 {
		k := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24
		k *= m
		k ^= k >> 24
		k *= m
		h = h*m ^ k
		data = data[4:]
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(data[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}

// slab hands out bytes that nobody writes again.
func (g *Generator) slab(b []byte) []byte {
	if len(g.free) < len(b) {
		g.free = make([]byte, max(1<<18, len(b)))
	}
	out := g.free[:len(b):len(b)]
	g.free = g.free[len(b):]
	copy(out, b)
	return out
}

// sendSingle sends a record as a message of its own.
func (g *Generator) sendSingle(r *rec) error {
	g.jsonBuf = appendJSON(g.jsonBuf[:0], r, r.unit%7 == 0)
	g.man.Messages++
	g.man.Forms["json"]++
	return g.yield(Message{Topic: g.topic(r.unit), Key: g.slab(g.key(r)), Value: g.slab(g.jsonBuf), Headers: singleHeaders})
}

// garbage sends a message that is no record of any feed.
func (g *Generator) garbage(unit int, kind, rule string, headers []Header, value []byte) error {
	g.plant(kind)
	g.man.Messages++
	g.man.Forms["none"]++
	c := g.man.of("")
	c.Received++
	c.Outcomes[rejected]++
	c.RejectedByRule[rule]++
	g.seen[unit].received++
	g.seen[unit].rejected++
	key := append(g.slab([]byte(g.unitCode(unit))), "G"+strconv.Itoa(int(g.man.Messages))...)
	return g.yield(Message{Topic: g.topic(unit), Key: key, Value: value, Headers: headers})
}

func unix(day int32, hour int) int64 { return int64(day)*86400 + int64(hour-8)*3600 }

func clock(sec int64) time.Time { return time.Unix(sec, 0).In(Today.Location()) }
