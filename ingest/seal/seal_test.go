package seal_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/seal"
)

// pair makes a key and returns its files.
func pair(t *testing.T) (id, secret, public string) {
	t.Helper()
	id, secret, public, err := seal.New()
	require.NoError(t, err)
	return id, secret, public
}

func ring(t *testing.T, text string) *seal.Ring {
	t.Helper()
	r, err := seal.ReadRing([]byte(text))
	require.NoError(t, err)
	return r
}

var place = seal.Place{Unit: "310000", Feed: "worker", Batch: "b1", Chunk: 3}

func TestOpensWhatWasSealed(t *testing.T) {
	id, secret, public := pair(t)
	key, err := seal.ReadPublic([]byte("# a comment\n\n" + public))
	require.NoError(t, err)
	require.Equal(t, id, key.ID())
	open, block := []byte("open columns"), []byte(strings.Repeat("119901198001153013", 100))
	message, err := key.Seal(place, open, block)
	require.NoError(t, err)
	require.NotContains(t, string(message), "1199011980")
	require.Less(t, len(message), len(block), "it is packed before it is sealed")
	twice, err := key.Seal(place, open, block)
	require.NoError(t, err)
	require.NotEqual(t, message, twice, "each message has a context of its own")

	left, closed, ok := seal.Split(message)
	require.True(t, ok)
	require.Equal(t, open, left)
	got, err := ring(t, secret).Open(id, place, left, closed)
	require.NoError(t, err)
	require.Equal(t, block, got)

	// It opens in its place only, and only whole.
	other := place
	for _, change := range []func(){
		func() { other.Unit = "320000" }, func() { other.Feed = "org" }, func() { other.Batch = "b2" }, func() { other.Chunk = 4 },
	} {
		other = place
		change()
		_, err = ring(t, secret).Open(id, other, left, closed)
		require.ErrorIs(t, err, seal.ErrBroken)
	}
	_, err = ring(t, secret).Open(id, place, []byte("other columns"), closed)
	require.ErrorIs(t, err, seal.ErrBroken)
	for i := range closed {
		closed[i] ^= 1
		_, err = ring(t, secret).Open(id, place, left, closed)
		require.ErrorIs(t, err, seal.ErrBroken)
		closed[i] ^= 1
		_, err = ring(t, secret).Open(id, place, left, closed[:i])
		require.ErrorIs(t, err, seal.ErrBroken)
	}
}

func TestRotation(t *testing.T) {
	oldID, oldSecret, oldPublic := pair(t)
	newID, newSecret, newPublic := pair(t)
	sealWith := func(public string) (open, closed []byte) {
		key, err := seal.ReadPublic([]byte(public))
		require.NoError(t, err)
		message, err := key.Seal(place, []byte("open"), []byte("block"))
		require.NoError(t, err)
		open, closed, ok := seal.Split(message)
		require.True(t, ok)
		return open, closed
	}
	open, closed := sealWith(oldPublic)
	newOpen, newClosed := sealWith(newPublic)
	// Both are there while messages of both may come.
	both := ring(t, newSecret+oldSecret)
	require.ElementsMatch(t, []string{oldID, newID}, both.IDs())
	_, err := both.Open(oldID, place, open, closed)
	require.NoError(t, err)
	_, err = both.Open(newID, place, newOpen, newClosed)
	require.NoError(t, err)
	// The old one is given up; before the worker has the new one it is unknown.
	after := ring(t, newSecret+"retired "+oldID+"\n")
	_, err = after.Open(oldID, place, open, closed)
	require.ErrorIs(t, err, seal.ErrRetiredKey)
	_, err = ring(t, oldSecret).Open(newID, place, newOpen, newClosed)
	require.ErrorIs(t, err, seal.ErrUnknownKey)
	_, err = (*seal.Ring)(nil).Open(newID, place, newOpen, newClosed)
	require.ErrorIs(t, err, seal.ErrUnknownKey)
	_, err = both.Open(oldID, place, newOpen, newClosed)
	require.ErrorIs(t, err, seal.ErrBroken)
}

func TestBadKeyFiles(t *testing.T) {
	id, secret, public := pair(t)
	f := func(read func([]byte) error, text, want string) {
		t.Helper()
		err := read([]byte(text))
		require.ErrorContains(t, err, want)
		for _, key := range []string{strings.Fields(secret)[2], strings.Fields(public)[2]} {
			require.NotContains(t, err.Error(), key)
		}
	}
	readPublic := func(b []byte) error { _, err := seal.ReadPublic(b); return err }
	readRing := func(b []byte) error { _, err := seal.ReadRing(b); return err }
	f(readPublic, "", "no public key")
	f(readPublic, "# nothing\n"+secret, "line 2: this is a secret key")
	f(readPublic, public+public, "line 2: want one public key")
	f(readPublic, "public x25519-hkdf-sha256-aes256gcm AAAA\n", "malformed")
	f(readPublic, "public x25519-hkdf-sha256-aes256gcm ??\n", "not base64")
	f(readPublic, "public rot13 AAAA\n", "suite is not known")
	f(readRing, "", "no key")
	f(readRing, public, "begins with secret or retired")
	f(readRing, "retired\n", "want: retired ID")
	f(readRing, secret+"retired "+id+"\n", "both there and retired")
	f(readRing, "secret "+strings.Fields(secret)[2]+"\n", "want three words")
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte("DWSEAL1\n\x00\x00\x00\x01xy"))
	_, secret, _, err := seal.New()
	if err != nil {
		f.Fatal(err)
	}
	r, err := seal.ReadRing([]byte(secret))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		open, closed, ok := seal.Split(b)
		if ok {
			_, err := r.Open(r.IDs()[0], place, open, closed)
			require.Error(t, err)
		}
	})
}
