package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/transform"
)

// TestEveryMetricIsDocumented holds docs/metrics.md and the code together.
func TestEveryMetricIsDocumented(t *testing.T) {
	m := newMetrics()
	m.watch(&ingest.Group{})
	m.assigned("t", 0, 0, &transform.Newest{})
	m.registry.MustRegister(&health{group: &ingest.Group{}})
	m.Stage(flow.Span{}, "check", 1, time.Second)
	cut := flow.Cut{Tally: flow.Tally{}}
	c := cut.Tally.Of("org", "b")
	c.By[flow.New] = 1
	c.Reject(feed.Required)
	m.Done(&cut)
	gathered, err := m.registry.Gather()
	require.NoError(t, err)
	var code []string
	for _, f := range gathered {
		if strings.HasPrefix(f.GetName(), "duiwu_") { // the others are the runtime's
			code = append(code, f.GetName())
		}
		require.NotEmpty(t, f.GetHelp())
	}
	// Without a broker no end of a log is known, and so no lag.
	require.Contains(t, lagDesc.String(), `fqName: "duiwu_lag_messages"`)
	code = append(code, "duiwu_lag_messages")
	page, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	var docs []string
	for _, m := range regexp.MustCompile("\\| `(duiwu_[a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		if !strings.HasPrefix(m[1], "duiwu_gateway_") { // those are the gateway's, and its own test reads them
			docs = append(docs, m[1])
		}
	}
	slices.Sort(code)
	slices.Sort(docs)
	require.Equal(t, code, docs)
}
