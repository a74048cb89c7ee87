// Package gateway is the HTTPS door for units that cannot speak Kafka, and the
// page on it for their clerks.
//
//	body -> receive (a file in the spool) -> push.Prepare (judged, cut into chunks)
//	     -> answered 202 -> a sender hands the chunks to Kafka, until it has them
//	     -> the receipt, read from the database
//
// What was answered with 202 lies durable in the spool: it is sent however often
// the gateway, the broker or the database dies in between. A batch is named by
// its unit, its feed and the Idempotency-Key that came with it, so that sending
// it again is asking for its receipt.
//
// Nobody may do anything without a token or a certificate that speaks for a
// unit, and what belongs to another unit does not exist for him.
package gateway

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/mapping"
	"github.com/duiwu/duiwu/ingest/seal"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/value"
)

// Limits bound what one request, one unit and the process may take.
type Limits struct {
	// Bytes bounds a body, on the line and unpacked; 256 MB when 0.
	Bytes int64
	// Rows bounds the rows of one batch; 1,000,000 when 0.
	Rows int
	// Uploads is how many files are judged at once, and how many bodies of one
	// unit are received at once; 4 when 0.
	Uploads int
	// Rate and Burst bound the requests of one unit, in requests a second; 5 and
	// 30 when 0.
	Rate  float64
	Burst int
	// Waiting is how many batches of one unit may wait to be sent; 32 when 0.
	Waiting int
	// Grace is how long a body may take before its pace counts; 30 seconds when 0.
	Grace time.Duration
	// Keep is how long a batch that was sent stays known; 30 days when 0. Its
	// records leave the spool as soon as Kafka has them.
	Keep time.Duration
}

func (l *Limits) defaults() {
	if l.Bytes == 0 {
		l.Bytes = 256 << 20
	}
	if l.Rows == 0 {
		l.Rows = 1_000_000
	}
	if l.Uploads == 0 {
		l.Uploads = 4
	}
	if l.Rate == 0 {
		l.Rate = 5
	}
	if l.Burst == 0 {
		l.Burst = 30
	}
	if l.Waiting == 0 {
		l.Waiting = 32
	}
	if l.Grace == 0 {
		l.Grace = 30 * time.Second
	}
	if l.Keep == 0 {
		l.Keep = 30 * 24 * time.Hour
	}
}

// Options say what the gateway works with. Catalogue, Spool, Check, Database and
// Producer are required; without Tokens and Certificates nobody gets in.
type Options struct {
	Catalogue *feed.Catalogue
	// Spool is a folder of this process alone: it holds what was taken in and not
	// yet sent, raw numbers of persons among it.
	Spool string
	// Check makes the step that judges files, the worker's own, and gives it back.
	Check func() (step flow.Step, release func())
	// Database tells what was stored; an error is answered as 503.
	Database Database
	// Tracer begins the span of an upload; nil where no collector is named.
	Tracer trace.Tracer
	// Broker and Producer reach Kafka; topics are <Prefix>.<unit>.
	Broker   ingest.Broker
	Producer *ingest.Producer
	Prefix   string
	// Seal is the national public key: with it the spool and Kafka hold no raw
	// number of a person.
	Seal *seal.PublicKey
	// RecordKey is the unit's key for record ids of rows that have none.
	RecordKey func(unit string) ([]byte, error)
	// Mapping says how a unit's own files of a feed are read, by their headings and
	// codes; nil, of it or from it, where they are as the template has them.
	Mapping func(unit, feed string) *mapping.Mapping

	Tokens       *Tokens
	Certificates *CertificateRule
	Limits       Limits
	Clock        func() time.Time
	Log          *slog.Logger
}

// Database is what the gateway asks of what was stored: a *sink.Sink. Receipt
// ends with flow.ErrNoReceipt while nothing of the batch has arrived.
type Database interface {
	Receipt(ctx context.Context, unit, feed, batch string) (*flow.Receipt, error)
	Arrivals(ctx context.Context, unit string, spec *feed.Spec, days []flow.DueDay) ([]flow.Arrival, error)
}

// Gateway answers requests. Run sends what was taken in; Handler and Admin serve
// any number of requests beside it.
type Gateway struct {
	opt     Options
	log     *slog.Logger
	uploads *semaphore.Weighted
	metrics *metrics
	openapi []byte
	page    fs.FS
	etags   map[string]string // of the page's files
	batches *batches

	mu     sync.Mutex
	limits map[string]*rate.Limiter
	bodies map[string]int // on their way, by unit
}

//go:embed page
var pageFiles embed.FS

// New checks the options and opens the spool.
func New(opt Options) (*Gateway, error) {
	if opt.Catalogue == nil || opt.Check == nil || opt.Database == nil || opt.Producer == nil || opt.RecordKey == nil {
		panic("BUG: a gateway needs a catalogue, a check, a database, a producer and record keys")
	}
	if opt.Tokens == nil && opt.Certificates == nil {
		return nil, errors.New("cannot start the gateway: nobody could sign in; give an issuer of tokens or a certificate rule")
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	if opt.Prefix == "" {
		opt.Prefix = ingest.DefaultPrefix
	}
	opt.Limits.defaults()
	page, err := fs.Sub(pageFiles, "page")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	g := &Gateway{opt: opt, log: opt.Log, uploads: semaphore.NewWeighted(int64(opt.Limits.Uploads)), page: page,
		limits: map[string]*rate.Limiter{}, bodies: map[string]int{}, metrics: newMetrics()}
	g.openapi = document(opt.Catalogue)
	g.etags = etags(page)
	if g.batches, err = openBatches(opt.Spool); err != nil {
		return nil, err
	}
	g.metrics.watch(g.batches)
	return g, nil
}

// tmp is where bodies lie that are not yet a batch. It is emptied at the start.
func (g *Gateway) tmp() string { return filepath.Join(g.opt.Spool, "tmp") }

// call is one request on its way.
type call struct {
	g         *Gateway
	w         *answer
	r         *http.Request
	requestID string
	who       *principal
	unit      string
	feed      *feed.Spec
}

// answer remembers what was answered.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Handler serves everything but /metrics.
func (g *Gateway) Handler() http.Handler {
	mux := http.NewServeMux()
	for i := range routes {
		mux.Handle(routes[i].method+" "+routes[i].path, g.serve(&routes[i]))
	}
	g.pages(mux)
	// A browser sends a client certificate wherever a foreign page sends it; such
	// a page may not write.
	foreign := http.NewCrossOriginProtection()
	foreign.SetDenyHandler(g.plain(refuse(http.StatusForbidden, "cross-origin", "请求来自别的网站，已拒绝。", "The request comes from another site and is refused.")))
	return foreign.Handler(secure(g.fallback(mux)))
}

// Admin serves /metrics, /livez and /readyz, for a port that units do not reach:
// counts of what all units do are no unit's business.
func (g *Gateway) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", g.metrics.handler())
	for i := range routes {
		if routes[i].probe {
			mux.Handle(routes[i].method+" "+routes[i].path, g.serve(&routes[i]))
		}
	}
	return mux
}

// plain answers one problem to everything.
func (g *Gateway) plain(p *problem) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.write(w, r, requestID()) })
}

// fallback gives the mux's own refusals the form of all others.
func (g *Gateway) fallback(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" && r.URL.Path == path.Clean(r.URL.Path) {
			mux.ServeHTTP(w, r)
			return
		}
		probe := &answer{ResponseWriter: discard{http.Header{}}}
		mux.ServeHTTP(probe, r)
		switch probe.status {
		case http.StatusMethodNotAllowed:
			w.Header().Set("Allow", probe.Header().Get("Allow"))
			refuse(http.StatusMethodNotAllowed, "method", "这个地址不支持该方法。", "This address does not take that method.").write(w, r, requestID())
		default: // also a redirect to a cleaned path: a trick is not helped along
			notFound().write(w, r, requestID())
		}
	})
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// secure sets what every answer carries.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// serve runs one route: who asks, may he, how often, and then the work. Whether
// a unit, a feed or a batch exists is looked at only after the unit is known to
// be the caller's.
func (g *Gateway) serve(rt *route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		c := &call{g: g, w: &answer{ResponseWriter: w}, r: r, requestID: requestID()}
		w.Header().Set("X-Request-Id", c.requestID)
		err := c.run(rt)
		if err != nil {
			c.fail(err)
		}
		took := time.Since(begun)
		g.metrics.request(rt, c.w.status, took)
		if rt.probe {
			return
		}
		level, unit, name := slog.LevelInfo, "", ""
		if c.who != nil {
			name = harmlessName(c.who.name)
			if c.who.may(c.unit) {
				unit = c.unit
			}
		}
		if c.w.status >= 500 {
			level = slog.LevelError
		}
		// The path is not logged: whatever somebody put there may be personal.
		g.log.Log(r.Context(), level, "request", "request", c.requestID, "method", rt.method, "route", rt.path, "status", c.w.status,
			"who", name, "unit", unit, "took", took.Round(time.Millisecond), "error", err)
	})
}

// harmlessName withholds the subject of a token that may be a number of a person.
func harmlessName(s string) string {
	if len(s) > 128 || value.LongDigitRun([]byte(s)) >= 11 {
		return "withheld"
	}
	return s
}

func (c *call) run(rt *route) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.g.log.Error("panic", "request", c.requestID, "route", rt.path, "stack", string(debug.Stack()))
			// The value may quote a record.
			err = fmt.Errorf("BUG: a handler panicked with a %T", p)
		}
	}()
	if !rt.open {
		if c.who, err = c.g.identify(c.r); err != nil {
			return err
		}
		c.unit = c.r.PathValue("unit")
		charge := c.who.units[0]
		yours := c.unit == "" || c.who.may(c.unit)
		if c.unit != "" && yours {
			charge = c.unit
		}
		if err := c.g.allow(charge); err != nil {
			return err
		}
		if !yours {
			return notFound()
		}
		if name := c.r.PathValue("feed"); name != "" {
			if c.feed = c.g.opt.Catalogue.Feed(name); c.feed == nil {
				return notFound()
			}
		}
	}
	return rt.serve(c)
}

func (c *call) fail(err error) {
	var ch *challenge
	if errors.As(err, &ch) {
		c.w.Header().Set("WWW-Authenticate", ch.header())
	}
	p := asProblem(err)
	if c.w.status != 0 { // half an answer is under way: break it off, so that it cannot pass for a whole one
		panic(http.ErrAbortHandler)
	}
	if c.r.ContentLength != 0 && c.r.Method == http.MethodPost {
		// The rest of a refused body is not read.
		c.w.Header().Set("Connection", "close")
	}
	p.write(c.w, c.r, c.requestID)
}

// allow takes one request from a unit's allowance.
func (g *Gateway) allow(unit string) error {
	g.mu.Lock()
	l := g.limits[unit]
	if l == nil {
		l = rate.NewLimiter(rate.Limit(g.opt.Limits.Rate), g.opt.Limits.Burst)
		g.limits[unit] = l
	}
	g.mu.Unlock()
	if l.Allow() {
		return nil
	}
	return refuse(http.StatusTooManyRequests, "too-many", "贵单位的请求太频繁，请稍后再试。", "Your unit asks too often; wait a moment.").
		retry(1 + int(1/g.opt.Limits.Rate))
}

// body receives the request's file. A unit has its own few lines, so that slow
// ones take none of another unit's.
func (c *call) body() (*upload, error) {
	g := c.g
	g.mu.Lock()
	full := g.bodies[c.unit] >= g.opt.Limits.Uploads
	if !full {
		g.bodies[c.unit]++
	}
	g.mu.Unlock()
	if full {
		return nil, refuse(http.StatusTooManyRequests, "too-many-uploads", "贵单位已有多份文件正在上传，请等它们传完。", "Other files of your unit are being uploaded; wait for them.").retry(5)
	}
	defer func() {
		g.mu.Lock()
		g.bodies[c.unit]--
		g.mu.Unlock()
	}()
	return g.receive(c.w, c.r, g.tmp())
}

// slot waits for a place among those who judge a file; the returned function
// gives it back.
func (c *call) slot() (func(), error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), time.Minute)
	defer cancel()
	if err := c.g.uploads.Acquire(ctx, 1); err != nil {
		return nil, refuse(http.StatusServiceUnavailable, "busy", "网关正忙，请稍后再传。", "The gateway is busy; send it again in a moment.").because(err).retry(10)
	}
	return func() { c.g.uploads.Release(1) }, nil
}

func (c *call) json(status int, v any) error {
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	enc := json.NewEncoder(c.w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // whoever hung up needs no answer
	return nil
}

// sweep empties the folder of bodies that were cut by the end of the process.
func sweep(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("cannot empty the spool's folder %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the spool's folder %s: %w", dir, err)
	}
	return nil
}
