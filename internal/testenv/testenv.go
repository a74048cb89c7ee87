// Package testenv gives the tests of all rooms their servers: one of each a
// test binary, started when first asked for and stopped by Main.
//
// Plain `go test ./...` stays quick and needs nothing: ClickHouse is used only
// if it was fetched before, Apache Kafka and Chromium not at all. With
// DUIWU_TEST=full (make test) everything is fetched, and what cannot be had
// fails the test: a full run never skips.
package testenv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/duiwu/duiwu/internal/broker"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/fetch"
)

// Full tells whether this run must leave nothing out.
func Full() bool { return os.Getenv("DUIWU_TEST") == "full" }

// The one piece of state of a test binary: servers are shared by its tests.
var shared struct {
	mu     sync.Mutex
	dir    string
	engine *engine.Engine
	kfake  *broker.Broker
	apache *broker.Broker
}

// Main is the TestMain of a package that uses this one:
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
func Main(m *testing.M) {
	engine.Main()
	broker.Main()
	code := m.Run()
	// The embedded engine now and then ends with status 1 when clients still hold
	// connections as it is told to stop. Whether it stops in order is for the
	// engine's own tests to say, not for those that only used it.
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
	}
	os.Exit(code)
}

func stop() error {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	var first error
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	if shared.engine != nil {
		if said := shared.engine.LastWords(); said != "" {
			note(fmt.Errorf("ClickHouse ended by itself, which may be why a test failed: %s", said))
		}
	}
	if running(shared.engine == nil, func() <-chan struct{} { return shared.engine.Done() }) {
		note(shared.engine.Stop(ctx))
	}
	for _, b := range []*broker.Broker{shared.kfake, shared.apache} {
		if running(b == nil, func() <-chan struct{} { return b.Done() }) {
			note(b.Stop(ctx))
		}
	}
	if shared.dir != "" {
		note(os.RemoveAll(shared.dir))
	}
	return first
}

// running is false for a server that was never started, or that a test of
// faults left dead.
func running(absent bool, done func() <-chan struct{}) bool {
	if absent {
		return false
	}
	select {
	case <-done():
		return false
	default:
		return true
	}
}

// dir makes a folder for one server; under the lock.
func dir(t testing.TB, name string) string {
	t.Helper()
	if shared.dir == "" {
		d, err := os.MkdirTemp("", "duiwu-test-")
		if err != nil {
			t.Fatalf("cannot make a folder: %v", err)
		}
		shared.dir = d
	}
	return filepath.Join(shared.dir, name)
}

// LibCHDB gives the engine's library, for tests that start an engine of their
// own. It skips or fails as the package says.
func LibCHDB(t testing.TB) string {
	t.Helper()
	if Full() {
		path, err := fetch.LibCHDB(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	path, err := fetch.CachedLibCHDB()
	if err != nil {
		t.Skip(err)
	}
	return path
}

// ClickHouse gives the engine shared by this test binary: use tables of your
// own. A test that kills it starts its own instead.
func ClickHouse(t testing.TB) *engine.Engine {
	t.Helper()
	lib := LibCHDB(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.engine == nil {
		e, err := engine.Start(t.Context(), engine.Options{Lib: lib, Dir: dir(t, "clickhouse")})
		if err != nil {
			t.Fatal(err)
		}
		shared.engine = e
	}
	return shared.engine
}

// Kfake gives the address of the in-Go broker shared by this test binary: use
// topics of your own. A test that kills it starts its own by broker.Start.
func Kfake(t testing.TB) string {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.kfake == nil {
		b, err := broker.Start(t.Context(), broker.Options{Dir: dir(t, "kfake")})
		if err != nil {
			t.Fatal(err)
		}
		shared.kfake = b
	}
	return shared.kfake.Addr()
}

// KafkaLib gives the jars of Apache Kafka, for tests that start a broker of
// their own.
func KafkaLib(t testing.TB) string {
	t.Helper()
	if !Full() {
		t.Skip("Apache Kafka runs in full tests only: DUIWU_TEST=full")
	}
	lib, err := fetch.Kafka(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return lib
}

// Apache gives the Apache Kafka shared by this test binary.
func Apache(t testing.TB) *broker.Broker {
	t.Helper()
	lib := KafkaLib(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.apache == nil {
		b, err := broker.StartApache(t.Context(), broker.Options{Dir: dir(t, "kafka"), Lib: lib})
		if err != nil {
			t.Fatal(err)
		}
		shared.apache = b
	}
	return shared.apache
}

// Chromium gives a browser and the variables to start it with.
func Chromium(t testing.TB) (path string, env []string) {
	t.Helper()
	if !Full() {
		t.Skip("pages are tested in full tests only: DUIWU_TEST=full")
	}
	path, env, err := fetch.Chromium(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return path, env
}

// ChromiumFlags are those that the fetched headless build needs, for
// chromedp.Flag: without a zygote or a GPU process of their own, its renderer
// works in a container too. The one-shot --screenshot of the command line
// hangs in it; drive it over DevTools.
func ChromiumFlags() map[string]any {
	return map[string]any{"no-zygote": true, "in-process-gpu": true, "disable-dev-shm-usage": true, "disable-gpu": false,
		"use-gl": "angle", "use-angle": "swiftshader", "enable-unsafe-swiftshader": true}
}
