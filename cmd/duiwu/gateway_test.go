package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/sheet"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// door is a gateway in a process of its own, in front of a path.
type door struct {
	p     *path
	key   *ecdsa.PrivateKey
	args  []string
	url   string
	spool string
	cmd   *exec.Cmd
	// line is a proxy before the database and one before the broker, which a
	// test can cut.
	database, broker *line
}

// line is a TCP proxy that can be cut and mended.
type line struct {
	l    net.Listener
	to   string
	mu   sync.Mutex
	cut  bool
	open map[net.Conn]bool
}

func newLine(t *testing.T, to string) *line {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &line{l: l, to: to, open: map[net.Conn]bool{}}
	t.Cleanup(func() { _ = l.Close(); p.set(true) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.join(c)
		}
	}()
	return p
}

func (p *line) join(c net.Conn) {
	defer func() { _ = c.Close() }()
	p.mu.Lock()
	if p.cut {
		p.mu.Unlock()
		return
	}
	p.open[c] = true
	p.mu.Unlock()
	up, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer func() { _ = up.Close() }()
	go func() { _, _ = io.Copy(up, c); _ = up.Close() }()
	_, _ = io.Copy(c, up)
}

// set cuts the line or mends it.
func (p *line) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	for c := range p.open {
		_ = c.Close()
		delete(p.open, c)
	}
}

func newDoor(t *testing.T, p *path, more ...string) *door {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	dir := t.TempDir()
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Use: "sig"}}})
	require.NoError(t, err)
	jwks := filepath.Join(dir, "jwks.json")
	require.NoError(t, os.WriteFile(jwks, raw, 0o600))
	keys := filepath.Join(dir, "records")
	require.NoError(t, os.Mkdir(keys, 0o700))
	for _, unit := range []string{"310000", "320000"} {
		require.NoError(t, os.WriteFile(filepath.Join(keys, unit+".key"), []byte(strings.Repeat("0d", 32)+"\n"), 0o600))
	}
	d := &door{p: p, key: key, spool: filepath.Join(dir, "spool")}
	dsn := p.env["DUIWU_CLICKHOUSE"]
	at := strings.Index(dsn, "127.0.0.1:")
	end := at + strings.IndexByte(dsn[at:], '/')
	d.database = newLine(t, dsn[at:end])
	d.args = append([]string{"gateway", "--listen", "127.0.0.1:0", "--issuer", "https://issuer.example", "--audience", "duiwu", "--jwks", jwks,
		"--spool", d.spool, "--record-keys", keys, "--clickhouse", dsn[:at] + d.database.l.Addr().String() + dsn[end:], "--log-level", "info", "--rate", "1000", "--burst", "1000"}, more...)
	d.start(t)
	t.Cleanup(d.kill)
	return d
}

func (d *door) start(t *testing.T) {
	t.Helper()
	d.cmd = exec.Command(os.Args[0], d.args...)
	d.cmd.Env = append(os.Environ(), "DUIWU_RUN_MAIN=1")
	for k, v := range d.p.env {
		if k != "DUIWU_LISTEN" {
			d.cmd.Env = append(d.cmd.Env, k+"="+v)
		}
	}
	d.cmd.Stderr = d.p.log
	out, err := d.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, d.cmd.Start())
	first, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, "%s", d.p.log)
	d.url = strings.TrimSpace(first)
}

func (d *door) kill() {
	_ = d.cmd.Process.Kill() // it may be dead already
	_ = d.cmd.Wait()
}

func (d *door) token(t *testing.T, units string) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: d.key}, (&jose.SignerOptions{}).WithHeader("kid", "k"))
	require.NoError(t, err)
	out, err := jwt.Signed(s).Claims(map[string]any{"iss": "https://issuer.example", "aud": "duiwu", "sub": "clerk", "units": units, "exp": time.Now().Add(time.Hour).Unix()}).Serialize()
	require.NoError(t, err)
	return out
}

const doorBatches = "/v1/units/310000/feeds/demo_site/batches"

func (d *door) request(t *testing.T, method, path string, body io.Reader, headers ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, d.url+path, body)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+d.token(t, "310000"))
	for n := 0; n < len(headers); n += 2 {
		req.Header.Set(headers[n], headers[n+1])
	}
	return req
}

// send posts rows under a key and returns the status; 0 when the line was cut.
func (d *door) send(t *testing.T, key string, body []byte) int {
	t.Helper()
	res, err := http.DefaultClient.Do(d.request(t, "POST", doorBatches, bytes.NewReader(body), "Idempotency-Key", key))
	if err != nil {
		return 0
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, res.Body) // the status is what is asked
	return res.StatusCode
}

// receipt waits for a batch to be complete and returns its receipt as answered.
func (d *door) receipt(t *testing.T, key string) (r flow.Receipt, raw string) {
	t.Helper()
	require.Eventually(t, func() bool {
		res, err := http.DefaultClient.Do(d.request(t, "GET", doorBatches+"/"+key, nil))
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		raw = string(b)
		r = flow.Receipt{}
		return err == nil && res.StatusCode == http.StatusOK && json.Unmarshal(b, &r) == nil && r.Status == flow.Complete
	}, 60*time.Second, 100*time.Millisecond, "%s", &raw)
	return r, raw
}

func siteFile(n int, name string) []byte {
	var b bytes.Buffer
	b.WriteString("site_id,site_name,level,status,county_code\n")
	for i := range n {
		fmt.Fprintf(&b, "S-%d,%s,1,2,310115\n", i, name)
	}
	return b.Bytes()
}

// stored says how many records and versions the database holds.
func (p *path) stored() string {
	return p.lines("SELECT concat(toString(uniqExact(record_id)), ' records ', toString(uniqExact(_version, record_id)), ' versions') FROM demo_site_history FINAL")[0]
}

// TestGatewayStoresOnceWhateverBreaks breaks every step of a delivery and repeats
// it until it is done: it is stored once, and its receipt is right.
func TestGatewayStoresOnceWhateverBreaks(t *testing.T) {
	p := newPath(t, "310000")
	broker := newLine(t, p.kafka.Brokers[0])
	p.worker()
	d := newDoor(t, p)
	want := func(key string, records int64) {
		t.Helper()
		r, raw := d.receipt(t, key)
		require.Equal(t, records, r.Declared, raw)
		require.Equal(t, records, r.Received, raw)
		require.False(t, r.SHA256Differs, raw)
		var sum int64
		for _, n := range r.By {
			sum += n
		}
		require.Equal(t, r.Received, sum, raw)
	}

	// The plain way, with the receipt at all doors alike.
	require.Equal(t, http.StatusAccepted, d.send(t, "plain", siteFile(3, "甲")))
	want("plain", 3)
	require.Equal(t, "3 records 3 versions", p.stored())

	// The client is cut in the middle of its body.
	r, w := io.Pipe()
	ctx, cut := context.WithCancel(t.Context())
	req := d.request(t, "POST", doorBatches, r, "Idempotency-Key", "cut").WithContext(ctx)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close()
			t.Errorf("a body that was cut was answered with %d", res.StatusCode)
		}
	}()
	_, err := w.Write(siteFile(4, "乙")[:60])
	require.NoError(t, err)
	cut()
	_ = w.Close() // the client waits for the end of a body that it is reading
	<-gone
	require.Equal(t, http.StatusAccepted, d.send(t, "cut", siteFile(4, "乙")))
	require.Equal(t, http.StatusOK, d.send(t, "cut", siteFile(4, "乙")))
	want("cut", 4)
	require.Equal(t, "4 records 7 versions", p.stored())

	// The broker is away: the gateway is started anew behind a line that is cut.
	d.kill()
	d.args = append(d.args, "--kafka", broker.l.Addr().String())
	broker.set(true)
	d.start(t)
	require.Equal(t, http.StatusAccepted, d.send(t, "away", siteFile(4, "丙")))
	require.Equal(t, http.StatusOK, d.send(t, "away", siteFile(4, "丙")))
	require.Equal(t, "4 records 7 versions", p.stored())

	// The gateway is killed between spool and send, comes back, and the unit
	// repeats.
	d.kill()
	d.args = d.args[:len(d.args)-2]
	d.start(t)
	require.Equal(t, http.StatusOK, d.send(t, "away", siteFile(4, "丙")))
	want("away", 4)
	require.Equal(t, "4 records 11 versions", p.stored())

	// The database is away: files are taken in, the receipt says that it cannot
	// be read, and comes when the database is back.
	d.database.set(true)
	require.Equal(t, http.StatusAccepted, d.send(t, "dark", siteFile(2, "丁")))
	res, err := http.DefaultClient.Do(d.request(t, "GET", doorBatches+"/dark", nil))
	require.NoError(t, err)
	_ = res.Body.Close()
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	require.NotEmpty(t, res.Header.Get("Retry-After"))
	d.database.set(false)
	want("dark", 2)

	// Killed at moments of its own while the unit repeats and repeats.
	file := siteFile(3000, "戊")
	for n := range 6 {
		victim := d.cmd.Process
		timer := time.AfterFunc(time.Duration(5+20*n)*time.Millisecond, func() { _ = victim.Kill() }) // it may be dead already
		d.send(t, "killed", file)                                                                     // any answer, or none
		timer.Stop()
		d.kill()
		d.start(t)
	}
	require.Contains(t, []int{http.StatusOK, http.StatusAccepted}, d.send(t, "killed", file))
	want("killed", 3000)
	left, err := filepath.Glob(filepath.Join(d.spool, "tmp", "*"))
	require.NoError(t, err)
	require.Empty(t, left, "no part of an upload is left")
	left, err = filepath.Glob(filepath.Join(d.spool, "310000", "demo_site", ".making-*"))
	require.NoError(t, err)
	require.Empty(t, left, "no half of a batch is left")
	require.NoError(t, p.run(t.Context(), "balance"), "the balance holds")
	for _, name := range []string{"甲", "乙", "丙", "丁", "戊"} {
		require.NotContains(t, p.log.String(), name, "no value of a record is logged")
	}
}

// TestGatewayTellsRefusedRowsByTheirLine: what the worker refuses comes back with
// the line of the file that was sent, and no value.
func TestGatewayTellsRefusedRowsByTheirLine(t *testing.T) {
	p := newPath(t, "310000")
	delete(p.env, "DUIWU_TEST_AREAS") // the worker refuses what the door, told otherwise, lets in
	p.worker()
	d := newDoor(t, p, "--test-areas")
	file := workerFile(t)
	res, err := http.DefaultClient.Do(d.request(t, "POST", "/v1/units/310000/feeds/worker/batches", bytes.NewReader(file), "Idempotency-Key", "rows"))
	require.NoError(t, err)
	_ = res.Body.Close()
	require.Equal(t, http.StatusAccepted, res.StatusCode)
	get := func(path string) string {
		res, err := http.DefaultClient.Do(d.request(t, "GET", "/v1/units/310000/feeds/worker/batches/rows"+path, nil))
		require.NoError(t, err)
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return string(b)
	}
	require.Eventually(t, func() bool { return strings.Contains(get(""), `"complete"`) }, 60*time.Second, 100*time.Millisecond)
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &environment{stdout: &out, stderr: &out, getenv: func(k string) string { return p.env[k] }}, []string{"receipt", "--json", "310000", "worker", "rows"}))
	require.JSONEq(t, out.String(), get(""), "one receipt at both doors")
	var refused struct {
		Rejects []struct {
			By   string
			Row  int
			Rule string
			Zh   string `json:"message_zh"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(get("/rejects")), &refused))
	rows := map[int]string{}
	for _, r := range refused.Rejects {
		rows[r.Row] = r.By + " " + r.Rule
		require.NotEmpty(t, r.Zh)
	}
	require.Equal(t, map[int]string{2: "worker ric_test_area", 3: "worker ric_test_area", 4: "check required"}, rows)
	for _, text := range []string{get("/rejects?format=csv"), get("/rejects"), p.log.String()} {
		require.NotContains(t, text, "319901")
		require.NotContains(t, text, "测试人员")
	}
}

// TestGatewayCalendar: in time, late, nothing, and not due yet, by what the tables
// hold.
func TestGatewayCalendar(t *testing.T) {
	p := newPath(t, "310000")
	p.worker()
	d := newDoor(t, p)
	for key, day := range map[string]string{"late": "2016-06-30", "early": "2016-11-30"} {
		res, err := http.DefaultClient.Do(d.request(t, "POST", doorBatches+"?as_of="+day, bytes.NewReader(siteFile(2, "点")), "Idempotency-Key", key))
		require.NoError(t, err)
		_ = res.Body.Close()
		require.Equal(t, http.StatusAccepted, res.StatusCode)
		d.receipt(t, key)
	}
	res, err := http.DefaultClient.Do(d.request(t, "GET", "/v1/units/310000/feeds/demo_site/calendar", nil))
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	var c struct {
		Feeds []struct {
			Periods []struct {
				Period, Status string
				Records, Late  int
				Due            string `json:"due_at"`
			}
		}
	}
	require.NoError(t, json.NewDecoder(res.Body).Decode(&c))
	var got []string
	for _, x := range c.Feeds[0].Periods {
		got = append(got, fmt.Sprint(x.Period, " ", x.Status, " ", x.Records, " ", x.Late, " ", x.Due))
	}
	require.Equal(t, []string{
		"2016Q4 on_time 2 0 2017-01-11T00:00:00+08:00",
		"2016Q3 none 0 0 2016-10-11T00:00:00+08:00",
		"2016Q2 late 2 2 2016-07-12T00:00:00+08:00",
		"2016Q1 none 0 0 2016-04-12T00:00:00+08:00",
	}, got)
}

// workerFile has two good workers and one without a name.
func workerFile(t *testing.T) []byte {
	t.Helper()
	cat, err := catalogue("")
	require.NoError(t, err)
	spec := cat.Feed("worker")
	example := sheet.Example(cat, spec)
	var b bytes.Buffer
	var head []string
	for _, f := range spec.Fields {
		if f.Required {
			head = append(head, f.Name)
		}
	}
	b.WriteString(strings.Join(head, ",") + "\n")
	for i := range 3 {
		var row []string
		for _, f := range spec.Fields {
			v := example[feed.Index(spec.Fields, f.Name)]
			switch {
			case f.Name == "id_number":
				v = resident(i)
			case f.Name == "name":
				v = []string{"测试人员", "测试人员", ""}[i]
			case f.Name == "county_code":
				v = "310115"
			}
			if f.Required {
				row = append(row, v)
			}
		}
		b.WriteString(strings.Join(row, ",") + "\n")
	}
	return b.Bytes()
}

// TestGatewayWantsTLS: plain text stays on this machine.
func TestGatewayWantsTLS(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		_, err := parseGateway(&environment{stdout: io.Discard, stderr: io.Discard, getenv: func(string) string { return "" }},
			append([]string{"--kafka", "k:9092", "--clickhouse", "http://c:8123/d", "--spool", "s"}, args...))
		require.ErrorContains(t, err, want)
	}
	f("not on loopback", "--listen", ":8443")
	f("not on loopback", "--listen", "0.0.0.0:8443")
	f("not on loopback", "--listen", "192.0.2.1:8443")
	f("belong together", "--tls-cert", "c")
	f("belong together", "--client-ca", "c")
	f("needs --tls-cert", "--client-ca", "c", "--certificate-unit", "subject.ou={unit}")
	_, err := parseGateway(&environment{stdout: io.Discard, stderr: io.Discard, getenv: func(string) string { return "" }}, nil)
	require.ErrorContains(t, err, "--kafka, --clickhouse, --spool")
}

// TestGatewayOverTLS signs in by certificate, as the command is run.
func TestGatewayOverTLS(t *testing.T) {
	p := newPath(t, "310000")
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	write := func(name, kind string, raw []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600))
		return path
	}
	// One certificate is authority, server and client: what is tried is who it speaks for.
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway", OrganizationalUnit: []string{"310000"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	cert, private := write("cert.pem", "CERTIFICATE", raw), write("key.pem", "PRIVATE KEY", pkcs8)
	d := newDoor(t, p, "--tls-cert", cert, "--tls-key", private, "--client-ca", cert, "--certificate-unit", "subject.ou={unit}")
	require.True(t, strings.HasPrefix(d.url, "https://"), d.url)
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(raw)
	require.NoError(t, err)
	pool.AddCert(parsed)
	f := func(path string, want int, certificates ...tls.Certificate) {
		t.Helper()
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certificates}, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		res, err := (&http.Client{Transport: transport}).Get(d.url + path)
		require.NoError(t, err)
		_ = res.Body.Close()
		require.Equal(t, want, res.StatusCode)
		require.Equal(t, 2, res.ProtoMajor)
		require.NotEmpty(t, res.Header.Get("Strict-Transport-Security"))
	}
	mine := tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
	f("/v1/session", http.StatusUnauthorized)
	f("/v1/session", http.StatusOK, mine)
	f("/v1/units/310000/calendar", http.StatusOK, mine)
	f("/v1/units/320000/calendar", http.StatusNotFound, mine)
	f("/readyz", http.StatusOK)
	f("/metrics", http.StatusNotFound, mine)
}
