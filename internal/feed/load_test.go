package feed_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/feed"
)

var load = sync.OnceValues(func() (*feed.Catalogue, error) { return feed.Load(feeds.FS) })

func catalogue(t testing.TB) *feed.Catalogue {
	t.Helper()
	c, err := load()
	require.NoError(t, err)
	return c
}

func dayOf(t testing.TB, date string) int32 {
	t.Helper()
	d, err := time.Parse(time.DateOnly, date)
	require.NoError(t, err)
	return feed.Day(d)
}

func TestLoad(t *testing.T) {
	c := catalogue(t)
	require.Len(t, c.Feeds, 14)
	require.Len(t, c.Units, 36)
}
