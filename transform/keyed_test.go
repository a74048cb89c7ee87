package transform

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"testing"

	"github.com/emmansun/gmsm/sm3"
	"github.com/stretchr/testify/require"
)

// Every text of any length has the code that crypto/hmac gives it, whichever way
// it is made, and whatever was made before it.
func TestKeyedIsHMAC(t *testing.T) {
	f := func(algorithm func() hash.Hash, keySize int, short bool) {
		t.Helper()
		key := bytes.Repeat([]byte{7}, keySize)
		k := newKeyed(algorithm, key)
		require.Equal(t, short, k.h != nil)
		for n := range 300 {
			text := bytes.Repeat([]byte{byte(n + 1)}, (n*37)%300)
			h := hmac.New(algorithm, key)
			h.Write(text)
			half := len(text) / 3
			require.Equal(t, h.Sum([]byte("x")), k.sum([]byte("x"), string(text[:half]), text[half:]))
		}
	}
	f(sha256.New, 32, true)
	f(sha256.New, 64, true)
	f(sha256.New, 65, false)
	f(sha512.New, 32, false)
	f(sm3.New, 32, false)
}
