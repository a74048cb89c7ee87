package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/broker"
	"github.com/duiwu/duiwu/internal/engine"
)

// lab is the servers that cells share: a real ClickHouse, an Apache Kafka, and
// two pairs of wires, one for each of two workers. Every cell has a database, a
// topic and a consumer group of its own.
type lab struct {
	dir, duiwu, lib string
	engine          *engine.Engine
	broker          *broker.Broker
	wires           [2]wires
	cells           int
	ends            []string // of ClickHouse, by itself
	mourned         int      // the process whose end was the last of them
}

// wires are the two ways of one worker.
type wires struct{ kafka, clickhouse *wire }

func newLab(ctx context.Context, dir, duiwu, libchdb, kafkaLib string) (_ *lab, err error) {
	l := &lab{dir: dir, duiwu: duiwu, lib: libchdb}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.engine, err = engine.Start(ctx, engine.Options{Lib: libchdb, Dir: filepath.Join(dir, "clickhouse"), Log: logFile(dir, "clickhouse.log")}); err != nil {
		return nil, err
	}
	// A client goes to the address that the broker advertises, so each wire has
	// a listener of its own.
	properties := map[string]string{
		"log.retention.check.interval.ms": "500", "log.segment.delete.delay.ms": "500",
		"listeners":                      "PLAINTEXT://{addr},CONTROLLER://{controller}",
		"advertised.listeners":           "PLAINTEXT://{addr}",
		"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
	}
	for i := range l.wires {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		w := &l.wires[i]
		if w.kafka, err = newWire(fmt.Sprintf("127.0.0.1:%d", port), talkKafka); err != nil {
			return nil, err
		}
		if w.clickhouse, err = newWire(l.engine.HTTPAddr(), talkHTTP); err != nil {
			return nil, err
		}
		name := fmt.Sprintf("WIRE%d", i)
		properties["listeners"] += fmt.Sprintf(",%s://127.0.0.1:%d", name, port)
		properties["advertised.listeners"] += fmt.Sprintf(",%s://%s", name, w.kafka.addr())
		properties["listener.security.protocol.map"] += "," + name + ":PLAINTEXT"
	}
	l.broker, err = broker.StartApache(ctx, broker.Options{Dir: filepath.Join(dir, "kafka"), Lib: kafkaLib, Log: logFile(dir, "kafka.log"), Properties: properties})
	return l, err
}

func freePort() (int, error) {
	c, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("cannot find a free port: %w", err)
	}
	defer c.Close()
	return c.Addr().(*net.TCPAddr).Port, nil
}

func (l *lab) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, w := range l.wires {
		for _, one := range []*wire{w.kafka, w.clickhouse} {
			if one != nil {
				_ = one.l.Close()
				one.set(mode{cut: true})
			}
		}
	}
	if l.broker != nil {
		l.broker.Kill()
	}
	if l.engine != nil {
		_ = l.engine.Stop(ctx) // a lab that ends has nothing to lose
	}
}

func (l *lab) kafka() ingest.Broker {
	return ingest.Broker{Brokers: []string{l.broker.Addr()}, ClientID: "faults"}
}

// cell is one run of a worker under faults.
type cell struct {
	*lab
	name     string // of the database and the group
	topic    string
	database string // DSN, past the wires
	flags    []string
	workers  []*worker
	keep     bool                    // the database outlives the cell
	job      func() (*worker, error) // starts what was struck once more
	// clock is where the clock of the workers' machine stands, which can jump; when
	// it is zero, --clock takes its place.
	clock time.Time
}

const partitions = 2

// cell makes a database and a topic.
func (l *lab) cell(ctx context.Context) (*cell, error) { return l.cellOf(ctx, partitions) }

// cellOf is cell with other partitions, and flags for the workers.
func (l *lab) cellOf(ctx context.Context, partitions int, flags ...string) (*cell, error) {
	l.cells++
	c := &cell{lab: l, name: fmt.Sprintf("cell%d", l.cells), flags: flags}
	c.topic = ingest.Topic("duiwu."+c.name, unit)
	if err := l.up(ctx); err != nil {
		return nil, err
	}
	if _, err := query(ctx, l.engine.DSN(), "CREATE DATABASE "+c.name); err != nil {
		return nil, err
	}
	u, err := url.Parse(l.engine.DSN())
	if err != nil {
		return nil, err
	}
	u.Path = "/" + c.name
	c.database = u.String()
	for _, w := range l.wires {
		w.kafka.disarm()
		w.clickhouse.disarm()
	}
	return c, again(ctx, time.Minute, func() error {
		return ingest.CreateTopics(ctx, l.kafka(), partitions, map[string]string{"max.message.bytes": "8388608"}, c.topic)
	})
}

// up starts the servers that a fault left dead.
func (l *lab) up(ctx context.Context) error {
	select {
	case <-l.engine.Done():
		l.mourn()
		// On a busy machine one start may take longer than it is given.
		if err := again(ctx, startBound, func() error { return l.engine.Restart(ctx) }); err != nil {
			return err
		}
	default:
	}
	select {
	case <-l.broker.Done():
		return again(ctx, startBound, func() error { return l.broker.Restart(ctx) })
	default:
		return nil
	}
}

// mourn keeps and prints why ClickHouse ended, if nobody told it to.
func (l *lab) mourn() {
	said := l.engine.LastWords()
	if said == "" || l.mourned == l.engine.PID() {
		return
	}
	l.mourned = l.engine.PID()
	fmt.Fprintln(os.Stderr, "ClickHouse ended by itself:", said)
	end, _, _ := strings.Cut(said, ";")
	l.ends = append(l.ends, "ClickHouse ended by itself, its last words stand above: "+end)
}

// ended lists the ends of ClickHouse that nobody asked for, since the last call.
func (l *lab) ended() []string {
	l.mourn()
	out := l.ends
	l.ends = nil
	return out
}

const startBound = 4 * time.Minute

// again tries until it works or the time is over.
func again(ctx context.Context, d time.Duration, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not in %s: %w", d, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// through is the DSN by way of a wire.
func (c *cell) through(w *wire) string {
	u, err := url.Parse(c.database)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	u.Host = w.addr()
	return u.String()
}

// as is the DSN of another user by way of a wire.
func (c *cell) as(user string, w *wire) string {
	u, err := url.Parse(c.through(w))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	u.User = url.UserPassword(user, c.engine.Password(user))
	return u.String()
}

// duiwuCommand runs a command of the production binary to its end.
func (c *cell) duiwuCommand(ctx context.Context, dsn string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.duiwu, args...)
	cmd.Env = append(os.Environ(), "DUIWU_CLICKHOUSE="+dsn)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// migrate makes the tables, past the wires.
func (c *cell) migrate(ctx context.Context) error {
	if out, err := c.duiwuCommand(ctx, c.database, "migrate"); err != nil {
		return fmt.Errorf("cannot migrate: %w: %s", err, out)
	}
	return nil
}

// send produces past the wires.
func (c *cell) send(ctx context.Context, messages []message) error {
	p, err := ingest.NewProducer(c.kafka())
	if err != nil {
		return err
	}
	defer p.Close()
	return p.Send(ctx, outgoing(c.topic, messages)...)
}

// worker is the production worker as a child, started again when it dies, as an
// orchestrator would.
type worker struct {
	c    *cell
	n    int
	args []string
	job  bool // it is not started again once it has succeeded
	env  []string
	log  *logbook

	mu      sync.Mutex
	cmd     *exec.Cmd
	stopped bool
	paused  bool
	done    chan struct{}
	addr    string
	ahead   time.Duration // of its clock before the machine's
}

// logbook keeps what a worker said.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// begin is where the clock of a worker starts.
var begin = time.Date(2016, 11, 30, 20, 0, 0, 0, time.FixedZone("", 8*3600))

// Keys that protect nobody: no person in the records exists.
const (
	tokenKey = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
	hashKey  = "404142434445464748494a4b4c4d4e4f\n"
)

// work starts the next worker of the cell, by way of its wires. What it finds in
// env wins over its own.
func (c *cell) work(env ...string) (*worker, error) {
	n := len(c.workers)
	keys, hash := filepath.Join(c.dir, "token.keys"), filepath.Join(c.dir, "hash.key")
	if err := errors.Join(os.WriteFile(keys, []byte(tokenKey), 0o600), os.WriteFile(hash, []byte(hashKey), 0o600)); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	w := &worker{c: c, n: n, addr: fmt.Sprintf("127.0.0.1:%d", port)}
	w.args = append([]string{
		"worker", "--kafka", c.wires[n].kafka.addr(), "--prefix", "duiwu." + c.name, "--group", c.name, "--name", fmt.Sprintf("worker-%d", n),
		"--token-keys", keys, "--hash-key", hash, "--test-areas", "--receipts", "none", "--clock", begin.Format(time.RFC3339),
		"--session", "2s", "--rebalance", "2s", "--watch", "1s", "--database-timeout", "4s",
		"--cut-rows", "40", "--linger", "50ms", "--listen", w.addr,
	}, c.flags...)
	if !c.clock.IsZero() {
		w.args, w.ahead = append(w.args, "--clock", ""), time.Until(c.clock)
	}
	return w, c.run(w, env...)
}

// run starts what will be the cell's next worker.
func (c *cell) run(w *worker, env ...string) error {
	w.log, w.done = &logbook{}, make(chan struct{})
	w.env = append(append(os.Environ(), "DUIWU_CLICKHOUSE="+c.through(c.wires[w.n].clickhouse)), env...)
	if err := w.spawn(); err != nil {
		return err
	}
	c.workers = append(c.workers, w)
	go w.watch()
	return nil
}

// migrating is `duiwu migrate` as an orchestrator's job: it is run until it
// succeeds, by way of the next wires.
func (c *cell) migrating() (*worker, error) {
	w := &worker{c: c, n: len(c.workers), job: true, args: []string{"migrate", "--database-timeout", "4s"}}
	return w, c.run(w)
}

// ended waits for the end of a job.
func (w *worker) ended(ctx context.Context) error {
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(bound):
		return fmt.Errorf("it does not come to its end: %s", w.log)
	}
}

func (w *worker) spawn() error {
	cmd := exec.Command(w.c.duiwu, w.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = w.env, w.log, w.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return nil
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start the worker: %w", err)
	}
	w.cmd = cmd
	return w.setClock()
}

// setClock gives the process its clock; w.mu is held. One that is gone has a
// successor, which is given it when it starts.
func (w *worker) setClock() error {
	if w.c.clock.IsZero() {
		return nil
	}
	if err := setClock(w.cmd.Process.Pid, w.ahead); !errors.Is(err, errGone) {
		return err
	}
	return nil
}

// jump moves the clock of the worker's machine: of this process and of those
// that are started after it.
func (w *worker) jump(by time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += by
	return w.setClock()
}

func (w *worker) watch() {
	defer close(w.done)
	for {
		_ = w.cmd.Wait() // why it ended stands in its log
		w.mu.Lock()
		over := w.stopped || w.job && w.cmd.ProcessState.Success()
		w.mu.Unlock()
		if over {
			return
		}
		time.Sleep(300 * time.Millisecond)
		if err := w.spawn(); err != nil {
			fmt.Fprintln(w.log, err)
			return
		}
	}
}

func (w *worker) signal(s syscall.Signal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.cmd.Process.Signal(s) // it may have ended already
}

// kill is kill -9; the worker is started again.
func (w *worker) kill() { w.signal(syscall.SIGKILL) }

func (w *worker) stop() {
	w.mu.Lock()
	w.stopped = true
	_ = w.cmd.Process.Signal(syscall.SIGCONT)
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	w.mu.Unlock()
	select {
	case <-w.done:
	case <-time.After(10 * time.Second):
		w.signal(syscall.SIGKILL)
		<-w.done
	}
}

// ready is what /readyz says, or "" when nobody answers.
func (w *worker) ready(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr+"/readyz", nil)
	if err != nil {
		return ""
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body) // what came is what the operator sees
	return string(b)
}

// metrics is one scrape; nothing when nobody answers.
func (w *worker) metrics(ctx context.Context) []byte {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr+"/metrics", nil)
	if err != nil {
		return nil
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return nil
	}
	return raw
}

// entry is one line of a worker's log.
type entry struct {
	Level, Msg, Error string
	Time              time.Time
}

// troubles lists the warnings and errors that a worker logged.
func (w *worker) troubles() []entry {
	var out []entry
	for _, line := range strings.Split(w.log.String(), "\n") {
		var e entry
		if json.Unmarshal([]byte(line), &e) == nil && (e.Level == "WARN" || e.Level == "ERROR") && e.Msg != missingTopic {
			out = append(out, e)
		}
		if text, ok := strings.CutPrefix(line, "duiwu: "); ok && w.job {
			out = append(out, entry{Level: "error", Msg: "duiwu " + w.args[0], Error: text})
		}
	}
	return out
}

// A cell has one topic of the 33; the worker says so of the others.
const missingTopic = "topic does not exist; it is read as soon as it does"

func (c *cell) stop() {
	for _, w := range c.workers {
		w.stop()
	}
	for _, w := range c.wires {
		w.kafka.disarm()
		w.clickhouse.disarm()
	}
	if !c.keep {
		// A server that starts again reads the tables of all cells. One that is dead
		// now keeps these.
		_, _ = query(context.Background(), c.engine.DSN(), "DROP DATABASE IF EXISTS "+c.name)
	}
}

// query runs one statement as the administrator, past the wires, and gives the
// lines of the answer.
func query(ctx context.Context, dsn, sql string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, err
	}
	user := u.User
	u.RawQuery = url.Values{"database": {strings.Trim(u.Path, "/")}}.Encode()
	u.User, u.Path = nil, "/"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(sql))
	if err != nil {
		return nil, err
	}
	password, _ := user.Password()
	req.SetBasicAuth(user.Username(), password)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", sql, bytes.TrimSpace(b))
	}
	if len(b) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n"), nil
}

// pause is SIGSTOP: the process is there and does nothing.
func (w *worker) pause() { w.signal(syscall.SIGSTOP) }

func (w *worker) resume() { w.signal(syscall.SIGCONT) }

// saw lists the different warnings and errors of the cell's workers, as they
// came, without what differs between two runs.
func (c *cell) saw() []string {
	var out []string
	seen := map[string]bool{}
	for _, w := range c.workers {
		for _, e := range w.troubles() {
			s := strings.ToLower(e.Level) + ": " + e.Msg
			if e.Error != "" {
				s += ": " + withoutDetails(e.Error)
			}
			if !seen[s] {
				seen[s] = true
				out = append(out, s)
			}
		}
	}
	return out
}

// regexpUUID matches the identity of a table.
var regexpUUID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// withoutDetails drops what differs between two runs: addresses, offsets, topics.
func withoutDetails(s string) string {
	return details.ReplaceAllStringFunc(s, func(m string) string {
		if strings.HasPrefix(m, "error ") {
			return m // the number of an error
		}
		return "…"
	})
}

var details = regexp.MustCompile(`(error \d+)|(127\.0\.0\.1:\d+(->127\.0\.0\.1:\d+)?)|(duiwu\.cell\d+\.\d+(/\d+)?(@\d+-\d+)?)|(cell\d+)|\b\d{2,}\b`)

// logFile opens a log in the lab's folder; without it a lab works as well.
func logFile(dir, name string) io.Writer {
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return io.Discard
	}
	return f
}
