package sink

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/flow"
)

// TestWhatIsAskedAtOnceIsReadOnce lets all partitions of some topics ask for two
// feeds at once: each must be told its own records, and no more.
func TestWhatIsAskedAtOnceIsReadOnce(t *testing.T) {
	s := fresh(t, "employment", "org")
	sizes := map[string]int{"310000": 3, "320000": 1, "330000": 5}
	const records = 60
	want := map[string]flow.Version{} // by unit, partition, feed, record
	var held []*Assignment
	at := func(unit, id string) int { return ingest.PartitionOf(ingest.Key(unit, id), sizes[unit]) }
	for unit, n := range sizes {
		ids := make([][]string, n)
		for i := range records {
			id := fmt.Sprintf("%s-%d", unit, i)
			if i%7 == 0 {
				id = fmt.Sprint("common-", i) // more than one unit has it
			}
			ids[at(unit, id)] = append(ids[at(unit, id)], id)
		}
		for p := range n {
			a, err := s.Assign(t.Context(), "duiwu.feed."+unit, int32(p))
			require.NoError(t, err)
			a.Partitions = n
			first := int64(0)
			for _, spec := range s.opt.Catalogue.Feeds {
				for _, newest := range []int64{3, 9} {
					var recs []record
					for i, id := range ids[p] {
						v := version(newest+int64(p), uint64(i))
						recs = append(recs, record{id: id, version: v, offset: first + int64(i)})
						want[fmt.Sprintf("%s/%d %s %s", a.Topic, p, spec.Feed, id)] = v
					}
					require.NoError(t, put(t, a, spec, first, first+int64(len(recs))-1, recs...))
					first += int64(len(recs))
				}
			}
			held = append(held, a)
		}
	}
	ask := func(all []*Assignment) map[string]flow.Version {
		got := make([]map[string]flow.Version, len(all))
		var g errgroup.Group
		for i, a := range all {
			got[i] = map[string]flow.Version{}
			g.Go(func() error {
				for _, spec := range s.opt.Catalogue.Feeds {
					err := a.Newest(t.Context(), spec, func(id []byte, _ int32, v flow.Version) error {
						got[i][fmt.Sprintf("%s/%d %s %s", a.Topic, a.Partition, spec.Feed, id)] = v
						return nil
					})
					if err != nil {
						return err
					}
				}
				return nil
			})
		}
		require.NoError(t, g.Wait())
		sum := map[string]flow.Version{}
		for _, m := range got {
			for k, v := range m {
				sum[k] = v
			}
		}
		return sum
	}
	got := ask(held)
	require.Equal(t, want, got)

	// Some of a topic's partitions: the others' records stay on the server.
	some := held[:0:0]
	less := map[string]flow.Version{}
	for _, a := range held {
		if a.Partition == 1 {
			some = append(some, a)
			for k, v := range want {
				if strings.HasPrefix(k, fmt.Sprintf("%s/%d ", a.Topic, a.Partition)) {
					less[k] = v
				}
			}
		}
	}
	require.Len(t, some, 2)
	got = ask(some)
	require.Equal(t, less, got)
}

// TestReadings: what one query cannot tell apart is asked in two.
func TestReadings(t *testing.T) {
	s := fresh(t, "employment", "org")
	org, employment := s.opt.Catalogue.Feed("org"), s.opt.Catalogue.Feed("employment")
	one := func(topic string, partition int32, partitions int, incarnation int32) *Assignment {
		return &Assignment{Topic: topic, Unit: unitOf(topic), Partition: partition, Partitions: partitions, Incarnation: incarnation, due: 1, ends: map[int64]int64{}}
	}
	queries := func(as ...*Assignment) int {
		var all []*learning
		for _, a := range as {
			all = append(all, &learning{a: a, spec: org})
		}
		return len(readings(all))
	}
	a := one("duiwu.feed.310000", 0, 3, 0)
	require.Equal(t, 1, queries(a, one("duiwu.feed.310000", 2, 3, 0), one("duiwu.feed.320000", 0, 1, 0), one("duiwu.feed.330000", 0, 0, 0)))
	require.Equal(t, 2, queries(a, a), "a partition has two owners for a moment")
	require.Equal(t, 2, queries(a, one("duiwu.feed.310000", 1, 4, 0)), "partitions were added")
	require.Equal(t, 2, queries(a, one("test.feed.310000", 1, 3, 0)), "another topic of the unit")
	require.Equal(t, 2, queries(a, one("duiwu.feed.310000", 1, 3, 1)), "a topic made anew")
	require.Equal(t, 0, queries(one("duiwu.feed.310000", 3, 3, 0)), "a partition that no key is sent to")
	empty := one("duiwu.feed.310000", 0, 3, 0)
	empty.due = 0
	require.Equal(t, 0, queries(empty), "nothing was ever stored")
	require.Len(t, readings([]*learning{{a: a, spec: org}, {a: a, spec: employment}}), 2)
}
