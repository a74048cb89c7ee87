// Package dashboards makes the dashboards of Grafana: D01 to D12 and the
// operator's, each in Chinese and in English. They are written in Go against
// Grafana's own types, so that a typing error is a compile error, and shipped as
// the JSON files in json/, which a test keeps fresh.
//
// A panel asks for indicators by name and holds no SQL. Its title is the question
// that it answers; its description gives definition, unit and target from the
// catalogue, and its link leads to the whole definition.
package dashboards

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
)

// FS holds the made files, <lang>/<id>.json.
//
//go:embed json
var FS embed.FS

// Languages are those in which every dashboard is made, the first one first.
var Languages = []string{"zh", "en"}

// Page is one dashboard.
type Page struct {
	// ID is D01 to D12, or OPS.
	ID string
	// Name is what the dashboard is called, Question what it answers.
	Name, Question catalogue.Text
	variables      []variable
	rows           []row
	// marks says that its time axes show policy documents and late months.
	marks bool
	// placed says that the panels of its first row say themselves where they lie.
	placed bool
}

// UID is the fixed identity by which provisioning and links know a dashboard.
func UID(id, lang string) string {
	uid := "duiwu-" + strings.ToLower(id)
	if lang != "zh" {
		uid += "-" + lang
	}
	return uid
}

// File is where the JSON of a dashboard lies in FS.
func File(id, lang string) string { return "json/" + lang + "/" + id + ".json" }

type row struct {
	title  catalogue.Text // no heading when empty
	panels []panel
}

type variable struct {
	name  string
	label catalogue.Text
	// of is what a query variable lists: province or indicator; else options are
	// the codes of dimension.
	of        string
	dimension string
	current   string
	all       bool
}

func pick(lang string, t catalogue.Text) string {
	if lang == "en" {
		return t.En
	}
	return t.Zh
}

func text(zh, en string) catalogue.Text { return catalogue.Text{Zh: zh, En: en} }

func ptr[T any](v T) *T { return &v }

// source is the datasource variable that every panel asks through: an
// organisation may have several, and an import must not ask for a fixed one.
var source = common.DataSourceRef{Type: ptr("duiwu-datasource"), Uid: ptr("${ds}")}

// Build makes the JSON of a dashboard in a language.
func Build(p Page, lang string, cat *catalogue.Catalogue) ([]byte, error) {
	b := dashboard.NewDashboardBuilder(p.ID+" "+pick(lang, p.Name)).
		Uid(UID(p.ID, lang)).
		Description(pick(lang, p.Question)).
		Tags([]string{"duiwu", "duiwu-" + lang}).
		Timezone("Asia/Shanghai").
		Time(openFrom, openTo).
		Refresh("1m").
		WeekStart("monday").
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Readonly()
	b.WithVariable(dashboard.NewDatasourceVariableBuilder("ds").Label(pick(lang, text("数据源", "data source"))).Type("duiwu-datasource"))
	for _, v := range p.variables {
		b.WithVariable(v.build(lang, cat))
	}
	b.Link(dashboard.NewDashboardLinkBuilder(pick(lang, text("看板", "dashboards"))).Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{"duiwu-" + lang}).AsDropdown(true).KeepTime(true))
	other := map[string]string{"zh": "en", "en": "zh"}[lang]
	b.Link(dashboard.NewDashboardLinkBuilder(pick(lang, text("English", "中文"))).Type(dashboard.DashboardLinkTypeLink).Url("/d/" + UID(p.ID, other)).KeepTime(true).IncludeVars(true))
	if p.marks {
		b.Annotation(mark(lang, "policies", text("政策文件", "policy documents"), "#8a5cb8"))
		b.Annotation(mark(lang, "incidents", text("迟报与未报", "late or missing months"), "#c2680a"))
	}
	id := uint32(1)
	for _, r := range p.rows {
		if r.title.Zh != "" {
			b.WithRow(dashboard.NewRowBuilder(pick(lang, r.title)).Id(id))
			id++
		}
		for _, x := range r.panels {
			built, err := x.build(id, lang, cat)
			if err != nil {
				return nil, fmt.Errorf("cannot build %s %q: %w", p.ID, x.title.En, err)
			}
			b.WithPanel(built)
			id++
		}
	}
	d, err := b.Build()
	if err != nil {
		return nil, fmt.Errorf("cannot build %s: %w", p.ID, err)
	}
	// The builder puts every link into the menu of the controls, where nobody
	// finds it.
	for i := range d.Links {
		d.Links[i].Placement = nil
	}
	if p.placed {
		var bottom uint32
		first := p.rows[0].panels
		for i, x := range first {
			d.Panels[i].Panel.GridPos = &dashboard.GridPos{X: x.x, Y: x.y, W: x.w, H: x.h}
			bottom = max(bottom, x.y+x.h)
		}
		below := d.Panels[len(first):]
		for i := len(below) - 1; i >= 0; i-- {
			at := place(below[i])
			at.Y = at.Y - place(below[0]).Y + bottom
		}
	}
	for _, x := range d.Panels {
		for i := range links(x) {
			links(x)[i].Placement = nil
		}
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		return nil, fmt.Errorf("cannot write %s: %w", p.ID, err)
	}
	return out.Bytes(), nil
}

func mark(lang, events string, name catalogue.Text, color string) cog.Builder[dashboard.AnnotationQuery] {
	return dashboard.NewAnnotationQueryBuilder().Name(pick(lang, name)).Datasource(source).Enable(true).IconColor(color).
		Target(Query{RefID: "Anno", QueryType: "events", Events: events, Lang: lang})
}

func (v variable) build(lang string, cat *catalogue.Catalogue) cog.Builder[dashboard.VariableModel] {
	if v.of != "" {
		q := map[string]any{"refId": "variable", "values": v.of, "lang": lang}
		b := dashboard.NewQueryVariableBuilder(v.name).Label(pick(lang, v.label)).Datasource(source).
			Query(dashboard.StringOrMap{Map: q}).Refresh(dashboard.VariableRefreshOnDashboardLoad).AllowCustomValue(false).Sort(dashboard.VariableSortDisabled)
		if v.current != "" {
			b.Current(option(v.current, v.current))
		}
		return b
	}
	var pairs []string
	var options []dashboard.VariableOption
	for _, code := range cat.Values(v.dimension) {
		l, _ := cat.Label(v.dimension, code)
		pairs = append(pairs, pick(lang, l)+" : "+code)
		o := option(pick(lang, l), code)
		o.Selected = ptr(code == v.current)
		options = append(options, o)
	}
	l, _ := cat.Label(v.dimension, v.current)
	return dashboard.NewCustomVariableBuilder(v.name).Label(pick(lang, v.label)).
		Values(dashboard.StringOrMap{String: ptr(strings.Join(pairs, ", "))}).Options(options).Current(option(pick(lang, l), v.current))
}

func option(name, value string) dashboard.VariableOption {
	return dashboard.VariableOption{Text: dashboard.StringOrArrayOfString{String: &name}, Value: dashboard.StringOrArrayOfString{String: &value}}
}

func place(x dashboard.PanelOrRowPanel) *dashboard.GridPos {
	if x.Panel != nil {
		return x.Panel.GridPos
	}
	return x.RowPanel.GridPos
}

func links(x dashboard.PanelOrRowPanel) []dashboard.DashboardLink {
	if x.Panel == nil {
		return nil
	}
	return x.Panel.Links
}
