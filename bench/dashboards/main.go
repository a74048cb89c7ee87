// Command dashboards measures the panels: it fills a ClickHouse of its own with
// five years of invented history of 32 units, by INSERT ... SELECT and not
// through Kafka, and asks every indicator for the nation, by unit, as a trend of
// twelve months, and as the records stood a year ago.
//
//	go run ./bench/dashboards --rows 2000000 --runs 5
//
// A figure is the time that a panel waits for the datasource; own is what of it
// the plugin takes beside the statement. The first five columns are asked of the
// tables anew each time, "published" of an edition that the run publishes first,
// and "again" is all of them a second time while nothing has arrived. Then every
// shipped dashboard is opened, all its panels at once, and at the end many viewers
// open pages at once, each with panels of its own choice.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/backend/log"
	"golang.org/x/sync/errgroup"

	"github.com/duiwu/duiwu/charts/dashboards"
	"github.com/duiwu/duiwu/charts/indicators"
	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/edition"
	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/fetch"
	"github.com/duiwu/duiwu/internal/peer"
	"github.com/duiwu/duiwu/internal/usage"
	"github.com/duiwu/duiwu/sink"
)

func main() {
	engine.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

const (
	today = "2016-12-09"
	known = "2015-12-09"
	// published is the end of the month that the run publishes.
	published = "2016-10-31"
)

// panels are the forms in which an indicator is asked for.
var panels = []struct{ name, rest string }{
	{"nation", ""},
	{"by unit", `,"groupBy":["province"],"compare":["rank","national_mean"]`},
	{"trend", `,"groupBy":["month"]`},
	{"as known", `,"asOf":"` + known + `","knownOn":"` + known + `"`},
	{"known trend", `,"groupBy":["month"],"asOf":"` + known + `","knownOn":"` + known + `"`},
	{"published", `,"groupBy":["province"],"asOf":"` + published + `","edition":"latest"`},
	{"again", ""},
}

// current is how many of the panels are of the tables as they stand.
const current = 3

func run(ctx context.Context) error {
	rows := flag.Int("rows", 2_000_000, "rows of history")
	runs := flag.Int("runs", 5, "how often each panel is asked for")
	viewers := flag.Int("viewers", 50, "how many look at once")
	only := flag.String("only", "", "one indicator, such as I-16")
	keep := flag.String("dir", "", "keep the data here, and use what is there")
	coming := flag.Bool("coming", false, "leave the states of the last year in the parts they came in, as while units send; else ten minutes have passed since")
	flag.Parse()
	// The SDK logs every query at level debug; a benchmark would measure that too.
	log.DefaultLogger = log.NewNullLogger()
	contract, err := feed.Load(feeds.FS)
	if err != nil {
		return err
	}
	dir := *keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "dashboards"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	lib, err := fetch.LibCHDB(ctx)
	if err != nil {
		return err
	}
	e, err := engine.Start(ctx, engine.Options{Lib: lib, Dir: filepath.Join(dir, "server")})
	if err != nil {
		return err
	}
	defer func() { _ = e.Stop(context.WithoutCancel(ctx)) }()
	if err := fill(ctx, e.DSN(), contract, *rows, *coming); err != nil {
		return err
	}
	var ids []string
	for _, in := range asked(e.DSN()) {
		if *only == "" || *only == in {
			ids = append(ids, in)
		}
	}
	if err := publish(ctx, e.DSN(), contract); err != nil {
		return err
	}
	answered, err := measure(ctx, e.DSN(), ids, *runs)
	if err != nil {
		return err
	}
	if err := pages(ctx, e); err != nil {
		return err
	}
	return crowd(ctx, e.DSN(), answered, *viewers)
}

// pages opens every shipped dashboard as Grafana does, all panels at once: when nobody
// has asked for anything yet, once more, and when somebody has looked at the first
// one a while ago.
func pages(ctx context.Context, server *engine.Engine) error {
	config := plugin.Config{URL: server.DSN(), Today: today, Scope: scope.Everything(), LookAhead: true}
	ahead, err := plugin.Open(config)
	if err != nil {
		return err
	}
	defer ahead.Dispose()
	begun := time.Now()
	before, err := usage.CPU(server.PID())
	if err != nil {
		return err
	}
	if _, err := opened(ctx, ahead, dashboards.Pages()[0].ID); err != nil {
		return err
	}
	if err := quiet(ctx, server); err != nil {
		return err
	}
	after, err := usage.CPU(server.PID())
	if err != nil {
		return err
	}
	fmt.Printf("all shipped dashboards ready %s after the datasource began and the first was opened, for %s of the server's CPU\n", time.Since(begun).Round(time.Second), (after - before).Round(time.Second))
	out := tabwriter.NewWriter(os.Stdout, 2, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "milliseconds\tpanels\topened first: p50\tp95\tlongest\tagain: p95\tlongest\tready: p95\tlongest\t")
	var all [3][]time.Duration
	row := func(id string, times [3][]time.Duration) {
		fmt.Fprintf(out, "%s\t%d\t%.0f\t%.0f\t%.0f\t%.1f\t%.1f\t%.1f\t%.1f\t\n", id, len(times[0]), ms(quantile(times[0], 0.5)), ms(quantile(times[0], 0.95)), ms(quantile(times[0], 1)),
			ms(quantile(times[1], 0.95)), ms(quantile(times[1], 1)), ms(quantile(times[2], 0.95)), ms(quantile(times[2], 1)))
	}
	config.LookAhead = false
	for _, p := range dashboards.Pages() {
		var times [3][]time.Duration
		if times[2], err = opened(ctx, ahead, p.ID); err != nil {
			return err
		}
		own, err := plugin.Open(config)
		if err != nil {
			return err
		}
		for i := range 2 {
			if times[i], err = opened(ctx, own, p.ID); err != nil {
				return err
			}
		}
		own.Dispose()
		for i := range times {
			all[i] = append(all[i], times[i]...)
		}
		row(p.ID, times)
	}
	row("all", all)
	return out.Flush()
}

// opened is how long each panel of a dashboard waits.
func opened(ctx context.Context, ds *plugin.Datasource, page string) ([]time.Duration, error) {
	asked, err := dashboards.Opened(page, "zh", time.Now())
	if err != nil {
		return nil, err
	}
	times := make([]time.Duration, len(asked))
	g, ctx := errgroup.WithContext(ctx)
	for i := range asked {
		g.Go(func() (err error) {
			if times[i], _, err = ask(ctx, ds, asked[i].DataQuery); err != nil {
				err = fmt.Errorf("cannot open %s, %q: %w", page, asked[i].Panel, err)
			}
			return err
		})
	}
	return times, g.Wait()
}

// quiet waits until the server has hardly worked for a while.
func quiet(ctx context.Context, server *engine.Engine) error {
	const still, share = 10 * time.Second, 0.05
	for {
		before, err := usage.CPU(server.PID())
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(still):
		}
		after, err := usage.CPU(server.PID())
		if err != nil {
			return err
		}
		if (after - before).Seconds() < share*still.Seconds() {
			return nil
		}
	}
}

// publish keeps the figures of one month, unless they are kept.
func publish(ctx context.Context, dsn string, contract *feed.Catalogue) error {
	cat, err := catalogue.Load(indicators.FS, contract)
	if err != nil {
		return err
	}
	db, err := peer.NewDatabase(dsn, "", peer.TLS{})
	if err != nil {
		return err
	}
	p, err := edition.Open(db, cat)
	if err != nil {
		return err
	}
	defer p.Close()
	day, err := time.ParseInLocation(time.DateOnly, today, feed.Shanghai)
	if err != nil {
		return err
	}
	p.Clock = func() time.Time { return day.Add(12 * time.Hour) }
	month, err := time.Parse(time.DateOnly, published)
	if err != nil {
		return err
	}
	all, err := p.List(ctx)
	if err != nil || len(all) > 0 {
		return err
	}
	begun := time.Now()
	d, err := p.Draft(ctx, month, true)
	if err != nil {
		return err
	}
	if err := p.Publish(ctx, d, "bench", ""); err != nil {
		return err
	}
	fmt.Printf("every figure of %s published in %s\n", published[:7], time.Since(begun).Round(time.Second))
	return nil
}

// crowd lets many look at once: each opens ten pages of six panels, one after
// another, as Grafana asks for them: all panels of a page at once.
func crowd(ctx context.Context, dsn string, queries []string, viewers int) error {
	ds, err := plugin.Open(plugin.Config{URL: dsn, Today: today, Scope: scope.Everything()})
	if err != nil {
		return err
	}
	defer ds.Dispose()
	const pages, perPage = 10, 6
	var mu sync.Mutex
	var first, later []time.Duration
	g, ctx := errgroup.WithContext(ctx)
	begun := time.Now()
	for v := range viewers {
		g.Go(func() error {
			dice := rand.New(rand.NewPCG(uint64(v), 7))
			for page := range pages {
				own, ctx := errgroup.WithContext(ctx)
				for range perPage {
					q := queries[dice.IntN(len(queries))]
					own.Go(func() error {
						took, _, err := ask(ctx, ds, query(q))
						mu.Lock()
						defer mu.Unlock()
						if page == 0 {
							first = append(first, took)
						} else {
							later = append(later, took)
						}
						return err
					})
				}
				if err := own.Wait(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	fmt.Printf("%d viewers at once, %d pages of %d panels each, in %s: first page p50 %.0f ms, p95 %.0f ms; the others p50 %.1f ms, p95 %.0f ms\n", viewers, pages, perPage,
		time.Since(begun).Round(time.Millisecond), ms(quantile(first, 0.5)), ms(quantile(first, 0.95)), ms(quantile(later, 0.5)), ms(quantile(later, 0.95)))
	return nil
}

// line is an indicator's times by panel.
type line struct {
	id    string
	times [][]time.Duration
	own   []time.Duration
	fault string
}

func measure(ctx context.Context, dsn string, ids []string, runs int) (answered []string, err error) {
	lines := make([]line, len(ids))
	for i, id := range ids {
		lines[i] = line{id: id, times: make([][]time.Duration, len(panels))}
	}
	for run := range runs + 1 {
		// A datasource of its own for each round: none answers from its memory.
		ds, err := plugin.Open(plugin.Config{URL: dsn, Today: today, Scope: scope.Everything()})
		if err != nil {
			return nil, err
		}
		if _, _, err := ask(ctx, ds, query(`{"indicator":"I-40"}`)); err != nil {
			return nil, err
		}
		for i := range lines {
			for p, panel := range panels[:len(panels)-1] {
				q := fmt.Sprintf(`{"indicator":%q%s}`, lines[i].id, panel.rest)
				took, own, err := ask(ctx, ds, query(q))
				switch {
				case err != nil && ctx.Err() != nil:
					return nil, err
				case err != nil:
					lines[i].fault = err.Error()
				case run > 0: // the first round warms the caches of the server
					lines[i].times[p] = append(lines[i].times[p], took)
					if p < current {
						if run == 1 {
							answered = append(answered, q)
						}
						lines[i].own = append(lines[i].own, own)
					}
				}
			}
		}
		if run > 0 {
			for i := range lines {
				for _, panel := range panels[:current] {
					if took, _, err := ask(ctx, ds, query(fmt.Sprintf(`{"indicator":%q%s}`, lines[i].id, panel.rest))); err == nil {
						lines[i].times[len(panels)-1] = append(lines[i].times[len(panels)-1], took)
					}
				}
			}
		}
		ds.Dispose()
	}
	slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(worst(b), worst(a)) })
	out := tabwriter.NewWriter(os.Stdout, 2, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(out, "milliseconds, p50/p95\t")
	for _, p := range panels {
		fmt.Fprint(out, p.name, "\t")
	}
	fmt.Fprintln(out, "own\t")
	for _, l := range lines {
		fmt.Fprint(out, l.id, "\t")
		for _, t := range append(l.times, l.own) {
			if len(t) == 0 {
				fmt.Fprint(out, "-\t")
				continue
			}
			fmt.Fprintf(out, "%.0f/%.0f\t", ms(quantile(t, 0.5)), ms(quantile(t, 0.95)))
		}
		fmt.Fprintln(out)
	}
	if err := out.Flush(); err != nil {
		return nil, err
	}
	for p, panel := range panels {
		var all []time.Duration
		under, answer := 0, 0
		for _, l := range lines {
			if t := l.times[p]; len(t) > 0 {
				all = append(all, t...)
				answer++
				if quantile(t, 0.95) < bound {
					under++
				}
			}
		}
		if len(all) > 0 {
			fmt.Printf("%s: p50 %.1f ms, p95 %.1f ms; %d of %d indicators have a p95 under %d ms\n", panel.name, ms(quantile(all, 0.5)), ms(quantile(all, 0.95)), under, answer, bound.Milliseconds())
		}
	}
	return answered, nil
}

// bound is what a panel of current or published figures may take.
const bound = 200 * time.Millisecond

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// worst is the slowest 95th percentile of the panels of current figures.
func worst(l line) time.Duration {
	var w time.Duration
	for _, t := range l.times[:current] {
		if len(t) > 0 {
			w = max(w, quantile(t, 0.95))
		}
	}
	return w
}

func quantile(t []time.Duration, q float64) time.Duration {
	s := slices.Sorted(slices.Values(t))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// query is one that Grafana has added nothing to.
func query(text string) backend.DataQuery {
	return backend.DataQuery{RefID: "A", JSON: json.RawMessage(text)}
}

// ask runs one query and returns its time and what of it is the plugin's own.
func ask(ctx context.Context, ds *plugin.Datasource, q backend.DataQuery) (took, own time.Duration, err error) {
	begun := time.Now()
	res, err := ds.QueryData(ctx, &backend.QueryDataRequest{Queries: []backend.DataQuery{q}})
	took = time.Since(begun)
	if err != nil {
		return 0, 0, err
	}
	a := res.Responses[q.RefID]
	if a.Error != nil {
		return 0, 0, a.Error
	}
	if p, ok := a.Frames[0].Meta.Custom.(*plugin.Provenance); ok { // lists have none
		own = took - time.Duration(p.WaitedMS*float64(time.Millisecond))
	}
	return took, own, nil
}

// asked lists what the datasource knows.
func asked(dsn string) []string {
	ds, err := plugin.Open(plugin.Config{URL: dsn, Scope: scope.Everything()})
	if err != nil {
		return nil
	}
	defer ds.Dispose()
	return ds.Indicators()
}

// fill makes the tables and the rows, unless they are there.
func fill(ctx context.Context, dsn string, contract *feed.Catalogue, rows int, coming bool) error {
	begun := time.Now()
	s, err := sink.Open(ctx, sink.Options{DSN: dsn, Catalogue: contract, Worker: "bench"})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	if err := s.Migrate(ctx); err != nil {
		return err
	}
	opts, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		return err
	}
	opts.ReadTimeout = 10 * time.Minute
	conn, err := clickhouse.Open(opts)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	var have, disk uint64
	count := func() error {
		return conn.QueryRow(ctx, "SELECT sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() AND table LIKE '%\\_history'").Scan(&have, &disk)
	}
	if err := count(); err != nil || have > 0 {
		return err
	}
	for _, statement := range statements(contract, rows) {
		if err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("cannot fill: %w\n%.3000s", err, statement)
		}
	}
	if err := settle(ctx, conn, coming); err != nil {
		return err
	}
	if err := count(); err != nil {
		return err
	}
	fmt.Printf("%d rows of history, %d MB, made in %s\n", have, disk>>20, time.Since(begun).Round(time.Second))
	return nil
}

// settle merges the current tables and the years that are over, as the server does
// by itself ten minutes after their last row. While states come, those of the last year
// stay as they came.
func settle(ctx context.Context, conn clickhouse.Conn, coming bool) error {
	last := "9999"
	if coming {
		last = "2016"
	}
	rows, err := conn.Query(ctx, "SELECT DISTINCT table, partition FROM system.parts WHERE active AND database = currentDatabase() AND (partition = 'tuple()' AND table NOT LIKE '%\\_history' OR partition < '"+last+"')")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	var merges []string
	for rows.Next() {
		var table, partition string
		if err := rows.Scan(&table, &partition); err != nil {
			return err
		}
		merges = append(merges, fmt.Sprintf("OPTIMIZE TABLE %s PARTITION %s FINAL", table, partition))
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, m := range merges {
		if err := conn.Exec(ctx, m); err != nil {
			return fmt.Errorf("cannot settle: %w", err)
		}
	}
	return nil
}
