package main

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/testenv"
)

// TestTwoUnitsOnTwoShards sends records of two units through a worker to a
// cluster, and asks what an operator would ask. No command but migrate is told of
// the cluster.
func TestTwoUnitsOnTwoShards(t *testing.T) {
	if !testenv.Full() {
		t.Skip("starts two servers of its own: DUIWU_TEST=full")
	}
	c, err := engine.StartCluster(t.Context(), engine.Options{Lib: testenv.LibCHDB(t), Dir: t.TempDir()}, 2)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Stop(context.Background()) }) // see testenv.Main
	p := pathOnCluster(t, "310000", c.DSN(), engine.ClusterName, testenv.Kfake(t))
	require.NoError(t, p.run(t.Context(), "migrate"), "a second migration knows by itself")
	other := ingest.Topic(p.env["DUIWU_PREFIX"], "120000")
	require.NoError(t, ingest.CreateTopics(t.Context(), p.kafka, 1, p.settings, other))
	stop := p.worker()
	p.push(demoSite("a"), demoSite("b", `"level":"1"`, `"level":"9"`), demoSite("a"))
	p.wait()
	p.topic, p.sent = other, 0
	tianjin := func(id string) string {
		return demoSite(id, `"reporting_unit":"310000"`, `"reporting_unit":"120000"`, `"county_code":"310115"`, `"county_code":"120101"`)
	}
	p.push(tianjin("a"), tianjin("c"))
	p.wait()
	stop()

	require.Equal(t, []string{"120000 a", "120000 c", "310000 a"}, p.lines("SELECT concat(reporting_unit, ' ', record_id) AS x FROM demo_site FINAL ORDER BY x"))
	require.Equal(t, []string{"120000 2 2 0 0", "310000 3 1 1 1"},
		p.lines("SELECT concat(unit, ' ', toString(received), ' ', toString(new), ' ', toString(duplicate), ' ', toString(rejected)) AS x FROM balance ORDER BY x"))
	require.Len(t, p.lines("SELECT toString(uniqExact(reporting_unit)) FROM demo_site GROUP BY _shard_num"), 2, "a unit on each shard")
	require.NoError(t, p.run(t.Context(), "balance"), "the balance holds")
	require.NoError(t, p.run(t.Context(), "receipt", "310000", "demo_site", "b1"))
	require.Contains(t, p.log.String(), "rejected by code_list")
	// A worker that starts again finds everything and stores nothing twice.
	stop = p.worker()
	p.push(tianjin("a"))
	p.wait()
	stop()
	require.Equal(t, []string{"1"}, p.lines("SELECT toString(duplicate) FROM balance WHERE unit = '120000'"))
	out, _ := p.out("doctor", "--units", "310000,120000")
	require.NotContains(t, out, "cannot look")
	for line := range strings.SplitSeq(out, "\n") {
		// The fake broker keeps one copy, whatever the topic asks for.
		require.False(t, strings.Contains(line, "error") && !strings.Contains(line, "0 error"), out)
	}
}
