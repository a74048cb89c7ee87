package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/duiwu/duiwu/charts/indicators"
	measures "github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/edition"
	"github.com/duiwu/duiwu/charts/pkg/figures"
	"github.com/duiwu/duiwu/internal/peer"
)

// runPublish keeps a month's figures as they are now, for good.
func runPublish(ctx context.Context, env *environment, args []string) error {
	actions := map[string]func(context.Context, *environment, []string) error{
		"approve": publishDecide("approve", (*edition.Press).Approve), "reopen": publishDecide("reopen", (*edition.Press).Reopen),
		"list": publishList, "show": publishShow,
	}
	if len(args) > 0 {
		if run := actions[args[0]]; run != nil {
			return run(ctx, env, args[1:])
		}
	}
	return publishMonth(ctx, env, args)
}

const publishUsage = `MONTH --by NAME [--dry-run]        keep every figure of a month, such as 2016-10
       duiwu publish approve MONTH --by NAME --reason TEXT   stand for the newest edition of a month
       duiwu publish reopen  MONTH --by NAME --reason TEXT   let a month be published again, as its next edition
       duiwu publish list                                    which months are published, and by whom
       duiwu publish show    MONTH                           first against latest against what the records say now`

// pressFlags are what every publish command takes.
type pressFlags struct {
	database
	clockAt string
	below   int
	json    bool
}

func (p *pressFlags) flags(fs *flag.FlagSet) {
	p.database.flags(fs)
	fs.StringVar(&p.clockAt, "clock", "", "pretend that the process starts at this moment (RFC 3339); for the demo")
	fs.BoolVar(&p.json, "json", false, "print one JSON object")
}

// open makes the press.
func (p *pressFlags) open() (*edition.Press, error) {
	if !p.said() {
		return nil, errNoDatabase
	}
	clock, err := movedClock(p.clockAt)
	if err != nil {
		return nil, err
	}
	press, err := pressOf(&p.database)
	if err != nil {
		return nil, err
	}
	press.Clock, press.Software = clock, buildInfo().Version+" "+buildInfo().Revision
	if p.below != 0 {
		press.SuppressBelow = p.below
	}
	return press, nil
}

// pressOf computes figures over a database, as the dashboards do.
func pressOf(d *database) (*edition.Press, error) {
	contract, err := catalogue(d.feeds)
	if err != nil {
		return nil, err
	}
	cat, err := measures.Load(indicators.FS, contract)
	if err != nil {
		return nil, fmt.Errorf("the indicators have problems:\n%w", err)
	}
	db, err := peer.NewDatabase(d.dsn, d.file, d.tls)
	if err != nil {
		return nil, err
	}
	return edition.Open(db, cat)
}

func monthOf(text string) (time.Time, error) {
	t, err := time.Parse("2006-01", text)
	if err != nil {
		return t, fmt.Errorf("%q is no month: write it as 2016-10", text)
	}
	return edition.MonthEnd(t), nil
}

func publishMonth(ctx context.Context, env *environment, args []string) error {
	var p pressFlags
	fs := env.flags("publish", publishUsage)
	p.flags(fs)
	fs.IntVar(&p.below, "suppress-below", 5, "hide counts of persons from 1 to one below this; -1 hides nothing")
	by := fs.String("by", "", "your name, kept with the figures")
	reason := fs.String("reason", "", "what is worth knowing of this edition, kept with it")
	dry := fs.Bool("dry-run", false, "compute and print, and write nothing")
	rest, err := env.parseMixed(fs, args, 1, 1)
	if err != nil {
		return err
	}
	month, err := monthOf(rest[0])
	if err != nil {
		return err
	}
	if strings.TrimSpace(*by) == "" && !*dry {
		return errors.New("give --by NAME: it is kept with the figures")
	}
	press, err := p.open()
	if err != nil {
		return err
	}
	defer press.Close()
	all, err := press.List(ctx)
	if err != nil {
		return err
	}
	next, err := press.Next(all, month)
	if err != nil {
		return err
	}
	if !p.json {
		fmt.Fprintf(env.stderr, "computing every figure of %s\n", rest[0])
	}
	draft, err := press.Draft(ctx, month, true)
	if err != nil {
		return err
	}
	draft.Number = next
	if !*dry {
		if err := press.Publish(ctx, draft, *by, *reason); err != nil {
			return err
		}
	}
	s := summaryOf(draft, press.Catalogue, *dry)
	if p.json {
		return json.NewEncoder(env.stdout).Encode(s)
	}
	return s.print(env.stdout, press.Catalogue)
}

// publishedLine is one indicator of a summary.
type publishedLine struct {
	Indicator string   `json:"indicator"`
	Value     *float64 `json:"value"`
	State     string   `json:"state"`
	// Units have a value, or one too small to be shown.
	Units      int    `json:"units"`
	Hidden     int    `json:"hidden"`
	Definition int    `json:"definition_version"`
	Approval   string `json:"definition"`
}

type publishedSummary struct {
	edition.Edition
	MonthName  string          `json:"month"`
	DryRun     bool            `json:"dry_run"`
	Hidden     int             `json:"hidden"`
	Units      int             `json:"units"`
	Indicators []publishedLine `json:"indicators"`
}

func summaryOf(d *edition.Draft, cat *measures.Catalogue, dry bool) *publishedSummary {
	s := &publishedSummary{Edition: d.Edition, MonthName: d.Month.Format("2006-01"), DryRun: dry, Indicators: []publishedLine{}}
	for i := range cat.Contract.Units {
		if cat.Contract.Units[i].Reports {
			s.Units++
		}
	}
	for _, r := range d.Results {
		if r.Dimension == "" {
			s.Indicators = append(s.Indicators, publishedLine{Indicator: r.Indicator.ID, State: figures.None, Definition: r.Indicator.Version, Approval: r.Indicator.Approval})
		}
		l := &s.Indicators[len(s.Indicators)-1]
		for _, f := range r.Figures {
			if figures.Hidden(f.State) {
				l.Hidden++
				s.Hidden++
			}
			switch {
			case r.Dimension != "":
			case f.Unit == "":
				l.Value, l.State = f.Value, f.State
			case f.Counted:
				l.Units++
			}
		}
	}
	return s
}

func (s *publishedSummary) print(out io.Writer, cat *measures.Catalogue) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "id\tnation\tunits\thidden\tversion\tindicator")
	for _, l := range s.Indicators {
		in := cat.Indicator(l.Indicator)
		fmt.Fprintf(w, "%s\t%s\t%d/%d\t%d\t%d %s\t%s %s\n", l.Indicator, written(in, l.Value, l.State), l.Units, s.Units, l.Hidden, l.Definition, l.Approval, in.Zh, in.En)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if s.DryRun {
		fmt.Fprintf(out, "%s would be edition %d; nothing was written\n", s.MonthName, s.Number)
	} else {
		fmt.Fprintf(out, "%s is published: edition %d, by %s\n", s.MonthName, s.Number, s.Events[0].Who)
	}
	fmt.Fprintf(out, "  figures  %d, of %d indicators; %d cells hidden (fewer than %d persons, or what would give them away)\n", s.Figures, len(s.Indicators), s.Hidden, s.SuppressBelow)
	fmt.Fprintf(out, "  records  as of %s; the newest was reported %s\n", clockOf(s.ReadAt), clockOf(s.ReportedAt))
	if len(s.Missing) == 0 {
		fmt.Fprintln(out, "  missing  nothing that was due by then")
	}
	byUnit := map[string][]string{}
	var order []string
	for _, m := range s.Missing {
		last := "never"
		if m.Last != "" {
			last = "last " + m.Last
		}
		if byUnit[m.Unit] == nil {
			order = append(order, m.Unit)
		}
		byUnit[m.Unit] = append(byUnit[m.Unit], fmt.Sprintf("%s (%s)", m.Feed, last))
	}
	slices.Sort(order)
	for _, unit := range order {
		fmt.Fprintf(out, "  missing  %s %s: %s\n", unit, cat.Contract.Unit(unit).ShortZh, strings.Join(byUnit[unit], ", "))
	}
	if !s.DryRun {
		fmt.Fprintf(out, "  it is provisional until somebody stands for it: duiwu publish approve %s --by NAME --reason TEXT\n", s.MonthName)
	}
	return nil
}

// written is a figure as a person reads it.
func written(in *measures.Indicator, v *float64, state string) string {
	switch {
	case state == figures.Suppressed:
		return "hidden"
	case v == nil:
		return "none"
	}
	decimals := in.Format.Decimals
	if in.Format.Kind == "percent" {
		return strconv.FormatFloat(*v, 'f', max(decimals, 1), 64) + "%"
	}
	return strconv.FormatFloat(*v, 'f', decimals, 64)
}

// publishDecide is approve and reopen.
func publishDecide(name string, decide func(*edition.Press, context.Context, time.Time, string, string) (*edition.Edition, error)) func(context.Context, *environment, []string) error {
	return func(ctx context.Context, env *environment, args []string) error {
		var p pressFlags
		fs := env.flags("publish "+name, "MONTH --by NAME --reason TEXT")
		p.flags(fs)
		by := fs.String("by", "", "your name, kept with the month")
		reason := fs.String("reason", "", "why, kept with the month")
		rest, err := env.parseMixed(fs, args, 1, 1)
		if err != nil {
			return err
		}
		month, err := monthOf(rest[0])
		if err != nil {
			return err
		}
		press, err := p.open()
		if err != nil {
			return err
		}
		defer press.Close()
		e, err := decide(press, ctx, month, *by, *reason)
		if err != nil {
			return err
		}
		if p.json {
			return json.NewEncoder(env.stdout).Encode(e)
		}
		_, err = fmt.Fprintf(env.stdout, "%s edition %d is %s by %s\n", rest[0], e.Number, e.State, *by)
		return err
	}
}

func publishList(ctx context.Context, env *environment, args []string) error {
	var p pressFlags
	fs := env.flags("publish list", "[flags]")
	p.flags(fs)
	if _, err := env.parse(fs, args, 0, 0); err != nil {
		return err
	}
	press, err := p.open()
	if err != nil {
		return err
	}
	defer press.Close()
	all, err := press.List(ctx)
	if err != nil {
		return err
	}
	if p.json {
		if all == nil {
			all = []edition.Edition{}
		}
		return json.NewEncoder(env.stdout).Encode(all)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(env.stdout, "no month is published; duiwu publish MONTH --by NAME publishes one")
		return err
	}
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "month\tedition\tstate\tfigures\tmissing\twhen\twhat, by whom, why")
	for _, e := range all {
		missing := map[string]bool{}
		for _, m := range e.Missing {
			missing[m.Unit] = true
		}
		for i, ev := range e.Events {
			what := fmt.Sprintf("%s by %s", ev.State, ev.Who)
			if ev.Reason != "" {
				what += ": " + ev.Reason
			}
			if i == 0 {
				fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d units\t%s\t%s\n", e.Month.Format("2006-01"), e.Number, e.State, e.Figures, len(missing), clockOf(ev.At), what)
			} else {
				fmt.Fprintf(w, "\t\t\t\t\t%s\t%s\n", clockOf(ev.At), what)
			}
		}
	}
	return w.Flush()
}

// revised is an indicator's nation in the first and the newest edition, and as
// the records say now.
type revised struct {
	Indicator string   `json:"indicator"`
	First     *float64 `json:"first"`
	Latest    *float64 `json:"latest"`
	Live      *float64 `json:"live"`
	// UnitsChanged counts the units whose figure is another now than in the newest edition.
	UnitsChanged int `json:"units_changed"`
	states       [3]string
}

func publishShow(ctx context.Context, env *environment, args []string) error {
	var p pressFlags
	fs := env.flags("publish show", "MONTH")
	p.flags(fs)
	rest, err := env.parseMixed(fs, args, 1, 1)
	if err != nil {
		return err
	}
	month, err := monthOf(rest[0])
	if err != nil {
		return err
	}
	press, err := p.open()
	if err != nil {
		return err
	}
	defer press.Close()
	all, err := press.List(ctx)
	if err != nil {
		return err
	}
	first, latest := edition.Pick(all, month, edition.First), edition.Pick(all, month, edition.Latest)
	if first == nil {
		return fmt.Errorf("%s is not published; duiwu publish %[1]s --by NAME", rest[0])
	}
	press.SuppressBelow = int(latest.SuppressBelow)
	draft, err := press.Draft(ctx, month, false)
	if err != nil {
		return err
	}
	var lines []revised
	for _, r := range draft.Results {
		l := revised{Indicator: r.Indicator.ID}
		byUnit := map[string]edition.Figure{}
		for i, e := range []*edition.Edition{first, latest} {
			all, err := press.Read(ctx, r.Indicator.ID, "", e)
			if err != nil {
				return err
			}
			clear(byUnit)
			for _, f := range all {
				byUnit[f.Unit] = f
			}
			to := []**float64{&l.First, &l.Latest}[i]
			*to, l.states[i] = byUnit[""].Value, byUnit[""].State
		}
		for _, f := range r.Figures {
			was := byUnit[f.Unit]
			delete(byUnit, f.Unit)
			if f.Unit == "" {
				l.Live, l.states[2] = f.Value, f.State
			} else if !same(was.Value, f.Value) {
				l.UnitsChanged++
			}
		}
		for unit, was := range byUnit {
			if unit != "" && was.Value != nil {
				l.UnitsChanged++ // it has no figure any more
			}
		}
		lines = append(lines, l)
	}
	if p.json {
		return json.NewEncoder(env.stdout).Encode(struct {
			Month      string           `json:"month"`
			First      *edition.Edition `json:"first"`
			Latest     *edition.Edition `json:"latest"`
			Indicators []revised        `json:"indicators"`
		}{rest[0], first, latest, lines})
	}
	fmt.Fprintf(env.stdout, "%s: edition %d is %s, published by %s at %s", rest[0], latest.Number, latest.State, latest.Events[0].Who, clockOf(latest.Events[0].At))
	if first != latest {
		fmt.Fprintf(env.stdout, "; first by %s at %s", first.Events[0].Who, clockOf(first.Events[0].At))
	}
	fmt.Fprint(env.stdout, "\n\n")
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "id\tfirst\tlatest\tnow\tnow - latest\tunits changed\tindicator")
	for _, l := range lines {
		in := press.Catalogue.Indicator(l.Indicator)
		gap := ""
		if l.Latest != nil && l.Live != nil && !same(l.Latest, l.Live) {
			d := *l.Live - *l.Latest
			gap = strconv.FormatFloat(d, 'f', max(in.Format.Decimals, 0), 64)
			if d > 0 {
				gap = "+" + gap
			}
		}
		changed := ""
		if l.UnitsChanged > 0 {
			changed = strconv.Itoa(l.UnitsChanged)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s %s\n", l.Indicator, written(in, l.First, l.states[0]), written(in, l.Latest, l.states[1]), written(in, l.Live, l.states[2]), gap, changed, in.Zh, in.En)
	}
	return w.Flush()
}

// same allows for sums that the server added up in another order.
func same(a, b *float64) bool {
	return a == b || a != nil && b != nil && math.Abs(*a-*b) <= 1e-9*math.Abs(*a)
}
