// Command demo runs the whole path on one machine: it makes a year of feeds,
// pushes them to a broker, lets the production worker carry them into a real
// ClickHouse, compares the tables with what was planted, and serves the
// dashboards.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/duiwu/duiwu/internal/broker"
	"github.com/duiwu/duiwu/internal/engine"
)

// options are the demo's flags.
type options struct {
	once, json        bool
	records           int
	seed              uint64
	dir               string
	kafka, clickhouse string
	listen            string
	partitions        int
	pace              int
	others            bool
	duiwu             string
	verbose           bool

	workerArgs []string // further flags of the worker, for tests
}

func main() {
	engine.Main()
	broker.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	do := run
	if len(os.Args) > 1 && os.Args[1] == "servers" {
		do = func(ctx context.Context, args []string, _, stderr io.Writer) error {
			return servers(ctx, args[1:], stderr)
		}
	}
	switch err := do(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case err == nil, errors.Is(err, flag.ErrHelp), ctx.Err() != nil && errors.Is(err, context.Canceled):
	case errors.Is(err, errMismatch):
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// errMismatch says that the tables differ from the manifest; how was printed.
var errMismatch = errors.New("the tables differ from what was planted")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.BoolVar(&o.once, "once", false, "run the job to its end, print a summary, and stop")
	fs.BoolVar(&o.json, "json", false, "with --once: print the summary as one JSON object")
	fs.IntVar(&o.records, "records", 300_000, "about how many records to make")
	fs.Uint64Var(&o.seed, "seed", 1, "another seed is another world")
	fs.StringVar(&o.dir, "dir", ".demo", "folder that keeps the data between runs")
	fs.StringVar(&o.kafka, "kafka", "", "HOST:PORT of a Kafka of your own; the embedded broker when empty")
	fs.StringVar(&o.clickhouse, "clickhouse", "", "http://user:password@host:8123/database of a ClickHouse of your own; the embedded one when empty")
	fs.StringVar(&o.listen, "listen", "127.0.0.1:8033", "address of the dashboards")
	fs.IntVar(&o.partitions, "partitions", 1, "partitions of each unit's topic, when the topics are made")
	fs.IntVar(&o.pace, "pace", 0, "messages to push a second; as fast as it goes when 0")
	fs.BoolVar(&o.others, "others", false, "tables and workers are somebody else's: push, wait for those workers, compare (needs --kafka and --clickhouse)")
	fs.StringVar(&o.duiwu, "duiwu", "", "the production binary; built beside the demo when empty")
	fs.BoolVar(&o.verbose, "verbose", false, "print the worker's log")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("no argument %q is known; see -h", fs.Arg(0))
	}
	if o.records < 1000 {
		return fmt.Errorf("--records %d is too few for a year of 32 units: give at least 1000", o.records)
	}
	if o.clickhouse == "" && o.others {
		o.clickhouse = os.Getenv("DUIWU_CLICKHOUSE") // a password is better not an argument
	}
	if o.others && (o.kafka == "" || o.clickhouse == "") {
		return errors.New("--others needs --kafka, and --clickhouse or DUIWU_CLICKHOUSE")
	}
	level := slog.LevelWarn
	if o.verbose {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))

	s, err := start(ctx, &o, log, stderr)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := s.push(ctx); err != nil {
		return err
	}
	// The worker begins when the year is in the topics: what is measured is the
	// worker and the database, not the making of the world beside them.
	begun := time.Now()
	if !o.others {
		if err := s.work(); err != nil {
			return err
		}
	}
	if err := s.wait(ctx); err != nil {
		return err
	}
	sum, err := s.summarize(ctx, time.Since(begun))
	if err != nil {
		return err
	}
	if !o.once {
		sum.print(stderr)
		return s.serve(ctx, stdout, s.publish)
	}
	if o.json {
		enc := json.NewEncoder(stdout)
		if err := enc.Encode(sum); err != nil {
			return err
		}
	} else {
		sum.print(stdout)
	}
	if !sum.ManifestOK {
		return errMismatch
	}
	return nil
}
