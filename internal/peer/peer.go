// Package peer is how the process proves itself to servers and knows them: who
// they are, what it shows them, and whether they are this machine. What is secret
// is read from its file when it is used, never kept: a file that was changed, as
// Kubernetes does by turning a link, counts from the next login on. It is a leaf.
package peer

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// Local says whether a host is this machine: what is sent there crosses no network.
func Local(host string) bool {
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Line reads a secret of one line. It may be called at any time; errors name the
// file, never its content.
func Line(file string) (string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("cannot read a secret: %w", err)
	}
	text := strings.TrimRight(string(raw), "\r\n")
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return "", fmt.Errorf("cannot use the secret in %s: want one line", file)
	}
	return text, nil
}

// TLS says by PEM files whom to believe and what to show.
type TLS struct {
	// CA is the authority of the server's certificate; empty means the system's.
	CA string
	// Cert and Key are what the server is shown; both or neither.
	Cert, Key string
}

// Config makes a configuration that verifies the server. The client's certificate
// is read again for every handshake at which its file has changed.
func (t TLS) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if t.CA != "" {
		if c.RootCAs, err = Pool(t.CA); err != nil {
			return nil, err
		}
	}
	if t.Cert == "" && t.Key == "" {
		return c, nil
	}
	pair, err := NewPair(t.Cert, t.Key)
	if err != nil {
		return nil, err
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.Current() }
	return c, nil
}

// Pool reads the certificates of authorities.
func Pool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read an authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", file)
	}
	return pool, nil
}

// Pair is a certificate and its key in two files. It may be used by any number of
// goroutines.
type Pair struct {
	cert, key string

	mu   sync.Mutex
	held *tls.Certificate
	seen time.Time
}

// NewPair reads both files.
func NewPair(cert, key string) (*Pair, error) {
	if cert == "" || key == "" {
		return nil, errors.New("a certificate and its key belong together; one of the two files is not named")
	}
	p := &Pair{cert: cert, key: key}
	_, err := p.Current()
	return p, err
}

// Current is the certificate that lies in the files now. While the files do not
// fit each other, as in the middle of a renewal, it is the one before.
func (p *Pair) Current() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := os.Stat(p.cert)
	if p.held != nil && (err != nil || info.ModTime().Equal(p.seen)) {
		return p.held, nil
	}
	pair, err := tls.LoadX509KeyPair(p.cert, p.key)
	switch {
	case err == nil:
		// The time of before the reading: what was written since is read again.
		p.held, p.seen = &pair, info.ModTime()
	case p.held == nil:
		return nil, fmt.Errorf("cannot read a certificate and its key: %w", err)
	}
	return p.held, nil
}
