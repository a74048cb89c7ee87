// Command dashboards measures the panels: it fills a ClickHouse of its own with
// five years of invented history of 32 units, by INSERT ... SELECT and not
// through Kafka, and asks every indicator for the nation, by unit, as a trend of
// twelve months, and as the records stood a year ago.
//
//	go run ./bench/dashboards --rows 2000000 --runs 5
//
// A figure is the time that a panel waits for the datasource; own is what of it
// the plugin takes beside the statement.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/backend/log"

	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/fetch"
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
)

// panels are the forms in which an indicator is asked for.
var panels = []struct{ name, rest string }{
	{"nation", ""},
	{"by unit", `,"groupBy":["province"],"compare":["rank","national_mean"]`},
	{"trend", `,"groupBy":["month"]`},
	{"as known", `,"asOf":"` + known + `","knownOn":"` + known + `"`},
}

func run(ctx context.Context) error {
	rows := flag.Int("rows", 2_000_000, "rows of history")
	runs := flag.Int("runs", 5, "how often each panel is asked for")
	only := flag.String("only", "", "one indicator, such as I-16")
	keep := flag.String("dir", "", "keep the data here, and use what is there")
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
	if err := fill(ctx, e.DSN(), contract, *rows); err != nil {
		return err
	}
	var ids []string
	for _, in := range indicators(e.DSN()) {
		if *only == "" || *only == in {
			ids = append(ids, in)
		}
	}
	return measure(ctx, e.DSN(), ids, *runs)
}

// line is an indicator's times by panel.
type line struct {
	id    string
	times [][]time.Duration
	own   []time.Duration
	fault string
}

func measure(ctx context.Context, dsn string, ids []string, runs int) error {
	lines := make([]line, len(ids))
	for i, id := range ids {
		lines[i] = line{id: id, times: make([][]time.Duration, len(panels))}
	}
	for run := range runs + 1 {
		// A datasource of its own for each round: none answers from its memory.
		ds, err := plugin.Open(plugin.Config{URL: dsn, Today: today, Scope: scope.Everything()})
		if err != nil {
			return err
		}
		if _, _, err := ask(ctx, ds, `{"indicator":"I-40"}`); err != nil {
			return err
		}
		for i := range lines {
			for p, panel := range panels {
				took, own, err := ask(ctx, ds, fmt.Sprintf(`{"indicator":%q%s}`, lines[i].id, panel.rest))
				switch {
				case err != nil && ctx.Err() != nil:
					return err
				case err != nil:
					lines[i].fault = err.Error()
				case run > 0: // the first round warms the caches of the server
					lines[i].times[p] = append(lines[i].times[p], took)
					if p < 3 {
						lines[i].own = append(lines[i].own, own)
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
	return out.Flush()
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// worst is the slowest 95th percentile of the panels of current figures.
func worst(l line) time.Duration {
	var w time.Duration
	for _, t := range l.times[:3] {
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

// ask runs one query and returns its time and what of it is the plugin's own.
func ask(ctx context.Context, ds *plugin.Datasource, query string) (took, own time.Duration, err error) {
	begun := time.Now()
	res, err := ds.QueryData(ctx, &backend.QueryDataRequest{Queries: []backend.DataQuery{{RefID: "A", JSON: json.RawMessage(query)}}})
	took = time.Since(begun)
	if err != nil {
		return 0, 0, err
	}
	a := res.Responses["A"]
	if a.Error != nil {
		return 0, 0, a.Error
	}
	p := a.Frames[0].Meta.Custom.(*plugin.Provenance)
	return took, took - time.Duration(p.WaitedMS*float64(time.Millisecond)), nil
}

// indicators lists what the datasource knows.
func indicators(dsn string) []string {
	ds, err := plugin.Open(plugin.Config{URL: dsn, Scope: scope.Everything()})
	if err != nil {
		return nil
	}
	defer ds.Dispose()
	return ds.Indicators()
}

// fill makes the tables and the rows, unless they are there.
func fill(ctx context.Context, dsn string, contract *feed.Catalogue, rows int) error {
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
	if err := settle(ctx, conn); err != nil {
		return err
	}
	if err := count(); err != nil {
		return err
	}
	fmt.Printf("%d rows of history, %d MB, made in %s\n", have, disk>>20, time.Since(begun).Round(time.Second))
	return nil
}

// settle merges the years that are over, as the server does by itself within an
// hour of their last row.
func settle(ctx context.Context, conn clickhouse.Conn) error {
	rows, err := conn.Query(ctx, "SELECT DISTINCT table, partition FROM system.parts WHERE active AND database = currentDatabase() AND partition < '2016' AND partition != 'tuple()'")
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
