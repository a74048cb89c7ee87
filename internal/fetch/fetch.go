// Package fetch brings in, once, what tests and the demo need and what is too
// big or too foreign to live in the repository: the ClickHouse engine, Apache
// Kafka, a Chromium, and the built front end of the viewer. Everything is
// pinned by version and checksum and kept in one cache folder.
//
// Every function may be called by several processes at once: a file lock lets
// one of them do the work, and a finished thing appears by one rename, so that
// a half-fetched one is never seen. Progress goes to stderr only, because a
// command that prints JSON may be fetching first.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrAbsent says that a thing is not in the cache yet.
var ErrAbsent = errors.New("not fetched: run make fetch")

// Cache is the folder that keeps fetched things: $DUIWU_CACHE, or .cache
// beside the go.mod found by walking up from the working folder.
func Cache() (string, error) {
	if dir := os.Getenv("DUIWU_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	root, err := repoRoot()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, ".cache"), nil
}

func repoRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("cannot find the repository: %w", err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("cannot find the repository: no go.mod in %s or above (set DUIWU_CACHE)", dir)
		}
	}
}

// tools maps a program to the sentence that tells how to get it.
var tools = map[string]string{
	"npm":  "npm is not on PATH: install Node.js 20+ with npm (Debian: apt-get install nodejs npm)",
	"node": "node is not on PATH: install Node.js 20+ (Debian: apt-get install nodejs)",
	"mvn":  "mvn is not on PATH: install Maven 3 (Debian: apt-get install maven)",
	"java": "java is not on PATH: install a Java 17+ runtime (Debian: apt-get install default-jre-headless)",
}

// Tool looks a program up on PATH; a missing one gives one line that names
// what to install.
func Tool(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	if hint, ok := tools[name]; ok {
		return "", errors.New(hint)
	}
	return "", fmt.Errorf("%s is not on PATH", name)
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "fetch: "+format+"\n", args...) }

// once makes cache/name by calling build with an empty folder, under a file
// lock. The folder's presence is the proof of completeness: it gets its name
// by a rename, after build has returned nil.
func once(ctx context.Context, name string, build func(ctx context.Context, dir string) error) (string, error) {
	cache, err := Cache()
	if err != nil {
		return "", err
	}
	final := filepath.Join(cache, name)
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	unlock, err := lock(ctx, filepath.Join(cache, name+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(final); err == nil { // another process made it while this one waited
		return final, nil
	}
	tmp, err := os.MkdirTemp(cache, name+".tmp-")
	if err != nil {
		return "", fmt.Errorf("cannot make a folder in %s: %w", cache, err)
	}
	defer os.RemoveAll(tmp)
	start := time.Now()
	if err := build(ctx, tmp); err != nil {
		return "", fmt.Errorf("cannot fetch %s: %w", name, err)
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", fmt.Errorf("cannot finish %s: %w", name, err)
	}
	if err := os.Rename(tmp, final); err != nil {
		return "", fmt.Errorf("cannot finish %s: %w", name, err)
	}
	say("%s ready in %.1fs", name, time.Since(start).Seconds())
	return final, nil
}

// lock waits for an exclusive lock on a file. The kernel drops it with the
// process, so a killed fetch never blocks the next one.
func lock(ctx context.Context, path string) (func(), error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the cache: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot open the lock: %w", err)
	}
	for waited := false; ; waited = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
		if !waited {
			say("waiting for another process (%s)", filepath.Base(path))
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("cannot lock %s: %w", path, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// run starts a tool in dir. Its output is kept back and shown only when it
// fails: stdout may belong to a caller's JSON.
func run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	path, err := Tool(name)
	if err != nil {
		return err
	}
	var out strings.Builder
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	cmd.Env = append(os.Environ(), env...)
	// A tool such as mvn is a script: end its children with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, args[0], err, tail(out.String(), 4000))
	}
	return nil
}

func tail(s string, n int) string {
	if len(s) > n {
		return "..." + s[len(s)-n:]
	}
	return strings.TrimSpace(s)
}

func copyTo(path string, r io.Reader, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
