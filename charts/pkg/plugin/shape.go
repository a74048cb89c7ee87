package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/value"
)

// Shape is the part of a query that says in which form a panel wants the answer.
// It changes no figure: what may be seen was decided before.
type Shape struct {
	// Format is one of formats; empty gives the long frame with every column.
	Format string `json:"format"`
	// Column is the one that the forms with a single figure show: value
	// (default), numerator or denominator.
	Column string `json:"column"`
	// Sort orders the lines of table and pivot by their figure: desc or asc.
	Sort string `json:"sort"`
	// Limit keeps the first lines of a sorted table.
	Limit int `json:"limit"`
	// List names a list of records for query type list; see lists.
	List string `json:"list"`
	// Events names what query type events tells: policies or incidents.
	Events string `json:"events"`
}

const (
	// formatSeries gives a field for each line of a graph, with labels.
	formatSeries = "series"
	// formatNumeric is the same for one day: what a stat shows, an alert compares.
	formatNumeric = "numeric"
	// formatTable gives a row a figure, with what it is compared with.
	formatTable = "table"
	// formatPivot gives a row a unit, or a month, and a column a code, or a month.
	formatPivot = "pivot"
	// formatLorenz gives the cumulated shares of a ratio, poorest unit first.
	formatLorenz = "lorenz"
)

var formats = []string{"", formatSeries, formatNumeric, formatTable, formatPivot, formatLorenz, formatTiles}

// fromAlert is set by Grafana on the queries of alert rules.
const fromAlert = "FromAlert"

// checkShape refuses what no form can give.
func (p *plan) checkShape(alert bool) error {
	if !slices.Contains(formats, p.Format) {
		return badQuery("unknown format %q; use series, numeric, table, pivot, lorenz, tiles", p.Format)
	}
	if !slices.Contains([]string{"", "value", "numerator", "denominator"}, p.Column) {
		return badQuery("unknown column %q; use value, numerator, denominator", p.Column)
	}
	if p.Column == "denominator" && p.in.Denominator.Zh == "" {
		return badQuery("%s has no denominator", p.in.ID)
	}
	if !slices.Contains([]string{"", "asc", "desc"}, p.Sort) {
		return badQuery("unknown order %q; use asc, desc", p.Sort)
	}
	if alert {
		// A rule compares numbers; text columns and sorted rows mean nothing to it.
		p.Format, p.Compare = formatNumeric, nil
		if p.months {
			p.Format = formatSeries
		}
	}
	switch {
	case p.Format == formatSeries && !p.months:
		return badQuery("a series needs groupBy month")
	case p.Format == formatNumeric && p.months:
		return badQuery("format numeric is for one day; leave month out of groupBy")
	case p.Format == formatPivot && (p.split == "" && !p.months || !p.provinces && !p.months):
		return badQuery("a pivot needs two of month, province and a dimension in groupBy")
	case p.Format == formatPivot && p.provinces && p.months && p.split != "":
		return badQuery("a pivot takes two of month, province and a dimension, not all three")
	case p.Limit < 0 || p.Limit > 0 && (p.Format != formatTable || p.Sort == ""):
		return badQuery("limit keeps the first lines of a sorted table")
	case p.Format == formatTiles && (!p.provinces || p.months || p.split != ""):
		return badQuery("tiles need groupBy province alone")
	case p.Format == formatLorenz && (!p.provinces || p.months || p.split != "" || p.in.Measure.Kind != "ratio"):
		return badQuery("a Lorenz curve needs a ratio grouped by province alone")
	}
	return nil
}

// line is one row of the long frame.
type line struct {
	t                              time.Time
	unit, unitName, code, codeName string
	at                             int
}

// long reads back the rows of the frame that frames made.
func (p *plan) long(f *data.Frame) []line {
	text := func(name string, i int) string {
		if x, _ := f.FieldByName(name); x != nil {
			return x.At(i).(string)
		}
		return ""
	}
	out := make([]line, f.Rows())
	when, _ := f.FieldByName("time")
	for i := range out {
		out[i] = line{unit: text("unit", i), unitName: text("unit_name", i), code: text("code", i), codeName: text("code_name", i), at: i}
		if when != nil {
			out[i].t = when.At(i).(time.Time)
		}
	}
	return out
}

// column is the figure that the panel wants, with its configuration.
func (p *plan) column(f *data.Frame) *data.Field {
	name := p.Column
	if name == "" {
		name = "value"
	}
	x, _ := f.FieldByName(name)
	return x
}

// shape puts the long frame into the form asked for and adds the notice that
// says as of when, by which definition and of how many units.
func (d *Datasource) shape(p *plan, r *result, frames data.Frames) data.Frames {
	if p.Format == "" {
		return frames
	}
	f := frames[0]
	var out *data.Frame
	switch p.Format {
	case formatSeries, formatNumeric:
		out = d.wide(p, f)
	case formatTable:
		out = p.roomy(p.table(f))
	case formatPivot:
		out = p.roomy(p.pivot(f))
	case formatLorenz:
		out = d.lorenz(p, f)
	case formatTiles:
		out = d.tilesOf(p, f)
	}
	out.Name = f.Name
	meta := *f.Meta
	if out.Meta != nil {
		meta.Type, meta.TypeVersion = out.Meta.Type, out.Meta.TypeVersion
	}
	meta.Notices = append(slices.Clone(meta.Notices), data.Notice{Severity: data.NoticeSeverityInfo, Text: d.asOfNotice(p, r)})
	out.Meta = &meta
	return data.Frames{out}
}

// asOfNotice is what a careful reader asks first.
func (d *Datasource) asOfNotice(p *plan, r *result) string {
	reported, _ := r.arrivals.asOf(p.in.Feeds())
	zh, en := "尚无数据", "no data yet"
	if !reported.IsZero() {
		zh, en = "数据截至 "+reported.In(feed.Shanghai).Format("2006-01-02 15:04"), "data as of "+reported.In(feed.Shanghai).Format("2006-01-02 15:04")
	}
	state := catalogue.Text{Zh: "暂行", En: "provisional"}
	if p.in.Approval == "approved" {
		state = catalogue.Text{Zh: "已批准", En: "approved"}
	}
	text := fmt.Sprintf("统计日 %s；%s；口径 %s 第 %d 版（%s）；计入 %d 个单位中的 %d 个", p.asOf.Format(time.DateOnly), zh, p.in.ID, p.in.Version, state.Zh, len(r.units), len(r.included))
	if strings.HasPrefix(p.Lang, "en") {
		text = fmt.Sprintf("day %s; %s; definition %s version %d (%s); %d of %d units included", p.asOf.Format(time.DateOnly), en, p.in.ID, p.in.Version, state.En, len(r.included), len(r.units))
	}
	if n, ok := p.editionNotice(); ok {
		text += pick(p.Lang, catalogue.Text{Zh: "；", En: "; "}) + n.Text
	}
	if r.hidden > 0 {
		text += fmt.Sprintf(pick(p.Lang, catalogue.Text{Zh: "；%d 格因人数过少不显示", En: "; %d cells of few persons are not shown"}), r.hidden)
	}
	return text
}

// wide gives each unit and code a field of its own. The labels keep apart what
// an alert rule says of each.
func (d *Datasource) wide(p *plan, f *data.Frame) *data.Frame {
	rows := p.long(f)
	main := p.column(f)
	fields := []*data.Field{main}
	for _, c := range p.Compare {
		x, _ := f.FieldByName(c)
		fields = append(fields, x)
	}
	var days []time.Time
	row := map[time.Time]int{}
	type key struct{ unit, code string }
	var keys []key
	first := map[key]line{}
	for _, l := range rows {
		if _, ok := row[l.t]; !ok {
			row[l.t] = len(days)
			days = append(days, l.t)
		}
		k := key{l.unit, l.code}
		if _, ok := first[k]; !ok {
			first[k] = l
			keys = append(keys, k)
		}
	}
	out := data.NewFrame("")
	out.Meta = &data.FrameMeta{Type: data.FrameTypeNumericWide, TypeVersion: data.FrameTypeVersion{0, 1}}
	if p.months {
		out.Meta.Type = data.FrameTypeTimeSeriesWide
		out.Fields = append(out.Fields, p.dayField(days))
	}
	for _, k := range keys {
		l := first[k]
		for i, x := range fields {
			labels := data.Labels{"indicator": p.in.ID}
			var names []string
			if p.provinces {
				labels["unit"], labels["unit_name"] = l.unit, l.unitName
				names = append(names, l.unitName)
			}
			if p.split != "" {
				labels["code"], labels["code_name"] = l.code, l.codeName
				names = append(names, l.codeName)
			}
			if i > 0 {
				labels["compare"] = x.Name
				if len(keys) == 1 { // whose it is needs no saying
					names = nil
				}
				names = append(names, x.Config.DisplayNameFromDS)
			}
			if len(names) == 0 && len(fields) > 1 && p.Column == "" {
				names = append(names, pick(p.Lang, compareNames[nationalMean]))
			} else if len(names) == 0 {
				names = append(names, x.Config.DisplayNameFromDS)
			}
			n := data.NewField(x.Name, labels, make([]*float64, max(1, len(days))))
			n.Config = copyConfig(p.written(x, f).Config)
			n.Config.DisplayNameFromDS = strings.Join(names, " · ")
			out.Fields = append(out.Fields, n)
			for _, m := range rows {
				if m.unit == k.unit && m.code == k.code {
					n.Set(row[m.t], x.At(m.at))
				}
			}
		}
	}
	return out
}

func copyConfig(c *data.FieldConfig) *data.FieldConfig {
	if c == nil {
		return &data.FieldConfig{}
	}
	n := *c
	return &n
}

// table leaves out what only an expert reads: the parts and the plain codes.
// The unit's code stays for links.
func (p *plan) table(f *data.Frame) *data.Frame {
	keep := []string{"time", "unit", "unit_name", "code_name"}
	if p.Column == "" {
		keep = append(keep, "value")
	} else {
		keep = append(keep, p.Column)
	}
	keep = append(keep, p.Compare...)
	out := data.NewFrame("")
	order := p.order(f.Rows(), func(i int) *float64 { return p.column(f).At(i).(*float64) })
	if t, _ := f.FieldByName("time"); t != nil && p.Sort == "" {
		// A table is read from its top; a time series would begin with the oldest.
		out.Meta = &data.FrameMeta{Type: data.FrameTypeTable, TypeVersion: data.FrameTypeVersion{0, 1}}
		slices.SortStableFunc(order, func(a, b int) int { return t.At(b).(time.Time).Compare(t.At(a).(time.Time)) })
	}
	if p.Limit > 0 && p.Limit < len(order) {
		order = order[:p.Limit]
	}
	for _, x := range f.Fields {
		if slices.Contains(keep, x.Name) {
			out.Fields = append(out.Fields, pickRows(p.written(x, f), order))
		}
	}
	return out
}

// roomy lets the long name of a column be read, which Grafana would cut off. English is
// broken; Chinese gets the width that it takes, as Grafana reckons its lines too few.
func (p *plan) roomy(f *data.Frame) *data.Frame {
	for _, x := range f.Fields {
		if x.Config == nil {
			continue
		}
		name := x.Config.DisplayNameFromDS
		if x.Name == "value" { // above it the dashboards write its unit, too
			u := strings.TrimPrefix(x.Config.Unit, "suffix:")
			name += pick(p.Lang, catalogue.Text{Zh: "（" + u + "）", En: " (" + u + ")"})
		}
		columns := value.Width(name)
		width := 7*columns + 24 // of the cell's own padding
		if width <= 90 {        // which the dashboards' columns have anyway
			continue
		}
		x.Config = copyConfig(x.Config)
		x.Config.Custom = map[string]any{"wrapHeaderText": true}
		if columns > utf8.RuneCountInString(name) {
			x.Config.Custom = map[string]any{"width": min(width, 270)}
		}
	}
	return f
}

// written gives what a figure is compared with the decimals of the figure.
func (p *plan) written(x *data.Field, f *data.Frame) *data.Field {
	if !slices.Contains(p.Compare, x.Name) || x.Name == withRank {
		return x
	}
	n := *x
	n.Config = copyConfig(x.Config)
	if c := p.column(f).Config; c != nil {
		n.Config.Decimals = c.Decimals
	}
	return &n
}

// order lists rows by their figure; what has none stands last either way.
func (p *plan) order(n int, figure func(int) *float64) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	if p.Sort == "" {
		return out
	}
	sort.SliceStable(out, func(a, b int) bool {
		x, y := figure(out[a]), figure(out[b])
		switch {
		case x == nil || y == nil:
			return x != nil
		case p.Sort == "asc":
			return *x < *y
		}
		return *x > *y
	})
	return out
}

func pickRows(x *data.Field, rows []int) *data.Field {
	n := data.NewFieldFromFieldType(x.Type(), len(rows))
	n.Name, n.Labels, n.Config = x.Name, x.Labels, x.Config
	for i, r := range rows {
		n.Set(i, x.At(r))
	}
	return n
}

// pivot turns the second of what the answer is grouped by into columns.
func (p *plan) pivot(f *data.Frame) *data.Frame {
	main := p.column(f)
	type head struct{ key, title string }
	var heads []head
	var keys []string
	columns, lines := map[string]int{}, map[string]int{}
	first := map[string]line{}
	cells := map[[2]int]*float64{}
	for _, l := range p.long(f) {
		row, col := l.unit, l.code
		title := l.codeName
		if !p.provinces {
			row = l.t.Format(time.DateOnly)
		}
		if p.split == "" {
			col = l.t.Format("2006-01")
			title = col
		}
		if _, ok := lines[row]; !ok {
			lines[row] = len(keys)
			keys = append(keys, row)
			first[row] = l
		}
		if _, ok := columns[col]; !ok {
			columns[col] = len(heads)
			heads = append(heads, head{col, title})
		}
		cells[[2]int{lines[row], columns[col]}] = main.At(l.at).(*float64)
	}
	order := p.order(len(keys), func(i int) *float64 {
		var sum *float64
		for c := range heads {
			if v := cells[[2]int{i, c}]; v != nil {
				s := *v
				if sum != nil {
					s += *sum
				}
				sum = &s
			}
		}
		return sum
	})
	out := data.NewFrame("")
	if p.provinces {
		codes, names := make([]string, len(keys)), make([]string, len(keys))
		for i, r := range order {
			codes[i], names[i] = keys[r], first[keys[r]].unitName
		}
		unit, name := data.NewField("unit", nil, codes), data.NewField("unit_name", nil, names)
		for _, x := range []*data.Field{unit, name} {
			was, _ := f.FieldByName(x.Name)
			x.Config = was.Config
		}
		out.Fields = append(out.Fields, unit, name)
	} else {
		days := make([]time.Time, len(keys))
		for i, r := range order {
			days[i] = first[keys[r]].t
		}
		out.Fields = append(out.Fields, p.dayField(days))
	}
	for c, h := range heads {
		x := data.NewField(h.key, nil, make([]*float64, len(keys)))
		x.Config = copyConfig(main.Config)
		x.Config.DisplayNameFromDS = h.title
		for i, r := range order {
			x.Set(i, cells[[2]int{r, c}])
		}
		out.Fields = append(out.Fields, x)
	}
	return out
}

// lorenz gives the curve of a ratio between units: the share of the need that
// the worst staffed units hold, and the share of the workers that they have. A
// hidden unit is left out, since the steps of the curve would tell its size.
func (d *Datasource) lorenz(p *plan, f *data.Frame) *data.Frame {
	num, _ := f.FieldByName("numerator")
	den, _ := f.FieldByName("denominator")
	type point struct {
		name string
		w, n float64
	}
	var all []point
	var w, n float64
	for _, l := range p.long(f) {
		a, b := num.At(l.at).(*float64), den.At(l.at).(*float64)
		if a == nil || b == nil || *b <= 0 {
			continue
		}
		all = append(all, point{l.unitName, *a, *b})
		w, n = w+*a, n+*b
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].w*all[j].n < all[j].w*all[i].n })
	names, need, share, even := []string{""}, []float64{0}, []float64{0}, []float64{0}
	var cw, cn float64
	for _, x := range all {
		cw, cn = cw+x.w, cn+x.n
		names, need = append(names, x.name), append(need, percent(cn, n))
		share, even = append(share, percent(cw, w)), append(even, percent(cn, n))
	}
	field := func(name string, values any, t catalogue.Text) *data.Field {
		x := data.NewField(name, nil, values)
		x.Config = &data.FieldConfig{DisplayNameFromDS: pick(p.Lang, t), Unit: "percent"}
		return x
	}
	unit := field("unit_name", names, catalogue.Text{Zh: "报送单位", En: "reporting unit"})
	unit.Config.Unit = ""
	return data.NewFrame("",
		field("need", need, catalogue.Text{Zh: "需求的累计占比", En: "cumulated share of the need"}),
		field("share", share, catalogue.Text{Zh: "社工的累计占比", En: "cumulated share of workers"}),
		field("even", even, catalogue.Text{Zh: "完全均衡", En: "perfectly even"}), unit)
}

func percent(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return math.Round(a/b*10_000) / 100
}

// alerting says whether Grafana asks for an alert rule.
func alerting(headers map[string]string) bool {
	return headers[fromAlert] == "true"
}

// ask answers one query of any type, and says in a few words what was asked.
func (d *Datasource) ask(ctx context.Context, s scope.Scope, q backend.DataQuery, alert bool) (what string, f data.Frames, err error) {
	if s.None() {
		if d.config.Scope == nil {
			f := findFault(errNoScope)
			return "nothing", nil, refusal{fmt.Errorf("%s / %s", f.zh, f.en)}
		}
		return "nothing", nil, scope.ErrDenied
	}
	var kind struct {
		QueryType string `json:"queryType"`
	}
	_ = json.Unmarshal(q.JSON, &kind) // plan says what is wrong with it
	switch kind.QueryType {
	case queryList, queryEvents:
		m, err := d.other(q)
		if err != nil {
			return "not understood", nil, err
		}
		what = "list " + m.List
		if kind.QueryType == queryEvents {
			what = "events " + m.Events
		}
		if len(m.Filter.Units) > 0 {
			what += " units " + strings.Join(m.Filter.Units, ",")
		}
		if err := m.permit(s); err != nil {
			return what, nil, err
		}
		if kind.QueryType == queryList {
			f, err = d.list(ctx, s, m)
		} else {
			f, err = d.events(ctx, s, m, q.TimeRange)
		}
		return what, f, err
	}
	p, err := d.plan(q)
	if err != nil {
		return "not understood", nil, err
	}
	if err := p.checkShape(alert); err != nil {
		return p.what(), nil, err
	}
	p.Fresh = p.Fresh || alert
	if err := d.choose(ctx, s, p); err != nil {
		return p.what(), nil, err
	}
	if err := d.restrict(ctx, s, p); err != nil {
		return p.what(), nil, err
	}
	if p.split == catalogue.County && !s.SeesBelow(p.Filter.Units[0]) {
		return p.what(), unseen(p), nil
	}
	r, err := d.run(ctx, s, p)
	if err == nil {
		err = d.firsts(ctx, s, p, r)
	}
	if err != nil {
		return p.what(), nil, err
	}
	out := d.shape(p, r, d.frames(p, r))
	if !alert && p.Format != "" { // a rule, and who computes, goes on in yuan
		inTenThousands(p.Lang, out[0], p.Format == formatPivot && p.in.Measure.Splits[p.split] != nil)
	}
	return p.what(), out, nil
}

// Check says whether a query can be asked, without asking it. The dashboards
// are tested by it.
func (d *Datasource) Check(query []byte) error {
	var kind struct {
		QueryType string `json:"queryType"`
	}
	if err := json.Unmarshal(query, &kind); err != nil {
		return badQuery("cannot read the query: %w", err)
	}
	switch kind.QueryType {
	case queryList, queryEvents:
		_, err := d.other(backend.DataQuery{JSON: query})
		return err
	case "":
	default:
		return badQuery("unknown query type %q; use list, events, or none for an indicator", kind.QueryType)
	}
	p, err := d.plan(backend.DataQuery{JSON: query})
	if err != nil {
		return err
	}
	if len(p.unknown) > 0 {
		return badQuery("unknown key %q", p.unknown[0])
	}
	return p.checkShape(false)
}

// SeriesIndicators are the indicators that can be asked by province and month,
// and so stand in a profile of any of them.
func (d *Datasource) SeriesIndicators() []*catalogue.Indicator {
	var out []*catalogue.Indicator
	for _, in := range d.catalogue.Indicators {
		if slices.Contains(in.Grain, byProvince) && !in.Now() && in.Measure.Kind != "median" && in.Measure.Kind != "balance" {
			out = append(out, in)
		}
	}
	return out
}
