package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/flow"
)

// probePause is between two looks for the receipt.
const probePause = 500 * time.Millisecond

// runProbe sends one record down the whole path and reads back what became of
// it. The record lacks all that a record needs, so every worker refuses it: it
// proves the topic, the workers and the database, and enters no figure of people.
// Then the dashboards' own statement has to count it among the records received.
func runProbe(ctx context.Context, env *environment, args []string) error {
	var d database
	var broker brokerConfig
	fs := env.flags("probe", "[flags]")
	d.flags(fs)
	broker.flags(fs)
	prefix := fs.String("prefix", ingest.DefaultPrefix, "topics are <prefix>.<unit>")
	unit := fs.String("unit", "000000", "unit whose topic is used; its balance shows one refused record more")
	feedName := fs.String("feed", "worker", "feed that the record says it is of")
	timeout := fs.Duration("timeout", 2*time.Minute, "how long to wait for the receipt")
	if _, err := env.parse(fs, args, 0, 0); err != nil {
		return err
	}
	if broker.brokers == "" {
		return errors.New("no broker: give --kafka or DUIWU_KAFKA")
	}
	b, err := broker.open(env.warn)
	if err != nil {
		return err
	}
	s, err := d.open(ctx, env, hostname())
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	press, err := pressOf(&d)
	if err != nil {
		return err
	}
	defer press.Close()
	before, err := press.Received(ctx, *unit, *feedName)
	if err != nil {
		return err
	}
	begun := time.Now()
	batch := "probe-" + begun.UTC().Format("20060102-150405.000000")
	if err := sendProbe(ctx, b, ingest.Topic(*prefix, *unit), *unit, *feedName, batch); err != nil {
		return err
	}
	for {
		r, err := s.Receipt(ctx, *unit, *feedName, batch)
		switch {
		case err == nil && r.Status == flow.Complete:
			if r.Received != 1 || r.By[flow.Rejected] != 1 {
				return fmt.Errorf("the receipt of batch %s does not add up: %d received, %d refused; want 1 and 1", batch, r.Received, r.By[flow.Rejected])
			}
			took := time.Since(begun).Round(time.Millisecond)
			after, err := press.Received(ctx, *unit, *feedName)
			if err != nil {
				return err
			}
			if after <= before {
				return fmt.Errorf("batch %s has its receipt, and the dashboards count %.0f records received of %s from unit %s, as before it: look at receipt_parts_effective with `duiwu doctor`", batch, after, *feedName, *unit)
			}
			fmt.Fprintf(env.stdout, "ok: batch %s of unit %s went through Kafka, a worker and the database in %s; refused, as it should be; the dashboards count %.0f records received, %.0f before\n", batch, *unit, took, after, before)
			return nil
		case err != nil && ctx.Err() == nil && !errors.Is(err, flow.ErrNoReceipt):
			return fmt.Errorf("cannot read the receipt of batch %s: %w", batch, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("batch %s is with Kafka and no worker has accounted for it within %s: look at the workers' /readyz", batch, *timeout)
		case <-time.After(probePause):
		}
	}
}

func sendProbe(ctx context.Context, b ingest.Broker, topic, unit, feedName, batch string) error {
	value, err := json.Marshal(map[string]string{"record_id": batch})
	if err != nil {
		return fmt.Errorf("cannot write the record: %w", err)
	}
	p, err := ingest.NewProducer(b)
	if err != nil {
		return err
	}
	head := func(k, v string) ingest.Header { return ingest.Header{Key: []byte(k), Value: []byte(v)} }
	err = p.Send(ctx, ingest.Outgoing{Topic: topic, Key: ingest.Key(unit, batch), Value: value, Headers: []ingest.Header{
		head(ingest.HeaderFeed, feedName), head(ingest.HeaderContentType, ingest.TypeJSON),
		head(ingest.HeaderBatchID, batch), head(ingest.HeaderBatchRows, "1"),
	}})
	return errors.Join(err, p.Close())
}
