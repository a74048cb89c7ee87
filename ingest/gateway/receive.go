package gateway

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/duiwu/duiwu/ingest/sheet"
)

// upload is a body that lies whole and durable in a file.
type upload struct {
	path string
	size int64
	// sum is the SHA-256 of the content, unpacked.
	sum [sha256.Size]byte
}

// contentTypes are what a body may be declared as, and the format that its bytes
// then have to have; "" where the bytes decide.
var contentTypes = map[string]sheet.Format{
	"":                         "",
	"application/octet-stream": "",
	// Browsers on machines with a spreadsheet call a CSV file this.
	"application/vnd.ms-excel":  "",
	"text/csv":                  sheet.CSV,
	"text/tab-separated-values": sheet.CSV,
	"application/json":          sheet.JSON,
	"application/x-ndjson":      sheet.JSON,
	"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": sheet.XLSX,
	"application/vnd.apache.arrow.stream":                               sheet.Arrow,
	"application/vnd.apache.arrow.file":                                 sheet.Arrow,
	"application/vnd.apache.parquet":                                    sheet.Parquet,
}

const (
	// A body has to arrive at this many bytes a second on the whole, after
	// Limits.Grace.
	minRate = 8 << 10
	// maxWindow bounds what a zstd frame may ask to remember.
	maxWindow = 64 << 20
)

func tooLarge(limit int64) *problem {
	return refuse(http.StatusRequestEntityTooLarge, "too-large",
		fmt.Sprintf("文件（解压后）超过 %d MB 的上限，请拆成几份报送。", limit>>20),
		fmt.Sprintf("The file is larger than the limit of %d MB once unpacked; send it in parts.", limit>>20))
}

func cutShort(err error) *problem {
	return refuse(http.StatusBadRequest, "body-cut",
		"上传中断，收到的内容不完整；请用同一个 Idempotency-Key 重新上传。",
		"The upload was cut and nothing of it is kept; send it again with the same Idempotency-Key.").because(err)
}

// receive writes a request's body to a file in dir, unpacked, within the limits.
// After an error nothing is left behind.
func (g *Gateway) receive(w http.ResponseWriter, r *http.Request, dir string) (_ *upload, err error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	declared, known := contentTypes[media]
	if !known || err != nil && r.Header.Get("Content-Type") != "" {
		return nil, refuse(http.StatusUnsupportedMediaType, "content-type",
			"不接受这种 Content-Type。请直接把文件作为请求体发送（不用表单），类型为 XLSX、CSV、JSON、NDJSON、Arrow 或 Parquet，也可用 application/octet-stream。",
			"This Content-Type is not taken. Send the file itself as the body (no form): XLSX, CSV, JSON, NDJSON, Arrow or Parquet, or application/octet-stream.")
	}
	limit := g.opt.Limits.Bytes
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	out := &upload{}
	f, err := os.CreateTemp(dir, "upload-*")
	if err != nil {
		return nil, storage(err)
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			_ = os.Remove(f.Name()) // a part of an upload is of no use
		}
	}()
	out.path = f.Name()
	body := &paced{body: r.Body, control: http.NewResponseController(w), judged: time.Now().Add(g.opt.Limits.Grace), limit: limit, sum: sha256.New()}
	defer func() { _ = body.control.SetReadDeadline(time.Time{}) }() // the next request on the line has its own
	unpacked, done, err := unpack(r.Header.Values("Content-Encoding"), body)
	if err != nil {
		return nil, err
	}
	defer done()
	sum := sha256.New()
	out.size, err = io.Copy(io.MultiWriter(spoolWriter{f}, sum), io.LimitReader(unpacked, limit+1))
	if err != nil {
		return nil, g.bodyTrouble(r.Context(), body, err)
	}
	if out.size > limit {
		return nil, tooLarge(limit)
	}
	// A frame that ended early must not hide bytes behind it, and the server has
	// to have seen the end of the body to know that it is whole.
	if n, err := io.Copy(io.Discard, body); err != nil {
		return nil, g.bodyTrouble(r.Context(), body, err)
	} else if n > 0 {
		return nil, refuse(http.StatusBadRequest, "content-encoding", "压缩内容之后还有多余的数据。", "There are bytes behind the end of the compressed content.")
	}
	sum.Sum(out.sum[:0])
	if err := digest(r, body.sum); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, storage(err)
	}
	return out, g.format(out, declared)
}

// format refuses a body that is not of the format it was declared as.
func (g *Gateway) format(up *upload, declared sheet.Format) error {
	f, err := sheet.Open(up.path)
	if err != nil {
		return err
	}
	is := f.Format
	_ = f.Close() // it was only read
	if declared != "" && is != declared {
		return refuse(http.StatusUnsupportedMediaType, "content-type",
			fmt.Sprintf("Content-Type 说是 %s，内容却是 %s；请写对，或用 application/octet-stream。", declared, is),
			fmt.Sprintf("Content-Type says %s and the content is %s; say what it is, or application/octet-stream.", declared, is))
	}
	return nil
}

// spoolWriter tells trouble with the disk from trouble with the line.
type spoolWriter struct{ f *os.File }

func (s spoolWriter) Write(p []byte) (int, error) {
	n, err := s.f.Write(p)
	if err != nil {
		err = storage(err)
	}
	return n, err
}

func storage(err error) *problem {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return refuse(http.StatusInsufficientStorage, "storage-full", "网关存储空间已满，请稍后再传。", "The gateway is out of storage; send it again later.").because(err).retry(60)
	}
	return refuse(http.StatusInternalServerError, "internal", "网关无法写入暂存区，请联系管理员。", "The gateway cannot write to its spool; tell the operator.").because(err)
}

func (g *Gateway) bodyTrouble(ctx context.Context, body *paced, err error) error {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, "too-slow",
			fmt.Sprintf("上传太慢：每秒至少 %d KB。请换更好的网络，或先用 gzip 压缩。", minRate>>10),
			fmt.Sprintf("The upload is slower than %d KB a second; use a better line, or compress with gzip.", minRate>>10)).because(err)
	case body.err != nil, ctx.Err() != nil, errors.Is(err, io.ErrUnexpectedEOF) && body.ended:
		return cutShort(err)
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return tooLarge(g.opt.Limits.Bytes)
	}
	return refuse(http.StatusBadRequest, "content-encoding", "压缩内容已损坏，请重新压缩后再传。", "The compressed content is damaged; compress it anew.").because(err)
}

// unpack reads through the encodings of a body. More than one is refused: a
// gzip of a gzip has no honest use.
func unpack(encodings []string, body io.Reader) (io.Reader, func(), error) {
	names := strings.Split(strings.ToLower(strings.Join(encodings, ",")), ",")
	encoding := strings.TrimSpace(names[0])
	if len(names) > 1 {
		encoding = "more than one"
	}
	switch encoding {
	case "", "identity":
		return body, func() {}, nil
	case "gzip":
		// The header is read with the first byte, so that its damage is told as such.
		return &lazyGzip{src: body}, func() {}, nil
	case "zstd":
		z, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("cannot read zstd: %w", err)
		}
		return z, z.Close, nil
	}
	return nil, nil, refuse(http.StatusUnsupportedMediaType, "content-encoding", "Content-Encoding 只接受 gzip 或 zstd 一种。", "Content-Encoding is gzip or zstd, one of them.")
}

type lazyGzip struct {
	src io.Reader
	z   *gzip.Reader
}

func (l *lazyGzip) Read(p []byte) (int, error) {
	if l.z == nil {
		z, err := gzip.NewReader(l.src)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		l.z = z
	}
	return l.z.Read(p)
}

// paced is a body that has to keep a pace and a length, and that remembers
// whether it was the line that failed.
type paced struct {
	body    io.Reader
	control *http.ResponseController
	judged  time.Time // when the pace begins to count
	n       int64
	limit   int64
	ended   bool
	err     error
	sum     hash.Hash // of the bytes on the line
}

func (p *paced) Read(b []byte) (int, error) {
	// The deadline moves with what came: a sender of single bytes is stopped too.
	if err := p.control.SetReadDeadline(p.judged.Add(time.Duration(p.n) * time.Second / minRate)); err != nil {
		return 0, fmt.Errorf("BUG: the connection has no deadline: %w", err)
	}
	n, err := p.body.Read(b)
	p.n += int64(n)
	p.sum.Write(b[:n])
	switch {
	case errors.Is(err, io.EOF):
		p.ended = true
	case err != nil:
		p.err = err
	case p.n > p.limit:
		return n, tooLarge(p.limit)
	}
	return n, err
}

// digest compares the bytes that came with the Content-Digest that their sender
// declared (RFC 9530), if any.
func digest(r *http.Request, sum hash.Hash) error {
	for member := range strings.SplitSeq(strings.Join(r.Header.Values("Content-Digest"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(member), "=")
		if strings.ToLower(name) != "sha-256" {
			continue
		}
		want, err := base64.StdEncoding.DecodeString(strings.Trim(value, ":"))
		if err != nil || !bytes.Equal(want, sum.Sum(nil)) {
			return refuse(http.StatusBadRequest, "digest", "Content-Digest 与收到的内容不符，文件在途中损坏；请重传。", "Content-Digest does not fit what arrived; send it again.")
		}
	}
	return nil
}
