package transform

import (
	"bytes"
	"encoding/hex"
)

// Name names a chain of keys in public: tables that were re-keyed accept rows of
// this name alone. It is made with all keys of the chain and gives none away.
func (t *Tokenizer) Name() string {
	var sum []byte
	for _, h := range t.chain {
		sum = h.sum(sum[:0], "name of the chain|", sum)
	}
	return hex.EncodeToString(sum[:8])
}

var noToken [TokenLen]byte

// Next turns a token that the chain without its newest key has made into the one
// that the whole chain makes, in place. Zeros stand for no value and stay.
func (t *Tokenizer) Next(token []byte) {
	if len(token) != TokenLen {
		panic("BUG: a token has another length")
	}
	if len(t.chain) < 2 {
		panic("BUG: a chain of one key has nothing before it")
	}
	if bytes.Equal(token, noToken[:]) {
		return
	}
	t.chain[len(t.chain)-1].sum(token[:0], "rot|", token)
}
