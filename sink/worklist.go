package sink

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/worklist"
)

// decisionsTable is append only: what was decided of a case is what its last row
// says, and the rows before it say how it came to that. It keeps both sides of the
// case, because a decided case may be found no more.
func decisionsTable() table {
	return table{
		name: "worklist_decisions",
		columns: []column{
			{"decision_id", "String", ""}, {"case_id", "String", ""}, {"kind", code, ""}, {"feed", code, ""}, {"case_reason", "String", ""},
			{"decision", code, ""}, {"keep_unit", code, ""},
			{"unit_a", code, ""}, {"record_a", "String", ""}, {"from_a", "String", ""}, {"token_a", "String", ""},
			{"unit_b", code, ""}, {"record_b", "String", ""}, {"from_b", "String", ""}, {"token_b", "String", ""}, {"since", "String", ""},
			{"decided_by", "String", ""}, {"reason", "String", ""}, {"decided_at", moment, ""}, {"revokes", "String", ""},
		},
		engine:  "MergeTree",
		order:   []string{"case_id", "decided_at", "decision_id"},
		comment: "What stewards decided of the cases of the worklist; the last row of a case counts, tokens in hexadecimal",
	}
}

// Decision is one row of worklist_decisions.
type Decision struct {
	ID       string    `json:"decision_id"`
	Decision string    `json:"decision"`
	KeepUnit string    `json:"keep_unit,omitempty"`
	By       string    `json:"by"`
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"`
	Revokes  string    `json:"revokes,omitempty"`
}

// Verb is the decision as it is typed.
func (d *Decision) Verb() string {
	if d.KeepUnit != "" {
		return d.Decision + "=" + d.KeepUnit
	}
	return d.Decision
}

// WorklistCase is a case with what was decided of it, the last decision first.
type WorklistCase struct {
	worklist.Case
	Decisions []Decision `json:"decisions,omitempty"`
	// Found says that the tables still show the case: one that was merged or
	// mended is known by its decisions only.
	Found bool `json:"found"`
}

// Open says whether the case waits for a steward.
func (c *WorklistCase) Open() bool {
	return c.Found && (len(c.Decisions) == 0 || c.Decisions[0].Decision == worklist.Undo)
}

// People reads whose tokens are whose, now.
func (s *Sink) People(ctx context.Context) (*worklist.People, error) {
	var facts []worklist.Fact
	err := s.rows(ctx, worklist.Facts(s.opt.Catalogue, false), nil, func(scan func(...any) error) error {
		var f worklist.Fact
		err := f.Scan(scan)
		facts = append(facts, f)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the changed numbers and the decisions: %w", err)
	}
	return worklist.NewPeople(facts), nil
}

// Worklist lists the cases of the tables on a day, and those that the decisions
// alone remember, in the order of the kinds.
func (s *Sink) Worklist(ctx context.Context, today time.Time) ([]WorklistCase, error) {
	p, err := s.People(ctx)
	if err != nil {
		return nil, err
	}
	with := params{"today": today.Format(time.DateOnly)}
	for k, v := range p.Params() {
		with[k] = v
	}
	var out []WorklistCase
	err = s.rows(ctx, worklist.Cases(s.opt.Catalogue, p, false), with, func(scan func(...any) error) error {
		c := WorklistCase{Found: true}
		err := c.Scan(scan)
		out = append(out, c)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot look for cases: %w", err)
	}
	at := map[string]int{}
	for i := range out {
		at[out[i].ID] = i
	}
	err = s.rows(ctx, "SELECT case_id, toString(kind), toString(feed), case_reason, toString(unit_a), record_a, from_a, token_a, toString(unit_b), record_b, from_b, token_b, since,\n"+
		"  decision_id, toString(decision), toString(keep_unit), decided_by, reason, decided_at, revokes FROM worklist_decisions ORDER BY decided_at DESC, decision_id", nil, func(scan func(...any) error) error {
		var d Decision
		var c WorklistCase
		err := c.Scan(func(to ...any) error {
			return scan(append(to, &d.ID, &d.Decision, &d.KeepUnit, &d.By, &d.Reason, &d.At, &d.Revokes)...)
		})
		i, ok := at[c.ID]
		if !ok {
			i = len(out)
			at[c.ID] = i
			out = append(out, c)
		}
		out[i].Decisions = append(out[i].Decisions, d)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the decisions: %w", err)
	}
	return out, nil
}

// ErrNoCase says that neither the tables nor the decisions know a case.
var ErrNoCase = errors.New("no such case")

// Decide appends a decision on a case and returns it: one of its kind's, or undo,
// which revokes the one that stands. keepUnit goes with keep_primary.
func (s *Sink) Decide(ctx context.Context, today time.Time, id, decision, keepUnit, by, reason string) (*WorklistCase, error) {
	all, err := s.Worklist(ctx, today)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(c WorklistCase) bool { return c.ID == id })
	if i < 0 {
		return nil, fmt.Errorf("cannot decide %s: %w", id, ErrNoCase)
	}
	c := &all[i]
	if err := c.may(decision, keepUnit); err != nil {
		return nil, fmt.Errorf("cannot decide %s: %w", id, err)
	}
	d := Decision{ID: strings.ToLower(rand.Text()[:12]), Decision: decision, KeepUnit: keepUnit, By: by, Reason: reason, At: time.Now()}
	if len(c.Decisions) > 0 && c.Decisions[0].Decision != worklist.Undo {
		d.Revokes = c.Decisions[0].ID
	}
	// Two decisions of one millisecond would have no order.
	if n := len(c.Decisions); n > 0 && !d.At.After(c.Decisions[0].At.Add(time.Millisecond)) {
		d.At = c.Decisions[0].At.Add(time.Millisecond)
	}
	row := map[string]string{
		"decision_id": d.ID, "case_id": c.ID, "kind": c.Kind, "feed": c.Feed, "case_reason": c.Reason, "decision": d.Decision, "keep_unit": d.KeepUnit,
		"unit_a": c.A.Unit, "record_a": c.A.Record, "from_a": c.A.From, "token_a": c.A.Token,
		"unit_b": c.B.Unit, "record_b": c.B.Record, "from_b": c.B.From, "token_b": c.B.Token, "since": c.Since,
		"decided_by": by, "reason": reason, "decided_at": stamp(d.At), "revokes": d.Revokes,
	}
	if err := insertJSON(ctx, s, "worklist_decisions", columnNames("worklist_decisions"), []map[string]string{row}); err != nil {
		return nil, err
	}
	c.Decisions = slices.Insert(c.Decisions, 0, d)
	return c, nil
}

// renameCases gives decisions the names that their cases have after a rotation:
// the name of a case is made of tokens. What it was decided of is found by its
// records. Killed, it is run again.
func (s *Sink) renameCases(ctx context.Context) error {
	all, err := s.Worklist(ctx, time.Now().In(feed.Shanghai))
	if err != nil {
		return err
	}
	type pair struct{ kind, feed, unitA, recordA, unitB, recordB string }
	of := func(c *WorklistCase) pair {
		return pair{c.Kind, c.Feed, c.A.Unit, c.A.Record, c.B.Unit, c.B.Record}
	}
	found := map[pair]string{}
	for i := range all {
		if c := &all[i]; c.Found {
			found[of(c)] = c.ID
		}
	}
	columns := columnNames("worklist_decisions")
	into := quoteNames(columns)
	from := strings.Replace(into, quoteName("case_id"), "{name:String}", 1)
	for i := range all {
		c := &all[i]
		name, ok := found[of(c)]
		if c.Found || !ok {
			continue
		}
		with := params{"was": c.ID, "name": name}
		for _, q := range []string{
			"INSERT INTO worklist_decisions (" + into + ") SELECT " + from + " FROM worklist_decisions WHERE case_id = {was:String} AND decision_id NOT IN (SELECT decision_id FROM worklist_decisions WHERE case_id = {name:String})",
			"ALTER TABLE worklist_decisions DELETE WHERE case_id = {was:String} SETTINGS mutations_sync = 1",
		} {
			if err := s.exec(ctx, q, with); err != nil {
				return fmt.Errorf("cannot give the decisions on case %s its new name %s: %w", c.ID, name, err)
			}
		}
	}
	return nil
}

// may says why a decision cannot be taken on a case.
func (c *WorklistCase) may(decision, keepUnit string) error {
	switch kind := worklist.KindOf(c.Kind); {
	case decision == worklist.Undo:
		if len(c.Decisions) == 0 || c.Decisions[0].Decision == worklist.Undo {
			return errors.New("there is no decision to undo")
		}
	case kind == nil || !slices.Contains(kind.Decisions, decision):
		if kind == nil {
			return fmt.Errorf("this release does not know cases of kind %s", c.Kind)
		}
		return fmt.Errorf("decision %q does not fit a case of kind %s; use one of %s, %s", decision, c.Kind, strings.Join(kind.Decisions, ", "), worklist.Undo)
	case decision == worklist.KeepPrimary && keepUnit != c.A.Unit && keepUnit != c.B.Unit:
		return fmt.Errorf("say which unit counts: %s=%s or %s=%s", decision, c.A.Unit, decision, c.B.Unit)
	case decision == worklist.DifferentPersons && c.A.Token == c.B.Token && c.A.Unit == c.B.Unit:
		// Training and certificates name no record, only the number: within one unit
		// nothing says whose they are.
		return fmt.Errorf("both records are of unit %s and one number: no figure can tell them apart until the unit corrects the number of one", c.A.Unit)
	}
	return nil
}
