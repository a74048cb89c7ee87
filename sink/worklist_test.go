package sink

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/worklist"
)

// rowsOf stores records of a feed given as name = expression pairs; a later pair
// of one name stands. What a record leaves out takes the column's default.
func rowsOf(t testing.TB, s *Sink, feedName string, rows ...string) {
	t.Helper()
	for _, r := range rows {
		names, values := []string{}, []string{}
		have := func(name string) bool { return strings.Contains(", "+r, ", "+name+" = ") }
		if !have("_version") {
			r += ", _version = bitShiftLeft(toUInt128(1480000000000), 64)"
		}
		if !have("effective_from") {
			r += ", effective_from = '2016-11-01'"
		}
		for pair := range strings.SplitSeq(r, ", ") {
			name, v, ok := strings.Cut(pair, " = ")
			if !ok { // an expression that holds a comma
				values[len(values)-1] += ", " + pair
				continue
			}
			if at := slices.Index(names, name); at >= 0 {
				values[at] = v
				continue
			}
			names, values = append(names, name), append(values, v)
		}
		require.NoError(t, s.exec(t.Context(), fmt.Sprintf("INSERT INTO %s_history (%s) SELECT %s", feedName, strings.Join(names, ", "), strings.Join(values, ", ")), nil), r)
	}
}

var decided = time.Date(2016, 12, 9, 0, 0, 0, 0, time.UTC)

// cases lists what is open as kind, reason and the two records.
func cases(t testing.TB, s *Sink) string {
	t.Helper()
	all, err := s.Worklist(t.Context(), decided)
	require.NoError(t, err)
	var out []string
	for _, c := range all {
		if c.Open() {
			out = append(out, fmt.Sprintf("%s %s %s/%s %s/%s since %s", c.Kind, c.Reason, c.A.Unit, c.A.Record, c.B.Unit, c.B.Record, c.Since))
		}
	}
	return strings.Join(out, "\n")
}

func caseOf(t testing.TB, s *Sink, kind, unit string) WorklistCase {
	t.Helper()
	all, err := s.Worklist(t.Context(), decided)
	require.NoError(t, err)
	for _, c := range all {
		if c.Kind == kind && c.A.Unit == unit {
			return c
		}
	}
	t.Fatalf("no case of kind %s that begins in unit %s", kind, unit)
	return WorklistCase{}
}

func TestWorklist(t *testing.T) {
	s := fresh(t, "worker", "employment", "org", "id_change")
	require.Empty(t, cases(t, s))
	worker := func(unit, id, token, name, more string) string {
		return fmt.Sprintf("reporting_unit = '%s', record_id = '%s', id_number_token = '%s', name_token = '%s', sex = '1', birth_year = 1980, county_code = '310115'%s", unit, id, token, name, more)
	}
	spell := func(unit, id, token, start, more string) string {
		return fmt.Sprintf("reporting_unit = '%s', record_id = '%s', id_number_token = '%s', employer_uscc = 'E%s', worker_category = '01', start_on = '%s'%s", unit, id, token, unit, start, more)
	}
	rowsOf(t, s, "worker",
		worker("310000", "W1", "A", "name", ""),
		// The same record a month before under another name: what it last said stands.
		worker("310000", "W1", "A", "other", ", effective_from = '2016-10-01'"),
		worker("320000", "W2", "A", "slip", ", effective_from = '2016-10-01'"),
		worker("310000", "W3", "B", "name", ", effective_from = '2016-11-02'"),
		worker("310000", "W4", "C", "name", ", county_code = '310101'"),
		// Twins: one month, one number, two records.
		worker("330000", "W5", "D", "d", ""),
		worker("330000", "W6", "D", "d", ""),
		// A record that was renumbered between two months is none.
		worker("330000", "W7", "E", "e", ", effective_from = '2016-10-01'"),
		worker("330000", "W8", "E", "e", ""),
	)
	rowsOf(t, s, "employment",
		spell("310000", "E1", "A", "2016-05-01", ""),
		spell("320000", "E2", "A", "2016-06-01", ""),
		// A move of last week is nothing to ask about, nor is a volunteer.
		spell("310000", "E3", "B", "2014-05-01", ""),
		spell("320000", "E4", "B", "2016-12-01", ""),
		spell("310000", "E5", "C", "2014-05-01", ""),
		spell("320000", "E6", "C", "2015-12-01", ", worker_category = '05'"),
		// Old and new number of one person: open in two units once that is known.
		spell("340000", "E7", "F", "2015-01-01", ""),
		spell("350000", "E8", "G", "2015-02-01", ""),
	)
	const at = "bitShiftLeft(toUInt128(1480000000001), 64)"
	org := func(id, version, outcome string) string {
		return fmt.Sprintf("reporting_unit = '310000', record_id = '%s', uscc = 'U%s', _outcome = '%s', reported_at = '2016-11-05 09:00:00', _version = %s", id, id, outcome, version)
	}
	rowsOf(t, s, "org",
		org("O1", at, "new"), org("O1", at+" + bitShiftLeft(toUInt128(9), 17)", "conflict"),
		// Of O2 a newer version came, which settles it.
		org("O2", at, "new"), org("O2", at+" + bitShiftLeft(toUInt128(9), 17)", "conflict"), org("O2", "bitShiftLeft(toUInt128(1480000000009), 64)", "correction"))
	want := []string{
		"identity name 310000/W1 320000/W2 since 2016-10-01",
		"weak alike 310000/W1 310000/W3 since 2016-11-02",
		"two_units both 320000/E2 310000/E1 since 2016-06-01",
		"twin same_key 330000/W5 330000/W6 since 2016-11-01",
		"conflict moment 310000/O1 310000/O1 since 2016-11-05",
	}
	require.Equal(t, strings.Join(want, "\n"), cases(t, s))

	// A change of number joins two tokens; what follows from it is found too.
	rowsOf(t, s, "id_change", "reporting_unit = '340000', record_id = 'I1', old_id_number_token = 'F', new_id_number_token = 'G'")
	require.Contains(t, cases(t, s), "two_units both 350000/E8 340000/E7 since 2015-02-01")

	decide := func(c WorklistCase, decision, unit string) error {
		_, err := s.Decide(t.Context(), decided, c.ID, decision, unit, "张审核", "查过证件")
		return err
	}
	weak := caseOf(t, s, "weak", "310000")
	require.ErrorContains(t, decide(WorklistCase{Case: worklist.Case{ID: "none"}}, worklist.Ignore, ""), "no such case")
	require.ErrorContains(t, decide(weak, worklist.KeepPrimary, "310000"), "use one of same_person, different_persons, ignore, undo")
	require.ErrorContains(t, decide(weak, worklist.Undo, ""), "no decision to undo")
	require.NoError(t, decide(weak, worklist.SamePerson, ""))
	p, err := s.People(t.Context())
	require.NoError(t, err)
	token := func(v string) string { return fmt.Sprintf("%-64s", fmt.Sprintf("%x", v))[:64] }
	zeros := func(v string) string { return strings.ReplaceAll(token(v), " ", "0") }
	require.Equal(t, "['"+zeros("B")+"','"+zeros("G")+"']", p.Params()["alias_of_1"])
	require.Equal(t, "['"+zeros("A")+"','"+zeros("F")+"']", p.Params()["alias_is_1"])
	// A decided case is remembered when the tables no longer show it, and comes
	// back when the decision is undone.
	id := weak.ID
	weak = caseOf(t, s, "weak", "310000")
	require.Equal(t, id, weak.ID)
	require.False(t, weak.Found)
	require.Len(t, weak.Decisions, 1)
	require.NoError(t, decide(weak, worklist.Undo, ""))
	require.Equal(t, weak.Decisions[0].ID, caseOf(t, s, "weak", "310000").Decisions[0].Revokes)

	two := caseOf(t, s, "two_units", "320000")
	require.ErrorContains(t, decide(two, worklist.KeepPrimary, "440000"), "say which unit counts")
	require.NoError(t, decide(two, worklist.KeepPrimary, "310000"))
	require.NoError(t, decide(caseOf(t, s, "identity", "310000"), worklist.DifferentPersons, ""))
	// The weak match is open again, and the two persons are still apart.
	require.Equal(t, strings.Join([]string{want[1], "two_units both 350000/E8 340000/E7 since 2015-02-01", want[3], want[4]}, "\n"), cases(t, s))
}
