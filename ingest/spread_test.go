package ingest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
)

// TestWorkersShareTopicsOfOnePartition: 33 units with one partition each and two
// workers once meant that one worker read everything, and the other never got ready.
func TestWorkersShareTopicsOfOnePartition(t *testing.T) {
	f := func(topics, partitions, members int) {
		t.Helper()
		var names []string
		var all []kafka.Partition
		for i := range topics {
			names = append(names, fmt.Sprintf("t%02d", i))
			for p := range partitions {
				all = append(all, kafka.Partition{Topic: names[i], ID: p})
			}
		}
		var group []kafka.GroupMember
		for i := range members {
			group = append(group, kafka.GroupMember{ID: fmt.Sprintf("m%02d", i), Topics: names})
		}
		got := spread{}.AssignGroups(group, all)
		require.Len(t, got, members)
		seen := map[string]bool{}
		least, most := len(all), 0
		for _, topics := range got {
			n := 0
			for topic, ids := range topics {
				for _, id := range ids {
					p := fmt.Sprint(topic, " ", id)
					require.False(t, seen[p], "two members read %s", p)
					seen[p] = true
					n++
				}
			}
			least, most = min(least, n), max(most, n)
		}
		require.Len(t, seen, len(all))
		require.LessOrEqual(t, most-least, 1)
		slices.Reverse(group)
		slices.Reverse(all)
		require.Equal(t, got, spread{}.AssignGroups(group, all), "it hangs on the order")
	}
	f(33, 1, 1)
	f(33, 1, 2)
	f(33, 1, 33)
	f(33, 1, 40)
	f(33, 3, 7)
	f(1, 5, 2)
	// Who does not read a topic gets nothing of it.
	got := spread{}.AssignGroups([]kafka.GroupMember{{ID: "a", Topics: []string{"x"}}, {ID: "b", Topics: []string{"x", "y"}}}, []kafka.Partition{{Topic: "x"}, {Topic: "y"}, {Topic: "z"}})
	require.Equal(t, kafka.GroupMemberAssignments{"a": {"x": {0}}, "b": {"y": {0}}}, got)
}

// TestWhoStaysKeepsItsPartitions: a worker that comes, goes or sleeps once moved
// partitions between all the others, and each of them read again all that is
// stored of its units.
func TestWhoStaysKeepsItsPartitions(t *testing.T) {
	topics := []string{"a", "b", "c", "d", "e", "f", "g"}
	var all []kafka.Partition
	for _, topic := range topics {
		all = append(all, kafka.Partition{Topic: topic})
	}
	generation := int32(0)
	told := map[string]holding{}
	deal := func(ids ...string) kafka.GroupMemberAssignments {
		t.Helper()
		generation++
		var group []kafka.GroupMember
		for _, id := range ids {
			data, err := spread{func() holding { return told[id] }}.UserData()
			require.NoError(t, err)
			group = append(group, kafka.GroupMember{ID: id, Topics: topics, UserData: data})
		}
		got := spread{}.AssignGroups(group, all)
		n := 0
		for _, id := range ids {
			require.GreaterOrEqual(t, len(got[id]), len(all)/len(ids))
			n += len(got[id])
			told[id] = holding{generation, got[id]}
		}
		require.Equal(t, len(all), n)
		return got
	}
	within := func(less, more map[string][]int) {
		t.Helper()
		for topic := range less {
			require.Contains(t, more, topic)
		}
	}
	one := deal("m")
	two := deal("m", "a") // sorted before who is there
	within(two["m"], one["m"])
	require.Len(t, two["m"], 4)
	alone := deal("m")
	within(two["m"], alone["m"])
	// a slept meanwhile and tells of what it had.
	back := deal("a", "m")
	within(back["m"], alone["m"])
	three := deal("a", "m", "k")
	within(three["a"], back["a"])
	within(three["m"], back["m"])
	require.Equal(t, three, deal("k", "m", "a"), "nobody came or went")
}
