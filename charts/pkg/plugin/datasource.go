// Package plugin is the backend of the Grafana datasource: it answers queries
// for indicators, says whether the database is fit, and lists what can be asked.
package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/backend/instancemgmt"
	"github.com/grafana/grafana-plugin-sdk-go/backend/resource/httpadapter"

	"github.com/duiwu/duiwu/charts/indicators"
	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/feed"
)

// Config is what an administrator sets.
type Config struct {
	// URL is the server's HTTP address, such as http://clickhouse:8123. User,
	// password and database may stand in it too; the fields below win.
	URL      string `json:"url"`
	Database string `json:"database"`
	User     string `json:"user"`
	// Today replaces the calendar's today (2016-11-11) for demonstrations and
	// tests; empty means the real one. Every relative date follows it.
	Today string `json:"today"`
	// SuppressBelow hides counts of persons from 1 to one below it; 5 when 0,
	// negative to hide nothing.
	SuppressBelow int `json:"suppressBelow"`
	// StaleSeconds is how long figures may be shown after newer data has come, while
	// those of it are computed; 120 when 0, 300 at most, negative for not at all.
	StaleSeconds int `json:"staleSeconds"`
	// LookAhead finds what the shipped dashboards ask for before they are opened, if
	// anybody may see the nation. In Grafana it is on unless said otherwise.
	LookAhead bool `json:"lookAhead"`
	// TLSSkipVerify trusts whatever certificate the server shows.
	TLSSkipVerify bool `json:"tlsSkipVerify"`
	// Scope says who may see which units. Without it nobody sees anything.
	Scope *scope.Policy `json:"scope"`
	// Audit takes a line for every query; nil means nowhere.
	Audit func(Asked) `json:"-"`
	// Password and CACert (in PEM form) come from the secure settings and are never
	// sent back.
	Password string `json:"-"`
	CACert   string `json:"-"`
}

// maxConcurrent bounds the statements that one request runs at a time.
const maxConcurrent = 4

// limits bound one frame.
type limits struct{ rows, bytes int }

// Datasource is one configured instance. It may serve any number of requests at
// once.
type Datasource struct {
	backend.CallResourceHandler
	catalogue *catalogue.Catalogue
	config    Config
	db        *scope.DB
	clock     func() time.Time
	today     time.Time // zero: ask the clock

	state    state
	answers  *answers[map[place]part]
	listed   *answers[[][]any]
	hashed   *answers[[]uint64]
	readings *readings
	cases    caseState
	pulses   pulses
	beat     time.Duration
	limits   limits

	mu    sync.Mutex // guards known
	known map[time.Time]*arrivals
}

// New is the instance factory of Grafana.
func New(_ context.Context, s backend.DataSourceInstanceSettings) (instancemgmt.Instance, error) {
	c := Config{LookAhead: true}
	if len(s.JSONData) > 0 {
		if err := json.Unmarshal(s.JSONData, &c); err != nil {
			return nil, backend.DownstreamError(fmt.Errorf("cannot read the settings: %w", err))
		}
	}
	if s.URL != "" {
		c.URL = s.URL
	}
	if c.User == "" {
		c.User = s.User
	}
	c.Password = s.DecryptedSecureJSONData["password"]
	c.CACert = s.DecryptedSecureJSONData["tlsCACert"]
	c.Audit = logAsked
	d, err := Open(c)
	if err != nil {
		return nil, backend.DownstreamError(err)
	}
	return d, nil
}

// Open makes a datasource. It does not wait for a connection: a server that is down is
// a finding of CheckHealth, not a failure to start.
func Open(c Config) (*Datasource, error) {
	contract, err := feed.Load(feeds.FS)
	if err != nil {
		return nil, fmt.Errorf("cannot load the feed contract: %w", err)
	}
	cat, err := catalogue.Load(indicators.FS, contract)
	if err != nil {
		return nil, fmt.Errorf("cannot load the indicators: %w", err)
	}
	opts, err := options(c)
	if err != nil {
		return nil, err
	}
	d := &Datasource{catalogue: cat, config: c, clock: time.Now, beat: beat,
		answers: newAnswers[map[place]part](), listed: newAnswers[[][]any](), hashed: newAnswers[[]uint64](), readings: newReadings(), limits: limits{rows: 20_000, bytes: 4 << 20}, known: map[time.Time]*arrivals{}}
	if c.SuppressBelow == 0 {
		d.config.SuppressBelow = 5
	}
	if c.Today != "" {
		if d.today, err = time.Parse(time.DateOnly, c.Today); err != nil {
			return nil, fmt.Errorf("cannot use today %q: write it as 2016-11-11", c.Today)
		}
	}
	if err := d.checkScope(); err != nil {
		return nil, err
	}
	var tables []string
	for _, s := range contract.Feeds {
		tables = append(tables, s.CurrentTable(), s.HistoryTable())
	}
	if d.db, err = scope.Open(opts, tables); err != nil {
		return nil, fmt.Errorf("cannot use the server's address: %w", err)
	}
	mux := http.NewServeMux()
	for path, serve := range map[string]func(http.ResponseWriter, *http.Request, scope.Scope){
		"catalogue": d.serveCatalogue, "dimensions": d.serveDimensions, "values": d.serveValues, "editor": d.serveEditor, "options": d.serveOptions,
		"definition": d.serveDefinition, "status": d.serveStatus,
	} {
		mux.Handle("GET /"+path, d.gate(path, serve))
	}
	d.CallResourceHandler = httpadapter.New(mux)
	if d.config.LookAhead = c.LookAhead && c.Scope.ShowsNation(); d.config.LookAhead {
		d.readings.run(d)
	}
	return d, nil
}

func options(c Config) (*clickhouse.Options, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("cannot use the server's address: write it as http://host:8123")
	}
	switch u.Scheme {
	case "http", "https", "clickhouse", "tcp":
	default:
		return nil, fmt.Errorf("cannot use the server's address: scheme %q is not http or https", u.Scheme)
	}
	o, err := clickhouse.ParseDSN(encrypted(u))
	if err != nil {
		// The parser's message may repeat the password.
		return nil, fmt.Errorf("cannot use the server's address: it is not a ClickHouse address")
	}
	if c.Database != "" {
		o.Auth.Database = c.Database
	}
	if c.User != "" {
		o.Auth.Username = c.User
	}
	if c.Password != "" {
		o.Auth.Password = c.Password
	}
	if err := c.secure(o); err != nil {
		return nil, err
	}
	o.DialTimeout = 5 * time.Second
	o.MaxOpenConns, o.MaxIdleConns = 2*maxConcurrent, maxConcurrent
	return o, nil
}

// Dispose closes the connections; Grafana calls it when settings change.
func (d *Datasource) Dispose() {
	d.readings.stop()
	_ = d.db.Close()
}

// Indicators lists the ids of the catalogue, sorted.
func (d *Datasource) Indicators() []string {
	out := make([]string, len(d.catalogue.Indicators))
	for i, in := range d.catalogue.Indicators {
		out[i] = in.ID
	}
	return out
}

// Today is the day on which every relative date rests.
func (d *Datasource) Today() time.Time {
	if !d.today.IsZero() {
		return d.today
	}
	y, m, day := d.clock().In(feed.Shanghai).Date()
	return time.Date(y, m, day, 0, 0, 0, 0, time.UTC)
}

// now is the moment against which freshness is measured: the clock, or the end
// of a today that was set.
func (d *Datasource) now() time.Time {
	if d.today.IsZero() {
		return d.clock()
	}
	y, m, day := d.today.Date()
	return time.Date(y, m, day+1, 0, 0, 0, 0, feed.Shanghai)
}

// units lists the units that report on a day.
func (d *Datasource) units(on time.Time) []*feed.UnitInfo {
	var out []*feed.UnitInfo
	for i := range d.catalogue.Contract.Units {
		if u := &d.catalogue.Contract.Units[i]; u.ReportsOn(feed.Day(on)) {
			out = append(out, u)
		}
	}
	return out
}

// seen lists the units of a scope that report today.
func (d *Datasource) seen(s scope.Scope) []*feed.UnitInfo {
	return slices.DeleteFunc(d.units(d.Today()), func(u *feed.UnitInfo) bool { return !s.Sees(u.Code) })
}

// label is the name of a code of a dimension.
func (d *Datasource) label(dimension, code string) catalogue.Text {
	if t, ok := d.catalogue.Label(dimension, code); ok {
		return t
	}
	return catalogue.Text{Zh: code, En: code}
}

func pick(lang string, t catalogue.Text) string {
	if strings.HasPrefix(lang, "en") {
		return t.En
	}
	return t.Zh
}
