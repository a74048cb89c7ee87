package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is said of Kafka, and whether it is spoken to by TLS.
func TestKafkaIsSpokenToByTLS(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte("s3cret\n"), 0o600))
	type want struct {
		tls, told bool
		err       string
	}
	f := func(w want, args ...string) {
		t.Helper()
		var b brokerConfig
		env := &environment{stdout: t.Output(), stderr: t.Output(), getenv: func(string) string { return "" }}
		fs := env.flags("test", "")
		b.flags(fs)
		require.NoError(t, fs.Parse(args))
		told := false
		out, err := b.open(func(string, ...any) { told = true })
		if w.err != "" {
			require.ErrorContains(t, err, w.err)
			require.NotContains(t, err.Error(), "s3cret")
			return
		}
		require.NoError(t, err)
		require.Equal(t, w.tls, out.TLS != nil)
		require.Equal(t, w.told, told)
		if out.TLS != nil {
			require.False(t, out.TLS.InsecureSkipVerify)
		}
	}
	f(want{tls: true}, "--kafka", "kafka:9093")
	f(want{tls: true}, "--kafka", "10.0.0.1:9093,10.0.0.2:9093")
	f(want{tls: true}, "--kafka", "127.0.0.1:9092,kafka:9093")
	f(want{}, "--kafka", "127.0.0.1:9092,localhost:9093,[::1]:9094")
	f(want{tls: true}, "--kafka", "127.0.0.1:9092", "--kafka-tls")
	f(want{}, "--kafka", "127.0.0.1:9092", "--kafka-tls=false")
	f(want{told: true}, "--kafka", "kafka:9092", "--kafka-tls=false")
	f(want{err: "--kafka-ca"}, "--kafka", "127.0.0.1:9092", "--kafka-ca", password)
	f(want{err: "stands beside"}, "--kafka", "kafka:9092", "--kafka-tls=false", "--kafka-ca", password)
	f(want{err: "in clear"}, "--kafka", "kafka:9092", "--kafka-tls=false", "--kafka-sasl", "PLAIN", "--kafka-user", "u", "--kafka-password-file", password)
	f(want{told: true}, "--kafka", "kafka:9092", "--kafka-tls=false", "--kafka-sasl", "SCRAM-SHA-512", "--kafka-user", "u", "--kafka-password-file", password)
	f(want{tls: true}, "--kafka", "kafka:9093", "--kafka-sasl", "PLAIN", "--kafka-user", "u", "--kafka-password-file", password)
	f(want{err: "--kafka-password-file"}, "--kafka", "kafka:9093", "--kafka-sasl", "PLAIN", "--kafka-user", "u", "--kafka-password-file", password+"x")
}

// The command line wins over the environment, whichever of the two ways to name
// the database each takes.
func TestTheLastWordNamesTheDatabase(t *testing.T) {
	f := func(env map[string]string, args []string, dsn, file string) {
		t.Helper()
		var d database
		e := &environment{stdout: t.Output(), stderr: t.Output(), getenv: func(k string) string { return env[k] }}
		fs := e.flags("test", "")
		d.flags(fs)
		_, err := e.parse(fs, args, 0, 0)
		require.NoError(t, err)
		require.Equal(t, []string{dsn, file}, []string{d.dsn, d.file})
	}
	f(map[string]string{"DUIWU_CLICKHOUSE_FILE": "F"}, nil, "", "F")
	f(map[string]string{"DUIWU_CLICKHOUSE_FILE": "F"}, []string{"--clickhouse", "D"}, "D", "")
	f(map[string]string{"DUIWU_CLICKHOUSE": "D"}, []string{"--clickhouse-file", "F"}, "", "F")
}
