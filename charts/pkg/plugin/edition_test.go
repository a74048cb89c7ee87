package plugin

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/edition"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/internal/peer"
	"github.com/duiwu/duiwu/internal/testenv"
	"github.com/duiwu/duiwu/sink"
)

// published is the small nation with October 2016 published on 11 November: the
// first indicators of the catalogue.
func published(t *testing.T, name string, below, indicators int) (*chartstest.DB, *Datasource, *edition.Press) {
	t.Helper()
	db := chartstest.New(t, name)
	chartstest.Small(t, db)
	db.Publishable(t, sink.SystemDDL(db.Contract, sink.Layout{}))
	d := open(t, Config{URL: db.DSN(), Today: today, SuppressBelow: below})
	some := *d.catalogue
	some.Indicators = some.Indicators[:min(indicators, len(some.Indicators))]
	at, err := peer.NewDatabase(db.DSN(), "", peer.TLS{})
	require.NoError(t, err)
	p, err := edition.Open(at, &some)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	p.SuppressBelow, p.Clock = below, d.now
	publish(t, p, "Wang")
	return db, d, p
}

func publish(t *testing.T, p *edition.Press, who string) {
	t.Helper()
	draft, err := p.Draft(t.Context(), time.Date(2016, 10, 31, 0, 0, 0, 0, time.UTC), true)
	require.NoError(t, err)
	require.NoError(t, p.Publish(t.Context(), draft, who, ""))
}

// TestPublishedFiguresAreTheLiveOnes asks every indicator in every grouping twice:
// of the records, and of what was published of them at this moment.
func TestPublishedFiguresAreTheLiveOnes(t *testing.T) {
	worlds := map[string]int{"charts_edition_hidden": 3}
	if testenv.Full() {
		worlds["charts_edition_whole"] = -1
	}
	for name, below := range worlds {
		_, d, _ := published(t, name, below, math.MaxInt)
		var queries []backend.DataQuery
		add := func(in string, now bool, groups ...string) {
			q := map[string]any{"indicator": in, "groupBy": groups, "asOf": "2016-10-31", "compare": []string{"rank", "national_mean"}}
			for _, which := range []string{edition.Latest, live} {
				q["edition"] = which
				if now && which == live {
					delete(q, "asOf") // it has no past
				}
				raw, err := json.Marshal(q)
				require.NoError(t, err)
				queries = append(queries, backend.DataQuery{RefID: fmt.Sprint(len(queries)), JSON: raw})
			}
		}
		for _, in := range d.catalogue.Indicators {
			groups := []string{}
			add(in.ID, in.Now())
			if in.Grain[0] == byProvince || len(in.Grain) > 1 && in.Grain[1] == byProvince {
				groups = append(groups, byProvince)
				add(in.ID, in.Now(), byProvince)
			}
			for _, dim := range in.Dimensions {
				if below < 0 && testenv.Full() || dim == "worker_category" { // the others say nothing new, and cost
					add(in.ID, in.Now(), append(groups, dim)...)
				}
			}
		}
		res, err := d.QueryData(t.Context(), &backend.QueryDataRequest{Queries: queries})
		require.NoError(t, err)
		for i := 0; i < len(queries); i += 2 {
			was, is := res.Responses[fmt.Sprint(i)], res.Responses[fmt.Sprint(i+1)]
			require.NoError(t, was.Error, string(queries[i].JSON))
			require.NoError(t, is.Error, string(queries[i+1].JSON))
			require.Equal(t, table(is.Frames[0]), table(was.Frames[0]), string(queries[i].JSON))
			p, l := provenance(was.Frames[0]), provenance(is.Frames[0])
			require.Equal(t, l.UnitsIncluded, p.UnitsIncluded, string(queries[i].JSON))
			require.Equal(t, l.Suppressed, p.Suppressed, string(queries[i].JSON))
			require.Equal(t, 1, p.Edition.Number)
			require.Nil(t, l.Edition)
		}
	}
}

func TestAPublishedFigureStaysAndSaysWhatItIs(t *testing.T) {
	db, d, p := published(t, "charts_edition_stays", -1, 1)
	late := chartstest.Row{"record_id": "late", "reporting_unit": "310000", "id_number_token": chartstest.Person(77), "employer_uscc": "52119900MJ0000018T",
		"start_on": "2016-05-01", "end_on": nil, "employment_form": "01", "worker_category": "01", "county_code": "310115", "effective_from": "2016-05-01"}
	db.Insert(t, "employment", late)
	f := func(query string, want ...string) *data.Frame {
		t.Helper()
		a := ask(t, d, query)
		require.Equal(t, strings.Join(want, "\n")+"\n", table(a), query)
		return a
	}
	f(`{"indicator":"I-01","asOf":"2016-10-31"}`, "9 9")
	f(`{"indicator":"I-01","asOf":"2016-10-31","compare":["first_published"]}`, "9 9 8")
	f(`{"indicator":"I-01","groupBy":["province"],"filter":{"units":["310000"]},"asOf":"2016-10-31","compare":["first_published"]}`, "310000 4 4 3")
	f(`{"indicator":"I-01","groupBy":["month"],"from":"2016-09","compare":["first_published"]}`, "2016-09-30 8 8 -", "2016-10-31 9 9 8", "2016-11-11 9 9 -")
	// Today is in a month that runs: the newest published one answers.
	a := f(`{"indicator":"I-01","edition":"latest","lang":"en"}`, "8 8")
	require.Equal(t, "2016-10-31", provenance(a).AsOf)
	require.Contains(t, a.Meta.Notices[0].Text, "latest published: 2016-10 edition 1, by Wang at ")
	require.Contains(t, a.Meta.Notices[0].Text, "provisional: not approved yet")
	f(`{"indicator":"I-01","edition":"latest","compare":["previous_month","target"]}`, "8 8 - 100000")
	months := f(`{"indicator":"I-01","edition":"first","groupBy":["month"],"from":"2016-09","lang":"en"}`, "2016-09-30 - -", "2016-10-31 8 8")
	require.Contains(t, months.Meta.Notices[0].Text, "1 months are not published")
	require.Equal(t, stateUnpublished, provenance(months).States["2016-09-30||"])
	none := f(`{"indicator":"I-01","edition":"approved","lang":"zh"}`, "- -")
	require.Nil(t, provenance(none).Edition)
	require.Equal(t, "所查月份尚未公布", none.Meta.Notices[0].Text)

	month := time.Date(2016, 10, 31, 0, 0, 0, 0, time.UTC)
	_, err := p.Approve(t.Context(), month, "Zhao", "checked")
	require.NoError(t, err)
	a = f(`{"indicator":"I-01","edition":"approved","format":"numeric","lang":"en"}`, "8")
	require.Contains(t, a.Meta.Notices[len(a.Meta.Notices)-1].Text, "approved by Zhao") // beside the day
	_, err = p.Reopen(t.Context(), month, "Zhao", "a late record")
	require.NoError(t, err)
	publish(t, p, "Li")
	a = f(`{"indicator":"I-01","edition":"latest"}`, "9 9")
	require.Equal(t, "Li", provenance(a).Edition.PublishedBy)
	f(`{"indicator":"I-01","edition":"first"}`, "8 8")
	f(`{"indicator":"I-01","edition":"approved"}`, "8 8")

	events := ask(t, d, `{"queryType":"list","list":"publications","lang":"en"}`)
	said := table(events)
	for _, line := range []string{"2016-10 ", "published (provisional)", "approved", "reopened", "Zhao a late record"} {
		require.Contains(t, said, line)
	}
	var page string
	require.NoError(t, d.CallResource(t.Context(), &backend.CallResourceRequest{Method: http.MethodGet, Path: "definition", URL: "definition?indicator=I-01&lang=en"},
		backend.CallResourceResponseSenderFunc(func(r *backend.CallResourceResponse) error { page = string(r.Body); return nil })))
	require.Contains(t, page, "2016-10 edition 2, by Li at ")

	for query, want := range map[string]string{
		`{"indicator":"I-01","edition":"second"}`:                                       `unknown edition "second"; use live, first, latest, approved`,
		`{"indicator":"I-01","edition":"first","knownOn":"2016-11-01"}`:                 "leave knownOn out",
		`{"indicator":"I-01","edition":"first","groupBy":["month"],"from":"2016-11"}`:   "no month of the range is over",
		`{"indicator":"I-01","compare":["first"]}`:                                      "first_published",
		`{"indicator":"I-40","edition":"live","groupBy":["month"],"asOf":"2016-10-31"}`: "known for now only",
	} {
		res, err := d.QueryData(t.Context(), &backend.QueryDataRequest{Queries: []backend.DataQuery{{RefID: "A", JSON: []byte(query)}}})
		require.NoError(t, err)
		require.ErrorContains(t, res.Responses["A"].Error, want, query)
	}

	// A unit sees the nation and itself, and of others only its place among them.
	own := open(t, Config{URL: db.DSN(), Today: today, SuppressBelow: -1, Scope: &scope.Policy{Default: scope.Units("310000"), Public: scope.Units("310000")}})
	require.Equal(t, "310000 4 4 9 1\n", table(ask(t, own, `{"indicator":"I-01","edition":"latest","groupBy":["province"],"compare":["national_mean","rank"]}`)))
	require.Equal(t, "310000 3 3 8 1\n", table(ask(t, own, `{"indicator":"I-01","edition":"first","groupBy":["province"],"compare":["national_mean","rank"]}`)))
	require.Equal(t, []string{"310000"}, provenance(ask(t, own, `{"indicator":"I-01","edition":"latest"}`)).UnitsIncluded)
}
