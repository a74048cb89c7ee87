package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/testenv"
)

// TestPublishAndItsCommands carries a worker's record through a real database into
// an edition, and through all that may be done to it.
func TestPublishAndItsCommands(t *testing.T) {
	if !testenv.Full() {
		t.Skip("computes every figure twice; set DUIWU_TEST=full")
	}
	p := newPath(t, "310000")
	p.worker()
	p.push(employment(1, "01", "a"))
	p.wait()
	duiwu := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := run(t.Context(), &environment{stdout: &out, stderr: t.Output(), getenv: func(k string) string { return p.env[k] }}, append(append([]string{"publish"}, args...), "--clock", "2016-12-09T20:00:00+08:00"))
		return out.String(), err
	}
	says := func(want string, args ...string) {
		t.Helper()
		out, err := duiwu(args...)
		require.NoError(t, err)
		require.Contains(t, out, want)
	}
	refuses := func(want string, args ...string) {
		t.Helper()
		_, err := duiwu(args...)
		require.ErrorContains(t, err, want)
	}
	const month = "2016-11"
	says("no month is published", "list")
	refuses("is no month: write it as 2016-10", "2016-11-30", "--by", "Wang")
	refuses("give --by NAME", month)
	refuses("is not over", "2030-01", "--by", "Wang")
	refuses("2016-11 is not published", "show", month)
	says("would be edition 1; nothing was written", month, "--dry-run")
	says("no month is published", "list")

	out, err := duiwu(month, "--by", "Wang", "--suppress-below", "-1", "--json")
	require.NoError(t, err)
	var s publishedSummary
	require.NoError(t, json.Unmarshal([]byte(out), &s))
	require.Equal(t, 1, s.Number)
	require.Len(t, s.Indicators, 44)
	require.EqualValues(t, 1, *s.Indicators[0].Value)
	require.Equal(t, map[string]int64{p.topic + "/0/0": 1}, s.Positions)
	require.NotEmpty(t, s.Missing)

	refuses("is published: edition 1, by Wang", month, "--by", "Li")
	refuses("a reason", "approve", month, "--by", "Zhao")
	says("2016-11 edition 1 is approved by Zhao", "approve", month, "--by", "Zhao", "--reason", "checked")
	says("2016-11 edition 1 is reopened by Zhao", "reopen", month, "--by", "Zhao", "--reason", "one more")

	p.push(employment(2, "01", "b"))
	p.wait()
	out, err = duiwu("show", month, "--json")
	require.NoError(t, err)
	var shown struct {
		Indicators []revised `json:"indicators"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &shown))
	require.Equal(t, []float64{1, 1, 2}, []float64{*shown.Indicators[0].First, *shown.Indicators[0].Latest, *shown.Indicators[0].Live})
	for _, line := range []string{"published by Wang", "approved by Zhao: checked", "reopened by Zhao: one more"} {
		says(line, "list")
	}
}
