package sheet

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/duiwu/duiwu/ingest/mapping"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/value"
)

// Options say against what a file is judged.
type Options struct {
	Catalogue *feed.Catalogue
	Feed      *feed.Spec
	Unit      string
	// Mapping says how the file's columns become fields; nil means by their
	// headings. It must have been loaded with the same catalogue.
	Mapping *mapping.Mapping
	// AsOf is effective_from of the rows that say none; zero means the day on
	// which the file was last changed.
	AsOf time.Time
	// Step judges the rows: the worker's own check. It sees batches of the wire
	// schema whose _offset counts the file's rows from 0.
	Step  flow.Step
	Clock func() time.Time
	Mem   memory.Allocator
	// MaxFindings bounds the findings that are kept one by one; all are counted.
	MaxFindings int

	// Batch is the batch id of every row, whatever the file says; empty means
	// that the rows are only looked at.
	Batch string
	// RecordKey keys the record ids of rows that have none; empty means a key
	// that is forgotten with the report.
	RecordKey []byte
	// Rows is handed every row as it was judged; nil when only the report is
	// wanted.
	Rows Rows
}

// Rows takes the rows of a file, to send them.
type Rows interface {
	// Take gets the wire rows of a batch (flow.WireSchema) and of each where it
	// stands and whether it was refused. Both are valid during the call.
	Take(wire arrow.Record, rows []Judged) error
	// Refuse takes a row back that Take got as good: only the end of a file
	// shows that it contradicts another one.
	Refuse(Place)
}

// Place is where a row stands: the table of its file, from 0, and its line.
type Place struct{ Table, Line int }

// Judged is a row of a file and whether it breaks a rule of severity error.
type Judged struct {
	Place
	Bad bool
}

// batchRows is how many rows are judged at a time.
const batchRows = 4096

// RecordID makes the record id of a row whose source gives none: a keyed hash of
// unit, feed and natural key, so that the same thing has the same id in every
// file and nobody can try out identity numbers. It is all letters: digits could
// look like a number of a person.
func RecordID(key []byte, unit, feedName string, natural []byte) string {
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "record|%s|%s|", unit, feedName)
	h.Write(natural)
	sum := h.Sum(nil)
	out := make([]byte, 0, 35)
	out = append(out, "nk-"...)
	for _, b := range sum[:16] {
		out = append(out, 'a'+b>>4, 'a'+b&15)
	}
	return string(out)
}

// Check reads a file to its end and says what in it falls short. Its error is
// *Unusable or about the machine.
func Check(ctx context.Context, f *File, opt Options) (*Report, error) {
	if opt.Mem == nil {
		opt.Mem = memory.DefaultAllocator
	}
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	if opt.MaxFindings == 0 {
		opt.MaxFindings = 100_000
	}
	u := opt.Catalogue.Unit(opt.Unit)
	if u == nil {
		return nil, unusable("没有代码为“"+opt.Unit+"”的报送单位。", "No reporting unit has the code "+strconv.Quote(opt.Unit)+".")
	}
	if u.National() && !opt.Feed.NationalOffice {
		return nil, unusable("国家禁毒办不报送“"+opt.Feed.Zh+"”。", "The national office does not report feed "+opt.Feed.Feed+".")
	}
	if opt.Mapping != nil && opt.Mapping.Feed != opt.Feed.Feed {
		return nil, unusable("映射文件是“"+opt.Mapping.Feed+"”的，不是“"+opt.Feed.Feed+"”的；请核对 --feed 和 --mapping。",
			"The mapping is of feed "+opt.Mapping.Feed+", not "+opt.Feed.Feed+"; check --feed and --mapping.")
	}
	c := newChecker(f, &opt)
	defer c.release()
	if err := c.run(ctx); err != nil {
		return nil, err
	}
	return c.report, nil
}

type checker struct {
	opt    *Options
	file   *File
	spec   *feed.Spec
	all    []feed.Field
	match  *matcher
	report *Report

	now       time.Time
	today     int32
	reported  string
	effective string
	unitText  string

	// The table at hand.
	table   int
	head    *header
	ahead   []row // rows held back while the header is looked for
	blocked bool  // its header breaks a rule of severity error
	absent  []bool
	tables  int // with a header
	hidden  map[int]bool
	passed  map[int]bool // hidden sheets that were not read
	// keyAt is the column of the first field of the natural key, by table.
	keyAt map[int]int

	// The batch at hand.
	builders []*array.StringBuilder
	offset   *array.Int64Builder
	rowNo    *array.Int32Builder
	batch    []pending
	base     int64
	vals     []string
	own      map[int32]map[string]bool

	keys     keys
	natural  []int           // names a row of this file: with the date in snapshot feeds
	identity []int           // names the thing in the world, in every file
	seeds    [2]maphash.Seed // of the natural key, of the content
	idKey    []byte
	scratch  []byte
	content  []byte
	example  []string
	counters counters
}

// pending is a row of the batch at hand.
type pending struct {
	pos     position
	columns []column
	keyed   bool
	key     uint64
	content uint64
	bad     bool
}

// position is where a row stands: the table and the line.
type position struct {
	table int
	sheet string
	line  int
}

type counters struct {
	hiddenRows, formulas, footers, examples, repeated, apostrophes int
}

func newChecker(f *File, opt *Options) *checker {
	c := &checker{
		opt: opt, file: f, spec: opt.Feed, all: opt.Feed.All(), match: newMatcher(opt.Feed, opt.Mapping),
		table: -1, own: map[int32]map[string]bool{}, hidden: map[int]bool{}, passed: map[int]bool{}, keyAt: map[int]int{},
		example: Example(opt.Catalogue, opt.Feed),
	}
	c.report = &Report{Feed: opt.Feed.Feed, spec: opt.Feed, max: opt.MaxFindings, Counts: map[feed.Rule]int{}, letters: !f.src.named()}
	c.now = opt.Clock()
	c.today = feed.Day(c.now.In(feed.Shanghai))
	// To the millisecond: two deliveries within one second are two.
	c.reported = c.now.In(feed.Shanghai).Format("2006-01-02T15:04:05.000+08:00")
	asOf := opt.AsOf
	if asOf.IsZero() {
		asOf = f.Date.In(feed.Shanghai)
	}
	c.effective = asOf.Format(time.DateOnly)
	c.report.Effective = c.effective
	c.seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	c.idKey = opt.RecordKey
	if len(c.idKey) == 0 {
		c.idKey = make([]byte, 32)
		_, _ = rand.Read(c.idKey) // it never fails
	}
	for _, name := range c.spec.NaturalKey {
		c.natural = append(c.natural, c.spec.Index(name))
	}
	c.identity = slices.Clone(c.natural)
	if c.spec.KeyHasDate() && !slices.Contains(c.natural, feed.FieldEffectiveFrom) {
		c.natural = append(c.natural, feed.FieldEffectiveFrom)
	}
	for range c.all {
		c.builders = append(c.builders, array.NewStringBuilder(opt.Mem))
	}
	c.offset, c.rowNo = array.NewInt64Builder(opt.Mem), array.NewInt32Builder(opt.Mem)
	c.vals = make([]string, len(c.all))
	if t, ok := opt.Step.(*Trace); ok {
		t.c = c
	}
	if x, ok := f.src.(*xlsxSource); ok {
		for i, w := range x.sheets {
			c.hidden[i] = w.hidden
		}
		f.date1904 = x.date1904
	}
	return c
}

func (c *checker) release() {
	for _, b := range c.builders {
		b.Release()
	}
	c.offset.Release()
	c.rowNo.Release()
	c.keys.close()
}

func (c *checker) run(ctx context.Context) error {
	var r row
	for {
		err := c.file.src.next(&r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.take(ctx, &r); err != nil {
			return err
		}
	}
	if err := c.endTable(ctx); err != nil {
		return err
	}
	if c.tables == 0 {
		return c.noTable()
	}
	if err := c.flush(ctx); err != nil {
		return err
	}
	if err := c.duplicates(); err != nil {
		return err
	}
	// The keys of JSON may come as late as its last row.
	if c.file.src.named() && len(c.unmapped("")) > 0 {
		c.report.Accepted = 0
	}
	c.report.finish()
	c.tell()
	return nil
}

// noTable says why no header was found.
func (c *checker) noTable() error {
	if m := c.opt.Mapping; m != nil && m.Sheet != "" && c.table < 0 && c.file.Format == XLSX {
		return unusable("工作簿里没有映射文件所说的工作表，或其中没有内容；请核对 sheet。",
			"The workbook has no sheet of the name that the mapping gives, or nothing stands in it; check sheet.")
	}
	if j, ok := c.file.src.(*jsonSource); ok && j.nested {
		return unusable("JSON 的记录不在最外层：请给出记录数组本身（[{…}, {…}]）或一行一个对象。", "The records do not stand at the top of the JSON; give their array itself ([{…}, {…}]) or one object a line.")
	}
	if c.opt.Mapping != nil {
		return unusable(
			"没有找到映射文件所列的表头：前 "+strconv.Itoa(headRows)+" 行里认不出。请核对 --mapping 与文件。",
			"None of the first "+strconv.Itoa(headRows)+" rows has the headings that the mapping lists; check --mapping and the file.")
	}
	return unusable(
		"没有找到“"+c.spec.Zh+"”的表头：前 "+strconv.Itoa(headRows)+" 行里认不出该类别的字段名。请用 duiwu template --feed "+c.spec.Feed+" 的模板，或核对 --feed。",
		"No header of feed "+c.spec.Feed+" was found in the first "+strconv.Itoa(headRows)+" rows; use the template (duiwu template --feed "+c.spec.Feed+") or check --feed.")
}

// take adds a row of the file.
func (c *checker) take(ctx context.Context, r *row) error {
	if c.file.src.named() {
		if c.table < 0 {
			c.table = 0
		}
		if names := c.file.src.names(); c.head == nil || len(c.head.columns) < len(names) {
			if err := c.named(names, r.line); err != nil {
				return err
			}
		}
		return c.data(ctx, r)
	}
	if m := c.opt.Mapping; m != nil && m.Sheet != "" && r.sheet != "" {
		if !m.Reads(r.sheet) {
			return nil
		}
		c.hidden[r.table] = false // the mapping asks for it
	}
	if r.table != c.table {
		if err := c.endTable(ctx); err != nil {
			return err
		}
		c.table, c.head, c.ahead = r.table, nil, c.ahead[:0]
	}
	if c.hidden[r.table] && (c.passed[r.table] || c.tables > 0 && c.head == nil) {
		c.passed[r.table] = true
		return nil // a hidden sheet counts only where no visible one is a table
	}
	if c.head != nil {
		return c.data(ctx, r)
	}
	if len(c.ahead) > headRows {
		return nil // it has no header; the rest of the sheet is passed over
	}
	held := *r
	held.cells = slices.Clone(r.cells)
	c.ahead = append(c.ahead, held)
	if len(c.ahead) == headRows {
		return c.begin(ctx)
	}
	return nil
}

// endTable judges a table that ended before its header was looked for.
func (c *checker) endTable(ctx context.Context) error {
	if c.head == nil && len(c.ahead) > 0 && len(c.ahead) < headRows {
		return c.begin(ctx)
	}
	return nil
}

// begin finds the header among the rows held back and takes the rest of them.
func (c *checker) begin(ctx context.Context) error {
	h, next, ok := c.match.find(c.ahead)
	if c.tables > 0 {
		// Behind the first table, sheets of code lists and the like stand too.
		ok = ok && c.strong(&h)
	} else if err := c.otherFeed(h); err != nil {
		return err
	}
	if !ok {
		c.ahead = append(c.ahead, row{}) // marks the table as searched
		for len(c.ahead) <= headRows {
			c.ahead = append(c.ahead, row{})
		}
		return nil
	}
	rows := c.ahead
	c.head = &h
	c.judgeHead(rows[0].sheet)
	c.ahead = nil
	for i := next; i < len(rows); i++ {
		if err := c.data(ctx, &rows[i]); err != nil {
			return err
		}
	}
	return nil
}

// strong says that a header has at least half of the required fields.
func (c *checker) strong(h *header) bool {
	have, needed := 0, 0
	for i := feed.EnvelopeLen; i < len(c.all); i++ {
		if !c.all[i].Required {
			continue
		}
		needed++
		if slices.ContainsFunc(h.columns, func(col column) bool { return col.field == i }) {
			have++
		}
	}
	return 2*have >= needed
}

// named takes the names of columns as the header.
func (c *checker) named(names []string, line int) error {
	first := 0
	if c.head == nil {
		c.absent = make([]bool, len(c.all))
		c.head = &header{}
	} else {
		first = len(c.head.columns)
	}
	h := header{}
	c.match.columns(&h, names)
	if first == 0 {
		if err := c.otherFeed(h); err != nil {
			return err
		}
		if h.matched == 0 {
			return c.noTable()
		}
	}
	c.head = &h
	if first == 0 {
		c.tables++
	}
	h.line = line
	for i := first; i < len(h.columns); i++ {
		c.judgeColumn("", i)
	}
	c.noteHead("")
	c.keyAt[0] = slices.IndexFunc(h.columns, func(x column) bool { return x.field == c.natural[0] })
	return nil
}

// otherFeed refuses a table that is plainly of another feed.
func (c *checker) otherFeed(h header) error {
	if c.opt.Mapping != nil {
		return nil // it says which feed
	}
	for _, s := range c.opt.Catalogue.Feeds {
		if s == c.spec {
			continue
		}
		m := newMatcher(s, nil)
		other := header{}
		if len(c.ahead) > 0 {
			other, _, _ = m.find(c.ahead)
		} else {
			heads := make([]string, len(h.columns))
			for i := range heads {
				heads[i] = h.columns[i].heading
			}
			m.columns(&other, heads)
		}
		needed := 0
		for i := range s.Fields {
			if s.Fields[i].Required {
				needed++
			}
		}
		if other.matched >= 2 && other.matched > 2*h.matched && other.matched*2 >= needed {
			return unusable(
				"这份文件看来是“"+s.Zh+"”（"+s.Feed+"），不是“"+c.spec.Zh+"”；请核对 --feed。",
				"This file looks like feed "+s.Feed+", not "+c.spec.Feed+"; check --feed.")
		}
	}
	return nil
}

// judgeHead finds what the header of a table breaks for all of its rows.
func (c *checker) judgeHead(sheet string) {
	c.tables++
	c.blocked = false
	c.noteHead(sheet)
	c.absent = make([]bool, len(c.all))
	for i := range c.head.columns {
		c.judgeColumn(sheet, i)
	}
	c.keyAt[c.table] = slices.IndexFunc(c.head.columns, func(x column) bool { return x.field == c.natural[0] })
	have := make([]bool, len(c.all))
	for _, col := range c.head.columns {
		if col.field >= 0 {
			have[col.field] = true
		}
	}
	c.fillConstants(have)
	missing := c.unmapped(sheet)
	for i := feed.EnvelopeLen; i < len(c.all); i++ {
		if slices.Contains(missing, i) {
			c.absent[i] = true
			continue
		}
		if c.all[i].Required && !have[i] {
			// Said once, not once a row.
			c.absent[i] = true
			c.report.add(finding{table: c.table, sheet: sheet, line: c.head.line, column: -1, field: i, rule: feed.Required, missing: true})
		}
	}
}

func (c *checker) judgeColumn(sheet string, i int) {
	col := &c.head.columns[i]
	if col.field < 0 && col.rule == feed.UnknownField {
		if c.opt.Catalogue.IsForbidden(mapping.FoldHeading(col.heading)) || c.opt.Catalogue.IsForbidden(col.heading) {
			col.rule = feed.ForbiddenField
		}
		for _, f := range c.spec.Forbidden {
			if mapping.FoldHeading(f) == mapping.FoldHeading(col.heading) {
				col.rule = feed.ForbiddenField
			}
		}
	}
	if col.skip || col.rule == feed.NoRule {
		return
	}
	c.blocked = true
	c.report.add(finding{table: c.table, sheet: sheet, line: c.head.line, column: i, field: -1, heading: harmlessHeading(col.heading), rule: col.rule})
}

// data judges the frame of one row and adds it to the batch.
func (c *checker) data(ctx context.Context, r *row) error {
	blank := true
	for i := range r.cells {
		if r.cells[i].form != noFormula || strings.TrimSpace(r.cells[i].text) != "" {
			blank = false
			break
		}
	}
	if blank {
		return nil
	}
	if !c.file.src.named() {
		if footer(r.cells) {
			c.counters.footers++
			return nil
		}
		if c.repeatsHeader(r.cells) {
			c.counters.repeated++
			return nil
		}
	}
	clear(c.vals)
	at := int32(len(c.batch))
	p := pending{pos: position{r.table, r.sheet, r.line}, columns: c.head.columns, bad: c.blocked}
	stray := false
	for i := range r.cells {
		cl := &r.cells[i]
		if i >= len(c.head.columns) || c.head.columns[i].skip && c.head.columns[i].heading == "" {
			if i == 0 && len(cl.text) <= 7 && cl.form == noFormula && plainNumber(cl.text) {
				continue // a counting column without a heading
			}
			if strings.TrimSpace(cl.text) != "" && !stray {
				// Which cell is missing or split cannot be known.
				stray = true
				c.find(&p, at, i, -1, feed.UnknownField)
			}
			continue
		}
		f := c.head.columns[i].field
		if f < 0 {
			continue
		}
		if cl.form == cachedFormula {
			c.counters.formulas++
		}
		text, rule := c.cellText(cl, &c.head.columns[i], f)
		if own := c.head.columns[i].own; own != nil && rule == feed.NoRule {
			text, rule = c.mapCell(own, f, text)
		}
		if rule != feed.NoRule {
			c.find(&p, at, i, f, rule)
			text = ""
		}
		c.vals[f] = text
	}
	c.fillBlanks()
	if !c.file.src.named() && c.isExample() {
		delete(c.own, at)
		c.report.drop(p.pos)
		c.counters.examples++
		return nil
	}
	if r.hidden {
		c.counters.hiddenRows++
	}
	if err := c.envelope(&p, at); err != nil {
		return err
	}
	c.remember(&p)
	for i, v := range c.vals {
		if v == "" {
			c.builders[i].AppendNull()
		} else {
			c.builders[i].Append(v)
		}
	}
	c.offset.Append(c.base + int64(at))
	c.rowNo.Append(0)
	c.batch = append(c.batch, p)
	c.report.Rows++
	if len(c.batch) == batchRows {
		return c.flush(ctx)
	}
	return nil
}

// repeatsHeader says that a row is the header again, as printed pages have it.
func (c *checker) repeatsHeader(cells []cell) bool {
	n := 0
	for i := range cells {
		t := strings.TrimSpace(cells[i].text)
		if t == "" {
			continue
		}
		if i >= len(c.head.columns) || t != strings.TrimSpace(c.head.columns[i].heading) {
			return false
		}
		n++
	}
	return n > 1
}

// cellText is what a cell says for a field, or the rule that its form breaks.
func (c *checker) cellText(cl *cell, col *column, f int) (string, feed.Rule) {
	field := &c.all[f]
	switch {
	case cl.kind == errorCell, cl.form == bareFormula:
		return "", feed.Formula
	case cl.kind == nestedCell:
		return "", feed.Type
	case cl.kind == twiceCell:
		return "", feed.DuplicateField
	}
	text := cl.text
	if rest, ok := strings.CutPrefix(text, "'"); ok && cl.kind == textCell && rest != "" && !strings.Contains(rest, "'") {
		// The mark by which a spreadsheet is told that a cell is text.
		c.counters.apostrophes++
		text = rest
	}
	if cl.kind == numberCell {
		var ambiguous bool
		if text, ambiguous = numberText(cl, field, c.file.date1904); ambiguous {
			return "", feed.DateAmbiguous
		}
	}
	if (field.Kind.Kind == feed.Money || field.Kind.Kind == feed.Pay) && col.unit != unitContract && plainNumber(text) {
		if col.unit == unitNone {
			return "", feed.MoneyUnit
		}
		text = strings.TrimSpace(text) + col.unit
	}
	return text, feed.NoRule
}

// plainNumber says that a text is digits, commas and a dot, and nothing else.
func plainNumber(s string) bool {
	s = strings.TrimSpace(s)
	for _, r := range s {
		if r >= 0xFF01 && r <= 0xFF5E {
			r -= 0xFEE0
		}
		if (r < '0' || r > '9') && r != ',' && r != '.' && r != '-' {
			return false
		}
	}
	return s != ""
}

func (c *checker) isExample() bool {
	same := false
	for i := feed.EnvelopeLen; i < len(c.all); i++ {
		if strings.TrimSpace(c.vals[i]) != c.example[i-feed.EnvelopeLen] {
			return false
		}
		same = same || c.vals[i] != ""
	}
	return same
}

// envelope fills what a clerk's sheet does not have.
func (c *checker) envelope(p *pending, at int32) error {
	v := c.vals
	trim := func(i int) string {
		v[i] = strings.TrimSpace(v[i])
		return v[i]
	}
	column := func(f int) int {
		return slices.IndexFunc(p.columns, func(c column) bool { return c.field == f })
	}
	if t := trim(feed.FieldSchemaVersion); t != "" {
		n, rule := value.Integer([]byte(t))
		switch {
		case rule != feed.NoRule || n < 1:
			c.find(p, at, column(feed.FieldSchemaVersion), feed.FieldSchemaVersion, feed.SchemaVersion)
			v[feed.FieldSchemaVersion] = ""
		case int(n) > c.spec.Version:
			return unusable(
				fmt.Sprintf("文件按模式版本 %d 编写，本程序只认识到版本 %d，请升级 duiwu。", n, c.spec.Version),
				fmt.Sprintf("The file was written for schema version %d and this program knows %d; upgrade duiwu.", n, c.spec.Version))
		}
	}
	if v[feed.FieldSchemaVersion] == "" {
		v[feed.FieldSchemaVersion] = strconv.Itoa(c.spec.Version)
	}
	if t := trim(feed.FieldReportingUnit); t != "" {
		out, _, rule := value.Code(nil, []byte(t))
		code, ok := "", false
		if rule == feed.NoRule {
			code, ok = c.opt.Catalogue.LookupUnit(out)
		}
		if !ok || code != c.opt.Unit {
			c.find(p, at, column(feed.FieldReportingUnit), feed.FieldReportingUnit, feed.ReportingUnit)
		}
	}
	v[feed.FieldReportingUnit] = c.opt.Unit
	if t := trim(feed.FieldFeed); t != "" && t != c.spec.Feed && t != c.spec.Zh && !strings.EqualFold(t, c.spec.En) {
		c.find(p, at, column(feed.FieldFeed), feed.FieldFeed, feed.FeedUnknown)
	}
	v[feed.FieldFeed] = c.spec.Feed
	set := func(i int, t string) {
		if trim(i) == "" {
			v[i] = t
		}
	}
	if c.opt.Batch != "" {
		v[feed.FieldBatchID] = c.opt.Batch
	}
	set(feed.FieldBatchID, "check")
	set(feed.FieldOp, "U")
	set(feed.FieldReportedAt, c.reported)
	set(feed.FieldEffectiveFrom, c.effective)
	if trim(feed.FieldPeriod) == "" {
		day, _, rule := value.Date([]byte(v[feed.FieldEffectiveFrom]))
		if rule != feed.NoRule {
			v[feed.FieldPeriod] = strings.ReplaceAll(c.effective[:7], "-", "")
		} else {
			v[feed.FieldPeriod] = time.Unix(int64(day)*86400, 0).UTC().Format("200601")
		}
	}
	if trim(feed.FieldRecordID) == "" {
		// A part that is absent or breaks a rule makes no other thing of it: the
		// row is refused for that, or the part is optional.
		key, _ := c.canonicalKey(c.identity)
		v[feed.FieldRecordID] = RecordID(c.idKey, c.opt.Unit, c.spec.Feed, key)
		c.report.Derived++
	}
	return nil
}

// naturalKey is the canonical natural key of the row at hand, in scratch; false
// when a part of it is absent or breaks its own rule.
func (c *checker) naturalKey() ([]byte, bool) { return c.canonicalKey(c.natural) }

func (c *checker) canonicalKey(fields []int) ([]byte, bool) {
	b := c.scratch[:0]
	ok := true
	for _, i := range fields {
		good := c.vals[i] != ""
		if good {
			b, good = c.canonical(b, i, c.vals[i])
		}
		ok = ok && good
		b = append(b, 0)
	}
	c.scratch = b
	return b, ok
}

// canonical appends the form of a value by which two rows are compared; false
// when the value cannot be read, and stands as written.
func (c *checker) canonical(dst []byte, i int, text string) ([]byte, bool) {
	dst, rule := value.Canonical(dst, []byte(text), &c.all[i], c.opt.Catalogue, c.today)
	if rule != feed.NoRule {
		return append(dst, strings.TrimSpace(text)...), false
	}
	return dst, true
}

// remember keeps the hashes by which a row that stands twice is found.
func (c *checker) remember(p *pending) {
	if op := c.vals[feed.FieldOp]; op != "U" && op != "u" {
		return
	}
	key, ok := c.naturalKey()
	if !ok {
		return
	}
	p.keyed, p.key = true, maphash.Bytes(c.seeds[0], key)
	b := c.content[:0]
	for i := feed.EnvelopeLen; i < len(c.all); i++ {
		if c.vals[i] == "" {
			continue
		}
		b = append(b, byte(i))
		b, _ = c.canonical(b, i, c.vals[i])
		b = append(b, 0)
	}
	c.content = b
	p.content = maphash.Bytes(c.seeds[1], b)
}

// find adds a finding of the reader's own; the step's about the same field are
// then left out, for the value was taken away.
func (c *checker) find(p *pending, at int32, column, field int, rule feed.Rule) {
	f := finding{table: p.pos.table, sheet: p.pos.sheet, line: p.pos.line, column: column, field: field, rule: rule}
	c.report.add(f)
	p.bad = p.bad || rule.Severity() == feed.Error
	if field < 0 {
		return
	}
	if c.own[at] == nil {
		c.own[at] = map[string]bool{}
	}
	c.own[at][c.all[field].Name] = true
}

// flush judges the rows at hand with the step.
func (c *checker) flush(ctx context.Context) error {
	if len(c.batch) == 0 {
		return nil
	}
	cols := make([]arrow.Array, 0, len(c.builders)+2)
	for _, b := range c.builders {
		cols = append(cols, b.NewArray())
	}
	cols = append(cols, c.offset.NewArray(), c.rowNo.NewArray())
	wire := array.NewRecord(flow.WireSchema(c.spec), cols, int64(len(c.batch)))
	for _, a := range cols {
		a.Release()
	}
	defer wire.Release()
	tally := flow.Tally{}
	out, err := c.opt.Step.Apply(ctx, flow.Cut{Unit: c.opt.Unit, Parts: []flow.Batch{{Feed: c.spec, Rows: wire}}, Tally: tally, Arrived: c.now})
	if err != nil {
		return err
	}
	defer out.Release()
	for _, rj := range out.Rejects {
		at := int32(rj.Offset - c.base)
		p := &c.batch[at]
		for _, f := range rj.Findings {
			i := c.spec.Index(f.Field)
			p.bad = true
			if c.own[at][f.Field] || i >= 0 && c.absent[i] && f.Rule == feed.Required {
				continue
			}
			c.fieldFinding(p, i, f.Rule)
		}
	}
	for _, part := range out.Parts {
		c.warnings(part.Rows, wire)
	}
	for i := range c.batch {
		p := &c.batch[i]
		if !p.bad {
			c.report.Accepted++
		}
		if p.keyed {
			if err := c.keys.add(entry{p.key, p.content, c.report.place(p.pos, p.bad)}); err != nil {
				return err
			}
		}
	}
	if c.opt.Rows != nil {
		judged := make([]Judged, len(c.batch))
		for i := range c.batch {
			p := &c.batch[i]
			judged[i] = Judged{Place{p.pos.table, p.pos.line}, p.bad}
		}
		if err := c.opt.Rows.Take(wire, judged); err != nil {
			return err
		}
	}
	c.base += int64(len(c.batch))
	c.batch = c.batch[:0]
	clear(c.own)
	return nil
}

func (c *checker) fieldFinding(p *pending, field int, rule feed.Rule) {
	col := -1
	if field >= 0 {
		col = slices.IndexFunc(p.columns, func(c column) bool { return c.field == field })
	}
	c.report.add(finding{table: p.pos.table, sheet: p.pos.sheet, line: p.pos.line, column: col, field: field, rule: rule})
}

// warnings turns the rules of severity warning, which records carry without a
// field, into findings with one.
func (c *checker) warnings(rec, wire arrow.Record) {
	schema := rec.Schema()
	w := rec.Column(schema.FieldIndices(feed.ColWarnings)[0]).(*array.String)
	off := rec.Column(schema.FieldIndices(feed.ColOffset)[0]).(*array.Int64)
	for i := range int(rec.NumRows()) {
		ids := w.Value(i)
		if ids == "" {
			continue
		}
		at := int(off.Value(i) - c.base)
		for id := range strings.SplitSeq(ids, ",") {
			rule, ok := feed.RuleNamed(id)
			if !ok {
				continue
			}
			fields := c.warned(rule, wire, at)
			if len(fields) == 0 {
				fields = []int{-1}
			}
			for _, f := range fields {
				c.fieldFinding(&c.batch[at], f, rule)
			}
		}
	}
}

// warned lists the fields that a warning is about.
func (c *checker) warned(rule feed.Rule, wire arrow.Record, at int) []int {
	switch rule {
	case feed.ReportedAtOld:
		return []int{feed.FieldReportedAt}
	case feed.CorrectsItself:
		return []int{feed.FieldCorrects}
	}
	for _, ch := range c.spec.Checks {
		if ch.Rule == rule.String() {
			return []int{c.spec.Index(ch.Fields[0])}
		}
	}
	var out []int
	for i := range c.all {
		col := wire.Column(i).(*array.String)
		if col.IsNull(at) {
			continue
		}
		if c.warns(rule, &c.all[i], []byte(col.Value(at)), wire, at) {
			out = append(out, i)
		}
	}
	return out
}

func (c *checker) warns(rule feed.Rule, f *feed.Field, v []byte, wire arrow.Record, at int) bool {
	switch f.Kind.Kind {
	case feed.ResidentID, feed.Subject:
		out, notes, bad := value.ResidentID(nil, v, value.ResidentIDOptions{Today: c.today, AllowTestAreas: true})
		if bad != feed.NoRule {
			return false
		}
		if rule == feed.RICAreaUnknown {
			area := value.Area(out)
			return string(area[2:4]) != "99" && c.opt.Catalogue.Divisions.Lookup(area, c.today) == feed.Unknown
		}
		return notes.Warning() == rule
	case feed.CreditCode:
		_, notes, bad := value.CreditCode(nil, v)
		return bad == feed.NoRule && notes.Warning() == rule
	case feed.Division:
		if rule != feed.DivisionRetired {
			return false
		}
		code, _, _ := value.Code(nil, v)
		day, _, bad := value.Date([]byte(wire.Column(feed.FieldEffectiveFrom).(*array.String).Value(at)))
		if bad != feed.NoRule {
			day = c.today
		}
		s := c.opt.Catalogue.Divisions.Lookup(code, day)
		return s == feed.Retired || s == feed.NotYet
	case feed.Code:
		if rule != feed.EducationHeader {
			return false
		}
		code, _, _ := value.Code(nil, v)
		list := c.opt.Catalogue.List(f.List)
		id, ok := list.Lookup(code)
		return ok && list.EducationHeader(id)
	}
	return false
}

// duplicates names the rows whose natural key stands twice.
func (c *checker) duplicates() error {
	field := c.natural[0]
	return c.keys.twice(func(first, again entry) {
		rule := feed.DuplicateInFile
		if first.content != again.content {
			rule = feed.InFileConflict
		}
		pos, bad := c.report.at(again.place)
		other, _ := c.report.at(first.place)
		c.report.add(finding{table: pos.table, sheet: pos.sheet, line: pos.line, column: c.keyAt[pos.table], field: field, rule: rule, otherSheet: other.sheet, otherLine: other.line})
		if rule.Severity() == feed.Error && !bad {
			c.report.Accepted--
			if c.opt.Rows != nil {
				c.opt.Rows.Refuse(Place{pos.table, pos.line})
			}
		}
	})
}

// tell notes what was read in a way that a person should know.
func (c *checker) tell() {
	n := c.counters
	if c.report.Rows == 0 {
		c.report.Notes = append(c.report.Notes, feed.Lingual{Zh: "表头之下没有数据行。", En: "There is no row of data below the header."})
	}
	say := func(count int, zh, en string) {
		if count > 0 {
			c.report.Notes = append(c.report.Notes, feed.Lingual{Zh: fmt.Sprintf(zh, count), En: fmt.Sprintf(en, count)})
		}
	}
	say(n.hiddenRows, "读入了 %d 个隐藏行。", "%d hidden rows were read like the others.")
	say(n.formulas, "%d 个公式单元格按上次计算的值读取。", "%d formula cells were read by the value last computed.")
	say(n.apostrophes, "%d 个单元格开头的撇号（文本标记）不计入内容。", "The apostrophe that marks text was left out at the start of %d cells.")
	say(n.footers, "表下的 %d 行（合计、签名、说明）不作为记录。", "%d lines under the table (totals, signatures, notes) are no records.")
	say(n.repeated, "%d 个重复的表头行不作为记录。", "%d repeated header rows are no records.")
	say(n.examples, "%d 个模板示例行不作为记录。", "%d example rows of the template are no records.")
	if c.file.date1904 {
		c.report.Notes = append(c.report.Notes, feed.Lingual{Zh: "工作簿使用 1904 日期系统，已按其换算。", En: "The workbook counts dates from 1904, and they were read so."})
	}
	say(len(c.passed), "有 %d 个隐藏的工作表未读。", "%d hidden sheets were not read.")
}
