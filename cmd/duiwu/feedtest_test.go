package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTestsOfFeeds: a test of a feed or mapping holds, says what differs, and is
// written anew; one that is no test names the line.
func TestTestsOfFeeds(t *testing.T) {
	files, err := filepath.Glob("../../transform/testdata/*.txtar")
	require.NoError(t, err)
	status, stdout, stderr := checked(t, files...)
	require.Equal(t, 0, status, stdout+stderr)
	require.Equal(t, len(files), strings.Count(stdout, "通过 ok"))

	raw, err := os.ReadFile("../../transform/testdata/mapping.txtar")
	require.NoError(t, err)
	broken := filepath.Join(t.TempDir(), "broken.txtar")
	put := func(old, new string) {
		t.Helper()
		text := strings.Replace(string(raw), old, new, 1)
		require.NotEqual(t, string(raw), text)
		require.NoError(t, os.WriteFile(broken, []byte(text), 0o600))
	}
	put("unit: 千元", "unit: 元")
	status, stdout, _ = checked(t, broken)
	require.Equal(t, 1, status)
	require.Contains(t, stdout, "rows: - 2 ")
	require.Contains(t, stdout, "pay_month_fen=650\n")
	status, _, _ = checked(t, broken, "--update")
	require.Equal(t, 0, status)
	status, _, _ = checked(t, broken)
	require.Equal(t, 0, status)

	f := func(want, old, new string) {
		t.Helper()
		put(old, new)
		status, _, stderr := checked(t, broken)
		require.Equal(t, 2, status)
		require.Contains(t, stderr, want)
	}
	f("test.yaml:1: unknown key \"fed\"", "feed: employment\nunit", "fed: employment\nunit")
	f("mapping.yaml:5: unknown order", "dates: dmy", "dates: never")
	f("no such section", "-- rows --", "-- row --")
	f("no test.yaml", "-- test.yaml --", "-- input.txt --")
	f("test.yaml:1: there is no feed", "feed: employment\nunit", "feed: jobs\nunit")

	// A test file is no place for a real person.
	put("119901198001153013", "110105194912310"+"02X")
	err = run(t.Context(), &environment{stdout: &strings.Builder{}, stderr: &strings.Builder{}, getenv: func(string) string { return "" }}, []string{"check", broken})
	require.ErrorContains(t, err, "test area")
}
