// Package broker runs Kafka for tests and the demo, as a process of its own so
// that it can be killed like one. Start runs kfake, which speaks the protocol
// in Go and is up in milliseconds; StartApache runs Apache Kafka itself.
// Neither creates topics by itself: that would hide a missing one.
//
// What survives kill -9 of kfake (see TestKfakeKill): with a DataDir every
// batch, committed offset and new topic is written to its file before the
// acknowledgement, so all that was acknowledged is there after a restart,
// sequence after sequence of kills. Lost are: group membership (members join
// again), open transactions (aborted), and a DeleteRecords start offset. The
// files are not fsynced, as in Kafka itself: a power cut may lose the tail;
// Options.Sync pays for that too.
package broker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/duiwu/duiwu/internal/engine/child"
)

const childKey = "DUIWU_BROKER_CHILD"

// Options for both kinds of broker. Only Dir is required.
type Options struct {
	Dir  string    // data; a later start on it goes on with the same topics
	Port int       // 0 = a free one, which a restart of this Broker keeps
	Log  io.Writer // what the broker says; default nowhere

	// Of kfake only.
	Advertise string           // HOST:PORT that clients are told; it then listens on every address
	Brokers   int              // more than one listen on ports of their own choice, others at each start
	Sync      bool             // fsync each batch before its acknowledgement
	Topics    map[string]int32 // partitions of topics made at the first start on Dir

	// Of Apache only.
	Lib        string            // folder of the jars
	Properties map[string]string // over those of server.properties; {addr} and {controller} stand for host:port
	Format     []string          // further arguments of the storage tool, such as --add-scram ...
	JVM        []string          // further JVM flags; a later one wins, such as -Xmx1g
}

// Broker is one that runs, or ran. Its methods may be called concurrently.
type Broker struct {
	opts Options
	kind string
	plan *plan // nil for kfake

	mu   sync.Mutex
	proc *child.Process
}

// spec is what the parent tells the child: the one of kfake, or a command to
// look after.
type spec struct {
	Dir       string
	Port      int
	Advertise string
	Brokers   int
	Sync      bool
	Topics    map[string]int32
	Run       []string
}

// Main takes the process over when it was started as a broker child, and then
// never returns; else it does nothing. Call it first thing in main or TestMain.
func Main() {
	var s spec
	if !child.Spec(childKey, &s) {
		return
	}
	run := s.kfake
	if len(s.Run) > 0 {
		run = s.command
	}
	if err := run(stop()); err != nil {
		fmt.Fprintln(os.Stderr, "broker:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// stop is closed at SIGTERM, or when the parent is gone.
func stop() <-chan struct{} {
	done := make(chan struct{})
	var once sync.Once
	end := func() { once.Do(func() { close(done) }) }
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, os.Interrupt)
	go func() { <-c; end() }()
	go func() { io.Copy(io.Discard, os.Stdin); end() }()
	return done
}

func (s spec) kfake(stop <-chan struct{}) error {
	// kfake has no lock of its own, and two on one folder would spoil it.
	f, err := os.OpenFile(filepath.Join(s.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("cannot lock the folder: %w", err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("cannot use %s: another broker is running on it", s.Dir)
	}
	opts := []kfake.Opt{
		kfake.Ports(s.Port), kfake.ClusterID("duiwu"), kfake.DataDir(filepath.Join(s.Dir, "data")),
		kfake.GroupMinSessionTimeout(time.Second),
		kfake.WithLogger(kfake.BasicLogger(os.Stderr, kfake.LogLevelWarn)),
		// Test records carry old timestamps; see the same line for Apache.
		kfake.BrokerConfigs(map[string]string{"log.retention.ms": "-1"}),
	}
	if s.Brokers > 1 {
		opts[0] = kfake.NumBrokers(s.Brokers)
	}
	if s.Advertise != "" {
		opts = append(opts, kfake.ListenFn(s.listen))
	}
	if s.Sync {
		opts = append(opts, kfake.SyncWrites())
	}
	for t, n := range s.Topics {
		opts = append(opts, kfake.SeedTopics(n, t))
	}
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		return err
	}
	fmt.Println(c.ListenAddrs()[0])
	<-stop
	c.Close()
	return nil
}

// listen listens on every address. What kfake tells clients is the address that
// its listener gives.
func (s spec) listen(network, address string) (net.Listener, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen(network, ":"+port)
	return advertised{l, s.Advertise}, err
}

type advertised struct {
	net.Listener
	addr string
}

func (a advertised) Addr() net.Addr  { return a }
func (a advertised) Network() string { return "tcp" }
func (a advertised) String() string  { return a.addr }

// Start runs kfake on Dir.
func Start(ctx context.Context, o Options) (*Broker, error) {
	b := &Broker{opts: o, kind: "kfake"}
	return b, b.first(ctx)
}

func (b *Broker) first(ctx context.Context) error {
	if b.opts.Dir == "" {
		return errors.New("BUG: a broker needs Dir")
	}
	var err error
	if b.opts.Dir, err = filepath.Abs(b.opts.Dir); err != nil {
		return fmt.Errorf("cannot start the broker: %w", err)
	}
	if err := os.MkdirAll(b.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the broker's folder: %w", err)
	}
	return b.Restart(ctx)
}

// Restart brings a broker that has ended up again on the same folder and port.
func (b *Broker) Restart(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc != nil {
		select {
		case <-b.proc.Done():
		default:
			return errors.New("cannot start the broker: it is running")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var err error
	switch {
	case b.kind == zooKeeper:
		err = b.startZooKeeper(ctx)
	case b.plan != nil:
		err = b.startApache(ctx)
	default:
		err = b.startKfake(ctx)
	}
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", b.kind, err)
	}
	return nil
}

func (b *Broker) startKfake(ctx context.Context) error {
	r, w := io.Pipe()
	defer r.Close()
	o := b.opts
	proc, err := child.Again(childKey, spec{Dir: o.Dir, Port: o.Port, Advertise: o.Advertise, Brokers: o.Brokers, Sync: o.Sync, Topics: o.Topics}, o.Log, w)
	if err != nil {
		return err
	}
	b.proc = proc
	line := make(chan string, 1)
	go func() {
		s, _ := bufio.NewReader(r).ReadString('\n')
		line <- strings.TrimSpace(s)
	}()
	select {
	case addr := <-line:
		// Not resolved: what is advertised may be known elsewhere only.
		_, port, err := net.SplitHostPort(addr)
		if err == nil && o.Advertise == "" {
			b.opts.Port, err = strconv.Atoi(port)
		}
		if err != nil {
			proc.Kill()
			return fmt.Errorf("it said %q instead of its address", addr)
		}
		return nil
	case <-proc.Done():
		return fmt.Errorf("%w: %s", proc.Err(), proc.Tail())
	case <-ctx.Done():
		proc.Kill()
		return fmt.Errorf("not ready: %w: %s", ctx.Err(), proc.Tail())
	}
}

// Addr is host:port, the same over restarts.
func (b *Broker) Addr() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprintf("127.0.0.1:%d", b.opts.Port)
}

func (b *Broker) process() *child.Process {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.proc
}

// Done is closed when the present process has ended.
func (b *Broker) Done() <-chan struct{} { return b.process().Done() }

// Stop ends the broker in order; when ctx ends first, it is killed.
func (b *Broker) Stop(ctx context.Context) error {
	p := b.process()
	p.Ask()
	select {
	case <-p.Done():
		if err := p.Err(); err != nil {
			return fmt.Errorf("cannot stop %s in order: %w: %s", b.kind, err, p.Tail())
		}
		return nil
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("cannot stop %s in order: %w", b.kind, ctx.Err())
	}
}

// Kill ends the broker with SIGKILL, as a fault would.
func (b *Broker) Kill() { b.process().Kill() }
