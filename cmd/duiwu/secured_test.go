package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/broker"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/testenv"
)

// A unit with a profile, TLS, and no rights but its own, and a worker with a login
// of its own, on Apache Kafka.
func TestPushOverTLSWithALogin(t *testing.T) {
	lib := testenv.KafkaLib(t)
	k, err := broker.StartSecured(t.Context(), broker.Options{Dir: t.TempDir(), Lib: lib}, "u310000", broker.WorkerUser)
	require.NoError(t, err)
	t.Cleanup(func() { _ = k.Stop(context.Background()) })
	p, dir := pushPath(t, 1) // its tables and keys; its topics lie on another broker
	require.NoError(t, k.Unit(t.Context(), "u310000", p.topic, p.env["DUIWU_RECEIPTS"]+".310000", 3))
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	// turn gives the worker another password as Kubernetes does, by turning a link.
	passwords := filepath.Join(dir, "worker.password")
	turn := func(password string) {
		require.NoError(t, os.Symlink(write(password, password+"\n"), passwords+".next"))
		require.NoError(t, os.Rename(passwords+".next", passwords))
	}
	turn(broker.Password(broker.WorkerUser))
	for name, value := range map[string]string{
		"KAFKA": k.Addr(), "KAFKA_CA": k.CA, "KAFKA_SASL": "SCRAM-SHA-512", "KAFKA_USER": broker.WorkerUser, "KAFKA_PASSWORD_FILE": passwords,
	} {
		p.env["DUIWU_"+name] = value
	}
	p.worker()
	write("unit.password", broker.Password("u310000")+"\n")
	const common = "unit: \"310000\"\nrecord_key: record.key\nfeed_topics: %s\nreceipt_topics: %s\nbrokers: [%q]\ntls: {ca: %q%s}\n"
	profile := func(name, addr, tls, login string) string {
		return write(name, fmt.Sprintf(common, p.env["DUIWU_PREFIX"], p.env["DUIWU_RECEIPTS"], addr, k.CA, tls)+login)
	}
	file := filepath.Join(dir, "sites.csv")
	sites(t, file, "S-1,东,1,1", "S-2,南,1,1")
	args := func(profile string) []string {
		return []string{file, "--feed", "demo_site", "--as-of", "2016-11-30", "--anew", "--patience", "20s", "--profile", profile}
	}
	scram := profile("scram.yaml", k.Addr(), "", "sasl: {mechanism: SCRAM-SHA-512, user: u310000, password_file: unit.password}\n")
	out, err := p.file(args(scram)...)
	require.NoError(t, err)
	require.EqualValues(t, 2, out.Receipt.By[flow.New])
	require.True(t, out.Reconciled)
	mutual := profile("mutual.yaml", k.Mutual, fmt.Sprintf(", cert: %q, key: %q", k.Cert("u310000"), k.Key("u310000")), "")
	out, err = p.file(args(mutual)...)
	require.NoError(t, err)
	require.EqualValues(t, 2, out.Receipt.By[flow.Unchanged])

	// Without the authority the broker is a stranger; another unit is one too.
	for _, bad := range [][]string{
		append(args(scram), "--kafka-ca", k.Cert("u310000")),
		append(args(scram), "--kafka-user", "u320000"),
	} {
		out, err := p.file(bad...)
		require.ErrorIs(t, err, errNotSent)
		require.False(t, out.Sent)
		require.Contains(t, out.Error, "refused the login")
	}

	// The worker's password changes at the broker, and a while later in its file.
	// It runs on.
	require.NoError(t, k.SetPassword(t.Context(), broker.WorkerUser, "another"))
	require.NoError(t, k.Stop(t.Context())) // which ends every connection
	require.NoError(t, k.Restart(t.Context()))
	require.Eventually(t, func() bool { return strings.Contains(p.log.String(), "SASL") }, 60*time.Second, 100*time.Millisecond, "no login was refused")
	turn("another")
	out, err = p.file(args(scram)...)
	require.NoError(t, err)
	require.EqualValues(t, 2, out.Receipt.By[flow.Unchanged])
	for _, password := range []string{broker.Password(broker.WorkerUser), "another"} {
		require.False(t, strings.Contains(p.log.String(), password), "a password stands in the log")
	}
}
