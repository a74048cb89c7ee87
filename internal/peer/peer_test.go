package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLocal(t *testing.T) {
	f := func(host string, want bool) { t.Helper(); require.Equal(t, want, Local(host), host) }
	f("127.0.0.1", true)
	f("127.8.0.1", true)
	f("::1", true)
	f("[::1]", true)
	f("localhost", true)
	f("0.0.0.0", false)
	f("10.0.0.1", false)
	f("localhost.example", false)
	f("kafka", false)
	f("", false)
}

func TestPlainIsWhatCrossesANetworkInClear(t *testing.T) {
	f := func(dsn string, want bool) {
		t.Helper()
		d, err := NewDatabase(dsn, "", TLS{})
		require.NoError(t, err)
		require.Equal(t, want, d.Plain(), dsn)
	}
	f("http://127.0.0.1/x", false)
	f("http://[::1]:8123/x", false)
	f("http://clickhouse/x", true)
	f("http://clickhouse:8123/x", true)
	f("https://clickhouse/x", false)
	_, err := NewDatabase("http://clickhouse/x", "", TLS{CA: "ca.pem"})
	require.ErrorContains(t, err, "write https://")
}

func TestASecretIsOneLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	f := func(text, want string) {
		t.Helper()
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		got, err := Line(file)
		if want == "" {
			require.ErrorContains(t, err, file)
			require.NotContains(t, err.Error(), "s3cret")
			return
		}
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	f("s3cret", "s3cret")
	f("s3cret\r\n", "s3cret")
	f(" s3cret \n", " s3cret ")
	f("", "")
	f("\n", "")
	f("s3cret\nanother\n", "")
}

// issue writes a certificate of its own authority and its key.
func issue(t *testing.T, name, cert, key string) []byte {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(t, err)
	write := func(file, kind string, b []byte) {
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600))
		// Files of one moment have one time on coarse clocks.
		require.NoError(t, os.Chtimes(file, time.Time{}, time.Now().Add(time.Duration(len(name))*time.Second)))
	}
	write(cert, "CERTIFICATE", der)
	write(key, "PRIVATE KEY", pkcs8)
	return der
}

// A client's certificate is renewed while the process runs: the next handshake
// shows the new one, and half of a renewal the old one.
func TestACertificateIsReadAgainWhenItChanges(t *testing.T) {
	seen := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.TLS.PeerCertificates[0].Subject.CommonName }))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	defer server.Close()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(at("ca"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	issue(t, "first", at("cert"), at("key"))
	config, err := TLS{CA: at("ca"), Cert: at("cert"), Key: at("key")}.Config()
	require.NoError(t, err)
	shown := func() string {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
		res, err := client.Get(server.URL)
		require.NoError(t, err)
		_ = res.Body.Close()
		return <-seen
	}
	require.Equal(t, "first", shown())
	issue(t, "second!", at("cert"), at("other key"))
	require.Equal(t, "first", shown(), "the key does not fit yet")
	require.NoError(t, os.Rename(at("other key"), at("key")))
	require.Equal(t, "second!", shown())

	// The server is verified, and there is no way around it.
	config, err = TLS{Cert: at("cert"), Key: at("key")}.Config()
	require.NoError(t, err)
	_, err = (&http.Client{Transport: &http.Transport{TLSClientConfig: config}}).Get(server.URL)
	require.ErrorContains(t, err, "certificate")
	for _, bad := range []TLS{{Cert: at("cert")}, {Key: at("key")}, {CA: at("key")}, {CA: at("none")}, {Cert: at("ca"), Key: at("key")}} {
		_, err := bad.Config()
		require.Error(t, err, "%v", bad)
	}
}

func TestAddressesAreReadWithoutTellingThePassword(t *testing.T) {
	for _, dsn := range []string{"", "http://", "host:8123/duiwu", "tcp://host/duiwu", "http://user:secret@host:8123", "http://user:se%cret@host/duiwu"} {
		_, err := NewDatabase(dsn, "", TLS{})
		require.ErrorContains(t, err, "write http://user:password@host:8123/database", dsn)
		require.False(t, strings.Contains(err.Error(), "secret"))
	}
	d, err := NewDatabase("https://host/duiwu", "", TLS{})
	require.NoError(t, err)
	require.Equal(t, "host:8443", d.Addr)
	require.Equal(t, "host", d.TLS.ServerName)
	require.False(t, d.TLS.InsecureSkipVerify)
	d, err = NewDatabase("http://[::1]/duiwu", "", TLS{})
	require.NoError(t, err)
	require.Equal(t, "[::1]:8123", d.Addr)
}
