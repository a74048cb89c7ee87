package transform

import (
	"bytes"
	"crypto/hmac"
	"encoding"
	"encoding/binary"
	"hash"
)

// keyed is HMAC (RFC 2104) with one key. For short texts, of a hash that gives its
// state away, it is two calls of the compression function and little else;
// crypto/hmac copies and pads around each, and takes a third longer. A worker makes
// three tokens a record.
type keyed struct {
	hmac hash.Hash
	h    stateful // nil: hmac does it all
	// The states of h behind the key's two blocks, and the one of the text at hand.
	inner, outer, now []byte
	// text holds the text at hand with its padding, in size bytes; what lies behind
	// the last of its used bytes is zero but for the length. code is the same of the
	// code that the inner hash gives, which is always as long.
	text       [2 * blockSize]byte
	size, used int
	code       [blockSize]byte
	joined     []byte
}

// stateful is a hash of 32 bytes in blocks of 64, whose state begins behind four
// bytes: the hashes of the standard library.
type stateful interface {
	hash.Hash
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

const (
	blockSize = 64
	// padding is the least that a last block holds behind the text.
	padding = 9
)

func newKeyed(algorithm func() hash.Hash, key []byte) *keyed {
	k := &keyed{hmac: hmac.New(algorithm, key)}
	h, ok := algorithm().(stateful)
	if !ok || len(key) > blockSize || h.Size() != TokenLen || h.BlockSize() != blockSize {
		return k
	}
	begin := func(pad byte) []byte {
		var block [blockSize]byte
		copy(block[:], key)
		for i := range block {
			block[i] ^= pad
		}
		h.Reset()
		h.Write(block[:])
		out, err := h.AppendBinary(nil)
		if err != nil || len(out) < 4+TokenLen {
			ok = false
		}
		return out
	}
	k.inner, k.outer = begin(0x36), begin(0x5c)
	if !ok {
		return k
	}
	pad(k.code[:], TokenLen)
	// What the state looks like is the library's affair: it has to prove right.
	k.h = h
	for n := range len(k.text) - padding + 1 {
		text := bytes.Repeat([]byte{byte(n)}, n)
		if !bytes.Equal(k.sum(nil, "", text), k.slow(nil, text)) {
			k.h = nil
			break
		}
	}
	return k
}

// sum appends the code of a text behind its domain to dst.
func (k *keyed) sum(dst []byte, domain string, text []byte) []byte {
	n := len(domain) + len(text)
	if k.h == nil || n > len(k.text)-padding {
		k.joined = append(append(k.joined[:0], domain...), text...)
		return k.slow(dst, k.joined)
	}
	size := blockSize
	if n > blockSize-padding {
		size = 2 * blockSize
	}
	if size != k.size {
		clear(k.text[:])
		k.size = size
	} else if n < k.used {
		clear(k.text[n:k.used])
	}
	copy(k.text[copy(k.text[:], domain):], text)
	k.used = n + 1
	pad(k.text[:size], n)
	copy(k.code[:TokenLen], k.last(k.inner, k.text[:size]))
	return append(dst, k.last(k.outer, k.code[:])...)
}

// pad ends a text of n bytes, with zeros behind, as the end of what is hashed.
func pad(block []byte, n int) {
	block[n] = 0x80
	binary.BigEndian.PutUint16(block[len(block)-2:], uint16(blockSize+n)*8)
}

// last returns the hash of padded blocks behind the block that led to a state. The
// result is valid until the next call.
func (k *keyed) last(state, blocks []byte) []byte {
	if err := k.h.UnmarshalBinary(state); err != nil {
		panic("BUG: a hash does not take its own state: " + err.Error())
	}
	k.h.Write(blocks)
	k.now, _ = k.h.AppendBinary(k.now[:0]) // it gave one before
	return k.now[4 : 4+TokenLen]
}

func (k *keyed) slow(dst, text []byte) []byte {
	k.hmac.Reset()
	k.hmac.Write(text)
	return k.hmac.Sum(dst)
}
