// Package seal closes the direct identifiers of a message on the province's
// machine and opens them inside the worker, so that neither Kafka nor its disks
// hold one.
//
// It is HPKE (RFC 9180) with the standard library: one context a message, the
// block of closed columns sealed as one. What the block belongs to (unit, feed,
// batch, chunk and the open columns beside it) is authenticated with it: a block
// that was moved to another message does not open.
package seal

import (
	"bytes"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"crypto/ecdh"

	"github.com/klauspost/compress/zstd"
)

// The suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. A key names
// it, so that another can stand beside it one day.
const suite = "x25519-hkdf-sha256-aes256gcm"

func kem() hpke.KEM   { return hpke.DHKEM(ecdh.X25519()) }
func kdf() hpke.KDF   { return hpke.HKDFSHA256() }
func aead() hpke.AEAD { return hpke.AES256GCM() }

// info separates this use of a key from every other.
var info = []byte("duiwu sealed columns 1")

// magic begins a message with a sealed block; it is neither JSON nor Arrow.
var magic = []byte("DWSEAL1\n")

// maxBlock bounds what a block may become when unpacked: the worker's bound of
// a message.
const maxBlock = 64 << 20

var (
	// ErrUnknownKey says that a message was sealed with a key that is neither in
	// the ring nor retired from it.
	ErrUnknownKey = errors.New("sealed with a key that this worker does not have")
	// ErrRetiredKey says that the key was given up.
	ErrRetiredKey = errors.New("sealed with a key that was retired")
	// ErrBroken says that a block does not open: it was changed, cut, or belongs
	// to another message.
	ErrBroken = errors.New("sealed block does not open")
)

// Place is what a sealed block belongs to.
type Place struct {
	Unit, Feed, Batch string
	Chunk             int
}

// bound is what is authenticated beside the block.
func (p Place) bound(open []byte) []byte {
	sum := sha256.Sum256(open)
	var b []byte
	for _, s := range []string{p.Unit, p.Feed, p.Batch} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(p.Chunk))
	return append(b, sum[:]...)
}

// PublicKey seals. It is no secret.
type PublicKey struct {
	id  string
	key hpke.PublicKey
}

// ID names the key: letters made from the key itself.
func (k *PublicKey) ID() string { return k.id }

// Seal returns the message of the open columns and the block.
func (k *PublicKey) Seal(at Place, open, block []byte) ([]byte, error) {
	enc, sender, err := hpke.NewSender(k.key, kdf(), aead(), info)
	if err != nil {
		return nil, fmt.Errorf("cannot seal: %w", err)
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("cannot seal: %w", err)
	}
	defer func() { _ = z.Close() }() // it holds nothing
	closed, err := sender.Seal(at.bound(open), z.EncodeAll(block, nil))
	if err != nil {
		return nil, fmt.Errorf("cannot seal: %w", err)
	}
	out := make([]byte, 0, len(magic)+4+len(open)+len(enc)+len(closed))
	out = append(out, magic...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(open)))
	out = append(out, open...)
	out = append(out, enc...)
	return append(out, closed...), nil
}

// Split takes a sealed message apart; false when it is none. The parts look into
// the message.
func Split(message []byte) (open, closed []byte, ok bool) {
	b, ok := bytes.CutPrefix(message, magic)
	if !ok || len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if b = b[4:]; uint64(n) > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}

// Ring holds the secret keys of a worker: the one in use and those before it.
type Ring struct {
	keys    map[string]hpke.PrivateKey
	retired map[string]bool
}

// Open opens the block of a message that was split. The error is ErrUnknownKey,
// ErrRetiredKey or ErrBroken. A nil ring has no keys.
func (r *Ring) Open(id string, at Place, open, closed []byte) ([]byte, error) {
	if r == nil {
		return nil, ErrUnknownKey
	}
	key := r.keys[id]
	switch {
	case r.retired[id]:
		return nil, ErrRetiredKey
	case key == nil:
		return nil, ErrUnknownKey
	}
	const encSize = 32
	if len(closed) < encSize {
		return nil, ErrBroken
	}
	recipient, err := hpke.NewRecipient(closed[:encSize], key, kdf(), aead(), info)
	if err != nil {
		return nil, ErrBroken
	}
	packed, err := recipient.Open(at.bound(open), closed[encSize:])
	if err != nil {
		return nil, ErrBroken
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlock))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	block, err := z.DecodeAll(packed, nil)
	if err != nil {
		return nil, ErrBroken
	}
	return block, nil
}

// IDs lists the keys that open, in no order.
func (r *Ring) IDs() []string {
	var out []string
	for id := range r.keys {
		out = append(out, id)
	}
	return out
}

// The words that begin a line of a key file.
const (
	wordSecret  = "secret"
	wordPublic  = "public"
	wordRetired = "retired"
)

// New makes a key pair and returns the lines of its two files.
func New() (id, secret, public string, err error) {
	key, err := kem().GenerateKey()
	if err != nil {
		return "", "", "", fmt.Errorf("cannot make a sealing key: %w", err)
	}
	raw, err := key.Bytes()
	if err != nil {
		return "", "", "", fmt.Errorf("cannot write a sealing key: %w", err)
	}
	pub := key.PublicKey().Bytes()
	line := func(word string, b []byte) string {
		return word + " " + suite + " " + base64.StdEncoding.EncodeToString(b) + "\n"
	}
	return idOf(pub), line(wordSecret, raw), line(wordPublic, pub), nil
}

// idOf names a key by its public half, in letters: digits could look like a
// number of a person.
func idOf(public []byte) string {
	sum := sha256.Sum256(append([]byte(suite+"|"), public...))
	out := make([]byte, 0, 16)
	for _, b := range sum[:8] {
		out = append(out, 'a'+b>>4, 'a'+b&15)
	}
	return string(out)
}

// lines calls fn for every line of a key file that says something. Errors name
// the line, never what stands in it.
func lines(text []byte, fn func(words []string) error) error {
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if err := fn(words); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return nil
}

func decode(words []string) ([]byte, error) {
	if len(words) != 3 {
		return nil, errors.New("want three words: secret or public, the suite, the key")
	}
	if words[1] != suite {
		return nil, errors.New("the suite is not known to this release; it knows " + suite)
	}
	b, err := base64.StdEncoding.DecodeString(words[2])
	if err != nil {
		return nil, errors.New("the key is not base64")
	}
	return b, nil
}

// ReadPublic reads the file that units get: one public key.
func ReadPublic(text []byte) (*PublicKey, error) {
	var out *PublicKey
	err := lines(text, func(words []string) error {
		switch {
		case words[0] == wordSecret:
			return errors.New("this is a secret key, which must not leave the national office; ask for the public one and tell them")
		case words[0] != wordPublic:
			return errors.New("want a line that begins with public")
		case out != nil:
			return errors.New("want one public key: the one to seal with")
		}
		b, err := decode(words)
		if err != nil {
			return err
		}
		key, err := kem().NewPublicKey(b)
		if err != nil {
			return errors.New("the key is malformed")
		}
		out = &PublicKey{id: idOf(b), key: key}
		return nil
	})
	if err == nil && out == nil {
		err = errors.New("it holds no public key")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the sealing key: %w", err)
	}
	return out, nil
}

// ReadRing reads the worker's file: secret keys, and the ids of retired ones.
func ReadRing(text []byte) (*Ring, error) {
	r := &Ring{keys: map[string]hpke.PrivateKey{}, retired: map[string]bool{}}
	err := lines(text, func(words []string) error {
		if words[0] == wordRetired {
			if len(words) != 2 {
				return errors.New("want: retired ID")
			}
			r.retired[words[1]] = true
			return nil
		}
		if words[0] != wordSecret {
			return errors.New("want a line that begins with secret or retired")
		}
		b, err := decode(words)
		if err != nil {
			return err
		}
		key, err := kem().NewPrivateKey(b)
		if err != nil {
			return errors.New("the key is malformed")
		}
		r.keys[idOf(key.PublicKey().Bytes())] = key
		return nil
	})
	for id := range r.retired {
		if err == nil && r.keys[id] != nil {
			err = fmt.Errorf("key %s is both there and retired; remove one of the two lines", id)
		}
	}
	if err == nil && len(r.keys)+len(r.retired) == 0 {
		err = errors.New("it holds no key")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the sealing keys: %w", err)
	}
	return r, nil
}
