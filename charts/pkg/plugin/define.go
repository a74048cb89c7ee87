package plugin

import (
	"bytes"
	"html/template"
	"net/http"
	"strconv"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/internal/feed"
)

// definition is the page to which every panel links: the whole definition of an
// indicator as the catalogue holds it, without a script.
var definition = template.Must(template.New("definition").Parse(`<!doctype html>
<html lang="{{.Lang}}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.In.ID}} {{.Name}}</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.7 system-ui, "Noto Sans SC", "Microsoft YaHei", sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; line-height: 1.3; margin: 0 0 .25rem; }
p.sub { opacity: .7; margin: 0 0 1.5rem; }
dl { display: grid; grid-template-columns: minmax(7rem, auto) 1fr; gap: .5rem 1.25rem; }
dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
@media print { body { margin: 0; } }
</style></head><body>
<h1>{{.In.ID}} {{.Name}}</h1><p class="sub">{{.Other}}</p>
<dl>{{range .Lines}}<dt>{{.Term}}</dt><dd>{{range .Values}}<div>{{.}}</div>{{end}}</dd>{{end}}</dl>
</body></html>
`))

type definitionLine struct {
	Term   string
	Values []string
}

func (d *Datasource) serveDefinition(w http.ResponseWriter, r *http.Request, sc scope.Scope) {
	in := d.catalogue.Indicator(r.URL.Query().Get("indicator"))
	if in == nil {
		fail(w, http.StatusNotFound, "没有这个指标。", "There is no such indicator.")
		return
	}
	lang, tag := "zh", "zh-Hans"
	if r.URL.Query().Get("lang") == "en" {
		lang, tag = "en", "en"
	}
	var lines []definitionLine
	add := func(zh, en string, values ...string) {
		var full []string
		for _, v := range values {
			if v != "" {
				full = append(full, v)
			}
		}
		if len(full) > 0 {
			lines = append(lines, definitionLine{pick(lang, catalogue.Text{Zh: zh, En: en}), full})
		}
	}
	add("定义", "Definition", pick(lang, in.Definition))
	add("分子", "Numerator", pick(lang, in.Numerator))
	add("分母", "Denominator", pick(lang, in.Denominator))
	add("单位", "Unit", pick(lang, in.Unit))
	add("方向", "Direction", pick(lang, map[string]catalogue.Text{
		"up": {Zh: "越大越好", En: "more is better"}, "down": {Zh: "越小越好", En: "less is better"}, "none": {Zh: "不分好坏", En: "neither way is better"}}[in.Direction]))
	var categories, dimensions, targets, names []string
	for _, c := range in.Categories {
		categories = append(categories, c+" "+pick(lang, d.label("worker_category", c)))
	}
	add("计入的人员类别", "Categories of workers counted", categories...)
	for _, x := range in.Dimensions {
		dimensions = append(dimensions, pick(lang, dimensionName(x)))
	}
	add("可按此分组", "Can be grouped by", dimensions...)
	for _, id := range in.Targets {
		if t := d.catalogue.Target(id); t != nil {
			targets = append(targets, targetLine(t, lang))
		}
	}
	add("目标", "Targets", targets...)
	for _, name := range in.Feeds() {
		if s := d.catalogue.Contract.Feed(name); s != nil {
			names = append(names, pick(lang, catalogue.Text{Zh: s.Zh, En: s.En}))
		}
	}
	add("数据来源", "Feeds", names...)
	add("数据的限制", "Limits of the data", pick(lang, in.State))
	add("依据", "Source", pick(lang, in.Source))
	state := catalogue.Text{Zh: "暂行，待主管部门确认", En: "provisional, to be confirmed by the office"}
	if in.Approval == "approved" {
		state = catalogue.Text{Zh: "已批准", En: "approved"}
	}
	add("版本", "Version", pick(lang, catalogue.Text{Zh: "第 ", En: "version "})+strconv.Itoa(in.Version)+pick(lang, catalogue.Text{Zh: " 版，自 " + in.ValidFrom + " 起；", En: ", from " + in.ValidFrom + "; "})+pick(lang, state))
	add("公布", "Published", d.publishedLines(r.Context(), sc, lang)...)
	var out bytes.Buffer
	err := definition.Execute(&out, map[string]any{"Lang": tag, "In": in, "Name": pick(lang, catalogue.Text{Zh: in.Zh, En: in.En}), "Other": pick(lang, catalogue.Text{Zh: in.En, En: in.Zh}), "Lines": lines})
	if err != nil {
		panic("BUG: the page of a definition: " + err.Error())
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(out.Bytes()) // the reader has gone; nobody is left to tell
}

func targetLine(t *feed.Target, lang string) string {
	v := viewOf(t)
	unit, source, status := pick(lang, v.Unit), pick(lang, v.Source), pick(lang, v.Status)
	if lang == "en" {
		return t.ID + ": " + trim(t.Value) + " (" + unit + "); " + source + "; " + status
	}
	return t.ID + "：" + trim(t.Value) + " " + unit + "；依据：" + source + "；" + status
}
