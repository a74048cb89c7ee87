package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/push"
	"github.com/duiwu/duiwu/internal/broker"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/testenv"
)

// client is `duiwu push` as a process of its own.
type client struct {
	cmd      *exec.Cmd
	out, err bytes.Buffer
	done     chan error
}

func start(t *testing.T, args ...string) *client {
	t.Helper()
	c := &client{cmd: exec.Command(os.Args[0], append([]string{"push", "--json", "--wait", "--timeout", "120s"}, args...)...), done: make(chan error, 1)}
	c.cmd.Env = append(os.Environ(), "DUIWU_RUN_MAIN=1")
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.err
	require.NoError(t, c.cmd.Start())
	go func() { c.done <- c.cmd.Wait() }()
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	return c
}

// until waits for a moment in the client's life; false when it ended before.
func (c *client) until(t *testing.T, when func() bool) bool {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !when(); time.Sleep(time.Millisecond) {
		select {
		case err := <-c.done:
			c.done <- err
			return false
		default:
		}
		require.True(t, time.Now().Before(deadline), "%s", c.err.String())
	}
	return true
}

// end waits for the client's end and returns what it printed.
func (c *client) end(t *testing.T) pushed {
	t.Helper()
	select {
	case err := <-c.done:
		require.NoError(t, err, "%s%s", c.out.String(), c.err.String())
	case <-time.After(3 * time.Minute):
		t.Fatalf("push does not end: %s", c.err.String())
	}
	var out pushed
	require.NoError(t, json.Unmarshal(c.out.Bytes(), &out))
	return out
}

// spoolState is how far the newest batch of a file is.
func spoolState(file string) (making, prepared bool, sent, chunks int) {
	all, err := os.ReadDir(push.Spool(file))
	if err != nil {
		return
	}
	for _, e := range all {
		dir := filepath.Join(push.Spool(file), e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			making = true
			continue
		}
		b, err := push.OpenBatch(dir)
		if err != nil {
			continue
		}
		prepared, chunks = true, len(b.Chunks)
		raw, err := os.ReadFile(filepath.Join(dir, "sent.json"))
		if err != nil {
			continue
		}
		var s struct {
			Chunks int `json:"chunks_acknowledged"`
		}
		if json.Unmarshal(raw, &s) == nil {
			sent = s.Chunks
		}
	}
	return
}

// Push is killed at every step, the broker goes away, ClickHouse goes away; it is
// run again each time. Every row is stored once and the receipt is right.
func TestPushInterruptedAtEveryStep(t *testing.T) {
	if !testenv.Full() {
		t.Skip("interruptions run in full tests only: DUIWU_TEST=full")
	}
	lib := testenv.LibCHDB(t)
	database, err := engine.Start(t.Context(), engine.Options{Lib: lib, Dir: filepath.Join(t.TempDir(), "clickhouse")})
	require.NoError(t, err)
	t.Cleanup(func() { _ = database.Stop(context.Background()) })
	kafka, err := broker.Start(t.Context(), broker.Options{Dir: filepath.Join(t.TempDir(), "kafka")})
	require.NoError(t, err)
	t.Cleanup(func() { _ = kafka.Stop(context.Background()) })
	p := pathOn(t, "310000", database.DSN(), kafka.Addr())
	dir := p.unitSide(4)
	p.worker()

	const n = 30000
	file := filepath.Join(dir, "sites.csv")
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf("S-%d,示范点,1,1", i)
	}
	sites(t, file, rows...)
	args := []string{file, "--feed", "demo_site", "--profile", filepath.Join(dir, "profile.yaml"), "--as-of", "2016-11-30"}

	making := func() bool { m, ready, _, _ := spoolState(file); return m && !ready }
	prepared := func() bool { _, ready, _, _ := spoolState(file); return ready }
	some := func() bool { _, ready, sent, all := spoolState(file); return ready && sent > 0 && sent < all }
	sent := func() bool { _, ready, sent, all := spoolState(file); return ready && sent == all }
	killed := map[string]bool{}
	kill := func(name string, when func() bool) {
		c := start(t, args...)
		if c.until(t, when) {
			require.NoError(t, c.cmd.Process.Kill())
			<-c.done
			killed[name] = true
			_, _, at, all := spoolState(file)
			t.Logf("killed %s: %d of %d chunks acknowledged", name, at, all)
		}
	}
	kill("while it prepared", making)
	kill("when it had prepared", prepared)
	kill("while it sent", some)

	// The broker dies under it and comes back; the client waits for it.
	c := start(t, args...)
	time.Sleep(300 * time.Millisecond)
	kafka.Kill()
	<-kafka.Done()
	time.Sleep(2 * time.Second)
	require.NoError(t, kafka.Restart(t.Context()))
	c.until(t, sent)
	require.NoError(t, errors.Join(c.cmd.Process.Kill()))
	<-c.done

	// ClickHouse is away while it waits; the receipt comes when it is back.
	database.Kill()
	<-database.Done()
	c = start(t, args...)
	time.Sleep(3 * time.Second)
	select {
	case <-c.done:
		t.Fatalf("there cannot be a receipt yet: %s", c.out.String())
	default:
	}
	kill("while it waited", sent)
	require.NoError(t, database.Restart(t.Context()))
	out := c.end(t)

	check := func(out pushed) {
		t.Helper()
		require.True(t, out.Reconciled)
		require.Equal(t, flow.Complete, out.Receipt.Status)
		require.EqualValues(t, n, out.Receipt.Declared)
		require.EqualValues(t, n, out.Receipt.By[flow.New])
		require.Equal(t, out.Receipt.Received-n, out.Receipt.By[flow.Duplicate], "what came twice is named so")
		require.Empty(t, out.Receipt.Missing)
	}
	check(out)
	require.Equal(t, []string{fmt.Sprint(n)}, p.lines("SELECT toString(count()) FROM demo_site_history FINAL"))
	require.Equal(t, []string{fmt.Sprint(n)}, p.lines("SELECT toString(uniqExact(site_id)) FROM demo_site FINAL"))
	require.Equal(t, []string{out.Batch}, p.lines("SELECT DISTINCT batch_id FROM receipts"), "every run was one batch")
	last := start(t, args...).end(t)
	require.Equal(t, out.Batch, last.Batch)
	check(last)
	require.True(t, killed["while it prepared"] && killed["when it had prepared"] && killed["while it waited"], "%v", killed)
	require.NoError(t, p.run(t.Context(), "balance"))
}
