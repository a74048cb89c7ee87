package plugin

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/internal/feed"
)

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v) // the reader has gone; nobody is left to tell
}

func fail(w http.ResponseWriter, status int, zh, en string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"zh": zh, "en": en}) // as above
}

func (d *Datasource) failWith(w http.ResponseWriter, err error) {
	if errors.Is(err, scope.ErrDenied) {
		fail(w, http.StatusForbidden, outside.zh, outside.en)
		return
	}
	f := findFault(err)
	if f.id == "" {
		f = fault{"unknown", "查询失败，详情见日志。", "The query failed; the log has the details."}
	}
	fail(w, http.StatusBadGateway, f.zh, f.en)
}

func (d *Datasource) serveCatalogue(w http.ResponseWriter, _ *http.Request, _ scope.Scope) {
	reply(w, d.catalogue.Indicators)
}

func (d *Datasource) serveDimensions(w http.ResponseWriter, r *http.Request, _ scope.Scope) {
	in := d.catalogue.Indicator(r.URL.Query().Get("indicator"))
	if in == nil {
		fail(w, http.StatusNotFound, "没有这个指标。", "There is no such indicator.")
		return
	}
	reply(w, append([]string{byMonth, byProvince}, in.Dimensions...))
}

// unitView is a unit as a page draws it.
type unitView struct {
	Code    string `json:"code"`
	Zh      string `json:"zh"`
	ShortZh string `json:"shortZh"`
	Abbr    string `json:"abbr"`
	En      string `json:"en"`
	ISO     string `json:"iso"`
	Region  string `json:"region"`
	Type    string `json:"type"`
	Reports bool   `json:"reports"`
	Row     int    `json:"row"`
	Col     int    `json:"col"`
}

// serveValues lists the values of a dimension, for variables and for the grid.
func (d *Datasource) serveValues(w http.ResponseWriter, r *http.Request, sc scope.Scope) {
	name := r.URL.Query().Get("dimension")
	if name == byProvince {
		out := []unitView{}
		for _, u := range d.catalogue.Contract.Units {
			if !u.National() && sc.Sees(u.Code) {
				out = append(out, unitView{u.Code, u.Zh, u.ShortZh, u.Abbr, u.ShortEn(), u.ISO, u.Region, u.Type, u.ReportsOn(feed.Day(d.Today())), u.TileRow, u.TileCol})
			}
		}
		reply(w, out)
		return
	}
	codes := d.catalogue.Values(name)
	if codes == nil {
		fail(w, http.StatusNotFound, "没有这个维度。", "There is no such dimension.")
		return
	}
	type value struct {
		Code string `json:"code"`
		catalogue.Text
	}
	out := []value{}
	for _, c := range codes {
		out = append(out, value{c, d.label(name, c)})
	}
	reply(w, out)
}

// serveStatus says how the database stands as a whole.
func (d *Datasource) serveStatus(w http.ResponseWriter, r *http.Request, sc scope.Scope) {
	a, err := d.arrivals(r.Context(), sc, time.Time{})
	if err != nil {
		d.failWith(w, err)
		return
	}
	a = a.narrow(sc)
	type feedView struct {
		Feed     string `json:"feed"`
		Zh       string `json:"zh"`
		En       string `json:"en"`
		Rows     uint64 `json:"rows"`
		Units    int    `json:"units"`
		Expected string `json:"expected"`
	}
	out := struct {
		Today    string     `json:"today"`
		Rows     uint64     `json:"rows"`
		DataAsOf *time.Time `json:"dataAsOf"`
		Ledger   *Ledger    `json:"ledger"`
		Feeds    []feedView `json:"feeds"`
	}{Today: d.Today().Format(time.DateOnly), Rows: a.rows, Ledger: a.ledger, Feeds: []feedView{}}
	var names []string
	for _, s := range d.catalogue.Contract.Feeds {
		v := feedView{Feed: s.Feed, Zh: s.Zh, En: s.En, Units: len(a.feeds[s.Feed]), Expected: d.expected(s, d.now()).Format("2006-01")}
		for _, x := range a.feeds[s.Feed] {
			v.Rows += x.rows
		}
		out.Feeds = append(out.Feeds, v)
		names = append(names, s.Feed)
	}
	if t, _ := a.asOf(names); !t.IsZero() {
		out.DataAsOf = &t
	}
	reply(w, out)
}
