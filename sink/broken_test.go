package sink

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// TestAConnectionThatBreaksWithinAnInsertIsTriedAgain: the transport closes the
// body under the encoder, which was taken for rows that cannot be encoded, and
// stopped the partition until an operator came.
func TestAConnectionThatBreaksWithinAnInsertIsTriedAgain(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Query().Get("query"), "INSERT") {
			return
		}
		_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
		c, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
	}))
	defer server.Close()
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	u.Path = "/d"
	s, err := Open(t.Context(), Options{DSN: u.String(), Catalogue: &feed.Catalogue{}})
	require.NoError(t, err)
	defer s.Close()
	rows := make([]string, 64)
	for i := range rows {
		rows[i] = strings.Repeat("x", 256<<10)
	}
	for range 20 {
		err = insertJSON(t.Context(), s, "ledger", []string{"topic"}, rows)
		require.Error(t, err)
		require.False(t, flow.IsPermanent(err), err)
		require.NotContains(t, err.Error(), "BUG")
	}
}

// TestAServerThatDoesNotAnswerIsSaidInWords: the transport's error quotes the
// URL, and with it the statement and its parameters.
func TestAServerThatDoesNotAnswerIsSaidInWords(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("query") != "" || r.URL.Query().Get("param_x") != "" {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	u.Path = "/d"
	s, err := Open(t.Context(), Options{DSN: u.String(), Catalogue: &feed.Catalogue{}, Timeout: 100 * time.Millisecond})
	require.NoError(t, err)
	defer s.Close()
	for _, err := range []error{
		insertJSON(t.Context(), s, "ledger", []string{"topic"}, []string{"a"}),
		s.exec(t.Context(), "SELECT 1", params{"x": "secret"}),
	} {
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.False(t, flow.IsPermanent(err))
		require.ErrorContains(t, err, "the server did not answer in time")
		for _, no := range []string{"http", "INSERT", "secret"} {
			require.NotContains(t, err.Error(), no)
		}
	}
}

// TestAStreamThatStandsStillIsGivenUp: a network that forgot the connection
// held the rebuilding of the state up for ever.
func TestAStreamThatStandsStillIsGivenUp(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Get("param_topic") == "" && q.Get("param_topics") == "" {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write([]byte{0xff, 0xff, 0xff, 0xff})
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer server.Close()
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	u.Path = "/d"
	cat := catalogue(t, []string{"station"})
	s, err := Open(t.Context(), Options{DSN: u.String(), Catalogue: cat, Timeout: 100 * time.Millisecond})
	require.NoError(t, err)
	defer s.Close()
	a := &Assignment{Topic: "duiwu.feed.310000", Unit: "310000", s: s, due: 10, ends: map[int64]int64{0: 9}}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = a.Newest(ctx, cat.Feeds[0], func([]byte, int32, flow.Version) error { return nil })
	require.ErrorContains(t, err, "the server did not answer in time")
	require.NoError(t, ctx.Err())
	require.False(t, flow.IsPermanent(err))
	_, err = a.Stored(ctx, cat.Feeds[0], []flow.Known{{RecordID: []byte("a")}})
	require.ErrorContains(t, err, "the server did not answer in time")
	require.NoError(t, ctx.Err())
}
