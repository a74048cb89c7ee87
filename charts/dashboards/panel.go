package dashboards

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/barchart"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/xychart"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
)

// panel is a question and the query that answers it.
type panel struct {
	kind  string // stat, trend, bars, table, heat, lorenz or tiles
	title catalogue.Text
	// note is said after the definition.
	note    catalogue.Text
	query   Query
	w, h    uint32
	stacked bool
	// flat draws the bars from left to right, for long names.
	flat bool
	// empty is what a table without rows says; a dash when there is none.
	empty catalogue.Text
	// x and y place the panel of a page that is not laid out in rows.
	x, y uint32
}

var (
	month    = []string{"month"}
	province = []string{"province"}
)

func by(groups ...string) []string { return groups }

// figure shows an indicator's newest value over its last twelve months.
func figure(w uint32, id, zh, en string) panel {
	return panel{kind: "stat", title: text(zh, en), w: w, h: 5, query: Query{Indicator: id, GroupBy: month, Format: "series"}}
}

// now shows an indicator that is known for now only, or one beside what it is
// compared with.
func now(w uint32, id, zh, en string, compare ...string) panel {
	return panel{kind: "stat", title: text(zh, en), w: w, h: 5, query: Query{Indicator: id, Format: "numeric", Compare: compare}}
}

// trend draws months as lines: of the nation, or of each code of a dimension.
func trend(w uint32, id, zh, en string, dimension ...string) panel {
	q := Query{Indicator: id, GroupBy: append(by("month"), dimension...), Format: "series"}
	return panel{kind: "trend", title: text(zh, en), w: w, h: 9, query: q}
}

// ranked draws the provinces in order.
func ranked(w uint32, id, zh, en string) panel {
	return panel{kind: "bars", title: text(zh, en), w: w, h: 9, query: Query{Indicator: id, GroupBy: province, Format: "table", Sort: "desc"}}
}

// parts draws the codes of a dimension.
func parts(w uint32, id, dimension, zh, en string) panel {
	return panel{kind: "bars", title: text(zh, en), w: w, h: 9, query: Query{Indicator: id, GroupBy: by(dimension), Format: "table"}}
}

// provinceParts stacks the codes of a dimension for each province.
func provinceParts(w uint32, id, dimension, zh, en string) panel {
	return panel{kind: "bars", stacked: true, title: text(zh, en), w: w, h: 9, query: Query{Indicator: id, GroupBy: by("province", dimension), Format: "pivot", Sort: "desc"}}
}

// provinces lists the provinces with what they are compared with.
func provinces(w uint32, id, zh, en string, compare ...string) panel {
	return panel{kind: "table", title: text(zh, en), w: w, h: 12, query: Query{Indicator: id, GroupBy: province, Format: "table", Sort: "desc", Compare: compare}}
}

// counties lists a province's counties for who may see below the province.
func counties(w uint32, id, zh, en string) panel {
	return panel{kind: "table", title: text(zh, en), w: w, h: 12, query: Query{Indicator: id, GroupBy: by("county"), Format: "table", Sort: "desc"},
		empty: text("省以下的数只有本省的账号可以看", "below the province only its own accounts see figures"),
		note:  text("不足 5 人的县区不显示，并连带隐去足够多的县区，使其无法由合计推出。", "Counties of fewer than 5 are not shown, nor as many others as it takes that no sum gives them away.")}
}

// monthly lists the months of the nation with what they are compared with.
func monthly(w uint32, id, zh, en string, compare ...string) panel {
	return panel{kind: "table", title: text(zh, en), w: w, h: 10, query: Query{Indicator: id, GroupBy: month, Format: "table", Compare: compare}}
}

// matrix lists provinces against the codes of a dimension or against months.
func matrix(w uint32, id, with, zh, en string) panel {
	return panel{kind: "table", title: text(zh, en), w: w, h: 12, query: Query{Indicator: id, GroupBy: by("province", with), Format: "pivot"}}
}

// heat colours each province's months.
func heat(w uint32, id, zh, en string) panel {
	return panel{kind: "heat", title: text(zh, en), w: w, h: 19, query: Query{Indicator: id, GroupBy: by("province", "month"), Format: "series"}}
}

// list shows records.
func list(w uint32, id, zh, en string) panel {
	return panel{kind: "table", title: text(zh, en), w: w, h: 10, query: Query{QueryType: "list", List: id}}
}

// late lists what has not come.
func late(w uint32, zh, en string) panel {
	p := list(w, "late", zh, en)
	p.empty = text("各期数据均已到齐", "nothing is missing")
	return p
}

// listBars draws a short list as bars.
func listBars(w uint32, id, zh, en string) panel {
	p := list(w, id, zh, en)
	p.kind, p.h = "bars", 9
	return p
}

// tiles draws the 34 units as a grid, without a boundary.
func tiles(w uint32, id, zh, en string) panel {
	return panel{kind: "tiles", title: text(zh, en), w: w, h: 15, query: Query{Indicator: id, GroupBy: province, Format: "tiles"}}
}

// live shows what a channel tells: lines, or the newest number.
func live(kind string, w uint32, id, zh, en string) panel {
	return panel{kind: kind, title: text(zh, en), w: w, h: 9, query: Query{QueryType: "list", List: id}}
}

func (p panel) units(variables ...string) panel {
	p.query.Filter = &Filter{Units: variables}
	if len(p.query.GroupBy) == 0 || p.query.GroupBy[0] == "month" {
		p.query.GroupBy = append(by("province"), p.query.GroupBy...)
	}
	return p
}

func (p panel) codes(codes ...string) panel {
	if p.query.Filter == nil {
		p.query.Filter = &Filter{}
	}
	p.query.Filter.Codes = codes
	return p
}

func (p panel) compare(with ...string) panel { p.query.Compare = with; return p }
func (p panel) column(name string) panel     { p.query.Column = name; return p }
func (p panel) flatly() panel                { p.flat = true; return p }

// ofLastMonth asks for a month that is over, where one that has just begun says little.
func (p panel) ofLastMonth() panel { p.query.AsOf = "last_month"; return p }

// lowest puts first what is asked for: the provinces that lag.
func (p panel) lowest() panel { p.query.Sort = "asc"; return p }

// highest puts first what there is most of.
func (p panel) highest() panel { p.query.Sort = "desc"; return p }

func (p panel) tall(h uint32) panel { p.h = h; return p }

func (p panel) at(x, y, h uint32) panel { p.x, p.y, p.h = x, y, h; return p }

// first keeps the first lines: the best, or the worst.
func (p panel) first(n int, order string) panel {
	p.query.Limit, p.query.Sort = n, order
	return p
}
func (p panel) says(zh, en string) panel { p.note = text(zh, en); return p }

// growth says whether the panel shows by how many percent a figure has changed
// over the range. Of a share, or of a sum that begins anew each January, such a
// number would mislead.
func (p panel) growth(cat *catalogue.Catalogue) bool {
	in := cat.Indicator(p.query.Indicator)
	return p.kind == "stat" && p.query.Format == "series" && in != nil && in.ID != "I-07" &&
		(in.Format.Kind == "integer" || in.Format.Kind == "decimal") && len(in.YearToDate()) == 0
}

// held says whether the panel colours its figure by the target. What is asked of
// each person (I-18) is no target of the share who reach it.
func (p panel) held(cat *catalogue.Catalogue) bool {
	in := cat.Indicator(p.query.Indicator)
	// A number of persons set for the nation is no target of one province; a ratio is.
	part := in != nil && in.Format.Kind == "integer" && p.query.Filter != nil
	return p.kind == "stat" && in != nil && len(in.Targets) > 0 && in.ID != "I-18" && len(p.query.Compare) == 0 && !part
}

// describe is what the «i» of a panel says.
func (p panel) describe(lang string, cat *catalogue.Catalogue) string {
	var out []string
	add := func(zh, en string, v string) {
		if v != "" {
			out = append(out, "**"+pick(lang, text(zh, en))+"** "+v)
		}
	}
	if in := cat.Indicator(p.query.Indicator); in != nil {
		add(in.ID+" "+in.Zh+"：", in.ID+" "+in.En+": ", pick(lang, in.Definition))
		add("单位：", "Unit: ", pick(lang, in.Unit))
		var targets []string
		for _, id := range in.Targets {
			t := cat.Target(id)
			if t == nil {
				continue
			}
			s := fmt.Sprintf(pick(lang, text("%s %g %s", "%s %g (%s)")), t.ID, t.Value, pick(lang, text(t.UnitZh, t.Unit)))
			if !t.Verified() {
				s += pick(lang, text("（未经核实）", ", unverified"))
			}
			targets = append(targets, s)
		}
		add("目标：", "Target: ", strings.Join(targets, pick(lang, text("；", "; "))))
		if len(targets) == 0 {
			add("目标：", "Target: ", pick(lang, text("没有设定", "none is set")))
		}
		add("数据的限制：", "Limits of the data: ", pick(lang, in.State))
	}
	if p.growth(cat) {
		add("百分比：", "Percentage: ", pick(lang, text("最新值与所选时间段第一个月相比。", "the newest value against the first month of the range.")))
	}
	if p.held(cat) {
		out = append(out, pick(lang, text("橙色的数未达目标。", "An orange figure misses the target.")))
	}
	if p.kind == "tiles" {
		out = append(out, pick(lang, text("每格一个单位，颜色越深数值越大；◷ 表示本期未到、显示最近一次的数值；灰色不在报送范围。点击进入省份画像。",
			"A tile a unit, the darker the more; ◷ marks a unit whose last month has not come, with its last value; grey does not report. A click opens its profile.")))
	}
	if n := pick(lang, p.note); n != "" {
		out = append(out, n)
	}
	return strings.Join(out, "\n\n")
}

// common is what the builders of all kinds of panels share.
type builder[B any] interface {
	cog.Builder[dashboard.Panel]
	Id(uint32) B
	Title(string) B
	Description(string) B
	Datasource(common.DataSourceRef) B
	Height(uint32) B
	Span(uint32) B
	WithTarget(cog.Builder[variants.Dataquery]) B
	Links([]cog.Builder[dashboard.DashboardLink]) B
}

func dress[B builder[B]](b B, p panel, id uint32, lang string, cat *catalogue.Catalogue) B {
	q := p.query
	q.RefID, q.Lang, q.Datasource = "A", lang, &source
	b.Id(id).Title(pick(lang, p.title)).Description(p.describe(lang, cat)).Datasource(source).Height(p.h).Span(p.w).WithTarget(q)
	if q.Indicator != "" && !strings.HasPrefix(q.Indicator, "$") {
		link := dashboard.NewDashboardLinkBuilder(pick(lang, text("完整定义", "whole definition"))).Type(dashboard.DashboardLinkTypeLink).
			Url("/api/datasources/uid/${ds}/resources/definition?indicator=" + q.Indicator + "&lang=" + lang).TargetBlank(true)
		b.Links([]cog.Builder[dashboard.DashboardLink]{link})
	}
	return b
}

// blue stays apart for colour-blind readers and in print.
const blue = "#1f6fb2"

func fixed(color string) cog.Builder[dashboard.FieldColor] {
	return dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdFixed).FixedColor(color)
}

func palette() cog.Builder[dashboard.FieldColor] {
	return dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdPaletteClassic)
}

func legend(show bool) cog.Builder[common.VizLegendOptions] {
	return common.NewVizLegendOptionsBuilder().ShowLegend(show).DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).Calcs([]string{})
}

// change colours an increase green where more is better and red where less is.
func change(in *catalogue.Indicator) common.PercentChangeColorMode {
	switch {
	case in != nil && in.Direction == "up":
		return common.PercentChangeColorModeStandard
	case in != nil && in.Direction == "down":
		return common.PercentChangeColorModeInverted
	}
	return common.PercentChangeColorModeSameAsValue
}

// hidden keeps a column for the links alone.
func hidden() []dashboard.DynamicConfigValue {
	return []dashboard.DynamicConfigValue{{Id: "custom.hidden", Value: true}, {Id: "custom.hideFrom.viz", Value: true}}
}

// drill leads to a province's profile; unit is where Grafana finds its code.
func drill(lang, unit string) dashboard.DynamicConfigValue {
	link := map[string]any{"title": pick(lang, text("打开省份画像", "open the province's profile")), "url": "/d/" + UID("D11", lang) + "?var-province=${" + unit + "}&${__url_time_range}"}
	return dashboard.DynamicConfigValue{Id: "links", Value: []any{link}}
}

// everything matches every field by its displayed name.
const everything = "/.*/"

func (p panel) build(id uint32, lang string, cat *catalogue.Catalogue) (cog.Builder[dashboard.Panel], error) {
	none := pick(lang, text("尚无数值", "no value yet"))
	split := len(p.query.GroupBy) > 1
	codeTitle, unitTitle := pick(lang, text("单位代码", "unit code")), pick(lang, text("报送单位", "reporting unit"))
	switch p.kind {
	case "stat":
		color, graph := common.BigValueColorModeNone, common.BigValueGraphModeArea
		if p.query.Format == "numeric" || p.query.QueryType == "list" {
			graph = common.BigValueGraphModeNone
		}
		if p.held(cat) {
			color = common.BigValueColorModeValue // the backend's thresholds draw the target
		}
		b := dress(stat.NewPanelBuilder(), p, id, lang, cat).
			ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}).Values(false).Fields("")).
			GraphMode(graph).ColorMode(color).TextMode(common.BigValueTextModeAuto).Orientation(common.VizOrientationAuto).
			ShowPercentChange(p.growth(cat)).PercentChangeColorMode(change(cat.Indicator(p.query.Indicator))).NoValue(none)
		// Beside each other all have one size, however long each is. Shares are as long.
		if in := cat.Indicator(p.query.Indicator); len(p.query.Compare) > 0 && (in == nil || in.Format.Kind != "percent") {
			size := 18.0
			if p.w > 8 {
				size = 26
			}
			b.Text(common.NewVizTextDisplayOptionsBuilder().TitleSize(14).ValueSize(size))
		}
		return b, nil
	case "trend":
		b := dress(timeseries.NewPanelBuilder(), p, id, lang, cat).
			LineWidth(2).FillOpacity(0).ShowPoints(common.VisibilityModeAuto).NoValue(none).
			SpanNulls(common.BoolOrFloat64{Bool: ptr(false)}).
			Legend(legend(split || len(p.query.Compare) > 0)).
			Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending)).
			ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed)).
			ColorScheme(palette())
		return b, nil
	case "bars":
		b := dress(barchart.NewPanelBuilder(), p, id, lang, cat).
			Orientation(common.VizOrientationVertical).FillOpacity(85).NoValue(none).XTickLabelSpacing(0).
			Legend(legend(p.stacked)).ShowValue(common.VisibilityModeAuto)
		if p.query.QueryType == "list" { // a number beside the bars has another scale
			b.OverrideByName("contracts", []dashboard.DynamicConfigValue{{Id: "custom.hideFrom", Value: map[string]bool{"viz": true, "legend": true, "tooltip": false}}})
		}
		switch {
		case p.flat || p.query.QueryType == "list":
			b.ColorScheme(fixed(blue)).Orientation(common.VizOrientationHorizontal).XTickLabelMaxLength(16)
		case p.stacked:
			b.Stacking(common.StackingModeNormal).ColorScheme(palette()).ShowValue(common.VisibilityModeNever)
		default:
			b.ColorScheme(fixed(blue))
		}
		if len(p.query.GroupBy) > 0 && p.query.GroupBy[0] == "province" {
			// Grafana's bars ask the figure for its links, not the name below it.
			b.XField(unitTitle).XTickLabelRotation(-45).XTickLabelMaxLength(16).OverrideByRegexp(everything, []dashboard.DynamicConfigValue{drill(lang, "__data.fields.unit")})
		}
		return b, nil
	case "table":
		none = "—"
		if p.empty.Zh != "" {
			none = pick(lang, p.empty)
		}
		width := float64(wordWidth)
		if p.query.Format == "pivot" {
			width = crossWidth
		}
		b := dress(table.NewPanelBuilder(), p, id, lang, cat).NoValue(none).CellHeight(common.TableCellHeightSm).MinWidth(width).
			OverrideByName(codeTitle, hidden()).OverrideByName(unitTitle, []dashboard.DynamicConfigValue{drill(lang, "__data.fields.unit")})
		if in := cat.Indicator(p.query.Indicator); in != nil && (in.Format.Kind == "integer" || in.Format.Kind == "decimal") {
			// The unit stands once above the numbers and not behind each of them.
			b.OverrideByFieldType("number", []dashboard.DynamicConfigValue{{Id: "unit", Value: "none"}})
			if name, unit := pick(lang, text(in.Zh, in.En)), pick(lang, in.Unit); !strings.Contains(name, unit) {
				full := name + pick(lang, text("（"+unit+"）", " ("+unit+")"))
				b.OverrideByName(name, []dashboard.DynamicConfigValue{{Id: "displayName", Value: full}})
			}
		}
		return b, nil
	case "heat":
		b := dress(statetimeline.NewPanelBuilder(), p, id, lang, cat).
			MergeValues(false).ShowValue(common.VisibilityModeNever).RowHeight(0.9).LineWidth(0).FillOpacity(90).NoValue(none).
			Legend(legend(false)).OverrideByRegexp(everything, []dashboard.DynamicConfigValue{drill(lang, "__field.labels.unit")}).ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdContinuousBlues))
		return b, nil
	case "lorenz":
		b := dress(xychart.NewPanelBuilder(), p, id, lang, cat).
			Mapping(xychart.SeriesMappingAuto).Show(xychart.XYShowModeLines).LineWidth(2).Legend(legend(true)).
			Min(0).Max(100).ColorScheme(palette())
		return b, nil
	case "tiles":
		// The backend maps the text of each cell to its colour, and gives the codes of
		// a column's units in a column beside it.
		b := dress(table.NewPanelBuilder(), p, id, lang, cat).NoValue(none).CellHeight(common.TableCellHeightLg).ShowHeader(false).Align(common.FieldTextAlignmentCenter).MinWidth(tileWidth)
		for i := 1; i <= tileColumns; i++ {
			cell := dashboard.DynamicConfigValue{Id: "custom.cellOptions", Value: map[string]any{"type": "color-background", "mode": "basic"}}
			b.OverrideByName(fmt.Sprint("c", i), []dashboard.DynamicConfigValue{cell, drill(lang, fmt.Sprint("__data.fields.u", i))})
			b.OverrideByName(fmt.Sprint("u", i), hidden())
		}
		return b, nil
	}
	return nil, fmt.Errorf("unknown kind %q", p.kind)
}

// Grafana's columns are 150 wide if nothing else is said, and then a grid of seven or a
// table of eight is cut off. In pixels, at the least.
const (
	tileWidth  = 40
	wordWidth  = 90
	crossWidth = 64 // of a matrix, which has a column for each unit
)

// tileColumns is how wide the grid of the 34 units is.
const tileColumns = 7
