package sink

import (
	"bytes"
	"encoding/pem"
	"log/slog"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/peer"
)

// The password of the database changes under a sink: the file is read with every
// request, on both ways to the server.
func TestTheLoginIsReadAgain(t *testing.T) {
	direct := fresh(t, "demo_site")
	good := direct.opt.DSN
	bad, err := url.Parse(good)
	require.NoError(t, err)
	bad.User = url.UserPassword(bad.User.Username(), "s3cret")
	file := filepath.Join(t.TempDir(), "dsn")
	write := func(dsn string) { require.NoError(t, os.WriteFile(file, []byte(dsn+"\n"), 0o600)) }
	write(good)
	s, err := Open(t.Context(), Options{File: file, Catalogue: direct.opt.Catalogue})
	require.NoError(t, err)
	defer s.Close()
	both := func() (error, error) {
		_, err := s.Ping(t.Context())
		return err, s.rows(t.Context(), "SELECT 1", nil, func(func(...any) error) error { return nil })
	}
	a, b := both()
	require.NoError(t, a)
	require.NoError(t, b)
	write(bad.String())
	a, b = both()
	for _, err := range []error{a, b} {
		require.True(t, flow.IsPermanent(err), "%v", err)
		require.NotContains(t, err.Error(), "s3cret")
	}
	write(good)
	a, b = both()
	require.NoError(t, a)
	require.NoError(t, b)
	write("half of a")
	a, b = both()
	require.ErrorContains(t, a, "cannot log in to the database")
	require.Error(t, b)
}

// https is verified: against the authority that was named, and not without it.
func TestTheServerIsVerified(t *testing.T) {
	direct := fresh(t, "demo_site")
	server := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: direct.server.Addr}))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	u, err := url.Parse(direct.opt.DSN)
	require.NoError(t, err)
	u.Scheme, u.Host = "https", strings.TrimPrefix(server.URL, "https://")
	s, err := Open(t.Context(), Options{DSN: u.String(), TLS: peer.TLS{CA: ca}, Catalogue: direct.opt.Catalogue})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.rows(t.Context(), "SELECT 1", nil, func(func(...any) error) error { return nil }))
	_, err = Open(t.Context(), Options{DSN: u.String(), Catalogue: direct.opt.Catalogue})
	require.ErrorContains(t, err, "certificate")
}

// In clear over a network is told once.
func TestInClearIsTold(t *testing.T) {
	direct := fresh(t, "demo_site")
	open := func(host string) string {
		var log bytes.Buffer
		// The address of every interface reaches this machine and is not loopback.
		dsn := strings.Replace(direct.opt.DSN, "127.0.0.1", host, 1)
		s, err := Open(t.Context(), Options{DSN: dsn, Catalogue: direct.opt.Catalogue, Log: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		require.NoError(t, s.Close())
		return log.String()
	}
	require.Equal(t, 1, strings.Count(open("0.0.0.0"), "without TLS"))
	require.Empty(t, open("127.0.0.1"))
}
