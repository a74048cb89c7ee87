package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/feed"
)

// TestMappingsOfAFolder: all faults of all files at once, each with its file's name.
func TestMappingsOfAFolder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	const good = "feed: station\ncolumns:\n  - {column: id, field: station_id}\n"
	write("310000.station.yaml", good)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "..data"), 0o700)) // as Kubernetes lays a ConfigMap out
	status, out, _ := checked(t, "--mappings", dir)
	require.Zero(t, status)
	require.Contains(t, out, ", 1 mappings: no problem found")

	write("310000.worker.yaml", good)
	write("999999.station.yaml", good)
	write("320000.station.yaml", "feed: station\ncolumns:\n  - {column: id, field: no_such_field}\n")
	cat, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	_, err = loadMappings(dir, cat)
	require.ErrorContains(t, err, "310000.worker.yaml: it maps to the feed station and is named after worker")
	require.ErrorContains(t, err, "999999.station.yaml: a mapping is named UNIT.FEED.yaml")
	require.ErrorContains(t, err, "320000.station.yaml:3")
	require.ErrorContains(t, err, "no_such_field")
}
