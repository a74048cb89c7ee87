package scope

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// ErrDenied is the answer to who may see nothing, and to a unit outside a scope.
var ErrDenied = errors.New("outside the scope")

// Office is the unit of the national office, whose documents all units may read.
const Office = "000000"

// timeout bounds one statement.
const timeout = 30 * time.Second

// DB is the way to the database. It may be used by any number of goroutines.
type DB struct {
	conn   driver.Conn
	tables []string
	// turns has a place for every connection. Who finds none waits as long as he
	// likes; the driver would give up after the time it has for dialling.
	turns chan struct{}
}

// Open connects when it is first asked. tables are those whose column
// reporting_unit says whose a row is.
func Open(o *clickhouse.Options, tables []string) (*DB, error) {
	o.MaxOpenConns = cmp.Or(o.MaxOpenConns, 8)
	conn, err := clickhouse.Open(o)
	if err != nil {
		return nil, err
	}
	return &DB{conn: conn, tables: tables, turns: make(chan struct{}, o.MaxOpenConns)}, nil
}

// Close gives the connections up.
func (db *DB) Close() error { return db.conn.Close() }

// Version is the server's.
func (db *DB) Version(ctx context.Context) (v string, err error) {
	return v, db.conn.QueryRow(ctx, "SELECT version()").Scan(&v)
}

// Readable says what is in the way of reading columns of a table. It reads no row.
func (db *DB) Readable(ctx context.Context, table string, columns []string) error {
	rows, err := db.conn.Query(ctx, "SELECT `"+strings.Join(columns, "`, `")+"` FROM `"+table+"` LIMIT 0")
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	err = rows.Err()
	_ = rows.Close()
	return err
}

// Rows reads records of the units asked for; one that may not be seen refuses the
// whole. The statement must restrict itself by {units:Array(String)}, which is
// set here; every table of records is restricted once more by the server,
// whatever the statement says.
func (db *DB) Rows(ctx context.Context, s Scope, asked []string, sql string, params map[string]string) (driver.Rows, error) {
	if s.None() || len(s.Of(asked)) < len(asked) {
		return nil, ErrDenied
	}
	return db.restricted(ctx, s, asked, sql, params)
}

// Documents is Rows for what the national office says to all units: its own
// records may be seen beside theirs.
func (db *DB) Documents(ctx context.Context, s Scope, asked []string, sql string, params map[string]string) (driver.Rows, error) {
	if s.None() || len(s.Of(asked)) < len(asked) {
		return nil, ErrDenied
	}
	return db.restricted(ctx, s, append(slices.Clone(asked), Office), sql, params)
}

func (db *DB) restricted(ctx context.Context, s Scope, units []string, sql string, params map[string]string) (driver.Rows, error) {
	if !strings.Contains(sql, "{units:Array(String)}") {
		return nil, errors.New("BUG: a statement about records that does not restrict units")
	}
	list := "['" + strings.Join(units, "','") + "']"
	for _, u := range units {
		if strings.Trim(u, "0123456789") != "" {
			return nil, fmt.Errorf("BUG: %q is no unit", u)
		}
	}
	settings := clickhouse.Settings{}
	if !s.Nation() {
		filters := make([]string, len(db.tables))
		for i, t := range db.tables {
			filters[i] = "'" + t + "': 'reporting_unit IN " + strings.ReplaceAll(list, "'", `\'`) + "'"
		}
		settings["additional_table_filters"] = "{" + strings.Join(filters, ", ") + "}"
	}
	params = maps.Clone(params)
	if params == nil {
		params = map[string]string{}
	}
	params["units"] = list
	return db.query(ctx, sql, params, settings)
}

// Whole reads rows of every unit, whoever asks: a person counts once in the
// nation, and a small cell is hidden by one pattern for all, so a unit's figure
// is computed from all rows. What is computed must be narrowed to the scope
// before it leaves; who may see nothing gets nothing computed.
func (db *DB) Whole(ctx context.Context, s Scope, sql string, params map[string]string) (driver.Rows, error) {
	if s.None() {
		return nil, ErrDenied
	}
	return db.query(ctx, sql, params, clickhouse.Settings{})
}

type slowly struct{}

// Slowly leaves a statement one thread of the server: nobody waits for it.
func Slowly(ctx context.Context) context.Context { return context.WithValue(ctx, slowly{}, true) }

// IsSlow says that nobody waits.
func IsSlow(ctx context.Context) bool { return ctx.Value(slowly{}) != nil }

func (db *DB) query(ctx context.Context, sql string, params map[string]string, settings clickhouse.Settings) (driver.Rows, error) {
	settings["max_execution_time"] = int(timeout.Seconds())
	// On a cluster what a statement compares with is read of all shards.
	settings["distributed_product_mode"] = "allow"
	if IsSlow(ctx) {
		settings["max_threads"] = 1
	}
	opts := []clickhouse.QueryOption{clickhouse.WithSettings(settings)}
	if len(params) > 0 {
		opts = append(opts, clickhouse.WithParameters(params))
	}
	select {
	case db.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	leave := sync.OnceFunc(func() { <-db.turns })
	rows, err := db.conn.Query(clickhouse.Context(ctx, opts...), sql)
	if err != nil {
		leave()
		return nil, err
	}
	return turn{rows, leave}, nil
}

// turn is an answer that gives its place up when it is closed.
type turn struct {
	driver.Rows
	leave func()
}

func (t turn) Close() error {
	defer t.leave()
	return t.Rows.Close()
}
