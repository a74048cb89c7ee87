package ingest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"

	"github.com/duiwu/duiwu/internal/peer"
)

// Broker says how to reach Kafka. TLS nil is plain text; SASL.Mechanism empty
// is no login.
type Broker struct {
	Brokers  []string
	ClientID string
	TLS      *tls.Config
	SASL     SASL
}

// SASL is a login. Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. Password is
// asked at every login, so that it may change while connections live.
type SASL struct {
	Mechanism, User string
	Password        func() (string, error)
}

// Plain says whether what is sent to some broker crosses a network without TLS.
func (b *Broker) Plain() bool { return b.TLS == nil && !Local(b.Brokers) }

// Local says whether all brokers are this machine.
func Local(brokers []string) bool {
	return !slices.ContainsFunc(brokers, func(addr string) bool {
		host, _, err := net.SplitHostPort(addr)
		return err != nil || !peer.Local(host)
	})
}

// timeout bounds connecting and every request that does not wait for data.
const timeout = 10 * time.Second

// ErrLogin marks an error that says that the broker refused who we are: wrong
// credentials, mechanism, or certificate. Trying again does not help.
var ErrLogin = errors.New("broker refused the login")

func (s SASL) mechanism() (sasl.Mechanism, error) {
	switch s.Mechanism {
	case "":
		return nil, nil
	case "PLAIN":
		return plain{s}, nil
	case "SCRAM-SHA-256", "SCRAM-SHA-512":
		return newScram(s), nil
	}
	return nil, fmt.Errorf("unknown SASL mechanism %q; use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", s.Mechanism)
}

// Validate finds what no broker would accept.
func (b *Broker) Validate() error {
	if len(b.Brokers) == 0 {
		return errors.New("brokers are empty; give at least one host:port")
	}
	_, err := b.SASL.mechanism()
	return err
}

// dialer serves the parts of kafka-go that keep their own connections.
func (b *Broker) dialer() (*kafka.Dialer, error) {
	m, err := b.SASL.mechanism()
	if err != nil {
		return nil, err
	}
	return &kafka.Dialer{ClientID: b.ClientID, Timeout: timeout, DualStack: true, TLS: b.TLS, SASLMechanism: m}, nil
}

// leaving is how long a member may take to leave its group.
const leaving = 4 * time.Second

// dialUntil gives a function for kafka.Dialer whose connections are cut, and which
// fails, from so long after the end of ctx on. kafka-go's group knows no context: when
// it is closed while brokers do not answer, the request that is out, finding the
// coordinator and leaving wait five seconds each, the first one longer, since each
// heartbeat moves the deadline of all on its connection; and connecting to a host that
// is gone takes the dialer's timeout for each broker. hangUp ends it at once.
func dialUntil(ctx context.Context, late time.Duration) (dial func(ctx context.Context, network, addr string) (net.Conn, error), hangUp func()) {
	end, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { time.AfterFunc(late, hangUp) })
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(end, cancel)()
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		u := &untilConn{Conn: c}
		u.stop = context.AfterFunc(end, func() { _ = c.Close() })
		return u, nil
	}, hangUp
}

// untilConn forgets its end when it is closed.
type untilConn struct {
	net.Conn
	stop func() bool
}

func (c *untilConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

func (b *Broker) transport() (*kafka.Transport, error) {
	m, err := b.SASL.mechanism()
	if err != nil {
		return nil, err
	}
	return &kafka.Transport{ClientID: b.ClientID, DialTimeout: timeout, TLS: b.TLS, SASL: m, MetadataTTL: time.Second}, nil
}

// dial opens one connection and logs in. Unlike kafka-go's Transport, which says
// only "Broker Not Available", it returns the true cause.
func (b *Broker) dial(ctx context.Context, addr string) (*protocol.Conn, map[protocol.ApiKey]int16, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot connect to %s: %w", addr, err)
	}
	// Closing is the one way to stop a read that waits.
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	conn, limits, err := b.handshake(ctx, nc, addr)
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		_ = nc.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, nil, fmt.Errorf("cannot connect to %s: %w", addr, err)
	}
	return conn, limits, nil
}

func (b *Broker) handshake(ctx context.Context, nc net.Conn, addr string) (*protocol.Conn, map[protocol.ApiKey]int16, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, err
	}
	if b.TLS != nil {
		cfg := b.TLS.Clone()
		if cfg.ServerName == "" {
			cfg.ServerName = host
		}
		tc := tls.Client(nc, cfg)
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, nil, tlsError(err)
		}
		nc = tc
	}
	conn := protocol.NewConn(nc, b.ClientID)
	res, err := conn.RoundTrip(&apiversions.Request{})
	if err != nil {
		var remote *net.OpError
		switch {
		case errors.As(err, &remote) && remote.Op == "remote error":
			// TLS 1.3 tells of a refused client certificate with the first read; the
			// alert's own type is not exported.
			err = fmt.Errorf("TLS: %w: %w", ErrLogin, err)
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			err = fmt.Errorf("the broker hung up at the first request; it may speak TLS only (--kafka-tls): %w", err)
		}
		return nil, nil, err
	}
	limits := make(map[protocol.ApiKey]int16)
	versions := make(map[protocol.ApiKey]int16)
	for _, k := range res.(*apiversions.Response).ApiKeys {
		key := protocol.ApiKey(k.ApiKey)
		limits[key] = k.MaxVersion
		versions[key] = key.SelectVersion(k.MinVersion, k.MaxVersion)
	}
	conn.SetVersions(versions)
	m, err := b.SASL.mechanism()
	if err != nil || m == nil {
		return conn, limits, err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, nil, err
	}
	return conn, limits, login(sasl.WithMetadata(ctx, &sasl.Metadata{Host: host, Port: n}), conn, m)
}

// tlsError says why a handshake failed. A stranger's certificate and a refused one
// stay what they are; a broker that does not speak TLS hangs up, as one does that
// is just going away.
func tlsError(err error) error {
	var header tls.RecordHeaderError
	if errors.As(err, &header) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("the broker hung up at the TLS handshake; when this port does not speak TLS, name one that does, or say so: --kafka-tls=false, in a profile tls: {off: true}: %w", err)
	}
	return fmt.Errorf("TLS handshake failed: %w: %w", ErrLogin, err)
}

func login(ctx context.Context, conn *protocol.Conn, m sasl.Mechanism) error {
	res, err := conn.RoundTrip(&saslhandshake.Request{Mechanism: m.Name()})
	if err != nil {
		return fmt.Errorf("SASL handshake failed: %w", err)
	}
	if h := res.(*saslhandshake.Response); h.ErrorCode != 0 {
		return fmt.Errorf("%w: SASL %s: %w (the broker offers %v)", ErrLogin, m.Name(), kafka.Error(h.ErrorCode), h.Mechanisms)
	}
	session, state, err := m.Start(ctx)
	if err != nil {
		return fmt.Errorf("cannot start SASL %s: %w", m.Name(), err)
	}
	for done := false; !done; {
		res, err := conn.RoundTrip(&saslauthenticate.Request{AuthBytes: state})
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: SASL %s: the broker hung up", ErrLogin, m.Name())
		}
		if err != nil {
			return fmt.Errorf("SASL %s failed: %w", m.Name(), err)
		}
		a := res.(*saslauthenticate.Response)
		if a.ErrorCode != 0 {
			return fmt.Errorf("%w: SASL %s: %w", ErrLogin, m.Name(), kafka.Error(a.ErrorCode))
		}
		if done, state, err = session.Next(ctx, a.AuthBytes); err != nil {
			return fmt.Errorf("%w: SASL %s: %w", ErrLogin, m.Name(), err)
		}
	}
	return nil
}

// any opens a connection to the first broker that answers.
func (b *Broker) any(ctx context.Context) (*protocol.Conn, error) {
	var all []error
	for _, addr := range b.Brokers {
		conn, _, err := b.dial(ctx, addr)
		if err == nil {
			return conn, nil
		}
		all = append(all, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(all...)
}

// Probe connects and logs in once, and says why that fails.
func (b *Broker) Probe(ctx context.Context) error {
	conn, err := b.any(ctx)
	if err != nil {
		return err
	}
	return conn.Close()
}

// metadata asks a broker for topics.
func (b *Broker) metadata(ctx context.Context, topics []string) (*metadata.Response, error) {
	conn, err := b.any(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	res, err := conn.RoundTrip(&metadata.Request{TopicNames: topics})
	if err != nil {
		return nil, fmt.Errorf("cannot ask for topics: %w", err)
	}
	return res.(*metadata.Response), nil
}

// partitions returns how many partitions each of the topics has; a topic that
// does not exist is left out.
func (b *Broker) partitions(ctx context.Context, topics []string) (map[string]int, error) {
	md, err := b.metadata(ctx, topics)
	if err != nil {
		return nil, err
	}
	out := make(map[string]int)
	for i := range md.Topics {
		switch t := &md.Topics[i]; kafka.Error(t.ErrorCode) {
		case 0:
			out[t.Name] = len(t.Partitions)
		case kafka.UnknownTopicOrPartition:
		default:
			return nil, fmt.Errorf("cannot look up topic %s: %w", t.Name, kafka.Error(t.ErrorCode))
		}
	}
	return out, nil
}

// leader returns the address of a partition's leader.
func (b *Broker) leader(ctx context.Context, topic string, partition int32) (string, error) {
	md, err := b.metadata(ctx, []string{topic})
	if err != nil {
		return "", err
	}
	for i := range md.Topics {
		t := &md.Topics[i]
		if t.Name != topic {
			continue
		}
		if t.ErrorCode != 0 {
			return "", kafka.Error(t.ErrorCode)
		}
		for _, p := range t.Partitions {
			if p.PartitionIndex != partition {
				continue
			}
			for _, n := range md.Brokers {
				if n.NodeID == p.LeaderID {
					return net.JoinHostPort(n.Host, strconv.Itoa(int(n.Port))), nil
				}
			}
			return "", kafka.LeaderNotAvailable
		}
	}
	return "", kafka.UnknownTopicOrPartition
}
