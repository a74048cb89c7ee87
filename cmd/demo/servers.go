package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/broker"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/fetch"
)

// servers runs the demo's database and broker for others, with every unit's
// topics: what the chart's evaluation profile (helm/duiwu/ci/all-in-one-values.yaml)
// brings beside the workers. It is no place to keep anything.
func servers(ctx context.Context, args []string, stderr io.Writer) error {
	fs := flag.NewFlagSet("demo servers", flag.ContinueOnError)
	fs.SetOutput(stderr)
	dir := fs.String("dir", ".servers", "folder that keeps the data")
	kafka := fs.String("kafka", "localhost:9092", "HOST:PORT under which clients reach the broker; it listens on that port")
	memory := fs.Int64("memory", 2<<30, "bytes that the database may take")
	if err := fs.Parse(args); err != nil {
		return err
	}
	_, text, err := net.SplitHostPort(*kafka)
	if err != nil {
		return fmt.Errorf("cannot read --kafka: %w", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return errors.New("cannot read --kafka: its port is no number")
	}
	// The same variable that the workers read, so that one secret serves both.
	dsn, err := url.Parse(os.Getenv("DUIWU_CLICKHOUSE"))
	if err != nil || dsn.User.Username() != engine.Admin || dsn.Port() == "" || dsn.Path != "/"+engine.Database {
		return fmt.Errorf("DUIWU_CLICKHOUSE has to be http://%s:PASSWORD@HOST:PORT/%s", engine.Admin, engine.Database)
	}
	password, _ := dsn.User.Password()
	httpPort, err := strconv.Atoi(dsn.Port())
	if err != nil {
		return errors.New("cannot read DUIWU_CLICKHOUSE: its port is no number")
	}
	lib, err := fetch.LibCHDB(ctx)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Hour)
	defer cancel()
	db, err := engine.Start(ctx, engine.Options{
		Lib: lib, Dir: filepath.Join(*dir, "clickhouse"), Listen: everywhere(), HTTPPort: httpPort, MaxMemory: *memory,
		Passwords: map[string]string{engine.Admin: password}, Log: stderr,
	})
	if err != nil {
		return fmt.Errorf("cannot start the database: %w", err)
	}
	defer func() { _ = db.Stop(stopping) }() // its data are for trying out
	go engine.Supervise(ctx, db, log)
	b, err := broker.Start(ctx, broker.Options{Dir: filepath.Join(*dir, "kafka"), Port: port, Advertise: *kafka, Log: stderr})
	if err != nil {
		return fmt.Errorf("cannot start the broker: %w", err)
	}
	defer func() { _ = b.Stop(stopping) }()
	if err := topics(ctx, *kafka); err != nil {
		return err
	}
	log.Info("serving", "kafka", *kafka, "clickhouse", httpPort)
	select {
	case <-ctx.Done():
		return nil
	case <-b.Done():
		return errors.New("the broker ended")
	}
}

// everywhere is every address that clients may come to, of both families where the
// machine has both: a cluster may have IPv6 alone.
func everywhere() string {
	l, err := net.Listen("tcp6", "[::]:0")
	if err != nil {
		return "0.0.0.0"
	}
	_ = l.Close() // it was only to see
	return "::"
}

// topics makes each unit's topic and the one of its receipts, where they are
// missing. The name that clients use may come up a moment after the broker.
func topics(ctx context.Context, addr string) error {
	contract, err := feed.Load(feeds.FS)
	if err != nil {
		return err
	}
	var own, receipts []string
	for _, u := range contract.Units {
		if u.Reports || u.National() {
			own = append(own, ingest.Topic("", u.Code))
			receipts = append(receipts, "duiwu.receipt."+u.Code)
		}
	}
	kafka := ingest.Broker{Brokers: []string{addr}, ClientID: "duiwu-servers"}
	for try := 0; ; try++ {
		err := errors.Join(
			ingest.CreateTopics(ctx, kafka, 1, map[string]string{"max.message.bytes": "8388608", "retention.ms": "-1"}, own...),
			ingest.CreateTopics(ctx, kafka, 1, map[string]string{"cleanup.policy": "compact"}, receipts...))
		if err == nil || try == 60 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}
