package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/duiwu/duiwu/ingest"
)

// moment is a row of the matrix: where in the path the fault strikes, as it is
// seen on a wire.
type moment struct {
	name string // of the exchange; see statement and kafkaMoments
	side side
	says string // what the worker is doing, for the table
	// again: the worker is killed first, since only a second assignment meets this.
	again bool
}

// moments are in the order of the path. Between two of them nothing leaves the
// worker, so decode, check and dedupe lie between the answer to a fetch and the
// next insert.
var moments = []moment{
	{migration, before, "during a migration, before a statement", false},
	{migration, within, "during a migration, within a statement", false},
	{migration, after, "during a migration, a statement unheard", false},
	{produce, before, "`duiwu push` sends, before the broker has it", false},
	{produce, after, "`duiwu push` sends, the acknowledgement unheard", false},
	{delivery, before, "the gateway sends, before the broker has it", false},
	{delivery, after, "the gateway sends, the acknowledgement unheard", false},
	{"join", before, "before the group is joined", false},
	{"sync", after, "during a rebalance, partitions dealt out", false},
	{"claim insert", before, "before the claim", false},
	{"claim insert", after, "after the claim, unheard", false},
	{"ledger read", after, "while the ledger is read", true},
	{"state rebuild", before, "before the state is rebuilt", true},
	{"state rebuild", after, "while the state is rebuilt", true},
	{"fetch", after, "before decode", false},
	{"dedupe question", before, "in dedupe, question asked", true},
	{"dedupe question", after, "in dedupe, answer on its way", true},
	{"data insert", before, "after dedupe, before the data insert", false},
	{"data insert", within, "within the data insert", false},
	{"data insert", after, "after the data insert, unheard", false},
	{"quarantine insert", before, "before the quarantine insert", false},
	{"quarantine insert", after, "after the quarantine insert, unheard", false},
	{"receipt part insert", before, "before the receipt insert", false},
	{"receipt part insert", after, "after the receipt insert, unheard", false},
	{"fence question", after, "when the fence is asked for", false},
	{"ledger insert", before, "before the ledger insert", false},
	{"ledger insert", within, "within the ledger insert", false},
	{"ledger insert", after, "after the ledger insert, unheard", false},
	{"offset commit", before, "before the commit", false},
	{"offset commit", after, "after the commit, unheard", false},
}

// migration is the moment of each statement that makes tables: it comes before
// there is a worker, and what is struck is the job that migrates.
const migration = "migration"

// produce is the moment of a request with messages. Only push makes it here, past
// no worker; what is struck is the command that a unit's machine runs until it succeeds.
const produce = "produce"

// delivery is that moment where the gateway makes it, of a file that it has taken in.
const delivery = "delivery"

// statementStruck is one in the middle of a migration.
const statementStruck = 20

// atWork are the moments of a worker.
var atWork = slices.DeleteFunc(slices.Clone(moments), func(m moment) bool { return m.name == migration || m.name == produce || m.name == delivery })

// meets says whether a fault can be made at the moment: no second gateway takes over
// the spool of one that lives.
func (m moment) meets(f fault) bool { return m.name != delivery || f.name != "zombie" }

func (m moment) onKafka() bool {
	for _, n := range kafkaMoments {
		if m.name == n {
			return true
		}
	}
	return false
}

// fault is a column of the matrix. strike is called while the exchange stands
// still and says whether its bytes go on; heal undoes it and is called after
// pause.
type fault struct {
	name, says string
	pause      time.Duration
	strike     func(c *cell, w *wire) (pass bool)
	heal       func(ctx context.Context, c *cell, w *wire) error
}

const day = 24 * time.Hour

func mend(_ context.Context, _ *cell, w *wire) error { w.set(mode{}); return nil }

var faults = []fault{
	{"worker", "kill -9 of the worker", 0,
		func(c *cell, _ *wire) bool { c.workers[0].kill(); return false },
		func(context.Context, *cell, *wire) error { return nil }},
	{"clickhouse", "kill -9 of ClickHouse", time.Second,
		func(c *cell, _ *wire) bool { c.engine.Kill(); <-c.engine.Done(); return false },
		func(ctx context.Context, c *cell, _ *wire) error { return c.up(ctx) }},
	{"kafka", "kill -9 of Kafka", time.Second,
		func(c *cell, w *wire) bool { c.broker.Kill(); <-c.broker.Done(); return w != c.wires[0].kafka },
		func(ctx context.Context, c *cell, _ *wire) error { return c.up(ctx) }},
	{"cut", "the network is cut for 2 s", 2 * time.Second,
		func(_ *cell, w *wire) bool { w.set(mode{cut: true}); return false }, mend},
	{"half-open", "the network forgets its connections for 2 s and says nothing", 2 * time.Second,
		func(_ *cell, w *wire) bool { w.set(mode{frozen: true}); return true }, mend},
	{"slow", "20 kB/s and 200 ms each way for 3 s", 3 * time.Second,
		func(_ *cell, w *wire) bool { w.set(mode{delay: 200 * time.Millisecond, rate: 20_000}); return true }, mend},
	{"clock", "the clock of the worker's machine jumps a day ahead, 1 s later two days back, and 1 s later it is right", time.Second,
		func(c *cell, _ *wire) bool { return c.workers[0].jump(day) == nil },
		func(_ context.Context, c *cell, _ *wire) error {
			err := c.workers[0].jump(-2 * day)
			time.Sleep(time.Second)
			return errors.Join(err, c.workers[0].jump(day))
		}},
	{"zombie", "the worker is stopped (SIGSTOP) with its request held, a second one takes over, then both go on", 0,
		zombie, wake},
}

// result is one cell of the table.
type result struct {
	Moment, Fault string
	Problems      []string
	Recovery      time.Duration // from the end of the fault to the end of the log
	Saw           []string      // what the operator's log said, worst first
	Revision      string        // of the code that was run
}

// bound is how long a cell may take to recover.
const bound = 60 * time.Second

// bench holds what an undisturbed run left, which every cell is compared with.
type bench struct {
	*lab
	load *load
	want tables
	// undisturbed is the database of the undisturbed run, loose its tables without
	// positions and outcomes.
	undisturbed string
	loose       tables
}

const keys = 300

// newBench runs the load undisturbed. What was planted decides whether that run
// was right.
func newBench(ctx context.Context, l *lab) (*bench, error) {
	b := &bench{lab: l, load: newLoad(keys, 1)}
	c, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	b.undisturbed, c.keep = c.name, true
	defer c.stop()
	if err := c.wait(ctx, bound); err != nil {
		return nil, fmt.Errorf("the undisturbed run does not end: %w", err)
	}
	if b.want, err = c.read(ctx, what{positions: true, outcomes: true}); err != nil {
		return nil, err
	}
	problems, err := b.judge(ctx, c)
	if err == nil && len(problems) > 0 {
		err = fmt.Errorf("the undisturbed run is wrong: %s", strings.Join(problems, "; "))
	}
	return b, err
}

// start makes a cell with all messages sent and a worker at work.
func (b *bench) start(ctx context.Context, prepare ...func(*cell) error) (*cell, error) {
	return b.startWith(ctx, b.load.messages, prepare...)
}

// startWith is start with some of the messages.
func (b *bench) startWith(ctx context.Context, messages []message, prepare ...func(*cell) error) (*cell, error) {
	c, err := b.cell(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.migrate(ctx); err != nil {
		return nil, err
	}
	if err := again(ctx, bound, func() error { return c.send(ctx, messages[:1]) }); err != nil {
		return nil, err
	}
	if err := c.send(ctx, messages[1:]); err != nil {
		return nil, err
	}
	for _, p := range prepare {
		if err := p(c); err != nil {
			return nil, err
		}
	}
	_, err = c.work()
	return c, err
}

func (b *bench) judge(ctx context.Context, c *cell) ([]string, error) {
	got, err := c.read(ctx, what{positions: true, outcomes: true})
	if err != nil {
		return nil, err
	}
	problems := b.want.differ(got)
	more, err := c.sums(ctx, b.load.received())
	if err != nil {
		return nil, err
	}
	counted, err := c.outcomes(ctx, b.load.want)
	return append(append(problems, more...), counted...), err
}

// run makes one fault at one moment and judges what is left.
func (b *bench) run(ctx context.Context, m moment, f fault) (r result, err error) {
	r = result{Moment: m.says, Fault: f.name}
	switch m.name {
	case migration:
		return b.runMigration(ctx, m, f)
	case produce:
		return b.runPush(ctx, m, f)
	case delivery:
		return b.runDelivery(ctx, m, f)
	}
	var sprung <-chan struct{}
	w := b.wires[0].clickhouse
	if m.onKafka() {
		w = b.wires[0].kafka
	}
	c, err := b.start(ctx, func(c *cell) error {
		if f.name == "clock" {
			c.clock = begin
		}
		set := func() {
			nth := 1
			if !m.again && !strings.Contains("join sync claim insert", m.name) {
				nth = 2
			}
			sprung = w.arm(trap{m.name, m.side, nth, func() bool { return f.strike(c, w) }, nil})
		}
		if !m.again {
			set()
			return nil
		}
		armed := make(chan struct{})
		var inner <-chan struct{}
		c.wires[0].clickhouse.arm(trap{"ledger insert", after, 3, func() bool {
			set()
			inner = sprung
			close(armed)
			c.workers[0].kill()
			return false
		}, nil})
		outer := make(chan struct{})
		go func() {
			<-armed
			<-inner
			close(outer)
		}()
		sprung = outer
		return nil
	})
	if err != nil {
		return r, err
	}
	defer c.stop()
	healed, err := c.struck(ctx, w, f, sprung)
	if err != nil {
		return r, err
	}
	if err := c.wait(ctx, bound); err != nil {
		r.Problems = append(r.Problems, err.Error())
		return r, nil
	}
	r.Recovery = time.Since(healed)
	r.Saw = c.saw()
	r.Problems, err = b.judge(ctx, c)
	return r, err
}

// runMigration makes one fault while the tables are made, and then lets a worker
// read the load into them.
func (b *bench) runMigration(ctx context.Context, m moment, f fault) (r result, err error) {
	r = result{Moment: m.says, Fault: f.name}
	c, err := b.cell(ctx)
	if err != nil {
		return r, err
	}
	defer c.stop()
	if f.name == "clock" {
		c.clock = begin
	}
	if err := c.send(ctx, b.load.messages); err != nil {
		return r, err
	}
	healed, err := b.strikeJob(ctx, c, &r, b.wires[0].clickhouse, trap{moment: m.name, side: m.side, nth: statementStruck}, f, c.migrating)
	if err != nil || len(r.Problems) > 0 {
		return r, err
	}
	if _, err := c.work(); err != nil {
		return r, err
	}
	err = b.finish(ctx, c, &r, healed)
	return r, err
}

// struck waits until a fault has been made, undoes it, and says when that was.
func (c *cell) struck(ctx context.Context, w *wire, f fault, sprung <-chan struct{}) (healed time.Time, err error) {
	select {
	case <-sprung:
	case <-time.After(bound):
		return healed, fmt.Errorf("the moment never came: %s", c.workers[0].log)
	case <-ctx.Done():
		return healed, ctx.Err()
	}
	time.Sleep(f.pause)
	if err := f.heal(ctx, c, w); err != nil {
		return healed, fmt.Errorf("cannot undo %s: %w", f.says, err)
	}
	return time.Now(), nil
}

// strikeJob starts a job, makes one fault while it works, undoes it, and waits
// until the job has succeeded. It leaves a cell without workers.
func (b *bench) strikeJob(ctx context.Context, c *cell, r *result, w *wire, t trap, f fault, start func() (*worker, error)) (healed time.Time, err error) {
	t.do = func() bool { return f.strike(c, w) }
	sprung := w.arm(t)
	c.job = start
	if _, err := start(); err != nil {
		return healed, err
	}
	if healed, err = c.struck(ctx, w, f, sprung); err != nil {
		return healed, err
	}
	for _, job := range c.workers {
		if err := job.ended(ctx); err != nil {
			r.Problems = append(r.Problems, err.Error())
		}
	}
	r.Saw = c.saw()
	if len(r.Problems) == 0 {
		c.workers = nil
	}
	return healed, nil
}

// runPush makes one fault while a unit sends a file, and lets a worker read what
// came: every record of the file is stored once, under one batch.
func (b *bench) runPush(ctx context.Context, m moment, f fault) (r result, err error) {
	r = result{Moment: m.says, Fault: f.name}
	c, dir, err := b.unitSide(ctx)
	if err != nil {
		return r, err
	}
	defer c.stop()
	file, profile := filepath.Join(dir, "sites.csv"), filepath.Join(dir, "profile.yaml")
	if err := errors.Join(os.WriteFile(file, sites(), 0o600), os.WriteFile(profile, fmt.Appendf(nil,
		"unit: %q\nbrokers: [%q]\ntls: {off: true}\nrecord_key: %s.key\nfeed_topics: duiwu.%s\n", unit, c.wires[0].kafka.addr(), unit, c.name), 0o600)); err != nil {
		return r, err
	}
	healed, err := b.strikeJob(ctx, c, &r, b.wires[0].kafka, trap{moment: produce, side: m.side, nth: 1}, f, func() (*worker, error) {
		w := &worker{c: c, n: len(c.workers), job: true, args: []string{"push", file, "--feed", "demo_site", "--profile", profile, "--as-of", "2016-11-30"}}
		return w, c.run(w)
	})
	if err != nil || len(r.Problems) > 0 {
		return r, err
	}
	if _, err := c.work(); err != nil {
		return r, err
	}
	if err := c.wait(ctx, bound); err != nil {
		r.Problems = append(r.Problems, err.Error())
		return r, nil
	}
	r.Recovery = time.Since(healed)
	return r, c.sitesOnce(ctx, &r)
}

// zombie stops the worker while its request is held, and lets a second one claim
// the partitions. The held request then reaches the server late.
func zombie(c *cell, _ *wire) bool {
	c.workers[0].pause()
	if c.workers[0].job {
		if second, err := c.job(); err == nil {
			_ = second.ended(context.Background()) // wake says so
		}
		return true
	}
	second, err := c.work()
	if err != nil {
		return true // seen as a cell without a second worker: wake says so
	}
	_ = again(context.Background(), 30*time.Second, func() error {
		if strings.Contains(second.log.String(), `"msg":"partition assigned"`) {
			return nil
		}
		return errors.New("no partition yet")
	})
	return true
}

func wake(_ context.Context, c *cell, _ *wire) error {
	c.workers[0].resume()
	if len(c.workers) == 2 && c.workers[1].job {
		return nil
	}
	if len(c.workers) < 2 || !strings.Contains(c.workers[1].log.String(), `"msg":"partition assigned"`) {
		return errors.New("the second worker got no partition")
	}
	return nil
}

// holds judges a run whose producer may have sent messages twice: the current
// tables are those of the planted records, and what must hold of any run holds.
func (b *bench) holds(ctx context.Context, c *cell) ([]string, error) {
	ends, err := ingest.Ends(ctx, c.kafka(), c.topic)
	if err != nil {
		return nil, err
	}
	var sent int64
	for _, n := range ends[c.topic] {
		sent += n
	}
	problems, err := c.sums(ctx, sent) // a message is a record here
	if err != nil {
		return nil, err
	}
	got, err := c.read(ctx, what{})
	if err != nil {
		return nil, err
	}
	more, err := b.sameTables(ctx, c, got)
	return append(problems, more...), err
}

// sameTables compares tables without positions and outcomes with those of the
// undisturbed run. A row of the quarantine is what came, so it may be there more
// often, and its fields are compared as a set.
func (b *bench) sameTables(ctx context.Context, c *cell, got tables) ([]string, error) {
	if b.loose == nil {
		was := *c
		u, err := url.Parse(c.database)
		if err != nil {
			return nil, err
		}
		u.Path = "/" + b.undisturbed
		was.database = u.String()
		if b.loose, err = was.read(ctx, what{}); err != nil {
			return nil, err
		}
		b.loose["quarantine"] = slices.Compact(b.loose["quarantine"])
	}
	got["quarantine"] = slices.Compact(got["quarantine"])
	return b.loose.differ(got), nil
}
