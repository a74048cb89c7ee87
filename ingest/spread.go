package ingest

import (
	"cmp"
	"slices"

	"github.com/segmentio/kafka-go"
)

// balancers are the ways to share partitions that a worker knows, the best first.
// The group takes one that all its members know, so the client's own stay in the
// list: workers of a release without spread may be among them during an upgrade.
var balancers = []kafka.GroupBalancer{spread{}, kafka.RangeGroupBalancer{}, kafka.RoundRobinGroupBalancer{}}

// spread shares the partitions of all topics evenly. Kafka's usual ways look at one
// topic at a time: of topics with one partition each, and units have such, the first
// member would get all and the others nothing.
type spread struct{}

func (spread) ProtocolName() string      { return "duiwu-spread" }
func (spread) UserData() ([]byte, error) { return nil, nil }

func (spread) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	out := kafka.GroupMemberAssignments{}
	held := map[string]int{}
	for _, m := range members {
		out[m.ID] = map[string][]int{}
	}
	// The result does not hang on the order in which the broker tells.
	members, partitions = slices.Clone(members), slices.Clone(partitions)
	slices.SortFunc(members, func(a, b kafka.GroupMember) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(partitions, func(a, b kafka.Partition) int { return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.ID, b.ID)) })
	for _, p := range partitions {
		least := -1
		for i, m := range members {
			if slices.Contains(m.Topics, p.Topic) && (least < 0 || held[m.ID] < held[members[least].ID]) {
				least = i
			}
		}
		if least < 0 {
			continue // nobody reads this topic
		}
		id := members[least].ID
		held[id]++
		out[id][p.Topic] = append(out[id][p.Topic], p.ID)
	}
	return out
}
