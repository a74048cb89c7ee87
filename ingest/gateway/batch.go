package gateway

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/push"
	"github.com/duiwu/duiwu/ingest/sheet"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/trace"
	"github.com/duiwu/duiwu/internal/value"
)

// batchPattern is how a batch id is written. It is also the name of a folder.
const batchPattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

var batchName = regexp.MustCompile(batchPattern)

// findingsFile holds what was found in the file, beside the batch's own files.
const findingsFile = "findings.json"

// batches is the spool: <unit>/<feed>/<batch id>, each a folder of package push.
type batches struct {
	dir string
	// wake tells the senders that there is something new.
	wake chan struct{}

	mu   sync.Mutex
	busy map[string]chan struct{}
	// waiting are the batches of a unit that are not sent, by folder.
	waiting map[string]map[string]bool
	lock    *os.File
}

// openBatches takes the spool for this process and finds what was not sent.
func openBatches(dir string) (*batches, error) {
	if dir == "" {
		return nil, errors.New("cannot start the gateway: it needs a folder for its spool")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the spool: %w", err)
	}
	b := &batches{dir: dir, wake: make(chan struct{}, 1), busy: map[string]chan struct{}{}, waiting: map[string]map[string]bool{}}
	var err error
	if b.lock, err = lockFolder(dir); err != nil {
		return nil, err
	}
	if err := sweep(filepath.Join(dir, "tmp")); err != nil {
		return nil, errors.Join(err, b.close())
	}
	err = b.each(func(unit, folder string) error {
		if strings.HasPrefix(filepath.Base(folder), ".") {
			return os.RemoveAll(folder) // the end of a process cut it off
		}
		batch, err := push.OpenBatch(folder)
		if err != nil {
			return err
		}
		sent, err := batch.Sent()
		if err == nil && !sent {
			b.expect(unit, folder)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot read the spool: %w", err), b.close())
	}
	return b, nil
}

func (b *batches) close() error { return b.lock.Close() }

func (b *batches) each(fn func(unit, folder string) error) error {
	folders, err := filepath.Glob(filepath.Join(b.dir, "[0-9]*", "*", "*"))
	if err != nil {
		return err
	}
	for _, f := range folders {
		if err := fn(filepath.Base(filepath.Dir(filepath.Dir(f))), f); err != nil {
			return err
		}
	}
	return nil
}

func (b *batches) folder(unit, feedName, id string) string {
	return filepath.Join(b.dir, unit, feedName, id)
}

// expect notes a batch as not sent; it says how many of the unit are.
func (b *batches) expect(unit, folder string) {
	b.mu.Lock()
	if b.waiting[unit] == nil {
		b.waiting[unit] = map[string]bool{}
	}
	b.waiting[unit][folder] = true
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default: // a sender is told already
	}
}

func (b *batches) settled(unit, folder string) {
	b.mu.Lock()
	delete(b.waiting[unit], folder)
	b.mu.Unlock()
}

func (b *batches) waits(unit, folder string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting[unit][folder]
}

func (b *batches) count(unit string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting[unit])
}

// unsent lists unit and folder of what waits.
func (b *batches) unsent() [][2]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out [][2]string
	for unit, folders := range b.waiting {
		for f := range folders {
			out = append(out, [2]string{unit, f})
		}
	}
	return out
}

// hold waits until nobody else works on a batch: a repeat that comes before the
// server has noticed that the first line was cut. The returned function lets go.
func (b *batches) hold(ctx context.Context, folder string) (func(), error) {
	for {
		b.mu.Lock()
		other := b.busy[folder]
		if other == nil {
			mine := make(chan struct{})
			b.busy[folder] = mine
			b.mu.Unlock()
			return func() {
				b.mu.Lock()
				delete(b.busy, folder)
				b.mu.Unlock()
				close(mine)
			}, nil
		}
		b.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// taken is a batch as it is answered.
type taken struct {
	Unit      string          `json:"unit"`
	Feed      string          `json:"feed"`
	Batch     string          `json:"batch_id"`
	Prepared  time.Time       `json:"prepared_at"`
	Effective string          `json:"effective_from"`
	Read      int64           `json:"rows_read"`
	Refused   int64           `json:"rows_refused"`
	Rows      int64           `json:"rows"`
	SHA256    string          `json:"sha256"`
	Source    string          `json:"source_sha256"`
	State     string          `json:"state"`
	Receipt   string          `json:"receipt"`
	Findings  []sheet.Finding `json:"findings"`
	Truncated int             `json:"truncated"`
}

const (
	stateWaiting = "waiting"
	stateSent    = "sent"
	headerState  = "Duiwu-Batch-State"
)

// found is what a file's check found, as it is kept beside its batch.
type found struct {
	Findings  []sheet.Finding `json:"findings"`
	Truncated int             `json:"truncated"`
}

func (c *call) address(id string) string {
	return "/v1/units/" + c.unit + "/feeds/" + c.feed.Feed + "/batches/" + id
}

func (c *call) taken(b *push.Batch) (*taken, error) {
	f, err := readFindings(b.Dir)
	if err != nil {
		return nil, err
	}
	return &taken{b.Unit, b.Feed, b.ID, b.PreparedAt, b.Effective, b.Read, b.Refused, b.Rows, b.SHA256, b.Source.SHA256,
		c.state(b.Dir), c.address(b.ID), f.Findings, f.Truncated}, nil
}

func (c *call) state(folder string) string {
	if c.g.batches.waits(c.unit, folder) {
		return stateWaiting
	}
	return stateSent
}

func readFindings(folder string) (found, error) {
	f := found{Findings: []sheet.Finding{}}
	raw, err := os.ReadFile(filepath.Join(folder, findingsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil // the process ended between the batch and its findings
	}
	if err == nil {
		err = json.Unmarshal(raw, &f)
	}
	if err != nil {
		return f, fmt.Errorf("cannot read the findings of a batch: %w", err)
	}
	return f, nil
}

// batchID is the id that the sender chose, or a new one.
func (c *call) batchID() (string, error) {
	// The draft of the header writes it as a quoted string.
	id := strings.Trim(c.r.Header.Get("Idempotency-Key"), `"`)
	if id == "" {
		return "", nil
	}
	// The quarantine repeats no id that may hold a number of a person.
	if !batchName.MatchString(id) || value.LongDigitRun([]byte(id)) >= 11 {
		return "", refuse(http.StatusBadRequest, "batch-id",
			"Idempotency-Key（批次号）为 1 至 64 个字母、数字、点、横线、下划线，以字母或数字开头，连续数字不超过 10 位（以免像身份证号或手机号）。",
			"Idempotency-Key, the batch id, is 1 to 64 letters, digits, dots, hyphens and underscores, begins with a letter or digit, and has at most 10 digits in a row: more could be a number of a person.")
	}
	return id, nil
}

// sendBatch takes a file in. It is answered when the batch lies durable in the
// spool; sending is the senders' work.
func (c *call) sendBatch() error {
	id, err := c.batchID()
	if err != nil {
		return err
	}
	asOf, err := c.asOf()
	if err != nil {
		return err
	}
	national := c.g.opt.Catalogue.Unit(c.unit).National()
	if national && !c.feed.NationalOffice {
		return notFound()
	}
	if n := c.g.batches.count(c.unit); n >= c.g.opt.Limits.Waiting && (id == "" || !c.g.batches.waits(c.unit, c.g.batches.folder(c.unit, c.feed.Feed, id))) {
		return refuse(http.StatusServiceUnavailable, "waiting", "贵单位已有太多批次在等待发送，请稍后再传。", "Too many batches of your unit wait to be sent; send it again later.").retry(30)
	}
	if id != "" {
		letGo, err := c.g.batches.hold(c.r.Context(), c.g.batches.folder(c.unit, c.feed.Feed, id))
		if err != nil {
			return cutShort(err)
		}
		defer letGo()
	}
	up, err := c.body()
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(up.path) }() // the start of a process empties the folder too
	partitions, err := c.g.partitions(c.r.Context(), c.unit)
	if err != nil {
		return refuse(http.StatusServiceUnavailable, "broker-unavailable", "暂时无法连接消息系统，请稍后用同一个 Idempotency-Key 重传。", "Kafka cannot be reached right now; send it again later with the same Idempotency-Key.").because(err).retry(10)
	}
	if id != "" {
		old, err := c.g.repeated(c.unit, c.feed.Feed, id, partitions)
		if err != nil {
			return err
		}
		if old != nil {
			return c.again(old, up)
		}
	}
	free, err := c.slot()
	if err != nil {
		return err
	}
	defer free()
	b, err := c.prepare(up, id, asOf, partitions)
	if err != nil {
		return err
	}
	c.g.metrics.bytes.Add(float64(up.size))
	c.g.metrics.batches.WithLabelValues(c.feed.Feed, "taken").Inc()
	c.g.batches.expect(c.unit, b.Dir)
	return c.answerBatch(http.StatusAccepted, b)
}

func (c *call) answerBatch(status int, b *push.Batch) error {
	out, err := c.taken(b)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", out.Receipt)
	c.w.Header().Set(headerState, out.State)
	return c.json(status, out)
}

// again answers a key that was seen before: with the same content it is the
// same batch.
func (c *call) again(b *push.Batch, up *upload) error {
	if b.Source.SHA256 != fmt.Sprintf("%x", up.sum) || c.r.URL.Query().Get("as_of") != "" && c.r.URL.Query().Get("as_of") != b.Effective {
		return refuse(http.StatusConflict, "batch-differs",
			"这个 Idempotency-Key 已用于另一份内容；新的内容请换一个新的键。",
			"This Idempotency-Key was used for another content; a new content needs a new key.")
	}
	return c.answerBatch(http.StatusOK, b)
}

// repeated opens the batch that came before under an id; nil when there is none.
// One that waits but was cut for another number of partitions can never be sent:
// it gives way to this upload.
func (g *Gateway) repeated(unit, feedName, id string, partitions int) (*push.Batch, error) {
	folder := g.batches.folder(unit, feedName, id)
	b, err := push.OpenBatch(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if g.batches.waits(unit, folder) && b.Partitions != partitions {
		g.batches.settled(unit, folder)
		return nil, os.RemoveAll(folder)
	}
	return b, nil
}

// prepare judges an upload and cuts it into chunks, in the unit's spool.
func (c *call) prepare(up *upload, id string, asOf time.Time, partitions int) (b *push.Batch, err error) {
	inside, end := trace.Begin(c.r.Context(), c.g.opt.Tracer, "receive", c.r.Header.Get(ingest.HeaderTraceparent))
	defer func() { end(err) }()
	step, release := c.g.opt.Check()
	defer release()
	key, err := c.g.opt.RecordKey(c.unit)
	if err != nil {
		return nil, err
	}
	b, report, err := push.Prepare(c.r.Context(), push.Options{
		File: up.path, ID: id, Traceparent: inside, Dir: filepath.Join(c.g.batches.dir, c.unit, c.feed.Feed), Partitions: partitions, RecordKey: key, Seal: c.g.opt.Seal,
		Sheet: sheet.Options{
			Catalogue: c.g.opt.Catalogue, Feed: c.feed, Unit: c.unit, AsOf: asOf, Step: &counted{step, c.g.opt.Limits.Rows},
			Clock: c.g.opt.Clock, MaxFindings: maxFindings, Mapping: c.mapping(),
		},
	})
	switch {
	case errors.Is(err, errTooManyRows):
		return nil, c.g.tooManyRows()
	case errors.Is(err, push.ErrNothing):
		return nil, refuse(http.StatusUnprocessableEntity, "nothing-acceptable", "没有一行可以入库，什么都没有发送；请先检查（check）并修改。", "No row can be accepted and nothing was sent; check the file first and mend it.")
	case errors.Is(err, push.ErrNoRecordKey):
		return nil, refuse(http.StatusUnprocessableEntity, "no-record-key", "文件没有 record_id 列，网关也没有贵单位的记录号密钥；请加上该列，或联系管理员。", "The file has no column record_id and the gateway has no record key of your unit; add the column, or ask the operator.").because(err)
	case c.r.Context().Err() != nil:
		return nil, cutShort(err)
	case err != nil:
		return nil, err
	}
	f := found{Findings: []sheet.Finding{}, Truncated: report.Truncated()}
	report.Findings(func(one sheet.Finding) bool {
		f.Findings = append(f.Findings, one)
		return true
	})
	raw, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	return b, os.WriteFile(filepath.Join(b.Dir, findingsFile), raw, 0o600)
}

// partitions says how many partitions a unit's topic has; while the broker is
// away, how many it had when it was last asked.
func (g *Gateway) partitions(ctx context.Context, unit string) (int, error) {
	file := filepath.Join(g.batches.dir, unit, "partitions")
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	n, err := ingest.Partitions(short, g.opt.Broker, ingest.Topic(g.opt.Prefix, unit))
	if err == nil {
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return 0, storage(err)
		}
		if err := os.WriteFile(file, []byte(strconv.Itoa(n)), 0o600); err != nil {
			return 0, storage(err)
		}
		return n, nil
	}
	raw, readErr := os.ReadFile(file)
	if readErr != nil {
		return 0, err
	}
	n, readErr = strconv.Atoi(string(raw))
	if readErr != nil || n < 1 {
		return 0, err
	}
	return n, nil
}

// Run sends what was taken in until ctx ends, and forgets what was sent long ago.
// What cannot be sent is tried again, for ever: it was answered with 202.
func (g *Gateway) Run(ctx context.Context) error {
	defer func() { _ = g.batches.close() }() // the process ends
	const least, most = time.Second, time.Minute
	pause, old := least, time.Now()
	for {
		failed := g.sendAll(ctx)
		if now := time.Now(); now.Sub(old) > time.Hour {
			old = now
			g.forget()
		}
		wait := most
		if failed {
			wait, pause = pause, min(2*pause, most)
		} else {
			pause = least
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-g.batches.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (g *Gateway) sendAll(ctx context.Context) (failed bool) {
	var all errgroup.Group
	all.SetLimit(4)
	var mu sync.Mutex
	for _, at := range g.batches.unsent() {
		all.Go(func() error {
			err := g.send(ctx, at[0], at[1])
			if err != nil && ctx.Err() == nil {
				g.log.Error("cannot send a batch; it is tried again", "unit", at[0], "batch", filepath.Base(at[1]), "error", err)
				mu.Lock()
				failed = true
				mu.Unlock()
			}
			return nil
		})
	}
	_ = all.Wait() // it gives none
	return failed
}

// send brings one batch to Kafka and takes its records out of the spool.
func (g *Gateway) send(ctx context.Context, unit, folder string) error {
	letGo, err := g.batches.hold(ctx, folder)
	if err != nil {
		return err
	}
	defer letGo()
	if !g.batches.waits(unit, folder) {
		return nil // a repeat took its place
	}
	b, err := push.OpenBatch(folder)
	if err != nil {
		return err
	}
	n, err := g.partitions(ctx, unit)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := b.Send(ctx, push.Target{Sender: g.opt.Producer, Topic: ingest.Topic(g.opt.Prefix, unit), Partitions: n}, nil); err != nil {
		g.metrics.batches.WithLabelValues(b.Feed, "failed").Inc()
		return err
	}
	g.metrics.batches.WithLabelValues(b.Feed, "sent").Inc()
	g.batches.settled(unit, folder)
	g.log.Info("batch sent", "unit", unit, "feed", b.Feed, "batch", b.ID, "rows", b.Rows)
	return b.Discard()
}

// forget drops batches that were sent longer ago than they are kept.
func (g *Gateway) forget() {
	err := g.batches.each(func(unit, folder string) error {
		if g.batches.waits(unit, folder) || strings.HasPrefix(filepath.Base(folder), ".") {
			return nil
		}
		info, err := os.Stat(folder)
		if err != nil || time.Since(info.ModTime()) < g.opt.Limits.Keep {
			return err
		}
		return os.RemoveAll(folder)
	})
	if err != nil {
		g.log.Error("cannot forget old batches", "error", err)
	}
}

// known reads the receipt of a batch. A batch that lies in the spool and of
// which nothing has arrived has an empty one.
func (c *call) known() (*flow.Receipt, *push.Batch, error) {
	id := c.r.PathValue("batch")
	if !batchName.MatchString(id) {
		return nil, nil, notFound()
	}
	folder := c.g.batches.folder(c.unit, c.feed.Feed, id)
	b, err := push.OpenBatch(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	r, err := c.g.opt.Database.Receipt(c.r.Context(), c.unit, c.feed.Feed, id)
	switch {
	case err == nil:
	case !errors.Is(err, flow.ErrNoReceipt):
		return nil, nil, databaseAway(err)
	case b == nil:
		return nil, nil, notFound()
	default:
		r = &flow.Receipt{Unit: c.unit, Feed: c.feed.Feed, Batch: id, Status: flow.Partial, Declared: b.Rows, SHA256: b.SHA256,
			Rules: map[string]int64{}, Warnings: map[string]int64{}, Chunks: [][2]int64{}, Missing: [][2]int64{}, Rejects: []flow.RejectedRow{}}
	}
	if b != nil { // else it came by another door, or was forgotten
		c.w.Header().Set(headerState, c.state(folder))
	}
	return r, b, nil
}

// receipt answers what became of a batch.
func (c *call) receipt() error {
	r, _, err := c.known()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, r)
}

// rejected is one refused record as it is answered.
type rejected struct {
	// By says who refused it: the check before sending, or the national side.
	By string `json:"by"`
	// Sheet and Row are where it stands in the file that was sent; Row is 0 where
	// that is not known.
	Sheet    string `json:"sheet"`
	Row      int    `json:"row"`
	RecordID string `json:"record_id"`
	Field    string `json:"field"`
	Rule     string `json:"rule"`
	Zh       string `json:"message_zh"`
	En       string `json:"message_en"`
}

type refusals struct {
	Unit    string     `json:"unit"`
	Feed    string     `json:"feed"`
	Batch   string     `json:"batch_id"`
	Rejects []rejected `json:"rejects"`
	Omitted int64      `json:"omitted"`
}

// rejects answers the refused records of a batch, one finding a line: those of
// the check before sending and those of the worker, none with a value.
func (c *call) rejects() error {
	format, err := c.choice("format", "json", "csv")
	if err != nil {
		return err
	}
	r, b, err := c.known()
	if err != nil {
		return err
	}
	out := refusals{Unit: r.Unit, Feed: r.Feed, Batch: r.Batch, Rejects: []rejected{}, Omitted: r.RejectsOmitted}
	places := map[push.At]sheet.Place{}
	if b != nil {
		f, err := readFindings(b.Dir)
		if err != nil {
			return err
		}
		for _, x := range f.Findings {
			if x.Severity == feed.Error.String() {
				out.Rejects = append(out.Rejects, rejected{"check", x.Sheet, x.Row, "", x.Field, x.Rule, x.MessageZh, x.MessageEn})
			}
		}
		out.Omitted += int64(f.Truncated)
		if places, err = b.Places(r); err != nil {
			return err
		}
	}
	for _, rj := range r.Rejects {
		for _, f := range rj.Findings {
			zh, en := say(c.feed, f)
			out.Rejects = append(out.Rejects, rejected{"worker", "", places[push.At{Chunk: rj.Chunk, Row: rj.Row}].Line, rj.RecordID, f.Field, f.Rule, zh, en})
		}
	}
	if format == "json" {
		return c.json(http.StatusOK, out)
	}
	c.attachment("text/csv; charset=utf-8", r.Feed+"-rejects.csv")
	buf := bufio.NewWriter(c.w)
	_, _ = buf.WriteString("\uFEFF") // spreadsheets take it for their own encoding without
	w := csv.NewWriter(buf)
	_ = w.Write([]string{"环节 by", "工作表 sheet", "行 row", "记录号 record_id", "字段 field", "规则 rule", "怎样修改", "how to mend"}) // Flush tells
	for _, x := range out.Rejects {
		row := ""
		if x.Row > 0 {
			row = strconv.Itoa(x.Row)
		}
		_ = w.Write([]string{x.By, harmless(x.Sheet), row, harmless(x.RecordID), harmless(x.Field), x.Rule, x.Zh, x.En})
	}
	w.Flush()
	return errors.Join(w.Error(), buf.Flush())
}

// harmless keeps a text from being taken for a formula by a spreadsheet.
func harmless(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// say puts a broken rule into words.
func say(s *feed.Spec, f flow.RejectedRule) (zh, en string) {
	rule, ok := feed.RuleNamed(f.Rule)
	if !ok {
		return f.Rule, f.Rule // of a newer release
	}
	fieldZh, fieldEn := f.Field, f.Field
	if i := s.Index(f.Field); i >= 0 {
		fieldZh, fieldEn = s.All()[i].Zh, s.All()[i].En
	}
	if f.Field == "" {
		fieldZh, fieldEn = "该记录", "the record"
	}
	info := rule.Info()
	return strings.ReplaceAll(info.Zh, "{field}", fieldZh), strings.ReplaceAll(info.En, "{field}", fieldEn)
}

// writable says whether the spool can take a file.
func (b *batches) writable() error {
	f, err := os.CreateTemp(filepath.Join(b.dir, "tmp"), "probe-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
