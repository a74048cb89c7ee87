package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/sync/singleflight"
)

// TokenOptions say which bearer tokens count and which units they speak for.
type TokenOptions struct {
	// Issuer and Audience must stand in iss and aud; both are required.
	Issuer, Audience string
	// Keys is the JWKS: a file, or an https URL (http on loopback only).
	Keys string
	// Claim names the claim with the units: one string, words with spaces
	// between them, or an array. Only words with Prefix count; it is cut off.
	Claim, Prefix string
	// Roots judge the certificate of an https URL; nil means the system's.
	Roots *x509.CertPool
	Clock func() time.Time
}

// The algorithms that count. Symmetric ones would let anybody who can read the
// key set sign.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA}

const (
	maxToken = 16 << 10
	maxKeys  = 1 << 20
	leeway   = time.Minute
	// keysFresh is how long a key that the issuer took out is still believed,
	// keysKept how long the last set serves while the issuer does not answer.
	keysFresh = 5 * time.Minute
	keysKept  = 24 * time.Hour
	// keysPause keeps tokens with made-up key ids from turning the gateway
	// against the issuer.
	keysPause = 10 * time.Second
)

// Tokens checks bearer tokens. Any number of goroutines may use it.
type Tokens struct {
	opt  TokenOptions
	keys keySet
}

// NewTokens reads no key yet: the issuer may start later than the gateway.
func NewTokens(opt TokenOptions) (*Tokens, error) {
	var missing []string
	for _, f := range [][2]string{{"issuer", opt.Issuer}, {"audience", opt.Audience}, {"JWKS", opt.Keys}, {"unit claim", opt.Claim}} {
		if f[1] == "" {
			missing = append(missing, f[0])
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("cannot check tokens: %s not given", strings.Join(missing, ", "))
	}
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	t := &Tokens{opt: opt, keys: keySet{source: opt.Keys, clock: opt.Clock}}
	if u, err := url.Parse(opt.Keys); err == nil && (u.Scheme == "https" || u.Scheme == "http") {
		if u.Scheme == "http" && !loopback(u.Hostname()) {
			return nil, fmt.Errorf("cannot read the JWKS over plain http from %s: use https", u.Host)
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig.RootCAs = opt.Roots
		t.keys.client = &http.Client{Timeout: 5 * time.Second, Transport: transport,
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return errors.New("the JWKS address redirects; give the final one")
			}}
	}
	return t, nil
}

// Ready says whether keys are known, reading them when they are not.
func (t *Tokens) Ready(ctx context.Context) error {
	_, err := t.keys.find(ctx, "", "")
	if errors.Is(err, errNoKey) {
		err = nil // there are keys, none of which has no name
	}
	return err
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// badToken is a token that does not count. Its text may be shown to the caller.
type badToken string

func (b badToken) Error() string { return string(b) }

// verify returns the token's subject and the words of its unit claim. cert is
// the caller's certificate, if any: a token bound to one (RFC 8705) counts only
// together with it.
func (t *Tokens) verify(ctx context.Context, raw string, cert *x509.Certificate) (subject string, units []string, err error) {
	if len(raw) > maxToken {
		return "", nil, badToken("the token is longer than 16 KB")
	}
	tok, err := jwt.ParseSigned(raw, algorithms)
	if err != nil || len(tok.Headers) != 1 {
		return "", nil, badToken("it is no JWT signed with RS256, ES256 or EdDSA")
	}
	head := tok.Headers[0]
	if typ, _ := head.ExtraHeaders[jose.HeaderType].(string); typ != "" {
		switch strings.TrimPrefix(strings.ToLower(typ), "application/") {
		case "jwt", "at+jwt":
		default:
			return "", nil, badToken("its typ is neither JWT nor at+jwt")
		}
	}
	keys, err := t.keys.find(ctx, head.KeyID, head.Algorithm)
	if errors.Is(err, errNoKey) {
		return "", nil, badToken("no key of the issuer has its kid and algorithm")
	}
	if err != nil {
		return "", nil, err
	}
	var claims jwt.Claims
	var all map[string]any
	signed := false
	for _, k := range keys {
		if signed = tok.Claims(k.Key, &claims, &all) == nil; signed {
			break
		}
	}
	switch {
	case !signed:
		return "", nil, badToken("its signature does not hold")
	case claims.Expiry == nil:
		return "", nil, badToken("it has no exp")
	}
	if err := claims.ValidateWithLeeway(jwt.Expected{Issuer: t.opt.Issuer, AnyAudience: jwt.Audience{t.opt.Audience}, Time: t.opt.Clock()}, leeway); err != nil {
		for _, w := range []struct {
			err error
			say badToken
		}{
			{jwt.ErrInvalidIssuer, "its iss is not the issuer that counts here"}, {jwt.ErrInvalidAudience, "its aud does not name this gateway"},
			{jwt.ErrExpired, "it has expired"}, {jwt.ErrNotValidYet, "it is not valid yet"}, {jwt.ErrIssuedInTheFuture, "its iat lies in the future"},
		} {
			if errors.Is(err, w.err) {
				return "", nil, w.say
			}
		}
		return "", nil, badToken("its claims do not hold")
	}
	if !bound(all, cert) {
		return "", nil, badToken("it is bound to another client certificate")
	}
	for _, word := range words(all[t.opt.Claim]) {
		if unit, ok := strings.CutPrefix(word, t.opt.Prefix); ok {
			units = append(units, unit)
		}
	}
	return claims.Subject, units, nil
}

// bound says whether a token's confirmation claim, if it has one, fits. A kind
// of confirmation that is not known here cannot be checked and does not hold.
func bound(claims map[string]any, cert *x509.Certificate) bool {
	cnf, has := claims["cnf"]
	if !has {
		return true
	}
	m, _ := cnf.(map[string]any)
	want, _ := m["x5t#S256"].(string)
	if want == "" || cert == nil {
		return false
	}
	sum := sha256.Sum256(cert.Raw)
	return want == base64.RawURLEncoding.EncodeToString(sum[:])
}

func words(claim any) []string {
	switch v := claim.(type) {
	case string:
		return strings.Fields(v)
	case []any:
		var out []string
		for _, x := range v {
			if s, ok := x.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

var errNoKey = errors.New("no such key")

// keySet is a JWKS that is read again when it grows old and when a token names
// a key that is not in it.
type keySet struct {
	source string
	client *http.Client // nil: source is a file
	clock  func() time.Time
	once   singleflight.Group

	mu          sync.Mutex
	keys        []jose.JSONWebKey
	read, tried time.Time
}

// find returns the keys that a token's header may mean.
func (s *keySet) find(ctx context.Context, kid, alg string) ([]jose.JSONWebKey, error) {
	fit, age, since := s.look(kid, alg)
	switch {
	case (age > keysKept || len(fit) == 0) && since > keysPause:
		if err := s.refresh(ctx); err != nil && age > keysKept {
			return nil, fmt.Errorf("cannot read the issuer's keys: %w", err)
		}
		fit, _, _ = s.look(kid, alg)
	case age > keysKept:
		return nil, errors.New("cannot read the issuer's keys: the last try failed moments ago")
	case age > keysFresh && since > keysPause:
		// The old set serves this request; the next one has the new set.
		go func() { _ = s.refresh(context.WithoutCancel(ctx)) }()
	}
	if len(fit) == 0 {
		return nil, errNoKey
	}
	return fit, nil
}

func (s *keySet) look(kid, alg string) (fit []jose.JSONWebKey, age, sinceTried time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	for _, k := range s.keys {
		if (kid == "" || k.KeyID == kid) && suits(k, alg) {
			fit = append(fit, k)
		}
	}
	return fit, now.Sub(s.read), now.Sub(s.tried)
}

// suits says whether a key may have signed with an algorithm.
func suits(k jose.JSONWebKey, alg string) bool {
	if k.Use != "" && k.Use != "sig" || k.Algorithm != "" && k.Algorithm != alg {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return alg == string(jose.RS256) && key.N.BitLen() >= 2048
	case *ecdsa.PublicKey:
		return alg == string(jose.ES256) && key.Curve.Params().BitSize == 256
	case ed25519.PublicKey:
		return alg == string(jose.EdDSA)
	}
	return false // symmetric and private keys have no place in a JWKS
}

func (s *keySet) refresh(ctx context.Context) error {
	_, err, _ := s.once.Do("", func() (any, error) {
		s.mu.Lock()
		s.tried = s.clock()
		s.mu.Unlock()
		raw, err := s.load(context.WithoutCancel(ctx)) // shared: one caller's end is not the others'
		if err != nil {
			return nil, err
		}
		// One key of an unknown kind must not hide the others.
		var set struct {
			Keys []json.RawMessage `json:"keys"`
		}
		if err := json.Unmarshal(raw, &set); err != nil {
			return nil, errors.New("it is no JWKS")
		}
		var keys []jose.JSONWebKey
		for _, one := range set.Keys {
			var k jose.JSONWebKey
			if json.Unmarshal(one, &k) == nil && k.Valid() && k.IsPublic() {
				keys = append(keys, k)
			}
		}
		if len(keys) == 0 {
			return nil, errors.New("it holds no public key")
		}
		s.mu.Lock()
		s.keys, s.read = keys, s.clock()
		s.mu.Unlock()
		return nil, nil
	})
	return err
}

func (s *keySet) load(ctx context.Context) ([]byte, error) {
	if s.client == nil {
		f, err := os.Open(s.source)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // it was only read
		return io.ReadAll(io.LimitReader(f, maxKeys))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.source, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", res.StatusCode)
	}
	return io.ReadAll(io.LimitReader(res.Body, maxKeys))
}
