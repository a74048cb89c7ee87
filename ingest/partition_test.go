package ingest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/flow/flowtest"
	"github.com/duiwu/duiwu/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const unit = "310000"

// fake starts a broker inside the test, for tests that meddle with it.
func fake(t testing.TB, opts ...kfake.Opt) (*kfake.Cluster, Broker) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c, Broker{Brokers: c.ListenAddrs()}
}

func leaks(t *testing.T) {
	t.Helper()
	opt := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, opt) })
}

var topicSeq atomic.Int64

func newTopic(t testing.TB, b Broker, partitions int) string {
	t.Helper()
	topic := Topic(fmt.Sprintf("t%d-%d", time.Now().UnixNano(), topicSeq.Add(1)), unit)
	require.NoError(t, CreateTopics(t.Context(), b, partitions, nil, topic))
	return topic
}

// send sends values to partition 0 of a topic, each a batch of its own when
// alone is set.
func send(t testing.TB, b Broker, topic string, values ...string) {
	t.Helper()
	w := &kafka.Writer{Addr: kafka.TCP(b.Brokers...), Topic: topic, RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond,
		BatchBytes: 16 << 20, Compression: kafka.Zstd, Balancer: kafka.BalancerFunc(func(kafka.Message, ...int) int { return 0 }),
		Transport: &kafka.Transport{MetadataTTL: 100 * time.Millisecond}}
	defer w.Transport.(*kafka.Transport).CloseIdleConnections()
	defer func() { _ = w.Close() }()
	msgs := make([]kafka.Message, len(values))
	for i, v := range values {
		msgs[i] = kafka.Message{Key: []byte("k"), Value: []byte(v), Headers: []kafka.Header{{Key: "feed", Value: []byte("worker")}}}
	}
	require.NoError(t, w.WriteMessages(t.Context(), msgs...))
}

func records(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = string(workerJSON(i))
	}
	return out
}

func options(t testing.TB, lim Limits) Options {
	t.Helper()
	mem := flowtest.Memory()
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	if lim.Linger == 0 {
		lim.Linger = 100 * time.Millisecond
	}
	return Options{Catalogue: catalogue(t), Mem: mem, Limits: lim, Gate: NewGate(1)}
}

func open(t testing.TB, b Broker, topic string, resume Resume, opt Options) *Partition {
	t.Helper()
	p, err := OpenPartition(t.Context(), &b, topic, unit, 0, resume, nil, opt)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

func nextCut(t testing.TB, p *Partition) flow.Cut {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cut, err := p.Next(ctx)
	require.NoError(t, err)
	t.Cleanup(cut.Release)
	return cut
}

func contract(t *testing.T, b Broker) {
	topic := newTopic(t, b, 1)
	committed := int64(-1)
	opt := options(t, Limits{Rows: 60, Idle: 50 * time.Millisecond})
	total := 0
	flowtest.Source(t, flowtest.SourceUnder{
		Append: func(t *testing.T, n int) {
			for i := 0; i < n; i += 100 {
				send(t, b, topic, records(min(100, n-i))...)
			}
			total += n
		},
		Open: func(t *testing.T, known bool, last int64, sum uint64) (flow.Source, func()) {
			p, err := OpenPartition(t.Context(), &b, topic, unit, 0, Resume{Known: known, Last: last, LastSum: sum},
				func(next int64) error { committed = next; return nil }, opt)
			require.NoError(t, err)
			return p, p.Close
		},
		Committed: func(*testing.T) int64 { return committed },
	})
	require.Zero(t, opt.Gate.Held())
}

func TestSourceKfake(t *testing.T) {
	leaks(t)
	_, b := fake(t)
	contract(t, b)
}

func TestSourceApache(t *testing.T) {
	contract(t, Broker{Brokers: []string{testenv.Apache(t).Addr()}})
}

func TestPoison(t *testing.T) {
	leaks(t)
	_, b := fake(t, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "20000000"}))
	topic := newTopic(t, b, 1)
	good := string(workerJSON(1))
	send(t, b, topic, good, "{broken", "", strings.Repeat("x", 5<<20), strings.Replace(good, `"reporting_unit":"310000"`, `"reporting_unit":"320000"`, 1), good)
	opt := options(t, Limits{Idle: 50 * time.Millisecond})
	p := open(t, b, topic, Resume{}, opt)
	cut := nextCut(t, p)
	require.Equal(t, flow.Span{Topic: topic, Last: 5}, cut.Span)
	require.EqualValues(t, 2, cut.Parts[0].Rows.NumRows())
	rules := (&result{rejects: cut.Rejects}).rules()
	require.Equal(t, "1/0 :message_undecodable 2/0 :message_empty 3/0 :message_too_large 4/0 reporting_unit:reporting_unit", rules)
	require.Equal(t, 1, opt.Gate.Held())
}

// Next after a permanent error in the middle of a cut: what came before is
// handed out, then the error, for ever.
func TestNewerSchemaStops(t *testing.T) {
	leaks(t)
	_, b := fake(t)
	topic := newTopic(t, b, 1)
	good := string(workerJSON(1))
	send(t, b, topic, good, good, strings.Replace(good, `"schema_version":"1"`, `"schema_version":"2"`, 1), good)
	p := open(t, b, topic, Resume{}, options(t, Limits{}))
	cut := nextCut(t, p)
	require.Equal(t, int64(1), cut.Span.Last)
	for range 2 {
		_, err := p.Next(t.Context())
		require.True(t, flow.IsPermanent(err))
		require.ErrorContains(t, err, "offset 2")
	}
}

func TestCutLimits(t *testing.T) {
	leaks(t)
	_, b := fake(t)
	topic := newTopic(t, b, 1)
	two := string(workerJSON(1)) + string(workerJSON(2))
	send(t, b, topic, two, two, two, two)
	f := func(lim Limits, last int64) (weight int) {
		t.Helper()
		lim.Idle = 50 * time.Millisecond
		p := open(t, b, topic, Resume{}, options(t, lim))
		require.Equal(t, last, nextCut(t, p).Span.Last)
		p.Close()
		return p.dec.weight
	}
	weight := f(Limits{Rows: 1}, 0)
	require.GreaterOrEqual(t, weight, len(two))
	f(Limits{Rows: 3}, 1) // a message is never split
	f(Limits{Bytes: 1}, 0)
	f(Limits{Bytes: weight*2 + 1}, 2)
	f(Limits{}, 3)
}

func TestRecordsDeletedUnread(t *testing.T) {
	leaks(t)
	_, b := fake(t)
	topic := newTopic(t, b, 1)
	send(t, b, topic, records(10)...)
	deleteRecords(t, b, topic, 6)
	f := func(r Resume) error {
		_, err := OpenPartition(t.Context(), &b, topic, unit, 0, r, nil, options(t, Limits{}))
		return err
	}
	err := f(Resume{Known: true, Last: 2, LastSum: 1})
	require.True(t, flow.IsPermanent(err))
	require.ErrorContains(t, err, "3 offsets (3 to 5)")
	require.ErrorContains(t, err, "duiwu ledger --by NAME --reason TEXT skip")
	// The ledger ends right before the log begins: nothing is lost, and nothing
	// is there to compare.
	p := open(t, b, topic, Resume{Known: true, Last: 5, LastSum: 1}, options(t, Limits{Idle: 10 * time.Millisecond}))
	require.EqualValues(t, 6, nextCut(t, p).Span.First)
	// An empty ledger begins where the log does.
	p = open(t, b, topic, Resume{}, options(t, Limits{Idle: 10 * time.Millisecond}))
	require.EqualValues(t, 6, nextCut(t, p).Span.First)
}

func TestTopicMadeAnew(t *testing.T) {
	leaks(t)
	_, b := fake(t)
	topic := newTopic(t, b, 1)
	send(t, b, topic, records(5)...)
	sum := Sum([]byte("k"), workerJSON(2))
	f := func(r Resume, want string) {
		t.Helper()
		_, err := OpenPartition(t.Context(), &b, topic, unit, 0, r, nil, options(t, Limits{}))
		require.True(t, flow.IsPermanent(err), "%v", err)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "duiwu ledger --by NAME --reason TEXT new-topic "+topic)
	}
	f(Resume{Known: true, Last: 9, LastSum: 1}, "the log ends at 5 and the ledger at 10")
	f(Resume{Known: true, Last: 3, LastSum: sum}, "another message stands at offset 3")
	p := open(t, b, topic, Resume{Known: true, Last: 2, LastSum: sum, Incarnation: 4}, options(t, Limits{Idle: 10 * time.Millisecond}))
	cut := nextCut(t, p)
	require.Equal(t, flow.Span{Topic: topic, Incarnation: 4, First: 3, Last: 4}, cut.Span)
}

// A topic deleted and made anew while the worker reads it is noticed at the
// first lost connection, although the offsets fit.
func TestTopicMadeAnewWhileReading(t *testing.T) {
	leaks(t)
	_, b := fake(t)
	topic := newTopic(t, b, 1)
	send(t, b, topic, records(3)...)
	p := open(t, b, topic, Resume{}, options(t, Limits{Idle: 10 * time.Millisecond}))
	nextCut(t, p)
	client := &kafka.Client{Addr: kafka.TCP(b.Brokers...), Transport: &kafka.Transport{}}
	defer client.Transport.(*kafka.Transport).CloseIdleConnections()
	_, err := client.DeleteTopics(t.Context(), &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	require.NoError(t, err)
	require.NoError(t, CreateTopics(t.Context(), b, 1, nil, topic))
	send(t, b, topic, records(9)[4:]...)
	p.f.close() // the connection breaks
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = p.Next(ctx)
	require.True(t, flow.IsPermanent(err), "%v", err)
	require.ErrorContains(t, err, "another message stands at offset 2")
}

func TestLeaderMoves(t *testing.T) {
	leaks(t)
	c, b := fake(t, kfake.NumBrokers(3))
	topic := newTopic(t, b, 1)
	p := open(t, b, topic, Resume{}, options(t, Limits{Idle: 10 * time.Millisecond}))
	want := int64(0)
	for node := range int32(3) {
		require.NoError(t, c.MoveTopicPartition(topic, 0, node))
		send(t, b, topic, records(2)...)
		for want < int64(node+1)*2 {
			cut := nextCut(t, p)
			require.Equal(t, want, cut.Span.First)
			want = cut.Span.Last + 1
		}
	}
}

func TestTransactions(t *testing.T) {
	leaks(t)
	_, b := fake(t)
	transactions(t, b)
}

func TestTransactionsApache(t *testing.T) {
	transactions(t, Broker{Brokers: []string{testenv.Apache(t).Addr()}})
}

func transactions(t *testing.T, b Broker) {
	topic := newTopic(t, b, 1)
	tr := &kafka.Transport{MetadataTTL: 100 * time.Millisecond}
	defer tr.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(b.Brokers...), Transport: tr, Timeout: 20 * time.Second}
	id := fmt.Sprintf("tx-%d", time.Now().UnixNano())
	var pid *kafka.InitProducerIDResponse
	require.Eventually(t, func() bool {
		var err error
		pid, err = client.InitProducerID(t.Context(), &kafka.InitProducerIDRequest{TransactionalID: id, TransactionTimeoutMs: 10000, ProducerID: -1, ProducerEpoch: -1})
		return err == nil && pid.Error == nil
	}, 20*time.Second, 100*time.Millisecond)
	seq := int32(0)
	txn := func(commit bool, value string) {
		t.Helper()
		require.Eventually(t, func() bool {
			res, err := client.AddPartitionsToTxn(t.Context(), &kafka.AddPartitionsToTxnRequest{TransactionalID: id, ProducerID: pid.Producer.ProducerID, ProducerEpoch: pid.Producer.ProducerEpoch,
				Topics: map[string][]kafka.AddPartitionToTxn{topic: {{Partition: 0}}}})
			return err == nil && res.Topics[topic][0].Error == nil
		}, 20*time.Second, 50*time.Millisecond)
		batch := txnBatch(int64(pid.Producer.ProducerID), int16(pid.Producer.ProducerEpoch), seq, value)
		seq++
		require.NoError(t, produceRaw(t.Context(), &b, topic, id, batch))
		res, err := client.EndTxn(t.Context(), &kafka.EndTxnRequest{TransactionalID: id, ProducerID: pid.Producer.ProducerID, ProducerEpoch: pid.Producer.ProducerEpoch, Committed: commit})
		require.NoError(t, err)
		require.NoError(t, res.Error)
	}
	txn(false, string(workerJSON(0))) // 0, marker 1
	txn(true, string(workerJSON(1)))  // 2, marker 3
	txn(false, string(workerJSON(2))) // 4, marker 5
	send(t, b, topic, string(workerJSON(3)))
	p := open(t, b, topic, Resume{}, options(t, Limits{Idle: 300 * time.Millisecond}))
	var offsets []string
	for len(offsets) < 2 {
		cut := nextCut(t, p)
		require.Empty(t, cut.Rejects, "a marker is no record")
		for i := range int(cut.Parts[0].Rows.NumRows()) {
			n := int(cut.Parts[0].Rows.NumCols())
			offsets = append(offsets, cut.Parts[0].Rows.Column(n-2).ValueStr(i))
		}
		if len(offsets) == 2 {
			require.EqualValues(t, 6, cut.Span.Last)
		}
	}
	require.Equal(t, []string{"2", "6"}, offsets)
	p.Close()
	// Behind the last record only a marker: nothing to hand out, and no busy loop.
	txn(true, string(workerJSON(4))) // 7, marker 8
	p = open(t, b, topic, Resume{Known: true, Last: 7, LastSum: Sum(nil, workerJSON(4))}, options(t, Limits{}))
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	_, err := p.Next(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestGate(t *testing.T) {
	leaks(t)
	_, b := fake(t)
	opt := options(t, Limits{Idle: 10 * time.Millisecond})
	a, c := newTopic(t, b, 1), newTopic(t, b, 1)
	send(t, b, a, records(1)...)
	send(t, b, c, records(1)...)
	p, q := open(t, b, a, Resume{}, opt), open(t, b, c, Resume{}, opt)
	nextCut(t, p)
	fair, err := opt.Gate.take(t.Context(), slotParts)
	require.NoError(t, err)
	require.EqualValues(t, slotParts/2, fair, "two partitions are open")
	require.True(t, opt.Gate.more(slotParts-leastParts-fair), "what nobody wants is free")
	require.False(t, opt.Gate.more(1))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = q.Next(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded, "one slot, and p holds its share until asked again")
	opt.Gate.give(slotParts - leastParts)
	q.Close()
	p.Close()
	q = open(t, b, c, Resume{}, opt)
	nextCut(t, q)
	q.Close()
	require.Zero(t, opt.Gate.Held())
}

// says is a password that does not change.
func says(password string) func() (string, error) {
	return func() (string, error) { return password, nil }
}

func TestProbe(t *testing.T) {
	leaks(t)
	_, b := fake(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "bob", "pw"), kfake.Superuser("SCRAM-SHA-256", "al", "pw"), kfake.Superuser("SCRAM-SHA-512", "eve", "pw"))
	f := func(s SASL, want string) {
		t.Helper()
		c := b
		c.SASL = s
		err := c.Probe(t.Context())
		if want == "" {
			require.NoError(t, err)
			return
		}
		require.ErrorIs(t, err, ErrLogin)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "wrong")
		g, err := NewGroup(Config{Broker: c, Units: []string{unit}}, Options{}, nil)
		require.NoError(t, err)
		require.ErrorIs(t, g.Run(t.Context()), ErrLogin)
	}
	f(SASL{"PLAIN", "bob", says("pw")}, "")
	f(SASL{"SCRAM-SHA-256", "al", says("pw")}, "")
	f(SASL{"SCRAM-SHA-512", "eve", says("pw")}, "")
	f(SASL{"PLAIN", "bob", says("wrong")}, "SASL PLAIN")
	f(SASL{"SCRAM-SHA-512", "eve", says("wrong")}, "SASL SCRAM-SHA-512")
	_, err := NewGroup(Config{Broker: Broker{Brokers: []string{"x:1"}, SASL: SASL{Mechanism: "KERBEROS"}}, Units: []string{unit}}, Options{}, nil)
	require.ErrorContains(t, err, `unknown SASL mechanism "KERBEROS"`)
}

// group runs members that remember what they saw.
type member struct {
	*Group
	cancel func()
	done   chan error
}

func startMember(t *testing.T, cfg Config, work Assigned, log *slog.Logger) *member {
	t.Helper()
	opt := options(t, Limits{Rows: 20, Idle: 20 * time.Millisecond})
	opt.Log, opt.Gate = log, NewGate(4)
	g, err := NewGroup(cfg, opt, work)
	require.NoError(t, err)
	g.RetryMin, g.StopMin = 10*time.Millisecond, 20*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	m := &member{Group: g, cancel: cancel, done: make(chan error, 1)}
	go func() { m.done <- g.Run(ctx) }()
	t.Cleanup(m.stop)
	return m
}

func (m *member) stop() {
	m.cancel()
	if m.done != nil {
		<-m.done
		m.done = nil
	}
}

// ledger is a sink that remembers cuts the way the database does.
type ledger struct {
	mu    sync.Mutex
	last  map[int32]Resume
	rows  map[string]int
	delay time.Duration
}

func newLedger() *ledger { return &ledger{last: map[int32]Resume{}, rows: map[string]int{}} }

func (l *ledger) resume(p int32) Resume {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last[p]
}

func (l *ledger) Write(ctx context.Context, c flow.Cut) error {
	select {
	case <-time.After(l.delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.last[c.Span.Partition]; r.Known && r.Last >= c.Span.First {
		return flow.ErrFenced
	}
	for _, p := range c.Parts {
		n := int(p.Rows.NumCols())
		for i := range int(p.Rows.NumRows()) {
			l.rows[fmt.Sprintf("%d/%s", c.Span.Partition, p.Rows.Column(n-2).ValueStr(i))]++
		}
	}
	l.last[c.Span.Partition] = Resume{Known: true, Last: c.Span.Last, LastSum: c.LastSum}
	return nil
}

func (l *ledger) seen() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.rows)
}

func (l *ledger) work(ctx context.Context, a *Assignment) error {
	p, err := a.Open(ctx, l.resume(a.Partition))
	if err != nil {
		return err
	}
	defer p.Close()
	return flow.Run(ctx, p, []flow.Step{storeAll{}}, l, flow.Options{Log: slog.New(slog.DiscardHandler)})
}

// storeAll stands for the transform room: every accepted record is new.
type storeAll struct{}

func (storeAll) Apply(_ context.Context, c flow.Cut) (flow.Cut, error) {
	c.Parts = slices.Clone(c.Parts) // the input's are released and set to nil
	for _, p := range c.Parts {
		p.Rows.Retain()
	}
	for _, n := range c.Tally {
		n.By[flow.New] = n.Received - n.By[flow.Rejected]
	}
	return c, nil
}

func groupConfig(b Broker, prefix string) Config {
	return Config{Broker: b, Group: prefix, Prefix: prefix, Units: []string{unit}, Watch: 100 * time.Millisecond, Session: 6 * time.Second, Rebalance: 6 * time.Second}
}

func sendKeyed(t *testing.T, b Broker, topic string, n int) {
	t.Helper()
	p, err := NewProducer(b)
	require.NoError(t, err)
	msgs := make([]Outgoing, n)
	for i := range msgs {
		msgs[i] = Outgoing{Topic: topic, Key: Key(unit, fmt.Sprint("r", i)), Value: workerJSON(i), Headers: hs("feed", "worker")}
	}
	require.NoError(t, p.Send(t.Context(), msgs...))
	require.NoError(t, p.Close())
}

func TestGroupTopicAppears(t *testing.T) {
	leaks(t)
	_, b := fake(t)
	cfg := groupConfig(b, "appears")
	var log syncBuffer
	l := newLedger()
	m := startMember(t, cfg, l.work, slog.New(slog.NewTextHandler(&log, nil)))
	topic := Topic(cfg.Prefix, unit)
	require.Eventually(t, func() bool { return len(m.Missing()) == 1 }, 10*time.Second, 10*time.Millisecond)
	require.Contains(t, log.String(), "--create --topic "+topic)
	require.NoError(t, CreateTopics(t.Context(), b, 2, nil, topic))
	sendKeyed(t, b, topic, 100)
	require.Eventually(t, func() bool { return l.seen() == 100 && m.Owned() == 2 }, 20*time.Second, 20*time.Millisecond)
	require.Empty(t, m.Missing())
	// Partitions are added: they are picked up without a restart.
	client := &kafka.Client{Addr: kafka.TCP(b.Brokers...), Transport: &kafka.Transport{}}
	defer client.Transport.(*kafka.Transport).CloseIdleConnections()
	_, err := client.CreatePartitions(t.Context(), &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: 5}}})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return m.Owned() == 5 }, 20*time.Second, 20*time.Millisecond)
	begun := time.Now()
	m.stop()
	require.Less(t, time.Since(begun), time.Second, "shutdown")
}

// Two members share a topic while the first is in the middle of a write: every
// record is written, none twice by the ledger's order.
func TestGroupRebalance(t *testing.T) {
	leaks(t)
	_, b := fake(t)
	cfg := groupConfig(b, "rebalance")
	topic := Topic(cfg.Prefix, unit)
	require.NoError(t, CreateTopics(t.Context(), b, 4, nil, topic))
	sendKeyed(t, b, topic, 1000)
	l := newLedger()
	l.delay = 30 * time.Millisecond
	first := startMember(t, cfg, l.work, nil)
	require.Eventually(t, func() bool { return l.seen() > 0 }, 20*time.Second, time.Millisecond)
	second := startMember(t, cfg, l.work, nil)
	require.Eventually(t, func() bool { return first.Owned() == 2 && second.Owned() == 2 }, 20*time.Second, 10*time.Millisecond)
	sendKeyed(t, b, topic, 500)
	require.Eventually(t, func() bool { return l.seen() == 1500 }, 30*time.Second, 20*time.Millisecond)
	for at, n := range l.rows {
		require.Equal(t, 1, n, at)
	}
	// What was committed is what the ledger says.
	client := &kafka.Client{Addr: kafka.TCP(b.Brokers...), Transport: &kafka.Transport{}}
	defer client.Transport.(*kafka.Transport).CloseIdleConnections()
	require.Eventually(t, func() bool {
		res, err := client.OffsetFetch(t.Context(), &kafka.OffsetFetchRequest{GroupID: cfg.Group, Topics: map[string][]int{topic: {0, 1, 2, 3}}})
		if err != nil || res.Error != nil {
			return false
		}
		for _, p := range res.Topics[topic] {
			if p.CommittedOffset != l.resume(int32(p.Partition)).Last+1 {
				return false
			}
		}
		return true
	}, 10*time.Second, 50*time.Millisecond)
}

func TestGroupPermanentAndRetry(t *testing.T) {
	leaks(t)
	_, b := fake(t)
	cfg := groupConfig(b, "stops")
	topic := Topic(cfg.Prefix, unit)
	require.NoError(t, CreateTopics(t.Context(), b, 3, nil, topic))
	sendKeyed(t, b, topic, 90)
	l := newLedger()
	var tries atomic.Int64
	var mended atomic.Bool
	m := startMember(t, cfg, func(ctx context.Context, a *Assignment) error {
		switch {
		case a.Partition == 0 && !mended.Load():
			return flow.PermanentFor(flow.CauseSchema, fmt.Errorf("out of order"))
		case a.Partition == 1 && tries.Add(1) < 4:
			return fmt.Errorf("not yet")
		}
		return l.work(ctx, a)
	}, nil)
	require.Eventually(t, func() bool {
		return len(m.Stopped()) == 1 && l.resume(1).Known && l.resume(2).Known
	}, 20*time.Second, 10*time.Millisecond, "the others go on")
	require.EqualValues(t, 4, tries.Load())
	require.Equal(t, int32(0), m.Stopped()[0].Partition)
	require.ErrorContains(t, m.Stopped()[0].Reason, "out of order")
	require.Equal(t, flow.CauseSchema, flow.CauseOf(m.Stopped()[0].Reason))
	mended.Store(true)
	require.Eventually(t, func() bool { return len(m.Stopped()) == 0 && l.seen() == 90 }, 20*time.Second, 10*time.Millisecond, "it goes on by itself")
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestPartitionOf(t *testing.T) {
	// As Java's Utils.murmur2 has it.
	f := func(key string, want int) {
		t.Helper()
		require.Equal(t, want, PartitionOf([]byte(key), 1000))
	}
	f("21", toPositive(-973932308)%1000)
	f("foobar", toPositive(-790332482)%1000)
	f("a-little-bit-long-string", toPositive(-985981536)%1000)
}

func TestPartitionOfMatchesBalancer(t *testing.T) {
	for i := range 1000 {
		key := fmt.Appendf(nil, "%0*d", i%23, i)
		require.Equal(t, kafka.Murmur2Balancer{}.Balance(kafka.Message{Key: key}, 0, 1, 2, 3, 4, 5, 6), PartitionOf(key, 7))
	}
}

func toPositive(n int32) int { return int(uint32(n) & 0x7fffffff) }

func BenchmarkPartition(b *testing.B) {
	_, br := fake(b)
	topic := newTopic(b, br, 1)
	const n = 100000
	p, err := NewProducer(br)
	require.NoError(b, err)
	for i := 0; i < n; i += 5000 {
		msgs := make([]Outgoing, 5000)
		for k := range msgs {
			msgs[k] = Outgoing{Topic: topic, Key: []byte("k"), Value: workerJSON(i + k), Headers: hs("feed", "worker", "content-type", TypeJSON)}
		}
		require.NoError(b, p.Send(b.Context(), msgs...))
	}
	require.NoError(b, p.Close())
	opt := Options{Catalogue: catalogue(b), Mem: memory.NewGoAllocator()}
	b.ReportAllocs()
	defer cpu(b, n)()
	for b.Loop() {
		src, err := OpenPartition(b.Context(), &br, topic, unit, 0, Resume{}, nil, opt)
		require.NoError(b, err)
		for got := int64(0); got < n; {
			cut, err := src.Next(b.Context())
			require.NoError(b, err)
			got = cut.Span.Last + 1
			cut.Release()
		}
		src.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
}
