package sink

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// syncs is how often the server has asked the kernel to put a file, and a folder,
// on the disk.
func syncs(t testing.TB, s *Sink) (files, folders int) {
	t.Helper()
	require.NoError(t, s.rows(t.Context(), "SELECT event, toInt64(value) FROM system.events WHERE event IN ('FileSync', 'DirectorySync')", nil, func(scan func(...any) error) error {
		var event string
		var n int64
		err := scan(&event, &n)
		if event == "FileSync" {
			files = int(n)
		} else {
			folders = int(n)
		}
		return err
	}))
	return files, folders
}

func TestDurableTablesAreOnTheDiskBeforeAnInsertReturns(t *testing.T) {
	s := fresh(t, "employment")
	spec := s.opt.Catalogue.Feed("employment")
	const undurable = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND name NOT LIKE 'dim\\_%' AND NOT (engine_full LIKE '%fsync_after_insert = 1%' AND engine_full LIKE '%fsync_part_directory = 1%') ORDER BY name"
	written := func(offset int64) (files, folders int) {
		a := assign(t, s, 0)
		f, d := syncs(t, s)
		require.NoError(t, put(t, a, spec, offset, offset, record{id: strconv.FormatInt(offset, 10), version: version(1, 1), offset: offset}))
		files, folders = syncs(t, s)
		return files - f, folders - d
	}
	files, folders := written(0)
	require.Zero(t, files, "tables are not durable unless that was asked for")
	require.Zero(t, folders)

	s.opt.Durable = "yes"
	require.NoError(t, s.Migrate(t.Context()))
	require.Empty(t, value(t, s, undurable))
	// The cut goes into the history, through its view into the current table, into
	// the receipt parts and the ledger, each with files and a folder of its own.
	files, folders = written(1)
	require.GreaterOrEqual(t, files, 4)
	require.GreaterOrEqual(t, folders, 4)

	// What a later migration makes is as the rest, and it changes nothing unasked.
	later := open(t, s.opt.DSN, catalogue(t, []string{"employment", "org"}), "later")
	require.NoError(t, later.Migrate(t.Context()))
	require.Empty(t, value(t, s, undurable))
	_, steps, err := later.plan(t.Context())
	require.NoError(t, err)
	require.Empty(t, steps)

	// A table that somebody made by hand is found.
	require.NoError(t, s.exec(t.Context(), "ALTER TABLE claims RESET SETTING fsync_after_insert", nil))
	found, err := later.lookTables(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, "durability_mixed claims", found[0].Kind.ID+" "+found[0].Where)

	s.opt.Durable = "no"
	require.NoError(t, s.Migrate(t.Context()))
	files, folders = written(2)
	require.Zero(t, files)
	require.Zero(t, folders)
	s.opt.Durable = "perhaps"
	require.ErrorContains(t, s.Migrate(t.Context()), `durable is yes or no, not "perhaps"`)
}
