package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/sink"
	"github.com/duiwu/duiwu/transform"
)

// rotation is what `duiwu keys rotate` is told.
type rotation struct {
	database
	broker     brokerConfig
	judge      judgeConfig
	prefix, by string
}

// runRotate re-keys every token in the tables. It may be killed and run again.
func runRotate(ctx context.Context, env *environment, args []string) error {
	var c rotation
	fs := env.flags("keys rotate", "[flags]")
	c.database.flags(fs)
	c.broker.flags(fs)
	c.judge.flags(fs)
	fs.StringVar(&c.prefix, "prefix", ingest.DefaultPrefix, "topics are <prefix>.<unit>")
	fs.StringVar(&c.by, "by", "", "your name, kept in schema_migrations")
	if _, err := env.parse(fs, args, 0, 0); err != nil {
		return err
	}
	if c.by == "" || c.judge.tokenKeys == "" {
		return errors.New("give --by NAME, and as --token-keys the workers' file with one line more (duiwu keys new token)")
	}
	keys, err := readTokenKeys(c.judge.tokenAlgorithm, c.judge.tokenKeys)
	if err != nil {
		return err
	}
	before := transform.TokenKeys{Algorithm: keys.Algorithm, Keys: keys.Keys[:len(keys.Keys)-1]}
	if len(before.Keys) == 0 {
		return fmt.Errorf("--token-keys %s holds one key: a rotation needs the workers' file with one line more (duiwu keys new token)", c.judge.tokenKeys)
	}
	newest, err := transform.NewTokenizer(keys)
	if err != nil {
		return err
	}
	old, err := transform.NewTokenizer(before)
	if err != nil {
		return err
	}
	c.database.keys = newest.Name()
	s, err := c.open(ctx, env, c.by)
	if err != nil {
		return err
	}
	defer s.Close()
	rotated, err := s.Rotated(ctx)
	if err != nil {
		return err
	}
	if !rotated {
		// These tables do not know their keys yet. With another chain than theirs
		// every token would be lost.
		if err := c.compare(ctx, env, s, before); err != nil {
			return err
		}
	}
	done, err := s.Rotate(ctx, old.Name(), newest.Next)
	if err != nil {
		return err
	}
	if done.Tables == 0 {
		_, err = fmt.Fprintf(env.stdout, "各表已在密钥链 %s 之下，无需更换。\nThe tables are under the chain %s already; there was nothing left to do.\n", newest.Name(), newest.Name())
		return err
	}
	_, err = fmt.Fprintf(env.stdout, "已更换 %d 张表 %d 行的标识码，现为密钥链 %s。请把新密钥文件交给 worker 再启动；旧备份中仍有旧标识码。\n"+
		"%d tables were re-keyed, %d rows; they are under the chain %s. Give the workers the new key file and start them. Older backups still hold the old tokens.\n",
		done.Tables, done.Rows, newest.Name(), done.Tables, done.Rows, newest.Name())
	return err
}

// compare makes some of the newest rows anew with the chain that the tables are
// said to be under.
func (c *rotation) compare(ctx context.Context, env *environment, s *sink.Sink, keys transform.TokenKeys) error {
	if c.broker.brokers == "" {
		return errors.New("give --kafka: before the first rotation some of the newest records are read again, to be sure that the old lines of the key file are the workers'")
	}
	cat, err := catalogue(c.feeds)
	if err != nil {
		return err
	}
	broker, err := c.broker.open(env.warn)
	if err != nil {
		return err
	}
	seals, err := readSealKeys(c.judge.sealKeys)
	if err != nil {
		return err
	}
	j, err := c.judge.judgeWith(cat, keys)
	if err != nil {
		return err
	}
	defer j.release()
	checked := map[string]bool{}
	for _, unit := range reporting(cat) {
		topic := ingest.Topic(c.prefix, unit)
		partitions, err := s.Partitions(ctx, topic)
		if err != nil {
			return err
		}
		for _, p := range partitions {
			if err := c.compareSome(ctx, s, &broker, j, ingest.Options{Catalogue: cat, Clock: j.clock, Seals: seals}, topic, unit, p, checked); err != nil {
				return err
			}
			for name, compared := range checked {
				if compared && slices.ContainsFunc(cat.Feed(name).Columns(), func(c feed.Column) bool { return c.Store == feed.StoreToken }) {
					return nil
				}
			}
		}
	}
	return errors.New("cannot tell whether the old lines of the key file are the workers': Kafka holds no stored record with a token any more; let a unit push a batch of workers, and run this again")
}

// comparedCuts is how many cuts of a partition are read for a record with a token.
const comparedCuts = 20

func (c *rotation) compareSome(ctx context.Context, s *sink.Sink, broker *ingest.Broker, j *judge, opt ingest.Options, topic, unit string, partition int32, checked map[string]bool) error {
	spans, err := s.Spans(ctx, topic, partition)
	if err != nil || len(spans) == 0 {
		return err
	}
	log, err := ingest.OpenReread(ctx, broker, topic, unit, partition, opt)
	if err != nil {
		return err
	}
	defer log.Close()
	if err := sameLog(ctx, log, spans); err != nil {
		return err
	}
	for i := len(spans) - 1; i >= max(0, len(spans)-comparedCuts); i-- {
		l := spans[i]
		if l.Skipped || l.Last < log.Start {
			continue
		}
		trouble, _, err := compareKeys(ctx, s, j, log, l.Incarnation, span(max(l.First, l.Last-sampled+1, log.Start), l.Last), checked)
		if err != nil {
			return err
		}
		if trouble != nil {
			return fmt.Errorf("cannot rotate: %w; the file needs the lines of the workers' file, and one more", trouble)
		}
	}
	return nil
}

// newToken writes a chain of token keys with one key more than the old one has.
func newToken(env *environment, out, after string) error {
	chain := "# duiwu token keys, oldest first: secret, only the workers read them (--token-keys).\n"
	if after != "" {
		if _, err := readTokenKeys("sha256", after); err != nil {
			return err
		}
		raw, err := os.ReadFile(after)
		if err != nil {
			return fmt.Errorf("cannot read --after: %w", err)
		}
		chain = string(raw)
		if chain[len(chain)-1] != '\n' {
			chain += "\n"
		}
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never fails
	if err := create(out, chain+hex.EncodeToString(key)+"\n", 0o600); err != nil {
		return err
	}
	_, err := fmt.Fprintf(env.stdout, "标识码密钥已写入 %s；若接在旧密钥之后，请先用 duiwu keys rotate 更换各表，再交给 worker。\nThe token keys are in %s; if they follow older ones, run duiwu keys rotate before the workers get them.\n", out, out)
	return err
}
