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
	name     string
	hash     func() hash.Hash
	user     string
	password string
}

func newScram(name, user, password string) scram {
	h := sha512.New
	if name == "SCRAM-SHA-256" {
		h = sha256.New
	}
	return scram{name, h, user, password}
}

func (s scram) Name() string { return s.name }

func (s scram) Start(context.Context) (sasl.StateMachine, []byte, error) {
	nonce := make([]byte, 18)
	if _, err := rand.Read(nonce); err != nil {
		return nil, nil, err
	}
	c := &scramClient{scram: s, nonce: base64.StdEncoding.EncodeToString(nonce)}
	c.bare = "n=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s.user) + ",r=" + c.nonce
	return c, []byte("n,," + c.bare), nil
}

type scramClient struct {
	scram
	nonce, bare string
	server      []byte // the signature that the broker must know
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
