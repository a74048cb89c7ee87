package peer

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel/propagation"
)

// Database is a ClickHouse behind its HTTP interface.
type Database struct {
	// Scheme is http or https, Addr host:port, Name the database's.
	Scheme, Addr, Name string
	// User is who it was said at the start; see Transport.
	User string
	// TLS is nil with http.
	TLS *tls.Config

	login func() (*url.Userinfo, error)
}

// errDSN never quotes what it is about: a DSN holds a password.
var errDSN = errors.New("cannot read the DSN: write http://user:password@host:8123/database, or https")

// NewDatabase reads a DSN, http://user:password@host:8123/database or https, or
// the file that holds it. User and password are read from the file anew for every
// request; another address counts from the next start on. It does not connect.
func NewDatabase(dsn, file string, t TLS) (*Database, error) {
	read := func() (*url.URL, error) {
		text := dsn
		if file != "" {
			var err error
			if text, err = Line(file); err != nil {
				return nil, err
			}
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			return nil, errDSN
		}
		return u, nil
	}
	u, err := read()
	if err != nil {
		return nil, err
	}
	d := &Database{Scheme: u.Scheme, Addr: u.Host, Name: strings.Trim(u.Path, "/"), User: u.User.Username()}
	if d.Name == "" || strings.Contains(d.Name, "/") {
		return nil, errDSN
	}
	if u.Port() == "" {
		d.Addr = net.JoinHostPort(u.Hostname(), map[string]string{"http": "8123", "https": "8443"}[u.Scheme])
	}
	if u.Scheme == "http" && t != (TLS{}) {
		return nil, errors.New("the DSN begins with http:// and says certificates; write https://")
	}
	if u.Scheme == "https" {
		if d.TLS, err = t.Config(); err != nil {
			return nil, err
		}
		d.TLS.ServerName = u.Hostname()
	}
	held := u.User
	d.login = func() (*url.Userinfo, error) { return held, nil }
	if file != "" {
		d.login = func() (*url.Userinfo, error) {
			u, err := read()
			if err != nil {
				return nil, fmt.Errorf("cannot log in to the database: %w", err)
			}
			return u.User, nil
		}
	}
	return d, nil
}

// Plain says whether what is sent crosses a network without TLS.
func (d *Database) Plain() bool {
	u := url.URL{Host: d.Addr}
	return d.Scheme == "http" && !Local(u.Hostname())
}

// Transport puts on every request who asks, and the trace that it belongs to.
func (d *Database) Transport(next http.RoundTripper) http.RoundTripper {
	return transport{d, next}
}

type transport struct {
	d    *Database
	next http.RoundTripper
}

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	who, err := t.d.login()
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // a round tripper closes it whatever happens
		}
		return nil, err
	}
	req = req.Clone(req.Context())
	password, _ := who.Password()
	// The driver logs in as the user default where it was told of none.
	req.Header.Del("Authorization")
	req.Header.Del("X-ClickHouse-SSL-Certificate-Auth")
	req.Header.Set("X-ClickHouse-User", who.Username())
	req.Header.Set("X-ClickHouse-Key", password)
	propagation.TraceContext{}.Inject(req.Context(), propagation.HeaderCarrier(req.Header))
	return t.next.RoundTrip(req)
}

// CloseIdleConnections is what http.Client looks for.
func (t transport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
