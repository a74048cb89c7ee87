package plugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/edition"
	"github.com/duiwu/duiwu/charts/pkg/figures"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/internal/feed"
)

// live is what the records say now; the other editions that a query may ask for
// are those of edition.Pick.
const live = "live"

var editions = []string{live, edition.First, edition.Latest, edition.LastApproved}

var editionNames = map[string]catalogue.Text{
	live: {Zh: "实时数", En: "live"}, edition.First: {Zh: "首次公布", En: "first published"},
	edition.Latest: {Zh: "最近公布", En: "latest published"}, edition.LastApproved: {Zh: "最近批准", En: "latest approved"},
}

var publicationStates = map[edition.State]catalogue.Text{
	edition.Published: {Zh: "已公布（暂行）", En: "published (provisional)"}, edition.Approved: {Zh: "已批准", En: "approved"}, edition.Reopened: {Zh: "已重开", En: "reopened"},
}

// asksEdition says whether published figures are asked for.
func (p *plan) asksEdition() bool { return p.Edition != "" && p.Edition != live }

// EditionView says of a frame's day who published it, and whether somebody stands for it.
type EditionView struct {
	// Asked is first, latest or approved; Number the edition that this is.
	Asked       string     `json:"asked"`
	Month       string     `json:"month"`
	Number      int        `json:"number"`
	State       string     `json:"state"`
	PublishedBy string     `json:"publishedBy"`
	PublishedAt time.Time  `json:"publishedAt"`
	ApprovedBy  string     `json:"approvedBy,omitempty"`
	ApprovedAt  *time.Time `json:"approvedAt,omitempty"`
}

// choose finds the editions that a query asks for and moves its days to the ends
// of their months: the newest published month up to the day, or each whole month
// of a series.
func (d *Datasource) choose(ctx context.Context, s scope.Scope, p *plan) error {
	if !p.asksEdition() {
		return nil
	}
	all, err := edition.List(ctx, d.whole(s))
	if err != nil && codeOf(err) != codeUnknownTable {
		return err
	}
	p.chosen = map[int32]*edition.Edition{}
	choose := func(t time.Time) *edition.Edition {
		e := edition.Pick(all, t, p.Edition)
		if e != nil {
			p.chosen[feed.Day(t)] = e
		}
		return e
	}
	if p.months {
		p.shown = slices.DeleteFunc(p.shown, func(t time.Time) bool { return !t.Equal(monthEnd(t)) })
		if len(p.shown) == 0 {
			return badQuery("no month of the range is over: nothing of it is published")
		}
	} else {
		// The newest month that is over, when none is published.
		p.shown = []time.Time{monthEnd(p.asOf.AddDate(0, 0, 1-p.asOf.Day()).AddDate(0, -1, 0))}
		if p.asOf.Equal(monthEnd(p.asOf)) {
			p.shown[0] = p.asOf
		}
		for i := range all {
			if m := all[i].Month; !m.After(p.asOf) && edition.Pick(all, m, p.Edition) != nil {
				p.shown[0] = m
			}
		}
	}
	p.asOf = p.shown[len(p.shown)-1]
	for _, t := range p.shown {
		if choose(t) != nil {
			p.asOf = t
		}
	}
	if !p.prev.IsZero() {
		p.prev = monthEnd(p.asOf.AddDate(0, 0, -p.asOf.Day()))
		choose(p.prev)
	}
	if !p.yr.IsZero() {
		p.yr = monthEnd(time.Date(p.asOf.Year()-1, p.asOf.Month(), 1, 0, 0, 0, 0, time.UTC))
		choose(p.yr)
	}
	return nil
}

// stored answers from published figures, which hold what was hidden and who was
// late when they were made: nothing of the records is read.
func (d *Datasource) stored(ctx context.Context, s scope.Scope, p *plan) (*result, error) {
	start := time.Now()
	r := &result{units: d.units(p.asOf), included: map[string]bool{}, missing: []Missing{}, arrivals: &arrivals{rows: 1}, computed: d.clock(), sql: "-- published figures"}
	r.question = &figures.Question{Catalogue: d.catalogue, Indicator: p.in, Split: p.split, Only: p.Filter.Codes, Units: r.units}
	all, err := edition.Read(ctx, d.whole(s), p.in.ID, p.split, slices.Collect(maps.Values(p.chosen))...)
	r.queried = time.Since(start)
	if err != nil {
		return nil, err
	}
	r.figures = p.places(all, r.units, p.days(), r.question.Codes())
	for _, f := range all {
		if !f.Month.Equal(p.asOf) {
			continue
		}
		if f.Unit != "" && f.Counted {
			r.included[f.Unit] = true
		}
		if int(f.Definition) != p.in.Version {
			// The answer says by which definition it was computed.
			was := *p.in
			was.Version = int(f.Definition)
			p.in = &was
		}
	}
	if e := p.chosen[feed.Day(p.asOf)]; e != nil {
		r.computed = e.ReadAt
		for _, m := range e.Missing {
			if slices.Contains(p.in.Feeds(), m.Feed) {
				r.missing = append(r.missing, m)
			}
		}
		r.arrivals.feeds = map[string]map[string]arrival{}
		for _, name := range p.in.Feeds() {
			r.arrivals.feeds[name] = map[string]arrival{"": {reported: e.ReportedAt, arrived: e.ReadAt}}
		}
	}
	if !s.Nation() {
		p.nation = p.chosen[feed.Day(p.asOf)]
		p.ownStored(s, r)
	}
	r.took = time.Since(start)
	return r, nil
}

// ownStored leaves the units of a scope, the nation, and the place in it.
func (p *plan) ownStored(s scope.Scope, r *result) {
	r.ranks = map[place]*float64{}
	units := r.units
	for k := range r.figures {
		r.ranks[k] = p.rankOf(k.Unit, func(u string) *float64 { return r.figures[place{Day: k.Day, Unit: u, Code: k.Code}].Value }, units)
	}
	outside := func(unit string) bool { return unit != "" && !s.Sees(unit) }
	maps.DeleteFunc(r.figures, func(k place, _ figure) bool { return outside(k.Unit) })
	maps.DeleteFunc(r.included, func(u string, _ bool) bool { return outside(u) })
	r.units = slices.DeleteFunc(slices.Clone(units), func(u *feed.UnitInfo) bool { return outside(u.Code) })
	r.missing = slices.DeleteFunc(r.missing, func(m Missing) bool { return outside(m.Unit) })
}

// days are the days of the answer and those it is compared with.
func (p *plan) days() []time.Time {
	days := slices.Clone(p.shown)
	for _, t := range []time.Time{p.prev, p.yr} {
		if !t.IsZero() {
			days = append(days, t)
		}
	}
	return days
}

// places lays published figures out. A place without one has no value; of a month
// without an edition nothing is published.
func (p *plan) places(all []edition.Figure, units []*feed.UnitInfo, days []time.Time, codes []string) map[place]figure {
	out := map[place]figure{}
	for _, t := range days {
		state := figures.None
		if p.chosen[feed.Day(t)] == nil {
			state = stateUnpublished
		}
		for _, c := range codes {
			out[place{Day: feed.Day(t), Code: c}] = figure{State: state}
			for _, u := range units {
				out[place{Day: feed.Day(t), Unit: u.Code, Code: c}] = figure{State: state}
			}
		}
	}
	for _, f := range all {
		out[place{Day: feed.Day(f.Month), Unit: f.Unit, Code: f.Code}] = figure{Value: f.Value, N: f.Numerator, M: f.Denominator, State: f.State, Source: f.SourceRows}
	}
	return out
}

// firsts reads what was first published of the days shown, to hold it against
// what is known now. Who may not see a unit is not shown a row of it.
func (d *Datasource) firsts(ctx context.Context, s scope.Scope, p *plan, r *result) error {
	if !slices.Contains(p.Compare, firstPublished) {
		return nil
	}
	all, err := edition.List(ctx, d.whole(s))
	if err != nil && codeOf(err) != codeUnknownTable {
		return err
	}
	var of []*edition.Edition
	for _, t := range p.shown {
		if e := edition.Pick(all, t, edition.First); e != nil {
			of = append(of, e)
		}
	}
	found, err := edition.Read(ctx, d.whole(s), p.in.ID, p.split, of...)
	if err != nil {
		return err
	}
	r.first = map[place]*float64{}
	for _, f := range found {
		r.first[place{Day: feed.Day(f.Month), Unit: f.Unit, Code: f.Code}] = f.Value
	}
	return nil
}

// view says which edition a frame shows; nil for what is live, and where nothing
// is published.
func (p *plan) view() *EditionView {
	e := p.chosen[feed.Day(p.asOf)]
	if e == nil {
		return nil
	}
	v := &EditionView{Asked: p.Edition, Month: e.Month.Format("2006-01"), Number: e.Number, State: string(e.State), PublishedBy: e.Events[0].Who, PublishedAt: e.Events[0].At}
	for _, ev := range e.Events {
		if ev.State == edition.Approved {
			at := ev.At
			v.ApprovedBy, v.ApprovedAt = ev.Who, &at
		}
	}
	return v
}

// editionNotice says which edition is shown, by whom, and what is not published.
func (p *plan) editionNotice() (n data.Notice, ok bool) {
	if !p.asksEdition() {
		return n, false
	}
	n.Severity = data.NoticeSeverityInfo
	v := p.view()
	if v == nil {
		n.Text = pick(p.Lang, catalogue.Text{Zh: "所查月份尚未公布", En: "nothing is published of the months asked for"})
		return n, true
	}
	at := v.PublishedAt.In(feed.Shanghai).Format("2006-01-02 15:04")
	n.Text = fmt.Sprintf(pick(p.Lang, catalogue.Text{Zh: "%s：%s 第 %d 版，%s 于 %s 公布", En: "%s: %s edition %d, by %s at %s"}), pick(p.Lang, editionNames[p.Edition]), v.Month, v.Number, v.PublishedBy, at)
	switch {
	case v.State == string(edition.Reopened):
		n.Text += pick(p.Lang, catalogue.Text{Zh: "，已重开，待再次公布", En: ", reopened: the next edition is being made"})
	case v.ApprovedAt != nil:
		n.Text += fmt.Sprintf(pick(p.Lang, catalogue.Text{Zh: "，已由 %s 批准", En: ", approved by %s"}), v.ApprovedBy)
	default:
		n.Text += pick(p.Lang, catalogue.Text{Zh: "，暂行，尚未批准", En: ", provisional: not approved yet"})
	}
	left := 0
	for _, t := range p.shown {
		if p.chosen[feed.Day(t)] == nil {
			left++
		}
	}
	if left > 0 {
		n.Text += fmt.Sprintf(pick(p.Lang, catalogue.Text{Zh: "；%d 个月尚未公布", En: "; %d months are not published"}), left)
	}
	return n, true
}

// publishedLines are the newest published months, for the page of a definition;
// none when they cannot be read: the definition stands without them.
func (d *Datasource) publishedLines(ctx context.Context, s scope.Scope, lang string) (out []string) {
	const newest = 3
	all, err := edition.List(ctx, d.whole(s))
	if err != nil {
		return nil
	}
	slices.Reverse(all)
	for i := range all {
		if e := &all[i]; len(out) < newest && (i == 0 || !all[i-1].Month.Equal(e.Month)) {
			p := &plan{asOf: e.Month, shown: []time.Time{e.Month}, chosen: map[int32]*edition.Edition{feed.Day(e.Month): e}}
			p.Lang, p.Edition = lang, edition.Latest
			n, _ := p.editionNotice()
			out = append(out, n.Text)
		}
	}
	return out
}
