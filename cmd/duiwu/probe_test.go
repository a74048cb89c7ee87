package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestProbeGoesThroughAndCountsNowhere: the probe's record has a receipt, and no
// table of a feed has a row of it.
func TestProbeGoesThroughAndCountsNowhere(t *testing.T) {
	p, _ := pushPath(t, 2)
	p.worker()
	out, err := p.output("probe", "--unit", p.unit, "--timeout", "60s")
	require.NoError(t, err, out)
	require.Contains(t, out, "ok: batch probe-")
	require.Contains(t, out, "the dashboards count 1 records received, 0 before")
	require.Equal(t, []string{"1"}, p.lines("SELECT toString(count()) FROM quarantine"))
	require.Equal(t, []string{"0"}, p.lines("SELECT toString(count()) FROM worker_history"))
}

// TestProbeWithoutAWorker: with nobody to read, it says so and fails.
func TestProbeWithoutAWorker(t *testing.T) {
	p, _ := pushPath(t, 1)
	out, err := p.output("probe", "--unit", p.unit, "--timeout", "2s")
	require.ErrorContains(t, err, "no worker has accounted for it", out)
	require.Empty(t, out)
}

// output runs a command and returns what it printed.
func (p *path) output(args ...string) (string, error) {
	var out bytes.Buffer
	err := run(p.t.Context(), &environment{stdout: &out, stderr: p.t.Output(), getenv: func(k string) string { return p.env[k] }}, args)
	return out.String(), err
}

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	env := &environment{stdout: &out, stderr: &out, getenv: func(string) string { return "" }}
	require.NoError(t, run(t.Context(), env, []string{"version", "--json"}))
	var b build
	require.NoError(t, json.Unmarshal(out.Bytes(), &b))
	require.Equal(t, revision, b.Records)
	require.NotEmpty(t, b.Version)
	require.NotEmpty(t, b.Revision)
	require.Regexp(t, `^go1\.`, b.Go)
	out.Reset()
	require.NoError(t, run(t.Context(), env, []string{"version"}))
	require.Contains(t, out.String(), "duiwu "+b.Version+" (revision "+b.Revision)
}
