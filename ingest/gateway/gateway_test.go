package gateway_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/ingest/gateway"
	"github.com/duiwu/duiwu/ingest/mapping"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/testenv"
	"github.com/duiwu/duiwu/internal/trace"
	"github.com/duiwu/duiwu/sink"
	"github.com/duiwu/duiwu/transform"
)

func TestMain(m *testing.M) { testenv.Main(m) }

var noon = time.Date(2016, 11, 30, 4, 0, 0, 0, time.UTC)

const (
	issuerName = "https://issuer.example"
	audience   = "duiwu-gateway"
)

// issuer signs tokens and keeps the file of its public keys.
type issuer struct {
	t    testing.TB
	file string
	keys map[string]any // private, by kid
}

func newIssuer(t testing.TB, kids ...string) *issuer {
	i := &issuer{t: t, file: filepath.Join(t.TempDir(), "jwks.json"), keys: map[string]any{}}
	for _, kid := range kids {
		i.add(kid)
	}
	i.publish()
	return i
}

// add makes a key whose kind its name begins with.
func (i *issuer) add(kid string) {
	i.t.Helper()
	var key any
	var err error
	switch {
	case strings.HasPrefix(kid, "rsa"):
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case strings.HasPrefix(kid, "ed"):
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	require.NoError(i.t, err)
	i.keys[kid] = key
}

func (i *issuer) set() []byte {
	var set jose.JSONWebKeySet
	for kid, key := range i.keys {
		k := jose.JSONWebKey{Key: key, KeyID: kid, Use: "sig"}
		set.Keys = append(set.Keys, k.Public())
	}
	raw, err := json.Marshal(set)
	require.NoError(i.t, err)
	return raw
}

func (i *issuer) publish() { require.NoError(i.t, os.WriteFile(i.file, i.set(), 0o600)) }

// sign makes a token of claims with a key.
func (i *issuer) sign(kid string, claims map[string]any) string {
	i.t.Helper()
	alg := jose.ES256
	switch i.keys[kid].(type) {
	case *rsa.PrivateKey:
		alg = jose.RS256
	case ed25519.PrivateKey:
		alg = jose.EdDSA
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: i.keys[kid]}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", kid))
	require.NoError(i.t, err)
	out, err := jwt.Signed(s).Claims(claims).Serialize()
	require.NoError(i.t, err)
	return out
}

// claims are those of a token that counts, of some units, with changes.
func claims(units string, changes ...any) map[string]any {
	c := map[string]any{"iss": issuerName, "aud": audience, "sub": "clerk of " + units, "units": units,
		"exp": noon.Add(time.Hour).Unix(), "nbf": noon.Add(-time.Hour).Unix(), "iat": noon.Add(-time.Hour).Unix()}
	for n := 0; n < len(changes); n += 2 {
		if changes[n+1] == nil {
			delete(c, changes[n].(string))
		} else {
			c[changes[n].(string)] = changes[n+1]
		}
	}
	return c
}

// bench is a gateway with everything around it.
type bench struct {
	t      testing.TB
	opt    gateway.Options
	g      *gateway.Gateway
	issuer *issuer
	url    string
	admin  string
	log    *lockedBuffer
	now    *atomic.Int64 // added to noon
	stop   func()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// away is a database that does not answer.
type away struct{}

func (away) Receipt(context.Context, string, string, string) (*flow.Receipt, error) {
	return nil, errors.New("connection refused")
}

func (away) Arrivals(context.Context, string, *feed.Spec, []flow.DueDay) ([]flow.Arrival, error) {
	return nil, errors.New("connection refused")
}

var topics atomic.Int64

// newBench starts a gateway with topics of its own and, unless edit says
// otherwise, without a database.
func newBench(t testing.TB, edit func(*gateway.Options)) *bench {
	t.Helper()
	cat, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	b := &bench{t: t, issuer: newIssuer(t, "ec1"), log: &lockedBuffer{}, now: &atomic.Int64{}}
	clock := func() time.Time { return noon.Add(time.Duration(b.now.Load())) }
	tokens, err := gateway.NewTokens(gateway.TokenOptions{Issuer: issuerName, Audience: audience, Keys: b.issuer.file, Claim: "units", Clock: clock})
	require.NoError(t, err)
	broker := ingest.Broker{Brokers: []string{testenv.Kfake(t)}}
	prefix := fmt.Sprintf("gw%d.feed", topics.Add(1))
	require.NoError(t, ingest.CreateTopics(t.Context(), broker, 2, nil, prefix+".310000", prefix+".320000"))
	producer, err := ingest.NewProducer(broker)
	require.NoError(t, err)
	t.Cleanup(func() { _ = producer.Close() })
	b.opt = gateway.Options{
		Catalogue: cat, Spool: filepath.Join(t.TempDir(), "spool"), Broker: broker, Producer: producer, Prefix: prefix, Tokens: tokens, Clock: clock,
		Database: away{}, Log: slog.New(slog.NewJSONHandler(b.log, nil)),
		RecordKey: func(unit string) ([]byte, error) { return []byte("a key of this test " + unit), nil },
		Check: func() (flow.Step, func()) {
			step := transform.NewCheck(transform.CheckOptions{Catalogue: cat, AllowTestAreas: true, Clock: clock})
			return step, step.Release
		},
		Limits: gateway.Limits{Rate: 1000, Burst: 1000},
	}
	if edit != nil {
		edit(&b.opt)
	}
	b.start()
	return b
}

// start runs the gateway; after stop it may be called again on the same spool.
func (b *bench) start() {
	b.t.Helper()
	g, err := gateway.New(b.opt)
	require.NoError(b.t, err)
	b.g = g
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	s := httptest.NewServer(g.Handler())
	a := httptest.NewServer(g.Admin())
	b.url, b.admin = s.URL, a.URL
	b.stop = sync.OnceFunc(func() {
		s.Close()
		a.Close()
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("the gateway ended with %v", err)
		}
	})
	b.t.Cleanup(b.stop)
}

// database gives a migrated database on the shared server.
func database(t testing.TB) *sink.Sink {
	t.Helper()
	server := testenv.ClickHouse(t)
	u, err := url.Parse(server.DSN())
	require.NoError(t, err)
	opts, err := clickhouse.ParseDSN(u.String())
	require.NoError(t, err)
	admin, err := clickhouse.Open(opts)
	require.NoError(t, err)
	defer func() { _ = admin.Close() }()
	name := fmt.Sprintf("gateway_%d", time.Now().UnixNano())
	require.NoError(t, admin.Exec(t.Context(), "CREATE DATABASE "+name))
	u.Path = "/" + name
	cat, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	s, err := sink.Open(t.Context(), sink.Options{DSN: u.String(), Catalogue: cat, Worker: "test"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

// token speaks for some units.
func (b *bench) token(units string) string { return b.issuer.sign("ec1", claims(units)) }

// request makes a request with a token; headers are name, value, ...
func (b *bench) request(method, path, token string, body io.Reader, headers ...string) *http.Request {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, body)
	require.NoError(b.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for n := 0; n < len(headers); n += 2 {
		req.Header.Add(headers[n], headers[n+1])
	}
	return req
}

// got is an answer, read whole.
type got struct {
	status int
	header http.Header
	body   []byte
}

func (b *bench) do(req *http.Request) got {
	b.t.Helper()
	res, err := http.DefaultClient.Do(req)
	require.NoError(b.t, err)
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	require.NoError(b.t, err)
	return got{res.StatusCode, res.Header, raw}
}

func (b *bench) get(path, token string, headers ...string) got {
	b.t.Helper()
	return b.do(b.request("GET", path, token, nil, headers...))
}

func (b *bench) post(path, token string, body []byte, headers ...string) got {
	b.t.Helper()
	return b.do(b.request("POST", path, token, bytes.NewReader(body), headers...))
}

func (g got) field(name string) any {
	var m map[string]any
	_ = json.Unmarshal(g.body, &m) // nil when it is no object
	return m[name]
}

// slug is the problem's own name.
func (g got) slug() string {
	s, _ := g.field("type").(string)
	return strings.TrimPrefix(s, "urn:duiwu:problem:")
}

// refusedAs requires a problem with both languages.
func (g got) refusedAs(t testing.TB, status int, slug string) {
	t.Helper()
	require.Equal(t, status, g.status, "%s", g.body)
	require.Equal(t, slug, g.slug(), "%s", g.body)
	require.Equal(t, "application/problem+json", g.header.Get("Content-Type"))
	for _, f := range []string{"message_zh", "message_en", "detail", "title"} {
		require.NotEmpty(t, g.field(f), f)
	}
}

const (
	sites   = "/v1/units/310000/feeds/demo_site"
	batches = sites + "/batches"
)

// siteRows is a CSV of n demonstration sites without a record number.
func siteRows(n int) []byte {
	var b bytes.Buffer
	b.WriteString("site_id,site_name,level,status,county_code\n")
	for i := range n {
		fmt.Fprintf(&b, "S-%d,示范点,1,2,310115\n", i)
	}
	return b.Bytes()
}

// sent waits until nothing of the unit's waits to be sent.
func (b *bench) sent(path string) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		return strings.Contains(string(b.do(must(http.NewRequest("GET", b.admin+"/metrics", nil))).body), "duiwu_gateway_waiting_batches 0")
	}, 20*time.Second, 20*time.Millisecond, path)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// messages counts what a topic holds.
func (b *bench) messages(unit string) (rows []ingest.Message) {
	b.t.Helper()
	for p := range int32(2) {
		r := ingest.NewReader(b.opt.Broker, ingest.Topic(b.opt.Prefix, unit), p, time.Time{})
		require.NoError(b.t, r.Poll(b.t.Context(), 300*time.Millisecond, func(m *ingest.Message) error {
			one := ingest.Message{Key: bytes.Clone(m.Key), Value: bytes.Clone(m.Value)}
			for _, h := range m.Headers {
				one.Headers = append(one.Headers, ingest.Header{Key: bytes.Clone(h.Key), Value: bytes.Clone(h.Value)})
			}
			rows = append(rows, one)
			return nil
		}))
		r.Close()
	}
	return rows
}

// A file is taken in, sent once, and a repeat under its key is the same batch.
func TestARepeatIsTheSameBatch(t *testing.T) {
	b := newBench(t, nil)
	token := b.token("310000")
	first := b.post(batches, token, siteRows(5), "Idempotency-Key", `"nov-2016"`, "Content-Type", "text/csv")
	require.Equal(t, http.StatusAccepted, first.status, "%s", first.body)
	require.Equal(t, batches+"/nov-2016", first.header.Get("Location"))
	require.Equal(t, "nov-2016", first.field("batch_id"))
	require.EqualValues(t, 5, first.field("rows"))
	b.sent("first")
	n := len(b.messages("310000"))
	require.Positive(t, n)
	for range 3 {
		again := b.post(batches, token, siteRows(5), "Idempotency-Key", "nov-2016")
		require.Equal(t, http.StatusOK, again.status, "%s", again.body)
		require.Equal(t, "sent", again.field("state"))
		require.Equal(t, first.field("sha256"), again.field("sha256"))
		require.Equal(t, first.field("prepared_at"), again.field("prepared_at"))
	}
	b.sent("again")
	require.Len(t, b.messages("310000"), n)
	b.post(batches, token, siteRows(6), "Idempotency-Key", "nov-2016").refusedAs(t, http.StatusConflict, "batch-differs")
	b.post(batches+"?as_of=2016-10-31", token, siteRows(5), "Idempotency-Key", "nov-2016").refusedAs(t, http.StatusConflict, "batch-differs")
	// Without a key each request is a delivery of its own.
	one, two := b.post(batches, token, siteRows(5)), b.post(batches, token, siteRows(5))
	require.Equal(t, http.StatusAccepted, one.status)
	require.NotEqual(t, one.field("batch_id"), two.field("batch_id"))
	b.sent("own ids")
	// Nothing of a record stays behind, on disk or in the log.
	require.NoError(t, filepath.WalkDir(b.opt.Spool, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		require.NotContains(t, string(raw), "示范点", path)
		return err
	}))
	require.NotContains(t, b.log.String(), "示范点")
}

// A batch goes on with the trace of its request, and has one without: so do all
// of its messages.
func TestABatchIsInTheTraceOfItsRequest(t *testing.T) {
	b := newBench(t, nil)
	token := b.token("310000")
	traces := func() map[string]int {
		out := map[string]int{}
		for _, m := range b.messages("310000") {
			for _, h := range m.Headers {
				if string(h.Key) == ingest.HeaderTraceparent {
					out[trace.ID(string(h.Value))]++
				}
			}
		}
		return out
	}
	mine := trace.New()
	require.Equal(t, http.StatusAccepted, b.post(batches, token, siteRows(5), "traceparent", mine).status)
	b.sent("one of mine")
	n := len(b.messages("310000"))
	require.Equal(t, map[string]int{trace.ID(mine): n}, traces())
	require.Equal(t, http.StatusAccepted, b.post(batches, token, siteRows(5), "traceparent", "00-"+strings.Repeat("x", 52)).status)
	b.sent("one with nonsense")
	got := traces()
	require.Len(t, got, 2, "a new trace")
	require.NotContains(t, got, "")
}

// What was answered with 202 is sent after the end of the process, however the
// repeat of it comes: before the restart's own sending or after.
func TestWhatWasTakenInOutlivesTheProcess(t *testing.T) {
	dead := ingest.Broker{Brokers: []string{"127.0.0.1:1"}}
	var alive ingest.Broker
	var aliveProducer *ingest.Producer
	b := newBench(t, func(o *gateway.Options) { alive, aliveProducer = o.Broker, o.Producer })
	token := b.token("310000")
	require.Equal(t, http.StatusAccepted, b.post(batches, token, siteRows(1), "Idempotency-Key", "warm").status) // the partitions are known now
	b.sent("warm")
	before := len(b.messages("310000"))
	b.stop()
	producer, err := ingest.NewProducer(dead)
	require.NoError(t, err)
	defer func() { _ = producer.Close() }()
	b.opt.Broker, b.opt.Producer = dead, producer
	b.start()
	first := b.post(batches, token, siteRows(3), "Idempotency-Key", "kept")
	require.Equal(t, http.StatusAccepted, first.status, "%s", first.body)
	require.Equal(t, "waiting", first.field("state"))
	again := b.post(batches, token, siteRows(3), "Idempotency-Key", "kept")
	require.Equal(t, http.StatusOK, again.status, "%s", again.body)
	b.stop()
	b.opt.Broker, b.opt.Producer = alive, aliveProducer
	b.start()
	b.sent("kept")
	after := b.messages("310000")
	require.Greater(t, len(after), before)
	require.Equal(t, http.StatusOK, b.post(batches, token, siteRows(3), "Idempotency-Key", "kept").status)
	b.sent("kept again")
	require.Len(t, b.messages("310000"), len(after))
}

// Two processes in one spool would send twice and sweep each other's uploads.
func TestASpoolHasOneGateway(t *testing.T) {
	b := newBench(t, nil)
	_, err := gateway.New(b.opt)
	require.ErrorContains(t, err, "another gateway works in it")
}

// A unit's own headings are read by the mapping that is there for it, in a check
// and in an upload alike; another unit's file is read as the template has it.
func TestAUnitsOwnHeadings(t *testing.T) {
	own := []byte("编号,名称,等级,状态,区划\nS-1,示范点,国家级,在册,浦东新区\n")
	b := newBench(t, func(o *gateway.Options) {
		m, err := mapping.Load("310000.demo_site.yaml", []byte(`feed: demo_site
columns:
  - {column: 编号, field: site_id}
  - {column: 名称, field: site_name}
  - {column: 等级, field: level, codes: {国家级: 1}}
  - {column: 状态, field: status, codes: {在册: 2}}
  - {column: 区划, field: county_code, codes: {浦东新区: 310115}}
`), o.Catalogue)
		require.NoError(t, err)
		o.Mapping = func(unit, feedName string) *mapping.Mapping {
			if unit == "310000" && feedName == "demo_site" {
				return m
			}
			return nil
		}
	})
	require.EqualValues(t, 1, b.post(sites+"/check", b.token("310000"), own).field("accepted"))
	other := strings.Replace(sites, "310000", "320000", 1)
	b.post(other+"/check", b.token("320000"), own).refusedAs(t, http.StatusUnprocessableEntity, "file-unusable")
	taken := b.post(batches, b.token("310000"), own, "Idempotency-Key", "own")
	require.Equal(t, http.StatusAccepted, taken.status, "%s", taken.body)
	require.EqualValues(t, 1, taken.field("rows"))
	b.post(other+"/batches", b.token("320000"), own).refusedAs(t, http.StatusUnprocessableEntity, "file-unusable")
}
