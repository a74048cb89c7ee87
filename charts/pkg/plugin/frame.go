package plugin

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/figures"
	"github.com/duiwu/duiwu/internal/feed"
)

// TargetView is a target as a page shows it.
type TargetView struct {
	ID       string         `json:"id"`
	Value    float64        `json:"value"`
	Unit     catalogue.Text `json:"unit"`
	Due      string         `json:"due"`
	Source   catalogue.Text `json:"source"`
	Status   catalogue.Text `json:"status"`
	Verified bool           `json:"verified"`
}

func viewOf(t *feed.Target) TargetView {
	return TargetView{t.ID, t.Value, catalogue.Text{Zh: t.UnitZh, En: t.Unit}, t.Due, catalogue.Text{Zh: t.SourceZh, En: t.Source}, catalogue.Text{Zh: t.StatusZh, En: t.Status}, t.Verified()}
}

// staleNotice says that an answer is that of a moment ago.
func staleNotice(lang string) data.Notice {
	return data.Notice{Severity: data.NoticeSeverityInfo, Text: pick(lang, catalogue.Text{Zh: "有新数据到达，正在计算；所示为此前的结果", En: "newer data is being computed; the result before it is shown"})}
}

// Provenance says where a figure comes from; every frame carries it.
type Provenance struct {
	*catalogue.Indicator
	Targets    []TargetView `json:"targets"`
	CategoryZh []string     `json:"categoryZh"`
	CategoryEn []string     `json:"categoryEn"`
	Feeds      []string     `json:"feeds"`
	AsOf       string       `json:"asOf"`
	// KnownOn is the day whose end the records are read as of; empty means now.
	KnownOn string `json:"knownOn,omitempty"`
	// Edition is what was published; nil for live figures.
	Edition *EditionView `json:"edition"`
	// ComputedAt is when, DataAsOf what the newest record said, ArrivedAt when
	// it was stored.
	ComputedAt time.Time  `json:"computedAt"`
	DataAsOf   *time.Time `json:"dataAsOf"`
	ArrivedAt  *time.Time `json:"arrivedAt"`
	Ledger     *Ledger    `json:"ledger"`
	SourceRows uint64     `json:"sourceRows"`
	// UnitsIncluded have a value on the day; UnitsMissing are late.
	UnitsIncluded []string  `json:"unitsIncluded"`
	UnitsMissing  []Missing `json:"unitsMissing"`
	Units         int       `json:"units"`
	Provisional   bool      `json:"provisional"`
	Suppressed    int       `json:"suppressed"`
	SuppressBelow int       `json:"suppressBelow"`
	// Stale says that newer data has come and is being computed.
	Stale bool `json:"stale"`
	// States say why a cell is not an ordinary value, by "day|unit|code".
	States map[string]string `json:"states"`
	// TookMS is how long the answer took, WaitedMS how much of it was spent
	// waiting for the database or for another who asked the same.
	TookMS   float64 `json:"tookMs"`
	WaitedMS float64 `json:"waitedMs"`
	Empty    bool    `json:"empty"`
}

// frames writes a result as one long frame: text fields for what it is grouped
// by, then value, numerator, denominator and what it is compared with.
func (d *Datasource) frames(p *plan, r *result) data.Frames {
	var days []time.Time
	var units, unitNames, cats, catNames []string
	type column struct {
		name, title string
		values      []*float64
	}
	value := &column{name: "value", title: pick(p.Lang, catalogue.Text{Zh: p.in.Zh, En: p.in.En})}
	numerator := &column{name: "numerator", title: pick(p.Lang, p.in.Numerator)}
	columns := []*column{value, numerator}
	var denominator *column
	if p.in.Denominator.Zh != "" {
		denominator = &column{name: "denominator", title: pick(p.Lang, p.in.Denominator)}
		columns = append(columns, denominator)
	}
	compared := map[string]*column{}
	for _, c := range p.Compare {
		compared[c] = &column{name: c, title: pick(p.Lang, compareNames[c])}
		columns = append(columns, compared[c])
	}
	shown := []string{""}
	if p.provinces {
		shown = nil
		for _, u := range r.units {
			if len(p.Filter.Units) == 0 || slices.Contains(p.Filter.Units, u.Code) {
				shown = append(shown, u.Code)
			}
		}
	}
	codes := d.codes(p)
	states := map[string]string{}
	target := d.nationalTarget(p.in)
	bytes, left := 0, 0
	for _, t := range p.shown {
		for _, u := range shown {
			for _, c := range codes {
				if bytes += rowBytes(u, c, len(columns)); len(days) >= d.limits.rows || bytes > d.limits.bytes {
					left++
					continue
				}
				day := feed.Day(t)
				f := r.figures[place{Day: day, Unit: u, Code: c}]
				if u == "" && len(p.Filter.Units) > 0 {
					f = d.subset(p, r, day, c)
				}
				days = append(days, t)
				units, cats = append(units, u), append(cats, c)
				if info := d.catalogue.Contract.Unit(u); info != nil {
					unitNames = append(unitNames, pick(p.Lang, catalogue.Text{Zh: info.ShortZh, En: info.ShortEn()}))
				} else {
					unitNames = append(unitNames, "")
				}
				name := d.label(p.split, c)
				if p.split == catalogue.County {
					name = d.catalogue.CountyLabel(c, day)
				}
				catNames = append(catNames, pick(p.Lang, name))
				value.values = append(value.values, f.Value)
				numerator.values = append(numerator.values, f.N)
				if denominator != nil {
					denominator.values = append(denominator.values, f.M)
				}
				if t.Equal(p.asOf) {
					r.source += f.Source
				}
				if figures.Hidden(f.State) {
					r.hidden++
				}
				if f.State != figures.OK {
					states[t.Format(time.DateOnly)+"|"+u+"|"+c] = f.State
				}
				for name, col := range compared {
					var v *float64
					switch name {
					case previousMonth:
						v = r.figures[place{Day: feed.Day(p.prev), Unit: u, Code: c}].Value
					case lastYear:
						v = r.figures[place{Day: feed.Day(p.yr), Unit: u, Code: c}].Value
					case nationalMean:
						v = r.figures[place{Day: day, Unit: "", Code: c}].Value
					case withTarget:
						v = target
					case withRank:
						v = p.rank(r, day, u, c)
					case firstPublished:
						v = r.first[place{Day: day, Unit: u, Code: c}]
					}
					col.values = append(col.values, v)
				}
			}
		}
	}
	frame := data.NewFrame(p.in.ID)
	if p.months {
		frame.Fields = append(frame.Fields, p.dayField(days))
	}
	if p.provinces {
		f := data.NewField("unit", nil, units)
		f.Config = &data.FieldConfig{DisplayNameFromDS: pick(p.Lang, catalogue.Text{Zh: "单位代码", En: "unit code"})}
		n := data.NewField("unit_name", nil, unitNames)
		n.Config = &data.FieldConfig{DisplayNameFromDS: pick(p.Lang, catalogue.Text{Zh: "报送单位", En: "reporting unit"})}
		frame.Fields = append(frame.Fields, f, n)
	}
	if p.split != "" {
		n := data.NewField("code_name", nil, catNames)
		n.Config = &data.FieldConfig{DisplayNameFromDS: pick(p.Lang, dimensionName(p.split))}
		frame.Fields = append(frame.Fields, data.NewField("code", nil, cats), n)
	}
	for _, c := range columns {
		f := data.NewField(c.name, nil, c.values)
		f.Config = &data.FieldConfig{DisplayNameFromDS: c.title, Unit: p.unit(c.name)}
		if c.name == "value" {
			if _, format, _ := p.in.Of(p.split, "*"); format.Decimals > 0 {
				n := uint16(format.Decimals)
				f.Config.Decimals = &n
			}
			f.Config.Description = pick(p.Lang, p.in.Definition)
			f.Config.Thresholds = thresholds(p.in, target)
		}
		frame.Fields = append(frame.Fields, f)
	}
	typ := data.FrameTypeNumericWide
	switch {
	case p.months:
		typ = data.FrameTypeTimeSeriesLong
	case p.provinces || p.split != "":
		typ = data.FrameTypeNumericLong
	}
	frame.Meta = &data.FrameMeta{
		Type: typ, TypeVersion: data.FrameTypeVersion{0, 1}, ExecutedQueryString: r.sql,
		Custom: d.provenance(p, r, states),
	}
	for _, k := range p.unknown {
		frame.AppendNotices(data.Notice{Severity: data.NoticeSeverityWarning, Text: fmt.Sprintf("the query's key %q is unknown and was ignored", k)})
	}
	if left > 0 {
		frame.AppendNotices(data.Notice{Severity: data.NoticeSeverityWarning, Text: fmt.Sprintf(
			pick(p.Lang, catalogue.Text{Zh: "结果过大，后 %d 行未显示，请减少月份、单位或分组", En: "the answer is too large: %d rows at its end are not shown; ask for fewer months, units or groups"}), left)})
	}
	if n, ok := p.editionNotice(); ok && p.Format == "" { // the other forms say it beside their day
		frame.AppendNotices(n)
	}
	if n, ok := p.publishedNotice(); ok {
		frame.AppendNotices(n)
	}
	if r.stale {
		frame.AppendNotices(staleNotice(p.Lang))
	}
	if len(r.missing) > 0 {
		late := map[string]bool{}
		for _, m := range r.missing {
			late[m.Unit] = true
		}
		frame.AppendNotices(data.Notice{Severity: data.NoticeSeverityInfo, Text: fmt.Sprintf(
			pick(p.Lang, catalogue.Text{Zh: "%d 个单位的最近一期数据未到，显示其最近一次的数值", En: "the last month of %d units has not arrived; their last value is shown"}), len(late))})
	}
	return data.Frames{frame}
}

// subset folds the units of a filter. Suppressed units make the fold a way to
// compute them, so it has no value then.
func (d *Datasource) subset(p *plan, r *result, day int32, cat string) figure {
	var all []figures.Member
	_, format, _ := p.in.Of(p.split, cat)
	top, bottom := 1.0, 1.0
	if format.Kind == "money" || format.Parts == "money" {
		top = 100
	}
	if format.Parts == "money" {
		bottom = 100
	}
	for _, u := range p.Filter.Units {
		f := r.figures[place{Day: day, Unit: u, Code: cat}]
		if figures.Hidden(f.State) {
			return figure{State: figures.Protected}
		}
		if f.N == nil {
			continue
		}
		v := part{N: *f.N * top, M: math.NaN(), Source: f.Source}
		if f.M != nil {
			v.M = *f.M * bottom
		}
		all = append(all, figures.Member{Part: v, Unit: d.catalogue.Contract.Unit(u)})
	}
	return r.question.Nation(all, cat)
}

// rowBytes is about what a row of a frame takes on its way to the page.
func rowBytes(unit, code string, columns int) int {
	const text, cell = 24, 9 // a name in two scripts; a number and whether it stands
	n := columns*cell + len(unit) + len(code)
	if unit != "" {
		n += text
	}
	if code != "" {
		n += text
	}
	return n
}

// rank is a unit's place among all; among the published ones for who may not see
// the others.
func (p *plan) rank(r *result, day int32, unit, cat string) *float64 {
	if r.ranks != nil {
		return r.ranks[place{Day: day, Unit: unit, Code: cat}]
	}
	return p.rankOf(unit, func(u string) *float64 { return r.figures[place{Day: day, Unit: u, Code: cat}].Value }, r.units)
}

// rankOf counts from 1, the best first; units of one value share a rank.
func (p *plan) rankOf(unit string, value func(unit string) *float64, units []*feed.UnitInfo) *float64 {
	mine := value(unit)
	if unit == "" || mine == nil {
		return nil
	}
	n := 1.0
	for _, u := range units {
		v := value(u.Code)
		if v == nil {
			continue
		}
		if p.in.Direction == "down" && *v < *mine || p.in.Direction != "down" && *v > *mine {
			n++
		}
	}
	return &n
}

var compareNames = map[string]catalogue.Text{
	previousMonth: {Zh: "上月末", En: "end of last month"},
	lastYear:      {Zh: "上年同日", En: "same day last year"},
	withTarget:    {Zh: "目标", En: "target"},
	nationalMean:  {Zh: "全国", En: "nation"},
	withRank:      {Zh: "位次", En: "rank"},

	firstPublished: {Zh: "首次公布", En: "first published"},
}

// unit names a column's unit in Grafana's words.
func (p *plan) unit(column string) string {
	code := "*"
	if len(p.Filter.Codes) == 1 {
		code = p.Filter.Codes[0]
	}
	_, f, u := p.in.Of(p.split, code)
	switch {
	case column == withRank:
		return "none"
	case column == "numerator" || column == "denominator":
		if f.Parts == "money" || f.Kind == "money" && column == "numerator" {
			return yuan
		}
		return "none"
	}
	switch f.Kind {
	case "percent":
		return "percent"
	case "money":
		return yuan
	case "hours":
		return suffix(p.Lang, hourUnit)
	}
	return suffix(p.Lang, u)
}

// dayField is the column of the days on which something is counted.
func (p *plan) dayField(days []time.Time) *data.Field {
	f := data.NewField("time", nil, days)
	f.Config = &data.FieldConfig{DisplayNameFromDS: pick(p.Lang, catalogue.Text{Zh: "统计日", En: "day"}), Unit: date}
	return f
}

// Units as Grafana writes them. Its own hours and days are English and become weeks
// and years.
const (
	age  = "dtdhms" // 2 d 06:43:10, of seconds
	date = "time:YYYY-MM-DD"
)

var (
	hourUnit = catalogue.Text{Zh: "小时", En: "hours"}
	dayUnit  = catalogue.Text{Zh: "天", En: "days"}
)

// suffix is a unit that is written behind the number as it stands.
func suffix(lang string, u catalogue.Text) string { return "suffix:" + pick(lang, u) }

// nationalTarget is the value that a figure is held against; nil without one. What
// is asked of each person, such as hours, is no target of the share who reach it,
// and of a target itself the whole is to be reached.
func (d *Datasource) nationalTarget(in *catalogue.Indicator) *float64 {
	for _, id := range in.Targets {
		if t := d.catalogue.Target(id); t != nil && t.Scope != "person" {
			if b := in.Measure.Bottom; b != nil && b.Kind == "target" {
				return figures.Number(in.Measure.Scale)
			}
			return figures.Number(t.Value)
		}
	}
	return nil
}

// thresholds draw the target; colours are safe for colour-blind readers.
func thresholds(in *catalogue.Indicator, target *float64) *data.ThresholdsConfig {
	if target == nil {
		return nil
	}
	low, high := "#c2680a", "#1f6fb2"
	if in.Direction == "down" {
		low, high = high, low
	}
	return &data.ThresholdsConfig{Mode: data.ThresholdsModeAbsolute, Steps: []data.Threshold{
		data.NewThreshold(-1, low, ""), data.NewThreshold(*target, high, ""),
	}}
}

func (d *Datasource) provenance(p *plan, r *result, states map[string]string) *Provenance {
	v := &Provenance{
		Indicator: p.in, Targets: []TargetView{}, Feeds: p.in.Feeds(), AsOf: p.asOf.Format(time.DateOnly), KnownOn: p.KnownOn, Edition: p.view(), ComputedAt: r.computed,
		Ledger: r.arrivals.ledger, SourceRows: r.source, UnitsIncluded: []string{}, UnitsMissing: r.missing, Units: len(r.units),
		Provisional: p.in.Approval != "approved", Suppressed: r.hidden, SuppressBelow: d.config.SuppressBelow, Stale: r.stale, States: states,
		TookMS: float64(r.took.Microseconds()) / 1000, WaitedMS: float64(r.queried.Microseconds()) / 1000, Empty: r.arrivals.rows == 0,
	}
	reported, arrived := r.arrivals.asOf(v.Feeds)
	if !reported.IsZero() {
		v.DataAsOf, v.ArrivedAt = &reported, &arrived
	}
	for u := range r.included {
		v.UnitsIncluded = append(v.UnitsIncluded, u)
	}
	sort.Strings(v.UnitsIncluded)
	for _, id := range p.in.Targets {
		if t := d.catalogue.Target(id); t != nil {
			v.Targets = append(v.Targets, viewOf(t))
		}
	}
	for _, c := range p.in.Categories {
		l := d.label("worker_category", c)
		v.CategoryZh, v.CategoryEn = append(v.CategoryZh, l.Zh), append(v.CategoryEn, l.En)
	}
	return v
}
