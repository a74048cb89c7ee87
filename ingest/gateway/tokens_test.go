package gateway_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/gateway"
)

// Every way in which a token may be wrong ends at the door.
func TestTokensThatDoNotCount(t *testing.T) {
	b := newBench(t, nil)
	stranger := newIssuer(t, "ec1")
	b.issuer.add("rsa1")
	b.issuer.add("ed1")
	b.issuer.publish()
	b.now.Add(int64(time.Minute)) // the gateway may look for new keys again
	ask := func(token string) int { t.Helper(); return b.get("/v1/session", token).status }
	for _, kid := range []string{"ec1", "rsa1", "ed1"} {
		require.Equal(t, http.StatusOK, ask(b.issuer.sign(kid, claims("310000"))), kid)
	}
	good := b.token("310000")
	parts := strings.Split(good, ".")
	enc := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	public, err := x509.MarshalPKIXPublicKey(b.issuer.keys["ec1"].(*ecdsa.PrivateKey).Public())
	require.NoError(t, err)
	mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
	confused := enc(`{"alg":"HS256","kid":"ec1"}`) + "." + parts[1]
	mac.Write([]byte(confused))
	at := func(d time.Duration) int64 { return noon.Add(d).Unix() }
	for name, token := range map[string]string{
		"no token at all":          "x",
		"another issuer's key":     stranger.sign("ec1", claims("310000")),
		"none":                     enc(`{"alg":"none"}`) + "." + parts[1] + ".",
		"none with a signature":    enc(`{"alg":"none","kid":"ec1"}`) + "." + parts[1] + "." + parts[2],
		"public key as HMAC key":   confused + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"other claims":             parts[0] + "." + enc(`{"units":"320000"}`) + "." + parts[2],
		"no signature":             parts[0] + "." + parts[1] + ".",
		"two parts":                parts[0] + "." + parts[1],
		"unknown kid":              strings.Replace(good, parts[0], enc(`{"alg":"ES256","kid":"other","typ":"JWT"}`), 1),
		"another type":             strings.Replace(good, parts[0], enc(`{"alg":"ES256","kid":"ec1","typ":"dpop+jwt"}`), 1),
		"crit":                     strings.Replace(good, parts[0], enc(`{"alg":"ES256","kid":"ec1","crit":["x"],"x":1}`), 1),
		"a key inside of it":       strings.Replace(good, parts[0], enc(`{"alg":"ES256","jwk":{}}`), 1),
		"expired":                  b.issuer.sign("ec1", claims("310000", "exp", at(-2*time.Minute))),
		"no exp":                   b.issuer.sign("ec1", claims("310000", "exp", nil)),
		"not yet valid":            b.issuer.sign("ec1", claims("310000", "nbf", at(10*time.Minute))),
		"issued in the future":     b.issuer.sign("ec1", claims("310000", "iat", at(10*time.Minute))),
		"another iss":              b.issuer.sign("ec1", claims("310000", "iss", "https://issuer.example.evil")),
		"no iss":                   b.issuer.sign("ec1", claims("310000", "iss", nil)),
		"another aud":              b.issuer.sign("ec1", claims("310000", "aud", "another-service")),
		"no aud":                   b.issuer.sign("ec1", claims("310000", "aud", nil)),
		"bound to a certificate":   b.issuer.sign("ec1", claims("310000", "cnf", map[string]string{"x5t#S256": "abc"})),
		"bound by an unknown kind": b.issuer.sign("ec1", claims("310000", "cnf", map[string]string{"jkt": "abc"})),
		"too long":                 b.issuer.sign("ec1", claims("310000", "pad", strings.Repeat("x", 20<<10))),
	} {
		res := b.get("/v1/session", token)
		require.Equal(t, http.StatusUnauthorized, res.status, name)
		require.Equal(t, "unauthorized", res.slug(), name)
		require.Contains(t, res.header.Get("WWW-Authenticate"), "Bearer", name)
	}
	res := b.get("/v1/session", "")
	require.Equal(t, http.StatusUnauthorized, res.status)
	require.Equal(t, `Bearer realm="duiwu"`, res.header.Get("WWW-Authenticate"))
	require.Equal(t, http.StatusUnauthorized, b.get("/v1/session", "", "Authorization", "Basic Zm9vOmJhcg==").status)
	require.Equal(t, http.StatusUnauthorized, b.get("/v1/session", good, "Authorization", "Bearer "+good).status, "two headers")
	// A token that speaks for no unit gets nobody in; what is no unit is passed over.
	for _, units := range []any{"", "999999", "710000", 310000, nil, []any{7}, map[string]any{"310000": true}} {
		require.Equal(t, http.StatusForbidden, ask(b.issuer.sign("ec1", claims("", "units", units))), units)
	}
	require.Equal(t, http.StatusOK, ask(b.issuer.sign("ec1", claims("", "units", []string{"x", "310000"}))))
	require.Equal(t, http.StatusOK, ask(b.issuer.sign("ec1", claims("310000", "aud", []string{"other", audience}))))
	require.NotContains(t, b.log.String(), parts[2], "no token is logged")
}

func TestUnitsBehindAPrefix(t *testing.T) {
	b := newBench(t, func(o *gateway.Options) {})
	tokens, err := gateway.NewTokens(gateway.TokenOptions{Issuer: issuerName, Audience: audience, Keys: b.issuer.file, Claim: "scope", Prefix: "duiwu:unit:", Clock: b.opt.Clock})
	require.NoError(t, err)
	b.stop()
	b.opt.Tokens = tokens
	b.start()
	require.Equal(t, http.StatusOK, b.get("/v1/session", b.issuer.sign("ec1", claims("", "scope", "openid duiwu:unit:310000"))).status)
	require.Equal(t, http.StatusForbidden, b.get("/v1/session", b.issuer.sign("ec1", claims("310000", "scope", "310000"))).status)
}

// Keys come and go at the issuer: a new one counts at once, one that was taken
// out stops counting, and an issuer that is away takes nobody down.
func TestKeysRotate(t *testing.T) {
	f := func(name string, source func(*testing.T, *issuer) (keys string, roots *x509.CertPool, away *atomic.Bool)) {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.stop()
			b.issuer = newIssuer(t, "ec1")
			keys, roots, gone := source(t, b.issuer)
			var err error
			b.opt.Tokens, err = gateway.NewTokens(gateway.TokenOptions{Issuer: issuerName, Audience: audience, Keys: keys, Roots: roots, Claim: "units", Clock: b.opt.Clock})
			require.NoError(t, err)
			b.start()
			ask := func(kid string) int {
				t.Helper()
				return b.get("/v1/session", b.issuer.sign(kid, claims("310000"))).status
			}
			away := func(is bool) {
				switch {
				case gone != nil:
					gone.Store(is)
				case is:
					require.NoError(t, os.Rename(b.issuer.file, b.issuer.file+".away"))
				default:
					require.NoError(t, os.Rename(b.issuer.file+".away", b.issuer.file))
				}
			}
			away(true)
			require.Equal(t, http.StatusServiceUnavailable, ask("ec1"), "no key was ever read")
			away(false)
			b.now.Add(int64(time.Minute))
			require.Equal(t, http.StatusOK, ask("ec1"))
			b.issuer.add("ec2")
			b.issuer.publish()
			require.Equal(t, http.StatusUnauthorized, ask("ec2"), "a made-up kid must not make the gateway ask each time")
			b.now.Add(int64(11 * time.Second))
			require.Equal(t, http.StatusOK, ask("ec2"))
			old := b.issuer.sign("ec1", claims("310000"))
			delete(b.issuer.keys, "ec1")
			b.issuer.publish()
			b.now.Add(int64(6 * time.Minute))
			require.Eventually(t, func() bool { return b.get("/v1/session", old).status == http.StatusUnauthorized }, 5*time.Second, 10*time.Millisecond)
			away(true)
			b.now.Add(int64(20 * time.Minute))
			require.Equal(t, http.StatusOK, ask("ec2"), "the last keys serve while the issuer is away")
		})
	}
	f("file", func(_ *testing.T, i *issuer) (string, *x509.CertPool, *atomic.Bool) {
		return i.file, nil, nil
	})
	f("https", func(t *testing.T, i *issuer) (string, *x509.CertPool, *atomic.Bool) {
		gone := &atomic.Bool{}
		s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if gone.Load() {
				http.Error(w, "away", http.StatusBadGateway)
				return
			}
			raw, err := os.ReadFile(i.file)
			if err == nil {
				_, err = w.Write(raw)
			}
			if err != nil {
				t.Error(err)
			}
		}))
		t.Cleanup(s.Close)
		pool := x509.NewCertPool()
		pool.AddCert(s.Certificate())
		return s.URL, pool, gone
	})
}

func TestAnIssuerOverPlainHTTPIsRefused(t *testing.T) {
	_, err := gateway.NewTokens(gateway.TokenOptions{Issuer: "i", Audience: "a", Claim: "c", Keys: "http://keys.example/jwks"})
	require.ErrorContains(t, err, "use https")
	_, err = gateway.NewTokens(gateway.TokenOptions{Issuer: "i", Keys: "f"})
	require.ErrorContains(t, err, "audience, unit claim not given")
}

// authority signs client certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a := &authority{t: t, key: key, cert: &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}}
	raw, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, key.Public(), key)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(raw)
	require.NoError(t, err)
	return a
}

func (a *authority) sign(template *x509.Certificate) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(7), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	require.NoError(a.t, err)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

// The unit stands in the client's certificate, by a declared rule and no other.
func TestCertificates(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	f := func(rule string, cert *tls.Certificate, token func(*bench) string, want int) {
		t.Helper()
		b := newBench(t, func(o *gateway.Options) {
			var err error
			o.Certificates, err = gateway.ParseCertificateRule(rule)
			require.NoError(t, err)
		})
		pool := x509.NewCertPool()
		pool.AddCert(a.cert)
		s := httptest.NewUnstartedServer(b.g.Handler())
		s.TLS = &tls.Config{ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven}
		s.StartTLS()
		defer s.Close()
		client := s.Client()
		if cert != nil {
			client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{*cert}
		}
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/v1/units/310000/feeds/worker/calendar", nil)
		require.NoError(t, err)
		if token != nil {
			req.Header.Set("Authorization", "Bearer "+token(b))
		}
		res, err := client.Do(req)
		if want == 0 {
			require.Error(t, err, "the handshake fails")
			return
		}
		require.NoError(t, err)
		_ = res.Body.Close()
		require.Equal(t, want, res.StatusCode, rule)
	}
	uri := func(s string) *url.URL { return must(url.Parse(s)) }
	signed := func(c x509.Certificate) *tls.Certificate { s := a.sign(&c); return &s }
	const in, hidden = http.StatusServiceUnavailable, http.StatusNotFound // the database of these tests is away: who gets there is in
	ou := func(units ...string) x509.Certificate {
		return x509.Certificate{Subject: pkix.Name{OrganizationalUnit: units}}
	}
	f("subject.ou={unit}", signed(ou("310000")), nil, in)
	f("subject.ou={unit}", signed(ou("anything", "310000")), nil, in)
	f("subject.ou={unit}", signed(ou("320000")), nil, hidden)
	f("subject.ou={unit}", signed(ou("310000", "320000")), nil, http.StatusUnauthorized)
	f("subject.ou={unit}", signed(ou("3100001")), nil, http.StatusUnauthorized)
	f("subject.cn={unit}", signed(ou("310000")), nil, http.StatusUnauthorized)
	f("subject.cn=unit-{unit}", signed(x509.Certificate{Subject: pkix.Name{CommonName: "unit-310000"}}), nil, in)
	f("san.uri=spiffe://duiwu/unit/{unit}", signed(x509.Certificate{URIs: []*url.URL{uri("spiffe://duiwu/unit/310000")}}), nil, in)
	f("san.uri=spiffe://duiwu/unit/{unit}", signed(x509.Certificate{URIs: []*url.URL{uri("spiffe://duiwu/unit/310000/x")}}), nil, http.StatusUnauthorized)
	f("san.dns={unit}.push.example", signed(x509.Certificate{DNSNames: []string{"310000.push.example"}}), nil, in)
	f("san.dns={unit}.push.example", signed(x509.Certificate{DNSNames: []string{"310000xpush.example"}}), nil, http.StatusUnauthorized)
	f("subject.ou={unit}", nil, nil, http.StatusUnauthorized)
	foreign := ou("310000")
	f("subject.ou={unit}", func() *tls.Certificate { s := stranger.sign(&foreign); return &s }(), nil, 0)
	// With both, both have to grant it.
	f("subject.ou={unit}", signed(ou("310000")), func(b *bench) string { return b.token("310000 320000") }, in)
	f("subject.ou={unit}", signed(ou("320000")), func(b *bench) string { return b.token("310000 320000") }, hidden)
	f("subject.ou={unit}", signed(ou("320000")), func(b *bench) string { return b.token("310000") }, http.StatusForbidden)
	f("subject.ou={unit}", signed(ou("310000")), func(*bench) string { return "nonsense" }, http.StatusUnauthorized)
	// A token bound to a certificate counts with it.
	mine := signed(ou("310000"))
	sum := sha256.Sum256(mine.Certificate[0])
	bound := func(b *bench) string {
		return b.issuer.sign("ec1", claims("310000", "cnf", map[string]string{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}))
	}
	f("subject.ou={unit}", mine, bound, in)
	f("subject.ou={unit}", signed(ou("310000")), bound, http.StatusUnauthorized)
	for _, bad := range []string{"", "subject.ou", "subject.ou=310000", "issuer.cn={unit}", "subject.ou={unit}{unit}"} {
		_, err := gateway.ParseCertificateRule(bad)
		require.Error(t, err, bad)
	}
}
