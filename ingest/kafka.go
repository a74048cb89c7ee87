package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/duiwu/duiwu/internal/flow"
)

// DefaultPrefix begins the name of every feed topic; the unit's code follows.
const DefaultPrefix = "duiwu.feed"

// Topic is the name of a unit's topic.
func Topic(prefix, unit string) string {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	return prefix + "." + unit
}

// Config is what a user says about the consumer group.
type Config struct {
	Broker
	// Group is the consumer group's name; default duiwu.
	Group string
	// Prefix begins the topics' names; default DefaultPrefix.
	Prefix string
	// Units are the reporting units whose topics are read.
	Units []string
	// Session is how long a silent worker keeps its partitions; default 10 s.
	// A short one is safe: whoever loses a partition is fenced by the ledger.
	Session time.Duration
	// Rebalance is how long the group waits for its members to join again;
	// default 15 s. A worker leaves a write at once when its generation ends,
	// and workers that were killed delay every join by this long.
	Rebalance time.Duration
	// Watch is how often topics and partition counts are looked at; default 10 s.
	Watch time.Duration
	// Create is how a topic that does not exist should be made, as arguments of
	// kafka-topics.sh; default is that of feed topics.
	Create string
}

func (c *Config) withDefaults() {
	if c.Group == "" {
		c.Group = "duiwu"
	}
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if c.Session <= 0 {
		c.Session = 10 * time.Second
	}
	if c.Rebalance <= 0 {
		c.Rebalance = 15 * time.Second
	}
	if c.Watch <= 0 {
		c.Watch = 10 * time.Second
	}
	if c.Create == "" {
		c.Create = "--partitions 12 --config retention.ms=7776000000"
	}
}

// Assignment is one partition that this worker owns until its context ends.
type Assignment struct {
	Topic, Unit string
	Partition   int32
	// Partitions is how many the topic has.
	Partitions int
	// Kept is what the work left behind when it last had this partition, nil when
	// another worker had it meanwhile. The group does not look at it.
	Kept any

	group *Group
	gen   *kafka.Generation
}

// Open begins to read the partition behind what the ledger knows. The caller
// closes the partition.
func (a *Assignment) Open(ctx context.Context, resume Resume) (*Partition, error) {
	return OpenPartition(ctx, &a.group.cfg.Broker, a.Topic, a.Unit, a.Partition, resume, a.commit, a.group.opt)
}

// Routes says whether the partitioner sends a record of the unit here.
func (a *Assignment) Routes(recordID []byte) bool {
	// As Key makes it, on the stack: dedupe asks for every record that it does not know.
	key := append(append(make([]byte, 0, 80), a.Unit...), recordID...)
	return a.Partitions <= 1 || PartitionOf(key, a.Partitions) == int(a.Partition)
}

// commit fails in a generation that has ended, so a worker that lost the
// partition cannot move its offset back.
func (a *Assignment) commit(next int64) error {
	err := a.gen.CommitOffsets(map[string]map[int]int64{a.Topic: {int(a.Partition): next}})
	if err != nil {
		return fmt.Errorf("cannot commit offset %d of %s/%d: %w", next, a.Topic, a.Partition, err)
	}
	a.group.goesOn(a, time.Now())
	return nil
}

// Assigned does the work of one assignment until ctx ends (nil) or it has to
// end: cmd asks the sink where to resume, opens the partition, builds the
// steps and calls flow.Run. It runs once a partition at a time.
type Assigned func(ctx context.Context, a *Assignment) error

// Stop is a partition that waits for an operator.
type Stop struct {
	Topic     string
	Partition int32
	Reason    error
	Since     time.Time
}

// Group reads the topics of the reporting units as a member of a consumer group.
type Group struct {
	cfg  Config
	opt  Options
	work Assigned
	// RetryMin and RetryMax bound the pause before an assignment that failed is
	// tried again.
	RetryMin, RetryMax time.Duration
	// StopMin and StopMax bound the pause before a partition that stopped is tried
	// again: somebody may have mended the cause. It goes on where the ledger ends,
	// so a try too many costs a claim and skips nothing.
	StopMin, StopMax time.Duration

	mu      sync.Mutex
	stopped map[string]Stop
	missing []string
	owned   map[string]*Assignment
	held    holding
	ends    map[string][]int64
	joined  bool
	trouble error
	moved   time.Time
}

// NewGroup checks the configuration; nothing is dialled before Run.
func NewGroup(cfg Config, opt Options, work Assigned) (*Group, error) {
	cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("cannot use Kafka configuration: %w", err)
	}
	if len(cfg.Units) == 0 {
		return nil, errors.New("cannot use Kafka configuration: no reporting unit is listed, so there is no topic to read")
	}
	return &Group{
		cfg: cfg, opt: opt.withDefaults(), work: work,
		RetryMin: 200 * time.Millisecond, RetryMax: 30 * time.Second,
		StopMin: time.Minute, StopMax: 15 * time.Minute, moved: time.Now(),
		stopped: make(map[string]Stop), owned: make(map[string]*Assignment),
	}, nil
}

// Stopped lists the partitions that stopped for a permanent reason, by name. A
// worker with one is not ready.
func (g *Group) Stopped() []Stop {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := slices.Collect(maps.Values(g.stopped))
	sort.Slice(out, func(i, j int) bool {
		if out[i].Topic != out[j].Topic {
			return out[i].Topic < out[j].Topic
		}
		return out[i].Partition < out[j].Partition
	})
	return out
}

// Missing lists the units' topics that do not exist.
func (g *Group) Missing() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.missing)
}

// Owned is how many partitions this worker has.
func (g *Group) Owned() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.owned)
}

// Joined says whether this worker is a member of the group. A member may own no
// partition: there are more workers than partitions.
func (g *Group) Joined() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.joined
}

// Trouble is why the broker did not answer when it was last asked; nil when it did.
func (g *Group) Trouble() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.trouble
}

// Moved is when the group's loop last came round. It asks the broker every
// Config.Watch, and every request in it ends in time, whoever answers.
func (g *Group) Moved() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.moved
}

// End is the end of a partition's log when it was last looked at; false before.
func (g *Group) End(topic string, partition int32) (int64, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ends := g.ends[topic]
	if int(partition) >= len(ends) {
		return 0, false
	}
	return ends[partition], true
}

// Run works until ctx ends (nil). It returns an error at once when the broker
// refuses the login; a broker that is away is waited for, and so is a login that
// worked before: a password changes at the broker and in its file one after the
// other.
func (g *Group) Run(ctx context.Context) error {
	pause, worked := g.RetryMin, false
	for {
		topics, err := g.look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrLogin) && !worked:
			return fmt.Errorf("cannot use Kafka: %w", err)
		case err != nil:
			g.opt.Log.Warn("cannot reach Kafka, trying again", "pause", pause, "error", err)
			if !sleep(ctx, pause) {
				return nil
			}
			pause = min(2*pause, g.RetryMax)
			continue
		}
		pause, worked = g.RetryMin, true
		if len(topics) == 0 {
			if !sleep(ctx, g.cfg.Watch) {
				return nil
			}
			continue
		}
		if err := g.member(ctx, topics); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// look finds which of the units' topics exist. One missing topic in a
// subscription would leave every member with empty assignments, so only those
// that exist are joined.
func (g *Group) look(ctx context.Context) (map[string]int, error) {
	want := make([]string, len(g.cfg.Units))
	for i, u := range g.cfg.Units {
		want[i] = Topic(g.cfg.Prefix, u)
	}
	topics, err := g.cfg.partitions(ctx, want)
	g.mu.Lock()
	g.moved = time.Now()
	if ctx.Err() == nil {
		g.trouble = err
	}
	g.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, t := range want {
		if topics[t] == 0 {
			delete(topics, t)
			missing = append(missing, t)
		}
	}
	g.mu.Lock()
	changed := !slices.Equal(missing, g.missing)
	g.missing = missing
	g.mu.Unlock()
	if changed {
		for _, t := range missing {
			g.opt.Log.Warn("topic does not exist; it is read as soon as it does", "topic", t,
				"create", fmt.Sprintf("kafka-topics.sh --bootstrap-server %s --create --topic %s %s", g.cfg.Brokers[0], t, g.cfg.Create))
		}
	}
	return topics, nil
}

// member joins the group for the topics that exist and works through its
// generations until ctx ends or the topics are others.
func (g *Group) member(ctx context.Context, topics map[string]int) error {
	dialer, err := g.cfg.dialer()
	if err != nil {
		return err
	}
	// Topics are watched as long as the membership lasts, whatever happens to
	// generations meanwhile.
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	var hangUp func()
	dialer.DialFunc, hangUp = dialUntil(inner, leaving)
	defer hangUp()
	cg, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: g.cfg.Group, Brokers: g.cfg.Brokers, Dialer: dialer,
		Topics:            slices.Sorted(maps.Keys(topics)),
		GroupBalancers:    g.balancers(),
		SessionTimeout:    g.cfg.Session,
		RebalanceTimeout:  g.cfg.Rebalance,
		HeartbeatInterval: min(3*time.Second, g.cfg.Session/3),
		// The default of 5 s is paid at every first join of a fresh cluster.
		JoinGroupBackoff: 500 * time.Millisecond,
		StartOffset:      kafka.FirstOffset,
	})
	if err != nil {
		return fmt.Errorf("cannot join group %s: %w", g.cfg.Group, err)
	}
	defer func() { _ = cg.Close() }() // waits for the generation; it has no error
	watch := newWatch(g, topics, cancel)
	var wg sync.WaitGroup
	wg.Go(func() { watch.run(inner) })
	defer wg.Wait()
	defer cancel()
	var said time.Time
	pause := g.RetryMin
	for {
		gen, err := cg.Next(inner)
		if inner.Err() != nil {
			return nil
		}
		if err != nil {
			// A login that is refused here worked a moment ago, in look.
			if errors.Is(err, kafka.GroupAuthorizationFailed) {
				return fmt.Errorf("cannot join group %s: %w", g.cfg.Group, err)
			}
			g.mu.Lock()
			g.joined = false
			g.mu.Unlock()
			// The group tries again twice a second; an outage should not fill the log.
			if time.Since(said) >= pause {
				g.opt.Log.Warn("cannot join the group, trying again", "group", g.cfg.Group, "error", err)
				said, pause = time.Now(), min(2*pause, g.RetryMax)
			}
			continue
		}
		said, pause = time.Time{}, g.RetryMin
		g.generation(gen, watch)
	}
}

// generation starts one goroutine for each partition. A function that returned
// would end the generation for the whole group, so they all wait for its end.
// Those of the generation before have ended.
func (g *Group) generation(gen *kafka.Generation, w *watch) {
	owned := make(map[string]*Assignment)
	held := holding{Generation: gen.ID, Partitions: make(map[string][]int)}
	for topic, parts := range gen.Assignments {
		for _, p := range parts {
			a := &Assignment{
				Topic: topic, Unit: strings.TrimPrefix(topic, g.cfg.Prefix+"."), Partition: int32(p.ID),
				Partitions: w.partitions(topic), group: g, gen: gen,
			}
			k := key(topic, a.Partition)
			if old := g.owned[k]; old != nil {
				a.Kept = old.Kept
			}
			owned[k] = a
			held.Partitions[topic] = append(held.Partitions[topic], p.ID)
		}
	}
	g.mu.Lock()
	clear(g.stopped)
	g.owned, g.held, g.joined = owned, held, true
	g.mu.Unlock()
	g.opt.Log.Info("joined the group", "group", g.cfg.Group, "generation", gen.ID, "partitions", len(owned))
	gen.Start(func(ctx context.Context) {
		select {
		case <-ctx.Done():
		case <-w.grown:
			// Partitions were added: a new generation deals them out.
		}
	})
	for _, a := range owned {
		gen.Start(func(ctx context.Context) { g.assigned(ctx, a) })
	}
}

// holding is what the other members are told.
func (g *Group) holding() holding {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held
}

func key(topic string, partition int32) string { return fmt.Sprintf("%s/%d", topic, partition) }

// assigned works on one partition until the generation ends.
func (g *Group) assigned(ctx context.Context, a *Assignment) {
	log := g.opt.Log.With("topic", a.Topic, "partition", a.Partition)
	pause, rest := g.RetryMin, g.StopMin
	for ctx.Err() == nil {
		begun := time.Now()
		// A cause that is not mended shows itself with the first message or the first
		// write; whoever waits for messages without an error goes on.
		settled := time.AfterFunc(g.RetryMax, func() { g.goesOn(a, begun) })
		err := g.work(ctx, a)
		settled.Stop()
		switch {
		case ctx.Err() != nil:
			return
		case flow.IsPermanent(err):
			if time.Since(begun) > g.RetryMax {
				rest = g.StopMin
			}
			log.Error("partition stopped; nothing was skipped", "cause", string(flow.CauseOf(err)), "pause", rest, "error", err)
			g.mu.Lock()
			g.stopped[key(a.Topic, a.Partition)] = Stop{a.Topic, a.Partition, err, time.Now()}
			g.mu.Unlock()
			if !sleep(ctx, rest) {
				return
			}
			rest = min(2*rest, g.StopMax)
			continue
		case err == nil:
			err = errors.New("the assignment's work returned while the partition is still assigned")
		}
		if time.Since(begun) > g.RetryMax {
			pause = g.RetryMin // it had worked for a while
		}
		log.Warn("partition failed, assigning it again", "pause", pause, "error", err)
		if !sleep(ctx, pause) {
			return
		}
		pause = min(2*pause, g.RetryMax)
	}
}

// goesOn forgets that a partition stopped before the try that began then.
func (g *Group) goesOn(a *Assignment, begun time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s, ok := g.stopped[key(a.Topic, a.Partition)]; ok && s.Since.Before(begun) {
		delete(g.stopped, key(a.Topic, a.Partition))
	}
}

// measure keeps where the logs end. Lag is read from it, so that it grows for a
// partition too that is stuck and asks nothing.
func (g *Group) measure(ctx context.Context, topics map[string]int) {
	ends, err := Ends(ctx, g.cfg.Broker, slices.Sorted(maps.Keys(topics))...)
	if err != nil {
		return // what look says of the broker stands
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ends = ends
}

// watch sees topics come and go and partitions being added.
type watch struct {
	g      *Group
	mu     sync.Mutex
	topics map[string]int
	grown  chan struct{}
	other  func() // the set of topics changed
}

func newWatch(g *Group, topics map[string]int, other func()) *watch {
	return &watch{g: g, topics: maps.Clone(topics), grown: make(chan struct{}), other: other}
}

// partitions is how many the topic had when last looked at.
func (w *watch) partitions(topic string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.topics[topic]
}

func (w *watch) run(ctx context.Context) {
	t := time.NewTicker(w.g.cfg.Watch)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now, err := w.g.look(ctx)
		if err != nil || ctx.Err() != nil {
			continue // the generation finds out by itself that the broker is away
		}
		for topic := range w.topics {
			if now[topic] == 0 {
				w.other()
				return
			}
		}
		w.g.measure(ctx, now)
		grown := false
		for topic, n := range now {
			switch old := w.topics[topic]; {
			case old == 0:
				w.g.opt.Log.Info("topic appeared, joining the group anew", "topic", topic)
				w.other()
				return
			case old != n:
				w.g.opt.Log.Info("partitions were added, joining the group anew", "topic", topic, "partitions", n)
				grown = true
			}
		}
		w.mu.Lock()
		w.topics = now
		w.mu.Unlock()
		if grown {
			select {
			case w.grown <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}
}
