package worklist

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/duiwu/duiwu/internal/feed"
)

// Fact is one thing that is known about whose tokens are whose.
type Fact struct {
	// What is same (A and B are one person), split (A in Unit is another person)
	// or keep (A counts in Unit).
	What, A, B, Unit string
}

// Scan reads the columns of Facts.
func (f *Fact) Scan(scan func(...any) error) error { return scan(&f.What, &f.A, &f.B, &f.Unit) }

// FactTables are those that Facts reads.
func FactTables() []string { return []string{"id_change", "worklist_decisions"} }

// Facts is the statement that reads what is known about tokens: declared changes
// of numbers and the decisions that stand, as of the parameter known when asOf is
// set.
func Facts(c *feed.Catalogue, asOf bool) string {
	decided, parts := "1", []string{}
	if asOf {
		decided = "decided_at <= " + feed.KnownAt
	}
	if s := c.Feed("id_change"); s != nil {
		const pair = "lower(hex(old_id_number_token)) AS a, lower(hex(new_id_number_token)) AS b"
		if asOf {
			key := strings.Join(s.Key(), ", ")
			parts = append(parts, "SELECT 'same' AS what, lower(hex(tupleElement(t, 1))) AS a, lower(hex(tupleElement(t, 2))) AS b, '' AS unit FROM (SELECT argMax((old_id_number_token, new_id_number_token, "+
				feed.ColDeleted+"), "+feed.ColVersion+") AS t FROM "+s.HistoryTable()+" WHERE "+feed.ColArrived+" <= "+feed.KnownAt+" GROUP BY "+key+") WHERE tupleElement(t, 3) = 0")
		} else {
			parts = append(parts, "SELECT 'same' AS what, "+pair+", '' AS unit FROM "+s.CurrentTable()+" FINAL")
		}
	}
	parts = append(parts, `SELECT multiIf(decision = 'same_person', 'same', decision = 'different_persons', 'split', 'keep') AS what, token_a AS a, token_b AS b,
  if(decision = 'keep_primary', keep_unit, unit_b) AS unit
FROM (`+standing(decided)+`)
WHERE decision IN ('same_person', 'keep_primary') OR decision = 'different_persons' AND token_a = token_b AND unit_a != unit_b`)
	return "SELECT DISTINCT what, a, b, unit FROM (\n" + strings.Join(parts, "\nUNION ALL\n") + "\n)\nORDER BY what, a, b, unit"
}

// standing are the decisions that stand: of each case the last one, unless it
// only undid the one before.
func standing(where string) string {
	return "SELECT * FROM (SELECT * FROM worklist_decisions WHERE " + where + " ORDER BY decided_at DESC, decision_id LIMIT 1 BY case_id) WHERE decision != 'undo'"
}

// Standing is the statement that lists the decisions that stand.
func Standing() string { return standing("1") }

// People says who is one person beyond equal tokens. Nil is nobody.
type People struct{ alias, split, kept pairs }

// pairs is a function of strings, ordered by its arguments, so that one state of
// the worklist always gives one statement.
type pairs struct{ from, to []string }

func (p *pairs) add(from, to string) { p.from, p.to = append(p.from, from), append(p.to, to) }

// NewPeople joins the facts. Tokens that are one person, be it over several
// steps, take the least of them as the person's.
func NewPeople(facts []Fact) *People {
	if len(facts) == 0 {
		return nil
	}
	root := map[string]string{}
	var find func(string) string
	find = func(t string) string {
		if r, ok := root[t]; ok && r != t {
			root[t] = find(r)
			return root[t]
		}
		return t
	}
	for _, f := range facts {
		if a, b := find(f.A), find(f.B); f.What == "same" && a != b {
			root[max(a, b)] = min(a, b)
		}
	}
	p := &People{}
	var tokens []string
	for t := range root {
		tokens = append(tokens, t)
	}
	slices.Sort(tokens)
	for _, t := range tokens {
		p.alias.add(t, find(t))
	}
	for _, f := range facts {
		switch f.What {
		case "split":
			sum := sha256.Sum256([]byte("split|" + f.A + f.Unit))
			p.split.add(f.A+f.Unit, hex.EncodeToString(sum[:]))
		case "keep":
			p.kept.add(find(f.A), f.Unit)
		}
	}
	return p
}

// Rows is the answer to a statement, as database drivers give it.
type Rows interface {
	Next() bool
	Scan(...any) error
	Err() error
}

// Read takes the people from the answer to Facts.
func Read(rows Rows) (*People, error) {
	var facts []Fact
	for rows.Next() {
		var f Fact
		if err := f.Scan(rows.Scan); err != nil {
			return nil, err
		}
		facts = append(facts, f)
	}
	return NewPeople(facts), rows.Err()
}

// most is how many values one parameter holds: the server takes 128 KB of each.
const most = 1500

// Params are the query parameters of the expressions below.
func (p *People) Params() map[string]string {
	out := map[string]string{}
	if p == nil {
		return out
	}
	for name, v := range map[string][]string{"alias_of": p.alias.from, "alias_is": p.alias.to, "split_of": p.split.from, "split_is": p.split.to, "kept_of": p.kept.from, "kept_in": p.kept.to} {
		i := 0
		for part := range slices.Chunk(v, most) {
			i++
			out[fmt.Sprintf("%s_%d", name, i)] = "['" + strings.Join(part, "','") + "']"
		}
	}
	return out
}

// texts are all values of a list, tokens the same as tokens; both are constant.
func texts(name string, v []string) string {
	var parts []string
	for i := 1; i <= (len(v)+most-1)/most; i++ {
		parts = append(parts, fmt.Sprintf("{%s_%d:Array(String)}", name, i))
	}
	return "arrayConcat(" + strings.Join(parts, ", ") + ")"
}

func tokens(name string, v []string) string {
	return "arrayMap(x -> toFixedString(unhex(x), 32), " + texts(name, v) + ")"
}

// Masked are parameters as people may see them: a statement that is shown to a
// viewer says how many tokens it was given, and none of them.
func Masked(params map[string]string) map[string]string {
	out := maps.Clone(params)
	for name, v := range out {
		for _, own := range []string{"alias_", "split_", "kept_"} {
			if strings.HasPrefix(name, own) {
				out[name] = fmt.Sprintf("(%d)", strings.Count(v, "'")/2)
			}
		}
	}
	return out
}

// Joins says whether a token can be another person than itself.
func (p *People) Joins() bool {
	return p != nil && len(p.alias.from)+len(p.split.from) > 0
}

// Person is the expression of the person of a row: the token itself where nothing
// else is known of it.
func (p *People) Person(token, unit string) string {
	if p == nil {
		return token
	}
	out := token
	if len(p.alias.from) > 0 {
		out = "transform(" + token + ", " + tokens("alias_of", p.alias.from) + ", " + tokens("alias_is", p.alias.to) + ", " + token + ")"
	}
	if len(p.split.from) > 0 {
		out = "transform(concat(lower(hex(" + token + ")), toString(" + unit + ")), " + texts("split_of", p.split.from) + ", " + tokens("split_is", p.split.to) + ", " + out + ")"
	}
	return out
}

// Ahead is the expression of a number that puts the unit in which a person was
// decided to count before every other; empty when none was decided.
func (p *People) Ahead(person, unit string) string {
	if p == nil || len(p.kept.from) == 0 {
		return ""
	}
	return "if(transform(" + person + ", " + tokens("kept_of", p.kept.from) + ", " + texts("kept_in", p.kept.to) + ", '') = toString(" + unit + "), -10000000, 0)"
}
