// Package sink is the last room of the path: it makes what a cut holds durable
// in ClickHouse, records it in the ledger, and tells where a partition resumes
// and which versions are known.
//
// Every row is stored under its key and version, so writing it twice is writing
// it once: nothing here relies on the server's deduplication windows, and the
// only order that matters is that a cut's ledger row comes last.
//
// Everything speaks ClickHouse's HTTP interface under one DSN.
package sink

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"golang.org/x/sync/singleflight"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/peer"
)

// Options say where the database is and who writes.
type Options struct {
	// DSN is http://user:password@host:8123/database, or https; or File holds it,
	// and is read again as peer.NewDatabase says. TLS is for https.
	DSN, File string
	TLS       peer.TLS
	Catalogue *feed.Catalogue
	// Worker names this process in claims and in the ledger; an operator sees it.
	Worker string
	// Revision is the revision of mapping and code, kept in each ledger row.
	Revision uint16
	// Log is told about migrations, claims and gaps; nil is silent.
	Log *slog.Logger
	// Timeout bounds one request; 5 minutes when 0.
	Timeout time.Duration
	// Recheck is how long a comparison of a table with its feed holds; 5 minutes
	// when 0.
	Recheck time.Duration
	// Keys names the chain of keys that makes the tokens of what is written;
	// tables that were re-keyed take rows of one chain only.
	Keys string
	// Settings are added to every insert.
	Settings map[string]string
	// Cluster and Durable are what Migrate has to make of a database: the server's
	// name of a cluster, empty for one server; and yes or no. Where they are empty
	// the tables stay as they are.
	Cluster, Durable string
}

// Sink is a connection to one database. It may be used by any number of
// goroutines; an Assignment belongs to one.
type Sink struct {
	opt  Options
	log  *slog.Logger
	conn driver.Conn

	client   *http.Client
	server   *peer.Database
	database string // its name

	mu      sync.Mutex
	checked map[string]check
	checks  singleflight.Group
	// expected are the assignments that went for their next cut, and when.
	expected map[*Assignment]time.Time

	writes  *group[*pending]
	assigns *group[*Assignment]
	learns  *group[*learning]
}

// Open connects and asks the server for a sign of life; it changes nothing.
// Close the sink when no assignment writes any more.
func Open(ctx context.Context, opt Options) (*Sink, error) {
	db, err := peer.NewDatabase(opt.DSN, opt.File, opt.TLS)
	if err != nil {
		return nil, err
	}
	if opt.Catalogue == nil {
		panic("BUG: a sink needs a catalogue")
	}
	if opt.Timeout <= 0 {
		opt.Timeout = 5 * time.Minute
	}
	if opt.Recheck <= 0 {
		opt.Recheck = 5 * time.Minute
	}
	s := &Sink{opt: opt, log: opt.Log, server: db, database: db.Name, checked: map[string]check{}, expected: map[*Assignment]time.Time{}}
	nobody := func() bool { return false }
	s.writes = newGroup(fullRows, s.write, s.soon)
	s.assigns = newGroup(fullRows, s.assign, nobody)
	s.learns = newGroup(fullRows, s.learn, nobody)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if db.Plain() {
		s.log.Warn("the database is reached without TLS: rows and the password cross the network in clear; write https:// in the DSN", "database", db.Addr)
	}
	s.client = &http.Client{
		Transport: db.Transport(&http.Transport{
			Proxy:           http.ProxyFromEnvironment,
			TLSClientConfig: db.TLS,
			// The kernel alone would go on for two minutes with an address that
			// swallows what is sent to it, as a service does that is coming up.
			DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
			// Below the server's keep_alive_timeout, so that a post never meets
			// a connection that the server is just closing.
			IdleConnTimeout:     5 * time.Second,
			MaxIdleConnsPerHost: 64,
			WriteBufferSize:     256 << 10,
			ReadBufferSize:      64 << 10,
			DisableCompression:  true,
		}),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	s.conn, err = clickhouse.Open(&clickhouse.Options{
		Protocol:      clickhouse.HTTP,
		Addr:          []string{db.Addr},
		Auth:          clickhouse.Auth{Database: db.Name},
		TLS:           db.TLS,
		TransportFunc: func(t *http.Transport) (http.RoundTripper, error) { return db.Transport(t), nil },
		ReadTimeout:   opt.Timeout,
		DialTimeout:   dialTimeout,
		Settings:      connSettings(),
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open database %s at %s: %w", db.Name, db.Addr, serverError(err))
	}
	if err := s.exec(ctx, "SELECT 1", nil); err != nil {
		s.Close()
		return nil, fmt.Errorf("cannot open database %s at %s: %w", db.Name, db.Addr, err)
	}
	return s, nil
}

func connSettings() clickhouse.Settings {
	out := clickhouse.Settings{}
	for k, v := range everywhere {
		out[k] = v
	}
	return out
}

// dialTimeout is enough for any network; a longer wait only hides that there is
// nobody.
const dialTimeout = 10 * time.Second

// Close gives the connections back. It must not run beside another call.
func (s *Sink) Close() error {
	s.client.CloseIdleConnections()
	return s.conn.Close()
}

// Ping asks the server for a sign of life, and how far its clock is from this
// machine's: more than 0 when this machine is ahead.
func (s *Sink) Ping(ctx context.Context) (ahead time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, min(s.opt.Timeout, 5*time.Second))
	defer cancel()
	var server time.Time
	before := time.Now()
	err = s.rows(ctx, "SELECT now64(3)", nil, func(scan func(...any) error) error { return scan(&server) })
	if err != nil {
		return 0, err
	}
	return aheadOf(before, server, time.Now()), nil
}

// aheadOf is how far our clock is from that of a server, whose answer left it at
// some moment between before and after. Moments are compared as clocks show them.
func aheadOf(before, server, after time.Time) time.Duration {
	switch before, after := before.Round(0), after.Round(0); {
	case server.Before(before):
		return before.Sub(server)
	case server.After(after):
		return after.Sub(server)
	}
	return 0
}

// params are query parameters, {name:Type} in the statement. Text has to pass
// through text, which writes it the way the server unescapes it.
type params map[string]string

func text(v string) string {
	return strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\x00", `\0`).Replace(v)
}

// exec runs a statement that returns nothing we read.
func (s *Sink) exec(ctx context.Context, sql string, p params) error {
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	resp, err := s.send(ctx, sql, p, nil, "", nil)
	if err != nil {
		return err
	}
	return drain(resp)
}

// rows runs a query and calls each for every row.
func (s *Sink) rows(ctx context.Context, sql string, p params, each func(scan func(...any) error) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	if len(p) > 0 {
		ctx = clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters(p)))
	}
	rows, err := s.conn.Query(ctx, sql)
	if err != nil {
		return serverError(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return serverError(rows.Err())
}
