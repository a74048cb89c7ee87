// Command wholepath measures the whole path: a topic of one unit's records from
// Kafka through the production worker into ClickHouse, and the same topic loaded
// by ClickHouse's own Kafka engine into one bare table. Read the ratio: both ran
// on the same machine in the same minutes.
//
//	go run ./bench/wholepath --records 2000000 --partitions 12 --duplicates 10
//
//	go run ./bench/wholepath --latency 1000,25000 --for 60s
//
//	go run ./bench/wholepath --durable
//
// Lists make a matrix, a line each:
//
//	go run ./bench/wholepath --formats json,csv,arrow --partitions 1,4,12 --duplicates 0,10,50 --units 1,8,32
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/broker"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/fetch"
	"github.com/duiwu/duiwu/internal/usage"
)

func main() {
	engine.Main()
	broker.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "wholepath:", err)
		os.Exit(1)
	}
}

// bench is one line of the matrix.
type bench struct {
	format                          string
	records, partitions, duplicates int
	units                           int // that share the records
	seed                            uint64
	kfake, alone, both              bool
	durable                         string // as duiwu migrate takes it
	flags                           []string

	kafka   ingest.Broker
	codes   []string // of all units that report, unit first
	dir     string
	lib     string
	made    *records
	rebuilt float64 // rows of history a second
}

func run(ctx context.Context) (err error) {
	all := bench{units: 1}
	if all.codes, err = codes(); err != nil {
		return err
	}
	formats := flag.String("formats", "json", "wire formats: json, csv, arrow")
	partitions := flag.String("partitions", "12", "partitions of the topic")
	duplicates := flag.String("duplicates", "10", "exact duplicates, in 100 records")
	units := flag.String("units", "1", "units that share the records, each with a topic of so many partitions")
	more := flag.String("worker", "", "further flags of the worker, such as \"--slots 2\"")
	flag.Uint64Var(&all.seed, "seed", 1, "another seed makes other records")
	flag.BoolVar(&all.kfake, "kfake", false, "use the embedded broker in place of Apache Kafka")
	flag.BoolVar(&all.alone, "alone", false, "leave ClickHouse's Kafka engine out")
	flag.BoolVar(&all.both, "durable", false, "compare tables that survive a power loss with those that do not, in place of ClickHouse's Kafka engine")
	flag.IntVar(&all.records, "records", 2_000_000, "how many records")
	rates := flag.String("latency", "", "records a second, a list: measure the time from push to query at these rates instead")
	span := flag.Duration("for", 30*time.Second, "with --latency: how long each rate is held")
	flag.Parse()
	all.flags = strings.Fields(*more)
	if all.lib, err = fetch.LibCHDB(ctx); err != nil {
		return err
	}
	if *rates != "" {
		return latencies(ctx, all, *partitions, *rates, *span)
	}
	if all.both {
		fmt.Println("CPU seconds a million records, records a second of the better of two runs each; the ratios are durable tables to plain ones.")
		fmt.Println("| format | units | partitions | duplicates | plain: worker | server + merges | records/s | durable: worker | server + merges | records/s | CPU | wall |")
		fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|---|")
		return matrix(ctx, all, *formats, *partitions, *duplicates, *units)
	}
	fmt.Println("CPU seconds a million records; server + merges is 8 seconds later; engine is ClickHouse's own Kafka engine into one bare table;")
	fmt.Println("rebuild is how many rows of history a second a worker that starts again reads to know its records.")
	fmt.Println("| format | units | partitions | duplicates | worker | server | + merges | sum | engine | ratio | records/s | worker MB | server MB | rebuild |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	return matrix(ctx, all, *formats, *partitions, *duplicates, *units)
}

// matrix measures a line for each combination of the lists.
func matrix(ctx context.Context, all bench, formats, partitions, duplicates, units string) error {
	for _, format := range strings.Split(formats, ",") {
		if encoders[format] == nil {
			return fmt.Errorf("--formats: %q is not json, csv or arrow", format)
		}
		for _, p := range strings.Split(partitions, ",") {
			for _, d := range strings.Split(duplicates, ",") {
				for _, u := range strings.Split(units, ",") {
					b := all
					b.format = format
					var bad [3]error
					b.partitions, bad[0] = strconv.Atoi(p)
					b.duplicates, bad[1] = strconv.Atoi(d)
					b.units, bad[2] = strconv.Atoi(u)
					if err := errors.Join(bad[:]...); err != nil {
						return err
					}
					if b.units < 1 || b.units > len(b.codes) {
						return fmt.Errorf("--units: %d is not 1 to %d", b.units, len(b.codes))
					}
					if err := b.line(ctx); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// latencies measures a list of rates.
func latencies(ctx context.Context, b bench, partitions, rates string, span time.Duration) (err error) {
	if b.partitions, err = strconv.Atoi(partitions); err != nil {
		return fmt.Errorf("--latency takes one number of partitions: %w", err)
	}
	fmt.Println("Seconds from the begin of a send until a query of the current table sees the record.")
	fmt.Println("| records/s | probes | p50 | p99 | longest | worker MB | server MB |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, r := range strings.Split(rates, ",") {
		rate, err := strconv.Atoi(r)
		if err != nil {
			return fmt.Errorf("--latency: %w", err)
		}
		if err := b.latency(ctx, rate, span); err != nil {
			return err
		}
	}
	return nil
}

// line measures one line of the matrix and prints it.
func (b *bench) line(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "wholepath"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	server, err := b.startBroker(ctx, b.kfake)
	if err != nil {
		return err
	}
	defer server.Kill()
	b.kafka = ingest.Broker{Brokers: []string{server.Addr()}, ClientID: "wholepath"}
	b.made = newRecords(b.seed, b.duplicates, b.codes[:b.units])
	if err := b.push(ctx); err != nil {
		return err
	}
	ours, err := b.measure(ctx, b.worker)
	if err != nil {
		return fmt.Errorf("duiwu worker: %w", err)
	}
	if b.both {
		return b.compare(ctx, ours)
	}
	engine, ratio := "-", "-"
	if !b.alone && b.format == "json" {
		theirs, err := b.measure(ctx, b.kafkaEngine)
		if err != nil {
			return fmt.Errorf("Kafka engine: %w", err)
		}
		engine, ratio = fmt.Sprintf("%.1f", theirs.merged), fmt.Sprintf("%.2f", (ours.client+ours.merged)/theirs.merged)
	}
	fmt.Printf("| %s | %d | %d | %d %% | %.2f | %.2f | %.2f | %.2f | %s | %s | %.0f | %.0f | %.0f | %.0f |\n", b.format, b.units, b.partitions, b.duplicates,
		ours.client, ours.server, ours.merged, ours.client+ours.merged, engine, ratio, float64(b.records)/ours.wall, ours.clientMB, ours.serverMB, b.rebuilt)
	return nil
}

// compare measures the worker on durable tables, then both once more the other
// way round, and keeps the better of each: what else the machine did in between
// is not the tables' doing.
func (b *bench) compare(ctx context.Context, plain cost) error {
	other := *b
	other.durable = "yes"
	var durable cost
	for i, run := range []struct {
		b    *bench
		into *cost
	}{{&other, &durable}, {&other, &durable}, {b, &plain}} {
		c, err := run.b.measure(ctx, run.b.worker)
		if err != nil {
			return fmt.Errorf("duiwu worker, durable tables %q: %w", run.b.durable, err)
		}
		if i == 0 || c.wall < run.into.wall {
			*run.into = c
		}
	}
	fmt.Printf("| %s | %d | %d | %d %% | %.2f | %.2f | %.0f | %.2f | %.2f | %.0f | %.2f | %.2f |\n", b.format, b.units, b.partitions, b.duplicates,
		plain.client, plain.merged, float64(b.records)/plain.wall, durable.client, durable.merged, float64(b.records)/durable.wall,
		(durable.client+durable.merged)/(plain.client+plain.merged), durable.wall/plain.wall)
	return nil
}

// codes are the units that report records of workers, unit first.
func codes() ([]string, error) {
	cat, err := feed.Load(feeds.FS)
	if err != nil {
		return nil, err
	}
	out := []string{unit}
	for _, u := range cat.Units {
		if u.Reports && u.Code != unit {
			out = append(out, u.Code)
		}
	}
	return out, nil
}

// topics are those of the units that share the records.
func (b *bench) topics() []string {
	var out []string
	for _, code := range b.codes[:b.units] {
		out = append(out, ingest.Topic("", code))
	}
	return out
}

func (b *bench) startBroker(ctx context.Context, kfake bool) (*broker.Broker, error) {
	o := broker.Options{Dir: filepath.Join(b.dir, "kafka")}
	if kfake {
		return broker.Start(ctx, o)
	}
	var err error
	if o.Lib, err = fetch.Kafka(ctx); err != nil {
		return nil, err
	}
	return broker.StartApache(ctx, o)
}

func (b *bench) push(ctx context.Context) error {
	if err := ingest.CreateTopics(ctx, b.kafka, b.partitions, nil, b.topics()...); err != nil {
		return err
	}
	p, err := ingest.NewProducer(b.kafka)
	if err != nil {
		return err
	}
	defer p.Close()
	var batch []ingest.Outgoing
	size := 0
	send := func() error {
		if err := p.Send(ctx, batch...); err != nil {
			return fmt.Errorf("cannot push: %w", err)
		}
		batch, size = batch[:0], 0
		return nil
	}
	type lane struct {
		encoder
		topic string
		key   []byte // any key of the partition routes its messages there
	}
	// The partitions of the first unit, then those of the second, and so on.
	lanes, topics := make([]lane, b.units*b.partitions), b.topics()
	for i := range lanes {
		lanes[i] = lane{encoder: encoders[b.format](), topic: topics[i/b.partitions]}
	}
	out := func(l *lane, value []byte, err error) error {
		if err != nil || value == nil {
			return err
		}
		batch = append(batch, ingest.Outgoing{Topic: l.topic, Key: l.key, Value: value,
			Headers: []ingest.Header{{Key: []byte(ingest.HeaderContentType), Value: []byte(l.contentType())}}})
		if size += len(value); size < 16<<20 {
			return nil
		}
		return send()
	}
	for range b.records {
		values := b.made.next()
		key := ingest.Key(values[reportingUnit], values[recordID])
		l := &lanes[b.made.of*b.partitions+ingest.PartitionOf(key, b.partitions)]
		l.key = key
		value, err := l.add(values)
		if err := out(l, value, err); err != nil {
			return err
		}
	}
	for i := range lanes {
		value, err := lanes[i].flush()
		if err := out(&lanes[i], value, err); err != nil {
			return err
		}
	}
	return send()
}

// cost is what one loader used; CPU is in seconds a million records.
type cost struct {
	client, server, merged, wall float64
	clientMB, serverMB           float64
}

// measure runs one loader on a server of its own until it has read everything,
// then gives the server's merges 8 seconds.
func (b *bench) measure(ctx context.Context, load func(context.Context, *engine.Engine) (pid int, stop func() error, err error)) (c cost, err error) {
	dir, err := os.MkdirTemp(b.dir, "server")
	if err != nil {
		return c, err
	}
	e, err := engine.Start(ctx, engine.Options{Lib: b.lib, Dir: dir})
	if err != nil {
		return c, err
	}
	defer func() { _ = e.Stop(context.WithoutCancel(ctx)) }()
	before, begun := used(e.PID()), time.Now()
	pid, stop, err := load(ctx, e)
	if err != nil {
		return c, err
	}
	million := float64(b.records) / 1e6
	c.wall = time.Since(begun).Seconds()
	c.client, c.clientMB = used(pid)/million, peak(pid)
	c.server = (used(e.PID()) - before) / million
	time.Sleep(8 * time.Second)
	c.merged, c.serverMB = (used(e.PID())-before)/million, peak(e.PID())
	return c, stop()
}

// startWorker builds duiwu from this tree, makes the tables, and starts a worker.
// Its log goes to w.
func (b *bench) startWorker(ctx context.Context, e *engine.Engine, level string, log io.Writer) (pid int, stop func() error, err error) {
	duiwu := filepath.Join(b.dir, "duiwu")
	if text, err := exec.CommandContext(ctx, "go", "build", "-o", duiwu, "github.com/duiwu/duiwu/cmd/duiwu").CombinedOutput(); err != nil {
		return 0, nil, fmt.Errorf("cannot build duiwu: %w\n%s", err, text)
	}
	keys, hash := filepath.Join(b.dir, "token.keys"), filepath.Join(b.dir, "hash.key")
	if err := errors.Join(os.WriteFile(keys, []byte(strings.Repeat("01", 32)+"\n"), 0o600), os.WriteFile(hash, []byte(strings.Repeat("02", 16)+"\n"), 0o600)); err != nil {
		return 0, nil, err
	}
	env := append(os.Environ(), "DUIWU_CLICKHOUSE="+e.DSN(), "DUIWU_KAFKA="+b.kafka.Brokers[0])
	migrate := exec.CommandContext(ctx, duiwu, "migrate", "--durable", b.durable)
	migrate.Env = env
	if text, err := migrate.CombinedOutput(); err != nil {
		return 0, nil, fmt.Errorf("cannot migrate: %w\n%s", err, text)
	}
	w := exec.CommandContext(ctx, duiwu, append([]string{"worker", "--token-keys", keys, "--hash-key", hash, "--test-areas", "--receipts", "none",
		"--clock", today.Format(time.RFC3339), "--log-level", level}, b.flags...)...)
	w.Env, w.Stderr = env, log
	if err := w.Start(); err != nil {
		return 0, nil, err
	}
	return w.Process.Pid, func() error { return errors.Join(w.Process.Signal(syscall.SIGTERM), w.Wait()) }, nil
}

// worker loads the topic with the production worker.
func (b *bench) worker(ctx context.Context, e *engine.Engine) (int, func() error, error) {
	pid, stop, err := b.startWorker(ctx, e, "error", os.Stderr)
	if err != nil {
		return 0, nil, err
	}
	if err := b.until(ctx, e, "SELECT toInt64(sum(received)) FROM ledger", int64(b.records)); err != nil {
		return 0, nil, errors.Join(err, stop())
	}
	return pid, func() error {
		if err := stop(); err != nil {
			return err
		}
		return errors.Join(
			expect(ctx, e, "SELECT toInt64(count()) FROM worker FINAL", int64(len(b.made.versions))),
			expect(ctx, e, "SELECT sum(toUnixTimestamp64Milli(reported_at)) FROM worker FINAL", b.made.sum),
			expect(ctx, e, "SELECT toInt64(count()) FROM worker_history FINAL", b.made.stored),
			b.rebuild(ctx, e))
	}, nil
}

// rebuild starts a worker that finds everything done, and reads in its log how
// long it took to learn what is stored.
func (b *bench) rebuild(ctx context.Context, e *engine.Engine) error {
	read, write := io.Pipe()
	_, stop, err := b.startWorker(ctx, e, "info", write)
	if err != nil {
		return err
	}
	defer time.AfterFunc(2*time.Minute, func() { _ = write.CloseWithError(errors.New("two minutes are over")) }).Stop()
	var known int
	var longest time.Duration
	lines := bufio.NewScanner(read)
	for assigned := 0; assigned < b.units*b.partitions && lines.Scan(); {
		var l struct {
			Msg   string
			Known int
			Took  time.Duration
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err == nil && l.Msg == "partition assigned" {
			assigned++
			known += l.Known
			longest = max(longest, l.Took)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, read) }()
	if err := errors.Join(lines.Err(), stop()); err != nil {
		return fmt.Errorf("cannot start the worker again: %w", err)
	}
	if known != len(b.made.versions) {
		return fmt.Errorf("a worker that starts again knows %d records, not %d", known, len(b.made.versions))
	}
	b.rebuilt = float64(b.made.stored) / longest.Seconds()
	return nil
}

// kafkaEngine loads the topic with the server alone: text columns in the source,
// since others make it parse two to three times as long, cast in the view.
func (b *bench) kafkaEngine(ctx context.Context, e *engine.Engine) (int, func() error, error) {
	kinds := []struct{ name, typ string }{
		{"schema_version", code}, {"reporting_unit", code}, {"feed", code}, {"batch_id", code}, {"record_id", "String"}, {"op", code},
		{"period", code}, {"effective_from", "Date32"}, {"reported_at", "DateTime64(3, 'Asia/Shanghai')"}, {"id_number", "String"},
		{"name", "String"}, {"mobile", "String"}, {"sex", code}, {"birth_date", "Date32"}, {"ethnic_code", code}, {"political_code", code},
		{"education_code", code}, {"major_social_work", "Bool"}, {"worker_category", code}, {"position_level", code},
		{"employer_uscc", "String"}, {"county_code", code}, {"entry_on", "Date32"}, {"is_trainer", "Bool"},
	}
	var source, table, view []string
	for _, k := range kinds {
		source, table = append(source, k.name+" String"), append(table, k.name+" "+k.typ)
		switch {
		case strings.HasPrefix(k.typ, "DateTime64"):
			view = append(view, "parseDateTime64BestEffort("+k.name+", 3, 'Asia/Shanghai') AS "+k.name)
		default:
			view = append(view, "CAST("+k.name+", '"+k.typ+"') AS "+k.name)
		}
	}
	for _, sql := range []string{
		"CREATE TABLE bare (" + strings.Join(table, ", ") + ") ENGINE = ReplacingMergeTree(reported_at) ORDER BY (reporting_unit, record_id)",
		"CREATE TABLE source (" + strings.Join(source, ", ") + ") ENGINE = Kafka SETTINGS kafka_broker_list = '" + b.kafka.Brokers[0] + "', kafka_topic_list = '" + strings.Join(b.topics(), ",") +
			"', kafka_group_name = 'bare', kafka_format = 'JSONEachRow', kafka_num_consumers = 2, kafka_thread_per_consumer = 1, kafka_max_block_size = 131072, kafka_flush_interval_ms = 3000",
		"CREATE MATERIALIZED VIEW source_to_bare TO bare AS SELECT " + strings.Join(view, ", ") + " FROM source",
	} {
		if _, err := ask(ctx, e, sql); err != nil {
			return 0, nil, err
		}
	}
	if err := b.until(ctx, e, "SELECT toInt64(sum(num_messages_read)) FROM system.kafka_consumers WHERE table = 'source'", int64(b.records)); err != nil {
		return 0, nil, err
	}
	// The last messages read are still to be written.
	if err := b.until(ctx, e, "SELECT toInt64(count()) FROM bare FINAL", int64(len(b.made.versions))); err != nil {
		return 0, nil, err
	}
	return 0, func() error {
		return expect(ctx, e, "SELECT sum(toUnixTimestamp64Milli(reported_at)) FROM bare FINAL", b.made.sum)
	}, nil
}

const code = "LowCardinality(String)"

func ask(ctx context.Context, e *engine.Engine, sql string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.DSN(), strings.NewReader(sql))
	if err != nil {
		return "", err
	}
	req.URL.Path, req.URL.RawQuery = "/", "database="+engine.Database
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the server says: %s", bytes.TrimSpace(text))
	}
	return strings.TrimSpace(string(text)), err
}

func expect(ctx context.Context, e *engine.Engine, sql string, want int64) error {
	got, err := ask(ctx, e, sql)
	if err == nil && got != strconv.FormatInt(want, 10) {
		err = fmt.Errorf("WRONG: %s gives %s, not %d", sql, got, want)
	}
	return err
}

// until waits for a number to reach want.
func (b *bench) until(ctx context.Context, e *engine.Engine, sql string, want int64) error {
	before, moved := "", time.Now()
	for {
		got, err := ask(ctx, e, sql)
		if err != nil {
			return err
		}
		if n, err := strconv.ParseInt(got, 10, 64); err == nil && n >= want {
			return nil
		}
		if got != before {
			before, moved = got, time.Now()
		}
		if time.Since(moved) > 2*time.Minute {
			return fmt.Errorf("nothing moved for 2 minutes: %s gives %s, %d wanted", sql, got, want)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// used returns the CPU seconds of a process, peak its largest memory in MB; 0 for
// no process.
func used(pid int) float64 {
	cpu, err := usage.CPU(pid)
	if err != nil {
		return 0
	}
	return cpu.Seconds()
}

func peak(pid int) float64 {
	most, err := usage.Peak(pid)
	if err != nil {
		return 0
	}
	return float64(most) / (1 << 20)
}
