package plugin

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/internal/worklist"
)

// openCases stands in a list's statement for the query that finds the cases.
const openCases = "OPEN_CASES"

// withCases puts the query of the open cases into a statement, and what it needs
// into its parameters.
func (d *Datasource) withCases(ctx context.Context, s scope.Scope, sql string, params map[string]string) (string, error) {
	a, err := d.arrivals(ctx, s, time.Time{})
	if err != nil {
		return "", err
	}
	maps.Copy(params, a.people.Params())
	return strings.ReplaceAll(sql, openCases, worklist.Cases(d.catalogue.Contract, a.people, true)), nil
}

// caseState is the state of the tables of which the cases are shown. Finding them
// reads every table and takes seconds: while data comes they are found anew no more
// often than figures may be old, but at once after a decision.
type caseState struct {
	mu             sync.Mutex
	state, decided string
	at             time.Time
}

// current is that state, and whether newer data has come.
func (c *caseState) current(ctx context.Context, d *Datasource) (state string, stale bool) {
	now, decided := d.state.current(ctx, d), d.state.current(ctx, d, worklist.FactTables()...)
	c.mu.Lock()
	defer c.mu.Unlock()
	if now == "" || c.state == "" || c.decided != decided || time.Since(c.at) >= d.config.stale() {
		c.state, c.decided, c.at = now, decided, time.Now()
	}
	return c.state, c.state != now
}

func worklistText(t worklist.Text) catalogue.Text { return catalogue.Text{Zh: t.Zh, En: t.En} }

func kindText(id string) catalogue.Text {
	if k := worklist.KindOf(id); k != nil {
		return worklistText(k.Text)
	}
	return catalogue.Text{Zh: id, En: id}
}

func reasonText(codes string) catalogue.Text { return worklistText(worklist.Reason(codes)) }

// worklistCases is what waits for a steward. It names records by their number in the
// unit's own books, never a person, and leaves out those of units not asked for.
var worklistCases = List{
	ID: "worklist", Text: catalogue.Text{Zh: "待核案件", En: "cases that wait for a steward"},
	About: catalogue.Text{Zh: "须由人工判断的成对记录，最久的在前；用 duiwu worklist decide 作出决定。", En: "Pairs of records that only a person can judge, the oldest first; decide them with duiwu worklist decide."},
	columns: []listColumn{{name: "case", zh: "案号", en: "case"}, {name: "kind", zh: "类别", en: "kind", text: kindText}, {name: "days", zh: "已存在", en: "age", unit: inDays}, {name: "reason", zh: "原因", en: "why", text: reasonText, width: 260}, {name: "feed", zh: "数据类别", en: "feed", list: "feed"},
		{name: "unit", zh: "单位代码", en: "unit code"}, {name: "unit_name", zh: "报送单位", en: "reporting unit"}, {name: "record", zh: "记录号", en: "record"},
		{name: "other_unit", zh: "对方单位", en: "other unit", list: catalogue.OtherUnit}, {name: "other_record", zh: "对方记录号", en: "other record"}},
	sql: worklistSQL(), from: worklistRows,
}

// worklistCounts counts the cases of each unit by kind; a case of two units is
// one of each.
func worklistCounts() List {
	l := List{
		ID: "worklist_counts", Text: catalogue.Text{Zh: "待核案件：按单位与类别", En: "waiting cases by unit and kind"},
		About:   catalogue.Text{Zh: "各单位待核案件数与最久的一件已有多少天；涉及两个单位的案件，两边各计一件。", En: "How many cases of each unit wait, and for how long the oldest; a case between two units counts for both."},
		columns: with(listColumn{name: "cases", zh: "案件", en: "cases"}, listColumn{name: "oldest", zh: "最久", en: "oldest", unit: inDays}),
		sql:     worklistSQL(), from: countRows,
	}
	for _, k := range worklist.Kinds {
		l.columns = append(l.columns, listColumn{name: k.ID, zh: k.Zh, en: k.En})
	}
	return l
}

// worklistSQL finds the cases once for both lists, since that takes long: the counts
// of a unit, and after them one of its oldest cases.
func worklistSQL() string {
	counts := ""
	for _, k := range worklist.Kinds {
		counts += ", toFloat64(countIf(kind = '" + k.ID + "'))"
	}
	fields := []string{"id", "kind", "days", "reason", "feed", "unit_a", "if(unit_a IN {units:Array(String)}, record_a, '')", "unit_b", "if(unit_b IN {units:Array(String)}, record_b, '')"}
	out := "SELECT * EXCEPT rows"
	for i := range fields {
		out += fmt.Sprintf(", tupleElement(c, %d)", i+2)
	}
	return out + " FROM (SELECT unit, toFloat64(count()) AS cases, max(days)" + counts + fmt.Sprintf(", groupArraySorted(%d)((-days, ", mostRows+1) + strings.Join(fields, ", ") + ")) AS rows FROM (SELECT *, toFloat64(dateDiff('day', toDate32(since_day), {today:Date32})) AS days, " +
		"arrayJoin(arrayDistinct([unit_a, unit_b])) AS unit FROM (OPEN_CASES)) WHERE unit IN {units:Array(String)} GROUP BY unit) ARRAY JOIN rows AS c ORDER BY cases DESC, unit, c"
}

// countColumns is how many columns of worklistSQL count.
func countColumns() int { return 3 + len(worklist.Kinds) }

func countRows(all [][]any) (out [][]any) {
	for _, r := range all {
		if len(out) == 0 || out[len(out)-1][0] != r[0] {
			out = append(out, r[:countColumns()])
		}
	}
	return out
}

func worklistRows(all [][]any) (out [][]any) {
	seen := map[any]bool{}
	for _, r := range all {
		if c := r[countColumns():]; !seen[c[0]] { // a case of two units stands under both
			seen[c[0]] = true
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b []any) int {
		return cmp.Or(cmp.Compare(b[2].(float64), a[2].(float64)), cmp.Compare(a[0].(string), b[0].(string)))
	})
	return out[:min(len(out), mostRows+1)]
}

// people reads whose tokens are one person, as it stands or as it stood.
func (d *Datasource) people(ctx context.Context, s scope.Scope, asOf bool, params map[string]string) (*worklist.People, error) {
	rows, err := d.db.Whole(ctx, s, worklist.Facts(d.catalogue.Contract, asOf), params)
	var people *worklist.People
	if err == nil {
		defer func() { _ = rows.Close() }()
		people, err = worklist.Read(rows)
	}
	if err != nil && codeOf(err) != codeUnknownTable { // the tables were filled by hand
		return nil, fmt.Errorf("cannot read the decisions of the worklist: %w", err)
	}
	return people, nil
}
