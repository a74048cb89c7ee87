package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/decimal128"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/flow/flowtest"
)

func catalogue(t testing.TB) *feed.Catalogue {
	t.Helper()
	cat, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	return cat
}

// hs makes headers from pairs.
func hs(kv ...string) []Header {
	var out []Header
	for i := 0; i+1 < len(kv); i += 2 {
		out = append(out, Header{[]byte(kv[i]), []byte(kv[i+1])})
	}
	return out
}

// result is what decoding made, as text.
type result struct {
	rows    []map[string]string
	rejects []flow.Reject
	tally   flow.Tally
}

func (r *result) rules() string {
	var out []string
	for _, rj := range r.rejects {
		for _, f := range rj.Findings {
			out = append(out, fmt.Sprintf("%d/%d %s:%s", rj.Offset, rj.Row, f.Field, f.Rule))
		}
	}
	return strings.Join(out, " ")
}

func flush(t testing.TB, d *Decoder) *result {
	t.Helper()
	parts, rejects, tally := d.Flush()
	res := &result{rejects: rejects, tally: tally}
	for _, p := range parts {
		require.True(t, p.Rows.Schema().Equal(flow.WireSchema(p.Feed)))
		for i := range int(p.Rows.NumRows()) {
			m := map[string]string{}
			for c, f := range p.Rows.Schema().Fields() {
				if col := p.Rows.Column(c); !col.IsNull(i) {
					m[f.Name] = strings.Clone(col.ValueStr(i))
					if s, ok := col.(*array.String); ok {
						m[f.Name] = strings.Clone(s.Value(i))
						require.True(t, utf8.ValidString(m[f.Name]))
					}
				}
			}
			res.rows = append(res.rows, m)
		}
		p.Rows.Release()
	}
	for key, c := range tally {
		accepted := c.Received - c.By[flow.Rejected]
		require.GreaterOrEqual(t, accepted, int64(0), key)
	}
	return res
}

func decodeOne(t testing.TB, unit, value string, headers ...string) *result {
	t.Helper()
	mem := flowtest.Memory()
	d := NewDecoder(catalogue(t), mem, unit, 0)
	require.NoError(t, d.Add(&Message{Offset: 7, Value: []byte(value), Headers: hs(headers...)}))
	res := flush(t, d)
	d.Release()
	mem.AssertSize(t, 0)
	return res
}

const good = `"schema_version":1,"reporting_unit":"310000","feed":"worker","batch_id":"b1","op":"U","period":"202611","reported_at":"2026-11-23T10:00:00+08:00"`

func TestJSONShapes(t *testing.T) {
	f := func(value string, want int, rules string, headers ...string) *result {
		t.Helper()
		res := decodeOne(t, "310000", value, headers...)
		require.Len(t, res.rows, want)
		require.Equal(t, rules, res.rules())
		return res
	}
	one := `{` + good + `,"record_id":"r1","name":"阿依古丽"}`
	f(one, 1, "")
	f("\ufeff "+one+"\n", 1, "")
	f("["+one+" , "+one+"]", 2, "")
	f(one+"\n"+one+"\r\n\n", 2, "")
	f(one+"\n"+one, 2, "", "content-type", "application/x-ndjson; charset=utf-8")
	f("[]", 0, "7/0 :message_empty")
	f("", 0, "7/0 :message_empty")
	f(" \n", 0, "7/0 :message_empty")
	f(one+"x", 0, "7/0 :message_undecodable")
	f("["+one+",1]", 0, "7/0 :message_undecodable")
	f("["+one, 0, "7/0 :message_undecodable")
	f("null", 0, "7/0 :message_undecodable", "content-type", "application/json")
	f(one, 0, "7/0 :content_type_unknown", "content-type", "application/xml")
	f(one, 0, "7/0 :feed_unknown", "feed", "nothing")
	f(one, 0, "7/0 feed:feed_unknown", "feed", "org")
	f(one, 1, "", "feed", "worker")
	f(strings.Replace(one, `"worker"`, `"wrkr"`, 1), 0, "7/0 feed:feed_unknown")
	f(`{"name":"a"}`, 0, "7/0 feed:feed_unknown")

	res := f(`{"feed":"worker","sex":null,"mobile":"","is_trainer":true,"education_code":12.50e1,"major_social_work":false}`, 1, "",
		"batch-id", "b9", "schema-version", "1", "batch-rows", "3", "chunk", "2")
	require.Equal(t, map[string]string{"feed": "worker", "is_trainer": "true", "education_code": "12.50e1", "major_social_work": "false",
		"batch_id": "b9", "schema_version": "1", "_offset": "7", "_row": "0"}, res.rows[0])
	c := res.tally[flow.BatchKey{Feed: "worker", Batch: "b9"}]
	require.EqualValues(t, 1, c.Received)
	require.EqualValues(t, 3, c.Declared)
	require.Equal(t, []flow.Chunk{{Number: 2, Rows: 1, Offset: 7}}, c.Chunks)
}

func TestJSONText(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		res := decodeOne(t, "310000", `{`+good+`,"name":`+in+`}`)
		require.Len(t, res.rows, 1)
		require.Equal(t, want, res.rows[0]["name"])
	}
	f(`"\u4e2d\n\"\\\/\t\b\f\r"`, "中\n\"\\/\t\b\f\r")
	f(`"\ud840\udc00"`, "\U00020000")
	f(`"\ud840x"`, "\uFFFDx")
	f(`"\udc00\ud840"`, "\uFFFD\uFFFD")
	f(`"\ud840\u0041"`, "\uFFFDA")
	f("\"a\xffb\"", "a\uFFFDb")
	f("\"\xe4\xb8\"", "\uFFFD\uFFFD")
	f("\"\\u0041\xff\"", "A\uFFFD")
	f(`["a", "b" ,1,true,null]`, "a,b,1,true")
	f(`[]`, "")
	f(`"12345678\u0039012345678901234567890"`, "12345678"+"9012345678901234567890")
}

func TestBadKeys(t *testing.T) {
	f := func(fields, rules string) *result {
		t.Helper()
		ok := `{` + good + `,"record_id":"r1"}`
		res := decodeOne(t, "310000", "["+ok+`,{`+good+`,"record_id":"r2",`+fields+`},`+ok+"]")
		require.Len(t, res.rows, 2, "the other records of the message live")
		require.Equal(t, rules, res.rules())
		require.Equal(t, "0", res.rows[0]["_row"])
		require.Equal(t, "2", res.rows[1]["_row"])
		require.EqualValues(t, 3, res.tally[flow.BatchKey{Feed: "worker", Batch: "b1"}].Received)
		return res
	}
	res := f(`"hobby":"chess"`, "7/1 hobby:unknown_field")
	require.Equal(t, `{"feed":"worker","batch_id":"b1","op":"U","period":"202611","reported_at":"2026-11-23T10:00:00+08:00"}`, res.rejects[0].Kept)
	require.Equal(t, "r2", res.rejects[0].RecordID)
	f(`" Home_Address ":"x"`, "7/1 Home_Address:forbidden_field")
	f(`"name":"a","name":"b"`, "7/1 name:duplicate_field")
	f(`"name":{"a":[1,{"b":null}]}`, "7/1 name:type")
	f(`"name":[["a"]]`, "7/1 name:type")
	f(`"`+strings.Repeat("k", 65)+`":1`, "7/1 :unknown_field")
	f(`"119901198001153013":1`, "7/1 :unknown_field")
	f(`"１３８００００００００":1`, "7/1 :unknown_field")
	f("\"a\xff\":1", "7/1 :unknown_field")
}

func TestRejectKeepsNothingPersonal(t *testing.T) {
	res := decodeOne(t, "310000", `{"feed":"worker","batch_id":"b13800000000","record_id":"119901198001153013","op":"13800000000","home_address":"secret","name":"secret"}`)
	require.Len(t, res.rejects, 1)
	require.Empty(t, res.rejects[0].RecordID)
	require.Empty(t, res.rejects[0].Batch)
	require.Equal(t, `{"feed":"worker"}`, res.rejects[0].Kept)
	require.NotContains(t, fmt.Sprint(res.rejects), "secret")
}

func TestUnit(t *testing.T) {
	f := func(owner, sent, name, rules string) {
		t.Helper()
		res := decodeOne(t, owner, fmt.Sprintf(`{"feed":%q,"reporting_unit":%q,"batch_id":"b"}`, name, sent))
		require.Equal(t, rules, res.rules())
	}
	f("310000", "310000", "worker", "")
	f("310000", " ３１0000 ", "worker", "")
	f("310000", "320000", "worker", "7/0 reporting_unit:reporting_unit")
	f("000000", "000000", "context", "")
	f("000000", "000000", "worker", "7/0 feed:reporting_unit")
}

func TestSchemaVersion(t *testing.T) {
	f := func(v, rules string) {
		t.Helper()
		require.Equal(t, rules, decodeOne(t, "310000", `{"feed":"worker","schema_version":`+v+`}`).rules())
	}
	f(`1`, "")
	f(`" １ "`, "")
	f(`null`, "")
	f(`"v1"`, "7/0 schema_version:schema_version")
	f(`0`, "7/0 schema_version:schema_version")
	f(`1.0`, "7/0 schema_version:schema_version")

	mem := flowtest.Memory()
	d := NewDecoder(catalogue(t), mem, "310000", 0)
	ok := `{` + good + `,"record_id":"r1"}`
	require.NoError(t, d.Add(&Message{Offset: 1, Value: []byte(ok)}))
	// A newer schema's fields look unknown here, and still must not fill the quarantine.
	err := d.Add(&Message{Offset: 2, Value: []byte("[" + ok + `,{"brand_new":1,"feed":"worker","schema_version":2}]`)})
	require.True(t, flow.IsPermanent(err))
	require.ErrorContains(t, err, "upgrade")
	res := flush(t, d)
	require.Len(t, res.rows, 1, "nothing of the message was added")
	require.Empty(t, res.rejects)
	d.Release()
	mem.AssertSize(t, 0)
}

func TestTooLarge(t *testing.T) {
	require.Equal(t, "7/0 :message_too_large", decodeOne(t, "310000", strings.Repeat("x", DefaultMaxMessageBytes+1), "feed", "worker", "batch-id", "b").rules())
}

func TestCSV(t *testing.T) {
	const head = "报送单位,feed,批次号,record_id,姓名\n"
	f := func(value string, want int, rules string, headers ...string) *result {
		t.Helper()
		res := decodeOne(t, "310000", value, headers...)
		require.Equal(t, rules, res.rules())
		require.Len(t, res.rows, want)
		return res
	}
	body := head + "310000,worker,b1,r1,阿依古丽\n\n,,,,\n310000,worker,b1,r2,\"a,\"\"b\"\"\"\n"
	res := f(body, 2, "")
	require.Equal(t, "阿依古丽", res.rows[0]["name"])
	require.Equal(t, `a,"b"`, res.rows[1]["name"])
	require.Equal(t, res.rows, f("\ufeff"+body, 2, "", "content-type", "text/csv").rows)
	gb, err := simplifiedchinese.GB18030.NewEncoder().String(body)
	require.NoError(t, err)
	require.Equal(t, res.rows, f(gb, 2, "").rows)
	require.Equal(t, res.rows, f("\x84\x31\x95\x33"+gb, 2, "", "content-type", `text/csv; charset="GB18030"`).rows)
	// Some codes of GB18030 have no character in the table: the mark stays.
	gbHead, err := simplifiedchinese.GB18030.NewEncoder().String(head)
	require.NoError(t, err)
	damaged := f(gbHead+"310000,worker,b1,r1,\xfe\x50\xfe\x51\xd6\xd0\n", 1, "")
	require.Contains(t, damaged.rows[0]["name"], "中")
	require.Contains(t, f(gbHead+"310000,worker,b1,r1,\xa6\xd9\xff\xd6\xd0\n", 1, "").rows[0]["name"], "\uFFFD")

	f(head+"310000,worker,b1,r1\n310000,worker,b1,r2,x\n", 1, "7/0 :message_undecodable")
	f(head+"310000,worker,b1,r1,x,y\n", 0, "7/0 :message_undecodable")
	f(head+"310000,worker,b1,r1,x,,\n", 1, "")
	f(head+"310000,nothing,b1,r1,x\n310000,worker,b1,r2,x\n", 1, "7/0 feed:feed_unknown")
	f("feed,name,name\nworker,a,b\n", 0, "7/0 name:duplicate_field")
	f("feed,hobby\nworker,a\n", 0, "7/0 hobby:unknown_field")
	f("feed,address\nworker,a\n", 0, "7/0 address:forbidden_field")
	f("name\na\n", 0, "7/0 :feed_unknown", "content-type", "text/csv")
	f("hello", 0, "7/0 :message_undecodable")
	f("name\na\n", 1, "", "feed", "worker")
	f("name\n", 0, "7/0 :message_empty", "feed", "worker")
	f("name\n\"a\n", 0, "7/0 :message_undecodable", "feed", "worker")
	f(head, 0, "7/0 :content_type_unknown", "content-type", "text/csv; charset=big5")
}

// stream writes worker records as Arrow, column types mixed.
func stream(t testing.TB, n int, fields []arrow.Field, fill func(b *array.RecordBuilder, i int)) []byte {
	t.Helper()
	schema := arrow.NewSchema(fields, nil)
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(schema))
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	defer b.Release()
	for i := range n {
		fill(b, i)
		if i%3 == 2 || i == n-1 {
			rec := b.NewRecord()
			require.NoError(t, w.Write(rec))
			rec.Release()
		}
	}
	require.NoError(t, w.Close())
	return buf.Bytes()
}

var text = arrow.BinaryTypes.String

func envelopeStream(t testing.TB, n int, unit func(i int) string, extra ...string) []byte {
	fields := []arrow.Field{{Name: "feed", Type: text}, {Name: "reporting_unit", Type: text}, {Name: "batch_id", Type: text}, {Name: "record_id", Type: text}, {Name: "name", Type: text, Nullable: true}}
	for _, e := range extra {
		fields = append(fields, arrow.Field{Name: e, Type: text})
	}
	return stream(t, n, fields, func(b *array.RecordBuilder, i int) {
		for c, v := range []string{"worker", unit(i), "b1", fmt.Sprint("r", i), "阿依古丽"} {
			b.Field(c).(*array.StringBuilder).Append(v)
		}
		for c := range extra {
			b.Field(5 + c).(*array.StringBuilder).Append("secret")
		}
	})
}

func TestArrow(t *testing.T) {
	f := func(value []byte, want int, rules string, headers ...string) *result {
		t.Helper()
		res := decodeOne(t, "310000", string(value), headers...)
		require.Equal(t, rules, res.rules())
		require.Len(t, res.rows, want)
		return res
	}
	own := func(int) string { return "310000" }
	res := f(envelopeStream(t, 7, own), 7, "", "content-type", TypeArrow)
	for i, r := range res.rows {
		require.Equal(t, map[string]string{"feed": "worker", "reporting_unit": "310000", "batch_id": "b1", "record_id": fmt.Sprint("r", i),
			"name": "阿依古丽", "_offset": "7", "_row": fmt.Sprint(i)}, r)
	}
	f(envelopeStream(t, 2, own), 2, "")
	f(envelopeStream(t, 2, own, "hobby"), 0, "7/0 hobby:unknown_field 7/1 hobby:unknown_field")
	f(envelopeStream(t, 1, own, "address"), 0, "7/0 address:forbidden_field")
	f(envelopeStream(t, 5, func(i int) string { return []string{"310000", "320000"}[i%2] }), 3,
		"7/1 reporting_unit:reporting_unit 7/3 reporting_unit:reporting_unit")
	f(envelopeStream(t, 1, own), 0, "7/0 feed:feed_unknown", "feed", "org")
	f(envelopeStream(t, 0, own), 0, "7/0 :message_empty", "content-type", TypeArrow)
	f(envelopeStream(t, 4, own)[:600], 0, "7/0 :message_undecodable")
	// r0, r1 and r2 whose offsets fall, which Arrow's reader lets pass.
	falling := bytes.Replace(envelopeStream(t, 3, own), []byte{2, 0, 0, 0, 4, 0, 0, 0, 6, 0, 0, 0}, []byte{4, 0, 0, 0, 2, 0, 0, 0, 6, 0, 0, 0}, 1)
	f(falling, 0, "7/0 :message_undecodable")

	typed := stream(t, 2, []arrow.Field{
		{Name: "schema_version", Type: arrow.PrimitiveTypes.Int64},
		{Name: "effective_from", Type: arrow.FixedWidthTypes.Date32},
		{Name: "is_trainer", Type: arrow.FixedWidthTypes.Boolean},
		{Name: "education_code", Type: &arrow.Decimal128Type{Precision: 9, Scale: 1}},
		{Name: "sex", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: text}, Nullable: true},
	}, func(b *array.RecordBuilder, i int) {
		b.Field(0).(*array.Int64Builder).Append(1)
		b.Field(1).(*array.Date32Builder).Append(17116)
		b.Field(2).(*array.BooleanBuilder).Append(true)
		b.Field(3).(*array.Decimal128Builder).Append(decimal128.FromI64(75))
		if i == 0 {
			require.NoError(t, b.Field(4).(*array.BinaryDictionaryBuilder).AppendString("1"))
		} else {
			b.Field(4).AppendNull()
		}
	})
	res = f(typed, 2, "", "feed", "worker", "batch-id", "b")
	require.Equal(t, map[string]string{"schema_version": "1", "feed": "worker", "batch_id": "b", "effective_from": "2016-11-11", "is_trainer": "true",
		"education_code": "7.5", "sex": "1", "_offset": "7", "_row": "0"}, res.rows[0])
	require.NotContains(t, res.rows[1], "sex")
	floats := stream(t, 1, []arrow.Field{{Name: "sex", Type: arrow.PrimitiveTypes.Float64}}, func(b *array.RecordBuilder, _ int) {
		b.Field(0).(*array.Float64Builder).Append(1)
	})
	f(floats, 0, "7/0 sex:type", "feed", "worker")
}

// Two texts that are UTF-8 only when they are read as one.
func TestACharacterCutInTwo(t *testing.T) {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	b.AppendValues([]string{"是\xe6\x98", "\xaf是"}, nil)
	texts := b.NewArray()
	defer texts.Release()
	var c cells
	require.True(t, c.open(texts))
	require.Equal(t, []string{"是\uFFFD", "\uFFFD是"}, []string{string(c.at(0)), string(c.at(1))})
}

// Text columns are read where the message has them.
func TestTextsAreNotCopied(t *testing.T) {
	message := envelopeStream(t, 5, func(int) string { return "310000" })
	in := frames(message)
	rd, err := ipc.NewReaderFromMessageReader(&in)
	require.NoError(t, err)
	defer rd.Release()
	require.True(t, onlyTexts(rd.Schema()))
	rows := 0
	for rec := in.texts(rd.Schema()); rec != nil; rec = in.texts(rd.Schema()) {
		id := rec.Column(3).(*array.String)
		for i := range int(rec.NumRows()) {
			require.Equal(t, fmt.Sprint("r", rows), id.Value(i))
			rows++
		}
		copy(id.ValueBytes(), "x")
	}
	require.Equal(t, 5, rows)
	require.True(t, bytes.Contains(message, []byte("x0r1r2")) && bytes.Contains(message, []byte("x3r4")), "the columns are the message's own bytes")
	require.False(t, rd.Next())
}

// What a message counts for in a cut is what its rows take, twice, whichever form
// they came in: an Arrow message is half as long as the same records in JSON.
func TestWeightIsThatOfTheColumns(t *testing.T) {
	cat, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	f := func(value []byte, typ string) {
		t.Helper()
		d := NewDecoder(cat, memory.DefaultAllocator, "310000", 0)
		require.NoError(t, d.Add(&Message{Value: value, Headers: []Header{{Key: []byte(HeaderContentType), Value: []byte(typ)}}}))
		parts, rejects, _ := d.Flush()
		require.Empty(t, rejects)
		held := 0
		for _, col := range parts[0].Rows.Columns() {
			if texts, ok := col.(*array.String); ok {
				held += len(texts.ValueBytes()) + 4*texts.Len()
			} else {
				held += col.DataType().(arrow.FixedWidthDataType).BitWidth() / 8 * col.Len()
			}
		}
		parts[0].Rows.Release()
		require.Equal(t, max(len(value), 2*held), d.weight)
	}
	f(envelopeStream(t, 1000, func(int) string { return "310000" }), TypeArrow)
	f([]byte("reporting_unit,feed,batch_id,record_id\n310000,worker,b,1\n310000,worker,b,2\n"), TypeCSV)
	f(workerJSON(1), TypeJSON)
	f([]byte(`{"reporting_unit":"310000","feed":"worker","batch_id":"b","record_id":"1","name":"`+strings.Repeat(" ", 5000)+`"}`), TypeJSON)
}

// A second message that breaks near its end must not take the first one's rows
// or leave its own.
func TestRewind(t *testing.T) {
	mem := flowtest.Memory()
	d := NewDecoder(catalogue(t), mem, "310000", 0)
	one := `{` + good + `,"record_id":"r1","name":"x"}`
	for i := range 3 {
		require.NoError(t, d.Add(&Message{Offset: int64(3 * i), Value: []byte(one)}))
		require.NoError(t, d.Add(&Message{Offset: int64(3*i + 1), Value: []byte(one + one + `{"feed":"org"}{`)}))
		require.NoError(t, d.Add(&Message{Offset: int64(3*i + 2), Value: []byte(`{"feed":"worker"}`)}))
	}
	require.Equal(t, 9, d.Rows())
	res := flush(t, d)
	require.Len(t, res.rows, 6)
	require.Len(t, res.rejects, 3)
	require.NotContains(t, res.rows[1], "name", "validity bits of rows taken back are gone")
	d.Release()
	mem.AssertSize(t, 0)
}

func FuzzDecode(f *testing.F) {
	cat := catalogue(f)
	one := `{` + good + `,"record_id":"r1","name":"阿依古丽"}`
	f.Add([]byte(one), "")
	f.Add([]byte("["+one+","+one+"]"), TypeJSON)
	f.Add([]byte("feed,name\nworker,a\n"), TypeCSV)
	f.Add([]byte("feed,name\nworker,\xd6\xd0\n"), TypeCSV+";charset=gb18030")
	f.Add(envelopeStream(f, 5, func(int) string { return "310000" }, "hobby"), TypeArrow)
	f.Add(envelopeStream(f, 5, func(int) string { return "310000" }), "")
	f.Fuzz(func(t *testing.T, value []byte, kind string) {
		mem := flowtest.Memory()
		d := NewDecoder(cat, mem, "310000", 0)
		err := d.Add(&Message{Value: value, Headers: hs("content-type", kind)})
		if err != nil {
			require.True(t, flow.IsPermanent(err))
		} else {
			require.Positive(t, d.Rows())
		}
		flush(t, d)
		d.Release()
		mem.AssertSize(t, 0)
	})
}

// FuzzJSON compares one flat object with encoding/json.
func FuzzJSON(f *testing.F) {
	cat := catalogue(f)
	for _, s := range []string{`{"name":"a\u00e9\ud840\udc00"}`, `{"name":-1.5e+3,"sex":null}`, `{"name":"\ud840"}`, "{\"name\":\"\xff\"}", `{"na\u006de":true}`, `{"name":[1,"a"]}`, `{ "name" : "x" , "sex" : "y" }`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		d := NewDecoder(cat, memory.NewGoAllocator(), "310000", 0)
		require.NoError(t, skipNewer(d.Add(&Message{Value: value, Headers: hs("feed", "worker", "content-type", TypeJSON)})))
		res := flush(t, d)
		if len(res.rows) != 1 || len(res.rejects) > 0 {
			if len(res.rejects) == 1 && res.rejects[0].Findings[0].Rule == feed.MessageUndecodable && first(value) == '{' {
				var m map[string]any
				// Refused as a whole: encoding/json refuses it too, but for depth.
				if json.Unmarshal(value, &m) == nil && bytes.Count(value, []byte("["))+bytes.Count(value, []byte("{")) < maxDepth {
					t.Fatalf("%q is JSON", value)
				}
			}
			return
		}
		dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(value, bom)))
		dec.UseNumber()
		var want map[string]any
		require.NoError(t, dec.Decode(&want))
		for k, v := range want {
			switch v := v.(type) {
			case string:
				if k == "batch_id" && strings.TrimSpace(v) == "" || k == "feed" || k == "schema_version" {
					continue
				}
				require.Equal(t, v, res.rows[0][k], "%q", value)
			case json.Number:
				require.Equal(t, v.String(), res.rows[0][k])
			case bool:
				require.Equal(t, fmt.Sprint(v), res.rows[0][k])
			}
		}
	})
}

func skipNewer(err error) error {
	if flow.IsPermanent(err) {
		return nil
	}
	return err
}

// workerJSON makes records of about 580 bytes.
func workerJSON(i int) []byte {
	return fmt.Appendf(nil, `{"schema_version":"1","reporting_unit":"310000","feed":"worker","batch_id":"2026-11-310000-01","record_id":"W-310000-%07d","op":"U","period":"2026-11","effective_from":"2026-11-30","reported_at":"2026-12-03T10:%02d:%02d+08:00","id_number":"1199011980%02d153013","name":"阿依古丽·买买提","mobile":"13800%06d","sex":"2","birth_date":"1980-01-15","ethnic_code":"05","political_code":"13","education_code":"21","major_social_work":"true","worker_category":"1","position_level":"2","employer_uscc":"52119900MJ%07dT","county_code":"310115","entry_on":"2016-11-11","is_trainer":"false"}`,
		i, i/60%60, i%60, i%12+1, i%1000000, i)
}

// cpu reports the CPU time of this process a record: wall time says little on a
// machine that is shared.
func cpu(b *testing.B, records int) func() {
	used := func() int64 {
		var u syscall.Rusage
		require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
		return u.Utime.Nano() + u.Stime.Nano()
	}
	begun := used()
	return func() { b.ReportMetric(float64(used()-begun)/float64(b.N)/float64(records), "cpu-ns/record") }
}

func BenchmarkDecodeJSON(b *testing.B) {
	d := NewDecoder(catalogue(b), memory.NewGoAllocator(), "310000", 0)
	var values [][]byte
	var size int64
	for i := range 1000 {
		values = append(values, workerJSON(i))
		size += int64(len(values[i]))
	}
	headers := hs("feed", "worker", "content-type", "application/json", "batch-id", "2026-11-310000-01")
	for _, h := range [][]Header{nil, headers} {
		b.Run(fmt.Sprintf("headers=%d", len(h)), func(b *testing.B) {
			b.SetBytes(size / 1000)
			b.ReportAllocs()
			m := Message{Headers: h}
			defer cpu(b, 1)()
			for i := 0; b.Loop(); i++ {
				m.Value = values[i%1000]
				m.Offset++
				if err := d.Add(&m); err != nil {
					b.Fatal(err)
				}
				if d.Rows() >= 50000 {
					parts, _, _ := d.Flush()
					parts[0].Rows.Release()
				}
			}
		})
	}
}

func BenchmarkDecodeArrow(b *testing.B) {
	cat := catalogue(b)
	spec := cat.Feed("worker")
	var fields []arrow.Field
	for _, f := range spec.All() {
		fields = append(fields, arrow.Field{Name: f.Name, Type: text, Nullable: true})
	}
	const n = 5000
	value := func() []byte {
		schema := arrow.NewSchema(fields, nil)
		var buf bytes.Buffer
		w := ipc.NewWriter(&buf, ipc.WithSchema(schema))
		rb := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
		for i := range n {
			var m map[string]string
			require.NoError(b, json.Unmarshal(workerJSON(i), &m))
			for c, f := range fields {
				rb.Field(c).(*array.StringBuilder).Append(m[f.Name])
			}
		}
		require.NoError(b, w.Write(rb.NewRecord()))
		require.NoError(b, w.Close())
		return buf.Bytes()
	}()
	d := NewDecoder(cat, memory.NewGoAllocator(), "310000", 0)
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	defer cpu(b, n)()
	for b.Loop() {
		require.NoError(b, d.Add(&Message{Value: value, Headers: hs("content-type", TypeArrow)}))
		if d.Rows() >= 50000 {
			parts, rejects, _ := d.Flush()
			if len(rejects) > 0 {
				b.Fatal(rejects[0])
			}
			parts[0].Rows.Release()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
}
