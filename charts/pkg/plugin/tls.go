package plugin

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// encrypted writes an address for the driver, which takes https for an address
// with TLS only when a parameter says it again.
func encrypted(u *url.URL) string {
	if u.Scheme != "https" {
		return u.String()
	}
	q := u.Query()
	q.Set("secure", "true")
	v := *u
	v.RawQuery = q.Encode()
	return v.String()
}

// secure applies the settings of TLS to the options of the driver. They say how
// the server is known; that the way is encrypted, the address says.
func (c Config) secure(o *clickhouse.Options) error {
	if strings.TrimSpace(c.CACert) == "" && !c.TLSSkipVerify {
		return nil
	}
	if o.TLS == nil {
		return fmt.Errorf("cannot use the settings of TLS: the address does not begin with https://")
	}
	t := o.TLS.Clone()
	t.MinVersion = tls.VersionTLS12
	t.InsecureSkipVerify = c.TLSSkipVerify
	if ca := strings.TrimSpace(c.CACert); ca != "" {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return fmt.Errorf("cannot use the CA certificate: it holds no certificate in PEM form")
		}
	}
	o.TLS = t
	return nil
}
