package sink

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// step is one statement of a migration.
type step struct {
	object, statement string
}

// Migrate makes the database fit the catalogue. It only ever adds: tables,
// columns, views; and it replaces the dimension tables, each in one move. What
// would lose or reinterpret data (another type, key or engine) is refused
// before anything has changed, with every reason at once. It may run again, and
// beside itself.
func (s *Sink) Migrate(ctx context.Context) error {
	l, steps, err := s.plan(ctx)
	if err != nil {
		return fmt.Errorf("cannot migrate database %s: %w", s.database, err)
	}
	for _, st := range steps {
		if err := s.exec(ctx, st.statement, nil); err != nil {
			return fmt.Errorf("cannot migrate %s: %w", st.object, err)
		}
		s.log.Info("migrated", "object", st.object)
	}
	for _, v := range systemViews(s.opt.Catalogue) {
		if err := s.exec(ctx, v.create(l), nil); err != nil {
			return fmt.Errorf("cannot migrate view %s: %w", v.name, err)
		}
	}
	if err := s.recordMigration(ctx, steps); err != nil {
		return err
	}
	s.mu.Lock()
	clear(s.checked)
	s.mu.Unlock()
	return s.replaceDimensions(ctx, l)
}

// tableState is what decides whether a table can be kept.
type tableState struct {
	engine, sorting string
	// keys is the chain of token keys whose rows it takes, empty for any.
	keys    string
	columns []column
	full    string // the engine with its settings, as the server writes them
}

// plan compares the database with the catalogue and changes nothing.
func (s *Sink) plan(ctx context.Context) (Layout, []step, error) {
	have, err := s.tables(ctx)
	if err != nil {
		return Layout{}, nil, err
	}
	l, err := s.layoutOf(have)
	if err != nil {
		return l, nil, flow.Permanent(err)
	}
	if l.Cluster != "" {
		if err := s.forgetPartial(ctx, l, have); err != nil {
			return l, nil, err
		}
	}
	var steps []step
	var refused []error
	one := func(t table) (added []column) {
		a, err := t.grow(have[t.name])
		if err != nil {
			refused = append(refused, err)
			return nil
		}
		if have[t.name] == nil {
			steps = append(steps, step{t.name, t.create(l)})
			return nil
		}
		for _, c := range a {
			where := " FIRST"
			if c.after != "" {
				where = " AFTER " + quoteName(c.after)
			}
			steps = append(steps, step{t.name, "ALTER TABLE " + quoteName(t.name) + l.on() + " ADD COLUMN IF NOT EXISTS " + c.ddl() + where})
			added = append(added, c.column)
		}
		alter := func(change string) {
			steps = append(steps, step{t.name, "ALTER TABLE " + quoteName(t.name) + l.on() + change})
		}
		if h := have[t.name]; !t.made && len(t.order) > 0 {
			if isDurable(h.full) && !l.Durable {
				alter(" RESET SETTING " + resetSettings)
			}
			if lacks := t.lacks(h.full); len(lacks) > 0 {
				alter(" MODIFY SETTING " + strings.Join(lacks, ", "))
			}
		}
		return added
	}
	add := func(t table) (added []column) {
		for _, t := range l.tables(t) {
			added = one(t)
		}
		return added
	}
	for _, t := range systemTables() {
		add(t)
	}
	for _, spec := range s.opt.Catalogue.Feeds {
		h, c, v := historyTable(spec), currentTable(spec), currentView(spec, l)
		// The view comes last, when both its ends are there; workers of the new
		// version wait for it (see check).
		known := have[h.name]
		addedCurrent := add(c)
		add(h)
		view := have[v.name]
		switch {
		case view == nil:
			steps = append(steps, step{v.name, v.create(l)})
			// A history without its view: what it holds has not reached current.
			if known != nil {
				steps = append(steps, step{c.name, backfill(spec, have[c.name])})
			}
		case compare(table{name: v.name, columns: c.columns}, view.columns) != nil:
			steps = append(steps, step{v.name, "ALTER TABLE " + quoteName(v.name) + l.on() + " MODIFY QUERY " + v.query})
			if known != nil && holdsAny(known.columns, addedCurrent) {
				steps = append(steps, step{c.name, backfill(spec, have[c.name])})
			}
		}
	}
	for _, t := range dimensionTables() {
		for _, t := range l.tables(t) {
			if have[t.name] == nil {
				steps = append(steps, step{t.name, t.create(l)})
			}
		}
	}
	if len(refused) > 0 {
		return l, nil, flow.Permanent(errors.Join(refused...))
	}
	return l, steps, nil
}

// backfill writes the newest versions into current again, for a field that has
// become current. Newer versions that arrive meanwhile win, as they always do.
func backfill(spec *feed.Spec, have *tableState) string {
	c := currentTable(spec)
	names := quoteNames(c.names())
	settings := ""
	if have != nil && have.keys != "" {
		settings = "\nSETTINGS log_comment = " + quoteText(keysComment(have.keys))
	}
	return "INSERT INTO " + quoteName(c.name) + " (" + names + ")" + settings + "\nSELECT " + names + "\nFROM " + quoteName(spec.HistoryTable()) +
		"\nORDER BY " + quoteNames(spec.Key()) + ", " + feed.ColVersion + " DESC, " + colRank + " DESC\nLIMIT 1 BY " + quoteNames(spec.Key())
}

// forgetPartial makes the plan blind for what a server of the cluster lacks, one
// that joined it later: what makes it everywhere leaves it where it is.
func (s *Sink) forgetPartial(ctx context.Context, l Layout, have map[string]*tableState) error {
	err := s.rows(ctx, "SELECT name FROM clusterAllReplicas("+quoteText(l.Cluster)+", system.tables) WHERE database = {database:String} GROUP BY name"+
		" HAVING count() < (SELECT count() FROM system.clusters WHERE cluster = {cluster:String})",
		params{"database": text(l.Database), "cluster": text(l.Cluster)}, func(scan func(...any) error) error {
			var name string
			err := scan(&name)
			delete(have, name)
			return err
		})
	if err != nil {
		return fmt.Errorf("cannot see the tables of cluster %s: %w", l.Cluster, err)
	}
	return nil
}

func holdsAny(have, wanted []column) bool {
	for _, w := range wanted {
		for _, h := range have {
			if h.name == w.name {
				return true
			}
		}
	}
	return false
}

// tables reads every table of the database.
func (s *Sink) tables(ctx context.Context) (map[string]*tableState, error) {
	out := map[string]*tableState{}
	var names []string
	err := s.rows(ctx, "SELECT name, engine_full, engine, sorting_key, create_table_query FROM system.tables WHERE database = currentDatabase()", nil, func(scan func(...any) error) error {
		var name, full, engine, ddl string
		t := &tableState{}
		if err := scan(&name, &full, &engine, &t.sorting, &ddl); err != nil {
			return err
		}
		t.keys, t.full = keysIn(ddl), full
		t.engine = cmp.Or(engineOf(full), engine)
		out[name] = t
		names = append(names, name)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the tables: %w", err)
	}
	columns, err := s.columns(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("cannot read the columns: %w", err)
	}
	for name, c := range columns {
		if out[name] != nil {
			out[name].columns = c
		}
	}
	return out, nil
}

type addition struct {
	column
	after string
}

// grow lists the columns that a table lacks, or says why it cannot be kept.
func (t *table) grow(have *tableState) ([]addition, error) {
	if have == nil {
		return nil, nil
	}
	var refused []error
	if plain(have.engine) != plain(t.engine) {
		refused = append(refused, fmt.Errorf("table %s has engine %s, not %s; a migration never changes it: move the data to a new table by hand", t.name, have.engine, t.engine))
	}
	if want := strings.Join(t.order, ", "); strings.ReplaceAll(have.sorting, "`", "") != want {
		refused = append(refused, fmt.Errorf("table %s is sorted by (%s), not (%s); a migration never changes it: move the data to a new table by hand", t.name, have.sorting, want))
	}
	at := map[string]column{}
	for _, c := range have.columns {
		at[c.name] = c
	}
	var out []addition
	after := ""
	for _, c := range t.columns {
		h, ok := at[c.name]
		switch {
		case !ok:
			out = append(out, addition{c, after})
		case h.typ != c.typ:
			refused = append(refused, fmt.Errorf("table %s: column %s is %s in the database and %s in the feed; a migration never changes a type: give the field a new name", t.name, c.name, h.typ, c.typ))
		}
		after = c.name
	}
	return out, errors.Join(refused...)
}

func (s *Sink) recordMigration(ctx context.Context, steps []step) error {
	type row struct {
		Object    string `json:"object"`
		Statement string `json:"statement"`
		Worker    string `json:"worker"`
		AppliedAt string `json:"applied_at"`
	}
	var rows []row
	for _, st := range steps {
		rows = append(rows, row{st.object, st.statement, s.opt.Worker, stamp(time.Now())})
	}
	return insertJSON(ctx, s, "schema_migrations", []string{"object", "statement", "worker", "applied_at"}, rows)
}

// stamp writes a moment the way every column of type moment reads it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// replaceDimensions fills each dimension table beside itself and swaps the two,
// so that a reader sees the old one or the new one and never a part.
func (s *Sink) replaceDimensions(ctx context.Context, l Layout) error {
	for _, t := range dimensionTables() {
		// Two migrations at once must not fill one table.
		next := t
		next.name += "__" + strings.ToLower(rand.Text()[:8])
		made := l.tables(next)
		var err error
		for _, m := range made {
			if err == nil {
				err = s.exec(ctx, m.create(l), nil)
			}
		}
		if err == nil {
			err = insertJSON(ctx, s, next.name, t.names(), dimensionRows(s.opt.Catalogue, t.name))
		}
		if err == nil {
			err = s.exec(ctx, "EXCHANGE TABLES "+quoteName(l.held(next.name))+" AND "+quoteName(l.held(t.name))+l.on(), nil)
		}
		for _, m := range made {
			if derr := s.exec(context.WithoutCancel(ctx), "DROP TABLE IF EXISTS "+quoteName(m.name)+l.on()+" SYNC", nil); err == nil {
				err = derr
			}
		}
		if err != nil {
			return fmt.Errorf("cannot replace table %s: %w", t.name, err)
		}
	}
	return nil
}

func date(day int32) string {
	// The ends of what Date32 can hold stand for open ends.
	switch day {
	case feed.DayMin:
		return "1900-01-01"
	case feed.DayMax:
		return "2299-12-31"
	}
	return time.Unix(int64(day)*86400, 0).UTC().Format(time.DateOnly)
}

// list keeps an empty list from becoming JSON null.
func list(v []string) []string {
	if v == nil {
		return []string{}
	}
	return v
}

// dimensionRows are the rows of a dimension table as JSON objects.
func dimensionRows(c *feed.Catalogue, name string) []map[string]any {
	var out []map[string]any
	switch name {
	case "dim_unit":
		for i := range c.Units {
			u := &c.Units[i]
			out = append(out, map[string]any{
				"code": u.Code, "zh": u.Zh, "short_zh": u.ShortZh, "abbr": u.Abbr, "en": u.En, "iso": u.ISO, "type": u.Type, "region": u.Region,
				"reports": u.Reports, "since": date(u.Since), "until": date(u.Until), "tile_row": u.TileRow, "tile_col": u.TileCol,
				"population_2020": u.Population2020, "aliases": list(u.Aliases),
			})
		}
	case "dim_division":
		for i := range c.Divisions.Rows {
			d := &c.Divisions.Rows[i]
			out = append(out, map[string]any{
				"code": d.Code, "valid_from": date(d.From), "valid_until": date(d.Until), "name": d.Name, "level": d.Level,
				"parent": d.Parent, "successor": d.Successor,
			})
		}
	case "dim_code":
		for _, l := range c.Lists {
			for i, e := range l.Entries {
				extra := e.Extra
				if extra == nil {
					extra = map[string]string{}
				}
				out = append(out, map[string]any{
					"list": l.Name, "code": e.Code, "position": i, "zh": e.Zh, "en": e.En, "aliases": list(e.Aliases), "extra": extra,
				})
			}
		}
	case "dim_target":
		for i := range c.Targets {
			t := &c.Targets[i]
			out = append(out, map[string]any{
				"target_id": t.ID, "indicator_id": t.Indicator, "scope": t.Scope, "value": t.Value, "unit": t.Unit, "due": t.Due,
				"source": t.Source, "status": t.Status, "verified": t.Verified(),
			})
		}
	case "dim_calendar":
		for _, spec := range c.Feeds {
			months, ok := map[string]int{"monthly": 1, "quarterly": 3, "yearly": 12}[spec.Rhythm]
			if !ok {
				continue // each day or event is its own period
			}
			for _, y := range c.Calendar.Years() {
				// A year's last periods fall due in the next one.
				for m := 1; m <= 12; m += months {
					period := time.Date(y, time.Month(m), 1, 0, 0, 0, 0, time.UTC)
					due, err := c.Calendar.Due(spec, feed.Day(period))
					if err != nil {
						continue // its working days are not published yet
					}
					out = append(out, map[string]any{"feed": spec.Feed, "rhythm": spec.Rhythm, "period": period.Format(time.DateOnly), "due_at": stamp(due)})
				}
			}
		}
	default:
		panic("BUG: no rows for dimension table " + name)
	}
	return out
}
