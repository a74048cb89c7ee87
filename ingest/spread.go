package ingest

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/segmentio/kafka-go"
)

// balancers are the ways to share partitions that a worker knows, the best first.
// The group takes one that all its members know, so the client's own stay in the
// list: workers of a release without spread may be among them during an upgrade.
func (g *Group) balancers() []kafka.GroupBalancer {
	return []kafka.GroupBalancer{spread{g.holding}, kafka.RangeGroupBalancer{}, kafka.RoundRobinGroupBalancer{}}
}

// spread shares the partitions of all topics evenly, and leaves as many as that
// allows where they are: whoever gets a partition reads what is stored of its
// unit. Kafka's usual ways look at one topic at a time: of topics with one
// partition each, and units have such, the first member would get all and the
// others nothing. And they deal everything anew whenever somebody comes or goes.
type spread struct {
	// holding is what this worker tells the others; nil is nothing.
	holding func() holding
}

// holding is what a worker got in the last generation that it was part of.
type holding struct {
	Generation int32            `json:"generation"`
	Partitions map[string][]int `json:"partitions"`
}

func (spread) ProtocolName() string { return "duiwu-spread" }

func (s spread) UserData() ([]byte, error) {
	if s.holding == nil {
		return nil, nil
	}
	return json.Marshal(s.holding())
}

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
	give := func(id string, p kafka.Partition) {
		held[id]++
		out[id][p.Topic] = append(out[id][p.Topic], p.ID)
	}
	owner := owners(members)
	fair, more := 0, 0
	if len(members) > 0 {
		fair, more = len(partitions)/len(members), len(partitions)%len(members)
	}
	var free []kafka.Partition
	for _, p := range partitions {
		id, known := owner[key(p.Topic, int32(p.ID))]
		switch {
		case known && held[id] < fair:
		case known && held[id] == fair && more > 0:
			more--
		default:
			free = append(free, p)
			continue
		}
		give(id, p)
	}
	for _, p := range free {
		least := -1
		for i, m := range members {
			if slices.Contains(m.Topics, p.Topic) && (least < 0 || held[m.ID] < held[members[least].ID]) {
				least = i
			}
		}
		if least < 0 {
			continue // nobody reads this topic
		}
		give(members[least].ID, p)
	}
	return out
}

// owners says who of the members held each partition last. Of two that say so,
// one slept through a generation: the one that saw the newer one is right.
func owners(members []kafka.GroupMember) map[string]string {
	out, since := map[string]string{}, map[string]int32{}
	for _, m := range members {
		var h holding
		if json.Unmarshal(m.UserData, &h) != nil {
			continue // a worker that has just come, or one of another release
		}
		for topic, ids := range h.Partitions {
			for _, id := range ids {
				k := key(topic, int32(id))
				if _, taken := out[k]; slices.Contains(m.Topics, topic) && (!taken || h.Generation > since[k]) {
					out[k], since[k] = m.ID, h.Generation
				}
			}
		}
	}
	return out
}
