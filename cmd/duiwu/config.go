package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/push"
	"github.com/duiwu/duiwu/transform"
)

// workerConfig is what a user says about a worker: the process only, the data
// is described by the feed files.
type workerConfig struct {
	broker     brokerConfig
	clickhouse string
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
	fs.StringVar(&c.clickhouse, "clickhouse", "", "database, http://user:password@host:8123/database (or https)")
	fs.StringVar(&c.group, "group", "duiwu", "consumer group")
	fs.StringVar(&c.prefix, "prefix", ingest.DefaultPrefix, "topics are <prefix>.<unit>")
	fs.StringVar(&c.feeds, "feeds", "", "folder of feed files; empty means those inside the binary")
	fs.StringVar(&c.name, "name", hostname(), "name of this worker in claims and in the ledger")
	fs.StringVar(&c.listen, "listen", "", "address for /metrics, /livez and /readyz, such as :8080; empty for none")
	fs.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")
	c.judgeConfig.flags(fs)
	fs.StringVar(&c.receipts, "receipts", push.ReceiptPrefix, "receipts are published on <prefix>.<unit>; none for no receipts over Kafka")
	fs.IntVar(&c.cutRows, "cut-rows", 0, "records a cut at most (default 131072)")
	fs.IntVar(&c.cutBytes, "cut-bytes", 0, "bytes of messages a cut at most (default 33554432)")
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
	for _, f := range []struct{ name, value string }{
		{"--kafka", c.broker.brokers}, {"--clickhouse", c.clickhouse}, {"--token-keys", c.tokenKeys}, {"--hash-key", c.hashKey},
	} {
		if f.value == "" {
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
	tls                        bool
	ca, cert, key              string
	mechanism, user, passwords string
}

func (b *brokerConfig) flags(fs *flag.FlagSet) {
	fs.StringVar(&b.brokers, "kafka", "", "brokers, host:port,host:port")
	fs.BoolVar(&b.tls, "kafka-tls", false, "use TLS")
	fs.StringVar(&b.ca, "kafka-ca", "", "PEM file of the authority that signed the brokers' certificates; the system's when empty")
	fs.StringVar(&b.cert, "kafka-cert", "", "PEM file of the client's certificate, for mTLS")
	fs.StringVar(&b.key, "kafka-key", "", "PEM file of the client's key")
	fs.StringVar(&b.mechanism, "kafka-sasl", "", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
	fs.StringVar(&b.user, "kafka-user", "", "SASL user")
	fs.StringVar(&b.passwords, "kafka-password-file", "", "file with the SASL password")
}

func (b *brokerConfig) open() (ingest.Broker, error) {
	out := ingest.Broker{Brokers: strings.Split(b.brokers, ","), ClientID: "duiwu"}
	if b.tls || b.ca != "" || b.cert != "" {
		out.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if b.ca != "" {
		pem, err := os.ReadFile(b.ca)
		if err != nil {
			return out, fmt.Errorf("cannot read --kafka-ca: %w", err)
		}
		out.TLS.RootCAs = x509.NewCertPool()
		if !out.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return out, fmt.Errorf("--kafka-ca %s holds no PEM certificate", b.ca)
		}
	}
	if b.cert != "" {
		pair, err := tls.LoadX509KeyPair(b.cert, b.key)
		if err != nil {
			return out, fmt.Errorf("cannot read --kafka-cert and --kafka-key: %w", err)
		}
		out.TLS.Certificates = []tls.Certificate{pair}
	}
	if b.mechanism != "" {
		if b.passwords == "" {
			return out, errors.New("--kafka-sasl needs --kafka-password-file")
		}
		password, err := os.ReadFile(b.passwords)
		if err != nil {
			return out, fmt.Errorf("cannot read --kafka-password-file: %w", err)
		}
		out.SASL = ingest.SASL{Mechanism: b.mechanism, User: b.user, Password: strings.TrimRight(string(password), "\r\n")}
	}
	return out, nil
}

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
