package ipcmeta_test

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/ipcmeta"
)

// TestLyingViewCounts: a column of views says how many buffers it has; the IPC
// reader made room for as many as it said, 2 TB for one changed byte.
func TestLyingViewCounts(t *testing.T) {
	raw, err := os.ReadFile("../sheet/testdata/string-views.arrows")
	require.NoError(t, err)
	batch := false
	for at := 0; at+8 <= len(raw); {
		n := int(binary.LittleEndian.Uint32(raw[at+4:]))
		if n == 0 {
			break
		}
		meta := raw[at+8 : at+8+n]
		body, ok := ipcmeta.Body(meta)
		require.True(t, ok)
		if body > 0 {
			batch = true
			refused := 0
			for i := range meta {
				old := meta[i]
				meta[i] = 0x40
				if _, ok := ipcmeta.Body(meta); !ok {
					refused++
				}
				meta[i] = old
			}
			// Of each of the ten counts, seven bytes at least are too large; nodes
			// and buffers have but their own lengths to lie about.
			require.Greater(t, refused, 70)
		}
		at += 8 + n + int(body)
	}
	require.True(t, batch)
}
