package ingest

import (
	"context"
	"fmt"
	"strconv"

	"github.com/segmentio/kafka-go"
)

// TopicState is what the brokers say of one topic.
type TopicState struct {
	// Partitions is 0 when there is no such topic.
	Partitions int
	// Replicas is the smallest number of replicas of a partition, Brokers how many
	// brokers there are.
	Replicas, Brokers int
	config            map[string]string
}

// Number is a setting of the topic; false when the broker does not tell it.
func (t *TopicState) Number(name string) (int64, bool) {
	n, err := strconv.ParseInt(t.config[name], 10, 64)
	return n, err == nil
}

// Text is a setting of the topic, empty when the broker does not tell it.
func (t *TopicState) Text(name string) string { return t.config[name] }

// Inspect asks the brokers for topics and their settings.
func Inspect(ctx context.Context, b Broker, topics ...string) (map[string]TopicState, error) {
	out := make(map[string]TopicState, len(topics))
	md, err := b.metadata(ctx, topics)
	if err != nil {
		return nil, fmt.Errorf("cannot look up topics: %w", err)
	}
	req := &kafka.DescribeConfigsRequest{Addr: kafka.TCP(b.Brokers...)}
	for i := range md.Topics {
		t := &md.Topics[i]
		switch kafka.Error(t.ErrorCode) {
		case 0:
		case kafka.UnknownTopicOrPartition:
			continue
		default:
			return nil, fmt.Errorf("cannot look up topic %s: %w", t.Name, kafka.Error(t.ErrorCode))
		}
		s := TopicState{Partitions: len(t.Partitions), Brokers: len(md.Brokers), config: map[string]string{}}
		for j, p := range t.Partitions {
			if n := len(p.ReplicaNodes); j == 0 || n < s.Replicas {
				s.Replicas = n
			}
		}
		out[t.Name] = s
		req.Resources = append(req.Resources, kafka.DescribeConfigRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: t.Name})
	}
	if len(req.Resources) == 0 {
		return out, nil
	}
	t, err := b.transport()
	if err != nil {
		return nil, err
	}
	defer t.CloseIdleConnections()
	res, err := (&kafka.Client{Addr: req.Addr, Transport: t, Timeout: timeout}).DescribeConfigs(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("cannot read the settings of the topics: %w", err)
	}
	for _, r := range res.Resources {
		if r.Error != nil {
			return nil, fmt.Errorf("cannot read the settings of topic %s (DescribeConfigs is needed on it): %w", r.ResourceName, r.Error)
		}
		for _, e := range r.ConfigEntries {
			out[r.ResourceName].config[e.ConfigName] = e.ConfigValue
		}
	}
	return out, nil
}
