package ingest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// Outgoing is one message to send.
type Outgoing struct {
	Topic      string
	Key, Value []byte
	Headers    []Header
}

// Key is the message key that routes a record: every version of it must reach
// one partition, where the worker that owns the partition knows its versions.
func Key(unit, recordID string) []byte { return []byte(unit + recordID) }

// PartitionOf is the partition of a key, the same as Java's default partitioner
// (murmur2) and kafka-go's Murmur2Balancer choose. It is written out here
// because the balancer wants the list of partitions for each key.
func PartitionOf(key []byte, partitions int) int {
	const m, r = 0x5bd1e995, 24
	h := uint32(0x9747b28c) ^ uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		k := binary.LittleEndian.Uint32(key) * m
		k ^= k >> r
		h = h*m ^ k*m
	}
	switch len(key) {
	case 3:
		h ^= uint32(key[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(key[0])) * m
	}
	h = (h ^ h>>13) * m
	h ^= h >> 15
	return int(h&0x7fffffff) % partitions
}

// Producer sends messages and waits until every in-sync replica has them.
type Producer struct {
	w *kafka.Writer
	t *kafka.Transport
}

// NewProducer returns a producer that dials with the first Send.
func NewProducer(b Broker) (*Producer, error) {
	if err := b.Validate(); err != nil {
		return nil, fmt.Errorf("cannot use Kafka configuration: %w", err)
	}
	t, err := b.transport()
	if err != nil {
		return nil, err
	}
	return &Producer{t: t, w: &kafka.Writer{
		Addr:      kafka.TCP(b.Brokers...),
		Balancer:  kafka.Murmur2Balancer{},
		Transport: t,
		// The zero value would be "none", which loses messages without an error.
		RequiredAcks: kafka.RequireAll,
		Compression:  kafka.Zstd,
		BatchSize:    5000,
		// More than a worker decodes: that a message is too large is for the
		// broker or the quarantine to say, not for this client.
		BatchBytes: 2 * DefaultMaxMessageBytes,
		// Each Send waits for this long before an unfilled batch leaves.
		BatchTimeout: 5 * time.Millisecond,
		MaxAttempts:  10,
	}}, nil
}

// Send returns when all messages are acknowledged. After an error some may have
// been: sending them again is harmless, since a record written twice is written
// once.
func (p *Producer) Send(ctx context.Context, msgs ...Outgoing) error {
	out := make([]kafka.Message, len(msgs))
	for i := range msgs {
		out[i] = kafka.Message{Topic: msgs[i].Topic, Key: msgs[i].Key, Value: msgs[i].Value}
		for _, h := range msgs[i].Headers {
			out[i].Headers = append(out[i].Headers, kafka.Header{Key: string(h.Key), Value: h.Value})
		}
	}
	if err := p.w.WriteMessages(ctx, out...); err != nil {
		return fmt.Errorf("cannot send %d messages: %w", len(msgs), err)
	}
	return nil
}

// Close waits for what is on its way.
func (p *Producer) Close() error {
	err := p.w.Close()
	p.t.CloseIdleConnections()
	return err
}

// CreateTopics makes the topics that do not exist, with the broker's default
// replication.
func CreateTopics(ctx context.Context, b Broker, partitions int, config map[string]string, topics ...string) error {
	t, err := b.transport()
	if err != nil {
		return err
	}
	defer t.CloseIdleConnections()
	// Transport hides why it cannot connect.
	if err := b.Probe(ctx); err != nil {
		return fmt.Errorf("cannot create topics: %w", err)
	}
	req := &kafka.CreateTopicsRequest{Addr: kafka.TCP(b.Brokers...)}
	for _, name := range topics {
		tc := kafka.TopicConfig{Topic: name, NumPartitions: partitions, ReplicationFactor: -1}
		for k, v := range config {
			tc.ConfigEntries = append(tc.ConfigEntries, kafka.ConfigEntry{ConfigName: k, ConfigValue: v})
		}
		req.Topics = append(req.Topics, tc)
	}
	res, err := (&kafka.Client{Addr: req.Addr, Transport: t, Timeout: 3 * timeout}).CreateTopics(ctx, req)
	if err != nil {
		return fmt.Errorf("cannot create topics: %w", err)
	}
	for name, err := range res.Errors {
		if err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
			return fmt.Errorf("cannot create topic %s: %w", name, err)
		}
	}
	return nil
}
