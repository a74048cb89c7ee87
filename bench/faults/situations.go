package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/flow"
)

// situation is a fault that is a state of the world, not a moment. run makes it,
// mends it, and judges what is left.
type situation struct {
	name, says string
	// operator is what somebody has to do.
	operator string
	run      func(ctx context.Context, b *bench) (result, error)
}

const situation0 = "other"

const nothing = "nothing"

var situations = []situation{
	{"too many parts", "merges are behind: ClickHouse refuses inserts (252)", "nothing, once merges catch up", refused(
		"ALTER TABLE demo_site_history MODIFY SETTING parts_to_delay_insert = 1, parts_to_throw_insert = 1",
		"ALTER TABLE demo_site_history RESET SETTING parts_to_delay_insert, parts_to_throw_insert", "write failed", false)},
	{"read-only table", "a table takes no rows (242)", "makes it writable", refused(
		"ALTER TABLE demo_site_history MODIFY SETTING table_readonly = 1",
		"ALTER TABLE demo_site_history MODIFY SETTING table_readonly = 0", "write failed", false)},
	{"table gone", "a table is renamed under the worker", "brings it back and starts the worker again", refused(
		"RENAME TABLE station_history TO elsewhere", "RENAME TABLE elsewhere TO station_history", "partition stopped", true)},
	{"column gone", "a column is renamed under the worker", "names it back and starts the worker again", refused(
		"ALTER TABLE quarantine RENAME COLUMN kept TO held", "ALTER TABLE quarantine RENAME COLUMN held TO kept", "partition stopped", true)},
	{"column added", "somebody adds a column to a table under the worker", nothing, refused(
		"ALTER TABLE station_history ADD COLUMN remark String", "ALTER TABLE station_history DROP COLUMN remark", "", false)},
	{"view gone", "the view that keeps the current table is dropped under the worker, rows go on to come", "migrates; the worker refuses to write until then", viewGone},
	{"disk full", "the disk of ClickHouse fills up", "frees space", diskFull},
	{"password changed", "the password of the worker's user is changed and set back", "gives the worker the right one and starts it again", passwordChanged},
	{"user may only read", "the worker is given a user that may only read", "gives it INSERT and starts it again", mayOnlyRead},
	{"two workers", "two workers join and leave in turns while messages come", nothing, twoWorkers},
	{"partitions added", "the topic gets new partitions while messages come", nothing, partitionsAdded},
	{"everything again", "everything is sent once more", nothing, everythingAgain},
	{"everything again, dealt round", "everything is sent once more by a producer that deals messages round the partitions", nothing, everythingDealtRound},
	{"in two partitions", "everything comes in another partition than its keys ask for, and once more in the right one, whose reader does not know of it", nothing, inTwoPartitions},
	{"offsets rewound", "the group's offsets are set back to 0 while no worker runs", nothing, offsetsRewound},
	{"topic made anew", "the topic is deleted, made again and filled again", "declares a new incarnation: duiwu ledger new-topic", topicAnew},
	{"retention passed", "Kafka deletes records that were never read", "asks the unit to send again, and passes over the gap: duiwu ledger skip", retentionPassed},
	{"clock behind", "the clock of the worker's machine falls a day back while records of today come: they are refused as `reported_at_future`, by mistake", "sets the clock, then replays what was refused: duiwu quarantine replay --rule reported_at_future", clockBehind},
	{"clock ahead", "the clock of the worker's machine runs a day ahead for a while: what came then carries tomorrow as its arrival for ever, so «as known on» today leaves it out", "sets the clock", clockAhead},
	{"migration killed", "kill -9 of duiwu migrate and of ClickHouse between any two statements", "migrates again", migrationKilled},
}

// finish waits for the end and judges a cell that meets the bench's own load.
func (b *bench) finish(ctx context.Context, c *cell, r *result, healed time.Time) error {
	if err := c.wait(ctx, bound); err != nil {
		r.Problems = append(r.Problems, err.Error())
		return nil
	}
	r.Recovery = time.Since(healed)
	problems, err := b.judge(ctx, c)
	r.Problems = append(r.Problems, problems...)
	return err
}

// until waits for a word in the log of the newest worker.
func (c *cell) until(ctx context.Context, word string) error {
	w := c.workers[len(c.workers)-1]
	return again(ctx, bound, func() error {
		if !strings.Contains(w.log.String(), word) {
			return fmt.Errorf("the worker does not say %q: %s", word, w.log)
		}
		return nil
	})
}

// restart is what an operator or an orchestrator does: stop in order, start.
func (w *worker) restart() { w.signal(syscall.SIGTERM) }

// whenAtWork runs fn when a worker has written some cuts, holding its insert
// into the data tables.
func (b *bench) whenAtWork(ctx context.Context, fn func(c *cell) error) (*cell, error) {
	var failed error
	var sprung <-chan struct{}
	c, err := b.start(ctx, func(c *cell) error {
		sprung = b.wires[0].clickhouse.arm(trap{"data insert", before, 2, func() bool {
			failed = fn(c)
			return true
		}, nil})
		return nil
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-sprung:
		return c, failed
	case <-time.After(bound):
		return c, errors.New("the worker does not insert")
	}
}

// refused runs a statement while the worker inserts, waits until the worker said
// so, runs another that mends it, and starts the worker again where that is
// needed.
func refused(spoil, cure, says string, restart bool) func(context.Context, *bench) (result, error) {
	return func(ctx context.Context, b *bench) (r result, err error) {
		c, err := b.whenAtWork(ctx, func(c *cell) error {
			_, err := query(ctx, c.database, spoil)
			return err
		})
		if c != nil {
			defer c.stop()
		}
		if err != nil {
			return r, err
		}
		if says != "" {
			if err := c.until(ctx, says); err != nil {
				return r, err
			}
		} else {
			time.Sleep(2 * time.Second)
		}
		r.Saw = c.saw()
		if restart {
			r.Saw = append(r.Saw, c.stopped(ctx)...)
		}
		if _, err := query(ctx, c.database, cure); err != nil {
			return r, err
		}
		healed := time.Now()
		if restart {
			c.workers[0].restart()
		}
		return r, b.finish(ctx, c, &r, healed)
	}
}

// stopped is what /readyz says of partitions that stopped.
func (c *cell) stopped(ctx context.Context) []string {
	line, _, _ := strings.Cut(c.workers[0].ready(ctx), "\n")
	_, reason, ok := strings.Cut(line, ": ")
	if !ok {
		return []string{"/readyz did not say why"}
	}
	return []string{"/readyz: 503 " + withoutDetails(reason)}
}

func viewGone(ctx context.Context, b *bench) (r result, err error) {
	c, err := b.whenAtWork(ctx, func(c *cell) error {
		_, err := query(ctx, c.database, "DROP TABLE station_to_current")
		return err
	})
	if c != nil {
		defer c.stop()
	}
	if err == nil {
		err = c.until(ctx, "partition stopped")
	}
	if err != nil {
		return r, err
	}
	r.Saw = append(c.saw(), c.stopped(ctx)...)
	if err := c.migrate(ctx); err != nil {
		return r, err
	}
	healed := time.Now()
	c.workers[0].restart()
	return r, b.finish(ctx, c, &r, healed)
}

// diskFull gives ClickHouse a small disk of its own.
func diskFull(ctx context.Context, b *bench) (r result, err error) {
	dir := filepath.Join(b.dir, "small")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return r, err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=160m"); err != nil {
		return r, fmt.Errorf("cannot mount a small disk, which root may: %w", err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	small, err := engine.Start(ctx, engine.Options{Lib: b.lib, Dir: filepath.Join(dir, "clickhouse")})
	if err != nil {
		return r, err
	}
	defer small.Kill()
	l := *b.lab
	l.engine = small
	old := l.wires[0].clickhouse.target
	l.wires[0].clickhouse.target = small.HTTPAddr()
	defer func() { b.wires[0].clickhouse.target = old }()
	own := &bench{lab: &l, load: b.load, want: b.want}
	defer func() { b.cells, b.ends = l.cells, l.ended() }()
	ballast := filepath.Join(dir, "ballast")
	c, err := own.whenAtWork(ctx, func(*cell) error {
		f, err := os.Create(ballast)
		if err != nil {
			return err
		}
		defer f.Close()
		for chunk := make([]byte, 64<<10); ; {
			if n, err := f.Write(chunk); err != nil || n < len(chunk) {
				return nil // it is full
			}
		}
	})
	if c != nil {
		defer c.stop()
	}
	if err != nil {
		return r, err
	}
	if err := c.until(ctx, "write failed"); err != nil {
		return r, err
	}
	time.Sleep(2 * time.Second)
	r.Saw = c.saw()
	if err := os.Remove(ballast); err != nil {
		return r, err
	}
	return r, own.finish(ctx, c, &r, time.Now())
}

func passwordChanged(ctx context.Context, b *bench) (r result, err error) {
	change := func(password string) error {
		b.engine.Kill()
		<-b.engine.Done()
		return b.engine.SetPassword(ctx, engine.Admin, password)
	}
	right := b.engine.Password(engine.Admin)
	c, err := b.whenAtWork(ctx, func(c *cell) error {
		if err := change("another"); err != nil {
			return err
		}
		u, err := url.Parse(c.database)
		if err != nil {
			return err
		}
		u.User = url.UserPassword(engine.Admin, "another")
		c.database = u.String()
		return nil
	})
	if c != nil {
		defer c.stop()
	}
	if err == nil {
		err = c.until(ctx, "partition stopped")
	}
	if c != nil {
		r.Saw = append(c.saw(), c.stopped(ctx)...)
	}
	if err := errors.Join(err, change(right)); err != nil {
		return r, err
	}
	u, err := url.Parse(c.database)
	if err != nil {
		return r, err
	}
	u.User = url.UserPassword(engine.Admin, right)
	c.database = u.String()
	healed := time.Now()
	c.workers[0].restart()
	return r, b.finish(ctx, c, &r, healed)
}

func mayOnlyRead(ctx context.Context, b *bench) (r result, err error) {
	c, err := b.cell(ctx)
	if err != nil {
		return r, err
	}
	defer c.stop()
	if err := errors.Join(c.migrate(ctx), c.send(ctx, b.load.messages)); err != nil {
		return r, err
	}
	w, err := c.work("DUIWU_CLICKHOUSE=" + c.as(engine.Dashboards, b.wires[0].clickhouse))
	if err != nil {
		return r, err
	}
	if err := c.until(ctx, "partition stopped"); err != nil {
		return r, err
	}
	r.Saw = append(c.saw(), c.stopped(ctx)...)
	w.mu.Lock()
	w.env = append(w.env, "DUIWU_CLICKHOUSE="+c.through(b.wires[0].clickhouse))
	w.mu.Unlock()
	healed := time.Now()
	w.restart()
	return r, b.finish(ctx, c, &r, healed)
}

func twoWorkers(ctx context.Context, b *bench) (r result, err error) {
	c, err := b.cell(ctx)
	if err != nil {
		return r, err
	}
	defer c.stop()
	if err := c.migrate(ctx); err != nil {
		return r, err
	}
	for range 2 {
		if _, err := c.work(); err != nil {
			return r, err
		}
	}
	for n := range parts {
		m := b.load.messages
		if err := c.send(ctx, m[n*len(m)/parts:(n+1)*len(m)/parts]); err != nil {
			return r, err
		}
		time.Sleep(700 * time.Millisecond)
		c.workers[n%2].restart()
	}
	err = b.finish(ctx, c, &r, time.Now())
	r.Saw = c.saw()
	return r, err
}

// parts is in how many parts a load is sent while something goes on.
const parts = 6

func (c *cell) client() *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(c.broker.Addr()), Timeout: 10 * time.Second, Transport: &kafka.Transport{MetadataTTL: time.Second}}
}

// partitionsAdded moves keys to other partitions, so that what a partition knows
// is not all there is: outcomes may have other names, tables and sums may not differ.
func partitionsAdded(ctx context.Context, b *bench) (r result, err error) {
	half := len(b.load.messages) / 2
	c, err := b.startWith(ctx, b.load.messages[:half])
	if err != nil {
		return r, err
	}
	defer c.stop()
	if err := c.wait(ctx, bound); err != nil {
		return r, err
	}
	res, err := c.client().CreatePartitions(ctx, &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: c.topic, Count: partitions + 3}}})
	if err == nil {
		err = res.Errors[c.topic]
	}
	if err != nil {
		return r, err
	}
	healed := time.Now()
	if err := again(ctx, bound, func() error { return c.send(ctx, b.load.messages[half:]) }); err != nil {
		return r, err
	}
	return r, b.free(ctx, c, &r, healed)
}

// free judges a cell whose messages lie elsewhere than in the undisturbed run.
func (b *bench) free(ctx context.Context, c *cell, r *result, healed time.Time) error {
	if err := c.wait(ctx, bound); err != nil {
		r.Problems = append(r.Problems, err.Error())
		return nil
	}
	r.Recovery = time.Since(healed)
	r.Saw = append(r.Saw, c.saw()...)
	problems, err := b.holds(ctx, c)
	r.Problems = append(r.Problems, problems...)
	return err
}

func everythingAgain(ctx context.Context, b *bench) (r result, err error) {
	c, err := b.start(ctx)
	if err != nil {
		return r, err
	}
	defer c.stop()
	if err := errors.Join(c.wait(ctx, bound), c.send(ctx, b.load.messages)); err != nil {
		return r, err
	}
	return r, b.free(ctx, c, &r, time.Now())
}

func everythingDealtRound(ctx context.Context, b *bench) (r result, err error) {
	c, err := b.start(ctx)
	if err != nil {
		return r, err
	}
	defer c.stop()
	if err := errors.Join(c.wait(ctx, bound), c.route(ctx, b.load.messages, partitions, func(_ message, i, n int) int { return i % n })); err != nil {
		return r, err
	}
	return r, b.free(ctx, c, &r, time.Now())
}

// inTwoPartitions makes two partitions count the same records as stored, whatever
// they do at that moment: the right one has built its state before. The balance
// must count each once all the same, and doctor must see nothing wrong in that.
func inTwoPartitions(ctx context.Context, b *bench) (r result, err error) {
	c, err := b.startWith(ctx, b.load.messages[:1])
	if err != nil {
		return r, err
	}
	defer c.stop()
	next := func(m message, _, n int) int { return (ingest.PartitionOf(ingest.Key(unit, m.key), n) + 1) % n }
	for _, send := range []func() error{
		func() error { return c.route(ctx, b.load.messages, partitions, next) },
		func() error { return c.send(ctx, b.load.messages) },
	} {
		if err := errors.Join(c.wait(ctx, bound), send()); err != nil {
			return r, err
		}
	}
	if err := b.free(ctx, c, &r, time.Now()); err != nil {
		return r, err
	}
	if err := c.expect(ctx, &r, "counted by two partitions", "SELECT sum(duplicate) > 0 FROM recount", 1); err != nil {
		return r, err
	}
	balance, err := c.duiwuCommand(ctx, c.database, "balance")
	if err != nil || !strings.Contains(balance, "of the duplicates came in two partitions") {
		r.Problems = append(r.Problems, fmt.Sprintf("duiwu balance does not say why: %v: %s", err, balance))
	}
	// doctor ends with an error when it finds something.
	found, _ := c.duiwuCommand(ctx, c.database, append([]string{"doctor", "--full", "--prefix", "duiwu." + c.name, "--units", unit}, c.operatorFlags()...)...)
	if !strings.Contains(found, "topic_partitions") || strings.Contains(found, "counts_differ") {
		r.Problems = append(r.Problems, "doctor does not say what this is: "+found)
	}
	r.Saw = append(r.Saw, "duiwu doctor: topic_partitions")
	return r, nil
}

func offsetsRewound(ctx context.Context, b *bench) (r result, err error) {
	c, err := b.start(ctx)
	if err != nil {
		return r, err
	}
	defer c.stop()
	if err := c.wait(ctx, bound); err != nil {
		return r, err
	}
	c.workers[0].stop()
	res, err := c.client().OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID: c.name, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{c.topic: {{Partition: 0, Offset: 0}, {Partition: 1, Offset: 0}}},
	})
	if err != nil {
		return r, err
	}
	for _, p := range res.Topics[c.topic] {
		if p.Error != nil {
			return r, p.Error
		}
	}
	c.workers = nil
	if _, err := c.work(); err != nil {
		return r, err
	}
	if err := c.until(ctx, "partition assigned"); err != nil {
		return r, err
	}
	time.Sleep(time.Second)
	err = b.finish(ctx, c, &r, time.Now())
	r.Saw = c.saw()
	return r, err
}

func topicAnew(ctx context.Context, b *bench) (r result, err error) {
	c, err := b.start(ctx)
	if err != nil {
		return r, err
	}
	defer c.stop()
	if err := c.wait(ctx, bound); err != nil {
		return r, err
	}
	client := c.client()
	res, err := client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{c.topic}})
	if err == nil {
		err = res.Errors[c.topic]
	}
	if err != nil {
		return r, err
	}
	if err := again(ctx, bound, func() error {
		res, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: c.topic, NumPartitions: partitions, ReplicationFactor: 1}}})
		if err == nil {
			err = res.Errors[c.topic]
		}
		return err
	}); err != nil {
		return r, err
	}
	// In another order, or nobody could tell that it is another topic.
	other := newLoad(keys, 2)
	if err := again(ctx, bound, func() error { return c.send(ctx, other.messages) }); err != nil {
		return r, err
	}
	if err := c.until(ctx, "was made anew"); err != nil {
		return r, err
	}
	r.Saw = append(c.saw(), c.stopped(ctx)...)
	healed := time.Now()
	if out, err := c.duiwuCommand(ctx, c.database, "ledger", "--by", "soak", "--reason", "the topic was made anew", "new-topic", c.topic); err != nil {
		return r, fmt.Errorf("%w: %s", err, out)
	}
	c.workers[0].restart()
	if err := c.wait(ctx, bound); err != nil {
		r.Problems = append(r.Problems, err.Error())
		return r, nil
	}
	r.Recovery = time.Since(healed)
	r.Problems, err = c.sums(ctx, b.load.received()+other.received())
	if err != nil {
		return r, err
	}
	got, err := c.read(ctx, what{})
	if err != nil {
		return r, err
	}
	problems, err := b.sameTables(ctx, c, got)
	r.Problems = append(r.Problems, problems...)
	return r, err
}

func retentionPassed(ctx context.Context, b *bench) (r result, err error) {
	c, err := b.start(ctx)
	if err != nil {
		return r, err
	}
	defer c.stop()
	if err := c.wait(ctx, bound); err != nil {
		return r, err
	}
	c.workers[0].stop()
	client := c.client()
	set := func(ms string) error {
		_, err := client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: c.topic,
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: "retention.ms", Value: ms, ConfigOperation: kafka.ConfigOperationSet}},
		}}})
		return err
	}
	lost := newLoad(20, 9)
	if err := errors.Join(c.send(ctx, lost.messages), set("1")); err != nil {
		return r, err
	}
	if err := again(ctx, bound, func() error {
		res, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{c.topic: {kafka.FirstOffsetOf(0), kafka.LastOffsetOf(0), kafka.FirstOffsetOf(1), kafka.LastOffsetOf(1)}}})
		if err != nil {
			return err
		}
		for _, p := range res.Topics[c.topic] {
			if p.FirstOffset != p.LastOffset {
				return fmt.Errorf("partition %d still holds %d to %d", p.Partition, p.FirstOffset, p.LastOffset)
			}
		}
		return nil
	}); err != nil {
		return r, err
	}
	if err := set("-1"); err != nil {
		return r, err
	}
	// The unit sends again what was lost.
	if err := c.send(ctx, lost.messages); err != nil {
		return r, err
	}
	c.workers = nil
	w, err := c.work()
	if err != nil {
		return r, err
	}
	if err := again(ctx, bound, func() error {
		if n := strings.Count(w.log.String(), "partition stopped"); n < partitions {
			return fmt.Errorf("%d partitions stopped: %s", n, w.log)
		}
		return nil
	}); err != nil {
		return r, err
	}
	r.Saw = append(c.saw(), c.stopped(ctx)...)
	// The message names the command; the operator types it.
	skipped := int64(0)
	for _, line := range strings.Split(w.ready(ctx), "\n") {
		_, command, ok := strings.Cut(line, "skip ")
		if !ok {
			continue
		}
		args := append([]string{"ledger", "--by", "soak", "--reason", "the unit sends again", "skip"}, strings.Fields(command)...)
		if out, err := c.duiwuCommand(ctx, c.database, args...); err != nil {
			return r, fmt.Errorf("%v: %w: %s", args, err, out)
		}
		skipped++
	}
	if skipped != partitions {
		return r, fmt.Errorf("/readyz names %d commands for %d partitions: %s", skipped, partitions, w.ready(ctx))
	}
	healed := time.Now()
	w.restart()
	if err := c.wait(ctx, bound); err != nil {
		r.Problems = append(r.Problems, err.Error())
		return r, nil
	}
	r.Recovery = time.Since(healed)
	r.Problems, err = c.sums(ctx, b.load.received()+lost.received())
	return r, err
}

func migrationKilled(ctx context.Context, b *bench) (r result, err error) {
	want := ""
	for n := 0; n <= 24; n += 3 {
		c, err := b.cell(ctx)
		if err != nil {
			return r, err
		}
		w := b.wires[0].clickhouse
		if n > 0 {
			ctx, kill := context.WithCancel(ctx)
			server := n%2 == 0
			sprung := w.arm(trap{migration, []side{before, within, after}[n/3%3], n, func() bool {
				if server {
					b.engine.Kill()
					<-b.engine.Done()
				} else {
					kill()
				}
				return false
			}, nil})
			_, failed := c.duiwuCommand(ctx, c.through(w), "migrate")
			kill()
			select {
			case <-sprung:
			case <-time.After(10 * time.Second): // the command that was killed ends before its trap says that it sprang
				return r, fmt.Errorf("there is no statement %d", n)
			}
			if failed == nil && !server {
				return r, errors.New("the migration was not interrupted")
			}
			if err := b.up(ctx); err != nil && !errors.Is(err, context.Canceled) {
				return r, err
			}
		}
		if err := b.up(ctx); err != nil {
			return r, err
		}
		if err := c.migrate(ctx); err != nil {
			r.Problems = append(r.Problems, fmt.Sprintf("after an interruption at statement %d: %v", n, err))
			continue
		}
		lines, err := query(ctx, c.database, "SELECT name, replaceAll(create_table_query, currentDatabase(), '') FROM system.tables WHERE database = currentDatabase() ORDER BY name FORMAT TSV")
		if err != nil {
			return r, err
		}
		have := regexpUUID.ReplaceAllString(strings.Join(lines, "\n"), "")
		if n == 0 {
			want = have
		} else if have != want {
			r.Problems = append(r.Problems, fmt.Sprintf("after an interruption at statement %d the tables are others", n))
		}
	}
	return r, nil
}

// operatorFlags are those of a command that judges records as the workers do.
func (c *cell) operatorFlags() []string {
	return []string{"--kafka", c.broker.Addr(), "--token-keys", filepath.Join(c.dir, "token.keys"), "--hash-key", filepath.Join(c.dir, "hash.key"),
		"--test-areas", "--clock", begin.Format(time.RFC3339)}
}

func clockBehind(ctx context.Context, b *bench) (r result, err error) {
	c, err := b.start(ctx, func(c *cell) error { c.clock = begin; return nil })
	if err != nil {
		return r, err
	}
	defer c.stop()
	if err := errors.Join(c.wait(ctx, bound), c.workers[0].jump(-day)); err != nil {
		return r, err
	}
	const n = 60
	fresh := make([]message, n)
	for i := range fresh {
		id := fmt.Sprint("today-", i)
		fresh[i] = message{id, fmt.Sprintf(`{"schema_version":1,"reporting_unit":%q,"feed":"station","batch_id":"today","record_id":%q,"op":"U","period":"201611","effective_from":"2016-11-30","reported_at":%q,"station_id":%q,"county_code":"310115","township_name":"街道"}`,
			unit, id, begin.Add(-time.Hour).Format(time.RFC3339), id)}
	}
	if err := errors.Join(c.send(ctx, fresh), c.wait(ctx, bound)); err != nil {
		return r, err
	}
	if err := c.expect(ctx, &r, "refused by the wrong clock", "SELECT count() FROM quarantine FINAL WHERE rule = 'reported_at_future'", n); err != nil {
		return r, err
	}
	if err := c.until(ctx, "this machine's clock and the database's differ"); err != nil {
		return r, err
	}
	listed, err := c.duiwuCommand(ctx, c.database, "quarantine", "list")
	if err != nil {
		return r, fmt.Errorf("%w: %s", err, listed)
	}
	for _, line := range strings.Split(listed, "\n") {
		if strings.Contains(line, "reported_at_future") {
			r.Saw = append(r.Saw, "duiwu quarantine list: "+strings.Join(strings.Fields(line), " "))
		}
	}
	r.Saw = append(r.Saw, c.saw()...)
	if err := c.workers[0].jump(day); err != nil {
		return r, err
	}
	healed := time.Now()
	args := append([]string{"quarantine", "replay", "--by", "soak", "--reason", "the clock was wrong", "--rule", "reported_at_future"}, c.operatorFlags()...)
	if out, err := c.duiwuCommand(ctx, c.database, args...); err != nil {
		return r, fmt.Errorf("cannot replay: %w: %s", err, out)
	}
	r.Recovery = time.Since(healed)
	problems, err := c.sums(ctx, b.load.received()+n)
	if err != nil {
		return r, err
	}
	// What was replayed stays in the quarantine as what it was.
	r.Problems = append(r.Problems, without(problems, "rows of the quarantine")...)
	if err := errors.Join(
		c.expect(ctx, &r, "stored of what was refused", "SELECT count() FROM station FINAL WHERE startsWith(record_id, 'today-')", n),
		c.expect(ctx, &r, "versions of it", "SELECT count() FROM station_history FINAL WHERE startsWith(record_id, 'today-')", n),
		c.expect(ctx, &r, "new by the balance", "SELECT sum(new) FROM balance", b.load.want[flow.New]+n),
		c.expect(ctx, &r, "rejected by the balance", "SELECT sum(rejected) FROM balance", b.load.want[flow.Rejected]),
	); err != nil {
		return r, err
	}
	// Sent again they are duplicates: the replay left nothing undone.
	if err := errors.Join(c.send(ctx, fresh), c.wait(ctx, bound)); err != nil {
		return r, err
	}
	return r, c.expect(ctx, &r, "versions after they were sent again", "SELECT count() FROM station_history FINAL WHERE startsWith(record_id, 'today-')", n)
}

func clockAhead(ctx context.Context, b *bench) (r result, err error) {
	half := len(b.load.messages) / 2
	c, err := b.startWith(ctx, b.load.messages[:half], func(c *cell) error { c.clock = time.Now().Add(day); return nil })
	if err != nil {
		return r, err
	}
	defer c.stop()
	if err := errors.Join(c.wait(ctx, bound), c.until(ctx, "this machine's clock and the database's differ")); err != nil {
		return r, err
	}
	// doctor ends with an error when it finds something.
	found, _ := c.duiwuCommand(ctx, c.database, append([]string{"doctor", "--prefix", "duiwu." + c.name, "--units", unit}, c.operatorFlags()...)...)
	r.Saw = c.saw()
	if !strings.Contains(found, "clock_skew") {
		r.Problems = append(r.Problems, "doctor does not find the clock: "+found)
	} else {
		r.Saw = append(r.Saw, "duiwu doctor: clock_skew")
	}
	if err := c.expect(ctx, &r, "rows known today", "SELECT count() FROM station_history FINAL WHERE _arrived_at <= now64(3)", 0); err != nil {
		return r, err
	}
	if err := c.workers[0].jump(-day); err != nil {
		return r, err
	}
	healed := time.Now()
	if err := errors.Join(c.send(ctx, b.load.messages[half:]), c.wait(ctx, bound)); err != nil {
		return r, err
	}
	r.Recovery = time.Since(healed)
	problems, err := c.sums(ctx, b.load.received())
	if err != nil {
		return r, err
	}
	r.Problems = append(r.Problems, problems...)
	counted, err := c.outcomes(ctx, b.load.want)
	r.Problems = append(r.Problems, counted...)
	return r, err
}
