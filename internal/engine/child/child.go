// Package child runs a server as a child process that dies with its parent: a
// test binary that panics, or a demo that is killed, leaves nothing behind.
//
// Most servers here are the same executable started again, with a variable in
// the environment that makes it take another turn first thing in main. The
// parent holds the child's stdin open and never writes to it; end of file is
// the order to stop, and comes by itself when the parent is gone, however.
package child

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
)

// Process is one running (or ended) child.
type Process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	tail  tail
	done  chan struct{}
	err   error // set before done is closed
}

// Again starts this executable again, with spec as JSON in the variable key.
// Output of the child goes to log (nil = nowhere); ready, if not nil, receives
// its stdout instead.
func Again(key string, spec any, log, ready io.Writer) (*Process, error) {
	b, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("cannot describe the child: %w", err)
	}
	p := &Process{done: make(chan struct{})}
	p.tail.to = log
	// The link, not its target: `go run` and a rebuild take the file away.
	p.cmd = exec.Command("/proc/self/exe")
	p.cmd.Args = []string{strings.ToLower(key)}
	p.cmd.Env = append(os.Environ(), key+"="+string(b))
	p.cmd.Stderr = &p.tail
	p.cmd.Stdout = ready
	if ready == nil {
		p.cmd.Stdout = &p.tail
	}
	// Its own group: Ctrl-C reaches the parent only, which then stops its
	// children in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("cannot start the child: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the child: %w", err)
	}
	go func() {
		// Wait returns when the output is closed too, thus after the
		// grandchildren that inherited it: their ports are free by then.
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Spec reads in the child what Again was given; false means that this process
// is no child of that kind.
func Spec(key string, into any) bool {
	v, ok := os.LookupEnv(key)
	if !ok {
		return false
	}
	os.Unsetenv(key) // or a child of the child would take the same turn
	if err := json.Unmarshal([]byte(v), into); err != nil {
		fmt.Fprintf(os.Stderr, "BUG: cannot read %s: %v\n", key, err)
		os.Exit(2)
	}
	return true
}

// PID of the child.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended; Err and Tail are final then.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err tells how the child ended; nil for a clean end. Valid after Done.
func (p *Process) Err() error { return p.err }

// Tail gives the last lines that the child wrote.
func (p *Process) Tail() string { return p.tail.String() }

// Crash gives what the child wrote from where it began to crash, and its last lines
// when it did not say so: a traceback is longer than any tail that one wants to read.
func (p *Process) Crash() string { return p.tail.crash() }

// Ask orders the child to stop by closing its stdin.
func (p *Process) Ask() { p.stdin.Close() }

// Kill ends the child at once with SIGKILL and waits for it to be gone.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.done
	p.stdin.Close()
}

// tail passes writes on and remembers the last of them.
type tail struct {
	mu  sync.Mutex
	to  io.Writer
	buf []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 64 << 10
	t.buf = append(t.buf, b...)
	if len(t.buf) > most {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-most:]...)
	}
	if t.to != nil {
		t.to.Write(b) // a broken log must not stop the server
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf[max(0, len(t.buf)-8<<10):]))
}

// crashes matches how the runtimes of Go and C++, and the server, begin to tell of
// their end.
var crashes = regexp.MustCompile(`(?m)^(SIG[A-Z]+: |fatal error: |panic: |.*<Fatal>)`)

func (t *tail) crash() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	const enough = 4 << 10
	out := t.buf[max(0, len(t.buf)-enough):]
	if at := crashes.FindIndex(t.buf); at != nil {
		out = t.buf[at[0]:min(len(t.buf), at[0]+enough)]
	}
	return strings.TrimSpace(string(out))
}
