package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/value"
	"github.com/duiwu/duiwu/internal/worklist"
	"github.com/duiwu/duiwu/sink"
)

// runWorklist shows the cases that wait for a steward, and takes decisions.
func runWorklist(ctx context.Context, env *environment, args []string) error {
	actions := map[string]func(context.Context, *environment, []string) error{
		"list": worklistList, "show": worklistShow, "decide": worklistDecide,
	}
	if len(args) > 0 {
		if run := actions[args[0]]; run != nil {
			return run(ctx, env, args[1:])
		}
	}
	fmt.Fprint(env.stderr, `Usage:
  duiwu worklist list   [flags]                 the cases that wait for a decision: one person or two, which unit, which record
  duiwu worklist show   [flags] CASE            one case: its two records, why, what indicators do, what was decided
  duiwu worklist decide [flags] --by NAME --reason TEXT CASE DECISION
                                                same_person, different_persons, keep_primary=UNIT, ignore, or undo
`)
	return errUsage
}

// caseFlags say which day and which cases.
type caseFlags struct {
	database
	asOf, kind, unit string
}

func (c *caseFlags) flags(fs *flag.FlagSet) {
	c.database.flags(fs)
	fs.StringVar(&c.asOf, "as-of", "", "day on which spells must be open; default today")
}

func (c *caseFlags) day() (time.Time, error) {
	if c.asOf == "" {
		y, m, d := time.Now().In(feed.Shanghai).Date()
		return time.Date(y, m, d, 0, 0, 0, 0, time.UTC), nil
	}
	t, err := time.Parse(time.DateOnly, c.asOf)
	if err != nil {
		return t, fmt.Errorf("--as-of %q is no day: write 2016-11-30", c.asOf)
	}
	return t, nil
}

func worklistList(ctx context.Context, env *environment, args []string) error {
	var c caseFlags
	fs := env.flags("worklist list", "[flags]")
	c.flags(fs)
	fs.StringVar(&c.kind, "kind", "", "only of this kind: identity, weak, two_units, twin, conflict")
	fs.StringVar(&c.unit, "unit", "", "only those in which this unit has a record, such as 310000")
	decided := fs.Bool("decided", false, "those that were decided, instead of those that wait")
	asJSON := fs.Bool("json", false, "print one JSON array")
	if _, err := env.parse(fs, args, 0, 0); err != nil {
		return err
	}
	if c.kind != "" && worklist.KindOf(c.kind) == nil {
		return fmt.Errorf("no kind %q; use identity, weak, two_units, twin or conflict", c.kind)
	}
	day, err := c.day()
	if err != nil {
		return err
	}
	s, err := c.open(ctx, env, hostname())
	if err != nil {
		return err
	}
	defer s.Close()
	all, err := s.Worklist(ctx, day)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(x sink.WorklistCase) bool {
		was := len(x.Decisions) > 0 && x.Decisions[0].Decision != worklist.Undo
		return c.kind != "" && x.Kind != c.kind || c.unit != "" && x.A.Unit != c.unit && x.B.Unit != c.unit || *decided && !was || !*decided && !x.Open()
	})
	if *asJSON {
		if all == nil {
			all = []sink.WorklistCase{}
		}
		return printJSON(env.stdout, all)
	}
	return printCases(env.stdout, all, day, *decided)
}

// printCases prints a table; Chinese stands in the last column, because its
// width on a terminal is not counted.
func printCases(out io.Writer, all []sink.WorklistCase, day time.Time, decided bool) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "no case 没有待核案件")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	head := "case\tkind\tdays\tfeed\tunit\trecord\tunit\trecord\twhy"
	if decided {
		head = "case\tkind\tdecided\tfeed\tunit\trecord\tunit\trecord\tdecision"
	}
	fmt.Fprintln(w, head)
	for _, c := range all {
		why := worklist.Reason(c.Reason)
		third := fmt.Sprint(age(c.Since, day))
		if decided {
			d := c.Decisions[0]
			third = d.At.In(feed.Shanghai).Format(minute)
			why = worklist.Text{En: d.Verb() + " by " + d.By, Zh: worklist.DecisionText(d.Decision).Zh + "：" + d.Reason}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s  %s\n", c.ID, c.Kind, third, c.Feed, c.A.Unit, c.A.Record, c.B.Unit, c.B.Record, why.En, why.Zh)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	counts := map[string]int{}
	for _, c := range all {
		counts[c.Kind]++
	}
	var parts []string
	for _, k := range worklist.Kinds {
		if n := counts[k.ID]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s %s", n, k.ID, k.Zh))
		}
	}
	_, err := fmt.Fprintf(out, "\n%d in all 共计: %s\n", len(all), strings.Join(parts, ", "))
	return err
}

// age is how many days ago a day was.
func age(since string, day time.Time) int {
	t, err := time.Parse(time.DateOnly, since)
	if err != nil {
		return 0
	}
	return int(day.Sub(t).Hours() / 24)
}

func worklistShow(ctx context.Context, env *environment, args []string) error {
	var c caseFlags
	fs := env.flags("worklist show", "[flags] CASE")
	c.flags(fs)
	asJSON := fs.Bool("json", false, "print one JSON object")
	rest, err := env.parseMixed(fs, args, 1, 1)
	if err != nil {
		return err
	}
	day, err := c.day()
	if err != nil {
		return err
	}
	s, err := c.open(ctx, env, hostname())
	if err != nil {
		return err
	}
	defer s.Close()
	all, err := s.Worklist(ctx, day)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(x sink.WorklistCase) bool { return x.ID == rest[0] })
	if i < 0 {
		return fmt.Errorf("%w: %s; duiwu worklist list names those that wait", sink.ErrNoCase, rest[0])
	}
	if *asJSON {
		return printJSON(env.stdout, all[i])
	}
	return printCase(env.stdout, &all[i], day)
}

func printCase(out io.Writer, c *sink.WorklistCase, day time.Time) error {
	kind := worklist.KindOf(c.Kind)
	if kind == nil {
		return fmt.Errorf("this release does not know cases of kind %s", c.Kind)
	}
	why := worklist.Reason(c.Reason)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "case\t%s\n", c.ID)
	fmt.Fprintf(w, "kind\t%s  %s\n", kind.En, kind.Zh)
	fmt.Fprintf(w, "why\t%s  %s\n", why.En, why.Zh)
	fmt.Fprintf(w, "since\t%s, %d days\n", c.Since, age(c.Since, day))
	for i, x := range []worklist.Side{c.A, c.B} {
		fmt.Fprintf(w, "record %d\tunit %s, %s %s of %s", i+1, x.Unit, c.Feed, x.Record, x.From)
		if x.Token != "" {
			fmt.Fprintf(w, ", person %s…", worklist.Short(x.Token))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "indicators\t%s\n\t%s\n", kind.Rule.En, kind.Rule.Zh)
	fmt.Fprintf(w, "units\t%s\n\t%s\n", kind.Do.En, kind.Do.Zh)
	for _, d := range c.Decisions {
		fmt.Fprintf(w, "decided\t%s by %s: %s  %s — %s\n", d.At.In(feed.Shanghai).Format(minute), d.By, d.Verb(), worklist.DecisionText(d.Decision).Zh, d.Reason)
	}
	if !c.Found {
		fmt.Fprintf(w, "now\tthe tables no longer show this case  表中已无此案\n")
	}
	var may []string
	for _, d := range kind.Decisions {
		if d == worklist.KeepPrimary {
			d += "=" + c.A.Unit + ", " + d + "=" + c.B.Unit
		}
		may = append(may, d)
	}
	if len(c.Decisions) > 0 && c.Decisions[0].Decision != worklist.Undo {
		may = append(may, worklist.Undo)
	}
	fmt.Fprintf(w, "decide\t%s\n", strings.Join(may, ", "))
	return w.Flush()
}

func worklistDecide(ctx context.Context, env *environment, args []string) error {
	var c caseFlags
	fs := env.flags("worklist decide", "[flags] --by NAME --reason TEXT CASE DECISION")
	c.flags(fs)
	by := fs.String("by", "", "your name, kept with the decision")
	reason := fs.String("reason", "", "why, kept with the decision; no personal value")
	rest, err := env.parseMixed(fs, args, 2, 2)
	if err != nil {
		return err
	}
	if *by == "" || *reason == "" {
		return errors.New("give --by NAME and --reason TEXT: this decision is kept, and figures obey it")
	}
	if value.HoldsPersonalNumber([]byte(*by + " " + *reason)) {
		return errors.New("--by and --reason must hold no identity or mobile number: the decision is kept and shown")
	}
	day, err := c.day()
	if err != nil {
		return err
	}
	decision, unit, _ := strings.Cut(rest[1], "=")
	s, err := c.open(ctx, env, *by)
	if err != nil {
		return err
	}
	defer s.Close()
	x, err := s.Decide(ctx, day, rest[0], decision, unit, *by, *reason)
	if err != nil {
		return err
	}
	text := worklist.DecisionText(decision)
	back := "undo takes it back, and both decisions stay on record"
	if decision == worklist.Undo {
		back = "the case waits again if the tables still show it"
	}
	_, err = fmt.Fprintf(env.stdout, "%s: %s; figures follow within seconds; %s\n%s：%s，数秒后指标生效\n", x.ID, x.Decisions[0].Verb(), back, x.ID, text.Zh)
	return err
}
