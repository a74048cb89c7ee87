package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/flow"
)

const unit = "310000"

// load is the records of one unit with every outcome planted among them, and
// what must be counted of them. The order of a key's messages decides the
// outcomes; all messages of a key have one Kafka key.
type load struct {
	messages []message
	want     [flow.Outcomes]int64
}

type message struct{ key, value string }

// newLoad plants records under n keys. Two seeds differ in the order in which
// keys come, never in what is counted.
func newLoad(n int, seed uint64) *load {
	l := &load{}
	begin := time.Date(2016, 11, 1, 8, 0, 0, 0, time.FixedZone("", 8*3600))
	record := func(i, hours int, batch, op, name string) string {
		at := begin.Add(time.Duration(hours) * time.Hour).Format(time.RFC3339)
		head := fmt.Sprintf(`{"schema_version":1,"reporting_unit":%q,"batch_id":%q,"record_id":"R-%d","op":%q,"period":"201611","effective_from":"2016-11-01","reported_at":%q`, unit, batch, i, op, at)
		if i%2 == 0 {
			return head + fmt.Sprintf(`,"feed":"demo_site","site_id":"S-%d","site_name":"示范点%s","level":"1","status":"2","county_code":"310115"}`, i, name)
		}
		return head + fmt.Sprintf(`,"feed":"station","station_id":"T-%d","county_code":"310115","township_name":"街道%s"}`, i, name)
	}
	dice := rand.New(rand.NewPCG(seed, 3))
	for _, plant := range []func(i int) (string, flow.Outcome){
		func(i int) (string, flow.Outcome) {
			switch i % 10 {
			case 0:
				return record(i, 10, "b1", "X", ""), flow.Rejected // no such op
			case 9:
				return "{", flow.Rejected
			}
			return record(i, 10, "b1", "U", ""), flow.New
		},
		func(i int) (string, flow.Outcome) {
			switch i % 10 {
			case 1:
				return record(i, 10, "b1", "U", ""), flow.Duplicate
			case 2:
				return record(i, 20, "b2", "U", ""), flow.Unchanged
			case 3:
				return record(i, 20, "b2", "U", "改"), flow.Correction
			case 4:
				return record(i, 5, "b2", "U", "旧"), flow.Superseded
			case 5:
				return record(i, 10, "b2", "U", "异"), flow.Conflict
			case 6:
				return record(i, 20, "b2", "V", ""), flow.Correction
			}
			return "", 0
		},
		func(i int) (string, flow.Outcome) {
			switch i % 10 {
			case 3: // older than the newest and stored: only the history can tell
				return record(i, 10, "b1", "U", ""), flow.Duplicate
			case 6: // as new as the void and another statement
				return record(i, 30, "b3", "U", "回"), flow.Correction
			}
			return "", 0
		},
	} {
		for _, i := range dice.Perm(n) {
			if v, o := plant(i); v != "" {
				l.messages = append(l.messages, message{fmt.Sprintf("R-%d", i), v})
				l.want[o]++
			}
		}
	}
	return l
}

func (l *load) received() (n int64) {
	for _, v := range l.want {
		n += v
	}
	return n
}

// outgoing addresses messages to a topic.
func outgoing(topic string, messages []message) []ingest.Outgoing {
	out := make([]ingest.Outgoing, len(messages))
	for i, m := range messages {
		out[i] = ingest.Outgoing{Topic: topic, Key: ingest.Key(unit, m.key), Value: []byte(m.value)}
	}
	return out
}
