package sink

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// A rotation turns every token in the tables into the one that a longer chain of
// keys makes. It goes forward only, and each table tells how far it is: by a
// constraint that names the chain whose rows it takes. So a rotation that was
// killed is run again and ends what was begun.
//
//	1  every table of tokens is marked with the old chain
//	2  the ledger is marked with the new one: from here on no worker with the old
//	   keys can finish a cut, and the partitions stand where the ledger ends
//	3  each table is copied, re-keyed, into one beside it, marked with the new chain
//	4  all are exchanged in one statement
//	5  the old ones are destroyed
//	6  decisions of the worklist take the new names of their cases
//
// What a worker with the old keys still tries to write is refused by the server,
// whenever it comes. Rows of cuts it could not finish are read again from Kafka.

// Rekeyed says what a rotation did.
type Rekeyed struct {
	Tables int
	Rows   int64
}

// beside names the copy of a table, and after the exchange what it replaced.
func beside(table string) string { return table + "__rotation" }

// rotatedRows is how many rows are posted at a time.
const rotatedRows = 131072

// keysComment marks an insert with the chain of keys that made its tokens.
func keysComment(name string) string { return "duiwu keys " + name }

// mark is the statement by which a table, or the one beside it, takes rows of one
// chain only.
func (t *tokens) mark(name, keys string) string {
	free := ""
	if t.open {
		free = "true"
	}
	return markOf(name, free, keys)
}

// markLedger fences those who finish cuts. Offsets that an operator gives up hold
// no token.
func markLedger(keys string) string { return markOf("ledger", "kind = "+quoteText(kindSkip), keys) }

// markOf adds the constraint; free says which rows need no keys, none when empty.
func markOf(name, free, keys string) string {
	check := "getSetting('log_comment') = " + quoteText(keysComment(keys))
	if free != "" {
		check = free + " OR " + check
	}
	return "ALTER TABLE " + quoteName(name) + " DROP CONSTRAINT IF EXISTS token_keys, ADD CONSTRAINT token_keys CHECK " + check
}

var marked = regexp.MustCompile(`CONSTRAINT token_keys CHECK .*?duiwu keys ([0-9a-f]+)`)

// keysIn reads the mark in a table's definition; a table that no rotation has
// seen takes rows of any keys.
func keysIn(ddl string) string {
	if m := marked.FindStringSubmatch(ddl); m != nil {
		return m[1]
	}
	return ""
}

// Rotated says whether a rotation has begun in this database: from then on the
// tables know their keys.
func (s *Sink) Rotated(ctx context.Context) (bool, error) {
	have, err := s.marks(ctx)
	return have["ledger"] != "", err
}

// marks reads all tables and their marks.
func (s *Sink) marks(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	err := s.rows(ctx, "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()", nil, func(scan func(...any) error) error {
		var name, ddl string
		err := scan(&name, &ddl)
		out[name] = keysIn(ddl)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read which keys the tables are under: %w", err)
	}
	return out, nil
}

// tokens are the columns of a table that hold tokens: 32 bytes, or text that may
// be 64 hexadecimal digits.
type tokens struct {
	table
	held []string
	// open tables take rows of those who hold no keys; their mark only tells how far
	// a rotation is.
	open bool
}

// tokenTables lists every table with tokens. A table that is not here and has a
// column of that name or type stops a rotation.
func (s *Sink) tokenTables() (out []tokens) {
	for _, spec := range s.opt.Catalogue.Feeds {
		var history, current []string
		for _, c := range spec.Columns() {
			if c.Field < 0 || c.Precision || c.Store != feed.StoreToken && spec.All()[c.Field].Kind.Kind != feed.Subject {
				continue
			}
			history = append(history, c.Name)
			if c.Current {
				current = append(current, c.Name)
			}
		}
		if len(history) > 0 {
			out = append(out, tokens{table: historyTable(spec), held: history})
		}
		if len(current) > 0 {
			out = append(out, tokens{table: currentTable(spec), held: current})
		}
	}
	return append(out, tokens{table: decisionsTable(), held: []string{"token_a", "token_b"}, open: true})
}

// Rotate re-keys the tables from the chain named old to that of Options.Keys, or
// ends a rotation that was begun. next turns a token of 32 bytes of the old chain
// into one of the new, in place. Progress is told to the log.
func (s *Sink) Rotate(ctx context.Context, old string, next func(token []byte)) (done Rekeyed, err error) {
	l, err := s.layout(ctx)
	if err != nil {
		return done, err
	}
	if l.Cluster != "" {
		return done, fmt.Errorf("cannot rotate: the tables are those of cluster %s, and no one statement exchanges them on all its servers at once; the keys stay as they are", l.Cluster)
	}
	have, err := s.marks(ctx)
	if err != nil {
		return done, err
	}
	if _, ok := have["ledger"]; !ok {
		return done, errors.New("cannot rotate: there is no table ledger; run `duiwu migrate` first")
	}
	if err := s.unknownTokens(ctx); err != nil {
		return done, err
	}
	all := s.tokenTables()
	under := append([]string{have["ledger"]}, make([]string, 0, len(all))...)
	for _, t := range all {
		under = append(under, have[t.name])
	}
	for _, keys := range under {
		if keys != "" && keys != old && keys != s.opt.Keys {
			return done, fmt.Errorf("cannot rotate: the tables are under the chain %s, not under %s or %s: give the key file of the workers with one line more", keys, old, s.opt.Keys)
		}
	}
	var steps []step
	run := func(object, statement string) error {
		if err := s.exec(ctx, statement, nil); err != nil {
			return fmt.Errorf("cannot rotate %s: %w", object, err)
		}
		steps = append(steps, step{object, statement})
		return nil
	}
	begun := have["ledger"] == s.opt.Keys
	for _, t := range all {
		// A table without a mark behind the fence was made after it: new workers
		// alone have written to it.
		keys := old
		if begun {
			keys = s.opt.Keys
		}
		if have[t.name] == "" {
			if err := run(t.name, t.mark(t.name, keys)); err != nil {
				return done, err
			}
			have[t.name] = keys
		}
	}
	if !begun {
		if err := run("ledger", markLedger(s.opt.Keys)); err != nil {
			return done, err
		}
	}
	if err := s.settled(ctx); err != nil {
		return done, err
	}
	var pairs []string
	for _, t := range all {
		if err := run(beside(t.name), "DROP TABLE IF EXISTS "+quoteName(beside(t.name))+" SYNC"); err != nil {
			return done, err
		}
		if have[t.name] == s.opt.Keys {
			continue
		}
		if err := run(beside(t.name), "CREATE TABLE "+quoteName(beside(t.name))+" AS "+quoteName(t.name)); err != nil {
			return done, err
		}
		if err := run(beside(t.name), t.mark(beside(t.name), s.opt.Keys)); err != nil {
			return done, err
		}
		n, err := s.rekey(ctx, t, next)
		if err != nil {
			return done, fmt.Errorf("cannot rotate table %s: %w", t.name, err)
		}
		s.log.Info("re-keyed", "table", t.name, "rows", n)
		done.Rows += n
		done.Tables++
		pairs = append(pairs, quoteName(beside(t.name))+" AND "+quoteName(t.name))
	}
	if len(pairs) > 0 {
		if err := run("all", "EXCHANGE TABLES "+strings.Join(pairs, ", ")); err != nil {
			return done, err
		}
	}
	for _, t := range all {
		if err := run(beside(t.name), "DROP TABLE IF EXISTS "+quoteName(beside(t.name))+" SYNC"); err != nil {
			return done, err
		}
	}
	if err := s.renameCases(ctx); err != nil {
		return done, err
	}
	return done, s.recordMigration(ctx, steps)
}

// unknownTokens refuses to leave tokens behind that this release knows nothing of.
func (s *Sink) unknownTokens(ctx context.Context) error {
	known := map[string]bool{}
	for _, t := range s.tokenTables() {
		for _, c := range t.held {
			known[t.name+"."+c], known[beside(t.name)+"."+c] = true, true
		}
	}
	var unknown []string
	err := s.rows(ctx, `SELECT c.table, c.name FROM system.columns AS c INNER JOIN system.tables AS t ON t.database = c.database AND t.name = c.table
WHERE c.database = currentDatabase() AND (position(c.type, 'FixedString(32)') > 0 OR match(c.name, '(^|_)token(_|$)')) AND t.engine NOT LIKE '%View'`, nil, func(scan func(...any) error) error {
		var table, column string
		err := scan(&table, &column)
		if !known[table+"."+column] {
			unknown = append(unknown, table+"."+column)
		}
		return err
	})
	if err == nil && len(unknown) > 0 {
		err = fmt.Errorf("cannot rotate: %s may hold tokens that these feed files do not know of; run the release that made them, or drop them", strings.Join(unknown, ", "))
	}
	return err
}

// settled returns when no insert runs that began before now: it may have passed
// a constraint that has changed since.
func (s *Sink) settled(ctx context.Context) error {
	l, err := s.layout(ctx)
	if err != nil {
		return err
	}
	since := time.Now()
	for {
		var running uint64
		err := s.rows(ctx, "SELECT countIf(elapsed > {since:Float64}) FROM "+l.system("processes")+" WHERE query_kind = 'Insert' AND current_database = currentDatabase()",
			params{"since": fmt.Sprintf("%f", time.Since(since).Seconds())}, func(scan func(...any) error) error { return scan(&running) })
		if err != nil {
			return fmt.Errorf("cannot see which inserts run: %w", err)
		}
		if running == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// rekey copies a table into the one beside it.
func (s *Sink) rekey(ctx context.Context, t tokens, next func([]byte)) (rows int64, err error) {
	mem := memory.DefaultAllocator
	var held []arrow.Record
	var n int64
	post := func() error {
		defer func() {
			for _, rec := range held {
				rec.Release()
			}
			held, n = nil, 0
		}()
		if n == 0 {
			return nil
		}
		rows += n
		return s.insert(ctx, beside(t.name), t.names(), "ArrowStream", n, 1, func(w io.Writer) error {
			e := ipc.NewWriter(w, ipc.WithSchema(held[0].Schema()))
			for _, rec := range held {
				if err := e.Write(rec); err != nil {
					return err
				}
			}
			return e.Close()
		})
	}
	err = s.stream(ctx, "SELECT "+quoteNames(t.names())+" FROM "+quoteName(t.name), nil, nil, mem, func(rec arrow.Record) error {
		out, err := t.rekeyed(rec, next, mem)
		if err != nil {
			return err
		}
		held, n = append(held, out), n+out.NumRows()
		if n < rotatedRows {
			return nil
		}
		return post()
	})
	err = errors.Join(err, post())
	if err != nil {
		return rows, err
	}
	// Not the same when a worker with the old keys still wrote a cut that it cannot
	// finish; then it is better that somebody looks.
	var before, after uint64
	final := ""
	if strings.HasPrefix(t.engine, "Replacing") {
		final = " FINAL"
	}
	err = s.rows(ctx, "SELECT (SELECT count() FROM "+quoteName(t.name)+final+"), (SELECT count() FROM "+quoteName(beside(t.name))+final+")", nil,
		func(scan func(...any) error) error { return scan(&before, &after) })
	if err == nil && before != after {
		err = fmt.Errorf("it holds %d rows and its copy %d: somebody writes to it; stop the workers and run this again", before, after)
	}
	return rows, err
}

// rekeyed is a batch with the next token in place of each; the caller releases it.
func (t *tokens) rekeyed(rec arrow.Record, next func([]byte), mem memory.Allocator) (arrow.Record, error) {
	cols := slices.Clone(rec.Columns())
	var own []arrow.Array
	defer func() {
		for _, a := range own {
			a.Release()
		}
	}()
	for _, name := range t.held {
		i := rec.Schema().FieldIndices(name)[0]
		var made arrow.Array
		switch in := cols[i].(type) {
		case *array.FixedSizeBinary:
			made = rekeyedTokens(in, next, mem)
		case *array.Binary:
			made = rekeyedText(in, next, mem)
		default:
			return nil, flow.Permanent(fmt.Errorf("this version of the server answers with the type %s for column %s; use one that duiwu was tested with", in.DataType(), name))
		}
		own = append(own, made)
		cols[i] = made
	}
	return array.NewRecord(rec.Schema(), cols, rec.NumRows()), nil
}

func rekeyedTokens(in *array.FixedSizeBinary, next func([]byte), mem memory.Allocator) arrow.Array {
	b := array.NewFixedSizeBinaryBuilder(mem, in.DataType().(*arrow.FixedSizeBinaryType))
	defer b.Release()
	b.Reserve(in.Len())
	var token [32]byte
	for row := range in.Len() {
		if in.IsNull(row) {
			b.AppendNull()
			continue
		}
		copy(token[:], in.Value(row))
		next(token[:])
		b.Append(token[:])
	}
	return b.NewArray()
}

// rekeyedText finds tokens by their form, 64 hexadecimal digits: credit codes
// and numbers of projects and posts have another.
func rekeyedText(in *array.Binary, next func([]byte), mem memory.Allocator) arrow.Array {
	b := array.NewBinaryBuilder(mem, arrow.BinaryTypes.Binary)
	defer b.Release()
	b.Reserve(in.Len())
	var token [32]byte
	for row := range in.Len() {
		v := in.Value(row)
		if n, err := hex.Decode(token[:], v[:min(len(v), 64)]); len(v) == 64 && err == nil && n == 32 {
			next(token[:])
			v = hex.AppendEncode(nil, token[:])
		}
		b.Append(v)
	}
	return b.NewArray()
}
