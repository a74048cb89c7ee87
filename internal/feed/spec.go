// Package feed says WHAT data is: the language of the feed files, the table of
// kinds, the rules, the code lists and divisions, and everything that is
// derived from a feed file without Arrow, Kafka or ClickHouse.
//
// The language of a feed file is the structs of this file: their yaml tags are
// its keys, their comments its documentation.
package feed

import (
	"fmt"
	"strings"
)

// History says how a feed's records follow one another in time.
type History string

const (
	// Snapshot feeds send the whole state each period: effective_from belongs
	// to the record key, so each month is a record of its own.
	Snapshot History = "snapshot"
	// Spell feeds send things that begin and end.
	Spell History = "spell"
	// Event feeds send things that happened once.
	Event History = "event"
)

// Privacy is a field's class; the classes are those of the project's data
// protection plan.
type Privacy string

const (
	// P0 is a public aggregate.
	P0 Privacy = "P0"
	// P1 is internal and about no person.
	P1 Privacy = "P1"
	// P2 is personal and pseudonymized.
	P2 Privacy = "P2"
	// P3 is a direct identifier; it exists in the ingest zone only.
	P3 Privacy = "P3"
	// P4 must not be received at all.
	P4 Privacy = "P4"
)

// Spec is one feed file.
type Spec struct {
	// Feed is the feed's name, lower_snake, also its table's name.
	Feed string `yaml:"feed"`
	// Version is the schema version that this file describes, from 1. Readers
	// accept it and older ones; columns are only ever added.
	Version int `yaml:"version"`
	// Zh and En name the feed for people.
	Zh string `yaml:"zh"`
	En string `yaml:"en"`
	// Doc says what one record is.
	Doc Lingual `yaml:"doc"`
	// History is snapshot, spell or event.
	History History `yaml:"history"`
	// Rhythm says when records are due: daily, monthly, quarterly, yearly or event.
	Rhythm string `yaml:"rhythm"`
	// NaturalKey lists the fields that name the same thing in the world; indicators
	// count natural keys, never record ids. The unit is part of it unless National.
	NaturalKey []string `yaml:"natural_key"`
	// National says that the natural key is unique in the nation, not in the unit.
	National bool `yaml:"national,omitempty"`
	// Owed says that every unit has something to report for every period: one
	// that never sent a record is late, not empty.
	Owed bool `yaml:"owed,omitempty"`
	// NationalOffice says that unit 000000 may push this feed too.
	NationalOffice bool `yaml:"national_office,omitempty"`
	// Fields are the feed's own fields, in the order of its template.
	Fields []Field `yaml:"fields"`
	// Checks are the rules between fields.
	Checks []Check `yaml:"checks,omitempty"`
	// Forbidden names fields that must never be sent, beside the national list.
	Forbidden []string `yaml:"forbidden,omitempty"`

	byName map[string]int
	all    []Field
}

// Lingual is a sentence in both languages.
type Lingual struct {
	Zh string `yaml:"zh"`
	En string `yaml:"en"`
}

// Field is one column of a feed.
type Field struct {
	// Name is lower_snake and stable.
	Name string `yaml:"name"`
	// Zh and En are the column headings for people.
	Zh string `yaml:"zh"`
	En string `yaml:"en"`
	// Aliases are other headings that people write. `duiwu map --suggest` proposes
	// by them; reading never does.
	Aliases []string `yaml:"aliases,omitempty"`
	// Kind is a name of the kind table.
	Kind KindName `yaml:"kind"`
	// List is the code list of a code, codes or pay field.
	List string `yaml:"list,omitempty"`
	// Required fields must hold a value in every record but a void.
	Required bool `yaml:"required,omitempty"`
	// Privacy is P0 to P3.
	Privacy Privacy `yaml:"privacy"`
	// Partial dates (a month, a year) are accepted; the first day is stored,
	// and how exact it is in a column <name>_precision.
	Partial bool `yaml:"partial,omitempty"`
	// Min and Max bound an integer, tenths, money or pay field, both ends
	// included: money and pay in fen, tenths in tenths (1000 is 100.0).
	Min *int64 `yaml:"min,omitempty"`
	Max *int64 `yaml:"max,omitempty"`
	// Current fields stand in the narrow current table that dashboards read.
	Current bool `yaml:"current,omitempty"`
	// Since is the schema version that brought the field; 1 when absent.
	Since int `yaml:"since,omitempty"`
	// Deprecated says what replaces a field that is no longer wanted.
	Deprecated string `yaml:"deprecated,omitempty"`
	// Doc says what the value means where the heading does not.
	Doc Lingual `yaml:"doc,omitempty"`
}

// KindName is a Kind written by its name.
type KindName struct{ Kind }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *KindName) UnmarshalText(text []byte) error {
	kind, ok := kindNamed(string(text))
	if !ok {
		return fmt.Errorf("unknown kind %q; use one of %s", text, kindNames())
	}
	k.Kind = kind
	return nil
}

func kindNames() string {
	var out []string
	for _, k := range Kinds() {
		out = append(out, k.String())
	}
	return strings.Join(out, ", ")
}

// Check is one rule between fields.
type Check struct {
	// Rule is the rule's id, one of: date_order, required_with,
	// ric_sex_mismatch, ric_birth_mismatch, org_type_mismatch, evaluator_self,
	// id_unchanged.
	Rule string `yaml:"rule"`
	// Fields are its arguments in order, as the rule's documentation says:
	// date_order a b: a <= b when both stand. required_with a b: a must stand
	// when b does. ric_sex_mismatch sex id; ric_birth_mismatch birth id;
	// org_type_mismatch type uscc; evaluator_self evaluator subject;
	// id_unchanged new old.
	Fields []string `yaml:"fields"`
	// When restricts the check to records whose field When.Field is one of When.Is.
	When *When `yaml:"when,omitempty"`
}

// When is a condition on one code field.
type When struct {
	Field string   `yaml:"field"`
	Is    []string `yaml:"is"`
}

// Envelope holds the fields that every record of every feed carries. They come
// before the feed's own in every derived schema.
var Envelope = []Field{
	{Name: "schema_version", Zh: "模式版本", En: "schema version", Kind: KindName{Integer}, Required: true, Privacy: P1},
	{Name: "reporting_unit", Zh: "报送单位", En: "reporting unit", Kind: KindName{Unit}, Required: true, Privacy: P1, Current: true},
	{Name: "feed", Zh: "数据类别", En: "feed", Kind: KindName{Key}, Required: true, Privacy: P1},
	{Name: "batch_id", Zh: "批次号", En: "batch", Kind: KindName{Key}, Required: true, Privacy: P1},
	{Name: "record_id", Zh: "源系统记录号", En: "source record", Kind: KindName{Key}, Required: true, Privacy: P1, Current: true},
	{Name: "op", Zh: "操作", En: "operation", Kind: KindName{Code}, List: "record_op", Required: true, Privacy: P1},
	{Name: "corrects", Zh: "更正的原记录号", En: "corrected source record", Kind: KindName{Key}, Privacy: P1},
	{Name: "period", Zh: "所属期", En: "period", Kind: KindName{Period}, Required: true, Privacy: P1, Current: true},
	{Name: "effective_from", Zh: "生效日期", En: "effective from", Kind: KindName{Date}, Required: true, Privacy: P1, Current: true},
	{Name: "reported_at", Zh: "报送时间", En: "reported at", Kind: KindName{Time}, Required: true, Privacy: P1, Current: true},
}

// Envelope positions in Spec.All.
const (
	FieldSchemaVersion = iota
	FieldReportingUnit
	FieldFeed
	FieldBatchID
	FieldRecordID
	FieldOp
	FieldCorrects
	FieldPeriod
	FieldEffectiveFrom
	FieldReportedAt
	// EnvelopeLen is where the feed's own fields begin.
	EnvelopeLen
)

// All lists the envelope and then the feed's own fields.
func (s *Spec) All() []Field { return s.all }

// Index returns the position of a field in All, or -1.
func (s *Spec) Index(name string) int {
	if i, ok := s.byName[name]; ok {
		return i
	}
	return -1
}

// KeyHasDate says whether effective_from belongs to the record key.
func (s *Spec) KeyHasDate() bool { return s.History == Snapshot }

// Column returns the name of the column that holds the field's stored form.
func (f *Field) Column() string {
	if f.Kind.Kind == Birth {
		return "birth_year"
	}
	return trimFen(f.Name, f.Kind.Kind) + f.Kind.Info().Suffix
}

// trimFen drops the unit from a pay field's name: the band has none.
func trimFen(name string, k Kind) string {
	const fen = "_fen"
	if k == Pay && len(name) > len(fen) && name[len(name)-len(fen):] == fen {
		return name[:len(name)-len(fen)]
	}
	return name
}

// Lossy says whether an absent value cannot be told from an empty one in the
// field's column: text and codes store absence as the empty string.
func (f *Field) Lossy() bool {
	switch f.Kind.Info().Store {
	case StoreText, StoreCode, StoreCodes:
		return true
	}
	return false
}

// ClickHouse returns the column type of the field's stored form.
func (f *Field) ClickHouse() string {
	if f.Required {
		return f.Kind.Info().ClickHouse
	}
	return f.Kind.Info().Optional
}

func (s *Spec) index() {
	s.all = append(append(make([]Field, 0, EnvelopeLen+len(s.Fields)), Envelope...), s.Fields...)
	s.byName = make(map[string]int, len(s.all))
	for i := range s.all {
		s.byName[s.all[i].Name] = i
	}
}
