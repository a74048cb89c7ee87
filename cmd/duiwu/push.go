package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	oteltrace "go.opentelemetry.io/otel/trace"
	"golang.org/x/term"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/mapping"
	"github.com/duiwu/duiwu/ingest/push"
	"github.com/duiwu/duiwu/ingest/seal"
	"github.com/duiwu/duiwu/ingest/sheet"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/trace"
	"github.com/duiwu/duiwu/transform"
)

// unitConfig is how a unit reaches its topics: by a profile, by flags, or by a
// profile with some of it said otherwise.
type unitConfig struct {
	broker           brokerConfig
	profile          string
	unit             string // of the profile
	prefix, receipts string
	recordKey, seal  string
}

func (c *unitConfig) flags(fs *flag.FlagSet) {
	c.broker.flags(fs)
	fs.StringVar(&c.profile, "profile", "", "file that says how the unit reaches Kafka, profile.yaml; flags win over it")
	fs.StringVar(&c.prefix, "prefix", "", "feed topics are <prefix>.<unit> (default "+ingest.DefaultPrefix+")")
	fs.StringVar(&c.receipts, "receipts", "", "receipt topics are <prefix>.<unit> (default "+push.ReceiptPrefix+")")
}

// complete reads the profile and takes from it what no flag said.
func (c *unitConfig) complete() error {
	if c.profile == "" {
		return nil
	}
	p, err := push.LoadProfile(c.profile)
	if err != nil {
		return err
	}
	fill := func(v *string, from string) {
		if *v == "" {
			*v = from
		}
	}
	c.unit = p.Unit
	fill(&c.prefix, p.Feeds)
	fill(&c.receipts, p.Receipts)
	fill(&c.recordKey, p.RecordKey)
	fill(&c.seal, p.SealKey)
	b := &c.broker
	if b.brokers != "" {
		return nil // other brokers: nothing of how the profile's are reached holds for them
	}
	b.brokers = strings.Join(p.Brokers, ",")
	if !b.tls.said {
		b.tls = choice{said: true, on: !p.TLS.Off}
	}
	fill(&b.files.CA, p.TLS.CA)
	fill(&b.files.Cert, p.TLS.Cert)
	fill(&b.files.Key, p.TLS.Key)
	fill(&b.mechanism, p.SASL.Mechanism)
	fill(&b.user, p.SASL.User)
	fill(&b.passwords, p.SASL.PasswordFile)
	return nil
}

// pushing is one run of `duiwu push`.
type pushing struct {
	env    *environment
	config unitConfig
	broker ingest.Broker
	cat    *feed.Catalogue

	feed, unit, asOf, feeds              string
	testArea, wait, all, anew, again, js bool
	timeout, patience                    time.Duration

	mapping   *mapping.Mapping
	recordKey []byte
	seal      *seal.PublicKey
	producer  *ingest.Producer
	tracer    oteltrace.Tracer // nil where no collector is named
}

// pushed is what became of one file, as --json prints it.
type pushed struct {
	File       string        `json:"file"`
	Batch      string        `json:"batch_id,omitempty"`
	Spool      string        `json:"spool,omitempty"`
	Read       int64         `json:"rows_read"`
	Refused    int64         `json:"rows_refused"`
	Rows       int64         `json:"rows"`
	SHA256     string        `json:"sha256,omitempty"`
	Sent       bool          `json:"sent"`
	Trace      string        `json:"trace_id,omitempty"`
	Reconciled bool          `json:"reconciled"`
	ToMend     []string      `json:"to_mend,omitempty"`
	Error      string        `json:"error,omitempty"`
	Receipt    *flow.Receipt `json:"receipt,omitempty"`
}

// runPush sends files of records and follows their receipts. Exit status 0: all
// was accepted; 1: something was refused; 2: a file is not usable or was not
// sent, or its receipt did not come in time.
func runPush(ctx context.Context, env *environment, args []string) error {
	const use = "FILE|SPOOL... --feed FEED --profile FILE [flags]"
	p := &pushing{env: env}
	fs := env.flags("push", use)
	p.config.flags(fs)
	fs.StringVar(&p.config.recordKey, "record-key", "", "file with the unit's key for ids of rows without a record number; see duiwu keys")
	fs.StringVar(&p.config.seal, "seal-key", "", "file with the national public key: identity numbers, names and mobiles are sealed on this machine")
	fs.StringVar(&p.feed, "feed", "", "feed that the files are of, such as worker")
	fs.StringVar(&p.unit, "unit", "", "reporting unit, such as 310000; the profile's when empty")
	fs.StringVar(&p.asOf, "as-of", "", "effective_from of rows that say none, such as 2016-11-30; empty means the day the file was last changed")
	mapped := fs.String("mapping", "", "mapping.yaml that says which column is which field")
	fs.StringVar(&p.feeds, "feeds", "", "folder of feed files; empty means those inside the binary")
	fs.BoolVar(&p.testArea, "test-area", false, "accept identity numbers of the reserved test area PP99xx")
	fs.BoolVar(&p.wait, "wait", false, "wait for the receipt")
	fs.DurationVar(&p.timeout, "timeout", 15*time.Minute, "how long --wait waits")
	fs.DurationVar(&p.patience, "patience", 2*time.Minute, "how long a broker that is away is waited for")
	fs.BoolVar(&p.all, "all-or-nothing", false, "send nothing of a file in which any row is refused")
	fs.BoolVar(&p.anew, "anew", false, "prepare the file anew although it was prepared as it is")
	fs.BoolVar(&p.again, "resend-missing", false, "with --wait: send chunks again that the receipt does not know although the broker acknowledged them")
	fs.BoolVar(&p.js, "json", false, "print one JSON object a file")
	files, err := env.parseMixed(fs, args, 1, 1000)
	if err != nil {
		return err
	}
	if err := p.config.complete(); err != nil {
		return p.unusable(err)
	}
	if p.unit == "" {
		p.unit = p.config.unit
	}
	switch {
	case p.config.broker.brokers == "":
		return p.unusable(errors.New("请用 --profile 或 --kafka 说明怎样连接 Kafka。 Say how Kafka is reached: --profile or --kafka"))
	case p.config.unit != "" && p.unit != p.config.unit:
		return p.unusable(fmt.Errorf("--unit %s 与 profile 中的单位 %s 不同。 --unit differs from the profile's unit", p.unit, p.config.unit))
	}
	if p.cat, err = catalogue(p.feeds); err != nil {
		return err
	}
	if p.mapping, err = loadMapping(*mapped, p.cat); err != nil {
		return p.unusable(err)
	}
	if p.mapping != nil && p.feed == "" {
		p.feed = p.mapping.Feed
	}
	if p.broker, err = p.config.broker.open(env.warn); err != nil {
		return p.unusable(err)
	}
	if p.recordKey, err = readRecordKey(p.config.recordKey); err != nil {
		return p.unusable(err)
	}
	if p.seal, err = readPublicKey(p.config.seal); err != nil {
		return p.unusable(err)
	}
	if p.producer, err = ingest.NewProducer(p.broker); err != nil {
		return p.unusable(err)
	}
	defer func() { _ = p.producer.Close() }() // every Send has returned
	log := slog.New(slog.NewTextHandler(env.stderr, nil))
	tracer, stop, err := trace.Start(ctx, "duiwu-push", p.unit, log)
	if err != nil {
		return p.unusable(err)
	}
	defer stop()
	p.tracer = tracer
	worst := 0
	for _, file := range files {
		out := pushed{File: file}
		status, err := p.file(ctx, file, &out)
		if err != nil {
			out.Error = err.Error()
			if !p.js {
				text := ""
				if !out.Sent {
					text = "未报送 not sent: "
				}
				fmt.Fprintf(env.stderr, "duiwu: %s: %s%v\n", filepath.Base(file), text, err)
			}
		}
		worst = max(worst, status)
		if p.js {
			if err := json.NewEncoder(env.stdout).Encode(out); err != nil {
				return err
			}
		}
	}
	switch worst {
	case 0:
		return nil
	case 1:
		return errFindings
	}
	return errNotSent
}

func (p *pushing) unusable(err error) error {
	fmt.Fprintln(p.env.stderr, "duiwu:", err)
	return errUsage
}

// say prints for people; nothing with --json.
func (p *pushing) say(zh, en string) {
	if !p.js {
		fmt.Fprintln(p.env.stdout, zh)
		fmt.Fprintln(p.env.stdout, en)
	}
}

// file pushes one file, or a batch that was prepared before, and returns the exit
// status that it asks for.
func (p *pushing) file(ctx context.Context, path string, out *pushed) (status int, err error) {
	b, err := p.prepared(path)
	if err != nil {
		return 2, err
	}
	unit := p.unit
	if b != nil {
		unit = b.Unit
	}
	if unit == "" {
		return 2, errors.New("请用 --unit 或 profile 说明报送单位。 Say whose file it is: --unit, or unit in the profile")
	}
	topic := ingest.Topic(p.config.prefix, unit)
	partitions := 0
	if err := p.patiently(ctx, func() (err error) { partitions, err = ingest.Partitions(ctx, p.broker, topic); return err }); err != nil {
		return 2, err
	}
	if b != nil && b.Partitions != partitions && !isDir(path) {
		if sent, err := b.Sent(); err != nil || !sent {
			b = nil // it was cut for another number of partitions and has to be cut anew
		}
	}
	before := ""
	if b != nil {
		before = b.Traceparent
	}
	inside, end := trace.Begin(ctx, p.tracer, "push", before)
	defer func() { end(err) }()
	if b == nil {
		if b, err = p.prepare(ctx, path, partitions, inside, out); err != nil {
			return 2, err
		}
	}
	out.Trace = trace.ID(b.Traceparent)
	out.Batch, out.Spool, out.Read, out.Refused, out.Rows, out.SHA256 = b.ID, b.Dir, b.Read, b.Refused, b.Rows, b.SHA256
	if b.Refused > 0 {
		status = 1
	}
	already, err := b.Sent()
	if err != nil {
		return 2, err
	}
	if err := p.send(ctx, b, topic, partitions); err != nil {
		return 2, err
	}
	if out.Sent = true; already {
		p.say(fmt.Sprintf("批次 %s 早已报送，不再重发。", b.ID), fmt.Sprintf("Batch %s was sent before; nothing is sent again.", b.ID))
	} else {
		p.say(fmt.Sprintf("已报送批次 %s：%d 行，%d 块，SHA-256 %s。", b.ID, b.Rows, len(b.Chunks), b.SHA256),
			fmt.Sprintf("Batch %s is with Kafka: %d rows, %d chunks.", b.ID, b.Rows, len(b.Chunks)))
	}
	if !p.wait {
		return status, nil
	}
	r, err := p.follow(ctx, b, topic, partitions)
	out.Receipt = r
	if err != nil {
		return 2, err
	}
	places, err := b.Places(r)
	if err != nil {
		return 2, err
	}
	if !p.js {
		err := printReceipt(p.env.stdout, r, func(one *flow.RejectedRow) string {
			line := places[push.At{Chunk: one.Chunk, Row: one.Row}].Line
			return fmt.Sprintf("第 %d 行 row %d", line, line)
		})
		if err != nil {
			return 2, err
		}
	}
	if r.Rejected() {
		status = 1
		p.returned(b, r, out)
	}
	if out.Trace != "" {
		p.say("追踪号 "+out.Trace+"。", "This batch is trace "+out.Trace+".")
	}
	if err := b.Reconcile(r); err != nil {
		return 2, err
	}
	out.Reconciled = true
	p.say("批次与回执相符：行数、去向之和、SHA-256 一致。", "The batch and its receipt agree: rows, sum of the outcomes, SHA-256.")
	return status, b.Discard()
}

// prepared finds the batch that a file was prepared as, if that still stands for
// it; nil when it has to be prepared. A folder is a prepared batch by itself.
func (p *pushing) prepared(path string) (*push.Batch, error) {
	if isDir(path) {
		b, err := push.OpenBatch(path)
		if err == nil && p.unit != "" && b.Unit != p.unit {
			err = fmt.Errorf("这一批是单位 %s 的。 This batch is of unit %s", b.Unit, b.Unit)
		}
		return b, err
	}
	if p.feed == "" {
		return nil, errors.New("请用 --feed 说明数据类别。 Say what the file holds: --feed")
	}
	if p.anew {
		return nil, nil
	}
	// Only the newest: an older content that comes back is a new delivery.
	b, err := push.Latest(push.Spool(path))
	if err != nil || b == nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	effective := p.asOf
	if effective == "" {
		effective = info.ModTime().In(feed.Shanghai).Format(time.DateOnly)
	}
	key := ""
	if p.seal != nil {
		key = p.seal.ID()
	}
	sum, err := push.HashFile(path)
	if err != nil {
		return nil, err
	}
	if b.Source.SHA256 != sum || b.Feed != p.feed || b.Unit != p.unit || b.Effective != effective || b.SealKey != key || b.Mapping != p.mapping.Sum() {
		return nil, nil
	}
	p.say(fmt.Sprintf("文件没有变化，沿用已准备的批次 %s（%s）；要另报一次请加 --anew。", b.ID, clockOf(b.PreparedAt)),
		fmt.Sprintf("The file is as it was: this is batch %s, prepared %s; --anew prepares it anew.", b.ID, clockOf(b.PreparedAt)))
	return b, nil
}

// prepare judges a file, says what it found, and writes its batch.
func (p *pushing) prepare(ctx context.Context, path string, partitions int, traceparent string, out *pushed) (*push.Batch, error) {
	spec := p.cat.Feed(p.feed)
	if spec == nil {
		return nil, fmt.Errorf("没有数据类别 no feed %q; the feeds are %s", p.feed, strings.Join(feedNames(p.cat), ", "))
	}
	opt := sheet.Options{Catalogue: p.cat, Feed: spec, Unit: p.unit, Clock: time.Now, Mapping: p.mapping}
	if p.asOf != "" {
		day, err := time.ParseInLocation(time.DateOnly, p.asOf, feed.Shanghai)
		if err != nil {
			return nil, errors.New("--as-of 应写成 2016-11-30。 --as-of is written 2016-11-30")
		}
		opt.AsOf = day
	}
	step := transform.NewCheck(transform.CheckOptions{Catalogue: p.cat, AllowTestAreas: p.testArea, Clock: time.Now})
	defer step.Release()
	opt.Step = step
	b, report, err := push.Prepare(ctx, push.Options{
		File: path, Traceparent: traceparent, Sheet: opt, RecordKey: p.recordKey, Seal: p.seal, Partitions: partitions, AllOrNothing: p.all,
	})
	if report != nil {
		if out.Read, out.Refused = int64(report.Rows), int64(report.Rows-report.Accepted); !p.js {
			if err := report.WriteText(p.env.stdout, shownFindings); err != nil {
				return nil, err
			}
		}
		if refusals := report.Refusals(); len(refusals) > 0 {
			p.mend(path, spec, refusals, ".rejected.xlsx", out)
		}
	}
	var bad *fs.PathError
	switch {
	case errors.Is(err, push.ErrNothing):
		err = fmt.Errorf("没有可入库的行，未报送。 %w", err)
	case errors.Is(err, push.ErrRefused):
		err = fmt.Errorf("有行不合格，按 --all-or-nothing 未报送。 %w", err)
	case errors.Is(err, push.ErrNoRecordKey):
		err = fmt.Errorf("文件没有记录号，需要本单位的记录号密钥，未报送。 %w", err)
	case errors.As(err, &bad):
		err = fmt.Errorf("cannot read %s: %w", filepath.Base(path), bad.Err)
	}
	return b, err
}

// mend writes the rows that came back beside the file. That it cannot is said
// and is no reason not to send the others.
func (p *pushing) mend(path string, spec *feed.Spec, why map[sheet.Place][]sheet.Why, suffix string, out *pushed) {
	to := strings.TrimSuffix(path, filepath.Ext(path)) + suffix
	n, err := 0, error(nil)
	file, err := sheet.Open(path)
	if err == nil {
		defer func() { _ = file.Close() }() // it was only read
		n, err = sheet.Excerpt(file, spec, p.mapping, why, to)
	}
	switch {
	case err != nil:
		fmt.Fprintln(p.env.stderr, "duiwu:", err)
	case n > 0:
		out.ToMend = append(out.ToMend, to)
		p.say(fmt.Sprintf("退回的 %d 行在 %s，改好后可直接再报。", n, to), fmt.Sprintf("%d rows to mend are in %s; push that file when they are mended.", n, to))
	}
}

// returned writes the rows that the receipt refuses.
func (p *pushing) returned(b *push.Batch, r *flow.Receipt, out *pushed) {
	if r.RejectsOmitted > 0 {
		p.say(fmt.Sprintf("回执只列出前 %d 条退回记录，另有 %d 条。", len(r.Rejects), r.RejectsOmitted),
			fmt.Sprintf("The receipt lists %d refused records; %d more are counted only.", len(r.Rejects), r.RejectsOmitted))
	}
	why, err := b.Returned(r)
	if err != nil {
		fmt.Fprintln(p.env.stderr, "duiwu:", err)
		return
	}
	if b.Source.Path == "" || len(why) == 0 {
		return
	}
	if sum, err := push.HashFile(b.Source.Path); err != nil || sum != b.Source.SHA256 {
		p.say("原文件已变，退回的行见上表，不另写文件。", "The file has changed since; the rows to mend are listed above only.")
		return
	}
	p.mend(b.Source.Path, p.cat.Feed(b.Feed), why, ".returned.xlsx", out)
}

// send brings the batch to Kafka, over cut lines.
func (p *pushing) send(ctx context.Context, b *push.Batch, topic string, partitions int) error {
	bar := newBar(p.env.stderr)
	defer bar.close()
	return p.patiently(ctx, func() error {
		return b.Send(ctx, push.Target{Sender: p.producer, Topic: topic, Partitions: partitions}, func(at push.Progress) {
			bar.show(at.Rows, at.RowsAll)
		})
	})
}

// patiently tries again while the broker is away, until the patience ends. A
// refused login is not waited for.
func (p *pushing) patiently(ctx context.Context, try func() error) error {
	until, told := time.Now().Add(p.patience), false
	for pause := 500 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		err := try()
		if err == nil || ctx.Err() != nil || !ingest.Temporary(err) || time.Now().Add(pause).After(until) {
			return err
		}
		if !told {
			fmt.Fprintf(p.env.stderr, "duiwu: Kafka 暂时连不上，继续尝试（最多 %s）。 Kafka is away, trying again for %s: %v\n", p.patience, p.patience, err)
			told = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// follow waits for the receipt.
func (p *pushing) follow(ctx context.Context, b *push.Batch, topic string, partitions int) (*flow.Receipt, error) {
	// Clocks apart by less than an hour see every receipt of the batch.
	from := push.NewTopic(p.broker, p.config.receipts, b.PreparedAt.Add(-time.Hour))
	defer from.Close()
	waiting, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	p.say("等待回执……", "Waiting for the receipt ...")
	begun, again := time.Now(), false
	var failed error
	for {
		step, stop := context.WithTimeout(waiting, 30*time.Second)
		r, err := b.Wait(step, from, func(_ *flow.Receipt, err error) { failed = err })
		stop()
		switch {
		case err == nil:
			return r, nil
		case failed != nil && !ingest.Temporary(failed):
			return r, failed
		case waiting.Err() == nil:
			if p.again && !again && r != nil && time.Since(begun) > 25*time.Second {
				again = true
				n, err := b.Resend(r)
				if err != nil {
					return r, err
				}
				if n > 0 {
					p.say(fmt.Sprintf("回执缺少 %d 块，重发。", n), fmt.Sprintf("The receipt misses %d chunks, sending them again.", n))
					if err := p.send(ctx, b, topic, partitions); err != nil {
						return r, err
					}
				}
			}
			continue
		case ctx.Err() != nil:
			return r, errors.New("等待被中断；批次已报送，再次运行同一命令即可继续等待。 Interrupted; the batch was sent, run the same command to wait on")
		}
		text := fmt.Sprintf("%s 内没有等到完整回执；批次已报送，稍后再次运行同一命令查看。 No complete receipt in %s; the batch was sent, run the same command again later", p.timeout, p.timeout)
		if failed != nil {
			return r, fmt.Errorf("%s: %w", text, failed)
		}
		return r, errors.New(text)
	}
}

// bar is a progress bar, on terminals only.
type bar struct {
	w    io.Writer // nil where there is no terminal
	last time.Time
}

func newBar(w io.Writer) *bar {
	if f, ok := w.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return &bar{}
	}
	return &bar{w: w}
}

const barWidth = 30

func (b *bar) show(done, all int64) {
	if b.w == nil || time.Since(b.last) < 100*time.Millisecond && done < all {
		return
	}
	b.last = time.Now()
	full := int(done * barWidth / max(all, 1))
	fmt.Fprintf(b.w, "\r\033[K报送 push [%s%s] %3d %%  %d / %d", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), done*100/max(all, 1), done, all)
}

// close ends the line.
func (b *bar) close() {
	if b.w != nil && !b.last.IsZero() {
		fmt.Fprintln(b.w)
	}
}
