package push_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/push"
	"github.com/duiwu/duiwu/ingest/seal"
	"github.com/duiwu/duiwu/internal/broker"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/testenv"
)

// says is a password that does not change.
func says(password string) func() (string, error) {
	return func() (string, error) { return password, nil }
}

// units is a Kafka with two units, each allowed to write its feed topic and to
// read its receipt topic, and no more.
func units(t *testing.T) (*broker.Secured, map[string]ingest.Broker) {
	t.Helper()
	lib := testenv.KafkaLib(t)
	k, err := broker.StartSecured(t.Context(), broker.Options{Dir: t.TempDir(), Lib: lib}, "u310000", "u320000")
	require.NoError(t, err)
	t.Cleanup(func() { _ = k.Stop(context.Background()) })
	pool, err := k.Roots()
	require.NoError(t, err)
	out := map[string]ingest.Broker{}
	for _, u := range []string{"310000", "320000"} {
		require.NoError(t, k.Unit(t.Context(), "u"+u, "duiwu.feed."+u, "duiwu.receipt."+u, 3))
		out[u] = ingest.Broker{
			Brokers: []string{k.Addr()}, TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
			SASL: ingest.SASL{Mechanism: "SCRAM-SHA-512", User: "u" + u, Password: says(broker.Password("u" + u))},
		}
	}
	admin := out["310000"]
	admin.SASL = ingest.SASL{Mechanism: "PLAIN", User: "admin", Password: says(broker.Password("admin"))}
	out["admin"] = admin
	mutual := ingest.Broker{Brokers: []string{k.Mutual}, TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	pair, err := tls.LoadX509KeyPair(k.Cert("u310000"), k.Key("u310000"))
	require.NoError(t, err)
	mutual.TLS.Certificates = []tls.Certificate{pair}
	out["mutual"] = mutual
	return k, out
}

func producer(t *testing.T, b ingest.Broker) *ingest.Producer {
	t.Helper()
	p, err := ingest.NewProducer(b)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// One unit's credentials cannot write, read receipts of, or learn the existence
// of another unit's topics.
func TestOneUnitCannotReachAnother(t *testing.T) {
	_, as := units(t)
	ctx := t.Context()
	send := func(b ingest.Broker, topic string) error {
		short, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		return producer(t, b).Send(short, ingest.Outgoing{Topic: topic, Key: []byte("k"), Value: []byte("{}")})
	}
	// Each of its own, by password and by certificate.
	for _, who := range []string{"310000", "mutual"} {
		require.NoError(t, send(as[who], "duiwu.feed.310000"), who)
		n, err := ingest.Partitions(ctx, as[who], "duiwu.feed.310000")
		require.NoError(t, err)
		require.Equal(t, 3, n)
	}
	receipt := func(b ingest.Broker, unit string) (*flow.Receipt, error) {
		topic := push.NewTopic(b, "", time.Time{})
		defer topic.Close()
		return topic.Receipt(ctx, unit, "worker", "b1")
	}
	for _, u := range []string{"310000", "320000"} {
		value, err := json.Marshal(&flow.Receipt{Unit: u, Feed: "worker", Batch: "b1", Status: flow.Complete})
		require.NoError(t, err)
		require.NoError(t, producer(t, as["admin"]).Send(ctx, ingest.Outgoing{Topic: "duiwu.receipt." + u, Key: []byte(flow.ReceiptKey("worker", "b1")), Value: value}))
		r, err := receipt(as[u], u)
		require.NoError(t, err)
		require.Equal(t, u, r.Unit)
	}
	// Nothing of the other's; and one that is there answers as one that is not.
	for _, who := range []string{"310000", "mutual"} {
		b := as[who]
		require.Error(t, send(b, "duiwu.feed.320000"), who)
		_, err := receipt(b, "320000")
		require.ErrorIs(t, err, kafka.TopicAuthorizationFailed, who)
		_, none := receipt(b, "330000")
		require.ErrorIs(t, none, kafka.TopicAuthorizationFailed, who)
		for _, prefix := range []string{"duiwu.feed.", "duiwu.receipt."} {
			_, there := ingest.Partitions(ctx, b, prefix+"320000")
			_, absent := ingest.Partitions(ctx, b, prefix+"330000")
			require.Error(t, there)
			require.Equal(t, absent.Error(), string(bytes.ReplaceAll([]byte(there.Error()), []byte("320000"), []byte("330000"))))
			require.False(t, ingest.Temporary(there))
		}
		// A unit may not read back what stands in its own feed topic, nor write receipts.
		r := ingest.NewReader(b, "duiwu.feed.310000", 0, time.Time{})
		require.ErrorIs(t, r.Poll(ctx, time.Second, func(*ingest.Message) error { return nil }), kafka.TopicAuthorizationFailed)
		r.Close()
		require.Error(t, send(b, "duiwu.receipt.310000"))
	}
	// The list of all topics holds those of the unit alone.
	md, err := listed(ctx, as["310000"])
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"duiwu.feed.310000", "duiwu.receipt.310000"}, md)
	// Nothing of the other's was written.
	ends, err := ingest.Ends(ctx, as["admin"], "duiwu.feed.320000")
	require.NoError(t, err)
	require.Equal(t, []int64{0, 0, 0}, ends["duiwu.feed.320000"])

	// Certificates are verified, and a wrong password is told as such.
	stranger := as["310000"]
	stranger.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	_, err = ingest.Partitions(ctx, stranger, "duiwu.feed.310000")
	require.ErrorIs(t, err, ingest.ErrLogin)
	wrong := as["310000"]
	wrong.SASL.Password = says("another")
	_, err = ingest.Partitions(ctx, wrong, "duiwu.feed.310000")
	require.ErrorIs(t, err, ingest.ErrLogin)
	require.False(t, ingest.Temporary(err))
	nobody := as["mutual"]
	nobody.TLS = nobody.TLS.Clone()
	nobody.TLS.Certificates = nil
	_, err = ingest.Partitions(ctx, nobody, "duiwu.feed.310000")
	require.ErrorIs(t, err, ingest.ErrLogin)
}

// listed asks a broker for all topics, as a curious client would.
func listed(ctx context.Context, b ingest.Broker) ([]string, error) {
	password, err := b.SASL.Password()
	if err != nil {
		return nil, err
	}
	conn, err := (&kafka.Dialer{TLS: b.TLS, SASLMechanism: plain.Mechanism{Username: b.SASL.User, Password: password}, Timeout: 10 * time.Second}).DialContext(ctx, "tcp", b.Brokers[0])
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	parts, err := conn.ReadPartitions()
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var out []string
	for _, p := range parts {
		if !seen[p.Topic] {
			seen[p.Topic] = true
			out = append(out, p.Topic)
		}
	}
	return out, nil
}

// Neither the messages nor the broker's disk hold a raw number when the fields
// are sealed; the same look finds every one of them when they are not.
func TestSealedFieldsReachNeitherMessagesNorDisk(t *testing.T) {
	k, as := units(t)
	_, secret, public, err := seal.New()
	require.NoError(t, err)
	key, err := seal.ReadPublic([]byte(public))
	require.NoError(t, err)
	ring, err := seal.ReadRing([]byte(secret))
	require.NoError(t, err)
	const n = 500
	file := workers(t, "名册.csv", n, nil)
	raw := func(unit string) (messages, disk int) {
		var sent []ingest.Outgoing
		for p := range int32(3) {
			r := ingest.NewReader(as["admin"], "duiwu.feed."+unit, p, time.Time{})
			require.NoError(t, r.Poll(t.Context(), time.Second, func(m *ingest.Message) error {
				out := ingest.Outgoing{Key: bytes.Clone(m.Key), Value: bytes.Clone(m.Value)}
				for _, h := range m.Headers {
					out.Headers = append(out.Headers, ingest.Header{Key: bytes.Clone(h.Key), Value: bytes.Clone(h.Value)})
				}
				sent = append(sent, out)
				return nil
			}))
			r.Close()
		}
		require.NotEmpty(t, sent)
		for i := range n {
			for _, m := range sent {
				if bytes.Contains(m.Value, []byte(resident(i))) || bytes.Contains(m.Key, []byte(resident(i))) {
					messages++
				}
			}
		}
		if unit == "310000" {
			rows, rejects, _ := decode(t, ring, sent)
			require.Empty(t, rejects)
			require.Len(t, rows, n, "the worker opens all of them")
		}
		return messages, numbersOnDisk(t, k.Data(), "duiwu.feed."+unit, n)
	}
	opt := options(t, file, noon, 3)
	opt.Seal = key
	sealed, _, err := push.Prepare(t.Context(), opt)
	require.NoError(t, err)
	require.NoError(t, sealed.Send(t.Context(), push.Target{Sender: producer(t, as["310000"]), Topic: "duiwu.feed.310000", Partitions: 3}, nil))
	messages, disk := raw("310000")
	require.Zero(t, messages)
	require.Zero(t, disk)
	spool, err := os.ReadFile(filepath.Join(sealed.Dir, "chunks"))
	require.NoError(t, err)
	require.NotContains(t, string(spool), "1199011980")

	opt = options(t, file, noon, 3)
	opt.Sheet.Unit, opt.Dir = "320000", t.TempDir()
	clear, _, err := push.Prepare(t.Context(), opt)
	require.NoError(t, err)
	require.NoError(t, clear.Send(t.Context(), push.Target{Sender: producer(t, as["320000"]), Topic: "duiwu.feed.320000", Partitions: 3}, nil))
	messages, disk = raw("320000")
	require.Equal(t, n, messages)
	require.Equal(t, n, disk, "the look would find them")
}

// numbersOnDisk counts the identity numbers in the files of a topic, plain or
// inside anything that unpacks as zstd.
func numbersOnDisk(t *testing.T, dir, topic string, n int) int {
	t.Helper()
	var all []byte
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the broker tidies up meanwhile
		}
		if err != nil || d.IsDir() || !bytes.HasPrefix([]byte(filepath.Base(filepath.Dir(path))), []byte(topic+"-")) {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		all = append(all, raw...)
		for rest := raw; ; {
			at := bytes.Index(rest, []byte("\x28\xb5\x2f\xfd"))
			if at < 0 {
				return nil
			}
			z, err := zstd.NewReader(bytes.NewReader(rest[at:]))
			if err != nil {
				return err
			}
			var out bytes.Buffer
			_, _ = out.ReadFrom(z) // what follows the frame is no frame
			z.Close()
			all = append(all, out.Bytes()...)
			rest = rest[at+4:]
		}
	})
	require.NoError(t, err)
	require.NotZero(t, files)
	found := 0
	for i := range n {
		if bytes.Contains(all, []byte(resident(i))) {
			found++
		}
	}
	return found
}
