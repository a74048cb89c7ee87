// Package engine runs the real ClickHouse server with no ClickHouse package at
// hand: libchdb holds the server's own HTTP and native listeners, and a child
// process lends them a home. Tests and the demo talk to it as they would to
// any other ClickHouse; only the address and the passwords differ.
//
// Not like a server: users come from users.xml and change by restart (no
// CREATE USER), replicated tables stay read-only (no listener for replicas), ON
// CLUSTER is disabled (see Cluster), and dictionaries refresh by SYSTEM RELOAD
// DICTIONARY only.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/duiwu/duiwu/internal/engine/child"
)

// Database is the one that Start creates.
const Database = "duiwu"

// Needs is the release the launcher is written for.
const Needs = "26.7"

const wrongVersion = "wrong engine version: want libchdb " + Needs + ", the first that can listen"

// errTaken is what a port gives that somebody else has taken.
var errTaken = errors.New("another server answers on its port")

// Options for Start. Only Lib and Dir are required.
type Options struct {
	Lib string // path of libchdb.so
	Dir string // data, configuration and passwords; a later Start on it goes on with the same data

	Listen            string            // address to listen on; default 127.0.0.1, and then only this machine is let in
	HTTPPort, TCPPort int               // 0 = a free one, which a restart of this Engine keeps
	Passwords         map[string]string // by user; default: kept from an earlier start, else random
	MaxMemory         int64             // bytes for the whole server; default 3 GiB
	BackgroundPool    int               // threads that merge; default 2
	SystemLogs        bool              // keep system.query_log, part_log and opentelemetry_span_log (3 days); default off
	LogLevel          string            // of Dir/engine.log; default warning
	ConfigXML         string            // further XML of config.xml, such as <remote_servers> and <zookeeper>
	Profile           string            // further settings of the default profile, as XML of users.xml
	DashboardsXML     string            // further XML of the user dashboards, such as <databases> with row filters
	UsersXML          string            // further users, as XML of users.xml
	Backups           string            // folder that BACKUP may write to, and RESTORE read; default none
	Log               io.Writer         // the child's stderr; default nowhere
}

// Engine is a server that runs, or ran. Its methods may be called concurrently.
type Engine struct {
	opts Options
	pw   map[string]string

	mu      sync.Mutex
	proc    *child.Process
	stopped bool // by Stop: a supervisor leaves it alone
	told    bool // to end, by Stop or Kill
}

// Start brings the server up and returns when it answers and the database
// exists.
func Start(ctx context.Context, o Options) (*Engine, error) {
	if o.Lib == "" || o.Dir == "" {
		return nil, errors.New("BUG: engine.Start needs Lib and Dir")
	}
	var err error
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, fmt.Errorf("cannot start the engine: %w", err)
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1"
	}
	if o.MaxMemory == 0 {
		o.MaxMemory = 3 << 30
	}
	if o.BackgroundPool == 0 {
		o.BackgroundPool = 2
	}
	if o.LogLevel == "" {
		o.LogLevel = "warning"
	}
	for try := 0; ; try++ {
		e := &Engine{opts: o}
		if err := freePorts(&e.opts.HTTPPort, &e.opts.TCPPort); err != nil {
			return nil, err
		}
		err := e.Restart(ctx)
		if err == nil {
			return e, nil
		}
		// A free port may be taken between the look and the listen.
		if o.HTTPPort != 0 || o.TCPPort != 0 || try == 3 || !errors.Is(err, errTaken) {
			return nil, err
		}
	}
}

// freePorts fills in those that are 0.
func freePorts(ports ...*int) error {
	for _, p := range ports {
		if *p != 0 {
			continue
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("cannot find a free port: %w", err)
		}
		defer l.Close() // all held until all are found, so they differ
		*p = l.Addr().(*net.TCPAddr).Port
	}
	return nil
}

// Restart brings a server that has ended (Stop, Kill, a crash) up again on the
// same folder and ports.
func (e *Engine) Restart(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.restart(ctx)
}

// restart is Restart under the lock.
func (e *Engine) restart(ctx context.Context) error {
	if e.proc != nil {
		select {
		case <-e.proc.Done():
		default:
			return errors.New("cannot start the engine: it is running")
		}
	}
	pw, err := prepare(e.opts)
	if err != nil {
		return err
	}
	o := e.opts
	proc, err := child.Again(childKey, launch{o.Lib, o.Dir, o.Listen, o.HTTPPort, o.TCPPort}, o.Log, nil)
	if err != nil {
		return fmt.Errorf("cannot start the engine: %w", err)
	}
	e.pw, e.proc, e.stopped, e.told = pw, proc, false, false
	if err := e.ready(ctx, proc); err != nil {
		e.told = true
		proc.Kill()
		return fmt.Errorf("cannot start the engine: %w", err)
	}
	return nil
}

func (e *Engine) ready(ctx context.Context, proc *child.Process) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		if body, err := e.exec(ctx, ""); err == nil && body == "Ok.\n" {
			break
		}
		select {
		case <-proc.Done():
			out := proc.Tail()
			if strings.Contains(out, "START LISTEN query is not supported") {
				return errors.New(wrongVersion)
			}
			if strings.Contains(out, "Address already in use") {
				return fmt.Errorf("%w: %w: %s", errTaken, proc.Err(), out)
			}
			return fmt.Errorf("%w: %s", proc.Err(), out)
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w: %s", ctx.Err(), proc.Tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
	// A child that could not listen may be dying while an earlier server
	// answers on its port: only this one knows this password.
	version, err := e.exec(ctx, "SELECT version()")
	if err != nil && strings.Contains(err.Error(), "AUTHENTICATION_FAILED") {
		return fmt.Errorf("%w %d", errTaken, e.opts.HTTPPort)
	}
	if err != nil {
		return err
	}
	if !strings.HasPrefix(version, Needs+".") {
		return fmt.Errorf("%s, got %s", wrongVersion, strings.TrimSpace(version))
	}
	_, err = e.exec(ctx, "CREATE DATABASE IF NOT EXISTS "+Database+" ENGINE = Atomic")
	return err
}

// exec runs one statement as admin; the empty one is a ping.
func (e *Engine) exec(ctx context.Context, sql string) (string, error) {
	u := endpoint(e.opts.HTTPPort, Admin, e.pw[Admin], "")
	method := http.MethodPost
	if sql == "" {
		method, u.Path = http.MethodGet, "/ping"
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), strings.NewReader(sql))
	if err != nil {
		return "", err
	}
	req.Close = true // no idle connection to a server that is about to be killed
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", errors.New(strings.TrimSpace(string(b)))
	}
	return string(b), nil
}

// DSN of the admin user over HTTP: http://admin:password@127.0.0.1:port/duiwu.
func (e *Engine) DSN() string { return e.DSNOf(Admin) }

// DSNOf is the DSN of another user: Writer or Dashboards.
func (e *Engine) DSNOf(user string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return endpoint(e.opts.HTTPPort, user, e.pw[user], Database).String()
}

// Password of a user.
func (e *Engine) Password(user string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pw[user]
}

// HTTPAddr is host:port of the HTTP listener.
func (e *Engine) HTTPAddr() string { return fmt.Sprintf("127.0.0.1:%d", e.opts.HTTPPort) }

// TCPAddr is host:port of the native listener.
func (e *Engine) TCPAddr() string { return fmt.Sprintf("127.0.0.1:%d", e.opts.TCPPort) }

// SetPassword changes a user's password and brings a server that has ended up
// again: users are read at the start only.
func (e *Engine) SetPassword(ctx context.Context, user, password string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opts.Passwords = maps.Clone(e.opts.Passwords)
	if e.opts.Passwords == nil {
		e.opts.Passwords = map[string]string{}
	}
	e.opts.Passwords[user] = password
	return e.restart(ctx)
}

func (e *Engine) process() *child.Process {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.proc
}

// PID of the child; another one after a restart.
func (e *Engine) PID() int { return e.process().PID() }

// Done is closed when the present child has ended.
func (e *Engine) Done() <-chan struct{} { return e.process().Done() }

// Wait until the present child has ended; nil for an orderly end.
func (e *Engine) Wait() error {
	p := e.process()
	<-p.Done()
	return p.Err()
}

// Stop ends the server in order; when ctx ends first, it is killed.
func (e *Engine) Stop(ctx context.Context) error {
	e.mu.Lock()
	p := e.proc
	e.stopped, e.told = true, true
	e.mu.Unlock()
	p.Ask()
	select {
	case <-p.Done():
		if err := p.Err(); err != nil {
			return fmt.Errorf("cannot stop the engine in order: %w: %s", err, p.Tail())
		}
		return nil
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("cannot stop the engine in order: %w", ctx.Err())
	}
}

// Kill ends the server with SIGKILL, as a fault would.
func (e *Engine) Kill() {
	e.mu.Lock()
	p := e.proc
	e.told = true
	e.mu.Unlock()
	p.Kill()
}

// LastWords tells how the present child ended and what it said last, when it has
// ended though neither Stop nor Kill told it to; else nothing. It is empty again
// after a restart.
func (e *Engine) LastWords() string {
	e.mu.Lock()
	p, told := e.proc, e.told
	e.mu.Unlock()
	select {
	case <-p.Done():
	default:
		return ""
	}
	if told {
		return ""
	}
	end := "in order"
	if err := p.Err(); err != nil {
		end = err.Error()
	}
	return fmt.Sprintf("it ended: %s; it said last:\n%s", end, p.Crash())
}

func (e *Engine) wasStopped() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stopped
}

// Supervise restarts a server that ends by itself, on the same ports, with a
// pause that grows while it keeps failing. It returns when ctx ends (the
// server goes on) or after Stop.
func Supervise(ctx context.Context, e *Engine, log *slog.Logger) {
	const least, most = 200 * time.Millisecond, 30 * time.Second
	pause := least
	for {
		up := time.Now()
		select {
		case <-ctx.Done():
			return
		case <-e.Done():
		}
		if time.Since(up) > most {
			pause = least
		}
		for {
			if e.wasStopped() || ctx.Err() != nil {
				return
			}
			log.Warn("engine ended, restarting", "error", e.Wait(), "pause", pause)
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, most)
			// Stop may have come during the pause: look and start under one lock.
			e.mu.Lock()
			if e.stopped {
				e.mu.Unlock()
				return
			}
			err := e.restart(ctx)
			e.mu.Unlock()
			if err != nil {
				log.Error("cannot restart engine", "error", err)
				continue
			}
			log.Info("engine is back", "pid", e.PID(), "http", e.HTTPAddr())
			break
		}
	}
}
