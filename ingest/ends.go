package ingest

import (
	"context"
	"fmt"

	"github.com/segmentio/kafka-go"
)

// Ends returns the end of each partition of the topics: the offset that the next
// message will get. Topics that do not exist are left out.
func Ends(ctx context.Context, b Broker, topics ...string) (map[string][]int64, error) {
	t, err := b.transport()
	if err != nil {
		return nil, err
	}
	defer t.CloseIdleConnections()
	partitions, err := b.partitions(ctx, topics)
	if err != nil {
		return nil, fmt.Errorf("cannot look up topics: %w", err)
	}
	req := &kafka.ListOffsetsRequest{Addr: kafka.TCP(b.Brokers...), Topics: map[string][]kafka.OffsetRequest{}}
	out := make(map[string][]int64, len(partitions))
	for topic, n := range partitions {
		out[topic] = make([]int64, n)
		for p := range n {
			req.Topics[topic] = append(req.Topics[topic], kafka.LastOffsetOf(p))
		}
	}
	if len(req.Topics) == 0 {
		return out, nil
	}
	res, err := (&kafka.Client{Addr: req.Addr, Transport: t, Timeout: timeout}).ListOffsets(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("cannot list offsets: %w", err)
	}
	for topic, offsets := range res.Topics {
		for _, o := range offsets {
			if o.Error != nil {
				return nil, fmt.Errorf("cannot list offsets of %s/%d: %w", topic, o.Partition, o.Error)
			}
			out[topic][o.Partition] = o.LastOffset
		}
	}
	return out, nil
}
