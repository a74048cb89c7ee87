package main

import (
	"encoding/json"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/cmd/demo/generate"
	"github.com/duiwu/duiwu/internal/worklist"
)

// aDecision takes a decision on a planted namesake as a steward does: the nation
// has one person less, and has that person again when the decision is undone.
func aDecision(t *testing.T, s *stack) {
	duiwu := func(args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), s.o.duiwu, append([]string{"worklist"}, args...)...)
		cmd.Env = append(s.environ(), "DUIWU_AS_OF="+generate.Today.Format(time.DateOnly))
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return out
	}
	heads := func() float64 {
		t.Helper()
		// A datasource of its own remembers no answer of before.
		ds, err := plugin.Open(plugin.Config{URL: s.dsn, Today: generate.Today.Format(time.DateOnly), SuppressBelow: -1, Scope: scope.Everything()})
		require.NoError(t, err)
		defer ds.Dispose()
		return values(t, ask(t, ds, `{"indicator":"I-01"}`))[""]
	}
	var all []worklist.Case
	require.NoError(t, json.Unmarshal(duiwu("list", "--json"), &all))
	kinds := map[string]string{}
	for _, c := range all {
		kinds[c.Kind] = c.ID
	}
	for _, k := range worklist.Kinds {
		require.Contains(t, kinds, k.ID, "the world has every kind")
	}
	was := heads()
	duiwu("decide", "--by", "王审核", "--reason", "两省核对了证件", kinds["weak"], worklist.SamePerson)
	require.Equal(t, was-1, heads())
	duiwu("decide", "--by", "王审核", "--reason", "核对有误", kinds["weak"], worklist.Undo)
	require.Equal(t, was, heads())
	require.Contains(t, string(duiwu("show", kinds["weak"])), "王审核: same_person  同一人 — 两省核对了证件")
}
