package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"

	"github.com/duiwu/duiwu/internal/flow"
)

// Partitions says how many partitions a topic has.
func Partitions(ctx context.Context, b Broker, topic string) (int, error) {
	n, err := b.partitions(ctx, []string{topic})
	switch {
	case errors.Is(err, kafka.TopicAuthorizationFailed), err == nil && n[topic] == 0:
		// A broker does not tell a stranger whether a topic is there.
		return 0, fmt.Errorf("topic %s %w", topic, errStranger)
	case err != nil:
		return 0, fmt.Errorf("cannot look up topic %s: %w", topic, err)
	}
	return n[topic], nil
}

// errStranger says that a topic is not there for this user.
var errStranger = errors.New("does not exist or is not this user's: check the unit, or ask whoever runs Kafka")

// Temporary says whether an error may pass by itself: the broker is away, or a
// leader moves. A refused login or topic, or a message that is too large, is not.
func Temporary(err error) bool {
	var several kafka.WriteErrors
	if errors.As(err, &several) {
		for _, e := range several {
			if e != nil && !Temporary(e) {
				return false
			}
		}
		return true
	}
	var large kafka.MessageTooLargeError
	if errors.As(err, &large) {
		return false
	}
	var code kafka.Error
	if errors.As(err, &code) {
		return code.Temporary()
	}
	return !errors.Is(err, ErrLogin) && !errors.Is(err, errStranger) && !flow.IsPermanent(err)
}

// Reader reads one partition outside of any group, such as that of a receipt
// topic. It belongs to one goroutine.
type Reader struct {
	broker    Broker
	topic     string
	partition int32
	since     time.Time
	pos       int64 // -1 until the first connection
	f         *fetcher
}

// NewReader returns a reader that begins with the first message that was written
// at or after since; zero is the beginning. It dials with the first Poll.
func NewReader(b Broker, topic string, partition int32, since time.Time) *Reader {
	return &Reader{broker: b, topic: topic, partition: partition, since: since, pos: -1}
}

// Poll calls fn for every message up to the end of the log, and waits at most
// wait for the first. The message is valid during the call. After an error Poll
// may be called again: it goes on where it was, over a new connection.
func (r *Reader) Poll(ctx context.Context, wait time.Duration, fn func(*Message) error) error {
	if r.f == nil {
		if err := r.connect(ctx); err != nil {
			r.Close()
			return fmt.Errorf("cannot read %s: %w", r.topic, err)
		}
	}
	var m Message
	for {
		if !r.f.more() {
			if err := r.f.fetch(ctx, wait); err != nil {
				r.Close()
				return fmt.Errorf("cannot read %s: %w", r.topic, err)
			}
			if !r.f.more() {
				return nil
			}
		}
		ok, err := r.f.next(&m)
		if err != nil && !errors.Is(err, errBatch) {
			r.Close()
			return fmt.Errorf("cannot read %s: %w", r.topic, err)
		}
		r.pos = r.f.pos
		if ok {
			if err := fn(&m); err != nil {
				return err
			}
		}
		if !r.f.more() && r.f.pos >= r.f.high {
			return nil
		}
	}
}

// Last returns the last message of the partition; false when there is none.
func (r *Reader) Last(ctx context.Context, fn func(*Message) error) (bool, error) {
	if r.f == nil {
		if err := r.connect(ctx); err != nil {
			r.Close()
			return false, fmt.Errorf("cannot read %s: %w", r.topic, err)
		}
	}
	start, end, err := r.f.bounds(ctx)
	if err != nil {
		r.Close()
		return false, err
	}
	// The last offsets may be markers or compacted away: go back further until
	// there is something.
	for back := int64(1); end > start; back *= 8 {
		from := max(start, end-back)
		r.f.seek(from)
		found := false
		var last Message
		err := r.Poll(ctx, 200*time.Millisecond, func(m *Message) error {
			found = true
			last = Message{Offset: m.Offset, Key: append([]byte(nil), m.Key...), Value: append([]byte(nil), m.Value...)}
			for _, h := range m.Headers {
				last.Headers = append(last.Headers, Header{append([]byte(nil), h.Key...), append([]byte(nil), h.Value...)})
			}
			return nil
		})
		if err != nil {
			return false, err
		}
		if found {
			return true, fn(&last)
		}
		if from == start {
			break
		}
	}
	return false, nil
}

// Close gives the connection back.
func (r *Reader) Close() {
	if r.f != nil {
		r.f.close()
		r.f = nil
	}
}

func (r *Reader) connect(ctx context.Context) error {
	f, err := dialLeader(ctx, &r.broker, r.topic, r.partition, 1<<20)
	if err != nil {
		return err
	}
	r.f = f
	start, end, err := f.bounds(ctx)
	if err != nil {
		return err
	}
	if r.pos < 0 {
		r.pos = start
		if !r.since.IsZero() {
			if r.pos, err = f.at(ctx, r.since); err != nil {
				return err
			}
			if r.pos < 0 {
				r.pos = end
			}
		}
	}
	if r.pos > end {
		r.pos = start // the topic was made anew
	}
	f.seek(max(r.pos, start))
	return nil
}

// at is the offset of the first message written at or after a moment, -1 when
// there is none.
func (f *fetcher) at(ctx context.Context, when time.Time) (int64, error) {
	stop := context.AfterFunc(ctx, func() { _ = f.conn.Close() })
	defer stop()
	if err := f.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return 0, err
	}
	res, err := f.conn.RoundTrip(&listoffsets.Request{
		ReplicaID: -1,
		Topics: []listoffsets.RequestTopic{{Topic: f.topic, Partitions: []listoffsets.RequestPartition{{
			Partition: f.partition, CurrentLeaderEpoch: -1, Timestamp: when.UnixMilli(),
		}}}},
	})
	if err != nil {
		return 0, err
	}
	for _, t := range res.(*listoffsets.Response).Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return 0, kafka.Error(p.ErrorCode)
			}
			return p.Offset, nil
		}
	}
	return 0, kafka.UnknownTopicOrPartition
}
