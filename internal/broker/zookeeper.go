package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// StartZooKeeper runs Apache ZooKeeper from a folder of jars: what the servers of
// a ClickHouse cluster agree through. It is no broker, but a Java program that is
// looked after like one.
func StartZooKeeper(ctx context.Context, o Options) (*Broker, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, errors.New("java is not on PATH: install a Java 17+ runtime (Debian: apt-get install default-jre-headless)")
	}
	b := &Broker{opts: o, kind: zooKeeper, plan: &plan{java: java}}
	return b, b.first(ctx)
}

const zooKeeper = "ZooKeeper"

func (b *Broker) startZooKeeper(ctx context.Context) error {
	if b.opts.Port == 0 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("cannot find a free port: %w", err)
		}
		b.opts.Port = l.Addr().(*net.TCPAddr).Port
		l.Close()
	}
	b.plan.tmp = b.opts.Dir
	config := filepath.Join(b.opts.Dir, "zoo.cfg")
	text := fmt.Sprintf("dataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\n4lw.commands.whitelist=srvr\nadmin.enableServer=false\ntickTime=2000\n", filepath.Join(b.opts.Dir, "data"), b.opts.Port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return fmt.Errorf("cannot write its configuration: %w", err)
	}
	if err := b.run(ctx, "org.apache.zookeeper.server.ZooKeeperServerMain", config); err != nil {
		return err
	}
	// It takes connections before it serves them.
	for !b.serves() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w: %s", ctx.Err(), b.proc.Tail())
		case <-b.proc.Done():
			return fmt.Errorf("%w: %s", b.proc.Err(), b.proc.Tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

func (b *Broker) serves() bool {
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", b.opts.Port), time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("srvr")); err != nil {
		return false
	}
	answer, err := io.ReadAll(c)
	return err == nil && bytes.Contains(answer, []byte("Mode: "))
}
