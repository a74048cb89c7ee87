package main

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/push"
	"github.com/duiwu/duiwu/internal/peer"
	"github.com/duiwu/duiwu/transform"
)

// workerConfig is what a user says about a worker: the process only, the data
// is described by the feed files.
type workerConfig struct {
	broker     brokerConfig
	clickhouse clickhouseConfig
	group      string
	prefix     string
	feeds      string
	name       string
	listen     string
	logLevel   string

	judgeConfig
	receipts string

	cutRows, cutBytes, slots   int
	linger, session, rebalance time.Duration
	watch, databaseTimeout     time.Duration
}

func parseWorker(env *environment, args []string) (*workerConfig, error) {
	var c workerConfig
	fs := env.flags("worker", "[flags]")
	c.broker.flags(fs)
	c.clickhouse.flags(fs)
	fs.StringVar(&c.group, "group", "duiwu", "consumer group")
	fs.StringVar(&c.prefix, "prefix", ingest.DefaultPrefix, "topics are <prefix>.<unit>")
	fs.StringVar(&c.feeds, "feeds", "", "folder of feed files; empty means those inside the binary")
	fs.StringVar(&c.name, "name", hostname(), "name of this worker in claims and in the ledger")
	fs.StringVar(&c.listen, "listen", "", "address for /metrics, /livez and /readyz, such as :8080; empty for none")
	fs.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")
	c.judgeConfig.flags(fs)
	fs.StringVar(&c.receipts, "receipts", push.ReceiptPrefix, "receipts are published on <prefix>.<unit>; none for no receipts over Kafka")
	fs.IntVar(&c.cutRows, "cut-rows", 0, "records a cut at most (default 131072)")
	fs.IntVar(&c.cutBytes, "cut-bytes", 0, "bytes of a cut at most, as messages or as the columns made of them (default 33554432)")
	fs.DurationVar(&c.linger, "linger", 0, "how long a cut stays open while data comes (default 5s)")
	fs.DurationVar(&c.session, "session", 0, "how long a silent worker keeps its partitions (default 10s)")
	fs.DurationVar(&c.rebalance, "rebalance", 0, "how long the group waits for its members to come back (default 15s)")
	fs.DurationVar(&c.watch, "watch", 0, "how often new topics and partitions are looked for (default 10s)")
	fs.DurationVar(&c.databaseTimeout, "database-timeout", 0, "how long one request to the database may take, which bounds how long a network that answers nothing holds a partition up (default 5m)")
	fs.IntVar(&c.slots, "slots", 0, "partitions that hold a cut at once, which bounds memory (default 6, or CPUs + 1)")
	if _, err := env.parse(fs, args, 0, 0); err != nil {
		return nil, err
	}
	var missing []string
	for _, f := range []struct {
		name string
		said bool
	}{
		{"--kafka", c.broker.brokers != ""}, {"--clickhouse", c.clickhouse.said()}, {"--token-keys", c.tokenKeys != ""}, {"--hash-key", c.hashKey != ""},
	} {
		if !f.said {
			missing = append(missing, f.name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("worker needs %s (or DUIWU_… in the environment); see duiwu worker -h", strings.Join(missing, ", "))
	}
	return &c, nil
}

// brokerConfig is how to reach Kafka.
type brokerConfig struct {
	brokers                    string
	tls                        choice
	files                      peer.TLS
	mechanism, user, passwords string
}

// choice is a flag that knows whether anybody said it.
type choice struct{ said, on bool }

func (c *choice) IsBoolFlag() bool { return true }
func (c *choice) String() string   { return "" }
func (c *choice) Set(text string) (err error) {
	c.said = true
	c.on, err = strconv.ParseBool(text)
	return err
}

func (b *brokerConfig) flags(fs *flag.FlagSet) {
	fs.StringVar(&b.brokers, "kafka", "", "brokers, host:port,host:port")
	fs.Var(&b.tls, "kafka-tls", "use TLS; so it is unless all brokers are on this machine, or --kafka-tls=false says that all may be read on the way")
	fs.StringVar(&b.files.CA, "kafka-ca", "", "PEM file of the authority that signed the brokers' certificates; the system's when empty")
	fs.StringVar(&b.files.Cert, "kafka-cert", "", "PEM file of the client's certificate, for mTLS; read again when it changes")
	fs.StringVar(&b.files.Key, "kafka-key", "", "PEM file of the client's key")
	fs.StringVar(&b.mechanism, "kafka-sasl", "", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
	fs.StringVar(&b.user, "kafka-user", "", "SASL user")
	fs.StringVar(&b.passwords, "kafka-password-file", "", "file with the SASL password, read at every login")
}

// open makes what ingest needs; tell hears once of what is sent in clear.
func (b *brokerConfig) open(tell func(text string, about ...any)) (ingest.Broker, error) {
	out := ingest.Broker{Brokers: strings.Split(b.brokers, ","), ClientID: "duiwu"}
	encrypted := !ingest.Local(out.Brokers) || b.files != (peer.TLS{})
	if b.tls.said {
		encrypted = b.tls.on
	}
	switch {
	case encrypted:
		config, err := b.files.Config()
		if err != nil {
			return out, fmt.Errorf("--kafka-ca, --kafka-cert or --kafka-key: %w", err)
		}
		out.TLS = config
	case b.files != (peer.TLS{}):
		return out, errors.New("--kafka-tls=false stands beside --kafka-ca, --kafka-cert or --kafka-key; remove one of the two")
	}
	if out.Plain() {
		tell("Kafka is reached without TLS: records cross the network in clear; remove --kafka-tls=false and name a port that speaks TLS", "brokers", b.brokers)
	}
	if b.mechanism == "" {
		return out, nil
	}
	if b.passwords == "" {
		return out, errors.New("--kafka-sasl needs --kafka-password-file")
	}
	if out.Plain() && b.mechanism == "PLAIN" {
		return out, errors.New("--kafka-sasl PLAIN without TLS would send the password in clear; use SCRAM-SHA-512, or TLS")
	}
	out.SASL = ingest.SASL{Mechanism: b.mechanism, User: b.user, Password: func() (string, error) { return peer.Line(b.passwords) }}
	if _, err := out.SASL.Password(); err != nil {
		return out, fmt.Errorf("--kafka-password-file: %w", err)
	}
	return out, nil
}

// warn tells a person at a terminal.
func (e *environment) warn(text string, about ...any) {
	fmt.Fprintln(e.stderr, append([]any{"duiwu: warning:", text}, about...)...)
}

// clickhouseConfig is how to reach the database.
type clickhouseConfig struct {
	dsn, file string
	tls       peer.TLS
}

func (c *clickhouseConfig) flags(fs *flag.FlagSet) {
	// What is said last counts, so that the command line wins over the environment.
	fs.Func("clickhouse", "database, `https://user:password@host:8443/database` (or http); a password has no place on the command line: DUIWU_CLICKHOUSE, or --clickhouse-file", func(text string) error {
		c.dsn, c.file = text, ""
		return nil
	})
	fs.Func("clickhouse-file", "`file` that holds what --clickhouse would say; user and password are read again for every request", func(text string) error {
		c.dsn, c.file = "", text
		return nil
	})
	fs.StringVar(&c.tls.CA, "clickhouse-ca", "", "PEM file of the authority that signed the server's certificate; the system's when empty")
	fs.StringVar(&c.tls.Cert, "clickhouse-cert", "", "PEM file of a client's certificate, for a proxy that asks for one; read again when it changes")
	fs.StringVar(&c.tls.Key, "clickhouse-key", "", "PEM file of that certificate's key")
}

// said says whether there is a database at all.
func (c *clickhouseConfig) said() bool { return c.dsn != "" || c.file != "" }

var errNoDatabase = errors.New("no database: give --clickhouse-file, or DUIWU_CLICKHOUSE")

// readTokenKeys reads the chain of token keys. Errors name the line, never its
// content.
func readTokenKeys(algorithm, file string) (transform.TokenKeys, error) {
	out := transform.TokenKeys{Algorithm: algorithm}
	raw, err := os.ReadFile(file)
	if err != nil {
		return out, fmt.Errorf("cannot read --token-keys: %w", err)
	}
	for i, line := range strings.Split(string(raw), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := hex.DecodeString(line)
		if err != nil || len(key) != 32 {
			return out, fmt.Errorf("--token-keys %s, line %d: want 64 hexadecimal digits", file, i+1)
		}
		out.Keys = append(out.Keys, key)
	}
	if _, err := transform.NewTokenizer(out); err != nil {
		return out, fmt.Errorf("--token-keys %s: %w", file, err)
	}
	return out, nil
}

func readHashKey(file string) (key [16]byte, err error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return key, fmt.Errorf("cannot read --hash-key: %w", err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(raw)))
	if err != nil || len(b) != len(key) {
		return key, fmt.Errorf("--hash-key %s: want one line of 32 hexadecimal digits", file)
	}
	return [16]byte(b), nil
}
