package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/gateway"
	"github.com/duiwu/duiwu/ingest/mapping"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/peer"
	"github.com/duiwu/duiwu/internal/trace"
	"github.com/duiwu/duiwu/sink"
	"github.com/duiwu/duiwu/transform"
)

// gatewayConfig is what a user says about a gateway.
type gatewayConfig struct {
	database database
	kafka    brokerConfig
	prefix   string

	listen, metrics            string
	cert, key, clientCA        string
	issuer, audience           string
	jwks, jwksCA               string
	unitClaim, unitPrefix      string
	certificateRule            string
	spool, recordKeys, sealKey string
	mappings                   string
	testAreas                  bool
	clockAt                    string
	megabytes                  int64
	limits                     gateway.Limits
}

func parseGateway(env *environment, args []string) (*gatewayConfig, error) {
	var c gatewayConfig
	fs := env.flags("gateway", "[flags]")
	c.kafka.flags(fs)
	c.database.clickhouseConfig.flags(fs)
	fs.StringVar(&c.database.feeds, "feeds", "", "folder of feed files; empty means those inside the binary")
	fs.StringVar(&c.database.logLevel, "log-level", "info", "debug, info, warn or error; info has a line a request")
	fs.StringVar(&c.prefix, "prefix", ingest.DefaultPrefix, "topics are <prefix>.<unit>")
	fs.StringVar(&c.listen, "listen", "127.0.0.1:8443", "address for units; without a certificate it must be on loopback")
	fs.StringVar(&c.metrics, "listen-metrics", "", "address for /metrics, /livez and /readyz that units do not reach; on loopback without TLS they are on --listen too")
	fs.StringVar(&c.cert, "tls-cert", "", "PEM file of the server's certificate, read again when it changes")
	fs.StringVar(&c.key, "tls-key", "", "PEM file of the server's key")
	fs.StringVar(&c.clientCA, "client-ca", "", "PEM file of the authority of client certificates")
	fs.StringVar(&c.certificateRule, "certificate-unit", "", "where a client certificate names its unit, such as subject.ou={unit} or san.uri=spiffe://example/unit/{unit}")
	fs.StringVar(&c.issuer, "issuer", "", "iss of the tokens that count")
	fs.StringVar(&c.audience, "audience", "", "aud of the tokens that count")
	fs.StringVar(&c.jwks, "jwks", "", "the issuer's keys: a file or an https URL")
	fs.StringVar(&c.jwksCA, "jwks-ca", "", "PEM file of the authority of the issuer's certificate; the system's when empty")
	fs.StringVar(&c.unitClaim, "unit-claim", "units", "claim that names the units: one text with spaces between, or an array")
	fs.StringVar(&c.unitPrefix, "unit-prefix", "", "what stands before a unit in the claim, such as duiwu:unit:")
	fs.StringVar(&c.spool, "spool", "", "folder of this process alone for what is not sent yet")
	fs.StringVar(&c.recordKeys, "record-keys", "", "folder with the record key of each unit, <unit>.key; needed for files without record_id")
	fs.StringVar(&c.mappings, "mappings", "", "folder with how units' own files are read, <unit>.<feed>.yaml each; a file of that unit and feed is read by it")
	fs.StringVar(&c.sealKey, "seal-key", "", "file with the national public key: direct identifiers are sealed before they reach the spool")
	fs.BoolVar(&c.testAreas, "test-areas", false, "accept identity numbers of the reserved areas PP99xx; never in production")
	fs.StringVar(&c.clockAt, "clock", "", "pretend that the gateway starts at this moment (RFC 3339); for the demo")
	fs.Int64Var(&c.megabytes, "max-megabytes", 256, "size of a file at most, unpacked")
	fs.IntVar(&c.limits.Rows, "max-rows", 1_000_000, "rows of a batch at most")
	fs.IntVar(&c.limits.Uploads, "uploads", 4, "files judged at once, and bodies received at once of one unit")
	fs.Float64Var(&c.limits.Rate, "rate", 5, "requests of one unit a second")
	fs.IntVar(&c.limits.Burst, "burst", 30, "requests of one unit at once")
	fs.DurationVar(&c.limits.Keep, "keep", 30*24*time.Hour, "how long a batch that was sent stays known; its records leave the spool when Kafka has them")
	if _, err := env.parse(fs, args, 0, 0); err != nil {
		return nil, err
	}
	c.limits.Bytes = c.megabytes << 20
	var missing []string
	for _, f := range []struct{ name, value string }{{"--kafka", c.kafka.brokers}, {"--clickhouse", c.database.dsn + c.database.file}, {"--spool", c.spool}} {
		if f.value == "" {
			missing = append(missing, f.name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("gateway needs %s (or DUIWU_… in the environment); see duiwu gateway -h", strings.Join(missing, ", "))
	}
	if (c.cert == "") != (c.key == "") {
		return nil, errors.New("--tls-cert and --tls-key belong together")
	}
	if c.cert == "" && !onLoopback(c.listen) {
		return nil, fmt.Errorf("--listen %s is not on loopback: give --tls-cert and --tls-key", c.listen)
	}
	if (c.clientCA == "") != (c.certificateRule == "") {
		return nil, errors.New("--client-ca and --certificate-unit belong together: who signs client certificates, and where they name the unit")
	}
	if c.clientCA != "" && c.cert == "" {
		return nil, errors.New("--client-ca needs --tls-cert: client certificates come with TLS")
	}
	return &c, nil
}

func onLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && peer.Local(host)
}

// runGateway serves units until it is told to stop.
func runGateway(ctx context.Context, env *environment, args []string) error {
	c, err := parseGateway(env, args)
	if err != nil {
		return err
	}
	log, err := env.logger(c.database.logLevel)
	if err != nil {
		return err
	}
	opt, done, err := c.options(log)
	if err != nil {
		return err
	}
	defer done()
	tracer, stop, err := trace.Start(ctx, "duiwu-gateway", hostname(), log)
	if err != nil {
		return err
	}
	defer stop()
	opt.Tracer = tracer
	g, err := gateway.New(opt)
	if err != nil {
		return err
	}
	handler := g.Handler()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.Run(ctx) })
	if c.metrics != "" {
		l, err := net.Listen("tcp", c.metrics)
		if err != nil {
			return fmt.Errorf("cannot listen for metrics: %w", err)
		}
		group.Go(func() error { return serveUntil(ctx, &http.Server{Handler: g.Admin()}, l) })
	} else if c.cert == "" {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", g.Admin())
		mux.Handle("/", handler)
		handler = mux
	}
	l, err := net.Listen("tcp", c.listen)
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	scheme := "http"
	if c.cert != "" {
		config, err := c.tls()
		if err != nil {
			return err
		}
		scheme, l = "https", tls.NewListener(l, config)
	}
	fmt.Fprintf(env.stdout, "%s://%s\n", scheme, l.Addr())
	group.Go(func() error { return serveUntil(ctx, &http.Server{Handler: handler}, l) })
	return group.Wait()
}

// serveUntil serves until ctx ends; requests on their way have half a minute.
func serveUntil(ctx context.Context, s *http.Server, l net.Listener) error {
	s.ReadHeaderTimeout, s.IdleTimeout, s.MaxHeaderBytes = 10*time.Second, 2*time.Minute, 64<<10
	s.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // handshakes of scanners
	stop := context.AfterFunc(ctx, func() {
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		if s.Shutdown(short) != nil {
			_ = s.Close() // the process ends anyway
		}
	})
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve: %w", err)
	}
	return nil
}

// options makes what the gateway works with; done gives it back.
func (c *gatewayConfig) options(log *slog.Logger) (opt gateway.Options, done func(), err error) {
	cat, err := catalogue(c.database.feeds)
	if err != nil {
		return opt, nil, err
	}
	clock, err := movedClock(c.clockAt)
	if err != nil {
		return opt, nil, err
	}
	broker, err := c.kafka.open(log.Warn)
	if err != nil {
		return opt, nil, err
	}
	opt = gateway.Options{
		Catalogue: cat, Spool: c.spool, Broker: broker, Prefix: c.prefix, Limits: c.limits, Clock: clock, Log: log,
		Check: func() (flow.Step, func()) {
			step := transform.NewCheck(transform.CheckOptions{Catalogue: cat, AllowTestAreas: c.testAreas, Clock: clock})
			return step, step.Release
		},
		RecordKey: c.recordKey,
	}
	if opt.Seal, err = readPublicKey(c.sealKey); err != nil {
		return opt, nil, err
	}
	mappings, err := loadMappings(c.mappings, cat)
	if err != nil {
		return opt, nil, err
	}
	opt.Mapping = func(unit, feedName string) *mapping.Mapping { return mappings[unit+"."+feedName] }
	if c.issuer != "" || c.jwks != "" {
		t := gateway.TokenOptions{Issuer: c.issuer, Audience: c.audience, Keys: c.jwks, Claim: c.unitClaim, Prefix: c.unitPrefix}
		if c.jwksCA != "" {
			if t.Roots, err = peer.Pool(c.jwksCA); err != nil {
				return opt, nil, fmt.Errorf("--jwks-ca: %w", err)
			}
		}
		if opt.Tokens, err = gateway.NewTokens(t); err != nil {
			return opt, nil, err
		}
	}
	if c.certificateRule != "" {
		if opt.Certificates, err = gateway.ParseCertificateRule(c.certificateRule); err != nil {
			return opt, nil, err
		}
	}
	if opt.Producer, err = ingest.NewProducer(broker); err != nil {
		return opt, nil, err
	}
	db := &laterDatabase{opt: sink.Options{DSN: c.database.dsn, File: c.database.file, TLS: c.database.tls, Catalogue: cat, Worker: "gateway", Revision: revision, Log: log, Timeout: 30 * time.Second}}
	opt.Database = db
	return opt, func() {
		_ = opt.Producer.Close() // what was acknowledged is noted
		db.close()
	}, nil
}

// laterDatabase is a database that may be away when the process starts: files
// are taken in without it.
type laterDatabase struct {
	opt sink.Options

	mu   sync.Mutex
	sink *sink.Sink
}

func (l *laterDatabase) open(ctx context.Context) (*sink.Sink, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sink != nil {
		return l.sink, nil
	}
	s, err := sink.Open(ctx, l.opt)
	if err != nil {
		return nil, err
	}
	l.sink = s
	return s, nil
}

func (l *laterDatabase) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sink != nil {
		_ = l.sink.Close() // it was only read
	}
}

// Receipt implements gateway.Database.
func (l *laterDatabase) Receipt(ctx context.Context, unit, feedName, batch string) (*flow.Receipt, error) {
	s, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	return s.Receipt(ctx, unit, feedName, batch)
}

// Arrivals implements gateway.Database.
func (l *laterDatabase) Arrivals(ctx context.Context, unit string, spec *feed.Spec, days []flow.DueDay) ([]flow.Arrival, error) {
	s, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	return s.Arrivals(ctx, unit, spec, days)
}

// recordKey reads a unit's key; a unit without one has to send record ids.
func (c *gatewayConfig) recordKey(unit string) ([]byte, error) {
	if c.recordKeys == "" {
		return nil, nil
	}
	key, err := readRecordKey(filepath.Join(c.recordKeys, unit+".key"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return key, err
}

// tls serves the certificate that lies in the files now, and asks for a client's
// when there is an authority for them.
func (c *gatewayConfig) tls() (*tls.Config, error) {
	pair, err := peer.NewPair(c.cert, c.key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert and --tls-key: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Current() }
	if c.clientCA != "" {
		pool, err := peer.Pool(c.clientCA)
		if err != nil {
			return nil, fmt.Errorf("--client-ca: %w", err)
		}
		config.ClientCAs, config.ClientAuth = pool, tls.VerifyClientCertIfGiven
	}
	return config, nil
}
