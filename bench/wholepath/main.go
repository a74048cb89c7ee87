// Command wholepath measures the whole path: a topic of one unit's records from
// Kafka through the production worker into ClickHouse, and the same topic loaded
// by ClickHouse's own Kafka engine into one bare table. Read the ratio of the two
// lines: both ran on the same machine in the same minutes.
//
//	go run ./bench/wholepath --records 2000000 --partitions 12 --duplicates 10
package main

import (
	"bytes"
	"context"
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
	"text/tabwriter"
	"time"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/broker"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/fetch"
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

type bench struct {
	records, partitions int
	kafka               ingest.Broker
	topic, dir, lib     string
	flags               []string
	made                *records
}

func run(ctx context.Context) (err error) {
	b := &bench{topic: ingest.Topic("", unit)}
	seed := flag.Uint64("seed", 1, "another seed makes other records")
	duplicates := flag.Int("duplicates", 10, "exact duplicates, in 100 records")
	kfake := flag.Bool("kfake", false, "use the embedded broker in place of Apache Kafka")
	alone := flag.Bool("alone", false, "leave ClickHouse's Kafka engine out")
	more := flag.String("worker", "", "further flags of the worker, such as \"--slots 2\"")
	flag.IntVar(&b.records, "records", 2_000_000, "how many records")
	flag.IntVar(&b.partitions, "partitions", 12, "partitions of the topic")
	flag.Parse()
	b.flags = strings.Fields(*more)
	if b.dir, err = os.MkdirTemp("", "wholepath"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.lib, err = fetch.LibCHDB(ctx); err != nil {
		return err
	}
	server, err := b.startBroker(ctx, *kfake)
	if err != nil {
		return err
	}
	defer server.Kill()
	b.kafka = ingest.Broker{Brokers: []string{server.Addr()}, ClientID: "wholepath"}
	b.made = newRecords(*seed, *duplicates)
	if err := b.push(ctx); err != nil {
		return err
	}
	out := tabwriter.NewWriter(os.Stdout, 2, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "CPU seconds a million\tclient\tserver\t+ merges\tsum\twall s\trecords/s\tclient MB\tserver MB\t")
	ours, err := b.measure(ctx, out, "duiwu worker", b.worker)
	if err != nil {
		return errors.Join(err, out.Flush())
	}
	if !*alone {
		theirs, err := b.measure(ctx, out, "ClickHouse's Kafka engine", b.kafkaEngine)
		if err != nil {
			return errors.Join(err, out.Flush())
		}
		fmt.Fprintf(out, "ratio\t\t\t\t%.2f\t\n", theirs/ours)
	}
	return out.Flush()
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
	if err := ingest.CreateTopics(ctx, b.kafka, b.partitions, nil, b.topic); err != nil {
		return err
	}
	p, err := ingest.NewProducer(b.kafka)
	if err != nil {
		return err
	}
	defer p.Close()
	var batch []ingest.Outgoing
	for i := range b.records {
		id, v := b.made.next()
		batch = append(batch, ingest.Outgoing{Topic: b.topic, Key: ingest.Key(unit, id), Value: bytes.Clone(v)})
		if len(batch) == 20000 || i == b.records-1 {
			if err := p.Send(ctx, batch...); err != nil {
				return fmt.Errorf("cannot push: %w", err)
			}
			batch = batch[:0]
		}
	}
	return nil
}

// measure runs one loader on a server of its own until it has read everything,
// then gives the server's merges 8 seconds.
func (b *bench) measure(ctx context.Context, out io.Writer, name string, load func(context.Context, *engine.Engine) (pid int, stop func() error, err error)) (float64, error) {
	e, err := engine.Start(ctx, engine.Options{Lib: b.lib, Dir: filepath.Join(b.dir, "server-"+strings.Fields(name)[0])})
	if err != nil {
		return 0, err
	}
	defer func() { _ = e.Stop(context.WithoutCancel(ctx)) }()
	before, begun := used(e.PID()), time.Now()
	pid, stop, err := load(ctx, e)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	wall := time.Since(begun).Seconds()
	client, clientMB := used(pid), peak(pid)
	server := used(e.PID()) - before
	time.Sleep(8 * time.Second)
	merged := used(e.PID()) - before
	if err := stop(); err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	million := float64(b.records) / 1e6
	fmt.Fprintf(out, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.1f\t%.0f\t%.0f\t%.0f\t\n", name, client/million, server/million, merged/million,
		(client+merged)/million, wall, float64(b.records)/wall, clientMB, peak(e.PID()))
	return client + merged, nil
}

// worker loads the topic with bin/duiwu, built from this tree.
func (b *bench) worker(ctx context.Context, e *engine.Engine) (int, func() error, error) {
	duiwu := filepath.Join(b.dir, "duiwu")
	if text, err := exec.CommandContext(ctx, "go", "build", "-o", duiwu, "github.com/duiwu/duiwu/cmd/duiwu").CombinedOutput(); err != nil {
		return 0, nil, fmt.Errorf("cannot build duiwu: %w\n%s", err, text)
	}
	keys, hash := filepath.Join(b.dir, "token.keys"), filepath.Join(b.dir, "hash.key")
	if err := errors.Join(os.WriteFile(keys, []byte(strings.Repeat("01", 32)+"\n"), 0o600), os.WriteFile(hash, []byte(strings.Repeat("02", 16)+"\n"), 0o600)); err != nil {
		return 0, nil, err
	}
	env := append(os.Environ(), "DUIWU_CLICKHOUSE="+e.DSN(), "DUIWU_KAFKA="+b.kafka.Brokers[0])
	migrate := exec.CommandContext(ctx, duiwu, "migrate")
	migrate.Env = env
	if text, err := migrate.CombinedOutput(); err != nil {
		return 0, nil, fmt.Errorf("cannot migrate: %w\n%s", err, text)
	}
	w := exec.CommandContext(ctx, duiwu, append([]string{"worker", "--token-keys", keys, "--hash-key", hash, "--test-areas",
		"--clock", today.Format(time.RFC3339), "--log-level", "error"}, b.flags...)...)
	w.Env, w.Stderr = env, os.Stderr
	if err := w.Start(); err != nil {
		return 0, nil, err
	}
	if err := b.until(ctx, e, "SELECT toInt64(sum(received)) FROM ledger", int64(b.records)); err != nil {
		return 0, nil, errors.Join(err, w.Process.Kill())
	}
	return w.Process.Pid, func() error {
		if err := errors.Join(w.Process.Signal(syscall.SIGTERM), w.Wait()); err != nil {
			return err
		}
		return errors.Join(
			expect(ctx, e, "SELECT toInt64(count()) FROM worker FINAL", int64(len(b.made.versions))),
			expect(ctx, e, "SELECT sum(toUnixTimestamp64Milli(reported_at)) FROM worker FINAL", b.made.sum),
			expect(ctx, e, "SELECT toInt64(count()) FROM worker_history FINAL", b.made.stored))
	}, nil
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
		"CREATE TABLE source (" + strings.Join(source, ", ") + ") ENGINE = Kafka SETTINGS kafka_broker_list = '" + b.kafka.Brokers[0] + "', kafka_topic_list = '" + b.topic +
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
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100 // the kernel's unit is 1/100 s
}

func peak(pid int) float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(raw), "VmHWM:")
	kb, _ := strconv.ParseFloat(strings.Fields(rest + " 0")[0], 64)
	return kb / 1024
}
