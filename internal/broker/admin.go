package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What follows meddles with topics as an operator's slip would; kafka-go lacks
// some of it, and tests of all rooms need it.

func ask(ctx context.Context, addr, what string, req kmsg.Request, code func(kmsg.Response) int16) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	defer c.Close()
	res, err := c.Request(ctx, req)
	if err == nil {
		err = kerr.ErrorForCode(code(res))
	}
	if err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	return nil
}

// DeleteRecords makes the log of a partition begin at an offset.
func DeleteRecords(ctx context.Context, addr, topic string, partition int32, before int64) error {
	req := kmsg.NewPtrDeleteRecordsRequest()
	t, p := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = partition, before
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	req.Topics, req.TimeoutMillis = append(req.Topics, t), 10000
	return ask(ctx, addr, "delete records of "+topic, req, func(r kmsg.Response) int16 {
		return r.(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0].ErrorCode
	})
}

// AddPartitions gives a topic so many partitions.
func AddPartitions(ctx context.Context, addr, topic string, count int32) error {
	req := kmsg.NewPtrCreatePartitionsRequest()
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = topic, count
	req.Topics, req.TimeoutMillis = append(req.Topics, t), 10000
	return ask(ctx, addr, "add partitions to "+topic, req, func(r kmsg.Response) int16 {
		return r.(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode
	})
}

// DeleteTopic deletes a topic with all that is in it.
func DeleteTopic(ctx context.Context, addr, topic string) error {
	req := kmsg.NewPtrDeleteTopicsRequest()
	t := kmsg.NewDeleteTopicsRequestTopic()
	t.Topic = kmsg.StringPtr(topic)
	req.Topics, req.TopicNames, req.TimeoutMillis = append(req.Topics, t), append(req.TopicNames, topic), 10000
	return ask(ctx, addr, "delete topic "+topic, req, func(r kmsg.Response) int16 {
		return r.(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode
	})
}
