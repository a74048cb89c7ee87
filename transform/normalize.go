package transform

import (
	"bytes"
	"encoding/json"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/decimal128"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/value"
)

// firstReport is the oldest moment a record can have been reported: the field
// of work began in 2003.
var firstReport = time.Date(2003, 1, 1, 0, 0, 0, 0, feed.Shanghai).UnixMilli()

const (
	// clockSlack is how far ahead of the worker's clock a province's may run.
	clockSlack = 10 * time.Minute
	// oldReport is the age from which a report is worth a warning: a year, and
	// the month in which the last of a year's reports are due.
	oldReport = 400 * 24 * time.Hour
)

// sheet is the working state for the batches of one feed.
type sheet struct {
	spec *feed.Spec
	opt  *CheckOptions
	plan []fieldPlan // one per Spec.All
	cols []feed.Column

	schema *arrow.Schema
	// What builds each column of schema: a builder, or texts where that is nil.
	builders []array.Builder
	texts    []texts

	// Per batch, from open to close.
	n       int
	wire    []view
	offset  *array.Int64
	row     *array.Int32
	now     time.Time
	today   int32
	void    []bool
	eff     []int32
	hash    []uint64
	found   map[int32][]flow.Finding
	warn    map[int32][]feed.Rule
	splits  bool
	form    form
	sent    []sent
	strips  *[strips][stripRoom]byte
	scratch []byte
	extra   []byte
}

// fieldPlan is what is known about a field before the first row.
type fieldPlan struct {
	field *feed.Field
	list  *feed.List
	out   int    // position of its column in the output, -1 when not stored
	tag   uint32 // stands for the field's name in the fingerprint
	// kept says that its text may stand in the quarantine.
	kept bool
	// memo remembers its texts; nil where they seldom come again, or where what is
	// read depends on other fields of the record.
	memo *memo
}

// remembered says of which fields a memo is kept.
func remembered(i int, f *feed.Field) bool {
	switch f.Kind.Kind {
	case feed.Code, feed.Unit, feed.Division, feed.CreditCode, feed.Date, feed.Period, feed.Time, feed.Bool:
		return true
	}
	return i == feed.FieldBatchID
}

// clearType is the Arrow type of a column between Check and Pseudonymize: the
// stored type, but personal kinds in the clear.
func clearType(c feed.Column, f *feed.Field) arrow.DataType {
	if f == nil || c.Precision {
		return flow.StoreType(c.Store)
	}
	switch f.Kind.Kind {
	case feed.ResidentID, feed.PersonName, feed.Mobile, feed.Secret, feed.Subject:
		return arrow.BinaryTypes.String
	case feed.Birth:
		return arrow.FixedWidthTypes.Date32
	case feed.Pay:
		return arrow.PrimitiveTypes.Int64
	}
	return flow.StoreType(c.Store)
}

// checkedSchema is the schema of Check's output.
func checkedSchema(spec *feed.Spec) *arrow.Schema {
	all := spec.All()
	var fields []arrow.Field
	for _, c := range spec.Columns() {
		if c.Field < 0 {
			break
		}
		fields = append(fields, arrow.Field{Name: c.Name, Type: clearType(c, &all[c.Field]), Nullable: true})
	}
	fields = append(fields,
		arrow.Field{Name: feed.ColWarnings, Type: arrow.BinaryTypes.String},
		arrow.Field{Name: feed.ColPart, Type: arrow.PrimitiveTypes.Uint8},
		arrow.Field{Name: feed.ColOffset, Type: arrow.PrimitiveTypes.Int64},
		arrow.Field{Name: feed.ColRow, Type: arrow.PrimitiveTypes.Int32},
		arrow.Field{Name: colHash, Type: arrow.PrimitiveTypes.Uint64})
	return arrow.NewSchema(fields, nil)
}

func newSheet(spec *feed.Spec, opt *CheckOptions) *sheet {
	s := &sheet{
		spec: spec, opt: opt, schema: checkedSchema(spec),
		found: make(map[int32][]flow.Finding), warn: make(map[int32][]feed.Rule),
	}
	s.texts = make([]texts, s.schema.NumFields())
	for _, f := range s.schema.Fields() {
		var b array.Builder
		if f.Type.ID() != arrow.STRING {
			b = array.NewBuilder(opt.Mem, f.Type)
		}
		s.builders = append(s.builders, b)
	}
	for _, c := range spec.Columns() {
		if c.Field < 0 {
			break
		}
		s.cols = append(s.cols, c)
	}
	all := spec.All()
	s.plan = make([]fieldPlan, len(all))
	for i := range all {
		p := &s.plan[i]
		p.field, p.out = &all[i], -1
		p.list = opt.Catalogue.List(all[i].List)
		h := fnv.New32a()
		h.Write([]byte(all[i].Name))
		p.tag = h.Sum32()
		p.kept = all[i].Privacy != feed.P3 && !all[i].Kind.Kind.Info().Personal
		for j, c := range s.cols {
			if c.Field == i && !c.Precision {
				p.out = j
			}
		}
		if remembered(i, p.field) {
			p.memo = new(memo)
		}
	}
	return s
}

func (s *sheet) open(wire arrow.Record, now time.Time) {
	s.n = int(wire.NumRows())
	s.wire = s.wire[:0]
	for i := range s.plan {
		s.wire = append(s.wire, viewOf(wire.Column(i).(*array.String)))
		if m := s.plan[i].memo; m != nil {
			m.gen++
		}
	}
	s.offset = wire.Column(len(s.plan)).(*array.Int64)
	s.row = wire.Column(len(s.plan) + 1).(*array.Int32)
	s.now, s.today = now, feed.Day(now.In(feed.Shanghai))
	s.sent = s.sent[:0]
	for i := range s.plan {
		switch i {
		case feed.FieldSchemaVersion, feed.FieldBatchID, feed.FieldOp, feed.FieldReportedAt:
			continue
		}
		if w := &s.wire[i]; w.ends[0] < w.ends[s.n] {
			s.sent = append(s.sent, sent{*w, uint64(s.plan[i].tag)})
		}
	}
	s.hash = slices.Grow(s.hash[:0], s.n)[:s.n]
	s.void = slices.Grow(s.void[:0], s.n)[:s.n]
	s.eff = slices.Grow(s.eff[:0], s.n)[:s.n]
	clear(s.found)
	clear(s.warn)
	s.splits = false
	var last []byte
	void := false
	for row := range s.n {
		if v := s.text(feed.FieldOp, row); row == 0 || !bytes.Equal(v, last) {
			op, _ := s.lookup(s.plan[feed.FieldOp].list, v)
			last, void = v, string(op) == "V"
		}
		s.void[row] = void
	}
}

// close forgets the batch; its arrays belong to the caller.
func (s *sheet) close() {
	clear(s.wire)
	clear(s.sent)
	s.offset, s.row = nil, nil
}

// text views what the province wrote; empty when it wrote nothing.
func (s *sheet) text(field, row int) []byte { return s.wire[field].text(row) }

// batch is the batch id to the letter, by which the tally knows the record.
func (s *sheet) batch(row int) string { return string(s.wire[feed.FieldBatchID].at(row)) }

// begin makes room for the rows of every column.
func (s *sheet) begin() {
	for i := range s.plan {
		p := &s.plan[i]
		if p.out < 0 {
			continue
		}
		if b := s.builders[p.out]; b != nil {
			b.Reserve(s.n)
		} else {
			s.texts[p.out].follow(s.opt.Mem, s.wire[i])
		}
		if p.field.Partial {
			s.texts[p.out+1].reserve(s.opt.Mem, s.n, 0)
		}
	}
}

// normalize reads some rows of every column in the order of the fields, which is
// also the order of a record's findings.
func (s *sheet) normalize(from, to int) {
	for i := range s.plan {
		p := &s.plan[i]
		if p.out < 0 {
			continue
		}
		w, required := &s.wire[i], p.field.Required
		// Most of the envelope is the same in all records of a batch.
		again := p.memo != nil && w.constant(from, to) && s.oneDay(p, from, to)
		m := p.memo
		if m != nil && !again && !m.worth(to-from) {
			m = nil
		}
		passes := m != nil && !again && p.field.Kind.Kind != feed.Division
		out := &s.texts[p.out]
		for row := from; row < to; row++ {
			// A shared column needs nothing for rows that are as they should be.
			if passes && out.follows() {
				n := m.asSent(w, row, to)
				out.n += n
				if row += n; row == to {
					break
				}
			}
			v := w.at(row)
			if blank(v) {
				if required && (i < feed.EnvelopeLen || !s.void[row]) {
					s.find(row, i, feed.Required)
				}
				s.absent(p)
				continue
			}
			f, rule := s.remember(p, m, i, row, v)
			if rule != feed.NoRule {
				s.find(row, i, rule)
				s.absent(p)
				continue
			}
			times := 1
			if f.warn != feed.NoRule {
				s.warned(row, f.warn)
			} else if again {
				times = to - from
			}
			s.append(p, f, times)
			if i == feed.FieldEffectiveFrom {
				for k := range times {
					s.eff[row+k] = int32(f.n)
				}
			}
			row += times - 1
		}
	}
}

// remember reads one value, or remembers how it was read. The form is borrowed
// until the next value.
func (s *sheet) remember(p *fieldPlan, m *memo, field, row int, v []byte) (*form, feed.Rule) {
	if m == nil || len(v) > memoLen {
		return &s.form, s.read(&s.form, p, field, row, v)
	}
	slot, known := m.find(v, s.dayFor(p, row))
	if known {
		return &slot.form, feed.NoRule
	}
	rule := s.read(&s.form, p, field, row, v)
	if rule == feed.NoRule {
		m.put(slot, v, s.form)
	}
	return &s.form, rule
}

// append adds a value to its column some times, as Reserve has made room for it.
func (s *sheet) append(p *fieldPlan, f *form, times int) {
	if s.builders[p.out] == nil {
		s.texts[p.out].repeat(f.text, times)
	} else {
		for range times {
			s.build(p, f)
		}
	}
	if p.field.Partial {
		s.texts[p.out+1].repeat(bytesOf(f.precision.String()), times)
	}
}

func (s *sheet) build(p *fieldPlan, f *form) {
	switch b := s.builders[p.out].(type) {
	case *array.Date32Builder:
		b.UnsafeAppend(arrow.Date32(f.n))
	case *array.Int64Builder:
		b.UnsafeAppend(f.n)
	case *array.TimestampBuilder:
		b.UnsafeAppend(arrow.Timestamp(f.n))
	case *array.BooleanBuilder:
		b.UnsafeAppend(f.n != 0)
	case *array.Decimal128Builder:
		b.UnsafeAppend(decimal128.FromI64(f.n))
	case *array.ListBuilder:
		b.Append(true)
		for code := range bytes.SplitSeq(f.text, codeMark) {
			b.ValueBuilder().(*array.StringBuilder).Append(string(code))
		}
	default:
		panic("BUG: no column for kind " + p.field.Kind.String())
	}
}

func (s *sheet) find(row, field int, rule feed.Rule) {
	s.found[int32(row)] = append(s.found[int32(row)], flow.Finding{Field: s.plan[field].field.Name, Rule: rule})
}

func (s *sheet) warned(row int, rule feed.Rule) {
	if rule != feed.NoRule && !slices.Contains(s.warn[int32(row)], rule) {
		s.warn[int32(row)] = append(s.warn[int32(row)], rule)
	}
}

// absent appends the stored form of no value. A required column has no NULL: a
// void's row, and the place of a row that is about to be refused, hold zero.
func (s *sheet) absent(p *fieldPlan) {
	switch b := s.builders[p.out].(type) {
	case nil:
		s.texts[p.out].append(nil)
	case *array.ListBuilder:
		b.Append(true)
	default:
		if p.field.Required {
			b.AppendEmptyValue()
		} else {
			b.AppendNull()
		}
	}
	if p.field.Partial {
		s.texts[p.out+1].append(nil)
	}
}

// read reads one value into f, or names the rule that it breaks.
func (s *sheet) read(f *form, p *fieldPlan, field, row int, v []byte) (rule feed.Rule) {
	*f = form{}
	switch p.field.Kind.Kind {
	case feed.Text:
		f.text, _, rule = value.Text(s.scratch[:0], v)
		rule = open(f.text, rule)
	case feed.Key:
		if field == feed.FieldBatchID {
			// The tally and the receipt know the batch by what was sent.
			if value.Damaged(v) {
				return feed.DamagedText
			}
			f.text = v
			return open(v, feed.NoRule)
		}
		f.text, _, rule = value.Code(s.scratch[:0], v)
		if field == feed.FieldCorrects && rule == feed.NoRule {
			s.correcting(row, f.text)
		}
		rule = open(f.text, rule)
	case feed.Code:
		f.text, rule = s.lookup(p.list, v)
		if rule == feed.NoRule && p.list.EducationHeader(string(f.text)) {
			f.warn = feed.EducationHeader
		}
		return rule
	case feed.Codes:
		f.text, rule = s.codes(p.list, v)
	case feed.Unit:
		f.text, _, rule = value.Code(s.scratch[:0], v)
		if rule != feed.NoRule {
			return rule
		}
		s.scratch = f.text
		code, ok := s.opt.Catalogue.LookupUnit(f.text)
		if !ok {
			return feed.CodeList
		}
		f.text = bytesOf(code)
		return feed.NoRule
	case feed.Division:
		*f, rule = s.division(row, v)
	case feed.ResidentID:
		f.text, rule = s.residentID(row, v)
	case feed.CreditCode:
		var notes value.Notes
		f.text, notes, rule = value.CreditCode(s.scratch[:0], v)
		f.warn = notes.Warning()
	case feed.PersonName:
		out, _, rule := value.Name(s.scratch[:0], v)
		if rule != feed.NoRule {
			return rule
		}
		s.scratch = out
		s.extra = value.NameKey(s.extra[:0], out)
		f.text = s.extra
		return feed.NoRule
	case feed.Mobile:
		f.text, _, rule = value.Mobile(s.scratch[:0], v)
	case feed.Secret:
		f.text, _, rule = value.Code(s.scratch[:0], v)
	case feed.Subject:
		*f, rule = s.subject(row, v)
	case feed.Birth:
		day, precision, rule := value.Date(v)
		switch {
		case rule != feed.NoRule:
			return rule
		case precision != value.Day:
			return feed.DatePartial
		case day > s.today:
			return feed.OutOfRange
		}
		f.n = int64(day)
		return feed.NoRule
	case feed.Date:
		day, precision, rule := value.Date(v)
		if rule == feed.NoRule && precision != value.Day && !p.field.Partial {
			rule = feed.DatePartial
		}
		f.n, f.precision = int64(day), precision
		return rule
	case feed.Period:
		day, precision, rule := value.YearMonth(v)
		if rule == feed.NoRule && precision == value.Year {
			rule = feed.DatePartial
		}
		f.n = int64(day)
		return rule
	case feed.Time:
		f.n, f.warn, rule = s.time(field, v)
		return rule
	case feed.Money, feed.Pay, feed.Integer, feed.Tenths:
		switch p.field.Kind.Kind {
		case feed.Integer:
			f.n, rule = value.Integer(v)
		case feed.Tenths:
			f.n, rule = value.Tenths(v)
		default:
			f.n, rule = value.Money(v, true)
		}
		if rule == feed.NoRule {
			rule = within(p.field, f.n)
		}
		return rule
	case feed.Bool:
		t, rule := value.Bool(v)
		if t {
			f.n = 1
		}
		return rule
	default:
		panic("BUG: no normalizer for kind " + p.field.Kind.String())
	}
	if rule == feed.NoRule {
		s.scratch = f.text // keep what it has grown to
	}
	return rule
}

// within holds a number against the field's bounds.
func within(f *feed.Field, n int64) feed.Rule {
	if f.Min != nil && n < *f.Min || f.Max != nil && n > *f.Max {
		return feed.OutOfRange
	}
	if f.Kind.Kind == feed.Tenths && (n > math.MaxInt32/10 || n < math.MinInt32/10) {
		return feed.OutOfRange
	}
	return feed.NoRule
}

// open refuses a text that anybody may read when it holds a number of a person.
func open(v []byte, rule feed.Rule) feed.Rule {
	if rule == feed.NoRule && value.HoldsPersonalNumber(v) {
		return feed.PersonalInOpenField
	}
	return rule
}

// correcting notes that a record of op C names another record.
func (s *sheet) correcting(row int, corrects []byte) {
	if op, _ := s.lookup(s.plan[feed.FieldOp].list, s.text(feed.FieldOp, row)); string(op) != "C" {
		return
	}
	own, _, _ := value.Code(s.extra[:0], s.text(feed.FieldRecordID, row))
	s.extra = own
	if bytes.Equal(own, corrects) {
		s.warned(row, feed.CorrectsItself)
		return
	}
	s.splits = true
}

// lookup finds the code of what was written for one.
func (s *sheet) lookup(list *feed.List, v []byte) ([]byte, feed.Rule) {
	if code, ok := list.Lookup(v); ok {
		return bytesOf(code), feed.NoRule
	}
	out, _, rule := value.Code(s.extra[:0], v)
	if rule != feed.NoRule {
		return nil, rule
	}
	s.extra = out
	if code, ok := list.Lookup(out); ok {
		return bytesOf(code), feed.NoRule
	}
	return nil, feed.CodeList
}

// codeMark stands between the codes of one value; no code holds it.
var codeMark = []byte{0}

// codes reads several codes of one list; a code that stands twice counts once.
func (s *sheet) codes(list *feed.List, v []byte) ([]byte, feed.Rule) {
	var seen [][]byte
	for part := range bytes.FieldsFuncSeq(v, codeSeparator) {
		code, rule := s.lookup(list, bytes.TrimSpace(part))
		if rule != feed.NoRule {
			return nil, rule
		}
		if !slices.ContainsFunc(seen, func(c []byte) bool { return bytes.Equal(c, code) }) {
			seen = append(seen, code)
		}
	}
	slices.SortFunc(seen, bytes.Compare)
	out := s.scratch[:0]
	for i, code := range seen {
		if i > 0 {
			out = append(out, codeMark...)
		}
		out = append(out, code...)
	}
	return out, feed.NoRule
}

func codeSeparator(r rune) bool {
	return strings.ContainsRune(",;|、，；", r)
}

// dayOf is the day as of which a record's divisions are read. It is today's when
// the record is refused already, perhaps for that very day.
func (s *sheet) dayOf(row int) int32 {
	if len(s.found) > 0 && len(s.found[int32(row)]) > 0 {
		return s.today
	}
	return s.eff[row]
}

// dayFor is the day on which the reading of a field depends, 0 for none.
func (s *sheet) dayFor(p *fieldPlan, row int) int32 {
	if p.field.Kind.Kind != feed.Division {
		return 0
	}
	return s.dayOf(row)
}

// oneDay says that the reading of a field depends on the same day in some rows.
func (s *sheet) oneDay(p *fieldPlan, from, to int) bool {
	for row := from; row < to && p.field.Kind.Kind == feed.Division; row++ {
		if s.dayOf(row) != s.dayOf(from) {
			return false
		}
	}
	return true
}

func (s *sheet) division(row int, v []byte) (f form, rule feed.Rule) {
	if f.text, _, rule = value.Code(s.scratch[:0], v); rule != feed.NoRule {
		return f, rule
	}
	switch s.opt.Catalogue.Divisions.Lookup(f.text, s.dayOf(row)) {
	case feed.Unknown:
		return f, feed.DivisionUnknown
	case feed.Retired, feed.NotYet:
		f.warn = feed.DivisionRetired
	}
	return f, feed.NoRule
}

func (s *sheet) residentID(row int, v []byte) ([]byte, feed.Rule) {
	id, notes, rule := value.ResidentID(s.scratch[:0], v, value.ResidentIDOptions{Today: s.today, AllowTestAreas: s.opt.AllowTestAreas})
	if rule != feed.NoRule {
		return id, rule
	}
	s.warned(row, notes.Warning())
	area := value.Area(id)
	if string(area[2:4]) != "99" && s.opt.Catalogue.Divisions.Lookup(area, s.today) == feed.Unknown {
		s.warned(row, feed.RICAreaUnknown)
	}
	return id, feed.NoRule
}

// personMark stands before a subject that is a person, until Pseudonymize.
const personMark = 0x01

// subject reads whom an evaluation judges. The list evaluation_subject gives
// persons the code 4; the number is then one of identity.
func (s *sheet) subject(row int, v []byte) (f form, rule feed.Rule) {
	if i := s.spec.Index("subject_type"); i >= 0 {
		if code, rule := s.lookup(s.plan[i].list, s.text(i, row)); rule == feed.NoRule && string(code) == "4" {
			out, notes, rule := value.ResidentID(append(s.scratch[:0], personMark), v, value.ResidentIDOptions{Today: s.today, AllowTestAreas: s.opt.AllowTestAreas})
			return form{text: out, warn: notes.Warning()}, rule
		}
	}
	f.text, _, rule = value.Code(s.scratch[:0], v)
	return f, open(f.text, rule)
}

// time reads a moment in milliseconds.
func (s *sheet) time(field int, v []byte) (ms int64, warn, rule feed.Rule) {
	ms, exact, rule := value.DateTime(v)
	switch now := s.now.UnixMilli(); {
	case rule != feed.NoRule:
	case !exact:
		rule = feed.ReportedAtPrecision
	case field != feed.FieldReportedAt:
	case ms > now+clockSlack.Milliseconds():
		rule = feed.ReportedAtFuture
	case ms < firstReport:
		rule = feed.ReportedAtEarly
	case ms < now-oldReport.Milliseconds():
		warn = feed.ReportedAtOld
	}
	return ms, warn, rule
}

// record closes the builders, checks the fields against each other, and adds
// the columns that every checked row has.
func (s *sheet) record() arrow.Record {
	cols := make([]arrow.Array, 0, len(s.builders))
	for i := range s.cols {
		cols = append(cols, s.column(i))
	}
	s.validate(cols)
	last := len(s.cols)
	warn := &s.texts[last]
	warn.reserve(s.opt.Mem, s.n, 0)
	part := s.builders[last+1].(*array.Uint8Builder)
	part.Reserve(s.n)
	for row := range s.n {
		var w []feed.Rule
		if len(s.warn) > 0 {
			w = s.warn[int32(row)]
		}
		if len(w) > 0 {
			warn.appendString(warnings(w))
		} else {
			warn.append(nil)
		}
		part.UnsafeAppend(0)
	}
	s.builders[last+4].(*array.Uint64Builder).AppendValues(s.hash, nil)
	s.offset.Retain()
	s.row.Retain()
	cols = append(cols, s.column(last), s.column(last+1), s.offset, s.row, s.column(last+4))
	rec := array.NewRecord(s.schema, cols, int64(s.n))
	for _, c := range cols {
		c.Release()
	}
	return rec
}

// column ends the column i.
func (s *sheet) column(i int) arrow.Array {
	if b := s.builders[i]; b != nil {
		return b.NewArray()
	}
	return s.texts[i].column()
}

// keptJSON returns what the quarantine may keep of a record: fields that are
// not personal and hold nothing that could be a number of a person.
func (s *sheet) keptJSON(row int) string {
	kept := make(map[string]string)
	for i := range s.plan {
		if !s.plan[i].kept {
			continue
		}
		if v := s.text(i, row); len(v) > 0 && len(v) <= 256 {
			if t := harmless(v); t != "" {
				kept[s.plan[i].field.Name] = t
			}
		}
	}
	out, err := json.Marshal(kept)
	if err != nil {
		panic("BUG: a map of strings is always JSON: " + err.Error())
	}
	return string(out)
}
