// Package worklist says what waits for a steward: pairs of records of which no
// stream can tell whether they are one person or one thing. It holds the kinds of
// cases, what may be decided of each, the queries that find them, and what
// indicators make of the decisions. It is a leaf: the command and the datasource
// ask their database with the same statements.
//
// Nothing merges by itself: a case changes no figure until somebody decides it,
// with a name and a reason, and a later decision undoes an earlier one.
package worklist

import (
	"slices"
	"strings"
)

// Text is a sentence in both languages.
type Text struct{ Zh, En string }

// Kind is one kind of case.
type Kind struct {
	ID string
	Text
	// Rule is what indicators do until somebody decides, Do what the units can do.
	Rule, Do Text
	// Decisions are those that a steward may take.
	Decisions []string
}

// The decisions.
const (
	// SamePerson makes two tokens one person in every figure.
	SamePerson = "same_person"
	// DifferentPersons keeps two persons apart. When they share a token, the
	// records of the second unit count as another person.
	DifferentPersons = "different_persons"
	// KeepPrimary says in which unit a person counts; it is followed by the unit.
	KeepPrimary = "keep_primary"
	// Ignore closes a case and changes no figure.
	Ignore = "ignore"
	// Undo opens a case again. It revokes the decision before it.
	Undo = "undo"
)

// Kinds are all kinds, in the order in which they are listed.
var Kinds = []Kind{
	{ID: "identity", Text: Text{"身份存疑", "identity finding"},
		Rule:      Text{"同一号码暂按一人计数。", "One number counts as one person for now."},
		Do:        Text{"两地核对证件：录错的一方更正姓名、性别或号码；确为两人的，由公安机关纠正重号。", "Compare the cards: who mistyped corrects name, sex or number; if two people have one number, the police must mend that."},
		Decisions: []string{SamePerson, DifferentPersons, Ignore}},
	{ID: "weak", Text: Text{"疑似同一人", "weak match"},
		Rule:      Text{"号码不同，暂按两人计数。", "The numbers differ, so they count as two persons for now."},
		Do:        Text{"号码变更过的报“身份号码变更”；录错的更正号码。", "If the number was changed, send an id_change; if it was mistyped, correct it."},
		Decisions: []string{SamePerson, DifferentPersons, Ignore}},
	{ID: "two_units", Text: Text{"两地在岗", "open in two units"},
		Rule:      Text{"全国只计一次，计入最近入职的单位；同日入职的计入代码较小的单位。", "Counts once in the nation, in the unit joined last; of two of one day, in the lower unit code."},
		Do:        Text{"已离开的单位补报离职日期和原因。", "The unit that the person left sends the day of leaving and the reason."},
		Decisions: []string{KeepPrimary, Ignore}},
	{ID: "twin", Text: Text{"一物两号", "natural-key twins"},
		Rule:      Text{"指标按业务主键计数，只计一次。", "Indicators count natural keys: it counts once."},
		Do:        Text{"单位作废（V）其中一条。", "The unit voids (V) one of the two records."},
		Decisions: []string{Ignore}},
	{ID: "conflict", Text: Text{"同时刻不同内容", "same moment, other content"},
		Rule:      Text{"两个版本都留存，以版本号较大者为准。", "Both versions are kept; the higher one is current."},
		Do:        Text{"单位核实后以新的报送时间重报正确内容。", "The unit sends the right content again with a new reported_at."},
		Decisions: []string{Ignore}},
}

// KindOf returns the kind with an id, or nil.
func KindOf(id string) *Kind {
	i := slices.IndexFunc(Kinds, func(k Kind) bool { return k.ID == id })
	if i < 0 {
		return nil
	}
	return &Kinds[i]
}

// DecisionText names a decision.
func DecisionText(decision string) Text {
	return map[string]Text{
		SamePerson: {"同一人", "one person"}, DifferentPersons: {"不是同一人", "two persons"},
		KeepPrimary: {"指定主要单位", "counts in this unit"}, Ignore: {"不处理", "left as it is"}, Undo: {"撤销决定", "decision undone"},
	}[decision]
}

// Reason is why a pair is a case, of the codes that the query gives.
func Reason(codes string) Text {
	texts := map[string]Text{
		"name": {"姓名不同", "other name"}, "sex": {"性别不同", "other sex"}, "birth_year": {"出生年不同", "other birth year"},
		"alike":    {"姓名、性别、出生年、工作地区相同，号码不同", "same name, sex, birth year and area, other number"},
		"both":     {"在两个单位同时在岗超过 31 天", "open in both units for more than 31 days"},
		"same_key": {"业务主键相同，记录号不同", "same natural key, other record number"},
		"moment":   {"报送时间相同，内容不同", "same reported_at, other content"},
	}
	var zh, en []string
	for code := range strings.SplitSeq(codes, ",") {
		zh, en = append(zh, texts[code].Zh), append(en, texts[code].En)
	}
	return Text{strings.Join(zh, "、"), strings.Join(en, ", ")}
}

// Side is one record of a case. Token is the person's in hexadecimal, empty where
// the record is of no person.
type Side struct {
	Unit   string `json:"unit"`
	Record string `json:"record_id"`
	From   string `json:"effective_from"`
	Token  string `json:"-"`
}

// Case is one pair. Its id is made of its kind and keys: the same pair is the
// same case whenever it is listed.
type Case struct {
	ID     string `json:"id"`
	Kind   string `json:"kind"`
	Feed   string `json:"feed"`
	Reason string `json:"reason"`
	A      Side   `json:"a"`
	B      Side   `json:"b"`
	// Since is the first day on which both stood.
	Since string `json:"since"`
}

// Scan reads the columns of Cases.
func (c *Case) Scan(scan func(...any) error) error {
	return scan(&c.ID, &c.Kind, &c.Feed, &c.Reason, &c.A.Unit, &c.A.Record, &c.A.From, &c.A.Token, &c.B.Unit, &c.B.Record, &c.B.From, &c.B.Token, &c.Since)
}

// Short is a token as people compare it.
func Short(token string) string {
	if len(token) > 8 {
		return token[:8]
	}
	return token
}
