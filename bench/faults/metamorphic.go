package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/duiwu/duiwu/ingest"
)

// variant is the same records sent or read in another way. The current tables
// must be the same, and the history but for arrivals, positions and, where the
// order within a key is another, the names of outcomes.
type variant struct {
	name       string
	flags      []string
	partitions int // of the topic
	// messages changes what is sent; nil sends the load as it is.
	messages func(m []message, dice *rand.Rand) []message
	// route chooses the partition of a message; nil is the project's own way.
	route func(m message, n, partitions int) int
	// keeps: the order within each key is that of the load.
	keeps bool
}

const variant0 = "variant"

var variants = []variant{
	{name: "cuts of three records", flags: []string{"--cut-rows", "3"}, keeps: true},
	{name: "cuts of seven records and no pause", flags: []string{"--cut-rows", "7", "--linger", "1ms"}, keeps: true},
	{name: "one cut", flags: []string{"--cut-rows", "100000", "--linger", "2s"}, keeps: true},
	{name: "one partition", partitions: 1, keeps: true},
	{name: "seven partitions", partitions: 7, keeps: true},
	{name: "one slot of memory", flags: []string{"--slots", "1"}, partitions: 5, keeps: true},
	{name: "records in another order", messages: func(m []message, dice *rand.Rand) []message {
		dice.Shuffle(len(m), func(i, j int) { m[i], m[j] = m[j], m[i] })
		return m
	}},
	{name: "records backwards", messages: func(m []message, _ *rand.Rand) []message {
		for i := range len(m) / 2 {
			m[i], m[len(m)-1-i] = m[len(m)-1-i], m[i]
		}
		return m
	}},
	{name: "every record three times, shuffled", messages: func(m []message, dice *rand.Rand) []message {
		m = append(append(append([]message(nil), m...), m...), m...)
		dice.Shuffle(len(m), func(i, j int) { m[i], m[j] = m[j], m[i] })
		return m
	}},
	{name: "a producer that deals messages round", route: func(_ message, n, partitions int) int { return n % partitions }},
}

// metamorphic runs one variant.
func (b *bench) metamorphic(ctx context.Context, v variant, seed uint64) (problems []string, err error) {
	n := v.partitions
	if n == 0 {
		n = partitions
	}
	c, err := b.cellOf(ctx, n, v.flags...)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	messages := append([]message(nil), b.load.messages...)
	if v.messages != nil {
		messages = v.messages(messages, rand.New(rand.NewPCG(seed, 5)))
	}
	if err := errors.Join(c.migrate(ctx), c.route(ctx, messages, n, v.route)); err != nil {
		return nil, err
	}
	if _, err := c.work(); err != nil {
		return nil, err
	}
	if err := c.wait(ctx, bound); err != nil {
		return nil, err
	}
	if problems, err = b.holds(ctx, c); err != nil {
		return nil, err
	}
	if v.keeps {
		counted, err := c.outcomes(ctx, b.load.want)
		if err != nil {
			return nil, err
		}
		problems = append(problems, counted...)
	}
	return problems, nil
}

// route sends messages to the partitions that choose names.
func (c *cell) route(ctx context.Context, messages []message, n int, choose func(m message, i, n int) int) error {
	if choose == nil {
		return c.send(ctx, messages)
	}
	// A key that the project's own way sends there.
	keyOf := make([][]byte, n)
	for found, i := 0, 0; found < n; i++ {
		k := fmt.Appendf(nil, "k%d", i)
		if p := ingest.PartitionOf(k, n); keyOf[p] == nil {
			keyOf[p] = k
			found++
		}
	}
	out := outgoing(c.topic, messages)
	for i := range out {
		out[i].Key = keyOf[choose(messages[i], i, n)]
	}
	p, err := ingest.NewProducer(c.kafka())
	if err != nil {
		return err
	}
	defer p.Close()
	return p.Send(ctx, out...)
}
