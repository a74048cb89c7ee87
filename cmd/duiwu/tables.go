package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/sink"
)

// database is what every command that talks to ClickHouse needs.
type database struct {
	clickhouseConfig
	feeds, logLevel string
	// keys names the chain of token keys of a command that writes tokens.
	keys string
	// cluster and durable are what the tables have to become; see sink.Options.
	cluster, durable string
	// timeout bounds one request; 0 is the sink's default.
	timeout time.Duration
}

func (d *database) flags(fs *flag.FlagSet) {
	d.clickhouseConfig.flags(fs)
	fs.StringVar(&d.feeds, "feeds", "", "folder of feed files; empty means those inside the binary")
	fs.StringVar(&d.logLevel, "log-level", "warn", "debug, info, warn or error")
}

// open connects; who names the operator or process in what is written.
func (d *database) open(ctx context.Context, env *environment, who string) (*sink.Sink, error) {
	if !d.said() {
		return nil, errNoDatabase
	}
	log, err := env.logger(d.logLevel)
	if err != nil {
		return nil, err
	}
	cat, err := catalogue(d.feeds)
	if err != nil {
		return nil, err
	}
	return sink.Open(ctx, sink.Options{DSN: d.dsn, File: d.file, TLS: d.tls, Catalogue: cat, Worker: who, Revision: revision, Log: log, Keys: d.keys, Timeout: d.timeout,
		Cluster: d.cluster, Durable: d.durable})
}

// runMigrate creates or widens the tables.
func runMigrate(ctx context.Context, env *environment, args []string) error {
	var d database
	fs := env.flags("migrate", "[flags]")
	d.flags(fs)
	fs.StringVar(&d.cluster, "cluster", "", "make the tables on all servers of this cluster (its name in system.clusters), spread by unit; they stay there")
	fs.StringVar(&d.durable, "durable", "", "yes: what is written is on the disk before it is acknowledged, and survives a power loss; no: it is not; empty: as the tables are")
	fs.DurationVar(&d.timeout, "database-timeout", 0, "how long one statement may take, which bounds how long a network that answers nothing holds the migration up (default 5m)")
	if _, err := env.parse(fs, args, 0, 0); err != nil {
		return err
	}
	s, err := d.open(ctx, env, hostname())
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Migrate(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.stdout, "the tables are as the feed files say")
	return err
}

// runBalance prints the balance of every unit and feed.
func runBalance(ctx context.Context, env *environment, args []string) error {
	var d database
	fs := env.flags("balance", "[flags]")
	d.flags(fs)
	if _, err := env.parse(fs, args, 0, 0); err != nil {
		return err
	}
	s, err := d.open(ctx, env, hostname())
	if err != nil {
		return err
	}
	defer s.Close()
	rows, err := s.Balance(ctx)
	if err != nil {
		return err
	}
	twice, err := s.CountedTwice(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := []string{"unit", "feed", "received"}
	for o := range flow.Outcomes {
		head = append(head, o.String())
	}
	fmt.Fprintln(w, strings.Join(append(head, "unexplained", ""), "\t"))
	holds := true
	for _, r := range rows {
		line := []string{r.Unit, r.Feed, strconv.FormatInt(r.Received, 10)}
		for _, n := range r.By {
			line = append(line, strconv.FormatInt(n, 10))
		}
		holds = holds && r.Unexplained() == 0
		fmt.Fprintln(w, strings.Join(append(line, strconv.FormatInt(r.Unexplained(), 10), ""), "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, unit := range slices.Sorted(maps.Keys(twice)) {
		fmt.Fprintf(env.stdout, "\n%s: %d of the duplicates came in two partitions before either knew of the other; the receipts of both say stored.\n", unit, twice[unit])
	}
	if !holds {
		return errFindings
	}
	return nil
}

// runLedger lets an operator vouch for what a worker may not decide.
func runLedger(ctx context.Context, env *environment, args []string) error {
	var d database
	fs := env.flags("ledger", "[flags] skip TOPIC PARTITION LAST-OFFSET | new-topic TOPIC")
	d.flags(fs)
	by := fs.String("by", "", "your name, kept in the ledger")
	reason := fs.String("reason", "", "why, kept in the ledger")
	rest, err := env.parse(fs, args, 2, 4)
	if err != nil {
		return err
	}
	if *by == "" || *reason == "" {
		return errors.New("give --by NAME and --reason TEXT: this decision is kept in the ledger")
	}
	s, err := d.open(ctx, env, *by)
	if err != nil {
		return err
	}
	defer s.Close()
	switch {
	case rest[0] == "new-topic" && len(rest) == 2:
		n, err := s.NewIncarnation(ctx, rest[1])
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(env.stdout, "%s is read from its beginning, as incarnation %d\n", rest[1], n)
		return err
	case rest[0] == "skip" && len(rest) == 4:
		partition, err := strconv.ParseInt(rest[2], 10, 32)
		if err != nil {
			return fmt.Errorf("partition %q is no number", rest[2])
		}
		last, err := strconv.ParseInt(rest[3], 10, 64)
		if err != nil {
			return fmt.Errorf("offset %q is no number", rest[3])
		}
		span, err := s.Skip(ctx, rest[1], int32(partition), last, *by, *reason)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(env.stdout, "offsets %d to %d of %s/%d are accounted for as skipped\n", span.First, span.Last, span.Topic, span.Partition)
		return err
	}
	fs.Usage()
	return errUsage
}
