package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	oteltrace "go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/receipt"
	"github.com/duiwu/duiwu/ingest/seal"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/trace"
	"github.com/duiwu/duiwu/sink"
	"github.com/duiwu/duiwu/transform"
)

// revision counts changes of this code that read the same bytes differently; it
// is the low end of every version, so a record read anew replaces itself.
const revision = 1

// worker is everything that the assignments of one process share.
type worker struct {
	config  *workerConfig
	cat     *feed.Catalogue
	sink    *sink.Sink
	keys    transform.TokenKeys
	clock   func() time.Time
	check   *transform.Check
	mem     *flow.Recycler // of the columns of all partitions
	metrics *metrics
	tracer  oteltrace.Tracer // nil where no collector is named
	log     *slog.Logger
}

// runWorker reads the units' topics until it is told to stop.
func runWorker(ctx context.Context, env *environment, args []string) error {
	config, err := parseWorker(env, args)
	if err != nil {
		return err
	}
	log, err := env.logger(config.logLevel)
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		// The heap is columns without pointers: a collection costs little, and
		// memory is what a pod runs out of.
		debug.SetGCPercent(40)
	}
	if n := limitMemory(); n > 0 {
		log.Info("memory limit set", "bytes", n)
	}
	w := &worker{config: config, log: log, mem: new(flow.Recycler), metrics: newMetrics()}
	if w.cat, err = catalogue(config.feeds); err != nil {
		return err
	}
	w.metrics.begin(w.cat.Feeds)
	if w.clock, err = config.clock(); err != nil {
		return err
	}
	if w.keys, err = readTokenKeys(config.tokenAlgorithm, config.tokenKeys); err != nil {
		return err
	}
	tokens, err := transform.NewTokenizer(w.keys)
	if err != nil {
		return err
	}
	hashKey, err := readHashKey(config.hashKey)
	if err != nil {
		return err
	}
	w.check = transform.NewCheck(transform.CheckOptions{
		Catalogue: w.cat, HashKey: hashKey, AllowTestAreas: config.testAreas, Clock: w.clock, Mem: w.mem,
	})
	if _, err := readSealKeys(config.sealKeys); err != nil {
		return err
	}
	var stop func()
	if w.tracer, stop, err = trace.Start(ctx, "duiwu-worker", config.name, log); err != nil {
		return err
	}
	defer stop()
	traces := 0
	if w.tracer != nil {
		traces = trace.Links
	}
	broker, err := config.broker.open(log.Warn)
	if err != nil {
		return err
	}
	w.sink, err = sink.Open(ctx, sink.Options{
		DSN: config.clickhouse.dsn, File: config.clickhouse.file, TLS: config.clickhouse.tls, Catalogue: w.cat, Worker: config.name, Revision: revision, Log: log,
		Timeout: config.databaseTimeout, Keys: tokens.Name(),
	})
	if err != nil {
		return err
	}
	defer w.sink.Close()
	group, err := ingest.NewGroup(
		ingest.Config{
			Broker: broker, Group: config.group, Prefix: config.prefix, Units: reporting(w.cat),
			Session: config.session, Rebalance: config.rebalance, Watch: config.watch,
		},
		ingest.Options{
			Catalogue: w.cat, Log: log, Clock: w.clock, Mem: w.mem,
			Limits:    ingest.Limits{Rows: config.cutRows, Bytes: config.cutBytes, Linger: config.linger},
			Gate:      ingest.NewGate(config.slots),
			Traces:    traces,
			ReadSeals: func() (*seal.Ring, error) { return readSealKeys(config.sealKeys) },
		}, w.assigned)
	if err != nil {
		return err
	}
	w.metrics.watch(group)
	every := config.watch
	if every <= 0 {
		every = 10 * time.Second
	}
	health := &health{group: group, sink: w.sink, stuck: 15 * time.Minute, log: log}
	w.metrics.registry.MustRegister(health)
	g, ctx := errgroup.WithContext(ctx)
	if config.listen != "" {
		server, err := w.listen(ctx, health)
		if err != nil {
			return err
		}
		g.Go(server)
	}
	g.Go(func() error { return group.Run(ctx) })
	g.Go(func() error { health.watch(ctx, every); return nil })
	if config.receipts != "none" {
		g.Go(func() error {
			err := receipt.Run(ctx, receipt.Config{
				Broker: broker, Prefix: config.receipts, Group: config.group + ".receipts", Units: reporting(w.cat), Source: w.sink, Log: log,
			})
			if err != nil {
				// Records are not held up for want of receipts.
				log.Error("receipts are not published until this worker is started again", "error", err)
			}
			return nil
		})
	}
	return g.Wait()
}

// assigned is the path of one partition, from its claim to the end of its
// assignment.
func (w *worker) assigned(ctx context.Context, a *ingest.Assignment) error {
	held, err := w.sink.Assign(ctx, a.Topic, a.Partition)
	if err != nil {
		return err
	}
	held.Partitions = a.Partitions
	source, err := a.Open(ctx, ingest.Resume{
		Known: held.Next > 0, Last: held.Next - 1, LastSum: held.LastSum, Incarnation: held.Incarnation,
	})
	if err != nil {
		return err
	}
	defer source.Close()
	erased, err := w.sink.ErasedNames(ctx, a.Unit)
	if err != nil {
		return err
	}
	pseudonymize, err := transform.NewPseudonymize(w.keys, w.cat, w.mem)
	if err != nil {
		return flow.Permanent(err)
	}
	begun := time.Now()
	dedupe := recall(a, held)
	kept := dedupe != nil
	if !kept {
		dedupe = transform.NewDedupe(transform.DedupeOptions{
			Feeds: w.cat.Feeds, History: held, Revision: revision, Next: held.Next, Mem: w.mem,
			Mine: a.Routes,
		})
	}
	a.Kept = memory{dedupe, held, a.Partitions}
	if err := dedupe.Learn(ctx); err != nil {
		return err
	}
	w.log.Info("partition assigned", "topic", a.Topic, "partition", a.Partition, "epoch", held.Epoch,
		"resume", held.Next, "known", dedupe.State().Len(), "kept", kept, "took", time.Since(begun).Round(time.Millisecond))
	w.metrics.assigned(a.Topic, a.Partition, held.Next, dedupe.State())
	defer w.metrics.ended(a.Topic, a.Partition)
	var src flow.Source = source
	var sink flow.Sink = held
	steps := []flow.Step{w.check, transform.NewForget(erased, w.mem), pseudonymize, dedupe}
	if w.tracer != nil {
		var done func()
		src, steps, sink, done = trace.Path(w.tracer, src, steps, sink)
		defer done()
	}
	return flow.Run(ctx, src, steps, sink, flow.Options{
		Log: w.log, Observe: w.metrics, RetryMin: 200 * time.Millisecond, RetryMax: 30 * time.Second,
	})
}

// memory is what an assignment leaves to the next one of its partition.
type memory struct {
	dedupe     *transform.Dedupe
	held       *sink.Assignment
	partitions int
}

// recall is what the last assignment knew, when the partition came back to this
// worker and nobody had it in between: the epochs of two claims follow each
// other. Whoever comes and goes then costs the others a claim, and not that they
// read everything that is stored again.
func recall(a *ingest.Assignment, held *sink.Assignment) *transform.Dedupe {
	m, ok := a.Kept.(memory)
	a.Kept = nil // what is not taken now is garbage, before another is built
	if !ok || held.Epoch != m.held.Epoch+1 || held.Incarnation != m.held.Incarnation || a.Partitions != m.partitions || !m.dedupe.Resume(held, held.Next) {
		return nil
	}
	return m.dedupe
}

// reporting lists the units that push records: those that report, and the
// national office.
func reporting(cat *feed.Catalogue) []string {
	var out []string
	for _, u := range cat.Units {
		if u.Reports || u.National() {
			out = append(out, u.Code)
		}
	}
	return out
}

// listen serves /metrics, /livez and /readyz.
func (w *worker) listen(ctx context.Context, health *health) (func() error, error) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", w.metrics.handler())
	mux.HandleFunc("GET /livez", func(rw http.ResponseWriter, _ *http.Request) {
		if err := health.live(); err != nil {
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(rw, "ok")
	})
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) {
		var why bytes.Buffer
		health.ready(&why)
		if why.Len() == 0 {
			fmt.Fprintln(rw, "ok")
			return
		}
		rw.WriteHeader(http.StatusServiceUnavailable)
		_, _ = why.WriteTo(rw) // who asked may have gone
	})
	l, err := net.Listen("tcp", w.config.listen)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for metrics: %w", err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	w.log.Info("listening", "addr", l.Addr().String())
	return func() error {
		stop := context.AfterFunc(ctx, func() {
			short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			_ = server.Shutdown(short) // the process ends anyway
		})
		defer stop()
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("cannot serve metrics: %w", err)
		}
		return nil
	}, nil
}

// hostname names this worker in claims and in the ledger.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		name = "worker"
	}
	return fmt.Sprintf("%s-%d", name, os.Getpid())
}
