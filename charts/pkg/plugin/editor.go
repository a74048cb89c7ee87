package plugin

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/scope"
)

// dimensionNames are the words for what a query can be grouped by.
var dimensionNames = map[string]catalogue.Text{
	byMonth: {Zh: "月份", En: "month"}, byProvince: {Zh: "省份", En: "province"}, catalogue.Region: {Zh: "东中西部", En: "region"},
	"worker_category": {Zh: "人员类别", En: "worker category"}, "sex": {Zh: "性别", En: "sex"}, "age_band": {Zh: "年龄段", En: "age band"},
	"education_level": {Zh: "学历", En: "education"}, "cert_level": {Zh: "资格等级", En: "certificate level"}, "tenure_band": {Zh: "年限段", En: "band of tenure"},
	"leave_group": {Zh: "离开原因", En: "reason of leaving"}, "movement": {Zh: "进出", En: "joining and leaving"}, "need": {Zh: "需求口径", En: "need"},
	"theil_part": {Zh: "差异的构成", En: "parts of the difference"}, "spread": {Zh: "离散度量", En: "measure of spread"}, "backbone": {Zh: "师资与骨干", En: "trainers and backbone"},
	"spending": {Zh: "投入口径", En: "spending"}, "org_type": {Zh: "机构类型", En: "organisation type"}, "purchase_mode": {Zh: "购买方式", En: "purchase mode"},
	"size_class": {Zh: "规模", En: "size"}, "score_band": {Zh: "得分段", En: "band of scores"}, "training_kind": {Zh: "培训类别", En: "kind of training"},
	"training_tier": {Zh: "培训层级", En: "training tier"}, "evaluation_grade": {Zh: "评估等次", En: "grade"}, "evaluation_subject": {Zh: "评估对象", En: "what is evaluated"},
	"evaluator_type": {Zh: "评估主体", En: "who evaluates"}, "fund_source": {Zh: "资金来源", En: "source of funds"}, "employment_form": {Zh: "用工形式", En: "form of employment"},
	catalogue.County: {Zh: "县区", En: "county"},
	"feed":           {Zh: "数据类别", En: "feed"}, "other_unit": {Zh: "另一报送单位", En: "other unit"}, "demo_level": {Zh: "示范层级", En: "level of the site"},
}

func dimensionName(name string) catalogue.Text {
	if t, ok := dimensionNames[name]; ok {
		return t
	}
	return catalogue.Text{Zh: name, En: name}
}

// code is a value of a dimension.
type code struct {
	Code string `json:"code"`
	catalogue.Text
}

// dimensionView is a dimension of one indicator with its codes.
type dimensionView struct {
	code
	Codes []code `json:"codes"`
}

// indicatorView is what the editor must know of an indicator to offer only what
// the backend can answer.
type indicatorView struct {
	*catalogue.Indicator
	Groups []dimensionView `json:"groups"`
	// NowOnly says that it has no past, NationOnly that it has no provinces.
	NowOnly    bool         `json:"nowOnly"`
	NationOnly bool         `json:"nationOnly"`
	Goals      []TargetView `json:"goals"`
}

// editorView is all that the editors need, in one answer.
type editorView struct {
	Today      string          `json:"today"`
	Indicators []indicatorView `json:"indicators"`
	Units      []code          `json:"units"`
	Lists      []List          `json:"lists"`
	Compare    []code          `json:"compare"`
	Editions   []code          `json:"editions"`
}

func (d *Datasource) serveEditor(w http.ResponseWriter, _ *http.Request, sc scope.Scope) {
	out := editorView{Today: d.Today().Format(time.DateOnly), Lists: lists}
	for _, in := range d.catalogue.Indicators {
		v := indicatorView{Indicator: in, NowOnly: in.Now(), NationOnly: !slices.Contains(in.Grain, byProvince), Groups: []dimensionView{}, Goals: []TargetView{}}
		for _, name := range in.Dimensions {
			if !sc.Nation() && !d.catalogue.Declared(in, name) {
				continue
			}
			g := dimensionView{code: code{name, dimensionName(name)}}
			for _, c := range d.catalogue.Codes(in, name) {
				g.Codes = append(g.Codes, code{c, d.label(name, c)})
			}
			v.Groups = append(v.Groups, g)
		}
		if in.ByCounty() {
			v.Groups = append(v.Groups, dimensionView{code{catalogue.County, dimensionName(catalogue.County)}, []code{}})
		}
		for _, id := range in.Targets {
			if t := d.catalogue.Target(id); t != nil {
				v.Goals = append(v.Goals, viewOf(t))
			}
		}
		out.Indicators = append(out.Indicators, v)
	}
	for _, u := range d.seen(sc) {
		out.Units = append(out.Units, code{u.Code, catalogue.Text{Zh: u.ShortZh, En: u.ShortEn()}})
	}
	for _, c := range compares {
		out.Compare = append(out.Compare, code{c, compareNames[c]})
	}
	for _, e := range editions {
		out.Editions = append(out.Editions, code{e, editionNames[e]})
	}
	reply(w, out)
}

// serveOptions lists what a variable offers: values=province, indicator, or a
// dimension.
func (d *Datasource) serveOptions(w http.ResponseWriter, r *http.Request, sc scope.Scope) {
	out := []code{}
	switch of := r.URL.Query().Get("values"); of {
	case byProvince:
		for _, u := range d.seen(sc) {
			out = append(out, code{u.Code, catalogue.Text{Zh: u.ShortZh, En: u.ShortEn()}})
		}
	case "indicator":
		for _, in := range d.SeriesIndicators() {
			out = append(out, code{in.ID, catalogue.Text{Zh: in.ID + " " + in.Zh, En: in.ID + " " + in.En}})
		}
	default:
		codes := d.catalogue.Values(of)
		if codes == nil {
			fail(w, http.StatusNotFound, "没有这个维度。", "There is no such dimension.")
			return
		}
		for _, c := range codes {
			out = append(out, code{c, d.label(of, c)})
		}
	}
	reply(w, out)
}

func trim(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
