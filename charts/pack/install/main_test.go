package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInstall(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		file := filepath.Join(from, "a-plugin", name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), mode))
	}
	write("plugin.json", `{"id": "a-plugin", "info": {"version": "1.2.3"}}`, 0o644)
	write("gpx_a_linux_amd64", "program", 0o755)
	write("dashboards/one.json", "{}", 0o644)
	var out bytes.Buffer
	require.NoError(t, run(from, []string{to}, &out))
	require.Equal(t, "a-plugin 1.2.3 is in "+filepath.Join(to, "a-plugin")+"\n", out.String())
	info, err := os.Stat(filepath.Join(to, "a-plugin", "gpx_a_linux_amd64"))
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&0o111, "Grafana cannot start it")

	// The next version takes its place, and nothing of the one before stays.
	require.NoError(t, os.Remove(filepath.Join(from, "a-plugin", "dashboards/one.json")))
	write("plugin.json", `{"id": "a-plugin", "info": {"version": "1.2.4"}}`, 0o644)
	require.NoError(t, run(from, []string{to}, &out))
	raw, err := os.ReadFile(filepath.Join(to, "a-plugin", "plugin.json"))
	require.NoError(t, err)
	require.Contains(t, string(raw), "1.2.4")
	require.NoFileExists(t, filepath.Join(to, "a-plugin", "dashboards/one.json"))
	left, err := filepath.Glob(filepath.Join(to, ".*"))
	require.NoError(t, err)
	require.Empty(t, left)

	require.ErrorContains(t, run(from, nil, &out), "Grafana's folder of plugins")
	require.ErrorContains(t, run(t.TempDir(), []string{to}, &out), "cannot find the plugin")
	require.ErrorContains(t, run(from, []string{filepath.Join(to, "no")}, &out), "cannot write to Grafana's folder")
}
