package plugin

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/dashboards"
	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/internal/testenv"
	"github.com/duiwu/duiwu/sink"
)

// forget lets what has come be seen at once.
func (s *state) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = time.Time{}
}

// looks asks for the workers of the nation and says how many, of which data, and
// whether newer data is said to have come.
type looks struct {
	t *testing.T
	d *Datasource
}

func (l looks) ask(s scope.Scope, query string, alert bool) (n float64, dataAsOf time.Time, stale bool) {
	l.t.Helper()
	l.d.state.forget()
	_, frames, err := l.d.ask(l.t.Context(), s, backend.DataQuery{RefID: "A", JSON: json.RawMessage(query)}, alert)
	require.NoError(l.t, err)
	f := frames[0]
	v, _ := f.FieldByName("value")
	require.NotNil(l.t, v)
	for _, notice := range f.Meta.Notices {
		stale = stale || strings.Contains(notice.Text, "newer data")
	}
	p := f.Meta.Custom.(*Provenance)
	require.NotNil(l.t, p.DataAsOf)
	return *v.At(0).(*float64), *p.DataAsOf, stale
}

func (l looks) nation(query string) (n float64, dataAsOf time.Time, stale bool) {
	return l.ask(scope.Process("test"), query, false)
}

const workers = `{"indicator":"I-01","lang":"en"}`

// joins stores one more worker, reported at noon of a day of November.
func joins(t *testing.T, db *chartstest.DB, i int) {
	db.Insert(t, "employment", chartstest.Row{"record_id": fmt.Sprint("w", i), "reporting_unit": "310000", "id_number_token": chartstest.Person(i), "start_on": "2016-01-01", "end_on": nil, "worker_category": "01",
		"effective_from": "2016-01-01", "reported_at": fmt.Sprintf("2016-11-%02d 12:00:00.000", i)})
}

// still keeps the goroutine that finds anew from its work, so that a test sees what
// is shown before it has done it.
func still(d *Datasource) {
	d.readings.mu.Lock()
	defer d.readings.mu.Unlock()
	d.readings.running = true
}

func TestALastResultIsShownWhileNewerDataIsComputed(t *testing.T) {
	db := chartstest.New(t, "charts_warm")
	for i := 1; i <= 10; i++ {
		joins(t, db, i)
	}
	d := open(t, Config{URL: db.DSN(), Today: today, SuppressBelow: -1, StaleSeconds: 120})
	still(d)
	l := looks{t, d}
	n, of, stale := l.nation(workers)
	require.Equal(t, 10.0, n)
	require.Equal(t, 10, of.Day())
	require.False(t, stale)
	joins(t, db, 11)
	n, of, stale = l.nation(workers)
	require.Equal(t, 10.0, n)
	require.Equal(t, 10, of.Day(), "it says of which data it is")
	require.True(t, stale, "and that there is newer")

	// Not for rules, not for who asks for the newest, not for who may see another
	// part of the nation, and not for another question.
	n, of, stale = l.ask(scope.Process("test"), workers, true)
	require.Equal(t, 11.0, n)
	require.Equal(t, 11, of.Day())
	require.False(t, stale)
	joins(t, db, 12)
	n, _, stale = l.nation(`{"indicator":"I-01","lang":"en","fresh":true}`)
	require.Equal(t, 12.0, n)
	require.False(t, stale)
	joins(t, db, 13)
	policy := scope.Policy{Users: map[string]scope.Reach{"shanghai": scope.Units("310000")}}
	n, _, stale = l.ask(policy.Of(scope.Asker{Login: "shanghai"}), `{"indicator":"I-01","lang":"en","groupBy":["province"],"filter":{"units":["310000"]}}`, false)
	require.Equal(t, 13.0, n)
	require.False(t, stale)
	n, _, stale = l.nation(`{"indicator":"I-01","lang":"en","asOf":"2016-11-10"}`)
	require.Equal(t, 13.0, n)
	require.False(t, stale)
	n, _, stale = l.nation(workers)
	require.Equal(t, 12.0, n)
	require.True(t, stale)

	// Nor of what was known: nobody computes that anew before it is asked for.
	known := `{"indicator":"I-01","lang":"en","knownOn":"2016-11-11"}`
	for i := range 2 {
		_, frames, err := d.ask(t.Context(), scope.Process("test"), backend.DataQuery{RefID: "A", JSON: json.RawMessage(known)}, false)
		require.NoError(t, err)
		require.False(t, frames[0].Meta.Custom.(*Provenance).Stale)
		joins(t, db, 14+i)
		d.state.forget()
	}

	// Not for longer than it may be.
	for _, r := range d.readings.kept {
		r.newest = time.Now().Add(-2 * time.Minute)
	}
	n, _, stale = l.nation(workers)
	require.Equal(t, 15.0, n)
	require.False(t, stale)
}

// What came to a table that a figure does not rest on does not make it older.
func TestOtherDataMakesNoFigureOld(t *testing.T) {
	db := chartstest.New(t, "charts_warm_other")
	joins(t, db, 10)
	d := open(t, Config{URL: db.DSN(), Today: today, SuppressBelow: -1, StaleSeconds: 120})
	still(d)
	l := looks{t, d}
	l.nation(workers)
	db.Insert(t, "station", chartstest.Row{"record_id": "a", "reporting_unit": "310000"})
	n, _, stale := l.nation(workers)
	require.Equal(t, 1.0, n)
	require.False(t, stale)
}

// A steward's decision counts at once.
func TestADecisionIsNotWaitedFor(t *testing.T) {
	db := chartstest.New(t, "charts_warm_decided")
	for i := 1; i <= 10; i++ {
		joins(t, db, i)
	}
	for _, ddl := range sink.SystemDDL(db.Contract, sink.Layout{}) {
		if strings.Contains(ddl, "worklist_decisions") {
			db.Exec(t, ddl)
		}
	}
	d := open(t, Config{URL: db.DSN(), Today: today, SuppressBelow: -1, StaleSeconds: 120})
	still(d)
	l := looks{t, d}
	n, _, _ := l.nation(workers)
	require.Equal(t, 10.0, n)
	token := func(i int) string { return fmt.Sprintf("%x", chartstest.Person(i)) }
	db.Exec(t, fmt.Sprintf("INSERT INTO worklist_decisions (case_id, decision, token_a, token_b, decided_at) VALUES ('c', 'same_person', '%s', '%s', now())", token(1), token(2)))
	n, _, stale := l.nation(workers)
	require.Equal(t, 9.0, n)
	require.False(t, stale)
}

// What somebody looked at is found anew though nobody asks.
func TestWhatWasLookedAtIsKeptUpToDate(t *testing.T) {
	db := chartstest.New(t, "charts_warm_kept")
	for i := 1; i <= 10; i++ {
		joins(t, db, i)
	}
	d := open(t, Config{URL: db.DSN(), Today: today, SuppressBelow: -1, StaleSeconds: 120})
	l := looks{t, d}
	l.nation(workers)
	joins(t, db, 11)
	require.Eventually(t, func() bool {
		d.readings.mu.Lock()
		defer d.readings.mu.Unlock()
		for _, r := range d.readings.kept {
			for _, x := range r.parts {
				return x.N == 11
			}
		}
		return false
	}, time.Minute, 50*time.Millisecond)
	n, of, stale := l.nation(workers)
	require.Equal(t, 11.0, n)
	require.Equal(t, 11, of.Day())
	require.False(t, stale)
	require.LessOrEqual(t, len(d.readings.kept), 1, "nobody asked for more")
}

func TestHowOldAFigureMayBe(t *testing.T) {
	f := func(seconds int, want time.Duration) {
		t.Helper()
		require.Equal(t, want, (&Config{StaleSeconds: seconds}).stale())
	}
	f(0, 2*time.Minute)
	f(30, 30*time.Second)
	f(3600, mostStale)
	f(-1, 0)
}

// Where nobody may see the nation, its figures are not found ahead.
func TestNothingIsReadyThatNobodyMaySee(t *testing.T) {
	d := open(t, Config{URL: "http://127.0.0.1:1", Today: today, LookAhead: true, Scope: &scope.Policy{Alerts: scope.Nation(), Default: scope.Units("310000")}})
	d.readings.mu.Lock()
	defer d.readings.mu.Unlock()
	require.False(t, d.readings.running)
}

// Where somebody may see the nation, the dashboards are ready before he opens one.
func TestTheDashboardsAreReady(t *testing.T) {
	if !testenv.Full() {
		t.Skip("waits for the answers to a hundred questions, twice; DUIWU_TEST=full runs it")
	}
	db := chartstest.New(t, "charts_warm_ahead")
	for i := 1; i <= 10; i++ {
		joins(t, db, i)
	}
	d := open(t, Config{URL: db.DSN(), Today: today, StaleSeconds: 120, LookAhead: true})
	kept := func() int {
		d.readings.mu.Lock()
		defer d.readings.mu.Unlock()
		return len(d.readings.kept)
	}
	require.Eventually(t, func() bool { return kept() > 0 }, time.Minute, 50*time.Millisecond, "nobody has looked yet")
	d.readings.attend() // so that it takes less long
	shipped := map[string]bool{}
	for _, o := range d.shipped() {
		if o.list == nil && !o.p.in.Now() {
			shipped[o.p.key(scope.Process("test"))] = true
		}
	}
	require.Greater(t, len(shipped), 90)
	require.Less(t, len(shipped), mostRead*3/4, "there is room for what people choose")
	ready := func() (of int) {
		now := d.state.current(t.Context(), d)
		d.readings.mu.Lock()
		defer d.readings.mu.Unlock()
		for key := range shipped {
			if r := d.readings.kept[key]; r != nil && r.arrivals.state == now {
				of++
			}
		}
		return of
	}
	all := func() bool { return ready() == len(shipped) }
	require.Eventually(t, all, 2*time.Minute, 50*time.Millisecond)
	joins(t, db, 11)
	require.Eventually(t, func() bool { return !all() }, 10*time.Second, 50*time.Millisecond, "what has come is seen")
	require.Eventually(t, all, 2*time.Minute, 50*time.Millisecond)

	// Opened in the other language, they ask for nothing else.
	opened := func(d *Datasource, check func(q dashboards.Asked, before int)) {
		for _, page := range dashboards.Pages() {
			asked, err := dashboards.Opened(page.ID, "en", d.clock())
			require.NoError(t, err)
			for _, q := range asked {
				before := kept()
				_, _, err := d.ask(t.Context(), scope.Process("test"), q.DataQuery, false)
				require.NoError(t, err)
				check(q, before)
			}
		}
	}
	lists := func(d *Datasource) int {
		d.listed.mu.Lock()
		defer d.listed.mu.Unlock()
		return len(d.listed.kept)
	}
	other := open(t, Config{URL: db.DSN(), Today: today})
	opened(other, func(dashboards.Asked, int) {})
	require.Greater(t, lists(other), 5)
	require.Eventually(t, func() bool { return lists(d) == lists(other) }, time.Minute, 50*time.Millisecond)
	d.readings.stop()
	opened(d, func(q dashboards.Asked, before int) {
		if !strings.Contains(string(q.JSON), `"county"`) { // of one unit at a time
			require.Equal(t, before, kept(), q.Panel)
		}
	})
	require.Equal(t, lists(other), lists(d))
}
