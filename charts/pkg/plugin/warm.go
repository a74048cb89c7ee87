package plugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/duiwu/duiwu/charts/dashboards"
	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/figures"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/internal/worklist"
)

// When a unit sends, every figure that rests on it has to be found anew. Who looks
// at that moment need not wait: he gets the figures of a moment ago, which say of
// which data they are and that newer ones are being found, and the next who looks
// gets those. What was looked at lately is found anew though nobody asks, and so is
// what the shipped dashboards will ask for when he opens them.

const (
	// mostStale bounds how long figures may be shown after newer data has come.
	mostStale = 5 * time.Minute
	// lately is how long ago somebody has looked at what is kept up to date.
	lately = 10 * time.Minute
	// mostRead bounds the memory, and what one arrival makes the server do.
	mostRead = 256
	// look is how often the tables are looked at for what was looked at lately.
	look = 5 * time.Second
	// attended is for how long after a look somebody is thought to be there. Then half
	// of the time may go into finding anew, else a fifth: who idles rests that much longer.
	attended = time.Hour
	idling   = 4
	// early is when what is found ahead is found again though nothing has come: before it
	// is too old to be shown.
	early = longest / 2
)

// reading is what a question found, and in which state of the tables. It is shared:
// nobody may change what it holds.
type reading struct {
	arrivals      *arrivals
	question      *figures.Question
	sql           string
	parts, totals map[place]part
	// at is when, by the clock of the datasource.
	at time.Time

	// s and p ask the question again.
	s scope.Scope
	p *plan
	// feeds is the state of the tables of its feeds, decided that of what says who is
	// one person: figures of an older decision are not shown.
	feeds, decided string
	// found is when it was found, newest when it was last known to be of the newest
	// state, looked when somebody last asked for it, zero for never.
	found, newest, looked time.Time
}

// readings keeps what was found. One goroutine finds anew, a question after another;
// it begins with the first look and ends when nobody has looked lately. With LookAhead
// it begins and ends with the datasource: who comes first in the morning finds it ready.
type readings struct {
	mu      sync.Mutex // guards what is below, and the last two fields of every reading
	kept    map[string]*reading
	running bool
	// seen is when somebody looked last; asking is how many wait for the database.
	seen   time.Time
	asking int
	wake   chan struct{}
	stop   context.CancelFunc
	ctx    context.Context

	// What the shipped dashboards ask for on a day, and which of it comes next. Only
	// the goroutine reads these.
	shipped []*opening
	day     time.Time
	turn    int
}

func newReadings() *readings {
	w := &readings{kept: map[string]*reading{}, wake: make(chan struct{}, 1)}
	w.ctx, w.stop = context.WithCancel(context.Background())
	return w
}

// key is the question of a plan and who asks. The catalogue is that of the process.
func (p *plan) key(s scope.Scope) string {
	return fmt.Sprintf("%s\n%s %q %q %q %v %v %v %v %v", s, p.in.ID, p.split, p.within(), p.Filter.Codes, p.asOf, p.known, p.prev, p.yr, p.shown)
}

// within is the unit whose counties are asked about.
func (p *plan) within() string {
	if p.split == catalogue.County {
		return p.Filter.Units[0]
	}
	return ""
}

// tablesOf are the tables that the figures of an indicator rest on.
func (d *Datasource) tablesOf(in *catalogue.Indicator) []string {
	var out []string
	for _, name := range in.Feeds() {
		out = append(out, d.catalogue.Contract.Feed(name).CurrentTable())
	}
	return out
}

// reading answers a plan: from what is kept while the tables stand, and, where that
// is not out of bounds, though newer data has come; then stale is true.
func (d *Datasource) reading(ctx context.Context, s scope.Scope, p *plan) (r *reading, stale bool, err error) {
	if p.in.Now() || d.config.stale() == 0 {
		r, err = d.read(ctx, s, p)
		return r, false, err
	}
	if !p.Fresh {
		d.readings.attend()
	}
	key, now := p.key(s), d.state.current(ctx, d)
	if kept := d.readings.find(key); kept != nil && now != "" {
		feeds, decided := d.state.current(ctx, d, d.tablesOf(p.in)...), d.state.current(ctx, d, worklist.FactTables()...)
		d.readings.mu.Lock()
		same := kept.stands(now)
		shown := same || !p.Fresh && p.known.IsZero() && kept.decided == decided && time.Since(kept.newest) < d.config.stale()
		d.readings.mu.Unlock()
		if shown {
			if !same {
				d.readings.run(d)
			}
			return kept, kept.feeds != feeds, nil
		}
	}
	d.readings.wait(1)
	r, err = d.read(ctx, s, p)
	d.readings.wait(-1)
	if err == nil {
		d.readings.keep(key, r, true)
		d.readings.run(d)
	}
	return r, false, err
}

// read finds the parts of a plan.
func (d *Datasource) read(ctx context.Context, s scope.Scope, p *plan) (*reading, error) {
	feeds, decided := d.state.current(ctx, d, d.tablesOf(p.in)...), d.state.current(ctx, d, worklist.FactTables()...)
	a, err := d.arrivals(ctx, s, p.known)
	if err != nil {
		return nil, err
	}
	days := slices.Clone(p.shown)
	for _, t := range []time.Time{p.prev, p.yr} {
		if !t.IsZero() && !slices.ContainsFunc(days, t.Equal) {
			days = append(days, t)
		}
	}
	slices.SortFunc(days, time.Time.Compare)
	q := &figures.Question{Catalogue: d.catalogue, Indicator: p.in, Split: p.split, Only: p.Filter.Codes, Units: d.units(p.asOf), Days: days, AsOf: p.asOf, Base: p.yr,
		Now: d.now(), Known: p.known, SuppressBelow: d.config.SuppressBelow, Begun: a.begun, People: a.people, Hashes: d.hashes(ctx, s)}
	if p.split == catalogue.County {
		q.Within, q.Only = p.within(), d.codes(p)
	}
	sql, parts, err := d.parts(ctx, s, q)
	totals := parts
	if w := q.Totals(parts); w != nil && err == nil {
		_, totals, err = d.parts(ctx, s, w)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot compute %s: %w", p.in.ID, err)
	}
	q.Hashes = nil // it holds on to the request
	now := time.Now()
	return &reading{arrivals: a, question: q, sql: sql, parts: parts, totals: totals, at: d.clock(), s: s, p: p, feeds: feeds, decided: decided, found: now, newest: now, looked: now}, nil
}

func (w *readings) find(key string) *reading {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.kept[key]
	if r != nil {
		r.looked = time.Now()
	}
	return r
}

// keep remembers a reading; one that nobody asked for is looked at as long ago as the
// one before it. What was not looked at for the longest time makes room.
func (w *readings) keep(key string, r *reading, asked bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !asked {
		r.looked = time.Time{}
		if before := w.kept[key]; before != nil {
			r.looked = before.looked
		}
	}
	// What has not been found again for so long is not shown any more.
	maps.DeleteFunc(w.kept, func(_ string, x *reading) bool { return time.Since(x.newest) >= longest })
	w.kept[key] = r
	for len(w.kept) > mostRead {
		oldest := ""
		for k, x := range w.kept {
			if oldest == "" || x.looked.Before(w.kept[oldest].looked) {
				oldest = k
			}
		}
		delete(w.kept, oldest)
	}
}

func (w *readings) drop(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.kept, key)
}

// due finds the question that somebody looked at last, of those that are not of the
// state now (none about what was known, which what comes later hardly ever changes).
// There may be nothing to do for the moment; more says whether there may be later.
func (w *readings) due(d *Datasource, now string) (work func(context.Context) error, more bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now == "" {
		return nil, false // nobody can tell what is old
	}
	var r *reading
	for _, x := range w.kept {
		if time.Since(x.looked) >= lately || !x.p.known.IsZero() {
			continue
		}
		more = true
		if !x.stands(now) && (r == nil || x.looked.After(r.looked)) {
			r = x
		}
	}
	if r == nil {
		return nil, more
	}
	return w.anew(d, r.s, r.p), true
}

// anew finds one question again.
func (w *readings) anew(d *Datasource, s scope.Scope, p *plan) func(context.Context) error {
	return func(ctx context.Context) error {
		r, err := d.read(ctx, s, p)
		if err != nil {
			w.drop(p.key(s)) // who asks for it is told why
			return err
		}
		w.keep(p.key(s), r, false)
		return nil
	}
}

// stands says that a reading is of the state now, and not so old that it has to be
// found again all the same.
func (r *reading) stands(now string) bool {
	if r.arrivals.state != now || time.Since(r.found) >= longest {
		return false
	}
	r.newest = time.Now()
	return true
}

// attend notes that somebody looks.
func (w *readings) attend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = time.Now()
}

// wait counts who waits for the database.
func (w *readings) wait(more int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asking += more
}

// opening is one of the things that the shipped dashboards ask for when they are
// opened: a plan, or a list.
type opening struct {
	p    *plan
	list *Model
	// state is that of the tables when it was found, at found, if it is no reading that is
	// kept: of a list, and of a figure that is known for now only, the statements' answers are.
	state string
	found time.Time
}

// find asks for it, so that its statements are answered.
func (o *opening) find(ctx context.Context, d *Datasource, s scope.Scope) (err error) {
	if o.list != nil {
		_, err = d.list(ctx, s, o.list)
	} else {
		_, err = d.read(ctx, s, o.p)
	}
	return err
}

// ahead finds the next of them that nobody has asked for yet or that is not of the
// state now, as who sees the nation asks it. Nothing while somebody waits for an answer,
// while nobody can tell what is old, and where there is no more room.
func (w *readings) ahead(d *Datasource, now string) func(context.Context) error {
	if today := d.Today(); !today.Equal(w.day) {
		w.day, w.shipped = today, d.shipped()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if now == "" || w.asking > 0 {
		return nil
	}
	for range w.shipped {
		w.turn = (w.turn + 1) % len(w.shipped)
		o := w.shipped[w.turn]
		if o.list != nil || o.p.in.Now() {
			if o.state == now && time.Since(o.found) < early {
				continue
			}
			o.state, o.found = now, time.Now()
			return func(ctx context.Context) error { return o.find(ctx, d, nation) }
		}
		kept := w.kept[o.p.key(nation)]
		if kept == nil && len(w.kept) < mostRead || kept != nil && !(kept.stands(now) && time.Since(kept.found) < early) {
			return w.anew(d, nation, o.p)
		}
	}
	return nil
}

// nation is who asks ahead: what is found is kept for all who see as much.
var nation = scope.Process("look ahead")

// shipped lists what the shipped dashboards ask for when they are opened. What is not
// kept when it has been found is not among it.
func (d *Datasource) shipped() (out []*opening) {
	for _, page := range dashboards.Pages() {
		asked, err := dashboards.Opened(page.ID, dashboards.Languages[0], d.clock())
		if err != nil {
			panic("BUG: a shipped dashboard: " + err.Error())
		}
		for _, q := range asked {
			if p, err := d.plan(q.DataQuery); err == nil {
				if !p.asksEdition() && p.known.IsZero() && p.split != catalogue.County {
					out = append(out, &opening{p: p})
				}
				continue
			}
			if m, err := d.other(q.DataQuery); err == nil {
				if l := listOf(m.List); l != nil && l.sql != "" && !ofThisMoment(l.sql) {
					out = append(out, &opening{list: m})
				}
			}
		}
	}
	return out
}

// run begins finding anew what was looked at lately, or wakes who does.
func (w *readings) run(d *Datasource) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx.Err() != nil {
		return
	}
	if w.running {
		select {
		case w.wake <- struct{}{}:
		default:
		}
		return
	}
	w.running = true
	go func() {
		for w.next(d) {
		}
	}()
}

// next finds one question anew, or waits; false when there is no more to do. One
// thread of the server, and a part of the time, are left to it.
func (w *readings) next(d *Datasource) bool {
	now := d.state.current(w.ctx, d)
	work, more := w.due(d, now)
	if d.config.LookAhead {
		if more = true; work == nil {
			work = w.ahead(d, now)
		}
	}
	w.mu.Lock()
	if !more || w.ctx.Err() != nil {
		w.running = false
		w.mu.Unlock()
		return false
	}
	idle := time.Since(w.seen) >= attended
	w.mu.Unlock()
	pause := look
	if work != nil {
		begun := time.Now()
		if err := work(scope.Slowly(w.ctx)); err == nil {
			pause = time.Since(begun)
		}
	}
	if idle {
		pause *= idling
	}
	select {
	case <-w.ctx.Done():
	case <-w.wake:
	case <-time.After(pause):
	}
	return true
}

// stale is how long figures may be shown after newer data has come.
func (c *Config) stale() time.Duration {
	switch s := time.Duration(c.StaleSeconds) * time.Second; {
	case s == 0:
		return 2 * time.Minute
	case s < 0:
		return 0
	default:
		return min(s, mostStale)
	}
}
