package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/backend/log"
	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/internal/feed"
)

// What is told live is the sending itself, which has no figure of a person in
// it: how many records are stored a minute, and how long ago the newest was.
//
// The cost is bounded: Grafana runs a channel once, however many look at it, and
// all channels of a datasource share one statement a beat (pulse).
const (
	liveRate = "rate"
	liveAge  = "age"

	// nobody and everybody beside the unit codes.
	liveNation = "nation"
	liveUnits  = "units"

	// beat is how often a channel tells something.
	beat = 10 * time.Second
	// liveHistory is what a panel shows before the first beat.
	liveHistory = time.Hour
)

// channel is one path of Grafana Live: rate/nation, age/units, rate/310000.
type channel struct{ what, who string }

func (c channel) path() string { return c.what + "/" + c.who }

// channelOf reads a path; nothing but what is known is a channel.
func (d *Datasource) channelOf(path string) (channel, bool) {
	what, who, _ := strings.Cut(path, "/")
	c := channel{what, who}
	if what != liveRate && what != liveAge {
		return c, false
	}
	if who == liveNation || who == liveUnits {
		return c, true
	}
	return c, slices.ContainsFunc(d.units(d.Today()), func(u *feed.UnitInfo) bool { return u.Code == who })
}

// mayWatch says whether all that a channel tells may be seen in a scope: its
// points go to everybody on it alike.
func mayWatch(s scope.Scope, c channel) bool {
	return s.Nation() || c.who != liveNation && c.who != liveUnits && s.Sees(c.who)
}

// SubscribeStream lets in whoever may watch a channel that exists.
func (d *Datasource) SubscribeStream(_ context.Context, req *backend.SubscribeStreamRequest) (*backend.SubscribeStreamResponse, error) {
	c, ok := d.channelOf(req.Path)
	switch {
	case !ok:
		return &backend.SubscribeStreamResponse{Status: backend.SubscribeStreamStatusNotFound}, nil
	case !mayWatch(d.admit(req.PluginContext, nil), c):
		return &backend.SubscribeStreamResponse{Status: backend.SubscribeStreamStatusPermissionDenied}, nil
	}
	return &backend.SubscribeStreamResponse{Status: backend.SubscribeStreamStatusOK}, nil
}

// PublishStream refuses: only the backend tells anything.
func (d *Datasource) PublishStream(context.Context, *backend.PublishStreamRequest) (*backend.PublishStreamResponse, error) {
	return &backend.PublishStreamResponse{Status: backend.PublishStreamStatusPermissionDenied}, nil
}

// RunStream tells a channel's newest point at every beat until ctx ends. A
// database that does not answer costs points, not the channel. Grafana runs a
// channel for whoever SubscribeStream let in, without saying who that was.
func (d *Datasource) RunStream(ctx context.Context, req *backend.RunStreamRequest, sender *backend.StreamSender) error {
	c, ok := d.channelOf(req.Path)
	if !ok {
		return fmt.Errorf("cannot run channel %q: there is none of that name", req.Path)
	}
	tick := time.NewTicker(d.beat)
	defer tick.Stop()
	for {
		p, err := d.pulses.get(ctx, d)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			log.DefaultLogger.Warn("cannot read what arrived", "channel", req.Path, "error", err)
		case p.known:
			if err := sender.SendFrame(d.liveFrame(c, d.senders(scope.Process("live"), &Model{}), p, 1, ""), data.IncludeAll); err != nil {
				return fmt.Errorf("cannot send on channel %q: %w", req.Path, err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// pulse is what the ledger says of the last hour. It reads the table, not the
// view that drops what a takeover wrote again: for a rate of now that is near
// enough, and the view would sort the whole ledger at every beat.
type pulse struct {
	at     time.Time
	known  bool                         // there is a ledger
	newest map[string]time.Time         // by unit
	rows   map[string]map[int64]float64 // by unit and beat since 1970
}

const pulseSQL = `SELECT splitByChar('.', toString(topic))[-1] AS unit, toInt64(intDiv(toUnixTimestamp(arrived_at), {beat:UInt32})) AS beat, toFloat64(sum(received)) AS n, max(arrived_at) AS newest
FROM ledger
WHERE kind = 'cut' AND arrived_at >= {since:DateTime64(3, 'UTC')}
GROUP BY unit, beat
UNION ALL
SELECT splitByChar('.', toString(topic))[-1] AS unit, toInt64(0), toFloat64(0), max(arrived_at)
FROM ledger
WHERE kind = 'cut'
GROUP BY unit`

func (d *Datasource) readPulse(ctx context.Context) (*pulse, error) {
	p := &pulse{at: d.now(), newest: map[string]time.Time{}, rows: map[string]map[int64]float64{}}
	since := p.at.Add(-liveHistory - time.Minute)
	rows, err := d.db.Whole(ctx, scope.Process("live"), pulseSQL, map[string]string{"beat": fmt.Sprint(int(beat.Seconds())), "since": since.UTC().Format("2006-01-02 15:04:05.000")})
	if err == nil {
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var unit string
			var at int64
			var n float64
			var newest time.Time
			if err := rows.Scan(&unit, &at, &n, &newest); err != nil {
				return nil, fmt.Errorf("cannot read the ledger: %w", err)
			}
			if newest.After(p.newest[unit]) {
				p.newest[unit] = newest
			}
			if at > 0 {
				if p.rows[unit] == nil {
					p.rows[unit] = map[int64]float64{}
				}
				p.rows[unit][at] += n
			}
		}
		err = rows.Err()
	}
	if codeOf(err) == codeUnknownTable {
		return p, nil // the tables were filled by hand
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the ledger: %w", err)
	}
	p.known = true
	return p, nil
}

// pulses shares one reading of the ledger among all who ask within a beat.
type pulses struct {
	mu   sync.Mutex // held while the database is asked, so that one caller asks
	last *pulse
	err  error // of the last statement, which is not tried again before the next beat
	at   time.Time
	asks int // statements so far
}

func (s *pulses) get(ctx context.Context, d *Datasource) (*pulse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.at.IsZero() && time.Since(s.at) < d.beat {
		return s.last, s.err
	}
	s.asks++
	// Whoever came first may leave; the answer is for the others too.
	s.last, s.err = d.readPulse(context.WithoutCancel(ctx))
	s.at = time.Now()
	return s.last, s.err
}

// rate is how many records of a unit were stored in the minute up to t.
func (p *pulse) rate(unit string, t time.Time) float64 {
	sum, end := 0.0, t.Unix()/int64(beat.Seconds())
	for i := range int64(time.Minute / beat) {
		sum += p.rows[unit][end-1-i] // the beat under way is not over
	}
	return sum
}

// senders are the provinces' units of a query; the office's own feeds are no news.
func (d *Datasource) senders(s scope.Scope, m *Model) []string {
	return slices.DeleteFunc(d.unitsOf(s, m), func(u string) bool { return u == scope.Office })
}

// liveFrame is a time field and a field for each of a channel's lines about
// these units, of the last so many points: an hour's minutes for a panel, one for
// a beat.
func (d *Datasource) liveFrame(c channel, units []string, p *pulse, points int, lang string) *data.Frame {
	lines := [][]string{units}
	if c.who == liveUnits {
		lines = nil
		for _, u := range units {
			lines = append(lines, []string{u})
		}
	} else if c.who != liveNation {
		lines = [][]string{{c.who}}
	}
	if c.what == liveAge {
		points = 1 // the past of an age tells nothing
	}
	when := make([]time.Time, points)
	for i := range when {
		when[i] = p.at.Add(-time.Duration(points-1-i) * time.Minute)
	}
	f := data.NewFrame(c.path(), data.NewField("time", nil, when))
	for _, line := range lines {
		labels, name := data.Labels{}, pick(lang, catalogue.Text{Zh: "全国", En: "nation"})
		if c.who != liveNation {
			name = d.unitName(line[0], lang)
			labels = data.Labels{"unit": line[0], "unit_name": name}
		}
		values := make([]*float64, points)
		for i, t := range when {
			var v float64
			if c.what == liveAge {
				var newest time.Time
				for _, u := range line {
					if p.newest[u].After(newest) {
						newest = p.newest[u]
					}
				}
				if newest.IsZero() {
					continue // never is not zero seconds ago
				}
				v = max(0, p.at.Sub(newest).Seconds())
			} else {
				for _, u := range line {
					v += p.rate(u, t)
				}
			}
			values[i] = &v
		}
		x := data.NewField(c.what, labels, values)
		x.Config = &data.FieldConfig{DisplayNameFromDS: name, Unit: map[string]string{liveAge: age, liveRate: suffix(lang, catalogue.Text{Zh: "条/分", En: "records/min"})}[c.what]}
		f.Fields = append(f.Fields, x)
	}
	f.Meta = &data.FrameMeta{Type: data.FrameTypeTimeSeriesWide, TypeVersion: data.FrameTypeVersion{0, 1}}
	return f
}

// live answers a query of a live list: what there is now, with the channel on
// which a Grafana panel hears the rest.
// Who may not see the nation gets a line for each unit of his instead of the sum.
func (d *Datasource) live(ctx context.Context, s scope.Scope, l *List, m *Model) (data.Frames, error) {
	c, units := channel{l.live.what, l.live.who}, d.senders(s, m)
	switch {
	case len(units) == 1:
		c.who = units[0]
	case !s.Nation():
		c.who = liveUnits
	}
	p, err := d.pulses.get(ctx, d)
	if err != nil {
		return nil, err
	}
	f := d.liveFrame(c, units, p, int(liveHistory/time.Minute), m.Lang)
	f.Meta.ExecutedQueryString = pulseSQL
	if !p.known {
		f.AppendNotices(data.Notice{Severity: data.NoticeSeverityWarning, Text: pick(m.Lang, noTables)})
	}
	if settings := backend.PluginConfigFromContext(ctx).DataSourceInstanceSettings; settings != nil && len(m.Filter.Units) < 2 && mayWatch(s, c) {
		f.Meta.Channel = "ds/" + settings.UID + "/" + c.path()
	}
	return data.Frames{f}, nil
}
