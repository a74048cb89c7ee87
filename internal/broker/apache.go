package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/duiwu/duiwu/internal/engine/child"
)

// plan of an Apache broker: how to call java, and what for.
type plan struct {
	java                       string
	config, logging, data, tmp string
}

// A fixed id: the folder is the cluster.
const clusterID = "AAAAAAAAAAAAAAAAAAAAAQ"

const log4j = `<Configuration><Appenders><Console name="c" target="SYSTEM_ERR"><PatternLayout pattern="%d %p %c{1} %m%n"/></Console></Appenders>` +
	`<Loggers><Root level="WARN"><AppenderRef ref="c"/></Root></Loggers></Configuration>`

// StartApache runs Apache Kafka, broker and controller in one (KRaft), from a
// folder of jars. It takes a few seconds and 200 MB.
func StartApache(ctx context.Context, o Options) (*Broker, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, errors.New("java is not on PATH: install a Java 17+ runtime (Debian: apt-get install default-jre-headless)")
	}
	b := &Broker{opts: o, kind: "Apache Kafka", plan: &plan{java: java}}
	return b, b.first(ctx)
}

func (b *Broker) startApache(ctx context.Context) error {
	if err := b.prepare(); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(b.plan.data, "meta.properties")); err != nil {
		args := append([]string{"kafka.tools.StorageTool", "format", "--config", b.plan.config, "--cluster-id", clusterID}, b.opts.Format...)
		line := b.java(args...)
		if out, err := exec.CommandContext(ctx, line[0], line[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("cannot format its folder: %w: %s", err, strings.TrimSpace(string(out)))
		}
	}
	return b.run(ctx, "kafka.Kafka", b.plan.config)
}

// run starts a Java program and waits until it takes connections.
func (b *Broker) run(ctx context.Context, args ...string) error {
	proc, err := child.Again(childKey, spec{Run: b.java(args...)}, b.opts.Log, nil)
	if err != nil {
		return err
	}
	b.proc = proc
	addr := fmt.Sprintf("127.0.0.1:%d", b.opts.Port)
	for {
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			c.Close()
			return nil
		}
		select {
		case <-proc.Done():
			return fmt.Errorf("%w: %s", errors.Join(proc.Err(), errors.New("it ended")), proc.Tail())
		case <-ctx.Done():
			proc.Kill()
			return fmt.Errorf("not ready: %w: %s", ctx.Err(), proc.Tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (b *Broker) java(args ...string) []string {
	line := []string{b.plan.java, "-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}
	line = append(line, b.opts.JVM...)
	line = append(line, "-Djava.io.tmpdir="+b.plan.tmp, "-Dlog4j2.configurationFile="+b.plan.logging, "-cp", filepath.Join(b.opts.Lib, "*"))
	return append(line, args...)
}

// prepare writes the configuration. Two ports are needed: the controller's is
// looked for anew at each start, as nobody else knows it.
func (b *Broker) prepare() error {
	p, o := b.plan, &b.opts
	p.config, p.logging = filepath.Join(o.Dir, "server.properties"), filepath.Join(o.Dir, "log4j2.xml")
	p.data, p.tmp = filepath.Join(o.Dir, "data"), filepath.Join(o.Dir, "tmp")
	for _, dir := range []string{p.data, p.tmp} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("cannot make its folder: %w", err)
		}
	}
	var ports [2]int
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("cannot find a free port: %w", err)
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	if o.Port == 0 {
		o.Port = ports[0]
	}
	here, control := fmt.Sprintf("127.0.0.1:%d", o.Port), fmt.Sprintf("127.0.0.1:%d", ports[1])
	props := map[string]string{
		"process.roles":                            "broker,controller",
		"node.id":                                  "1",
		"controller.quorum.voters":                 "1@" + control,
		"listeners":                                "PLAINTEXT://" + here + ",CONTROLLER://" + control,
		"advertised.listeners":                     "PLAINTEXT://" + here,
		"controller.listener.names":                "CONTROLLER",
		"inter.broker.listener.name":               "PLAINTEXT",
		"listener.security.protocol.map":           "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs":                                 p.data,
		"auto.create.topics.enable":                "false",
		"log.retention.ms":                         "-1", // else records with old timestamps go within 5 minutes, and readers hang
		"offsets.topic.replication.factor":         "1",
		"offsets.topic.num.partitions":             "1",
		"transaction.state.log.replication.factor": "1",
		"transaction.state.log.min.isr":            "1",
		"transaction.state.log.num.partitions":     "1",
		"group.initial.rebalance.delay.ms":         "0",
		"group.min.session.timeout.ms":             "1000",
		// After kill -9 the controller waits this long before it lets the same
		// broker in again; the default of 9 s makes each fault test slow.
		"broker.session.timeout.ms":      "2000",
		"broker.heartbeat.interval.ms":   "500",
		"log.cleaner.dedupe.buffer.size": "8388608",
	}
	extra := strings.NewReplacer("{addr}", here, "{controller}", control)
	for k, v := range o.Properties {
		props[k] = extra.Replace(v)
	}
	var text strings.Builder
	for _, k := range slices.Sorted(maps.Keys(props)) {
		fmt.Fprintf(&text, "%s=%s\n", k, props[k])
	}
	if err := os.WriteFile(p.config, []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("cannot write its configuration: %w", err)
	}
	if err := os.WriteFile(p.logging, []byte(log4j), 0o600); err != nil {
		return fmt.Errorf("cannot write its configuration: %w", err)
	}
	return nil
}

// command runs in the child: java does not watch its stdin, so this process
// does it, and takes java along when it is itself killed.
func (s spec) command(stop <-chan struct{}) error {
	// The kernel sends the death signal when the starting thread ends, not the
	// process: keep that thread.
	runtime.LockOSThread()
	cmd := exec.Command(s.Run[0], s.Run[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return fmt.Errorf("it ended by itself: %v", err)
	case <-stop:
	}
	cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended: // java ends with 143 after SIGTERM, in order
		return nil
	case <-time.After(30 * time.Second):
		cmd.Process.Kill()
		return errors.New("it did not stop in 30 s")
	}
}
