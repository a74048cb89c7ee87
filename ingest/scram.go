package ingest

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"github.com/segmentio/kafka-go/sasl"
)

// scram is SASL SCRAM (RFC 5802, RFC 7677) with the standard library's
// cryptography: kafka-go's own needs three more modules. User and password are
// sent as given, so both should be ASCII.
type scram struct {
	SASL
	hash func() hash.Hash
}

func newScram(s SASL) scram {
	h := sha512.New
	if s.Mechanism == "SCRAM-SHA-256" {
		h = sha256.New
	}
	return scram{s, h}
}

func (s scram) Name() string { return s.Mechanism }

func (s scram) Start(context.Context) (sasl.StateMachine, []byte, error) {
	password, err := s.Password()
	if err != nil {
		return nil, nil, err
	}
	nonce := make([]byte, 18)
	if _, err := rand.Read(nonce); err != nil {
		return nil, nil, err
	}
	c := &scramClient{scram: s, password: password, nonce: base64.StdEncoding.EncodeToString(nonce)}
	c.bare = "n=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s.User) + ",r=" + c.nonce
	return c, []byte("n,," + c.bare), nil
}

type scramClient struct {
	scram
	password, nonce, bare string
	server                []byte // the signature that the broker must know
}

func (c *scramClient) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	attrs := map[byte]string{}
	for part := range strings.SplitSeq(string(challenge), ",") {
		if len(part) > 2 && part[1] == '=' {
			attrs[part[0]] = part[2:]
		}
	}
	if e := attrs['e']; e != "" {
		return false, nil, fmt.Errorf("the broker says %s", e)
	}
	if c.server != nil {
		got, err := base64.StdEncoding.DecodeString(attrs['v'])
		if err != nil || subtle.ConstantTimeCompare(got, c.server) != 1 {
			return false, nil, errors.New("the broker does not know the password itself")
		}
		return true, nil, nil
	}
	salt, err := base64.StdEncoding.DecodeString(attrs['s'])
	rounds, err2 := strconv.Atoi(attrs['i'])
	if err != nil || err2 != nil || rounds < 4096 || rounds > 1<<20 || !strings.HasPrefix(attrs['r'], c.nonce) || attrs['r'] == c.nonce {
		return false, nil, errors.New("the broker's challenge is malformed")
	}
	salted, err := pbkdf2.Key(c.hash, c.password, salt, rounds, c.hash().Size())
	if err != nil {
		return false, nil, err
	}
	final := "c=biws,r=" + attrs['r']
	message := c.bare + "," + string(challenge) + "," + final
	key := c.mac(salted, "Client Key")
	h := c.hash()
	h.Write(key)
	proof := c.mac(h.Sum(nil), message)
	subtle.XORBytes(proof, proof, key)
	c.server = c.mac(c.mac(salted, "Server Key"), message)
	return false, []byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

func (c *scramClient) mac(key []byte, text string) []byte {
	m := hmac.New(c.hash, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// plain is SASL PLAIN (RFC 4616). kafka-go's own keeps one password for good.
type plain struct{ SASL }

func (plain) Name() string { return "PLAIN" }

func (p plain) Start(context.Context) (sasl.StateMachine, []byte, error) {
	password, err := p.Password()
	return p, []byte("\x00" + p.User + "\x00" + password), err
}

func (plain) Next(context.Context, []byte) (bool, []byte, error) { return true, nil, nil }
