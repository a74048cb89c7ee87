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
	block             [2 * blockSize]byte
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
	// What the state looks like is the library's affair: it has to prove right.
	k.h = h
	for n := range len(k.block) - padding + 1 {
		text := bytes.Repeat([]byte{byte(n)}, n)
		if !bytes.Equal(k.sum(nil, text), k.slow(nil, text)) {
			k.h = nil
			break
		}
	}
	return k
}

// sum appends the code of a text to dst.
func (k *keyed) sum(dst, text []byte) []byte {
	if k.h == nil || len(text) > len(k.block)-padding {
		return k.slow(dst, text)
	}
	inner := k.last(k.inner, text)
	return append(dst, k.last(k.outer, inner)...)
}

// last returns the hash of a text behind the block that led to a state. The result
// is valid until the next call.
func (k *keyed) last(state, text []byte) []byte {
	block := k.block[:blockSize]
	if len(text) > blockSize-padding {
		block = k.block[:]
	}
	n := copy(block, text)
	clear(block[n:])
	block[n] = 0x80
	binary.BigEndian.PutUint64(block[len(block)-8:], uint64(blockSize+n)*8)
	if err := k.h.UnmarshalBinary(state); err != nil {
		panic("BUG: a hash does not take its own state: " + err.Error())
	}
	k.h.Write(block)
	k.now, _ = k.h.AppendBinary(k.now[:0]) // it gave one before
	return k.now[4 : 4+TokenLen]
}

func (k *keyed) slow(dst, text []byte) []byte {
	k.hmac.Reset()
	k.hmac.Write(text)
	return k.hmac.Sum(dst)
}
