package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"text/tabwriter"
	"time"

	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/usage"
)

// counts is one balance: received = the stored outcomes + duplicate + rejected.
type counts struct {
	Received    int64 `json:"received"`
	Stored      int64 `json:"stored"`
	New         int64 `json:"new"`
	Unchanged   int64 `json:"unchanged"`
	Correction  int64 `json:"correction"`
	Superseded  int64 `json:"superseded"`
	Conflict    int64 `json:"conflict"`
	Reprocessed int64 `json:"reprocessed"`
	Duplicate   int64 `json:"duplicate"`
	Rejected    int64 `json:"rejected"`
	// RejectedByRule counts each rejected record by the first rule it broke.
	RejectedByRule map[string]int64 `json:"rejected_by_rule"`
	Warnings       map[string]int64 `json:"warnings"`
}

// summary is what --once --json prints.
type summary struct {
	counts
	ByFeed     map[string]*counts `json:"by_feed"`
	ManifestOK bool               `json:"manifest_ok"`
	// Mismatches say where the tables differ from what was planted.
	Mismatches []string `json:"mismatches"`
	Seconds    float64  `json:"seconds"`
	// RowsPerSecond and CPUPerMillion are 0 when the run found its work done.
	RowsPerSecond float64 `json:"rows_per_second"`
	CPUPerMillion float64 `json:"cpu_seconds_per_million"`
	// CPU and memory by process since the job began: starting the server and
	// making the tables is not the job. Those of servers of the user's own are
	// absent.
	WorkerCPU      float64 `json:"worker_cpu_seconds"`
	ClickHouseCPU  float64 `json:"clickhouse_cpu_seconds"`
	PeakRSSMB      float64 `json:"peak_rss_mb"`
	ClickHousePeak float64 `json:"clickhouse_peak_rss_mb"`
	Seed           uint64  `json:"seed"`
	Messages       int64   `json:"messages"`

	planted map[string]int64
}

// summarize compares the tables with the manifest. The outcomes come from the
// balance (receipts that the ledger vouches for) and the stored rows are counted
// in the history tables themselves.
func (s *stack) summarize(ctx context.Context, took time.Duration) (*summary, error) {
	sum := &summary{ByFeed: map[string]*counts{}, Seconds: took.Seconds(), Seed: s.manifest.Seed, Messages: s.manifest.Messages, planted: map[string]int64{}}
	if err := s.balance(ctx, sum); err != nil {
		return nil, err
	}
	for _, p := range s.manifest.Planted {
		sum.planted[p.Kind] = p.Count
	}
	differ := func(format string, args ...any) {
		sum.Mismatches = append(sum.Mismatches, fmt.Sprintf(format, args...))
	}
	names := map[string]bool{}
	for name := range s.manifest.Feeds {
		names[name] = true
	}
	for name := range sum.ByFeed {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		got, want := sum.ByFeed[name], s.manifest.Feeds[name]
		if got == nil {
			got = &counts{}
		}
		if want == nil {
			differ("feed %q: %d records came and none was planted", name, got.Received)
			continue
		}
		if got.Received != want.Received {
			differ("feed %q: received %d, planted %d", name, got.Received, want.Received)
		}
		for o, n := range got.by() {
			if n != want.Outcomes[flow.Outcome(o).String()] {
				differ("feed %q: %s %d, planted %d", name, flow.Outcome(o), n, want.Outcomes[flow.Outcome(o).String()])
			}
		}
		compare := func(what string, got, want map[string]int64) {
			ids := map[string]bool{}
			for id := range got {
				ids[id] = true
			}
			for id := range want {
				ids[id] = true
			}
			for _, id := range slices.Sorted(maps.Keys(ids)) {
				if got[id] != want[id] {
					differ("feed %q: %s %s %d, planted %d", name, what, id, got[id], want[id])
				}
			}
		}
		compare("rejected by", got.RejectedByRule, want.RejectedByRule)
		compare("warned by", got.Warnings, want.Warnings)
	}
	if err := s.storedRows(ctx, sum, differ); err != nil {
		return nil, err
	}
	if sum.Received != sum.Stored+sum.Duplicate+sum.Rejected {
		differ("the balance does not hold: received %d, stored %d + duplicate %d + rejected %d", sum.Received, sum.Stored, sum.Duplicate, sum.Rejected)
	}
	sum.ManifestOK = len(sum.Mismatches) == 0
	if sum.Mismatches == nil {
		sum.Mismatches = []string{}
	}
	s.measure(sum)
	return sum, nil
}

// by lists the outcomes in the order of flow.Outcome.
func (c *counts) by() [flow.Outcomes]int64 {
	return [flow.Outcomes]int64{c.New, c.Unchanged, c.Correction, c.Superseded, c.Conflict, c.Reprocessed, c.Duplicate, c.Rejected}
}

func (c *counts) add(d *counts) {
	c.Received += d.Received
	c.Stored += d.Stored
	c.New += d.New
	c.Unchanged += d.Unchanged
	c.Correction += d.Correction
	c.Superseded += d.Superseded
	c.Conflict += d.Conflict
	c.Reprocessed += d.Reprocessed
	c.Duplicate += d.Duplicate
	c.Rejected += d.Rejected
	if c.RejectedByRule == nil {
		c.RejectedByRule, c.Warnings = map[string]int64{}, map[string]int64{}
	}
	for id, n := range d.RejectedByRule {
		c.RejectedByRule[id] += n
	}
	for id, n := range d.Warnings {
		c.Warnings[id] += n
	}
}

func (s *stack) balance(ctx context.Context, sum *summary) error {
	rows, err := s.conn.Query(ctx, `SELECT feed, sum(received), sum(new), sum(unchanged), sum(correction), sum(superseded), sum(conflict),
    sum(reprocessed), sum(duplicate), sum(rejected), sumMap(rules), sumMap(warnings) FROM receipts GROUP BY feed`)
	if err != nil {
		return fmt.Errorf("cannot read the balance: %w", err)
	}
	defer rows.Close()
	sum.add(&counts{})
	for rows.Next() {
		var name string
		c := &counts{}
		if err := rows.Scan(&name, &c.Received, &c.New, &c.Unchanged, &c.Correction, &c.Superseded, &c.Conflict,
			&c.Reprocessed, &c.Duplicate, &c.Rejected, &c.RejectedByRule, &c.Warnings); err != nil {
			return fmt.Errorf("cannot read the balance: %w", err)
		}
		c.Stored = c.New + c.Unchanged + c.Correction + c.Superseded + c.Conflict + c.Reprocessed
		sum.ByFeed[name] = c
		sum.add(c)
	}
	return rows.Err()
}

// storedRows counts the rows of the history tables: one for each stored record
// and one for each void that a correction of another record implies. Rejects
// must lie in the quarantine, one each.
func (s *stack) storedRows(ctx context.Context, sum *summary, differ func(string, ...any)) error {
	for _, name := range slices.Sorted(maps.Keys(sum.ByFeed)) {
		if name == "" {
			continue
		}
		var u, v uint64
		if err := s.conn.QueryRow(ctx, "SELECT countIf(_part = 0), countIf(_part = 1) FROM `"+name+"_history` FINAL").Scan(&u, &v); err != nil {
			return fmt.Errorf("cannot count rows: %w", err)
		}
		records, voids := int64(u), int64(v)
		if records != sum.ByFeed[name].Stored {
			differ("feed %q: %d rows in the history, %d stored in the balance", name, records, sum.ByFeed[name].Stored)
		}
		if voids != s.manifest.DerivedVoids[name] {
			differ("feed %q: %d voids implied by corrections, planted %d", name, voids, s.manifest.DerivedVoids[name])
		}
	}
	var u uint64
	if err := s.conn.QueryRow(ctx, "SELECT count() FROM quarantine FINAL").Scan(&u); err != nil {
		return fmt.Errorf("cannot count rows: %w", err)
	}
	if n := int64(u); n != sum.Rejected {
		differ("%d rows in the quarantine, %d rejected in the balance", n, sum.Rejected)
	}
	return nil
}

// measure reads what the worker and the embedded server have used.
func (s *stack) measure(sum *summary) {
	if s.worker != nil {
		sum.WorkerCPU, sum.PeakRSSMB = used(s.worker.pid())
	}
	if s.engine != nil {
		sum.ClickHouseCPU, sum.ClickHousePeak = used(s.engine.PID())
		sum.ClickHouseCPU -= s.idleCPU
	}
	if sum.Received > 0 && s.pushed {
		sum.CPUPerMillion = (sum.WorkerCPU + sum.ClickHouseCPU) / float64(sum.Received) * 1e6
		sum.RowsPerSecond = float64(sum.Received) / sum.Seconds
	}
}

// used returns the CPU seconds that a process has used and its peak memory in MB;
// zeros when the system does not tell.
func used(pid int) (cpu, peak float64) {
	if t, err := usage.CPU(pid); err == nil {
		cpu = t.Seconds()
	}
	if n, err := usage.Peak(pid); err == nil {
		peak = float64(n) / (1 << 20)
	}
	return cpu, peak
}

// print writes the summary for people.
func (sum *summary) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := "feed\treceived\t=\tnew"
	for o := flow.Unchanged; o < flow.Outcomes; o++ {
		head += "\t" + o.String()
	}
	fmt.Fprintln(t, head+"\t")
	line := func(name string, c *counts) {
		fmt.Fprintf(t, "%s\t%d\t=", name, c.Received)
		for _, n := range c.by() {
			fmt.Fprintf(t, "\t%d", n)
		}
		fmt.Fprintln(t, "\t")
	}
	for _, name := range slices.Sorted(maps.Keys(sum.ByFeed)) {
		show := name
		if name == "" {
			show = "(no feed)"
		}
		line(show, sum.ByFeed[name])
	}
	line("all", &sum.counts)
	_ = t.Flush()
	table := func(title string, m map[string]int64) {
		if len(m) == 0 {
			return
		}
		fmt.Fprintf(w, "\n%s\n", title)
		ids := slices.Collect(maps.Keys(m))
		sort.Slice(ids, func(i, j int) bool { return m[ids[i]] > m[ids[j]] || m[ids[i]] == m[ids[j]] && ids[i] < ids[j] })
		t := tabwriter.NewWriter(w, 2, 0, 2, ' ', 0)
		for _, id := range ids {
			fmt.Fprintf(t, "  %s\t%d\n", id, m[id])
		}
		_ = t.Flush()
	}
	table("rejected by rule", sum.RejectedByRule)
	table("stored with a warning", sum.Warnings)
	table("planted", sum.planted)
	fmt.Fprintln(w)
	if sum.RowsPerSecond > 0 {
		fmt.Fprintf(w, "%.0f records a second; %.1f CPU seconds a million records (worker %.1f s, ClickHouse %.1f s in all); peak memory: worker %.0f MB, ClickHouse %.0f MB\n",
			sum.RowsPerSecond, sum.CPUPerMillion, sum.WorkerCPU, sum.ClickHouseCPU, sum.PeakRSSMB, sum.ClickHousePeak)
	}
	if sum.ManifestOK {
		fmt.Fprintln(w, "every record that was planted has ended with the name it was planted for")
		return
	}
	fmt.Fprintln(w, "THE TABLES DIFFER FROM WHAT WAS PLANTED:")
	for _, m := range sum.Mismatches {
		fmt.Fprintln(w, "  "+m)
	}
}
