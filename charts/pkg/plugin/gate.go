package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/edition"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/internal/feed"
)

// The gate: every way into the datasource begins with admit, and every figure of
// somebody who may not see the nation passes restrict before and narrow after it
// is computed. docs/decisions/070-scope.md says why.

// stateUnpublished is that of the nation's figure for who may see published ones
// only, where there is none.
const stateUnpublished = "unpublished"

var errNoScope = errors.New("the settings declare no scope")

const scopeExample = `{"orgs": {"1": "nation"}, "alerts": "nation"}`

// outside is what is said to who asks for more than he may see. It is the same
// for what does not exist for him and for what does.
var outside = fault{"outside", "不在您的可见范围内：请只查询本单位，或请管理员在数据源设置中调整可见范围。", "This is outside of what you may see; ask about your own unit, or let an administrator change the scope in the datasource's settings."}

// refusal is a fault of the asker, not of the query.
type refusal struct{ error }

func refuse(p *Model, zh, en string, args ...any) error {
	return refusal{fmt.Errorf(pick(p.Lang, catalogue.Text{Zh: zh, En: en}), args...)}
}

// admit decides who asks and what he may see, once a request. Only what Grafana
// itself has checked counts: the signed-in login, the organisation, and for rules
// its own login together with its own mark.
func (d *Datasource) admit(pc backend.PluginContext, headers map[string]string) scope.Scope {
	a := scope.Asker{Org: pc.OrgID, Alert: alerting(headers)}
	if pc.User != nil {
		a.Login, a.Email = pc.User.Login, pc.User.Email
	}
	return d.config.Scope.Of(a)
}

func (d *Datasource) checkScope() error {
	if d.config.Scope == nil {
		return nil // CheckHealth says so
	}
	return d.config.Scope.Check(func(code string) bool {
		u := d.catalogue.Contract.Unit(code)
		return u != nil && u.Reports
	})
}

// Asked is one line of the audit: who asked what, and what became of it. It
// never holds a value of a record.
type Asked struct {
	Who   string
	Org   int64
	Scope string
	// What is an indicator with its grouping and filters, a list, or a resource.
	What string
	Rows int
	Took time.Duration
	// Outcome is answered, refused or failed.
	Outcome string
}

// logAsked writes the audit into Grafana's log, one line a query.
func logAsked(a Asked) {
	backend.Logger.Info("audit", "who", a.Who, "org", a.Org, "scope", a.Scope, "what", a.What, "rows", a.Rows, "ms", a.Took.Milliseconds(), "outcome", a.Outcome)
}

func (d *Datasource) audit(s scope.Scope, what string, rows int, start time.Time, outcome string) {
	if d.config.Audit != nil {
		d.config.Audit(Asked{s.Who(), s.Org(), s.String(), what, rows, time.Since(start), outcome})
	}
}

func outcomeOf(err error) string {
	var r refusal
	switch {
	case err == nil:
		return "answered"
	case errors.As(err, &r) || errors.Is(err, scope.ErrDenied):
		return "refused"
	}
	return "failed"
}

// gate lets a resource be asked for by who may see anything at all.
func (d *Datasource) gate(path string, serve func(http.ResponseWriter, *http.Request, scope.Scope)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		s := d.admit(backend.PluginConfigFromContext(r.Context()), nil)
		if s.None() {
			f := outside
			if d.config.Scope == nil {
				f = findFault(errNoScope)
			}
			fail(w, http.StatusForbidden, f.zh, f.en)
			d.audit(s, path, 0, start, "refused")
			return
		}
		told := &status{ResponseWriter: w}
		serve(told, r, s)
		outcome := "answered"
		switch {
		case told.code == http.StatusForbidden:
			outcome = "refused"
		case told.code >= http.StatusBadRequest:
			outcome = "failed"
		}
		d.audit(s, path, 0, start, outcome)
	})
}

type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// what says what a query asks, once it was understood: nothing of it that the
// catalogue does not hold.
func (p *plan) what() string {
	var b strings.Builder
	b.WriteString(p.in.ID)
	if len(p.GroupBy) > 0 {
		b.WriteString(" by " + strings.Join(p.GroupBy, ","))
	}
	if len(p.Filter.Units) > 0 {
		b.WriteString(" units " + strings.Join(p.Filter.Units, ","))
	}
	if len(p.Filter.Codes) > 0 {
		b.WriteString(" codes " + strings.Join(p.Filter.Codes, ","))
	}
	if len(p.Compare) > 0 {
		b.WriteString(" against " + strings.Join(p.Compare, ","))
	}
	b.WriteString(" on " + p.asOf.Format(time.DateOnly))
	if !p.known.IsZero() {
		b.WriteString(" as known on " + p.known.In(feed.Shanghai).Format(time.DateOnly))
	}
	return b.String()
}

// permit refuses the units outside a scope; who names them is told nothing of them.
func (m *Model) permit(s scope.Scope) error {
	if s.None() || len(s.Of(m.Filter.Units)) < len(m.Filter.Units) {
		return refusal{errors.New(pick(m.Lang, catalogue.Text{Zh: outside.zh, En: outside.en}))}
	}
	return nil
}

// restrict refuses what who may not see the nation may not ask: free filters and
// free days would let hidden cells be computed from the differences of answers.
// It keeps the published editions that the answer may compare with.
func (d *Datasource) restrict(ctx context.Context, s scope.Scope, p *plan) error {
	if err := p.permit(s); err != nil || s.Nation() {
		return err
	}
	switch {
	case !d.catalogue.Declared(p.in, p.split):
		return refuse(&p.Model, "%[1]s 按“%[2]s”分组不在已声明的数据立方之内，只有全国范围可以查询", "%[1]s by %[2]q is no declared cube; only who may see the nation may ask for it", p.in.ID, p.split)
	case !p.known.IsZero():
		return refuse(&p.Model, "只能查询当前或已公布的数，不能指定某日所知", "only current and published figures can be asked for, not what was known on a day")
	case p.Format == formatLorenz:
		return refuse(&p.Model, "洛伦兹曲线会显示各单位，只有全国范围可以查询", "a Lorenz curve shows every unit; only who may see the nation may ask for it")
	}
	all, err := edition.List(ctx, d.whole(s))
	if err != nil && codeOf(err) != codeUnknownTable {
		return err
	}
	p.editions = map[int32]*edition.Edition{}
	for _, e := range all {
		p.editions[feed.Day(e.Month)] = edition.Pick(all, e.Month, edition.Latest)
	}
	allowed := func(t time.Time) bool { return t.Equal(d.Today()) || p.editions[feed.Day(t)] != nil }
	months := len(p.shown)
	p.shown = slices.DeleteFunc(p.shown, func(t time.Time) bool { return !allowed(t) })
	p.unpublished = months - len(p.shown)
	if len(p.shown) == 0 {
		return refuse(&p.Model, "只能查询今天（%[1]s）或已公布月份月末的数", "only today (%[1]s) and the ends of published months can be asked for", d.Today().Format(time.DateOnly))
	}
	for _, t := range []*time.Time{&p.prev, &p.yr} {
		if !t.IsZero() && !allowed(*t) {
			*t = time.Time{}
			p.unpublished++
		}
	}
	return nil
}

// whole is how published figures are read.
func (d *Datasource) whole(s scope.Scope) edition.Query {
	return func(ctx context.Context, sql string, params map[string]string) (driver.Rows, error) {
		return d.db.Whole(ctx, s, sql, params)
	}
}

// narrow leaves of a result what a scope may see: the figures of its own units,
// and of the nation, and of the place in it, what was published.
func (d *Datasource) narrow(ctx context.Context, s scope.Scope, p *plan, r *result) error {
	if s.Nation() {
		return nil
	}
	own := &result{question: r.question, figures: map[place]figure{}, included: map[string]bool{}, arrivals: r.arrivals.narrow(s), sql: r.sql, took: r.took, queried: r.queried, computed: r.computed, stale: r.stale, ranks: map[place]*float64{}}
	for _, u := range r.units {
		if s.Sees(u.Code) {
			own.units = append(own.units, u)
		}
	}
	for k, f := range r.figures {
		if s.Sees(k.Unit) {
			own.figures[k] = f
		}
	}
	for u := range r.included {
		if s.Sees(u) {
			own.included[u] = true
		}
	}
	for _, m := range r.missing {
		if s.Sees(m.Unit) {
			own.missing = append(own.missing, m)
		}
	}
	*r = *own
	return d.published(ctx, s, p, r)
}

// published puts the published figures of the nation into a narrowed result. A
// day of no published month gets those of the last one before it, but not in a
// series, where each point is of its own day.
func (d *Datasource) published(ctx context.Context, s scope.Scope, p *plan, r *result) error {
	codes := d.codes(p)
	days := slices.Clone(p.shown)
	for _, t := range []time.Time{p.prev, p.yr} {
		if !t.IsZero() {
			days = append(days, t)
		}
	}
	of := map[int32]*edition.Edition{}
	var editions []*edition.Edition
	for _, t := range days {
		e := p.editions[feed.Day(t)]
		if e == nil && !p.months {
			for month, x := range p.editions {
				if month < feed.Day(t) && (e == nil || month > feed.Day(e.Month)) {
					e = x
				}
			}
		}
		for _, c := range codes {
			r.figures[place{Day: feed.Day(t), Code: c}] = figure{State: stateUnpublished}
		}
		if e != nil {
			of[feed.Day(t)] = e
			if !slices.Contains(editions, e) {
				editions = append(editions, e)
			}
			if t.Equal(p.asOf) {
				p.nation = e
			}
		}
	}
	all, err := edition.Read(ctx, d.whole(s), p.in.ID, p.split, editions...)
	if err != nil {
		return err
	}
	for day, e := range of {
		values := map[place]edition.Figure{}
		for _, f := range all {
			if f.Month.Equal(e.Month) && f.Definition == uint16(p.in.Version) {
				values[place{Day: day, Unit: f.Unit, Code: f.Code}] = f
			}
		}
		for _, c := range codes {
			if f, ok := values[place{Day: day, Code: c}]; ok {
				r.figures[place{Day: day, Code: c}] = figure{Value: f.Value, N: f.Numerator, M: f.Denominator, State: f.State, Source: f.SourceRows}
			}
			for _, u := range r.units {
				r.ranks[place{Day: day, Unit: u.Code, Code: c}] = p.rankOf(u.Code, func(unit string) *float64 { return values[place{Day: day, Unit: unit, Code: c}].Value }, d.units(e.Month))
			}
		}
	}
	return nil
}

// publishedNotice says where a narrowed answer's figures of the nation come from.
func (p *plan) publishedNotice() (n data.Notice, ok bool) {
	n.Severity = data.NoticeSeverityInfo
	if p.editions == nil {
		return n, false
	}
	var parts []string
	asksNation := !p.provinces && len(p.Filter.Units) == 0 || slices.Contains(p.Compare, nationalMean) || slices.Contains(p.Compare, withRank)
	switch {
	case asksNation && p.nation == nil:
		parts = append(parts, pick(p.Lang, catalogue.Text{Zh: "全国数只取已公布的数，统计日尚无已公布的数", En: "figures of the nation are published ones only, and none is published for this day"}))
	case asksNation:
		parts = append(parts, fmt.Sprintf(pick(p.Lang, catalogue.Text{Zh: "全国数与位次取自 %s 已公布的数（第 %d 版）", En: "figures of the nation and ranks are those published for %s (edition %d)"}), p.nation.Month.Format("2006-01"), p.nation.Number))
	}
	if p.unpublished > 0 {
		parts = append(parts, fmt.Sprintf(pick(p.Lang, catalogue.Text{Zh: "%d 个未公布的日期不显示", En: "%d days that are not published are not shown"}), p.unpublished))
	}
	n.Text = strings.Join(parts, pick(p.Lang, catalogue.Text{Zh: "；", En: "; "}))
	return n, len(parts) > 0
}

// unseen is what the national office gets of a province's counties where the
// policy does not say more: no figure, and why. It is no error, as the profile of
// a province has such a panel for everybody.
func unseen(p *plan) data.Frames {
	f := data.NewFrame(p.in.ID)
	f.Meta = &data.FrameMeta{Type: data.FrameTypeTable, TypeVersion: data.FrameTypeVersion{0, 1}, Notices: []data.Notice{{Severity: data.NoticeSeverityInfo,
		Text: pick(p.Lang, catalogue.Text{Zh: "省以下的数只有本省的账号可以看", En: "below the province only its own accounts see figures"})}}}
	return data.Frames{f}
}
