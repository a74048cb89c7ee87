package transform

import (
	"bytes"
	"encoding/binary"
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

	schema   *arrow.Schema
	builders []array.Builder // one per column of schema

	// Per batch, from open to close.
	n       int
	wire    []*array.String
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
	scratch []byte
	extra   []byte
}

// fieldPlan is what is known about a field before the first row.
type fieldPlan struct {
	field *feed.Field
	list  *feed.List
	out   int     // position of its column in the output, -1 when not stored
	tag   [4]byte // stands for the field's name in the fingerprint
	// kept says that its text may stand in the quarantine.
	kept bool
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
	for _, f := range s.schema.Fields() {
		s.builders = append(s.builders, array.NewBuilder(opt.Mem, f.Type))
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
		binary.LittleEndian.PutUint32(p.tag[:], h.Sum32())
		p.kept = all[i].Privacy != feed.P3 && !all[i].Kind.Kind.Info().Personal
		for j, c := range s.cols {
			if c.Field == i && !c.Precision {
				p.out = j
			}
		}
	}
	return s
}

func (s *sheet) open(wire arrow.Record, now time.Time) {
	s.n = int(wire.NumRows())
	s.wire = s.wire[:0]
	for i := range s.plan {
		s.wire = append(s.wire, wire.Column(i).(*array.String))
	}
	s.offset = wire.Column(len(s.plan)).(*array.Int64)
	s.row = wire.Column(len(s.plan) + 1).(*array.Int32)
	s.now, s.today = now, feed.Day(now.In(feed.Shanghai))
	s.void = slices.Grow(s.void[:0], s.n)[:s.n]
	s.eff = slices.Grow(s.eff[:0], s.n)[:s.n]
	clear(s.found)
	clear(s.warn)
	s.splits = false
	for row := range s.n {
		op, _ := s.lookup(s.plan[feed.FieldOp].list, s.text(feed.FieldOp, row))
		s.void[row] = op == "V"
	}
}

// close forgets the batch; its arrays belong to the caller.
func (s *sheet) close() {
	clear(s.wire)
	s.offset, s.row = nil, nil
}

// text views what the province wrote; empty when it wrote nothing.
func (s *sheet) text(field, row int) []byte {
	col := s.wire[field]
	if col.IsNull(row) {
		return nil
	}
	v := bytesOf(col.Value(row))
	if len(v) > 0 && (v[0] <= ' ' || v[0] == 0xC2 || v[0] == 0xE3) && len(bytes.TrimSpace(v)) == 0 {
		return nil
	}
	return v
}

// batch is the batch id to the letter, by which the tally knows the record.
func (s *sheet) batch(row int) string {
	if col := s.wire[feed.FieldBatchID]; !col.IsNull(row) {
		return strings.Clone(col.Value(row))
	}
	return ""
}

// normalize reads every column in the order of the fields, which is also the
// order of a record's findings.
func (s *sheet) normalize() {
	for i := range s.plan {
		p := &s.plan[i]
		if p.out < 0 {
			continue
		}
		b := s.builders[p.out]
		b.Reserve(s.n)
		required := p.field.Required
		for row := range s.n {
			v := s.text(i, row)
			if len(v) == 0 {
				if required && (i < feed.EnvelopeLen || !s.void[row]) {
					s.find(row, i, feed.Required)
				}
				s.absent(p, b)
				continue
			}
			if rule := s.value(p, i, row, b, v); rule != feed.NoRule {
				s.find(row, i, rule)
				s.absent(p, b)
			}
		}
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
func (s *sheet) absent(p *fieldPlan, b array.Builder) {
	switch b := b.(type) {
	case *array.StringBuilder:
		b.Append("")
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
		s.precision(p, "")
	}
}

func (s *sheet) precision(p *fieldPlan, v string) {
	s.builders[p.out+1].(*array.StringBuilder).Append(v)
}

// value reads one value and appends its form, or appends nothing and names the
// rule that it breaks.
func (s *sheet) value(p *fieldPlan, field, row int, b array.Builder, v []byte) feed.Rule {
	switch p.field.Kind.Kind {
	case feed.Text:
		out, _, rule := value.Text(s.scratch[:0], v)
		return s.openText(b, out, rule)
	case feed.Key:
		if field == feed.FieldBatchID {
			// The tally and the receipt know the batch by what was sent.
			if value.Damaged(v) {
				return feed.DamagedText
			}
			return s.openText(b, append(s.scratch[:0], v...), feed.NoRule)
		}
		out, _, rule := value.Code(s.scratch[:0], v)
		if field == feed.FieldCorrects && rule == feed.NoRule {
			s.correcting(row, out)
		}
		return s.openText(b, out, rule)
	case feed.Code:
		return s.code(p, row, b, v)
	case feed.Codes:
		return s.codes(p, b.(*array.ListBuilder), v)
	case feed.Unit:
		out, _, rule := value.Code(s.scratch[:0], v)
		if rule != feed.NoRule {
			return rule
		}
		code, ok := s.opt.Catalogue.LookupUnit(out)
		if !ok {
			return feed.CodeList
		}
		b.(*array.StringBuilder).Append(code)
	case feed.Division:
		return s.division(row, b, v)
	case feed.ResidentID:
		return s.residentID(row, b, v)
	case feed.CreditCode:
		out, notes, rule := value.CreditCode(s.scratch[:0], v)
		if rule != feed.NoRule {
			return rule
		}
		s.warned(row, notes.Warning())
		s.appendText(b, out)
	case feed.PersonName:
		out, _, rule := value.Name(s.scratch[:0], v)
		if rule != feed.NoRule {
			return rule
		}
		s.scratch = out
		s.extra = value.NameKey(s.extra[:0], out)
		b.(*array.StringBuilder).BinaryBuilder.Append(s.extra)
	case feed.Mobile:
		out, _, rule := value.Mobile(s.scratch[:0], v)
		if rule != feed.NoRule {
			return rule
		}
		s.appendText(b, out)
	case feed.Secret:
		out, _, rule := value.Code(s.scratch[:0], v)
		if rule != feed.NoRule {
			return rule
		}
		s.appendText(b, out)
	case feed.Subject:
		return s.subject(row, b, v)
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
		b.(*array.Date32Builder).UnsafeAppend(arrow.Date32(day))
	case feed.Pay:
		fen, rule := value.Money(v, true)
		if rule == feed.NoRule {
			rule = within(p.field, fen)
		}
		if rule != feed.NoRule {
			return rule
		}
		b.(*array.Int64Builder).UnsafeAppend(fen)
	case feed.Date:
		day, precision, rule := value.Date(v)
		switch {
		case rule != feed.NoRule:
			return rule
		case precision != value.Day && !p.field.Partial:
			return feed.DatePartial
		}
		if field == feed.FieldEffectiveFrom {
			s.eff[row] = day
		}
		b.(*array.Date32Builder).UnsafeAppend(arrow.Date32(day))
		if p.field.Partial {
			s.precision(p, precision.String())
		}
	case feed.Period:
		day, precision, rule := value.YearMonth(v)
		switch {
		case rule != feed.NoRule:
			return rule
		case precision == value.Year:
			return feed.DatePartial
		}
		b.(*array.Date32Builder).UnsafeAppend(arrow.Date32(day))
	case feed.Time:
		return s.time(field, row, b, v)
	case feed.Money, feed.Integer:
		n, rule := int64(0), feed.NoRule
		if p.field.Kind.Kind == feed.Money {
			n, rule = value.Money(v, true)
		} else {
			n, rule = value.Integer(v)
		}
		if rule == feed.NoRule {
			rule = within(p.field, n)
		}
		if rule != feed.NoRule {
			return rule
		}
		b.(*array.Int64Builder).UnsafeAppend(n)
	case feed.Tenths:
		n, rule := value.Tenths(v)
		if rule == feed.NoRule {
			rule = within(p.field, n)
		}
		if rule != feed.NoRule {
			return rule
		}
		b.(*array.Decimal128Builder).UnsafeAppend(decimal128.FromI64(n))
	case feed.Bool:
		t, rule := value.Bool(v)
		if rule != feed.NoRule {
			return rule
		}
		b.(*array.BooleanBuilder).UnsafeAppend(t)
	default:
		panic("BUG: no normalizer for kind " + p.field.Kind.String())
	}
	return feed.NoRule
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

// appendText appends out and keeps its memory for the next value.
func (s *sheet) appendText(b array.Builder, out []byte) {
	s.scratch = out
	b.(*array.StringBuilder).BinaryBuilder.Append(out)
}

// openText appends a text that anybody may read, unless it holds a number of a person.
func (s *sheet) openText(b array.Builder, out []byte, rule feed.Rule) feed.Rule {
	if rule != feed.NoRule {
		return rule
	}
	if value.HoldsPersonalNumber(out) {
		return feed.PersonalInOpenField
	}
	s.appendText(b, out)
	return feed.NoRule
}

// correcting notes that a record of op C names another record.
func (s *sheet) correcting(row int, corrects []byte) {
	if op, _ := s.lookup(s.plan[feed.FieldOp].list, s.text(feed.FieldOp, row)); op != "C" {
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

func (s *sheet) lookup(list *feed.List, v []byte) (string, feed.Rule) {
	if code, ok := list.Lookup(v); ok {
		return code, feed.NoRule
	}
	out, _, rule := value.Code(s.scratch[:0], v)
	if rule != feed.NoRule {
		return "", rule
	}
	s.scratch = out
	if code, ok := list.Lookup(out); ok {
		return code, feed.NoRule
	}
	return "", feed.CodeList
}

func (s *sheet) code(p *fieldPlan, row int, b array.Builder, v []byte) feed.Rule {
	code, rule := s.lookup(p.list, v)
	if rule != feed.NoRule {
		return rule
	}
	if p.list.EducationHeader(code) {
		s.warned(row, feed.EducationHeader)
	}
	b.(*array.StringBuilder).Append(code)
	return feed.NoRule
}

// codes reads several codes of one list; a code that stands twice counts once.
func (s *sheet) codes(p *fieldPlan, b *array.ListBuilder, v []byte) feed.Rule {
	var seen []string
	for _, part := range value.SplitCodes(v) {
		code, rule := s.lookup(p.list, part)
		if rule != feed.NoRule {
			return rule
		}
		if !slices.Contains(seen, code) {
			seen = append(seen, code)
		}
	}
	slices.Sort(seen)
	b.Append(true)
	for _, code := range seen {
		b.ValueBuilder().(*array.StringBuilder).Append(code)
	}
	return feed.NoRule
}

func (s *sheet) division(row int, b array.Builder, v []byte) feed.Rule {
	out, _, rule := value.Code(s.scratch[:0], v)
	if rule != feed.NoRule {
		return rule
	}
	s.scratch = out
	day := s.eff[row]
	if len(s.found[int32(row)]) > 0 {
		day = s.today
	}
	switch s.opt.Catalogue.Divisions.Lookup(out, day) {
	case feed.Unknown:
		return feed.DivisionUnknown
	case feed.Retired, feed.NotYet:
		s.warned(row, feed.DivisionRetired)
	}
	s.appendText(b, out)
	return feed.NoRule
}

func (s *sheet) residentID(row int, b array.Builder, v []byte) feed.Rule {
	out, notes, rule := value.ResidentID(s.scratch[:0], v, value.ResidentIDOptions{Today: s.today, AllowTestAreas: s.opt.AllowTestAreas})
	if rule != feed.NoRule {
		return rule
	}
	s.warned(row, notes.Warning())
	area := value.Area(out)
	if string(area[2:4]) != "99" && s.opt.Catalogue.Divisions.Lookup(area, s.today) == feed.Unknown {
		s.warned(row, feed.RICAreaUnknown)
	}
	s.appendText(b, out)
	return feed.NoRule
}

// personMark stands before a subject that is a person, until Pseudonymize.
const personMark = 0x01

// subject reads whom an evaluation judges. The list evaluation_subject gives
// persons the code 4; the number is then one of identity.
func (s *sheet) subject(row int, b array.Builder, v []byte) feed.Rule {
	if i := s.spec.Index("subject_type"); i >= 0 {
		if code, rule := s.lookup(s.plan[i].list, s.text(i, row)); rule == feed.NoRule && code == "4" {
			out, notes, rule := value.ResidentID(append(s.scratch[:0], personMark), v, value.ResidentIDOptions{Today: s.today, AllowTestAreas: s.opt.AllowTestAreas})
			if rule == feed.NoRule {
				s.warned(row, notes.Warning())
				s.appendText(b, out)
			}
			return rule
		}
	}
	out, _, rule := value.Code(s.scratch[:0], v)
	return s.openText(b, out, rule)
}

func (s *sheet) time(field, row int, b array.Builder, v []byte) feed.Rule {
	ms, exact, rule := value.DateTime(v)
	switch {
	case rule != feed.NoRule:
		return rule
	case !exact:
		return feed.ReportedAtPrecision
	}
	if field == feed.FieldReportedAt {
		now := s.now.UnixMilli()
		switch {
		case ms > now+clockSlack.Milliseconds():
			return feed.ReportedAtFuture
		case ms < firstReport:
			return feed.ReportedAtEarly
		case ms < now-oldReport.Milliseconds():
			s.warned(row, feed.ReportedAtOld)
		}
	}
	b.(*array.TimestampBuilder).UnsafeAppend(arrow.Timestamp(ms))
	return feed.NoRule
}

// record closes the builders, checks the fields against each other, and adds
// the columns that every checked row has.
func (s *sheet) record() arrow.Record {
	cols := make([]arrow.Array, 0, len(s.builders))
	for i := range s.cols {
		cols = append(cols, s.builders[i].NewArray())
	}
	s.validate(cols)
	last := len(s.cols)
	warn := s.builders[last].(*array.StringBuilder)
	part := s.builders[last+1].(*array.Uint8Builder)
	warn.Reserve(s.n)
	part.Reserve(s.n)
	for row := range s.n {
		if w := s.warn[int32(row)]; len(w) > 0 {
			warn.Append(warnings(w))
		} else {
			warn.Append("")
		}
		part.UnsafeAppend(0)
	}
	s.builders[last+2].(*array.Int64Builder).AppendValues(s.offset.Int64Values(), nil)
	s.builders[last+3].(*array.Int32Builder).AppendValues(s.row.Int32Values(), nil)
	s.builders[last+4].(*array.Uint64Builder).AppendValues(s.hash, nil)
	for i := last; i < len(s.builders); i++ {
		cols = append(cols, s.builders[i].NewArray())
	}
	rec := array.NewRecord(s.schema, cols, int64(s.n))
	for _, c := range cols {
		c.Release()
	}
	return rec
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
