package feed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// object is a JSON object that keeps the order in which it was written, so that
// a schema reads like the feed file that it is made from.
type object []member

type member struct {
	key   string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		k, err := json.Marshal(m.key)
		if err != nil {
			return nil, err
		}
		b.Write(k)
		b.WriteByte(':')
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(m.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func pretty(v any) []byte {
	var raw, out bytes.Buffer
	e := json.NewEncoder(&raw)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("BUG: a made text does not encode: " + err.Error())
	}
	if err := json.Indent(&out, raw.Bytes(), "", "  "); err != nil {
		panic("BUG: a made text is not JSON: " + err.Error())
	}
	return out.Bytes()
}

const isoDay = `^[0-9]{4}-[0-9]{2}-[0-9]{2}$`

// JSONSchema returns the JSON Schema (draft 2020-12) of one record of a feed,
// envelope included. It describes the plain form; the pipeline reads more
// spellings of dates, money and codes than the schema lets through.
func (c *Catalogue) JSONSchema(s *Spec) []byte {
	var props object
	var envelope, own []string
	for i := range s.all {
		f := &s.all[i]
		props = append(props, member{f.Name, c.fieldSchema(s, f, i)})
		switch {
		case i < EnvelopeLen && f.Required:
			envelope = append(envelope, f.Name)
		case f.Required:
			own = append(own, f.Name)
		}
	}
	// A void names its record and nothing else.
	rules := []any{object{
		{"if", object{{"properties", object{{"op", object{{"const", "V"}}}}}}},
		{"else", object{{"required", own}}},
	}}
	for i := range s.Checks {
		ch := &s.Checks[i]
		if ch.Rule != "required_with" {
			continue
		}
		cond := stands(ch.Fields[1])
		if ch.When != nil {
			cond = object{{"required", []string{ch.When.Field}}, {"properties", object{{ch.When.Field, object{{"enum", ch.When.Is}}}}}}
		}
		rules = append(rules, object{{"if", cond}, {"then", stands(ch.Fields[0])}})
	}
	return pretty(object{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"title", s.Zh + " " + s.En},
		{"description", s.Doc.Zh + " " + s.Doc.En},
		{"type", "object"},
		{"properties", props},
		{"required", envelope},
		{"allOf", rules},
		{"additionalProperties", false},
	})
}

// stands is the schema of a record in which a field has a value.
func stands(name string) object {
	return object{{"required", []string{name}}, {"properties", object{{name, object{{"not", object{{"type", "null"}}}}}}}}
}

func (c *Catalogue) fieldSchema(s *Spec, f *Field, i int) object {
	desc := []string{}
	if f.Doc.Zh != "" {
		desc = append(desc, f.Doc.Zh+" "+f.Doc.En)
	}
	if f.Deprecated != "" {
		desc = append(desc, "Deprecated: "+f.Deprecated)
	}
	var o object
	add := func(k string, v any) { o = append(o, member{k, v}) }
	kinds := []string{f.Kind.Info().JSON}
	var enum []string
	switch f.Kind.Kind {
	case Code, Codes:
		for _, e := range c.Lists[f.List].Entries {
			enum = append(enum, e.Code)
			desc = append(desc, e.Code+" "+e.Zh+" "+e.En+".")
		}
	case Unit:
		for j := range c.Units {
			u := &c.Units[j]
			if i < EnvelopeLen && !u.Reports && (!u.National() || !s.NationalOffice) || i >= EnvelopeLen && u.National() {
				continue
			}
			enum = append(enum, u.Code)
			desc = append(desc, u.Code+" "+u.ShortZh+" "+u.En+".")
		}
	case Money, Pay:
		kinds = append(kinds, "integer")
		desc = append(desc, "整数为分；文本须写明单位。 A whole number is fen; text names its unit.")
	}
	if !f.Required && i >= EnvelopeLen || i == FieldCorrects {
		kinds = append(kinds, "null")
	}
	add("title", f.Zh+" "+f.En)
	if len(desc) > 0 {
		add("description", strings.Join(desc, " "))
	}
	if len(kinds) == 1 {
		add("type", kinds[0])
	} else {
		add("type", kinds)
	}
	switch {
	case f.Kind.Kind == Codes:
		add("items", object{{"enum", enum}})
		add("uniqueItems", true)
		if f.Required {
			add("minItems", 1)
		}
	case enum != nil:
		values := make([]any, 0, len(enum)+1)
		for _, e := range enum {
			values = append(values, e)
		}
		if kinds[len(kinds)-1] == "null" {
			values = append(values, nil)
		}
		add("enum", values)
	}
	switch i {
	case FieldSchemaVersion:
		add("minimum", 1)
		add("maximum", s.Version)
		return o
	case FieldFeed:
		add("const", s.Feed)
		return o
	}
	switch f.Kind.Kind {
	case Text, Key, PersonName, Secret, Subject:
		if f.Required {
			add("minLength", 1)
		}
	case ResidentID:
		add("pattern", `^([0-9]{17}[0-9X]|[0-9]{15})$`)
	case CreditCode:
		add("pattern", `^[0-9A-HJ-NPQRTUWXY]{18}$`)
	case Division:
		add("pattern", `^[0-9]{6}$`)
	case Mobile:
		add("pattern", `^1[0-9]{10}$`)
	case Date, Birth:
		if f.Partial {
			add("pattern", `^[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?$`)
		} else {
			add("pattern", isoDay)
		}
	case Period:
		add("pattern", `^([0-9]{6}|[0-9]{4}-[0-9]{2}-[0-9]{2})$`)
	case Time:
		add("format", "date-time")
	}
	bound := func(key string, p *int64) {
		switch {
		case p == nil:
		case f.Kind.Kind == Tenths:
			add(key, json.Number(tenths(*p)))
		default:
			add(key, *p)
		}
	}
	bound("minimum", f.Min)
	bound("maximum", f.Max)
	return o
}

// tenths writes a number of tenths as a decimal.
func tenths(n int64) string {
	s := strconv.FormatInt(n/10, 10)
	if n%10 != 0 {
		if n < 0 {
			n = -n
		}
		s += "." + strconv.FormatInt(n%10, 10)
	}
	return s
}

// Dictionary returns, as JSON, the words that the charts show: feeds, fields,
// code lists, units, rules, in both languages.
func (c *Catalogue) Dictionary() []byte {
	type named struct {
		Name string `json:"name"`
		Zh   string `json:"zh"`
		En   string `json:"en"`
	}
	type field struct {
		named
		Kind    string  `json:"kind"`
		List    string  `json:"list,omitempty"`
		Privacy Privacy `json:"privacy"`
		Column  string  `json:"column,omitempty"`
		Type    string  `json:"type,omitempty"`
		Current bool    `json:"current,omitempty"`
	}
	type feed struct {
		named
		History    History  `json:"history"`
		Rhythm     string   `json:"rhythm"`
		NaturalKey []string `json:"natural_key"`
		National   bool     `json:"national,omitempty"`
		Fields     []field  `json:"fields"`
	}
	type code struct {
		Code string `json:"code"`
		Zh   string `json:"zh"`
		En   string `json:"en"`
	}
	type unit struct {
		code
		ShortZh string `json:"short_zh"`
		Abbr    string `json:"abbr"`
		Type    string `json:"type"`
		Region  string `json:"region,omitempty"`
		Reports bool   `json:"reports"`
		TileRow int    `json:"tile_row,omitempty"`
		TileCol int    `json:"tile_col,omitempty"`
	}
	type rule struct {
		ID       string `json:"id"`
		Severity string `json:"severity"`
		Zh       string `json:"zh"`
		En       string `json:"en"`
	}
	var out struct {
		Feeds []feed            `json:"feeds"`
		Lists map[string][]code `json:"lists"`
		Units []unit            `json:"units"`
		Rules []rule            `json:"rules"`
	}
	for _, s := range c.Feeds {
		d := feed{named: named{s.Feed, s.Zh, s.En}, History: s.History, Rhythm: s.Rhythm, NaturalKey: s.NaturalKey, National: s.National}
		for i := range s.all {
			f := &s.all[i]
			e := field{named: named{f.Name, f.Zh, f.En}, Kind: f.Kind.String(), List: f.List, Privacy: f.Privacy, Current: f.Current}
			if i != FieldFeed {
				e.Column, e.Type = f.Column(), f.ClickHouse()
			}
			d.Fields = append(d.Fields, e)
		}
		out.Feeds = append(out.Feeds, d)
	}
	out.Lists = map[string][]code{}
	for name, l := range c.Lists {
		for _, e := range l.Entries {
			out.Lists[name] = append(out.Lists[name], code{e.Code, e.Zh, e.En})
		}
	}
	for i := range c.Units {
		u := &c.Units[i]
		out.Units = append(out.Units, unit{code{u.Code, u.Zh, u.En}, u.ShortZh, u.Abbr, u.Type, u.Region, u.Reports, u.TileRow, u.TileCol})
	}
	for _, r := range Rules() {
		i := r.Info()
		out.Rules = append(out.Rules, rule{i.ID, i.Severity.String(), i.Zh, i.En})
	}
	return pretty(out)
}

var historyText = map[History]Lingual{
	Snapshot: {"快照：每期报送全量状态", "snapshot: the whole state each period"},
	Spell:    {"时段：有起有止，变化时更新原记录", "spell: begins and ends; a change updates the record"},
	Event:    {"事件：发生一次，报送一次", "event: happened once, sent once"},
}

const madeLine = "<!-- 由 ingest/feeds 生成，请勿手改。 Made from ingest/feeds by go test ./internal/feed -update; do not edit. -->\n\n"

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

func yes(b bool) string {
	if b {
		return "是 yes"
	}
	return ""
}

func quoted(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = "`" + n + "`"
	}
	return strings.Join(out, ", ")
}

// Page returns a feed's page, Chinese first and English beside it.
func (c *Catalogue) Page(s *Spec) []byte {
	var b bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	p("%s# %s `%s`\n\n%s\n\n%s\n\n", madeLine, s.Zh, s.Feed, s.Doc.Zh, s.Doc.En)
	p("| 项 | item | |\n|---|---|---|\n")
	p("| 名称 | name | %s · %s |\n", s.Zh, s.En)
	p("| 版本 | version | %d |\n", s.Version)
	p("| 历史方式 | history | %s<br>%s |\n", historyText[s.History].Zh, historyText[s.History].En)
	due := s.DueText()
	p("| 报送频次 | rhythm | `%s` |\n| 截止时间（北京时间） | due (+08:00) | %s<br>%s |\n", s.Rhythm, due.Zh, due.En)
	scope := Lingual{"本报送单位内唯一", "unique in the reporting unit"}
	if s.National {
		scope = Lingual{"全国唯一", "unique in the nation"}
	}
	p("| 自然键 | natural key | %s（%s, %s） |\n", quoted(s.NaturalKey), scope.Zh, scope.En)
	p("| 记录键 | record key | %s |\n", quoted(s.Key()))
	sender := Lingual{"各报送单位", "every reporting unit"}
	if s.NationalOffice {
		sender = Lingual{"各报送单位，以及国家办公室（000000）", "every reporting unit, and the national office (000000)"}
	}
	p("| 报送方 | sent by | %s<br>%s |\n", sender.Zh, sender.En)
	p("| 存储表 | tables | `%s`（当前 current），`%s`（全部版本 every version） |\n\n", s.CurrentTable(), s.HistoryTable())
	p("## 字段 Fields\n\n每条记录先有公共字段（见[索引](README.md)），再有下列字段。 Every record begins with the envelope (see the [index](README.md)).\n\n")
	p("| 字段 field | 表头 heading | 类型 kind | 代码表 list | 必填 required | 隐私 privacy | 存为 stored as | 说明 note |\n|---|---|---|---|---|---|---|---|\n")
	for i := range s.Fields {
		c.fieldRow(&b, &s.Fields[i])
	}
	p("\n")
	if len(s.Checks) > 0 {
		p("## 字段间规则 Rules between fields\n\n| 规则 rule | 字段 fields | 条件 when | 级别 severity | 说明 message |\n|---|---|---|---|---|\n")
		for i := range s.Checks {
			ch := &s.Checks[i]
			when := ""
			if ch.When != nil {
				when = "`" + ch.When.Field + "` = " + strings.Join(ch.When.Is, ", ")
			}
			r, _ := RuleNamed(ch.Rule)
			info := r.Info()
			p("| [`%s`](../rules.md) | %s | %s | %s | %s<br>%s |\n", ch.Rule, quoted(ch.Fields), when, info.Severity, cell(info.Zh), cell(info.En))
		}
		p("\n")
	}
	var lists []string
	for i := range s.Fields {
		if l := s.Fields[i].List; l != "" && !contains(lists, l) {
			lists = append(lists, l)
		}
	}
	sort.Strings(lists)
	if len(lists) > 0 {
		p("## 代码表 Code lists\n\n")
		for _, l := range lists {
			p("### %s\n\n| 代码 code | 名称 | name | 也接受 also accepted |\n|---|---|---|---|\n", l)
			for _, e := range c.Lists[l].Entries {
				p("| %s | %s | %s | %s |\n", e.Code, cell(e.Zh), cell(e.En), cell(strings.Join(e.Aliases, "、")))
			}
			p("\n")
		}
	}
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n')
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func (c *Catalogue) fieldRow(b *bytes.Buffer, f *Field) {
	var notes []string
	if f.Doc.Zh != "" {
		notes = append(notes, f.Doc.Zh+" "+f.Doc.En)
	}
	if f.Partial {
		notes = append(notes, "可只到年或月。 A year or a month will do.")
	}
	if r := f.bounds(); r != "" {
		notes = append(notes, r)
	}
	if f.Since > 1 {
		notes = append(notes, fmt.Sprintf("自版本 %d 起。 Since version %d.", f.Since, f.Since))
	}
	if f.Deprecated != "" {
		notes = append(notes, "停用。 Deprecated: "+f.Deprecated)
	}
	if f.Privacy == P3 {
		notes = append(notes, "原值不入库。 The value sent is never stored.")
	}
	column := "`" + f.Column() + "`"
	if f.Partial {
		column += ", `" + f.Name + "_precision`"
	}
	column += " " + f.ClickHouse()
	if f.Name == Envelope[FieldFeed].Name {
		column = "表名 the table's name"
	}
	list := f.List
	if list != "" {
		list = "`" + list + "`"
	}
	fmt.Fprintf(b, "| `%s` | %s<br>%s | `%s` | %s | %s | %s | %s | %s |\n", f.Name, cell(f.Zh), cell(f.En), f.Kind, list, yes(f.Required), f.Privacy, column, cell(strings.Join(notes, "<br>")))
}

// bounds writes a field's range, in its own unit.
func (f *Field) bounds() string {
	text := func(p *int64) string {
		switch {
		case p == nil:
			return "…"
		case f.Kind.Kind == Tenths:
			return tenths(*p)
		}
		return strconv.FormatInt(*p, 10)
	}
	if f.Min == nil && f.Max == nil {
		return ""
	}
	return text(f.Min) + " – " + text(f.Max)
}

// IndexPage returns the page that lists the feeds, the envelope and the kinds.
func (c *Catalogue) IndexPage() []byte {
	var b bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	p("%s# 数据目录 Feeds\n\n| 类别 feed | 名称 | name | 频次 rhythm | 截止（北京时间） due | 历史 history | 自然键 natural key |\n|---|---|---|---|---|---|---|\n", madeLine)
	for _, s := range c.Feeds {
		due := s.DueText()
		p("| [`%s`](%s.md) · [JSON Schema](%s.schema.json) | %s | %s | %s | %s<br>%s | %s | %s |\n", s.Feed, s.Feed, s.Feed, s.Zh, s.En, s.Rhythm, due.Zh, due.En, s.History, quoted(s.NaturalKey))
	}
	p("\n工作日按国务院办公厅公布的节假日安排，见 `ingest/feeds/holidays.csv`。 Working days follow the State Council's yearly arrangement.\n\n")
	p("## 公共字段 The envelope\n\n每条记录都有。 Every record carries it.\n\n")
	p("| 字段 field | 表头 heading | 类型 kind | 代码表 list | 必填 required | 隐私 privacy | 存为 stored as | 说明 note |\n|---|---|---|---|---|---|---|---|\n")
	for i := range Envelope {
		c.fieldRow(&b, &Envelope[i])
	}
	p("\n作废记录（`op` = V）只需公共字段。 A void (`op` = V) needs the envelope only.\n\n")
	p("## 类型 Kinds\n\n| 类型 kind | 含义 meaning | 例 example | 必填时存为 stored as |\n|---|---|---|---|\n")
	for _, k := range Kinds() {
		i := k.Info()
		p("| `%s` | %s %s | %s | %s |\n", i.Name, cell(i.DocZh), cell(i.Doc), cell(i.Example), i.ClickHouse)
	}
	p("\n## 隐私分级 Privacy classes\n\n| 级别 class | 含义 | meaning |\n|---|---|---|\n")
	if l := c.Lists["privacy"]; l != nil {
		for _, e := range l.Entries {
			p("| %s | %s | %s |\n", e.Code, e.Zh, e.En)
		}
	}
	p("\n## 不得接收 Never to be sent\n\n以下表头在任何类别中都会被拒绝。 These headings are refused in every feed.\n\n%s\n", strings.Join(c.Forbidden, "、"))
	p("\n数据文件的写法见 [feed-file.schema.json](feed-file.schema.json)；校验规则见[规则](../rules.md)。 How a feed file is written: feed-file.schema.json. All rules: [rules](../rules.md).\n")
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n')
}

// RulesPage returns the page that lists every rule.
func RulesPage() []byte {
	var b bytes.Buffer
	b.WriteString(strings.ReplaceAll(madeLine, "ingest/feeds", "internal/feed/rule.go"))
	b.WriteString("# 校验规则 Rules\n\n`error`：该条记录不入库，进入隔离区。`warning`：入库，并在回执上提示。 An error keeps the record out; a warning stores it and notes it on the receipt.\n\n")
	b.WriteString("| 规则 rule | 级别 severity | 说明 | message | 标准笔记中的名称 name in the standards' notes |\n|---|---|---|---|---|\n")
	for _, r := range Rules() {
		i := r.Info()
		facts := ""
		if i.Facts != "" {
			facts = "`" + i.Facts + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", i.ID, i.Severity, cell(i.Zh), cell(i.En), facts)
	}
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n')
}
