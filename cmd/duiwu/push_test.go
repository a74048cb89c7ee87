package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/flow"
)

// pushPath is a path with receipts over Kafka and a unit's profile.
func pushPath(t *testing.T, partitions int) (*path, string) {
	t.Helper()
	p := newPath(t, "310000")
	return p, p.unitSide(partitions)
}

// unitSide adds what a unit needs, and returns the folder of its profile.
func (p *path) unitSide(partitions int) string {
	t := p.t
	t.Helper()
	delete(p.env, "DUIWU_CLOCK")
	base := p.env["DUIWU_PREFIX"] + ".in"
	p.env["DUIWU_PREFIX"], p.env["DUIWU_RECEIPTS"] = base, base+".receipt"
	p.topic = ingest.Topic(base, p.unit)
	require.NoError(t, ingest.CreateTopics(t.Context(), p.kafka, partitions, nil, p.topic))
	require.NoError(t, ingest.CreateTopics(t.Context(), p.kafka, 1, map[string]string{"cleanup.policy": "compact"}, ingest.Topic(base+".receipt", p.unit)))
	dir := t.TempDir()
	require.NoError(t, p.run(t.Context(), "keys", "new", "record", "--out", filepath.Join(dir, "record.key")))
	profile := fmt.Sprintf("unit: %q\nbrokers: [%q]\ntls: {off: true}\nrecord_key: record.key\nfeed_topics: %s\nreceipt_topics: %s.receipt\n", p.unit, p.kafka.Brokers[0], base, base)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "profile.yaml"), []byte(profile), 0o600))
	return dir
}

// file runs duiwu push --json --wait and returns what it printed and its error.
func (p *path) file(args ...string) (pushed, error) {
	p.t.Helper()
	var out, diag bytes.Buffer
	env := map[string]string{}
	err := run(p.t.Context(), &environment{stdout: &out, stderr: &diag, getenv: func(k string) string { return env[k] }}, append([]string{"push", "--json", "--test-area", "--wait", "--timeout", "60s"}, args...))
	var one pushed
	require.NoError(p.t, json.Unmarshal(out.Bytes(), &one), "%s%s", out.String(), diag.String())
	if one.Error != "" {
		p.t.Log(one.Error)
	}
	return one, err
}

// sites writes a file of demo sites: id, name and status a line.
func sites(t *testing.T, file string, rows ...string) {
	t.Helper()
	text := "site_id,site_name,level,status,county_code\n"
	for _, r := range rows {
		text += r + ",310115\n"
	}
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
}

func TestPushFollowsAFileToItsReceipt(t *testing.T) {
	p, dir := pushPath(t, 3)
	p.worker()
	file := filepath.Join(dir, "sites.csv")
	args := []string{file, "--feed", "demo_site", "--profile", filepath.Join(dir, "profile.yaml"), "--as-of", "2016-11-30"}
	stored := func() []string {
		return p.lines("SELECT concat(site_id, ' ', status, ' ', site_name) FROM demo_site FINAL ORDER BY site_id")
	}
	sites(t, file, "S-1,东,1,1", "S-2,南,1,1", "S-3,西,2,1")
	first, err := p.file(args...)
	require.NoError(t, err)
	require.True(t, first.Reconciled)
	require.EqualValues(t, 3, first.Receipt.By[flow.New])
	require.Equal(t, []string{"S-1 1 东", "S-2 1 南", "S-3 1 西"}, stored())

	// The prepared batch again: nothing is sent, its receipt is shown.
	again, err := p.file(args...)
	require.NoError(t, err)
	require.Equal(t, first.Batch, again.Batch)
	require.Equal(t, first.Receipt, again.Receipt)
	bySpool, err := p.file(append([]string{first.Spool}, args[1:]...)...)
	require.NoError(t, err)
	require.Equal(t, first.Receipt, bySpool.Receipt)

	// Prepared anew: a delivery of its own that changes no figure.
	anew, err := p.file(append(args, "--anew")...)
	require.NoError(t, err)
	require.NotEqual(t, first.Batch, anew.Batch)
	require.EqualValues(t, 3, anew.Receipt.By[flow.Unchanged])

	// Another content, and back to the first one.
	sites(t, file, "S-1,东,1,2", "S-2,南,1,1", "S-3,西,2,1")
	changed, err := p.file(args...)
	require.NoError(t, err)
	require.EqualValues(t, 1, changed.Receipt.By[flow.Correction])
	require.Equal(t, []string{"S-1 2 东", "S-2 1 南", "S-3 1 西"}, stored())
	sites(t, file, "S-1,东,1,1", "S-2,南,1,1", "S-3,西,2,1")
	back, err := p.file(args...)
	require.NoError(t, err)
	require.EqualValues(t, 1, back.Receipt.By[flow.Correction])
	require.Equal(t, []string{"S-1 1 东", "S-2 1 南", "S-3 1 西"}, stored())

	// One receipt, whichever door it is read through.
	read := func(args ...string) *flow.Receipt {
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), &environment{stdout: &out, stderr: os.Stderr, getenv: func(string) string { return "" }},
			append(append([]string{"receipt", "--json"}, args...), "310000", "demo_site", back.Batch)))
		var r flow.Receipt
		require.NoError(t, json.Unmarshal(out.Bytes(), &r))
		return &r
	}
	require.Equal(t, back.Receipt, read("--clickhouse", p.env["DUIWU_CLICKHOUSE"]))
	require.Equal(t, back.Receipt, read("--profile", filepath.Join(dir, "profile.yaml")))
}

func TestPushSendsTheCleanRowsAndReturnsTheOthers(t *testing.T) {
	p, dir := pushPath(t, 2)
	p.worker()
	file := filepath.Join(dir, "sites.csv")
	profile := filepath.Join(dir, "profile.yaml")
	args := []string{file, "--feed", "demo_site", "--profile", profile, "--as-of", "2016-11-30"}
	sites(t, file, "S-1,东,1,1", "S-2,南,9,1", "S-3,西,2,1")
	none, err := p.file(append(args, "--all-or-nothing")...)
	require.ErrorIs(t, err, errNotSent)
	require.False(t, none.Sent)
	some, err := p.file(args...)
	require.ErrorIs(t, err, errFindings)
	require.EqualValues(t, 1, some.Refused)
	require.EqualValues(t, 2, some.Receipt.By[flow.New])
	require.Equal(t, []string{filepath.Join(dir, "sites.rejected.xlsx")}, some.ToMend)

	// What came back is mended in its cell and pushed as it is.
	mended := filepath.Join(dir, "mended.xlsx")
	setCell(t, some.ToMend[0], mended, "D2", "1")
	rest, err := p.file(append([]string{mended}, args[1:]...)...)
	require.NoError(t, err)
	require.EqualValues(t, 1, rest.Receipt.By[flow.New])
	require.Equal(t, []string{"S-1", "S-2", "S-3"}, p.lines("SELECT site_id FROM demo_site FINAL ORDER BY site_id"))
}

// A unit's own check may pass what the national side refuses: here numbers of the
// test area, which this worker does not take.
func TestPushReturnsWhatOnlyTheWorkerRefuses(t *testing.T) {
	p, dir := pushPath(t, 2)
	p.env["DUIWU_TEST_AREAS"] = "false"
	p.worker()
	file := filepath.Join(dir, "名册.csv")
	require.NoError(t, os.WriteFile(file, []byte(roster), 0o600))
	out, err := p.file(file, "--feed", "worker", "--profile", filepath.Join(dir, "profile.yaml"), "--as-of", "2016-11-30")
	require.ErrorIs(t, err, errFindings)
	require.Zero(t, out.Refused)
	require.EqualValues(t, 2, out.Receipt.By[flow.Rejected])
	require.Equal(t, map[string]int64{"ric_test_area": 2}, out.Receipt.Rules)
	require.Equal(t, []string{filepath.Join(dir, "名册.returned.xlsx")}, out.ToMend)
	require.True(t, out.Reconciled)
	raw, err := json.Marshal(out.Receipt)
	require.NoError(t, err)
	require.NotContains(t, string(raw), "1199019800")
}

// roster is two workers of the reserved test area.
const roster = "公民身份号码,姓名,手机号码,性别,学历,人员类别,用人单位代码,工作地区划\n" +
	"119901198001153013,阿依古丽,13812345678,1,21,01,52119900MJ0000018T,310115\n" +
	"119901198001153021,买买提,13912345678,2,21,01,52119900MJ0000018T,310115\n"
