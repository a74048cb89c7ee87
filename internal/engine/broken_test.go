package engine_test

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/testenv"
)

// TestAClientThatBreaksOffDoesNotEndTheServer: writing to its connection raises
// SIGPIPE on a thread of the library, which Go does not own, and that ended the
// process.
func TestAClientThatBreaksOffDoesNotEndTheServer(t *testing.T) {
	e, err := engine.Start(t.Context(), engine.Options{Lib: testenv.LibCHDB(t), Dir: filepath.Join(t.TempDir(), "clickhouse")})
	require.NoError(t, err)
	t.Cleanup(e.Kill)
	u, err := url.Parse(e.DSN())
	require.NoError(t, err)
	password, _ := u.User.Password()
	for range 20 {
		c, err := net.Dial("tcp", e.HTTPAddr())
		require.NoError(t, err)
		q := url.Values{"query": {"SELECT number, sleepEachRow(0.001) FROM numbers(100000) SETTINGS max_block_size = 20"}, "user": {"admin"}, "password": {password}}
		_, err = fmt.Fprintf(c, "GET /?%s HTTP/1.1\r\nHost: x\r\n\r\n", q.Encode())
		require.NoError(t, err)
		_, err = io.ReadFull(c, make([]byte, 20))
		require.NoError(t, err)
		require.NoError(t, c.(*net.TCPConn).SetLinger(0))
		require.NoError(t, c.Close())
	}
	select {
	case <-e.Done():
		t.Fatalf("the server ended: %v", e.Wait())
	case <-time.After(2 * time.Second):
	}
}
