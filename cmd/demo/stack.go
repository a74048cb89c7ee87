package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/duiwu/duiwu/cmd/demo/generate"
	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/broker"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/fetch"
)

// stack is what runs: a database, a broker, a worker.
type stack struct {
	o   *options
	log *slog.Logger
	bar *bar

	kafka    ingest.Broker
	dsn      string
	conn     driver.Conn
	engine   *engine.Engine // nil when the user brought a server
	broker   *broker.Broker // nil when the user brought one
	worker   *worker
	manifest *generate.Manifest
	contract *feed.Catalogue
	world    world
	// pushed says that this run sent messages, so its measurements mean something.
	pushed bool
	// idleCPU is what the embedded server had used before the job began.
	idleCPU float64

	stderr         io.Writer
	stopSupervisor context.CancelFunc
}

// world is what a folder holds; another world needs another folder.
type world struct {
	Seed    uint64 `json:"seed"`
	Records int    `json:"records"`
}

const (
	worldFile    = "world.json"
	manifestFile = "manifest.json"
)

// start brings up what the user did not bring.
func start(ctx context.Context, o *options, log *slog.Logger, stderr io.Writer) (_ *stack, err error) {
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the folder of the demo: %w", err)
	}
	s := &stack{o: o, log: log, bar: newBar(stderr), world: world{o.seed, o.records}}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.contract, err = feed.Load(feeds.FS); err != nil {
		return nil, err
	}
	if err := s.sameWorld(); err != nil {
		return nil, err
	}
	if err := s.startEngine(ctx); err != nil {
		return nil, err
	}
	if err := s.startBroker(ctx); err != nil {
		return nil, err
	}
	if !o.others {
		if o.duiwu == "" {
			if o.duiwu, err = build(ctx); err != nil {
				return nil, err
			}
		}
		if err := s.run(ctx, "migrate"); err != nil {
			return nil, err
		}
	}
	opts, err := clickhouse.ParseDSN(s.dsn)
	if err != nil {
		return nil, errors.New("cannot read --clickhouse: write http://user:password@host:8123/database")
	}
	if s.conn, err = clickhouse.Open(opts); err != nil {
		return nil, fmt.Errorf("cannot open the database: %w", err)
	}
	if s.engine != nil {
		s.idleCPU, _ = used(s.engine.PID())
	}
	s.stderr = stderr
	return s, nil
}

// sameWorld refuses to mix two worlds in one folder.
func (s *stack) sameWorld() error {
	path := filepath.Join(s.o.dir, worldFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		raw, err := json.Marshal(s.world)
		if err != nil {
			return err
		}
		return os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		return err
	}
	var w world
	if err := json.Unmarshal(raw, &w); err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	if w != s.world {
		return fmt.Errorf("%s holds the world of --seed %d --records %d: ask for that one, give another --dir, or remove the folder",
			s.o.dir, w.Seed, w.Records)
	}
	raw, err = os.ReadFile(filepath.Join(s.o.dir, manifestFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil // an earlier run was stopped while it pushed
	}
	if err != nil {
		return err
	}
	s.manifest = new(generate.Manifest)
	return json.Unmarshal(raw, s.manifest)
}

func (s *stack) startEngine(ctx context.Context) error {
	if s.o.clickhouse != "" {
		s.dsn = s.o.clickhouse
		return nil
	}
	lib, err := fetch.LibCHDB(ctx)
	if err != nil {
		return err
	}
	s.engine, err = engine.Start(ctx, engine.Options{Lib: lib, Dir: filepath.Join(s.o.dir, "clickhouse"), Log: logFile(s.o.dir, "clickhouse.log")})
	if err != nil {
		return fmt.Errorf("cannot start the embedded ClickHouse: %w", err)
	}
	s.dsn = s.engine.DSN()
	var watch context.Context
	watch, s.stopSupervisor = context.WithCancel(context.Background())
	go engine.Supervise(watch, s.engine, s.log)
	return nil
}

func (s *stack) startBroker(ctx context.Context) (err error) {
	if s.o.kafka != "" {
		s.kafka = ingest.Broker{Brokers: []string{s.o.kafka}, ClientID: "duiwu-demo"}
	} else {
		s.broker, err = broker.Start(ctx, broker.Options{Dir: filepath.Join(s.o.dir, "kafka"), Log: logFile(s.o.dir, "kafka.log")})
		if err != nil {
			return fmt.Errorf("cannot start the embedded broker: %w", err)
		}
		s.kafka = ingest.Broker{Brokers: []string{s.broker.Addr()}, ClientID: "duiwu-demo"}
	}
	return ingest.CreateTopics(ctx, s.kafka, s.o.partitions, map[string]string{"max.message.bytes": "8388608", "retention.ms": "-1"}, s.topics()...)
}

// topics are those of every unit that pushes: the reporting units and the
// national office.
func (s *stack) topics() []string {
	var out []string
	for _, u := range s.contract.Units {
		if u.Reports || u.National() {
			out = append(out, ingest.Topic("", u.Code))
		}
	}
	return out
}

// logFile opens a log in the folder; a log that cannot be kept is no reason not
// to run.
func logFile(dir, name string) io.Writer {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return io.Discard
	}
	return f
}

// build makes the production binary beside the demo's own.
func build(ctx context.Context) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	out := filepath.Join(filepath.Dir(self), "duiwu")
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, "github.com/duiwu/duiwu/cmd/duiwu")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build duiwu: %w\n%s", err, text)
	}
	return out, nil
}

// environ is what every duiwu process of the demo gets. The database's password
// stands in the environment, never on a command line.
func (s *stack) environ() []string {
	return append(os.Environ(), "DUIWU_CLICKHOUSE="+s.dsn, "DUIWU_KAFKA="+s.kafka.Brokers[0],
		// The demo itself sends in clear, wherever the brokers are.
		"DUIWU_KAFKA_TLS=false")
}

// run runs a duiwu command to its end.
func (s *stack) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, s.o.duiwu, args...)
	cmd.Env = s.environ()
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("duiwu %s failed: %w\n%s", args[0], err, text.Bytes())
	}
	return nil
}

// The demo's keys are published: they protect nobody, since nobody in the demo
// exists, and they make two runs comparable.
const (
	demoTokenKey = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
	demoHashKey  = "404142434445464748494a4b4c4d4e4f\n"
)

// worker is the production worker as a child, started again when it dies.
type worker struct {
	s    *stack
	args []string
	log  io.Writer

	mu      sync.Mutex
	cmd     *exec.Cmd
	stopped bool
	done    chan struct{}
}

// work starts the worker.
func (s *stack) work() error {
	keys, hash := filepath.Join(s.o.dir, "token.keys"), filepath.Join(s.o.dir, "hash.key")
	if err := errors.Join(os.WriteFile(keys, []byte(demoTokenKey), 0o600), os.WriteFile(hash, []byte(demoHashKey), 0o600)); err != nil {
		return err
	}
	out := logFile(s.o.dir, "worker.log")
	if s.o.verbose {
		out = io.MultiWriter(out, s.stderr)
	}
	w := &worker{s: s, log: out, done: make(chan struct{}), args: []string{
		"worker", "--token-keys", keys, "--hash-key", hash, "--test-areas", "--receipts", "none",
		"--clock", generate.Today.Format(time.RFC3339),
		// One worker alone: after a kill its successor need not wait long.
		"--session", "6s", "--rebalance", "6s",
	}}
	w.args = append(w.args, s.o.workerArgs...)
	if err := w.spawn(); err != nil {
		return err
	}
	go w.watch()
	s.worker = w
	return nil
}

func (w *worker) spawn() error {
	cmd := exec.Command(w.s.o.duiwu, w.args...)
	cmd.Env = w.s.environ()
	cmd.Stdout, cmd.Stderr = w.log, w.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start the worker: %w", err)
	}
	w.mu.Lock()
	w.cmd = cmd
	w.mu.Unlock()
	return nil
}

// watch starts the worker again when it died.
func (w *worker) watch() {
	defer close(w.done)
	for {
		err := w.cmd.Wait()
		w.mu.Lock()
		stopped := w.stopped
		w.mu.Unlock()
		if stopped {
			return
		}
		w.s.log.Warn("the worker ended, starting it again", "error", err)
		time.Sleep(time.Second)
		if err := w.spawn(); err != nil {
			w.s.log.Error("the worker does not start", "error", err)
			return
		}
	}
}

func (w *worker) pid() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cmd.Process.Pid
}

func (w *worker) stop() {
	w.mu.Lock()
	w.stopped = true
	_ = w.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	w.mu.Unlock()
	select {
	case <-w.done:
	case <-time.After(20 * time.Second):
		_ = w.cmd.Process.Kill()
		<-w.done
	}
}

// stop ends everything in order: writers before what they write to.
func (s *stack) stop() {
	s.bar.close()
	if s.worker != nil {
		s.worker.stop()
	}
	if s.conn != nil {
		_ = s.conn.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if s.broker != nil {
		if err := s.broker.Stop(ctx); err != nil {
			s.log.Warn("the broker did not stop in order", "error", err)
		}
	}
	if s.stopSupervisor != nil {
		s.stopSupervisor()
	}
	if s.engine != nil {
		if err := s.engine.Stop(ctx); err != nil {
			s.log.Warn("the database did not stop in order", "error", err)
		}
	}
}
