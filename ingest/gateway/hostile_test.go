package gateway_test

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/gateway"
)

// gzipped packs, pieces at a time.
func gzipped(t testing.TB, pieces int, piece []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	for range pieces {
		_, err := w.Write(piece)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func zstandard(t testing.TB, pieces int, piece []byte, o ...zstd.EOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, o...)
	require.NoError(t, err)
	for range pieces {
		_, err := w.Write(piece)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// book is a workbook of some parts.
func book(t testing.TB, parts map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range map[string]string{
		"xl/workbook.xml":            `<workbook><sheets><sheet name="s" sheetId="1" r:id="r1"/></sheets></workbook>`,
		"xl/_rels/workbook.xml.rels": `<Relationships><Relationship Id="r1" Type="http://x/worksheet" Target="worksheets/sheet1.xml"/></Relationships>`,
		"xl/worksheets/sheet1.xml":   `<worksheet><sheetData/></worksheet>`,
	} {
		if _, ok := parts[name]; !ok {
			parts[name] = text
		}
	}
	for name, text := range parts {
		w, err := z.Create(name)
		require.NoError(t, err)
		_, err = io.WriteString(w, text)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return b.Bytes()
}

// Files that are made to harm get a clear refusal at both doors, and leave
// nothing behind.
func TestHostileFiles(t *testing.T) {
	b := newBench(t, func(o *gateway.Options) { o.Limits.Bytes, o.Limits.Rows = 8<<20, 100 })
	token := b.token("310000")
	zeros := make([]byte, 1<<20)
	head := "site_id,site_name,level,status,county_code\n"
	f := func(name string, body []byte, status int, slug string, headers ...string) {
		t.Helper()
		begun := time.Now()
		for _, path := range []string{"/batches", "/check"} {
			res := b.post(sites+path, token, body, headers...)
			require.Equal(t, status, res.status, "%s %s: %s", name, path, res.body)
			require.Equal(t, slug, res.slug(), "%s %s: %s", name, path, res.body)
		}
		require.Less(t, time.Since(begun), 20*time.Second, name)
	}
	bomb := gzipped(t, 200, zeros)
	f("gzip bomb", bomb, 413, "too-large", "Content-Encoding", "gzip")
	f("gzip of a gzip bomb", gzipped(t, 1, bomb), 415, "content-encoding", "Content-Encoding", "gzip, gzip")
	f("gzip bomb without a word", bomb, 422, "file-unusable")
	f("zstd bomb", zstandard(t, 200, zeros), 413, "too-large", "Content-Encoding", "zstd")
	f("zstd that asks for a window of 512 MB", zstandard(t, 20, zeros, zstd.WithWindowSize(512<<20)), 413, "too-large", "Content-Encoding", "zstd")
	f("half a gzip", bomb[:200], 400, "body-cut", "Content-Encoding", "gzip")
	f("no gzip", siteRows(1), 400, "content-encoding", "Content-Encoding", "gzip")
	f("bytes behind a gzip", append(gzipped(t, 1, siteRows(1)), "more of it"...), 400, "content-encoding", "Content-Encoding", "gzip")
	f("no zstd", siteRows(1), 400, "content-encoding", "Content-Encoding", "zstd")
	f("brotli", siteRows(1), 415, "content-encoding", "Content-Encoding", "br")
	f("workbook of 80 MB in 80 KB", book(t, map[string]string{"xl/worksheets/sheet1.xml": "<worksheet><sheetData>" + strings.Repeat(" ", 80<<20)}), 422, "file-unusable")
	f("billion laughs", book(t, map[string]string{"xl/worksheets/sheet1.xml": `<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><worksheet><sheetData><row r="1"><c t="inlineStr"><is><t>&b;</t></is></c></row></sheetData></worksheet>`}), 422, "file-unusable")
	f("cell of 6 MB", []byte(head+"S,"+strings.Repeat("x", 6<<20)+",1,2,310115\n"), 422, "file-unusable")
	f("cell of 6 MB in a workbook", book(t, map[string]string{"xl/worksheets/sheet1.xml": `<worksheet><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>` + strings.Repeat("x", 6<<20) + `</t></is></c></row></sheetData></worksheet>`}), 422, "file-unusable")
	f("path tricks in a workbook", book(t, map[string]string{"../../../etc/passwd": "x", "xl/workbook.xml": `<workbook><sheets><sheet name="s" sheetId="1" r:id="r1"/></sheets></workbook>`, "xl/_rels/workbook.xml.rels": `<Relationships><Relationship Id="r1" Type="http://x/worksheet" Target="../../../../etc/passwd"/></Relationships>`}), 422, "file-unusable")
	f("nothing", nil, 422, "file-unusable")
	f("a picture", []byte("\x89PNG\r\n\x1a\n"), 422, "file-unusable")
	f("too many rows", siteRows(5000), 413, "too-many-rows")
	f("another format than declared", siteRows(2), 415, "content-type", "Content-Type", "application/json")
	f("a form", siteRows(2), 415, "content-type", "Content-Type", "multipart/form-data; boundary=x")
	f("a damaged digest", siteRows(2), 400, "digest", "Content-Digest", "sha-256=:AAAA:")
	sum := sha256.Sum256(siteRows(2))
	require.Equal(t, 202, b.post(batches, token, siteRows(2), "Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":").status)
	require.Equal(t, 202, b.post(batches, token, gzipped(t, 1, siteRows(2)), "Content-Encoding", "gzip").status)
	require.Equal(t, 202, b.post(batches, token, zstandard(t, 1, siteRows(2)), "Content-Encoding", "zstd").status)
	// Names are not looked at.
	require.Equal(t, 202, b.post(batches, token, siteRows(2), "Content-Disposition", `attachment; filename="../../../../../../etc/cron.d/x"`).status)
	for _, key := range []string{"..", ".hidden", "a/b", `a\b`, "a b", strings.Repeat("x", 65), "11010119900307", "138-1234-5678", "a%2fb", "ａ"} {
		b.post(batches, token, siteRows(2), "Idempotency-Key", key).refusedAs(t, 400, "batch-id")
	}
	for _, day := range []string{"2016-13-01", "30.11.2016", "x"} {
		b.post(sites+"/check?as_of="+day, token, siteRows(2)).refusedAs(t, 400, "parameter")
	}
	left, err := filepath.Glob(filepath.Join(b.opt.Spool, "tmp", "*"))
	require.NoError(t, err)
	require.Empty(t, left)
	outside := 0
	require.NoError(t, filepath.WalkDir(b.opt.Spool, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == "x" {
			outside++
		}
		return err
	}))
	require.Zero(t, outside)
}

// raw writes to the gateway what no honest client would and returns what comes
// back.
func (b *bench) raw(parts func(io.Writer)) string {
	b.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	require.NoError(b.t, err)
	defer func() { _ = c.Close() }()
	go parts(c)
	require.NoError(b.t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err.Error()
	}
	body, _ := io.ReadAll(res.Body)
	return fmt.Sprint(res.StatusCode, " ", string(body))
}

// A length that lies, a body that ends early and one that never ends.
func TestHostileLines(t *testing.T) {
	b := newBench(t, func(o *gateway.Options) { o.Limits.Bytes, o.Limits.Grace = 1<<20, 300*time.Millisecond })
	token := b.token("310000")
	start := func(w io.Writer, length string) {
		fmt.Fprintf(w, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nIdempotency-Key: line\r\n%s\r\n\r\n", batches, token, length)
	}
	require.Contains(t, b.raw(func(w io.Writer) { start(w, "Content-Length: 99999999999") }), "too-large")
	require.Contains(t, b.raw(func(w io.Writer) { start(w, "Content-Length: -5") }), "400")
	require.Contains(t, b.raw(func(w io.Writer) { start(w, "Content-Length: 5\r\nContent-Length: 50") }), "400")
	// Longer than what comes: the line is closed, and nothing of it is kept.
	require.Contains(t, b.raw(func(w io.Writer) {
		start(w, "Content-Length: 5000")
		_, _ = w.Write(siteRows(2))
		_ = w.(*net.TCPConn).CloseWrite()
	}), "body-cut")
	require.Contains(t, b.raw(func(w io.Writer) {
		start(w, "Transfer-Encoding: chunked")
		fmt.Fprintf(w, "%x\r\n%s\r\n", len(siteRows(2)), siteRows(2))
		_ = w.(*net.TCPConn).CloseWrite()
	}), "body-cut")
	// More than what was said is another request, and none that counts.
	require.Contains(t, b.raw(func(w io.Writer) {
		start(w, fmt.Sprintf("Content-Length: %d", len(siteRows(2))))
		_, _ = w.Write(append(siteRows(2), "S-9,示范点,1,2,310115\n"...))
	}), `"rows":2`)
	// A chunked body without an end.
	require.Contains(t, b.raw(func(w io.Writer) {
		start(w, "Transfer-Encoding: chunked")
		piece := strings.Repeat("x", 4096)
		for range 1000 {
			if _, err := fmt.Fprintf(w, "1000\r\n%s\r\n", piece); err != nil {
				return
			}
		}
	}), "too-large")
	// Drop by drop.
	begun := time.Now()
	require.Contains(t, b.raw(func(w io.Writer) {
		start(w, "Content-Length: 5000")
		for range 5000 {
			if _, err := w.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}), "too-slow")
	require.Less(t, time.Since(begun), 10*time.Second)
	require.Contains(t, b.raw(func(w io.Writer) { start(w, "Content-Length: 5000") }), "too-slow", "a body that never begins")
	left, err := filepath.Glob(filepath.Join(b.opt.Spool, "tmp", "*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// A unit has its own few lines and its own few batches that wait: what it opens
// and leaves takes nothing from another unit.
func TestAUnitsLinesAreItsOwn(t *testing.T) {
	b := newBench(t, func(o *gateway.Options) { o.Limits.Uploads, o.Limits.Waiting = 1, 1 })
	slow, w := io.Pipe()
	done := make(chan got)
	req := b.request("POST", sites+"/check", b.token("310000"), slow)
	go func() { done <- b.do(req) }()
	_, err := w.Write(siteRows(1)) // the body is on its way
	require.NoError(t, err)
	require.Eventually(t, func() bool { // it is being received: it has the unit's line
		files, err := filepath.Glob(filepath.Join(b.opt.Spool, "tmp", "upload-*"))
		return err == nil && len(files) == 1
	}, 5*time.Second, 10*time.Millisecond)
	require.Equal(t, "too-many-uploads", b.post(sites+"/check", b.token("310000"), siteRows(1)).slug())
	other := strings.Replace(sites, "310000", "320000", 1)
	require.Equal(t, 200, b.post(other+"/check", b.token("320000"), siteRows(1)).status)
	require.NoError(t, w.Close())
	require.Equal(t, 200, (<-done).status)

	require.Equal(t, 202, b.post(batches, b.token("310000"), siteRows(1)).status)
	b.sent("the partitions are known now")
	b.stop()
	producer, err := ingest.NewProducer(ingest.Broker{Brokers: []string{"127.0.0.1:1"}})
	require.NoError(t, err)
	defer func() { _ = producer.Close() }()
	b.opt.Broker, b.opt.Producer = ingest.Broker{Brokers: []string{"127.0.0.1:1"}}, producer
	b.start()
	require.Equal(t, 202, b.post(batches, b.token("310000"), siteRows(1), "Idempotency-Key", "first").status)
	b.post(batches, b.token("310000"), siteRows(2), "Idempotency-Key", "second").refusedAs(t, 503, "waiting")
	require.Equal(t, 200, b.post(batches, b.token("310000"), siteRows(1), "Idempotency-Key", "first").status, "a repeat is no new one")
}
