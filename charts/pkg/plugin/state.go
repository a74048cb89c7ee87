package plugin

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/duiwu/duiwu/charts/pkg/scope"
)

const (
	// fresh is how long what was read is shown again without looking whether it has
	// changed. It is shorter than the time in which a cut becomes durable, so that
	// nobody waits for a figure longer than for its record.
	fresh = 3 * time.Second
	// longest is how long it is shown while nothing has changed: a bound on what
	// stateSQL cannot see, such as a replica that lags.
	longest = 10 * time.Minute
)

// state is a name of what each table holds. While those of the tables that a
// statement reads stay the same, so does its answer: most of the time no unit is
// sending what it is about.
type state struct {
	mu     sync.Mutex // held while the database is asked, so that one caller asks
	tables map[string]string
	at     time.Time
}

// stateSQL names what each table holds by the last insert and the last mutation of
// every partition; merges, which change nothing, do not change it. A mutation has
// a number above those of all inserts before it. What the tables of a cluster hold
// is known to no one server.
const stateSQL = `SELECT table, toString(sipHash128(groupArray((partition_id, b, if(v > b, v, 0)))))
FROM (SELECT table, partition_id, max(max_block_number) AS b, max(data_version) AS v FROM system.parts WHERE active AND database = currentDatabase() GROUP BY table, partition_id ORDER BY table, partition_id)
WHERE (SELECT count() FROM system.tables WHERE database = currentDatabase() AND engine = 'Distributed') = 0
GROUP BY table ORDER BY table`

// current is the name of what some tables hold, or all when none are named, at most
// fresh old. It is empty, and nothing is kept for long, where the user may not read
// system.parts, and where the tables are those of other servers.
func (s *state) current(ctx context.Context, d *Datasource, tables ...string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() || time.Since(s.at) >= fresh {
		s.at = time.Now()
		if s.tables = d.tables(ctx); s.tables == nil {
			s.at = time.Now() // who does not answer is not asked again at once
		}
	}
	if len(s.tables) == 0 {
		return ""
	}
	if len(tables) == 0 {
		tables = slices.Sorted(maps.Keys(s.tables))
	}
	var name strings.Builder
	for _, t := range tables {
		name.WriteString(t + " " + s.tables[t] + "\n")
	}
	return name.String()
}

// tables asks what each table holds.
func (d *Datasource) tables(ctx context.Context) map[string]string {
	// Whoever came first may leave; the answer is for the others too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fresh)
	defer cancel()
	rows, err := d.db.Whole(ctx, scope.Process("state"), stateSQL, nil)
	if err != nil {
		return nil
	}
	defer func() { _ = rows.Close() }()
	out := map[string]string{}
	for rows.Next() {
		var table, name string
		if rows.Scan(&table, &name) != nil {
			return nil
		}
		out[table] = name
	}
	if rows.Err() != nil {
		return nil
	}
	return out
}

// stands says whether what was read at a moment, when the tables were in the state
// was, can be shown now. Where nobody knows the state, it can for a moment.
func stands(at time.Time, was, now string) bool {
	if was == "" || now == "" {
		return time.Since(at) < fresh
	}
	return was == now && time.Since(at) < longest
}
