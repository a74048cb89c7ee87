package sink

import (
	"testing"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/flow"
)

// TestARecordInTwoPartitionsIsCountedOnce writes what two partitions write that
// read one record at the same time, each as new.
func TestARecordInTwoPartitionsIsCountedOnce(t *testing.T) {
	s := fresh(t, "employment")
	spec := s.opt.Catalogue.Feed("employment")
	at := func(unit string, partition int32, partitions int) *Assignment {
		a, err := s.Assign(t.Context(), "duiwu.feed."+unit, partition)
		require.NoError(t, err)
		a.Partitions = partitions
		return a
	}
	write := func(a *Assignment, first int64, astray int64, ids ...string) {
		var recs []record
		for i, id := range ids {
			recs = append(recs, record{id: id, version: version(1, 1), offset: first + int64(i), partition: a.Partition})
		}
		rec := build(memory.DefaultAllocator, spec, a.Topic, recs)
		defer rec.Release()
		c := cut(spec, a, first, first+int64(len(ids))-1, rec)
		c.Tally.Of(spec.Feed, "b1").Astray = astray
		require.NoError(t, a.Write(t.Context(), c))
	}
	balance := func(unit string) string {
		return value(t, s, "SELECT sum(received), sum(new), sum(duplicate), sum(reprocessed), sum(unexplained) FROM balance WHERE unit = '"+unit+"'")
	}
	const twice, quiet, added = "310000", "120000", "130000"

	a, b := at(twice, 0, 2), at(twice, 1, 2)
	write(a, 0, 0, "one", "both", "gone")
	write(b, 0, 1, "both")
	require.Equal(t, "(4,3,1,0,0)", balance(twice))
	require.Equal(t, "(4)", value(t, s, "SELECT sum(new) FROM receipts WHERE unit = '"+twice+"'"), "a receipt says what its cut did")

	// Partitions were added, and the record was read where it had been sent before.
	write(at(added, 0, 1), 0, 0, "one", "both")
	write(at(added, 1, 2), 0, 0, "both")
	require.Equal(t, "(3,2,1,0,0)", balance(added))

	// A unit that is not known to have sent astray is believed: rows that are
	// missing there are missing.
	write(at(quiet, 0, 2), 0, 0, "one", "both")
	write(at(quiet, 1, 2), 0, 0, "both")
	require.Equal(t, "(3,3,0,0,0)", balance(quiet))

	// What was erased had been stored.
	require.NoError(t, s.Erase(t.Context(), Erasure{RecordName: flow.RecordName{Unit: twice, Feed: "employment", RecordID: "gone"}, By: "Zhao", Reason: "asked for"}))
	require.Equal(t, "(4,3,1,0,0)", balance(twice))
	require.Equal(t, "('new')", value(t, s, "SELECT DISTINCT outcome FROM erased WHERE topic != ''"))
	if shards == nil { // as it was before outcomes were kept
		require.NoError(t, s.exec(t.Context(), "ALTER TABLE erased UPDATE outcome = '' WHERE 1 SETTINGS mutations_sync = 2", nil))
		require.Equal(t, "(4,3,1,0,0)", balance(twice))
	}

	// Neither the rows of a cut that was never finished, nor those of a replay that
	// was killed, nor what a replay wrote anew, make up for the one that is missing.
	a = at(twice, 0, 2)
	refuse(t, a, spec, 3, 1)
	for _, r := range []record{
		{id: "unfinished", offset: 9}, {id: "killed", offset: 4}, {id: "again", offset: 0, outcome: flow.Reprocessed},
	} {
		r.version = version(2, 1)
		rec := build(memory.DefaultAllocator, spec, a.Topic, []record{r})
		require.NoError(t, s.store(t.Context(), spec, rec))
		rec.Release()
	}
	require.NoError(t, s.exec(t.Context(), "INSERT INTO replayed (topic, incarnation, partition, offset, row, kind) VALUES ('"+a.Topic+"', 0, 0, 0, 0, '"+Again+"')", nil))
	require.Equal(t, "(6,4,1,0,0)", balance(twice), "one stored and one refused came with that cut")
}
