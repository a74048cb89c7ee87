package transform

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/ingest/feedtest"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/flow/flowtest"
)

var update = flag.Bool("update", false, "write what comes out into the tests")

// TestFeeds runs testdata/*.txtar: a source's file, what becomes of its rows, and
// what is refused. Read what -update writes before it is committed.
func TestFeeds(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	cat := catalogue(t)
	tested := map[string]bool{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		tested[name] = true
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			mem := flowtest.Memory()
			defer mem.AssertSize(t, 0)
			r, err := feedtest.Run(t.Context(), raw, filepath.Dir(file), feedtest.Options{
				Feeds: feeds.FS, Catalogue: cat,
				Step: func(cat *feed.Catalogue, clock func() time.Time) (flow.Step, func()) {
					c := NewCheck(CheckOptions{Catalogue: cat, AllowTestAreas: true, Clock: clock, Mem: mem})
					return c, c.Release
				},
			})
			require.NoError(t, err)
			if *update {
				require.NoError(t, os.WriteFile(file, r.Archive, 0o644))
				return
			}
			if len(r.Differences) > 0 {
				t.Errorf("%s\nrun go test ./transform -run TestFeeds -update", strings.Join(r.Differences, "\n"))
			}
		})
	}
	for _, s := range cat.Feeds {
		require.True(t, tested[s.Feed], "feed %s has no testdata/%s.txtar with records that are accepted, normalized and refused", s.Feed, s.Feed)
	}
}
