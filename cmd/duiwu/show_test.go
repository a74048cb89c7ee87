package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestShownDDL makes every table again by what show prints.
func TestShownDDL(t *testing.T) {
	full(t)
	p := newPath(t, "310000")
	made := func() []string {
		return p.lines("SELECT create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name")
	}
	want := made()
	require.NotEmpty(t, want)
	for _, drop := range p.lines("SELECT concat('DROP TABLE `', name, '` SYNC') FROM system.tables WHERE database = currentDatabase() ORDER BY engine LIKE '%View' DESC") {
		p.exec(drop)
	}
	require.Empty(t, made())
	for statement := range strings.SplitSeq(strings.TrimSpace(p.must("show", "ddl")), ";\n\n") {
		p.exec(strings.TrimSuffix(statement, ";"))
	}
	require.Equal(t, want, made())
}
