package sheet

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/duiwu/duiwu/ingest/mapping"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/value"
)

// Sure is the least certainty with which a column is mapped; what is below is
// written as a comment, to be decided by people.
const Sure = 0.8

const (
	// margin is how far the next best must lie behind.
	margin = 0.1
	// strong is from where a heading says a field by itself.
	strong = 0.85
)

// Suggest proposes a mapping of a file's columns to a feed's fields and writes it
// as a mapping.yaml that loads: what is sure as entries, what is not as comments,
// each with its reasons. It prints headings and, of code columns only, values
// that repeat; never what may be a value of a person. Unit is the reporting unit
// that the next step is shown with; empty means any.
func Suggest(ctx context.Context, w io.Writer, f *File, cat *feed.Catalogue, spec *feed.Spec, unit string) error {
	t, err := surveyFile(ctx, f, cat, spec, feed.Day(time.Now().In(feed.Shanghai)))
	if err != nil {
		return err
	}
	s := &suggester{cat: cat, spec: spec, all: spec.All(), table: t, letters: !f.src.named(), unit: unit}
	s.judge()
	s.write(filepath.Base(f.Path))
	_, err = w.Write(s.out.Bytes())
	return err
}

// Recognize says which feed a file is of: the one whose required fields and whose
// values fit its columns best. It is false when none or more than one does.
func Recognize(ctx context.Context, path string, cat *feed.Catalogue) (*feed.Spec, bool, error) {
	var best *feed.Spec
	first, second := 0.0, 0.0
	for _, spec := range cat.Feeds {
		f, err := Open(path)
		if err != nil {
			return nil, false, err
		}
		fits, err := fit(ctx, f, cat, spec)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, false, err
		}
		if fits > first {
			best, first, second = spec, fits, first
		} else {
			second = max(second, fits)
		}
	}
	return best, first >= 0.5 && first-second >= margin, nil
}

// fit is the mean of two shares: of the columns that are surely a field, and of
// the required fields that surely have a column.
func fit(ctx context.Context, f *File, cat *feed.Catalogue, spec *feed.Spec) (float64, error) {
	t, err := surveyFile(ctx, f, cat, spec, feed.Day(time.Now().In(feed.Shanghai)))
	var u *Unusable
	if errors.As(err, &u) {
		return 0, nil // no header that this feed would know
	}
	if err != nil {
		return 0, err
	}
	s := &suggester{cat: cat, spec: spec, all: spec.All(), table: t}
	s.judge()
	columns, mapped, required, have := 0, 0, 0, 0
	for i := range t.columns {
		if c := &t.columns[i]; c.heading != "" && !counting(c.heading) {
			columns++
		}
		if at := s.chosen[i]; at >= 0 && s.guesses[i][at].sure >= Sure {
			mapped++
			if s.all[s.guesses[i][at].field].Required {
				have++
			}
		}
	}
	for i := range spec.Fields {
		if spec.Fields[i].Required {
			required++
		}
	}
	if columns == 0 || required == 0 {
		return 0, nil
	}
	return (float64(mapped)/float64(columns) + min(1, float64(have)/float64(required))) / 2, nil
}

type suggester struct {
	cat     *feed.Catalogue
	spec    *feed.Spec
	all     []feed.Field
	table   *table
	letters bool
	unit    string
	// guesses holds the candidates of each column, best first; chosen the field
	// of each column, -1 for none.
	guesses [][]guess
	chosen  []int
	out     bytes.Buffer
}

// guess says how sure it is that a column is a field, and why.
type guess struct {
	field int
	sure  float64
	// head is what the heading alone says; translate says that the values are not
	// the field's own.
	head      float64
	translate bool
	why       []string
}

// judge weighs every column against every field, and gives each field to the
// column that is surest of it.
func (s *suggester) judge() {
	type pair struct{ column, at int }
	var pairs []pair
	s.guesses = make([][]guess, len(s.table.columns))
	s.chosen = make([]int, len(s.table.columns))
	for i := range s.table.columns {
		s.chosen[i] = -1
		c := &s.table.columns[i]
		if c.heading == "" || counting(c.heading) || s.forbidden(c.heading) || c.filled == 0 && s.table.rows > 0 && headingScoreMax(s.all, c.heading) < strong {
			continue
		}
		for k := range s.all {
			if k == feed.FieldSchemaVersion || k == feed.FieldFeed || k == feed.FieldBatchID {
				continue
			}
			if g := s.weigh(c, k); g.sure >= 0.2 {
				s.guesses[i] = append(s.guesses[i], g)
			}
		}
		slices.SortStableFunc(s.guesses[i], func(a, b guess) int { return cmp.Compare(b.sure, a.sure) })
		for at := range s.guesses[i] {
			pairs = append(pairs, pair{i, at})
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int {
		return cmp.Compare(s.guesses[b.column][b.at].sure, s.guesses[a.column][a.at].sure)
	})
	taken, settled := map[int]bool{}, map[int]bool{}
	for _, p := range pairs {
		g := &s.guesses[p.column][p.at]
		if s.chosen[p.column] < 0 && !taken[g.field] {
			s.chosen[p.column], taken[g.field] = p.at, true
			settled[g.field] = g.head >= strong
		}
	}
	// A close second is a doubt, be it another field for the column or another
	// column for the field: two columns of credit codes may be swapped. Only a
	// heading settles it.
	for i := range s.guesses {
		if s.chosen[i] < 0 {
			continue
		}
		g := &s.guesses[i][s.chosen[i]]
		if g.head >= strong {
			continue
		}
		rival := 0.0
		for at := range s.guesses[i] {
			if o := &s.guesses[i][at]; o.field != g.field && !settled[o.field] {
				rival = max(rival, o.sure)
			}
		}
		for j := range s.guesses {
			for at := range s.guesses[j] {
				o := &s.guesses[j][at]
				if j != i && o.field == g.field && (s.chosen[j] < 0 || s.guesses[j][s.chosen[j]].head < strong) {
					rival = max(rival, o.sure)
				}
			}
		}
		if g.sure-rival < margin && g.sure >= Sure {
			g.sure = Sure - 0.01
			g.why = append(g.why, "另有相近的可能 another candidate is close")
		}
	}
}

// shown returns a heading that may be shown. In a table that stands on its side
// the names of people are headings, so what has the shape of a name is shown only
// where it is the heading of a field, or ends as headings do.
func (s *suggester) shown(heading string) string {
	last, _ := utf8.DecodeLastRuneInString(strings.TrimSpace(heading))
	if nameLike(heading) && headingScoreMax(s.all, heading) < strong && !strings.ContainsRune("式额期号码间称别型度位县区注态数量级话址", last) {
		return ""
	}
	return harmlessHeading(heading)
}

func (s *suggester) forbidden(heading string) bool {
	k := mapping.FoldHeading(heading)
	return s.cat.IsForbidden(heading) || s.cat.IsForbidden(k) ||
		slices.ContainsFunc(s.spec.Forbidden, func(f string) bool { return mapping.FoldHeading(f) == k })
}

// headingScore says how much a heading says that its column is a field: 1 for
// the field's own, 0.9 for an alias, less for what is similar.
func headingScore(f *feed.Field, heading string) (float64, string) {
	k := mapping.FoldHeading(heading)
	bare, _ := parens(k)
	best, why := 0.0, ""
	put := func(v float64, w string) {
		if v > best {
			best, why = v, w
		}
	}
	for _, own := range []string{f.Zh, f.En, f.Name} {
		o := mapping.FoldHeading(own)
		ob, _ := parens(o)
		switch {
		case o == k || ob == bare:
			put(1, "表头即字段名 the field's own heading")
		case utf8.RuneCountInString(ob) >= 2 && strings.Contains(bare, ob):
			put(0.7, "表头含有字段名 the heading holds the field's")
		}
	}
	for _, a := range f.Aliases {
		o := mapping.FoldHeading(a)
		switch {
		case o == bare || o == k:
			put(0.9, "表头是常用叫法 a known alias")
		case utf8.RuneCountInString(o) >= 3 && strings.Contains(bare, o):
			put(0.7, "表头含有常用叫法 the heading holds an alias")
		}
	}
	for _, own := range append([]string{f.Zh, f.En}, f.Aliases...) {
		ob, _ := parens(mapping.FoldHeading(own))
		if v := similar(bare, ob); v >= 0.4 {
			put(0.65*v, fmt.Sprintf("表头相近 a similar heading (%.2f)", v))
		}
	}
	return best, why
}

func headingScoreMax(all []feed.Field, heading string) float64 {
	best := 0.0
	for i := range all {
		v, _ := headingScore(&all[i], heading)
		best = max(best, v)
	}
	return best
}

// similar is the share of common pairs of characters (Dice), 0 to 1.
func similar(a, b string) float64 {
	pairs := func(s string) map[string]int {
		r := []rune(s)
		out := map[string]int{}
		for i := 0; i+1 < len(r); i++ {
			out[string(r[i:i+2])]++
		}
		return out
	}
	pa, pb := pairs(a), pairs(b)
	common, total := 0, 0
	for k, n := range pa {
		common += min(n, pb[k])
		total += n
	}
	for _, n := range pb {
		total += n
	}
	if total == 0 {
		return 0
	}
	return 2 * float64(common) / float64(total)
}

// strength says how much it means that all values of a column read as a kind:
// hardly anything but an identity number passes its check character, but nearly
// any number is a whole one.
func (s *suggester) strength(f *feed.Field, c *surveyed) float64 {
	words := false // the values are words, not digits
	for w := range c.words {
		words = words || strings.IndexFunc(w, func(r rune) bool { return r > 0x7F }) >= 0
	}
	switch f.Kind.Kind {
	case feed.ResidentID, feed.CreditCode:
		return 0.98
	case feed.Mobile:
		return 0.95
	case feed.Division:
		return 0.85
	case feed.Code, feed.Codes, feed.Unit:
		if words {
			return 0.85
		}
		return 0.3
	case feed.Date, feed.Birth, feed.Time:
		return 0.5
	case feed.Period:
		return 0.4
	case feed.PersonName:
		return 0.5
	case feed.Bool:
		if words {
			return 0.4
		}
		return 0.1
	case feed.Money, feed.Pay:
		if c.bare*2 < c.filled {
			return 0.6 // the values write their unit
		}
		return 0.1
	case feed.Integer, feed.Tenths:
		return 0.05
	}
	return 0
}

// opaque kinds read anything: their values say nothing.
func opaque(k feed.Kind) bool {
	return k == feed.Text || k == feed.Key || k == feed.Secret || k == feed.Subject
}

// translatable kinds can be reached by the codes of a mapping.
func translatable(k feed.Kind) bool {
	switch k {
	case feed.Code, feed.Codes, feed.Bool, feed.Unit, feed.Division, feed.CreditCode:
		return true
	}
	return false
}

func (s *suggester) weigh(c *surveyed, field int) guess {
	f := &s.all[field]
	g := guess{field: field}
	head, why := headingScore(f, c.heading)
	if why != "" {
		g.why = append(g.why, why)
	}
	g.head = head
	kind := f.Kind.Kind
	if c.filled == 0 {
		g.sure = 0.9 * head
		g.why = append(g.why, "没有值 no values")
		return g
	}
	share := float64(c.reads[field]) / float64(c.filled)
	if !opaque(kind) {
		g.why = append(g.why, fmt.Sprintf("%d/%d 个值读作%s values read as %s", c.reads[field], c.filled, kindZh[kind], kind))
	}
	// Few values say little, but for those that have a check of their own.
	v, n := s.strength(f, c)*share, float64(c.filled)
	if kind == feed.ResidentID || kind == feed.CreditCode || kind == feed.Mobile {
		v *= n / (n + 0.2)
	} else {
		v *= n / (n + 2)
	}
	switch {
	case head >= strong && (opaque(kind) || share >= 0.9 || kind == feed.PersonName):
		g.sure = 1 - (1-head+0.02)*(1-v)
	case head >= strong && translatable(kind) && (share < 0.5 || kind == feed.Code || kind == feed.Codes):
		g.sure, g.translate = head-0.08, true
		g.why = append(g.why, "其余的值需要 codes 翻译 the others need codes")
	case head >= strong && share >= 0.5:
		g.sure = 0.81
		g.why = append(g.why, "其余的值读不出，check 会指出 check names the others")
	case head >= strong:
		g.sure = 0.5
		g.why = append(g.why, "值与字段不符 the values contradict the heading")
	default:
		if share < 0.8 || field < feed.EnvelopeLen {
			v = 0
		}
		if !opaque(kind) && share < 0.5 && !translatable(kind) {
			head *= 0.5
		}
		g.sure = 1 - (1-0.8*head)*(1-v)
	}
	return g
}

// kindZh names kinds for the reasons.
var kindZh = map[feed.Kind]string{
	feed.Code: "代码表中的代码", feed.Codes: "代码表中的代码", feed.Unit: "报送单位", feed.Division: "行政区划代码", feed.ResidentID: "公民身份号码（校验码相符）",
	feed.CreditCode: "统一社会信用代码（校验码相符）", feed.PersonName: "姓名的样子", feed.Mobile: "手机号码", feed.Birth: "日期", feed.Pay: "金额", feed.Date: "日期",
	feed.Period: "年月", feed.Time: "时间", feed.Money: "金额", feed.Integer: "整数", feed.Tenths: "一位小数", feed.Bool: "是否",
}

func (s *suggester) line(format string, args ...any) {
	fmt.Fprintf(&s.out, format+"\n", args...)
}

// scalar writes a text as one YAML scalar.
func scalar(text string) string {
	raw, err := yaml.Marshal(strings.Join(strings.Fields(text), " "))
	if err != nil {
		panic("BUG: a text is always YAML: " + err.Error())
	}
	return strings.TrimSuffix(string(raw), "\n")
}

func (s *suggester) write(name string) {
	if !value.Harmless([]byte(name)) {
		name = "FILE"
	}
	t := s.table
	s.line("# duiwu map --suggest 的提议：根据 %d 行的表头和值。逐条核对后再用；写成注释的是拿不准的，去掉 # 即采用。", t.rows)
	s.line("# Proposed by duiwu map --suggest from headings and values of %d rows. Read every line; comments are what is not sure: remove the # to take one.", t.rows)
	s.line("# duiwu check %s --feed %s --unit %s --mapping mapping.yaml", clean(name), s.spec.Feed, cmp.Or(s.unit, "单位代码"))
	s.line("feed: %s", s.spec.Feed)
	if t.sheet != "" && s.shown(t.sheet) != "" {
		s.line("sheet: %s", scalar(t.sheet))
	}
	var ignore []string
	mapped, have := 0, map[int]bool{}
	body := s.out
	s.out = bytes.Buffer{}
	twice := map[string]int{}
	for i := range t.columns {
		twice[mapping.FoldHeading(t.columns[i].heading)]++
	}
	for i := range t.columns {
		c := &t.columns[i]
		letter := ""
		if s.letters {
			letter = ColumnName(i)
		}
		head := s.shown(c.heading)
		place := strings.TrimSpace(letter + " " + clean(head))
		switch {
		case c.heading == "" && c.filled == 0, counting(c.heading):
			continue
		case head == "":
			s.line("  # %s：表头为空或不便显示，请先在表中写明列名。 The heading is empty or cannot be shown; name the column in the file.", cmp.Or(letter, "?"))
			continue
		case s.forbidden(c.heading):
			ignore = append(ignore, fmt.Sprintf("  - %s  # 不得报送的内容，只能留下 must not be sent", scalar(head)))
			continue
		}
		if s.chosen[i] < 0 {
			s.line("  # %s：没有合适的字段；确实不报的列写入 ignore。 No field fits; list it under ignore if it is left out on purpose.", place)
			if line := "  # - " + scalar(head); !slices.Contains(ignore, line) {
				ignore = append(ignore, line)
			}
			continue
		}
		g := &s.guesses[i][s.chosen[i]]
		f := &s.all[g.field]
		word := "有把握 sure"
		if g.sure < Sure {
			word = "拿不准 unsure"
		} else if g.sure < 0.95 {
			word = "较有把握 likely"
		}
		s.line("  # %s → %s：%s %.2f；%s", place, f.Zh, word, g.sure, strings.Join(g.why, "；"))
		at := ""
		if s.letters && twice[mapping.FoldHeading(c.heading)] > 1 {
			at = letter
		}
		if g.sure >= Sure {
			mapped++
			have[g.field] = true
			s.entry("  ", head, at, c, g)
			continue
		}
		s.entry("  # ", head, at, c, g)
		for k := range s.guesses[i] {
			if o := &s.guesses[i][k]; o.field != g.field && g.sure-o.sure < 2*margin {
				s.line("  #   或 or field: %s  # %s %.2f", s.all[o.field].Name, s.all[o.field].Zh, o.sure)
			}
		}
	}
	columns := s.out
	s.out = body
	if mapped == 0 {
		s.line("columns: []  # 采用下列条目时去掉 []。 Remove the [] when you take an entry.")
	} else {
		s.line("columns:")
	}
	s.out.Write(columns.Bytes())
	s.constants(have)
	s.ignored(ignore)
}

// entry writes one column; before stands before each of its lines.
func (s *suggester) entry(before, head, at string, c *surveyed, g *guess) {
	f := &s.all[g.field]
	s.line("%s- column: %s", before, scalar(head))
	if at != "" {
		s.line("%s  at: %s", before, at)
	}
	s.line("%s  field: %s", before, f.Name)
	switch f.Kind.Kind {
	case feed.Money, feed.Pay:
		s.money(before, head, c, f)
	case feed.Date, feed.Birth, feed.Time, feed.Period:
		s.dates(before, c)
	}
	if g.translate {
		s.codes(before, c, f)
	}
}

// money proposes the unit of bare numbers; it is never sure of one.
func (s *suggester) money(before, head string, c *surveyed, f *feed.Field) {
	k := mapping.FoldHeading(head)
	if headingUnit(k) != unitNone || k == mapping.FoldHeading(f.Zh) || k == mapping.FoldHeading(f.Name) || c.bare == 0 {
		return // the heading or the values say it
	}
	slices.Sort(c.amounts)
	guess, why := "元", "金额的大小像是元 by their size"
	if len(c.amounts) > 0 {
		switch middle := c.amounts[len(c.amounts)/2]; {
		case f.Kind.Kind == feed.Pay && middle >= 200_000, f.Kind.Kind == feed.Money && middle >= 1e8:
			guess, why = "分", "金额的大小像是分 by their size"
		case middle < 1000:
			guess, why = "万元", "金额的大小像是万元 by their size"
		}
		if c.decimals > 0 && guess == "分" {
			guess, why = "元", "有小数 they have decimals"
		}
	}
	s.line("%s  # unit: %s  # %d 个值没有单位，请确认（%s）；不写则报 money_unit。 %d values have no unit; confirm it.", before, guess, c.bare, why, c.bare)
}

// dates proposes the order of dates that do not begin with their year.
func (s *suggester) dates(before string, c *surveyed) {
	switch {
	case c.slashed == 0:
	case c.firstOver > 0 && c.secondOver == 0:
		s.line("%s  dates: dmy  # %d 个值先日后月 the day stands first in %d values", before, c.firstOver, c.firstOver)
	case c.secondOver > 0 && c.firstOver == 0:
		s.line("%s  dates: mdy  # %d 个值先月后日 the month stands first in %d values", before, c.secondOver, c.secondOver)
	case c.firstOver > 0:
		s.line("%s  # dates: dmy 或 or mdy  # 两种写法混用：%d 个只能先日，%d 个只能先月，请先统一。 Both orders are used; mend the source.", before, c.firstOver, c.secondOver)
	default:
		s.line("%s  # dates: dmy 或 or mdy  # %d 个值先日先月都说得通，请问填表人。 %d values can be read either way; ask who wrote them.", before, c.slashed, c.slashed)
	}
}

// codes writes the translation to be filled in: the source's values that repeat,
// and what the feed makes of those that it knows. A value that has the shape of a
// name, or stands once, is counted and not shown.
func (s *suggester) codes(before string, c *surveyed, f *feed.Field) {
	if c.words == nil || f.Privacy == feed.P3 {
		s.line("%s  # codes: {…}  # 值太多，未列出 too many values to list", before)
		return
	}
	var words []string
	for w := range c.words {
		words = append(words, w)
	}
	slices.Sort(words)
	hidden := 0
	s.line("%s  # codes:  # 补全后去掉 #；写了 codes，未列出的值就是 code_list。 Fill in and uncomment; a value not listed is then code_list.", before)
	for _, w := range words {
		out, rule := value.Canonical(nil, []byte(w), f, s.cat, feed.DayMax)
		switch {
		case rule == feed.NoRule:
			s.line("%s  #   %s: %s", before, quoted(w), quoted(string(out)))
		case f.Kind.Kind == feed.Division && s.divisions(w) != "":
			s.line("%s  #   %s: \"?\"%s", before, quoted(w), s.divisions(w))
		case c.words[w] < 2 || len([]rune(w)) > 20 || !value.Harmless([]byte(w)) || nameLike(w):
			hidden++
		default:
			s.line("%s  #   %s: \"?\"%s", before, quoted(w), s.near(w, f))
		}
	}
	if hidden > 0 {
		s.line("%s  #   # 另有 %d 个值未显示。 %d more values are not shown.", before, hidden, hidden)
	}
}

// divisions names the codes of a division's name that are in force, those of the
// unit if there is one; several places may share a name.
func (s *suggester) divisions(name string) string {
	var out []string
	for i := range s.cat.Divisions.Rows {
		r := &s.cat.Divisions.Rows[i]
		if r.Name == name && r.Until == feed.DayMax && (s.unit == "" || s.unit[:2] == r.Code[:2]) {
			out = append(out, r.Code)
		}
	}
	if len(out) == 0 || len(out) > 5 {
		return ""
	}
	return "  # 名称相同 same name: " + strings.Join(out, "、")
}

func quoted(s string) string { return strconv.Quote(clean(s)) }

// near names the entries of the field's list that a word is similar to.
func (s *suggester) near(word string, f *feed.Field) string {
	list := s.cat.List(f.List)
	if list == nil {
		return ""
	}
	type hit struct {
		v    float64
		text string
	}
	var hits []hit
	for _, e := range list.Entries {
		best := 0.0
		for _, t := range append([]string{e.Zh}, e.Aliases...) {
			if v := similar(word, t); v > best {
				best = v
			}
			if utf8.RuneCountInString(t) >= 2 && strings.Contains(word, t) {
				best = max(best, 0.8)
			}
		}
		if best >= 0.3 {
			hits = append(hits, hit{best, e.Code + " " + e.Zh})
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return cmp.Compare(b.v, a.v) })
	if len(hits) == 0 {
		return ""
	}
	var out []string
	for _, h := range hits[:min(3, len(hits))] {
		out = append(out, h.text)
	}
	return "  # 相近 near: " + strings.Join(out, "、")
}

// constants names the required fields that no column was found for.
func (s *suggester) constants(have map[int]bool) {
	first := true
	for i := feed.EnvelopeLen; i < len(s.all); i++ {
		f := &s.all[i]
		if !f.Required || have[i] {
			continue
		}
		if first {
			s.line("# 必填而没有找到列的字段；全表相同的可写成常量。 Required fields without a column; one value for all rows can be a constant.")
			s.line("# constants:")
			first = false
		}
		if f.Kind.Kind.Info().Personal {
			s.line("#   （%s %s 是个人信息，不能是常量 is personal and cannot be a constant）", f.Zh, f.Name)
			continue
		}
		s.line("#   - {field: %s, value: \"?\"}  # %s", f.Name, f.Zh)
	}
}

func (s *suggester) ignored(lines []string) {
	if len(lines) == 0 {
		return
	}
	live := slices.ContainsFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "  #") })
	if live {
		s.line("ignore:")
	} else {
		s.line("# ignore:")
	}
	for _, l := range lines {
		if !live {
			l = "# " + l
			l = strings.Replace(l, "#   # - ", "#   - ", 1)
		}
		s.line("%s", l)
	}
}

// number reads digits, commas and a dot.
func number(text string) (float64, bool) {
	text = strings.Map(func(r rune) rune {
		if r >= 0xFF01 && r <= 0xFF5E {
			r -= 0xFEE0
		}
		if r == ',' {
			return -1
		}
		return r
	}, strings.TrimSpace(text))
	v, err := strconv.ParseFloat(text, 64)
	return v, err == nil
}
