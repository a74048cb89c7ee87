package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/flow"
)

// tables is what a run left behind: the rows of each table as text, without what
// a run may change.
type tables map[string][]string

// what says how strictly two runs are compared.
type what struct {
	// positions are compared: both runs had the same messages at the same offsets.
	positions bool
	// outcomes are compared: both runs had the same order within each key.
	outcomes bool
}

// read takes the tables of a cell.
func (c *cell) read(ctx context.Context, w what) (tables, error) {
	out := tables{}
	// When a row arrived is the run's, and each cell has a topic of its own.
	except := "_arrived_at, _topic, _incarnation"
	place := "partition, offset, row, "
	if !w.positions {
		except += ", _partition, _offset, _row"
		place = ""
	}
	history := except
	if !w.outcomes {
		history += ", _outcome"
	}
	for name, sql := range map[string]string{
		"demo_site_history": "SELECT * EXCEPT (" + history + ") FROM demo_site_history FINAL",
		"station_history":   "SELECT * EXCEPT (" + history + ") FROM station_history FINAL",
		"demo_site":         "SELECT * EXCEPT (_arrived_at) FROM demo_site FINAL",
		"station":           "SELECT * EXCEPT (_arrived_at) FROM station FINAL",
		"quarantine":        "SELECT " + place + "unit, feed, batch_id, record_id, rule, fields, rules, kept FROM quarantine FINAL",
	} {
		lines, err := query(ctx, c.database, sql+" FORMAT TSV")
		if err != nil {
			return nil, fmt.Errorf("cannot read table %s: %w", name, err)
		}
		slices.Sort(lines)
		out[name] = lines
	}
	if w.outcomes {
		lines, err := query(ctx, c.database, "SELECT unit, feed, batch_id, received, new, unchanged, correction, superseded, conflict, duplicate, rejected, rules, warnings FROM receipts ORDER BY ALL FORMAT TSV")
		if err != nil {
			return nil, fmt.Errorf("cannot read the receipts: %w", err)
		}
		out["receipts"] = lines
	}
	return out, nil
}

// differ compares the tables of a run with those of the undisturbed one.
func (want tables) differ(got tables) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		lost, more := minus(want[name], got[name]), minus(got[name], want[name])
		if len(lost) > 0 {
			out = append(out, fmt.Sprintf("%s: %d rows lost, such as %q", name, len(lost), lost[0]))
		}
		if len(more) > 0 {
			out = append(out, fmt.Sprintf("%s: %d rows too many, such as %q", name, len(more), more[0]))
		}
	}
	return out
}

// minus lists what a holds more often than b.
func minus(a, b []string) []string {
	n := map[string]int{}
	for _, s := range b {
		n[s]++
	}
	var out []string
	for _, s := range a {
		if n[s]--; n[s] < 0 {
			out = append(out, s)
		}
	}
	return out
}

// sums looks for what must hold of any run, whatever its order: the balance, the
// ledger that covers the log without gap or overlap, no version stored twice,
// and as many rows as the balance says were stored.
func (c *cell) sums(ctx context.Context, received int64) ([]string, error) {
	var r result
	const history = "(SELECT record_id, effective_from, _version FROM demo_site_history FINAL UNION ALL SELECT record_id, effective_from, _version FROM station_history FINAL)"
	const stored = "new + unchanged + correction + superseded + conflict + reprocessed"
	for _, ask := range []struct {
		what, sql string
		want      int64
	}{
		{"unexplained records", "SELECT sum(abs(unexplained)) FROM balance", 0},
		{"received", "SELECT sum(received) FROM balance", received},
		{"received by the ledger", "SELECT sum(received) FROM ledger_effective", received},
		{"versions stored twice", "SELECT count() - uniqExact(record_id, effective_from, _version) FROM " + history, 0},
		{storedRows, "SELECT (SELECT count() FROM " + history + ") - (SELECT sum(" + stored + ") FROM balance)", 0},
		{"rows of the quarantine against the balance", "SELECT (SELECT count() FROM quarantine FINAL) - (SELECT sum(rejected) FROM balance)", 0},
		{"offsets that no row of the ledger or two account for", `SELECT sum(abs(first_offset - before - 1)) FROM (SELECT first_offset, ifNull(any(toNullable(last_offset)) OVER (
    PARTITION BY topic, incarnation, partition ORDER BY first_offset ROWS BETWEEN 1 PRECEDING AND 1 PRECEDING), -1) AS before FROM ledger_effective)`, 0},
	} {
		if err := c.expect(ctx, &r, ask.what, ask.sql, ask.want); err != nil {
			return nil, err
		}
	}
	return r.Problems, nil
}

// expect asks for one number; another than is wanted is a problem.
func (c *cell) expect(ctx context.Context, r *result, what, sql string, want int64) error {
	lines, err := query(ctx, c.database, sql+" FORMAT TSV")
	if err != nil {
		return fmt.Errorf("cannot ask for %s: %w", what, err)
	}
	got, err := strconv.ParseInt(strings.Join(lines, ""), 10, 64)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", what, err)
	}
	if got != want {
		r.Problems = append(r.Problems, fmt.Sprintf("%s: %d instead of %d", what, got, want))
	}
	return nil
}

// storedRows is the difference between the rows of the history and the balance.
const storedRows = "rows of the history against the balance"

// without drops the problems that begin so.
func without(problems []string, prefix string) []string {
	return slices.DeleteFunc(problems, func(p string) bool { return strings.HasPrefix(p, prefix) })
}

// outcomes compares what was counted with what was planted.
func (c *cell) outcomes(ctx context.Context, want [flow.Outcomes]int64) ([]string, error) {
	var names []string
	for o := range flow.Outcomes {
		names = append(names, "sum("+o.String()+")")
	}
	lines, err := query(ctx, c.database, "SELECT "+strings.Join(names, ", ")+" FROM balance FORMAT TSV")
	if err != nil {
		return nil, err
	}
	var out []string
	for i, text := range strings.Split(strings.Join(lines, ""), "\t") {
		if got, err := strconv.ParseInt(text, 10, 64); err != nil || got != want[i] {
			out = append(out, fmt.Sprintf("%s: %s counted, %d planted", flow.Outcome(i), text, want[i]))
		}
	}
	return out, nil
}

// wait returns when the ledger reaches the end of every partition of the topic.
func (c *cell) wait(ctx context.Context, d time.Duration) error {
	var ends []int64
	if err := again(ctx, d, func() error {
		all, err := ingest.Ends(ctx, c.kafka(), c.topic)
		ends = all[c.topic]
		if err == nil && len(ends) == 0 {
			err = fmt.Errorf("topic %s has no partition", c.topic)
		}
		return err
	}); err != nil {
		return err
	}
	err := again(ctx, d, func() error {
		if err := c.up(ctx); err != nil {
			return err
		}
		lines, err := query(ctx, c.database, "SELECT partition, max(last_offset) + 1 FROM ledger_effective WHERE incarnation = (SELECT max(incarnation) FROM incarnations) GROUP BY partition FORMAT TSV")
		if err != nil {
			return err
		}
		at := map[string]string{}
		for _, l := range lines {
			p, n, _ := strings.Cut(l, "\t")
			at[p] = n
		}
		for p, end := range ends {
			if got := at[fmt.Sprint(p)]; got != fmt.Sprint(end) && end > 0 {
				return fmt.Errorf("the ledger of partition %d is at %q of %d", p, got, end)
			}
		}
		return nil
	})
	if err != nil {
		var said strings.Builder
		for _, w := range c.workers {
			lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(w.log.String()), "\n"), func(s string) bool { return strings.Contains(s, missingTopic) })
			fmt.Fprintf(&said, "\nworker %d:\n%s", w.n, strings.Join(lines[max(0, len(lines)-12):], "\n"))
		}
		return fmt.Errorf("%w%s", err, &said)
	}
	return nil
}
