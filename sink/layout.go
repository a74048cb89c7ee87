package sink

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strings"
)

// Layout is how a database keeps its tables. It is decided once for all of them,
// by `duiwu migrate`, and the database tells it to everybody else.
//
// On a cluster a table is two: the one that holds the rows of a shard, on every
// replica of it, under the table's name and _local; and a Distributed one under
// the name itself, which everybody reads and writes. All rows of a unit lie on one
// shard, whatever the table, so that what is true of a unit on one server (one
// version of a key, one owner of a partition) is true of it on a cluster.
type Layout struct {
	Database string
	// Cluster is the server's name of it; empty for one server.
	Cluster string
	// Durable: an insert is on the disk before it is acknowledged.
	Durable bool
}

// on stands in a statement behind the name of what it makes or changes.
func (l Layout) on() string {
	if l.Cluster == "" {
		return ""
	}
	return " ON CLUSTER " + quoteName(l.Cluster)
}

// held names the table that holds the rows which the named one shows.
func (l Layout) held(name string) string {
	if l.Cluster == "" {
		return name
	}
	return name + "_local"
}

const (
	durableSettings = "fsync_after_insert = 1, fsync_part_directory = 1"
	resetSettings   = "fsync_after_insert, fsync_part_directory"
)

// tables lists the tables that have to be made for one, first the one that holds
// the rows.
func (l Layout) tables(t table) []table {
	add := func(setting string) {
		if t.settings != "" {
			setting = t.settings + ", " + setting
		}
		t.settings = setting
	}
	if l.Durable && !t.made {
		add(durableSettings)
	}
	if l.Cluster == "" {
		return []table{t}
	}
	shown := t
	held := quoteText(l.held(t.name))
	// A row of no unit lies on the first shard.
	shown.engine = fmt.Sprintf("Distributed(%s, %s, %s, %s)", quoteText(l.Cluster), quoteText(l.Database), held, cmp.Or(t.unit, "0"))
	shown.partition, shown.primary, shown.order, shown.settings = "", nil, nil, ""
	// A cut that is written again must be written: what it feeds may lack it.
	add("replicated_deduplication_window = 0")
	// The path is made of the name, not of a UUID, so that a server that joins later
	// finds the replicas of its shard.
	t.name = l.held(t.name)
	args := fmt.Sprintf("('/clickhouse/tables/{shard}/%s/%s', '{replica}'", l.Database, t.name)
	engine, rest, ok := strings.Cut(t.engine, "(")
	if ok {
		args += ", " + rest
	} else {
		args += ")"
	}
	t.engine = "Replicated" + engine + args
	return []table{t, shown}
}

var (
	distributed  = regexp.MustCompile(`^Distributed\('((?:[^'\\]|\\.)*)'`)
	isReplicated = regexp.MustCompile(`^Replicated(\w+)\('[^']*','[^']*',?(.*)\)$`)
)

// clusterOf reads an engine; it is empty for one that is not Distributed.
func clusterOf(engine string) string {
	if m := distributed.FindStringSubmatch(engine); m != nil {
		return m[1]
	}
	return ""
}

// engineOf is the engine at the head of a definition, with its arguments.
func engineOf(full string) string {
	depth := 0
	for i, r := range full {
		switch r {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return full[:i+1]
			}
		case ' ':
			if depth == 0 {
				return full[:i]
			}
		}
	}
	return full
}

// plain ignores how the server spaces an engine, and that it may be replicated.
func plain(engine string) string {
	engine = strings.ReplaceAll(strings.ReplaceAll(engine, " ", ""), "`", "")
	if m := isReplicated.FindStringSubmatch(engine); m != nil {
		engine = m[1] + "(" + m[2] + ")"
	}
	return strings.TrimSuffix(strings.TrimPrefix(engine, "Replicated"), "()")
}

func isDurable(engineFull string) bool {
	return strings.Contains(engineFull, "fsync_after_insert = 1") && strings.Contains(engineFull, "fsync_part_directory = 1")
}

// layoutOf is what was asked for, and else what the tables are like.
func (s *Sink) layoutOf(have map[string]*tableState) (Layout, error) {
	l := Layout{Database: s.database, Cluster: s.opt.Cluster}
	ledger := have["ledger"]
	if ledger != nil {
		l.Cluster = clusterOf(ledger.engine)
		if s.opt.Cluster != "" && s.opt.Cluster != l.Cluster {
			return l, fmt.Errorf("the tables are those of %s, not of cluster %s; a migration never moves them: make an empty database, and let the workers read everything from Kafka again",
				cmp.Or(l.Cluster, "one server"), s.opt.Cluster)
		}
		if rows := have[l.held("ledger")]; rows != nil {
			l.Durable = isDurable(rows.full)
		}
	}
	switch s.opt.Durable {
	case "yes":
		l.Durable = true
	case "no":
		l.Durable = false
	case "":
	default:
		return l, fmt.Errorf("durable is yes or no, not %q", s.opt.Durable)
	}
	return l, nil
}

// layout is what the tables are like.
func (s *Sink) layout(ctx context.Context) (Layout, error) {
	l := Layout{Database: s.database}
	err := s.rows(ctx, "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name IN ('ledger', 'ledger_local')", nil, func(scan func(...any) error) error {
		var engine string
		err := scan(&engine)
		l.Cluster = cmp.Or(l.Cluster, clusterOf(engine))
		l.Durable = l.Durable || isDurable(engine)
		return err
	})
	if err != nil {
		err = fmt.Errorf("cannot see how the tables are laid out: %w", err)
	}
	return l, err
}

// system is a table of the database system, of all servers that hold rows.
func (l Layout) system(table string) string {
	if l.Cluster == "" {
		return "system." + table
	}
	return "clusterAllReplicas(" + quoteText(l.Cluster) + ", system." + table + ")"
}
