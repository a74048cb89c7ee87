package broker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/broker"
	"github.com/duiwu/duiwu/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const topic = "feed"

func client(b *broker.Broker) *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(b.Addr()), Timeout: 20 * time.Second, Transport: &kafka.Transport{}}
}

func create(t *testing.T, b *broker.Broker) {
	t.Helper()
	res, err := client(b).CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{
		{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}}})
	require.NoError(t, err)
	require.NoError(t, res.Errors[topic])
}

// patiently retries what Kafka refuses while its group coordinator comes up.
func patiently(t *testing.T, try func() error) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		var k kafka.Error
		if !errors.As(err, &k) || !k.Temporary() || time.Now().After(end) {
			require.NoError(t, err)
		}
	}
}

// produce writes records from..to-1, each acknowledged before it returns, and
// commits the offset it has reached for a group.
func produce(t *testing.T, b *broker.Broker, from, to int) {
	t.Helper()
	w := &kafka.Writer{Addr: kafka.TCP(b.Addr()), Topic: topic, RequiredAcks: kafka.RequireAll,
		BatchTimeout: time.Millisecond, Transport: &kafka.Transport{}}
	defer w.Close()
	for i := from; i < to; i++ {
		// A record of old time must stay, whatever the retention.
		require.NoError(t, w.WriteMessages(t.Context(), kafka.Message{Value: fmt.Append(nil, i), Time: time.Unix(1e9, 0)}))
	}
	patiently(t, func() error {
		res, err := client(b).OffsetCommit(t.Context(), &kafka.OffsetCommitRequest{GroupID: "g", GenerationID: -1,
			Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: int64(to)}}}})
		if err != nil {
			return err
		}
		return res.Topics[topic][0].Error
	})
}

// holds reads everything back, and the committed offset.
func holds(t *testing.T, b *broker.Broker, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{b.Addr()}, Topic: topic, MaxWait: 200 * time.Millisecond})
	defer r.Close()
	for i := range n {
		m, err := r.ReadMessage(ctx)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i), string(m.Value))
	}
	patiently(t, func() error {
		res, err := client(b).OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: "g", Topics: map[string][]int{topic: {0}}})
		if err == nil {
			err = res.Error
		}
		if err == nil {
			require.EqualValues(t, n, res.Topics[topic][0].CommittedOffset)
		}
		return err
	})
}

func survives(t *testing.T, b *broker.Broker) {
	t.Helper()
	create(t, b)
	addr := b.Addr()
	for round := range 3 { // also a kill after a kill, and one after an orderly stop
		produce(t, b, round*50, round*50+50)
		if round == 1 {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			require.NoError(t, b.Stop(ctx))
			cancel()
		} else {
			b.Kill()
		}
		begin := time.Now()
		require.NoError(t, b.Restart(t.Context()))
		t.Logf("restarted in %s", time.Since(begin))
		require.Equal(t, addr, b.Addr())
		holds(t, b, round*50+50)
	}
}

func end(t *testing.T, b *broker.Broker) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		b.Stop(ctx)
	})
}

func TestKfakeKill(t *testing.T) {
	for _, sync := range []bool{false, true} {
		t.Run(fmt.Sprintf("sync=%t", sync), func(t *testing.T) {
			begin := time.Now()
			b, err := broker.Start(t.Context(), broker.Options{Dir: t.TempDir(), Sync: sync, Log: os.Stderr})
			require.NoError(t, err)
			t.Logf("started in %s", time.Since(begin))
			end(t, b)
			survives(t, b)
		})
	}
}

func TestKfakeSecondOnTheSameFolderIsRefused(t *testing.T) {
	dir := t.TempDir()
	b, err := broker.Start(t.Context(), broker.Options{Dir: dir})
	require.NoError(t, err)
	end(t, b)
	_, err = broker.Start(t.Context(), broker.Options{Dir: dir})
	require.ErrorContains(t, err, "another broker is running on it")
}

func TestKfakeMakesNoTopicByItself(t *testing.T) {
	b, err := broker.Start(t.Context(), broker.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	end(t, b)
	w := &kafka.Writer{Addr: kafka.TCP(b.Addr()), Topic: "absent", MaxAttempts: 1, RequiredAcks: kafka.RequireAll, Transport: &kafka.Transport{}}
	defer w.Close()
	require.ErrorIs(t, w.WriteMessages(t.Context(), kafka.Message{Value: []byte("x")}), kafka.UnknownTopicOrPartition)
}

func TestApacheKill(t *testing.T) {
	lib := testenv.KafkaLib(t)
	begin := time.Now()
	b, err := broker.StartApache(t.Context(), broker.Options{Dir: t.TempDir(), Lib: lib})
	require.NoError(t, err)
	t.Logf("started in %s", time.Since(begin))
	end(t, b)
	survives(t, b)
}
