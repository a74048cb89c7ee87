package ipcmeta_test

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/ipcmeta"
)

// TestViewsAreRefused: a column of views says how many buffers it has, and the
// IPC reader made room for as many as it said, 2 TB for one changed byte.
func TestViewsAreRefused(t *testing.T) {
	f := func(views bool, file string) {
		t.Helper()
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		meta := raw[8 : 8+binary.LittleEndian.Uint32(raw[4:])]
		_, ok := ipcmeta.Body(meta)
		require.Equal(t, views, !ok)
		require.Equal(t, views, ipcmeta.Views(meta))
	}
	f(true, "../sheet/testdata/string-views.arrows")
	f(false, "../sheet/testdata/stream-zstd.arrows")
}
