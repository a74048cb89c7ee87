package sheet

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMutatedFiles breaks every file of the corpus at random, a little each
// time: a fuzzer without its instruments, for every run of the tests. The fuzz
// targets go deeper. DUIWU_MUTATE says how long, such as 60s.
func TestMutatedFiles(t *testing.T) {
	budget := 2 * time.Second
	if v := os.Getenv("DUIWU_MUTATE"); v != "" {
		var err error
		budget, err = time.ParseDuration(v)
		require.NoError(t, err)
	}
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 0))
	files, err := filepath.Glob("testdata/*")
	require.NoError(t, err)
	var seeds [][]byte
	var names []string
	for _, name := range files {
		if raw, err := os.ReadFile(name); err == nil && !strings.HasSuffix(name, ".want") && len(raw) > 0 {
			seeds, names = append(seeds, raw), append(names, name)
		}
	}
	cat := catalogue(t)
	n := 0
	for end := time.Now().Add(budget); time.Now().Before(end); n++ {
		i := rnd.IntN(len(seeds))
		raw := append([]byte(nil), seeds[i]...)
		for range 1 + rnd.IntN(8) {
			at := rnd.IntN(len(raw))
			switch rnd.IntN(5) {
			case 0:
				raw[at] ^= 1 << rnd.IntN(8)
			case 1:
				raw[at] = byte(rnd.IntN(256))
			case 2:
				raw[at] = [...]byte{0, 0xFF, 0x7F, 0x80, '"', '<', '\n', ','}[rnd.IntN(8)]
			case 3:
				raw = append(raw[:at], raw[min(len(raw), at+1+rnd.IntN(16)):]...)
			case 4:
				from := rnd.IntN(len(raw))
				raw = append(raw, raw[from:min(len(raw), from+64)]...)
			}
			if len(raw) == 0 {
				raw = []byte{0}
			}
		}
		func() {
			defer func() {
				if p := recover(); p != nil {
					_ = os.WriteFile(filepath.Join(os.TempDir(), "duiwu-mutated"), raw, 0o600) // to look at; the panic below says enough without
					t.Fatalf("%s, seed %d, round %d: %v\n%s", names[i], seed, n, p, debug.Stack())
				}
			}()
			src, is, err := openSource(bytes.NewReader(raw), int64(len(raw)))
			if err == nil {
				_, err = Check(t.Context(), &File{src: src, Format: is}, Options{Catalogue: cat, Feed: cat.Feed("worker"), Unit: "310000", Step: pass{}})
				if e := src.close(); err == nil {
					err = e
				}
			}
			var u *Unusable
			if err != nil && !errors.As(err, &u) {
				t.Fatalf("%s, seed %d, round %d: %v is no sentence for people", names[i], seed, n, err)
			}
		}()
	}
	t.Logf("%d files", n)
}
