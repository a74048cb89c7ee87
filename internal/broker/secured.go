package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/plain"
)

// Secured is an Apache Kafka as a national office would run it: TLS, a login by
// SCRAM or by certificate, and nothing allowed that was not granted.
type Secured struct {
	*Broker
	// Mutual is the address of the listener that asks for a client's certificate.
	Mutual string
	// CA is the file of the authority.
	CA string

	dir string
}

// Password is the password of a user of a Secured broker.
func Password(user string) string { return "pw-" + user }

const adminUser = "admin"

// WorkerUser may do everything, when it is one of the users.
const WorkerUser = "worker"

// StartSecured runs it with some users. Options as for StartApache.
func StartSecured(ctx context.Context, o Options, users ...string) (*Secured, error) {
	s := &Secured{dir: filepath.Join(o.Dir, "secrets")}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	if err := s.certificates(append([]string{"broker"}, users...)); err != nil {
		return nil, fmt.Errorf("cannot make certificates: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.Mutual = l.Addr().String()
	_ = l.Close() // it only found a free port
	logins := fmt.Sprintf(`org.apache.kafka.common.security.plain.PlainLoginModule required username="%s" password="%s" user_%s="%s"`, adminUser, Password(adminUser), adminUser, Password(adminUser))
	for _, u := range users {
		o.Format = append(o.Format, "--add-scram", fmt.Sprintf("SCRAM-SHA-512=[name=%s,password=%s]", u, Password(u)))
		logins += fmt.Sprintf(` user_%s="%s"`, u, Password(u))
	}
	o.Properties = map[string]string{
		"listeners":                                             "SASL_SSL://{addr},SSL://" + s.Mutual + ",CONTROLLER://{controller}",
		"advertised.listeners":                                  "SASL_SSL://{addr},SSL://" + s.Mutual,
		"listener.security.protocol.map":                        "SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":                            "SASL_SSL",
		"sasl.mechanism.inter.broker.protocol":                  "PLAIN",
		"sasl.enabled.mechanisms":                               "PLAIN,SCRAM-SHA-512",
		"listener.name.sasl_ssl.plain.sasl.jaas.config":         logins + ";",
		"listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
		"ssl.keystore.type":                                     "PEM",
		"ssl.keystore.location":                                 filepath.Join(s.dir, "broker.pem"),
		"ssl.truststore.type":                                   "PEM",
		"ssl.truststore.location":                               s.CA,
		"listener.name.ssl.ssl.client.auth":                     "required",
		"ssl.principal.mapping.rules":                           "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
		"authorizer.class.name":                                 "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":                                           "User:ANONYMOUS;User:" + adminUser + ";User:" + WorkerUser,
		"allow.everyone.if.no.acl.found":                        "false",
	}
	if s.Broker, err = StartApache(ctx, o); err != nil {
		return nil, err
	}
	// The other listener opens a moment after the first.
	for {
		c, err := net.DialTimeout("tcp", s.Mutual, time.Second)
		if err == nil {
			return s, c.Close()
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Data is the folder that holds its log.
func (s *Secured) Data() string { return s.plan.data }

// Cert is the file of a user's certificate.
func (s *Secured) Cert(user string) string { return filepath.Join(s.dir, user+".crt") }

// Key is the file of a user's key.
func (s *Secured) Key(user string) string { return filepath.Join(s.dir, user+".key") }

// Roots holds the authority alone.
func (s *Secured) Roots() (*x509.CertPool, error) {
	raw, err := os.ReadFile(s.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, errors.New("the authority's file holds no certificate")
	}
	return pool, nil
}

func (s *Secured) admin() (*kafka.Client, error) {
	pool, err := s.Roots()
	if err != nil {
		return nil, err
	}
	return &kafka.Client{Addr: kafka.TCP(s.Addr()), Timeout: 20 * time.Second, Transport: &kafka.Transport{
		TLS: &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}, SASL: plain.Mechanism{Username: adminUser, Password: Password(adminUser)},
	}}, nil
}

// Topic makes a topic.
func (s *Secured) Topic(ctx context.Context, name string, partitions int, config ...string) error {
	c, err := s.admin()
	if err != nil {
		return err
	}
	t := kafka.TopicConfig{Topic: name, NumPartitions: partitions, ReplicationFactor: 1}
	for i := 0; i+1 < len(config); i += 2 {
		t.ConfigEntries = append(t.ConfigEntries, kafka.ConfigEntry{ConfigName: config[i], ConfigValue: config[i+1]})
	}
	res, err := c.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{t}})
	if err != nil {
		return err
	}
	return res.Errors[name]
}

// Unit makes the two topics of a unit and allows its user what a unit needs: to
// write the one and to read the other.
func (s *Secured) Unit(ctx context.Context, user, feeds, receipts string, partitions int) error {
	return errors.Join(
		s.Topic(ctx, feeds, partitions),
		s.Topic(ctx, receipts, 1, "cleanup.policy", "compact"),
		s.grant(ctx, user, kafka.ResourceTypeTopic, feeds, kafka.ACLOperationTypeWrite),
		s.grant(ctx, user, kafka.ResourceTypeTopic, receipts, kafka.ACLOperationTypeRead),
	)
}

func (s *Secured) grant(ctx context.Context, user string, kind kafka.ResourceType, name string, op kafka.ACLOperationType) error {
	c, err := s.admin()
	if err != nil {
		return err
	}
	res, err := c.CreateACLs(ctx, &kafka.CreateACLsRequest{ACLs: []kafka.ACLEntry{{
		ResourceType: kind, ResourceName: name, ResourcePatternType: kafka.PatternTypeLiteral,
		Principal: "User:" + user, Host: "*", Operation: op, PermissionType: kafka.ACLPermissionTypeAllow,
	}}})
	if err != nil {
		return err
	}
	return errors.Join(res.Errors...)
}

// SetPassword gives a user another password for SCRAM-SHA-512. Who is logged in
// stays so.
func (s *Secured) SetPassword(ctx context.Context, user, password string) error {
	c, err := s.admin()
	if err != nil {
		return err
	}
	const rounds = 8192
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // it never fails
	salted, err := pbkdf2.Key(sha512.New, password, salt, rounds, sha512.Size)
	if err != nil {
		return err
	}
	res, err := c.AlterUserScramCredentials(ctx, &kafka.AlterUserScramCredentialsRequest{Upsertions: []kafka.UserScramCredentialsUpsertion{
		{Name: user, Mechanism: kafka.ScramMechanismSha512, Iterations: rounds, Salt: salt, SaltedPassword: salted},
	}})
	if err != nil {
		return err
	}
	for _, one := range res.Results {
		err = errors.Join(err, one.Error)
	}
	return err
}

// certificates makes an authority, and a certificate of it for each name.
func (s *Secured) certificates(names []string) error {
	s.CA = filepath.Join(s.dir, "ca.crt")
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of a test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, &rootKey.PublicKey, rootKey)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return err
	}
	for i, name := range names {
		cert := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: name},
			NotBefore: root.NotBefore, NotAfter: root.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		der, err := x509.CreateCertificate(rand.Reader, cert, root, &key.PublicKey, rootKey)
		if err != nil {
			return err
		}
		pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		priv := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
		err = errors.Join(os.WriteFile(s.Cert(name), crt, 0o600), os.WriteFile(s.Key(name), priv, 0o600),
			os.WriteFile(filepath.Join(s.dir, name+".pem"), append(priv, crt...), 0o600))
		if err != nil {
			return err
		}
	}
	return nil
}
