package engine_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// post runs a statement over plain HTTP, with a body for INSERT ... FORMAT.
func post(t *testing.T, dsn, query string, body io.Reader) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, dsn, body)
	require.NoError(t, err)
	q := req.URL.Query()
	q.Set("query", query)
	req.URL.RawQuery, req.URL.Path, req.Close = q.Encode(), "/", true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	if res.StatusCode != http.StatusOK {
		return "", &failure{string(b)}
	}
	return strings.TrimSpace(string(b)), nil
}

type failure struct{ text string }

func (f *failure) Error() string { return f.text }

func must(t *testing.T, dsn, query string) string {
	t.Helper()
	out, err := post(t, dsn, query, nil)
	require.NoError(t, err)
	return out
}

func start(t *testing.T) *engine.Engine {
	t.Helper()
	begin := time.Now()
	e, err := engine.Start(t.Context(), engine.Options{Lib: testenv.LibCHDB(t), Dir: t.TempDir()})
	require.NoError(t, err)
	t.Logf("started in %s", time.Since(begin))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		e.Stop(ctx)
	})
	return e
}

func TestKillAndStopKeepData(t *testing.T) {
	e := start(t)
	dsn := e.DSN()
	must(t, dsn, "CREATE OR REPLACE TABLE duiwu.t (id UInt64) ENGINE = MergeTree ORDER BY id")
	must(t, dsn, "INSERT INTO duiwu.t SELECT number FROM numbers(1000)")

	e.Kill()
	require.NoError(t, e.Restart(t.Context()))
	require.Equal(t, dsn, e.DSN())
	require.Equal(t, "1000", must(t, dsn, "SELECT count() FROM duiwu.t"))

	begin := time.Now()
	require.NoError(t, e.Stop(t.Context()))
	require.NoError(t, e.Wait())
	t.Logf("stopped in %s", time.Since(begin))
	require.NoError(t, e.Restart(t.Context()))
	require.Equal(t, "1000", must(t, dsn, "SELECT count() FROM duiwu.t"))

	db, err := sql.Open("clickhouse", dsn)
	require.NoError(t, err)
	defer db.Close()
	var n uint64
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT sum(id) FROM t").Scan(&n))
	require.EqualValues(t, 499500, n)
}

func TestSecondOnTheSameFolderIsRefused(t *testing.T) {
	lib, dir := testenv.LibCHDB(t), t.TempDir()
	e, err := engine.Start(t.Context(), engine.Options{Lib: lib, Dir: dir})
	require.NoError(t, err)
	defer e.Kill()
	_, err = engine.Start(t.Context(), engine.Options{Lib: lib, Dir: dir})
	require.ErrorContains(t, err, "another engine is running on it")
	require.Equal(t, "1", must(t, e.DSN(), "SELECT 1"))
}

func TestAPortOfAnotherServer(t *testing.T) {
	port, err := strconv.Atoi(strings.TrimPrefix(testenv.ClickHouse(t).HTTPAddr(), "127.0.0.1:"))
	require.NoError(t, err)
	_, err = engine.Start(t.Context(), engine.Options{Lib: testenv.LibCHDB(t), Dir: t.TempDir(), HTTPPort: port})
	require.ErrorContains(t, err, "another server answers on its port")
}

func TestWrongLibrary(t *testing.T) {
	_, err := engine.Start(t.Context(), engine.Options{Lib: "libm.so.6", Dir: t.TempDir()})
	require.ErrorContains(t, err, "wrong engine version: want libchdb 26.7")
}

func TestUsers(t *testing.T) {
	e := testenv.ClickHouse(t)
	must(t, e.DSN(), "CREATE OR REPLACE TABLE duiwu.users (a UInt8) ENGINE = MergeTree ORDER BY a")
	f := func(user, query, code string) {
		t.Helper()
		_, err := post(t, e.DSNOf(user), query, nil)
		if code == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, code)
		}
	}
	f(engine.Writer, "INSERT INTO duiwu.users VALUES (1)", "")
	f(engine.Writer, "DROP TABLE duiwu.users", "Code: 497")
	f(engine.Dashboards, "SELECT * FROM duiwu.users", "")
	f(engine.Dashboards, "SELECT * FROM duiwu.users SETTINGS max_execution_time = 5", "")
	f(engine.Dashboards, "INSERT INTO duiwu.users VALUES (1)", "Code: ")
	// The datasource sees by it whether tables have changed, and sees no other table's parts.
	f(engine.Dashboards, "SELECT throwIf(countIf(database != 'duiwu') > 0) FROM system.parts", "")
	f(engine.Dashboards, "SELECT * FROM system.processes", "Code: 497")
	f(engine.Admin, "SELECT * FROM system.processes FORMAT Null", "")
	_, err := post(t, "http://default:@"+e.HTTPAddr()+"/", "SELECT * FROM duiwu.users", nil)
	require.ErrorContains(t, err, "Code: 497")
	info, err := os.Stat(engine.PasswordFile(e))
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
}

func TestSupervise(t *testing.T) {
	e := start(t)
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		engine.Supervise(ctx, e, slog.New(slog.NewTextHandler(&log, nil)))
	}()
	pid := e.PID()
	e.Kill()
	require.Eventually(t, func() bool {
		out, err := post(t, e.DSN(), "SELECT 1", nil)
		return err == nil && out == "1"
	}, 20*time.Second, 50*time.Millisecond)
	require.NotEqual(t, pid, e.PID())
	require.NoError(t, e.Stop(t.Context()))
	<-done // Stop ends it by itself
	cancel()
	require.Contains(t, log.String(), "engine ended, restarting")
}

// The byte order that the sink must know: what Arrow calls 16 fixed bytes is
// copied as it is into a UInt128, whose first byte in memory is the lowest.
func TestArrowFixedBytes(t *testing.T) {
	e := testenv.ClickHouse(t)
	must(t, e.DSN(), "CREATE OR REPLACE TABLE duiwu.fixed (i UInt64, u UInt128, f FixedString(32), n Nullable(FixedString(32))) ENGINE = MergeTree ORDER BY i")
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "i", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "u", Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}},
		{Name: "f", Type: &arrow.FixedSizeBinaryType{ByteWidth: 32}},
		{Name: "n", Type: &arrow.FixedSizeBinaryType{ByteWidth: 32}, Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(mem, schema)
	defer b.Release()
	u, f := make([]byte, 16), make([]byte, 32)
	for i := range f {
		f[i] = byte(i)
	}
	copy(u, f[1:])
	for i := range uint64(2) {
		b.Field(0).(*array.Uint64Builder).Append(i)
		b.Field(1).(*array.FixedSizeBinaryBuilder).Append(u)
		b.Field(2).(*array.FixedSizeBinaryBuilder).Append(f)
		if i == 0 {
			b.Field(3).(*array.FixedSizeBinaryBuilder).AppendNull()
		} else {
			b.Field(3).(*array.FixedSizeBinaryBuilder).Append(f)
		}
	}
	rec := b.NewRecord()
	defer rec.Release()
	var body bytes.Buffer
	w := ipc.NewWriter(&body, ipc.WithSchema(schema), ipc.WithAllocator(mem))
	require.NoError(t, w.Write(rec))
	require.NoError(t, w.Close())
	_, err := post(t, e.DSN(), "INSERT INTO duiwu.fixed FORMAT ArrowStream", &body)
	require.NoError(t, err)
	out := must(t, e.DSN(), "SELECT hex(u), hex(f), hex(n) FROM duiwu.fixed ORDER BY i FORMAT TSV")
	full := strings.ToUpper(hex.EncodeToString(f))
	// hex() of a number writes the highest byte first: the reverse of u.
	require.Equal(t, "100F0E0D0C0B0A090807060504030201\t"+full+"\t\\N\n100F0E0D0C0B0A090807060504030201\t"+full+"\t"+full, out)
}

// A client that breaks off, or talks nonsense, is its own trouble: one such
// connection ended the whole server once.
func TestAClientThatBreaksOffLeavesTheServerUp(t *testing.T) {
	e := start(t)
	must(t, e.DSN(), "CREATE OR REPLACE TABLE duiwu.broken (a UInt64) ENGINE = MergeTree ORDER BY a")
	pid := e.PID()
	up := func() {
		t.Helper()
		for range 10 {
			time.Sleep(20 * time.Millisecond)
			require.Equal(t, "1", must(t, e.DSN(), "SELECT 1"))
		}
		require.Equal(t, pid, e.PID())
	}
	f := func(addr, says string, wait time.Duration) {
		t.Helper()
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		_, err = io.WriteString(c, says)
		require.NoError(t, err)
		time.Sleep(wait)
		require.NoError(t, c.(*net.TCPConn).SetLinger(0)) // the other side sees a reset
		require.NoError(t, c.Close())
		up()
	}
	head := "POST /?query=INSERT+INTO+duiwu.broken+FORMAT+TSV HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" +
		"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(engine.Admin+":"+e.Password(engine.Admin))) + "\r\n\r\n"
	f(e.TCPAddr(), "GET / HTTP/1.0\r\n\r\n", 100*time.Millisecond)
	for _, says := range []string{"POST / HT", head[:len(head)-2], head, head + "8\r\n1\n2\n3\n", head + "8\r\n1\n2\n3\n4\n\r\n"} {
		for _, wait := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond} {
			f(e.HTTPAddr(), says, wait)
		}
	}
	require.Equal(t, "0", must(t, e.DSN(), "SELECT count() FROM duiwu.broken"))
	// In the middle of an answer, of which something was read.
	u, err := url.Parse(e.DSN())
	require.NoError(t, err)
	u.Path, u.RawQuery = "/", url.Values{"query": {"SELECT number, repeat('x', 100) FROM numbers(100000000)"}}.Encode()
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		require.NoError(t, err)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, res.StatusCode)
		_, err = io.CopyN(io.Discard, res.Body, 1<<20)
		require.NoError(t, err)
		time.Sleep(100 * time.Millisecond)
		cancel()
		_ = res.Body.Close()
		up()
	}
}

func TestLastWords(t *testing.T) {
	e := start(t)
	require.Empty(t, e.LastWords())
	for _, f := range []struct {
		end        func() error
		how, words string
	}{
		{func() error { return syscall.Kill(e.PID(), syscall.SIGABRT) }, "it ended: exit status 2", "SIGABRT: abort"},
		{func() error { return syscall.Kill(e.PID(), syscall.SIGTERM) }, "it ended: in order", "SYSTEM START LISTEN HTTP"},
		{func() error { e.Kill(); return nil }, "", ""},
		{func() error { return e.Stop(t.Context()) }, "", ""},
	} {
		require.NoError(t, f.end())
		<-e.Done()
		got := e.LastWords()
		require.Contains(t, got, f.how)
		require.Contains(t, got, f.words)
		require.Equal(t, f.how == "", got == "", got)
		require.NoError(t, e.Restart(t.Context()))
		require.Empty(t, e.LastWords())
	}
}
